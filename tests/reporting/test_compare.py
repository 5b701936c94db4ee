"""`compare`: from the files of one study or of several, and one line where it can't answer."""

import json
import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.reporting import grid
from workflow.lib.errors import UserError
from workflow.scripts import compare

LABELS = np.repeat([0, 1], [60, 30])
METHODS = [{"label": label, "variants": ["-"], "learns": True} for label in ("first", "second")]


def said(right: float, seed: int) -> np.ndarray:
    """Three seeds that are right on this share of the images."""
    rng = np.random.default_rng(seed)
    return np.where(rng.random((3, len(LABELS))) < right, LABELS, 1 - LABELS)


def write(folder: Path, shares: dict[str, tuple[float, float]], labels: np.ndarray = LABELS, **changes: Any) -> Path:
    """A study's results with the two methods right on these shares of each dataset."""
    plan = grid.plan(datasets=list(shares), shots=["1"], seeds=3, methods=METHODS, study=folder.name, **changes)
    folder.mkdir()
    (folder / "study.json").write_text(json.dumps(asdict(plan)))
    for i, (dataset, pair) in enumerate(shares.items()):
        for j, (label, right) in enumerate(zip(("first", "second"), pair, strict=True)):
            metrics = plan.path(folder, dataset, "nano", label, "1")
            metrics.parent.mkdir(parents=True)
            metrics.write_text("{}")
            path = plan.path(folder, dataset, "nano", label, "1", "predictions")
            path.parent.mkdir(parents=True)
            np.savez(
                path,
                labels=labels,
                predicted=said(right, 2 * i + j)[None],
                variants=np.array(["-"]),
                classnames=np.array(["fine", "crack"]),
                splits=np.array(["test"]),
                images=np.bincount(labels)[None],
            )
    return folder


@pytest.fixture
def one(tmp_path: Path) -> Path:
    return write(tmp_path / "one", {"photos": (0.9, 0.5), "scans": (0.6, 0.6)}, metric="accuracy")


def answer(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    monkeypatch.setattr(sys, "argv", ["compare", "first", "second", *map(str, arguments)])
    compare.main()
    return capsys.readouterr().out


def test_one_study_over_its_datasets(
    one: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = answer(monkeypatch, capsys, "--results", one)
    assert re.search(r"photos +nano +1 .* A is better\n", out)
    assert re.search(r"scans +nano +1 .* undecided\n", out)
    assert "A is better in 1, worse in 0, undecided in 1 of 2 cells." in out
    assert "another dataset may say otherwise" in out
    assert "study" not in out.splitlines()[3]


def columns(out: str) -> list[list[str]]:
    """The cells of the table: dataset, backbone, shots, A, B, A - B, interval, p, verdict."""
    lines = out.splitlines()
    rule = next(i for i, line in enumerate(lines) if line.startswith("---"))
    body = lines[rule + 1 : lines.index("", rule)]
    return [re.split(r"  +", line.strip()) for line in body]


def test_its_numbers_are_those_of_the_predictions(
    one: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Means over seeds and images from the files, A before B; the answer is the mean of the differences."""
    out = answer(monkeypatch, capsys, "--results", one)
    gaps = []
    for dataset, _, _, a, b, gap, interval, p, _ in columns(out):
        files = [one / "predictions" / dataset / "nano" / label / "1.npz" for label in ("first", "second")]
        own = [100 * float((np.load(file)["predicted"] == LABELS).mean()) for file in files]
        assert (a, b, gap) == (f"{own[0]:.2f}", f"{own[1]:.2f}", f"{own[0] - own[1]:+.2f}")
        low, high = map(float, interval.split(" … "))
        assert low < own[0] - own[1] < high
        assert (float(p) < 0.05) is (not low < 0 < high)
        gaps.append(own[0] - own[1])
    assert len(gaps) == 2
    assert f"On average A - B = {sum(gaps) / 2:+.2f} points, 95 % interval " in out


def test_the_rows_the_other_way_round_turn_every_sign(
    one: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    there = columns(answer(monkeypatch, capsys, "--results", one))
    monkeypatch.setattr(sys, "argv", ["compare", "second", "first", "--results", str(one)])
    compare.main()
    out = capsys.readouterr().out
    assert out.startswith("A: second\nB: first\n")
    for (*place, a, b, gap, interval, p, verdict), back in zip(there, columns(out), strict=True):
        ends = [f"{-float(end):+.2f}" for end in reversed(interval.split(" … "))]
        turned = verdict.replace("A is", "B is")
        assert back == [*place, b, a, f"{-float(gap):+.2f}", " … ".join(ends), p, turned]
    assert "A is better in 0, worse in 1, undecided in 1 of 2 cells." in out
    assert "On average A - B = -" in out


def test_several_studies_and_some_of_their_datasets(
    one: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    two = write(tmp_path / "two", {"photos": (0.9, 0.5), "maps": (0.4, 0.9)}, metric="accuracy")
    out = answer(monkeypatch, capsys, "--results", one, two)
    assert out.splitlines()[3].split()[:2] == ["study", "dataset"]
    assert len(re.findall(r"^(?:one|two) +(?:photos|scans|maps) ", out, re.MULTILINE)) == 4
    assert "of 4 cells." in out
    assert "one: Protocol: report test" in out
    some = answer(monkeypatch, capsys, "--results", one, two, "--dataset", "photos", "maps")
    assert "of 3 cells." in some
    assert "scans" not in some


def test_unequal_classes_without_a_metric_are_answered_by_both(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = write(tmp_path / "plain", {"photos": (0.9, 0.5)})
    out = answer(monkeypatch, capsys, "--results", folder)
    assert "Top-1 accuracy in percent" in out
    assert "Accuracy of each class, averaged over classes, in percent" in out
    alone = answer(monkeypatch, capsys, "--results", folder, "--metric", "macro_f1")
    assert "Macro-averaged F1 in percent" in alone
    assert "Top-1" not in alone


def test_what_can_t_be_answered_is_one_line(
    one: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    other = write(tmp_path / "other", {"photos": (0.9, 0.5)}, metric="macro_f1")
    for arguments, message in (
        (["--results", one, other], "the studies have different metrics: one accuracy, other macro_f1; say which one"),
        (["--results", one, "--dataset", "photo"], r"--dataset: no study has 'photo'; there are photos, scans"),
        (["--results", one, tmp_path / "absent"], r"study\.json: no such file: run the study first"),
        (["--results", one, "--metric", "auroc"], r"logits have shape \(\)"),
    ):
        with pytest.raises(UserError, match=message):
            answer(monkeypatch, capsys, *arguments)
    monkeypatch.setattr(sys, "argv", ["compare", "first", "first", "--results", str(one)])
    with pytest.raises(UserError, match="'first' and 'first' are one row of the study one; allowed: two rows"):
        compare.main()
