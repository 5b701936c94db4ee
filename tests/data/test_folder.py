"""`source: folder`: what counts as an image, a class and a split, and what is left out. The bad ones stand in
tests/study/test_images.py."""

import io
import shutil
import unicodedata
from pathlib import Path
from typing import Any

import pytest
import torchvision.datasets
from PIL import Image, features

from tests.study.test_images import SOUND, build
from workflow.lib.data import datasets, walk
from workflow.lib.data.index import Index, read_index, write_index
from workflow.lib.encoding.images import open_rgb


@pytest.fixture
def home(tmp_path: Path) -> Path:
    build(tmp_path / "photos", *SOUND)
    return tmp_path / "photos"


def look(home: Path, **options: Any) -> Index:
    found = datasets.look({"source": "folder", "path": str(home), **options})
    assert found is not None
    return found


def files(index: Index, split: str = "train") -> list[str]:
    return [file for file, _ in index.splits[split]]


def test_a_folder_is_read_as_torchvision_reads_it(home: Path) -> None:
    build(home, "train/owl/more/c.PNG", "train/owl/more/notes.txt")
    index = look(home, classes="top")
    theirs = torchvision.datasets.ImageFolder(str(home / "train"))
    assert index.classnames == tuple(theirs.classes) == ("elk", "owl")
    assert [(str(index.root / file), label) for file, label in index.splits["train"]] == theirs.imgs
    assert index.splits["test"] == [("test/elk/c.jpg", 0), ("test/owl/c.jpg", 1)]
    assert "val" not in index.splits


@pytest.mark.parametrize("name", ["TRAIN", "Training", "train"])
@pytest.mark.parametrize(
    ("split", "spelling"), [("val", "valid"), ("val", "Validation"), ("val", "dev"), ("test", "Test")]
)
def test_splits_are_found_in_the_spelling_that_they_have(tmp_path: Path, name: str, split: str, spelling: str) -> None:
    build(tmp_path, *(f"{folder}/{kind}/a.jpg" for folder in (name, spelling) for kind in ("elk", "owl")))
    index = look(tmp_path)
    assert set(index.splits) == {"train", split}
    assert files(index, split) == [f"{spelling}/elk/a.jpg", f"{spelling}/owl/a.jpg"]


# --- images ----------------------------------------------------------------------------------------------------------


def test_every_suffix_of_a_format_that_pillow_decodes_counts() -> None:
    """A new one in another version of Pillow is told here."""
    Image.init()
    read = {suffix for suffix, kind in Image.registered_extensions().items() if kind in Image.OPEN}
    heic = {".heic", ".heics", ".heif", ".heifs", ".hif"}
    assert walk.SUFFIXES - heic == read - heic - walk.NOT_DECODED
    assert heic <= walk.SUFFIXES


@pytest.mark.parametrize(
    "suffix", ["gif", "avif", "jfif", "jp2", "webp", "tif", "ppm", "tga", "bmp", "pcx", "ico", "qoi"]
)
def test_a_picture_of_every_kind_is_one_that_is_read(home: Path, suffix: str) -> None:
    if suffix == "avif" and not features.check("avif"):
        pytest.skip("this Pillow has no AVIF")
    content = io.BytesIO()
    kind = Image.registered_extensions()[f".{suffix}"]
    Image.new("RGB", (32, 32), (200, 30, 30)).save(content, kind)
    (home / f"train/owl/x.{suffix.upper()}").write_bytes(content.getvalue())
    assert f"train/owl/x.{suffix.upper()}" in files(look(home))
    pixel = open_rgb(home / f"train/owl/x.{suffix.upper()}").getpixel((16, 16))
    assert pixel is not None
    assert all(abs(found - wanted) < 12 for found, wanted in zip(pixel, (200, 30, 30), strict=True))


def test_a_telephone_s_photograph_is_read(home: Path) -> None:
    shutil.copy(Path(__file__).with_name("red_and_blue.heic"), home / "train/owl/IMG_0001.HEIC")
    assert "train/owl/IMG_0001.HEIC" in files(look(home))
    image = open_rgb(home / "train/owl/IMG_0001.HEIC")
    assert image.size == (64, 48)
    assert [image.getpixel((x, 24)) for x in (5, 60)] == [(200, 30, 30), (21, 40, 179)]


