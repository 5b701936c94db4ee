"""What each regime may look at, and which candidate it therefore takes."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from methods.contract.base import Candidate, Replica
from workflow.lib.evaluation.protocol import REGIMES, Judge, Outcome, Queries
from workflow.lib.evaluation.sealed import ADVICE

LABELS = np.array([0, 1, 2, 0, 1, 2])
REPORT, VAL = Queries(np.zeros((6, 1), np.float32), LABELS), Queries(np.zeros((6, 2), np.float32), LABELS)
FIRST, SECOND = (Replica("-", {}, seed) for seed in (0, 1))
HELD_OUT = [(0.2, -1.0), (0.4, -3.0), (0.4, -2.0), (0.4, -2.0), (0.1, 0.0)]  # the third: earlier than its equal
FEW = {0: np.array([0, 1, 2]), 1: np.array([3, 4, 5])}


def logits(right: Sequence[int], wrong: int = 1) -> np.ndarray:
    """Logits `(6, 3)` that are right for the rows `right` and nowhere else."""
    guess = np.where(np.isin(np.arange(6), right), LABELS, (LABELS + wrong) % 3)
    return np.eye(3, dtype=np.float32)[guess]


def candidate(
    report: Sequence[int], val: Sequence[int] = (), epoch: int = 1, replica: Replica = FIRST, wrap: Any = np.asarray
) -> Candidate:
    """A candidate of one replica that is right on these rows of the reported split and of val."""
    answers = {1: wrap(logits(report)[None]), 2: wrap(logits(val)[None])}
    return Candidate([replica], lambda queries: answers[queries.shape[1]], {"epoch": epoch})


def judge(regimes: Sequence[str], few: Mapping[int, np.ndarray] = FEW, held_out: Any = None) -> Judge:
    return Judge(
        regimes, 3, REPORT, VAL if any(name.startswith("val") for name in regimes) else None, few, held_out=held_out
    )


def outcome(candidates: Sequence[Candidate], regimes: Sequence[str], replica: Replica = FIRST) -> Outcome:
    """What the candidates of one replica come to. Out of folds, `HELD_OUT` has their scores."""
    outcomes = {replica: Outcome(regimes)}
    rule = judge(regimes, held_out={replica: HELD_OUT.__getitem__})
    for one in candidates:
        rule(one, outcomes)
    return outcomes[replica]


# epoch: right on the reported split, right on val (rows 0 to 2 are the few of seed 0, 3 to 5 those of seed 1)
EPOCHS = [
    candidate([0], [0, 1, 3], epoch=1),
    candidate([0, 1, 2, 3], [0, 1], epoch=2),  # best on report
    candidate([0, 1], [0, 1, 2], epoch=3),  # best on the few of seed 0; ties with epoch 1 on all of val
    candidate([0, 1, 2], [1, 3, 4, 5], epoch=4),  # best on all of val
    candidate([0, 5], [], epoch=5),
]


@pytest.mark.parametrize(
    ("regime", "epoch"), [("last", 5), ("support_cv", 3), ("report", 2), ("val_fewshot", 3), ("val_full", 4)]
)
def test_a_regime_takes_the_best_of_what_it_may_look_at(regime: str, epoch: int) -> None:
    found = outcome(EPOCHS, [regime]).choices[regime]
    assert (found.point, found.number) == ({"epoch": epoch}, epoch - 1)
    assert found.final().tolist() == EPOCHS[epoch - 1].logits(REPORT.x)[0].tolist()


def test_there_is_a_sentence_for_every_regime() -> None:
    assert list(REGIMES) == ["last", "support_cv", "val_fewshot", "val_full", "report"]
    assert all(REGIMES.values())


def test_all_regimes_side_by_side_choose_as_each_alone() -> None:
    together = outcome(EPOCHS, list(REGIMES))
    for regime in REGIMES:
        assert together.choices[regime].point == outcome(EPOCHS, [regime]).choices[regime].point


@pytest.mark.parametrize("regime", ["report", "val_fewshot", "val_full"])
def test_of_equals_the_earlier_is_taken(regime: str) -> None:
    same = [candidate([2, 3], [2, 3], epoch) for epoch in (1, 2, 3)]
    assert outcome(same, [regime]).choices[regime].point == {"epoch": 1}


@pytest.mark.parametrize("regime", list(REGIMES))
def test_a_candidate_that_is_never_right_can_still_be_chosen(regime: str) -> None:
    assert outcome([candidate([], [])], [regime]).choices[regime].point == {"epoch": 1}


def test_without_a_score_the_last_is_taken_as_where_nothing_is_looked_at() -> None:
    rule, outcomes = judge(["support_cv"]), {FIRST: Outcome(["support_cv"])}
    for one in EPOCHS:
        rule(one, outcomes)
    assert outcomes[FIRST].choices["support_cv"].point == {"epoch": 5}


def test_the_few_are_those_of_the_replica_s_seed() -> None:
    epochs = [candidate([0], [0, 1, 2], 1, SECOND), candidate([0], [3], 2, SECOND)]
    assert outcome(epochs, ["val_fewshot"], SECOND).choices["val_fewshot"].point == {"epoch": 2}


def test_of_zero_shots_nothing_is_drawn_and_the_first_is_taken() -> None:
    rule, outcomes = judge(["val_fewshot"], {0: np.array([], dtype=np.int64)}), {FIRST: Outcome(["val_fewshot"])}
    rule(candidate([0], [0], 1), outcomes)
    assert outcomes[FIRST].choices["val_fewshot"].point == {"epoch": 1}


@pytest.mark.parametrize("regime", list(REGIMES))
def test_the_curve_is_of_the_reported_split_whatever_is_chosen(regime: str) -> None:
    found = outcome(EPOCHS, [regime])
    assert found.curve == [1 / 6, 4 / 6, 2 / 6, 3 / 6, 2 / 6]
    assert [point["epoch"] for point in found.points] == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("regimes", "asked"),
    [(["last"], [1]), (["support_cv"], [1]), (["report"], [1]), (["val_full"], [1, 2]), (list(REGIMES), [1, 2])],
)
def test_a_candidate_classifies_each_split_once_and_none_in_vain(regimes: list[str], asked: list[int]) -> None:
    calls = []

    def counted(queries: np.ndarray) -> np.ndarray:
        calls.append(queries.shape[1])
        return logits([0])[None]

    judge(regimes)(Candidate([FIRST], counted), {FIRST: Outcome(regimes)})
    assert calls == asked


def test_replicas_of_one_candidate_are_judged_each_for_itself() -> None:
    both = np.stack([logits([0]), logits([0, 1])])
    outcomes = {FIRST: Outcome(["last"]), SECOND: Outcome(["last"])}
    judge(["last"])(Candidate([FIRST, SECOND], lambda queries: both), outcomes)
    assert [outcomes[replica].curve for replica in (FIRST, SECOND)] == [[1 / 6], [2 / 6]]


def test_a_buffer_that_the_method_uses_again_does_not_change_what_was_chosen() -> None:
    buffer = logits([0, 1])[None].copy()
    rule, outcomes = judge(["report"]), {FIRST: Outcome(["report"])}
    rule(Candidate([FIRST], lambda queries: buffer), outcomes)
    buffer[:] = logits([0])
    rule(Candidate([FIRST], lambda queries: buffer), outcomes)
    assert outcomes[FIRST].choices["report"].final().tolist() == logits([0, 1]).tolist()


def grad(array: np.ndarray) -> torch.Tensor:
    """A tensor that still hangs on its graph, as a plugin may leave it."""
    return torch.from_numpy(array).requires_grad_()


def half(array: np.ndarray) -> torch.Tensor:
    """A type that NumPy doesn't have."""
    return torch.from_numpy(array).bfloat16()


