"""A cell's JSON: what is in it, and that nothing else is taken for one."""

import copy
import json
import re
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
import yaml

from methods.contract.base import Array, Candidate, Method, Replica, Task
from tests.reporting import grid
from workflow.lib import files
from workflow.lib.errors import UserError
from workflow.lib.evaluation import cell as cells
from workflow.lib.evaluation import records
from workflow.lib.evaluation.bench import Bench, Cell
from workflow.lib.features.store import Features

SECONDS = {"start": 0.1, "read": 0.01234567, "fit": 1.0, "score": 0.1, "total": 1.3}


class Guesses(Method):
    """Two epochs of the same guess, with a note; one variant needs what nobody has."""

    name = "guesses"

    def needs(self, params: Any) -> frozenset[str]:
        return frozenset({"image", *params.get("also", [])})

    def fit(self, task: Task, replicas: Sequence[Replica]) -> Iterator[Candidate]:
        def logits(queries: Array) -> Array:
            return np.tile(np.eye(task.classes, dtype=np.float32)[0], (len(replicas), len(queries), 1))

        for epoch in (1, 2):
            yield Candidate(replicas, logits, {"epoch": epoch}, note="it guesses")


@pytest.fixture
def made(features: Features) -> dict[str, Any]:
    """The record of a cell with a variant that ran and one that could not."""
    variants = [{"variant": "plain", "params": {"k": 3}}, {"variant": "greedy", "params": {"also": ["spatial"]}}]
    cell = Cell("trial", "shapes", "tiny", "mine", "guesses", "2", 2, "test", "last", variants)
    bench = Bench(cell, features, "cpu", 1, lambda line: None)
    origin = records.provenance("cpu", 1, "features/tiny/shapes.safetensors", "a" * 64, "0123456789abcdef")
    return records.record(bench, cells.evaluate(bench, Guesses()), SECONDS, origin)


def test_a_record_is_what_the_schema_says_and_survives_a_file(made: dict[str, Any], tmp_path: Path) -> None:
    records.check(made, "here")
    files.write_json(tmp_path / "2.json", made)
    assert records.read(tmp_path / "2.json") == made


