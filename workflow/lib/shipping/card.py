"""The card of a shipped classifier: what it is, how good, on what, and how to use it, for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from methods.contract.changes import Changes
from workflow.lib.shipping.classifier import Classifier
from workflow.lib.shipping.names import CLASSIFIER

_SHOWN = 20  # classes
_TENSORS = 4  # of the image tower
PERCENT = ("accuracy", "mean_per_class", "macro_f1", "auroc", "ece", "coverage")


def markdown(classifier: Classifier, onnx: Sequence[str] = ()) -> str:
    """The card; `onnx` are the files beside the classifier for what runs those."""
    about, changes = classifier.about, classifier.program.tower
    parts = [_what(about, changes), _quality(about), _trust(about), _use(about, onnx, changes), _from(about)]
    return "\n\n".join(parts) + "\n"


def _what(about: Mapping[str, Any], changes: Changes) -> str:
    method, told, trained = about["method"], about["backbone"], about["trained_on"]
    backbone = about["provenance"]["backbone"]
    names = [f"`{name}` ({count})" for name, count in zip(about["classes"], trained["per_class"], strict=True)]
    more = [f"and {len(names) - _SHOWN} more"] if len(names) > _SHOWN else []
    params = ", ".join(f"{name} = {value}" for name, value in sorted({**method["params"], **method["point"]}.items()))
    return "\n".join(
        [
            f"# A classifier of {about['provenance']['dataset']}: {len(names)} classes",
            "",
            f"It puts a photograph into one of {len(names)} classes: the {'' if changes else 'frozen '}CLIP model"
            f" `{backbone}`{', its image tower changed,' if changes else ''} makes it a vector, and `{method['name']}`"
            " classifies that.",
            "",
            f"- Classes, with the labelled images that it has learned from: {', '.join([*names[:_SHOWN], *more])}.",
            f"- Labelled images: {trained['images']}, of {', '.join(trained['splits'])}.",
            f"- Method: `{method['label']}`" + (f" with {params}." if params else "."),
            f"- Backbone: `{backbone}`, {told['model']} {told['weights']}; SHA-256 of weights `{told['fingerprint']}`.",
            *([_tower(changes)] if changes else []),
            f"- Prompts of the first class: {', '.join(map(repr, about['prompts'][0])) or 'none'}.",
        ]
    )


def _tower(changes: Changes) -> str:
    names = sorted({*changes.replaced, *changes.added})
    shown = ", ".join(f"`{name}`" for name in names[:_TENSORS])
    more = f" and {len(names) - _TENSORS} more" if len(names) > _TENSORS else ""
    return (
        f"- Image tower: other than the backbone's in {shown}{more}. `{CLASSIFIER}` holds what is other,"
        f" {changes.nbytes / 1e6:.3g} MB: it is put into the backbone before the first image."
    )


def _quality(about: Mapping[str, Any]) -> str:
    rows = ["## How good it is", ""]
    if not about["expected"]:
        return "\n".join([*rows, "The study has no measurement of this row: nothing is known but what is below."])
    for one in about["expected"]:
        value, low, high = (_shown(one["metric"], one[key]) for key in ("value", "low", "high"))
        between = f" (95 % interval {low} to {high})" if None not in (one["low"], one["high"]) else ""
        rows.append(f"- {one['metric']}: {value}{between}, {one['from']}.")
    note = (
        "It was measured on classifiers of this kind that had learned from the images named there; this one has learned"
    )
    return "\n".join(
        [*rows, "", f"{note} from {about['trained_on']['images']}. New images of another kind may do worse."]
    )


def _trust(about: Mapping[str, Any]) -> str:
    told = about["thresholds"]
    lines = ["## When not to trust it", ""]
    if told["images"]:
        error, level = f"{100 * told['error']:g} %", f"{100 * told['level']:g} %"
        below = f"answers below a probability of {told['unsure'] or 0:.3f} are marked"
        unsure = f"{below}, so that at most {error} of the others should be wrong"
        few = f"every answer is marked: these images are too few, or too often mistaken, to promise {error} of errors"
        sets = f"should hold the true class for {level} of images"
        lines += [
            f"- Probabilities are the softmax of the logits over a temperature of {about['temperature']:.3f}.",
            f"- `unsure`: {few if told['unsure'] is None else unsure}.",
            f"- `prediction_set` {sets if told['set'] is not None else 'holds every class: these images are too few'}.",
            f"- All three come from {told['images']} of its own labelled images, each answered by a classifier that had"
            " not learned from it. They hold for images of the same kind.",
        ]
    else:
        lines.append(
            "- No image could be left out of the fit (a class has one): probabilities are as the method gives"
            " them, and `unsure` and `prediction_set` stay empty."
        )
    alarms = f"{100 * told['false_alarms']:g} %"
    far = f"farther from every labelled image than {told['outlier']:.3f}" if told["outlier"] is not None else "never"
    lines.append(
        f"- `outlier`: the image is of no class, as far as can be told: {far}. About {alarms} of images that are"
        " of a class are marked too."
    )
    return "\n".join(lines)


def _use(about: Mapping[str, Any], onnx: Sequence[str], changes: Changes) -> str:
    own = " --weights FILE" if about["backbone"]["config"] or "weights" in about["backbone"]["spec"] else ""
    lines = [
        "## How to use it",
        "",
        "With the project: `python -m workflow.scripts.predict FOLDER IMAGES… --out predictions.csv`, FOLDER this one.",
        "",
        f"Without it: `pip install -r requirements.txt`, then `python predict.py IMAGES… --out predictions.csv{own}`.",
    ]
    if onnx:
        lines += ["", f"For what runs ONNX: {', '.join(f'`{name}`' for name in onnx)}."]
    if onnx and changes:
        whole = "`model.onnx` has" if len(onnx) > 1 else "`ship: {onnx: model}` also writes one that has"
        wrong = "takes the embeddings of the changed image tower, and is wrong behind the backbone's own"
        lines += ["", f"`{onnx[0]}` {wrong}; {whole} the changed tower in it."]
    return "\n".join(lines)


def _from(about: Mapping[str, Any]) -> str:
    told = about["provenance"]
    return "\n".join(
        [
            "## Where it is from",
            "",
            f"Study `{told['study']}`, dataset `{told['dataset']}`, backbone `{told['backbone']}`, commit"
            f" {told['commit'] or 'not known'}.",
            "",
            "Licences: the weights of the backbone and the images have their own, which are not known here. What was"
            " learned from them may be bound by both.",
        ]
    )


def _shown(metric: str, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{100 * value:.2f} %" if metric in PERCENT else f"{value:.4g}"
