"""The stand-alone script's line of an image. The script as a whole is held to the project in test_predict.py."""

from pathlib import Path
from typing import Any

import pytest
import torch

from workflow.lib.shipping import standalone

FILE = Path("one.jpg")
P = torch.tensor([0.2, 0.7, 0.1])
KNOWN: dict[str, Any] = {"unsure": 0.6, "set": 0.85, "outlier": 0.5, "images": 30}


def line(distance: float = 0.1, **thresholds: Any) -> list[Any]:
    about = {"classes": ["a", "b", "c"], "thresholds": KNOWN | thresholds}
    return standalone.line(about, FILE, P, distance)


def test_a_line_has_a_value_for_each_column() -> None:
    found = dict(zip(standalone.COLUMNS, line(), strict=True))
    assert found == {
        "file": FILE,
        "label": "b",
        "probability": "0.700000",
        "second_label": "a",
        "margin": "0.500000",
        "unsure": "false",
        "outlier": "false",
        "prediction_set": "a|b",
        "problem": "",
    }


@pytest.mark.parametrize(
    ("distance", "thresholds", "marks"),
    [
        (0.1, {"images": 0}, ["", "false", ""]),  # of no image is it known how sure to be
        (0.9, {"images": 0}, ["", "true", ""]),
        (0.9, {"outlier": None}, ["false", "false", "a|b"]),
        (0.1, {"unsure": 0.8}, ["true", "false", "a|b"]),
        (0.1, {"unsure": None, "set": None}, ["true", "false", "a|b|c"]),  # too few to promise anything
        (0.1, {"set": 0.5}, ["false", "false", "b"]),
    ],
)
def test_marks(distance: float, thresholds: dict[str, Any], marks: list[str]) -> None:
    assert line(distance, **thresholds)[5:8] == marks
