"""How right predictions are, by hand; and the sheet that shows the least sure first."""

import io
import re
from math import log
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

from workflow.lib.shipping import answered
from workflow.lib.shipping.predicting import Answer
from workflow.lib.shipping.truth import Record, wilson

CLASSES = ["ant", "bee", "cat"]
TOLD = {"images": 40, "error": 0.05, "level": 0.9}
# The probabilities, the true class, whether it is unsure, and the prediction set.
SAID = [
    ([0.70, 0.20, 0.10], "ant", False, [0]),
    ([0.90, 0.06, 0.04], "ant", False, [0]),
    ([0.20, 0.50, 0.30], "cat", True, [1, 2]),
    ([0.10, 0.80, 0.10], "bee", False, [1]),
    ([0.60, 0.30, 0.10], "bee", False, [0]),
]


@pytest.fixture
def record() -> Record:
    """Of five images; a sixth can't be read, and of a seventh the class is not known."""
    labels = {Path(f"{i}.jpg"): CLASSES.index(truth) for i, (_, truth, *_) in enumerate(SAID)} | {Path("5.jpg"): 0}
    found = Record(labels, CLASSES)
    for i, (probability, _, unsure, members) in enumerate(SAID):
        found.add(Answer(Path(f"{i}.jpg"), np.array(probability), unsure, False, members))
    found.add(Answer(Path("5.jpg"), problem="no image"))
    found.add(Answer(Path("6.jpg"), np.array([1.0, 0, 0]), False, False, [0]))
    return found


def test_the_report_by_hand(record: Record) -> None:
    """Right are three of five; of the ants both, of the bees one of two, of the cats none."""
    likelihoods = [probability[CLASSES.index(truth)] for probability, truth, *_ in SAID]
    nll = -sum(map(log, likelihoods)) / 5
    brier = sum(
        sum((p - (name == truth)) ** 2 for p, name in zip(probability, CLASSES, strict=True))
        for probability, truth, *_ in SAID
    )
    ece = abs(0.7 - 1) + abs(0.9 - 1) + abs(0.5 - 0) + abs(0.8 - 1) + abs(0.6 - 0)  # each in a bin of its own
    assert record.report(TOLD) == [
        "images with labels: 5",
        "accuracy: 60.0 % (95 % interval 23.1 % to 88.2 %)",
        "mean per class: 50.0 %",
        f"calibration: ECE {100 * ece / 5:.1f} %, NLL {nll:.3f}, Brier {brier / 5:.3f}",
        "unsure: 1; 25.0 % of the others are wrong, 5.0 % were allowed",
        "prediction sets hold the class of 80.0 %, 90.0 % were asked for",
        "most often confused:",
        "  cat for bee: 1",
        "  bee for ant: 1",
    ]


def test_true_classes_stand_below_each_other_and_answers_beside(record: Record) -> None:
    assert list(record.confusion()) == [
        ["true class", *CLASSES],
        ["ant", "2", "0", "0"],
        ["bee", "1", "1", "0"],
        ["cat", "0", "1", "0"],
    ]


@pytest.mark.parametrize(("right", "count"), [(0, 3), (3, 5), (1, 7), (40, 42), (9, 9)])
def test_the_interval_of_a_share_is_scipys(right: int, count: int) -> None:
    theirs = binomtest(right, count).proportion_ci(method="wilson")
    assert wilson(right, count) == pytest.approx((theirs.low, theirs.high), abs=1e-6)


def test_a_sheet_has_what_can_t_be_read_and_then_the_least_sure(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many the first few: those that are kept on the way are no others."""
    monkeypatch.setattr(answered, "SHOWN", 4)
    sheet = answered.Sheet(CLASSES)
    order = np.random.default_rng(0).permutation(20)
    for i in order:
        sheet.add(Answer(Path(f"{i:02d}.jpg"), np.array([0.5 + i / 50, 0.5 - i / 50, 0.0]), False, False, [0]))
        if i == 11:
            sheet.add(Answer(Path("broken.jpg"), problem="no image"))
    page = io.StringIO()
    sheet.write(page)
    assert re.findall(r"<small>(.*?)</small>", page.getvalue()) == ["broken.jpg", "00.jpg", "01.jpg", "02.jpg"]
    assert "21 images, the 4 least sure of them" in page.getvalue()
