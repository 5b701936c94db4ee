"""What methods need and what features have: whether a method can run on them, and the reason where it can't."""

from collections.abc import Collection

from methods.contract.encoder import Model, TextEncoder
from workflow.lib.features.store import Features

_FROM_ELSEWHERE = {
    "text": "put text_x (K, D) into their npz file",
    "text_each": "put text_each_x (K, P, D), each class in each of P prompts, into their npz file",
    "views": "put train_views (N, V, D) there",
}
_EXTRACTED = {"views": "set 'views' in the dataset's entry"}
_NEVER = {
    "spatial": "they are one pooled embedding of each image",
    "text_blocks": "the blocks of its text tower are not open_clip's usual ones",
}


def met(features: Features, encoder: TextEncoder | str = "", model: Model | str = "") -> frozenset[str]:
    """The needs that these features meet, and the text tower and the model where they are there."""
    images = features.splits.values()
    everywhere = frozenset.intersection(*(frozenset(split.images) for split in images))
    there = {
        "image": True,
        "text": features.text is not None,
        "text_each": features.each_text() is not None,
        "views": features.train_views is not None,
        "pre": features.projection is not None,
        "spatial_logits": all(split.spatial_logits is not None for split in images),
        "text_encoder": not isinstance(encoder, str),
        "text_blocks": not isinstance(encoder, str) and encoder.adapts,
        "model": not isinstance(model, str),
        "image_blocks": not isinstance(model, str) and not model.unfit,
    }
    return everywhere | {need for need, has in there.items() if has}


def reason(needs: Collection[str], features: Features, encoder: TextEncoder | str = "", model: Model | str = "") -> str:
    """Why a method with these needs can't be run on the features, and what can be done about it.

    `encoder` is the text tower, and `model` both of them, or why there is none.
    """
    missing = sorted(set(needs) - met(features, encoder, model))
    advice = dict(_NEVER) | dict(features.lacking)
    towers = {"text_encoder": encoder, "model": model}
    advice |= {need: why for need, why in towers.items() if isinstance(why, str) and why}
    advice |= {} if isinstance(model, str) else {"image_blocks": model.unfit}
    advice |= _FROM_ELSEWHERE if "features" in features.metadata.get("spec", {}) else _EXTRACTED
    remedies = "; ".join(dict.fromkeys(advice[need] for need in missing if need in advice))
    return f"needs {', '.join(missing)}, which these features don't have" + (f": {remedies}" if remedies else "")
