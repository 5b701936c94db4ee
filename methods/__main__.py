"""The methods at a glance: `python -m methods list | describe NAME | check NAME-OR-PATH | new NAME | page`."""

import argparse
import inspect
import json
import sys
from pathlib import Path
from typing import Any

from methods.contract.base import Method
from methods.contract.params import show
from methods.tools import apart, page, starter
from methods.tools.registry import Entry, load
from workflow.lib.errors import describe as describe_error
from workflow.lib.jobs import passed


def main() -> int:
    arguments = _arguments()
    try:
        return int(arguments.run(arguments))
    except LookupError as error:
        print(f"error: {error.args[0]}", file=sys.stderr)
        return 1


def list_methods(arguments: argparse.Namespace) -> int:
    """All methods, and the plugins that can't be used with their reasons."""
    registry = load(arguments.plugin)
    rows = [_brief(name, entry) for name, entry in registry.methods.items()]
    broken = [{"name": one.name, "where": one.where, "reason": one.reason} for one in registry.broken]
    if arguments.json:
        print(json.dumps({"methods": rows, "broken": broken}, indent=2, ensure_ascii=False))
        return 0
    from tabulate import tabulate

    shown = [{key: value for key, value in row.items() if key != "departs"} for row in rows]
    print(tabulate(shown, "keys", "simple", disable_numparse=True))
    for one in broken:
        print(f"can't be used: {one['name']} ({one['where']}): {one['reason']}")
    return 0


def _brief(name: str, entry: Entry) -> dict[str, str]:
    method = entry.method()
    return {
        "name": name,
        "needs": ", ".join(sorted(method.needs(entry.method.defaults({})))),
        "runs on": "GPU or CPU" if method.gpu else "CPU",
        "paper": method.paper,
        "from": entry.where,
        "status": "ok",
        "what": method.summary(),
        "departs": method.departs,
    }


def describe(arguments: argparse.Namespace) -> int:
    """One method: what it is, its formula, its parameters, its citation."""
    name = arguments.name
    entry = apart.find(load(arguments.plugin), name)
    facts, parameters = {**_brief(name, entry), "file": entry.file}, _parameters(entry.method)
    if arguments.json:
        whole = facts | {"parameters": parameters, "doc": inspect.getdoc(entry.method)}
        print(json.dumps(whole, indent=2, ensure_ascii=False))
        return 0
    print(f"{name}\n\n{inspect.getdoc(entry.method)}\n")
    for key in ("needs", "runs on", "paper", "from", "file"):
        if facts[key]:
            print(f"{key + ':':9}{facts[key]}")
    for line in page.described(entry.method()):
        print(line)
    if facts["departs"]:
        print(f"Not done of the official recipe: {facts['departs']}.")
    print("\nParameters:" if parameters else "\nNo parameters.")
    for one in parameters:
        print(f"  {one['name']} = {one['default']}: {one['meaning']} ({one['allowed']})")
    return 0


def _parameters(method: type[Method]) -> list[dict[str, Any]]:
    return [
        {"name": name, "default": show(param.default), "allowed": param.allowed(), "meaning": param.help}
        for name, param in method.params.items()
    ]


def check(arguments: argparse.Namespace) -> int:
    """Whether methods keep the contract: exit status 1 where one does not."""
    failed = False
    report = {}
    for name, key, found in apart.check(arguments.name, arguments.plugin):
        failed |= any(one.failure for one in found)
        report[name] = [vars(one) for one in found]
        if not arguments.json:
            print(name)
            for one in found:
                word = "FAILED " if one.failure else "skipped" if one.skipped else "ok     "
                print(f"  {word} {one.name}: {one.failure or one.meaning}")
        if not any(one.failure for one in found):
            _remember(key)
    if arguments.json:
        print(json.dumps(report, indent=2, ensure_ascii=False))
    return int(failed)


def _remember(key: str) -> None:
    """Note that it has passed: tables mark the rows of plugins that have not."""
    try:
        passed.note(key)
    except OSError as error:
        print(f"warning: tables will mark it as not checked: {describe_error(error)}", file=sys.stderr)


def new(arguments: argparse.Namespace) -> int:
    """Write a working starter plugin with its test."""
    try:
        written = starter.write(arguments.name, Path(arguments.folder))
    except (ValueError, OSError) as error:
        raise LookupError(str(error)) from None
    if arguments.json:
        print(json.dumps([str(path) for path in written]))
        return 0
    plugin, test = written
    print(f"Wrote {plugin} and {test}. Next:\n  python -m methods check {plugin}\n  python -m pytest {test}")
    print(f"and in the study file:\n  plugins: [{plugin}]\n  methods:\n    {arguments.name}: {{}}")
    return 0


def show_page(arguments: argparse.Namespace) -> int:
    """docs/methods.md, made from the declarations."""
    print(page.markdown(load()))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m methods", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="list | describe | check | new | page")
    for function, name, argument in (
        (list_methods, "list", ""),
        (describe, "describe", "name of a method"),
        (check, "check", "name of a method, or path of a .py file"),
        (show_page, "page", ""),
        (new, "new", "name of the method to write: a-z, 0-9, _"),
    ):
        command = commands.add_parser(name, help=function.__doc__, description=function.__doc__)
        command.set_defaults(run=function)
        if argument:
            command.add_argument("name", help=argument)
        command.add_argument("--json", action="store_true", help="print JSON")
        command.add_argument("--plugin", action="append", default=[], help="a .py file with further methods")
        if name == "new":
            command.add_argument("--folder", default=".", help="where to write it (default: here)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
