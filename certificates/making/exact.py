"""Dual points that satisfy the equations of their domain without rounding.

A free output bias asks for ``Wᵀ1 = 0``, cross-entropy for rows that sum to 0, and a bound is −∞ where either fails.
So W is rounded to multiples of a power of two so coarse that all sums are exact in float64; what is left of a sum is
moved onto entries that have room inside the domain.
"""

import numpy as np

from formulations import TrainingProgram
from formulations.arrays import FloatArray
from formulations.loss import FREE_BIAS

BITS = 52


def exact(program: TrainingProgram, W: FloatArray) -> FloatArray:
    """W (n×c) moved by rounding errors until it lies in the domain exactly; zero where that fails."""
    loss, kind = program.loss, program.loss.kind
    balanced = loss.bias_decay == FREE_BIAS
    lower, upper = loss.limits
    size = float(np.abs(W).sum())
    if not (size > 0 and np.isfinite(size)):
        return np.zeros_like(W)
    if not (balanced or kind.couples):
        # A limit and its product with ω are rounded; two steps towards zero stay within the real one.
        return np.clip(W, *(np.nextafter(np.nextafter(limit, 0.0), 0.0) for limit in (lower, upper)))
    grid = 2.0 ** (np.frexp(size)[1] + 2 - BITS)
    with np.errstate(invalid="ignore"):
        low, high = np.ceil(lower / grid) + 1.0, np.floor(upper / grid) - 1.0
    # In units of the grid; 0 is always in the domain.
    low, high = np.minimum(low, 0.0), np.maximum(high, 0.0)
    low[lower == 0], high[upper == 0] = 0.0, 0.0
    # Rows that have no part stay without one.
    low[~W.any(axis=1)] = high[~W.any(axis=1)] = 0.0
    w = np.clip(np.round(W / grid), low, high)
    if kind.couples:
        others = np.where(program.Y > 0, 0.0, w)
        w = np.where(program.Y > 0, -others.sum(axis=1, keepdims=True), others)
        # The class of a row gives at most ω.
        excess = np.flatnonzero(np.sum(np.where(program.Y > 0, w - high, 0.0), axis=1) > 0)
        w[excess] = np.round(w[excess] * (1.0 - 1e-9))
        others = np.where(program.Y > 0, 0.0, w)
        w = np.where(program.Y > 0, -others.sum(axis=1, keepdims=True), others)
    if balanced:
        w = _between_columns(w, low, high) if kind.couples else _within_columns(w, low, high)
    sound = (w >= low).all() and (w <= high).all() and not (balanced and w.sum(axis=0).any())
    return w * grid if sound else np.zeros_like(W)


def _spread(room: FloatArray, total: float) -> FloatArray:
    """Whole numbers that add up to ``total`` with none above its room, as evenly as the room allows; else zeros."""
    share = np.minimum(np.floor(room * min(total / max(float(room.sum()), 1e-300), 1.0)), room)
    rest = total - float(share.sum())
    for row in np.argsort(share - room, kind="stable"):
        if not rest > 0:
            break
        more = min(rest, float(room[row] - share[row]))
        share[row], rest = share[row] + more, rest - more
    return share


def _within_columns(w: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
    """Columns whose sums are taken off entry by entry."""
    w = w.copy()
    for k, total in enumerate(w.sum(axis=0)):
        room = w[:, k] - low[:, k] if total > 0 else high[:, k] - w[:, k]
        room = np.where(np.isfinite(room), room, 2.0**BITS)
        w[:, k] -= np.sign(total) * _spread(room, abs(float(total)))
    return w


def _between_columns(w: FloatArray, low: FloatArray, high: FloatArray) -> FloatArray:
    """The same where rows sum to 0: what one column has too much of goes to another in the same row."""
    w = w.copy()
    for k in range(w.shape[1]):
        for j in range(w.shape[1]):
            total = min(float(w[:, k].sum()), -float(w[:, j].sum()))
            if total > 0:
                share = _spread(np.minimum(w[:, k] - low[:, k], high[:, j] - w[:, j]), total)
                w[:, k], w[:, j] = w[:, k] - share, w[:, j] + share
    return w
