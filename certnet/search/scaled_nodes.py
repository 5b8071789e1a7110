"""Nodes as the ascent sees them: inputs in [−1, 1], pre-activations and the objective of size 1."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from certnet.search.linear import Nodes
from certnet.search.regions import project
from formulations._validation import FloatArray
from formulations.robustness import InputRegion
from formulations.signs import FREE

PENALTY = 100.0
"""Largest sum of the multipliers of fixed signs, in units of what the neurons contribute to the margin."""
PRODUCTS = 1 << 21
"""Numbers up to which the products of all pairs of columns are kept."""


@dataclass(eq=False)
class State:
    """Iterates of n nodes, or a step of them.

    Attributes:
        x: (n, d).
        dual: (n, 2M+2d) the multipliers v and f of M neurons and of the lower and upper sides.
        slack: (n, 2M+2d) what these are multiplied by: y, t, 1 + x and 1 − x. Of neurons without a term v = f = 0.
        eta: (n,) of the ball.
    """

    x: FloatArray
    dual: FloatArray
    slack: FloatArray
    eta: FloatArray

    def take(self, index: NDArray[np.bool_]) -> "State":
        return State(self.x[index], self.dual[index], self.slack[index], self.eta[index])


class Scaled:
    """The nodes in scaled coordinates, with the neurons that have a term at one of them at least.

    Those without, free ones whose weight is negative, are about half of all; ``kept`` (M,) are the others.
    """

    def __init__(self, nodes: Nodes) -> None:
        region, A = nodes.region, nodes.generators
        low, high = nodes.bounds.T
        size = np.maximum(-low, high)
        self.middle, self.half = 0.5 * region.lower + 0.5 * region.upper, 0.5 * (region.upper - region.lower)
        total = np.maximum((np.abs(nodes.weights) * size).sum(axis=1), 1e-300)
        nu = nodes.falling / (high - low)
        base = nodes.linear + (np.where(nodes.signs > 0, nodes.weights, 0.0) - nu * high) @ A
        constant = base[:, -1] + nu @ (high * low) + base[:, :-1] @ self.middle
        slope = base[:, :-1] * self.half
        self.unit = np.maximum(total + np.abs(slope).sum(axis=1), 1e-300)
        self.c, self.constant = slope / self.unit[:, None], constant / self.unit
        omega = np.where(nodes.signs == FREE, nodes.rising * size, PENALTY * total[:, None]) / self.unit[:, None]
        self.kept = np.flatnonzero((omega > 0).any(axis=0))
        A, self.size, signs, self.omega = A[self.kept], size[self.kept], nodes.signs[:, self.kept], omega[:, self.kept]
        self.used = self.omega > 0
        # Violation of a fixed sign is −σ a·x.
        self.turn = np.where(signs == FREE, 1.0, -signs.astype(np.float64))
        self.rows = A[:, :-1] * (self.half / self.size[:, None])
        self.offset = (A[:, :-1] @ self.middle + A[:, -1]) / self.size
        self.inputs, self.neurons = region.inputs, len(A)
        self.ball = region.has_ball
        if region.centre is not None and region.radius is not None:
            radius = max(region.radius, 1e-300)
            self.stretch, self.shift = self.half / radius, (self.middle - region.centre) / radius
        self.primal = min(self.inputs, self.neurons) == self.inputs
        self.columns = np.ascontiguousarray(self.rows if self.primal else self.rows.T)
        self.pairs: FloatArray | None = None
        other, order = self.columns.shape
        if order * order * other <= PRODUCTS:
            self.pairs = (self.columns[:, :, None] * self.columns[:, None, :]).reshape(other, order * order)

    def take(self, index: NDArray[np.bool_]) -> None:
        """Go on with these nodes alone."""
        for name in ("unit", "c", "constant", "omega", "used", "turn"):
            setattr(self, name, getattr(self, name)[index])

    def start(self, region: InputRegion) -> State:
        """Interior points near the centre of the region, where all products are alike."""
        n = len(self.c)
        x = np.zeros(self.inputs)
        if region.centre is not None and region.radius is not None:
            anchor = np.clip(region.centre, region.lower, region.upper)
            edge = project(region, self.middle[None])[0]
            x = np.where(self.half > 0, (0.5 * anchor + 0.5 * edge - self.middle) / np.maximum(self.half, 1e-300), 0.0)
            x = np.clip(x, -0.999, 0.999)
        x = np.repeat(x[None], n, axis=0)
        p, mu = self.violations(x), 1.0 / (self.inputs + self.neurons)
        omega = np.where(self.used, self.omega, 1.0)
        root = np.sqrt((omega * p) ** 2 + 4.0 * mu * mu)
        # ω t (t − p) = μ (2 t − p), solved without cancellation.
        small = mu / omega * (1.0 + 2.0 * mu / (root + omega * np.abs(p)))
        t, y = small + np.maximum(p, 0.0), small + np.maximum(-p, 0.0)
        v, f = mu / y, mu / t
        scale = np.where(self.used, omega / (v + f), 0.0)
        t, y = np.where(self.used, t, 1.0), np.where(self.used, y, 1.0)
        q = self.slope(v * scale)
        root = np.sqrt(0.25 * q * q + mu * mu)
        dual = np.hstack([v * scale, f * scale, root + 0.5 * q, root - 0.5 * q])
        return State(x, dual, np.hstack([y, t, 1.0 + x, 1.0 - x]), np.full(n, mu if self.ball else 0.0))

    def parts(self, array: FloatArray) -> list[FloatArray]:
        """What ``dual`` and ``slack`` consist of: two parts for the neurons, two for the sides."""
        return np.split(array, [self.neurons, 2 * self.neurons, 2 * self.neurons + self.inputs], axis=1)

    def violations(self, x: FloatArray) -> FloatArray:
        """(n, M) pre-activations of free neurons, and by how much a fixed sign is violated."""
        return np.asarray(self.turn * (x @ self.rows.T + self.offset))

    def slope(self, v: FloatArray) -> FloatArray:
        """(n, d) of the linear functions whose least value over the region is the dual value."""
        return np.asarray(self.c + (self.turn * v) @ self.rows)

    def room(self, x: FloatArray) -> FloatArray:
        """(n,) 1 − ‖x − centre‖²/radius²."""
        return np.asarray(1.0 - np.square(self.stretch * x + self.shift).sum(axis=1))

    def values(self, s: State) -> tuple[FloatArray, FloatArray]:
        """(primal values, dual values)."""
        v, _, below, above = self.parts(s.dual)
        upper = self.constant + np.einsum("nd,nd->n", self.c, s.x)
        upper = upper + (self.omega * np.maximum(self.violations(s.x), 0.0)).sum(axis=1)
        q = self.slope(v)
        lower = self.constant + (self.turn * v * self.offset).sum(axis=1)
        if not self.ball:
            return upper, lower - np.abs(q).sum(axis=1)
        # rest = stretch · g, so that the ball has centre −shift and radius 1 in g's coordinates.
        rest = np.where(self.stretch > 0, (q - below + above) / np.maximum(self.stretch, 1e-300), 0.0)
        ball = -rest @ self.shift - np.linalg.norm(rest, axis=1)
        return upper, lower + ball - (below + above).sum(axis=1)
