"""What methods need and what features have: whether a method can run on them, and the reason where it can't."""

from collections.abc import Collection

from workflow.lib.features.store import Features

_FROM_ELSEWHERE = {"text": "put text_x (K, D) into their npz file", "views": "put train_views (N, V, D) there"}
_EXTRACTED = {"views": "set 'views' in the dataset's entry"}
_NEVER = {
    "spatial": "they are one pooled embedding of each image",
    "text_encoder": "their texts are already encoded",
    "model": "a method is given features and no model",
}


def met(features: Features) -> frozenset[str]:
    """The needs that these features meet."""
    there = {"image": True, "text": features.text is not None, "views": features.train_views is not None}
    return frozenset(need for need, has in there.items() if has)


def reason(needs: Collection[str], features: Features) -> str:
    """Why a method with these needs can't be run on the features, and what can be done about it."""
    missing = sorted(set(needs) - met(features))
    advice = _NEVER | (_FROM_ELSEWHERE if "features" in features.metadata.get("spec", {}) else _EXTRACTED)
    remedies = "; ".join(advice[need] for need in missing if need in advice)
    return f"needs {', '.join(missing)}, which these features don't have" + (f": {remedies}" if remedies else "")
