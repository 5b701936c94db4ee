"""Confused pairs against a plain count, their files, and the script that writes them for a study."""

import csv
import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest

from tests.reporting.grid import plan
from tests.samples import make_features
from workflow.lib import files
from workflow.lib.evaluation.label_errors import Suspects
from workflow.lib.features import store
from workflow.lib.reporting import recommendation_files
from workflow.lib.reporting.confusion_files import Subject, confusions_csv, confusions_md, label_errors_md
from workflow.lib.reporting.confusions import confusions, named
from workflow.lib.reporting.recommendation_files import HEADER
from workflow.lib.reporting.saved import Saved
from workflow.scripts import confusions as script

LABELS = np.array([0, 0, 0, 1, 1, 2, 2, 2])
GUESSES = np.array([[0, 1, 1, 1, 0, 2, 2, 0], [0, 1, 0, 1, 1, 2, 2, 1]])
ONE = Saved(LABELS, ["cat", "dog", "o|wl"], {}, {"-": GUESSES}, {})
SUBJECT = Subject("pets, nano", "probe with 5 shots, the recommended row, on test", 2, [f"{i}.jpg" for i in range(8)])


def test_pairs_are_counted_over_all_seeds_the_most_frequent_first() -> None:
    found = [(one.truth, one.said, one.answers) for one in confusions(ONE, "-")]
    assert found == [("cat", "dog", 3), ("dog", "cat", 1), ("o|wl", "cat", 1), ("o|wl", "dog", 1)]


def test_shares_are_of_the_class_s_answers_and_of_all_errors() -> None:
    first = confusions(ONE, "-")[0]
    assert first.of_class == 3 / 6
    assert first.of_errors == 3 / 6
    assert (first.images.tolist(), first.times.tolist()) == ([1, 2], [2, 1])
    second = confusions(ONE, "-")[1]  # of two dogs with two seeds, and of six mistakes
    assert (second.of_class, second.of_errors) == (1 / 4, 1 / 6)


def test_many_pairs_agree_with_scikit_learn() -> None:
    from sklearn.metrics import confusion_matrix

    rng = np.random.default_rng(0)
    labels, guesses = rng.integers(0, 20, 500), rng.integers(0, 20, (3, 500))
    one = Saved(labels, [f"c{k}" for k in range(20)], {}, {"-": guesses}, {})
    matrix = confusion_matrix(np.tile(labels, 3), guesses.ravel())
    found = confusions(one, "-", listed=1000)
    assert all(pair.answers == matrix[int(pair.truth[1:]), int(pair.said[1:])] for pair in found)
    assert sum(pair.answers for pair in found) == matrix.sum() - np.trace(matrix)
    assert all(pair.times.sum() == pair.answers for pair in found)


def test_a_row_without_a_mistake_has_none() -> None:
    perfect = Saved(LABELS, ONE.classnames, {}, {"-": LABELS[None]}, {})
    assert confusions(perfect, "-") == []
    assert "No image is confused." in confusions_md(SUBJECT, [])
    assert confusions_csv(SUBJECT, []).count("\n") == 1


def test_the_files_name_the_images() -> None:
    found = confusions(ONE, "-")
    text = confusions_md(SUBJECT, found)
    assert "| cat " in text
    assert "1.jpg, 2.jpg" in text
    assert "o\\|wl" in text
    lines = list(csv.DictReader(confusions_csv(SUBJECT, found).splitlines()))
    assert lines[0] == {
        "true": "cat",
        "predicted": "dog",
        "answers": "3",
        "of_class": "0.5",
        "of_errors": "0.5",
        "image": "1.jpg",
        "seeds": "2",
    }
    assert len(lines) == 5


def suspected(count: int, of: int = 100, alone: Sequence[int] = ()) -> str:
    """The page on labels with so many suspected ones among so many images: each an owl that is labelled cat."""
    rows, nothing, one = np.arange(count), np.zeros(count, int), np.ones(count)
    found = Suspects(rows, nothing, nothing + 2, 0.1 * one, 0.8 * one, 0.75, of, np.array(alone, int))
    return label_errors_md("pets, nano", found, [f"{i}.jpg" for i in range(count)], ["cat", "dog", "o|wl"])


@pytest.mark.parametrize(("count", "listed"), [(0, 0), (1, 1), (50, 50), (51, 50)])
def test_the_first_suspected_labels_are_listed_with_what_they_look_like(count: int, listed: int) -> None:
    lines = suspected(count).splitlines()
    assert [" ".join(line.split()) for line in lines if ".jpg" in line] == [
        f"| {i}.jpg | cat | o\\|wl | 0.100 | 0.800 |" for i in range(listed)
    ]
    assert any(line.startswith("| image ") for line in lines) is (count > 0)
    assert any("The first 50 are listed" in line for line in lines) is (count > 50)


