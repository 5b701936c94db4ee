# The study, checked: a mistake in it ends here, in one line, before anything has started.
import json
import os
import shlex
import sys
from pathlib import Path

from workflow.lib.jobs import orphans, stale_lock
from workflow.lib.jobs.code import ROOT
from workflow.lib.errors import UserError
from methods.contract import needs
from workflow.lib.page.document import digest
from workflow.lib.study import images
from workflow.lib.study.study import load as load_study

# As a module of another workflow the study is what that one gives as config, and the run is its own.
MAIN = workflow.modifier.is_main_snakefile()

try:
    if MAIN:
        FROM = workflow.configfiles, "--config"
    else:
        FROM = [], f"config of module {__name__}"
    STUDY = load_study(config, *FROM)
    # What stands for the images that are the user's own. Jobs on a cluster read this file too, and don't look again.
    if workflow.is_main_process:
        IMAGES = images.look(STUDY, config, *FROM)
    else:
        IMAGES = images.known(STUDY)
except UserError as error:
    sys.exit(f"error: {error}")

if MAIN and workflow.is_main_process and stale_lock.clear(Path(".snakemake")):
    print("Removed the lock that a killed run had left in .snakemake.", file=sys.stderr)

DATA, FEATURES = STUDY.folders["data"], STUDY.folders["features"]
RESULTS = f"{STUDY.folders['results']}/{STUDY.name}"
# Shards are the study's own: of two studies that fill the same folder, neither takes the other's away.
# `{array}` is empty, or the name of an array beside the features after a full stop: it has a file of its own.
SHARD = f"{FEATURES}/{{backbone}}/.shards/{STUDY.name}/{{dataset}}{{array}}.{{shard}}-of-{{shards}}.safetensors"
GATHERED = f"{FEATURES}/{{backbone}}/.shards/{STUDY.name}/{{dataset}}{{array}}.all-{{shards}}.safetensors"
SCRIPTS = ROOT / "workflow" / "scripts"
ENVIRONMENT = "../../environment.yml"  # seen from the rules' folder

# Jobs run this checkout's code with this interpreter, wherever --directory points and whatever is on the PATH, and end
# when this process has gone. The caller's PYTHONPATH comes after, for modules that plugins import. They ask for it by
# `eval`: shell.prefix would be in force for every rule of a workflow that uses this one as a module, and that workflow's
# prefix for ours.
MODULES = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
os.environ.update(
    STUDY_SHELL="set -euo pipefail;"
    f" export PYTHONPATH={shlex.quote(os.pathsep.join(MODULES))} {orphans.VARIABLE}={os.getpid()};"
    f' PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"'
)


wildcard_constraints:
    dataset="[a-z0-9_]+",
    backbone="[a-z0-9_]+",
    array=rf"|\.({needs.PATTERN})",
    method="[a-z0-9_]+",
    shots="0|[1-9][0-9]*|all",
    shard="[1-9][0-9]*",
    shards="[1-9][0-9]*",


