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

from formulations import LiftedProgram, LiftedSpace, RawDual, RawPrimal, Rescaled, rescale
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
        scaling: from E = I to rows of unit norm.
        z_map: (k, k) from z of ``scaling.program`` to that of ``given``, up to the moment scale.
        row_norm: norm of the rows of ``program``'s generators.
        output_unit: what 1 in the output block of ``program`` is in that of ``scaling.program``.
        program: the program to solve.
    """

    given: LiftedProgram
    scaling: Rescaled
    z_map: FloatArray
    row_norm: float
    output_unit: float
    program: LiftedProgram

    def undo_dual(self, dual: RawDual) -> RawDual:
        """The same dual for ``given``."""
        return self.scaling.undo_dual(RawDual(dual.W, self.row_norm**2 * dual.N))

    def apply_dual(self, dual: RawDual) -> RawDual:
        """Inverse of ``undo_dual``."""
        unit = self.scaling.apply_dual(dual)
        return RawDual(unit.W, unit.N / self.row_norm**2)

    def _congruence(self) -> tuple[FloatArray, FloatArray, float]:
        """Factors of (β, z, v) from ``program`` to ``given``."""
        scaling = self.scaling
        root = float(np.sqrt(scaling.moment_scale))
        mean = float(np.trace(scaling.transform.T @ scaling.transform)) / scaling.transform.shape[1]
        beta: FloatArray = root / self.row_norm * scaling.row_norm
        return beta, root * self.z_map, self.output_unit * root * float(np.sqrt(mean))

    def undo_primal(self, primal: RawPrimal) -> RawPrimal:
        """The same face matrix for ``given``."""
        return _transform(primal, *self._congruence())

    def apply_primal(self, primal: RawPrimal) -> RawPrimal:
        """Inverse of ``undo_primal`` (up to null directions of the data)."""
        beta, z, v = self._congruence()
        inverse: FloatArray = np.asarray(np.linalg.pinv(z), dtype=np.float64)
        return _transform(primal, 1.0 / beta, inverse, 1.0 / v)


def _transform(primal: RawPrimal, beta: FloatArray, z: FloatArray, v: float) -> RawPrimal:
    """The congruence ``T S Tᵀ`` with ``T = diag(β, z, v)``, block by block."""
    N, k = len(beta), z.shape[1]

    def rows(S: FloatArray) -> FloatArray:
        return np.concatenate([beta[:, None] * S[:N], z @ S[N : N + k], v * S[N + k :]])

    return RawPrimal(rows(rows(primal.S).T), primal.outputs)


def orthonormal(program: LiftedProgram, units: Units) -> Orthonormal:
    """Change to coordinates in which E is a multiple of the identity, with rows and outputs in these units."""
    L = np.linalg.cholesky(program.metric)
    A = sl.solve_triangular(L, program.space.generators.T, lower=True).T
    plain = LiftedProgram(
        space=LiftedSpace(A, program.space.outputs),
        feature=program.feature,
        weight=program.weight,
        target=program.target,
        metric=np.eye(len(L)),
        gamma=program.gamma,
    )
    scaling = rescale(plain, whiten=False)
    z_map = sl.solve_triangular(L, scaling.transform, lower=True, trans="T")
    unit = scaling.program
    row_norm = float((unit.space.dimension / unit.space.neurons) ** units.row_exponent)
    balanced = LiftedProgram(
        space=LiftedSpace(row_norm * unit.space.generators, unit.space.outputs),
        feature=unit.feature,
        weight=unit.weight * units.output / row_norm,
        target=unit.target,
        metric=unit.metric / units.output**2,
        gamma=float(unit.gamma) * units.output**2,
        scale=unit.scale,
        constant=unit.constant,
    )
    return Orthonormal(program, scaling, z_map, row_norm, units.output, balanced)
