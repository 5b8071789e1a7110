"""Coordinates in which the cost of z is its squared norm.

Whitened data make the metric E badly conditioned, and a first-order method then recovers duals that repair badly:
the bound is measured in E. The ADMM therefore works with ``z = L⁻ᵀ z'``, ``E = LLᵀ``, and rows of unit norm again.
"""

from dataclasses import dataclass

import numpy as np
import scipy.linalg as sl

from formulations import LiftedProgram, LiftedSpace, RawDual, RawPrimal, Rescaled, rescale
from formulations._validation import FloatArray


@dataclass(frozen=True, eq=False)
class Orthonormal:
    """``given`` in the coordinates of ``program``; the maps go from one to the other."""

    given: LiftedProgram
    scaling: Rescaled
    z_map: FloatArray

    @property
    def program(self) -> LiftedProgram:
        """The program with a multiple of the identity as metric."""
        return self.scaling.program

    def undo_dual(self, dual: RawDual) -> RawDual:
        """The same dual for ``given``."""
        return self.scaling.undo_dual(dual)

    def apply_dual(self, dual: RawDual) -> RawDual:
        """Inverse of ``undo_dual``."""
        return self.scaling.apply_dual(dual)

    def _congruence(self) -> tuple[FloatArray, FloatArray, float]:
        """Factors of (β, z, v) from ``program`` to ``given``."""
        scaling = self.scaling
        root = float(np.sqrt(scaling.moment_scale))
        mean = float(np.trace(scaling.transform.T @ scaling.transform)) / scaling.transform.shape[1]
        return root * scaling.row_norm, root * self.z_map, root * float(np.sqrt(mean))

    def undo_primal(self, primal: RawPrimal) -> RawPrimal:
        """The same face matrix for ``given``."""
        beta, z, v = self._congruence()
        T = sl.block_diag(np.diag(beta), z, v * np.eye(primal.outputs))
        return RawPrimal(T @ primal.S @ T.T, primal.outputs)

    def apply_primal(self, primal: RawPrimal) -> RawPrimal:
        """Inverse of ``undo_primal`` (up to null directions of the data)."""
        beta, z, v = self._congruence()
        T = sl.block_diag(np.diag(1.0 / beta), np.linalg.pinv(z), np.eye(primal.outputs) / v)
        return RawPrimal(T @ primal.S @ T.T, primal.outputs)


def orthonormal(program: LiftedProgram) -> Orthonormal:
    """Change to coordinates in which E is a multiple of the identity."""
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
    return Orthonormal(program, scaling, z_map)
