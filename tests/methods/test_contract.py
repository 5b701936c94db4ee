"""Every built-in method keeps the contract; for each property, a plugin that breaks it fails exactly that."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest

from methods import Array, Candidate, Classifier, Method, Param, Params, Pullback, Replica, Task
from methods.linear_probe import LinearProbe
from methods.tools.check import PROPERTIES, ContractError, check, verdicts
from methods.tools.page import markdown
from methods.tools.registry import load

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


class NeedsEqualClasses(Sound):
    def weights(self, task: Task, replica: Replica) -> Any:
        support = task.supports[replica.seed]
        return support.x[np.argsort(support.y)].reshape(task.classes, -1, task.dim).mean(1)


class Blind(Sound):
    def weights(self, task: Task, replica: Replica) -> Any:
        return -super().weights(task, replica)


class ForgetsTheBias(LinearProbe):
    def vjp(self, head: Any, x: Array) -> tuple[Array, Pullback]:
        logits, pull = super().vjp(head, x)
        return (
            logits,
            lambda gradient: (found := pull(gradient)) | {"classifier.1.bias": 0 * found["classifier.1.bias"]},
        )


BROKEN = {
    UnknownDefault: "parameters",
    Transposed: "shapes",
    NotFinite: "finite",
    WritesIntoItsInputs: "inputs_untouched",
    NotSeeded: "repeatable",
    LooksAtItsCompany: "alone_as_in_company",
    LooksAtTheOtherQueries: "one_query_at_a_time",
    ForgetsTheBias: "by_hand",
    FavoursTheFirstClass: "classes_permuted",
    NeedsEqualClasses: "sizes",
    Blind: "better_than_chance",
}


@pytest.mark.parametrize("name", BUILT_IN)
def test_built_in(name: str) -> None:
    assert [one for one in verdicts(BUILT_IN[name].method) if one.failure] == []


def test_the_sound_one_passes() -> None:
    check(Sound)


def test_every_property_has_a_plugin_that_breaks_it() -> None:
    assert sorted(BROKEN.values()) == sorted(PROPERTIES)


@pytest.mark.parametrize(("method", "name"), BROKEN.items(), ids=lambda value: getattr(value, "__name__", value))
def test_broken(method: type[Method], name: str) -> None:
    failed = [one for one in verdicts(method) if one.failure]
    assert [one.name for one in failed] == [name]
    assert failed[0].failure.startswith("expected ")
    with pytest.raises(ContractError, match=rf"{method.__name__}: {name} \("):
        check(method)


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