@pytest.mark.parametrize("wrap", [torch.from_numpy, grad, half])
@pytest.mark.parametrize("regime", list(REGIMES))
def test_torch_s_logits_are_judged_as_numpy_s(regime: str, wrap: Callable[[np.ndarray], Any]) -> None:
    found = outcome([candidate([0, 1], [0], 1, wrap=wrap), candidate([0], [0, 1], 2, wrap=wrap)], [regime])
    expected = outcome([candidate([0, 1], [0], 1), candidate([0], [0, 1], 2)], [regime])
    assert found.curve == expected.curve
    assert isinstance(found.choices[regime].final(), np.ndarray)
    assert found.choices[regime].final().tolist() == expected.choices[regime].final().tolist()


@pytest.mark.parametrize("wrap", [np.asarray, torch.from_numpy])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_logits_that_are_not_finite_name_the_replica(value: float, wrap: Callable[[np.ndarray], Any]) -> None:
    both = np.stack([logits([0]), logits([0])])
    both[1, 4, 2] = value
    rule, outcomes = judge(["last"]), {FIRST: Outcome(["last"]), SECOND: Outcome(["last"])}
    with pytest.raises(ValueError, match=r"^variant '-', seed 1: logits are not finite at {'epoch': 3}$"):
        rule(Candidate([FIRST, SECOND], lambda queries: wrap(both), {"epoch": 3}), outcomes)


