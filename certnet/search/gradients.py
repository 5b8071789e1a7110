"""The largest gradient that is met: a lower bound of a Lipschitz constant, global or on a region."""

from collections.abc import Iterator

import numpy as np

from certificates.failure import Deadline
from certnet.search.regions import project
from formulations._validation import FloatArray
from formulations.network import ReluNetwork
from formulations.robustness import InputRegion

SAMPLES = 2000
KEPT = 50
ASCENTS = 50
ON_A_KINK = 1e-12
"""Relative size of a pre-activation whose sign is not trusted."""
ENTRIES = 1 << 22
WORK = 1 << 29
"""Numbers of masked output weights at a time, and multiplications with them."""
SECONDS = 30.0
"""How long it takes at most if nothing is said."""


def largest_gradient(
    network: ReluNetwork,
    C: FloatArray,
    region: InputRegion | None = None,
    *,
    seed: int = 0,
    seconds: float = SECONDS,
) -> float:
    """The largest spectral norm of a gradient of ``C f`` at points of the region, none of which is on a kink.

    Random points come first, of several sizes where there is no region; then steps from the best of them along the
    directions in which their own gradients are largest, and at random. Coordinates that a region fixes do not count.
    0 for a region without interior. After ``seconds`` it is the largest so far.
    """
    search = _Search(network, C, region, Deadline.after(seconds))
    if region is not None and region.centre is not None and region.radius is not None:
        nearest = np.clip(region.centre, region.lower, region.upper)
        if not np.linalg.norm(nearest - region.centre) < region.radius:
            return 0.0
    rng = np.random.default_rng(seed)
    points = search.first(rng)
    norms = search.norms(points)
    best = np.argsort(-norms, kind="stable")[:KEPT]
    points, norms = points[best], norms[best]
    for _ in range(ASCENTS):
        if search.deadline.passed:
            break
        tried = search.around(points, rng)
        points, norms = np.vstack([points, tried]), np.concatenate([norms, search.norms(tried)])
        _, different = np.unique(points, axis=0, return_index=True)
        best = different[np.argsort(-norms[different], kind="stable")[:KEPT]]
        points, norms = points[best], norms[best]
    return float(norms.max(initial=0.0))


class _Search:
    """Points and the norms of their gradients."""

    def __init__(self, network: ReluNetwork, C: FloatArray, region: InputRegion | None, deadline: Deadline) -> None:
        self.deadline = deadline
        moving = np.flatnonzero(network.hidden.any(axis=1))
        self.U, self.b = network.hidden[moving], network.hidden_bias[moving]
        self.weights, self.region = C @ network.output[:, moving], region
        self.slopes = self.U if region is None else self.U * (region.lower < region.upper)
        spread = float(np.abs(self.b).max(initial=0.0))
        scale = float(np.linalg.norm(self.U, axis=1).mean()) if len(moving) else 1.0
        self.size = 1.0 + spread / max(scale, 1e-300)

    def first(self, rng: np.random.Generator) -> FloatArray:
        d, region = self.U.shape[1], self.region
        directions = rng.standard_normal((SAMPLES, d))
        if region is None:
            return directions * self.size * 10.0 ** rng.uniform(-1, 2, (SAMPLES, 1))
        if region.centre is None or region.radius is None:
            return region.lower + rng.random((SAMPLES, d)) * (region.upper - region.lower)
        directions /= np.maximum(np.linalg.norm(directions, axis=1, keepdims=True), 1e-300)
        return project(region, region.centre + region.radius * rng.random((SAMPLES, 1)) ** (1.0 / d) * directions)

    def around(self, points: FloatArray, rng: np.random.Generator) -> FloatArray:
        """Steps from points: both ways along the largest direction of their gradients, and at random."""
        gradients = (self.gradients(points[piece]) for piece in self.pieces(points))
        directions = np.concatenate([np.linalg.svd(some, full_matrices=False)[2][:, 0] for some in gradients])
        noise = rng.standard_normal(points.shape)
        if self.region is None:
            length = np.linalg.norm(points, axis=1, keepdims=True)
            steps = 0.1 * length * 10.0 ** rng.uniform(-2, 1, (len(points), 1)) * noise
            return np.vstack([length * directions, -length * directions, points + steps])
        widths = (self.region.upper - self.region.lower) * 10.0 ** rng.uniform(-2, 0, (len(points), 1))
        reach = np.linalg.norm(widths, axis=1, keepdims=True) * directions
        return project(self.region, np.vstack([points + reach, points - reach, points + 0.5 * widths * noise]))

    def norms(self, points: FloatArray) -> FloatArray:
        """Spectral norms of the gradients; −1 for points too near to a kink."""
        norms = np.full(len(points), -1.0)
        for piece in self.pieces(points):
            if piece.start and self.deadline.passed:
                break
            found = np.linalg.norm(self.gradients(points[piece]), 2, axis=(1, 2))
            size = np.abs(points[piece]) @ np.abs(self.U).T + np.abs(self.b)
            clear = (np.abs(points[piece] @ self.U.T + self.b) > ON_A_KINK * size).all(axis=1)
            norms[piece] = np.where(clear & np.isfinite(found), found, -1.0)
        return norms

    def pieces(self, points: FloatArray) -> Iterator[slice]:
        """Parts of the points whose gradients fit the memory, and take some seconds at most."""
        part = max(min(ENTRIES, WORK // self.U.shape[1]) // max(self.weights.size, 1), 1)
        return (slice(first, first + part) for first in range(0, len(points), part))

    def gradients(self, points: FloatArray) -> FloatArray:
        """(n, r, d); 0 where they overflow."""
        active = points @ self.U.T + self.b > 0
        found = (active[:, None, :] * self.weights) @ self.slopes
        return np.asarray(np.where(np.isfinite(found).all(axis=(1, 2), keepdims=True), found, 0.0))
