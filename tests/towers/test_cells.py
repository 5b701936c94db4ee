"""Cells with the text tower in the loop, from a study's backbone to the record: as the workflow's job runs them."""

import json
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import numpy as np
import pytest

from methods import Method
from methods.clip_lora import LowRankAdaptation
from methods.coop import ContextOptimization
from methods.kgcoop import KnowledgeGuidedContext
from methods.last_block import LastBlock
from methods.linear_probe import LinearProbe
from methods.two_stage import TwoStage
from tests.samples import make_features, without
from workflow.lib.data.index import Index
from workflow.lib.encoding import backbones, beside, extraction, prompts
from workflow.lib.errors import UserError
from workflow.lib.evaluation import engines
from workflow.lib.evaluation.bench import Cell
from workflow.lib.evaluation.calibrator import Settings
from workflow.lib.features import arrays, store
from workflow.lib.features.store import Features
from workflow.lib.shipping import fitting
from workflow.scripts import evaluate as job

ROOT = Path(__file__).parents[2]
ASSETS = ROOT / "workflow" / "assets" / "nano"
NANO = {"model": str(ASSETS / "model.json"), "weights": str(ASSETS / "model.safetensors")}
TEMPLATES = ["a photo of the number {}."]
NAMES = [["zero", "nought"], ["one"], ["two"], ["three"]]
TIMES = {"seconds", "fit_seconds", "peak_memory_mb", "provenance"}
PARAMS = ContextOptimization.defaults({}) | {"epochs": 3, "init": "a photo of the number"}
FEW = {"iterations": 5, "encoder": "text"}
VARIANTS = [{"variant": "-", "params": PARAMS}]
CELL = Cell("trial", "digits", "nano", "coop", "coop", "2", 2, "test", "last", VARIANTS)


@pytest.fixture(scope="module")
def features() -> Features:
    """Of nano: the texts are its own, and the images lie around them."""
    backbone = backbones.load(NANO, "cpu")
    found = Index(("0", "1", "2", "3"), Path(), {}, NAMES)
    text = prompts.embed(
        found,
        TEMPLATES,
        backbone.tokenizer,
        lambda names: extraction.embed_texts(backbone, names, TEMPLATES, batch_size=8, threads=1),
    )
    made, rng = make_features(dim=text.shape[-1]), np.random.default_rng(0)
    near = text[:, 0] / np.linalg.norm(text[:, 0], axis=1, keepdims=True)
    splits = {
        name: replace(split, x=(near[split.y] + 0.1 * rng.normal(size=split.x.shape)).astype(np.float32))
        for name, split in made.splits.items()
    }
    metadata = {"spec": NANO, "weights_sha256": backbone.fingerprint, "templates": TEMPLATES, "names": NAMES}
    return Features(splits, ("0", "1", "2", "3"), text, backbone.logit_scale, metadata)


def evaluate(
    folder: Path,
    given: Features,
    monkeypatch: pytest.MonkeyPatch,
    backbone: dict[str, str] = NANO,
    cell: Cell = CELL,
    array: arrays.Array | None = None,
) -> dict[str, Any]:
    """What the job of a cell has written."""
    folder.mkdir()
    store.write(folder / "f.safetensors", given)
    cell = replace(cell, made_of={"backbone": backbone, "templates": TEMPLATES})
    arguments = {"spec": json.dumps(asdict(cell)), "features": folder / "f.safetensors", "device": "cpu"}
    if array is not None:
        arrays.write(folder / "array.safetensors", array)
        arguments["array"] = folder / "array.safetensors"
    arguments |= {name: folder / name for name in ("metrics", "predictions")}
    monkeypatch.setattr(sys, "argv", ["evaluate", *(f"--{name}={value}" for name, value in arguments.items())])
    for name in ("_pin_threads", "faulthandler"):  # they are for a process of its own
        monkeypatch.setattr(job, name, MagicMock())
    job.main()
    return without(json.loads((folder / "metrics").read_text()), TIMES)


