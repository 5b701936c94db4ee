"""Image files: the right pixels in RGB, or one line that names the file."""

import io
import os
import struct
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from tests.fuzz.corpus import TRAPS, damaged, outcome
from workflow.lib.encoding.images import open_rgb
from workflow.lib.errors import UserError

RAMP = np.arange(12 * 20, dtype=np.uint8).reshape(12, 20)
COLOUR = np.stack([RAMP, RAMP[::-1], RAMP[:, ::-1]], 2)


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def check(path: Path, content: bytes) -> np.ndarray | None:
    """Open the image: 8 bits, three channels."""
    path.write_bytes(content)
    found = outcome(lambda: open_rgb(path), path)
    if found is None:
        return None
    assert found.mode == "RGB"
    pixels = np.asarray(found)
    assert (pixels.dtype, pixels.shape) == (np.uint8, (found.height, found.width, 3))
    return pixels


RIGHT = {kind: encoded(Image.fromarray(COLOUR), kind) for kind in ("PNG", "BMP", "JPEG", "GIF", "TIFF", "WEBP", "PPM")}


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF", "PPM"])
def test_what_loses_nothing_is_read_as_it_was_written(tmp_path: Path, kind: str) -> None:
    pixels = check(tmp_path / "i.png", RIGHT[kind])
    assert pixels is not None
    assert np.array_equal(pixels, COLOUR)


@given(kind=st.sampled_from(sorted(RIGHT)), data=st.data())
def test_damaged_bytes(tmp_path: Path, kind: str, data: st.DataObject) -> None:
    check(tmp_path / "i.png", data.draw(damaged(RIGHT[kind])))


@given(kind=st.sampled_from(["PNG", "BMP", "JPEG", "TIFF"]), share=st.floats(0, 0.95))
def test_what_is_cut_short_is_refused_and_not_filled_up(tmp_path: Path, kind: str, share: float) -> None:
    """What is read all the same has every pixel, and lacks a checksum at the end."""
    content = RIGHT[kind]
    pixels = check(tmp_path / "i.png", content[: int(share * len(content))])
    whole = np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    assert pixels is None or np.array_equal(pixels, whole)


@pytest.mark.parametrize("content", TRAPS.values(), ids=TRAPS)
def test_what_is_no_image(tmp_path: Path, content: bytes) -> None:
    assert check(tmp_path / "i.png", content) is None


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGBA", "CMYK", "YCbCr"])
def test_every_mode_becomes_its_colours(tmp_path: Path, mode: str) -> None:
    image = Image.fromarray(COLOUR).convert(mode)
    kind = "JPEG" if mode in ("CMYK", "YCbCr") else "PNG"
    options = {"quality": 100, "subsampling": 0} if kind == "JPEG" else {}
    pixels = check(tmp_path / "i.png", encoded(image, kind, **options))
    assert pixels is not None
    difference = np.abs(pixels.astype(int) - np.asarray(image.convert("RGB")).astype(int))
    assert difference.mean() < (8 if kind == "JPEG" else 1e-9)


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bits_are_scaled_and_not_cut_off(tmp_path: Path, kind: str) -> None:
    """Pillow makes everything above 255 of 65535 white."""
    wide = RAMP.astype(np.uint16) * 257
    pixels = check(tmp_path / "i.png", encoded(Image.fromarray(wide), kind))
    assert pixels is not None
    assert np.array_equal(pixels, np.stack([RAMP] * 3, 2))


@pytest.mark.parametrize("dtype", [np.int32, np.float32])
def test_32_bits_whose_white_nobody_knows_are_refused(tmp_path: Path, dtype: Any) -> None:
    assert check(tmp_path / "i.tif", encoded(Image.fromarray(RAMP.astype(dtype)), "TIFF")) is None


TURNS = {1: 0, 3: 2, 6: 3, 8: 1}  # EXIF's orientation, and the quarters to turn the pixels anticlockwise


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", [1, 2, 3, 4, 5, 6, 7, 8, 0, 9, 65535])
def test_a_photograph_stands_as_its_camera_was_held(tmp_path: Path, kind: str, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "WEBP" else {}
    pixels = check(tmp_path / "i.png", encoded(Image.fromarray(COLOUR), kind, exif=exif, **options))
    assert pixels is not None
    mirrored = {2: COLOUR[:, ::-1], 4: COLOUR[::-1], 5: COLOUR.swapaxes(0, 1), 7: COLOUR[::-1, ::-1].swapaxes(0, 1)}
    expected = mirrored.get(orientation, np.rot90(COLOUR, TURNS.get(orientation, 0)))
    assert np.array_equal(pixels, expected)


@given(content=st.binary(max_size=60))
def test_an_exif_block_of_anything_does_no_harm(tmp_path: Path, content: bytes) -> None:
    pixels = check(tmp_path / "i.jpg", encoded(Image.fromarray(COLOUR), "JPEG", exif=b"Exif\0\0" + content))
    assert pixels is None or pixels.size == COLOUR.size


def png(width: int, height: int, data: bytes) -> bytes:
    """A PNG that says it has a size, whatever its data are."""

    def chunk(name: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    header = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("width", "height"), [(0, 0), (0, 5), (100_000, 100_000), (2**31 - 1, 1), (1, 60_000), (60_000, 1), (2**31, 2**31)]
)
def test_a_size_that_no_photograph_has(tmp_path: Path, width: int, height: int) -> None:
    """A bomb unpacks to more than memory; a strip does when its shorter side is scaled to the model's."""
    assert check(tmp_path / "i.png", png(width, height, bytes(200_000))) is None


def test_a_bomb_is_named_with_its_size(tmp_path: Path) -> None:
    (tmp_path / "i.png").write_bytes(png(1, 60_000, bytes(120_000)))
    with pytest.raises(UserError, match=r"i\.png: not a readable image \(1 x 60000 pixels: one side is over 100 times"):
        open_rgb(tmp_path / "i.png")


def test_text_in_a_png_that_unpacks_to_gigabytes(tmp_path: Path) -> None:
    bomb = zlib.compress(bytes(100_000_000))
    text = b"zTXt" + b"k\0\0" + bomb
    chunk = struct.pack(">I", len(text) - 4) + text + struct.pack(">I", zlib.crc32(text))
    content = RIGHT["PNG"]
    check(tmp_path / "i.png", content[:33] + chunk + content[33:])


def test_what_is_no_file_or_may_not_be_read(tmp_path: Path) -> None:
    (tmp_path / "loop.png").symlink_to("loop.png")
    (tmp_path / "gone.png").symlink_to("nowhere.png")
    (tmp_path / "null.png").symlink_to("/dev/null")
    for name in ("loop.png", "gone.png", "null.png", "absent.png", ".", "i.png/x", "a" * 300):
        path = tmp_path / name
        assert outcome(lambda path=path: open_rgb(path), path) is None
    nul = Path(f"{tmp_path}/nul\0.png")
    assert outcome(lambda: open_rgb(nul), tmp_path) is None
    if os.getuid():
        (tmp_path / "i.png").touch(0)
        assert outcome(lambda: open_rgb(tmp_path / "i.png"), "i.png") is None
