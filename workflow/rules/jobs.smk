# What a job is given: its inputs, its parameters and what it asks for, from the study and its wildcards.
import shlex

from snakemake.io import sourcecache_entry

from workflow.lib.study import estimates
from workflow.lib.jobs import passed
from workflow.lib.jobs.code import DECIDES_NO_FEATURE, code_hash
from workflow.lib.data import names
from workflow.lib.data.datasets import COMMON
from workflow.lib.evaluation import engines, supports
from methods.contract.needs import VECTORS, arrays, is_image
from methods.contract.trained import TrainedMethod


def extraction_hash(script, *files):
    """Of the code behind images and features: they take hours, and not every change of the project's is one of theirs."""
    return code_hash(SCRIPTS / script, *files, without=DECIDES_NO_FEATURE)


def dataset_options(dataset):
    """What the index depends on: templates, supports and views are the concern of the jobs after."""
    return {
        key: value
        for key, value in STUDY.datasets[dataset].items()
        if key in ("source", "classnames") or key not in COMMON
    }


def names_file(wildcards):
    """The file with the names of the classes, where the dataset has one."""
    path = names.file_of(STUDY.datasets[wildcards.dataset].get("classnames"))
    return [path] if path else []


def index_file(wildcards):
    """Where the index of a dataset lies."""
    return f"{DATA}/{wildcards.dataset}/{images.INDEX}"


def source_options(wildcards):
    """Of a dataset's job: the file of the plugin that its source comes from, if it is one of the study's."""
    where = STUDY.sources[wildcards.dataset].where
    return f"--plugin {shlex.quote(where)}" if where in STUDY.plugins else ""


def source_code(wildcards):
    """The hash of the code that finds the images: that of the source and what every source shares."""
    return extraction_hash("dataset.py", STUDY.sources[wildcards.dataset].file)


def shards(wildcards):
    """In how many jobs the images go through the model. Features made elsewhere take none."""
    if "features" in STUDY.backbones[wildcards.backbone]:
        return 1
    return STUDY.datasets[wildcards.dataset].get("shards", 1)


def feature_inputs(wildcards):
    """What features are made of: images and a model, in one job or gathered from shards; or features made elsewhere."""
    files = extraction_inputs(wildcards)
    if shards(wildcards) == 1:
        return files
    # Shards are how features are made, not what they are: Snakemake writes down that it was the index, whatever their
    # number, so that another one makes nothing again.
    gathered = GATHERED.format(**wildcards, shards=shards(wildcards))
    return files | {"index": sourcecache_entry(gathered, files["index"])}


def features_source(wildcards, input):
    """The option that says what the features job begins with."""
    if shards(wildcards) > 1:
        return f"--gathered {shlex.quote(str(input.index))}"
    return f"--index {shlex.quote(str(input.index))}" if "index" in input.keys() else ""


# The script that takes images through a model, with what it imports once for all of a run.
EXTRACTION = "warm features workflow.lib.encoding.extraction --"


def features_script(wildcards, input):
    """What makes the features. Those made elsewhere or gathered from shards are there already, and need no model.

    It takes `input`, as `features_source` does: else another number of shards would make them anew.
    """
    there = "features" in STUDY.backbones[wildcards.backbone] or shards(wildcards) > 1
    return "features" if there else EXTRACTION


def shard_files(wildcards):
    """The parts that are gathered."""
    count = int(wildcards.shards)
    return [SHARD.format(**wildcards, shard=1 + i) for i in range(count)]


def extraction_inputs(wildcards):
    """The images' index and the files that the study gives for the backbone, or the features made elsewhere."""
    backbone = STUDY.backbones[wildcards.backbone]
    if "features" in backbone:
        return {"vectors": backbone["features"].replace("{dataset}", wildcards.dataset)}
    return {"index": index_file(wildcards)} | model_files(wildcards)


def model_files(wildcards):
    """The files that the study gives for a model."""
    backbone = STUDY.backbones[wildcards.backbone]
    files = {}
    if "weights" in backbone:
        files["weights"] = backbone["weights"]
    if backbone["model"].endswith(".json"):
        files["model"] = backbone["model"]
    return files


def duplicates_inputs(wildcards):
    """The features to compare, and the index of the images that they are of, if there are any."""
    made = f"{FEATURES}/{wildcards.backbone}/{wildcards.dataset}.safetensors"
    bare = "features" in STUDY.backbones[wildcards.backbone]
    return {"features": made} | ({} if bare else {"index": index_file(wildcards)})


def what_is_made(wildcards):
    """What a job of an extraction makes: the features, or an array beside them."""
    return wildcards.array[1:] or "features"


def reading_options(wildcards):
    """How the images of an extraction are read, and how large an array of them may be."""
    options = images_options(wildcards)
    limit = STUDY.datasets[wildcards.dataset].get("array_gb")
    if limit is None or not is_image(what_is_made(wildcards)):
        return options
    return f"{options} --array-gb {limit}".strip()


