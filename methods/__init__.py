"""Ways of adapting a frozen CLIP model to a classification task with few labelled images.

A plugin imports what it needs from here: `from methods import Method, Param, hookimpl`.
"""

from methods.contract import by_hand
from methods.contract.base import Array, Candidate, Classifier, Method, Params, Projection, Replica, Support, Task, unit
from methods.contract.by_hand import Pullback, named, shared_product
from methods.contract.facts import Facts
from methods.contract.gridded import GridMethod
from methods.contract.hookspecs import hookimpl
from methods.contract.params import Param
from methods.contract.recipe import Recipe, training
from methods.contract.towers import TowerMethod
from methods.contract.trained import TrainedMethod
from methods.contract.tuned import TunedMethod

__all__ = [
    "Array",
    "Candidate",
    "Classifier",
    "Facts",
    "GridMethod",
    "Method",
    "Param",
    "Params",
    "Projection",
    "Pullback",
    "Recipe",
    "Replica",
    "Support",
    "Task",
    "TowerMethod",
    "TrainedMethod",
    "TunedMethod",
    "by_hand",
    "hookimpl",
    "named",
    "shared_product",
    "training",
    "unit",
]
