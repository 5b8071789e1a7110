"""Both halves of a Douglas–Rachford step for the DNN relaxation.

One half projects onto ``{J S Jᵀ : S ⪰ 0}``. The range of J has an orthonormal basis Q in closed form: with
``σ = (α+β)/√2`` and ``RᵀR = I + AᵀA/2`` it is

    α = σ/√2 + B ζ,   β = σ/√2 − B ζ,   z = R⁻¹ ζ,   B = A R⁻¹/2,

so a projection costs one eigendecomposition of order N+k+c and O(N²k) besides. The other half minimises entrywise the
objective and ``ρ‖Z − V‖²/2`` over Z with ``Z_φφ ≥ 0``, ``diag(Z_αβ) = 0`` and what else the program asks for: of
training the loss over (φ, v) and ``γ/2 (⟨E, G_zz⟩ + tr G_vv)``, of a form ``½⟨C, G⟩`` with ``⟨E, G_zz⟩ = 1``.

A form with null vectors (``making.quotient``) needs neither the signs of G_αα and G_ββ nor its region, because
multiples of ``(w, 0, ν)`` and ``(0, w, −ν)`` in the columns of a factor cost nothing. So A and σ lose what they have
along w, and G_αβ may be moved by any ``w xᵀ + y wᵀ``. That converges about four times as fast.
"""

from typing import NamedTuple

import numpy as np
import scipy.linalg as sl

from certificates.making.quotient import Quotient
from certificates.making.repair import raw_dual, repair_form
from certnet.solvers.arrays import Array, Arrays
from certnet.solvers.loops import loops_for
from certnet.solvers.loss_map import LossMap
from formulations import Dual, Program
from formulations._validation import FloatArray, IntArray

NONE = np.zeros(0, dtype=np.int64)


class Sizes(NamedTuple):
    """Frobenius norms of Z, of the multiplier V − Z, of the change of Z since the last step; grouped, of G − Z."""

    entries: float
    multiplier: float
    change: float
    gap: float = 0.0


