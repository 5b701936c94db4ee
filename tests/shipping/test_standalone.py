"""The stand-alone script's line of an image, and which weights it takes.

The script as a whole is held to the project in test_predict.py.
"""

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


@pytest.mark.parametrize(
    ("model", "pretrained", "given", "taken"),
    [
        ("ViT-B-32", "openai", None, "cache/ViT-B-32 openai"),
        ("hf-hub:org/model", "", None, "hub/org/model"),
        ("ViT-B-32", "openai", "mine.pt", "mine.pt"),
        ("hf-hub:org/model", "", "mine.pt", "mine.pt"),
        ("mine", "", None, "None"),
    ],
)
def test_weights_are_those_that_are_given_or_downloaded_and_others_are_refused(
    model: str, pretrained: str, given: str | None, taken: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(standalone, "get_pretrained_cfg", lambda model, tag: f"{model} {tag}")
    monkeypatch.setattr(standalone, "download_pretrained", lambda config: f"cache/{config}")
    monkeypatch.setattr(standalone, "download_pretrained_from_hf", lambda name: f"hub/{name}")
    told = {"model": model, "pretrained": pretrained, "config": None, "fingerprint": "-", "weights": "the right one"}
    with pytest.raises(SystemExit) as refused:
        standalone.load({"backbone": told, "preprocessing": {}}, Path(given) if given else None)
    wanted = "wanted is the file that the classifier was made with, the right one"
    assert refused.value.code == f"error: --weights {taken}: {wanted}"
