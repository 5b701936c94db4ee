"""An image tower in which some tensors are other than the backbone's: which they are, and a tower that has them."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from methods.contract.changes import Changes, Numbers
from methods.contract.exporting import CannotShipError


def replaced(own: Mapping[str, Tensor], now: Mapping[str, Tensor]) -> dict[str, Numbers]:
    """Of tensors that stand `now` in the place of a tower's `own`, by name, those that are other, in float32.

    Raises CannotShipError for one that the tower does not have, or has in another shape.
    """
    foreign = next((name for name, tensor in now.items() if name not in own or own[name].shape != tensor.shape), "")
    if foreign:
        raise CannotShipError(
            f"it has put layers of its own into the image tower ({foreign}), and what is shipped runs in the backbone's"
        )
    return {name: in_numpy(tensor) for name, tensor in now.items() if not torch.equal(tensor, own[name])}


def in_numpy(tensor: Tensor) -> Numbers:
    """An array of its own, float32."""
    found: Numbers = tensor.detach().float().cpu().contiguous().numpy().copy()
    return found


def put(visual: nn.Module, changes: Changes) -> None:
    """Change an image tower in place. Other towers that share tensors with it keep theirs.

    Raises ValueError, with the reason, for a tensor that it does not have, or has in another shape.
    """
    own = visual.state_dict()
    for name, array in changes.replaced.items():
        _exchange(visual, name, _like(_own(own, name, array.shape), array))
    for name, (a, b) in changes.added.items():
        before = _own(own, name, (len(a), b.shape[1]))
        _exchange(visual, name, before + _like(before, a) @ _like(before, b))


def _own(own: Mapping[str, Tensor], name: str, shape: tuple[int, ...]) -> Tensor:
    if name not in own:
        raise ValueError(f"the image tower has no tensor {name}")
    if own[name].shape != shape:
        raise ValueError(f"{name} has shape {tuple(own[name].shape)} in the image tower, and {shape} is to change it")
    return own[name]


def _like(tensor: Tensor, array: Numbers) -> Tensor:
    return torch.tensor(array).to(tensor)


def _exchange(visual: nn.Module, name: str, tensor: Tensor) -> None:
    holder, _, last = name.rpartition(".")
    module = visual.get_submodule(holder)
    if last in module._parameters:
        module._parameters[last] = nn.Parameter(tensor, requires_grad=False)
    else:
        module._buffers[last] = tensor
