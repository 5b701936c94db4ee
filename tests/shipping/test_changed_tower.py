"""Methods that train the image tower, shipped: what is read and predicted is what their own classifier says."""

import csv
import json
import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

from methods import Method, Replica, unit
from methods.clip_lora import LowRankAdaptation
from methods.contract.changes import Changes
from methods.contract.exporting import CannotShipError
from methods.fine_tune import FineTuning
from methods.last_block import LastBlock
from methods.two_stage import TwoStage
from methods.zero_shot import ZeroShot
from tests.data.pictures import FAULTS
from tests.shipping import towers
from tests.shipping.test_classifier import told
from tests.shipping.towers import Pictures, logits, made, row
from workflow.lib.errors import UserError
from workflow.lib.evaluation import calibrator, folds
from workflow.lib.shipping import card, fitting, folder, onnx_file, predicting, standalone
from workflow.lib.shipping import classifier as classifiers
from workflow.lib.shipping.classifier import Classifier, checksum
from workflow.lib.shipping.names import CLASSIFIER as FILE
from workflow.scripts import predict, ship

LORA = {"iterations": 3, "lr": 0.05, "batch_size": 6, "dropout": 0.0}
STAGES = {"iterations": 3, "lr": 0.02, "batch_size": 6}
TUNED = {"epochs": 3, "lr": 0.003, "batch_size": 6}
CASES: dict[str, tuple[str, type[Method], dict[str, Any]]] = {
    "last_block, vit": ("vit", LastBlock, TUNED | {"wise": 0.5}),
    "last_block, resnet": ("resnet", LastBlock, TUNED),
    "fine_tune, vit": ("vit", FineTuning, TUNED | {"crop": 0.5, "flip": True}),
    "fine_tune, resnet": ("resnet", FineTuning, TUNED | {"wise": 0.7}),
    "fine_tune of both": ("vit", FineTuning, TUNED | {"loss": "contrastive"}),
    "clip_lora": ("vit", LowRankAdaptation, LORA),
    "clip_lora of the last block": ("vit", LowRankAdaptation, LORA | {"encoder": "vision", "blocks": 1}),
    "two_stage": ("vit", TwoStage, STAGES),
    "two_stage of the image tower": ("vit", TwoStage, STAGES | {"encoder": "vision"}),
}
# What is other of the ViT's tensors, in the JSON's words: replaced and added, how many of them, and one.
OTHER: dict[str, tuple[int, int, str]] = {
    "last_block, vit": (15, 0, "transformer.resblocks.2.mlp.c_fc.weight"),
    "fine_tune, vit": (44, 0, "conv1.weight"),
    "clip_lora": (0, 3, "transformer.resblocks.0.attn.in_proj_weight"),
    "clip_lora of the last block": (0, 1, "transformer.resblocks.2.attn.in_proj_weight"),
    "two_stage": (16, 0, "ln_pre.weight"),
}


@pytest.fixture(scope="module")
def models(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Pictures]:
    return {kind: towers.pictures(photos, kind, tmp_path_factory.mktemp(kind)) for kind in towers.TOWERS}


@pytest.fixture(scope="module")
def vit(models: Mapping[str, Pictures]) -> Pictures:
    return models["vit"]


