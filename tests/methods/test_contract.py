"""Every built-in method keeps the contract; for each property, a plugin that breaks it fails exactly that."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
import pytest

from methods import (
    Array,
    Candidate,
    Classifier,
    GridMethod,
    Method,
    Param,
    Params,
    Pullback,
    Replica,
    Support,
    Task,
    TrainedMethod,
    training,
)
from methods.contract.program import Program, linear
from methods.linear_probe import LinearProbe
from methods.tools.check import PROPERTIES, ContractError, check, verdicts
from methods.tools.page import markdown
from methods.tools.problems import SHOTS, as_needed, problem, replicas
from methods.tools.registry import load
from workflow.lib.evaluation import scoring

BUILT_IN = load().methods


def test_every_built_in_method_says_what_it_leaves_out_of_its_official_recipe() -> None:
    page = markdown(load())
    for name, entry in BUILT_IN.items():
        line = entry.method.departs
        assert line, name
        assert "\n" not in line
        assert f"Not done of the official recipe: {line}." in page.split(f"\n## {name}\n")[1].split("\n## ")[0]


# --- class texts at their own length ---------------------------------------------------------------------------------


def texts(raw: Any) -> Task:
    """Two classes whose unit texts are the axes."""
    return Task({}, ["a", "b"], "1", text=np.eye(2, dtype=np.float32), text_raw=raw)


def test_texts_have_their_own_length_or_the_one_asked_for() -> None:
    raw = np.diag([12.0, 9.0]).astype(np.float32)
    assert np.array_equal(texts(raw).own_text(), raw)
    assert np.array_equal(texts(raw).own_text(4.0), 4 * np.eye(2))


@pytest.mark.parametrize("raw", [None, np.eye(2, dtype=np.float32), 0.97 * np.eye(2, dtype=np.float32)])
def test_texts_that_lost_their_length_get_that_of_the_published_recipes(raw: Any) -> None:
    """A mean of unit embeddings is a little shorter than 1."""
    assert np.array_equal(texts(raw).own_text(), 10 * np.eye(2))
    assert texts(raw).own_text().dtype == np.float32


def test_without_text_its_own_length_is_refused_as_the_text_is() -> None:
    with pytest.raises(ValueError, match="these features have no text"):
        Task({}, ["a", "b"], "1").own_text()


@pytest.mark.parametrize("name", ["last_block", "fine_tune", "clip_lora", "two_stage"])
def test_the_check_ships_what_trains_the_image_tower(name: str) -> None:
    """It would be silent about a method that says why it can't be shipped."""
    method = load().methods[name].method
    at, who = problem(5, [SHOTS] * 5), replicas(method)[0]
    assert method().export(as_needed(method, at.task, who), who).tower


class Sound(Method):
    """Cosine to the text moved towards the class means."""

    name = "sound"
    params = {"alpha": Param(1.0, "weight of the class means", low=0)}

    def needs(self, params: Params) -> frozenset[str]:
        return frozenset({"image", "text"})

    def weights(self, task: Task, replica: Replica) -> Any:
        support = task.supports[replica.seed]
        means = support.one_hot(task.classes).T @ support.x / np.bincount(support.y, minlength=task.classes)[:, None]
        return task.class_text() + replica.params["alpha"] * means

    def classifier(self, task: Task, replica: Replica) -> Classifier:
        weights = self.weights(task, replica)
        return lambda queries: task.logit_scale * queries @ weights.T


class UnknownDefault(Sound):
    params = {"alpha": Param(-1.0, "weight", low=0)}

    def weights(self, task: Task, replica: Replica) -> Any:
        return super().weights(task, Replica("-", {"alpha": 1.0}, replica.seed))


class Transposed(Sound):
    def fit(self, task: Task, replicas: Sequence[Replica]) -> Iterator[Candidate]:
        for candidate in super().fit(task, replicas):
            yield Candidate(candidate.replicas, lambda queries, one=candidate: one.logits(queries)[0])


class SkipsTheLast(Sound):
    def fit(self, task: Task, replicas: Sequence[Replica]) -> Iterator[Candidate]:
        yield from list(super().fit(task, replicas))[: max(1, len(replicas) - 1)]


class NotFinite(Sound):
    def classifier(self, task: Task, replica: Replica) -> Classifier:
        classify = super().classifier(task, replica)
        return lambda queries: np.where(np.arange(len(queries))[:, None] == 7, np.nan, classify(queries))


