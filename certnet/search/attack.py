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
from certnet.search.line_search import line_search
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
        starts: random starts, besides the middle of the box; the same for each case.
        rng: where they come from; the same numbers give the same result.
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
