"""Folders of images as people have them, read with the study: what is wrong with one is said in one line, at once."""

import os
import unicodedata
from pathlib import Path
from typing import Any

import pytest
import yaml

from workflow.lib.data import datasets
from workflow.lib.data.index import write_index
from workflow.lib.errors import UserError
from workflow.lib.study import images, study

SOUND = [f"{split}/{name}/{file}" for split, file in (("train", "a.jpg"), ("train", "b.jpg"), ("test", "c.jpg"))
         for name in ("elk", "owl")]  # fmt: skip
STUDY: dict[str, Any] = {
    "study": "trial",
    "datasets": {"mine": {"source": "folder", "path": "photos"}},
    "backbones": {"small": {"model": "ViT-B-32", "pretrained": "laion2b_s34b_b79k"}},
    "shots": [1],
    "methods": {"zero_shot": {}},
}


def build(home: Path, *files: str) -> None:
    """`a/b.jpg` is a file with its own name in it, `a/` a folder, `a -> b` a link, `-a` something to be removed."""
    for file in files:
        name, _, target = file.partition(" -> ")
        path = home / name.removeprefix("-")
        path.parent.mkdir(parents=True, exist_ok=True)
        if name.startswith("-"):
            path.rename(home.parent / f"away{len(os.listdir(home.parent))}")
        elif target:
            path.symlink_to(target)
        elif name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
        elif name.endswith(".fifo.jpg"):
            os.mkfifo(path)
        else:
            path.write_text(name)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to call Snakemake in, with the photographs of a sound study."""
    monkeypatch.chdir(tmp_path)
    build(tmp_path / "photos", *SOUND)
    return tmp_path


def look(options: dict[str, Any] | None = None, **changes: Any) -> dict[str, str]:
    """Read a study as the Snakefile does: what stands for the images of each dataset."""
    entry = STUDY["datasets"]["mine"] | (options or {})
    config = STUDY | {"datasets": {"mine": entry}} | changes
    Path("study.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    return images.look(study.load(config, ["study.yaml"]), config, ["study.yaml"])


def refused(options: dict[str, Any] | None = None, **changes: Any) -> str:
    with pytest.raises(UserError) as error:
        look(options, **changes)
    line = str(error.value)
    assert len(line.splitlines()) == 1
    return line


COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))
ALL = [f"-{file.split('/')[0]}" for file in ("train/", "test/")]
NO_TRAIN = "no folder photos/train, with a folder of images for each class"
NAMES = "a mapping, a file .yaml, .yml, .json, .csv, .tsv, or wordnet"

# What is wrong, what is done to a sound folder, the entry's further options, and the key and the line about it.
BAD: list[tuple[str, list[str], dict[str, Any], str]] = [
    # nothing where train/ is wanted, or something else
    (
        "no folder",
        [],
        {"path": "fotos"},
        "path: no folder fotos",
    ),
    (
        "a file",
        ["x.csv"],
        {"path": "photos/x.csv"},
        "path: photos/x.csv is a file, where a folder is wanted",
    ),
    (
        "an archive",
        ["x.ZIP"],
        {"path": "photos/x.ZIP"},
        "path: photos/x.ZIP is a file, where a folder is wanted; unpack it and name the folder",
    ),
    (
        "a link to nothing",
        ["x -> nowhere"],
        {"path": "photos/x"},
        "path: no folder photos/x",
    ),
    (
        "an empty folder",
        ALL,
        {},
        f"path: {NO_TRAIN}; it is empty",
    ),
    (
        "no folder in it",
        [*ALL, "notes.txt"],
        {},
        f"path: {NO_TRAIN}; it holds no folder",
    ),
    (
        "no train",
        ["-train"],
        {},
        f"path: {NO_TRAIN}; there are the folders test",
    ),
    (
        "a misspelt train",
        ["-train", "trian/elk/a.jpg"],
        {},
        f"path: {NO_TRAIN}; did you mean trian/? Rename it",
    ),
    (
        "one folder too high",
        [],
        {"path": "."},
        "path: no folder train, with a folder of images for each class; did you mean path: photos?",
    ),
    (
        "all in one folder",
        [*ALL, "a.jpg", "b.PNG", "c.txt"],
        {},
        f"path: {NO_TRAIN}; 2 images lie loose in photos: sort them into folders",
    ),
    (
        "no split",
        [*ALL, "elk/a.jpg", "owl/a.jpg", "yak/a.jpg", "zebu/a.jpg"],
        {},
        f"path: {NO_TRAIN}; there are the folders elk, owl, yak, …: if these are the classes, add split: {{test: 0.5}}",
    ),
    (
        "train is a file",
        ["-train", "train"],
        {},
        f"path: {NO_TRAIN}; there are the folders test",
    ),
    (
        "train twice",
        ["Train/elk/a.jpg"],
        {},
        "path: photos has Train/ and train/, which both stand for train; keep one",
    ),
    (
        "val twice",
        ["val/elk/a.jpg", "valid/elk/a.jpg"],
        {},
        "path: photos has val/ and valid/, which both stand for val; keep one",
    ),
    # splits that the study needs
    (
        "no test",
        ["-test"],
        {},
        "path: photos has no test/, which the study reports (protocol.report); it has train; "
        "`split: {test: 0.5}` makes one, and `cross_validate: 5` does without",
    ),
    (
        "a misspelt test",
        ["-test", "tets/elk/a.jpg"],
        {},
        "path: photos has no test/, which the study reports (protocol.report); it has train; did you mean"
        " tets/? Rename it",
    ),
    # what lies in train/
    (
        "images loose in train",
        ["-train", "train/a.jpg", "train/b.jpg"],
        {},
        "path: photos/train holds 2 images (a.jpg, …) and no folder for each class; move them into some",
    ),
    (
        "images beside classes",
        ["train/x.jpg"],
        {},
        "path: photos/train holds 1 images (x.jpg) beside the folders of the classes; move them into some",
    ),
    (
        "images loose in test",
        ["-test", "test/a.jpg"],
        {},
        "path: photos/test holds 1 images (a.jpg) and no folder for each class; move them into some",
    ),
    (
        "an empty train",
        ["-train", "train/"],
        {},
        "path: photos/train holds no folder of a class; two are wanted at least",
    ),
    (
        "one class",
        ["-train/owl", "-test/owl"],
        {},
        "path: photos/train holds one class, elk; two are wanted at least",
    ),
    (
        "an empty class",
        ["train/yak/"],
        {},
        "path: photos/train/yak: no image in it, so train has no image of class 'yak'",
    ),
    (
        "a class of texts",
        ["train/yak/a.txt", "train/yak/b"],
        {},
        "path: photos/train/yak: no image in it, so train has no image of class 'yak'; left out there and"
        " beside it: 1 .txt, 1 no suffix",
    ),
    (
        "a class of raw files",
        ["train/yak/a.NEF"],
        {},
        "path: photos/train/yak: no image in it, so train has no image of class 'yak'; left out there and"
        " beside it: 1 .nef",
    ),
    (
        "a class of system files",
        ["train/yak/._a.jpg"],
        {},
        "path: photos/train/yak: no image in it, so train has no image of class 'yak'; left out there and"
        " beside it: 1 system files",
    ),
    (
        "hidden classes alone",
        ["-train", "train/.elk/a.jpg", "train/@eaDir/a.jpg"],
        {},
        "path: photos/train holds no folder of a class; two are wanted at least",
    ),
    (
        "an empty val",
        ["val/"],
        {},
        "path: photos: val has no images",
    ),
    (
        "an empty test",
        ["-test", "test/elk/"],
        {},
        "path: photos: test has no images",
    ),
    (
        "a class of test alone",
        ["test/yak/a.jpg"],
        {},
        "path: photos/test/yak is of a class that photos/train does not have",
    ),
    (
        "a class of val, misspelt",
        ["val/Elk/a.jpg"],
        {},
        "path: photos/val/Elk is of a class that photos/train does not have; did you mean elk?",
    ),
    (
        "the parent of the classes",
        ["-test", "test/animals/elk/a.jpg"],
        {},
        "path: photos/test/animals is of a class that photos/train does not have",
    ),
    # links
    (
        "a link to its folder",
        ["train/elk/all -> ."],
        {},
        "photos/train/elk/all: a link to HERE/photos/train/elk, which holds it: its images would be of this"
        " class too; remove the link",
    ),
    (
        "a link to the parent",
        ["train/elk/all -> .."],
        {},
        "photos/train/elk/all: a link to HERE/photos/train, which holds it: its images would be of this"
        " class too; remove the link",
    ),
    (
        "a link far up",
        ["train/elk/all -> ../../../.."],
        {},
        "photos/train/elk/all: a link to ABOVE, which holds it: its images would be of this class too; remove the link",
    ),
    (
        "a link round a corner",
        ["../o/up -> ../photos", "train/elk/o -> ../../../o"],
        {},
        "photos/train/elk/o/up: a link to HERE/photos, which holds it: its images would be of this class"
        " too; remove the link",
    ),
    (
        "a link to another class",
        ["train/elk/more -> ../owl"],
        {"classes": "top"},
        "path: photos/train/owl is the same folder as photos/train/elk/more: its images would be of the"
        " classes elk and owl; remove the link",
    ),
    (
        "a class that is a link",
        ["train/yak -> elk"],
        {},
        "path: photos/train/yak is the same folder as photos/train/elk: its images would be of the classes"
        " elk and yak; remove the link",
    ),
    (
        "a link to another split",
        ["-test/owl", "test/owl -> ../train/elk"],
        {},
        "path: photos/test/owl is the same folder as photos/train/elk: its images would be of the classes"
        " elk and owl; remove the link",
    ),
    (
        "images twice",
        ["train/elk/x/a.jpg", "train/elk/y -> x"],
        {"classes": "top"},
        "path: photos/train/elk/y is the same folder as photos/train/elk/x: its images would count twice;"
        " remove the link",
    ),
    (
        "an image that is gone",
        ["train/elk/c.jpg -> gone.jpg"],
        {},
        "photos/train/elk/c.jpg: a link to gone.jpg, where nothing is; mend or remove it",
    ),
    (
        "a pipe",
        ["train/elk/c.fifo.jpg"],
        {},
        "photos/train/elk/c.fifo.jpg: a pipe or device, where an image is wanted; remove it",
    ),
    # nested folders
    (
        "nested folders",
        ["train/fruit/apple/a.jpg", "train/fruit/pear/a.jpg"],
        {},
        "classes: the folders in photos/train are nested: say `classes: top` for 3 classes (elk, fruit, owl)"
        " or `classes: leaf` for 4 (elk, fruit/apple, fruit/pear, …)",
    ),
    (
        "images on two levels",
        ["train/elk/young/a.jpg"],
        {},
        "classes: the folders in photos/train are nested: say `classes: top` for 2 classes (elk, owl) or"
        " `classes: leaf` for 3 (elk, elk/young, owl)",
    ),
    (
        "nested in test alone",
        ["test/elk/young/a.jpg"],
        {},
        "classes: the folders in photos/test are nested: say `classes: top` for 2 classes (elk, owl) or"
        " `classes: leaf` for 3 (elk, elk/young, owl)",
    ),
    (
        "leaves of test alone",
        ["test/elk/young/a.jpg"],
        {"classes": "leaf"},
        "path: photos/test/elk/young is of a class that photos/train does not have",
    ),
    (
        "no such reading",
        [],
        {"classes": "leaves"},
        "classes: 'leaves' is none of top, leaf",
    ),
    # names
    (
        "two forms of Unicode",
        [f"train/{COMPOSED}/a.jpg", f"train/{DECOMPOSED}/a.jpg"],
        {},
        "path: photos/train has 'cafe\\u0301' and 'caf\\xe9', the same name in two forms of Unicode; keep one",
    ),
    (
        "names alike in words",
        ["train/snow_owl/a.jpg", "train/snow owl/a.jpg"],
        {},
        "classnames: the classes 'snow owl' and 'snow_owl' are both called 'snow owl'; give one another",
    ),
    (
        "names given twice",
        [],
        {"classnames": {"elk": "owl"}},
        "classnames: the classes 'elk' and 'owl' are both called 'owl'; give one another",
    ),
    (
        "a name for no class",
        [],
        {"classnames": {"elks": "moose"}},
        "classnames: there is no class 'elks'; did you mean elk?",
    ),
    (
        "an empty name",
        [],
        {"classnames": {"elk": " "}},
        "classnames: elk: found ' ', allowed: a text of one line, or a list of such",
    ),
    (
        "no file of names",
        [],
        {"classnames": "names.csv"},
        "classnames: no such file: 'names.csv'",
    ),
    (
        "names of no kind",
        [],
        {"classnames": "names.txt"},
        f"classnames: found 'names.txt', allowed: {NAMES}",
    ),
    (
        "names without a class",
        ["../n.csv"],
        {"classnames": "n.csv"},
        "classnames: n.csv can't be read ('../n.csv': a folder and a name are wanted in every row)",
    ),
    (
        "names that are a list",
        ["../n.yaml"],
        {"classnames": "n.yaml"},
        "classnames: n.yaml can't be read (a mapping is wanted, from folders to names)",
    ),
    (
        "names that are no JSON",
        ["../n.json"],
        {"classnames": "n.json"},
        "classnames: n.json: not JSON (Expecting value: line 1 column 1 (char 0))",
    ),
]


@pytest.mark.parametrize(("files", "options", "line"), [row[1:] for row in BAD], ids=[row[0] for row in BAD])
def test_a_bad_folder_is_one_line_with_its_place(
    here: Path, files: list[str], options: dict[str, Any], line: str
) -> None:
    build(here / "photos", *files)
    above = os.path.realpath(here / "photos/train/elk/../../../..")
    wanted = line.replace("HERE", os.path.realpath(here)).replace("ABOVE", above)
    place, _, found = refused(options).partition(": datasets.mine")
    assert place.startswith("study.yaml:")
    assert found.lstrip(".: ") == wanted


def test_there_are_enough_of_them() -> None:
    assert len(BAD) >= 40
    assert len({row[0] for row in BAD}) == len(BAD)


def test_a_split_that_chooses_is_wanted_too(here: Path) -> None:
    protocol = {"report": "test", "select": ["last", "val_fewshot"]}
    assert "photos has no val/, on which protocol.select, val_fewshot, chooses; it has train, test" in refused(
        protocol=protocol
    )
    build(here / "photos", "validation/elk/d.jpg")
    assert look(protocol=protocol)


def test_a_folder_that_may_not_be_read_is_named(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scandir = os.scandir

    def denied(path: Any) -> Any:
        if str(path).endswith("owl"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", denied)
    assert refused() == "study.yaml:3: datasets.mine: photos/train/owl: Permission denied"


def test_features_made_elsewhere_need_no_image(here: Path) -> None:
    assert look({"path": "nowhere"}, backbones={"given": {"features": "{dataset}.npz"}}) == {}


def test_jobs_take_the_word_of_the_index_and_look_at_nothing(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token = look()["mine"]
    config = yaml.safe_load(Path("study.yaml").read_text())
    assert images.known(study.load(config, ["study.yaml"])) == {}
    datasets.prepare(config["datasets"]["mine"], Path("data/mine"), threads=1)
    monkeypatch.setattr(datasets, "look", None)
    assert images.known(study.load(config, ["study.yaml"])) == {"mine": token}


def test_features_outlive_their_images_but_not_their_index(here: Path) -> None:
    token = look()["mine"]
    index = datasets.prepare(STUDY["datasets"]["mine"], Path("data/mine"), threads=1)
    write_index("data/mine/index.json", index)
    (here / "photos").rename(here / "away")
    assert look() == {"mine": token}
    Path("data/mine/index.json").unlink()
    assert refused() == "study.yaml:5: datasets.mine.path: no folder photos"
