"""The study file: checked to the last key, with one line for a mistake, and made into plain data.

Imported by the Snakefile: no torch, no scikit-learn, no image library.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from methods.contract.params import brief, nearest
from methods.contract.shots import ZERO
from methods.tools import registry as plugins
from workflow.lib.data import datasets
from workflow.lib.data import registry as sources
from workflow.lib.data.datasets import Source
from workflow.lib.encoding import backbones
from workflow.lib.errors import UserError, describe, shortened
from workflow.lib.plugins import Entry
from workflow.lib.study import schema, ship_key
from workflow.lib.study.located import LocatedError
from workflow.lib.study.methods import MethodSpec, method_spec

SCHEMA = Path(__file__).parents[2] / "schemas" / "config.schema.yaml"
CURVE = 20  # points of a training that are scored where nothing is chosen among them
FOLDERS = {"data": "data", "features": "features", "results": "results"}


@dataclass(frozen=True)
class Study:
    """A study: the grid and the protocol."""

    name: str
    datasets: Mapping[str, Mapping[str, Any]]
    backbones: Mapping[str, Mapping[str, Any]]
    shots: Sequence[str]
    seeds: int
    report: str
    select: str  # the regime that the tables are about
    methods: Mapping[str, MethodSpec]
    also: Sequence[str] = ()  # further regimes, shown beside it
    metric: str = ""  # what the tables are about and choices are made by; empty where the study names none
    peeking_gap: bool = False  # whether the tables have a column of it
    curve: int = 0  # points of a training that are scored at most; 0: every epoch
    thumbnails: bool = True  # whether the page shows small pictures of the images
    plugins: Sequence[str] = ()
    calibrate: Mapping[str, Any] = field(default_factory=dict)  # what the file says of calibration
    references: Mapping[str, str] = field(default_factory=dict)  # <dataset>.<backbone> -> file of published numbers
    folders: Mapping[str, str] = field(default_factory=lambda: dict(FOLDERS))
    jobs_per_gpu: int = 1
    cell_minutes: float = 0  # the limit on a cell's time; 0: none
    ship: Mapping[str, str] = field(default_factory=lambda: dict(ship_key.DEFAULTS))  # what `snakemake ship` makes
    sources: Mapping[str, Entry[Source]] = field(default_factory=dict)  # where each dataset's source comes from

    @property
    def regimes(self) -> list[str]:
        """Every regime, the one that the tables are about first."""
        return [self.select, *self.also]

    @property
    def cross_validates(self) -> bool:
        """Whether its cells fit every variant to the support without each of its folds, too."""
        return "support_cv" in self.regimes or self.calibrate.get("held_out") == "support_cv"

    @property
    def calibrates(self) -> bool:
        """Whether what the first regime chooses has held-out images: those that it chose by, or those named."""
        return "held_out" in self.calibrate or self.select not in ("last", "report")

    @property
    def folds(self) -> dict[str, int]:
        """The number of folds of each dataset that is cross-validated."""
        return {name: entry["cross_validate"] for name, entry in self.datasets.items() if "cross_validate" in entry}

    def cells(self) -> list[tuple[str, str, str, str]]:
        """Every (dataset, backbone, method label, shots), in the order of the file."""
        return [
            (dataset, backbone, label, shots)
            for dataset in self.datasets
            for backbone in self.backbones
            for label, spec in self.methods.items()
            for shots in (self.shots if spec.learns else [ZERO])
        ]


def load(config: Mapping[str, Any], files: Sequence[str | Path], elsewhere: str = "--config") -> Study:
    """Check a configuration, read from `files`, and make it a Study.

    What is in no file comes from `elsewhere`. Raises UserError whose line begins with the file, the line number and the
    keys of the mistake.
    """
    try:
        schema.plain_data(files)
        schema.finite(config, LocatedError)
        schema.check(config, SCHEMA, LocatedError)
        made = _study(config)
        schema.printable(config, LocatedError)
        return made
    except LocatedError as error:
        raise UserError(shortened(f"{schema.place(config, files, error.keys, elsewhere)}: {error}")) from None
    except (UserError, OSError) as error:
        raise UserError(describe(error)) from None
    except RecursionError:
        raise UserError(f"{schema.place(config, files, [], elsewhere)}: nested too deeply for a study") from None


def _study(config: Mapping[str, Any]) -> Study:
    protocol: dict[str, Any] = {"report": "test", "select": "last", "peeking_gap": False, "curve": CURVE}
    protocol |= config.get("protocol") or {}
    regimes = _regimes(protocol)
    paths = list(config.get("plugins") or [])
    known = sources.load(paths)
    methods = plugins.load(paths)
    _check_plugins(paths, methods, known)
    sets = {name: _dataset(name, entry, known) for name, entry in config["datasets"].items()}
    models = {name: _backbone(name, entry) for name, entry in config["backbones"].items()}
    _check_pairs(config)
    calibrate = dict(config.get("calibrate") or {})
    _check_calibration(calibrate, protocol["report"], regimes)
    _check_folds(sets, models, protocol["report"], regimes, calibrate)
    specs = {
        label: method_spec(methods, label, dict(given or {}), regimes) for label, given in config["methods"].items()
    }
    return Study(
        name=config["study"],
        datasets=sets,
        backbones=models,
        shots=[str(shots) for shots in config["shots"]],
        seeds=config.get("seeds", 3),
        report=protocol["report"],
        select=regimes[0],
        also=regimes[1:],
        metric=config.get("metric", ""),
        peeking_gap=protocol["peeking_gap"],
        curve=_curve(protocol["curve"], regimes),
        calibrate=calibrate,
        methods=specs,
        plugins=paths,
        references=_references(config.get("references") or {}, sets, models, config.get("metric", "accuracy")),
        folders=FOLDERS | dict(config.get("folders") or {}),
        thumbnails=(config.get("report") or {}).get("thumbnails", True),
        jobs_per_gpu=config.get("jobs_per_gpu", 1),
        cell_minutes=config.get("cell_minutes", 0),
        ship=ship_key.wanted(config.get("ship") or {}, specs, [str(shots) for shots in config["shots"]]),
        sources={name: known.entries[entry["source"]] for name, entry in sets.items()},
    )


def _regimes(protocol: Mapping[str, Any]) -> list[str]:
    """The regimes of `select`, one or a list; none of them may choose on val where val is reported."""
    several = isinstance(protocol["select"], list)
    regimes = protocol["select"] if several else [protocol["select"]]
    for i, regime in enumerate(regimes):
        if protocol["report"] == "val" and regime.startswith("val_"):
            allowed = "last, support_cv, report"
            message = f"'{regime}' would choose on the split that is reported; allowed with val: {allowed}"
            raise LocatedError(["protocol", "select", *([i] if several else [])], message)
    return list(regimes)


def _check_calibration(calibrate: Mapping[str, Any], report: str, regimes: Sequence[str]) -> None:
    """Nothing is fitted to the split that is reported, and there is something to fit to."""
    if calibrate.get("held_out") == report:
        message = f"'{report}' is the split that is reported; allowed with it: support_cv"
        raise LocatedError(["calibrate", "held_out"], message)
    if calibrate and "held_out" not in calibrate and set(regimes) <= {"last", "report"}:
        message = f"select: {regimes[0]} leaves no image to calibrate on; name some: held_out: val or support_cv"
        raise LocatedError(["calibrate"], message)


def _curve(value: int | str, regimes: Sequence[str]) -> int:
    """How many points of a training are scored: all where a regime chooses among them, or `all` is asked for."""
    return 0 if value == "all" or list(regimes) != ["last"] else int(value)


def _references(
    files: Mapping[str, str], sets: Collection[str], models: Collection[str], metric: str
) -> dict[str, str]:
    """The files of published numbers, each for a table that the study has. They are accuracies."""
    known = [f"{dataset}.{backbone}" for dataset in sets for backbone in models]
    for table, path in files.items():
        if table not in known:
            message = f"the study has no such table; allowed: {', '.join(known)}{nearest(table, known)}"
            raise LocatedError(["references", table], message)
        if not Path(path).is_file():
            raise LocatedError(["references", table], f"no such file: '{path}'")
        if metric != "accuracy":
            message = f"'{path}' has accuracies, and the study's metric is {metric}; allowed: metric: accuracy, or none"
            raise LocatedError(["references", table], message)
    return dict(files)


def _dataset(name: str, entry: Mapping[str, Any], known: sources.Sources) -> dict[str, Any]:
    try:
        source, options = datasets.resolve(entry, known)
        extracted = datasets.views(entry, source) | datasets.shards(entry, source) | datasets.reading(entry, source)
    except UserError as error:
        raise _keyed(["datasets", name], entry, error) from None
    templates = list(entry.get("templates") or source.templates)
    given = {key: value for key, value in options.items() if value is not None}
    drawing = {key: entry[key] for key in ("classnames", "supports", "allow_fewer") if key in entry}
    return {"source": source.name, "templates": templates, **given, **drawing, **extracted}


def _backbone(name: str, entry: Mapping[str, Any]) -> dict[str, Any]:
    try:
        backbones.check(entry)
    except UserError as error:
        raise _keyed(["backbones", name], entry, error) from None
    path = entry.get("features", "")
    if set("{}") & set(path.replace("{dataset}", "")):
        message = f"found {brief(path)}, allowed: a path in which {{dataset}} stands for the name of the dataset"
        raise LocatedError(["backbones", name, "features"], message)
    return backbones.expanded(entry)


def _check_pairs(config: Mapping[str, Any]) -> None:
    """Datasets without images go with backbones without a model."""
    bare = next((name for name, entry in config["datasets"].items() if entry["source"] == "features"), None)
    model = next((name for name, entry in config["backbones"].items() if "features" not in entry), None)
    if bare is not None and model is not None:
        message = f"the dataset '{bare}' has no images to run a model on; allowed: features: path/{{dataset}}.npz"
        raise LocatedError(["backbones", model], message)


def _check_folds(
    sets: Mapping[str, Mapping[str, Any]],
    models: Mapping[str, Mapping[str, Any]],
    report: str,
    regimes: Sequence[str],
    calibrate: Mapping[str, Any],
) -> None:
    """A dataset that is cross-validated has no split to choose on, and folds only where its images are at hand."""
    beside = [f"select: {regime}" for regime in regimes if regime == "report" or regime.startswith("val_")]
    beside += ["report: val"] if report == "val" else []
    beside += ["calibrate: {held_out: val}"] if calibrate.get("held_out") == "val" else []
    vectors = [name for name, entry in models.items() if "features" in entry]
    for name, entry in sets.items():
        if "cross_validate" not in entry:
            continue
        keys = ["datasets", name, "cross_validate"]
        if beside:
            message = (
                f"there is no split for `{beside[0]}`; allowed beside it: report: test, select: last or support_cv"
            )
            raise LocatedError(keys, message)
        if "supports" in entry:
            raise LocatedError(
                keys, "supports are drawn for each fold, and `supports` names files; keep one of the two"
            )
        if vectors:
            message = f"features made elsewhere, those of the backbone '{vectors[0]}', have no folds; allowed: models"
            raise LocatedError(keys, message)


def _keyed(keys: list[str | int], entry: Mapping[str, Any], error: UserError) -> LocatedError:
    """An error whose text is `key: message`, at that key where the entry has it."""
    key, _, message = str(error).partition(": ")
    return LocatedError([*keys, key], message) if key in entry else LocatedError(keys, str(error))


def _check_plugins(paths: Sequence[str], methods: plugins.Registry, known: sources.Sources) -> None:
    """Every file that the study names adds something to it."""
    used = {entry.where for entry in methods.methods.values()} | {entry.where for entry in known.entries.values()}
    for i, path in enumerate(paths):
        if reason := next((one.reason for one in (*methods.broken, *known.broken) if one.where == path), ""):
            raise LocatedError(["plugins", i], f"can't load '{path}': {reason}")
        if path not in used:
            message = f"'{path}' registers no method and no source; allowed: a file with a @hookimpl register_methods"
            raise LocatedError(["plugins", i], f"{message} or register_sources")
