"""The sets {f : B(f) ≤ budget} of predictions that are as good as a dual's own; see ``certnet.jobs.predictions`` for B.

All ends are rounded outwards.
"""

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, xlogy

from certificates.arithmetic.floating import inflate
from formulations._validation import FloatArray
from formulations.kind import Kind

BoolArray = NDArray[np.bool_]
REACH, STEPS = 700.0, 60
"""Logits and logarithms of means are looked for up to this size, in so many halvings."""
ERROR = 1e-14
"""Charged for rounding, relative to the terms of B: logarithms and exponentials of numpy are within some units in the
last place, and a p that is off by one of them moves ``p log p`` by less than 1e-14."""


def outputs_within(kind: Kind, w: FloatArray, y: FloatArray, budget: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The ends of {f : B(f) ≤ budget} for ``ℓ = max of vr − ε/2 v²`` over l ≤ v ≤ h, with r = y − f and ε = 0 or 1."""
    low, high = kind.limits(y)
    epsilon = kind.sharpness(w, y)
    above = _farthest(w, high, epsilon, budget)
    below = _farthest(-w, -low, epsilon, budget)
    return np.nextafter(y - above, -np.inf), np.nextafter(y + below, np.inf)


def _farthest(w: FloatArray, high: FloatArray, epsilon: FloatArray, budget: FloatArray) -> FloatArray:
    """The largest r of it, rounded up: ``½(r − w)²`` until r = h where ε = 1, and slope h − w beyond."""
    step = np.sqrt(2.0 * np.where(epsilon > 0, budget, 0.0))
    with np.errstate(divide="ignore", invalid="ignore"):
        curved = w + step
        room = np.where(np.isfinite(high), high - w - 4e-16 * (np.abs(high) + np.abs(w)), np.inf)
        straight = np.where(room > 0, budget / room + 0.5 * epsilon * (high + w), np.inf)
    # Each is at least the other one where it does not hold, but for losses without curvature.
    found = np.where((epsilon > 0) & (curved <= high), curved, straight)
    size = np.abs(w) + step + np.where(np.isfinite(high), np.abs(high), 0.0)
    return np.asarray(np.where(np.isfinite(found), found + inflate(1e-15 * (size + np.abs(found)), 1), np.inf))


def divergence(p: FloatArray) -> Callable[[FloatArray], FloatArray]:
    """A lower bound of KL(p ‖ s) of two classes, for the logits f of s."""
    p = np.clip(p, 0.0, 1.0)
    entropy = -xlogy(p, p) - xlogy(1.0 - p, 1.0 - p)

    def bound(f: FloatArray) -> FloatArray:
        softplus = np.logaddexp(0.0, f)
        return np.asarray(softplus - p * f - entropy - ERROR * (1.0 + softplus + np.abs(f)))

    return bound


def excess(q: FloatArray, size: FloatArray) -> Callable[[FloatArray], FloatArray]:
    """A lower bound of ``q log(q/m) − q + m``, m = e^f, where q may be off by some units of the size."""
    least = xlogy(q, q) - q

    def bound(f: FloatArray) -> FloatArray:
        mean = np.exp(f)
        return np.asarray(mean - q * f + least - ERROR * (mean + (1.0 + size) * (1.0 + np.abs(f)) + np.abs(least)))

    return bound


def ends_within(
    bound: Callable[[FloatArray], FloatArray], centre: FloatArray, budget: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """An interval outside of which a convex function, least at the centre, is larger than the budget."""
    found = []
    for far in (-REACH, REACH):
        outside, inside = np.full_like(centre, far), np.clip(centre, -REACH, REACH)
        bounded = bound(outside) > budget
        for _ in range(STEPS):
            middle = 0.5 * (inside + outside)
            beyond = bound(middle) > budget
            inside, outside = np.where(beyond, inside, middle), np.where(beyond, middle, outside)
        found.append(np.where(bounded, outside, math.copysign(math.inf, far)))
    return found[0], found[1]


def log_of(value: FloatArray) -> FloatArray:
    with np.errstate(divide="ignore"):
        return np.log(np.maximum(value, 0.0))


def logit_of(p: FloatArray) -> FloatArray:
    return np.asarray(log_of(p) - log_of(1.0 - p))


def probabilities_of(lower: FloatArray, upper: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The logistic function, rounded down and up."""
    return np.clip(expit(lower) * (1.0 - ERROR), 0.0, 1.0), np.clip(expit(upper) * (1.0 + ERROR), 0.0, 1.0)


def means_of(lower: FloatArray, upper: FloatArray) -> tuple[FloatArray, FloatArray]:
    with np.errstate(over="ignore"):
        return np.exp(lower) * (1.0 - ERROR), np.exp(upper) * (1.0 + ERROR)


def softmax_of(lower: FloatArray, upper: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Enclosures of the probabilities of classes with logits in between."""
    found = []
    for own, others, side in ((lower, upper, -1), (upper, lower, 1)):
        apart = others[:, None, :] - own[:, :, None]
        for k in range(own.shape[1]):
            apart[:, k, k] = 0.0
        with np.errstate(over="ignore"):
            found.append(np.clip((1.0 + side * ERROR) / np.exp(apart).sum(axis=2), 0.0, 1.0))
    return found[0], found[1]


def same_sign(lower: FloatArray, upper: FloatArray) -> BoolArray:
    return np.asarray(((lower > 0) | (upper < 0)).all(axis=1))


def same_winner(p: FloatArray, budget: FloatArray) -> BoolArray:
    """Whether all s with KL(p ‖ s) within the budget have the same largest entry.

    Of those with s_j ≥ s_k the nearest has both equal to ½(p_j + p_k), and all others as in p.
    """
    rows, k = np.arange(len(p)), p.argmax(axis=1)
    p = np.clip(p, 0.0, 1.0)
    best = p[rows, k][:, None]
    middle = 0.5 * (p + best)
    least = xlogy(p, p) + xlogy(best, best) - 2.0 * xlogy(middle, middle) - ERROR
    least[rows, k] = np.inf
    return np.asarray(least.min(axis=1) > budget)
