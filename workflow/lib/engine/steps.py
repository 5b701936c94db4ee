"""Whole epochs of the heads that studies train most, compiled for a CPU: one replica after the other, step by step.

A step of one replica takes some fifty microseconds. Started from Python its parts would take as long again, and side by
side the replicas would push each other out of the cache. Scores lie with the classes first, `(K, B)`: sums and maxima
over classes are then sums and maxima of whole rows. Gradients are written where what they belong to was.

Numba asks the file of a function alone whether its machine code in the cache is still right: what these functions call
is therefore in this file too.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.linalg.cython_blas  # noqa: F401  # where Numba looks for products, at the first: not in every cell anew
from numba import njit

from workflow.lib.engine.kernels import OPTIONS, Array, Number, compiled

F32 = np.float32
TINY = F32(1e-12)  # a zero vector's logits are zero

Part = Callable[[Callable[..., Any]], Callable[..., Any]]
_part: Part = njit(**OPTIONS)
_total: Part = njit(**OPTIONS | {"fastmath": {"contract", "reassoc"}})  # several sums at a time

_3D = "f4[:,:,::1]"
_STATE = f"UniTuple({_3D}, 3)"  # a weight and its two moments
_NORM = f"Tuple(({_STATE}, {_STATE}, UniTuple({_3D}, 2), f8, f8))"  # γ, β, running mean and variance, momentum, eps
# Samples (N, D) and labels (N,); rows of the replicas (R, n) in the order of the epoch and the bounds of its batches;
# numbers of Adam at each step (S, 6); and, to be written, p(label) of each sample in that order (R, n).
_DATA = "f4[:,::1], i8[::1], i8[:,::1], i8[::1], f4[:,::1], f4[:,::1]"


@_part
def _exp(x: Number) -> Number:
    """e^x of x ≤ 0, to the last digit but one. Unlike the library's it runs on eight numbers at a time."""
    x = F32(-87) if x < F32(-87) else x  # none stays none
    n = np.floor(x * F32(1.442695041) + F32(0.5))
    r = x - n * F32(0.693359375) + n * F32(2.12194440e-4)
    p = F32(1.9875691500e-4) * r + F32(1.3981999507e-3)
    p = p * r + F32(8.3334519073e-3)
    p = p * r + F32(4.1665795894e-2)
    p = p * r + F32(1.6666665459e-1)
    p = p * r + F32(5.0000001201e-1)
    power = np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)
    return (p * (r * r) + r + F32(1)) * power


@_part
def _softmax(scores: Array, bias: Array, top: Array, total: Array) -> None:
    """Over the classes of `scores + bias`, in place."""
    classes, batch = scores.shape
    top[:batch] = -np.inf
    total[:batch] = 0
    for k in range(classes):
        for b in range(batch):
            score = scores[k, b] + bias[k]
            scores[k, b] = score
            top[b] = top[b] if score < top[b] else score
    for k in range(classes):
        for b in range(batch):
            power = _exp(scores[k, b] - top[b])
            scores[k, b] = power
            total[b] += power
    for b in range(batch):
        total[b] = F32(1) / total[b]
    for k in range(classes):
        for b in range(batch):
            scores[k, b] *= total[b]


@_part
def _softmax_back(gradient: Array, weights: Array, total: Array) -> None:
    """From the gradient of a softmax to that of its scores, in place: P (g − Σ P g)."""
    classes, batch = gradient.shape
    total[:batch] = 0
    for k in range(classes):
        for b in range(batch):
            total[b] += weights[k, b] * gradient[k, b]
    for k in range(classes):
        for b in range(batch):
            gradient[k, b] = weights[k, b] * (gradient[k, b] - total[b])


@_part
def _cross_entropy(scores: Array, labels: Array, rows: Array, likely: Array) -> None:
    """Probabilities become the gradient of the mean cross-entropy by the scores."""
    for b in range(len(rows)):
        label = labels[rows[b]]
        likely[b] = scores[label, b]
        scores[label, b] -= F32(1)
    share = F32(1 / len(rows))
    for k in range(len(scores)):
        for b in range(len(rows)):
            scores[k, b] *= share


@_total
def _row_sums(x: Array, sums: Array) -> None:
    for i in range(len(x)):
        sums[i] = 0
        for j in range(x.shape[1]):
            sums[i] += x[i, j]


@_total
def _lengths(x: Array, lengths: Array) -> None:
    for i in range(len(x)):
        total = F32(0)
        for j in range(x.shape[1]):
            total += x[i, j] * x[i, j]
        lengths[i] = max(np.sqrt(total), TINY)


