"""What is recommended and what is said of it: from records and predictions made by hand."""

import csv
import io
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.reporting.grid import plan, record
from workflow.lib.evaluation import scoring
from workflow.lib.reporting import advice, comparison, label_figure, recommendation_files
from workflow.lib.reporting.recommendation import Entrant, Recommendation, recommend, recommendations
from workflow.lib.reporting.results import Key, Results
from workflow.lib.reporting.saved import Saved

LABELS = np.repeat([0, 1, 2], 200)
LUCK = np.random.default_rng(0).random((3, 600))
SUPPORT = {"0": 0, "1": 3, "2": 6, "8": 24, "32": 96, "all": 960}
NUMBERS = {"adapter": 500, "probe": 30}
Row = np.ndarray | str  # guesses (S, M), or why it is n/a
Cells = Mapping[tuple[str, str], Mapping[str, Row]]  # by label and shots: by variant


def right(share: float, own: int = 0, seeds: int = 3) -> np.ndarray:
    """Guesses that are right for this share of the images, much the same ones for all rows."""
    luck = 0.9 * LUCK[:seeds] + 0.1 * np.random.default_rng(own).random((seeds, 600))
    return np.where(luck <= np.quantile(luck, share), LABELS, (LABELS + 1) % 3)


def study(cells: Cells, labels: np.ndarray = LABELS, **changes: Any) -> tuple[Results, dict[Key, Saved]]:
    """The results and the predictions of one dataset under one backbone."""
    first = {label: found for (label, _), found in reversed(cells.items())}
    methods = [{"label": one, "variants": list(first[one]), "learns": "zero" not in one} for one in reversed(first)]
    shots = [shots for shots in dict.fromkeys(shots for _, shots in cells) if shots != "0"] or ["1"]
    results = Results(plan(**{"datasets": ["digits"], "shots": shots, "seeds": 3, "methods": methods} | changes))
    predictions: dict[Key, Saved] = {}
    for (label, at), found in cells.items():
        key = ("digits", "nano", label, at)
        guesses = {name: one for name, one in found.items() if not isinstance(one, str)}
        values = {name: one if isinstance(one, str) else [0.0] * len(one) for name, one in found.items()}
        made = record(values, key, support=SUPPORT[at], classes=3)
        made["plugin"] = "zero_shot" if "zero" in label else label
        for variant in made["variants"]:
            variant |= {"trainable_parameters": NUMBERS.get(label, 0), "params": {"lr": 0.5}}
            for seed in variant["seeds"]:
                guess = guesses[variant["variant"]][seed["seed"]]
                seed["metrics"] |= {name: of(guess, labels) for name, of in scoring.FROM_GUESSES.items()}
                seed["metrics"] |= {"accuracy": float((guess == labels).mean())}
        results.records[key] = made
        predictions[key] = Saved(labels, ["cat", "dog", "owl"], {"test": np.bincount(labels)}, guesses, {})
    return results, predictions


def recommended(cells: Cells, **changes: Any) -> tuple[Results, Recommendation]:
    results, predictions = study(cells, **changes)
    return results, recommend(results, ("digits", "nano"), predictions)


def said(cells: Cells, **changes: Any) -> str:
    results, found = recommended(cells, **changes)
    return "\n".join(advice.paragraphs(results.plan, found))


def lines(results: Results, found: Recommendation) -> list[dict[str, str]]:
    told = recommendation_files.told(results.plan, found)
    return list(csv.DictReader(io.StringIO(recommendation_files.comma_separated([told]))))


CLEAR: Cells = {
    ("zero_shot", "0"): {"-": right(0.5, seeds=1)},
    ("probe", "1"): {"-": right(0.6, 1)},
    ("adapter", "1"): {"-": right(0.55, 2)},
    ("probe", "all"): {"-": right(0.9, 1)},
    ("adapter", "all"): {"-": right(0.7, 2)},
}


def test_the_best_row_is_used_with_the_most_labels() -> None:
    text = said(CLEAR)
    assert text.startswith("Use probe with all labels (960 images).\nExpect 90.0 % top-1 accuracy on new images like")
    assert "Its parameters: lr=0.5." in text
    assert "Every other row is worse, at a false discovery rate of 5 %." in text
    assert "zero_shot, which needs no labels, has 50.0 %: whoever stays with it gives up 40.0 points" in text
    (ends,) = re.findall(r"gives up 40\.0 points \((\S+) to (\S+)\)\.", text)
    assert 30 < float(ends[0]) < 40 < float(ends[1]) < 50
    assert "it came first in 100 of 100 resamples of images and seeds" in text
    assert "luck" not in text
    assert "What more labels would bring to probe can't be said: 2 numbers of labelled images" in text