@pytest.fixture(scope="module")
def lora(vit: Pictures, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that has pairs of factors in its classifier."""
    place = tmp_path_factory.mktemp("lora")
    folder.write(place, made(vit, row(LowRankAdaptation, **LORA), LowRankAdaptation()), "none")
    return place


@pytest.fixture(scope="module")
def block(vit: Pictures, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that has other weights in its classifier."""
    place = tmp_path_factory.mktemp("block")
    folder.write(place, made(vit, row(LastBlock, **TUNED), LastBlock()), "head")
    return place


def predicted(monkeypatch: pytest.MonkeyPatch, shipped: Path, given: Pictures, out: Path) -> list[dict[str, str]]:
    """The lines of the command, of the pictures of test."""
    listed = [str(given.photos / name) for name in given.features.files["test"]]
    options = ["--out", str(out), "--all", "--device", "cpu", "--threads", "1"]
    monkeypatch.setattr(sys, "argv", ["predict", str(shipped), *listed, *options])
    predict.main()
    return list(csv.DictReader(out.open(encoding="utf-8", newline="")))


def alone(monkeypatch: pytest.MonkeyPatch, shipped: Path, given: Pictures, out: Path) -> list[dict[str, str]]:
    """Those of the predict.py in the folder."""
    listed = [str(given.photos / name) for name in given.features.files["test"]]
    options = ["--out", str(out), "--weights", given.spec["weights"]]
    monkeypatch.setattr(standalone, "__file__", str(shipped / "predict.py"))
    monkeypatch.setattr(sys, "argv", ["predict.py", *listed, *options])
    standalone.main()
    return list(csv.DictReader(out.open(encoding="utf-8", newline="")))


def probabilities(of: np.ndarray[Any, Any], classifier: Classifier) -> np.ndarray[Any, Any]:
    return np.asarray(torch.from_numpy(of).double().div(classifier.about["temperature"]).softmax(-1))


@pytest.mark.parametrize("case", CASES)
def test_both_commands_say_what_the_method_s_own_classifier_says(
    models: Mapping[str, Pictures], case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind, method, params = CASES[case]
    given, what = models[kind], row(method, **params)
    folder.write(tmp_path / "shipped", made(given, what, method()), "none")
    classifier = classifiers.read(tmp_path / "shipped")
    expected = probabilities(logits(given, what, method()), classifier)
    ours = predicted(monkeypatch, tmp_path / "shipped", given, tmp_path / "p.csv")
    found = np.array([[float(line[f"p_{name}"]) for name in FAULTS] for line in ours])
    assert np.abs(found - expected).max() < 1e-4
    theirs = alone(monkeypatch, tmp_path / "shipped", given, tmp_path / "q.csv")
    for line, other in zip(ours, theirs, strict=True):
        same = ("label", "second_label", "unsure", "outlier", "prediction_set")
        assert [line[key] for key in same] == [other[key] for key in same]
        assert float(line["probability"]) == pytest.approx(float(other["probability"]), abs=1e-4)
    # And that is not what the backbone as it is would say.
    unchanged = probabilities(classifier.program(given.features.splits["test"].x[:]), classifier)
    assert np.abs(unchanged - expected).max() > 0.01
    if case in OTHER:
        (replaced, added, one), said = OTHER[case], told(tmp_path / "shipped" / FILE)["tower"]
        assert (len(said["replaced"]), len(said["added"])) == (replaced, added)
        assert one in {*said["replaced"], *said["added"]}


@pytest.mark.parametrize("name", [case for case in CASES if "resnet" not in case])
def test_what_is_taken_for_labelled_images_are_their_embeddings_in_the_changed_tower(vit: Pictures, name: str) -> None:
    _, method, params = CASES[name]
    what = row(method, **params)
    fitted = towers.fitted(vit, what, method())
    task = towers.task(vit, what, method())
    near = method().as_shipped(task, what.variants[0]["params"], fitted.program, task.supports[0].x)
    assert fitted.outlier(near) == pytest.approx(np.zeros((12, 1)), abs=1e-5)
    assert fitted.outlier(vit.features.splits["train"].x[:]).max() > 1e-4


def test_the_images_that_calibrate_are_answered_by_towers_that_have_not_seen_them(
    vit: Pictures, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[Any] = []
    monkeypatch.setattr(fitting, "calibrate", lambda *given: kept.append(given) or calibrator.fit(*given))
    what = row(LastBlock, **TUNED)
    towers.fitted(vit, what, LastBlock())
    ((found, labels, _),) = kept
    task = towers.task(vit, what, LastBlock())
    whole, expected = task.supports[0], np.zeros((12, 3))
    for fold in folds.split(0, whole.y):
        rest = replace(task, supports={fold.seed: folds.part(whole, fold.rest)})
        *_, last = LastBlock().fit(rest, [Replica("-", what.variants[0]["params"], fold.seed)])
        expected[fold.out] = last.logits(whole.x[fold.out])[0]
    assert np.array_equal(labels, whole.y)
    assert found == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_test_images_teach_the_tower_too_where_that_is_asked_for(vit: Pictures) -> None:
    classifier = made(vit, row(LastBlock, **TUNED), LastBlock(), everything=True)
    assert classifier.about["trained_on"]["images"] == 21
    assert classifier.about["thresholds"]["images"] == 21
    assert classifier.program.tower
    few = made(vit, row(LastBlock, **TUNED), LastBlock())
    name = "transformer.resblocks.2.mlp.c_fc.weight"
    assert not np.array_equal(classifier.program.tower.replaced[name], few.program.tower.replaced[name])


@pytest.mark.parametrize("case", ["last_block, vit", "fine_tune, resnet"])
def test_no_share_of_what_was_learned_is_the_backbone_as_it_is(models: Mapping[str, Pictures], case: str) -> None:
    kind, method, params = CASES[case]
    classifier = made(models[kind], row(method, **params | {"wise": 0.0}), method())
    x = models[kind].features.splits["test"].x[:]
    plain = made(models[kind], row(ZeroShot), ZeroShot())
    assert not classifier.program.tower
    assert classifier.program(x) == pytest.approx(plain.program(x), abs=1e-3)
    assert classifier.distances(x) == pytest.approx(plain.distances(x), abs=1e-5)


def test_low_rank_products_that_are_nothing_are_left_out(vit: Pictures) -> None:
    classifier = made(vit, row(LowRankAdaptation, **LORA | {"alpha": 1e-30}), LowRankAdaptation())
    assert not classifier.program.tower


def test_the_protocol_may_choose_the_epoch(vit: Pictures) -> None:
    classifier = made(vit, row(LastBlock, "support_cv", **TUNED), LastBlock())
    assert classifier.about["method"]["chosen_by"] == "support_cv"
    assert set(classifier.about["method"]["point"]) == {"epoch"}
    assert classifier.program.tower


def test_what_is_written_is_read_and_equal_classifiers_are_equal_bytes(lora: Path, tmp_path: Path) -> None:
    found = classifiers.read(lora)
    assert "tower" not in found.about
    classifiers.write(tmp_path / FILE, found)
    assert (tmp_path / FILE).read_bytes() == (lora / FILE).read_bytes()
    said = told(lora / FILE)
    assert said["format"] == 2
    assert said["tower"]["bytes"] == found.program.tower.nbytes == 4 * 3 * (96 * 6 + 6 * 32)


def test_the_card_says_that_the_tower_is_another(block: Path, lora: Path) -> None:
    text = (block / "card.md").read_text(encoding="utf-8")
    assert "CLIP model `tiny`, its image tower changed, makes it a vector" in text
    assert "- Image tower: other than the backbone's in `ln_post.bias`, `ln_post.weight`, `proj`" in text
    assert "and 11 more. `classifier.safetensors` holds what is other, 0.0" in text
    assert "`head.onnx` takes the embeddings of the changed image tower, and is wrong behind the backbone's own" in text
    assert "head.onnx" not in (lora / "card.md").read_text(encoding="utf-8")
    both = card.markdown(classifiers.read(block), ("head.onnx", "model.onnx"))
    assert "`model.onnx` has the changed tower in it" in both
    head = {one.key: one.value for one in onnx_file.build(classifiers.read(block)).metadata_props}
    assert "ln_post.bias" in json.loads(head["tower"])["replaced"]


def test_the_model_for_onnx_has_the_changed_tower(vit: Pictures, block: Path) -> None:
    from workflow.lib.shipping.onnx_model import Whole

    classifier = classifiers.read(block)
    backbone = predicting.load(classifier, "", "cpu")
    pixels = torch.from_numpy(vit.features.splits["test"].images["pixels"][:]).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        found = Whole(classifier, backbone.model).eval()(pixels)
    expected = probabilities(logits(vit, row(LastBlock, **TUNED), LastBlock()), classifier)
    assert np.abs(found.numpy() - expected).max() < 1e-4


# --- Files that are not what was written ---


def test_a_changed_byte_of_the_tower_is_refused_by_both(
    block: Path, vit: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = bytearray((block / FILE).read_bytes())
    proj = load_file(block / FILE)["tower.proj"].tobytes()
    whole[whole.index(proj) + 6] ^= 0x11
    (tmp_path / FILE).write_bytes(whole)
    with pytest.raises(UserError, match=f"{FILE}: changed or damaged: its content does not match its checksum"):
        classifiers.read(tmp_path)
    with pytest.raises(SystemExit, match="changed or damaged: its content does not match its checksum"):
        alone(monkeypatch, tmp_path, vit, tmp_path / "q.csv")


NORM, PROJ = "tower.ln_post.weight", "tower.proj"
PAIR = "tower.transformer.resblocks.1.attn.in_proj_weight"


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({NORM: None}, "tower: no array tower.ln_post.weight"),
        ({"tower.ln_pre.weight": np.ones(32, np.float32)}, "tower: tower.ln_pre.weight is an array that nothing names"),
        ({NORM: np.full(32, np.nan, np.float32)}, "tower: tower.ln_post.weight has NaN or infinite values"),
        ({NORM: np.ones(32, np.float64)}, "tower: tower.ln_post.weight is float64; float32 is wanted"),
        ({NORM: np.ones(33, np.float32)}, "tower: .* bytes, where .* are told of"),
    ],
)
def test_arrays_that_are_not_those_of_the_tower_are_refused_whoever_signed_them(
    block: Path, tmp_path: Path, change: dict[str, Any], line: str
) -> None:
    with pytest.raises(UserError, match=f"^{re.escape(str(tmp_path / FILE))}: {line}; ship it again"):
        classifiers.read(signed(block, tmp_path / FILE, change, {}))


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ({"replaced": 3}, "tower: "),
        ({"added": ["ln_post.weight"]}, "tower: no array tower.ln_post.weight.a"),
        ({"bytes": 1}, "tower: .* bytes, where 1 are told of"),
    ],
)
def test_what_is_said_of_the_tower_is_held_to_its_arrays(
    block: Path, tmp_path: Path, said: dict[str, Any], line: str
) -> None:
    with pytest.raises(UserError, match=f"^{re.escape(str(tmp_path / FILE))}: {line}"):
        classifiers.read(signed(block, tmp_path / FILE, {}, said))


