"""The climb to a local maximum of ‖Wᵀ(Xu)₊‖ over the unit sphere, from many starts at once.

Ascent goes along great circles, and the first maximum on each is found exactly: between the n angles at which a data
row changes sign, the squared value is one sinusoid. Each circle leads to the best direction of the current activation
pattern (an eigenvector), so that bad scaling of X does no harm. Where the best point lies on a kink x_iᵀu = 0, that row
is held at zero from then on, and released once that pays; hence maximisers on kinks are found to full accuracy.
"""

import numpy as np
from numpy.typing import NDArray

from certificates.failure import Deadline
from formulations._validation import FloatArray, IntArray

HELD = 1e-10
"""Relative distance from a kink that is rounding."""
ON_KINK = 1e-14
SMALLEST_GAIN = 1e-13


def distinct_rows(X: FloatArray, W: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The same function with distinct rows of unit norm: W takes their length, and equal directions are added up."""
    length = np.linalg.norm(X, axis=1)
    rows = length > 0
    unit = X[rows] / length[rows, None]
    _, first, group = np.unique(np.round(unit, 12), axis=0, return_index=True, return_inverse=True)
    weight = np.zeros((len(first), W.shape[1]))
    np.add.at(weight, group.ravel(), W[rows] * length[rows, None])
    return unit[first], weight


class Ascent:
    """Batched ascent from unit rows U (s×d): with each its rows that are held at zero, and a basis of their span."""

    def __init__(self, X: FloatArray, W: FloatArray, U: FloatArray) -> None:
        self.X, self.W = X, W
        (self.n, self.d), self.U = X.shape, U.copy()
        self.held = np.zeros((len(U), self.n), dtype=bool)
        self.basis = np.zeros((len(U), self.d, self.d))

    def run(self, *, max_steps: int, deadline: Deadline) -> FloatArray:
        """The points reached (s×d)."""
        result, index = self.U.copy(), np.arange(len(self.U))
        if self.n == 0:
            return result
        for s, near in enumerate(np.abs(self.U @ self.X.T) <= HELD):
            self._hold(s, np.flatnonzero(near))
        for _ in range(max_steps):
            if len(index) == 0 or deadline.passed:
                break
            alive = self._step()
            result[index] = self.U
            self.U, self.held, self.basis = self.U[alive], self.held[alive], self.basis[alive]
            index = index[alive]
        return result

    def _step(self) -> NDArray[np.bool_]:
        """One circle for each start; False where nothing is gained any more."""
        P = self._products()
        old = self._value(P)
        direction, gain = self._eigen_directions(P)
        moved = np.zeros(len(P), dtype=bool)
        go = np.flatnonzero(gain > 1e-9)
        if len(go):
            moved[go] = self._move(P, old, direction, go, kink_counts=True)
        # Stationary on its face: release a held row if that pays, otherwise the climb is over.
        rest = [s for s in np.flatnonzero(~moved).tolist() if self.held[s].any() and self._release(direction, s)]
        if rest:
            again = np.array(rest)
            moved[again] = self._move(self._products(), old, direction, again)
        return moved

    def _products(self) -> FloatArray:
        """x_iᵀu with an exact zero on kinks, where a rounding error would look like a crossing."""
        P = self.U @ self.X.T
        P[self.held | (np.abs(P) <= ON_KINK)] = 0.0
        return P

    def _value(self, P: FloatArray) -> FloatArray:
        return np.asarray(np.linalg.norm(np.maximum(P, 0.0) @ self.W, axis=1))

    def _eigen_directions(self, P: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Unit tangents towards the leading eigenvector of the current pattern, in the face of the held rows."""
        U, basis = self.U, self.basis
        A = ((P > 0).astype(np.float64)[:, None, :] * self.W.T[None, :, :]) @ self.X
        A = A - (A @ basis.transpose(0, 2, 1)) @ basis
        if A.shape[1] <= self.d:
            lead = np.einsum("scd,sc->sd", A, np.linalg.eigh(A @ A.transpose(0, 2, 1))[1][:, :, -1])
        else:  # with many outputs the other product is the small one
            lead = np.linalg.eigh(A.transpose(0, 2, 1) @ A)[1][:, :, -1]
        size = np.linalg.norm(lead, axis=1)
        lead = lead / np.maximum(size, 1e-300)[:, None]
        lead *= np.where(np.sum(lead * U, axis=1) < 0, -1.0, 1.0)[:, None]
        tangent = lead - np.sum(lead * U, axis=1)[:, None] * U
        tangent -= np.einsum("sd,sde->se", np.einsum("sd,skd->sk", tangent, basis), basis)
        gain = np.where(size > 0, np.linalg.norm(tangent, axis=1), 0.0)
        return tangent / np.maximum(gain, 1e-300)[:, None], gain

    def _move(
        self, P: FloatArray, old: FloatArray, direction: FloatArray, index: IntArray, *, kink_counts: bool = False
    ) -> NDArray[np.bool_]:
        """Go to the best point of the circles of the starts in ``index``; True where that is better than before.

        With ``kink_counts`` reaching a kink is a move even without gain; that happens at most d − 1 times in a row.
        """
        Q = np.where(self.held[index], 0.0, direction[index] @ self.X.T)
        theta, kink = self._turn(P[index], Q)
        new = np.cos(theta)[:, None] * self.U[index] + np.sin(theta)[:, None] * direction[index]
        moved = np.zeros(len(index), dtype=bool)
        for k, s in enumerate(index):
            saved = self.U[s].copy(), self.held[s].copy(), self.basis[s].copy()
            self.U[s] = new[k] / np.linalg.norm(new[k])
            grown = kink[k] >= 0 and self._hold(s, np.array([kink[k]]))
            value = float(self._value(np.where(self.held[s], 0.0, self.X @ self.U[s])[None])[0])
            better = value > old[s] * (1 + SMALLEST_GAIN)
            moved[k] = better or (grown and kink_counts and value >= old[s] * (1 - 1e-12))
            if not moved[k]:
                self.U[s], self.held[s], self.basis[s] = saved
        return moved

    def _turn(self, P: FloatArray, Q: FloatArray) -> tuple[FloatArray, IntArray]:
        """Where to go on P cos θ + Q sin θ: an angle in [0, π), and the data row whose kink it lies on, or −1.

        It is the first local maximum, which keeps starts apart: 0 where the value does not rise at first. Between the
        angles low and high of a cell the squared value is half cos 2θ + b sin 2θ and a constant.
        """
        (s, n), rows = P.shape, np.arange(len(P))
        root = np.where(P > 0, np.arctan2(P, -Q), np.arctan2(-P, Q))
        root[P == 0] = np.pi
        order: IntArray = np.argsort(root, axis=1)
        angle = np.take_along_axis(root, order, 1)
        started, W, flip = (P > 0) | ((P == 0) & (Q > 0)), self.W[order], -np.sign(P)
        Fp, Fq = np.empty((s, n + 1, W.shape[2])), np.empty((s, n + 1, W.shape[2]))
        for F, R in ((Fp, P), (Fq, Q)):
            F[:, 0] = (started * R) @ self.W
            np.cumsum(np.take_along_axis(flip * R, order, 1)[:, :, None] * W, axis=1, out=F[:, 1:])
            F[:, 1:] += F[:, :1]
        half, b = 0.5 * np.einsum("skc,skc->sk", Fp + Fq, Fp - Fq), np.einsum("skc,skc->sk", Fp, Fq)
        low = np.concatenate([np.zeros((s, 1)), angle], axis=1)
        high = np.concatenate([angle, np.full((s, 1), np.pi)], axis=1)
        peak = np.mod(0.5 * np.arctan2(b, half), np.pi)
        inside = (peak > low) & (peak < high)
        falling = b * np.cos(2 * low) - half * np.sin(2 * low) <= 0
        # Cells of no length, between rows that change sign together, say nothing.
        stop = (inside | falling) & (high > low)
        stop[:, -1] = True
        cell = np.argmax(stop, axis=1)
        smooth = ~falling[rows, cell]
        theta = np.where(smooth & inside[rows, cell], peak[rows, cell], low[rows, cell])
        on = order[rows, np.maximum(cell - 1, 0)]
        return theta, np.where(~smooth & (cell > 0) & (P[rows, on] != 0), on, -1)

    def _hold(self, s: int, rows: IntArray) -> bool:
        """Hold data rows at zero for start s; True if at least one could be added."""
        added = False
        for row in rows:
            count, basis = int(self.held[s].sum()), self.basis[s].copy()
            if count >= self.d - 1:
                break
            rest = self.X[row].copy()
            for _ in range(2):
                rest -= basis.T @ (basis @ rest)
            size = float(np.linalg.norm(rest))
            if size <= 1e-8:
                continue
            basis[count] = rest / size
            point = self.U[s] - basis.T @ (basis @ self.U[s])
            length = float(np.linalg.norm(point))
            if length >= 0.5:
                self.basis[s], self.U[s], self.held[s, row], added = basis, point / length, True, True
        return added

    def _release(self, direction: FloatArray, s: int) -> bool:
        """Stop holding the row of start s that promises most, and point ``direction`` off its kink.

        With g the gradient when the held rows Z are off, g = Σ_Z λ_i x_i on a stationary face; moving x_iᵀu up gains
        λ_i + κ_i, down −λ_i, where κ_i = W_iᵀWᵀ(Xu)₊ is what the row adds once it is on.
        """
        u, held = self.U[s], self.held[s]
        rows = np.flatnonzero(held)
        activation = np.maximum(np.where(held, 0.0, self.X @ u), 0.0)
        output = self.W.T @ activation
        gradient = self.X.T @ (self.W @ output * (activation > 0))
        gradient -= (gradient @ u) * u
        dual = np.linalg.pinv(self.X[rows])
        multiplier = gradient @ dual
        up = multiplier + self.W[rows] @ output
        gain = np.maximum(up, -multiplier) / np.linalg.norm(dual, axis=0)
        k = int(np.argmax(gain))
        if not (gain[k] > 1e-9 * max(float(output @ output), 1e-300)):
            return False
        keep = np.delete(rows, k)
        self.basis[s] = 0.0
        if len(keep):
            self.basis[s, : len(keep)] = np.linalg.qr(self.X[keep].T)[0].T
        held[rows[k]] = False
        way = dual[:, k] * (1.0 if up[k] >= -multiplier[k] else -1.0)
        way = way - (way @ u) * u
        direction[s] = way / np.linalg.norm(way)
        return True
