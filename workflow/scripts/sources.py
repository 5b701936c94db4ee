"""The sources of images at a glance: `python -m workflow.scripts.sources list | describe NAME`."""

from __future__ import annotations

import argparse
import json
from typing import Any

from methods.contract.params import nearest, show
from workflow.lib.data import registry
from workflow.lib.data.sources.base import Source
from workflow.lib.errors import UserError
from workflow.lib.jobs.entry import run
from workflow.lib.plugins import Entry


def main() -> None:
    arguments = _arguments()
    arguments.run(arguments)


def list_sources(arguments: argparse.Namespace) -> None:
    """All sources, and the plugins that can't be used with their reasons."""
    found = registry.load(arguments.plugin)
    rows = [{"name": name, "from": one.where, "what": one.thing.help} for name, one in found.entries.items()]
    if arguments.json:
        print(_json({"sources": rows, "broken": [vars(one) for one in found.broken]}))
        return
    from tabulate import tabulate

    print(tabulate(rows, "keys", "simple", disable_numparse=True))
    for one in found.broken:
        print(f"can't be used: {one.name} ({one.where}): {one.reason}")


def describe(arguments: argparse.Namespace) -> None:
    """One source: what it is, its options, its default prompts."""
    name = arguments.name
    entry = _find(registry.load(arguments.plugin), name)
    facts = {"name": name, "what": entry.thing.help, "from": entry.where, "file": entry.file}
    options = _options(entry.thing)
    if arguments.json:
        print(_json(facts | {"templates": entry.thing.templates, "options": options}))
        return
    print(f"{name}: {entry.thing.help}\n\nfrom: {entry.where}, {entry.file}")
    print("prompts: " + (", ".join(map(show, entry.thing.templates)) or "none"))
    print("\nOptions:" if options else "\nNo options.")
    for one in options:
        print(f"  {one['name']} ({one['value']}): {one['meaning']}")


def _options(source: Source) -> list[dict[str, str]]:
    return [
        {"name": name, "value": option.describe(), "meaning": option.help} for name, option in source.options.items()
    ]


def _find(found: registry.Sources, name: str) -> Entry[Source]:
    if name in found.entries:
        return found.entries[name]
    if reason := found.why(name):
        raise UserError(f"the plugin '{name}' can't be used: {reason}")
    raise UserError(f"no source '{name}'; there are {', '.join(found.entries)}{nearest(name, found.entries)}")


def _json(value: Any) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m workflow.scripts.sources", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="list | describe")
    for function, name in ((list_sources, "list"), (describe, "describe")):
        command = commands.add_parser(name, help=function.__doc__, description=function.__doc__)
        command.set_defaults(run=function)
        if name == "describe":
            command.add_argument("name", help="name of a source")
        command.add_argument("--json", action="store_true", help="print JSON")
        command.add_argument("--plugin", action="append", default=[], help="a .py file with further sources")
    return parser.parse_args()


if __name__ == "__main__":
    run(main)