def test_the_csv_has_a_line_for_every_number_of_shots_and_the_agreed_columns() -> None:
    first, last = lines(*recommended(CLEAR))
    assert list(first) == list(recommendation_files.HEADER)
    assert (first["shots"], last["shots"]) == ("1", "all")
    assert {name: last[name] for name in ("dataset", "backbone", "select", "method", "variant", "params")} == {
        "dataset": "digits",
        "backbone": "nano",
        "select": "last",
        "method": "probe",
        "variant": "-",
        "params": '{"lr": 0.5}',
    }
    assert float(last["value"]) == float(last["uncorrected"]) == 0.9
    assert float(last["low"]) < 0.9 < float(last["high"])
    assert (last["zero_shot"], last["majority"], last["level_with"], last["sure"]) == ("0.5", "0.333333", "", "1.000")


ALIKE: Cells = {
    ("zero_shot", "0"): {"-": right(0.3, seeds=1)},
    ("probe", "1"): {"scale=none, C=1": right(0.80, 1), "scale=standard, C=1": right(0.60, 2)},
    ("adapter", "1"): {"-": right(0.803, 3)},
}


def test_rows_that_are_level_with_it_are_told_with_what_they_cost() -> None:
    results, found = recommended(ALIKE)
    (line,) = lines(results, found)
    assert (line["method"], line["level_with"]) == ("adapter", "probe/scale=none,C=1")
    assert float(line["value"]) < float(line["uncorrected"])
    assert 0.2 < float(line["sure"]) < 1
    text = "\n".join(advice.paragraphs(results.plan, found))
    assert "1 other row can't be told apart from it: probe (scale=none, C=1)." in text
    assert "It trains 500 numbers and takes 0.25 s a fit. Cheaper: probe (scale=none, C=1), 80.0 %, trains 30 " in text


def test_of_many_that_are_cheaper_three_are_named_and_the_luck_of_the_first_is_told() -> None:
    cells: Cells = {("adapter", "1"): {"-": right(0.803, 3)}} | {(one, "1"): {"-": right(0.8, 9)} for one in "abcde"}
    text = said(cells)
    assert text.startswith("Use adapter")
    assert " Cheaper: a, 80.0 %, trains nothing and takes 0.25 s a fit; b, " in text
    assert re.search(r"; c, 80\.0 %, trains nothing and takes 0\.25 s a fit; and 2 more\.", text)
    assert "The table says 80.3 %: " in text


def test_what_the_picking_had_added_is_taken_off_the_value_its_interval_and_the_lead() -> None:
    results, predictions = study(ALIKE)
    found = recommend(results, ("digits", "nano"), predictions).last
    assert found is not None
    ring = comparison.rings(results.plan, predictions, "accuracy")["digits", "nano", "1"]
    lead = ring.difference(("adapter", "-"), ("zero_shot", "-"))
    assert (found.zero, found.gain, lead) != (None, None, None)
    lost = found.uncorrected - found.value
    assert 0 < lost < 0.02
    assert lead.mean == pytest.approx(found.uncorrected - found.zero.value)
    low, high = ring.intervals[ring.rows.index(("adapter", "-"))]
    assert (found.low, found.high) == pytest.approx((low - lost, high - lost))
    expected = (lead.mean - lost, lead.low - lost, lead.high - lost, lead.p)
    assert (found.gain.mean, found.gain.low, found.gain.high, found.gain.p) == pytest.approx(expected)
    assert found.shown


@pytest.mark.parametrize(
    ("numbers", "seconds", "cheaper"),
    [(500, 1.0, False), (500, 0.6, False), (500, 0.5, True), (499, 3.0, True), (501, 0.6, False), (501, 0.4, True)],
)
def test_cheaper_is_what_trains_fewer_numbers_or_takes_half_the_time(
    numbers: int, seconds: float, cheaper: bool
) -> None:
    chosen, other = Entrant(("a", "-"), 0.8, 1.0, 500, True, {}), Entrant(("b", "-"), 0.8, seconds, numbers, True, {})
    assert bool(advice.cheaper_than(chosen, [other])) is cheaper


def test_of_equal_rows_the_smaller_is_used() -> None:
    same = right(0.8, 1)
    _, found = recommended({("adapter", "1"): {"-": same}, ("probe", "1"): {"-": same}})
    assert found.last is not None
    assert found.last.chosen.row == ("probe", "-")
    assert [one.row for one in found.last.level] == [("adapter", "-")]
    assert found.last.value == found.last.uncorrected
    assert found.last.sure == 0.5


def test_of_equals_zero_shot_comes_first() -> None:
    same = right(0.8, 1)
    text = said({("zero_shot", "0"): {"-": same[:1]}, ("probe", "1"): {"-": np.repeat(same[:1], 3, axis=0)}})
    assert text.startswith("Use zero_shot: no row is better with 1 shot (3 images).")
    assert "It needs no labels and no training." in text


