"""Bounds of nodes of one case: which weights μ the output rows get, and then the best multipliers for them.

A case with one row has μ = 1. With several rows, a linear program on the box finds the best μ of a node, a node at a
time; rows alone are tried as well, because in a ball they may do better.
"""

from functools import reduce

import numpy as np
import scipy

from certificates.failure import NO_DEADLINE, Deadline
from certnet.search.ascent import optimised
from certnet.search.linear import LinearBounds, finish, nodes_of
from certnet.search.scaled_nodes import PENALTY
from formulations._validation import FloatArray, IntArray
from formulations.margin import MarginProblem
from formulations.signs import ACTIVE, FREE

LARGEST_PROGRAM = 150_000
"""N (N + d) up to which a linear program is solved."""


def linear_bounds(
    problem: MarginProblem, signs: IntArray, *, accurate: bool = False, deadline: Deadline = NO_DEADLINE
) -> LinearBounds:
    """The bounds of the nodes of one case on which neurons have the signs (B, N), as ``optimised`` finds them."""
    rows = len(problem.weights)
    if rows == 1:
        return optimised(nodes_of(problem, signs), accurate=accurate, deadline=deadline)
    choices = [np.repeat(one[None], len(signs), axis=0) for one in np.eye(rows)]
    small = problem.neurons * (problem.neurons + problem.case.region.inputs) <= LARGEST_PROGRAM
    if small and not deadline.passed:
        equal = np.full(rows, 1.0 / rows)
        choices.append(np.stack([equal if deadline.passed else _program(problem, one)[0] for one in signs]))
    found = (optimised(nodes_of(problem, signs, mu), accurate=accurate, deadline=deadline) for mu in choices)
    return reduce(LinearBounds.better, found)


def from_program(problem: MarginProblem, signs: IntArray) -> LinearBounds | None:
    """The bound of one node (N,) from a vertex of its linear program on the box; None where that is too large.

    It has no tolerance but rounding, which the interior point's has.
    """
    if problem.neurons * (problem.neurons + problem.case.region.inputs) > LARGEST_PROGRAM:
        return None
    mu, v, x = _program(problem, signs)
    return finish(nodes_of(problem, signs[None], mu[None]), v[None], x=x)


def _program(problem: MarginProblem, signs: IntArray) -> tuple[FloatArray, FloatArray, FloatArray | None]:
    """(μ, (N,) multipliers as ``finish`` takes them, (1, d) minimiser or None) of one node on the box.

    From the linear program over (x, α of free neurons, slack e, margin s).
    """
    region, middle, half, size = problem.case.region, problem.middle, problem.width, problem.size
    d, rows = region.inputs, len(problem.weights)
    # Inputs in [-1, 1], pre-activations and the margin of size one: tolerances of the program mean the same everywhere.
    A = np.hstack([problem.generators[:, :-1] * half, problem.generators @ np.append(middle, 1.0)[:, None]])
    A, bounds = A / size[:, None], problem.bounds / size[:, None]
    W = problem.weights * size
    linear = np.hstack([problem.linear[:, :-1] * half, problem.linear @ np.append(middle, 1.0)[:, None]])
    unit = max(float((np.abs(W).sum(axis=1) + np.abs(linear).sum(axis=1)).max()), 1e-300)
    W, linear = W / unit, linear / unit
    free, active, fixed = np.flatnonzero(signs == FREE), signs == ACTIVE, np.flatnonzero(signs != FREE)
    # α only rises or only falls with the margin in most neurons: then one side of its triangle is enough.
    rising, falling = (W[:, free] > 0).any(axis=0), (W[:, free] < 0).any(axis=0)
    up, down, one = free[rising], free[falling], np.eye(len(free))
    linear = linear + W[:, active] @ A[active]
    low, high = bounds[down].T
    share, towards = (high / (high - low))[:, None], -signs[fixed, None].astype(np.float64)
    shown = np.zeros((rows + len(up) + len(down) + len(fixed), 2))
    shown[:rows, 1] = shown[len(shown) - len(fixed) :, 0] = -1.0
    left = np.vstack(
        [
            np.hstack([linear[:, :-1], W[:, free]]),
            np.hstack([A[up, :-1], -one[rising]]),
            np.hstack([-share * A[down, :-1], one[falling]]),
            np.hstack([towards * A[fixed, :-1], np.zeros((len(fixed), len(free)))]),
        ]
    )
    constants = [-linear[:, -1], -A[up, -1], share[:, 0] * (A[down, -1] - low), -towards[:, 0] * A[fixed, -1]]
    penalty = PENALTY * float(np.abs(W).sum(axis=1).max(initial=1e-300))
    cost = np.concatenate([np.zeros(d + len(free)), [penalty, 1.0]])
    box = [*[(-1.0, 1.0)] * d, *[(0.0, None)] * (len(free) + 1), (None, None)]
    A_ub, b_ub = np.hstack([left, shown]), np.concatenate(constants)
    result = scipy.optimize.linprog(cost, A_ub=A_ub, b_ub=b_ub, bounds=box, method="highs")
    mu, v = np.full(rows, 1.0 / rows), np.zeros(problem.neurons)
    if result.x is None or result.ineqlin is None:
        return mu, v, None
    dual = np.maximum(-np.asarray(result.ineqlin.marginals), 0.0)
    total = float(dual[:rows].sum())
    if total > 0:
        mu = dual[:rows] / total
        v[up] = dual[rows : rows + len(up)] * unit / size[up] / total
        v[fixed] = dual[len(dual) - len(fixed) :] * unit / size[fixed] / total
    return mu, v, np.clip(middle + half * result.x[None, :d], region.lower, region.upper)