def test_factors_that_make_no_product_are_refused(lora: Path, tmp_path: Path) -> None:
    turned = {f"{PAIR}.a": load_file(lora / FILE)[f"{PAIR}.a"].T.copy()}
    with pytest.raises(UserError, match=r"a product of shapes \(6, 96\) and \(6, 32\); \(n, r\) and \(r, m\)"):
        classifiers.read(signed(lora, tmp_path / FILE, turned, {}))


def test_tensors_that_the_backbone_does_not_have_are_refused_by_both(
    block: Path, vit: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = load_file(block / FILE)[PROJ]
    names = [name for name in told(block / FILE)["tower"]["replaced"] if name != "proj"]
    signed(block, tmp_path / FILE, {PROJ: None, "tower.nowhere": array}, {"replaced": [*names, "nowhere"]})
    with pytest.raises(
        UserError, match=f"^{re.escape(str(tmp_path / FILE))}: tower: the image tower has no tensor nowhere"
    ):
        predicted(monkeypatch, tmp_path, vit, tmp_path / "p.csv")
    with pytest.raises(SystemExit, match="tower: nowhere does not fit this model"):
        alone(monkeypatch, tmp_path, vit, tmp_path / "q.csv")
    signed(block, tmp_path / FILE, {PROJ: array.reshape(-1)}, {})
    with pytest.raises(UserError, match=r"proj has shape \(32, 16\) in the image tower, and \(512,\) is to change it"):
        predicted(monkeypatch, tmp_path, vit, tmp_path / "p.csv")
    assert not list(tmp_path.glob("*.csv*"))


def test_another_backbone_is_refused(
    block: Path, models: Mapping[str, Pictures], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = models["resnet"].spec["weights"]
    with pytest.raises(UserError, match=r"is not the file that the classifier was made with, tinyclip\.safetensors"):
        predicting.load(classifiers.read(block), other, "cpu")
    with pytest.raises(SystemExit, match="wanted is the file that the classifier was made with"):
        alone(monkeypatch, block, models["resnet"], tmp_path / "q.csv")


def test_a_file_without_a_tower_must_have_no_array_of_one(vit: Pictures, tmp_path: Path) -> None:
    folder.write(tmp_path / "plain", made(vit, row(ZeroShot), ZeroShot()), "none")
    assert told(tmp_path / "plain" / FILE)["format"] == 1
    path = signed(tmp_path / "plain", tmp_path / FILE, {PROJ: np.ones((32, 16), np.float32)}, None)
    with pytest.raises(UserError, match=r"tower\.proj is an array that nothing names"):
        classifiers.read(path)


def signed(shipped: Path, path: Path, change: Mapping[str, Any], said: Mapping[str, Any] | None) -> Path:
    """The file with other arrays, and other words about the tower, with a checksum that fits them."""
    about, arrays = told(shipped / FILE), load_file(shipped / FILE)
    about.pop("sha256")
    about |= {} if said is None else {"tower": about["tower"] | said}
    arrays = {name: array for name, array in (arrays | change).items() if array is not None}
    save_file(arrays, path, {"classifier": json.dumps({**about, "sha256": checksum(about, arrays)})})
    return path


# --- What can't be shipped ---


class Twice(LastBlock):
    """With logits that are not those behind the tower alone."""

    name = "twice"

    def folded(self, head: Any) -> Any:
        classify = super().folded(head)
        return lambda x: 2 * classify(x) + x.mean(-1, keepdim=True)


class Layers(LastBlock):
    """With a layer of its own in the tower."""

    name = "layers"

    def image(self, model: Any, task: Any, replica: Any) -> Any:
        def change(blocks: Any) -> None:
            blocks[-1].ls_1 = torch.nn.Linear(32, 32)

        return model.image(1, change=change)


class Wrapped(FineTuning):
    """With the tower inside a module of its own."""

    name = "wrapped"

    def image(self, model: Any, task: Any, replica: Any) -> Any:
        return torch.nn.Sequential(model.image())


class Silent(Method):
    """Sees images, and says nothing of the tower."""

    name = "silent"

    def needs(self, params: Any) -> frozenset[str]:
        return frozenset({"image", "text", "model", "pixels"})

    def classifier(self, task: Any, replica: Any) -> Any:
        return lambda rows: rows[:, :3].astype(np.float32)


class Blind(Silent):
    """Sees images, and does not say by what."""

    name = "blind"

    def needs(self, params: Any) -> frozenset[str]:
        return frozenset({"image", "pixels"})


@pytest.mark.parametrize(
    ("method", "line"),
    [
        (Twice, "what it gives as changes of the image tower has other logits than its classifier: override"),
        (Layers, r"it has put layers of its own into the image tower \(transformer.resblocks.2.ls_1.weight\)"),
        (Wrapped, "what it trains is no module of `model.image`"),
        (Silent, "it does not say what of the image tower it has changed"),
        (Blind, "it needs pixels, and what is shipped gets the embedding of an image"),
    ],
)
def test_what_can_t_be_shipped_says_why(vit: Pictures, method: type[Method], line: str) -> None:
    params = {} if issubclass(method, Silent) else TUNED
    with pytest.raises(UserError, match=f"ship: {method.name} can't be shipped: {line}"):
        made(vit, row(method, **params), method())


def test_a_program_that_says_of_the_tower_what_is_not_so_is_refused(vit: Pictures) -> None:
    class Forgets(LastBlock):
        """Which leaves out what it has changed."""

        def changed_tower(self, head: Any) -> Changes:
            return Changes()

    what = row(LastBlock, **TUNED)
    with pytest.raises(CannotShipError, match="has other logits than its classifier"):
        Forgets().export(towers.task(vit, what, Forgets()), Replica("-", what.variants[0]["params"], 0))


# --- The job ---


def test_the_recommended_row_is_shipped_where_it_trains_the_tower(
    vit: Pictures, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As `snakemake ship` does it where the study file names no row, and others of the study need other arrays."""
    what = row(LastBlock, **TUNED)
    (tmp_path / "recommendation.csv").write_text(
        "dataset,backbone,shots,select,method,variant,params,metric,value,low,high,level_with,sure\n"
        "cloth,tiny,all,last,last_block,-,{},accuracy,0.8,0.7,0.9,,0.9\n"
    )
    (tmp_path / "results.csv").write_text("study,dataset,backbone,method,variant,shots,seed,metric,value\n")
    entry = {"method": "last_block", "learns": True, "tuned": "", "rows": ["-"], "variants": what.variants}
    other = entry | {"method": "clip_lora", "variants": row(LowRankAdaptation, **LORA).variants}
    asked: dict[str, Any] = dict.fromkeys(("method", "variant", "shots"), "")
    asked |= {"study": "trial", "dataset": "cloth", "backbone": "tiny", "select": "last", "report": "test"}
    asked |= {"metric": "accuracy", "level": 0.9, "error": 0.05, "most": "all", "labels": "train", "onnx": "head"}
    asked |= {"methods": {"last_block": entry, "clip_lora": other}}
    asked |= {"made_of": {"backbone": vit.spec, "templates": ["a photo of {} cloth."]}}
    options = ["--spec", json.dumps(asked), "--features", vit.files["features"], "--results", tmp_path]
    options += ["--out", tmp_path / "shipped", "--device", "cpu"]
    options += [part for name in towers.ARRAYS for part in ("--array", vit.files[name])]
    monkeypatch.setattr(sys, "argv", ["ship", *map(str, options)])
    ship.main()
    files = {"classifier.safetensors", "card.md", "predict.py", "requirements.txt", "head.onnx"}
    assert {path.name for path in (tmp_path / "shipped").iterdir()} == files
    classifier = classifiers.read(tmp_path / "shipped")
    found = predicted(monkeypatch, tmp_path / "shipped", vit, tmp_path / "p.csv")
    expected = probabilities(logits(vit, what, LastBlock()), classifier)
    assert [float(line["probability"]) for line in found] == pytest.approx(expected.max(1), abs=1e-4)
    assert unit(classifier.program.tower.replaced["proj"]).shape == (32, 16)
