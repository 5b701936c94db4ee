"""The environment is given once, in pyproject.toml: the lock file and environment.yml follow it."""

import re
import shutil
import subprocess
import sysconfig
import tomllib
import venv
from importlib import import_module
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.studies import copy_code

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
CONDA = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
# What is locked: what the project needs and what its tests need. `parquet` is for those who have such lists.
WANTED = [Requirement(line) for line in (*PROJECT["dependencies"], *EXTRAS["onnx"], *EXTRAS["test"])]
# One entry of the lock file: a pin with an optional marker, then its hashes on lines of their own.
ENTRY = re.compile(
    r"^(?P<pin>[A-Za-z0-9][^\n]*?) \\\n(?P<hashes>(?: {4}--hash=sha256:[0-9a-f]{64}(?: \\)?\n)+)", re.MULTILINE
)
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
LOCKED = [Requirement(entry["pin"]) for entry in ENTRY.finditer(LOCK)]


def pinned(name: str) -> list[Version]:
    """The versions of a package in the lock file: several where they hang on the platform."""
    pins = [pin for pin in LOCKED if canonicalize_name(pin.name) == canonicalize_name(name)]
    return [Version(specifier.version) for pin in pins for specifier in pin.specifier]


def test_the_lock_file_consists_of_pins_with_hashes() -> None:
    """Whatever is neither a pin, a hash nor a comment would be installed unchecked."""
    rest = ENTRY.sub("", LOCK)
    assert [line for line in rest.splitlines() if line.strip() and not line.lstrip().startswith("#")] == []
    assert len(LOCKED) > len(WANTED)


def test_every_pin_is_one_exact_version() -> None:
    for pin in LOCKED:
        assert [specifier.operator for specifier in pin.specifier] == ["=="], pin
        assert not pin.url, pin


@pytest.mark.parametrize("wanted", WANTED, ids=lambda wanted: wanted.name)
def test_what_the_project_needs_is_locked_within_its_bounds(wanted: Requirement) -> None:
    versions = pinned(wanted.name)
    assert versions, f"{wanted.name} is not in requirements.lock: make lock"
    assert all(version in wanted.specifier for version in versions)


def test_conda_installs_the_lock_file_and_nothing_else() -> None:
    *packages, pip = CONDA["dependencies"]
    assert pip == {"pip": ["-r requirements.lock"]}
    assert {re.split("[<>=]", package)[0] for package in packages} == {"python", "pip", "make"}
    assert CONDA["channels"] == ["conda-forge"]


def test_the_bounds_on_python_agree() -> None:
    (python,) = [package for package in CONDA["dependencies"] if str(package).startswith("python")]
    assert python == f"python{PROJECT['requires-python']}"
    lowest = PROJECT["requires-python"].removeprefix(">=")
    makefile = (ROOT / "Makefile").read_text()
    assert f"--python-version {lowest} " in makefile
    assert f"sys.version_info < ({lowest.replace('.', ', ')})" in makefile
    assert f"py{lowest.replace('.', '')}" == _ruff()["target-version"]


def _ruff() -> dict[str, str]:
    return tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["ruff"]


def test_the_rules_use_this_environment() -> None:
    rules = ROOT / "workflow" / "rules"
    (path,) = re.findall(r'^ENVIRONMENT = "(.+?)"', (rules / "common.smk").read_text(), re.MULTILINE)
    assert (rules / path).resolve() == ROOT / "environment.yml"


def test_make_installs_nothing_without_its_hash() -> None:
    installs = [line for line in (ROOT / "Makefile").read_text().splitlines() if "pip install" in line]
    assert installs
    locks = ("-r requirements.lock", "-r tests/mutants.lock")
    assert all("--require-hashes" in line and line.endswith(locks) for line in installs)


def test_no_text_of_the_repository_names_a_package_registry() -> None:
    """Where packages come from is the business of whoever installs them: a mirror must be enough."""
    hosts = re.compile(
        r"\b(?:pypi\.(?:org|python\.org)|pythonhosted\.org|anaconda\.(?:org|com)|download\.pytorch\.org)"
    )
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("not a checkout")
    here = Path(__file__).relative_to(ROOT).as_posix()
    named = [
        name
        for name in listed.stdout.splitlines()
        if name != here and (ROOT / name).is_file() and hosts.search((ROOT / name).read_text(errors="ignore"))
    ]
    assert named == []


@pytest.mark.slow
def test_installed_to_be_edited_it_works_from_any_folder(tmp_path: Path) -> None:
    """In an environment of its own that borrows this one's packages."""
    checkout, folder = tmp_path / "checkout", tmp_path / "elsewhere"
    import_module("workflow.lib.engine.steps")  # compiled now, it need not be in the copy
    copy_code(ROOT, checkout)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, checkout)
    venv.create(tmp_path / "venv", with_pip=False)
    (site,) = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    (site / "borrowed.pth").write_text(f"{sysconfig.get_paths()['purelib']}\n")
    folder.mkdir()
    python = str(tmp_path / "venv" / "bin" / "python")
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}

    def run(*arguments: str) -> str:
        done = subprocess.run([python, *arguments], cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    pip = ("-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    run(*pip, "--no-deps", "--no-index", "--no-build-isolation", "-e", str(checkout))
    where = "import methods, workflow.lib.jobs; print(methods.__file__, workflow.lib.jobs.__file__)"
    assert [str(checkout) in path for path in run("-c", where).split()] == [True, True]
    assert "zero_shot" in run("-m", "methods", "list")
    run("-m", "methods", "new", "my_idea")
    assert "FAILED" not in run("-m", "methods", "check", "my_idea.py")
    for script in ("compare", "tables"):
        assert "usage:" in run("-m", f"workflow.scripts.{script}", "--help")
