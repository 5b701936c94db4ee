"""`support_cv`: which folds there are, what is fitted without them, and what is chosen by what they score."""

import gc
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression as Reference
from sklearn.model_selection import StratifiedKFold

from methods.contract.base import Array, Candidate, Classifier, Method, Params, Replica, Support, Task, unit
from methods.gda import GaussianDiscriminant
from methods.linear_probe import LinearProbe
from methods.logistic_regression import LogisticRegression
from methods.proker import ProximalKernel
from methods.zero_shot import ZeroShot
from tests.conftest import make_features
from workflow.lib.evaluation import cell as cells
from workflow.lib.evaluation import cross_validation as cv
from workflow.lib.evaluation import folds as folds_of
from workflow.lib.evaluation import supports
from workflow.lib.evaluation.bench import AS_CONFIGURED, Bench, Cell
from workflow.lib.features.store import Features, Split

CELL = Cell("trial", "shapes", "tiny", "mine", "mine", "5", 2, "test", "support_cv", ({"variant": "-", "params": {}},))
Points = Mapping[tuple[str, int], Mapping[str, Any]]


def bench(features: Features | None = None, **changes: Any) -> Bench:
    return Bench(replace(CELL, **changes), features or make_features(noise=1.5), "cpu", 1, lambda line: None)


def variants(method: type[Method], **sweep: Sequence[Any]) -> list[dict[str, Any]]:
    """A sweep over one parameter, or the defaults; everything else as declared."""
    (swept,) = [[{name: value} for value in values] for name, values in sweep.items()] or [[{}]]
    names = [", ".join(f"{name}={value}" for name, value in one.items()) or "-" for one in swept]
    return [{"variant": n, "params": method.defaults({}) | one} for n, one in zip(names, swept, strict=True)]


def chosen(made: Bench, method: Method, regime: str = "support_cv") -> Points:
    """Which candidate is taken, by variant and seed."""
    found = cells.evaluate(made, method)
    return {(one.variant, s): o.choices[regime].point for one in found for s, o in one.outcomes.items()}


# --- the folds ---------------------------------------------------------------------------------------------------

labelled = st.lists(st.integers(1, 9), min_size=1, max_size=12).flatmap(
    lambda counts: st.permutations(np.repeat(np.arange(len(counts)), counts).tolist())
)


@given(labelled)
def test_folds_are_stratified_and_of_one_size_as_far_as_can_be(labels: list[int]) -> None:
    y = np.array(labels)
    numbers, images = supports.folds(y), np.bincount(y)
    k = min(5, images.min())
    assert set(numbers) == set(range(k))
    sizes = np.bincount(numbers)
    assert sizes.max() - sizes.min() <= 1
    for own in (np.bincount(numbers[y == c], minlength=k) for c in range(len(images))):
        assert own.max() - own.min() <= 1
    for fold in range(k if k > 1 else 0):
        assert (np.bincount(y[numbers != fold], minlength=len(images)) > 0).all()  # no class is lost


@pytest.mark.parametrize("shots", [2, 3, 5, 7, 10])
def test_they_are_as_large_as_scikit_learn_s(shots: int) -> None:
    y = np.repeat(np.arange(6), shots)
    ours = np.bincount(supports.folds(y))
    theirs = [len(out) for _, out in StratifiedKFold(min(5, shots)).split(y, y)]
    assert ours.tolist() == theirs


def test_of_equal_classes_whose_number_five_divides_the_folds_are_equal() -> None:
    """So that an engine trains all of them side by side, whatever the number of shots."""
    for shots in range(5, 40):
        assert len(set(np.bincount(supports.folds(np.repeat(np.arange(10), shots))))) == 1


@pytest.mark.parametrize(("shots", "k"), [("0", 0), ("1", 0), ("2", 2), ("4", 4), ("5", 5), ("16", 5), ("all", 5)])
def test_as_many_folds_as_the_smallest_class_has_images_and_five_at_most(shots: str, k: int) -> None:
    assert supports.most_folds(shots) == k
    if shots not in ("0", "all"):
        assert len(folds_of.split(0, np.repeat(np.arange(4), int(shots)))) == k


def test_a_class_without_an_image_takes_no_folds_away() -> None:
    assert len(folds_of.split(0, np.array([0, 0, 0, 2, 2, 2]))) == 3


