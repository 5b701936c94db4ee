"""The two options by which a script is told which study it is about."""

import argparse
import json
from pathlib import Path

from workflow.lib.reporting.results import Plan


def parser(description: str | None) -> argparse.ArgumentParser:
    """A parser with `--plan`, which gives a `Plan`, and `--folder`."""
    made = argparse.ArgumentParser(description=description)
    made.add_argument("--plan", required=True, type=plan, help="the study's grid and protocol as JSON")
    made.add_argument("--folder", required=True, type=Path, help="results/<study>")
    return made


def plan(text: str) -> Plan:
    """The plan of a study as rules write it. Raises ValueError where it is no JSON."""
    return Plan(**json.loads(text))
