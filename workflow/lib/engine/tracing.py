"""A trained head as a program: the operations by which it makes logits of rows, recorded while torch runs them."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from methods.contract.exporting import REMEDY, CannotShipError
from methods.contract.program import INPUT, Program, Writer

ROWS = 5  # of the trace

Operand = str | float | np.ndarray


def traced(head: Callable[[Tensor], Tensor], dim: int, device: str) -> Program:
    """What one replica's head does to rows, given as `(1, M, dim)`, to get logits `(1, M, K)`.

    Raises CannotShipError for an operation that a program doesn't have, and for values that are not rows of numbers.
    """
    x = torch.randn(1, ROWS, dim, generator=torch.Generator().manual_seed(0)).to(device)
    recorder = _Recorder(x)
    with torch.no_grad(), recorder:
        logits = head(x)
    return recorder.write.program(recorder.named(logits))


class _Recorder(TorchDispatchMode):  # type: ignore[no-untyped-call]  # torch leaves its types out
    """Runs every operation, and writes down those on what came from x: all others give constants."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """No: it would take two seconds to import torch's compiler, only to keep it away from here."""
        return False

    def __init__(self, x: Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]  # likewise
        self.write = Writer()
        self._names: dict[int, str] = {id(x): INPUT}
        self._held: list[Tensor] = [x]  # so that no other tensor gets the id of one of them

    def named(self, tensor: Tensor) -> str:
        """The name of a value. Raises CannotShipError for a constant: then nothing depends on the image."""
        if id(tensor) not in self._names:
            raise CannotShipError("its logits don't depend on the image")
        return self._names[id(tensor)]

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        if any(id(leaf) in self._names for leaf in tree_leaves((args, kwargs))):
            name = func.overloadpacket.__name__
            self._remember(output, self._written(name, args, kwargs or {}, output))
        return output

    def _remember(self, output: Any, name: str) -> None:
        if not isinstance(output, Tensor):
            raise CannotShipError(f"its head gives several values at once, which a program can't: {REMEDY}")
        self._names[id(output)] = name
        self._held.append(output)

    def _written(self, name: str, args: Sequence[Any], options: Mapping[str, Any], output: Any) -> str:
        """The name of the value that an operation gives, after the steps that it takes."""
        base = name.rstrip("_") if not name.startswith("_") else name
        if base in _SAME:
            if _rows(output) != _rows(args[0]):
                raise CannotShipError(f"its head reorders what it knows of an image ({name}): {REMEDY}")
            return self.named(args[0])
        if base not in _STEPS:
            raise CannotShipError(f"its head uses {name}, which a program doesn't have: {REMEDY}")
        _rows(output)
        return _STEPS[base](self.write, [self._operand(one) for one in args], options)

    def _operand(self, one: Any) -> Any:
        if isinstance(one, list | tuple):
            return [self._operand(part) for part in one]
        if not isinstance(one, Tensor):
            return one
        if id(one) in self._names:
            return self._names[id(one)]
        array = one.detach().float().cpu().numpy()
        while array.ndim and array.shape[0] == 1:
            array = array[0]
        if array.ndim > 2:
            raise CannotShipError(f"its head has an array of {array.ndim} sizes, where a program has two: {REMEDY}")
        return array


def _rows(tensor: Tensor) -> tuple[int, ...]:
    """The shape `(M, C)` of a value, whatever sizes of 1 stand before. Raises CannotShipError for other shapes."""
    shape = list(tensor.shape)
    while len(shape) > 2 and shape[0] == 1:
        shape = shape[1:]
    if shape == [1, ROWS]:
        shape = [ROWS]
    found = (*shape, 1) if len(shape) == 1 else tuple(shape)
    if len(found) != 2 or found[0] != ROWS:
        raise CannotShipError(f"its head makes more of an image than a row of numbers: {REMEDY}")
    return found


def _linear(write: Writer, x: Any, weight: Any) -> str:
    if not (isinstance(x, str) and isinstance(weight, np.ndarray) and weight.ndim == 2):
        raise CannotShipError(f"its head multiplies two things that both depend on the image: {REMEDY}")
    return write("linear", x, weight)


def _affine(write: Writer, given: Sequence[Any], options: Mapping[str, Any]) -> str:
    if options.get("alpha", 1) != 1 or options.get("beta", 1) != 1:
        raise CannotShipError(f"its head scales a product with `alpha` or `beta`: {REMEDY}")
    return write("add", _linear(write, given[1], given[2]), given[0])


def _sum_of(operation: str) -> Callable[..., str]:
    """`x + alpha y`, `x − alpha y`."""

    def step(write: Writer, given: Sequence[Any], options: Mapping[str, Any]) -> str:
        factor = options.get("alpha", 1)
        return write(operation, given[0], given[1] if factor == 1 else write("multiply", given[1], factor))

    return step


def _simple(operation: str, count: int = 1) -> Callable[..., str]:
    return lambda write, given, options: write(operation, *given[:count])


def _along_columns(operation: Callable[[Writer, Any], str], at: int = 1) -> Callable[..., str]:
    """An operation along the last size, and no other."""

    def step(write: Writer, given: Sequence[Any], options: Mapping[str, Any]) -> str:
        where = given[at] if len(given) > at else None
        if (list(where) if isinstance(where, list | tuple) else [where]) != [-1]:
            raise CannotShipError(f"its head sums over something else than the last size, -1: {REMEDY}")
        return operation(write, given[0])

    return step