def test_an_image_is_in_one_fold_and_in_the_rest_of_all_others() -> None:
    folds = folds_of.split(3, np.repeat(np.arange(4), 7))
    assert sorted(np.concatenate([fold.out for fold in folds]).tolist()) == list(range(28))
    assert all(sorted([*fold.out, *fold.rest]) == list(range(28)) for fold in folds)


def test_the_seeds_of_folds_are_nobody_else_s() -> None:
    """No study has more than a thousand seeds."""
    y = np.repeat(np.arange(2), 5)
    seeds = [fold.seed for seed in range(1000) for fold in folds_of.split(seed, y)]
    assert len(set(seeds)) == 5000
    assert min(seeds) >= 1000


def test_a_support_without_a_fold_is_made_for_all_who_hold_it_and_kept_for_nobody() -> None:
    y = np.repeat(np.arange(3), 4)
    x = np.random.default_rng(0).normal(size=(12, 5)).astype(np.float32)
    whole, folds = Support(x, y, np.stack([x, -x], 1)), folds_of.split(1, y)
    made = folds_of.Supports(whole, folds)
    assert (list(made), len(made)) == ([fold.seed for fold in folds], 4)
    one = made[folds[2].seed]
    assert made[folds[2].seed] is one
    assert (one.x == x[folds[2].rest]).all()
    assert (one.y == y[folds[2].rest]).all()
    assert one.views is not None
    assert (one.views[:, 1] == -x[folds[2].rest]).all()
    del one
    gc.collect()
    assert not made._held


# --- what is fitted ----------------------------------------------------------------------------------------------


class Looking(Method):
    """Two candidates by the class means; keeps what it was given."""

    name = "looking"

    def __init__(self) -> None:
        self.asked: list[tuple[int, bytes, int]] = []  # seed, labels and images it was fitted to
        self.queries: set[tuple[int, int]] = set()

    def fit(self, task: Task, replicas: Sequence[Replica]) -> Iterator[Candidate]:
        assert replicas  # nobody expects to be asked for nothing
        for replica in replicas:
            support = task.supports[replica.seed]
            self.asked.append((replica.seed, support.y.tobytes(), len(support.y)))
            means = support.one_hot(task.classes).T @ support.x
            for sign in (-1, 1):
                yield Candidate.of(replica, self._classify(replica.seed, sign * means), {"sign": sign})

    def _classify(self, seed: int, means: Array) -> Classifier:
        def classify(queries: Array) -> Array:
            self.queries.add((seed, len(queries)))
            return queries @ means.T

        return classify


def test_each_seed_s_support_is_fitted_without_each_fold_and_then_whole() -> None:
    method = Looking()
    cells.evaluate(bench(), method)
    folds = [1_000_000 * (f + 1) + seed for seed in range(2) for f in range(5)]
    assert [(seed, size) for seed, _, size in method.asked] == [*((s, 16) for s in folds), (0, 20), (1, 20)]
    of_folds = {one for one in method.queries if one[0] in folds}
    assert of_folds == {(s, 4) for s in folds}  # a fold is all that its classifier is asked
    assert method.queries > of_folds | {(0, 36), (1, 36)}  # how large it is, the first is asked with points of no image


def test_folds_are_of_the_seed_and_the_same_for_every_method() -> None:
    first, second = Looking(), Looking()
    cells.evaluate(bench(), first)
    cells.evaluate(bench(seeds=1), second)
    assert [one for one in first.asked if one[0] % 1_000_000 == 0] == second.asked


def test_logits_are_kept_while_there_is_memory_and_of_the_latest_whenever_it_comes() -> None:
    """Of half precision: of 4 images and 3 classes 24 bytes. A cell has 256 MiB for them."""
    logits, out = np.arange(12, dtype=np.float32).reshape(4, 3), np.array([3, 5, 8, 9])
    assert cv.Keeping(latest=False).left == 256 * 2**20
    keeping, held = cv.Keeping(latest=False, left=48), cv.HeldOut()
    for _ in range(3):
        held.keep(logits, out, keeping)
    assert (len(held.logits), keeping.left) == (2, 0)
    keeping, held = cv.Keeping(latest=True, left=48), cv.HeldOut()
    for one in (logits, logits, 2 * logits):
        held.keep(one, out, keeping)
    assert [one.tolist() for one in held.logits] == [[[-4, -2, 0]] * 4]
    assert held.out.tolist() == [3, 5, 8, 9]


