"""Ways of adapting a frozen CLIP model to a classification task with few labelled images.

A plugin imports what it needs from here: `from methods import Method, Param, hookimpl`.
"""

from methods.base import Array, Candidate, Classifier, Method, Params, Replica, Support, Task, unit
from methods.gridded import GridMethod
from methods.hookspecs import hookimpl
from methods.params import Param
from methods.recipe import Recipe, training
from methods.trained import Pullback, TrainedMethod, named, shared_product

__all__ = [
    "Array",
    "Candidate",
    "Classifier",
    "GridMethod",
    "Method",
    "Param",
    "Params",
    "Pullback",
    "Recipe",
    "Replica",
    "Support",
    "Task",
    "TrainedMethod",
    "hookimpl",
    "named",
    "shared_product",
    "training",
    "unit",
]
