"""Looking for an unsafe input: descent on the largest output row, many starts at once, in float64.

Inside one activation pattern the largest row is convex in x and mostly linear, and a linear function is least at a
vertex of the box or at a known point of the sphere. So a step goes towards that point (Frank, Wolfe), and how far is
decided by trying several lengths; steps along the projected gradient alternate with it, as in PGD.
"""

from dataclasses import dataclass

import numpy as np

from formulations._validation import FloatArray
from formulations.robustness import InputRegion, ReluNetwork, UnsafeCase

LENGTHS = (1.0, 0.5, 0.25, 0.1, 0.03, 0.01, 0.002)
ITERATIONS = 60
SETTLED = 1e-12


@dataclass(frozen=True, eq=False)
class AttackResult:
    """The best input found and its margin max_r (H f(x) + h)_r in floating point: unsafe if that is ≤ 0."""

    x: FloatArray
    margin: float


def attack(
    network: ReluNetwork,
    case: UnsafeCase,
    *,
    starts: int = 48,
    rng: np.random.Generator | None = None,
    first: FloatArray | None = None,
    iterations: int = ITERATIONS,
) -> AttackResult:
    """Minimise the margin of a case over its region.

    Args:
        network, case: what is attacked.
        starts: random starts, besides the middle of the box.
        rng: where they come from; the same numbers give the same result.
        first: (n, d) further starts.
        iterations: steps of every start.
    """
    region = case.region
    rng = np.random.default_rng(0) if rng is None else rng
    X = _starts(region, starts, rng, first)
    value = case.margins(network(X))
    value = np.where(np.isnan(value), np.inf, value)
    for step in range(iterations):
        G = _gradients(network, case, X)
        goal = _farthest(region, G) if step % 2 == 0 else _projected(region, X, G)
        moved, lowered = _best_length(network, case, region, X, goal, value)
        settled = bool((value - lowered <= SETTLED * (1.0 + np.abs(value))).all())
        X, value = moved, lowered
        if settled and step % 2 == 1:
            break
    best = int(np.argmin(value))
    return AttackResult(X[best], float(value[best]))


def _starts(region: InputRegion, count: int, rng: np.random.Generator, first: FloatArray | None) -> FloatArray:
    middle = 0.5 * region.lower + 0.5 * region.upper
    share = rng.random((count, region.inputs))
    corners = np.round(share)
    share[count // 2 :] = corners[count // 2 :]
    points = [middle[None], region.lower + share * (region.upper - region.lower)]
    if first is not None:
        points.append(first)
    return region.project(np.concatenate(points))


def _gradients(network: ReluNetwork, case: UnsafeCase, X: FloatArray) -> FloatArray:
    """A gradient of the largest row at each point."""
    product = X @ network.hidden.T + network.hidden_bias
    rows = (np.maximum(product, 0.0) @ network.output.T + network.output_bias) @ case.H.T + case.h
    weights = (case.H @ network.output)[rows.argmax(axis=1)]
    return np.asarray(((product > 0) * weights) @ network.hidden)


def _farthest(region: InputRegion, G: FloatArray) -> FloatArray:
    """Where the linear functions G are least on the region; for box and ball together a good point of both."""
    corner = np.where(G > 0, region.lower, region.upper)
    if region.centre is None or region.radius is None:
        return corner
    norm = np.linalg.norm(G, axis=1, keepdims=True)
    return region.project(region.centre - region.radius * G / np.where(norm > 0, norm, 1.0))


def _projected(region: InputRegion, X: FloatArray, G: FloatArray) -> FloatArray:
    """A quarter of the region's size along the gradient, scaled by the box."""
    width = region.upper - region.lower
    scaled = G * width
    size = np.abs(scaled).max(axis=1, keepdims=True)
    return region.project(X - 0.25 * width * scaled / np.where(size > 0, size, 1.0))


def _best_length(
    network: ReluNetwork, case: UnsafeCase, region: InputRegion, X: FloatArray, goal: FloatArray, value: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """The best of several points between X and ``goal``, and its margin; X itself where none is better."""
    n, d = X.shape
    lengths = np.array(LENGTHS)[:, None, None]
    tried = region.project((X + lengths * (goal - X)).reshape(-1, d))
    margins = case.margins(network(tried)).reshape(len(LENGTHS), n)
    best = margins.argmin(axis=0)
    lowered = margins[best, np.arange(n)]
    better = lowered < value
    points = tried.reshape(len(LENGTHS), n, d)[best, np.arange(n)]
    return np.where(better[:, None], points, X), np.where(better, lowered, value)
