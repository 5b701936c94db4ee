"""A starter plugin: what `python -m methods new NAME` writes."""

import re
from pathlib import Path

PLUGIN = '''"""{title}: say in a line what it does."""

import numpy as np

from methods import Classifier, Method, Param, Params, Replica, Task, hookimpl


class {cls}(Method):
    """Cosine to the class texts, each moved towards the mean of its support: `s f (T + alpha M)^T`."""

    name = "{name}"
    paper = ""
    params = {{"alpha": Param(1.0, "weight of the class means", low=0)}}

    def needs(self, params: Params) -> frozenset[str]:
        return frozenset({{"image", "text"}})

    def classifier(self, task: Task, replica: Replica) -> Classifier:
        support = task.supports[replica.seed]
        means = support.one_hot(task.classes).T @ support.x
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        weights = task.class_text() + replica.params["alpha"] * means
        return lambda queries: task.logit_scale * queries @ weights.T


@hookimpl
def register_methods() -> list[type[Method]]:
    return [{cls}]
'''

TEST = '''"""The contract that every method keeps; add what is particular to {name}."""

from methods.tools.check import check
from methods.tools.registry import load


def test_contract() -> None:
    registry = load(["{path}"])
    assert not registry.broken, registry.broken
    check(registry.methods["{name}"].method)
'''


def write(name: str, folder: Path) -> tuple[Path, Path]:
    """Write `<name>.py` and `test_<name>.py`. Raises ValueError for a bad name, FileExistsError for one taken."""
    if not re.fullmatch("[a-z][a-z0-9_]*", name):
        raise ValueError(f"'{name}' is no name for a method; allowed: a-z, 0-9 and _, a letter first")
    plugin, test = folder / f"{name}.py", folder / f"test_{name}.py"
    for path in (plugin, test):
        if path.exists():
            raise FileExistsError(f"{path} exists already")
    words = name.split("_")
    title, cls = " ".join(words).capitalize(), "".join(word.capitalize() for word in words)
    folder.mkdir(parents=True, exist_ok=True)
    plugin.write_text(PLUGIN.format(title=title, cls=cls, name=name), encoding="utf-8")
    test.write_text(TEST.format(name=name, path=plugin.as_posix()), encoding="utf-8")
    return plugin, test
