"""What is asked: the lifted ReLU space, programs over it, presolve and training.

This package imports numpy and, for the losses, scipy.special; ``formulations.modeling`` adds CVXPY and PICOS. A name is
imported where it is first asked for, so that the checker of certificates trusts no more than it uses.
"""

from typing import TYPE_CHECKING

from formulations.lazy import lazily

if TYPE_CHECKING:
    from formulations.errors import CertnetError, InputError
    from formulations.lifted_space import LiftedSpace
    from formulations.loss import Loss
    from formulations.part import Part, restrict
    from formulations.program import Dual, Primal, Program
    from formulations.reduction import MergedRows, Presolved, RowReduction, merge_rows, presolve, reduce_rows
    from formulations.scaling import Scaling, rescale
    from formulations.signs import ACTIVE, FREE, INACTIVE
    from formulations.training import TrainingProgram

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

__getattr__ = lazily(
    __name__,
    {
        "formulations.errors": "CertnetError InputError",
        "formulations.lifted_space": "LiftedSpace",
        "formulations.loss": "Loss",
        "formulations.part": "Part restrict",
        "formulations.program": "Dual Primal Program",
        "formulations.reduction": "MergedRows Presolved RowReduction merge_rows presolve reduce_rows",
        "formulations.scaling": "Scaling rescale",
        "formulations.signs": "ACTIVE FREE INACTIVE",
        "formulations.training": "TrainingProgram",
    },
)
