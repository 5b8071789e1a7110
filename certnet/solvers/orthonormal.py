"""Coordinates in which the cost of z is its squared norm and the blocks of the moment matrix are of comparable size.

Whitened data make the metric E badly conditioned, and a first-order method then recovers duals that repair badly:
the bound is measured in E. The ADMM therefore works with ``z = L⁻ᵀ z'``, ``E = LLᵀ``, and rows of unit norm again.

There φ has ``‖φ‖² = ‖Az‖²``, about N/k times ‖z‖², so that a step moves φ most and the loss least. Rows of norm
``(k/N)^¼`` and an output block in half its unit, ``v = v'/2``, gave better repaired bounds after equally many steps on
data of more than about 150 rows. Rows of norm ``(N/k)^⅛`` find the products that will be active better: with those of
400 steps alone, the relaxation of Iris (raw, γ = 0.1) has the value 1.67, and with those of the other scale 1.50.
"""

from dataclasses import dataclass

import numpy as np
import scipy.linalg as sl

from formulations import Dual, LiftedSpace, Primal, Program, SquaredLoss, rescale
from formulations._validation import FloatArray


@dataclass(frozen=True)
class Units:
    """Rows of norm ``(k/N)^row_exponent``, and the output block in multiples of ``output``."""

    row_exponent: float
    output: float


FOR_BOUNDS = Units(0.25, 0.5)
FOR_PRODUCTS = Units(-0.125, 1.0)


@dataclass(frozen=True, eq=False)
class Orthonormal:
    """``given`` in the coordinates of ``program``, whose metric is a multiple of I; the maps go from one to the other.

    Attributes:
        given: any program.
        program: the program to solve.
        beta: (N,) φ of ``given`` in terms of that of ``program``, both for α and for β.
        z: (k, k') z likewise; what is null in the data of a training program is left out.
        v: the output block likewise.
        unit: W likewise; a value, without its constant, is ``unit²`` times that of ``program``.
    """

    given: Program
    program: Program
    beta: FloatArray
    z: FloatArray
    v: float
    unit: float

    def objective(self, G: FloatArray) -> float:
        """The value of a moment matrix of ``program``, in the own scale of ``given``."""
        return self.unit**2 * self.program.value(G)

    def undo_dual(self, dual: Dual) -> Dual:
        """The same dual for ``given``."""
        phi = np.concatenate([self.beta, self.beta])
        return Dual(self.unit * dual.W, self.unit**2 * dual.N / np.outer(phi, phi))

    def apply_dual(self, dual: Dual) -> Dual:
        """Inverse of ``undo_dual``."""
        phi = np.concatenate([self.beta, self.beta])
        return Dual(dual.W / self.unit, dual.N * np.outer(phi, phi) / self.unit**2)

    def undo_primal(self, primal: Primal) -> Primal:
        """The same face matrix for ``given``; that of a form is normalised."""
        S = _congruent(primal.S, self.beta, self.z, self.v)
        if self.given.loss is None:
            z = slice(len(self.beta), len(self.beta) + len(self.z))
            size = float(np.sum(self.given.metric * S[z, z]))
            S = S / size if size > 0 else S
        return Primal(S, primal.outputs)

    def apply_primal(self, primal: Primal) -> Primal:
        """Inverse of ``undo_primal`` (up to null directions of the data)."""
        inverse: FloatArray = np.asarray(np.linalg.pinv(self.z), dtype=np.float64)
        return Primal(_congruent(primal.S, 1.0 / self.beta, inverse, 1.0 / self.v), primal.outputs)


def _congruent(S: FloatArray, beta: FloatArray, z: FloatArray, v: float) -> FloatArray:
    """The congruence ``T S Tᵀ`` with ``T = diag(β, z, v)``, block by block."""
    N, k = len(beta), z.shape[1]

    def rows(S: FloatArray) -> FloatArray:
        return np.concatenate([beta[:, None] * S[:N], z @ S[N : N + k], v * S[N + k :]])

    return rows(rows(S).T)


def orthonormal(program: Program, units: Units) -> Orthonormal:
    """Change to coordinates in which E is a multiple of the identity, with rows and outputs in these units."""
    L: FloatArray = np.linalg.cholesky(program.metric).astype(np.float64)
    A = sl.solve_triangular(L, program.space.generators.T, lower=True).T
    return _form(program, L, A, units) if program.loss is None else _training(program, L, A, units)


def _row_norm(A: FloatArray, units: Units) -> float:
    return float((A.shape[1] / max(len(A), 1)) ** units.row_exponent)


def _form(program: Program, L: FloatArray, A: FloatArray, units: Units) -> Orthonormal:
    """E becomes I, and the largest entry of C becomes 1. Null directions stay: C may depend on them."""
    space = program.space
    beta = np.linalg.norm(A, axis=1) / _row_norm(A, units)
    z = sl.solve_triangular(L, np.eye(len(L)), lower=True, trans="T")
    C = _congruent(program.form, np.concatenate([beta, beta]), z.T, 1.0)
    square = float(np.abs(C).max(initial=0.0)) or 1.0
    balanced = Program.of_form(LiftedSpace(A / beta[:, None]), 0.5 * (C + C.T) / square, np.eye(space.dimension))
    return Orthonormal(program, balanced, beta, z, 1.0, float(np.sqrt(square)))


def _training(program: Program, L: FloatArray, A: FloatArray, units: Units) -> Orthonormal:
    plain = Program(LiftedSpace(A, program.space.outputs), np.eye(len(L)), program.loss, gamma=program.gamma)
    scaling = rescale(plain, whiten=False)
    unit = scaling.program
    row_norm = _row_norm(unit.space.generators, units)
    balanced = Program(
        space=LiftedSpace(row_norm * unit.space.generators, unit.space.outputs),
        metric=unit.metric / units.output**2,
        loss=SquaredLoss(unit.feature, unit.weight * units.output / row_norm, unit.target),
        gamma=float(unit.gamma) * units.output**2,
    )
    root = float(np.sqrt(scaling.moment_scale))
    mean = float(np.trace(scaling.transform.T @ scaling.transform)) / scaling.transform.shape[1]
    return Orthonormal(
        given=program,
        program=balanced,
        beta=root / row_norm * scaling.row_norm,
        z=root * sl.solve_triangular(L, scaling.transform, lower=True, trans="T"),
        v=units.output * root * float(np.sqrt(mean)),
        unit=scaling.target_norm,
    )
