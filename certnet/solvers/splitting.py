"""Both halves of a Douglas–Rachford step for the DNN relaxation, in blocks of rows that stay in fast memory.

One half projects onto ``{J S Jᵀ : S ⪰ 0}``. The range of J has an orthonormal basis Q in closed form: with
``σ = (α+β)/√2`` and ``RᵀR = I + AᵀA/2`` it is

    α = σ/√2 + B ζ,   β = σ/√2 − B ζ,   z = R⁻¹ ζ,   B = A R⁻¹/2,

so a projection costs one eigendecomposition of order N+k+c and O(N²k) besides. The other half minimises entrywise the
objective and ``ρ‖Z − V‖²/2`` over Z with ``Z_φφ ≥ 0``, ``diag(Z_αβ) = 0`` and what else the program asks for. Matrices
of the order of λ are written once in each half; everything else happens in blocks.

A form with null vectors (``making.quotient``) needs neither the signs of G_αα and G_ββ nor its region, because
multiples of ``(w, 0, ν)`` and ``(0, w, −ν)`` in the columns of a factor cost nothing. So A and σ lose what they have
along w, and G_αβ may be moved by any ``w xᵀ + y wᵀ``. That converges about four times as fast.
"""

from typing import NamedTuple

import numpy as np
import scipy.linalg as sl

from certificates.making.quotient import Quotient
from certnet.solvers.arrays import Array, Arrays
from certnet.solvers.entrywise import FormTerms, LossTerms
from formulations import Dual, Program
from formulations._validation import FloatArray


class Sizes(NamedTuple):
    """Frobenius norms of Z, of the multiplier V − Z, of the change of Z since the last step; grouped, of G − Z."""

    entries: float
    multiplier: float
    change: float
    gap: float = 0.0