class WritesIntoItsInputs(Sound):
    def classifier(self, task: Task, replica: Replica) -> Classifier:
        weights = self.weights(task, replica)
        task.supports[replica.seed].x[:] = np.round(task.supports[replica.seed].x, 6)
        return lambda queries: task.logit_scale * queries @ weights.T


class NotSeeded(Sound):
    calls = 0

    def weights(self, task: Task, replica: Replica) -> Any:
        NotSeeded.calls += 1
        return super().weights(task, replica) * (1 + 0.1 * (NotSeeded.calls % 7))


class LooksAtItsCompany(Sound):
    def fit(self, task: Task, replicas: Sequence[Replica]) -> Iterator[Candidate]:
        for candidate in super().fit(task, replicas):
            yield Candidate(candidate.replicas, lambda queries, one=candidate: one.logits(queries) * len(replicas))


class LooksAtTheOtherQueries(Sound):
    def classifier(self, task: Task, replica: Replica) -> Classifier:
        classify = super().classifier(task, replica)
        return lambda queries: classify(queries) - classify(queries).mean(0)


class FavoursTheFirstClass(Sound):
    def classifier(self, task: Task, replica: Replica) -> Classifier:
        classify = super().classifier(task, replica)
        return lambda queries: classify(queries) + 3 * (np.arange(task.classes) == 0).astype(np.float32)


class SortsTheClasses(Sound):
    """By their names, which on a study's classes may be another order than that of the labels."""

    random_per_class = True

    def weights(self, task: Task, replica: Replica) -> Any:
        return super().weights(task, replica)[np.argsort(task.classnames)]


class ShipsSomethingElse(Sound):
    def export(self, task: Task, replica: Replica, point: Mapping[str, float] | None = None) -> Program:
        return linear(self.weights(task, replica).T, np.ones(task.classes))


class NeedsEqualClasses(Sound):
    def weights(self, task: Task, replica: Replica) -> Any:
        support = task.supports[replica.seed]
        return support.x[np.argsort(support.y)].reshape(task.classes, -1, task.dim).mean(1)


class Blind(Sound):
    def weights(self, task: Task, replica: Replica) -> Any:
        return -super().weights(task, replica)


class Quick(LinearProbe):
    """A linear probe that has learned in a twentieth of the time."""

    params = {**LinearProbe.params, **training(lr=0.02, epochs=10)}


class ForgetsTheBias(LinearProbe):
    def vjp(self, head: Any, x: Array) -> tuple[Array, Pullback]:
        logits, pull = super().vjp(head, x)
        return (
            logits,
            lambda gradient: (found := pull(gradient)) | {"classifier.1.bias": 0 * found["classifier.1.bias"]},
        )


class FoldsTheBiasAway(Quick):
    compiled = ""

    def folded(self, head: Any) -> Callable[[Array], Array]:
        weight, _ = head.classifier.affine()
        return lambda x: x @ weight


class UsesEverySupport(Sound):
    """The leak that topped the table: a seed learns from the images of all."""

    def weights(self, task: Task, replica: Replica) -> Any:
        supports = task.supports.values()
        pooled = Support(np.concatenate([one.x for one in supports]), np.concatenate([one.y for one in supports]))
        return super().weights(replace(task, supports={replica.seed: pooled}), replica)


class UsesTheFirstSupport(Sound):
    def weights(self, task: Task, replica: Replica) -> Any:
        return super().weights(task, Replica("-", replica.params, 0))


class RemembersTheLastSupport(Sound):
    """Through the instance, in its own fit."""

    def fit(self, task: Task, replicas: Sequence[Replica]) -> Iterator[Candidate]:
        weights = sum(self.weights(task, replica) for replica in replicas)
        for replica in replicas:
            yield Candidate.of(replica, lambda queries: task.logit_scale * queries @ weights.T)


class LearnsAfterAll(Sound):
    learns = False


class LeaksInATraining(Quick):
    def sources(self, task: Task, replica: Replica) -> Sequence[Support]:
        return [task.supports[1]]


class Probabilities(Sound):
    def classifier(self, task: Task, replica: Replica) -> Classifier:
        classify = super().classifier(task, replica)
        return lambda queries: np.exp(scoring.log_softmax(classify(queries))).astype(np.float32)


class WritesIntoItsParameters(Sound):
    def weights(self, task: Task, replica: Replica) -> Any:
        replica.params["alpha"] *= 1.0 + 1e-12  # type: ignore[index]
        return super().weights(task, replica)


