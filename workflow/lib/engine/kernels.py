"""What a training step does between its matrix products, on a CPU: each function is one compiled walk through memory.

Done with PyTorch's operations these walks are several passes each, and at the size of a step every operation costs as
much to start as to do. Numba compiles them when this module is first imported, for the processor at hand, and keeps
the machine code in its cache on disk. All arrays are float32 and contiguous, results are written where they are given.
A replica's numbers are computed in the same order however many others stand beside it.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit
from torch import Tensor, float32

Function = Callable[..., None]
Array = Any  # NumPy's, as Numba sees it: its types are those of the signatures
Number = Any

enabled = True  # a test that turns this off sees on the CPU what a GPU does


def fit(tensor: Tensor) -> bool:
    """Whether the kernels can work on tensors of this kind; PyTorch's operations work on all."""
    return enabled and tensor.is_cpu and tensor.dtype is float32


def arrays(*tensors: Tensor) -> list[Array]:
    """The memory of contiguous tensors that need no gradient. PyTorch takes a microsecond and more for each."""
    return [tensor.numpy() for tensor in tensors]


class Latest:
    """The memory of the tensors that come to one place, where it is the same one most of the time."""

    def __init__(self) -> None:
        self._tensor: Tensor | None = None
        self._array: Array = None

    def __call__(self, tensor: Tensor) -> Array:
        """The memory itself, or a copy in order where the tensor does not lie so."""
        if tensor is self._tensor:
            return self._array
        (array,) = arrays(tensor.contiguous())
        if tensor.is_contiguous():  # a copy would be out of date the next time
            self._tensor, self._array = tensor, array
        return array


# A product and a sum may be one instruction; nothing else may change what the source says.
OPTIONS: dict[str, Any] = {"fastmath": {"contract"}, "error_model": "numpy", "nogil": True}


def compiled(signature: str) -> Callable[[Function], Function]:
    """Compiles for arrays and numbers of these types, which spares every call the choice."""

    def made(function: Function) -> Function:
        try:
            return njit(signature, cache=True, **OPTIONS)(function)
        except Exception:  # no folder to keep it in, a full disk, what a power cut left there: do without
            return njit(signature, **OPTIONS)(function)

    return made


@njit(inline="always", **OPTIONS)  # type: ignore[untyped-decorator]  # Numba's types leave it open
def _moved(w: Any, g: Any, m: Any, v: Any, beta1: Any, beta2: Any, rate: Any, eps: Any, keep: Any, l2: Any) -> Any:
    """A weight and its two moments after a step of Adam: part of the walks below."""
    g = g + l2 * w
    m = beta1 * m + (np.float32(1) - beta1) * g
    v = beta2 * v + (np.float32(1) - beta2) * (g * g)
    return keep * w - rate * m / (np.sqrt(v) + eps), m, v


@compiled("void(" + 4 * "f4[::1], " + "f4, f4, f4, f4, f4, f4)")
def adam(
    gradient: Array,
    weight: Array,
    first: Array,
    second: Array,
    beta1: float,
    beta2: float,
    rate: float,
    eps: float,
    keep: float,
    l2: float,
) -> None:
    """A step of Adam: `m`, `v`, and `w ← keep w − rate m / (√v + eps)`, with the gradient `g + l2 w`.

    The corrections of the bias of m and v are for `rate` and `eps` to bring.
    """
    for i in range(weight.size):
        weight[i], first[i], second[i] = _moved(
            weight[i], gradient[i], first[i], second[i], beta1, beta2, rate, eps, keep, l2
        )


@compiled("void(" + 10 * "f4[:,:,::1], " + "f4, f4, f4, f4, f4, f4)")
def adam_behind_norm(
    gradient: Array,
    product: Array,
    gain: Array,
    shift: Array,
    slope: Array,
    total: Array,
    sums: Array,
    weight: Array,
    first: Array,
    second: Array,
    beta1: float,
    beta2: float,
    rate: float,
    eps: float,
    keep: float,
    l2: float,
) -> None:
    """That step for a linear layer `W (R, K, D)` behind a BatchNorm, whose gradient nobody has to write down.

    With `g^T (R, K, B)` and `P = g^T x̂` it is `γ P + Σ g β^T`. On the way come the gradients of γ, `Σ W P` over the
    classes, of β, `W^T Σ g`, and of the layer's bias, `Σ g (R, 1, K)`.
    """
    for r in range(len(weight)):
        slope[r] = 0
        total[r] = 0
        for k in range(weight.shape[1]):
            own = np.float32(0)
            for b in range(gradient.shape[2]):
                own += gradient[r, k, b]
            sums[r, 0, k] = own
            for d in range(weight.shape[2]):
                w, p = weight[r, k, d], product[r, k, d]
                slope[r, 0, d] += w * p
                total[r, 0, d] += own * w
                g = gain[r, 0, d] * p + own * shift[r, 0, d]
                weight[r, k, d], first[r, k, d], second[r, k, d] = _moved(
                    w, g, first[r, k, d], second[r, k, d], beta1, beta2, rate, eps, keep, l2
                )


