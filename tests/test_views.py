"""A study with augmented views, from photographs to the table, and what a change of the views runs again."""

import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from methods.contract.needs import VECTORS
from tests.encoding import tiny
from tests.studies import photographs, planned, run
from workflow.lib.evaluation import records
from workflow.lib.features import store

pytestmark = pytest.mark.slow

PLUGIN = '''\
from methods import Method, hookimpl, unit


class Spatial(Method):
    name = "spatial"

    def needs(self, params):
        return frozenset({"image", "spatial"})


class Before(Method):
    """The class means of images before the projection, after it: those of the embeddings."""

    name = "before"

    def needs(self, params):
        return frozenset({"image", "pre", "views"})

    def classifier(self, task, replica):
        support, (weight, bias) = task.supports[replica.seed], task.last_layer()
        assert support.views.shape[2] == weight.shape[0]
        means = unit(support.one_hot(task.classes).T @ unit(support.x @ weight + bias))
        return lambda queries: task.logit_scale * unit(queries @ weight + bias) @ means.T


class Tokens(Method):
    """What the tokens alone say."""

    name = "tokens"
    learns = False

    def needs(self, params):
        return frozenset({"image", "text", "spatial_logits"})

    def classifier(self, task, replica):
        return lambda queries: sum(task.tokens_apart(queries)[1:])


@hookimpl
def register_methods():
    return [Spatial, Before, Tokens]
'''
EXTRACTION = {f"dataset {name}: extracting features with tiny" for name in ("plain", "viewed")}


def write(folder: Path, methods: Collection[str] = (), **viewed: Any) -> None:
    """The study; `viewed` are the settings of one of its two datasets. `methods` are further ones."""
    source = {"source": "folder", "path": str(folder / "photographs")}
    backbone = {"model": str(folder / "tinyclip.json"), "weights": str(folder / "tinyclip.safetensors")}
    config = {
        "study": "views",
        "datasets": {"plain": source, "viewed": source | viewed},
        "backbones": {"tiny": backbone},
        "shots": [2],
        "seeds": 2,
        "plugins": ["spatial.py"],
        "methods": {
            "tip_adapter": {"views": [False, True]},
            "tip_adapter_f": {"views": True, "epochs": 2},
            "gda": {"views": [False, True]},
            "spatial": None,
            **dict.fromkeys(methods),
        },
    }
    (folder / "study.yaml").write_text(yaml.safe_dump(config))


@pytest.fixture(scope="module")
def finished(snakefile: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The study, run."""
    folder = tmp_path_factory.mktemp("views") / "study"
    folder.mkdir()
    photographs(folder / "photographs")
    tiny.make(folder)
    (folder / "spatial.py").write_text(PLUGIN)
    write(folder, views=2)
    run(folder, "tables", snakefile=snakefile)
    return folder


def cell(folder: Path, dataset: str, method: str) -> dict[str, Any]:
    """The variants of a cell by name."""
    record = records.read(folder / "results/views/metrics" / dataset / "tiny" / method / "2.json")
    return {variant["variant"]: variant for variant in record["variants"]}


def test_the_views_of_train_are_in_the_features_of_the_data_set_that_asks_for_them(finished: Path) -> None:
    viewed, plain = (store.read(finished / "features/tiny" / f"{name}.safetensors") for name in ("viewed", "plain"))
    assert (viewed.train_views.shape, plain.train_views) == ((8, 2, 16), None)
    assert (viewed.metadata["views"]["count"], viewed.metadata["views"]["flip"]) == (2, 0.5)
    assert np.array_equal(viewed.splits["train"].x, plain.splits["train"].x)


def test_with_views_every_variant_has_a_result(finished: Path) -> None:
    for method in ("tip_adapter", "tip_adapter_f", "gda"):
        assert {variant["status"] for variant in cell(finished, "viewed", method).values()} == {"ok"}


def test_without_views_the_variants_that_want_them_are_n_a_and_the_table_says_what_to_do(finished: Path) -> None:
    found = cell(finished, "plain", "tip_adapter")
    assert {name: variant["status"] for name, variant in found.items()} == {"views=false": "ok", "views=true": "n/a"}
    table = (finished / "results/views/tables/plain.tiny.md").read_text()
    assert "needs views, which these features don't have: set 'views' in the dataset's entry" in table
    assert re.search(r"\| gda \(views=true\) \[\d\] *\| +n/a +\|", table)


def test_a_method_that_needs_what_no_features_have_is_n_a_everywhere(finished: Path) -> None:
    for dataset in ("plain", "viewed"):
        assert cell(finished, dataset, "spatial")["-"]["status"] == "n/a"
        assert "needs spatial" in (finished / f"results/views/tables/{dataset}.tiny.md").read_text()


@pytest.mark.parametrize("change", [{"views": 3}, {"views": 2, "flip": False}, {}], ids=str)
def test_a_change_of_the_views_extracts_again_and_prepares_no_images(
    finished: Path, snakefile: Path, change: dict[str, Any]
) -> None:
    try:
        write(finished, **change)
        jobs = planned(finished, snakefile, "tables")
    finally:
        write(finished, views=2)
    assert jobs & EXTRACTION == {"dataset viewed: extracting features with tiny"}
    assert not any("preparing images" in job or "plain" in job for job in jobs)
    assert planned(finished, snakefile, "tables") == set()


def test_methods_that_need_more_of_an_image_are_one_more_extraction_each_and_nothing_else(
    finished: Path, snakefile: Path
) -> None:
    try:
        write(finished, ["before", "tokens"], views=2)
        jobs = planned(finished, snakefile, "tables")
        new = [
            f"results/views/metrics/{dataset}/tiny/{cell}.json"
            for dataset in ("plain", "viewed")
            for cell in ("before/2", "tokens/0")
        ]
        run(finished, *new, snakefile=snakefile)
        for dataset in ("plain", "viewed"):
            tokens = records.read(finished / f"results/views/metrics/{dataset}/tiny/tokens/0.json")
            assert tokens["variants"][0]["status"] == "ok"
            before = cell(finished, dataset, "before")["-"]["status"]
            assert before == ("ok" if dataset == "viewed" else "n/a")
        assert planned(finished, snakefile, *new) == set()
    finally:
        write(finished, views=2)
    made = {f"dataset {name}: extracting {array} with tiny" for name in ("plain", "viewed") for array in VECTORS}
    cells = {job for job in jobs if re.match("(plain|viewed), tiny: (before|tokens), shots", job)}
    assert (len(cells), made <= jobs) == (4, True)
    assert not [job for job in jobs - made - cells if "tiny: " in job or "extracting" in job or "preparing" in job]
