"""A study file: what a right one becomes, and the one line with which a wrong one ends."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from methods.tools import registry
from workflow.lib.errors import UserError
from workflow.lib.study import study

ROOT = Path(__file__).parents[2]
BASE = """\
study: trial
datasets:
  digits: {source: digits}
  sheets:
    source: folder
    path: photographs
    templates: ["a photo of a {}."]
backbones:
  small: {model: ViT-B-32, pretrained: laion2b_s34b_b79k}
  given: {features: "vectors/{dataset}.npz"}
shots: [1, 4, all]
seeds: 2
protocol:
  report: test
  select: last
plugins: []
methods:
  zero_shot: {}
  clip_adapter:
    ratio: [0.1, 0.2]
    lr: 1e-4
  bn: {method: linear_probe, batch_norm: true}
folders: {results: results}
"""


def write(folder: Path, text: str, name: str = "study.yaml") -> Path:
    """A study file in a folder."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def load(*files: Path, **overrides: Any) -> study.Study:
    """The study of the files as Snakemake hands it over: merged, with the command line's values on top."""
    config: dict[str, Any] = {}
    for file in files:
        config |= yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    return study.load(config | overrides, files)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that we are in."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def complaint(*files: Path, **overrides: Any) -> str:
    """The text of the error that loading ends with."""
    with pytest.raises(UserError) as caught:
        load(*files, **overrides)
    return str(caught.value)


def plugin(name: str) -> str:
    """The source of a plugin with one method of that name."""
    return f"""\
from methods import Method, hookimpl


class Added(Method):
    name = "{name}"


@hookimpl
def register_methods():
    return [Added]
"""


# --- what a right study becomes ----------------------------------------------------------------------------------


def test_the_grid_keeps_the_order_of_the_file(here: Path) -> None:
    made = load(write(here, BASE))
    assert (made.name, made.seeds, made.report, made.select) == ("trial", 2, "test", "last")
    assert (list(made.datasets), list(made.backbones)) == (["digits", "sheets"], ["small", "given"])
    assert made.shots == ["1", "4", "all"]
    assert list(made.methods) == ["zero_shot", "clip_adapter", "bn"]


def test_cells_are_every_pair_and_method_and_number_of_shots(here: Path) -> None:
    cells = load(write(here, BASE)).cells()
    assert len(cells) == len(set(cells)) == 2 * 2 * (1 + 3 + 3)
    assert cells[:4] == [
        ("digits", "small", "zero_shot", "0"),  # it learns nothing: one cell stands for all numbers of shots
        ("digits", "small", "clip_adapter", "1"),
        ("digits", "small", "clip_adapter", "4"),
        ("digits", "small", "clip_adapter", "all"),
    ]


def test_a_list_is_a_sweep_and_defaults_are_filled_in(here: Path) -> None:
    made = load(write(here, BASE)).methods["clip_adapter"]
    assert [name for name, _ in made.variants] == ["ratio=0.1", "ratio=0.2"]
    assert [params["ratio"] for _, params in made.variants] == [0.1, 0.2]
    assert all(set(params) == set(made.entry.method.params) for _, params in made.variants)


TUNED = BASE.replace("select: last", "select: [last, support_cv]").replace("lr: 1e-4", "tune: true")


def test_a_sweep_that_is_tuned_is_one_row(here: Path) -> None:
    made = load(write(here, TUNED)).methods["clip_adapter"]
    assert (made.tuned, made.rows) == ("ratio tuned", ["ratio tuned"])
    assert [name for name, _ in made.variants] == ["ratio=0.1", "ratio=0.2"]
    assert all("tune" not in params for _, params in made.variants)
    several = load(write(here, TUNED.replace("tune: true", "tune: true\n    lr: [1e-4, 1e-3]"))).methods["clip_adapter"]
    assert (several.rows, len(several.variants)) == (["ratio, lr tuned"], 4)
    plain = load(write(here, TUNED.replace("tune: true", "tune: false"))).methods["clip_adapter"]
    assert (plain.tuned, plain.rows) == ("", ["ratio=0.1", "ratio=0.2"])


def test_a_study_says_whether_it_cross_validates(here: Path) -> None:
    assert load(write(here, TUNED)).cross_validates
    assert load(write(here, BASE.replace("select: last", "select: support_cv"))).cross_validates
    assert not load(write(here, BASE)).cross_validates


def test_a_study_says_whether_it_calibrates(here: Path) -> None:
    assert not load(write(here, BASE)).calibrates
    assert load(write(here, BASE.replace("select: last", "select: [val_full, last]"))).calibrates
    made = load(write(here, BASE + "calibrate: {held_out: support_cv, level: 0.8}\n"))
    assert (made.calibrates, made.cross_validates) == (True, True)
    assert made.calibrate == {"held_out": "support_cv", "level": 0.8}
    with pytest.raises(UserError, match=r"no split for `calibrate: \{held_out: val\}`"):
        load(
            write(
                here,
                (BASE + "calibrate: {held_out: val}\n").replace("photographs", "photographs\n    cross_validate: 5"),
            )
        )