def test_all_labels_come_last_though_another_number_is_as_many(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SUPPORT, "all", SUPPORT["32"])
    _, found = recommended({("probe", shots): {"-": right(0.8, 1)} for shots in ("1", "32", "all")})
    assert [one.place[2] for one in found.advice] == ["1", "32", "all"]


def test_no_end_of_an_interval_is_below_nothing() -> None:
    _, found = recommended({(name, "1"): {"-": right(0.004, own)} for own, name in enumerate("abcdef")})
    assert found.last is not None
    assert found.last.value < found.last.uncorrected
    assert found.last.low == 0


def test_a_winner_whose_lead_over_zero_shot_is_luck_is_not_used() -> None:
    """Ten rows as good as zero-shot: the best of them is higher in the table."""
    rng = np.random.default_rng(5)
    many = {f"C={i}": np.where(rng.random((3, 600)) < 0.6, LABELS, (LABELS + 1) % 3) for i in range(10)}
    zero = np.where(rng.permutation(600)[None] < 365, LABELS, (LABELS + 1) % 3)
    results, found = recommended({("zero_shot", "0"): {"-": zero}, ("probe", "1"): many})
    one = found.last
    assert one is not None
    assert one.best.value > one.value == pytest.approx((zero == LABELS).mean())
    assert one.chosen.row == ("zero_shot", "-")
    text = "\n".join(advice.paragraphs(results.plan, found))
    assert "Use zero_shot: no row is better" in text
    assert "is higher in the table" in text
    assert "not by more than the luck of the first of 11 rows" in text


def test_a_lead_over_zero_shot_that_isn_t_shown_is_said_to_be_so() -> None:
    """Seeds that differ by much, and three of them."""
    shaky = np.concatenate([right(share, i, 1) for i, share in enumerate((0.6, 0.8, 0.7))])
    text = said({("zero_shot", "0"): {"-": right(0.6, seeds=1)}, ("probe", "1"): {"-": shaky}})
    assert text.startswith("Use probe with 1 shot")
    assert "It is not shown to be better than zero-shot: zero_shot, which needs no labels, has 60.0 %" in text


def test_a_label_of_one_s_own_for_zero_shot_is_found_by_its_plugin() -> None:
    text = said({("zero_prompts", "0"): {"-": right(0.5, seeds=1)}, ("probe", "1"): {"-": right(0.8, 1)}})
    assert "zero_prompts, which needs no labels, has 50.0 %" in text


def test_one_method_only_has_nothing_to_be_compared_with() -> None:
    text = said({("probe", "1"): {"-": right(0.8, 1)}})
    assert "It is the only row: there is nothing to compare it with." in text
    assert "No row is zero-shot: what labels are worth can't be said." in text
    assert "How sure" not in text


def test_rows_that_could_not_run_are_named_with_the_reason() -> None:
    cells: Cells = {("zero_shot", "0"): {"-": "needs text"}, ("probe", "1"): {"-": right(0.8, 1)}}
    results, found = recommended(cells)
    assert "Not run: zero_shot (needs text)." in "\n".join(advice.paragraphs(results.plan, found))
    assert lines(results, found)[0]["zero_shot"] == ""


def test_where_nothing_could_run_it_says_so() -> None:
    results, found = recommended({("zero_shot", "0"): {"-": "needs text"}})
    assert advice.paragraphs(results.plan, found) == ["No row could be run: there is nothing to recommend."]
    (line,) = lines(results, found)
    assert set(list(line.values())[4:]) == {""}
    told = recommendation_files.told(results.plan, found)
    assert "nothing to recommend" in recommendation_files.markdown(results.plan, [told])
    (text,) = label_figure.figure(results.plan, found).axes[0].texts
    assert (text.get_text(), text.get_position()) == ("no row that learns was run", (0.5, 0.5))  # in the middle


def test_no_row_better_than_the_majority_is_said() -> None:
    labels = np.repeat([0, 1, 2], [500, 60, 40])
    rng = np.random.default_rng(1)
    guess = np.where(rng.random((3, 600)) < 0.8, labels, (labels + 1) % 3)
    text = said({("probe", "1"): {"-": guess}}, labels=labels)
    assert "No row is shown to be better" not in text
    assert "No row is better than always saying 'cat', the largest class, which gets 83.3 %." in text


def test_a_lead_over_the_majority_that_isn_t_shown_is_said_to_be_so() -> None:
    labels = np.repeat([0, 1, 2], [500, 60, 40])
    guess = np.where(np.random.default_rng(1).random((3, 600)) < 0.845, labels, (labels + 1) % 3)
    text = said({("probe", "1"): {"-": guess}}, labels=labels)
    assert "Expect 84" in text
    assert "No row is shown to be better than always saying 'cat', the largest class, which gets 83.3 %." in text
    clear = np.where(np.random.default_rng(1).random((3, 600)) < 0.95, labels, (labels + 1) % 3)
    assert "always saying" not in said({("probe", "1"): {"-": clear}}, labels=labels)


