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

from certificates.form_bound import largest_eigenvalues, minimise
from formulations import LiftedProgram
from formulations._validation import FloatArray, IntArray

_RIDGES = (1e-9, 1e-5, 1e-2)
"""Shares of the identity that are mixed into moments: moments of low rank are optimal, but not near the optimum."""
_LEAST_SHIFT = 1e-13
"""Smallest τ_i, relative to the largest at rows of equal size."""
_STEPS = 12
_RANK = 8
_WIDEST = 1e6
_WIDENINGS = 20

Factor = tuple[FloatArray, FloatArray]
"""(R_u, R_v) of shapes k×r and c×r, for the moments ``R Rᵀ`` of (u, v)."""


@dataclass(frozen=True, eq=False)
class Price:
    """The price of one W: A (N×k), S and Δ (N×c), and the inverse E^(-½) (k×k) of a root of the metric."""

    generators: FloatArray
    total: FloatArray
    difference: FloatArray
    whitener: FloatArray

    @classmethod
    def of(cls, program: LiftedProgram, W: FloatArray) -> "Price":
        """The price of W (f×c) in a program; its inequalities are left aside, which only makes the bound weaker."""
        N = program.space.neurons
        weighted = np.zeros((2 * N, W.shape[1]))
        weighted[program.feature] = program.weight[:, None] * W
        whitener = np.linalg.inv(np.linalg.cholesky(program.metric))
        return cls(program.space.generators, weighted[:N] + weighted[N:], weighted[:N] - weighted[N:], whitener)

    def climb(self, factor: Factor | None = None) -> Factor:
        """Moments of a high price, by alternating ascent: with R_v fixed, ½ΣΔ_i·m_i + Σ|a_iR_u||S_iR_v| is convex in
        R_u, so a step to the normalised gradient never lowers it, and likewise in R_v."""
        A, S, delta = self.generators, self.total, self.difference
        k, c = A.shape[1], S.shape[1]
        if factor is None:
            rank = min(k + c, _RANK)
            random = np.random.default_rng(0)
            factor = self.whitener.T @ random.standard_normal((k, rank)), random.standard_normal((c, rank))
        R_u, R_v = factor
        for _ in range(_STEPS):
            U, V = A @ R_u, S @ R_v
            size_u, size_v = np.linalg.norm(U, axis=1), np.linalg.norm(V, axis=1)
            gradient = A.T @ (delta @ R_v + _ratio(size_v, size_u)[:, None] * U)
            R_u = self.whitener.T @ (self.whitener @ gradient)
            R_u /= max(float(np.sum(R_u * gradient)) ** 0.5, 1e-300)
            U = A @ R_u
            R_v = delta.T @ U + S.T @ (_ratio(np.linalg.norm(U, axis=1), size_v)[:, None] * V)
            R_v /= max(float(np.linalg.norm(R_v)), 1e-300)
        return R_u, R_v

    def shifts(self, factor: Factor) -> Iterable[FloatArray]:
        """Candidates for τ (N,), each up to a factor."""
        R_u, R_v = factor
        A, S = self.generators, self.total
        U, V = np.sum((A @ R_u) ** 2, axis=1), np.sum((S @ R_v) ** 2, axis=1)
        flat_u, flat_v = np.sum((A @ self.whitener.T) ** 2, axis=1), np.sum(S**2, axis=1)
        mean_u, mean_v = np.sum(U) / max(np.sum(flat_u), 1e-300), np.sum(V) / max(np.sum(flat_v), 1e-300)
        for ridge in _RIDGES:
            yield np.sqrt(_ratio(V + ridge * mean_v * flat_v, U + ridge * mean_u * flat_u))

    def along(self, tau: FloatArray) -> "ScaledShift":
        """h² as a function of the scale of τ, for one pattern of positive τ."""
        A, S = self.generators, self.total
        values, vectors = np.linalg.eigh(S.T @ (S / tau[:, None]))
        cross = 0.5 * vectors.T @ (self.difference.T @ A) @ self.whitener.T
        corner = 0.25 * self.whitener @ (A.T @ (tau[:, None] * A)) @ self.whitener.T
        return ScaledShift(values, cross, corner)

    def best(self, patterns: Iterable[FloatArray], margin: float) -> tuple[FloatArray, float]:
        """(τ, h²) of the best pattern; h² holds a relative margin, which moves τ from where the slack is singular."""
        best, h_squared = np.ones(len(self.generators)), np.inf
        size = np.linalg.norm(self.generators, axis=1) ** 2
        for pattern in patterns:
            largest = float(np.max(pattern * size, initial=0.0))
            if not (np.isfinite(pattern).all() and 0 < largest < np.inf):
                continue
            tau = np.maximum(pattern / largest, _LEAST_SHIFT / size)
            scaled = self.along(tau)
            scale, value = scaled.minimum(margin)
            if value < h_squared:
                best, h_squared = scale * tau, value
        return best, h_squared


@dataclass(frozen=True, eq=False)
class ScaledShift:
    """h²(κ) for the shift κτ: ``λ_max(κ·corner + crossᵀ diag(κ/(κ − values)) cross)``; convex, O((c + k)³) a value."""

    values: FloatArray
    cross: FloatArray
    corner: FloatArray

    def many(self, scale: FloatArray) -> FloatArray:
        """h² at several κ, infinite where κ is not above the values."""
        gap = scale[:, None] - self.values

        def matrices(part: IntArray) -> FloatArray:
            weight = (scale[part, None] / gap[part])[:, :, None]
            reduced: FloatArray = scale[part, None, None] * self.corner + self.cross.T @ (weight * self.cross)
            return reduced

        return largest_eigenvalues(matrices, gap, max(self.corner.size, 1))

    def minimum(self, margin: float) -> tuple[float, float]:
        """(κ, h²): the least h² with a relative margin, and the largest κ that keeps it."""
        largest = float(self.values.max(initial=0.0))
        spread = largest or float(np.sum(self.cross**2)) / max(float(np.trace(self.corner)), 1e-300)
        kappa, value = minimise(self, largest, spread)
        if not np.isfinite(value):
            return kappa, np.inf
        allowed = value * (1.0 + margin)
        low, high = 1.0, _WIDEST
        for _ in range(_WIDENINGS):
            middle = float(np.sqrt(low * high))
            if self.many(np.array([largest + middle * (kappa - largest)]))[0] <= allowed:
                low = middle
            else:
                high = middle
        return largest + low * (kappa - largest), allowed


def _ratio(a: FloatArray, b: FloatArray) -> FloatArray:
    """a/b, 0 where b vanishes."""
    return np.divide(a, b, out=np.zeros_like(a), where=b > 0)
