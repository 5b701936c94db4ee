"""Towers for the check of methods: made class texts in place of open_clip, which takes seconds to import."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from methods.contract.adaptation import Adaptable, AdaptableImages, Adaptation, LowRank, Norms
from methods.contract.base import Floats, unit
from methods.contract.changes import Changes
from methods.contract.encoder import Change, Prompts, Trains, every, unchanged
from methods.contract.exporting import CannotShipError

WIDTH = 16  # of a token: that of an embedding, as in ViT-B/32
DEPTH = 2  # blocks


class MadeEncoder:
    """A text `"k…"` is near `text[k]`, and moved by what stands before it: classes are named by their number."""

    templates = ("{}",)
    adapts = True

    def __init__(self, text: Floats, names: Sequence[str]) -> None:
        self._text, self.names = text, tuple(names)

    def prompts(self, texts: Sequence[str], learned: int) -> Prompts:
        """Of texts that begin with the name of a class."""
        rows = [int(text.rstrip(".").split()[-1]) for text in texts]
        return _Made(self._text[rows])

    def adaptable(self, texts: Sequence[str]) -> Adaptable:
        """Likewise, of texts that end with the name of a class."""
        rows = [int(text.rstrip(".").split()[-1]) for text in texts]
        return _MadeTower(self._text[rows])

    def embedded(self, text: str) -> Any:
        """A vector for each word `(M, W)`."""
        import torch

        rows = [np.random.default_rng(list(word.encode())).normal(size=WIDTH) for word in text.split()]
        return torch.from_numpy(np.array(rows, np.float32))


class _Made:
    width = WIDTH

    def __init__(self, text: Floats) -> None:
        import torch

        self._text = torch.from_numpy(text)
        mixing = np.random.default_rng(1).normal(size=(WIDTH, text.shape[1])) / WIDTH**0.5
        self._mixing = torch.from_numpy(mixing.astype(np.float32))

    def __call__(self, context: Any) -> Any:
        moved = context.mean(-2).tanh() @ self._mixing
        return self._text + (moved[:, None] if context.dim() == 3 else moved)


class _MadeTower(_Made):
    """Two blocks and a LayerNorm behind them, and no attention: until something is trained, texts are as made, and
    images the embeddings that are given.
    """

    depth = DEPTH

    def __init__(self, text: Floats) -> None:
        super().__init__(text)
        self.dim = text.shape[1]

    def norms(self) -> tuple[Any, Any]:
        import torch

        return torch.ones(2 * self.depth + 1, self.width), torch.zeros(2 * self.depth + 1, self.width)

    def __call__(self, adaptation: Any, *images: Any) -> Any:
        given = images[0] if images else self._text
        begin = tokens = (given @ self._mixing.mT).expand(adaptation.replicas, -1, -1)
        if own := adaptation.norms:
            for weight, bias in zip(own.weight.unbind(1), own.bias.unbind(1), strict=True):
                tokens = tokens * weight[:, None] + bias[:, None]
        if own := adaptation.low_rank:
            for block in map(own.of, range(own.down.shape[1])):
                for down, up in zip(block.down.unbind(1), block.up.unbind(1), strict=True):
                    tokens = tokens + own.scale * own.drop(tokens) @ down.mT @ up.mT
        return given + (tokens - begin) @ self._mixing

    def changes(self, adaptation: Any) -> Changes:
        """All of it, changed or not: `embeddings` of the model sees by it which tower it is."""
        norms, low_rank = adaptation.norms, adaptation.low_rank
        replaced = {"norms": (norms.weight[0], norms.bias[0])} if norms else {}
        added = {"low_rank": (low_rank.scale * low_rank.up[0], low_rank.down[0])} if low_rank else {}
        return Changes(
            {f"{name}.{i}": _kept(one) for name, pair in replaced.items() for i, one in enumerate(pair)},
            {name: (_kept(up), _kept(down)) for name, (up, down) in added.items()},
        )

    def adaptation(self, changes: Changes) -> Adaptation:
        """The way back."""
        import torch

        norms = [torch.from_numpy(changes.replaced[name])[None] for name in ("norms.0", "norms.1") if changes.replaced]
        pairs = [[torch.from_numpy(one)[None] for one in pair] for pair in changes.added.values()]
        low_rank = [LowRank(down, up, torch.ones(()), lambda x: x) for up, down in pairs]
        return Adaptation(low_rank[0] if low_rank else None, Norms(norms[0], norms[1]) if norms else None)


class MadeModel:
    """Two towers of one block each, near the identity: images are embeddings already, texts those of the classes."""

    unfit = ""

    def __init__(self, text: Floats) -> None:
        self._text = text

    def image(self, blocks: int = 0, trains: Trains = every, change: Change = unchanged) -> Any:
        """From rows `(B, D)`."""
        return _tower(None, trains, change)

    def adaptable(self, blocks: int = 0) -> AdaptableImages:
        """Likewise, with parts of the replicas' own."""
        return _MadeTower(self._text)

    def embeddings(self, rows: Any, blocks: int, changes: Changes) -> Floats:
        """Through one or the other, with these changes."""
        import torch

        given = torch.from_numpy(np.asarray(rows))
        with torch.no_grad():
            if {"norms.0", "low_rank"} & {*changes.replaced, *changes.added}:
                tower = _MadeTower(self._text)
                found = tower(tower.adaptation(changes), given)[0]
            else:
                module = _tower(None, every, unchanged)
                module.load_state_dict({name: torch.from_numpy(one) for name, one in changes.replaced.items()})
                found = module(given)
        return np.asarray(found.numpy(), np.float32)

    def views(self, least: float, flip: bool) -> Any:
        """Rows as they are: an embedding has no crops."""
        from torch import nn

        return nn.Identity()

    def texts(self, trains: Trains = every, change: Change = unchanged) -> Any:
        """Unit class texts `(K, D)`."""
        return _tower(self._text, trains, change)


def _replaced(own: Any, known: Any) -> Changes:
    """All tensors, changed or not, where they are of the layers that are known."""
    if own.keys() != known.keys():
        raise CannotShipError("it has put layers of its own into the image tower")
    return Changes({name: _kept(one) for name, one in own.items()})


def _kept(tensor: Any) -> Floats:
    """A copy, for a training may go on."""
    found: Floats = tensor.detach().clone().numpy()
    return found


def _tower(text: Floats | None, trains: Trains, change: Change) -> Any:
    """A module of the given texts, or of its argument. What it begins with is the same every time."""
    import torch
    from torch import nn

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.ln_1 = nn.LayerNorm(WIDTH)
            self.attn = nn.MultiheadAttention(WIDTH, 2, batch_first=True)

        def forward(self, x: Any) -> Any:
            seen = self.ln_1(x)
            return x + 0.1 * self.attn(seen, seen, seen, need_weights=False)[0]

    class Tower(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.resblocks = nn.ModuleList([Block()])
            self.proj = nn.Parameter(torch.eye(WIDTH))

        def changes(self, own: Any) -> Changes:
            return _replaced(own, known)

        def forward(self, rows: Any = None) -> Any:
            x = torch.from_numpy(text) if rows is None else rows
            x = x.unsqueeze(-2)
            for block in self.resblocks:
                x = block(x)
            x = x.squeeze(-2) @ self.proj
            return x if rows is not None else unit(x)

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        made = Tower()
    known = made.state_dict()
    change(list(made.resblocks))
    for name, parameter in made.named_parameters():
        parameter.requires_grad_(trains(name))
    return made
