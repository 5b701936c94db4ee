"""The hash of the code behind a result: the same as long as the code does the same, another as soon as it may not."""

from pathlib import Path

import pytest

from methods.linear_probe import LinearProbe
from methods.logistic_regression import LogisticRegression
from workflow.lib.evaluation import engines
from workflow.lib.jobs import code

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
    code._parse.cache_clear()
    return code.code_hash(*files)


def imported(*files: Path) -> set[str]:
    """All files of this project that files depend on, as paths below its root."""
    seen: set[Path] = set()
    pending = list(files)
    while pending:
        file = pending.pop()
        if file not in seen:
            seen.add(file)
            pending += code._imports(file)
    return {str(file.relative_to(ROOT)) for file in seen}


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
