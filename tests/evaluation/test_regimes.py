"""Several regimes in one study: chosen from one scoring, recorded side by side, shown side by side; the peeking gap."""

from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from methods.contract.base import Candidate, Method, Replica, Task
from tests.reporting.grid import plan, record
from tests.samples import make_features
from workflow.lib.evaluation import cell as cells
from workflow.lib.evaluation import records
from workflow.lib.evaluation.bench import Bench, Cell
from workflow.lib.reporting import tables
from workflow.lib.reporting.results import Results, tidy

REGIMES = ["last", "val_full", "report"]


class Stages(Method):
    """Three candidates, the middle one good: the class means, first and last with their sign turned."""

    name = "stages"
    asked = 0

    def fit(self, task: Task, replicas: Sequence[Replica]) -> Iterator[Candidate]:
        for replica in replicas:
            support = task.supports[replica.seed]
            means = support.one_hot(task.classes).T @ support.x
            for epoch, sign in enumerate((-1, 1, -1), 1):
                yield Candidate.of(replica, self._classify(sign * means), {"epoch": epoch})

    def _classify(self, means: np.ndarray):  # type: ignore[no-untyped-def]
        def classify(queries: np.ndarray) -> np.ndarray:
            Stages.asked += 1
            return queries @ means.T

        return classify


def made(select: str, also: Sequence[str]) -> Bench:
    variants = [{"variant": "-", "params": {}}]
    at = Cell("s", "d", "b", "stages", "stages", "2", 2, "test", select, variants, also=also)
    return Bench(at, make_features(), "cpu", 1, lambda line: None)


@pytest.mark.parametrize("first", REGIMES)
def test_each_regime_chooses_as_it_would_alone(first: str) -> None:
    together = made(first, [regime for regime in REGIMES if regime != first])
    (result,) = cells.evaluate(together, Stages())
    for regime in REGIMES:
        alone = made(regime, [])
        (other,) = cells.evaluate(alone, Stages())
        for seed in (0, 1):
            mine, its = result.outcomes[seed].choices[regime], other.outcomes[seed].choices[regime]
            assert mine.point == its.point == {"epoch": 3 if regime == "last" else 2}
            np.testing.assert_array_equal(mine.final(), its.final())


def test_the_curve_is_scored_once_for_all_regimes() -> None:
    counts = []
    for also in ([], ["report"], ["report", "last"]):
        Stages.asked = 0
        cells.evaluate(made("val_full", also), Stages())
        counts.append(Stages.asked)
    weighing = 3  # how large a classifier is as data, the first candidate is asked
    assert counts == [2 * 3 * 2 + weighing] * 3  # seeds, candidates, splits: the reported one and val


def test_the_record_holds_the_first_regime_and_the_others_beside_it() -> None:
    bench = made("last", ["report"])
    results = cells.evaluate(bench, Stages())
    origin = records.provenance("cpu", 1, "f", "0" * 64, "c")
    clock = dict.fromkeys(("start", "read", "fit", "score", "total"), 0.0)
    whole = records.record(bench, results, clock, origin)
    records.check(whole, "here")
    seed = whole["variants"][0]["seeds"][0]
    assert (seed["point"], seed["also"]["report"]["point"]) == ({"epoch": 3}, {"epoch": 2})
    assert seed["metrics"]["accuracy"] == seed["metrics"]["accuracy_last"] == seed["curve"][2]
    assert seed["also"]["report"]["metrics"]["accuracy"] == seed["metrics"]["accuracy_peek"] == max(seed["curve"])


def study(also: Sequence[str] = ("report",), gap: bool = False) -> Results:
    """One method with a curve and one without, on one dataset; 1 shot."""
    methods = [
        {"label": "probe", "variants": ["-"], "learns": True},
        {"label": "zero_shot", "variants": ["-"], "learns": False},
    ]
    results = Results(plan(datasets=["digits"], shots=["1"], methods=methods, also=list(also), peeking_gap=gap))
    probe = record({"-": [0.30, 0.34]})
    for seed, peek in zip(probe["variants"][0]["seeds"], (0.40, 0.50), strict=True):
        seed["metrics"] |= {"accuracy_last": seed["metrics"]["accuracy"], "accuracy_peek": peek}
        seed["also"] = {"report": {"metrics": seed["metrics"] | {"accuracy": peek}, "point": {"epoch": 2}}}
    zero = record({"-": [0.5]}, ("digits", "nano", "zero_shot", "0"))
    zero["variants"][0]["seeds"][0]["also"] = {"report": {"metrics": zero["variants"][0]["seeds"][0]["metrics"]}}
    results.records = {("digits", "nano", "probe", "1"): probe, ("digits", "nano", "zero_shot", "0"): zero}
    return results


def test_the_table_shows_the_regimes_side_by_side() -> None:
    table = tables.regimes_table(study(), "digits", "nano")
    assert table.columns == ["1 shot, last", "1 shot, report"]
    shown = {label: [str(cell) for cell in cells] for label, cells, _ in table.rows}
    assert shown == {"zero_shot": ["50.00", "50.00"], "probe": ["32.00 ± 2.83", "45.00 ± 7.07"]}
    assert any("flatters" in line for line in table.caption)


def test_results_csv_names_the_other_regimes_after_an_at_sign() -> None:
    lines = tidy(study()).splitlines()
    assert "trial,digits,nano,probe,-,1,0,accuracy,0.3" in lines
    assert "trial,digits,nano,probe,-,1,0,accuracy@report,0.4" in lines
    assert not any("fit_seconds@" in line or "accuracy_peek@" in line for line in lines)


def test_the_peeking_gap_is_best_minus_last_in_points_and_only_where_there_is_a_curve() -> None:
    table = tables.peeking_table(study())
    assert [(label, cells) for label, cells, _ in table.rows] == [("probe", ["+13.00", "+13.00"])]  # (10 + 16) / 2


def test_the_peeking_gap_is_a_column_on_request() -> None:
    assert tables.dataset_table(study(), "digits", "nano").columns == ["1 shot"]
    table = tables.dataset_table(study(gap=True), "digits", "nano")
    assert table.columns == ["1 shot", "peeking gap"]
    assert {label: cells[-1] for label, cells, _ in table.rows} == {"zero_shot": None, "probe": "+13.00"}


def test_what_choosing_adds_is_the_mean_over_data_sets_of_what_has_something_to_choose() -> None:
    table = tables.gains_table(study())
    assert table.columns == ["1 shot, report"]
    rows = [(label, list(cells)) for label, cells, _ in table.rows]
    assert rows == [("probe", ["+13.00"]), ("mean of all rows", ["+13.00"])]
    assert "last: nothing was looked at: parameters as configured, the last epoch." in table.caption


def test_where_nothing_has_anything_to_choose_the_table_of_gains_is_empty() -> None:
    nothing = study()
    for seed in nothing.records["digits", "nano", "probe", "1"]["variants"][0]["seeds"]:
        del seed["metrics"]["accuracy_peek"], seed["metrics"]["accuracy_last"]
    assert tables.gains_table(nothing).rows == []