def to_json(value):
    """Sorted, so that equal values are equal params and nothing runs again."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False)


CELLS = STUDY.cells()


def all_metrics(wildcards):
    return metrics(CELLS)


def all_predictions(wildcards):
    return predictions(CELLS)


def pair_metrics(wildcards):
    """Those of a dataset under a backbone."""
    return metrics(of_pair(wildcards))


def pair_predictions(wildcards):
    return predictions(of_pair(wildcards))


def of_pair(wildcards):
    pair = wildcards.dataset, wildcards.backbone
    return [cell for cell in CELLS if cell[:2] == pair]


def metrics(cells):
    return ["{}/metrics/{}/{}/{}/{}.json".format(RESULTS, *cell) for cell in cells]


def predictions(cells):
    return ["{}/predictions/{}/{}/{}/{}.npz".format(RESULTS, *cell) for cell in cells]


def pair_plan(wildcards):
    """What is needed of the study where the rest of its datasets and backbones has no say."""
    whole = json.loads(plan())
    own = {
        "datasets": [wildcards.dataset],
        "backbones": [wildcards.backbone],
        "references": {},
        "thumbnails": True,
        "folds": {
            name: count
            for name, count in whole["folds"].items()
            if name == wildcards.dataset
        },
    }
    return to_json(whole | own)


def plan():
    """What the tables need of the study."""
    return to_json(
        {
            "study": STUDY.name,
            "datasets": list(STUDY.datasets),
            "backbones": list(STUDY.backbones),
            "shots": STUDY.shots,
            "seeds": STUDY.seeds,
            "report": STUDY.report,
            "select": STUDY.select,
            "also": STUDY.also,
            "metric": STUDY.metric,
            "peeking_gap": STUDY.peeking_gap,
            "curve": STUDY.curve,
            "references": STUDY.references,
            "folds": STUDY.folds,
            "thumbnails": STUDY.thumbnails,
            "calibrates": STUDY.calibrates,
            "methods": [
                {
                    "label": label,
                    "variants": spec.rows,
                    "learns": spec.learns,
                }
                for label, spec in STUDY.methods.items()
            ],
        }
    )


def in_report(path):
    """The file as an entry of `snakemake --report report.html`, if it is one to look at."""
    name, _, suffix = os.path.basename(path).rpartition(".")
    shown_as_html = suffix == "md" and f"{path[:-2]}html" in TABLES
    kinds = {"html": "table", "md": "table", "csv": "table", "svg": "figure"}
    if suffix not in kinds or shown_as_html:
        return path
    kind = "page" if path == PAGE else kinds[suffix]
    return report(
        path,
        caption=f"../report/{kind}.rst",
        category=f"{kind.capitalize()}s",
        labels={kind: name, "format": suffix},
    )


# The tables of the study.
PAIRS = [
    f"{dataset}.{backbone}"
    for dataset in STUDY.datasets
    for backbone in STUDY.backbones
]
TABLES = [
    *expand(
        f"{RESULTS}/tables/{{name}}.{{format}}",
        name=[
            *PAIRS,
            *(f"{pair}.intervals" for pair in PAIRS),
            *(f"{pair}.per_class" for pair in PAIRS),
            *(f"{pair}.reference" for pair in STUDY.references),
            *(f"{pair}.regimes" for pair in PAIRS if STUDY.also),
            *(f"{pair}.calibration" for pair in PAIRS if STUDY.calibrates),
            *(["gains"] if STUDY.also and "last" in STUDY.regimes else []),
            "summary",
            "comparison",
            "peeking",
        ],
        format=["md", "csv", "tex", "html"],
    ),
    f"{RESULTS}/tables/results.csv",
    f"{RESULTS}/study.json",
]
DUPLICATES = [
    f"{FEATURES}/{backbone}/{dataset}.duplicates.json"
    for dataset in STUDY.datasets
    for backbone in STUDY.backbones
]
FIGURES = expand(
    f"{RESULTS}/figures/{{name}}.{{format}}",
    name=[
        *PAIRS,
        *(f"{pair}.calibration" for pair in PAIRS if STUDY.calibrates),
        "peeking",
    ],
    format=["svg", "pdf", "png"],
)
PAGE = f"{RESULTS}/report.html"
# Which row to use, and what more labels would bring.
ADVICE = [
    f"{RESULTS}/tables/recommendation.md",
    f"{RESULTS}/tables/recommendation.csv",
]
DECIDED = [
    *expand(f"{RESULTS}/tables/{{pair}}.recommendation.json", pair=PAIRS),
    *expand(f"{RESULTS}/figures/{{pair}}.labels.svg", pair=PAIRS),
]
# Which images the recommended row confuses, and which labels look wrong.
ERRORS = expand(
    f"{RESULTS}/tables/{{pair}}.{{kind}}.{{format}}",
    pair=PAIRS,
    kind=["confusions", "label_errors"],
    format=["md", "csv"],
)
# What is read in need not be written out; with folds there is a support for each of them.
SUPPORTS = [
    f"{RESULTS}/supports/{name}.json"
    for name, entry in STUDY.datasets.items()
    if "supports" not in entry and "cross_validate" not in entry
]