def test_a_cell_learns_contexts_and_the_same_inputs_give_the_same_record(
    tmp_path: Path, features: Features, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    record = evaluate(tmp_path / "a", features, monkeypatch)
    log = capsys.readouterr().out
    assert record == evaluate(tmp_path / "b", features, monkeypatch)
    (variant,) = record["variants"]
    assert variant["trainable_parameters"] == 5 * 64  # a, photo, of, the, number
    assert len(variant["seeds"]) == 2
    assert "coop: 2 trainings side by side, on cpu" in log
    assert " s left" in log


def test_on_features_from_elsewhere_it_is_n_a_with_the_reason(
    tmp_path: Path, features: Features, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = {"features": "path/{dataset}.npz"}
    given = replace(features, metadata={"spec": elsewhere, "templates": TEMPLATES})
    record = evaluate(tmp_path / "a", given, monkeypatch, elsewhere)
    reason = "needs text_encoder, which these features don't have: they come without a model"
    assert record["variants"][0]["reason"] == reason


def test_features_of_other_weights_are_refused_in_one_line(
    tmp_path: Path, features: Features, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = replace(features, metadata={**features.metadata, "weights_sha256": "0" * 64})
    with pytest.raises(UserError) as error:
        evaluate(tmp_path / "a", given, monkeypatch)
    line = str(error.value)
    assert line.startswith(f"{NANO['weights']}: the weights are ")
    assert line.endswith("delete the features, and the next run makes them anew")
    assert "\n" not in line
    assert not (tmp_path / "a" / "metrics").exists()


def block(features: Features) -> tuple[Cell, arrays.Array]:
    """A cell of `last_block`, and what goes into nano's last block, as its job reads it."""
    backbone = backbones.load(NANO, "cpu")
    shape, rng = beside.shape_before(backbone, 1), np.random.default_rng(1)
    rows = {
        name: rng.exponential(size=(len(split.y), *shape)).astype(np.float32) for name, split in features.splits.items()
    }
    variants = [
        {"variant": f"wise={w}", "params": LastBlock.defaults({}) | {"epochs": 3, "wise": w}} for w in (0.0, 1.0)
    ]
    cell = replace(CELL, label="last_block", method="last_block", variants=variants)
    return cell, arrays.Array("blocks1", rows, features.metadata)


def test_a_cell_trains_the_last_block_and_the_same_inputs_give_the_same_record(
    tmp_path: Path, features: Features, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cell, array = block(features)
    record = evaluate(tmp_path / "a", features, monkeypatch, cell=cell, array=array)
    log = capsys.readouterr().out
    assert record == evaluate(tmp_path / "b", features, monkeypatch, cell=cell, array=array)
    assert [len(variant["seeds"]) for variant in record["variants"]] == [2, 2]
    assert record["variants"][0]["trainable_parameters"] > 10**6
    assert "last_block: 2 trainings side by side in 2 chunks, on cpu" in log
    assert " s left" in log


def test_without_what_goes_into_the_block_it_is_n_a_with_what_would_help(
    tmp_path: Path, features: Features, monkeypatch: pytest.MonkeyPatch
) -> None:
    cell, array = block(features)
    absent = arrays.Array("blocks1", metadata=array.metadata, absent="too large")
    record = evaluate(tmp_path / "a", features, monkeypatch, cell=cell, array=absent)
    assert {one["reason"] for one in record["variants"]} == {
        "needs blocks1, which these features don't have: too large"
    }
    elsewhere = {"features": "path/{dataset}.npz"}
    given = replace(features, metadata={"spec": elsewhere, "templates": TEMPLATES})
    record = evaluate(tmp_path / "b", given, monkeypatch, elsewhere, cell)
    reason = "needs blocks1, model, which these features don't have: they come without a model"
    assert record["variants"][0]["reason"] == reason


def test_without_the_tower_that_is_to_be_trained_nothing_is_shipped_and_it_says_why(features: Features) -> None:
    row = fitting.Row("trial", "digits", "nano", "last_block", "last_block", block(features)[0].variants[:1], "last")
    given = fitting.labelled(features, everything=False)
    with pytest.raises(UserError, match="ship: last_block: needs blocks1, model, which these features don't have"):
        fitting.fit(row, LastBlock(), given, Settings(), "cpu", 1, lambda line: None)


@pytest.mark.parametrize(
    ("method", "params"),
    [(ContextOptimization, PARAMS), (LowRankAdaptation, FEW), (TwoStage, FEW)],
    ids=lambda given: getattr(given, "name", ""),
)
def test_what_is_shipped_are_the_class_texts(features: Features, method: type[Method], params: dict[str, Any]) -> None:
    """As a matrix: the shipped classifier needs no text tower."""
    variants = [{"variant": "-", "params": method.defaults({}) | params}]
    row = fitting.Row("trial", "digits", "nano", method.name, method.name, variants, "last")
    encoder, _ = engines.towers({"text_encoder"}, NANO, features.classnames, features.metadata, "cpu")
    given = fitting.labelled(features, everything=False)
    made = fitting.fit(row, method(), given, Settings(), "cpu", 1, lambda line: None, encoder)
    assert [operation for _, operation, _ in made.program.steps] == ["unit", "linear"]
    test = features.splits["test"]
    assert (made.program(np.asarray(test.x)).argmax(1) == test.y).mean() > 0.5
    with pytest.raises(UserError, match=f"ship: {method.name}: needs .*text_encoder"):
        fitting.fit(row, method(), given, Settings(), "cpu", 1, lambda line: None, "it has none")


def test_the_tower_has_the_names_and_the_templates_of_the_features(features: Features) -> None:
    found, _ = engines.towers({"text_encoder"}, NANO, features.classnames, features.metadata, "cpu")
    assert not isinstance(found, str)
    assert (found.names, found.templates) == (("zero", "one", "two", "three"), tuple(TEMPLATES))
    plain, _ = engines.towers({"text_encoder"}, NANO, features.classnames, {}, "cpu")
    assert not isinstance(plain, str)
    assert plain.names == ("0", "1", "2", "3")


def test_only_those_who_learn_through_the_tower_import_it() -> None:
    for method in (ContextOptimization, KnowledgeGuidedContext, LowRankAdaptation, TwoStage, LastBlock):
        assert engines.TOWERS in engines.imports(method, method().needs(method.defaults({})))
    assert engines.TOWERS not in engines.imports(LinearProbe, LinearProbe().needs(LinearProbe.defaults({})))
