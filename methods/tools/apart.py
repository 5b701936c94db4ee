"""The check of methods in a process of its own: what a plugin does to its process is a failure with a name.

`python -m methods.tools.apart FILE` is that process: it reads what to check from stdin and writes what it finds into
FILE, a line of JSON each, while what plugins print goes to stderr.
"""

import json
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from methods.contract.params import nearest
from methods.tools.check import PROPERTIES, Verdict, meaning, skipped, verdicts
from methods.tools.registry import Entry, Registry, load
from workflow.lib.jobs import passed

END = {"end": True}
Found = tuple[str, str, list[Verdict]]  # the method, its key in `passed`, every property


def check(name: str, plugins: Sequence[str]) -> Iterator[Found]:
    """The verdicts on the method of that name, or on all methods of that file.

    Where a method ends the process, another one goes on with those after it. Raises LookupError where there is none, or
    where its import ends the process.
    """
    done: list[str] = []
    over = False
    while not over:
        lines, status = _said({"name": name, "plugins": list(plugins), "done": done})
        over = lines[-1:] == [END]
        starts = [i for i, line in enumerate(lines) if "method" in line]
        if not (starts or over):
            raise LookupError(lines[0]["error"] if lines else f"{name}: its import {_ended(status)}")
        for i, stop in zip(starts, [*starts, len(lines)][1:], strict=True):
            found = [Verdict(**line["verdict"]) for line in lines[i:stop] if "verdict" in line]
            yield lines[i]["method"], lines[i]["key"], found + _cut_short(len(found), status)
            done.append(lines[i]["method"])


def _said(asked: Mapping[str, Any]) -> tuple[list[dict[str, Any]], int]:
    """What the process has found, and its exit status."""
    with tempfile.TemporaryDirectory() as folder:
        answers = Path(folder) / "answers"
        command = [sys.executable, "-X", "faulthandler", "-m", "methods.tools.apart", str(answers)]
        answers.touch()
        done = subprocess.run(command, input=json.dumps(asked), stdout=sys.stderr.fileno(), text=True, check=False)
        return [json.loads(line) for line in answers.read_text(encoding="utf-8").splitlines()], done.returncode


def _cut_short(done: int, status: int) -> list[Verdict]:
    """The property during which the process ended, and those after it; none where it came to all of them."""
    if done == len(PROPERTIES):
        return []
    name, *rest = list(PROPERTIES)[done:]
    failure = f"expected it to run, found that it {_ended(status)}"
    return [Verdict(name, meaning(name), failure), *map(skipped, rest)]


def _ended(status: int) -> str:
    """How a process ended, after `it`."""
    if status >= 0:
        return f"ended the process, with exit status {status}"
    names = [one.name for one in signal.Signals if one == -status]
    return f"ended the process: killed by {names[0] if names else f'signal {-status}'}"


def asked(name: str, plugins: Sequence[str]) -> dict[str, Entry]:
    """The method of that name, or all methods of that file. Raises LookupError where there is none."""
    if not name.endswith(".py"):
        return {name: find(load(plugins), name)}
    registry = load([*plugins, name])
    found = {key: entry for key, entry in registry.methods.items() if entry.where == name}
    if not found:
        reason = next((one.reason for one in registry.broken if one.where == name), "it registers no method")
        raise LookupError(f"{name}: {reason}")
    return found


def find(registry: Registry, name: str) -> Entry:
    """The method of that name. Raises LookupError with the reason why it is not there, or the nearest name."""
    if name in registry.methods:
        return registry.methods[name]
    if reason := registry.why(name):
        raise LookupError(f"the plugin '{name}' can't be used: {reason}")
    raise LookupError(f"no method '{name}'; there are {', '.join(registry.methods)}{nearest(name, registry.methods)}")


def _answer(file: TextIO, **line: Any) -> None:
    file.write(json.dumps(line) + "\n")
    file.flush()


def main() -> None:
    """Be the process that checks."""
    wanted = json.load(sys.stdin)
    with open(sys.argv[1], "w", encoding="utf-8") as file:
        try:
            entries = asked(wanted["name"], wanted["plugins"])
        except LookupError as error:
            _answer(file, error=str(error.args[0]))
            return
        for name, entry in entries.items():
            if name in wanted["done"]:
                continue
            _answer(file, method=name, key=passed.key(name, entry.file, entry.where))
            for found in verdicts(entry.method):
                _answer(file, verdict=vars(found))
        _answer(file, **END)


if __name__ == "__main__":
    main()
