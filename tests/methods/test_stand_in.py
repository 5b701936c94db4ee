"""The made towers keep the contract of the real ones, so that a check on them says what would be there too."""

import numpy as np
import pytest
import torch

from methods import unit
from methods.tools.stand_in import WIDTH, MadeModel

TEXT = unit(np.random.default_rng(0).normal(size=(7, WIDTH))).astype(np.float32)


def test_the_text_tower_gives_unit_class_texts_near_those_that_it_was_made_of() -> None:
    with torch.no_grad():
        found = MadeModel(TEXT).texts()().numpy()
    assert np.linalg.norm(found, axis=1) == pytest.approx(np.ones(7), abs=1e-5)
    assert (found * TEXT).sum(1).min() > 0.9


@pytest.mark.parametrize("length", [0.5, 3.0])
def test_the_image_tower_gives_embeddings_that_are_not_unit(length: float) -> None:
    """A method that counts on unit ones has to make them so."""
    with torch.no_grad():
        found = MadeModel(TEXT).image()(torch.from_numpy(length * TEXT)).numpy()
    assert np.linalg.norm(found, axis=1) == pytest.approx(np.full(7, length), rel=0.5)
    assert abs(np.linalg.norm(found, axis=1) - 1).min() > 0.1