def images_options(wildcards):
    """How a model's images are read: augmented views, and what is let in or left out."""
    dataset = STUDY.datasets[wildcards.dataset]
    if "features" in STUDY.backbones[wildcards.backbone]:
        return ""
    options = [
        f"--{key.replace('_', '-')} {dataset[key]}"
        for key in ("views", "max_pixels", "max_aspect")
        if key in dataset
    ]
    if not dataset.get("flip", True):
        options.append("--no-flip")
    if dataset.get("skip_bad_images", False):
        options.append("--skip-bad-images")
    return " ".join(options)


def seeds(spec):
    """How often each variant of a method is fitted: what learns nothing is the same with every seed."""
    return STUDY.seeds if spec.learns else 1


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
            "seeds": seeds(spec),
            "report": STUDY.report,
            "select": STUDY.select,
            "also": STUDY.also,
            "curve": STUDY.curve,
            "metric": STUDY.metric or "accuracy",
            "calibrate": STUDY.calibrate,
            "supports": dataset.get("supports", ""),
            "allow_fewer": dataset.get("allow_fewer", False),
            "folds": dataset.get("cross_validate", 0),
            "variants": [
                {"variant": name, "params": params} for name, params in spec.variants
            ],
            "tuned": spec.tuned,
            "made_of": made_of(wildcards),
        }
    )


def array_files(wildcards):
    """The arrays beside the features that the cell's method needs: nobody else waits for them."""
    needed = arrays(STUDY.methods[wildcards.method].needs)
    if "features" in STUDY.backbones[wildcards.backbone]:
        needed = [name for name in needed if name in VECTORS]
    made = f"{FEATURES}/{wildcards.backbone}/{wildcards.dataset}"
    return [f"{made}.{name}.safetensors" for name in needed]


def held(wildcards, input):
    """MB of the features and arrays that a cell has in memory."""
    images = [path for path in input.arrays if is_image(str(path).split(".")[-2])]
    vectors = [path for path in input.arrays if path not in images]
    return estimates.held(
        estimates.megabytes([input.features, *vectors]),
        estimates.megabytes(images),
        wildcards.shots,
        STUDY.seeds,
    )


def array_options(wildcards, input):
    """The options that name them."""
    return " ".join(f"--array {shlex.quote(str(path))}" for path in input.arrays)


def made_of(wildcards):
    """What the features depend on, as a part of the cells' parameter too.

    When a job fails Snakemake removes its old output, and makes it anew only where something asks for it. What was
    computed from the old features asks by this.
    """
    backbone = STUDY.backbones[wildcards.backbone]
    made = {} if "features" in backbone else {"index": index_file(wildcards)}
    return made | {
        "images": dataset_options(wildcards.dataset),
        "contents": IMAGES.get(wildcards.dataset, ""),
        "templates": STUDY.datasets[wildcards.dataset]["templates"],
        "backbone": backbone,
        "reading": images_options(wildcards),
    }


def folds(wildcards):
    """How many folds a seed's support has at most, where the study cross-validates."""
    return supports.most_folds(wildcards.shots) if STUDY.cross_validates else 0


def replicas(wildcards):
    """How many trainings the cell is: what its time is estimated from."""
    spec = STUDY.methods[wildcards.method]
    times = STUDY.folds.get(wildcards.dataset, 1) if spec.learns else 1
    if isinstance(spec.method, TrainedMethod):
        times *= spec.method.points(STUDY.regimes != ["last"])
    return times * estimates.trainings(
        len(spec.variants), seeds(spec), folds(wildcards)
    )


def cell_cost(wildcards):
    """What the cell takes beside others, by what is known before anything has been made."""
    trains = STUDY.methods[wildcards.method].method.gpu
    return estimates.cell_cost(
        wildcards.shots, replicas(wildcards), trains, learns_through_tower(wildcards)
    )


# The numbers of shots whose cells make a first table.
FEWEST = (
    "0",
    min(STUDY.shots, key=lambda shots: float("inf" if shots == "all" else shots)),
)
WAVES = {dataset: wave for wave, dataset in enumerate(STUDY.datasets)}


def cell_priority(wildcards):
    """The cells of the fewest shots first, dataset after dataset, and then the longest."""
    wave = WAVES[wildcards.dataset] if wildcards.shots in FEWEST else None
    return estimates.cell_priority(cell_cost(wildcards), wave)


def images_to_encode(wildcards, input):
    """About how many go through the model in one job, each view of a train image for itself."""
    count = shards(wildcards)
    if "index" not in input.keys() or (count > 1 and "shard" not in wildcards.keys()):
        return 0
    views = STUDY.datasets[wildcards.dataset].get("views", 0)
    return estimates.images_in(input.index) * (1 + views) // count


def extraction_memory(wildcards, input, attempt):
    """In MB, for the resources of a job that extracts or imports features."""
    if "vectors" in input.keys():
        return estimates.import_memory(estimates.megabytes([input.vectors]), attempt)
    weights = estimates.megabytes([input.weights] if "weights" in input.keys() else [])
    images = images_to_encode(wildcards, input)
    return estimates.extraction_memory(images, weights, attempt)


