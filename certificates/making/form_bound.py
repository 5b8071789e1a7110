"""The least value of a quadratic form on the lifted cone, bounded from any multipliers.

Given any multipliers N (signs are projected first) and the free complementarity multipliers t of a ``Program``, a
uniform shift τ of t makes the (β, β) block of the slack positive definite, and then a Schur complement tells how small
δ has to be. The best τ is found in one dimension (δ(τ) is concave), then a factor ν of (N, t) in another (maximised
over τ, δ is concave in ν: the slack is linear in both; an iterate of a first-order method often wants ν > 1).

Floating point throughout, and the signs are those of the price: ``h̄² = −δ`` with ``h̄²zᵀEz + λᵀCλ − ℓᵀNℓ − Σ t_iα_iβ_i``
positive semidefinite.
"""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from certificates.making.quotient import Quotient
from certificates.making.shifted import ShiftedBound, complementary, shifted_bound, whitener
from formulations import Program
from formulations.arrays import FloatArray

_GOLDEN = (5**0.5 - 1) / 2
_GROWTH = (1.03, 1.1, 1.25, 1.6, 2.5, 5.0, 12.0, 40.0)
_SHRINKAGE = (0.97, 0.9, 0.75, 0.4, 0.0)
_FACTOR_STEPS = 8
_SHARES = tuple(10.0 ** np.linspace(-7.0, -0.1, 24))
_THIN_SHARES = (1e-8, 1e-6)
_SHARE_WIDTHS = (2.0, 1.2, 1.03)
_SHARE_STEPS = 10
_WIDEST = 1e12
_WIDENINGS = 20


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


def best_multipliers(
    program: Program, N: FloatArray, t: FloatArray, margin: float, *, factors: bool = True
) -> tuple[FloatArray, FloatArray, float, float]:
    """(νN, νt − shifts, σ, h̄²) for the best shift τ, the best multiplier σ of the region, and the best factor ν.

    With a free hidden bias the quotient (``making.quotient``) proposes other N and t, which count when they prove more.
    Each ν takes one eigendecomposition; ν is looked for if ``factors``. σ is 0 without a region. A relative ``margin``
    of h̄² is given away and used to move τ from the largest eigenvalue, where the slack is singular.
    Nothing is finite where no τ makes the slack definite.
    """
    plain = _best_multipliers(program, N, t, margin, factors=factors)
    quotient = Quotient.of(program) if N.any() else None
    if quotient is None or not np.isfinite(plain[3]):
        return plain
    N, t = quotient.repair(N, factors=factors)
    # The bias has nothing else to be definite by, so the margin bounds the share from below too.
    shares = (min(max(share, margin), 0.5) for share in _THIN_SHARES)
    thin = (_best_multipliers(program.with_share(share), N, t, margin, shares=False) for share in shares)
    return min(plain, *thin, key=lambda found: found[3])


def _best_multipliers(
    program: Program, N: FloatArray, t: FloatArray, margin: float, *, factors: bool = False, shares: bool = True
) -> tuple[FloatArray, FloatArray, float, float]:
    """The same with the given N and t; the program's share of the region is kept unless ``shares``."""
    multipliers = program.lift_inequalities(N) + complementary(t, program.space.order)
    h_squared, tau, factor = np.inf, 0.0, 1.0
    best: ShiftedBound | None = None

    def value(candidate: float) -> float:
        nonlocal h_squared, tau, factor, best
        bound = shifted_bound(program.space, candidate * multipliers - program.form, program.metric)
        shift, least = bound.best()
        if least < h_squared:
            h_squared, tau, factor, best = least, shift, candidate, bound
        return least

    def choose_share() -> None:
        nonlocal h_squared, tau, best, program
        if shares and program.region.size and best is not None and np.isfinite(h_squared):
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
    share = program.share

    def at(candidate: float) -> ShiftedBound:
        return replace(bound, metric_root=whitener(program.cost(candidate)))

    def near(logarithm: float) -> float:
        return min(share * float(np.exp(logarithm)), 0.999)

    def price(logarithm: float) -> float:
        return at(near(logarithm))(tau)

    candidate = min((at(one)(tau), one) for one in (*_SHARES, share))[1]
    for edge in (0.0, *np.log(_SHARE_WIDTHS)):
        if edge:
            candidate = near(golden(price, -edge, edge, _SHARE_STEPS)[1])
        own = at(candidate)
        shift, least = own.best()
        if least < h_squared:
            bound, tau, h_squared, share = own, shift, least, candidate
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
