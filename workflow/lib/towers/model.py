"""The two towers of a backbone as modules whose weights can be trained: `methods.contract.encoder.Model`.

A module has a structure of its own, and of the tensors those alone that are trained: the others are the model's, one
copy for all modules of a job.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from methods.contract.base import unit
from methods.contract.changes import Changes, Numbers
from methods.contract.encoder import Change, Trains, every, unchanged
from workflow.lib.encoding import beside, changed_tower, cut_tower
from workflow.lib.encoding.backbones import Backbone
from workflow.lib.encoding.prompts import prompts
from workflow.lib.jobs.precision import as_the_step_asks
from workflow.lib.towers.adaptable_images import AdaptableImages, unfit
from workflow.lib.towers.prompts import Encoder
from workflow.lib.towers.text import Layout, Tower
from workflow.lib.towers.views import Views

SLICE = 64  # images that go through the tower at once
# What a text tower reads.
_READS = ("token_embedding", "cls_emb", "positional_embedding", "transformer", "ln_final", "text_projection")


class TwoTowers:
    """A loaded backbone. `names (K)` are those of each class, one or several, and `templates` the dataset's.

    Raises ValueError, with the reason, for an image tower that can't be run block by block.
    """

    def __init__(self, backbone: Backbone, names: Sequence[Sequence[str]], templates: Sequence[str]) -> None:
        cut_tower.kind_of(backbone.visual)
        self._backbone, self._names, self._templates = backbone, names, templates
        self._shapes: dict[int, torch.Size] = {}

    def image(self, blocks: int = 0, trains: Trains = every, change: Change = unchanged) -> Images:
        """Its image tower, or the last blocks of it."""
        visual = self._cut(blocks)
        made = Images(visual, blocks, self._rows(blocks), self._backbone.visual.state_dict())
        running = cut_tower.last(visual, blocks) if blocks else cut_tower.places(visual)
        change([holder._modules[name] for holder, name in running])
        made.own(trains, "visual.")
        return made

    def _cut(self, blocks: int) -> Any:
        """A structure of its own, of what runs."""
        visual = structure(self._backbone.visual)
        if blocks:
            cut_tower.drop_before(visual, blocks)
        return visual

    def _rows(self, blocks: int) -> Rows:
        return Rows(self._backbone, blocks, self._shape(blocks))

    def embeddings(self, rows: Any, blocks: int, changes: Changes) -> Numbers:
        """Embeddings `(M, D)` float32 of rows as of `image`, through its image tower with these changes."""
        visual = self._cut(blocks)
        changed_tower.put(visual, changes)
        tower = Images(visual, blocks, self._rows(blocks), {}).eval()
        with torch.no_grad():
            given = (torch.as_tensor(rows[i : i + SLICE]) for i in range(0, len(rows), SLICE))
            return torch.cat([tower(each.to(self._backbone.device)).float().cpu() for each in given]).numpy()

    @property
    def unfit(self) -> str:
        """Why replicas can't have parts of their own in its image tower; empty where they can."""
        reason = unfit(self._backbone.visual)
        return f"of its image tower only the blocks of open_clip's own ViT are adapted, and {reason}" if reason else ""

    def adaptable(self, blocks: int = 0) -> AdaptableImages:
        """Its image tower, or the last blocks of it, with parts of the replicas' own."""
        return AdaptableImages(self._backbone.visual, self._rows(blocks), blocks)

    def _shape(self, blocks: int) -> torch.Size:
        """Of an image in pixels, or of what goes into the last blocks."""
        if not blocks:
            return torch.Size([*beside.sides(self._backbone), 3])
        return self._shapes.setdefault(blocks, beside.shape_before(self._backbone, blocks))

    def views(self, least: float, flip: bool) -> nn.Module:
        """What takes each image by a random crop."""
        height, width = beside.sides(self._backbone)
        return nn.Identity() if least == 1 and not flip else Views(least, flip, height, width)

    def texts(self, trains: Trains = every, change: Change = unchanged) -> Texts:
        """Its text tower, over the prompts of all classes."""
        backbone = self._backbone
        whole: Any = backbone.model
        part = structure(getattr(whole, "text", whole), without=getattr(whole, "visual", None))
        one = [name for own in self._names for name in own]
        encoder = Encoder(Tower(whole), backbone.tokenizer, one, self._templates)
        made = Texts(part, encoder.layout(prompts(one, self._templates)), [len(own) for own in self._names])
        change(list(part.transformer.resblocks))
        made.begin()
        made.own(lambda name: name.startswith(_READS) and trains(name), "part.")
        return made


