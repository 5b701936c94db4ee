"""With the defaults and two images of each class or more, a head that starts at the texts is no worse than zero-shot.

On embeddings as CLIP's are, and with a good text and a poor one. Where that is not so on other data, the page says it.
"""

import re
from typing import Any

import pytest

from methods import Method
from methods.lfa import LinearAlignment
from methods.linear_probe import LinearProbe
from methods.prolip import ProLIP
from methods.rla import RegularizedLinear
from methods.tools.page import markdown
from methods.tools.registry import load
from tests.methods.conftest import Easy, cone
from tests.methods.test_prolip import before

FROM_TEXT: list[tuple[type[Method], dict[str, Any]]] = [
    (ProLIP, {}),
    (RegularizedLinear, {}),
    (LinearAlignment, {}),
    (LinearProbe, {"init": "text"}),
    (LinearProbe, {"init": "text", "wise": 0.5}),
]
WITHOUT_TEXT = ("nearest_mean", "knn", "ridge", "linear_svm")


def zero_shot(easy: Easy) -> float:
    return float((easy.zero_shot.argmax(1) == easy.labels).mean())


@pytest.mark.parametrize("text_noise", [0.15, 0.5])
@pytest.mark.parametrize("count", [2, 8])
@pytest.mark.parametrize(("method", "settings"), FROM_TEXT)
def test_it_is_no_worse_than_zero_shot(
    method: type[Method], settings: dict[str, Any], count: int, text_noise: float
) -> None:
    easy = cone(count, text_noise=text_noise)
    at = before(easy) if method is ProLIP else easy
    assert at.accuracy(method, **settings) >= zero_shot(easy)


@pytest.mark.parametrize("name", WITHOUT_TEXT)
def test_a_baseline_that_sees_no_text_may_be_and_says_so(name: str) -> None:
    section = markdown(load()).split(f"\n## {name}\n")[1].split("\n## ")[0]
    assert re.search(r"sees no\s+text, so with few images it can be\s+below zero-shot", section)
