"""The least value of the largest output row along segments, from the breakpoints of the neurons.

Along p + s q, 0 ≤ s ≤ 1, a row ``Σ_i w_i (p_i + s q_i)₊ + c`` is piecewise linear: at ``s_i = −p_i/q_i`` its slope
grows by ``w_i |q_i|``. Sorted breakpoints and cumulative sums give its values at all of them, so the minimum of one row
is exact up to rounding. The largest of several rows may also be least where two rows cross; crossings are looked at in
the two pieces beside the best breakpoint, and there the search is not exact.
"""

import numpy as np

from formulations._validation import FloatArray


def line_search(
    product: FloatArray, along: FloatArray, weights: FloatArray, constants: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """The best length of each of n segments, in [0, 1], and the value there: 0 and that at the start if none is lower.

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
