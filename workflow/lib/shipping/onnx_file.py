"""A program as an ONNX graph, for whatever runs those."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from methods.contract.program import INPUT
from workflow.lib import files
from workflow.lib.errors import UserError
from workflow.lib.shipping import tower
from workflow.lib.shipping.classifier import Classifier

OPSET = 18  # the first whose ScatterElements takes a maximum


def _package() -> Any:
    """The package onnx. Raises `UserError` where it is not installed."""
    try:
        import onnx
        from onnx import helper, numpy_helper  # noqa: F401
    except ImportError as error:
        raise UserError(
            "ship: onnx: the package onnx is not installed; allowed: `python -m pip install onnx`, or `onnx: none`"
        ) from error
    return onnx


class Graph:
    """Nodes and initialisers of an ONNX graph, one step of a program after the other."""

    def __init__(self) -> None:
        self._onnx = _package()
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}

    def constant(self, value: Any, name: str = "") -> str:
        """The name of an initialiser."""
        array = np.asarray(value)
        name = name or f"c{len(self.constants)}"
        self.constants[name] = self._onnx.numpy_helper.from_array(
            np.ascontiguousarray(array).reshape(array.shape), name
        )
        return name

    def node(self, operation: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Add a node; gives the name of its output."""
        output = output or f"n{len(self.nodes)}"
        self.nodes.append(self._onnx.helper.make_node(operation, list(inputs), [output], **attributes))
        return output

    def filled(self, shape: str, value: float) -> str:
        """A tensor of one number, of the shape that another tensor holds."""
        tensor = self._onnx.helper.make_tensor("value", self._onnx.TensorProto.FLOAT, [1], [value])
        return self.node("ConstantOfShape", shape, value=tensor)

    def is_zero(self, x: str) -> str:
        """1.0 where it is 0."""
        equal = self.node("Equal", x, self.constant(np.float32(0)))
        return self.node("Cast", equal, to=self._onnx.TensorProto.FLOAT)

    def along(self, operation: str, x: str) -> str:
        """A reduction along the columns."""
        return self.node(operation, x, self.constant(np.array([-1], np.int64)), keepdims=1)


def _linear(graph: Graph, x: str, weight: str, bias: str = "") -> str:
    product = graph.node("MatMul", x, weight)
    return graph.node("Add", product, bias) if bias else product


def _unit(graph: Graph, x: str) -> str:
    norm = graph.along("ReduceL2", x)
    return graph.node("Div", x, graph.node("Add", norm, graph.is_zero(norm)))


def _gelu(graph: Graph, x: str) -> str:
    erf = graph.node("Erf", graph.node("Mul", x, graph.constant(np.float32(0.5**0.5))))
    half = graph.node("Mul", x, graph.constant(np.float32(0.5)))
    return graph.node("Mul", half, graph.node("Add", erf, graph.constant(np.float32(1))))


def _top(graph: Graph, x: str, k: float) -> str:
    values, best = f"n{len(graph.nodes)}v", f"n{len(graph.nodes)}i"
    count = graph.constant(np.array([int(k)], np.int64))
    graph.nodes.append(graph._onnx.helper.make_node("TopK", [x, count], [values, best], axis=1))
    zeros, ones = graph.filled(graph.node("Shape", x), 0.0), graph.filled(graph.node("Shape", best), 1.0)
    return graph.node("ScatterElements", zeros, best, ones, axis=1)


def _class_max(graph: Graph, x: str, labels: str, classes: float) -> str:
    shape = graph.node("Shape", x)
    rows = graph.node("Gather", shape, graph.constant(np.array([0], np.int64)))
    wide = graph.node("Concat", rows, graph.constant(np.array([int(classes)], np.int64)), axis=0)
    where = graph.node("Expand", labels, shape)
    return graph.node("ScatterElements", graph.filled(wide, 0.0), where, x, axis=1, reduction="max")


def _node(operation: str, **attributes: Any) -> Callable[..., str]:
    return lambda graph, *inputs: graph.node(operation, *inputs, **attributes)


def _along(operation: str) -> Callable[..., str]:
    return lambda graph, x: graph.along(operation, x)


OPERATIONS: Mapping[str, Callable[..., str]] = {
    "linear": _linear,
    "add": _node("Add"),
    "subtract": _node("Sub"),
    "multiply": _node("Mul"),
    "divide": _node("Div"),
    "maximum": _node("Max"),
    "minimum": _node("Min"),
    "exp": _node("Exp"),
    "log": _node("Log"),
    "sqrt": _node("Sqrt"),
    "tanh": _node("Tanh"),
    "sigmoid": _node("Sigmoid"),
    "gelu": _gelu,
    "unit": _unit,
    "softmax": _node("Softmax", axis=-1),
    "is_zero": lambda graph, x: graph.is_zero(x),
    "sum": _along("ReduceSum"),
    "mean": _along("ReduceMean"),
    "largest": _along("ReduceMax"),
    "columns": _node("Gather", axis=1),
    "join": _node("Concat", axis=1),
    "top": _top,
    "class_max": _class_max,
}
_IN_PLACE = ("top", "class_max")  # their numbers are sizes, not tensors


def build(classifier: Classifier) -> Any:
    """The model: `features (N, D)` as the backbone gives them, or its image tower once that is changed, to `logits` and
    `probabilities (N, K)`.

    Raises `UserError` where the package onnx is not installed.
    """
    graph, program = Graph(), classifier.program
    names = {INPUT: "features", **{name: graph.constant(array, name) for name, array in program.arrays.items()}}
    for name, operation, operands in program.steps:
        given = [_operand(graph, names, operation, one) for one in operands]
        names[name] = OPERATIONS[operation](graph, *given)
    graph.node("Identity", names[program.output], output="logits")
    scaled = graph.node("Div", "logits", graph.constant(np.float32(classifier.about["temperature"])))
    graph.node("Softmax", scaled, axis=-1, output="probabilities")
    told = {"classes": classifier.classes, "preprocessing": classifier.about["preprocessing"]}
    changes = classifier.program.tower
    told |= {"tower": tower.told(changes)} if changes else {}
    about = {key: json.dumps(value) for key, value in told.items()}
    return _model(graph, int(classifier.about["backbone"]["dim"]), len(classifier.classes), about)


def _operand(graph: Graph, names: Mapping[str, str], operation: str, one: str | float) -> Any:
    if isinstance(one, str):
        return names[one]
    return one if operation in _IN_PLACE else graph.constant(np.float32(one))


def _model(graph: Graph, dim: int, classes: int, about: Mapping[str, str]) -> Any:
    onnx = _package()
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    inputs = [helper.make_tensor_value_info("features", kind, ["N", dim])]
    outputs = [helper.make_tensor_value_info(name, kind, ["N", classes]) for name in ("logits", "probabilities")]
    made = helper.make_graph(graph.nodes, "head", inputs, outputs, list(graph.constants.values()))
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="clip-adapter-bench")
    model.ir_version = 9  # that of the time of the operations: newer ones only shut older readers out
    helper.set_model_props(model, dict(about))
    onnx.checker.check_model(model)
    return model


def write(path: str | os.PathLike[str], model: Any) -> None:
    """Write a model atomically."""
    with files.atomic(path) as temporary:
        temporary.write_bytes(model.SerializeToString())
