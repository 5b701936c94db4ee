"""The file of a shipped classifier: arrays, what to do with them, and everything that a user of it must know.

It is safetensors: the arrays of a program (`methods.contract.program`), those that it changes in the backbone's image
tower, if there are any (`workflow.lib.shipping.tower`), and as metadata one JSON under `classifier`. The JSON holds a
SHA-256 of itself and of the arrays. Nothing in it is run but the operations of a program.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from methods.contract.program import Numbers, Program
from workflow.lib import files
from workflow.lib.errors import UserError, one_line
from workflow.lib.shipping import tower
from workflow.lib.shipping.names import CLASSIFIER

# Who knows the first alone would leave the image tower as it is: with a changed one the file has the second.
PLAIN, WITH_TOWER = 1, 2
_KEY = "classifier"
REMEDY = "ship it again, or copy it again from where it came"
# What the JSON must hold, and of which type.
_SHAPE: Mapping[str, type] = {
    "classes": list,
    "prompts": list,
    "backbone": dict,
    "preprocessing": dict,
    "method": dict,
    "program": dict,
    "outlier": dict,
    "temperature": float,
    "thresholds": dict,
    "expected": list,
    "trained_on": dict,
    "provenance": dict,
}


@dataclass(frozen=True)
class Classifier:
    """A program from pooled features, as the backbone gives them, to logits; and what the file says of it."""

    program: Program
    outlier: Program  # to the distance from the images that were learned from, (M, 1)
    about: Mapping[str, Any]  # the JSON, but for the programs, the tower and the checksum
    where: str = field(default=CLASSIFIER, compare=False)  # the file that it was read from

    @property
    def classes(self) -> list[str]:
        """The class names `(K)`, in the order of the logits."""
        return list(self.about["classes"])

    def probabilities(self, x: Numbers) -> Numbers:
        """`(M, K)` float64 of pooled features `(M, D)`: the softmax of the logits over the temperature."""
        logits = self.program(x).astype(np.float64) / self.about["temperature"]
        powers = np.exp(logits - logits.max(1, keepdims=True))
        return np.asarray(powers / powers.sum(1, keepdims=True))

    def distances(self, x: Numbers) -> Numbers:
        """`(M,)`: how far features `(M, D)` are from the nearest image that was learned from, 1 less the cosine."""
        return np.asarray(self.outlier(x)[:, 0])


def write(path: str | os.PathLike[str], classifier: Classifier) -> None:
    """Write the file atomically; equal classifiers give equal bytes."""
    parts = {"program": classifier.program, "outlier": classifier.outlier}
    changes = classifier.program.tower
    about = {**classifier.about, "format": WITH_TOWER if changes else PLAIN}
    arrays: dict[str, Numbers] = tower.named(changes)
    about |= {"tower": tower.told(changes)} if changes else {}
    for part, program in parts.items():
        named = renamed(program, part)
        about[part] = told_program(named)
        arrays |= {name: np.ascontiguousarray(array) for name, array in named.arrays.items()}
    text = json.dumps({**about, "sha256": checksum(about, arrays)}, sort_keys=True, allow_nan=False)
    with files.atomic(path) as temporary:
        temporary.write_bytes(save(arrays, {_KEY: text}))


def renamed(program: Program, part: str) -> Program:
    """The program with its arrays under other names: those of two programs lie in one file."""
    own = {name: f"{part}.{name.removeprefix(f'{part}.')}" for name in program.arrays}
    steps = [
        (name, operation, tuple(own.get(one, one) if isinstance(one, str) else one for one in of))
        for name, operation, of in program.steps
    ]
    return replace(program, steps=steps, arrays={own[name]: array for name, array in program.arrays.items()})


def told_program(program: Program) -> dict[str, Any]:
    """The program but for its arrays, as JSON has it."""
    steps = [[name, operation, *operands] for name, operation, operands in program.steps]
    return {"steps": steps, "output": program.output}


def read(path: str | os.PathLike[str]) -> Classifier:
    """Read a file, or that in a shipped folder.

    Raises `UserError` where it is missing, no classifier, cut short, damaged, or changed since it was written.
    """
    place = Path(path) / CLASSIFIER if Path(path).is_dir() else Path(path)
    if not place.is_file():
        raise UserError(
            f"{place}: no such classifier; allowed: a folder that `snakemake ship` made, or its {CLASSIFIER}"
        )
    try:
        with safe_open(place, framework="numpy") as file:
            about = json.loads((file.metadata() or {}).get(_KEY, "null"))
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError, RecursionError) as error:
        raise UserError(f"{place}: not a safetensors file, or cut short ({one_line(error)}); {REMEDY}") from error
    if not isinstance(about, dict) or about.get("format") not in (PLAIN, WITH_TOWER):
        raise UserError(f"{place}: not a shipped classifier of format {PLAIN} or {WITH_TOWER}; {REMEDY}")
    if about.pop("sha256", "") != checksum(about, arrays):
        raise UserError(f"{place}: changed or damaged: its content does not match its checksum; {REMEDY}")
    return _checked(about, arrays, place)


def checksum(about: Mapping[str, Any], arrays: Mapping[str, Numbers]) -> str:
    """The SHA-256 of the JSON and of every array with its name, type and shape."""
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name} {array.dtype} {list(array.shape)}".encode())
        digest.update(array.tobytes())
    return digest.hexdigest()


def _checked(about: dict[str, Any], arrays: Mapping[str, Numbers], place: Path) -> Classifier:
    """What was read, if it is whole: a checksum can be made anew by whoever changes a file."""
    shape = {**_SHAPE, **({"tower": dict} if about["format"] == WITH_TOWER else {})}
    wrong = [key for key, kind in shape.items() if not isinstance(about.get(key), kind)]
    if wrong:
        raise UserError(f"{place}: {wrong[0]}: missing, or not of its kind; {REMEDY}")
    try:
        program, outlier = (_program(about.pop(part), arrays) for part in ("program", "outlier"))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UserError(f"{place}: program: {one_line(error)}; {REMEDY}") from error
    try:
        changes = tower.found(about.pop("tower", tower.told(program.tower)), arrays)
    except (KeyError, TypeError, ValueError) as error:
        raise UserError(f"{place}: tower: {one_line(error)}; {REMEDY}") from error
    return Classifier(replace(program, tower=changes), outlier, about, str(place))


def _program(told: Mapping[str, Any], arrays: Mapping[str, Numbers]) -> Program:
    steps = [(name, operation, tuple(of)) for name, operation, *of in told["steps"]]
    own = {one for _, _, of in steps for one in of if isinstance(one, str)}
    program = Program(steps, {name: arrays[name] for name in own & arrays.keys()}, told["output"])
    program.check()
    return program
