"""The methods that are found, and that a broken plugin harms nobody else."""

import subprocess
import sys
from pathlib import Path

import pytest

from methods.contract.base import Method
from methods.tools import registry

ROOT = Path(__file__).parents[2]
FIRST_SET = {"zero_shot", "logistic_regression", "linear_probe", "attention_probe", "clip_adapter"}
HOOK = "\n@hookimpl\ndef register_methods():\n    return {returned}\n"
PLUGIN = "from methods import Method, Param, hookimpl\n\n\nclass Mine(Method):\n    {body}\n"


def plugin(folder: Path, body: str = 'name = "mine"', returned: str = "[Mine]", name: str = "mine") -> str:
    """The path of a plugin with one method."""
    path = folder / f"{name}.py"
    path.write_text(PLUGIN.format(body=body) + HOOK.format(returned=returned))
    return str(path)


# --- built-in methods --------------------------------------------------------------------------------------------


def test_every_method_of_the_first_set_is_there() -> None:
    assert set(registry.load().methods) >= FIRST_SET


def test_no_built_in_module_is_broken() -> None:
    assert [plugin for plugin in registry.load().broken if plugin.where == "built-in"] == []


def test_a_method_learns_from_images_unless_it_says_that_it_does_not() -> None:
    assert Method.learns
    known = registry.load().methods
    assert {name for name, one in known.items() if not one.method.learns} == {"zero_shot", "prompt_ensemble"}


@pytest.mark.parametrize("name", sorted(registry.load().methods))
def test_a_method_declares_what_tables_and_documents_need(name: str) -> None:
    entry = registry.load().methods[name]
    assert entry.method.name == name
    assert entry.method.summary().endswith(".")
    assert Path(entry.file).is_file()
    assert all(param.help and param.check(param.default) == param.default for param in entry.method.params.values())


def test_loading_the_methods_imports_no_heavy_library() -> None:
    """The Snakefile loads them whenever it is parsed, twice for each job of a cluster."""
    heavy = {"torch", "sklearn", "scipy", "torchvision", "open_clip", "torchmetrics", "pandas", "PIL"}
    program = f"import sys; from methods.tools.registry import load; load(); print(sorted({heavy} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


# --- plugins by path ---------------------------------------------------------------------------------------------


def test_a_file_adds_its_method_beside_the_built_in_ones(tmp_path: Path) -> None:
    path = plugin(tmp_path)
    found = registry.load([path])
    assert (found.methods["mine"].where, found.methods["mine"].file) == (path, path)
    assert set(found.methods) >= FIRST_SET
    assert issubclass(found.methods["mine"].method, Method)


def test_two_files_of_one_name_are_two_plugins(tmp_path: Path) -> None:
    paths = []
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        paths.append(plugin(tmp_path / folder, f'name = "from_{folder}"'))
    assert set(registry.load(paths).methods) >= {"from_a", "from_b"}


