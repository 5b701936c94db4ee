"""A fitted classifier as data: a few operations over named arrays, which can be stored, read anywhere and run.

Values are rows: `x (M, D)` comes in, every step gives `(M, C)`. NumPy runs a program here; the same operations for
torch and for ONNX are in workflow/lib/shipping.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from methods.contract.changes import NOTHING, Changes

Numbers = NDArray[Any]
Operand = str | float  # the name of a value or of an array, or a number
Step = tuple[str, str, tuple[Operand, ...]]  # what it is called, the operation, what it is of

INPUT = "x"


def _softmax(x: Numbers) -> Numbers:
    powers = np.exp(x - x.max(-1, keepdims=True))
    return np.asarray(powers / powers.sum(-1, keepdims=True))


def _unit(x: Numbers) -> Numbers:
    norm = np.sqrt((x * x).sum(-1, keepdims=True))
    return np.asarray(x / (norm + (norm == 0)))


def _gelu(x: Numbers) -> Numbers:
    from scipy.special import erf

    return np.asarray(0.5 * x * (1 + erf(x * np.float32(0.5**0.5))))


def _top(x: Numbers, k: float) -> Numbers:
    best = np.argsort(-x, axis=1, kind="stable")[:, : int(k)]
    mask = np.zeros_like(x)
    np.put_along_axis(mask, best, 1, axis=1)
    return mask


def _class_max(x: Numbers, labels: Numbers, classes: float) -> Numbers:
    found = np.zeros((len(x), int(classes)), x.dtype)
    np.maximum.at(found, (np.arange(len(x))[:, None], labels), x)
    return found


# Operation -> what it does in NumPy. Sums, means, maxima and softmax are along the columns and keep a column.
OPERATIONS: Mapping[str, Callable[..., Numbers]] = {
    "linear": lambda x, weight, bias=0.0: x @ weight + bias,
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "exp": np.exp,
    "log": np.log,
    "sqrt": np.sqrt,
    "tanh": np.tanh,
    "sigmoid": lambda x: 0.5 * (np.tanh(0.5 * x) + 1),
    "gelu": _gelu,
    "unit": _unit,  # rows over their length; a row of zeros stays
    "softmax": _softmax,
    "is_zero": lambda x: (x == 0).astype(np.float32),
    "sum": lambda x: x.sum(-1, keepdims=True),
    "mean": lambda x: x.mean(-1, keepdims=True),
    "largest": lambda x: x.max(-1, keepdims=True),
    "columns": lambda x, which: x[:, which],
    "join": lambda x, y: np.concatenate([x, y], axis=1),
    "top": _top,  # 1 at the k largest of a row, of equal ones the first, and 0 elsewhere
    "class_max": _class_max,  # the largest of each class's columns, and 0 at the least
}


@dataclass(frozen=True)
class Program:
    """Steps in order, the arrays that they read, and the name of the value that comes out: logits `(M, K)`.

    What comes in is an embedding of the backbone's image tower, in which `tower` is other than the backbone's own.
    """

    steps: Sequence[Step]
    arrays: Mapping[str, Numbers]
    output: str
    tower: Changes = NOTHING

    def __call__(self, x: Numbers) -> Numbers:
        """Logits `(M, K)` float32 of queries `(M, D)`."""
        values: dict[str, Any] = {**self.arrays, INPUT: np.asarray(x, np.float32)}
        for name, operation, operands in self.steps:
            given = [values[one] if isinstance(one, str) else np.float32(one) for one in operands]
            values[name] = OPERATIONS[operation](*given)
        return np.asarray(values[self.output], np.float32)

    def check(self) -> None:
        """Raise ValueError for an operation that does not exist, and for a name that nothing has before it is read."""
        known = {*self.arrays, INPUT}
        for name, operation, operands in self.steps:
            if operation not in OPERATIONS:
                raise ValueError(f"no operation {operation!r}; allowed: {', '.join(OPERATIONS)}")
            unknown = [one for one in operands if isinstance(one, str) and one not in known]
            if unknown:
                raise ValueError(f"{name} is of {unknown[0]!r}, which nothing gives")
            known.add(name)
        if self.output not in known:
            raise ValueError(f"the output is {self.output!r}, which nothing gives")

    def after(self, operation: str) -> "Program":
        """The program with an operation before it: what it takes is that of x."""
        first: Step = ("before", operation, (INPUT,))
        moved = [
            (name, one, tuple("before" if operand == INPUT else operand for operand in operands))
            for name, one, operands in self.steps
        ]
        return replace(self, steps=[first, *moved], output="before" if self.output == INPUT else self.output)


@dataclass
class Writer:
    """Writes a program step by step: `write("add", write("linear", "x", w), b)`. Arrays become constants."""

    steps: list[Step] = field(default_factory=list)
    arrays: dict[str, Numbers] = field(default_factory=dict)

    def __call__(self, operation: str, *operands: Any) -> str:
        """Add a step; gives the name of its value."""
        name = f"v{len(self.steps)}"
        self.steps.append((name, operation, tuple(self._operand(one) for one in operands)))
        return name

    def _operand(self, one: Any) -> Operand:
        if isinstance(one, str):
            return one
        if np.ndim(one) == 0:
            return float(one)
        array = np.asarray(one)
        kept = array.astype(np.int64 if array.dtype.kind in "iub" else np.float32)
        known = (
            name for name, other in self.arrays.items() if other.shape == kept.shape and np.array_equal(other, kept)
        )
        name = next(known, f"a{len(self.arrays)}")
        self.arrays[name] = np.ascontiguousarray(kept)
        return name

    def program(self, output: str) -> Program:
        """What has been written, with the value that comes out."""
        return Program(self.steps, self.arrays, output)


def linear(weight: Numbers, bias: Numbers) -> Program:
    """`x weight + bias` of `(D, K)` and `(K,)`."""
    write = Writer()
    return write.program(write("linear", INPUT, weight, bias))