def structure(module: nn.Module, without: nn.Module | None = None) -> Any:
    """A copy of a module that has the same tensors, the objects themselves, and nothing in the place of a part."""
    same: dict[int, Any] = {id(tensor): tensor for tensor in (*module.parameters(), *module.buffers())}
    if without is not None:
        same[id(without)] = nn.Identity()
    return copy.deepcopy(module, same)


class Part(nn.Module):
    """A tower, or a part of it, whose tensors are the model's until some become its `own`.

    `shared` are the names of those that stay the model's. The model's layers are as in inference, whatever the mode.
    """

    def __init__(self, **parts: nn.Module) -> None:
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)
        self._frozen = list(self.modules())[1:]  # a list: no layers of its own
        self._of_model = {id(tensor) for tensor in (*self.parameters(), *self.buffers())}
        self.shared: frozenset[str] = frozenset()

    def own(self, trains: Trains, prefix: str) -> None:
        """Take a copy of each parameter that is to be trained."""
        for name, parameter in list(self.named_parameters()):
            trained = trains(name.removeprefix(prefix))
            if trained and id(parameter) in self._of_model:
                holder, _, last = name.rpartition(".")
                self.get_submodule(holder)._parameters[last] = nn.Parameter(parameter.detach().clone())
            elif not trained and id(parameter) not in self._of_model:
                parameter.requires_grad_(False)
        named = [*self.named_parameters(), *self.named_buffers()]
        self.shared = frozenset(name for name, tensor in named if id(tensor) in self._of_model)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """As any module's, but never by nn.MultiheadAttention's shortcut for inference.

        That has no derivative, and would be taken where `vmap` hides that one is wanted.
        """
        allowed = torch.backends.mha.get_fastpath_enabled()
        torch.backends.mha.set_fastpath_enabled(False)
        try:
            return super().__call__(*args, **kwargs)
        finally:
            torch.backends.mha.set_fastpath_enabled(allowed)

    def train(self, mode: bool = True) -> Part:
        super().train(mode)
        for module in self._frozen:
            module.training = False
        return self


class Rows:
    """What a tower reads of rows `(N, D)`: images of pixels, or what goes into its last `blocks`, of this `shape`."""

    def __init__(self, backbone: Backbone, blocks: int, shape: torch.Size) -> None:
        self._blocks, self._shape = blocks, shape
        normalize = backbone.preprocess.transforms[-1]
        self._mean, self._std = (
            torch.tensor(values, device=backbone.device).view(-1, 1, 1) for values in (normalize.mean, normalize.std)
        )

    def __call__(self, rows: Tensor) -> Tensor:
        x = rows.reshape(len(rows), *self._shape)
        return x if self._blocks else (x.movedim(-1, -3).contiguous().float() / 255 - self._mean) / self._std


class Images(Part):
    """Rows `(B, D)` of pixels, or of what goes into the last `blocks`, to embeddings `(B, D')`.

    `model` are the model's tensors by name.
    """

    def __init__(self, visual: nn.Module, blocks: int, read: Rows, model: Mapping[str, Tensor]) -> None:
        super().__init__(visual=visual)
        self._blocks, self._read, self._model = blocks, read, model

    def changes(self, own: Mapping[str, Tensor]) -> Changes:
        """Which of these tensors, in the place of those of this module, are other than the model's.

        Raises CannotShipError for those of layers that the model does not have.
        """
        return Changes(changed_tower.replaced(self._model, {name.removeprefix("visual."): own[name] for name in own}))

    @as_the_step_asks
    def forward(self, rows: Tensor) -> Tensor:
        visual = self.get_submodule("visual")
        x = self._read(rows)
        return cut_tower.embedded(visual, x, self._blocks) if self._blocks else cut_tower.whole(visual, x)


class Texts(Part):
    """The unit class texts `(K, D)`: of each class the mean over its names, `counts` many, and over templates."""

    def __init__(self, part: nn.Module, layout: Layout, counts: Sequence[int]) -> None:
        super().__init__(part=part)
        self._layout, self._counts = layout, list(counts)

    def begin(self) -> None:
        """The layers are what they are to be."""
        part: Any = self._modules["part"]
        learn = [parameter.requires_grad for parameter in part.parameters()]
        self._tower = Tower(part, slices=False)
        for parameter, before in zip(part.parameters(), learn, strict=True):
            parameter.requires_grad_(before)

    def forward(self) -> Tensor:
        nothing = torch.zeros(1, 0, self._tower.width, device=self._layout.own.device)
        each = unit(self._tower(self._layout, nothing)[0]).unflatten(0, (sum(self._counts), -1))  # (names, T, D)
        if len(self._counts) < len(each):
            each = torch.stack([own.mean(0) for own in each.split(self._counts)])
        return unit(unit(each).mean(1))
