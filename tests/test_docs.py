"""The code blocks of the documentation run as they stand."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from methods.check import check
from methods.page import markdown
from methods.registry import load
from workflow.lib.study import load as load_study

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "adding_a_method.md"


def blocks(page: Path, language: str) -> dict[str, str]:
    """The blocks of a language that begin with the name of their file, by that name."""
    found = re.findall(rf"```{language}\n# (\S+)\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    return dict(found)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    for page in (PAGE, ROOT / "README.md"):
        for name, text in (blocks(page, "python") | blocks(page, "yaml")).items():
            (tmp_path / name).write_text(text, encoding="utf-8")
    return tmp_path


def test_the_gradient_that_the_page_writes_out_is_that_of_its_plugin(written: Path) -> None:
    (by_hand,) = re.findall(r"```python\n(    def vjp.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    plugin = (written / "residual_probe.py").read_text(encoding="utf-8")
    plugin = plugin.replace("from methods import ", "from methods import Pullback, named, ")
    path = written / "by_hand.py"
    path.write_text(plugin.replace("\n\n\n@hookimpl", f"\n\n{by_hand}\n\n@hookimpl"), encoding="utf-8")
    method = load([str(path)]).methods["residual_probe"].method
    assert "vjp" in vars(method)
    check(method)


def test_the_plugins_of_both_pages_keep_the_contract(written: Path) -> None:
    files = sorted(str(path) for path in written.glob("*.py"))
    registry = load(files)
    assert registry.broken == []
    mine = {name: entry for name, entry in registry.methods.items() if entry.where in files}
    assert sorted(mine) == ["moved_text", "nearest_mean", "nearest_neighbours", "residual_probe"]
    for entry in mine.values():
        check(entry.method)


def test_methods_page_is_what_the_declarations_say() -> None:
    page = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    assert page == markdown(load()) + "\n", "run `make docs`"


def test_the_study_of_the_page_is_accepted(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(written)
    study = load_study(yaml.safe_load((written / "mine.yaml").read_text()), ["mine.yaml"])
    assert [name for name, _ in study.methods["moved_text"].variants] == ["alpha=0.5", "alpha=1", "alpha=2"]


@pytest.mark.slow
def test_the_study_of_the_page_runs(written: Path) -> None:
    for name in ("workflow", "methods"):
        (written / name).symlink_to(ROOT / name)
    command = [str(Path(sys.executable).parent / "snakemake"), "--snakefile", str(ROOT / "Snakefile"), "--cores", "2"]
    run = [*command, "--configfile", "mine.yaml"]
    result = subprocess.run(run, cwd=written, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    table = (written / "results" / "mine" / "tables" / "digits.nano.md").read_text(encoding="utf-8")
    for row in ("zero_shot", "tip_adapter", "moved_text (alpha=2)", "nearest_neighbours", "residual_probe (gain=5)"):
        assert f"| {row} " in table