@_part
def _gather(x: Array, rows: Array, batch: Array) -> None:
    for b in range(len(rows)):
        for d in range(x.shape[1]):
            batch[b, d] = x[rows[b], d]


@_part
def _track(running: Array, now: Array, momentum: Number) -> None:
    for d in range(len(now)):
        running[d] += momentum * (now[d] - running[d])


@_part
def _normalise(x: Array, r: int, norm: Array, inverse: Array, normed: Array) -> None:
    """`x (B, D)` becomes x̂, `inverse` 1 / σ and `normed` γ x̂ + β; the running statistics of replica r move."""
    gain, shift, running = norm[0], norm[1], norm[2]
    momentum, eps = F32(norm[3]), F32(norm[4])
    batch, dim = x.shape
    mean, var = np.zeros(dim, F32), np.zeros(dim, F32)
    share = F32(1 / batch)
    for b in range(batch):
        for d in range(dim):
            mean[d] += x[b, d]
    for d in range(dim):
        mean[d] *= share
    for b in range(batch):
        for d in range(dim):
            centred = x[b, d] - mean[d]
            x[b, d] = centred
            var[d] += centred * centred
    for d in range(dim):
        var[d] *= share
        inverse[d] = F32(1) / np.sqrt(var[d] + eps)
        var[d] *= F32(batch / (batch - 1))
    _track(running[0][r, 0], mean, momentum)
    _track(running[1][r, 0], var, momentum)
    _scale(x, inverse, x)
    _scale_and_shift(x, gain[0][r, 0], shift[0][r, 0], normed)


@_part
def _scale(x: Array, factor: Array, out: Array) -> None:
    for b in range(len(x)):
        for d in range(x.shape[1]):
            out[b, d] = x[b, d] * factor[d]


@_part
def _scale_and_shift(x: Array, factor: Array, shift: Array, out: Array) -> None:
    for b in range(len(x)):
        for d in range(x.shape[1]):
            out[b, d] = factor[d] * x[b, d] + shift[d]


@_part
def _norm_gradients(gradient: Array, hat: Array, slope: Array, total: Array) -> None:
    """Of γ, `Σ g x̂`, and of β, `Σ g`."""
    slope[:] = 0
    total[:] = 0
    for b in range(len(hat)):
        for d in range(hat.shape[1]):
            slope[d] += gradient[b, d] * hat[b, d]
            total[d] += gradient[b, d]


@_part
def _norm_back(gradient: Array, hat: Array, inverse: Array, gain: Array, slope: Array, total: Array) -> None:
    """The gradient of γ x̂ + β becomes that of x: γ / σ (g − mean(g) − x̂ mean(g x̂))."""
    share = F32(1 / len(hat))
    for b in range(len(hat)):
        for d in range(hat.shape[1]):
            own = gradient[b, d] - share * (total[d] + hat[b, d] * slope[d])
            gradient[b, d] = gain[d] * inverse[d] * own


@_part
def _behind_norm(
    weight: Array, product: Array, sums: Array, gain: Array, shift: Array, slope: Array, total: Array
) -> None:
    """Of a linear layer `W (K, D)` whose inputs need no gradient: `P = g x̂` becomes that of W, `γ P + Σ g β^T`.

    That of γ is `Σ W P` over the classes, that of β `W^T Σ g`.
    """
    slope[:] = 0
    total[:] = 0
    for k in range(len(weight)):
        own = sums[k]
        for d in range(weight.shape[1]):
            slope[d] += weight[k, d] * product[k, d]
            total[d] += weight[k, d] * own
        for d in range(weight.shape[1]):
            product[k, d] = gain[d] * product[k, d] + own * shift[d]


@_part
def _adam(state: Array, r: int, gradient: Array, constants: Array) -> None:
    """A step of `kernels.adam` for the weights of replica r."""
    beta1, beta2, rate = constants[0], constants[1], constants[2]
    eps, keep, l2 = constants[3], constants[4], constants[5]
    weight, first, second = state[0][r].reshape(-1), state[1][r].reshape(-1), state[2][r].reshape(-1)
    for i in range(len(gradient)):
        g = gradient[i] + l2 * weight[i]
        m = beta1 * first[i] + (F32(1) - beta1) * g
        v = beta2 * second[i] + (F32(1) - beta2) * (g * g)
        weight[i] = keep * weight[i] - rate * m / (np.sqrt(v) + eps)
        first[i] = m
        second[i] = v


@_part
def _widest(edges: Array) -> int:
    widest = 0
    for s in range(len(edges) - 1):
        widest = max(widest, edges[s + 1] - edges[s])
    return widest