class Splitting:
    """The two proximal maps of a program in orthonormal coordinates, on the arrays of a layer.

    ``loss`` is that of the program by default, and ``gone`` are entries of φ that vanish. The penalty ρ is measured in
    the ``size`` of the costs.
    """

    def __init__(self, program: Program, layer: Arrays, loss: LossMap | None = None, gone: IntArray = NONE) -> None:
        space, quotient = program.space, Quotient.of(program)
        self.program, self.space, self.layer, self._gone = program, space, layer, gone
        self.shape, A, k = (space.order, space.order), space.generators, space.dimension
        self._loops, N, c = loops_for(layer, space.order), space.neurons, space.outputs
        # What the loops take where there is no form, no entry is gone, and there is no quotient; and where they work.
        self._no_form, self._no_w = layer.zeros(0, 0), layer.zeros(0)
        self._keep = ~np.isin(np.arange(2 * N if len(gone) else 0), gone)
        self._rows, self._tilts = layer.zeros(2, space.order), layer.zeros(2, N, N)
        self._tails, self._along = layer.zeros(2, N, k + c), layer.zeros(2, N)
        self._w: Array | None = None
        if quotient is not None:
            w = quotient.w / np.linalg.norm(quotient.w)
            A = A - np.outer(w, w @ A)
            self._w = layer.array(w)
            self._shift = np.outer(quotient.free, w @ space.generators) / np.linalg.norm(quotient.w)
        self._moves = layer.zeros(2, space.order, 4)
        R = np.linalg.cholesky(np.eye(k) + 0.5 * A.T @ A).T
        inverse = sl.solve_triangular(R, np.eye(k))
        self._inverse, self._B = layer.array(inverse), layer.array(0.5 * A @ inverse)
        self._loss, self._form, self._normal = loss, None, None
        if program.loss is None:
            self._form, self._normal = layer.array(0.5 * program.form), layer.array(program.cost())
            self._tail = self._form[2 * space.neurons :]
            self.size = float(np.abs(program.form).max(initial=0.0)) or 1.0
        else:
            self._loss = loss or LossMap(program)
            self._features = layer.array(self._loss.features)
            tail = np.zeros((k + space.outputs, space.order))
            tail[:k, space.z], tail[k:, space.v] = program.cost(), np.eye(space.outputs)
            self._tail = layer.array(0.5 * program.gamma * tail)
            # A numpy scalar of float64 would turn float32 arrays into float64 ones.
            self.size = float(program.gamma)
        self._region = layer.array(program.region) if quotient is None and program.region.size else None

    def _columns(self, V: Array, penalty: float) -> Array:
        """Rows φ and columns v of the solution, which hold the loss."""
        columns, loss = self.layer.copy(V[self.space.phi, self.space.v]), self._loss
        if loss is not None:
            seen = self.layer.host(columns[self._features]).astype(np.float64)
            columns[self._features] = self.layer.array(loss(seen, 2 * penalty, loss.start))
        return columns

    def _rows_of_phi(self, V: Array, columns: Array, penalty: float) -> Array:
        """Rows of φ of the solution, before the signs."""
        rows, gone = V[self.space.phi], self._gone
        Z = self.layer.copy(rows) if self._form is None else rows - self._form[self.space.phi] / penalty
        Z[:, self.space.v] = columns
        if len(gone):
            Z[:, gone] = 0.0
            Z[gone] = 0.0
        return Z

    def _other_rows(self, V: Array, columns: Array, penalty: float) -> Array:
        """Rows of z and v of the solution: the block over z is moved onto the normalisation, and into the region."""
        space, dot, E, Q = self.space, self.layer.dot, self._normal, self._region
        Z = V[2 * space.neurons :] - self._tail / penalty
        block = Z[: space.dimension, space.z]
        if E is not None:
            block += (1.0 - dot(E, block)) / dot(E, E) * E
        if Q is not None and dot(Q, block) < 0:
            # Along the part of Q that keeps the normalisation.
            across = Q if E is None else Q - dot(E, Q) / dot(E, E) * E
            block -= dot(Q, block) / dot(Q, across) * across
        Z[space.dimension :, space.phi] = columns.T
        if len(self._gone):
            Z[:, self._gone] = 0.0
        return Z

    def entrywise(self, V: Array, penalty: float, Z: Array, columns: Array | None = None) -> tuple[Array, Sizes]:
        """Write the minimiser of loss, cost, signs and ``ρ‖Z − V‖²/2`` to Z, whose content is the last one.

        Each off-diagonal entry counts twice. Returns the upper triangle of ``Qᵀ(2Z − V)Q`` (order N+k+c), of which the
        next half step takes the positive part, and the sizes of what was written. ``columns`` are those of the loss
        where others know them.
        """
        space = self.space
        N, k = space.neurons, space.dimension
        if columns is None:
            columns = self._columns(V, penalty)
            if self._loss is not None:
                self._loss.go_on()
        # Not empty: LAPACK multiplies what lies below the diagonal by zero, and NaN among it spoils the eigenvalues.
        X, total = self.layer.zeros(space.face_order, space.face_order), np.zeros(3)
        z, v = slice(N, N + k), slice(N + k, space.face_order)
        last = self._put(V, Z, slice(2 * N, space.order), self._other_rows(V, columns, penalty), total)
        self._reflect(V, Z, columns, penalty, X, total)
        (mean, difference), (mean_tail, tail), inverse = self._tilts, self._tails, self._inverse
        X[:N, z] = 0.5**0.5 * (mean @ self._B + mean_tail[:, :k] @ inverse)
        X[:N, v] = 0.5**0.5 * mean_tail[:, k:]
        X[z, z] = inverse.T @ self._tilt(last[:k]) + self._B.T @ (difference @ self._B + tail[:, :k] @ inverse)
        X[z, v] = inverse.T @ last[:k, space.v] + self._B.T @ tail[:, k:]
        X[v, v] = last[k:, space.v]
        if self._w is not None:
            self._leave(X, self._along[0], self._along[1], self._w)
        return X, Sizes(*np.sqrt(total).tolist())

    def _put(self, V: Array, Z: Array, rows: slice, new: Array, total: FloatArray) -> Array:
        """Store rows of Z, measure them, and return those of 2Z − V."""
        L, square = V[rows] - new, self.layer.square
        total += (square(new), square(L), square(new - Z[rows]))
        Z[rows] = new
        return new - L

    def _reflect(self, V: Array, Z: Array, columns: Array, penalty: float, X: Array, total: FloatArray) -> None:
        """Rows φ of Z, and of 2Z − V what the projection needs (``loops.reflect``)."""
        space, w = self.space, self._w
        N = space.neurons
        if self._loops is not None:
            form, crosswise = self._no_form if self._form is None else self._form, self._no_w if w is None else w
            made = self._rows, X, self._tilts, self._tails, self._along, total
            self._loops.reflect(V, Z, form, 1.0 / penalty, columns, self._keep, crosswise, *made)
            return
        new = self._rows_of_phi(V, columns, penalty)
        for rows, partners in ((space.alpha, space.beta), (space.beta, space.alpha)):
            self.layer.positive_part(new[rows, space.phi if w is None else partners])
            self.layer.diagonal(new[rows, partners])[...] = 0.0
        new = self._put(V, Z, space.phi, new, total)
        upper, lower = new[space.alpha], new[space.beta]
        for at, rows in enumerate((upper + lower, upper - lower)):
            self._tilts[at] = rows[:, space.alpha] - rows[:, space.beta]
            self._tails[at] = rows[:, 2 * N :]
        X[:N, :N] = 0.5 * ((upper + lower)[:, space.alpha] + (upper + lower)[:, space.beta])
        if w is not None:
            self._along[0], self._along[1] = upper[:, space.beta] @ w, lower[:, space.alpha] @ w

    def _leave(self, X: Array, y: Array, x: Array, w: Array) -> None:
        """Take what σ has along w out of X, and keep how G_αβ moves.

        y and x are ``(2Z − V)_αβ w`` and ``wᵀ(2Z − V)_αβ``.
        """
        N, stack = self.space.neurons, self.layer.xp.stack
        along = X[:N, :N] @ w
        along -= 0.5 * (along @ w) * w
        X[:N, :N] -= stack([along, w], 1) @ stack([w, along])
        X[:N, N:] -= w[:, None] * (w @ X[:N, N:])
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
        join, (left, right) = self.layer.xp.concatenate, self._moves
        # A product of F with itself would call a routine that is several times as slow.
        out = F @ self.layer.copy(F).T if self._w is None else join([F, left], 1) @ join([F, right], 1).T
        if self._loops is not None:
            return out, float(np.sqrt(self._loops.scaled_gap(out, Z, scale)))
        out -= Z
        size = float(np.sqrt(self.layer.square(out)))
        out *= scale
        return out, size

    def products(self, V: Array, penalty: float, columns: Array) -> FloatArray:
        """N of a point V, with exact signs, in float64: ``−2ρ(V' − Z)_φφ`` for what V' is before the signs."""
        space, i = self.space, np.arange(self.space.neurons)
        block = self._rows_of_phi(V, columns, penalty)[:, space.phi]
        host = self.layer.host(block).astype(np.float64)
        N = np.maximum(-host, 0.0)
        if self._w is not None:
            N[: len(i), : len(i)] = N[len(i) :, len(i) :] = 0.0
        j = i + len(i)
        N[i, j], N[j, i] = -host[i, j], -host[j, i]
        return penalty * (N + N.T)

    def multipliers(self, V: Array, penalty: float) -> Dual:
        """(W, N) of a point V, with exact signs, in float64."""
        N = self.products(V, penalty, self._columns(V, penalty))
        return Dual(np.zeros(self.program.shape) if self._loss is None else self._loss.W(), N)

    def pulls(self, dual: Dual) -> FloatArray:
        """What a dual's scaled multiplier ``V − Z`` is times 2ρ: the loss, the costs and the signs.

        Of a form ``C − N − δE`` of the repaired dual, positive semidefinite on the face.
        """
        program, space = self.program, self.space
        if program.loss is None:
            form = repair_form(program, dual)
            L: FloatArray = program.form - program.lift_inequalities(raw_dual(dual.W, form.N, form.t, gamma=1.0).N)
            L[space.z, space.z] -= form.delta * program.cost()
            if self._region is not None:
                L[space.z, space.z] -= form.sigma * program.region
            return L
        L = np.zeros((space.order, space.order))
        L[space.phi, space.phi] = -dual.N
        L[space.phi, space.v] = -program.features_of(dual.W)
        L[space.v, space.phi] = L[space.phi, space.v].T
        L[space.z, space.z] = program.gamma * program.cost()
        L[space.v, space.v] = program.gamma * np.eye(space.outputs)
        return L