class DropsAView(Sound):
    """In place: what is written through torch is written, too."""

    def needs(self, params: Params) -> frozenset[str]:
        return frozenset({"image", "text", "views"})

    def weights(self, task: Task, replica: Replica) -> Any:
        import torch

        views = task.supports[replica.seed].views
        assert views is not None
        torch.from_numpy(views)[:, 0].mul_(0)
        return super().weights(task, replica)


class NeedsWhatThereIsNot(Sound):
    def needs(self, params: Params) -> frozenset[str]:
        return frozenset({"image", "text", "txet"})


class NeedsItWithASwitch(Sound):
    params = {**Sound.params, "views": Param(False, "whether to use the views")}

    def needs(self, params: Params) -> frozenset[str]:
        return super().needs(params) | ({"veiws"} if params["views"] else set())


class DoesNotSayWhatItNeeds(Sound):
    def needs(self, params: Params) -> frozenset[str]:
        return frozenset({"image"})


class NamedAsAKey(Sound):
    params = {**Sound.params, "method": Param("a", "which of them")}


class SweepsWhatThereIsNot(GridMethod):
    name = "sweeps"
    params = {"alpha": Param(1.0, "weight", low=0)}
    grid = {"alhpa": (0.5, 1.0)}

    def configured(self, task: Task, replica: Replica) -> dict[str, float]:
        return {"alpha": 1.0}

    def prepare(self, task: Task, replica: Replica) -> Classifier:
        sound = Sound().classifier(task, replica)
        return lambda queries, alpha: sound(queries)


class ReadsWhatItDoesNotDeclare(Sound):
    def weights(self, task: Task, replica: Replica) -> Any:
        return super().weights(task, replica) * replica.params["aplha"]


class MisspeltPenalty(Quick):
    def penality(self, head: Any) -> Array:
        return 0 * head.classifier[0].weight.sum((1, 2))


class LossWhereThereIsNone(Sound):
    def loss(self, logits: Array, labels: Array) -> Array:
        return logits


class HookOfAnotherLibrary(Quick):
    def training_step(self, batch: Array) -> Array:
        return batch


class HookOfAnotherBase(Sound):
    def penalty(self, head: Any) -> None:
        return None


class Exits(Sound):
    def classifier(self, task: Task, replica: Replica) -> Classifier:
        sys.exit("no licence")


class SaysItIsALinearProbe(Quick):
    compiled = "linear"
    vjp = TrainedMethod.vjp

    def logits(self, head: Any, x: Array) -> Array:
        return 50 * head.classifier(x)


BROKEN = [
    (UnknownDefault, "parameters", "to survive JSON: found -1.0, allowed: a number ≥ 0"),
    (NamedAsAKey, "parameters", "and not 'method', found 'method'"),
    (SweepsWhatThereIsNot, "parameters", "`grid` to name parameters, found 'alhpa'; did you mean 'alpha'?"),
    (NeedsWhatThereIsNot, "needs", "found 'txet'; did you mean 'text'?"),
    (NeedsItWithASwitch, "needs", "found 'veiws'; did you mean 'views'?"),
    (MisspeltPenalty, "hooks", "found `MisspeltPenalty.penality`: did you mean `penalty`?"),
    (LossWhereThereIsNone, "hooks", "found `LossWhereThereIsNone.loss`: only TrainedMethod has it"),
    (HookOfAnotherLibrary, "hooks", "found `HookOfAnotherLibrary.training_step`: there is no such hook; there are"),
    (HookOfAnotherBase, "hooks", "found `HookOfAnotherBase.penalty`: only TrainedMethod has it"),
    (Transposed, "shapes", "floating-point logits of shape (1, 40, 5), found float64 of (40, 5)"),
    (ReadsWhatItDoesNotDeclare, "shapes", "that is declared (alpha), found 'aplha'; did you mean 'alpha'?"),
    (DoesNotSayWhatItNeeds, "shapes", "these features have no text: the method must name `text` in its needs"),
    (Exits, "shapes", "expected it to run, found SystemExit: no licence"),
    (NotFinite, "finite", ""),
    (WritesIntoItsInputs, "inputs_untouched", "found changed: support of seed 0, support of seed 1"),
    (WritesIntoItsParameters, "inputs_untouched", "found changed: params of variant '-', seed 0, params of"),
    (DropsAView, "inputs_untouched", "found changed: views of seed 0, views of seed 1"),
    (NotSeeded, "repeatable", ""),
    (Probabilities, "no_probabilities", "between 0 and 1 that sum to 1: their logarithms are logits"),
    (UsesEverySupport, "own_support_alone", "other images for the other seeds to change nothing for variant '-', seed"),
    (UsesTheFirstSupport, "own_support_alone", "for variant '-', seed 1"),
    (LeaksInATraining, "own_support_alone", "for variant '-', seed 0"),
    (LearnsAfterAll, "own_support_alone", "other images, where no image is learned from, to change nothing"),
    (LooksAtItsCompany, "alone_as_in_company", ""),
    (LooksAtTheOtherQueries, "one_query_at_a_time", ""),
    (ForgetsTheBias, "by_hand", "expected `vjp` to agree with `logits`; found gradients of classifier.1.bias"),
    (FoldsTheBiasAway, "by_hand", "expected `folded` to equal `logits`"),
    (ShipsSomethingElse, "shipped", "what is shipped to give the logits of the fitted classifier"),
    (SaysItIsALinearProbe, "by_hand", "expected an epoch of what is `compiled` to train what `logits` says"),
    (FavoursTheFirstClass, "classes_permuted", "permuted classes to permute the logits"),
    (SortsTheClasses, "classes_permuted", "about the same accuracy with permuted classes, found 1.00 and 0."),
    (NeedsEqualClasses, "sizes", ""),
    (Blind, "better_than_chance", ""),
]


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in(name: str) -> None:
    assert [one for one in verdicts(BUILT_IN[name].method) if one.failure] == []


