"""The operations of a program in NumPy, torch and ONNX: the same numbers, for each of them and for every method."""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
import torch

from methods.contract.base import Method, Params
from methods.contract.exporting import CannotShipError
from methods.contract.program import OPERATIONS, Program, Writer, linear
from tests.methods.test_exporting import CASES, exported
from workflow.lib.errors import UserError
from workflow.lib.shipping import folder, onnx_file, standalone
from workflow.lib.shipping.classifier import Classifier, told_program


def classifier_of(program: Program, dim: int, classes: int, temperature: float = 1.0) -> Classifier:
    """A classifier that says no more of itself than a graph wants to know."""
    about = {"classes": [str(k) for k in range(classes)], "preprocessing": {}, "backbone": {"dim": dim}}
    return Classifier(program, linear(np.zeros((dim, 1)), np.zeros(1)), {**about, "temperature": temperature})


def by_torch(program: Program, x: np.ndarray) -> np.ndarray:
    arrays = {name: torch.from_numpy(array) for name, array in program.arrays.items()}
    told = json.loads(json.dumps(told_program(program)))
    return np.asarray(standalone.run(told, arrays, torch.from_numpy(x)))


def by_onnx(program: Program, x: np.ndarray, classes: int) -> Mapping[str, np.ndarray]:
    model = onnx_file.build(classifier_of(program, x.shape[1], classes, temperature=2.0))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {"features": x}), strict=True))


@pytest.mark.parametrize(("method", "values"), CASES)
def test_numpy_torch_and_onnx_agree_on_every_built_in_method(method: type[Method], values: Params) -> None:
    try:
        program, queries, _ = exported(method, values)
    except CannotShipError:
        return
    queries = queries.astype(np.float32)
    expected = program(queries)
    scale = max(1.0, float(np.abs(expected).max()) / 20)
    assert np.abs(by_torch(program, queries) - expected).max() < 1e-4 * scale
    assert np.abs(by_onnx(program, queries, 5)["logits"] - expected).max() < 1e-4 * scale


def written(operation: str) -> Program:
    """A program of about one operation."""
    write = Writer()
    rng = np.random.default_rng(1)
    others: dict[str, list[Any]] = {
        "linear": [rng.normal(size=(6, 6)), rng.normal(size=6)],
        **{
            name: [rng.normal(size=6)]
            for name in ("add", "subtract", "multiply", "divide", "maximum", "minimum", "join")
        },
        "columns": [np.array([5, 0, 0, 2, 3, 1])],
        "top": [2],
        "class_max": [np.array([0, 2, 2, 1, 0, 1]), 6],
    }
    given = write("exp", "x") if operation in ("log", "sqrt") else "x"
    operands = [given, write("tanh", given)] if operation == "join" else [given, *others.get(operation, [])]
    found = write(operation, *operands)
    return write.program(write("add", found, np.zeros(6)) if operation in ("sum", "mean", "largest") else found)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_operation_is_the_same_everywhere(operation: str) -> None:
    x = np.random.default_rng(0).normal(size=(9, 6)).astype(np.float32)
    x[2] = 0  # a row of zeros, which `unit` leaves
    x[3, 1] = x[3, 4] = x[3].max() + 1  # equal ones, of which `top` takes the first
    x[4], x[5] = -np.abs(x[4]), np.abs(x[5])
    program = written(operation)
    expected = program(x)
    assert np.isfinite(expected).all()
    assert np.abs(by_torch(program, x) - expected).max() < 1e-5
    assert np.abs(by_onnx(program, x, expected.shape[1])["logits"] - expected).max() < 1e-5


def test_every_operation_is_known_to_all_three() -> None:
    assert set(standalone.OPERATIONS) == set(OPERATIONS) == set(onnx_file.OPERATIONS)


def test_onnx_has_the_probabilities_at_the_temperature() -> None:
    x = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    found = by_onnx(written("tanh"), x, 6)
    powers = np.exp(np.tanh(x) / 2)
    assert np.abs(found["probabilities"] - powers / powers.sum(1, keepdims=True)).max() < 1e-6


def test_without_the_package_onnx_what_to_do_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(UserError, match=r"the package onnx is not installed; allowed: .*, or `onnx: none`"):
        folder.write(tmp_path, classifier_of(written("tanh"), 6, 6), "head")
    assert list(tmp_path.iterdir()) == []
