"""The bound on a form as a function of one shift of its complementarity multipliers, and forms of such multipliers."""

from dataclasses import dataclass

import numpy as np

from formulations import LiftedSpace
from formulations.arrays import FloatArray

_GRID = np.linspace(-11.0, 3.0, 57)
_REFINEMENTS = 7
_FINER = 9
_SETTLED = 1e-7
"""Relative difference from its neighbours at which the best point of a grid is fine enough."""
STACK_ENTRIES = 1 << 22
"""Numbers in a stack of matrices that are treated at once."""


@dataclass(frozen=True, eq=False)
class ShiftedBound:
    """h̄²(τ) for a fixed form after one eigendecomposition; O(N k² + k³) for each τ."""

    values: FloatArray
    cross: FloatArray
    data: FloatArray
    corner: FloatArray
    metric_root: FloatArray

    def __call__(self, tau: float) -> float:
        return float(self.many(np.array([tau]))[0])

    def many(self, tau: FloatArray) -> FloatArray:
        """h̄² at several shifts, infinite where the slack is not definite. One stack of small matrices is one call."""
        out = np.full(len(tau), np.inf)
        gap = tau[:, None] - self.values
        usable = np.flatnonzero(gap.min(axis=1, initial=np.inf) > 0)
        size = max(self.cross.size, self.corner.size, 1)
        for part in np.array_split(usable, -(-len(usable) * size // STACK_ENTRIES) or 1):
            half = self.cross - 0.5 * tau[part, None, None] * self.data
            schur = self.corner + half.transpose(0, 2, 1) @ (half / gap[part, :, None])
            whitened = self.metric_root @ schur @ self.metric_root.T
            sound = np.isfinite(whitened).all(axis=(1, 2))
            whitened = whitened[sound]
            out[part[sound]] = np.linalg.eigvalsh(0.5 * (whitened + whitened.transpose(0, 2, 1)))[:, -1]
        return out

    def best(self, least: float = -np.inf) -> tuple[float, float]:
        """(τ, h̄²): the minimum of the convex h̄²(τ) over τ above the values and ``least``, 0 where there are no values.

        A grid in the logarithm of what τ is above, then ever finer ones around the best point.
        """
        if not self.values.size:
            return 0.0, self(0.0)
        largest, spread = max(float(self.values[-1]), least), max(float(np.abs(self.values).max()), 1e-300)
        x = _GRID
        for _ in range(1 + _REFINEMENTS):
            value = self.many(largest + spread * 10.0**x)
            best = int(np.argmin(value))
            found = largest + spread * 10.0 ** float(x[best]), float(value[best])
            # The best point stays in the finer grid, so that no refinement is worse.
            around = slice(max(best - 1, 0), best + 2)
            if value[around].max() <= found[1] + _SETTLED * abs(found[1]):
                break
            left, right = x[around][[0, -1]]
            x = np.unique(np.concatenate([np.linspace(left, x[best], _FINER), np.linspace(x[best], right, _FINER)]))
        return found


def shifted_bound(
    space: LiftedSpace, M: FloatArray, metric: FloatArray, bases: tuple[FloatArray, FloatArray] | None = None
) -> ShiftedBound:
    """Set up h̄²(τ) for which ``h̄² zᵀEz − λᵀMλ + τ Σ α_iβ_i/‖a_i‖²`` is positive semidefinite on the face.

    M is symmetric over λ = (φ, z). One τ for all is a fair choice where generators have unit norm. With orthonormal
    ``bases`` (N×p) of β, in units where generators have norm 1, and (k×q) of z, only these subspaces count.
    """
    norm = np.linalg.norm(space.generators, axis=1)
    A = space.generators / norm[:, None]
    scale = np.concatenate([norm, norm, np.ones(space.dimension)])
    M = M * np.outer(scale, scale)
    a, b, z = space.alpha, space.beta, space.z
    on_alpha, on_beta = M[a, a] @ A + M[a, z], M[a, a] + M[b, b] + M[a, b] + M[b, a]
    cross, corner = on_alpha + M[b, a] @ A + M[b, z], A.T @ on_alpha + M[z, a] @ A + M[z, z]
    if bases is None:
        values, vectors = np.linalg.eigh(on_beta)
    else:
        beta, across = bases
        values, vectors = np.linalg.eigh(beta.T @ on_beta @ beta)
        vectors, A, cross = beta @ vectors, A @ across, cross @ across
        corner, metric = across.T @ corner @ across, across.T @ metric @ across
    return ShiftedBound(values, vectors.T @ cross, vectors.T @ A, corner, whitener(metric))


def crosswise(B: FloatArray) -> FloatArray:
    """N over φ = (α, β) with B in the block (α, β), its transpose in (β, α) and zeros elsewhere; or a stack of them."""
    m = B.shape[-1]
    N = np.zeros((*B.shape[:-2], 2 * m, 2 * m))
    N[..., :m, m:], N[..., m:, :m] = B, np.swapaxes(B, -1, -2)
    return N


def complementary(t: FloatArray, order: int) -> FloatArray:
    """The form ``Σ t_i α_i β_i`` as a symmetric matrix of this order over λ, or over φ alone."""
    form, m = np.zeros((order, order)), len(t)
    form[: 2 * m, : 2 * m] = crosswise(np.diag(0.5 * t))
    return form


def whitener(cost: FloatArray) -> FloatArray:
    """E^(-½) of a positive definite cost, lower triangular."""
    return np.asarray(np.linalg.inv(np.linalg.cholesky(cost)))
