"""The code blocks of the documentation run as they stand, its links lead somewhere, and its tables leave out no key."""

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from methods import Recipe, Replica, Support, Task
from methods.tools.check import check
from methods.tools.page import markdown
from methods.tools.registry import load
from workflow.lib.data import registry as sources
from workflow.lib.encoding import backbones
from workflow.lib.study.study import load as load_study

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGE = ROOT / "docs" / "adding_a_method.md"
STUDY_PAGE = ROOT / "docs" / "study_file.md"
PAGES = [README, *sorted((ROOT / "docs").glob("*.md"))]
SCHEMA = ROOT / "workflow" / "schemas" / "config.schema.yaml"


def blocks(page: Path, language: str) -> dict[str, str]:
    """The blocks of a language that begin with the name of their file, by that name."""
    found = re.findall(rf"```{language}\n# (\S+)\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    return dict(found)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    for page in (PAGE, README, STUDY_PAGE):
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
    assert sorted(mine) == [
        "class_means",
        "focal_probe",
        "moved_text",
        "nearest_neighbours",
        "norms",
        "prompt_learner",
        "residual_probe",
        "tuned_text",
    ]
    for entry in mine.values():
        check(entry.method)


@pytest.mark.parametrize(("kind", "name"), [(Task, "task"), (Replica, "replica"), (Support, "support")])
def test_the_page_leaves_out_no_member_of_what_a_method_gets(kind: type, name: str) -> None:
    text = PAGE.read_text(encoding="utf-8")
    members = {field.name for field in fields(kind)} | {member for member in vars(kind) if not member.startswith("_")}
    supports = re.findall(r"`task.supports\[seed\](?:.views)?` \|.*", text)
    for member in members:
        assert f"`{name}.{member}" in text or any(member in line for line in supports), member


def test_the_page_leaves_out_no_key_of_a_recipe() -> None:
    table = PAGE.read_text(encoding="utf-8").split("## Loss and recipe")[1].split("```")[0]
    told = {"optimizer", "lr", "weight_decay", "epochs", "batch_size"}  # the first ones, by place
    for field in fields(Recipe):
        assert field.name in told or field.name in table, field.name


def test_methods_page_is_what_the_declarations_say() -> None:
    page = (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    assert page == markdown(load()) + "\n", "run `make docs`"


def test_the_study_of_the_page_is_accepted(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(written)
    study = load_study(yaml.safe_load((written / "mine.yaml").read_text()), ["mine.yaml"])
    assert [name for name, _ in study.methods["moved_text"].variants] == ["alpha=0.5", "alpha=1", "alpha=2"]


def test_the_study_of_the_page_on_the_protocol_has_a_row_for_each_sweep(tmp_path: Path) -> None:
    text = blocks(ROOT / "docs" / "protocol.md", "yaml")["tuned.yaml"]
    study = yaml.safe_load(text)
    for key in ("model", "weights"):
        study["backbones"]["nano"][key] = str(ROOT / study["backbones"]["nano"][key])
    rows = {label: spec.rows for label, spec in load_study(study, []).methods.items()}
    assert rows == {"clip_adapter": ["ratio tuned"], "logistic_regression": ["C tuned"]}
    for label, (row,) in rows.items():
        assert f"# {label} ({row})\n" in text


@pytest.mark.parametrize("name", ["photos.yaml", "example.yaml"])
def test_the_studies_of_the_readme_and_of_the_page_on_study_files_are_accepted(written: Path, name: str) -> None:
    study = load_study(yaml.safe_load((written / name).read_text(encoding="utf-8")), [written / name])
    assert [variant for variant, _ in study.methods["clip_adapter"].variants] == ["ratio=0.1", "ratio=0.2", "ratio=0.4"]


def test_the_lines_of_the_readme_add_its_plugin_to_its_study(written: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(written)
    text = README.read_text(encoding="utf-8")
    (plugins,), (method,) = (re.findall(f"`({key}: .*?)`", text) for key in ("plugins", "class_means"))
    study = yaml.safe_load((written / "photos.yaml").read_text(encoding="utf-8")) | yaml.safe_load(plugins)
    study["methods"] |= yaml.safe_load(method)
    variants = load_study(study, ["photos.yaml"]).methods["class_means"].variants
    assert [name for name, _ in variants] == ["alpha=0.5", "alpha=1", "alpha=2"]


def rows(page: Path) -> list[tuple[str, str]]:
    """The rows of a page's tables that begin with a key: the key, and the rest without spaces."""
    found = re.findall(r"^\| `(\w+)` \|(.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return [(key, rest.replace(" ", "")) for key, rest in found]


def test_the_page_on_study_files_has_every_key_with_its_limits() -> None:
    keys = yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))["properties"]
    of_datasets = keys["datasets"]["additionalProperties"]["properties"]
    of_backbones: dict[str, Any] = {key: {} for key in backbones.KEYS}
    known = of_backbones | of_datasets | keys["protocol"]["properties"] | keys
    for key, shape in known.items():
        texts = [text for name, text in rows(STUDY_PAGE) if name == key]
        assert texts, key
        for limit in ("minimum", "maximum"):
            assert any(str(shape.get(limit, "")) in text for text in texts), (key, limit)


def test_the_page_on_study_files_has_every_source_and_its_keys() -> None:
    texts = dict(rows(STUDY_PAGE))
    for name, entry in sources.load().entries.items():
        assert all(f"`{option}`" in texts[name] for option in entry.thing.options), name


def test_the_page_on_study_files_has_the_defaults() -> None:
    nano = ROOT / "workflow" / "assets" / "nano"
    least = {
        "study": "least",
        "datasets": {"digits": {"source": "digits"}},
        "backbones": {"nano": {"model": str(nano / "model.json"), "weights": str(nano / "model.safetensors")}},
        "shots": [1],
        "methods": {"zero_shot": None},
    }
    study, texts = load_study(least, []), dict(rows(STUDY_PAGE))
    folders = ",".join(f"{key}:{path}" for key, path in study.folders.items())
    assert texts["folders"].startswith(f"`{{{folders}}}`|")
    assert texts["protocol"].startswith(f"`{{report:{study.report},select:{study.select}}}`|")
    for key, value in (("seeds", study.seeds), ("jobs_per_gpu", study.jobs_per_gpu), ("plugins", study.plugins)):
        assert texts[key].startswith(f"`{value}`|"), key
    assert study.cell_minutes == 0
    assert texts["cell_minutes"].startswith("nolimit|")


def anchors(page: Path) -> set[str]:
    """What a link to a heading of the page may end with, as GitHub makes it."""
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_and_paths_of_the_code_lead_somewhere(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        if "://" not in target:
            file = page.parent / path if path else page
            assert file.exists(), target
            assert not anchor or anchor in anchors(file), target
    for path in re.findall(r"`((?:benchmarks|methods|studies|tests|workflow)/[\w/.-]+)`", text):
        assert (ROOT / path).exists(), path


def test_every_page_is_in_the_index_and_in_the_readme_which_is_short() -> None:
    readme = README.read_text(encoding="utf-8")
    index = (ROOT / "docs" / "README.md").read_text(encoding="utf-8")
    for page in (ROOT / "docs").glob("*.md"):
        assert f"(docs/{page.name})" in readme
        assert f"]({page.name})" in index or page.name == "README.md"
    assert len(readme.splitlines()) <= 150


@pytest.mark.slow
def test_the_study_of_the_page_runs(written: Path) -> None:
    for name in ("workflow", "methods"):
        (written / name).symlink_to(ROOT / name)
    command = [str(Path(sys.executable).parent / "snakemake"), "--snakefile", str(ROOT / "Snakefile"), "--cores", "2"]
    study = (written / "mine.yaml").read_text(encoding="utf-8")
    assert "\nshots: [1, 5]\n" in study
    (written / "mine.yaml").write_text(study.replace("shots: [1, 5]", "shots: [1]\nseeds: 1"), encoding="utf-8")
    run = [*command, "tables", "--configfile", "mine.yaml"]
    result = subprocess.run(run, cwd=written, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    table = (written / "results" / "mine" / "tables" / "digits.nano.md").read_text(encoding="utf-8")
    own = (
        "moved_text (alpha=2)",
        "nearest_neighbours",
        "residual_probe (gain=5)",
        "focal_probe (dropout=0.5)",
        "prompt_learner",
        "tuned_text",
    )
    for row in ("zero_shot", "tip_adapter", *own):
        assert f"| {row} " in table
