"""The triangle relaxation at many nodes at once: CROWN with given slopes, and what their multipliers prove.

On one hidden layer optimised slopes and the triangle relaxation have the same value. A free neuron with weight w > 0
gets a lower slope s in [0, w]; one with w < 0 the chord; a fixed one a multiplier of its sign. ``finish`` computes the
value of any such numbers, so an inexact optimiser only weakens the bound. Only free neurons whose weight is negative
leave a gap: where all weights are positive the margin is convex.

Nodes of one region share its box and ball, the generators and the bounds of pre-activations; they differ in signs and
weights. So nodes of one tree, and the roots of several cases, are one array.
"""

from dataclasses import dataclass

import numpy as np

from certnet.search.regions import least, project
from formulations._validation import FloatArray, IntArray
from formulations.margin import MarginProblem
from formulations.robustness import InputRegion
from formulations.signs import ACTIVE, FREE, INACTIVE


@dataclass(frozen=True, eq=False)
class Nodes:
    """B nodes over one region.

    Attributes:
        region: box and ball.
        generators, bounds: (N, d+1) and (N, 2) of the unstable neurons and their pre-activations.
        signs: (B, N).
        mu: (B, r) weights of the rows, adding up to 1.
        weights, linear: (B, N) and (B, d+1), what the margin has on the activations and on z.
    """

    region: InputRegion
    generators: FloatArray
    bounds: FloatArray
    signs: IntArray
    mu: FloatArray
    weights: FloatArray
    linear: FloatArray

    def __len__(self) -> int:
        return len(self.signs)

    @property
    def rising(self) -> FloatArray:
        """(B, N) weights of free neurons where they are positive, else 0: the largest lower slopes."""
        return np.where(self.signs == FREE, np.maximum(self.weights, 0.0), 0.0)

    @property
    def falling(self) -> FloatArray:
        """(B, N) sizes of the weights of free neurons where they are negative, else 0."""
        return np.where(self.signs == FREE, np.maximum(-self.weights, 0.0), 0.0)


def nodes_of(problem: MarginProblem, signs: IntArray, mu: FloatArray | None = None) -> Nodes:
    """Nodes of one case from their signs (B, N); ``mu`` (B, r) defaults to equal weights."""
    rows, region = len(problem.weights), problem.case.region
    mu = np.full((len(signs), rows), 1.0 / rows) if mu is None else mu
    return Nodes(region, problem.generators, problem.bounds, signs, mu, mu @ problem.weights, mu @ problem.linear)


@dataclass(frozen=True, eq=False)
class LinearBounds:
    """Bounds from multipliers, and what branching wants to know.

    Attributes:
        value: (B,) lower bounds of ``μᵀ(H f + h)`` on the nodes, in floating point.
        mu: (B, r) weights of the rows.
        on_alpha, on_beta, on_triangle: (B, N) multipliers of t·α_i, t·β_i and of t times the triangles.
        on_sides: (B, 2d) multipliers of t times the sides of the box, which matter where there is a ball.
        x: (B, d) where the relaxation is least.
        scores: (B, N) by how much the relaxation of each free neuron errs there.
    """

    value: FloatArray
    mu: FloatArray
    on_alpha: FloatArray
    on_beta: FloatArray
    on_triangle: FloatArray
    on_sides: FloatArray
    x: FloatArray
    scores: FloatArray

    def at(self, node: int) -> "LinearBounds":
        """Those of one node."""
        return LinearBounds(*(array[[node]] for array in vars(self).values()))

    def better(self, other: "LinearBounds", node: int | None = None) -> "LinearBounds":
        """The larger of two bounds at each node; ``other`` may be about one ``node`` alone."""
        arrays = [array.copy() for array in vars(self).values()]
        at = np.arange(len(self.value)) if node is None else np.array([node])
        larger = other.value > self.value[at]
        for mine, others in zip(arrays, vars(other).values(), strict=True):
            mine[at[larger]] = others[larger]
        return LinearBounds(*arrays)


def crown(nodes: Nodes) -> LinearBounds:
    """Slopes by how far a neuron's bounds lie on either side of 0: needs one product of matrices."""
    low, high = nodes.bounds.T
    return finish(nodes, nodes.rising * (high / (high - low)))


def finish(nodes: Nodes, v: FloatArray, sides: FloatArray | None = None, x: FloatArray | None = None) -> LinearBounds:
    """The bounds that given multipliers prove.

    Args:
        nodes: B nodes.
        v: (B, N) lower slopes of free neurons, brought into [0, w], and multipliers of fixed signs, at least 0.
        sides: (B, 2d) multipliers of the sides of the box, lower before upper for each input, where region has a ball;
            they are used where that is better than the box alone or the ball alone.
        x: (B, d) points of the region for the scores, else where the linear functions are least.
    """
    A, region, signs, w = nodes.generators, nodes.region, nodes.signs, nodes.weights
    low, high = nodes.bounds.T
    free = signs == FREE
    slope, fixed = np.clip(v, 0.0, nodes.rising), np.where(free, 0.0, np.maximum(v, 0.0))
    nu = nodes.falling / (high - low)
    through = slope - nu * high + np.where(signs == ACTIVE, w - fixed, 0.0) + np.where(signs == INACTIVE, fixed, 0.0)
    z = nodes.linear + through @ A
    constant = z[:, -1] + nu @ (high * low)
    value = least(region, z[:, :-1])
    on_sides = np.zeros((len(nodes), 2 * region.inputs))
    if sides is not None and region.has_ball:
        sides = np.maximum(sides, 0.0)
        both = _with_sides(region, z[:, :-1], sides)
        better = both > value
        value, on_sides[better] = np.where(better, both, value), sides[better]
    if x is None:
        x = minimisers(region, z[:, :-1])
    product = x @ A[:, :-1].T + A[:, -1]
    chord = high / (high - low) * (product - low)
    return LinearBounds(
        value=np.asarray(value + constant),
        mu=nodes.mu,
        on_alpha=np.where(free, nodes.rising - slope, 0.0) + np.where(signs == ACTIVE, fixed, 0.0),
        on_beta=slope + np.where(signs == INACTIVE, fixed, 0.0),
        on_triangle=nu,
        on_sides=on_sides,
        x=x,
        scores=nodes.falling * (chord - np.maximum(product, 0.0)),
    )


def _with_sides(region: InputRegion, q: FloatArray, sides: FloatArray) -> FloatArray:
    """min q·x over box and ball is at least this: the multipliers take a part of q to the box, the ball has the rest.

    With the best multipliers this is an equation.
    """
    assert region.centre is not None
    assert region.radius is not None
    above, below = sides[:, 0::2], sides[:, 1::2]
    rest = q - above + below
    box = above @ region.lower - below @ region.upper
    return np.asarray(box + rest @ region.centre - region.radius * np.linalg.norm(rest, axis=1))


def minimisers(region: InputRegion, q: FloatArray) -> FloatArray:
    """(B, d) where the linear functions q are least on the region; for box and ball together a good point of both."""
    corner = np.where(q > 0, region.lower, region.upper)
    if region.centre is None or region.radius is None:
        return corner
    norm = np.linalg.norm(q, axis=1, keepdims=True)
    return project(region, region.centre - region.radius * q / np.where(norm > 0, norm, 1.0))