def test_the_schema_is_one_and_allows_no_further_key() -> None:
    schema = yaml.safe_load((records.SCHEMAS / "metrics.schema.yaml").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    open_on_purpose = {"params", "point"}  # the method's own

    def closed(node: Any, name: str = "") -> Iterator[str]:
        if isinstance(node, dict):
            if node.get("type") == "object" and name not in open_on_purpose and "additionalProperties" not in node:
                yield name
            for key, child in node.items():
                yield from closed(child, key)

    assert list(closed(schema)) == []


def test_a_record_says_what_was_computed(made: dict[str, Any]) -> None:
    expected = {
        "study": "trial",
        "dataset": "shapes",
        "backbone": "tiny",
        "method": "mine",
        "plugin": "guesses",
        "shots": "2",
        "protocol": {"report": "test", "select": "last", "also": [], "metric": "accuracy"},
        "classes": 4,
        "queries": 36,
        "support": 8,
    }
    assert {key: made[key] for key in expected} == expected


def test_every_seed_of_a_variant_has_its_metrics_its_choice_and_its_curve(made: dict[str, Any]) -> None:
    variant = made["variants"][0]
    assert (variant["variant"], variant["params"], variant["status"], variant["reason"]) == (
        "plain",
        {"k": 3},
        "ok",
        "",
    )
    assert [seed["seed"] for seed in variant["seeds"]] == [0, 1]
    for seed in variant["seeds"]:
        assert seed["metrics"]["accuracy"] == seed["metrics"]["accuracy_last"] == 0.25
        assert (seed["point"], seed["curve"], seed["notes"]) == ({"epoch": 2}, [0.25, 0.25], ["it guesses"])
        assert seed["curve_at"] == [1, 2]


def test_a_variant_that_could_not_run_says_why(made: dict[str, Any]) -> None:
    variant = made["variants"][1]
    assert (variant["status"], variant["seeds"]) == ("n/a", [])
    assert variant["reason"].startswith("needs spatial, which these features don't have")


def test_provenance_names_what_a_result_hangs_on(made: dict[str, Any]) -> None:
    origin = made["provenance"]
    assert set(origin["versions"]) >= {"python", "numpy"}
    assert (origin["features_sha256"], origin["code"], origin["threads"]) == ("a" * 64, "0123456789abcdef", 1)
    assert origin["device"].startswith("cpu")
    assert 10 < origin["peak_memory_mb"] < 100_000
    assert origin["peak_gpu_memory_mb"] == 0


def test_provenance_says_how_images_became_the_features(made: dict[str, Any]) -> None:
    assert made["provenance"]["extraction"] == {}
    preprocess = {"size": 32, "mean": [0.5] * 3, "std": [1.0] * 3, "interpolation": "bicubic", "resize_mode": "squash"}
    metadata = {
        "preprocess": json.dumps(preprocess),
        "activation": "QuickGELU",
        "recipe": "the tag openai",
        "weights_sha256": "b" * 64,
        "templates": ["a {}."],
        "left_out": {"a.png": "no image", "b.png": "no image"},
        "zeros": {"train_x": [1, 2], "test_x": [3]},
    }
    told = records.provenance("cpu", 1, "f", "a" * 64, "", metadata)["extraction"]
    assert told["preprocess"] == preprocess
    assert (told["activation"], told["recipe"], told["weights_sha256"]) == ("QuickGELU", "the tag openai", "b" * 64)
    assert (told["left_out"], told["zeros"]) == (2, 3)
    records.check(made | {"provenance": made["provenance"] | {"extraction": told}}, "here")


def test_in_a_checkout_the_commit_is_named() -> None:
    if not (Path(__file__).parents[2] / ".git").exists():
        pytest.skip("not a checkout")
    commit = records.provenance("cpu", 1, "f", "a" * 64, "")["commit"]
    assert re.fullmatch(r"[0-9a-f]{12}\+?", commit)


def test_a_checkout_with_changes_is_marked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Changes of tracked files are; new files are not, and a tag is no name for a commit."""
    monkeypatch.setattr(records, "SCHEMAS", tmp_path)
    (tmp_path / "code.py").write_text("right\n")
    who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    for command in (("init", "-q"), ("add", "."), ("commit", "-qm", "first"), ("tag", "-am", "a release", "v1")):
        subprocess.run(["git", *who, *command], cwd=tmp_path, check=True)
    clean = records.commit()
    assert re.fullmatch("[0-9a-f]{12}", clean)
    (tmp_path / "notes.txt").write_text("new")
    assert records.commit() == clean
    (tmp_path / "code.py").write_text("wrong\n")
    assert records.commit() == f"{clean}+"


def test_outside_a_repository_the_commit_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_git(*given: Any, **options: Any) -> None:
        raise FileNotFoundError("git")

    monkeypatch.setattr(records.subprocess, "run", no_git)
    assert records.provenance("cpu", 1, "f", "a" * 64, "")["commit"] == ""


# --- what is no record -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ('{"format": NaN}', "not JSON (NaN is no number)"),
        ('{"format": -Infinity}', "not JSON (-Infinity is no number)"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_what_is_no_json_is_one_line_with_a_way_out(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "1.json"
    path.write_text(text)
    with pytest.raises(UserError) as caught:
        records.read(path)
    assert str(caught.value).startswith(f"{path}: {reason}")
    assert str(caught.value).endswith("; delete it, and the next run makes it anew")
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text_are_no_json(tmp_path: Path) -> None:
    (tmp_path / "1.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UserError, match=r"1\.json: not JSON"):
        records.read(tmp_path / "1.json")


def _without(key: str) -> Callable[[dict[str, Any]], None]:
    return lambda record: record.pop(key)


def _seed(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda record: record["variants"][0]["seeds"][0].update(changes)


def _metric(**changes: Any) -> Callable[[dict[str, Any]], None]:
    return lambda record: record["variants"][0]["seeds"][0]["metrics"].update(changes)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (_without("variants"), "top level: 'variants' is a required property"),
        (
            lambda record: record.update(extra=1),
            "top level: Additional properties are not allowed ('extra' was unexpected)",
        ),
        (lambda record: record.update(format=2), "format: 1 was expected"),
        (lambda record: record.update(shots="07"), "shots: '07' does not match"),
        (lambda record: record.update(dataset="../x"), "dataset: '../x' does not match"),
        (lambda record: record.update(variants=[]), "variants: []"),
        (_seed(curve=[0.5, 1.5]), "variants.0.seeds.0.curve.1: 1.5 is greater than the maximum of 1"),
        (_metric(accuracy=55.0), "variants.0.seeds.0.metrics.accuracy: 55.0 is greater than the maximum of 1"),
        (_metric(accuracy=None), "variants.0.seeds.0.metrics.accuracy: None is not of type 'number'"),
        (_metric(nll=-1.0), "variants.0.seeds.0.metrics.nll: -1.0 is less than the minimum of 0"),
        (_metric(f1=0.5), "variants.0.seeds.0.metrics: Additional properties are not allowed ('f1' was unexpected)"),
        (
            lambda record: record["provenance"].update(features_sha256="abc"),
            "provenance.features_sha256: 'abc' does not match",
        ),
    ],
)
def test_a_damaged_record_is_one_line_with_the_place(
    tmp_path: Path, damage: Callable[[dict[str, Any]], None], message: str
) -> None:
    record = copy.deepcopy(grid.record({"-": [0.5]}))
    records.check(record, "whole")
    damage(record)
    path = tmp_path / "1.json"
    path.write_text(json.dumps(record))
    with pytest.raises(UserError) as caught:
        records.read(path)
    assert str(caught.value).startswith(f"{path}: not a cell's metrics: {message}")
    assert "\n" not in str(caught.value)


def test_metrics_that_are_not_finite_are_not_written(made: dict[str, Any], tmp_path: Path) -> None:
    made["variants"][0]["seeds"][0]["metrics"]["nll"] = float("nan")
    with pytest.raises(ValueError, match="not JSON compliant"):
        files.write_json(tmp_path / "1.json", made)
    assert list(tmp_path.iterdir()) == []
