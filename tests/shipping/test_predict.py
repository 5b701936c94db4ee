"""`python -m workflow.scripts.predict` and the predict.py of a shipped folder, as somebody uses them."""

import csv
import os
import re
import runpy
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.data.pictures import FAULTS
from tests.shipping.conftest import NANO, ROOT, Shipped, made, row
from workflow.lib.encoding import images
from workflow.lib.errors import UserError
from workflow.lib.features.store import Features
from workflow.lib.shipping import answered, folder
from workflow.lib.shipping import classifier as classifiers
from workflow.lib.shipping.predicting import Answer
from workflow.scripts import predict


def run(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> None:
    monkeypatch.setattr(sys, "argv", ["predict", *map(str, arguments), "--device", "cpu", "--threads", "1"])
    predict.main()


def lines(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_folder_becomes_a_line_for_each_image(
    shipped: Shipped, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(monkeypatch, shipped.folder, shipped.photos, "--out", tmp_path / "p.csv", "--all")
    found = lines(tmp_path / "p.csv")
    assert list(found[0]) == [
        *("file", "label", "probability", "second_label", "margin", "unsure", "outlier", "prediction_set", "problem"),
        *(f"p_{name}" for name in FAULTS),
    ]
    assert [line["file"] for line in found] == sorted(str(path) for path in shipped.photos.rglob("*.jpg"))
    right = [Path(line["file"]).parent.name == line["label"] for line in found]
    assert np.mean(right) > 0.7
    for line in found:
        each = {name: float(line[f"p_{name}"]) for name in FAULTS}
        assert abs(sum(each.values()) - 1) < 1e-5
        ordered = sorted(each, key=lambda name: -each[name])
        assert (line["label"], line["second_label"]) == (ordered[0], ordered[1])
        assert float(line["margin"]) == pytest.approx(each[ordered[0]] - each[ordered[1]], abs=2e-6)
        assert set(line["prediction_set"].split("|")) <= {*FAULTS, ""}
        assert {line["unsure"], line["outlier"]} <= {"true", "false"}
        assert line["problem"] == ""


def test_the_probabilities_are_those_of_the_features_of_the_study(
    shipped: Shipped, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    listed = [shipped.photos / name for name in shipped.features.files["test"]]
    run(monkeypatch, shipped.folder, *listed, "--out", tmp_path / "p.csv")
    expected = shipped.classifier.probabilities(shipped.features.splits["test"].x[:]).max(1)
    assert [float(line["probability"]) for line in lines(tmp_path / "p.csv")] == pytest.approx(expected, abs=2e-6)


@pytest.mark.parametrize("sets", ["marginal", "per_class"])
def test_the_marks_are_those_of_the_thresholds(
    shipped: Shipped, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sets: str
) -> None:
    """With thresholds that tell images apart, each class its own; a file has them, and `answers` reads them."""
    told = {**shipped.classifier.about["thresholds"], "set": 0.6, "sets_per_class": [0.9, 0.3, None], "unsure": 0.55}
    x = shipped.features.splits["test"].x[:]
    distances, probability = shipped.classifier.distances(x), shipped.classifier.probabilities(x)
    told["outlier"] = float(np.median(distances))
    classifiers.write(
        tmp_path / "classifier.safetensors",
        replace(shipped.classifier, about={**shipped.classifier.about, "thresholds": told}),
    )
    listed = [shipped.photos / name for name in shipped.features.files["test"]]
    run(monkeypatch, tmp_path, *listed, "--out", tmp_path / "p.csv", "--sets", sets)
    limits = [0.9, 0.3, np.inf] if sets == "per_class" else [0.6] * 3
    seen = set()
    for line, own, far in zip(lines(tmp_path / "p.csv"), probability, distances, strict=True):
        members = [name for name, p, limit in zip(FAULTS, own, limits, strict=True) if 1 - p <= limit]
        assert line["prediction_set"] == "|".join(members)
        assert line["unsure"] == str(own.max() < 0.55).lower()
        if abs(far - told["outlier"]) > 1e-5:
            assert line["outlier"] == str(far > told["outlier"]).lower()
        seen |= {line["unsure"], line["outlier"], line["prediction_set"]}
    assert len(seen) > 3  # true, false, and more than one set


def test_a_bad_image_is_a_line_with_its_reason_and_not_the_end(
    shipped: Shipped, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "new"
    place.mkdir()
    shutil.copy(next(shipped.photos.rglob("*.jpg")), place / "b good.jpg")
    (place / "a.jpg").write_text("no image")
    whole = (place / "b good.jpg").read_bytes()
    (place / "c.png").write_bytes(whole[: len(whole) // 2])
    (place / "readme.md").write_text("none at all")
    run(
        monkeypatch,
        shipped.folder,
        place,
        tmp_path / "new" / "*.jpg",
        "--out",
        tmp_path / "p.csv",
        "--html",
        tmp_path / "s.html",
    )
    first, second, third = lines(tmp_path / "p.csv")
    assert (first["label"], second["problem"]) == ("", "")
    assert "not a readable image" in first["problem"]
    assert "not a readable image" in third["problem"]
    assert second["label"] in FAULTS
    sheet = (tmp_path / "s.html").read_text(encoding="utf-8")
    assert sheet.count("<figure") == 3
    assert sheet.count('src="data:image/jpeg;base64,') == 1
    assert sheet.index("a.jpg") < sheet.index("b good.jpg")


def test_a_list_is_read_from_where_it_lies(shipped: Shipped, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = next(shipped.photos.rglob("*.jpg"))
    shutil.copy(image, tmp_path / "one.jpg")
    (tmp_path / "list.txt").write_text("one.jpg\n\nmissing.jpg\n")
    run(monkeypatch, shipped.folder, tmp_path / "list.txt", "--out", tmp_path / "p.csv")
    first, second = lines(tmp_path / "p.csv")
    assert first["label"] in FAULTS
    assert second["problem"] == "no such image"


@pytest.mark.parametrize("kind", ["folder", "csv"])
def test_labels_say_how_right_it_is(
    shipped: Shipped, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], kind: str
) -> None:
    given: list[object] = ["--labels", shipped.photos]
    if kind == "csv":
        found = sorted(shipped.photos.rglob("*.jpg"))
        rows = "".join(f"{path},{path.parent.name}\n" for path in found)
        (tmp_path / "labels.csv").write_text(f"file,label\n{rows}")
        given = [shipped.photos, "--labels", tmp_path / "labels.csv"]
    run(monkeypatch, shipped.folder, *given, "--out", tmp_path / "p.csv")
    said = capsys.readouterr().out
    right = np.mean([Path(line["file"]).parent.name == line["label"] for line in lines(tmp_path / "p.csv")])
    assert "images with labels: 42" in said
    assert f"accuracy: {100 * right:.1f} % (95 % interval" in said
    assert "calibration: ECE" in said
    assert "prediction sets hold the class of" in said
    confusion = [line.split(",") for line in (tmp_path / "p.confusion.csv").read_text().splitlines()]
    assert confusion[0] == ["true class", *FAULTS]
    assert sum(int(one) for line in confusion[1:] for one in line[1:]) == 42


@pytest.mark.parametrize(
    ("given", "line"),
    [
        (["missing/"], r"missing/: no such image, folder or list"),
        ([], "no images: name files, folders, patterns"),
        (["{empty}"], "no images in .*; suffixes of images: .apng"),
        (["{photos}", "--labels", "{empty}"], "has no folder with images in it"),
        (["{photos}", "--labels", "nowhere.csv"], "no such folder or file: nowhere.csv"),
        (
            ["{photos}", "--labels", "{wrong}"],
            r"wrong: 'globl' is no class; the classifier has 3 classes: .*did you",
        ),
        (["{photos}", "--labels", "{columns}"], "found columns .*, wanted: file, label"),
        (["{photos}", "--weights", "nowhere.pt"], "--weights: no file nowhere.pt; wanted are the weights of model"),
        (
            ["{photos}", "--weights", "{weights}"],
            "is not the file that the classifier was made with, model.safetensors",
        ),
    ],
)
def test_a_mistake_is_one_line_and_nothing_is_written(
    shipped: Shipped, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: list[str], line: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "wrong" / "globl").mkdir(parents=True)
    shutil.copy(next(shipped.photos.rglob("*.jpg")), tmp_path / "wrong" / "globl" / "1.jpg")
    (tmp_path / "columns.csv").write_text("image,class\na,b\n")
    other = bytearray((NANO / "model.safetensors").read_bytes())
    other[-1] ^= 1
    (tmp_path / "other.safetensors").write_bytes(other)
    places = {
        "empty": tmp_path / "empty",
        "wrong": tmp_path / "wrong",
        "photos": shipped.photos,
        "columns": tmp_path / "columns.csv",
        "weights": tmp_path / "other.safetensors",
    }
    with pytest.raises(UserError, match=line):
        run(monkeypatch, shipped.folder, *(one.format(**places) for one in given), "--out", tmp_path / "p.csv")
    assert not (tmp_path / "p.csv").exists()
    assert not [path for path in tmp_path.iterdir() if ".tmp-" in path.name]


def test_a_disk_that_fills_leaves_nothing(shipped: Shipped, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(table: answered.Table, answer: Answer) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(answered.Table, "add", full)
    with pytest.raises(OSError, match=r"No space left on device: .*p\.csv"):
        run(monkeypatch, shipped.folder, shipped.photos, "--out", tmp_path / "p.csv")
    assert list(tmp_path.iterdir()) == []


def test_many_images_are_in_memory_a_few_at_a_time(
    shipped: Shipped, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that are read ahead of the line that is written are a few batches."""
    read: list[Path] = []
    behind: list[int] = []
    image = next(shipped.photos.rglob("*.jpg"))
    for number in range(300):
        os.link(image, tmp_path / f"{number:03d}.jpg")
    opened, add = images.open_rgb, answered.Table.add
    monkeypatch.setattr(images, "open_rgb", lambda path, limits: (read.append(path), opened(path, limits))[1])

    def counted(table: answered.Table, answer: Answer) -> None:
        behind.append(len(read) - len(behind))
        add(table, answer)

    monkeypatch.setattr(answered.Table, "add", counted)
    run(monkeypatch, shipped.folder, tmp_path, "--out", tmp_path / "p.csv", "--batch-size", 10)
    assert len(read) == len(behind) == 300
    assert max(behind) <= 60


def alone(place: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    """predict.py in a folder of its own, with nothing of this project at hand."""
    command = [sys.executable, "-P", str(place / "predict.py"), *map(str, arguments)]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    return subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=300, check=False)


@pytest.mark.slow
def test_predict_py_needs_nothing_of_this_project_and_says_the_same(
    shipped: Shipped, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = (shipped.folder / "predict.py").read_text(encoding="utf-8")
    assert len(script.splitlines()) <= 140
    assert not any(line.startswith(("from workflow", "from methods")) for line in script.splitlines())
    place = tmp_path / "taken away"
    shutil.copytree(shipped.folder, place)
    shutil.copytree(shipped.photos, place / "photos")
    (place / "photos" / "broken.jpg").write_text("no image")
    done = alone(place, "photos", "--out", "p.csv", "--weights", NANO / "model.safetensors")
    assert done.returncode == 0, done.stderr
    monkeypatch.chdir(place)
    run(monkeypatch, ".", "photos", "--out", "ours.csv")
    theirs, ours = ({line["file"]: line for line in lines(place / name)} for name in ("p.csv", "ours.csv"))
    assert theirs.keys() == ours.keys()
    same, close = ("label", "second_label", "unsure", "outlier", "prediction_set"), ("probability", "margin")
    for file, line in theirs.items():
        assert bool(line["problem"]) == bool(ours[file]["problem"]) == (file == "photos/broken.jpg")
        if not line["problem"]:
            assert [line[key] for key in same] == [ours[file][key] for key in same]
            assert [float(line[key]) - float(ours[file][key]) for key in close] == pytest.approx([0, 0], abs=1e-4)
    refused = alone(place, "photos", "--out", "q.csv", "--weights", ROOT / "pyproject.toml")
    assert refused.returncode == 1
    assert refused.stderr.count("\n") == 1
    assert "wanted is the file that the classifier was made with, model.safetensors" in refused.stderr

    def ends(weights: Path) -> str:
        """With which line, started as a script is but without a process of its own."""
        monkeypatch.setattr(sys, "argv", ["predict.py", "photos", "--out", "q.csv", "--weights", str(weights)])
        with pytest.raises(SystemExit) as ended:
            runpy.run_path("predict.py", run_name="__main__")
        return str(ended.value.code)

    assert re.fullmatch("error: .*none.safetensors.*", ends(Path("none.safetensors")))
    whole = (place / "classifier.safetensors").read_bytes()
    (place / "classifier.safetensors").write_bytes(whole[: len(whole) // 2])
    assert re.fullmatch("error: .*not a classifier, or not all of it.*", ends(NANO / "model.safetensors"))
    assert not list(place.glob("q.csv*"))


def test_an_image_unlike_all_is_marked(shipped: Shipped, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("RGB", (32, 32), (255, 0, 0)).save(tmp_path / "red.png")
    run(monkeypatch, shipped.folder, tmp_path / "red.png", "--out", tmp_path / "p.csv")
    assert lines(tmp_path / "p.csv")[0]["outlier"] == "true"


def test_where_no_image_could_be_held_out_nothing_is_said_of_sure_or_not(
    features: Features, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shipped: Shipped
) -> None:
    from methods.zero_shot import ZeroShot
    from workflow.lib.features.store import Split

    part = features.splits["train"]
    rows = np.unique(part.y, return_index=True)[1]
    few = type(features)(**{**vars(features), "splits": {"train": Split(part.x[rows], part.y[rows])}})
    folder.write(tmp_path / "one", made(few, row(ZeroShot), ZeroShot()), "none")
    run(monkeypatch, tmp_path / "one", shipped.photos, "--out", tmp_path / "p.csv")
    assert {(line["unsure"], line["prediction_set"]) for line in lines(tmp_path / "p.csv")} == {("", "")}
    assert "`unsure` and `prediction_set` stay empty" in (tmp_path / "one" / "card.md").read_text()
