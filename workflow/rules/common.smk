# The study, checked: a mistake in it ends here, in one line, before anything has started.
import json
import os
import sys
from pathlib import Path

from workflow.lib.code import code_hash
from workflow.lib.errors import UserError
from workflow.lib.study import load as load_study

try:
    STUDY = load_study(config, workflow.configfiles)
except UserError as error:
    sys.exit(f"error: {error}")

DATA, FEATURES = STUDY.folders["data"], STUDY.folders["features"]
RESULTS = f"{STUDY.folders['results']}/{STUDY.name}"
SCRIPTS = Path(workflow.basedir) / "workflow" / "scripts"
ENVIRONMENT = "../../environment.yml"  # seen from the rules' folder

# Jobs run this checkout's code with this interpreter, wherever --directory points and whatever is on the PATH.
shell.prefix(
    f"export PYTHONPATH='{workflow.basedir}'; PATH='{Path(sys.executable).parent}':\"$PATH\"; "
)


# What cells have in common with others of the same plugin: read once, not once a job.
CODE = {
    label: code_hash(SCRIPTS / "evaluate.py", spec.entry.file)
    for label, spec in STUDY.methods.items()
}


wildcard_constraints:
    dataset="[a-z0-9_]+",
    backbone="[a-z0-9_]+",
    method="[a-z0-9_]+",
    shots="0|[1-9][0-9]*|all",


def to_json(value):
    """Sorted, so that equal values are equal params and nothing runs again."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)