def shuffled(features: Features, names: Sequence[str]) -> Features:
    """The same features with the labels of some splits shuffled."""
    rng = np.random.default_rng(5)
    splits = {
        name: Split(part.x, rng.permutation(part.y) if name in names else part.y)
        for name, part in features.splits.items()
    }
    return replace(features, splits=splits)


@pytest.mark.parametrize("method", [LogisticRegression, GaussianDiscriminant, ProximalKernel, LinearProbe])
def test_labels_that_it_may_not_look_at_change_no_choice(method: type[Method]) -> None:
    cut = {"path": 7} if method is LogisticRegression else {"epochs": 12, "lr": 0.01} if method is LinearProbe else {}
    params = [{"variant": "-", "params": method.defaults({}) | cut}]
    plain, other = make_features(noise=1.5), shuffled(make_features(noise=1.5), ["val", "test"])
    regimes = {"select": "support_cv", "also": ["val_full", "report"], "variants": params, "seeds": 3}
    assert chosen(bench(plain, **regimes), method()) == chosen(bench(other, **regimes), method())
    # And the test can fail: what may look at them chooses otherwise.
    assert chosen(bench(plain, **regimes), method(), "report") != chosen(bench(other, **regimes), method(), "report")


def test_the_labels_of_the_support_do_change_it() -> None:
    params = variants(GaussianDiscriminant)
    plain, other = make_features(noise=1.5), shuffled(make_features(noise=1.5), ["train"])
    found = [chosen(bench(one, variants=params, seeds=3), GaussianDiscriminant()) for one in (plain, other)]
    assert found[0] != found[1]


def test_the_choice_is_scikit_learn_s_by_hand() -> None:
    """Logistic regression with several C: fitted fold by fold here, with what scikit-learn has."""
    params = [{"variant": "-", "params": LogisticRegression.defaults({}) | {"path": 7, "max_iter": 5000}}]
    made = bench(variants=params, seeds=3)
    found, kept = chosen(made, LogisticRegression()), set()
    for seed in range(3):
        train = made.features.splits["train"]
        x, y = unit(train.x[made.rows[seed]]), train.y[made.rows[seed]]
        numbers = supports.folds(y)
        right, likelihood = np.zeros(8), np.zeros(8)
        strengths = [*np.logspace(-3, 3, 7), 1.0]  # what is configured comes last
        for i, strength in enumerate(strengths):
            for fold in range(5):
                out = numbers == fold
                model = Reference(C=strength, max_iter=5000).fit(x[~out], y[~out])
                right[i] += (model.predict(x[out]) == y[out]).sum()
                likelihood[i] += model.predict_log_proba(x[out])[np.arange(out.sum()), y[out]].sum()
        top = right.max()
        tied = np.flatnonzero(right == top)
        best = tied[likelihood[tied].argmax()]
        if top - right[-1] <= 0.5 * np.sqrt(top * (len(y) - top) / len(y)):
            best = 7
        assert found["-", seed] == {"C": pytest.approx(strengths[best])}
        kept.add(int(best))
    assert len(kept) > 1  # the default is not all that there is


@pytest.mark.parametrize(
    ("scores", "taken"),
    [
        ([(0.5, -3), (0.9, -2), (0.7, -1)], 1),  # the best metric
        ([(0.5, -3), (0.9, -2), (0.9, -1), (0.7, -1)], 2),  # of equals the likeliest
        ([(0.9, -1), (0.9, -1), (0.7, -1)], 0),  # of these the first
        ([(0.9, -1), (0.886, -9)], 1),  # within half a standard error, 0.015: what is configured
        ([(0.9, -1), (0.884, -9)], 0),
        ([(1.0, -1), (0.99, -1)], 0),  # the best makes no mistake: no error
        ([(0.0, -2), (0.0, -3)], 1),
    ],
)
def test_what_is_configured_stays_until_something_is_better_by_more_than_chance(
    scores: list[tuple[float, float]], taken: int
) -> None:
    assert cv.preferred(scores, len(scores) - 1, 100) == taken


# --- which candidate is which ------------------------------------------------------------------------------------


