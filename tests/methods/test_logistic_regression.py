"""Logistic regression is scikit-learn's, called plainly; its path of C gives the protocol something to choose."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression as Plain
from sklearn.preprocessing import StandardScaler

from methods.contract.base import Replica
from methods.logistic_regression import LogisticRegression
from methods.tools.problems import problem, scores
from tests.samples import make_features
from workflow.lib.evaluation import cell as cells
from workflow.lib.evaluation.bench import Bench, Cell

AT = problem(5, [6] * 5)


def replica(seed: int = 0, **params: object) -> Replica:
    return Replica("-", LogisticRegression.defaults({}) | params, seed)


@pytest.mark.parametrize("inputs", ["image", "logits", "image+logits"])
@pytest.mark.parametrize("scale", ["none", "standard"])
def test_it_is_scikit_learns_called_plainly(inputs: str, scale: str) -> None:
    (found,) = scores(LogisticRegression, AT, [replica(inputs=inputs, scale=scale)])
    support, text = AT.task.supports[0], AT.task.class_text()
    columns = {
        "image": lambda x: x,
        "logits": lambda x: x @ text.T,
        "image+logits": lambda x: np.hstack([x, x @ text.T]),
    }[inputs]
    train, test = columns(support.x), columns(AT.queries)
    if scale == "standard":
        scaler = StandardScaler().fit(train)
        train, test = scaler.transform(train), scaler.transform(test)
    plain = Plain(max_iter=1000).fit(train, support.y)
    np.testing.assert_allclose(found, plain.decision_function(test), rtol=1e-5, atol=1e-5)


def test_two_classes_have_the_log_odds_between_them() -> None:
    at = problem(2, [8, 8])
    (found,) = scores(LogisticRegression, at, [replica()])
    plain = Plain(max_iter=1000).fit(at.task.supports[0].x, at.task.supports[0].y)
    np.testing.assert_allclose(found[:, 1] - found[:, 0], plain.decision_function(at.queries), rtol=1e-5, atol=1e-6)


def test_a_fit_that_stops_early_is_noted() -> None:
    (candidate,) = LogisticRegression().fit(AT.task, [replica(max_iter=1)])
    assert candidate.note == "not converged after 1 iterations"
    (candidate,) = LogisticRegression().fit(AT.task, [replica()])
    assert candidate.note == ""


@pytest.mark.parametrize("limit", [1, 3])
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_it_stops_where_scikit_learn_does(limit: int) -> None:
    (found,) = scores(LogisticRegression, AT, [replica(max_iter=limit, C=50.0)])
    plain = Plain(max_iter=limit, C=50.0).fit(AT.task.supports[0].x, AT.task.supports[0].y)
    np.testing.assert_allclose(found, plain.decision_function(AT.queries), rtol=1e-5, atol=1e-5)


def made(select: str) -> Bench:
    variants = [{"variant": "-", "params": LogisticRegression.defaults({}) | {"path": 7}}]
    at = Cell("s", "d", "b", "lr", "logistic_regression", "2", 2, "test", select, variants)
    return Bench(at, make_features(), "cpu", 1, lambda line: None)


def test_the_path_is_walked_only_where_the_protocol_chooses_and_the_default_comes_last() -> None:
    (last,) = cells.evaluate(made("last"), LogisticRegression())
    (chosen,) = cells.evaluate(made("val_full"), LogisticRegression())
    assert [point["C"] for point in last.outcomes[0].points] == [1.0]
    points = [point["C"] for point in chosen.outcomes[0].points]
    assert points == pytest.approx([*np.logspace(-3, 3, 7), 1.0])


def test_a_warm_start_ends_where_a_cold_one_does() -> None:
    bench = made("val_full")
    task = bench.task(raw=False)
    who = Replica("-", bench.cell.variants[0]["params"], 0)
    queries = make_features().splits["test"].x
    for candidate in LogisticRegression().fit(task, [who]):
        cold = Plain(C=candidate.point["C"], max_iter=1000).fit(task.supports[0].x, task.supports[0].y)
        warm = candidate.logits(queries)[0]
        gap = np.abs(warm - cold.decision_function(queries)).max()
        assert gap < 0.05 * np.ptp(warm)  # L-BFGS stops at a tolerance, which a weak penalty leaves wide
