"""What is asked: the lifted ReLU space, programs over it, presolve and training.

This package imports numpy alone; ``formulations.modeling`` adds scipy.sparse, CVXPY and PICOS.
"""

from formulations.errors import CertnetError, InputError
from formulations.lifted_space import LiftedSpace
from formulations.loss import Loss, SquaredLoss
from formulations.part import Part, restrict
from formulations.presolve import MergedRows, Presolved, merge_rows, presolve
from formulations.program import Dual, Primal, Program
from formulations.rows import RowReduction, reduce_rows
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
    "SquaredLoss",
    "TrainingProgram",
    "merge_rows",
    "presolve",
    "reduce_rows",
    "rescale",
    "restrict",
]
