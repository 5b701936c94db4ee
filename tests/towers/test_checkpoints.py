"""A training of towers that is killed goes on from its last checkpoint: the same numbers, and no step taken twice."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from methods import Method
from methods.clip_lora import LowRankAdaptation
from methods.contract.needs import arrays, depth
from methods.fine_tune import FineTuning
from methods.last_block import LastBlock
from methods.two_stage import TwoStage
from tests.evaluation.test_checkpoints import Dying, Killed, cell, told
from tests.samples import make_features
from tests.towers import models
from tests.towers.models import NAMES
from workflow.lib.encoding import beside as made_from_images
from workflow.lib.encoding.images import Preprocess
from workflow.lib.engine import checkpoints
from workflow.lib.engine.training import Run
from workflow.lib.evaluation import cell as cells
from workflow.lib.evaluation.bench import Bench
from workflow.lib.features import arrays as beside
from workflow.lib.towers.model import TwoTowers
from workflow.lib.towers.prompts import Encoder
from workflow.lib.towers.text import Tower

TEMPLATES = ["a photo of the {}."]
CASES: dict[str, tuple[Method, Mapping[str, Any]]] = {
    "last_block": (LastBlock(), {"epochs": 6, "batch_size": 4}),
    "fine_tune, of crops": (FineTuning(), {"epochs": 6, "batch_size": 4, "crop": 0.5, "flip": True}),
    "fine_tune of both": (FineTuning(), {"epochs": 6, "batch_size": 4, "loss": "contrastive"}),
    "clip_lora": (LowRankAdaptation(), {"iterations": 6, "batch_size": 4, "crop": 0.5}),
    "two_stage": (TwoStage(), {"iterations": 6, "batch_size": 4}),  # killed in the first, then in the second
}


def bench(method: Method, params: Mapping[str, Any], said: list[str]) -> Bench:
    """A cell of images of noise, with both towers of a tiny model."""
    asked, backbone = cell(method, "4", "last", **params), models.backbone("openai")
    (array,) = arrays(method.needs(asked.variants[0]["params"]))
    features, finish = make_features(dim=16), Preprocess(backbone.preprocess).finish
    rows = {}
    for seed, (name, split) in enumerate(features.splits.items()):
        pixels = np.random.default_rng([8, seed]).integers(256, size=(len(split.y), 32, 32, 3)).astype(np.uint8)
        rows[name] = pixels
        if depth(array):
            rows[name] = made_from_images.Blocks(backbone, depth(array))(finish(torch.from_numpy(pixels))).numpy()
    given = beside.added(features, beside.Array(array, rows, features.metadata), "here")
    encoder = Encoder(Tower(backbone.model), backbone.tokenizer, NAMES, TEMPLATES)
    model = TwoTowers(backbone, [[name] for name in NAMES], TEMPLATES)
    return Bench(asked, given, "cpu", 1, said.append, encoder=encoder, model=model)


@pytest.mark.parametrize("case", CASES)
def test_killed_twice_it_is_what_it_would_have_been_and_no_step_is_taken_twice(
    tmp_path: Path, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps, advance = [0], Run.advance

    def counted(self: Run, count: int) -> None:
        steps[0] += count
        advance(self, count)

    monkeypatch.setattr(Run, "advance", counted)
    method, params = CASES[case]
    said: list[str] = []
    given, path = bench(method, params, said), tmp_path / "cell.checkpoint"
    expected, whole = told(cells.evaluate(given, method)), steps[0]
    steps[0] = 0
    for after in (2, 3):
        with pytest.raises(Killed), checkpoints.kept(Dying(path, after)):
            cells.evaluate(given, method)
    assert 0 < steps[0] < whole
    with checkpoints.kept(Dying(path, 10**9)):
        assert told(cells.evaluate(given, method)) == expected
    assert steps[0] == whole
    assert sum("going on from a checkpoint" in line for line in said) == 2
    assert not path.exists()