@pytest.mark.parametrize(
    ("protocol", "there"),
    [
        ({"report": "val"}, "report: val"),
        ({"select": ["last", "val_full"]}, "select: val_full"),
        ({"select": "report"}, "select: report"),
    ],
)
def test_a_dataset_with_folds_has_no_split_to_choose_on(here: Path, protocol: dict[str, Any], there: str) -> None:
    file = write(here, BASE.replace("path: photographs", "path: photographs\n    cross_validate: 5"))
    with pytest.raises(UserError) as caught:
        load(file, protocol=protocol)
    assert str(caught.value) == (
        f"study.yaml:7: datasets.sheets.cross_validate: there is no split for `{there}`; "
        "allowed beside it: report: test, select: last or support_cv"
    )


def test_cross_validation_goes_with_either_split(here: Path) -> None:
    """It looks at neither."""
    for report in ("test", "val"):
        made = load(write(here, TUNED.replace("report: test", f"report: {report}")))
        assert (made.select, made.also) == ("last", ["support_cv"])


def test_a_label_names_one_setting_of_a_method(here: Path) -> None:
    made = load(write(here, BASE)).methods["bn"]
    assert made.method.name == "linear_probe"
    assert [(name, params["batch_norm"]) for name, params in made.variants] == [("-", True)]


def test_a_number_without_a_dot_that_yaml_reads_as_a_text_is_a_number(here: Path) -> None:
    assert yaml.safe_load("1e-4") == "1e-4"
    variants = load(write(here, BASE)).methods["clip_adapter"].variants
    assert [params["lr"] for _, params in variants] == [0.0001, 0.0001]


@pytest.mark.parametrize("settings", ["", " {}", " null"])
def test_a_method_without_settings_may_be_written_in_three_ways(here: Path, settings: str) -> None:
    text = BASE.replace("  zero_shot: {}", f"  zero_shot:{settings}")
    assert load(write(here, text)).methods["zero_shot"].variants == [("-", {})]


def test_what_may_be_left_out_has_defaults(here: Path) -> None:
    lines = [
        line for line in BASE.splitlines() if not line.startswith(("seeds", "proto", "  rep", "  sel", "plug", "fold"))
    ]
    made = load(write(here, "\n".join(lines)))
    assert (made.seeds, made.report, made.select, made.plugins) == (3, "test", "last", [])
    assert (made.also, made.metric, made.peeking_gap, made.calibrate) == ([], "", False, {})
    assert (made.jobs_per_gpu, made.cell_minutes) == (1, 0)
    assert made.folders == {"data": "data", "features": "features", "results": "results"}


def test_what_is_shipped_is_the_recommended_row_unless_one_is_named(here: Path) -> None:
    path = write(here, BASE)
    assert load(path).ship == {"labels": "train", "method": "", "variant": "", "shots": "", "onnx": "head"}
    named = load(path, ship={"method": "bn", "shots": 4, "onnx": "none"}).ship
    assert named == {"labels": "train", "method": "bn", "variant": "-", "shots": "4", "onnx": "none"}
    assert load(path, ship={"method": "clip_adapter", "variant": "ratio=0.2"}).ship["variant"] == "ratio=0.2"


def test_how_images_are_read_goes_with_every_source_that_has_them(here: Path) -> None:
    text = BASE.replace("{source: digits}", "{source: digits, skip_bad_images: true, max_aspect: 300, array_gb: 0.5}")
    digits = load(write(here, text.replace("    path:", "    max_pixels: 400000000\n    path:"))).datasets
    assert digits["digits"] == {
        "source": "digits",
        "templates": ["a photo of the number {}.", "a handwritten digit {}."],
        "skip_bad_images": True,
        "max_aspect": 300,
        "array_gb": 0.5,
    }
    assert digits["sheets"]["max_pixels"] == 400_000_000


def test_a_tilde_in_a_backbones_paths_is_the_home_folder(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(here))
    text = BASE.replace("pretrained: laion2b_s34b_b79k", "pretrained: laion2b_s34b_b79k, weights: ~/w.pt")
    models = load(write(here, text.replace('"vectors/', '"~/'))).backbones
    assert models["small"]["weights"] == f"{here}/w.pt"
    assert models["given"]["features"] == f"{here}/{{dataset}}.npz"


def test_views_are_mirrored_where_the_source_allows_it_and_the_entry_doesn_t_say(here: Path) -> None:
    digits = BASE.replace("{source: digits}", "{source: digits, views: 2}")
    text = digits.replace("    path:", "    views: 3\n    path:")
    sets = load(write(here, text)).datasets
    assert [(entry["views"], entry["flip"]) for entry in sets.values()] == [(2, False), (3, True)]
    sets = load(write(here, text.replace("    path:", "    flip: false\n    path:"))).datasets
    assert sets["sheets"]["flip"] is False


def test_templates_come_from_the_source_unless_they_are_given(here: Path) -> None:
    sets = load(write(here, BASE)).datasets
    assert sets["digits"]["templates"] == ["a photo of the number {}.", "a handwritten digit {}."]
    assert sets["sheets"] == {"source": "folder", "path": "photographs", "templates": ["a photo of a {}."]}