def test_what_is_left_out_is_counted_by_suffix_in_the_index(home: Path, tmp_path: Path) -> None:
    build(home, "train/owl/a.txt", "train/elk/b.TXT", "test/elk/c.raw", "test/elk/README", "test/owl/x.eps")
    index = look(home)
    assert index.left_out == {".txt": 2, ".raw": 1, ".eps": 1, "no suffix": 1}
    assert walk.summary(index.left_out) == "2 .txt, 1 .eps, 1 .raw, 1 no suffix"
    write_index(tmp_path / "index.json", index)
    assert read_index(tmp_path / "index.json").left_out == index.left_out


SYSTEM = [
    "train/.ipynb_checkpoints/a.jpg",
    "train/owl/.ipynb_checkpoints/a-checkpoint.jpg",
    "train/__MACOSX/owl/._a.jpg",
    "train/owl/._a.jpg",
    "train/owl/@eaDir/a.jpg/SYNOPHOTO_THUMB_M.jpg",
    "train/.thumbnails/a.png",
    "train/owl/Thumbs.db",
    "train/owl/.DS_Store",
    "train/owl/desktop.ini",
    "test/lost+found/",
    "test/$RECYCLE.BIN/S-1/a.jpg",
    ".git/x.jpg",
    "__MACOSX/train/owl/._a.jpg",
]


def test_what_systems_leave_is_no_class_and_no_image_and_is_counted(home: Path) -> None:
    sound = look(home)
    build(home, *SYSTEM)
    index = look(home)
    assert (index.classnames, index.splits) == (sound.classnames, sound.splits)
    assert index.left_out == {"system files": len(SYSTEM) - 2}  # beside train/ and test/ nothing is looked at


def test_a_class_may_be_a_link_to_a_folder_elsewhere_and_val_one_to_test(home: Path, tmp_path: Path) -> None:
    build(tmp_path / "disk2", "yak/a.jpg", "b.jpg")
    build(home, "train/yak -> ../../disk2/yak", "val -> test", "train/owl/b2.jpg -> ../../../disk2/b.jpg")
    index = look(home)
    assert files(index) == [
        *("train/elk/a.jpg", "train/elk/b.jpg"),
        *("train/owl/a.jpg", "train/owl/b.jpg", "train/owl/b2.jpg"),
        "train/yak/a.jpg",
    ]
    assert len(files(index, "val")) == len(files(index, "test")) == 2


# --- classes ---------------------------------------------------------------------------------------------------------

GROCERIES = [
    f"{split}/{folder}/1.jpg"
    for split in ("train", "test")
    for folder in ("Fruit/Apple/Golden-Delicious", "Fruit/Apple/Pink_Lady", "Fruit/Avocado", "Packages/Milk/Oat_Milk")
]


def test_nested_folders_are_classes_at_the_top_or_in_the_leaves(tmp_path: Path) -> None:
    build(tmp_path, *GROCERIES)
    assert look(tmp_path, classes="top").classnames == ("Fruit", "Packages")
    index = look(tmp_path, classes="leaf")
    assert index.classnames == ("Golden-Delicious", "Pink Lady", "Avocado", "Oat Milk")
    assert index.splits["test"] == [(file, label) for label, file in enumerate(GROCERIES[4:])]


def test_leaves_of_one_name_keep_those_of_their_parents(tmp_path: Path) -> None:
    build(tmp_path, *(f"train/{folder}/a.jpg" for folder in ("apple/green", "pear/green", "pear/red")))
    assert look(tmp_path, classes="leaf").classnames == ("apple green", "pear green", "red")


def test_one_folder_more_in_every_class_is_no_question(tmp_path: Path) -> None:
    """Tiny ImageNet has train/n01443537/images/."""
    build(tmp_path, *(f"train/{name}/images/{number}.jpg" for name in ("elk", "owl") for number in range(2)))
    index = look(tmp_path)
    assert index.classnames == ("elk", "owl")
    assert [label for _, label in index.splits["train"]] == [0, 0, 1, 1]


def test_names_in_another_form_of_unicode_are_the_same_class(tmp_path: Path) -> None:
    one, other = (unicodedata.normalize(form, "Käuzchen") for form in ("NFC", "NFD"))
    build(tmp_path, f"train/{other}/a.jpg", "train/elk/a.jpg", f"test/{one}/a.jpg")
    index = look(tmp_path)
    assert index.classnames == (one, "elk")
    assert index.splits["test"] == [(f"test/{one}/a.jpg", 0)]
    assert (index.root / files(index)[0]).exists()  # the file's name is left as it is
