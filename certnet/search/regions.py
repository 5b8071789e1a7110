"""Points and bounds of the regions that a property is about, for who looks for counterexamples."""

from fractions import Fraction
from typing import Any

import numpy as np

from formulations._validation import FloatArray
from formulations.robustness import InputRegion


def pull_inside(region: InputRegion, x: FloatArray, kind: type[np.floating[Any]] = np.float64) -> FloatArray | None:
    """A vector of the exact region near x (d,), of numbers of this kind, if one is found; the same for the same x."""
    low, high = (region.lower, region.upper) if region.inner is None else region.inner
    with np.errstate(over="ignore"):
        near = x.astype(kind), low.astype(kind), high.astype(kind)
    x, lowest, highest = (array.astype(np.float64) for array in near)
    low = np.where(lowest < low, np.nextafter(near[1], kind(np.inf)), lowest)
    high = np.where(highest > high, np.nextafter(near[2], kind(-np.inf)), highest)
    x = np.clip(x, low, high)
    if region.centre is None or region.contains(x):
        return x if region.contains(x) else None
    anchor = np.clip(region.centre, low, high)
    for power in range(52, -1, -2):
        # Rounding may lead out of the ball by an ulp in each coordinate, hence the step back.
        point = anchor + (1.0 - 2.0**-power) * (x - anchor)
        point = np.clip(np.nextafter(point.astype(kind), anchor.astype(kind)).astype(np.float64), low, high)
        if region.contains(point):
            return np.asarray(point)
    return None


def exact_point(region: InputRegion, x: FloatArray) -> tuple[Fraction, ...] | None:
    """The point of the exact box that is nearest to x (d,), where its sides are rational numbers; else None."""
    if region.sides is None or region.has_ball or not np.isfinite(x).all():
        return None
    return tuple(
        min(max(Fraction(value), low), high) for value, low, high in zip(x.tolist(), *region.sides, strict=True)
    )


def least(region: InputRegion, q: FloatArray) -> FloatArray:
    """min q·x over the region for the rows of q (n, d), or a lower bound of it; floating point."""
    box = np.minimum(q * region.lower, q * region.upper).sum(axis=-1)
    if region.centre is None or region.radius is None:
        return np.asarray(box)
    return np.asarray(np.maximum(box, q @ region.centre - region.radius * np.linalg.norm(q, axis=-1)))


def project(region: InputRegion, X: FloatArray) -> FloatArray:
    """Points of the region near X (n×d); exact for box and ball alone, up to rounding for the ball."""
    X = np.clip(X, region.lower, region.upper)
    if region.centre is None or region.radius is None:
        return np.asarray(X)
    # Towards the nearest point of the box to the centre, which lies in the ball unless the region is empty.
    anchor = np.clip(region.centre, region.lower, region.upper)
    step = X - anchor
    base = anchor - region.centre
    a = np.sum(step**2, axis=1)
    half = step @ base
    room = max(region.radius * region.radius - float(base @ base), 0.0) * (1.0 - 1e-14)
    with np.errstate(divide="ignore", invalid="ignore"):
        share = (-half + np.sqrt(half**2 + a * room)) / a
    share = np.where(np.isfinite(share), np.clip(share * (1.0 - 1e-14), 0.0, 1.0), 0.0)
    return np.asarray(np.clip(anchor + share[:, None] * step, region.lower, region.upper))
