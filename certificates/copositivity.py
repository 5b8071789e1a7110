"""A rigorous test whether small symmetric matrices are copositive: tᵀMt ≥ 0 for all t ≥ 0.

Variables are eliminated one after the other. One whose couplings are all ≥ 0 may be dropped, as t = 0 is best there;
one whose couplings are all ≤ 0 is eliminated by a Schur complement, without loss in both cases. Where the signs are
mixed, completing the square with all couplings, or with the negative ones alone, is sufficient. Both are tried, in all
combinations. So a matrix that passes is copositive; one of order 4 or more that does not pass may still be.

Floating point: entries are lowered by more than their rounding error at every step. A matrix that is entrywise larger
than a copositive one is copositive.
"""

import numpy as np
from numpy.typing import NDArray

from certificates.arithmetic.floating import TINY, UNIT
from certificates.failure import NO_DEADLINE, Deadline
from formulations.arrays import FloatArray, IntArray


def are_copositive(M: FloatArray, deadline: Deadline = NO_DEADLINE) -> NDArray[np.bool_]:
    """Which of these matrices (m, k, k), symmetric and given as lower bounds of the entries, are copositive.

    The entries are taken as they are; NaN and infinities fail.
    """
    k = M.shape[1]
    finite = np.isfinite(M).all(axis=(1, 2))
    proved: NDArray[np.bool_] = np.asarray(finite & (M >= 0).all(axis=(1, 2)), dtype=np.bool_)
    open_: IntArray = np.flatnonzero(finite & ~proved)
    for choice in range(1 << max(k - 1, 0)):
        if len(open_) == 0:
            break
        deadline.check()
        holds, is_final = _eliminate(M[open_], choice)
        proved[open_[holds]] = True
        open_ = open_[~holds & ~is_final]
    return proved


def _eliminate(M: FloatArray, choice: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """(passes, no other choice can help) for each matrix; bit number i of the choice is for the i-th mixed variable."""
    R = M.copy()
    count, k = R.shape[:2]
    each = np.arange(count)
    alive = np.ones((count, k), dtype=bool)
    mixed = np.zeros(count, dtype=np.int64)
    holds = np.ones(count, dtype=bool)
    diagonal = np.eye(k, dtype=bool)
    for _ in range(k):
        seen = alive[:, :, None] & alive[:, None, :] & ~diagonal
        lowest = np.where(seen, R, 0.0).min(axis=2)
        highest = np.where(seen, R, 0.0).max(axis=2)
        # Best are variables without negative couplings, then those without positive ones, then mixed ones.
        rank = np.where(lowest >= 0, 0, np.where(highest <= 0, 1, 2))
        key = np.where(rank == 2, 2.0 + np.abs(lowest) / (1.0 + np.abs(lowest)), rank.astype(np.float64))
        pivot = np.argmin(np.where(alive, key, np.inf), axis=1)
        kind = rank[each, pivot]
        d = R[each, pivot, pivot]
        holds &= np.where(kind == 0, d >= 0, d > 0)
        negative_only = (kind == 2) & ((choice >> mixed) & 1 == 0)
        mixed += kind == 2
        coupling = np.where(alive & (np.arange(k) != pivot[:, None]), R[each, pivot], 0.0)
        coupling = np.where(negative_only[:, None], np.minimum(coupling, 0.0), coupling)
        coupling = np.where(((kind == 0) | ~holds)[:, None], 0.0, coupling)
        d_safe = np.where(holds & (kind != 0), d, 1.0)[:, None, None]
        product = coupling[:, :, None] * coupling[:, None, :] / d_safe
        # A product that underflows is divided by d afterwards.
        changed = (coupling[:, :, None] != 0) & (coupling[:, None, :] != 0)
        lost = 8.0 * TINY * (1.0 + 1.0 / d_safe)
        R = R - product
        R = np.where(changed, R - (4.0 * UNIT * (np.abs(R) + np.abs(product)) + lost), R)
        holds &= np.isfinite(R).all(axis=(1, 2))
        R = np.where(np.isfinite(R), R, 0.0)
        alive[each, pivot] = False
    return holds, mixed == 0
