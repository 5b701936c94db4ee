"""No images: a dataset that exists only as features made elsewhere, which its backbone names."""

from __future__ import annotations

from workflow.lib.sources.base import Source

SOURCE = Source(
    name="features",
    help="no images; every backbone of this dataset is given as `features: path/{dataset}.npz`",
    templates=(),
    prepare=None,
)
