"""Sources as plugins: the built-in ones, a file, an installed package; and that a broken one harms nobody else."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from methods.tools import registry as plugins_of_methods
from workflow.lib.data import datasets, registry
from workflow.lib.errors import UserError

ROOT = Path(__file__).parents[2]
PLUGIN = '''\
"""Squares in two colours."""

from workflow.lib.data import Index, Option, Source, hookimpl


def prepare(root, options, threads):
    from PIL import Image

    names = ("dark", "light")
    for label, name in enumerate(names):
        for split in ("train", "test"):
            Image.new("L", (8, 8), 200 * label + options["shade"]).save(root / f"{{split}}_{{name}}.png")
    return Index(names, root, {{s: [(f"{{s}}_{{n}}.png", i) for i, n in enumerate(names)] for s in ("train", "test")}})


SHADE = Option(int, "the darkest shade", default=3)


@hookimpl
def register_sources():
    return {returned}
'''
SQUARES = 'Source("{name}", "squares in two colours", ("a {{}} square.",), prepare, {{"shade": {option}}})'


def plugin(folder: Path, name: str = "squares", returned: str = "", option: str = "SHADE") -> str:
    """The path of a plugin with one source."""
    path = folder / f"{name}.py"
    path.write_text(PLUGIN.format(returned=returned or "[" + SQUARES.format(name=name, option=option) + "]"))
    return str(path)


def test_the_built_in_sources_come_through_the_hook() -> None:
    found = registry.load()
    assert set(found.entries) >= {"digits", "planes", "fgvc_aircraft", "folder", "features"}
    assert {entry.where for entry in found.entries.values()} == {"built-in"}
    assert found.broken == []


def test_loading_the_sources_imports_no_heavy_library() -> None:
    heavy = {"torch", "sklearn", "scipy", "torchvision", "pandas", "PIL"}
    program = (
        f"import sys; from workflow.lib.data.registry import load; load(); print(sorted({heavy} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_a_file_adds_its_source(tmp_path: Path) -> None:
    path = plugin(tmp_path)
    entry = registry.load([path]).entries["squares"]
    assert (entry.where, entry.file) == (path, path)
    index = datasets.prepare({"source": "squares"}, tmp_path / "images", threads=1, plugins=[path])
    assert index.classnames == ("dark", "light")
    assert all((index.root / file).is_file() for file, _ in index.splits["test"])


@pytest.mark.parametrize(
    ("returned", "option", "reason"),
    [
        ("1 / 0", "SHADE", "ZeroDivisionError"),
        ("[Source]", "SHADE", "TypeError: register_sources must return instances of Source, found <class"),
        ("", "3", "TypeError: source squares: options['shade'] must be an Option"),
        (
            '[Source("my own", "x", ("{}",), prepare)]',
            "",
            "ValueError: source.name must match [a-z0-9_]+, found 'my own'",
        ),
        ('[Source("digits", "x", ("{}",), prepare)]', "", "ValueError: the name 'digits' is taken by built-in"),
        ('[Source("squares", "x", (), prepare)]', "", "ValueError: source squares: templates must have a text with {}"),
    ],
)
def test_a_broken_file_is_recorded_and_harms_nobody_else(
    tmp_path: Path, returned: str, option: str, reason: str
) -> None:
    path = plugin(tmp_path, returned=returned, option=option)
    found = registry.load([path])
    (broken,) = found.broken
    assert broken.reason.startswith(reason)
    assert set(found.entries) == set(registry.load().entries)
    with pytest.raises(UserError, match="source: the plugin 'squares' can't be used"):
        datasets.resolve({"source": "squares"}, found)


def test_an_installed_package_adds_its_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin(tmp_path, "shop_of_squares")
    info = tmp_path / "shop-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: shop\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{registry.GROUP}]\na = shop_of_squares\nruin = not_there\n")
    monkeypatch.syspath_prepend(tmp_path)
    found = registry.load()
    assert found.entries["shop_of_squares"].where == "package shop"
    assert found.why("ruin") == "package shop: ModuleNotFoundError: No module named 'not_there'"


def sources(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "workflow.scripts.sources", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


def test_the_command_lists_and_describes(tmp_path: Path) -> None:
    path, broken = plugin(tmp_path), plugin(tmp_path, "broken", "1 / 0")
    listed = sources("list", "--plugin", path, "--plugin", broken).stdout
    assert "squares in two colours" in listed
    assert "fgvc_aircraft" in listed
    assert f"can't be used: broken ({broken}): ZeroDivisionError" in listed
    described = sources("describe", "squares", "--plugin", path).stdout
    assert "shade (whole number; default 3): the darkest shade" in described
    assert json.loads(sources("describe", "squares", "--json", "--plugin", path).stdout)["templates"] == [
        "a {} square."
    ]
    wrong = sources("describe", "squres", "--plugin", path)
    assert wrong.returncode == 1
    assert wrong.stderr.endswith("; did you mean 'squares'?\n")


def test_the_plugin_of_the_page_works_in_the_job_of_a_dataset(tmp_path: Path) -> None:
    page = (ROOT / "docs" / "data.md").read_text(encoding="utf-8")
    block = re.search(r"```python\n# by_prefix.py\n(.*?)```", page, re.DOTALL)
    assert block is not None
    (tmp_path / "by_prefix.py").write_text(block[1])
    (tmp_path / "photos").mkdir()
    for name in ("owl_1", "owl_2", "elk_1", "elk_2"):
        Image.new("L", (8, 8)).save(tmp_path / "photos" / f"{name}.png")
    spec = json.dumps({"source": "by_prefix", "path": str(tmp_path / "photos")})
    command = [sys.executable, "-m", "workflow.scripts.dataset", "--name", "owls", "--spec", spec]
    command += ["--root", str(tmp_path / "own"), "--out", str(tmp_path / "index.json")]
    command += ["--plugin", str(tmp_path / "by_prefix.py")]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    index = datasets.read_index(tmp_path / "index.json")
    assert index.classnames == ("elk", "owl")
    assert index.splits == {"train": [("elk_1.png", 0), ("owl_1.png", 1)], "test": [("elk_2.png", 0), ("owl_2.png", 1)]}


def test_one_file_may_add_a_source_and_a_method_and_import_what_lies_beside_it(tmp_path: Path) -> None:
    (tmp_path / "helper.py").write_text("NAME = 'mine'\n")
    (tmp_path / "mine.py").write_text(
        "from dataclasses import replace\n"
        "from helper import NAME\n"
        "from methods import Method, hookimpl\n"
        "from workflow.lib.data.sources import digits\n"
        "class Mine(Method):\n    name = NAME\n"
        "@hookimpl\ndef register_methods():\n    return [Mine]\n"
        "@hookimpl\ndef register_sources():\n    return [replace(digits.SOURCE, name=NAME)]\n"
    )
    sources, methods = registry.load([str(tmp_path / "mine.py")]), plugins_of_methods.load([str(tmp_path / "mine.py")])
    assert (sources.broken, methods.broken) == ([], [])
    assert "mine" in sources.entries
    assert "mine" in methods.methods
