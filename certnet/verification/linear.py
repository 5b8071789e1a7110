"""The triangle relaxation at a node: CROWN with the best slopes, by linear programming on a box, else by ascent.

On one hidden layer optimised slopes and the triangle relaxation have the same value. A free neuron with weight w > 0
gets a lower slope s in [0, w]; one with w < 0 the chord; a fixed one a multiplier of its sign. Whatever these numbers
are, ``value`` is computed from them afresh, so an inexact optimiser only weakens the bound. Only free neurons whose
weight is negative leave a gap: where all weights are positive the margin is convex.
"""

from dataclasses import dataclass

import numpy as np
from scipy.optimize import linprog, minimize

from formulations._validation import FloatArray, IntArray
from formulations.nodes import ACTIVE, FREE, INACTIVE
from formulations.robustness import InputRegion, MarginProblem

PENALTY = 100.0
"""Largest sum of the multipliers of fixed signs, in units of what the neurons contribute to the margin."""
ASCENT_STEPS = 100
SMOOTHING = (0.1, 0.01, 0.001)
"""On a box the ascent replaces |q_j| by √(q_j² + τ²) with these τ in turn, in units of the largest |q_j|."""
LARGEST_PROGRAM = 150_000
"""N (N + d) up to which a linear program is solved on a box; beyond, the ascent is many times faster."""


@dataclass(frozen=True, eq=False)
class LinearBound:
    """A bound from multipliers, and what branching wants to know.

    Attributes:
        value: lower bound of ``μᵀ(H f + h)`` on the node, in floating point.
        mu: (r,) weights of the rows, adding up to 1.
        on_alpha, on_beta: (N,) multipliers of t·α_i and t·β_i.
        on_triangle: (N,) multipliers of t times the triangles.
        x: (d,) where the relaxation is least.
        scores: (N,) by how much the relaxation of each free neuron errs there.
    """

    value: float
    mu: FloatArray
    on_alpha: FloatArray
    on_beta: FloatArray
    on_triangle: FloatArray
    x: FloatArray
    scores: FloatArray


def linear_bound(problem: MarginProblem, signs: IntArray) -> LinearBound:
    """The bound of the node on which neurons have these signs (N,)."""
    region = problem.case.region
    large = problem.neurons * (problem.neurons + region.inputs) > LARGEST_PROGRAM
    if not (large or region.has_ball):
        return _box_program(problem, signs)
    rows = np.eye(len(problem.case.H))
    best = max((_ascend(problem, signs, mu) for mu in rows), key=lambda bound: bound.value)
    if best.value > 0 or large:
        return best
    return max(_box_program(problem, signs), best, key=lambda bound: bound.value)


def finish(
    problem: MarginProblem, signs: IntArray, mu: FloatArray, slope: FloatArray, fixed: FloatArray
) -> LinearBound:
    """The bound of given multipliers: lower slopes (N,) in [0, w] and multipliers of fixed signs (N,), both ≥ 0."""
    A, region = problem.generators, problem.case.region
    w = mu @ problem.weights
    low, high = problem.bounds.T
    free, up = signs == FREE, w >= 0
    slope = np.where(free & up, np.clip(slope, 0.0, np.maximum(w, 0.0)), 0.0)
    fixed = np.where(free, 0.0, np.maximum(fixed, 0.0))
    nu = np.where(free & ~up, -w / (high - low), 0.0)
    through = slope - nu * high + np.where(signs == ACTIVE, w - fixed, 0.0) + np.where(signs == INACTIVE, fixed, 0.0)
    z = mu @ problem.linear + through @ A
    constant = z[-1] + float(nu @ (high * low))
    x = _minimiser(problem, z[:-1])
    product = A @ np.append(x, 1.0)
    chord = high / (high - low) * (product - low)
    falling = (problem.weights < 0) & (mu[:, None] > 0)
    size = np.where(falling, -problem.weights * mu[:, None], 0.0).max(axis=0, initial=0.0)
    return LinearBound(
        value=float(region.least(z[None, :-1])[0] + constant),
        mu=mu,
        on_alpha=np.where(free & up, w - slope, 0.0) + np.where(signs == ACTIVE, fixed, 0.0),
        on_beta=slope + np.where(signs == INACTIVE, fixed, 0.0),
        on_triangle=nu,
        x=x,
        scores=np.where(free, size * (chord - np.maximum(product, 0.0)), 0.0),
    )


def _minimiser(problem: MarginProblem, q: FloatArray) -> FloatArray:
    region = problem.case.region
    corner = np.where(q > 0, region.lower, region.upper)
    if region.centre is None or region.radius is None:
        return corner
    norm = float(np.linalg.norm(q))
    point: FloatArray = region.project((region.centre - region.radius * q / (norm if norm > 0 else 1.0))[None])[0]
    return point