def test_the_sound_one_passes() -> None:
    check(Sound)


def test_every_property_has_a_plugin_that_breaks_it() -> None:
    assert {name for _, name, _ in BROKEN} == set(PROPERTIES)


@pytest.mark.parametrize(("method", "name", "words"), BROKEN, ids=lambda value: getattr(value, "__name__", ""))
def test_broken(method: type[Method], name: str, words: str) -> None:
    failed = [one for one in verdicts(method) if one.failure]
    assert [one.name for one in failed] == [name]
    assert failed[0].failure.startswith("expected ")
    assert words in failed[0].failure
    with pytest.raises(ContractError, match=rf"{method.__name__}: {name} \("):
        check(method)


def test_a_support_that_is_kept_for_the_next_seed_is_found() -> None:
    failed = {one.name for one in verdicts(RemembersTheLastSupport) if one.failure}
    assert failed == {"own_support_alone", "alone_as_in_company"}


class Harmless(Sound):
    """What looks like a mistake and is none."""

    year = 2021
    heads = 2  # near `head`, which is no hook of Method

    def loss(self, weights: Any) -> float:
        return float((weights**2).sum())

    def weights(self, task: Task, replica: Replica) -> Any:
        found = super().weights(task, replica)
        return found + 0 * self.loss(found)


class OneVote(Sound):
    """Cosines that lie between 0 and 1, as most do, and do not sum to 1."""

    def classifier(self, task: Task, replica: Replica) -> Classifier:
        classify = super().classifier(task, replica)
        return lambda queries: classify(queries) / 100 + 0.5


@pytest.mark.parametrize("method", [Harmless, OneVote])
def test_no_false_alarm(method: type[Method]) -> None:
    check(method)


def test_a_fit_of_one_replica_sees_its_own_support_alone() -> None:
    """What check finds out, the evaluator does not hand out in the first place."""
    at = problem(5, [4] * 5)
    plain = Task(**{field.name: getattr(at.task, field.name) for field in fields(Task)})
    leaky = next(UsesEverySupport().fit(plain, [Replica("-", {"alpha": 1.0}, 1)])).logits(at.queries)
    honest = next(Sound().fit(plain, [Replica("-", {"alpha": 1.0}, 1)])).logits(at.queries)
    assert np.array_equal(leaky, honest)
    with pytest.raises(KeyError):
        next(LeaksInATraining().fit(plain, [Replica("-", LeaksInATraining.defaults({}), 0)]))


def test_what_can_t_be_compared_with_itself_is_not_tested_further() -> None:
    found = {one.name: one for one in verdicts(NotFinite)}
    assert found["finite"].failure
    assert not found["shapes"].skipped
    assert found["classes_permuted"].skipped
    assert not any(one.skipped for one in verdicts(Blind))


def test_a_replica_without_a_candidate() -> None:
    with pytest.raises(
        ContractError, match="expected a candidate for every replica, found none for variant '-', seed 1"
    ):
        check(SkipsTheLast)
