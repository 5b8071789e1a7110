"""What is asked: the lifted ReLU space, presolve, and training programs over it.

This package imports numpy alone; ``formulations.modeling`` adds scipy.sparse, CVXPY and PICOS.
"""

from formulations.errors import CertnetError, InputError
from formulations.forms import FormProgram, pricing
from formulations.lifted_space import LiftedSpace, Residuals
from formulations.nodes import ACTIVE, FREE, INACTIVE, NodeProgram, TrainingNode, restrict, restrict_training
from formulations.presolve import MergedRows, Presolved, Rescaled, merge_rows, presolve, rescale
from formulations.program import LiftedProgram, RawDual, RawPrimal
from formulations.rows import RowReduction, reduce_rows
from formulations.training import TrainingProgram

__all__ = [
    "ACTIVE",
    "FREE",
    "INACTIVE",
    "CertnetError",
    "FormProgram",
    "InputError",
    "LiftedProgram",
    "LiftedSpace",
    "MergedRows",
    "NodeProgram",
    "Presolved",
    "RawDual",
    "RawPrimal",
    "Rescaled",
    "Residuals",
    "RowReduction",
    "TrainingNode",
    "TrainingProgram",
    "merge_rows",
    "presolve",
    "pricing",
    "reduce_rows",
    "rescale",
    "restrict",
    "restrict_training",
]