def extraction_minutes(wildcards, input, attempt):
    """For the resources of a job that extracts or imports features."""
    return estimates.extraction_minutes(images_to_encode(wildcards, input), attempt)


def methods_needs(wildcards):
    """What each method needs that the job may run: the cell's, or in shipping what is named or may be recommended."""
    named = getattr(wildcards, "method", STUDY.ship["method"])
    specs = [STUDY.methods[named]] if named else STUDY.methods.values()
    return [spec.needs for spec in specs]


def learns_through_tower(wildcards):
    """Whether the job may have a tower of its backbone in the loop. Features made elsewhere have none."""
    wanted = any(engines.IN_THE_LOOP & needs for needs in methods_needs(wildcards))
    return wanted and "model" in STUDY.backbones[wildcards.backbone]


def tower_files(wildcards):
    """The files that the study gives for the backbone, where the job may load it."""
    return model_files(wildcards) if learns_through_tower(wildcards) else {}


def tower_weights(wildcards, input):
    """The size of the weights in MB of which the job may load a tower; None where it loads none."""
    files = [input.weights] if "weights" in input.keys() else []
    return estimates.megabytes(files) if learns_through_tower(wildcards) else None


def support_files(wildcards):
    """The files of supports that the cell reads, where the dataset names some."""
    pattern = STUDY.datasets[wildcards.dataset].get("supports", "")
    if not pattern or wildcards.shots in ("0", "all"):
        return []
    with_shots = pattern.replace("{shots}", wildcards.shots)
    return sorted(
        {with_shots.replace("{seed}", str(seed)) for seed in range(STUDY.seeds)}
    )


def supports_option(wildcards):
    """Where the dataset's supports are read from, if they are not drawn."""
    pattern = STUDY.datasets[wildcards.dataset].get("supports", "")
    return f"--supports {shlex.quote(pattern)}" if pattern else ""


def method_options(spec):
    """Of a method's cells: what is imported before them, then the hash of the code behind them and the plugin's file."""
    entry = spec.entry
    plugin = ["--plugin", entry.where] if entry.where in STUDY.plugins else []
    imports = engines.imports(entry.method, spec.needs)
    code = code_hash(SCRIPTS / "evaluate.py", entry.file, modules=imports)
    return shlex.join([*imports, "--", "--code", code, *plugin])


def passed_plugins():
    """Which plugins have passed their check: tables mark the others, and are made anew when one has."""
    entries = {label: spec.entry for label, spec in STUDY.methods.items()}
    keys = {
        label: passed.key(entry.method.name, entry.file, entry.where)
        for label, entry in entries.items()
    }
    return {label: passed.has(key) for label, key in keys.items() if key}


# Read once, not once a job.
METHODS = {label: method_options(spec) for label, spec in STUDY.methods.items()}


def most_shots():
    """The largest number of shots of the study."""
    return max(STUDY.shots, key=lambda shots: float("inf" if shots == "all" else shots))


def ship_spec(wildcards):
    """What is shipped, and the rows that it may be."""
    entries = {
        label: {
            "method": spec.entry.method.name,
            "learns": spec.learns,
            "tuned": spec.tuned,
            "rows": spec.rows,
            "variants": [
                {"variant": name, "params": params} for name, params in spec.variants
            ],
        }
        for label, spec in STUDY.methods.items()
    }
    return to_json(
        {
            **STUDY.ship,
            "study": STUDY.name,
            "dataset": wildcards.dataset,
            "backbone": wildcards.backbone,
            "select": STUDY.select,
            "report": STUDY.report,
            "metric": STUDY.metric or "accuracy",
            "level": STUDY.calibrate.get("level", 0.9),
            "error": STUDY.calibrate.get("error", 0.05),
            "most": most_shots(),
            "methods": entries,
            "made_of": made_of(wildcards),
        }
    )


def ship_array_files(wildcards):
    """The arrays beside the features that one of these learns from; from those of vectors none that is shipped does."""
    if "features" in STUDY.backbones[wildcards.backbone]:
        return []
    needed = {
        name
        for needs in methods_needs(wildcards)
        for name in arrays(needs)
        if is_image(name)
    }
    made = f"{FEATURES}/{wildcards.backbone}/{wildcards.dataset}"
    return [f"{made}.{name}.safetensors" for name in sorted(needed)]


def ship_held(input):
    """MB of the features and of the largest array, of whose images it has all in memory."""
    images = max((estimates.megabytes([path]) for path in input.arrays), default=0)
    return estimates.held(estimates.megabytes([input.features]), images, "all", 1)


def ship_plugins():
    """The files of the study with further methods, as options."""
    return " ".join(f"--plugin {shlex.quote(path)}" for path in STUDY.plugins)


def ship_code():
    """The hash of the code behind a shipped folder: that of every method that may be shipped."""
    specs = STUDY.methods.values()
    entries = [spec.entry for spec in specs]
    modules = [
        name
        for spec in specs
        for name in engines.imports(spec.entry.method, spec.needs)
    ]
    return code_hash(
        SCRIPTS / "ship.py", *(entry.file for entry in entries), modules=modules
    )