def test_a_plugin_is_used_by_its_path(here: Path) -> None:
    (here / "mine.py").write_text(plugin("mine"))
    text = BASE.replace("plugins: []", "plugins: [mine.py]").replace("  zero_shot: {}", "  mine: {}")
    entry = load(write(here, text)).methods["mine"].entry
    assert (entry.where, entry.file) == ("mine.py", str(here / "mine.py"))


@pytest.mark.parametrize(
    "path", [ROOT / "config.yaml", *sorted((ROOT / "studies").glob("*.yaml"))], ids=lambda p: p.stem
)
def test_the_studies_of_this_repository_are_right(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    assert load(path).name


@pytest.mark.parametrize(
    ("protocol", "expected"),
    [
        ({}, 20),
        ({"curve": 7}, 7),
        ({"curve": "all"}, 0),
        ({"select": "val_full"}, 0),
        ({"select": ["last", "report"]}, 0),
    ],
)
def test_every_epoch_is_scored_where_a_regime_chooses(protocol: dict[str, Any], expected: int) -> None:
    config = yaml.safe_load((ROOT / "config.yaml").read_text()) | {"protocol": protocol}
    assert study.load(config, []).curve == expected


# --- what a wrong study ends with --------------------------------------------------------------------------------

DATASETS, METHODS = BASE.index("datasets:"), BASE.index("methods:")
ALL_DATASETS = BASE[DATASETS : BASE.index("backbones:")]
ALL_METHODS = BASE[METHODS : BASE.index("folders:")]
KEYS = ", ".join(yaml.safe_load(study.SCHEMA.read_text())["properties"])
SHOTS = "a whole number from 1 up, or 'all'"
NAME = "a name of a-z, 0-9 and _"
TEMPLATE = "a text with one {}, where the class name goes"
ONCE = "a list in which nothing stands twice"
HOOK = "a file with a @hookimpl register_methods or register_sources"
# What is wrong, the text of BASE and what stands in its place, and the line after "study.yaml:". METHODS there
# stands for all methods there are.
WRONG = [
    # keys, at every level
    ("a key", "seeds: 2", "seedz: 2", f"12: seedz: no such key; allowed: {KEYS}; did you mean 'seeds'?"),
    ("a key like none", "seeds: 2", "gpus: 2", f"12: gpus: no such key; allowed: {KEYS}"),
    (
        "a key of protocol",
        "  select: last",
        "  selection: last",
        "15: protocol.selection: no such key; allowed: report, select, peeking_gap, curve; did you mean 'select'?",
    ),
    (
        "no epoch to score",
        "  select: last",
        "  curve: 0",
        "15: protocol.curve: found 0, allowed: a whole number from 1 to 100000, or 'all'",
    ),
    (
        "a key of folders",
        "{results: results}",
        "{result: results}",
        "23: folders.result: no such key; allowed: data, features, results; did you mean 'results'?",
    ),
    (
        "a key of a dataset",
        "path: photographs",
        "pth: photographs",
        "6: datasets.sheets.pth: not an option of source folder; did you mean path?"
        " (known: path, classes, split, cross_validate, groups)",
    ),
    (
        "no folds",
        "path: photographs",
        "path: photographs\n    cross_validate: 1",
        "7: datasets.sheets.cross_validate: found 1, allowed: at least 2 folds",
    ),
    (
        "folds that are true",
        "path: photographs",
        "path: photographs\n    cross_validate: true",
        "7: datasets.sheets.cross_validate: found true, allowed: whole number: how many folds, in place of `split`; "
        "5 is usual",
    ),
    (
        "folds, and supports from files",
        "path: photographs",
        "path: photographs\n    cross_validate: 5\n    supports: own.json",
        "7: datasets.sheets.cross_validate: supports are drawn for each fold, and `supports` names files; "
        "keep one of the two",
    ),
    (
        "folds, and features from elsewhere",
        "path: photographs",
        "path: photographs\n    cross_validate: 5",
        "7: datasets.sheets.cross_validate: features made elsewhere, those of the backbone 'given', have no folds; "
        "allowed: models",
    ),
    (
        "a key of a backbone",
        "pretrained: ",
        "pretraned: ",
        "9: backbones.small.pretraned: not a key of a backbone; did you mean pretrained?"
        " (known: model, pretrained, weights, preprocess, quick_gelu, precision, batch_size, features, logit_scale,"
        " allow_zeros)",
    ),
    (
        "a parameter",
        "    ratio: [0.1, 0.2]",
        "    ratoi: 0.1",
        "20: methods.clip_adapter.ratoi: clip_adapter has no such parameter;"
        " allowed: ratio, recipe, reduction, lr, weight_decay, epochs, batch_size; did you mean 'ratio'?",
    ),
    (
        "a parameter where there are none",
        "  zero_shot: {}",
        "  zero_shot: {ratio: 0.1}",
        "18: methods.zero_shot.ratio: zero_shot has no such parameter; allowed: none",
    ),
    ("a key that is no text", 'npz"}', 'npz", 1: 2}', "10: backbones.given.1: found 1, allowed: a text"),
    ("a key twice", "seeds: 2", "seeds: 2\nseeds: 3", "13: the key 'seeds' stands there twice"),
    ("a parameter twice", "    lr: 1e-4", "    lr: 1e-4\n    lr: 1e-5", "22: the key 'lr' stands there twice"),
    ("a label twice", "  bn:", "  zero_shot:", "22: the key 'zero_shot' stands there twice"),
    # what must be there
    ("no study", "study: trial\n", "", "1: the key 'study' is missing"),
    ("no shots", "shots: [1, 4, all]\n", "", "1: the key 'shots' is missing"),
    ("no methods", ALL_METHODS, "", "1: the key 'methods' is missing"),
    (
        "no source",
        "{source: digits}",
        "{sorce: digits}",
        "3: datasets.digits: the key 'source' is missing; did you mean 'sorce'?",
    ),
    ("no datasets", ALL_DATASETS, "datasets: {}\n", "2: datasets: found {}, allowed: at least one entry"),
    (
        "no weights",
        ", pretrained: laion2b_s34b_b79k",
        "",
        "9: backbones.small: pretrained or weights: one is wanted, a model without weights knows nothing",
    ),
    (
        "an empty backbone",
        '{features: "vectors/{dataset}.npz"}',
        "",
        "10: backbones.given: found nothing, allowed: a mapping",
    ),
    ("an empty study", "study: trial", "study:", "1: study: found nothing, allowed: a text"),
    # names, which become parts of paths
    ("a way out", "study: trial", "study: ../trial", f"1: study: found '../trial', allowed: {NAME}"),
    ("a slash", "  sheets:", "  a/b:", f"4: datasets.a/b: found 'a/b', allowed: {NAME}"),
    ("capitals", "  small:", "  Small-1:", f"9: backbones.Small-1: found 'Small-1', allowed: {NAME}"),
    ("dots in a label", "  bn:", "  ..:", f"22: methods...: found '..', allowed: {NAME}"),
    ("a name of digits", "  sheets:", "  2024:", "4: datasets.2024: found 2024, allowed: a text"),
    ("no name", "study: trial", "study: ''", f"1: study: found '', allowed: {NAME}"),
    (
        "a wildcard in a folder",
        "{results: results}",
        '{results: "{x}"}',
        "23: folders.results: found '{x}', allowed: the path of a folder, without { and }",
    ),
    # datasets and backbones
    (
        "a source",
        "{source: digits}",
        "{source: digit}",
        "3: datasets.digits.source: 'digit' is unknown; did you mean digits?"
        " (known: digits, features, fgvc_aircraft, folder, planes, table)",
    ),
    (
        "a source that is a list",
        "{source: digits}",
        "{source: [digits]}",
        "3: datasets.digits.source: found ['digits'], allowed: a text",
    ),
    (
        "no views",
        "{source: digits}",
        "{source: digits, views: 0}",
        "3: datasets.digits.views: found 0, allowed: at least 1",
    ),
    (
        "views that are no number",
        "{source: digits}",
        "{source: digits, views: true}",
        "3: datasets.digits.views: found true, allowed: a whole number",
    ),
    (
        "views of no images",
        "{source: digits}",
        "{source: features, views: 2}",
        "3: datasets.digits.views: there are no images to augment; allowed: train_views (N, V, D) in the npz file",
    ),
    (
        "bad images of no images",
        "{source: digits}",
        "{source: features, skip_bad_images: true}",
        "3: datasets.digits.skip_bad_images: there are no images to read; allowed: leaving it away",
    ),
    (
        "bad images that are no switch",
        "{source: digits}",
        "{source: digits, skip_bad_images: 3}",
        "3: datasets.digits.skip_bad_images: found 3, allowed: true or false",
    ),
    (
        "no pixels",
        "{source: digits}",
        "{source: digits, max_pixels: 0}",
        "3: datasets.digits.max_pixels: found 0, allowed: at least 1",
    ),
    (
        "an array of less than nothing",
        "{source: digits}",
        "{source: digits, array_gb: -1}",
        "3: datasets.digits.array_gb: found -1, allowed: at least 0",
    ),
    (
        "an aspect that is no whole number",
        "{source: digits}",
        "{source: digits, max_aspect: 1.5}",
        "3: datasets.digits.max_aspect: found 1.5, allowed: a whole number",
    ),
    (
        "a preprocessing key",
        "laion2b_s34b_b79k}",
        "laion2b_s34b_b79k, preprocess: {avg: [0, 0, 0]}}",
        "9: backbones.small.preprocess: avg is not one of its keys: mean, std, interpolation, resize_mode, size",
    ),
    (
        "an activation in words",
        "laion2b_s34b_b79k}",
        "laion2b_s34b_b79k, quick_gelu: quick}",
        "9: backbones.small.quick_gelu: 'quick' is not whether the weights were trained with QuickGELU: true or false",
    ),
    (
        "a logit_scale beside a model",
        "laion2b_s34b_b79k}",
        "laion2b_s34b_b79k, logit_scale: 100}",
        "9: backbones.small.logit_scale: has no meaning without features, which it is about",
    ),
    (
        "a logit_scale that is none",
        'npz"}',
        'npz", logit_scale: -1}',
        "10: backbones.given.logit_scale: -1 is not a number above 0 and up to 1e+06",
    ),
    (
        "a flip that is a share",
        "{source: digits}",
        "{source: digits, views: 2, flip: 0.5}",
        "3: datasets.digits.flip: found 0.5, allowed: true or false",
    ),
    (
        "a template without {}",
        "photo of a {}.",
        "photo.",
        f"7: datasets.sheets.templates[0]: found 'a photo.', allowed: {TEMPLATE}",
    ),
    (
        "a template with two {}",
        "a photo of",
        "{} of",
        f"7: datasets.sheets.templates[0]: found '{{}} of a {{}}.', allowed: {TEMPLATE}",
    ),
    (
        "a template with {name}",
        "a {}.",
        "{n}.",
        f"7: datasets.sheets.templates[0]: found 'a photo of {{n}}.', allowed: {TEMPLATE}",
    ),
    (
        "no template",
        '["a photo of a {}."]',
        "[]",
        "7: datasets.sheets.templates: found [], allowed: a list with something in it",
    ),
    (
        "a template that is no list",
        '["a photo of a {}."]',
        "a {}",
        "7: datasets.sheets.templates: found 'a {}', allowed: a list",
    ),
    (
        "a precision",
        "laion2b_s34b_b79k}",
        "laion2b_s34b_b79k, precision: fp8}",
        "9: backbones.small.precision: 'fp8' is none of fp32, bf16, fp16",
    ),
    (
        "a model beside features",
        'npz"}',
        'npz", model: RN50}',
        "10: backbones.given.model: has no meaning beside features, which stand in place of a model",
    ),
    (
        "another placeholder",
        "{dataset}",
        "{name}",
        "10: backbones.given.features: found 'vectors/{name}.npz',"
        " allowed: a path in which {dataset} stands for the name of the dataset",
    ),
    (
        "a model for a dataset without images",
        "{source: digits}",
        "{source: features}",
        "9: backbones.small: the dataset 'digits' has no images to run a model on;"
        " allowed: features: path/{dataset}.npz",
    ),
    # shots and seeds
    ("0 shots", "[1, 4, all]", "[1, 0]", f"11: shots[1]: found 0, allowed: {SHOTS}"),
    ("-1 shots", "[1, 4, all]", "[-1]", f"11: shots[0]: found -1, allowed: {SHOTS}"),
    ("1.5 shots", "[1, 4, all]", "[1.5]", f"11: shots[0]: found 1.5, allowed: {SHOTS}"),
    ("2.0 shots", "[1, 4, all]", "[2.0]", f"11: shots[0]: found 2.0, allowed: {SHOTS}"),
    ("many shots", "[1, 4, all]", "[1, many]", f"11: shots[1]: found 'many', allowed: {SHOTS}"),
    ("true shots", "[1, 4, all]", "[true]", f"11: shots[0]: found true, allowed: {SHOTS}"),
    ("shots twice", "[1, 4, all]", "[1, 4, 4]", f"11: shots: found [1, 4, 4], allowed: {ONCE}"),
    ("no number of shots", "[1, 4, all]", "[]", "11: shots: found [], allowed: a list with something in it"),
    ("shots that are no list", "[1, 4, all]", "4", "11: shots: found 4, allowed: a list"),
    ("0 seeds", "seeds: 2", "seeds: 0", "12: seeds: found 0, allowed: at least 1"),
    ("no job on a GPU", "seeds: 2", "jobs_per_gpu: 0", "12: jobs_per_gpu: found 0, allowed: at least 1"),
    ("half a job", "seeds: 2", "jobs_per_gpu: 0.5", "12: jobs_per_gpu: found 0.5, allowed: a whole number"),
    ("too many jobs", "seeds: 2", "jobs_per_gpu: 65", "12: jobs_per_gpu: found 65, allowed: at most 64"),
    ("no time", "seeds: 2", "cell_minutes: 0", "12: cell_minutes: found 0, allowed: at least 0.01"),
    ("for ever", "seeds: 2", "cell_minutes: .inf", "12: cell_minutes: found inf, allowed: a number"),
    ("no number", "seeds: 2", "cell_minutes: .nan", "12: cell_minutes: found nan, allowed: a number"),
    ("no minutes", "seeds: 2", "cell_minutes: 2h", "12: cell_minutes: found '2h', allowed: a number"),
    ("true minutes", "seeds: 2", "cell_minutes: true", "12: cell_minutes: found true, allowed: a number"),
    ("1001 seeds", "seeds: 2", "seeds: 1001", "12: seeds: found 1001, allowed: at most 1000"),
    ("2.0 seeds", "seeds: 2", "seeds: 2.0", "12: seeds: found 2.0, allowed: a whole number"),
    ("true seeds", "seeds: 2", "seeds: true", "12: seeds: found true, allowed: a whole number"),
    ("a list of seeds", "seeds: 2", "seeds: [0, 1]", "12: seeds: found [0, 1], allowed: a whole number"),
    # protocol
    (
        "a split",
        "report: test",
        "report: tset",
        "14: protocol.report: found 'tset', allowed: one of 'val', 'test'; did you mean 'test'?",
    ),
    (
        "a regime",
        "select: last",
        "select: best",
        "15: protocol.select: found 'best', allowed: one of 'last', 'support_cv', 'val_fewshot', 'val_full', "
        "'report', or a list of these",
    ),
    (
        "a regime that is nearly one",
        "select: last",
        "select: val_ful",
        "15: protocol.select: found 'val_ful', allowed: one of 'last', 'support_cv', 'val_fewshot', 'val_full', "
        "'report', or a list of these; did you mean 'val_full'?",
    ),
    (
        "a regime twice",
        "select: last",
        "select: [last, last]",
        "15: protocol.select: found ['last', 'last'], allowed: one of 'last', 'support_cv', 'val_fewshot', "
        "'val_full', 'report', or a list of these",
    ),
    (
        "one regime of several that chooses on the reported split",
        "test\n  select: last",
        "val\n  select: [last, val_full]",
        "15: protocol.select[1]: 'val_full' would choose on the split that is reported; "
        "allowed with val: last, support_cv, report",
    ),
    (
        "choosing on the reported split",
        "test\n  select: last",
        "val\n  select: val_full",
        "15: protocol.select: 'val_full' would choose on the split that is reported; "
        "allowed with val: last, support_cv, report",
    ),
    (
        "choosing on some of the reported split",
        "test\n  select: last",
        "val\n  select: val_fewshot",
        "15: protocol.select: 'val_fewshot' would choose on the split that is reported; "
        "allowed with val: last, support_cv, report",
    ),
    # calibration
    (
        "calibrating on the reported split",
        "test\n  select: last",
        "val\n  select: last\ncalibrate: {held_out: val}",
        "16: calibrate.held_out: 'val' is the split that is reported; allowed with it: support_cv",
    ),
    (
        "calibrating on nothing",
        "select: last",
        "select: last\ncalibrate: {level: 0.8}",
        "16: calibrate: select: last leaves no image to calibrate on; name some: held_out: val or support_cv",
    ),
    (
        "calibrating on nothing, whichever of two does not choose",
        "select: last",
        "select: [last, report]\ncalibrate: {level: 0.8}",
        "16: calibrate: select: last leaves no image to calibrate on; name some: held_out: val or support_cv",
    ),
    (
        "calibrating on the test",
        "select: last",
        "select: last\ncalibrate: {held_out: test}",
        "16: calibrate.held_out: found 'test', allowed: one of 'val', 'support_cv'",
    ),
    (
        "a level in percent",
        "select: last",
        "select: last\ncalibrate: {held_out: val, level: 90}",
        "16: calibrate.level: found 90, allowed: at most 0.999",
    ),
    (
        "an unknown way to calibrate",
        "select: last",
        "select: last\ncalibrate: {held_out: val, method: isotonik}",
        "16: calibrate.method: found 'isotonik', allowed: one of 'temperature', 'isotonic'; did you mean 'isotonic'?",
    ),
    # tuning
    (
        "tuning that is no truth value",
        "lr: 1e-4",
        "tune: 3",
        "21: methods.clip_adapter.tune: found 3, allowed: true or false",
    ),
    (
        "tuning without a sweep",
        "ratio: [0.1, 0.2]\n    lr: 1e-4",
        "ratio: [0.1]\n    tune: true",
        "21: methods.clip_adapter.tune: there is nothing to tune: no parameter has a list of several values",
    ),
    (
        "tuning where nothing is chosen",
        "lr: 1e-4",
        "tune: true",
        "21: methods.clip_adapter.tune: `select: last` chooses nothing, so there is nothing to tune by; allowed: a "
        "`protocol.select` that chooses, such as support_cv",
    ),
    (
        "a list for a mapping",
        "\n  report: test\n  select: last",
        " [last]",
        "13: protocol: found ['last'], allowed: a mapping",
    ),
    # plugins
    (
        "no such plugin",
        "[]",
        "[mine.py]",
        "16: plugins[0]: can't load 'mine.py': FileNotFoundError: no such file: mine.py",
    ),
    (
        "a plugin that is no .py",
        "[]",
        "[mine.txt]",
        "16: plugins[0]: found 'mine.txt', allowed: the path of a .py file",
    ),
    ("a plugin that is no list", "[]", "fine.py", "16: plugins: found 'fine.py', allowed: a list"),
    (
        "a plugin that doesn't import",
        "[]",
        "[fine.py, broken.py]",
        "16: plugins[1]: can't load 'broken.py': ModuleNotFoundError: No module named 'nothing_of_the_kind'",
    ),
    (
        "a plugin that doesn't import, named behind the one that works",
        "[]",
        "[fine.py, worse.py]",
        "16: plugins[1]: can't load 'worse.py': ModuleNotFoundError: No module named 'nothing_of_the_kind'",
    ),
    (
        "a plugin that doesn't parse",
        "[]",
        "[torn.py]",
        "16: plugins[0]: can't load 'torn.py': SyntaxError: invalid syntax (torn.py, line 1)",
    ),
    (
        "a plugin without a method",
        "[]",
        "[silent.py]",
        f"16: plugins[0]: 'silent.py' registers no method and no source; allowed: {HOOK}",
    ),
    (
        "a plugin with a taken name",
        "[]",
        "[taken.py]",
        "16: plugins[0]: can't load 'taken.py': ValueError: the name 'zero_shot' is taken by built-in",
    ),
    ("a plugin twice", "[]", "[fine.py, fine.py]", f"16: plugins: found ['fine.py', 'fine.py'], allowed: {ONCE}"),
    # methods and their parameters
    (
        "a method",
        "  clip_adapter:",
        "  clip_adaptor:",
        "19: methods.clip_adaptor: no method 'clip_adaptor'; there are METHODS; did you mean 'clip_adapter'?",
    ),
    (
        "a method like none",
        "  zero_shot: {}",
        "  xgboost: {}",
        "18: methods.xgboost: no method 'xgboost'; there are METHODS",
    ),
    (
        "the method of a label",
        "method: linear_probe",
        "method: linear_prob",
        "22: methods.bn.method: no method 'linear_prob'; there are METHODS; did you mean 'linear_probe'?",
    ),
    (
        "a list for a method",
        "method: linear_probe",
        "method: [a]",
        "22: methods.bn.method: no method ['a']; there are METHODS",
    ),
    (
        "a number for a method",
        "method: linear_probe",
        "method: 3",
        "22: methods.bn.method: no method 3; there are METHODS",
    ),
    (
        "a text for settings",
        "zero_shot: {}",
        "zero_shot: yes please",
        "18: methods.zero_shot: found 'yes please', allowed: a mapping",
    ),
    (
        "a list of methods",
        ALL_METHODS,
        "methods: [zero_shot]\n",
        "17: methods: found ['zero_shot'], allowed: a mapping",
    ),
    ("out of range", "[0.1, 0.2]", "1.5", "20: methods.clip_adapter.ratio: found 1.5, allowed: a number ≥ 0 and ≤ 1"),
    (
        "out of range in a sweep",
        "0.2]",
        "-0.2]",
        "20: methods.clip_adapter.ratio[1]: found -0.2, allowed: a number ≥ 0 and ≤ 1",
    ),
    ("at an open bound", "1e-4", "0", "21: methods.clip_adapter.lr: found 0, allowed: a number > 0"),
    ("a text for a number", "1e-4", "fast", "21: methods.clip_adapter.lr: found 'fast', allowed: a number > 0"),
    ("no number", "1e-4", ".nan", "21: methods.clip_adapter.lr: found nan, allowed: a number > 0"),
    ("nothing for a number", " 1e-4", "", "21: methods.clip_adapter.lr: found nothing, allowed: a number > 0"),
    (
        "true for a whole number",
        "lr: 1e-4",
        "epochs: true",
        "21: methods.clip_adapter.epochs: found true, allowed: a whole number ≥ 0",
    ),
    (
        "3.0 for a whole number",
        "lr: 1e-4",
        "epochs: 3.0",
        "21: methods.clip_adapter.epochs: found 3.0, allowed: a whole number ≥ 0",
    ),
    ("1 for true", "batch_norm: true", "batch_norm: 1", "22: methods.bn.batch_norm: found 1, allowed: true or false"),
    (
        "a text for true",
        "batch_norm: true",
        "batch_norm: 'yes'",
        "22: methods.bn.batch_norm: found 'yes', allowed: true or false",
    ),
    (
        "none of the choices",
        "lr: 1e-4",
        "recipe: papr",
        "21: methods.clip_adapter.recipe: found 'papr', allowed: one of 'study', 'paper', 'coop'; "
        "did you mean 'paper'?",
    ),
    (
        "an empty sweep",
        "[0.1, 0.2]",
        "[]",
        "20: methods.clip_adapter.ratio: an empty list; give a value, or several to sweep",
    ),
    ("twice in a sweep", "0.2]", "0.10]", "20: methods.clip_adapter.ratio[1]: 0.1 stands there twice"),
    (
        "a list in a sweep",
        "0.2]",
        "[0.2]]",
        "20: methods.clip_adapter.ratio[1]: found [0.2], allowed: a number ≥ 0 and ≤ 1",
    ),
    (
        "a shipped method that there is not",
        "seeds: 2",
        "seeds: 2\nship: {method: clip_adaptr}",
        "13: ship.method: the study has no method of this label; allowed: zero_shot, clip_adapter, bn; "
        "did you mean 'clip_adapter'?",
    ),
    (
        "one of several rows to ship",
        "seeds: 2",
        "seeds: 2\nship: {method: clip_adapter}",
        "13: ship.method: it has several rows: name one by `variant`; allowed: 'ratio=0.1', 'ratio=0.2'",
    ),
    (
        "a row to ship that there is not",
        "seeds: 2",
        "seeds: 2\nship: {method: clip_adapter, variant: ratio=0.3}",
        "13: ship.variant: found 'ratio=0.3', allowed: 'ratio=0.1', 'ratio=0.2'; did you mean 'ratio=0.2'?",
    ),
    (
        "shots to ship that there are not",
        "seeds: 2",
        "seeds: 2\nship: {method: bn, shots: 5}",
        "13: ship.shots: found 5, allowed: 1, 4, all",
    ),
    (
        "a row of no method to ship",
        "seeds: 2",
        "seeds: 2\nship: {variant: ratio=0.1}",
        "13: ship.variant: has no meaning without `method`, whose row it is of",
    ),
    (
        "labels to ship",
        "seeds: 2",
        "seeds: 2\nship: {labels: all}",
        "13: ship.labels: found 'all', allowed: one of 'train', 'everything'",
    ),
    ("two lines of text", "1e-4", '"a\\nb"', "21: methods.clip_adapter.lr: found 'a b', allowed: a number > 0"),
]
PLUGINS = {
    "fine.py": plugin("fine"),
    "taken.py": plugin("zero_shot"),
    "silent.py": "",
    "broken.py": "import nothing_of_the_kind",
    "worse.py": "import nothing_of_the_kind",
    "torn.py": "def (",
}


@pytest.mark.parametrize(("right", "wrong", "message"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG])
def test_a_mistake_is_one_line_with_its_place_and_what_is_allowed(
    here: Path, right: str, wrong: str, message: str
) -> None:
    for name, source in PLUGINS.items():
        (here / name).write_text(source)
    assert BASE.count(right) == 1
    found = complaint(write(here, BASE.replace(right, wrong)))
    assert found == f"study.yaml:{message}".replace("METHODS", ", ".join(registry.load().methods))


def test_the_table_is_of_real_mistakes(here: Path) -> None:
    assert load(write(here, BASE)).name == "trial"


@pytest.mark.parametrize("text", ["", "# nothing but a comment\n"])
def test_an_empty_file_lacks_the_first_key(here: Path, text: str) -> None:
    assert complaint(write(here, text)) == "study.yaml:1: the key 'study' is missing"


def test_a_mistake_of_the_command_line_is_not_looked_for_in_the_file(here: Path) -> None:
    file = write(here, BASE)
    assert complaint(file, seeds=0) == "--config: seeds: found 0, allowed: at least 1"
    assert complaint(file, seedz=4).startswith("--config: seedz: no such key")


def test_of_two_files_the_one_that_has_the_mistake_is_named(here: Path) -> None:
    first = write(here, BASE, "first.yaml")
    wrong = write(here, "protocol:\n  select: best\n", "second.yaml")
    assert complaint(first, wrong).startswith("second.yaml:2: protocol.select: found 'best'")
    wrong = write(here, BASE.replace("seeds: 2", "seeds: 0"), "first.yaml")
    assert complaint(wrong, write(here, "shots: [1]", "second.yaml")).startswith("first.yaml:12: seeds: found 0")


def test_a_file_elsewhere_is_named_with_its_folder(here: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    file = write(tmp_path_factory.mktemp("elsewhere"), BASE.replace("seeds: 2", "seeds: 0"))
    assert complaint(file) == f"{file}:12: seeds: found 0, allowed: at least 1"


def test_a_plugin_that_is_broken_elsewhere_harms_only_those_who_ask_for_it(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = registry.load

    def with_a_broken_package(paths: list[str]) -> registry.Registry:
        found = real(paths)
        found.broken.append(registry.Broken("bought", "package bought", "ImportError: no GPU"))
        return found

    monkeypatch.setattr(study.plugins, "load", with_a_broken_package)
    assert load(write(here, BASE)).name == "trial"
    message = "study.yaml:18: methods.bought: the plugin 'bought' can't be used: package bought: ImportError: no GPU"
    assert complaint(write(here, BASE.replace("  zero_shot: {}", "  bought: {}"))) == message


def test_published_accuracies_do_not_stand_beside_another_metric(here: Path) -> None:
    (here / "published.csv").write_text("")
    references = "references: {digits.small: published.csv}\n"
    assert load(write(here, BASE + references)).metric == ""
    assert load(write(here, BASE + references + "metric: accuracy\n")).metric == "accuracy"
    assert complaint(write(here, BASE + references + "metric: macro_f1\n")).endswith(
        "references.digits.small: 'published.csv' has accuracies, and the study's metric is macro_f1; allowed: metric: "
        "accuracy, or none"
    )


def test_a_metric_that_there_is_not_is_named_with_those_that_there_are(here: Path) -> None:
    assert complaint(write(here, BASE + "metric: mean_class\n")).endswith(
        "metric: found 'mean_class', allowed: one of 'accuracy', 'mean_per_class', 'macro_f1', 'auroc'; did you mean "
        "'mean_per_class'?"
    )
