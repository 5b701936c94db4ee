"""Zero-shot: the cosine to each class text, times the model's scale."""

import numpy as np
import pytest

from methods.zero_shot import ZeroShot
from tests.methods.conftest import Easy


def test_it_is_the_scaled_cosine_to_each_class_text(easy: Easy) -> None:
    """Number by number: the queries have unit length, the texts are made so, and s is 20 here."""
    texts = easy.text_of(7.0).tolist()
    expected = [[20 * sum(map(float.__mul__, f, t)) / 7 for t in texts] for f in easy.queries.tolist()]
    assert easy.logits(ZeroShot) == pytest.approx(np.array(expected), rel=1e-4, abs=1e-4)
