"""`python -m methods list | describe | check | new`, as a user calls it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from methods.__main__ import main
from methods.tools import apart
from methods.tools.check import Verdict
from workflow.lib.jobs import passed

ROOT = Path(__file__).parents[2]


def methods(*arguments: str, folder: Path = ROOT, cache: str = "/dev/null") -> subprocess.CompletedProcess[str]:
    environment = {"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin", "OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": cache}
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
    result = methods("list", "--json")
    assert result.returncode == 0
    listed = json.loads(result.stdout)
    assert listed["broken"] == []
    assert {"name": "zero_shot", "needs": "image, text", "runs on": "CPU"}.items() <= listed["methods"][-1].items()


def test_describe_tells_parameters_and_paper() -> None:
    text = methods("describe", "clip_adapter").stdout
    assert "paper:   arXiv:2110.04544" in text
    assert "ratio = 0.2: share r of the adapted embedding in the mixture (a number ≥ 0 and ≤ 1)" in text
    assert "\n- Known to fail: Where the text is poor" in text
    assert "\nNot done of the official recipe: a fresh crop of each image in every epoch" in text
    described = json.loads(methods("describe", "clip_adapter", "--json").stdout)
    assert described["parameters"][0]["name"] == "ratio"


def test_describe_of_an_unknown_name_is_one_line_with_the_nearest() -> None:
    result = methods("describe", "clip_adaptor")
    assert (result.returncode, result.stderr.count("\n")) == (1, 1)
    assert result.stderr.startswith("error: no method 'clip_adaptor'; there are ")
    assert result.stderr.endswith("did you mean 'clip_adapter'?\n")


@pytest.mark.slow
def test_new_writes_a_plugin_that_passes_its_own_test_and_the_check(tmp_path: Path) -> None:
    assert methods("new", "my_idea", folder=tmp_path).returncode == 0
    checked = methods("check", "my_idea.py", folder=tmp_path, cache=str(tmp_path / "cache"))
    assert (checked.returncode, checked.stderr) == (0, ""), checked.stdout
    assert "FAILED" not in checked.stdout
    (noted,) = (tmp_path / "cache/clip-adapter-bench/checked").iterdir()  # tables don't mark it as not checked
    assert noted.name.startswith("my_idea-")
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


def called(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    """The exit status, in this process."""
    monkeypatch.setattr(sys, "argv", ["methods", *arguments])
    return main()


def test_new_says_what_it_wrote_and_what_comes_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    plugin, test = tmp_path / "my_idea.py", tmp_path / "test_my_idea.py"
    assert called(monkeypatch, "new", "my_idea", "--folder", str(tmp_path)) == 0
    said = capsys.readouterr().out
    assert said.startswith(f"Wrote {plugin} and {test}. Next:\n  python -m methods check {plugin}\n")
    assert f"\n  plugins: [{plugin}]\n  methods:\n    my_idea: {{}}\n" in said
    assert called(monkeypatch, "new", "other", "--folder", str(tmp_path), "--json") == 0
    assert json.loads(capsys.readouterr().out) == [str(tmp_path / "other.py"), str(tmp_path / "test_other.py")]


def test_check_tells_each_property_and_notes_what_has_passed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    holds, fails = Verdict("shapes", "its shape"), Verdict("finite", "no NaN", "found NaN")
    found = [("good", "key of good", [holds]), ("bad", "key of bad", [holds, fails, Verdict("sizes", "two", "", True)])]
    noted: list[str] = []
    monkeypatch.setattr(passed, "note", noted.append)
    monkeypatch.setattr(apart, "check", lambda name, plugins: iter(found))
    assert called(monkeypatch, "check", "mine.py") == 1
    assert capsys.readouterr().out.splitlines() == [
        "good",
        "  ok      shapes: its shape",
        "bad",
        "  ok      shapes: its shape",
        "  FAILED  finite: found NaN",
        "  skipped sizes: two",
    ]
    assert called(monkeypatch, "check", "mine.py", "--json") == 1
    report = json.loads(capsys.readouterr().out)
    assert report == {name: [vars(one) for one in verdicts] for name, _, verdicts in found}
    assert noted == ["key of good"] * 2
    monkeypatch.setattr(apart, "check", lambda name, plugins: iter(found[:1]))
    assert called(monkeypatch, "check", "mine.py") == 0


@pytest.mark.slow
def test_check_fails_with_the_property_and_status_1(tmp_path: Path) -> None:
    methods("new", "worse", folder=tmp_path)
    plugin = tmp_path / "worse.py"
    plugin.write_text(plugin.read_text().replace("queries @ weights.T", "queries @ -weights.T"))
    result = methods("check", "worse.py", folder=tmp_path, cache=str(tmp_path / "cache"))
    assert result.returncode == 1
    assert not (tmp_path / "cache/clip-adapter-bench/checked").exists()
    assert "FAILED  better_than_chance: expected an accuracy of at least 0.40" in result.stdout
    assert json.loads(methods("check", "worse.py", "--json", folder=tmp_path).stdout)["worse"][-1]["failure"]


ENDS = """
import ctypes, os, sys
from methods import Method, hookimpl

