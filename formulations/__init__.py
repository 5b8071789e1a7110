"""What is asked: the lifted ReLU space, programs over it, presolve and training.

This package imports numpy and, for the losses, scipy.special; ``formulations.modeling`` adds CVXPY and PICOS. A name is
imported where it is first asked for, so that the checker of certificates trusts no more than it uses.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from formulations.errors import CertnetError, InputError
    from formulations.lifted_space import LiftedSpace
    from formulations.loss import Loss
    from formulations.part import Part, restrict
    from formulations.program import Dual, Primal, Program
    from formulations.reduction import MergedRows, Presolved, merge_rows, presolve
    from formulations.rows import RowReduction, reduce_rows
    from formulations.scaling import Scaling, rescale
    from formulations.signs import ACTIVE, FREE, INACTIVE
    from formulations.training import TrainingProgram

_MODULES = [
    "errors",
    "signs",
    "lifted_space",
    "losses",
    "loss",
    "rows",
    "training",
    "program",
    "part",
    "scaling",
    "reduction",
]
"""In this order none imports a later one."""

__all__ = [
    "ACTIVE",
    "FREE",
    "INACTIVE",
    "CertnetError",
    "Dual",
    "InputError",
    "LiftedSpace",
    "Loss",
    "MergedRows",
    "Part",
    "Presolved",
    "Primal",
    "Program",
    "RowReduction",
    "Scaling",
    "TrainingProgram",
    "merge_rows",
    "presolve",
    "reduce_rows",
    "rescale",
    "restrict",
]


def __getattr__(name: str) -> Any:
    for module in _MODULES if name in __all__ else ():
        home = importlib.import_module(f"formulations.{module}")
        if hasattr(home, name):
            return globals().setdefault(name, getattr(home, name))
    raise AttributeError(f"module 'formulations' has no attribute {name!r}")