def _squares(write: Writer, x: Any) -> str:
    return write("sum", write("multiply", x, x))


def _log_softmax(write: Writer, x: Any) -> str:
    shifted = write("subtract", x, write("largest", x))
    return write("subtract", shifted, write("log", write("sum", write("exp", shifted))))


def _norm(write: Writer, given: Sequence[Any], options: Mapping[str, Any]) -> str:
    if given[1:2] not in ([], [2], [2.0]):
        raise CannotShipError(f"its head takes a norm that is not the l2 norm: {REMEDY}")
    return _along_columns(lambda write, x: write("sqrt", _squares(write, x)), 2)(write, given, options)


def _power(write: Writer, given: Sequence[Any], options: Mapping[str, Any]) -> str:
    x, exponent = given
    known: dict[float, Callable[[], str]] = {
        2: lambda: write("multiply", x, x),
        0.5: lambda: write("sqrt", x),
        -1: lambda: write("divide", 1.0, x),
        -0.5: lambda: write("divide", 1.0, write("sqrt", x)),
    }
    if not isinstance(exponent, int | float) or exponent not in known:
        raise CannotShipError(f"its head takes a power other than 2, 1/2, -1/2 and -1: {REMEDY}")
    return known[exponent]()


def _clamp(write: Writer, given: Sequence[Any], options: Mapping[str, Any]) -> str:
    x, low, high = (*given, None, None)[:3]
    x = x if low is None else write("maximum", x, low)
    return x if high is None else write("minimum", x, high)


def _lerp(write: Writer, given: Sequence[Any], options: Mapping[str, Any]) -> str:
    start, end, share = given
    return write("add", start, write("multiply", share, write("subtract", end, start)))


def _addcmul(write: Writer, given: Sequence[Any], options: Mapping[str, Any]) -> str:
    product = write("multiply", given[1], given[2])
    factor = options.get("value", 1)
    return write("add", given[0], product if factor == 1 else write("multiply", product, factor))


def _gelu(write: Writer, given: Sequence[Any], options: Mapping[str, Any]) -> str:
    if options.get("approximate", "none") != "none":
        raise CannotShipError(f"its head approximates GELU by tanh: {REMEDY}")
    return write("gelu", given[0])


def _is_zero(write: Writer, given: Sequence[Any], options: Mapping[str, Any]) -> str:
    return write("is_zero", given[0] if given[1] == 0 else write("subtract", given[0], given[1]))


def _join(write: Writer, given: Sequence[Any], options: Mapping[str, Any]) -> str:
    parts, where = given[0], given[1] if len(given) > 1 else 0
    if where not in (-1, 2) or not all(isinstance(part, str) for part in parts):
        raise CannotShipError(f"its head joins something else than columns: {REMEDY}")
    whole = parts[0]
    for part in parts[1:]:
        whole = write("join", whole, part)
    return whole


# Operations that leave every number of a row where it is.
_SAME = {
    *("view", "_unsafe_view", "reshape", "expand", "clone", "contiguous", "detach", "alias", "unsqueeze", "squeeze"),
    *("_to_copy", "lift_fresh", "to", "_reshape_alias"),
}
_STEPS: Mapping[str, Callable[..., str]] = {
    "mm": lambda write, given, options: _linear(write, *given[:2]),
    "bmm": lambda write, given, options: _linear(write, *given[:2]),
    "matmul": lambda write, given, options: _linear(write, *given[:2]),
    "addmm": _affine,
    "baddbmm": _affine,
    "add": _sum_of("add"),
    "sub": _sum_of("subtract"),
    "rsub": lambda write, given, options: _sum_of("subtract")(write, [given[1], given[0]], options),
    "mul": _simple("multiply", 2),
    "div": _simple("divide", 2),
    "maximum": _simple("maximum", 2),
    "minimum": _simple("minimum", 2),
    "neg": lambda write, given, options: write("multiply", given[0], -1.0),
    "relu": lambda write, given, options: write("maximum", given[0], 0.0),
    "silu": lambda write, given, options: write("multiply", given[0], write("sigmoid", given[0])),
    "gelu": _gelu,
    **{name: _simple(name) for name in ("exp", "log", "sqrt", "tanh", "sigmoid")},
    "rsqrt": lambda write, given, options: _power(write, [given[0], -0.5], options),
    "reciprocal": lambda write, given, options: _power(write, [given[0], -1], options),
    "pow": _power,
    "clamp": _clamp,
    "clamp_min": _clamp,
    "lerp": _lerp,
    "addcmul": _addcmul,
    "eq": _is_zero,
    "cat": _join,
    "sum": _along_columns(lambda write, x: write("sum", x)),
    "mean": _along_columns(lambda write, x: write("mean", x)),
    "amax": _along_columns(lambda write, x: write("largest", x)),
    "_softmax": _along_columns(lambda write, x: write("softmax", x)),
    "_log_softmax": _along_columns(_log_softmax),
    "linalg_vector_norm": _norm,
}
