"""What a method may need: the names, and which of them are arrays beside the features, in files of their own."""

import re
from collections.abc import Collection

VECTORS = ("pre", "spatial_logits")  # a vector of each image, in place of its embedding or beside it
PIXELS = "pixels"
BLOCKS = "blocks"  # and a number n: what goes into the last n blocks of the image tower
TOWERS = ("text_encoder", "text_blocks", "model", "image_blocks")
NAMED = ("image", "text", "views", "text_each", *VECTORS, PIXELS, "spatial", *TOWERS)
KNOWN = f"{', '.join(NAMED)}, {BLOCKS}<n>"  # `spatial` is never there: features are pooled
PATTERN = rf"{'|'.join(VECTORS)}|{PIXELS}|{BLOCKS}[1-9][0-9]?"  # of the names of arrays


def exists(need: str) -> bool:
    """Whether there can be such a need."""
    return need in NAMED or is_array(need)


def is_array(name: str) -> bool:
    """Whether this is the name of an array beside the features."""
    return re.fullmatch(PATTERN, name) is not None


def is_image(name: str) -> bool:
    """Whether the rows of this array are images, or what blocks make of them: too large to hold those of a split."""
    return is_array(name) and name not in VECTORS


def arrays(needs: Collection[str]) -> list[str]:
    """The arrays beside the features among some needs."""
    return sorted(need for need in needs if is_array(need))


def unshippable(needs: Collection[str]) -> str:
    """The array for which a classifier with these needs can't be shipped: what is shipped sees an image through the
    backbone's image tower, changed or not, and nothing else of it. Empty where it can.
    """
    wanted = arrays(needs)
    return next((name for name in wanted if not is_image(name) or "model" not in needs), "")


def before(blocks: int) -> str:
    """The array that goes into so many of the image tower's last blocks; with 0 into all of it, the pixels."""
    return f"{BLOCKS}{blocks}" if blocks else PIXELS


def depth(name: str) -> int:
    """How many blocks of the image tower come after the array: n of `blocks<n>`, and 0 of the pixels, for all."""
    return int(name.removeprefix(BLOCKS)) if name.startswith(BLOCKS) else 0
