"""Looking for an unsafe input: descent on the largest output row, many starts and all cases at once, in float64.

Inside one activation pattern the largest row is convex in x and mostly linear, and a linear function is least at a
vertex of the box or at a known point of the sphere. So a step goes towards that point (Frank, Wolfe); steps along the
projected gradient alternate with it, as in PGD. How far a step goes is decided by ``line_search``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from certificates.failure import NO_DEADLINE, Deadline
from certnet.search.linear import minimisers
from certnet.search.regions import project
from formulations._validation import FloatArray
from formulations.network import ReluNetwork
from formulations.robustness import InputRegion, UnsafeCase

ITERATIONS = 60
SETTLED = 1e-12
KEPT = 16
"""Inputs of a result."""


@dataclass(frozen=True, eq=False)
class AttackResult:
    """The best inputs found, (n, d), and the first one's margin max_r (H f(x) + h)_r in floating point.

    It is unsafe if that is ≤ 0. Rounding may hide which of several inputs with nearly equal margins is the best one.
    """

    X: FloatArray
    margin: float


def attack(network: ReluNetwork, case: UnsafeCase, **options: Any) -> AttackResult:
    """``attack_all`` for one case."""
    return attack_all(network, [case], **options)[0]


def attack_all(
    network: ReluNetwork,
    cases: Sequence[UnsafeCase],
    *,
    starts: int = 48,
    rng: "np.random.Generator | None" = None,
    first: FloatArray | None = None,
    until: float = -np.inf,
    deadline: Deadline = NO_DEADLINE,
) -> list[AttackResult]:
    """Minimise the margins of cases over their common region.

    Args:
        network, cases: what is attacked; the region is that of the first case.
        starts, rng: random starts, besides the middle of the box, the same for each case, and where they come from.
        first: (n, d) further starts.
        until: the attack of all cases ends when a margin is below it.
    """
    region, K = cases[0].region, len(cases)
    X = _starts(region, starts, np.random.default_rng(0) if rng is None else rng, first)
    n, rows = len(X), max(len(case.H) for case in cases)
    # One block of n rows for each case; cases with fewer rows repeat their first.
    full = [np.concatenate([np.arange(len(case.H)), np.zeros(rows - len(case.H), dtype=np.int64)]) for case in cases]
    H, h = (
        np.stack([getattr(case, name)[index] for case, index in zip(cases, full, strict=True)]) for name in ("H", "h")
    )
    weights = np.repeat(H @ network.output, n, axis=0)
    constants = np.repeat(H @ network.output_bias + h, n, axis=0)
    X = np.tile(X, (K, 1))
    product = X @ network.hidden.T + network.hidden_bias
    value, idle = np.full(K * n, np.inf), np.zeros(K * n, dtype=np.int64)
    for step in range(ITERATIONS):
        # A start that neither kind of step has moved will not move again.
        on = np.flatnonzero(idle < 2)
        if not len(on) or value.min() < until or deadline.passed:
            break
        w, c, P = weights[on], constants[on], product[on]
        G = ((P > 0) * _largest_row(P, w, c)) @ network.hidden
        D = (minimisers(region, G) if step % 2 == 0 else _projected(region, X[on], G)) - X[on]
        along = D @ network.hidden.T
        length, lowered = line_search(P, along, w, c)
        X[on] += length[:, None] * D
        product[on] = P + length[:, None] * along
        idle[on] = np.where(value[on] - lowered <= SETTLED * (1.0 + np.abs(lowered)), idle[on] + 1, 0)
        value[on] = lowered
    X = project(region, X)
    outputs = network(X).reshape(K, n, -1)
    found = []
    for k, case in enumerate(cases):
        margins = case.margins(outputs[k])
        best = np.argsort(margins, kind="stable")[:KEPT]
        found.append(AttackResult(X[k * n + best], float(margins[best[0]])))
    return found


def _starts(region: InputRegion, count: int, rng: "np.random.Generator", first: FloatArray | None) -> FloatArray:
    middle = 0.5 * region.lower + 0.5 * region.upper
    share = rng.random((count, region.inputs))
    share[count // 2 :] = np.round(share[count // 2 :])
    points = [middle[None], region.lower + share * (region.upper - region.lower), *([] if first is None else [first])]
    return project(region, np.concatenate(points))


def _largest_row(product: FloatArray, weights: FloatArray, constants: FloatArray) -> FloatArray:
    """(n, m) weights of the largest row at each point."""
    if weights.shape[1] == 1:
        return weights[:, 0]
    values = np.einsum("nrm,nm->nr", weights, np.maximum(product, 0.0)) + constants
    return np.asarray(weights[np.arange(len(weights)), values.argmax(axis=1)])


def _projected(region: InputRegion, X: FloatArray, G: FloatArray) -> FloatArray:
    """A quarter of the region's size along the gradient, scaled by the box."""
    width = region.upper - region.lower
    scaled = G * width
    size = np.abs(scaled).max(axis=1, keepdims=True)
    return project(region, X - 0.25 * width * scaled / np.where(size > 0, size, 1.0))