@_part
def _there(norm: Array) -> bool:
    """Whether there is a BatchNorm: none is one of no replicas."""
    return norm[0][0].size > 0


@_part
def _classify(linear: Array, r: int, turned: bool, x: Array, scores: Array) -> None:
    """`W x^T (K, B)`. A linear layer lies `(D, K)`, or `turned` behind a BatchNorm."""
    if turned:
        np.dot(linear[0][r], x.T, scores)
    else:
        np.dot(linear[0][r].T, x.T, scores)


@_part
def _for_classifier(turned: bool, gradient: Array, x: Array, product: Array) -> None:
    """The gradient of its weight, as that lies."""
    classes, dim = len(gradient), x.shape[1]
    if turned:
        np.dot(gradient, x, product.reshape(classes, dim))
    else:
        np.dot(x.T, gradient.T, product.reshape(dim, classes))


@_part
def _for_inputs(linear: Array, r: int, turned: bool, gradient: Array, out: Array) -> None:
    """The gradient of what the classifier was given, `(B, D)`."""
    if turned:
        np.dot(gradient.T, linear[0][r], out)
    else:
        np.dot(gradient.T, linear[0][r].T, out)


@_part
def _scale_all(x: Array, factor: Array, share: Number, out: Array) -> None:
    for b in range(len(x)):
        for d in range(x.shape[1]):
            out[b, d] = x[b, d] * (factor[d] * share)


@_part
def _mix(image: Array, mean: Array, gain: Array, shift: Array, share: Number, mixed: Array) -> None:
    """`(1 − r) x + r (γ a + β)`."""
    for b in range(len(image)):
        for d in range(image.shape[1]):
            mixed[b, d] = image[b, d] + share * (gain[d] * mean[b, d] + shift[d] - image[b, d])


@_part
def _through_attention(
    back: Array,
    inner: Array,
    mean: Array,
    image: Array,
    gain: Array,
    share: Number,
    cold: Number,
    slope: Array,
    total: Array,
) -> None:
    """From the gradient of the mixture, and of what is scored but for `cold`: those of the text's γ and β, and of x."""
    slope[:] = 0
    total[:] = 0
    for b in range(len(back)):
        for d in range(back.shape[1]):
            total[d] += share * back[b, d]
            slope[d] += share * back[b, d] * mean[b, d] + cold * inner[b, d] * image[b, d]
        for d in range(back.shape[1]):
            back[b, d] = back[b, d] - share * back[b, d] + cold * inner[b, d] * gain[d]


@_part
def _relu(x: Array) -> None:
    for b in range(len(x)):
        for d in range(x.shape[1]):
            value = x[b, d]
            x[b, d] = F32(0) if value < F32(0) else value


@_part
def _where(active: Array, gradient: Array) -> None:
    """The gradient of a ReLU's input: nothing where it gave nothing."""
    for b in range(len(active)):
        for d in range(active.shape[1]):
            value = gradient[b, d]
            gradient[b, d] = F32(0) if active[b, d] == F32(0) else value


@_part
def _mix_relu(image: Array, wide: Array, share: Number, mixed: Array) -> None:
    """`(1 − r) x + r ReLU(w)`; w becomes ReLU(w)."""
    _relu(wide)
    for b in range(len(image)):
        for d in range(image.shape[1]):
            mixed[b, d] = image[b, d] + share * (wide[b, d] - image[b, d])


@_part
def _over(x: Array, lengths: Array, out: Array) -> None:
    """Each column over its length."""
    for k in range(len(x)):
        for b in range(x.shape[1]):
            out[k, b] = x[k, b] / lengths[b]


@_part
def _dots(x: Array, y: Array, dots: Array) -> None:
    """Of each column with its other."""
    dots[: x.shape[1]] = 0
    for k in range(len(x)):
        for b in range(x.shape[1]):
            dots[b] += x[k, b] * y[k, b]


@_part
def _off_radius(back: Array, mixed: Array, radial: Array, lengths: Array) -> None:
    """A row's gradient less what is along the row: its length does not count."""
    for b in range(len(back)):
        share = radial[b] / (lengths[b] * lengths[b] * lengths[b])
        for d in range(back.shape[1]):
            back[b, d] -= mixed[b, d] * share


@_part
def _through_relu(back: Array, active: Array, share: Number, out: Array) -> None:
    for b in range(len(back)):
        for d in range(back.shape[1]):
            value = share * back[b, d]
            out[b, d] = F32(0) if active[b, d] == F32(0) else value


