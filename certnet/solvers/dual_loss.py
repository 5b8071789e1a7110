"""The dual of a loss as the interior point sees it: ``D(W) = −L*(−W)`` over a domain that W stays inside.

Where the domain ends W has a gap, the distance from the limit, and the gap a multiplier s > 0 with ``s·gap = μ``. The
optimal W is where ``∇D(W) + Σ ±s − a`` are the fitted values. The output bias a is the multiplier of ``Wᵀ1 = 0`` where
it is free, and ``Wᵀ1/decay`` where it is penalised.

A row of cross-entropy has a W that sums to 0. There the outputs are rotated, ``W = W' Qᵀ`` with an orthonormal basis Q
of the vectors with sum 0: the trace of the output weights stays, and the last rotated output is never used. Elsewhere
Q = I. All vectors here hold W' (n, c'), row by row.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from formulations import Loss, Program
from formulations._validation import FloatArray, IntArray
from formulations.losses import smoothed

START_SMOOTHING = 2.0
"""Smoothing with which the network without neurons has a W inside the domain of a hinge loss: q = (1 − ya)/2."""


@dataclass(frozen=True, eq=False)
class Curvature:
    """−∇²D plus what the gaps add: a diagonal, or where outputs depend on each other a block for each row."""

    diagonal: FloatArray
    blocks: FloatArray | None = None

    def __call__(self, x: FloatArray) -> FloatArray:
        """Times a vector."""
        if self.blocks is None:
            return self.diagonal * x
        return np.asarray(np.einsum("ijk,ik->ij", self.blocks, x.reshape(self.blocks.shape[:2])).ravel())

    def add_couplings(self, matrix: FloatArray, scale: FloatArray) -> None:
        """Add what is off the diagonal to the leading entries of a matrix, rows and columns times ``scale``."""
        if self.blocks is None:
            return
        n, c, _ = self.blocks.shape
        first, second = (index.ravel() for index in np.nonzero(~np.eye(c, dtype=bool)))
        base = c * np.arange(n)[:, None]
        rows, columns = (base + first).ravel(), (base + second).ravel()
        matrix[rows, columns] += scale[rows] * scale[columns] * self.blocks[:, first, second].ravel()


@dataclass(frozen=True, eq=False)
class DualLoss:
    """See the module's text: L, of no rows where there is none, and the ``basis`` Q (c, c')."""

    loss: Loss
    basis: FloatArray

    @classmethod
    def of(cls, program: Program) -> "DualLoss":
        """The dual of a program's loss; of a form that of nothing."""
        loss = program.loss or Loss(np.zeros((0, 0)))
        c = loss.shape[1]
        if not loss.kind.couples:
            return cls(loss, np.eye(c))
        # The reflection that takes 1/√c to a unit vector takes the others to vectors with sum 0.
        mirror = np.append(np.full(c - 1, 1.0), 1.0 + np.sqrt(c))
        return cls(loss, (np.eye(c) - 2.0 * np.outer(mirror, mirror) / (mirror @ mirror))[:, :-1])

    @property
    def outputs(self) -> int:
        """c'."""
        return int(self.basis.shape[1])

    @property
    def size(self) -> int:
        """Number of entries of W'."""
        return self.loss.shape[0] * self.outputs

    @cached_property
    def norm(self) -> float:
        """About how large W is; 0 where there is no loss."""
        return self.loss.size() if self.size else 0.0

    def W(self, w: FloatArray) -> FloatArray:
        """W (n×c)."""
        W: FloatArray = w.reshape(-1, self.outputs) @ self.basis.T if self.size else np.zeros(self.loss.shape)
        return W

    def flat(self, W: FloatArray) -> FloatArray:
        """W' of W."""
        return np.asarray((W @ self.basis).ravel())

    @cached_property
    def _limits(self) -> tuple[IntArray, FloatArray, FloatArray]:
        """(m,) entries of W that have a limit, −1 where it is an upper one, and the limits.

        A row of p that sums to 1 needs no upper ones.
        """
        lower, upper = (limit.ravel() for limit in self.loss.limits)
        sides = [(-1.0, upper)] if self.loss.kind.couples else [(1.0, lower), (-1.0, upper)]
        entries = [np.flatnonzero(np.isfinite(limit)) for _, limit in sides]
        signs = [np.full(len(at), sign) for at, (sign, _) in zip(entries, sides, strict=True)]
        limits = [limit[at] for at, (_, limit) in zip(entries, sides, strict=True)]
        return np.concatenate(entries), np.concatenate(signs), np.concatenate(limits)

    def moved(self, w: FloatArray) -> FloatArray:
        """(m,) change of the gaps with W'."""
        entries, sign, _ = self._limits
        return sign * self.W(w).ravel()[entries]

    def gaps(self, w: FloatArray) -> FloatArray:
        """(m,) distances from the limits, positive inside."""
        _, sign, limits = self._limits
        return np.asarray(self.moved(w) - sign * limits)

    def _scattered(self, s: FloatArray) -> FloatArray:
        """Entries (n×c) where numbers of the gaps add up."""
        out = np.zeros(self.loss.shape)
        np.add.at(out.ravel(), self._limits[0], s)
        return out

    def pull(self, s: FloatArray) -> FloatArray:
        """What multipliers of the gaps add to the fitted values; the transpose of ``moved``."""
        return self.flat(self._scattered(self._limits[1] * s))

    def value(self, w: FloatArray) -> float:
        """D."""
        return self.loss.dual_value(self.W(w)) if self.size else 0.0

    def slope(self, w: FloatArray) -> FloatArray:
        """∇D without the output bias."""
        loss = self.loss
        return self.flat(loss.kind.fitted(loss.unit * self.W(w) / loss.sample_weight[:, None], loss.target) / loss.unit)

    def curvature(self, w: FloatArray, ratio: FloatArray) -> Curvature:
        """−∇²D without the output bias, with ``ratio`` for each gap."""
        loss, omega = self.loss, self.loss.sample_weight[:, None]
        full = loss.kind.sharpness(loss.unit * self.W(w) / omega, loss.target) / omega
        full += self._scattered(ratio)
        if not loss.kind.couples:
            return Curvature(full.ravel())
        blocks = np.einsum("ki,nk,kj->nij", self.basis, full, self.basis)
        return Curvature(np.einsum("nii->ni", blocks).ravel(), blocks)

    def missing(self, w: FloatArray, rows: FloatArray) -> float:
        """How large an error of the fitted values is: √(rᵀH⁻¹r) for H = −∇²D, or √(rᵀr) where H is below 1.

        Where W is near a limit of infinite slope the fitted values are large, and their errors matter little.
        """
        curvature = self.curvature(w, np.zeros(len(self._limits[0])))
        if curvature.blocks is None:
            return float(np.linalg.norm(rows / np.sqrt(np.maximum(curvature.diagonal, 1.0))))
        columns = rows.reshape(-1, self.outputs, 1)
        return float(np.sqrt(max(float(np.sum(columns * np.linalg.solve(curvature.blocks, columns))), 0.0)))

    @property
    def bias_decay(self) -> float | None:
        """Of the output bias; None without one."""
        return self.loss.bias_decay if self.loss.has_bias and self.size else None

    def sums(self, w: FloatArray) -> FloatArray:
        """(c',) ``Wᵀ1``."""
        return np.asarray(w.reshape(-1, self.outputs).sum(axis=0))

    def repeated(self, a: FloatArray) -> FloatArray:
        """A bias (c',) as fitted values; the transpose of ``sums``."""
        return np.tile(a, self.loss.shape[0])

    def bias(self, w: FloatArray, missing: FloatArray) -> FloatArray:
        """(c',) the output bias: of W', or where it is free the one that leaves least of what is missing."""
        if self.bias_decay is None:
            return np.zeros(self.outputs)
        return self.sums(w) / self.bias_decay if self.bias_decay > 0 else self.sums(missing) / self.loss.shape[0]

    def objective(self, fitted: FloatArray, bias: FloatArray) -> float:
        """L of fitted values with this bias."""
        return self.loss.value(self.W(fitted), self.basis @ bias) if self.size else 0.0

    @cached_property
    def zero_network(self) -> FloatArray:
        """W' of the network without neurons, strictly inside the domain where only such W' can be."""
        if not self.size:
            return np.zeros(0)
        smooth = replace(self.loss, kind=smoothed(self.loss.kind, START_SMOOTHING))
        return self.flat(self.loss.project(smooth.dual(np.zeros(self.loss.shape))))

    @cached_property
    def centre(self) -> FloatArray:
        """A W' that is well inside: 0, or where that is a limit the network without neurons."""
        zero = np.zeros(self.size)
        return zero if self.gaps(zero).min(initial=np.inf) > 0 else self.zero_network

    def inside(self, W: FloatArray, share: float) -> FloatArray:
        """W' of any W (n×c), moved into the domain and by this share of the way to its centre."""
        if not self.size:
            return np.zeros(0)
        w = self.flat(self.loss.project(W))
        return (1.0 - share) * w + share * self.centre if len(self.gaps(w)) else w


def narrowed(S: FloatArray, basis: FloatArray) -> FloatArray:
    """A face matrix whose last c coordinates are outputs, in the rotated outputs."""
    return _congruent(S, basis.T)


def widened(S: FloatArray, basis: FloatArray) -> FloatArray:
    """The inverse of ``narrowed``, as far as there is one."""
    return _congruent(S, basis)


def _congruent(S: FloatArray, T: FloatArray) -> FloatArray:
    rest = len(S) - T.shape[1]
    rows = np.concatenate([S[:rest], T @ S[rest:]])
    return np.concatenate([rows[:, :rest], rows[:, rest:] @ T.T], axis=1)