@compiled("void(" + 5 * "f4[:,:,::1], " + "f4, f4" + 3 * ", f4[:,:,::1]" + ")")
def normalise(  # noqa: C901  # one walk: a function for each loop would hide that
    x: Array,
    weight: Array,
    bias: Array,
    running_mean: Array,
    running_var: Array,
    momentum: float,
    eps: float,
    normed: Array,
    standard: Array,
    inverse: Array,
) -> None:
    """BatchNorm of a batch `x (R, B, D)`: `γ x̂ + β`, `x̂` and `1 / σ (R, 1, D)`; the running statistics move."""
    replicas, batch, dim = x.shape
    share, unbiased = np.float32(1 / batch), np.float32(batch / (batch - 1))
    mean, var = np.empty(dim, np.float32), np.empty(dim, np.float32)
    for r in range(replicas):
        mean[:] = 0
        var[:] = 0
        for b in range(batch):
            for d in range(dim):
                mean[d] += x[r, b, d]
        for d in range(dim):
            mean[d] *= share
        for b in range(batch):
            for d in range(dim):
                centred = x[r, b, d] - mean[d]
                var[d] += centred * centred
        for d in range(dim):
            var[d] *= share
            inverse[r, 0, d] = np.float32(1) / np.sqrt(var[d] + eps)
            running_mean[r, 0, d] += momentum * (mean[d] - running_mean[r, 0, d])
            running_var[r, 0, d] += momentum * (unbiased * var[d] - running_var[r, 0, d])
        for b in range(batch):
            for d in range(dim):
                hat = (x[r, b, d] - mean[d]) * inverse[r, 0, d]
                standard[r, b, d] = hat
                normed[r, b, d] = weight[r, 0, d] * hat + bias[r, 0, d]


@compiled("void(" + ", ".join(["f4[:,:,::1]"] * 7) + ")")
def normalise_back(
    gradient: Array, standard: Array, inverse: Array, weight: Array, slope: Array, total: Array, for_x: Array
) -> None:
    """From the gradient g of `γ x̂ + β`: `Σ g x̂` and `Σ g` over the batch, and that of x unless its array is empty."""
    replicas, batch, dim = gradient.shape
    share = np.float32(1 / batch)
    for r in range(replicas):
        slope[r] = 0
        total[r] = 0
        for b in range(batch):
            for d in range(dim):
                slope[r, 0, d] += gradient[r, b, d] * standard[r, b, d]
                total[r, 0, d] += gradient[r, b, d]
        if for_x.size > 0:
            for b in range(batch):
                for d in range(dim):
                    own = total[r, 0, d] + standard[r, b, d] * slope[r, 0, d]
                    for_x[r, b, d] = weight[r, 0, d] * inverse[r, 0, d] * (gradient[r, b, d] - share * own)


@compiled("void(f4[:,:,::1], i8[:,::1], f4[:,::1], b1)")
def cross_entropy(probabilities: Array, labels: Array, own: Array, classes_first: bool) -> None:
    """Softmax becomes the gradient of the mean cross-entropy; `own (R, B)` is what it was at the true class.

    `(R, B, K)`, or `(R, K, B)` with the classes first.
    """
    replicas, batch = labels.shape
    share = np.float32(1 / batch)
    for r in range(replicas):
        for b in range(batch):
            row, column = (labels[r, b], b) if classes_first else (b, labels[r, b])
            own[r, b] = probabilities[r, row, column]
            probabilities[r, row, column] -= np.float32(1)
        for row in range(probabilities.shape[1]):
            for column in range(probabilities.shape[2]):
                probabilities[r, row, column] *= share