class Splitting:
    """The two proximal maps of a program in orthonormal coordinates, on the arrays of a layer.

    Args:
        objective: what is minimised besides signs and distance; that of the program by default.

    Attributes:
        size: of the costs, in which the penalty ρ is measured.
    """

    def __init__(self, program: Program, layer: Arrays, objective: FormTerms | LossTerms | None = None) -> None:
        space = self.space = program.space
        self.layer, A, quotient = layer, space.generators, Quotient.of(program)
        self._w: Array | None = None
        if quotient is not None:
            w = quotient.w / np.linalg.norm(quotient.w)
            A = A - np.outer(w, w @ A)
            self._w = layer.array(w)
            self._shift = np.outer(quotient.free, w @ space.generators) / np.linalg.norm(quotient.w)
        self._moves = layer.zeros(2, space.order, 4)
        R = np.linalg.cholesky(np.eye(space.dimension) + 0.5 * A.T @ A).T
        inverse = sl.solve_triangular(R, np.eye(space.dimension))
        self._inverse, self._B = layer.array(inverse), layer.array(0.5 * A @ inverse)
        terms = FormTerms if program.loss is None else LossTerms
        self._objective = objective or terms(program, layer, in_region=quotient is None)
        self.size = self._objective.size
        self._blocks = layer.blocks(space.neurons, space.order)

    def entrywise(self, V: Array, penalty: float, Z: Array) -> tuple[Array, Sizes]:
        """Write the minimiser of loss, cost, signs and ``ρ‖Z − V‖²/2`` to Z, whose content is the last one.

        Each off-diagonal entry counts twice. Returns the upper triangle of ``Qᵀ(2Z − V)Q`` (order N+k+c), of which the
        next half step takes the positive part, and the sizes of what was written.
        """
        space, square, objective = self.space, self.layer.square, self._objective
        N, k = space.neurons, space.dimension
        # Not empty: LAPACK multiplies what lies below the diagonal by zero, and NaN among it spoils the eigenvalues.
        X = self.layer.zeros(space.face_order, space.face_order)
        columns, total = objective.columns(V, penalty), np.zeros(3)
        x, y = self.layer.zeros(2, N)

        def put(rows: slice, new: Array) -> Array:
            """Store rows of Z, measure them, and return those of 2Z − V."""
            L = V[rows] - new
            total[:] += (square(new), square(L), square(new - Z[rows]))
            Z[rows] = new
            return new - L

        def put_signed(rows: slice, partner: slice) -> Array:
            """The same for rows of φ; ``partner`` are the columns of the complementary neurons."""
            new = objective.rows_of_phi(V, columns, penalty, rows)
            other = space.beta if rows.start < N else space.alpha
            self.layer.positive_part(new[:, space.phi if self._w is None else other])
            self.layer.diagonal(new[:, partner])[...] = 0.0
            return put(rows, new)

        z, v = slice(N, N + k), slice(N + k, space.face_order)
        last = put(slice(2 * N, space.order), objective.other_rows(V, columns, penalty))
        X[v, v] = last[k:, space.v]
        X_zz = self._inverse.T @ self._tilt(last[:k])
        X_zv = self._inverse.T @ last[:k, space.v]
        for alpha in self._blocks:
            beta = slice(alpha.start + N, alpha.stop + N)
            upper, lower = put_signed(alpha, beta), put_signed(beta, alpha)
            if self._w is not None:
                y[alpha], x[alpha] = upper[:, space.beta] @ self._w, lower[:, space.alpha] @ self._w
            mean, difference = 0.5**0.5 * (upper + lower), upper - lower
            X[alpha, :N] = 0.5**0.5 * (mean[:, :N] + mean[:, N : 2 * N])
            X[alpha, z] = self._tilt(mean)
            X[alpha, v] = mean[:, space.v]
            X_zz += self._B[alpha].T @ self._tilt(difference)
            X_zv += self._B[alpha].T @ difference[:, space.v]
        X[z, z], X[z, v] = X_zz, X_zv
        if self._w is not None:
            self._leave(X, x, y, self._w)
        objective.go_on()
        return X, Sizes(*np.sqrt(total).tolist())

    def _leave(self, X: Array, x: Array, y: Array, w: Array) -> None:
        """Take what σ has along w out of X, and keep how G_αβ moves.

        x and y are ``wᵀ(2Z − V)_αβ`` and ``(2Z − V)_αβ w``.
        """
        N, outer = self.space.neurons, self.layer.xp.outer
        along = X[:N, :N] @ w
        along -= 0.5 * (along @ w) * w
        X[:N, :N] -= outer(along, w) + outer(w, along)
        X[:N, N:] -= outer(w, w @ X[:N, N:])
        half = 0.5 * (x @ w) * w
        left, right = self._moves
        for at, (column, row) in enumerate(((w, x - half), (y - half, w))):
            left[:N, at], right[N : 2 * N, at] = column, row
            left[N : 2 * N, 2 + at], right[:N, 2 + at] = row, column

    def _tilt(self, rows: Array) -> Array:
        """The ζ coordinates of rows: ``(rows_α − rows_β) B + rows_z R⁻¹``."""
        N = self.space.neurons
        return (rows[:, :N] - rows[:, N : 2 * N]) @ self._B + rows[:, self.space.z] @ self._inverse

    def factor(self, X: Array, expected_rank: int) -> Array:
        """F (order × rank) with ``F Fᵀ = Q X₊ Qᵀ``; X as ``entrywise`` returned it, destroyed."""
        N, k = self.space.neurons, self.space.dimension
        y = self.layer.positive_factor(X, expected_rank)
        half, tilt = 0.5**0.5 * y[:N], self._B @ y[N : N + k]
        return self.layer.xp.concatenate([half + tilt, half - tilt, self._inverse @ y[N : N + k], y[N + k :]])

    def on_face(self, F: FloatArray) -> FloatArray:
        """A factor, on the host, with columns on the face: where σ has lost w, z is moved along ν."""
        if self._w is None:
            return F
        moved, z = F.copy(), self.space.z
        moved[z] -= self._shift @ F[z]
        return moved

    def gap(self, F: Array, Z: Array, scale: float) -> tuple[Array, float]:
        """``scale · (F Fᵀ − Z)``, and the norm of F Fᵀ − Z."""
        out, total = self.layer.empty(*Z.shape), 0.0
        for rows in self.layer.blocks(*Z.shape):
            difference = F[rows] @ F.T - Z[rows]
            if self._w is not None:
                difference += self._moves[0][rows] @ self._moves[1].T
            total += self.layer.square(difference)
            out[rows] = scale * difference
        return out, float(np.sqrt(total))

    def multipliers(self, V: Array, penalty: float) -> Dual:
        """(W, N) of a point V, with exact signs, in float64: ``N = −2ρ(V' − Z)_φφ`` for what V' is before the signs."""
        space, i = self.space, np.arange(self.space.neurons)
        columns = self._objective.columns(V, penalty)
        block = self._objective.rows_of_phi(V, columns, penalty, space.phi)[:, space.phi]
        host = self.layer.host(block).astype(np.float64)
        N = np.maximum(-host, 0.0)
        if self._w is not None:
            N[: len(i), : len(i)] = N[len(i) :, len(i) :] = 0.0
        j = i + len(i)
        N[i, j], N[j, i] = -host[i, j], -host[j, i]
        return Dual(self._objective.W(V, penalty), penalty * (N + N.T))

    def scaled_multiplier(self, dual: Dual, penalty: float) -> FloatArray:
        """A scaled multiplier ``L = V − Z`` that belongs to this dual."""
        return self._objective.pulls(dual) / (2 * penalty)
