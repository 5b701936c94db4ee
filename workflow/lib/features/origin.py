"""Was a features file made from what the study says? Another study that shares the folder may have made it."""

from collections.abc import Mapping, Sequence
from typing import Any

from workflow.lib.data.index import read_fingerprint
from workflow.lib.errors import UserError

Spec = Mapping[str, Any]


def check(metadata: Mapping[str, Any], wanted: Mapping[str, Any], where: str) -> None:
    """Raise `UserError` where the features file `where` was made from other images, by another backbone or templates.

    `wanted` is the study's `backbone` and `templates`, and the path of the `index` of the images. Paths are not
    compared: seen from another folder the same file has another one. What the file doesn't say of itself is not
    compared either.
    """
    if not wanted or "spec" not in metadata:
        return
    mine = _facts(wanted["backbone"], wanted["templates"])
    theirs = _facts(metadata["spec"], metadata.get("templates", ()))
    for name, here in mine.items():
        if here != theirs.get(name):
            raise UserError(
                f"{where}: {name} was {_short(theirs.get(name))} when these features were made, and is {_short(here)} "
                "in this study; give the backbone another name, or delete the file if no other study needs it"
            )
    _check_images(metadata.get("index", ""), read_fingerprint(wanted.get("index", "")), wanted, where)


def _check_images(theirs: str, listed: str, wanted: Mapping[str, Any], where: str) -> None:
    """The list of images that they were made from is the one that there is; of neither need there be one."""
    if theirs and listed and theirs != listed:
        raise UserError(
            f"{where}: these features were made from another list of images than {wanted['index']}; give the dataset "
            "another name, or delete the file if no other study needs it"
        )


def _facts(spec: Spec, templates: Sequence[str]) -> dict[str, Any]:
    """What the features depend on, but for files."""
    if "features" in spec:
        scale = spec.get("logit_scale", "that of the file")
        return {"the model": "none, but vectors from elsewhere", "the logit_scale": scale}
    name = str(spec["model"])
    return {
        "the model": "one by path" if name.endswith(".json") else name,
        "pretrained": spec.get("pretrained", "nothing"),
        "the preprocess of the backbone": spec.get("preprocess", "the model's"),
        "the quick_gelu of the backbone": spec.get("quick_gelu", "the model's"),
        "the precision": spec.get("precision", "fp32"),
        "the list of templates": list(templates),
    }


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 60 else f"{text[:60]}…"
