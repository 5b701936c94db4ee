"""For methods that write out their gradients or their scoring: what both have in common with the engine's layers."""

from collections.abc import Callable, Mapping

from methods.contract.base import Array

TINY = 1e-12  # a zero vector's logits are zero
Pullback = Callable[[Array], Mapping[str, Array]]  # from the gradient of logits to those of the weights by name


def named(part: str, gradients: Mapping[str, Array]) -> dict[str, Array]:
    """The gradients that a layer's `vjp` gives, under the names that the weights have in the whole head."""
    return {f"{part}.{name}": gradient for name, gradient in gradients.items()}


def length(x: Array) -> Array:
    """The norm of each row of a tensor `(…, D)`, `(…, 1)`."""
    from torch.linalg import vector_norm

    return vector_norm(x, dim=-1, keepdim=True).clamp_min(TINY)


def shared_product(weight: Array, bias: Array) -> Callable[[Array], Array]:
    """What maps rows `x (M, D)`, the same for R replicas, to `x weight + bias (R, M, K)`, as one product.

    `weight` is `(R, D, K)` and `bias` `(R, 1, K)`.
    """
    import torch

    replicas, dim, width = weight.shape
    # In order: a product with what lies transposed takes a quarter longer.
    side_by_side = weight.transpose(0, 1).reshape(dim, replicas * width).contiguous()
    offset = bias.reshape(-1)
    return lambda x: torch.addmm(offset, x, side_by_side).view(len(x), replicas, width).transpose(0, 1)