def line_search(
    product: FloatArray, along: FloatArray, weights: FloatArray, constants: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """The best length of each of n segments, in [0, 1], and the value there: 0 and that at the start if none is lower.

    Along p + s q, a row ``Σ_i w_i (p_i + s q_i)₊ + c`` is piecewise linear: at ``s_i = −p_i/q_i`` its slope grows by
    ``w_i |q_i|``. Sorted breakpoints and cumulative sums give its minimum, exact up to rounding. The largest of several
    rows may also be least where two cross; crossings are looked at in the two pieces beside the best breakpoint.
    Segments on which a value is no number stay where they are, with infinity.

    Args:
        product, along: (n, m) pre-activations p at the start, and q by which they change.
        weights, constants: (n, r, m), (n, r) of the rows, of which the largest counts.
    """
    n = len(product)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        at = np.where(along != 0, -product / along, 2.0)
    inside = (at > 0) & (at < 1)
    order = np.argsort(np.where(inside, at, 2.0), axis=1, kind="stable")
    at, inside = np.take_along_axis(at, order, axis=1), np.take_along_axis(inside, order, axis=1)
    at = np.where(inside, at, 1.0)
    points = np.concatenate([np.zeros((n, 1)), at, np.ones((n, 1))], axis=1)
    bends = np.where(inside, np.take_along_axis(np.abs(along), order, axis=1), 0.0)
    steps = np.diff(points, axis=1)
    # Active just behind the start.
    active = (product > 0) | ((product == 0) & (along > 0))
    first = np.einsum("nrm,nm->nr", weights, np.maximum(product, 0.0)) + constants
    slope = np.einsum("nrm,nm->nr", weights, np.where(active, along, 0.0))
    rows = weights.shape[1]
    values = np.empty((rows, n, points.shape[1]))
    for r in range(rows):
        turned = np.take_along_axis(weights[:, r], order, axis=1) * bends
        slopes = slope[:, r, None] + np.concatenate([np.zeros((n, 1)), np.cumsum(turned, axis=1)], axis=1)
        values[r, :, 0] = first[:, r]
        values[r, :, 1:] = first[:, r, None] + np.cumsum(slopes * steps, axis=1)
    top = values.max(axis=0)
    top = np.where(np.isnan(top), np.inf, top)
    best = top.argmin(axis=1)
    row = np.arange(n)
    length, least = points[row, best], top[row, best]
    if rows > 1:
        for left in (np.maximum(best - 1, 0), np.minimum(best, points.shape[1] - 2)):
            share, crossed = _crossing(values[:, row, left], values[:, row, left + 1])
            better = crossed < least
            lengths = points[row, left] + share * (points[row, left + 1] - points[row, left])
            length, least = np.where(better, lengths, length), np.where(better, crossed, least)
    return length, least


def _crossing(a: FloatArray, b: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Where on [0, 1] the largest of the lines from a to b (r, n) is least, by all crossings of two lines."""
    n = a.shape[1]
    share, least = np.zeros(n), a.max(axis=0)
    for i in range(len(a)):
        for j in range(i):
            with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
                s = (a[i] - a[j]) / ((a[i] - a[j]) - (b[i] - b[j]))
            s = np.where((s > 0) & (s < 1), s, 0.0)
            value = (a + s * (b - a)).max(axis=0)
            share, least = np.where(value < least, s, share), np.where(value < least, value, least)
    return share, least