@pytest.mark.parametrize(
    ("body", "returned", "reason"),
    [
        ('name = "mine"', "1 / 0", "ZeroDivisionError: division by zero"),
        ('name = "mine"', "Mine", "TypeError: 'type' object is not iterable"),
        ('name = "mine"', "[Mine()]", "TypeError: register_methods must return subclasses of Method, found <"),
        (
            'name = "mine"',
            "[dict]",
            "TypeError: register_methods must return subclasses of Method, found <class 'dict'>",
        ),
        ("pass", "[Mine]", "ValueError: Mine.name must match [a-z0-9_]+, found ''"),
        ('name = "My Method"', "[Mine]", "ValueError: Mine.name must match [a-z0-9_]+, found 'My Method'"),
        ('name = "../x"', "[Mine]", "ValueError: Mine.name must match [a-z0-9_]+, found '../x'"),
        ("name = 3", "[Mine]", "ValueError: Mine.name must match [a-z0-9_]+, found 3"),
        ('name = "zero_shot"', "[Mine]", "ValueError: the name 'zero_shot' is taken by built-in"),
        ('name, params = "mine", {"k": 3}', "[Mine]", "TypeError: Mine.params['k'] must be a Param"),
        ("import nothing_of_the_kind", "[Mine]", "ModuleNotFoundError: No module named 'nothing_of_the_kind'"),
        ("import sys; sys.exit('no licence')", "[Mine]", "SystemExit: no licence"),
        ('raise RuntimeError("two\\n  lines")', "[Mine]", "RuntimeError: two lines"),
        ("def (", "[Mine]", "SyntaxError: invalid syntax (mine.py, line 5)"),
    ],
)
def test_a_broken_file_is_recorded_with_its_reason(tmp_path: Path, body: str, returned: str, reason: str) -> None:
    path = plugin(tmp_path, body, returned)
    found = registry.load([path])
    (broken,) = [plugin for plugin in found.broken if plugin.where == path]
    assert broken.name == "mine"
    assert broken.reason.startswith(reason)
    assert found.why("mine") == f"{path}: {broken.reason}"
    assert set(found.methods) == set(registry.load().methods)


def test_a_file_that_is_not_there_is_recorded() -> None:
    (broken,) = registry.load(["nowhere/mine.py"]).broken
    assert broken == registry.Broken("mine", "nowhere/mine.py", "FileNotFoundError: no such file: nowhere/mine.py")


def test_an_unknown_hook_is_recorded(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text("from methods import hookimpl\n\n\n@hookimpl\ndef register_method():\n    return []\n")
    (broken,) = registry.load([str(path)]).broken
    assert "register_method" in broken.reason


def test_after_a_broken_file_the_next_is_loaded(tmp_path: Path) -> None:
    broken = plugin(tmp_path, "import nothing_of_the_kind", name="broken")
    found = registry.load([broken, plugin(tmp_path)])
    assert "mine" in found.methods
    assert [plugin.name for plugin in found.broken] == ["broken"]


@pytest.mark.parametrize(
    "broken",
    [
        "from methods import hookimpl\n\n\n@hookimpl\ndef register_method():\n    return []\n",
        PLUGIN.format(body='name = "odd"') + HOOK.format(returned="1 / 0"),
    ],
    ids=["an unknown hook", "a hook that fails"],
)
def test_a_file_that_fails_once_it_is_registered_does_not_break_the_next(tmp_path: Path, broken: str) -> None:
    (tmp_path / "broken.py").write_text(broken)
    found = registry.load([str(tmp_path / "broken.py"), plugin(tmp_path)])
    assert "mine" in found.methods
    assert [one.name for one in found.broken] == ["broken"]


def test_of_two_files_with_one_method_name_the_first_counts(tmp_path: Path) -> None:
    first, second = plugin(tmp_path, name="first"), plugin(tmp_path, name="second")
    found = registry.load([first, second])
    assert found.methods["mine"].where == first
    assert found.why("second") == f"{second}: ValueError: the name 'mine' is taken by {first}"


def test_there_is_no_reason_for_what_was_never_there() -> None:
    assert registry.load().why("xgboost") == ""


# --- installed packages ------------------------------------------------------------------------------------------


def distribution(folder: Path, name: str, module: str) -> None:
    """An installed package, as pip leaves it: its metadata and its entry point."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[{registry.GROUP}]\n{name} = {module}\n")


def test_an_installed_package_adds_its_methods_by_an_entry_point(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plugin(tmp_path, 'name = "bought"', name="shop_of_methods")
    distribution(tmp_path, "shop", "shop_of_methods")
    distribution(tmp_path, "ruin", "module_that_is_not_there")
    monkeypatch.syspath_prepend(tmp_path)
    found = registry.load()
    assert found.methods["bought"].where == "package shop"
    assert found.why("ruin") == "package ruin: ModuleNotFoundError: No module named 'module_that_is_not_there'"
