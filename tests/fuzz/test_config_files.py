"""Study files: a study whose cells have valid names, or one line that names the place. Nothing in them is ever run."""

import copy
import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests import starts
from tests.fuzz.corpus import TEXTS, TRAPS, damaged, mutated, outcome
from workflow.lib.errors import UserError
from workflow.lib.study import study

ROOT = Path(__file__).parents[2]
RIGHT: dict[str, Any] = {
    "study": "trial",
    "datasets": {"digits": {"source": "digits", "views": 2}, "own": {"source": "folder", "path": "photographs"}},
    "backbones": {
        "small": {"model": "ViT-B-32", "pretrained": "laion2b_s34b_b79k", "batch_size": 8},
        "given": {"features": "vectors/{dataset}.npz"},
    },
    "shots": [1, 4, "all"],
    "seeds": 2,
    "protocol": {"report": "test", "select": ["last", "report"], "peeking_gap": True},
    "plugins": [],
    "references": {},
    "methods": {
        "zero_shot": None,
        "clip_adapter": {"ratio": [0.1, 0.2], "lr": "1e-4"},
        "bn": {"method": "linear_probe", "batch_norm": True, "epochs": 3},
        "logistic_regression": {"inputs": ["image", "logits"]},
    },
    "folders": {"data": "data", "results": "results"},
}
NAME = re.compile(r"[a-z0-9_]{1,100}")


def parsed(text: str) -> Any:
    """What Snakemake makes of a study file: JSON if it is, else YAML; None where it refuses by itself."""
    try:
        try:
            return json.loads(text)
        except ValueError:
            return yaml.load(text, yaml.FullLoader)  # Snakemake's choice, not ours
    except (yaml.YAMLError, ValueError, RecursionError, TypeError, AttributeError):
        return None


def sound(found: study.Study) -> None:
    """A study that loads writes below its own folder, and everything in it is finite and of a declared type."""
    for cell in found.cells():
        assert all(NAME.fullmatch(name) for name in cell)
    assert NAME.fullmatch(found.name)
    assert 1 <= found.seeds <= 1000
    json.dumps([dict(found.datasets), dict(found.backbones), found.folders], allow_nan=False).encode()
    for spec in found.methods.values():
        names = [name for name, _ in spec.variants]
        assert len(set(names)) == len(names)
        assert all(name.isprintable() or not re.search(r"[\0-\x1f\x7f]", name) for name in names)
        for _, params in spec.variants:
            json.dumps(params, allow_nan=False).encode()
            assert all(spec.entry.method.params[key].check(value) == value for key, value in params.items())


def check(path: Path, text: str) -> study.Study | None:
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    config = parsed(text)
    if not isinstance(config, dict):
        return None
    config.pop("__use_yte__", None)
    found = outcome(lambda: study.load(config, [path]), "")
    if found is not None:
        sound(found)
    return found


@pytest.mark.parametrize("write", [json.dumps, yaml.safe_dump])
def test_the_right_one_is_read(tmp_path: Path, write: Any) -> None:
    found = check(tmp_path / "study.yaml", write(RIGHT))
    assert found is not None
    assert len(found.cells()) == 2 * 2 * (1 + 3 * 3)


@given(value=mutated(RIGHT))
def test_a_study_of_another_shape_in_json(tmp_path: Path, value: Any) -> None:
    check(tmp_path / "study.yaml", json.dumps(value))


@given(value=mutated(RIGHT))
def test_a_study_of_another_shape_in_yaml(tmp_path: Path, value: Any) -> None:
    check(tmp_path / "study.yaml", yaml.safe_dump(value))


@given(value=mutated(RIGHT))
def test_values_from_the_command_line_that_no_file_has(value: Any) -> None:
    """`--config` merges anything into a study."""
    if isinstance(value, dict) and (found := outcome(lambda: study.load(value, []), "")) is not None:
        sound(found)


@given(content=damaged(yaml.safe_dump(RIGHT).encode()))
def test_damaged_text(tmp_path: Path, content: bytes) -> None:
    try:
        check(tmp_path / "study.yaml", content.decode())
    except UnicodeDecodeError:
        return


# --- names that lead elsewhere -----------------------------------------------------------------------------------

PLACES = ["study", "datasets", "backbones", "methods"]


def named(place: str, name: str) -> dict[str, Any]:
    """The right study with another name for the study, or for a dataset, a backbone or a label."""
    config = copy.deepcopy(RIGHT)
    if place == "study":
        return config | {"study": name}
    old = {"datasets": "digits", "backbones": "small", "methods": "bn"}[place]
    return config | {place: {name if key == old else key: value for key, value in config[place].items()}}


@pytest.mark.parametrize("place", PLACES)
@given(name=st.sampled_from(TEXTS) | st.text(max_size=120) | st.from_regex(r"[a-z0-9_]{1,120}\n?", fullmatch=True))
def test_a_name_is_of_few_characters_or_refused(place: str, name: str) -> None:
    found = outcome(lambda: study.load(named(place, name), []), "")
    assert (found is not None) == bool(
        NAME.fullmatch(name) and (place != "methods" or name not in RIGHT["methods"])
    ) or (name in RIGHT.get(place, ()))
    if found is not None:
        sound(found)