@pytest.mark.parametrize("wrap", [np.asarray, torch.from_numpy])
def test_large_logits_whose_sum_overflows_are_finite(wrap: Callable[[np.ndarray], Any]) -> None:
    large = wrap(np.float32(3e38) * logits([0])[None])
    found = Outcome(["last"])
    judge(["last"])(Candidate([FIRST], lambda queries: large), {FIRST: found})
    assert found.curve == [1 / 6]


@pytest.mark.parametrize(
    ("shape", "shown"),
    [
        ((6, 3), r"\(6, 3\)"),  # without the axis of replicas
        ((2, 6, 3), r"\(2, 6, 3\)"),
        ((1, 5, 3), r"\(1, 5, 3\)"),
        ((1, 6, 2), r"\(1, 6, 2\)"),  # a class too few
        ((1, 6, 1), r"\(1, 6, 1\)"),
    ],
)
def test_logits_of_a_wrong_shape_name_the_replica(shape: tuple[int, ...], shown: str) -> None:
    with pytest.raises(ValueError, match=rf"^variant '-', seed 0: logits have shape {shown}, expected \(1, 6, 3\)$"):
        judge(["last"])(Candidate([FIRST], lambda queries: np.zeros(shape)), {FIRST: Outcome(["last"])})


@pytest.mark.parametrize(
    ("error", "more"),
    [
        (KeyError("scale"), []),
        (SystemExit("no licence"), []),
        (ValueError("assignment destination is read-only"), [f"({ADVICE})"]),
    ],
)
def test_an_error_of_a_classifier_stays_what_it_is_and_names_the_replica(error: BaseException, more: list[str]) -> None:
    def fails(queries: Any) -> Any:
        raise error

    with pytest.raises(type(error)) as caught:
        judge(["last"])(Candidate([SECOND], fails), {SECOND: Outcome(["last"])})
    assert caught.value is error
    assert error.__notes__ == ["at variant '-', seed 1, classifying", *more]


@pytest.mark.parametrize("answer", [None, [[1.0]], 3.0])
def test_what_is_no_array_names_the_replica(answer: Any) -> None:
    with pytest.raises(ValueError, match=r"^variant '-', seed 0: logits have shape \(\), expected \(1, 6, 3\)$"):
        judge(["last"])(Candidate([FIRST], lambda queries: answer), {FIRST: Outcome(["last"])})


@pytest.mark.parametrize("metric", ["mean_per_class", "macro_f1", "auroc"])
@pytest.mark.parametrize("regime", ["report", "val_full", "val_fewshot"])
def test_a_choice_is_made_by_the_study_s_metric(regime: str, metric: str) -> None:
    """Five of six images are of one class: whoever always says it has the best accuracy, and finds nothing."""
    labels = np.array([0, 0, 0, 0, 0, 1])
    always, keen = np.eye(2)[[0] * 6], np.eye(2)[[0, 0, 0, 1, 1, 1]]
    queries = Queries(np.zeros((6, 1), np.float32), labels)
    chosen = {}
    for by in ("accuracy", metric):
        rule, outcomes = Judge([regime], 2, queries, queries, {0: np.arange(6)}, by), {FIRST: Outcome([regime])}
        for epoch, guess in enumerate((always, keen)):
            rule(Candidate([FIRST], lambda x, guess=guess: guess[None], {"epoch": epoch}), outcomes)
        chosen[by] = outcomes[FIRST].choices[regime].point["epoch"]
    assert chosen == {"accuracy": 0, metric: 1}
