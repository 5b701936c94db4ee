"""The direction of imports: scripts, the library, the contract of methods; and what parsing must not import."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIBRARY = sorted((ROOT / "workflow" / "lib").rglob("*.py"))
SCRIPTS = sorted((ROOT / "workflow" / "scripts").glob("*.py"))
# The one edge that runs backwards: a trained method hands its head to the engine, when it is fitted and not before.
ENGINE = {"workflow.lib.engine"}


def imports(file: Path, *, lazy: bool = True) -> set[str]:
    """The modules of this project that a file imports; `from package import module` counts as the module."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    found = set()
    for node in ast.walk(tree) if lazy else tree.body:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{file}: relative imports hide the direction"
            found |= {_module(str(node.module), alias.name) for alias in node.names}
    return {name for name in found if name.split(".")[0] in ("methods", "workflow", "tests", "benchmarks")}


def _module(module: str, name: str) -> str:
    folder = ROOT.joinpath(*module.split("."))
    return f"{module}.{name}" if (folder / f"{name}.py").is_file() or (folder / name).is_dir() else module


def _registers(file: Path) -> bool:
    """Whether a module has the hook: a method, not something that methods stand on."""
    return any(isinstance(node, ast.FunctionDef) and node.decorator_list for node in _hooks(file))


def _hooks(file: Path) -> list[ast.stmt]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return [node for node in tree.body if getattr(node, "name", "") == "register_methods"]


PACKAGE = ROOT / "methods"
METHODS = [path for path in sorted(PACKAGE.glob("*.py")) if _registers(path) and path.stem != "hookspecs"]
# What plugins import from the package, and what the built-in methods share: all that is no method and no tool.
SHARED = {name for file in [PACKAGE / "__init__.py", *METHODS] for name in imports(file) if name.startswith("methods.")}
CONTRACT = SHARED - {f"methods.{path.stem}" for path in METHODS}
CORE = [PACKAGE / f"{name.removeprefix('methods.')}.py" for name in sorted(CONTRACT)]


def named(file: Path) -> str:
    """A file below the root, for the names of tests."""
    return str(file.relative_to(ROOT))


def test_methods_and_their_contract_are_told_apart() -> None:
    assert {"methods.base", "methods.params", "methods.recipe", "methods.trained"} <= CONTRACT
    assert not {"methods.registry", "methods.check", "methods.__main__"} & CONTRACT
    assert {"zero_shot", "linear_probe"} <= {path.stem for path in METHODS}


@pytest.mark.parametrize("file", METHODS, ids=named)
def test_a_method_imports_the_contract_and_no_other_method(file: Path) -> None:
    assert {name for name in imports(file) if name.startswith("methods")} <= {"methods", *CONTRACT}


@pytest.mark.parametrize("file", METHODS, ids=named)
def test_a_method_can_t_reach_what_scores_it(file: Path) -> None:
    above = {"cell", "protocol", "scoring", "records", "results", "features", "study"}
    assert not imports(file) & {f"workflow.lib.{name}" for name in above}


@pytest.mark.parametrize("file", CORE, ids=named)
def test_the_contract_stands_on_itself(file: Path) -> None:
    assert imports(file) - ENGINE <= CONTRACT
    assert not imports(file, lazy=False) & ENGINE


@pytest.mark.parametrize("file", LIBRARY, ids=named)
def test_the_library_imports_itself_and_the_contract(file: Path) -> None:
    """And of the registry, the study alone: it is what looks names up."""
    allowed = CONTRACT | ({"methods.registry"} if file.stem == "study" else set())
    assert {name for name in imports(file) if not name.startswith("workflow.lib")} <= allowed


@pytest.mark.parametrize("file", SCRIPTS, ids=named)
def test_a_script_imports_the_library_and_no_other_script(file: Path) -> None:
    assert not {name for name in imports(file) if name.startswith(("workflow.scripts", "tests", "benchmarks"))}


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
        ("workflow.lib.cell", {"torch", "sklearn", "scipy", "torchvision", "open_clip", "torchmetrics"}),
        ("workflow.lib.records", {"torch", "sklearn", "scipy", "torchvision", "open_clip", "torchmetrics"}),
        ("workflow.scripts.tables", {"torch", "sklearn", "torchvision", "open_clip", "torchmetrics"}),
        ("workflow.lib.engine", {"sklearn", "torchvision", "open_clip", "torchmetrics"}),
    ],
)
def test_a_job_imports_no_more_than_it_uses(module: str, forbidden: set[str]) -> None:
    program = f"import sys, {module}; print(sorted({forbidden} & set(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
