# The study, checked: a mistake in it ends here, in one line, before anything has started.
import json
import os
import shlex
import sys
from pathlib import Path

from workflow.lib import estimates
from workflow.lib.code import code_hash
from workflow.lib.datasets import COMMON
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
    f"export PYTHONPATH={shlex.quote(str(workflow.basedir))};"
    f' PATH={shlex.quote(str(Path(sys.executable).parent))}:"$PATH"; '
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


def dataset_options(dataset):
    """What the images depend on: templates, supports and views are the concern of the jobs after."""
    return {
        key: value
        for key, value in STUDY.datasets[dataset].items()
        if key == "source" or key not in COMMON
    }


def feature_inputs(wildcards):
    """The images' index and the files that the study gives for the backbone, or the features made elsewhere."""
    backbone = STUDY.backbones[wildcards.backbone]
    if "features" in backbone:
        return {"vectors": backbone["features"].replace("{dataset}", wildcards.dataset)}
    files = {"index": f"{DATA}/{wildcards.dataset}/index.json"}
    if "weights" in backbone:
        files["weights"] = backbone["weights"]
    if backbone["model"].endswith(".json"):
        files["model"] = backbone["model"]
    return files


def views_option(wildcards):
    """The augmented views to extract, where a model does it."""
    dataset = STUDY.datasets[wildcards.dataset]
    if "views" not in dataset or "features" in STUDY.backbones[wildcards.backbone]:
        return ""
    return f"--views {dataset['views']}" + ("" if dataset["flip"] else " --no-flip")


def cell_spec(wildcards):
    """The part of the study that this cell depends on, and nothing else: what changes elsewhere reruns nothing."""
    spec = STUDY.methods[wildcards.method]
    dataset = STUDY.datasets[wildcards.dataset]
    return to_json(
        {
            "study": STUDY.name,
            "dataset": wildcards.dataset,
            "backbone": wildcards.backbone,
            "label": wildcards.method,
            "method": spec.entry.method.name,
            "shots": wildcards.shots,
            "seeds": STUDY.seeds if spec.learns else 1,
            "report": STUDY.report,
            "select": STUDY.select,
            "also": STUDY.also,
            "supports": dataset.get("supports", ""),
            "allow_fewer": dataset.get("allow_fewer", False),
            "variants": [
                {"variant": name, "params": params} for name, params in spec.variants
            ],
        }
    )


def replicas(wildcards):
    """How many trainings the cell is: what its time is estimated from."""
    spec = STUDY.methods[wildcards.method]
    return len(spec.variants) * (STUDY.seeds if spec.learns else 1)


def images_to_encode(wildcards, index):
    """About how many, each view of a train image for itself."""
    return estimates.images_in(index) * (
        1 + STUDY.datasets[wildcards.dataset].get("views", 0)
    )


def extraction_memory(wildcards, input, attempt):
    """In MB, for the resources of a job that extracts or imports features."""
    if "vectors" in input.keys():
        return estimates.import_memory(estimates.megabytes([input.vectors]), attempt)
    weights = estimates.megabytes([input.weights] if "weights" in input.keys() else [])
    images = images_to_encode(wildcards, input.index)
    return estimates.extraction_memory(images, weights, attempt)


def extraction_minutes(wildcards, input, attempt):
    """For the resources of a job that extracts or imports features."""
    images = images_to_encode(wildcards, input.index) if "index" in input.keys() else 0
    return estimates.extraction_minutes(images, attempt)


def support_files(wildcards):
    """The files of supports that the cell reads, where the data set names some."""
    pattern = STUDY.datasets[wildcards.dataset].get("supports", "")
    if not pattern or wildcards.shots in ("0", "all"):
        return []
    with_shots = pattern.replace("{shots}", wildcards.shots)
    return sorted(
        {with_shots.replace("{seed}", str(seed)) for seed in range(STUDY.seeds)}
    )


def plugin_option(wildcards):
    """The plugin's file, where the method comes from one."""
    entry = STUDY.methods[wildcards.method].entry
    return (
        f"--plugin {shlex.quote(entry.where)}" if entry.where in STUDY.plugins else ""
    )


def all_metrics(wildcards):
    return [
        "{}/metrics/{}/{}/{}/{}.json".format(RESULTS, *cell) for cell in STUDY.cells()
    ]


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
            "peeking_gap": STUDY.peeking_gap,
            "references": STUDY.references,
            "methods": [
                {
                    "label": label,
                    "variants": [name for name, _ in spec.variants],
                    "learns": spec.learns,
                }
                for label, spec in STUDY.methods.items()
            ],
        }
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
            *(f"{pair}.reference" for pair in STUDY.references),
            *(f"{pair}.regimes" for pair in PAIRS if STUDY.also),
            "summary",
            "comparison",
            "peeking",
        ],
        format=["md", "csv", "tex"],
    ),
    f"{RESULTS}/tables/results.csv",
    f"{RESULTS}/study.json",
]
FIGURES = expand(f"{RESULTS}/figures/{{name}}.svg", name=[*PAIRS, "peeking"])
# What is read in need not be written out.
SUPPORTS = [
    f"{RESULTS}/supports/{name}.json"
    for name, entry in STUDY.datasets.items()
    if "supports" not in entry
]
