"""Label images by the classifier in this folder: `python predict.py IMAGES... --out predictions.csv`.

IMAGES are files or folders. It needs what requirements.txt lists, the classifier, and the weights of its backbone.
Reading the classifier runs nothing: it is arrays and a list of the operations below.
"""

import argparse
import csv
import hashlib
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.pretrained import download_pretrained, download_pretrained_from_hf, get_pretrained_cfg
from open_clip.transform import PreprocessCfg, image_transform_v2
from PIL import Image, ImageOps
from safetensors import safe_open
from torch import Tensor

COLUMNS = ["file", "label", "probability", "second_label", "margin", "unsure", "outlier", "prediction_set", "problem"]
SUFFIXES = [".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff", ".gif", ".ppm"]
BY_NAME = ["add", "subtract", "multiply", "divide", "maximum", "minimum", "exp", "log", "sqrt", "tanh", "sigmoid"]
OPERATIONS: dict[str, Any] = {name: getattr(torch, name) for name in BY_NAME} | {
    "linear": lambda x, weight, bias=0.0: x @ weight + bias,
    "gelu": torch.nn.functional.gelu,
    "unit": lambda x: x / x.norm(dim=-1, keepdim=True).where((x != 0).any(-1, keepdim=True), torch.ones(())),
    "softmax": lambda x: x.softmax(-1),
    "is_zero": lambda x: (x == 0).float(),
    "sum": lambda x: x.sum(-1, keepdim=True),
    "mean": lambda x: x.mean(-1, keepdim=True),
    "largest": lambda x: x.amax(-1, keepdim=True),
    "columns": lambda x, which: x[:, which],
    "join": lambda x, y: torch.cat([x, y], 1),
    "top": lambda x, k: torch.zeros_like(x).scatter(1, (-x).sort(stable=True, dim=1)[1][:, : int(k)], 1.0),
    "class_max": lambda x, y, k: x.new_zeros(len(x), int(k)).scatter_reduce(1, y.expand(len(x), -1), x, "amax"),
}


def run(program: Any, arrays: dict[str, Tensor], x: Tensor) -> Tensor:
    """What a program gives for rows x (M, D): (M, C)."""
    values = {**arrays, "x": x}
    for name, operation, *operands in program["steps"]:
        given = [values[one] if isinstance(one, str) else torch.tensor(one, device=x.device) for one in operands]
        values[name] = OPERATIONS[operation](*given)
    return values[program["output"]]


def read(path: Path) -> tuple[Any, dict[str, Tensor]]:
    """What the file of a classifier says, and its arrays."""
    try:
        with safe_open(path, "numpy") as file:
            about, keys = json.loads(file.metadata()["classifier"]), list(file.keys())
            arrays = {key: file.get_tensor(key) for key in keys}
    except Exception as error:
        sys.exit(f"error: {path}: not a classifier, or not all of it ({error})")
    said, digest = about.pop("sha256"), hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {list(array.shape)}".encode() + array.tobytes())
    if digest.hexdigest() != said:
        sys.exit(f"error: {path}: changed or damaged: its content does not match its checksum")
    return about, {name: torch.from_numpy(array) for name, array in arrays.items()}


def load(about: Any, weights: Path | None) -> tuple[Any, Any]:
    """The backbone, with the weights that the classifier was made with, and what images go through before it."""
    told, model, how = about["backbone"], about["backbone"]["model"], about["preprocessing"]
    if told["config"]:
        (place := Path(tempfile.mkdtemp(), f"{model}.json")).write_text(json.dumps(told["config"]))
        open_clip.add_model_config(place)
    if weights is None and model.startswith("hf-hub:"):
        weights = Path(download_pretrained_from_hf(model.removeprefix("hf-hub:")))
    elif weights is None and told["pretrained"]:
        weights = Path(download_pretrained(get_pretrained_cfg(model, told["pretrained"])))
    found = weights.read_bytes() if weights is not None and weights.is_file() else b""
    if hashlib.sha256(found).hexdigest() != told["fingerprint"]:
        sys.exit(f"error: --weights {weights}: wanted is the file that the classifier was made with, {told['weights']}")
    extra = {"force_quick_gelu": told["quick_gelu"], "force_preprocess_cfg": how, "pretrained": str(weights)}
    return open_clip.create_model(model, **extra).eval(), image_transform_v2(PreprocessCfg(**how), is_train=False)


def put(about: Any, arrays: dict[str, Tensor], visual: torch.nn.Module) -> None:
    """What the classifier has changed in the image tower, in the place of the backbone's own."""
    own, told = visual.state_dict(), about.get("tower", {"replaced": [], "added": []})
    try:
        for name in told["replaced"]:
            own[name].copy_(arrays[f"tower.{name}"].view_as(own[name]))
        for name in told["added"]:
            own[name] += arrays[f"tower.{name}.a"] @ arrays[f"tower.{name}.b"]
    except (KeyError, RuntimeError) as error:
        sys.exit(f"error: classifier.safetensors: tower: {name} does not fit this model ({error})")


def line(about: Any, file: Path, p: Tensor, distance: float) -> list[Any]:
    """The columns of an image with class probabilities (K,)."""
    told, names, (best, second) = about["thresholds"], about["classes"], p.topk(2).indices.tolist()
    unsure = str(told["unsure"] is None or p[best].item() < told["unsure"]).lower()
    members = [n for n, one in zip(names, p.tolist(), strict=True) if told["set"] is None or 1 - one <= told["set"]]
    far = str(told["outlier"] is not None and distance > told["outlier"]).lower()
    marks = [unsure, far, "|".join(members)] if told["images"] else ["", far, ""]
    return [file, names[best], f"{p[best]:.6f}", names[second], f"{p[best] - p[second]:.6f}", *marks, ""]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("images", nargs="+", type=Path)
    parser.add_argument("--out", required=True)
    parser.add_argument("--weights", type=Path, help="the backbone's weights, where they are not downloaded")
    arguments = parser.parse_args()
    about, arrays = read(Path(__file__).with_name("classifier.safetensors"))
    model, preprocess = load(about, arguments.weights)
    put(about, arrays, model.visual)
    found = [one for at in arguments.images for one in (sorted(at.rglob("*")) if at.is_dir() else [at])]
    part = Path(f"{arguments.out}.part")
    with part.open("w", newline="", encoding="utf-8") as file, torch.inference_mode():
        (writer := csv.writer(file)).writerow(COLUMNS)
        for one in (one for one in found if one.suffix.lower() in SUFFIXES or one in arguments.images):
            try:
                image = preprocess(ImageOps.exif_transpose(Image.open(one)).convert("RGB"))
            except Exception as error:
                writer.writerow([one, *[""] * 7, f"not a readable image ({error})"])
                continue
            x = model.encode_image(image[None]).float()
            p = (run(about["program"], arrays, x)[0].double() / about["temperature"]).softmax(-1)
            writer.writerow(line(about, one, p, run(about["outlier"], arrays, x).item()))
    part.replace(arguments.out)


if __name__ == "__main__":
    main()
