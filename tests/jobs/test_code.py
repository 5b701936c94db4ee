"""The hash of the code behind a result: the same as long as the code does the same, another as soon as it may not."""

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

from methods.contract import hookspecs
from methods.linear_probe import LinearProbe
from methods.logistic_regression import LogisticRegression
from workflow.lib.evaluation import engines
from workflow.lib.jobs import code, plugin_files

ROOT = Path(__file__).parents[2]
EVALUATE = ROOT / "workflow" / "scripts" / "evaluate.py"
PROJECT = {
    "methods/__init__.py": "from methods.base import Method\nfrom methods.rare import Rare\n",
    "methods/base.py": "class Method: ...\n",
    "methods/rare.py": "class Rare: ...\n",
    "methods/probe.py": "import json\nfrom methods import Method\n\ndef fit():\n    from workflow.lib import engine\n",
    "workflow/__init__.py": "",
    "workflow/lib/__init__.py": "",
    "workflow/lib/engine.py": "import workflow.lib.layers\n\nSTEP = 1\n",
    "workflow/lib/layers.py": "WIDTH = 2\n",
    "workflow/lib/other.py": "UNUSED = 3\n",
    "elsewhere.py": "from methods import Method\n",
}


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small project: a method that imports an engine when it is used, which imports its layers."""
    for name, text in PROJECT.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.setattr(code, "ROOT", tmp_path)
    return tmp_path


def hashed(*files: Path) -> str:
    """The hash as the next process sees it."""
    for known in (*vars(code).values(), plugin_files.installed):
        if hasattr(known, "cache_clear"):
            known.cache_clear()
    importlib.invalidate_caches()
    return code.code_hash(*files)


def imported(*files: Path, without: Sequence[str] = ()) -> set[str]:
    """All files of this project that files depend on, as paths below its root."""
    return {str(file.relative_to(ROOT)) for file in code._followed(files, [], without)}


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("methods/probe.py", "def fit", "# why\ndef fit"),
        ("methods/probe.py", "def fit():", "def fit( ) :"),
        ("workflow/lib/layers.py", "WIDTH = 2", "\n\nWIDTH=2  # columns"),
        ("workflow/lib/other.py", "UNUSED = 3", "UNUSED = 4"),
        ("methods/rare.py", "class Rare", "class Other"),  # a name that the probe doesn't take from the package
    ],
)
def test_what_changes_nothing_keeps_the_hash(project: Path, file: str, old: str, new: str) -> None:
    before = hashed(project / "methods/probe.py")
    text = (project / file).read_text()
    assert old in text
    (project / file).write_text(text.replace(old, new))
    assert hashed(project / "methods/probe.py") == before


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("methods/probe.py", "import json", "import csv"),
        ("methods/base.py", "class Method: ...", "class Method: name = ''"),  # through what the package hands on
        ("workflow/lib/engine.py", "STEP = 1", "STEP = 2"),  # imported inside a function
        ("workflow/lib/layers.py", "WIDTH = 2", "WIDTH = 3"),  # imported by what is imported
    ],
)
def test_what_may_change_a_result_changes_the_hash(project: Path, file: str, old: str, new: str) -> None:
    before = hashed(project / "methods/probe.py")
    text = (project / file).read_text()
    assert old in text
    (project / file).write_text(text.replace(old, new))
    assert hashed(project / "methods/probe.py") != before


def test_a_plugin_outside_the_project_depends_on_what_it_imports_from_it(project: Path) -> None:
    before = hashed(project / "elsewhere.py")
    (project / "methods/base.py").write_text("class Method: name = ''\n")
    assert hashed(project / "elsewhere.py") != before


def test_a_moved_plugin_is_the_same_plugin(project: Path) -> None:
    before = hashed(project / "elsewhere.py")
    (project / "elsewhere.py").rename(project / "moved.py")
    assert hashed(project / "moved.py") == before


def test_the_order_of_the_files_does_not_count_and_their_number_does(project: Path) -> None:
    one, two = project / "methods/probe.py", project / "elsewhere.py"
    assert hashed(one, two) == hashed(two, one) != hashed(one)


def test_imports_in_a_circle_end(project: Path) -> None:
    (project / "workflow/lib/layers.py").write_text("from workflow.lib import engine\n")
    assert len(hashed(project / "methods/probe.py")) == 16


# --- what a plugin's author has written besides ------------------------------------------------------------------

BESIDE = {
    "helper.py": "STEP = 1\n",
    "parts/__init__.py": "WIDTH = 2\n",
    "parts/deep.py": "from .near import X\n",
    "parts/near.py": "X = 3\n",
    "numpy.py": "NOT_THIS_ONE = 4\n",
    "unused.py": "UNUSED = 5\n",
    "mine.py": "import numpy, os\nimport helper\n\n\ndef fit():\n    from parts import deep\n",
}


def save(folder: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.mark.parametrize("name", BESIDE)
@pytest.mark.parametrize("package", [False, True])
def test_a_plugin_depends_on_the_siblings_that_it_imports(tmp_path: Path, name: str, package: bool) -> None:
    save(tmp_path, BESIDE | ({"__init__.py": ""} if package else {}))
    before = hashed(tmp_path / "mine.py")
    with (tmp_path / name).open("a") as file:
        file.write("EDITED = True\n")
    assert (hashed(tmp_path / "mine.py") == before) == (name in ("numpy.py", "unused.py"))


def test_a_moved_plugin_with_its_siblings_is_the_same_plugin(tmp_path: Path) -> None:
    first, second = save(tmp_path / "a", BESIDE), save(tmp_path / "b" / "c", BESIDE)
    assert hashed(first / "mine.py") == hashed(second / "mine.py")


def test_siblings_that_change_places_change_the_hash(tmp_path: Path) -> None:
    save(tmp_path, {"mine.py": "import one, two\n", "one.py": "X = 1\n", "two.py": "X = 2\n"})
    before = hashed(tmp_path / "mine.py")
    save(tmp_path, {"one.py": "X = 2\n", "two.py": "X = 1\n"})
    assert hashed(tmp_path / "mine.py") != before


def test_a_sibling_that_is_no_python_counts_as_it_is(tmp_path: Path) -> None:
    """One that is imported when it is needed may be broken while the study is read."""
    save(tmp_path, {"mine.py": "def fit():\n    import helper\n", "helper.py": "def (\n"})
    before = hashed(tmp_path / "mine.py")
    save(tmp_path, {"helper.py": "def [\n"})
    assert hashed(tmp_path / "mine.py") != before


def test_imports_that_lead_nowhere_end(tmp_path: Path) -> None:
    lines = "from ........................................ import x\nimport no_such_module.at_all\nfrom . import y\n"
    assert len(hashed(save(tmp_path, {"mine.py": lines}) / "mine.py")) == 16


SOLD = {
    "shop/__init__.py": "from .methods import register_methods\n",
    "shop/methods.py": "import json, numpy\nfrom shop.tools import thing\nfrom . import more\nimport shop_extra\n",
    "shop/tools.py": "def thing(): ...\n",
    "shop/more.py": "MORE = 1\n",
    "shop/unused.py": "UNUSED = 2\n",
    "shop_extra.py": "EXTRA = 3\n",
    "other.py": "OTHER = 4\n",
}


def install(folder: Path, listed: bool) -> Path:
    """A package with an entry point in a folder of installed packages, as pip leaves it."""
    site = save(folder / "site-packages", SOLD)
    metadata = {
        "METADATA": "Metadata-Version: 2.1\nName: shop\nVersion: 1.0\n",
        "entry_points.txt": f"[{code.GROUPS}.methods]\nshop = shop\n",
    }
    record = "".join(f"{name},,\n" for name in SOLD if name != "other.py")
    save(site / "shop-1.0.dist-info", metadata | ({"RECORD": record} if listed else {}))
    return site


@pytest.mark.parametrize("name", SOLD)
def test_a_package_that_registers_methods_is_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    site = install(tmp_path, listed=True)
    monkeypatch.syspath_prepend(site)
    user = save(tmp_path, {"mine.py": "from shop.methods import register_methods\n"}) / "mine.py"
    before = hashed(site / "shop" / "__init__.py"), hashed(user)
    with (site / name).open("a") as file:
        file.write("EDITED = True\n")
    after = hashed(site / "shop" / "__init__.py"), hashed(user)
    unused = name in ("shop/unused.py", "other.py")
    assert [a == b for a, b in zip(after, before, strict=True)] == [unused, unused]


def test_so_is_one_of_which_no_list_of_files_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site = install(tmp_path, listed=False)
    monkeypatch.syspath_prepend(site)
    before = hashed(site / "shop" / "__init__.py")
    save(site, {"shop/tools.py": "def another(): ...\n"})
    assert hashed(site / "shop" / "__init__.py") != before


def test_a_module_on_the_path_is_followed_and_a_library_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "lab", {"own/__init__.py": "", "own/tools.py": "A = 1\n"})
    save(tmp_path / "site-packages", {"library.py": "B = 1\n"})
    for folder in ("lab", "site-packages"):
        monkeypatch.syspath_prepend(tmp_path / folder)
    plugin = save(tmp_path, {"mine.py": "import library\nfrom own.tools import A\n"}) / "mine.py"
    before = hashed(plugin)
    save(tmp_path / "site-packages", {"library.py": "B = 2\n"})
    assert hashed(plugin) == before
    save(tmp_path / "lab", {"own/tools.py": "A = 2\n"})
    assert hashed(plugin) != before


def test_the_entry_points_are_those_of_the_registry() -> None:
    assert code.GROUPS == hookspecs.PROJECT


# --- this project's own code -------------------------------------------------------------------------------------


@pytest.mark.parametrize("script", ["dataset", "features", "gather"])
def test_no_extraction_depends_on_methods_or_on_what_everybody_shares(script: str) -> None:
    """It takes hours where a cell takes seconds, and how a message is worded changes no feature."""
    found = imported(ROOT / "workflow" / "scripts" / f"{script}.py", without=code.DECIDES_NO_FEATURE)
    shared = ("methods/", "workflow/lib/errors.py", "workflow/lib/files.py", "workflow/lib/jobs/")
    assert [name for name in found if name.startswith(shared)] == []
    assert "workflow/lib/data/index.py" in found


def test_a_closed_form_does_not_depend_on_the_engine_and_a_trained_head_does() -> None:
    engine = {"workflow/lib/engine/training.py", "workflow/lib/engine/layers.py"}
    assert not engine & imported(EVALUATE, ROOT / "methods" / "linear_probe.py")
    (module,) = engines.imports(LinearProbe)
    assert engine <= imported(EVALUATE, ROOT.joinpath(*module.split(".")).with_suffix(".py"))
    assert "workflow" not in [name.split(".")[0] for name in engines.imports(LogisticRegression)]
    hashes = {code.code_hash(EVALUATE, modules=names) for names in ([], ["sklearn.linear_model"], [module])}
    assert len(hashes) == 2


def test_a_cell_depends_on_everything_between_features_and_metrics_and_on_no_other_method() -> None:
    found = imported(EVALUATE, ROOT / "methods" / "zero_shot.py")
    needed = ("evaluation/cell", "evaluation/protocol", "evaluation/scoring", "evaluation/supports", "features/store")
    assert {f"workflow/lib/{name}.py" for name in needed} <= found
    unneeded = {"workflow/lib/reporting/tables.py", "workflow/lib/study/study.py", "methods/clip_adapter.py"}
    assert all((ROOT / name).is_file() and name not in found for name in unneeded)
