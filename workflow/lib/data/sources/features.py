"""No images: a dataset that exists only made elsewhere, which its backbone names."""

from __future__ import annotations

from methods.contract.hookspecs import hookimpl
from workflow.lib.data.sources.base import Source

SOURCE = Source(
    name="features",
    help="no images; every backbone of this dataset is given as `features: path/{dataset}.npz`",
    templates=(),
    prepare=None,
)


@hookimpl
def register_sources() -> list[Source]:
    return [SOURCE]