@_part
def _rest(back: Array, share: Number, through: Array) -> None:
    """What comes back past the bottleneck joins what comes `through` it."""
    for b in range(len(back)):
        for d in range(back.shape[1]):
            through[b, d] += back[b, d] - share * back[b, d]


@compiled(f"void({_DATA}, {_STATE}, {_STATE}, {_NORM})")
def linear(
    x: Array,
    labels: Array,
    order: Array,
    edges: Array,
    constants: Array,
    likely: Array,
    weight: Array,
    bias: Array,
    norm: Array,
) -> None:
    """`W BN(x) + b`, or `W x + b`."""
    width, dim, classes, normed = _widest(edges), x.shape[1], bias[0].shape[2], _there(norm)
    hats, outs, room = np.empty((width, dim), F32), np.empty((width, dim), F32), np.empty(classes * width, F32)
    top, total, sums = np.empty(width, F32), np.empty(width, F32), np.empty(classes, F32)
    inverse, slope, shift = np.empty(dim, F32), np.empty(dim, F32), np.empty(dim, F32)
    product = np.empty(classes * dim, F32)
    for r in range(len(order)):
        for s in range(len(edges) - 1):
            rows = order[r, edges[s] : edges[s + 1]]
            hat, out = hats[: len(rows)], outs[: len(rows)]
            scores = room[: classes * len(rows)].reshape(classes, len(rows))
            _gather(x, rows, hat)
            if normed:
                _normalise(hat, r, norm, inverse, out)
            else:
                out = hat
            _classify(weight, r, normed, out, scores)
            _softmax(scores, bias[0][r, 0], top, total)
            _cross_entropy(scores, labels, rows, likely[r, edges[s] : edges[s + 1]])
            _row_sums(scores, sums)
            _for_classifier(normed, scores, hat, product)
            if normed:
                whole = product.reshape(classes, dim)
                _behind_norm(weight[0][r], whole, sums, norm[0][0][r, 0], norm[1][0][r, 0], slope, shift)
                _adam(norm[0], r, slope, constants[s])
                _adam(norm[1], r, shift, constants[s])
            _adam(weight, r, product, constants[s])
            _adam(bias, r, sums, constants[s])


@compiled(f"void({_DATA}, {_STATE}, {_STATE}, {_NORM}, {_NORM}, {_NORM}, f4[:,::1], f4[:,::1], f4[::1])")
def attention(
    x: Array,
    labels: Array,
    order: Array,
    edges: Array,
    constants: Array,
    likely: Array,
    weight: Array,
    bias: Array,
    norm: Array,
    image_norm: Array,
    text_norm: Array,
    text: Array,
    statistics: Array,
    ratio: Array,
) -> None:
    """`W BN₃((1 − r) x + r a) + b` with `x = BN₁(f)`, `t = γ t̂ + β` and `a = softmax(x t^T / √D) t`.

    x t^T is `(γ x) t̂^T` but for a term that all classes share, which softmax does not see; and `P t` is `γ P t̂ + β`.
    t̂ and the mean and variance behind it, `statistics (2, D)`, are the same at every step.
    """
    width, dim, classes, normed = _widest(edges), x.shape[1], bias[0].shape[2], _there(norm)
    buffers, rooms = np.empty((6, width, dim), F32), np.empty((3, classes * width), F32)
    top, total, sums, none = np.empty(width, F32), np.empty(width, F32), np.empty(classes, F32), np.zeros(classes, F32)
    inverse, around = np.empty((2, dim), F32), np.empty((6, dim), F32)
    product, cold = np.empty(classes * dim, F32), F32(1 / np.sqrt(dim))
    for r in range(len(order)):
        gain, shift, share = text_norm[0][0][r, 0], text_norm[1][0][r, 0], ratio[r]
        for s in range(len(edges) - 1):
            rows = order[r, edges[s] : edges[s + 1]]
            size = len(rows)
            hat, image, mean = buffers[0, :size], buffers[1, :size], buffers[2, :size]
            mixed, out, back = buffers[3, :size], buffers[4, :size], buffers[5, :size]
            scores = rooms[0, : classes * size].reshape(classes, size)
            attending = rooms[1, : classes * size].reshape(classes, size)
            for_keys = rooms[2, : classes * size].reshape(classes, size)
            _gather(x, rows, hat)
            _normalise(hat, r, image_norm, inverse[0], image)
            _track(text_norm[2][0][r, 0], statistics[0], F32(text_norm[3]))
            _track(text_norm[2][1][r, 0], statistics[1], F32(text_norm[3]))
            _scale_all(image, gain, cold, back)
            np.dot(text, back.T, attending)
            _softmax(attending, none, top, total)
            np.dot(attending.T, text, mean)
            _mix(image, mean, gain, shift, share, mixed)
            if normed:
                _normalise(mixed, r, norm, inverse[1], out)
            else:
                out = mixed
            _classify(weight, r, normed, out, scores)
            _softmax(scores, bias[0][r, 0], top, total)
            _cross_entropy(scores, labels, rows, likely[r, edges[s] : edges[s + 1]])
            _row_sums(scores, sums)
            _for_classifier(normed, scores, out, product)
            _for_inputs(weight, r, normed, scores, back)
            if normed:
                _norm_gradients(back, mixed, around[0], around[1])
                _norm_back(back, mixed, inverse[1], norm[0][0][r, 0], around[0], around[1])
                _adam(norm[0], r, around[0], constants[s])
                _adam(norm[1], r, around[1], constants[s])
            _adam(weight, r, product, constants[s])
            _adam(bias, r, sums, constants[s])
            _scale_all(back, gain, share, out)
            np.dot(text, out.T, for_keys)
            _softmax_back(for_keys, attending, total)
            np.dot(for_keys.T, text, out)
            _through_attention(back, out, mean, image, gain, share, cold, around[2], around[3])
            _norm_gradients(back, hat, around[4], around[5])
            _adam(text_norm[0], r, around[2], constants[s])
            _adam(text_norm[1], r, around[3], constants[s])
            _adam(image_norm[0], r, around[4], constants[s])
            _adam(image_norm[1], r, around[5], constants[s])


