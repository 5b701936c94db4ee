"""`python -m methods list | describe | check | new`, as a user calls it."""

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def methods(*arguments: str, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "methods", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=folder, env=environment, check=False)


def test_list_shows_every_method_and_why_a_plugin_is_missing(tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("import no_such_module\n")
    result = methods("list", "--plugin", str(broken))
    assert result.returncode == 0
    for name in ("zero_shot", "logistic_regression", "linear_probe", "attention_probe", "clip_adapter"):
        assert f"\n{name} " in result.stdout
    assert f"can't be used: broken ({broken}): ModuleNotFoundError: No module named 'no_such_module'" in result.stdout


def test_list_as_json(tmp_path: Path) -> None:
    listed = json.loads(methods("list", "--json").stdout)
    assert listed["broken"] == []
    assert {"name": "zero_shot", "needs": "image, text", "runs on": "CPU"}.items() <= listed["methods"][-1].items()


def test_describe_tells_parameters_and_paper() -> None:
    text = methods("describe", "clip_adapter").stdout
    assert "paper:   arXiv:2110.04544" in text
    assert "ratio = 0.2: share r of the adapted embedding in the mixture (a number ≥ 0 and ≤ 1)" in text
    assert "\nNot done of the official recipe: a fresh crop of each image in every epoch" in text
    described = json.loads(methods("describe", "clip_adapter", "--json").stdout)
    assert described["parameters"][0]["name"] == "ratio"


def test_describe_of_an_unknown_name_is_one_line_with_the_nearest() -> None:
    result = methods("describe", "clip_adaptor")
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert result.stderr.startswith("error: no method 'clip_adaptor'; there are ")
    assert result.stderr.endswith("did you mean 'clip_adapter'?\n")


def test_new_writes_a_plugin_that_passes_its_own_test_and_the_check(tmp_path: Path) -> None:
    assert methods("new", "my_idea", folder=tmp_path).returncode == 0
    checked = methods("check", "my_idea.py", folder=tmp_path)
    assert checked.returncode == 0, checked.stdout
    assert "FAILED" not in checked.stdout
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"}
    command = [sys.executable, "-m", "pytest", "-q", "-c", "/dev/null", "test_my_idea.py"]
    tested = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert "1 passed" in tested.stdout


def test_new_overwrites_nothing_and_refuses_bad_names(tmp_path: Path) -> None:
    (tmp_path / "taken.py").write_text("mine")
    assert "error: taken.py exists already" in methods("new", "taken", folder=tmp_path).stderr
    assert (tmp_path / "taken.py").read_text() == "mine"
    assert "error: 'Not-a-name' is no name for a method" in methods("new", "Not-a-name", folder=tmp_path).stderr
    assert not (tmp_path / "test_taken.py").exists()


def test_check_fails_with_the_property_and_status_1(tmp_path: Path) -> None:
    methods("new", "worse", folder=tmp_path)
    plugin = tmp_path / "worse.py"
    plugin.write_text(plugin.read_text().replace("queries @ weights.T", "queries @ -weights.T"))
    result = methods("check", "worse.py", folder=tmp_path)
    assert result.returncode == 1
    assert "FAILED  better_than_chance: expected an accuracy of at least 0.40" in result.stdout
    assert json.loads(methods("check", "worse.py", "--json", folder=tmp_path).stdout)["worse"][-1]["failure"]
