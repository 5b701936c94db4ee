"""Backbones: specs, model configs and weights that somebody else wrote. None of them is ever run."""

import io
import json
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.encoding import tiny
from tests.fuzz.corpus import TEXTS, TRAPS, damaged, hostile, json_text, mutated, outcome
from workflow.lib.encoding import backbones
from workflow.lib.errors import UserError

HEAVY = settings(max_examples=max(15, settings().max_examples // 5))  # each of them builds a model
SPEC = {"model": "ViT-B-32", "pretrained": "laion2b_s34b_b79k", "weights": "x.pt", "precision": "bf16", "batch_size": 8}


@given(value=mutated(SPEC) | mutated({"features": "a/{dataset}.npz"}), key=st.sampled_from(TEXTS), more=hostile())
def test_a_spec_of_another_shape(value: Any, key: str, more: Any) -> None:
    for spec in (value, value | {key: more}) if isinstance(value, dict) else ():
        outcome(lambda spec=spec: backbones.check(spec), "")


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return tiny.make(tmp_path_factory.mktemp("tiny"))


def load(spec: dict[str, str], path: Path) -> Any:
    """Load the backbone: what loads gives finite embeddings of one size for images."""
    found = outcome(lambda: backbones.load(spec, "cpu"), path)
    if found is not None:
        assert np.isfinite(found.logit_scale)
    return found


@HEAVY
@given(value=mutated(tiny.CONFIG))
def test_a_config_of_another_shape(tmp_path: Path, spec: dict[str, str], value: Any) -> None:
    config = tmp_path / "fuzzed.json"
    config.write_bytes(json_text(value))
    try:
        load(spec | {"model": str(config)}, "")
    finally:
        forget(config)


@pytest.mark.parametrize("content", TRAPS.values(), ids=TRAPS)
def test_what_is_no_config(tmp_path: Path, spec: dict[str, str], content: bytes) -> None:
    config = tmp_path / "fuzzed.json"
    config.write_bytes(content)
    assert load(spec | {"model": str(config)}, config) is None


def forget(config: Path) -> None:
    """open_clip keeps every config file it was given, and reads them all again for the next."""
    from open_clip import factory

    factory._MODEL_CONFIG_PATHS[:] = [path for path in factory._MODEL_CONFIG_PATHS if path != config]
    factory._MODEL_CONFIGS.pop(config.stem, None)


@pytest.mark.parametrize("part", ["text_cfg", "vision_cfg"])
def test_a_config_that_would_fetch_code_is_refused(tmp_path: Path, spec: dict[str, str], part: str) -> None:
    asking = {"hf_tokenizer_name": "someone/model", "tokenizer_kwargs": {"trust_remote_code": True}}
    config = tmp_path / "fuzzed.json"
    config.write_text(json.dumps(tiny.CONFIG | {part: tiny.CONFIG[part] | asking}))
    with pytest.raises(UserError, match=r"fuzzed\.json: trust_remote_code: not allowed"):
        backbones.load(spec | {"model": str(config)}, "cpu")
    (tmp_path / "open_clip_config.json").write_text(json.dumps({"model_cfg": json.loads(config.read_text())}))
    with pytest.raises(UserError, match=r"trust_remote_code: not allowed"):
        backbones.load({"model": f"local-dir:{tmp_path}"}, "cpu")


# --- weights -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkpoint(spec: dict[str, str]) -> bytes:
    """The right weights as torch saves them, but with one tensor of few numbers in the place of each large one."""
    file = io.BytesIO()
    torch.save({"state_dict": {"logit_scale": torch.zeros(()), "text_projection": torch.zeros(4, 4)}}, file)
    return file.getvalue()


@HEAVY
@given(data=st.data(), suffix=st.sampled_from([".pt", ".bin", ".safetensors"]))
def test_damaged_weights(
    tmp_path: Path, spec: dict[str, str], checkpoint: bytes, data: st.DataObject, suffix: str
) -> None:
    path = tmp_path / f"w{suffix}"
    path.write_bytes(data.draw(damaged(checkpoint)))
    assert load(spec | {"weights": str(path)}, path) is None


@pytest.mark.parametrize("suffix", [".pt", ".safetensors"])
@pytest.mark.parametrize("content", TRAPS.values(), ids=TRAPS)
def test_what_is_no_weights(tmp_path: Path, spec: dict[str, str], content: bytes, suffix: str) -> None:
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    assert load(spec | {"weights": str(path)}, path) is None


class Trap:
    """Unpickled, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return open, (str(self.path), "w")


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".safetensors"])
@pytest.mark.parametrize("form", ["zip", "legacy", "bare", "in a zip of another kind", "script"])
def test_a_pickle_in_the_weights_is_never_run(tmp_path: Path, spec: dict[str, str], suffix: str, form: str) -> None:
    path, sprung = tmp_path / f"w{suffix}", tmp_path / "sprung"
    trap = {"state_dict": {"logit_scale": Trap(sprung)}}
    if form in ("zip", "legacy"):
        torch.save(trap, path, _use_new_zipfile_serialization=form == "zip")
    elif form == "bare":
        path.write_bytes(pickle.dumps(trap))
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("w/data.pkl", pickle.dumps(trap))
            archive.writestr("w/version", "3\n")
            if form == "script":
                archive.writestr("w/constants.pkl", pickle.dumps(Trap(sprung)))
    assert load(spec | {"weights": str(path)}, path) is None
    assert not sprung.exists()


@pytest.mark.parametrize("path", ["~nobody_of_this_name/w.pt", "nul\0.pt", "a" * 300 + ".pt", ".", "no/such.pt"])
def test_weights_that_are_not_there(spec: dict[str, str], path: str) -> None:
    assert outcome(lambda: backbones.load(spec | {"weights": f"{path}.pt"}, "cpu"), path.split("\0")[0]) is None
