"""How scripts end: a mistake of the user's in one line, a defect of ours with its traceback."""

import subprocess
import sys

import pytest

from workflow.lib.errors import UserError, describe, one_line
from workflow.lib.jobs.entry import run


def raising(error):
    def main():
        raise error

    return main


def test_a_script_that_works_just_returns(capsys):
    assert run(lambda: None) is None
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (UserError("shots: 0 is not at least 1"), "error: shots: 0 is not at least 1\n"),
        (UserError("two\nlines \t and a tab"), "error: two lines and a tab\n"),
        (FileNotFoundError(2, "No such file or directory", "a/b.json"), "error: a/b.json: No such file or directory\n"),
        (PermissionError("not yours"), "error: not yours\n"),
        (OSError(), "error: OSError\n"),
    ],
)
def test_a_users_mistake_is_one_line_and_status_1(capsys, error, line):
    with pytest.raises(SystemExit) as ending:
        run(raising(error))
    assert ending.value.code == 1
    assert capsys.readouterr() == ("", line)


def test_an_interrupt_is_status_130(capsys):
    with pytest.raises(SystemExit) as ending:
        run(raising(KeyboardInterrupt()))
    assert ending.value.code == 130
    assert capsys.readouterr().err.count("\n") == 1


def test_a_defect_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        run(raising(ZeroDivisionError()))


def test_one_line_joins_whatever_has_lines():
    assert one_line(ValueError(" a\n\n  b ")) == "a b"


def test_an_os_error_without_a_text_is_named_by_its_kind_and_path():
    assert describe(OSError(None, None, "x.png")) == "x.png: OSError"


@pytest.mark.parametrize(
    ("script", "arguments", "part"),
    [
        ("dataset", ["--name", "x", "--spec", '{"source": "digit"}'], "did you mean digits?"),
        ("features", ["--dataset", "x", "--backbone", "b", "--spec", '{"features": "no/{dataset}.npz"}'], "no/x.npz"),
        ("features", ["--dataset", "x", "--backbone", "b", "--spec", '{"model": "ViT-B-32"}'], "no images"),
    ],
)
def test_scripts_end_in_one_line_without_a_traceback(tmp_path, script, arguments, part):
    place = ["--out", str(tmp_path / "out"), *(["--root", str(tmp_path)] if script == "dataset" else [])]
    command = [sys.executable, "-m", f"workflow.scripts.{script}", *arguments, *place]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    errors = [line for line in ended.stderr.splitlines() if line.startswith("error: ")]
    assert ended.returncode == 1
    assert len(errors) == 1
    assert part in errors[0]
    assert "Traceback" not in ended.stderr
    assert not (tmp_path / "out").exists()