@pytest.mark.parametrize("key", ["data", "features", "results"])
@pytest.mark.parametrize(
    "folder", ["", "a{b}", "{wildcard}", "nul\0", "two\nlines", "\x1b[2J", "\ud800", None, 7, ["a"]]
)
def test_a_folder_that_can_t_be_one_is_refused(key: str, folder: Any) -> None:
    assert outcome(lambda: study.load(RIGHT | {"folders": {key: folder}}, []), f"folders.{key}") is None


@pytest.mark.parametrize(
    "path", ["a" * 5000 + ".csv", "nul\0.csv", "{x}.csv", "/dev/null", ".csv", "x.csv\n", "~/x.csv"]
)
def test_a_reference_that_can_t_be_read_is_refused(path: str) -> None:
    assert outcome(lambda: study.load(RIGHT | {"references": {"digits.small": path}}, []), "") is None


@pytest.mark.parametrize(
    "path", ["a" * 5000 + ".py", "nul\0.py", "x.py\n", "/dev/null", ".py", "../../x.py", "no/such.py"]
)
def test_a_plugin_that_can_t_be_loaded_is_refused(path: str) -> None:
    assert outcome(lambda: study.load(RIGHT | {"plugins": [path]}, []), "plugins[0]") is None


# --- traps for the parser ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", TRAPS.values(), ids=TRAPS)
def test_what_is_no_study(tmp_path: Path, content: bytes) -> None:
    assert check(tmp_path / "study.yaml", content.decode("latin-1")) is None


LAUGHS = "l0: &l0 [x, x]\n" + "".join(f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]\n" for i in range(1, 40))


@pytest.mark.parametrize(
    "more",
    [
        LAUGHS,
        LAUGHS.replace("[", "{a: [").replace("]", "]}"),
        "me: &me [*me]\n",
        "me: &me {me: *me}\n",
        "x: !!python/object/apply:os.system ['touch sprung']\n",
        "x: !!python/name:os.system\n",
        "x: !!python/tuple [1, 2]\n",
        "x: !!python/module:os\n",
        "x: !!binary aGk=\n",
        "x: !!set {a, b}\n",
        "x: 2020-01-01\n",
        "__use_yte__: true\nx: ?__import__('pathlib').Path('sprung').touch()\n",
        "? [a, b]\n: 1\n",
        "'study': again\n",
        "\tstudy: x\n",
        "--- \n{}\n",
    ],
)
def test_yaml_that_does_more_than_say_a_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, more: str) -> None:
    monkeypatch.chdir(tmp_path)
    assert check(tmp_path / "study.yaml", yaml.safe_dump(RIGHT) + more) is None
    assert not (tmp_path / "sprung").exists()


def test_anchors_may_be_used(tmp_path: Path) -> None:
    text = yaml.safe_dump(RIGHT | {"methods": {}}).replace(
        "methods: {}", "methods:\n  one: &one {method: linear_probe, epochs: 3}\n  two: {<<: *one, epochs: 4}"
    )
    found = check(tmp_path / "study.yaml", text)
    assert found is not None
    assert [spec.variants[0][1]["epochs"] for spec in found.methods.values()] == [3, 4]


def test_json_with_tabs_which_yaml_does_not_allow(tmp_path: Path) -> None:
    text = json.dumps(RIGHT, indent="\t").replace("[\n", "[\n\t\t\t")
    path = tmp_path / "study.json"
    path.write_text(text)
    outcome(lambda: study.load(json.loads(text), [path]), path)


def test_a_sweep_of_millions_is_refused_before_it_is_made() -> None:
    many = {
        "method": "clip_adapter",
        "ratio": [i / 200 for i in range(200)],
        "epochs": list(range(1, 200)),
        "lr": [0.1, 0.2],
    }
    with pytest.raises(UserError, match=r"methods\.many: found a sweep of \d+ variants, allowed: at most 1000"):
        study.load(RIGHT | {"methods": {"many": many}}, [])


# --- through Snakemake itself ------------------------------------------------------------------------------------


def dry_run(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return starts.snakemake(["--snakefile", str(ROOT / "Snakefile"), "-n", *options], folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"study": "../away"}, "study.yaml:{line}: study: found '../away', allowed: a name of a-z, 0-9 and _"),
        ({"study": "trial\n"}, "study.yaml:{line}: study: found 'trial ', allowed: a text of one line without control"),
        ({"seeds": 10**30}, "study.yaml:{line}: seeds: found 1000000000000000000000000000000, allowed: at most 1000"),
        ({"plugins": ["no/such\x1b.py"]}, "study.yaml:{line}: plugins[0]: can't load 'no/such\\x1b.py': "),
        ({"__use_yte__": True}, "study.yaml: __use_yte__: not allowed: a study is data"),
    ],
)
def test_the_user_sees_one_line_and_nothing_is_started(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    text = yaml.safe_dump(RIGHT | change, sort_keys=False)
    (tmp_path / "study.yaml").write_text(text)
    line = next((i for i, row in enumerate(text.splitlines(), 1) if row.startswith(next(iter(change)))), 1)
    done = dry_run(tmp_path, "--configfile", "study.yaml")
    shown = [row for row in (done.stdout + done.stderr).splitlines() if row.startswith("error: ")]
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert len(shown) == 1
    assert message.format(line=line) in shown[0] or message.format(line=line + 1) in shown[0]
    assert {path.name for path in tmp_path.iterdir()} <= {"study.yaml", ".snakemake"}
