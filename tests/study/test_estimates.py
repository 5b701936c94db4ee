"""What jobs ask for: enough for what was measured, more for more, and more at the next attempt."""

from collections.abc import Callable
from pathlib import Path

import pytest

from workflow.lib.study import estimates

ATTEMPTS: dict[str, Callable[[int], int]] = {
    "a cell's memory": lambda attempt: estimates.cell_memory(5.5, attempt),
    "a cell's time": lambda attempt: estimates.cell_minutes(5.5, "all", 9, attempt),
    "an extraction's memory": lambda attempt: estimates.extraction_memory(10_000, 350, attempt),
    "an extraction's time": lambda attempt: estimates.extraction_minutes(10_000, attempt),
    "an import's memory": lambda attempt: estimates.import_memory(20, attempt),
}


@pytest.mark.parametrize("ask", ATTEMPTS.values(), ids=ATTEMPTS)
def test_a_second_attempt_asks_for_twice_as_much(ask: Callable[[int], int]) -> None:
    assert ask(2) == pytest.approx(2 * ask(1), abs=1)


def test_a_cell_of_the_quickstart_has_enough() -> None:
    """Measured: 694 MB at most, and 40 s for clip_adapter with three variants on all of planes."""
    assert estimates.cell_memory(5.5, 1) > 694
    assert 40 / 60 < estimates.cell_minutes(5.5, "all", 9, 1) <= 10


def test_time_grows_with_shots_replicas_and_features() -> None:
    small = estimates.cell_minutes(100, "1", 3, 1)
    assert small < estimates.cell_minutes(100, "10", 3, 1)
    assert small < estimates.cell_minutes(100, "1", 30, 1)
    assert small < estimates.cell_minutes(2000, "1", 3, 1)
    assert estimates.cell_minutes(100, "64", 3, 1) == estimates.cell_minutes(100, "all", 3, 1)


def test_cross_validation_costs_a_training_and_a_support_more_for_each_fold() -> None:
    assert estimates.trainings(2, 3, 0) == 6
    assert estimates.trainings(2, 3, 5) == 36
    assert estimates.cell_memory(100, 1, "all", 5) - estimates.cell_memory(100, 1) == 500
    assert (
        estimates.cell_memory(100, 1, "1", 0) == estimates.cell_memory(100, 1, "all") == estimates.cell_memory(100, 1)
    )


def test_of_images_a_cell_holds_those_of_its_supports() -> None:
    assert estimates.held(5, 2000, "all", 3) == 6005
    assert estimates.held(5, 2000, "1", 3) == 5 + 3 * 2000 / estimates.SMALL_CLASS
    assert estimates.held(5, 0, "all", 3) == 5


def test_a_cell_without_training_still_has_time_to_start() -> None:
    assert estimates.cell_minutes(0, "0", 1, 1) == 2


def test_an_extraction_has_room_for_its_weights_three_times() -> None:
    """As they are read, in place, and while one becomes the other."""
    assert estimates.extraction_memory(0, 1000, 1) - estimates.extraction_memory(0, 0, 1) == 3000


def test_an_extraction_has_room_for_its_vectors_twice() -> None:
    more = estimates.extraction_memory(1_000_000, 350, 1) - estimates.extraction_memory(0, 350, 1)
    assert more == pytest.approx(2e6 * estimates.VECTOR_MB, abs=1)


def test_an_extraction_holds_its_vectors_and_reads_its_images() -> None:
    imagenet = 1_300_000
    assert estimates.extraction_memory(imagenet, 350, 1) > imagenet * 512 * 4 / 1e6
    assert estimates.extraction_minutes(imagenet, 1) > imagenet / 20 / 60


def test_sizes_are_read_from_files(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).write_bytes(bytes(1_500_000))
    assert estimates.megabytes([str(tmp_path / name) for name in "ab"]) == 3
    assert estimates.images_in(str(tmp_path / "a")) == 30_000


def test_what_is_not_there_yet_is_left_for_later() -> None:
    """Snakemake asks again when the input is there."""
    for ask in (estimates.images_in, lambda path: estimates.megabytes([path])):
        with pytest.raises(FileNotFoundError):
            ask("nowhere")


def test_the_longest_cells_come_first() -> None:
    order = [("all", 9, True), ("all", 3, True), ("10", 3, True), ("all", 5, False), ("1", 3, True), ("0", 1, False)]
    found = [estimates.cell_priority(estimates.cell_cost(*cell), None) for cell in order]
    assert found == sorted(found, reverse=True)
    assert len(set(found)) == len(found)
    assert found[0] < estimates.FIRST


def test_the_cells_of_a_first_table_come_before_the_others_dataset_after_dataset() -> None:
    """However many datasets there are and whatever a cell costs; and what cells need comes before them."""
    costs = (estimates.cell_cost("0", 1, False), 0.05, 3e3)
    found = [estimates.cell_priority(cost, wave) for wave in (0, 1, 2) for cost in reversed(costs)]
    assert found == sorted(found, reverse=True)
    assert len(set(found)) == len(found)
    assert found[0] < estimates.FIRST
    assert estimates.cell_priority(0.05, 5000) > estimates.cell_priority(estimates.cell_cost("all", 3000, True), None)


def test_a_cell_with_a_text_tower_in_its_loop_asks_for_the_weights_and_for_longer() -> None:
    assert estimates.cell_memory(5, 1, weights_mb=600) > estimates.cell_memory(5, 1) + 600
    assert estimates.cell_memory(5, 1, weights_mb=0) > estimates.cell_memory(5, 1)
    assert estimates.cell_minutes(5, "1", 3, 1, tower=True) > 10 * estimates.cell_minutes(5, "1", 3, 1)
    assert estimates.cell_cost("1", 3, trains=True, tower=True) > estimates.cell_cost("1", 3, trains=True)