def test_the_first_by_mean_per_class_is_named_where_classes_are_unequal() -> None:
    labels = np.repeat([0, 1, 2], [500, 60, 40])
    fair = np.where(np.arange(600) % 5 > 0, labels, (labels + 1) % 3) * np.ones((3, 1), int)
    cells: Cells = {
        ("probe", "1"): {"-": np.zeros((3, 600), int)},  # 500 of 600, and a third of the classes
        ("adapter", "1"): {"-": fair},  # four of five in every class
    }
    text = said(cells, labels=labels)
    assert text.startswith("Use probe")
    assert "Classes have unequal numbers of images: averaged over classes adapter is first, 80.0 %." in text
    _, by_class = recommended(cells, labels=labels, metric="mean_per_class")
    assert by_class.last is not None
    assert by_class.last.chosen.row == ("adapter", "-")
    assert by_class.per_class is None


@pytest.mark.parametrize("metric", ["mean_per_class", "macro_f1"])
def test_the_study_s_metric_decides_and_stands_in_the_csv(metric: str) -> None:
    results, found = recommended(CLEAR, metric=metric)
    last = lines(results, found)[-1]
    assert (last["method"], last["metric"]) == ("probe", metric)
    assert float(last["uncorrected"]) == pytest.approx(
        results.records["digits", "nano", "probe", "all"]["variants"][0]["seeds"][0]["metrics"][metric], abs=0.02
    )


def test_what_was_chosen_on_the_reported_split_is_not_recommended_without_a_word() -> None:
    assert "Caution: epochs and hyperparameters were chosen on test itself" in said(CLEAR, select="report")
    assert "Caution" not in said(CLEAR)


def test_with_one_seed_it_says_what_isn_t_known() -> None:
    cells = {key: {name: one[:1] for name, one in found.items()} for key, found in CLEAR.items()}
    text = said(cells, seeds=1)
    assert "resamples of images." in text
    assert "With one seed nothing is known of other supports" in text


def test_a_cross_validated_dataset_is_about_all_images() -> None:
    assert "top-1 accuracy on all images (95 %" in said(CLEAR, folds={"digits": 5})


FALLING = {"1": 0.4, "2": 0.52, "8": 0.66, "32": 0.76, "all": 0.86}
GROWING: Cells = {("probe", shots): {"-": right(share, 1)} for shots, share in FALLING.items()}


def test_more_labels_are_told_with_their_number_of_images() -> None:
    results, found = recommended(GROWING)
    text = advice.more_labels(found)
    assert text[0].startswith("More labels: probe should reach ")
    assert "with 2 times the labels, 1920 images and " in text[0]
    assert "with 4 times the labels, 3840 images, if its error goes on" in text[0]
    assert "the curve says" in text[1]
    axes = label_figure.figure(results.plan, found).axes[0]
    assert axes.get_xscale() == "log"
    assert [round(tick) for tick in axes.get_xticks()] == [3, 6, 24, 96, 960, 1920, 3840]


def test_the_page_has_each_dataset_with_a_table_of_all_shots(tmp_path: Path) -> None:
    results, found = recommended(GROWING)
    text = recommendation_files.markdown(results.plan, [recommendation_files.told(results.plan, found)])
    assert "## digits, nano\n\n**Use probe with all labels (960 images).**\n" in text
    heading, rule, *lines = [line for line in text.splitlines() if line.startswith("|")]
    assert heading.split("|")[1].strip() == "shots"
    assert rule.startswith("|:")
    assert [[cell.strip() for cell in line.split("|")[1:5]] for line in lines] == [
        [shots, str(SUPPORT[shots]), "probe", f"{100 * share:.1f} %"] for shots, share in FALLING.items()
    ]
    assert "Protocol: report test, select last" in text


def test_one_dataset_after_the_other_is_read_from_its_files(tmp_path: Path) -> None:
    results, predictions = study(CLEAR)
    for key, one in predictions.items():
        path = results.plan.path(tmp_path, *key, "predictions")
        path.parent.mkdir(parents=True, exist_ok=True)
        names = {"variants": np.array(list(one.predicted)), "classnames": np.array(one.classnames)}
        names |= {"splits": np.array(["test"]), "images": np.bincount(LABELS)[None]}
        np.savez(path, labels=one.labels, predicted=np.stack(list(one.predicted.values())), **names)
    (found,) = recommendations(results, tmp_path)
    assert found.advice == recommend(results, ("digits", "nano"), predictions).advice