@pytest.mark.parametrize(("count", "said"), [(0, "0 are"), (1, "1 is"), (2, "2 are")])
def test_the_page_on_labels_says_how_far_to_trust_it(count: int, said: str) -> None:
    text = suspected(count)
    assert f"Of 100 labelled images {said} contradicted" in text
    assert "is right for 75.0 % of the images" in text
    assert "Left out" not in text
    assert "Left out, as they have one labelled image: 'dog'." in suspected(count, alone=[1])
    assert "'dog', 'dog', 'dog', 'dog', 'dog' and 2 more." in suspected(count, alone=[1] * 7)


def test_images_without_names_are_rows() -> None:
    assert named(None, np.array([3, 0])) == ["row 3", "row 0"]


def fill(folder: Path, shots: str = "all", **changes: object) -> list[str]:
    """A study's folder with what the script reads, and its arguments."""
    made = make_features(noise=0.4)
    train = made.splits["train"]
    labels = train.y.copy()
    labels[5] = (labels[5] + 1) % 4
    splits = {**made.splits, "train": replace(train, y=labels)}
    names = {split: [f"{split}/{i}.png" for i in range(len(one.y))] for split, one in splits.items()}
    store.write(folder / "features.safetensors", replace(made, splits=splits, files=names))
    truth = made.splits["test"].y
    guess = truth.copy()
    guess[[0, 4]] = (truth[[0, 4]] + 1) % 4
    path = folder / "predictions" / "digits" / "nano" / "probe" / f"{shots}.npz"
    path.parent.mkdir(parents=True)
    arrays = {"labels": truth, "predicted": np.stack([guess, truth])[None], "variants": np.array(["scale=none"])}
    arrays |= {"classnames": np.array(made.classnames), "splits": np.array(["test"]), "images": np.full((1, 4), 9)}
    np.savez(path, **arrays)
    line = dict.fromkeys(HEADER, "") | {"dataset": "digits", "backbone": "nano", "shots": shots}
    line |= {"method": "probe", "variant": "scale=none"}
    files.write_json(recommendation_files.path(folder, "digits", "nano"), {"lines": [line | changes]})
    grid = json.dumps(asdict(plan(datasets=["digits"], shots=[shots])))
    options = {"plan": grid, "folder": folder}
    options["features"] = folder / "features.safetensors"
    return [text for name, value in options.items() for text in (f"--{name}", str(value))]


def run(monkeypatch: pytest.MonkeyPatch, arguments: list[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["confusions", *arguments])
    script.main()


def test_the_script_lists_confusions_and_the_label_that_is_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(monkeypatch, fill(tmp_path))
    with (tmp_path / "tables" / "digits.nano.confusions.csv").open() as file:
        assert [(line["image"], line["seeds"]) for line in csv.DictReader(file)] == [
            ("test/0.png", "1"),
            ("test/4.png", "1"),
        ]
    with (tmp_path / "tables" / "digits.nano.label_errors.csv").open() as file:
        first = next(csv.DictReader(file))
    assert (first["image"], first["label"], first["looks_like"]) == ("train/5.png", "class 2", "class 1")
    text = (tmp_path / "tables" / "digits.nano.label_errors.md").read_text()
    assert "Of 48 labelled images" in text
    text = (tmp_path / "tables" / "digits.nano.confusions.md").read_text()
    assert "Of probe (scale=none) with all labels, the recommended row, on test: wrong answers with 2 seeds" in text


def test_with_one_image_a_class_labels_are_not_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = fill(tmp_path, shots="1")
    grid = plan(datasets=["digits"], shots=["1"], seeds=1)
    run(monkeypatch, [*arguments, "--plan", json.dumps(asdict(grid))])
    text = (tmp_path / "tables" / "digits.nano.label_errors.md").read_text()
    assert "Not done: it wants two classes with two labelled images each." in text
    assert "'class 0', 'class 1', 'class 2', 'class 3'" in text


def test_the_labelled_images_are_those_of_all_seeds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two seeds with two shots in four classes at least 8 and at most 16 images."""
    arguments = fill(tmp_path, shots="2")
    run(monkeypatch, arguments)
    text = (tmp_path / "tables" / "digits.nano.label_errors.md").read_text()
    assert 8 < int(text.split("Of ")[1].split(" labelled")[0]) <= 16


def test_where_no_row_could_be_run_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(monkeypatch, fill(tmp_path, method="", variant=""))
    assert "No row could be run." in (tmp_path / "tables" / "digits.nano.confusions.md").read_text()
