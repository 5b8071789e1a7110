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
from certnet.solvers._projection import positive_factor
from formulations import LiftedProgram
from formulations._validation import FloatArray


@dataclass(frozen=True)
class Sizes:
    """Frobenius norms of Z, of the scaled multiplier L = V − Z, and of the change of Z since the last step."""

    entries: float
    multiplier: float
    change: float


class Splitting:
    """The two proximal maps of a program in orthonormal coordinates, on the arrays of a layer."""

    def __init__(self, program: LiftedProgram, layer: Arrays) -> None:
        space = program.space
        self.program, self.layer = program, layer
        self.order, self.face_order = space.order, space.face_order
        self._N, self._k, self._c = space.neurons, space.dimension, space.outputs
        A = space.generators
        R = np.linalg.cholesky(np.eye(self._k) + 0.5 * A.T @ A).T
        inverse = sl.solve_triangular(R, np.eye(self._k))
        self._inverse, self._B = layer.array(inverse), layer.array(0.5 * A @ inverse)
        self._feature = layer.index(program.feature)
        self._weight = layer.array(program.weight[:, None])
        self._pull = layer.array(program.weight[:, None] * program.target)
        self._metric = layer.array(0.5 * program.gamma * program.metric)
        # A numpy scalar of float64 would turn float32 arrays into float64 ones.
        self._cost = 0.5 * float(program.gamma)
        self._blocks = layer.blocks(self._N, self.order)

    def features(self, V: Array, penalty: float) -> Array:
        """The rows φ and columns v of the entrywise solution, which hold the loss."""
        space = self.program.space
        columns = self.layer.copy(V[space.phi, space.v])
        fitted = self._pull + 2 * penalty * columns[self._feature]
        columns[self._feature] = fitted / (self._weight**2 + 2 * penalty)
        return columns

    def _lifted_rows(self, V: Array, columns: Array, rows: slice, partner: slice) -> Array:
        """Rows of φ of the entrywise solution; ``partner`` are the columns of the complementary neurons."""
        space = self.program.space
        Z = self.layer.copy(V[rows])
        self.layer.positive_part(Z[:, space.phi])
        self.layer.diagonal(Z[:, partner])[...] = 0.0
        Z[:, space.v] = columns[rows]
        return Z

    def _other_rows(self, V: Array, columns: Array, penalty: float) -> Array:
        """Rows of z and v of the entrywise solution."""
        space, k = self.program.space, self._k
        Z = self.layer.copy(V[2 * self._N :])
        Z[:k, space.z] -= self._metric / penalty
        Z[k:, space.phi] = columns.T
        self.layer.diagonal(Z[k:, space.v])[...] -= self._cost / penalty
        return Z

    def entrywise(self, V: Array, penalty: float, Z: Array) -> tuple[Array, Sizes]:
        """Write the minimiser of loss, cost, signs and ``ρ‖Z − V‖²/2`` to Z, whose content is the last one.

        Each off-diagonal entry counts twice. Returns the upper triangle of ``Qᵀ(2Z − V)Q`` (order N+k+c), of which the
        next half step takes the positive part, and the sizes of what was written.
        """
        N, k, square = self._N, self._k, self.layer.square
        X = self.layer.empty(self.face_order, self.face_order)
        columns = self.features(V, penalty)
        total = np.zeros(3)

        def put(rows: slice, new: Array) -> Array:
            """Store rows of Z, measure them, and return those of 2Z − V."""
            L = V[rows] - new
            nonlocal total
            total += (square(new), square(L), square(new - Z[rows]))
            Z[rows] = new
            return new - L

        z, v = slice(N, N + k), slice(N + k, self.face_order)
        last = put(slice(2 * N, self.order), self._other_rows(V, columns, penalty))
        X[v, v] = last[k:, self.program.space.v]
        X_zz = self._inverse.T @ self._tilt(last[:k])
        X_zv = self._inverse.T @ last[:k, self.program.space.v]
        for alpha in self._blocks:
            beta = slice(alpha.start + N, alpha.stop + N)
            upper = put(alpha, self._lifted_rows(V, columns, alpha, beta))
            lower = put(beta, self._lifted_rows(V, columns, beta, alpha))
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

    def multipliers(self, V: Array, penalty: float) -> tuple[FloatArray, FloatArray]:
        """(W, N) of a point V: ``W = T − ω∘Z[f, v]`` and ``N = −2ρ(V − Z)_φφ``, with exact signs, in float64."""
        program, space = self.program, self.program.space
        fitted = self.layer.host(self.features(V, penalty)[self._feature]).astype(np.float64)
        block = self.layer.host(V[space.phi, space.phi]).astype(np.float64)
        neuron = np.arange(self._N)
        N = np.maximum(-block, 0.0)
        for first, second in ((neuron, neuron + self._N), (neuron + self._N, neuron)):
            N[first, second] = -block[first, second]
        N *= 2 * penalty
        return program.target - program.weight[:, None] * fitted, 0.5 * (N + N.T)
