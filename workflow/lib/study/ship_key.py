"""The key `ship` of a study file: what `snakemake ship` makes."""

from collections.abc import Mapping, Sequence
from typing import Any

from methods.contract.params import brief, nearest
from workflow.lib.study.located import LocatedError
from workflow.lib.study.methods import MethodSpec

DEFAULTS = {"labels": "train", "method": "", "variant": "", "shots": "", "onnx": "head"}


def wanted(given: Mapping[str, Any], specs: Mapping[str, MethodSpec], shots: Sequence[str]) -> dict[str, str]:
    """What is shipped: a row that the study has, or the one that its tables recommend."""
    asked = DEFAULTS | {key: str(value) for key, value in given.items()}
    label, variant = asked["method"], asked["variant"]
    if not label:
        if beside := next((key for key in ("variant", "shots") if key in given), ""):
            raise LocatedError(["ship", beside], "has no meaning without `method`, whose row it is of")
        return asked
    if label not in specs:
        message = f"the study has no method of this label; allowed: {', '.join(specs)}{nearest(label, specs)}"
        raise LocatedError(["ship", "method"], message)
    rows = specs[label].rows
    if variant not in rows and (variant or len(rows) > 1):
        where = ["ship", "variant" if variant else "method"]
        found = f"found {brief(variant)}," if variant else "it has several rows: name one by `variant`;"
        raise LocatedError(where, f"{found} allowed: {', '.join(map(repr, rows))}{nearest(variant, rows)}")
    if asked["shots"] and asked["shots"] not in shots:
        raise LocatedError(["ship", "shots"], f"found {asked['shots']}, allowed: {', '.join(shots)}")
    return asked | {"variant": variant or rows[0]}
