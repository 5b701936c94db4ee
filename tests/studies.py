"""Small studies that tests run for real: what is in their folder, and Snakemake on it."""

import re
import shutil
import subprocess
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import pytest
from filelock import FileLock
from PIL import Image

from tests import starts
from tests.samples import make_features
from workflow.lib.features.store import Features

ROOT = Path(__file__).parents[1]


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that `make` fills once a run, for whichever of pytest's workers needs it first; the others wait.

    Nobody may change it: whoever wants to, or lets Snakemake work in it, takes a copy.
    """
    own = factory.getbasetemp()
    folder = (own.parent if own.name.startswith("popen-gw") else own) / "once" / name
    folder.parent.mkdir(exist_ok=True)
    done = folder.with_name(f"{name}.done")
    with FileLock(f"{folder}.lock"):
        if not done.exists():
            shutil.rmtree(folder, ignore_errors=True)  # half of it, where somebody has failed
            folder.mkdir()
            make(folder)
            done.touch()
    return folder


def snakemake(folder: Path, *options: str, snakefile: Path = ROOT / "Snakefile") -> subprocess.CompletedProcess[str]:
    """Snakemake on the study in a folder, started from elsewhere."""
    place = ["--snakefile", str(snakefile), "--directory", str(folder)]
    return starts.snakemake(
        [*place, "--cores", "2", *options, "--configfile", str(folder / "study.yaml")], folder.parent
    )


def run(folder: Path, *options: str, snakefile: Path = ROOT / "Snakefile") -> subprocess.CompletedProcess[str]:
    """Likewise, and it ends well."""
    done = snakemake(folder, *options, snakefile=snakefile)
    assert done.returncode == 0, done.stdout + done.stderr
    return done


def planned(folder: Path, snakefile: Path, *targets: str) -> set[str]:
    """What `snakemake -n` says that it would run, for everything or for these targets."""
    done = run(folder, "-n", *targets, snakefile=snakefile)
    return set(re.findall(r"^Job \d+: (.*)$", done.stdout + done.stderr, re.MULTILINE))


def copy_code(source: Path, target: Path) -> Path:
    """The Snakefile of a copy of the code.

    What is compiled goes along, of which no place knows: Numba would take half a minute to make it anew.
    """
    for part in ("methods", "workflow"):
        shutil.copytree(source / part, target / part, ignore=_not_copied)
    shutil.copy(source / "environment.yml", target)  # its content is part of what a result depends on
    return Path(shutil.copy(source / "Snakefile", target))


def _not_copied(folder: str, names: list[str]) -> set[str]:
    """The weights; and of what is compiled, what another process is just writing, under a name of its own."""
    if Path(folder).name == "__pycache__":
        return {name for name in names if not name.endswith((".pyc", ".nbi", ".nbc"))}
    return {name for name in names if name.endswith(".safetensors")}


def save_vectors(path: Path, made: Features) -> None:
    """Features as a group with its own tools would give them."""
    arrays = {f"{name}_{part}": getattr(split, part) for name, split in made.splits.items() for part in "xy"}
    if made.text is not None:
        arrays["text_x"] = made.class_text()
    np.savez(path, classnames=np.array(made.classnames), logit_scale=np.float32(made.logit_scale), **arrays)


def of_vectors(
    folder: Path, study: str, plugins: dict[str, str], names: Iterable[str], without_text: Iterable[str] = ()
) -> Path:
    """A folder with a study file, its plugins by file name, and a file of vectors for each name, in `vectors/`."""
    (folder / "vectors").mkdir(parents=True)
    for seed, name in enumerate(names):
        save_vectors(folder / "vectors" / f"{name}.npz", make_features(seed=seed, text=name not in without_text))
    for name, text in plugins.items():
        (folder / name).write_text(text)
    (folder / "study.yaml").write_text(study)
    return folder


def photographs(root: Path) -> str:
    """Two classes, one dark and one bright, with a few images in each split."""
    rng = np.random.default_rng(0)
    for split, size in {"train": 4, "test": 3}.items():
        for name, level in {"night": 40, "noon": 200}.items():
            (root / split / name).mkdir(parents=True)
            for number in range(size):
                pixels = (level + rng.integers(-40, 40, (45, 60, 3))).astype(np.uint8)
                Image.fromarray(pixels).save(root / split / name / f"{number}.png")
    return str(root)
