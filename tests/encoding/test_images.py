"""Images as people have them: 16 bits that are really 12, PGM, scans of 200 megapixels, strips."""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from workflow.lib.encoding import depth, images
from workflow.lib.encoding.images import BadImageError, Limits, Reader, open_rgb

RAMP = np.arange(12 * 20, dtype=np.uint32).reshape(12, 20)
COLOUR = np.stack([RAMP, RAMP[::-1], RAMP[:, ::-1]], 2)


def bits(values, white):
    """A ramp of 8 bits as values up to `white`; 255 is not reached, as in a photograph."""
    return np.round(values * white / 255).astype(np.uint16)


def png(path, values, colour_type):
    """A PNG of 16 bits, which Pillow itself writes in grey only."""

    def chunk(name, content):
        return struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))

    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    header = struct.pack(">IIBBBBB", width, height, 16, colour_type, 0, 0, 0)
    content = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + content)
    return path


def tiff(path, values, order="<", tags=()):
    """A TIFF of 16 bits a channel in one strip, with further tags (number, value)."""
    height, width, channels = values.shape
    kinds = [(256, 3, 1, width), (257, 3, 1, height), (259, 3, 1, 1), (262, 3, 1, 2 if channels == 3 else 1)]
    kinds += [(277, 3, 1, channels), (278, 3, 1, height), *((tag, 3, 1, value) for tag, value in tags)]
    end = 8 + 2 + 12 * (len(kinds) + 3) + 4
    kinds += [(258, 3, channels, end if channels == 3 else 16), (273, 4, 1, end + 6), (279, 4, 1, 2 * values.size)]

    def entry(tag, kind, count, value):
        inside = kind == 3 and count == 1
        return struct.pack(f"{order}HHI", tag, kind, count) + struct.pack(
            f"{order}{'HH' if inside else 'I'}", *([value, 0] if inside else [value])
        )

    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8)
    body = struct.pack(f"{order}H", len(kinds)) + b"".join(entry(*kind) for kind in sorted(kinds))
    data = values.astype(f"{order}u2").tobytes()
    path.write_bytes(head + body + struct.pack(f"{order}I3H", 0, 16, 16, 16) + data)
    return path


def pgm(path, values, white):
    path.write_bytes(b"P5 20 12 %d\n" % white + values.astype(">u2").tobytes())
    return path


def check(path, expected, taken_for):
    found = open_rgb(path)
    difference = np.abs(np.asarray(found).astype(int) - expected)
    assert difference.max() <= 1, path
    assert found.info.get(depth.KEY) == taken_for


GREY = np.stack([RAMP] * 3, 2).astype(int)


@pytest.mark.parametrize("white", [1023, 4095, 16383, 65535])
def test_grey_of_16_bits_is_scaled_by_the_depth_that_its_values_have(tmp_path, white):
    values, depths = bits(RAMP, white), white.bit_length()
    for name in ("a.png", "a.tif"):
        Image.fromarray(values).save(tmp_path / name)
        check(tmp_path / name, GREY, depths)
    check(tiff(tmp_path / "b.tif", values[..., None], ">"), GREY, depths)
    check(pgm(tmp_path / "a.pgm", values, white), GREY, 16)  # a PGM says its white, and Pillow scales by it
    check(pgm(tmp_path / "b.pgm", values, 65535), GREY, depths)


def test_a_white_that_the_file_says_counts_and_not_the_brightest_value(tmp_path):
    dark = bits(RAMP // 8, 4095)
    check(pgm(tmp_path / "a.pgm", dark, 4095), GREY // 8, 16)
    check(tiff(tmp_path / "a.tif", dark[..., None], tags=[(281, 4095)]), GREY // 8, 12)


def test_an_image_that_is_all_black_stays_black(tmp_path):
    Image.fromarray(np.zeros((4, 5), np.uint16)).save(tmp_path / "a.png")
    assert np.asarray(open_rgb(tmp_path / "a.png")).max() == 0


@pytest.mark.parametrize("white", [1023, 4095, 16383])
def test_colours_of_16_bits_of_which_pillow_would_keep_nothing(tmp_path, white):
    values, depths = bits(COLOUR, white), white.bit_length()
    opaque = np.full((12, 20, 1), white, np.uint16)
    check(png(tmp_path / "a.png", values, 2), COLOUR.astype(int), depths)
    check(png(tmp_path / "b.png", np.concatenate([values, opaque], 2), 6), COLOUR.astype(int), depths)
    check(tiff(tmp_path / "a.tif", values, "<"), COLOUR.astype(int), depths)
    check(tiff(tmp_path / "b.tif", values, ">"), COLOUR.astype(int), depths)


def test_colours_of_16_bits_that_use_them_are_as_pillow_reads_them(tmp_path):
    path = png(tmp_path / "a.png", bits(COLOUR, 65535), 2)
    check(path, COLOUR.astype(int), None)
    assert np.array_equal(np.asarray(open_rgb(path)), np.asarray(Image.open(path)))


def test_what_cannot_be_read_whole_is_refused_and_not_black(tmp_path):
    path = png(tmp_path / "a.png", np.stack([bits(RAMP, 4095)] * 2, 2), 4)
    with pytest.raises(BadImageError, match="16 bits a channel of which less than 15 are used, as LA;16B; allowed"):
        open_rgb(path)


def test_the_log_has_a_line_for_every_depth(tmp_path):
    reader = Reader()
    for number, white in enumerate([4095, 4095, 65535]):
        Image.fromarray(bits(RAMP, white)).save(tmp_path / f"{number}.png")
        reader(tmp_path / f"{number}.png")
    assert reader.depths() == [
        f"images of 16 bits whose values have 12, scaled by white at 4095: 2, the first {tmp_path}/0.png",
        f"images of 16 bits whose values have 16, scaled by white at 65535: 1, the first {tmp_path}/2.png",
    ]


# --- large and long --------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _pillows_own_limit(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)


def test_a_strip_is_named_with_the_option_that_lets_it_in(tmp_path):
    Image.new("RGB", (2000, 10)).save(tmp_path / "a.png")
    with pytest.raises(BadImageError, match=r"a\.png: .*2000 x 10 pixels: one side is over 100 .*`max_aspect: 200`"):
        open_rgb(tmp_path / "a.png")
    assert open_rgb(tmp_path / "a.png", Limits(aspect=200)).size == (2000, 10)
    with pytest.raises(BadImageError, match="over 199 times"):
        open_rgb(tmp_path / "a.png", Limits(aspect=199))


def test_a_large_image_is_named_with_the_option_that_lets_it_in(tmp_path):
    Image.new("L", (200, 100)).save(tmp_path / "a.png")
    with pytest.raises(BadImageError, match=r"200 x 100 pixels, over 19999 in all; `max_pixels: 20000` in the data"):
        open_rgb(tmp_path / "a.png", Limits(pixels=19999))
    assert open_rgb(tmp_path / "a.png", Limits(pixels=20000)).size == (200, 100)


def test_what_pillow_takes_for_a_bomb_is_let_in_by_the_same_option(tmp_path, monkeypatch):
    Image.new("L", (200, 100)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    with pytest.raises(BadImageError, match=r"a\.png: not read: 20000 pixels, over .*; `max_pixels: 20000`"):
        open_rgb(tmp_path / "a.png")
    assert Reader(Limits(pixels=20000))(tmp_path / "a.png").size == (200, 100)


def test_a_limit_is_never_lowered_for_the_process(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 300)
    images.allow(Limits(pixels=200))
    assert Image.MAX_IMAGE_PIXELS == 300
