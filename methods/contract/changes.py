"""What of an image tower is other than the backbone's, as data: what is shipped of a method that trains the tower."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from numpy.typing import NDArray

Numbers = NDArray[Any]


@dataclass(frozen=True)
class Changes:
    """`replaced` tensors stand in the place of the tower's own; to others, matrices, a product `a b` is added.

    By the tower's own names for them, those of its `state_dict`: `ln_post.weight`, `layer4.0.conv1.weight`.
    """

    replaced: Mapping[str, Numbers] = field(default_factory=dict)
    added: Mapping[str, tuple[Numbers, Numbers]] = field(default_factory=dict)  # a (n, r) and b (r, m)

    def __bool__(self) -> bool:
        """Whether anything is other."""
        return bool(self.replaced or self.added)

    def arrays(self) -> dict[str, Numbers]:
        """Each by a name of its own: `<name>`, or `<name>.a` and `<name>.b`."""
        pairs = {
            f"{name}.{part}": one for name, pair in self.added.items() for part, one in zip("ab", pair, strict=True)
        }
        return {**self.replaced, **pairs}

    @property
    def nbytes(self) -> int:
        """The bytes of all arrays."""
        return sum(array.nbytes for array in self.arrays().values())


NOTHING = Changes()
