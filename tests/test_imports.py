"""The direction of imports: rooms and their doors, no circle; and what parsing must not import."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests import doors
from tests.doors import ROOT, Import

CODE = doors.files("methods", "workflow")
METHODS = [path for path in doors.files("methods") if doors.room_of(doors.module_of(path)) == "methods"]


def named(file: Path) -> str:
    """A file below the root, for the names of tests."""
    return str(file.relative_to(ROOT))


@pytest.mark.parametrize("file", CODE, ids=named)
def test_imports_go_through_the_doors(file: Path) -> None:
    assert doors.violations(doors.imports(file), doors.doors()) == []


def test_an_import_through_no_door_is_named_with_its_file_line_and_rule() -> None:
    wrong = Import(ROOT / "workflow" / "lib" / "engine" / "heads.py", 12, "workflow.lib.evaluation.cell")
    (line,) = doors.violations([wrong], doors.doors())
    assert line == (
        "workflow/lib/engine/heads.py:12: imports workflow.lib.evaluation.cell (evaluation); "
        "engine may import methods.contract, errors, files, jobs"
    )


def test_every_room_has_its_line_and_every_door_leads_to_a_room() -> None:
    allowed = doors.doors()
    rooms = {doors.room_of(doors.module_of(file)) for file in CODE} - {"lib", "workflow"}
    assert rooms == set(allowed)
    assert {there for here in allowed.values() for there in here} <= rooms


def test_a_door_is_used() -> None:
    """By an import; or, to the engine and the towers, by a name that the evaluator looks up when it needs it."""
    by_name = {("evaluation", "engine"), ("evaluation", "towers")}
    used = {
        (doors.room_of(doors.module_of(file)), doors.room_of(one.module))
        for file in CODE
        for one in doors.imports(file)
    } | by_name
    everybody = {"methods.contract", "errors", "files", "jobs"}
    unused = {(here, there) for here, allowed in doors.doors().items() for there in allowed} - used
    assert {door for door in unused if door[1] not in everybody} == set()


def test_no_circle_of_rooms() -> None:
    assert doors.circles(doors.doors()) == []


def test_no_circle_of_modules() -> None:
    """Not inside a function and not under TYPE_CHECKING either."""
    edges = {doors.module_of(file): [one.module for one in doors.imports(file)] for file in CODE}
    assert doors.circles(edges) == []
    assert doors.circles({"a": ["b"], "b": ["c"], "c": ["b"]}) == ["b", "c"]


@pytest.mark.parametrize("file", METHODS, ids=named)
def test_a_method_imports_the_contract_and_no_other_method(file: Path) -> None:
    if file.stem in ("__init__", "__main__"):
        return
    assert {doors.room_of(one.module) for one in doors.imports(file)} <= {"methods", "methods.contract"}
    assert {one.module for one in doors.imports(file) if doors.room_of(one.module) == "methods"} <= {"methods"}


def test_the_engine_is_read_without_methods() -> None:
    """What it needs of a head is a protocol of its own."""
    contract = {one.module for file in doors.files("workflow/lib/engine") for one in doors.imports(file)}
    assert "methods.contract.trained" not in contract


def test_importing_what_the_snakefile_imports_loads_no_heavy_library() -> None:
    """It is parsed at every start, and twice for each job of a cluster."""
    rules = [ROOT / "Snakefile", *sorted((ROOT / "workflow" / "rules").glob("*.smk"))]
    lines = [line for rule in rules for line in rule.read_text().splitlines() if line.startswith("from workflow.")]
    assert lines
    heavy = {"torch", "sklearn", "scipy", "torchvision", "open_clip", "torchmetrics", "pandas", "PIL", "safetensors"}
    program = "\n".join([*lines, "import sys", f"print(sorted({heavy} & set(sys.modules)))"])
    found = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("module", "forbidden"),
    [
        ("workflow.lib.evaluation.cell", {"torch", "sklearn", "scipy", "torchvision", "open_clip", "torchmetrics"}),
        ("workflow.lib.evaluation.records", {"torch", "sklearn", "scipy", "torchvision", "open_clip", "torchmetrics"}),
        ("workflow.scripts.tables", {"torch", "sklearn", "torchvision", "open_clip", "torchmetrics"}),
        ("workflow.lib.engine.training", {"sklearn", "torchvision", "open_clip", "torchmetrics"}),
    ],
)
def test_a_job_imports_no_more_than_it_uses(module: str, forbidden: set[str]) -> None:
    program = f"import sys, {module}; print(sorted({forbidden} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_the_page_shows_the_rooms_as_they_are() -> None:
    assert doors.PAGE.read_text(encoding="utf-8") == doors.page(), "run `make docs`"