@compiled(f"void({_DATA}, {_STATE}, {_STATE}, {_NORM}, f4[:,::1], f4[::1])")
def adapter(
    x: Array,
    labels: Array,
    order: Array,
    edges: Array,
    constants: Array,
    likely: Array,
    down: Array,
    up: Array,
    norm: Array,
    text: Array,
    ratio: Array,
) -> None:
    """`ẑ T^T` with `z = (1 − r) x + r ReLU(W₂ ReLU(W₁ x))` and `x = BN(f)`, or f itself."""
    width, dim, classes, narrow, normed = _widest(edges), x.shape[1], len(text), down[0].shape[2], _there(norm)
    buffers, narrows = np.empty((5, width, dim), F32), np.empty((2, width, narrow), F32)
    rooms, none = np.empty((2, classes * width), F32), np.zeros(classes, F32)
    top, total, lengths = np.empty(width, F32), np.empty(width, F32), np.empty(width, F32)
    inverse, slope, shift = np.empty(dim, F32), np.empty(dim, F32), np.empty(dim, F32)
    for_down, for_up = np.empty((dim, narrow), F32), np.empty((narrow, dim), F32)
    for r in range(len(order)):
        for s in range(len(edges) - 1):
            rows = order[r, edges[s] : edges[s + 1]]
            size = len(rows)
            hat, image, wide = buffers[0, :size], buffers[1, :size], buffers[2, :size]
            mixed, back = buffers[3, :size], buffers[4, :size]
            inner, for_inner = narrows[0, :size], narrows[1, :size]
            scores = rooms[0, : classes * size].reshape(classes, size)
            cosines = rooms[1, : classes * size].reshape(classes, size)
            _gather(x, rows, hat)
            if normed:
                _normalise(hat, r, norm, inverse, image)
            else:
                image = hat
            np.dot(image, down[0][r], inner)
            _relu(inner)
            np.dot(inner, up[0][r], wide)
            _mix_relu(image, wide, ratio[r], mixed)
            _lengths(mixed, lengths)
            np.dot(text, mixed.T, cosines)
            _over(cosines, lengths, scores)
            _softmax(scores, none, top, total)
            _cross_entropy(scores, labels, rows, likely[r, edges[s] : edges[s + 1]])
            _dots(scores, cosines, total)  # radial
            _over(scores, lengths, scores)
            np.dot(scores.T, text, back)
            _off_radius(back, mixed, total, lengths)
            _through_relu(back, wide, ratio[r], wide)
            np.dot(inner.T, wide, for_up)
            np.dot(wide, up[0][r].T, for_inner)
            _where(inner, for_inner)
            np.dot(image.T, for_inner, for_down)
            if normed:
                np.dot(for_inner, down[0][r].T, mixed)
                _rest(back, ratio[r], mixed)
                _norm_gradients(mixed, hat, slope, shift)
                _adam(norm[0], r, slope, constants[s])
                _adam(norm[1], r, shift, constants[s])
            _adam(down, r, for_down.reshape(-1), constants[s])
            _adam(up, r, for_up.reshape(-1), constants[s])
