"""Datasets: which image belongs to which split and class.

A plugin that adds a source imports what it needs from here: `from workflow.lib.data import Index, Source, hookimpl`.
"""

from methods.contract.hookspecs import hookimpl
from workflow.lib.data.index import Entry, Index
from workflow.lib.data.sources.base import Option, Source

__all__ = ["Entry", "Index", "Option", "Source", "hookimpl"]