def _box_program(problem: MarginProblem, signs: IntArray) -> LinearBound:
    """The linear program over (x, α of free neurons, slack e, margin s)."""
    A, region, W = problem.generators, problem.case.region, problem.weights
    d, rows = region.inputs, len(W)
    free, active = np.flatnonzero(signs == FREE), signs == ACTIVE
    fixed = np.flatnonzero(signs != FREE)
    # α only rises or only falls with the margin in most neurons: then one side of its triangle is enough.
    rising, falling = (W[:, free] > 0).any(axis=0), (W[:, free] < 0).any(axis=0)
    f, size = len(free), np.maximum(-problem.bounds[:, 0], problem.bounds[:, 1])
    linear = problem.linear + W[:, active] @ A[active]
    low, high = problem.bounds[free].T
    share = high / (high - low)
    order = d + f + 2
    part = [np.zeros((rows, order)), np.zeros((int(rising.sum()), order)), np.zeros((int(falling.sum()), order))]
    part.append(np.zeros((len(fixed), order)))
    part[0][:, :d], part[0][:, d : d + f], part[0][:, -1] = linear[:, :-1], W[:, free], -1.0
    up, down = free[rising], free[falling]
    part[1][:, :d] = A[up, :-1]
    part[1][np.arange(len(up)), d + np.flatnonzero(rising)] = -1.0
    part[2][:, :d] = -share[falling, None] * A[down, :-1]
    part[2][np.arange(len(down)), d + np.flatnonzero(falling)] = 1.0
    towards = -signs[fixed] / size[fixed]
    part[3][:, :d], part[3][:, -2] = towards[:, None] * A[fixed, :-1], -1.0
    right = np.concatenate(
        [-linear[:, -1], -A[up, -1], share[falling] * (A[down, -1] - low[falling]), -towards * A[fixed, -1]]
    )
    cost = np.zeros(order)
    cost[-1] = 1.0
    cost[-2] = PENALTY * float((np.abs(W) * size).sum(axis=1).max(initial=1e-300))
    box = [*zip(region.lower.tolist(), region.upper.tolist(), strict=True), *[(0.0, None)] * (f + 1), (None, None)]
    result = linprog(cost, A_ub=np.vstack(part), b_ub=right, bounds=box, method="highs")
    mu, slope, multiplier = np.full(rows, 1.0 / rows), np.zeros(len(W.T)), np.zeros(len(W.T))
    if result.x is not None and result.ineqlin is not None:
        dual = np.maximum(-np.asarray(result.ineqlin.marginals), 0.0)
        if dual[:rows].sum() > 0:
            mu = dual[:rows] / dual[:rows].sum()
        slope[up] = dual[rows : rows + len(up)]
        multiplier[fixed] = dual[len(dual) - len(fixed) :] / size[fixed]
    return finish(problem, signs, mu, slope, multiplier)


def _ascend(problem: MarginProblem, signs: IntArray, mu: FloatArray) -> LinearBound:
    """Slopes and multipliers by quasi-Newton steps: on a ball the bound is smooth in them, on a box it is made so."""
    A, region = problem.generators, problem.case.region
    w = mu @ problem.weights
    low, high = problem.bounds.T
    size = np.maximum(-low, high)
    rising = np.flatnonzero((signs == FREE) & (w > 0))
    fixed = np.flatnonzero(signs != FREE)
    most = PENALTY * float((np.abs(w) * size).sum())
    nu = np.where((signs == FREE) & (w < 0), -w / (high - low), 0.0)
    base = mu @ problem.linear + (np.where(signs == ACTIVE, w, 0.0) - nu * high) @ A
    base[-1] += nu @ (high * low)
    # Scaled so that each number lies between 0 and 1 or has the unit of the margin.
    rows = np.vstack([w[rising, None] * A[rising], -signs[fixed, None] * A[fixed] / size[fixed, None]])
    v = np.concatenate([(high / (high - low))[rising], np.zeros(len(fixed))])
    box = [(0.0, 1.0)] * len(rising) + [(0.0, most)] * len(fixed)

    def bound() -> LinearBound:
        slope, multiplier = np.zeros(len(w)), np.zeros(len(w))
        slope[rising] = v[: len(rising)] * w[rising]
        multiplier[fixed] = v[len(rising) :] / size[fixed]
        return finish(problem, signs, mu, slope, multiplier)

    best = bound()
    unit = float(np.abs(base[:-1] + v @ rows[:, :-1]).max(initial=0.0))
    for smoothing in (0.0,) if region.has_ball else SMOOTHING:
        if best.value > 0 or not len(v):
            break

        def negative(v: FloatArray, tau: float = smoothing * unit) -> tuple[float, FloatArray]:
            z = base + v @ rows
            value, point = _smoothed_least(region, z[:-1], tau)
            return -value - float(z[-1]), -(rows @ np.append(point, 1.0))

        v = minimize(negative, v, jac=True, bounds=box, method="L-BFGS-B", options={"maxiter": ASCENT_STEPS}).x
        best = max(best, bound(), key=lambda found: found.value)
    return best


def _smoothed_least(region: InputRegion, q: FloatArray, tau: float) -> tuple[float, FloatArray]:
    """(a lower bound of min q·x over ball or box that is smooth in q, its gradient); exact for balls."""
    if region.centre is not None and region.radius is not None:
        norm = float(np.linalg.norm(q))
        point = region.centre - region.radius * q / (norm if norm > 0 else 1.0)
        return float(q @ region.centre) - region.radius * norm, point
    middle, half = 0.5 * region.lower + 0.5 * region.upper, 0.5 * (region.upper - region.lower)
    size = np.sqrt(q**2 + max(tau, 1e-300) ** 2)
    return float(q @ middle - half @ size), np.asarray(middle - half * q / size)