def points(key: str, last: int, every: int = 1) -> list[dict[str, float]]:
    return [{key: n} for n in [*range(every, last, every), last]]


@pytest.mark.parametrize(
    ("mine", "fold", "pairs"),
    [
        (points("epoch", 10), points("epoch", 10), {0: 0, 4: 4, 9: 9}),
        (points("epoch", 10), points("epoch", 8), {0: 0, 4: 4, 7: 7, 8: 7, 9: 7}),
        (points("epoch", 8), points("epoch", 10), {0: 0, 7: 7}),
        (points("step", 1000, 100), points("step", 800, 100), {0: 0, 4: 3, 9: 7}),  # 500 of 1000 is 400 of 800
        (points("step", 300, 100), points("step", 1000, 100), {0: 2, 1: 6, 2: 9}),
        ([{"alpha": a} for a in (1, 2, 4)], [{"alpha": a} for a in (1, 2, 4)], {0: 0, 1: 1, 2: 2}),
        ([{"alpha": a} for a in (1, 2, 4)], [{"alpha": a} for a in (3, 6, 9)], {0: 0, 1: 1, 2: 2}),
    ],
)
def test_epochs_match_by_number_and_steps_by_fraction(
    mine: list[dict[str, float]], fold: list[dict[str, float]], pairs: dict[int, int]
) -> None:
    assert {i: cv.counterpart(i, mine[i], len(mine), fold) for i in pairs} == pairs


class Steps(Method):
    """As many steps as there are images; it is right at three quarters of them and nowhere else."""

    name = "steps"

    def __init__(self) -> None:
        self.fits: list[int] = []

    def fit(self, task: Task, replicas: Sequence[Replica]) -> Iterator[Candidate]:
        for replica in replicas:
            support = task.supports[replica.seed]
            self.fits.append(replica.seed)
            means = support.one_hot(task.classes).T @ support.x
            total = len(support.y)
            for step in range(1, total + 1):
                sign = 1 if step == round(0.75 * total) else -1
                yield Candidate.of(replica, partial(self._scores, sign * means), {"step": step})

    def _scores(self, means: Array, queries: Array) -> Array:
        return queries @ means.T


def test_trainings_of_as_many_steps_as_images_are_matched_by_fraction() -> None:
    """20 images of which 16 are left: the 12th step of 16 is the 15th of 20, and the whole is fitted once more."""
    method = Steps()
    found = chosen(bench(), method)
    assert found == {("-", 0): {"step": 15}, ("-", 1): {"step": 15}}
    assert [seed for seed in method.fits if seed < 2] == [0, 1, 0, 1]


# --- trained heads -----------------------------------------------------------------------------------------------


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> list[list[int]]:
    """The seeds that the engine trains side by side, run by run."""
    from workflow.lib.engine import training

    seen: list[list[int]] = []
    train = training.train

    def spied(method: Any, task: Task, replicas: Sequence[Replica]) -> Iterator[Candidate]:
        seen.append([replica.seed for replica in replicas])
        return train(method, task, replicas)

    monkeypatch.setattr(training, "train", spied)
    return seen


def probe(**changes: Any) -> list[dict[str, Any]]:
    params = LinearProbe.defaults({}) | {"epochs": 6, "lr": 0.03, "batch_size": 8} | changes
    return [{"variant": "-", "params": params}]


@pytest.mark.parametrize(
    ("shots", "groups"),
    [("5", [5]), ("3", [3]), ("7", [3, 2])],  # 28 images in 5 folds: three of 6 and two of 5
)
def test_the_folds_of_a_seed_are_trained_side_by_side(shots: str, groups: list[int], runs: list[list[int]]) -> None:
    cells.evaluate(bench(shots=shots, variants=probe()), LinearProbe())
    *folds, whole = runs
    assert whole == [0, 1]
    assert [len(run) for run in folds] == groups * 2
    assert all(len({seed % 1_000_000 for seed in run}) == 1 for run in folds)


def test_alone_as_in_company() -> None:
    """Other variants and seeds beside it change nothing in what is chosen, nor in what comes of it."""
    several = [{"variant": f"{rate}", "params": probe(lr=rate)[0]["params"]} for rate in (0.003, 0.03, 0.3)]
    together = cells.evaluate(bench(variants=several, seeds=3, shots="7"), LinearProbe())
    for one, result in zip(several, together, strict=True):
        (alone,) = cells.evaluate(bench(variants=[one], seeds=1, shots="7"), LinearProbe())
        mine, its = alone.outcomes[0].choices["support_cv"], result.outcomes[0].choices["support_cv"]
        assert mine.point == its.point
        np.testing.assert_allclose(mine.final(), its.final(), rtol=1e-3, atol=1e-4)