class Plain(Method):
    name = "plain"
    def classifier(self, task, replica):
        print("a line of the plugin's own")
        support = task.supports[replica.seed]
        means = support.one_hot(task.classes).T @ support.x
        return lambda queries: queries @ means.T

class Crashes(Plain):
    name = "crashes"
    def classifier(self, task, replica):
        if task.classes == 100:
            ctypes.string_at(0)
        return super().classifier(task, replica)

class Leaves(Plain):
    name = "leaves"
    def needs(self, params):
        os._exit(5)

class Exits(Plain):
    name = "exits"
    def classifier(self, task, replica):
        sys.exit("no licence")

@hookimpl
def register_methods():
    return [Crashes, Leaves, Exits, Plain]
"""


@pytest.mark.slow
def test_a_method_that_takes_the_process_with_it_is_named_and_those_after_it_are_checked(tmp_path: Path) -> None:
    (tmp_path / "ends.py").write_text(ENDS)
    result = methods("check", "ends.py", "--json", folder=tmp_path)
    assert result.returncode == 1
    found = json.loads(result.stdout)
    failed = {name: [(one["name"], one["failure"]) for one in rows if one["failure"]] for name, rows in found.items()}
    assert failed == {
        "crashes": [("sizes", "expected it to run, found that it ended the process: killed by SIGSEGV")],
        "leaves": [("needs", "expected it to run, found that it ended the process, with exit status 5")],
        "exits": [("shapes", "expected it to run, found SystemExit: no licence")],
        "plain": [],
    }
    assert {len(rows) for rows in found.values()} == {len(found["plain"])}
    assert [one["skipped"] for one in found["leaves"]] == [False, False, *[True] * (len(found["plain"]) - 2)]
    assert "ends.py" in result.stderr  # where it crashed
    assert "a line of the plugin's own" in result.stderr
    assert "warning: tables will mark it as not checked: /dev/null" in result.stderr


def test_an_import_that_takes_the_process_with_it_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "ends.py").write_text("import os\nos.kill(os.getpid(), 9)\n")
    result = methods("check", "ends.py", folder=tmp_path)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "error: ends.py: its import ended the process: killed by SIGKILL\n"


@pytest.mark.slow
def test_a_plugin_of_two_files_is_checked_with_both(tmp_path: Path) -> None:
    methods("new", "mine", folder=tmp_path)
    plugin = tmp_path / "mine.py"
    text = plugin.read_text().replace("import numpy as np\n", "import numpy as np\nfrom scaling import SCALE\n")
    plugin.write_text(text.replace("task.logit_scale * queries", "SCALE * task.logit_scale * queries"))
    (tmp_path / "scaling.py").write_text("SCALE = 1.0\n")
    assert methods("check", "mine.py", folder=tmp_path).returncode == 0
    (tmp_path / "scaling.py").write_text("SCALE = -1.0\n")
    assert "FAILED  better_than_chance" in methods("check", "mine.py", folder=tmp_path).stdout
    assert "\nmine " in methods("list", "--plugin", str(plugin), folder=ROOT).stdout
