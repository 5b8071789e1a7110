"""The least value of a quadratic form on the lifted cone, bounded from any multipliers.

Given any multipliers N (signs are projected first) and the free complementarity multipliers t of a ``Program``, a
uniform shift τ of t makes the (β, β) block of the slack positive definite, and then a Schur complement tells how small
δ has to be. The best τ is found in one dimension (δ(τ) is concave), then a factor ν of (N, t) in another (maximised
over τ, δ is concave in ν: the slack is linear in both; an iterate of a first-order method often wants ν > 1).

Floating point throughout, and the signs are those of the price: ``h̄² = −δ`` with ``h̄²zᵀEz + λᵀCλ − ℓᵀNℓ − Σ t_iα_iβ_i``
positive semidefinite.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from formulations import LiftedSpace, Program
from formulations.arrays import FloatArray

_GOLDEN = (5**0.5 - 1) / 2
_GRID = np.linspace(-11.0, 3.0, 57)
_REFINEMENTS = 7
_FINER = 9
_GROWTH = (1.03, 1.1, 1.25, 1.6, 2.5, 5.0, 12.0, 40.0)
_SHRINKAGE = (0.97, 0.9, 0.75, 0.4, 0.0)
_FACTOR_STEPS = 8
_SHARES = tuple(10.0 ** np.linspace(-7.0, -0.1, 24))
_SHARE_WIDTHS = (2.0, 1.2, 1.03)
_SHARE_STEPS = 10
_WIDEST = 1e12
_WIDENINGS = 20
STACK_ENTRIES = 1 << 22
"""Numbers in a stack of matrices that are treated at once."""


def complementary(t: FloatArray, order: int) -> FloatArray:
    """The form ``Σ t_i α_i β_i`` as a symmetric matrix of this order over λ, or over φ alone."""
    form = np.zeros((order, order))
    neuron = np.arange(len(t))
    form[neuron, len(t) + neuron] = form[len(t) + neuron, neuron] = 0.5 * t
    return form


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


def shifted_bound(space: LiftedSpace, M: FloatArray, metric: FloatArray) -> ShiftedBound:
    """Set up h̄²(τ) for which ``h̄² zᵀEz − λᵀMλ + τ Σ α_iβ_i/‖a_i‖²`` is positive semidefinite on the face.

    M is symmetric over λ = (φ, z). One τ for all is a fair choice where generators have unit norm.
    """
    A = space.generators
    norm = np.linalg.norm(A, axis=1)
    A = A / norm[:, None]
    scale = np.concatenate([norm, norm, np.ones(space.dimension)])
    M = M * np.outer(scale, scale)
    a, b, z = space.alpha, space.beta, space.z
    MA = M[a, a] @ A + M[a, z]
    values, vectors = np.linalg.eigh(M[a, a] + M[b, b] + M[a, b] + M[b, a])
    return ShiftedBound(
        values=values,
        cross=vectors.T @ (MA + M[b, a] @ A + M[b, z]),
        data=vectors.T @ A,
        corner=A.T @ MA + M[z, a] @ A + M[z, z],
        metric_root=whitener(metric),
    )


def minimise(bound: ShiftedBound, largest: float, spread: float) -> tuple[float, float]:
    """Minimise the convex h̄²(τ) over τ > largest: a grid in log(τ − largest), then ever finer ones around the best."""
    x = _GRID
    for _ in range(1 + _REFINEMENTS):
        value = bound.many(largest + spread * 10.0**x)
        best = int(np.argmin(value))
        found = largest + spread * 10.0 ** float(x[best]), float(value[best])
        # The best point stays in the finer grid, so that no refinement is worse.
        left, right = x[max(best - 1, 0)], x[min(best + 1, len(x) - 1)]
        x = np.unique(np.concatenate([np.linspace(left, x[best], _FINER), np.linspace(x[best], right, _FINER)]))
    return found


def golden(value: Callable[[float], float], low: float, high: float, steps: int) -> tuple[float, float]:
    """Golden-section search for the minimum of a convex function: (value, argument) of the better last point."""
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    f_left, f_right = value(left), value(right)
    for _ in range(steps):
        if f_left <= f_right:
            high, right, f_right = right, left, f_left
            left = high - _GOLDEN * (high - low)
            f_left = value(left)
        else:
            low, left, f_left = left, right, f_right
            right = low + _GOLDEN * (high - low)
            f_right = value(right)
    return min((f_left, left), (f_right, right))


def whitener(cost: FloatArray) -> FloatArray:
    """E^(-½) of a positive definite cost, lower triangular."""
    return np.asarray(np.linalg.inv(np.linalg.cholesky(cost)))


def best_multipliers(
    program: Program, N: FloatArray, t: FloatArray, margin: float, *, factors: bool = True
) -> tuple[FloatArray, FloatArray, float, float]:
    """(νN, νt − shifts, σ, h̄²) for the best shift τ, the best multiplier σ of the region, and the best factor ν.

    Each ν takes one eigendecomposition; ν is looked for if ``factors``. σ is 0 without a region. A relative ``margin``
    of h̄² is given away and used to move τ from the largest eigenvalue, where the slack is singular.
    Nothing is finite where no τ makes the slack definite.
    """
    multipliers = program.lift_inequalities(N) + complementary(t, program.space.order)
    h_squared, tau, factor = np.inf, 0.0, 1.0
    best: ShiftedBound | None = None

    def value(candidate: float) -> float:
        nonlocal h_squared, tau, factor, best
        bound = shifted_bound(program.space, candidate * multipliers - program.form, program.metric)
        shift, least = 0.0, bound(0.0) if bound.values.size == 0 else np.inf
        if bound.values.size:
            spread = max(float(np.abs(bound.values).max()), 1e-300)
            shift, least = minimise(bound, float(bound.values[-1]), spread)
        if least < h_squared:
            h_squared, tau, factor, best = least, shift, candidate, bound
        return least

    def choose_share() -> None:
        nonlocal h_squared, tau, best, program
        if program.region.size and best is not None and np.isfinite(h_squared):
            best, tau, h_squared, share = _best_share(program, best, tau, h_squared)
            program = program.with_share(share)

    with np.errstate(over="ignore", invalid="ignore"):
        value(1.0)
        choose_share()
        for ladder in (_GROWTH, _SHRINKAGE) if np.isfinite(h_squared) and factors and multipliers.any() else ():
            # Walk up or down while that helps, and refine between the neighbours of the best.
            before, middle = ladder[0], 1.0
            for step in ladder:
                value(step)
                if factor != step:
                    break
                before, middle = middle, step
            if middle != 1.0:
                golden(value, min(before, step), max(before, step), _FACTOR_STEPS - 2)
                choose_share()
                break
        if best is not None and np.isfinite(h_squared):
            h_squared += margin * abs(h_squared)
            if best.values.size:
                largest = float(best.values[-1])
                tau = widened(best, largest, tau - largest, h_squared)
    shifts = tau / np.linalg.norm(program.space.generators, axis=1) ** 2
    return factor * N, factor * t - shifts, program.share * max(h_squared, 0.0), h_squared


def _best_share(
    program: Program, bound: ShiftedBound, tau: float, h_squared: float
) -> tuple[ShiftedBound, float, float, float]:
    """(bound, τ, h̄², θ) for the share θ of the region's form in the cost that gives the least bound.

    The least bound has a sharp minimum in θ: where it is too small the bias pays too little, else u does.
    """
    share, spread = program.share, max(float(np.abs(bound.values).max(initial=0.0)), 1e-300)

    def at(candidate: float) -> ShiftedBound:
        return replace(bound, metric_root=whitener(program.cost(candidate)))

    _, candidate = min((at(one)(tau), one) for one in (*_SHARES, share))
    for width in (1.0, *_SHARE_WIDTHS):
        if width > 1.0:
            edge = np.log(width)
            middle, shift = candidate, tau
            _, log_share = golden(
                lambda x, middle=middle, shift=shift: at(min(middle * np.exp(x), 0.999))(shift),  # type: ignore[misc]
                -edge,
                edge,
                _SHARE_STEPS,
            )
            candidate = min(middle * float(np.exp(log_share)), 0.999)
        own, shift = at(candidate), tau
        least = own(tau)
        if bound.values.size:
            shift, least = minimise(own, float(bound.values[-1]), spread)
        if least < h_squared:
            bound, tau, h_squared, share = own, shift, least, candidate
        candidate = share
    return bound, tau, h_squared, share


def widened(
    bound: Callable[[float], float],
    largest: float,
    step: float,
    allowed: float,
    widest: float = _WIDEST,
    halvings: int = _WIDENINGS,
) -> float:
    """The argument farthest beyond ``largest + step`` at which a bound is at most ``allowed``."""
    low, high = 1.0, widest
    for _ in range(halvings):
        middle = float(np.sqrt(low * high))
        if bound(largest + middle * step) <= allowed:
            low = middle
        else:
            high = middle
    return largest + low * step
