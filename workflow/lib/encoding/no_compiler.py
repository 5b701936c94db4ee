"""Torch's compiler stays out of what compiles nothing: its import would be half of what an extraction takes to start.

Three modules of the libraries behind open_clip ask for it while they are imported. torchvision's RoI align takes a
function from it, which here looks for the compiler when it is called. The two others mark functions as not to be
compiled; here these get no mark, which matters to nobody who compiles nothing of timm's and torchvision's.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import ModuleType
from typing import Any

COMPILER = "torch._dynamo"


def install() -> None:
    """Have these modules imported without the compiler, if nobody has imported it before them."""
    if _Finder not in sys.meta_path:
        sys.meta_path.insert(0, _Finder)


@contextmanager
def _function_looked_up_later() -> Iterator[None]:
    utils = ModuleType(f"{COMPILER}.utils")

    def is_compile_supported(device_type: Any) -> Any:
        return import_module(utils.__name__).is_compile_supported(device_type)

    utils.is_compile_supported = is_compile_supported  # type: ignore[attr-defined]
    stand_ins = {COMPILER: ModuleType(COMPILER), utils.__name__: utils}
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        for name in stand_ins:
            del sys.modules[name]


@contextmanager
def _no_marks() -> Iterator[None]:
    compiler: Any = import_module("torch.compiler")
    mark = compiler.disable
    compiler.disable = lambda function=None, *_, **__: (lambda one: one) if function is None else function
    try:
        yield
    finally:
        compiler.disable = mark


WITHOUT: dict[str, Callable[[], AbstractContextManager[None]]] = {
    "torchvision.ops.roi_align": _function_looked_up_later,
    "torchvision.tv_tensors": _no_marks,
    "timm.layers.typing": _no_marks,
}


class _Finder:
    """Finds them."""

    @staticmethod
    def find_spec(name: str, path: Sequence[str] | None = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """As `importlib.abc.MetaPathFinder` has it; None for every other module."""
        if name not in WITHOUT or COMPILER in sys.modules:
            return None
        spec = PathFinder.find_spec(name, path)
        if spec is not None and isinstance(spec.loader, SourceFileLoader):
            spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


class _Loader(SourceFileLoader):
    """Runs a module without the compiler; a version of it that wants more of the compiler gets it."""

    def exec_module(self, module: ModuleType) -> None:
        try:
            with WITHOUT[module.__name__]():
                super().exec_module(module)
        except ImportError:
            super().exec_module(module)
