"""The cheap bound: the price of a dual W without products of inequalities, in time and memory linear in the rows.

With ``W̃ = (P, Q)`` over φ = (α, β), S = P + Q, Δ = P − Q, τ = −t > 0 and ``β' = β + ½Au`` the slack of
``h²uᵀEu − ‖W̃ᵀφ‖² − Σ t_i α_i β_i`` is

    Σ τ_i β'_i² + h² uᵀEu − ¼ uᵀAᵀdiag(τ)Au − ‖Sᵀβ' + Du‖²,   D = ½ΔᵀA,

a diagonal minus something of rank c, and so it is PSD exactly if the matrix of order c + k

    [[I − Sᵀdiag(1/τ)S,  D], [Dᵀ,  h²E − ¼Aᵀdiag(τ)A]]

is. This is Shor's relaxation of the price. For moments ``P = R Rᵀ`` of (u, v) the best τ_i is proportional to
``(S_iP_vvS_iᵀ / a_iP_uua_iᵀ)^½``; its scale is found in one dimension. Floating point throughout, the checker decides.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from certificates.making.form_bound import golden, widened
from certificates.making.shifted import whitener
from formulations import Program
from formulations.arrays import FloatArray

_RIDGES = (1e-9, 1e-5, 1e-2)
"""Shares of the identity that are mixed into moments: moments of low rank are optimal, but not near the optimum."""
_LEAST_SHIFT = 1e-13
"""Smallest τ_i, relative to the largest at rows of equal size."""
_BLUR = 1e-13
_DIRECT = 128
"""Up to this many columns eigenvalues of whole matrices are quicker."""
_STEPS = 100
_RISE = 1e-7
"""Relative rise of the price below which climbing ends."""
_RANK = 8
_DECADES, _GOLDEN_STEPS = (-11.0, 3.0), 20
"""Where κ is looked for above the values, and how often the interval shrinks to 0.618 of its length."""
_WIDEST = 1e6
_WIDENINGS = 10

Factor = tuple[FloatArray, FloatArray]
"""(R_u, R_v) of shapes k×r and c×r, for the moments ``R Rᵀ`` of (u, v)."""


@dataclass(frozen=True, eq=False)
class Price:
    """The price of one W: A (N×k), S and Δ (N×c), and the inverse E^(-½) (k×k) of a root of the metric.

    ``blur`` (N,) is more than the square of what rounding can do to S_i, which the checker charges at 1/τ_i.
    """

    generators: FloatArray
    total: FloatArray
    difference: FloatArray
    whitener: FloatArray
    blur: FloatArray

    @classmethod
    def of(cls, program: Program, W: FloatArray) -> "Price":
        """The price of W (f×c) in a program; its inequalities are left aside, which only makes the bound weaker."""
        N = program.space.neurons
        weighted, size = program.features_of(W), np.zeros(2 * N)
        assert program.loss is not None
        first = program.loss.dual(np.zeros(program.shape))
        np.add.at(size, program.feature, program.weight * np.linalg.norm(np.hstack([W, first]), axis=1))
        return cls(
            generators=program.space.generators,
            total=weighted[:N] + weighted[N:],
            difference=weighted[:N] - weighted[N:],
            whitener=whitener(program.metric),
            blur=(_BLUR * (size[:N] + size[N:])) ** 2,
        )

    def climb(self) -> Factor:
        """Moments of a high price ``½Σ (a_iR_u)·(Δ_iR_v) + ½Σ ‖a_iR_u‖‖S_iR_v‖``, by alternating ascent.

        The price is convex in R_u with R_v fixed and the other way round, so a step to the normalised gradient never
        lowers it.
        """
        A, S, delta = self.generators, self.total, self.difference
        k, c = A.shape[1], S.shape[1]
        rank, random = min(k + c, _RANK), np.random.default_rng(0)
        R_u, R_v = self.whitener.T @ random.standard_normal((k, rank)), random.standard_normal((c, rank))
        # W and −W have one price, so they begin alike.
        R_v = R_v if np.sum((A @ R_u) * (delta @ R_v)) >= 0 else -R_v
        reached = 0.0
        for _ in range(_STEPS):
            U, V = A @ R_u, S @ R_v
            size_u, size_v = np.linalg.norm(U, axis=1), np.linalg.norm(V, axis=1)
            gradient = A.T @ (delta @ R_v + _ratio(size_v, size_u)[:, None] * U)
            R_u = self.whitener.T @ (self.whitener @ gradient)
            R_u /= max(float(np.sum(R_u * gradient)) ** 0.5, 1e-300)
            U = A @ R_u
            R_v = delta.T @ U + S.T @ (_ratio(np.linalg.norm(U, axis=1), size_v)[:, None] * V)
            size = float(np.linalg.norm(R_v))
            R_v /= max(size, 1e-300)
            if not size > reached * (1.0 + _RISE):
                break
            reached = size
        return R_u, R_v

    def shifts(self, factor: Factor) -> Iterable[FloatArray]:
        """Candidates for τ (N,), each up to a factor."""
        R_u, R_v = factor
        A, S = self.generators, self.total
        U, V = np.sum((A @ R_u) ** 2, axis=1), np.sum((S @ R_v) ** 2, axis=1)
        flat_u, flat_v = np.sum((A @ self.whitener.T) ** 2, axis=1), np.sum(S**2, axis=1)
        mean_u, mean_v = np.sum(U) / max(np.sum(flat_u), 1e-300), np.sum(V) / max(np.sum(flat_v), 1e-300)
        for ridge in _RIDGES:
            blurred = V + mean_v * (ridge * flat_v + self.blur)
            yield np.sqrt(_ratio(blurred, U + ridge * mean_u * flat_u))

    def along(self, tau: FloatArray) -> "ScaledShift":
        """h² as a function of the scale of τ, for one pattern of positive τ."""
        A, S = self.generators, self.total
        values, vectors = np.linalg.eigh(S.T @ (S / tau[:, None]))
        cross = 0.5 * vectors.T @ (self.difference.T @ A) @ self.whitener.T
        corner = 0.25 * self.whitener @ (A.T @ (tau[:, None] * A)) @ self.whitener.T
        if len(corner) <= _DIRECT:
            return ScaledShift(values, cross, corner)
        diagonal, axes = np.linalg.eigh(corner)
        return ScaledShift(values, cross @ axes, diagonal)

    def best(self, patterns: Iterable[FloatArray], margin: float) -> tuple[FloatArray, float]:
        """(τ, h²) of the best pattern; h² holds a relative margin, which moves τ from where the slack is singular."""
        best, h_squared = np.ones(len(self.generators)), np.inf
        size = np.linalg.norm(self.generators, axis=1) ** 2
        for pattern in patterns:
            largest = float(np.max(pattern * size, initial=0.0))
            if not (np.isfinite(pattern).all() and 0 < largest < np.inf):
                continue
            tau = np.maximum(pattern / largest, _LEAST_SHIFT / size)
            scale, value = self.along(tau).minimum(margin)
            if value < h_squared:
                best, h_squared = scale * tau, value
        return best, h_squared


@dataclass(frozen=True, eq=False)
class ScaledShift:
    """h²(κ) for the shift κτ: ``λ_max(κ·corner + crossᵀ diag(κ/(κ − values)) cross)``, convex.

    ``corner`` is a matrix, and a value takes O(k³); or the diagonal of one, and a value takes O(c²k).
    """

    values: FloatArray
    cross: FloatArray
    corner: FloatArray

    def __call__(self, kappa: float) -> float:
        """h²(κ), infinite where κ is not above the values."""
        gap = kappa - self.values
        if not gap.min(initial=np.inf) > 0:
            return np.inf
        B = np.sqrt(kappa / gap)[:, None] * self.cross
        if self.corner.ndim == 1:
            return _bisected(kappa * self.corner, B)
        matrix = kappa * self.corner + B.T @ B
        return float(np.linalg.eigvalsh(matrix)[-1]) if np.isfinite(matrix).all() else np.inf

    def minimum(self, margin: float) -> tuple[float, float]:
        """(κ, h²): the least h² with a relative margin, and the largest κ that keeps it."""
        largest = float(self.values.max(initial=0.0))
        # Without values to exceed, κ is of the size where both parts of the matrix are alike.
        diagonal = self.corner if self.corner.ndim == 1 else np.diag(self.corner)
        spread = largest or float(np.sum(self.cross**2)) / max(float(diagonal.sum()), 1e-300)
        value, x = golden(lambda x: self(largest + spread * 10.0**x), *_DECADES, _GOLDEN_STEPS)
        allowed, kappa = value * (1.0 + margin), spread * 10.0**x
        return widened(self, largest, kappa, allowed, _WIDEST, _WIDENINGS), allowed


def _bisected(diagonal: FloatArray, B: FloatArray) -> float:
    """The largest eigenvalue of ``diag(diagonal) + BᵀB``, rounded up: λ bounds it where λ > diagonal and
    ``B diag(1/(λ − diagonal)) Bᵀ ≺ I``."""
    step = float(np.sum(B**2))
    found = float(diagonal.max()) + step
    if not np.isfinite(found):
        return np.inf
    while step > 1e-12 * found:
        step *= 0.5
        rest = found - step - diagonal
        if rest.min() > 0 and np.linalg.eigvalsh((B / rest) @ B.T)[-1] < 1:
            found -= step
    return found


def _ratio(a: FloatArray, b: FloatArray) -> FloatArray:
    """a/b, 0 where b vanishes."""
    return np.divide(a, b, out=np.zeros_like(a), where=b > 0)