def test_what_is_chosen_is_the_epoch_of_the_whole_support_s_training() -> None:
    made = bench(variants=probe(), also=["last"])
    (result,) = cells.evaluate(made, LinearProbe())
    for outcome in result.outcomes.values():
        choice = outcome.choices["support_cv"]
        epoch = int(choice.point["epoch"])
        assert (choice.final().argmax(1) == made.labels).mean() == outcome.curve[epoch - 1]
        assert len(outcome.curve) == 6


# --- nothing to choose by, or nothing to choose ------------------------------------------------------------------


def test_with_one_image_a_class_everything_is_as_configured_and_a_footnote_says_so() -> None:
    made = bench(shots="1", variants=variants(GaussianDiscriminant))
    (result,) = cells.evaluate(made, GaussianDiscriminant())
    (plain,) = cells.evaluate(
        bench(shots="1", select="last", variants=variants(GaussianDiscriminant)), GaussianDiscriminant()
    )
    for seed, outcome in result.outcomes.items():
        assert outcome.choices["support_cv"].point == {"alpha": 1.0}
        assert (outcome.choices["support_cv"].final() == plain.outcomes[seed].choices["last"].final()).all()
        (note,) = [note for note in outcome.notes if note.startswith("support_cv: ")]
        assert note == f"support_cv: 4 classes have one image, {AS_CONFIGURED}"


def test_a_class_that_the_folds_would_lose_leaves_none() -> None:
    features = make_features()
    train = features.splits["train"]
    kept = np.sort(np.concatenate([np.flatnonzero(train.y == 2)[:1], np.flatnonzero(train.y != 2)]))
    features = replace(features, splits=features.splits | {"train": Split(train.x[kept], train.y[kept])})
    method = Looking()
    (result,) = cells.evaluate(bench(features, allow_fewer=True, seeds=1), method)
    assert [seed for seed, *_ in method.asked] == [0]
    assert result.outcomes[0].notes == [
        "1 classes have fewer than 5 images",
        f"support_cv: class 'class 2' has one image, {AS_CONFIGURED}",
    ]


def test_what_has_one_candidate_is_not_fitted_to_every_fold() -> None:
    class One(Looking):
        def fit(self, task: Task, replicas: Sequence[Replica]) -> Iterator[Candidate]:
            yield from (one for one in super().fit(task, replicas) if one.point["sign"] == 1)

    method = One()
    (result,) = cells.evaluate(bench(), method)
    assert [seed for seed, *_ in method.asked] == [1_000_000, 0, 1]
    assert all(outcome.notes == [] for outcome in result.outcomes.values())
    made = bench(shots="1", variants=variants(ZeroShot))
    assert all(outcome.notes == [] for outcome in cells.evaluate(made, ZeroShot())[0].outcomes.values())


def test_zero_shot_is_one_cell_without_folds() -> None:
    (result,) = cells.evaluate(bench(shots="0", seeds=1), ZeroShot())
    assert result.outcomes[0].notes == []


@pytest.mark.parametrize("also", [["last"], ["last", "val_full", "report"]])
def test_other_regimes_choose_as_they_would_without(also: list[str]) -> None:
    params = variants(GaussianDiscriminant)
    for regime in also:
        beside = chosen(bench(variants=params, also=also), GaussianDiscriminant(), regime)
        alone = chosen(bench(variants=params, select=regime), GaussianDiscriminant(), regime)
        assert beside == alone


def test_the_seconds_of_the_folds_count() -> None:
    made = bench(variants=variants(ProximalKernel), seeds=1)
    (result,) = cells.evaluate(made, ProximalKernel())
    outcome = result.outcomes[0]
    assert outcome.cv_seconds > 0
    assert cells.metrics(made, outcome)["fit_seconds"] == outcome.fit_seconds + outcome.cv_seconds


