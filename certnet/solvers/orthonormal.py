"""Coordinates in which the cost of z is its squared norm and the blocks of the moment matrix are of comparable size.

Whitened data make the metric E badly conditioned, and a first-order method then recovers duals that repair badly:
the bound is measured in E. The ADMM therefore works with ``z = L⁻ᵀ z'``, ``E = LLᵀ``, and rows of unit norm again.

There φ has ``‖φ‖² = ‖Az‖²``, about N/k times ‖z‖², so that a step moves φ most and the loss least. Rows of norm
``(k/N)^¼`` and an output block in half its unit, ``v = v'/2``, gave better repaired bounds after equally many steps on
data of more than about 150 rows. Rows of norm ``(N/k)^⅛`` find the products that will be active better: with those of
400 steps alone, the relaxation of Iris (raw, γ = 0.1) has the value 1.67, and with those of the other scale 1.50.
"""

from dataclasses import dataclass, replace

import numpy as np
import scipy.linalg as sl

from formulations import LiftedSpace, Program, Scaling, rescale
from formulations._validation import FloatArray
from formulations.program import NO_PRODUCTS
from formulations.scaling import congruent


@dataclass(frozen=True)
class Units:
    """Rows of norm ``(k/N)^row_exponent``, and the output block in multiples of ``output``."""

    row_exponent: float
    output: float


FOR_BOUNDS = Units(0.25, 0.5)
FOR_PRODUCTS = Units(-0.125, 1.0)


def orthonormal(program: Program, units: Units) -> Scaling:
    """Change to coordinates in which E is a multiple of the identity, with rows and outputs in these units."""
    L: FloatArray = np.linalg.cholesky(program.metric).astype(np.float64)
    A = sl.solve_triangular(L, program.space.generators.T, lower=True).T
    return _form(program, L, A, units) if program.loss is None else _training(program, L, A, units)


def _row_norm(A: FloatArray, units: Units) -> float:
    return float((A.shape[1] / max(len(A), 1)) ** units.row_exponent)


def _form(program: Program, L: FloatArray, A: FloatArray, units: Units) -> Scaling:
    """E becomes I, and the largest entry of C becomes 1. Null directions stay: C may depend on them."""
    space = program.space
    beta = np.linalg.norm(A, axis=1) / _row_norm(A, units)
    z = sl.solve_triangular(L, np.eye(len(L)), lower=True, trans="T")
    C = congruent(program.form, np.concatenate([beta, beta]), z.T, 1.0)
    square = float(np.abs(C).max(initial=0.0)) or 1.0
    balanced = Program.of_form(LiftedSpace(A / beta[:, None]), 0.5 * (C + C.T) / square, np.eye(space.dimension))
    balanced = replace(balanced, region=_region(program, L), share=program.share)
    return Scaling(program, balanced, beta, z, 1.0, float(np.sqrt(square)))


def _region(program: Program, L: FloatArray) -> FloatArray:
    """The region's form in coordinates where E is I."""
    if not program.region.size:
        return NO_PRODUCTS
    half = sl.solve_triangular(L, program.region, lower=True)
    return np.asarray(sl.solve_triangular(L, half.T, lower=True))


def _training(program: Program, L: FloatArray, A: FloatArray, units: Units) -> Scaling:
    plain = replace(
        program,
        space=LiftedSpace(A, program.space.outputs),
        metric=np.eye(len(L)),
        region=_region(program, L),
        inequalities=NO_PRODUCTS,
        equalities=NO_PRODUCTS,
        scale=1.0,
        constant=0.0,
    )
    scaling = rescale(plain, whiten=False)
    unit = scaling.program
    assert unit.loss is not None
    row_norm = _row_norm(unit.space.generators, units)
    balanced = Program(
        space=LiftedSpace(row_norm * unit.space.generators, unit.space.outputs),
        metric=unit.metric / units.output**2,
        region=unit.region / units.output**2,
        share=unit.share,
        loss=unit.loss,
        feature=unit.feature,
        weight=unit.weight * units.output / row_norm,
        gamma=float(unit.gamma) * units.output**2,
    )
    z = sl.solve_triangular(L, scaling.z, lower=True, trans="T")
    return Scaling(program, balanced, scaling.phi / row_norm, z, units.output * scaling.v, scaling.unit)
