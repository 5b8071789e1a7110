"""Both halves of a Douglas–Rachford step for the DNN relaxation, in blocks of rows that stay in fast memory.

One half projects onto ``{J S Jᵀ : S ⪰ 0}``, the other solves entrywise for signs, complementarity and the loss. The
range of J has an orthonormal basis Q in closed form: with ``σ = (α+β)/√2`` and ``RᵀR = I + AᵀA/2`` it is

    α = σ/√2 + B ζ,   β = σ/√2 − B ζ,   z = R⁻¹ ζ,   B = A R⁻¹/2,

so a projection costs one eigendecomposition of order N+k+c and O(N²k) besides. Matrices of the order of λ are written
once in each half; everything else happens in blocks.
"""

from dataclasses import dataclass

import numpy as np
import scipy.linalg as sl

from certnet.solvers._arrays import Array, Arrays
from certnet.solvers._entrywise import entrywise
from certnet.solvers._projection import positive_factor
from formulations import Program


@dataclass(frozen=True)
class Sizes:
    """Frobenius norms of Z, of the scaled multiplier L = V − Z, and of the change of Z since the last step."""

    entries: float
    multiplier: float
    change: float


class Splitting:
    """The two proximal maps of a program in orthonormal coordinates, on the arrays of a layer."""

    def __init__(self, program: Program, layer: Arrays) -> None:
        space = program.space
        self.program, self.layer = program, layer
        self.order, self.face_order = space.order, space.face_order
        self._N, self._k, self._c = space.neurons, space.dimension, space.outputs
        A = space.generators
        R = np.linalg.cholesky(np.eye(self._k) + 0.5 * A.T @ A).T
        inverse = sl.solve_triangular(R, np.eye(self._k))
        self._inverse, self._B = layer.array(inverse), layer.array(0.5 * A @ inverse)
        self.objective = entrywise(program, layer)
        self._blocks = layer.blocks(self._N, self.order)

    def entrywise(self, V: Array, penalty: float, Z: Array) -> tuple[Array, Sizes]:
        """Write the minimiser of loss, cost, signs and ``ρ‖Z − V‖²/2`` to Z, whose content is the last one.

        Each off-diagonal entry counts twice. Returns the upper triangle of ``Qᵀ(2Z − V)Q`` (order N+k+c), of which the
        next half step takes the positive part, and the sizes of what was written.
        """
        N, k, square = self._N, self._k, self.layer.square
        X = self.layer.empty(self.face_order, self.face_order)
        objective = self.objective
        columns = objective.columns(V, penalty)
        total = np.zeros(3)

        def put(rows: slice, new: Array) -> Array:
            """Store rows of Z, measure them, and return those of 2Z − V."""
            L = V[rows] - new
            nonlocal total
            total += (square(new), square(L), square(new - Z[rows]))
            Z[rows] = new
            return new - L

        z, v = slice(N, N + k), slice(N + k, self.face_order)
        last = put(slice(2 * N, self.order), objective.other_rows(V, columns, penalty))
        X[v, v] = last[k:, self.program.space.v]
        X_zz = self._inverse.T @ self._tilt(last[:k])
        X_zv = self._inverse.T @ last[:k, self.program.space.v]
        for alpha in self._blocks:
            beta = slice(alpha.start + N, alpha.stop + N)
            upper = put(alpha, objective.rows_of_phi(V, columns, penalty, alpha, beta))
            lower = put(beta, objective.rows_of_phi(V, columns, penalty, beta, alpha))
            mean, difference = 0.5**0.5 * (upper + lower), upper - lower
            X[alpha, :N] = 0.5**0.5 * (mean[:, :N] + mean[:, N : 2 * N])
            X[alpha, z] = self._tilt(mean)
            X[alpha, v] = mean[:, self.program.space.v]
            X_zz += self._B[alpha].T @ self._tilt(difference)
            X_zv += self._B[alpha].T @ difference[:, self.program.space.v]
        X[z, z], X[z, v] = X_zz, X_zv
        norms = np.sqrt(total)
        return X, Sizes(*(float(norm) for norm in norms))

    def _tilt(self, rows: Array) -> Array:
        """The ζ coordinates of rows: ``(rows_α − rows_β) B + rows_z R⁻¹``."""
        N = self._N
        return (rows[:, :N] - rows[:, N : 2 * N]) @ self._B + rows[:, self.program.space.z] @ self._inverse

    def factor(self, X: Array, expected_rank: int) -> Array:
        """F (order × rank) with ``F Fᵀ = Q X₊ Qᵀ``; X as ``entrywise`` returned it, destroyed."""
        N, k = self._N, self._k
        y = positive_factor(self.layer, X, expected_rank)
        half, tilt = 0.5**0.5 * y[:N], self._B @ y[N : N + k]
        return self.layer.concatenate([half + tilt, half - tilt, self._inverse @ y[N : N + k], y[N + k :]])

    def gap(self, F: Array, Z: Array, scale: float, out: Array) -> float:
        """Write ``scale · (F Fᵀ − Z)`` to ``out`` and return the norm of F Fᵀ − Z."""
        total = 0.0
        for rows in self.layer.blocks(self.order, self.order):
            difference = F[rows] @ F.T - Z[rows]
            total += self.layer.square(difference)
            out[rows] = scale * difference
        return float(np.sqrt(total))