def test_where_memory_runs_out_the_folds_are_halved_too() -> None:
    class Greedy(Looking):
        engine = "heads"  # so that folds come together

        def __init__(self, most: int) -> None:
            super().__init__()
            self.most = most

        def fit(self, task: Task, replicas: Sequence[Replica]) -> Iterator[Candidate]:
            if len(replicas) > self.most:
                raise MemoryError("Unable to allocate 7.00 TiB")
            return super().fit(task, replicas)

    assert chosen(bench(), Greedy(1)) == chosen(bench(), Greedy(9))


def test_an_error_in_a_fold_says_so() -> None:
    class Nowhere(Looking):
        def fit(self, task: Task, replicas: Sequence[Replica]) -> Iterator[Candidate]:
            for one in super().fit(task, replicas):
                yield Candidate(one.replicas, lambda queries: np.full((1, len(queries), 4), np.nan), one.point)

    with pytest.raises(ValueError, match="logits are not finite") as caught:
        cells.evaluate(bench(), Nowhere())
    assert caught.value.__notes__ == ["in the cross-validation of the support of seed 0"]


# --- tuning ------------------------------------------------------------------------------------------------------


class Turned(Method):
    """Class means with a sign: variants of which one is right."""

    name = "turned"

    def needs(self, params: Params) -> frozenset[str]:
        return frozenset({"image", "text"} if params.get("text") else {"image"})

    def classifier(self, task: Task, replica: Replica) -> Classifier:
        support = task.supports[replica.seed]
        means = replica.params["sign"] * support.one_hot(task.classes).T @ support.x
        return lambda queries: queries @ means.T


SIGNS = [{"variant": f"sign={sign}", "params": {"sign": sign, "other": 3}} for sign in (-1, 1, 2)]


@pytest.mark.parametrize("regime", ["support_cv", "val_fewshot", "val_full", "report"])
def test_every_regime_that_chooses_chooses_among_the_variants(regime: str) -> None:
    made = bench(variants=SIGNS, tuned="sign tuned", select=regime, also=["last"])
    (result,) = cells.evaluate(made, Turned())
    assert (result.variant, result.params) == ("sign tuned", {"sign": [-1, 1, 2], "other": 3})
    for outcome in result.outcomes.values():
        assert outcome.choices[regime].point == {"sign": 1}  # of equals the earlier
        assert outcome.choices["last"].point == {"sign": -1}  # nothing is looked at: the first
        found = cells.metrics(made, outcome)
        assert found["accuracy"] == found["accuracy_peek"] == max(outcome.curve)
        assert found["accuracy_last"] == outcome.curve[-1] == cells.metrics(made, outcome, "last")["accuracy"]


def test_tuned_over_variants_and_epochs_is_the_best_of_both() -> None:
    several = [{"variant": f"{rate}", "params": probe(lr=rate)[0]["params"]} for rate in (1e-6, 0.03)]
    one_by_one = cells.evaluate(bench(variants=several), LinearProbe())
    (tuned,) = cells.evaluate(bench(variants=several, tuned="lr tuned"), LinearProbe())
    for seed, outcome in tuned.outcomes.items():
        rivals = {r.params["lr"]: r.outcomes[seed].choices["support_cv"] for r in one_by_one}
        best = max(rivals, key=lambda rate: rivals[rate].score)
        assert outcome.choices["support_cv"].point == {"lr": best, **rivals[best].point}


def test_with_one_image_a_class_the_first_variant_is_taken() -> None:
    (result,) = cells.evaluate(bench(variants=SIGNS, tuned="sign tuned", shots="1"), Turned())
    for outcome in result.outcomes.values():
        assert outcome.choices["support_cv"].point == {"sign": -1}
        assert any("parameters as configured" in note for note in outcome.notes)


def test_variants_that_cannot_be_run_are_left_out_and_named() -> None:
    texts = [{"variant": f"text={text}", "params": {"text": text, "sign": 1}} for text in (True, False)]
    (result,) = cells.evaluate(bench(make_features(text=False), variants=texts, tuned="text tuned"), Turned())
    for outcome in result.outcomes.values():
        assert outcome.choices["support_cv"].point == {"text": False}
        assert "not tuned with text=True: needs text, which these features don't have" in outcome.notes
    (none,) = cells.evaluate(bench(make_features(text=False), variants=texts[:1], tuned="text tuned"), Turned())
    assert (none.reason, none.outcomes) == ("needs text, which these features don't have", {})
