"""The passes of an ADMM's step over matrices of the order of λ, as loops that read and write them once.

Array operations need some twenty passes, and matrices of a few hundred rows fit no processor's own cache. The loops are
written for numba; they make no arrays and assign no slices, which numba takes long to compile.
"""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

from certnet.runtime.compiled import compile_with_numba
from certnet.solvers.arrays import Array, Arrays

SMALLEST_ORDER = 150
"""Order of λ from which they are used. Loading numba takes as long as some hundred steps of this order."""
CHUNK = 512
"""Entries of each of a history's matrices that are worked on at a time: they fit a processor's nearest cache."""


class Loops(NamedTuple):
    """The compiled functions of this module."""

    reflect: Callable[..., None]
    scaled_gap: Callable[..., float]
    remember: Callable[..., None]
    gram: Callable[..., None]
    extrapolate: Callable[..., None]


@cache
def _compiled() -> Loops | None:
    """All of them, or None without numba."""
    try:
        return Loops(*(compile_with_numba(loop, sums_in_any_order=True) for loop in LOOPS))
    except ImportError:
        return None


def loops_for(layer: Arrays, order: int) -> Loops | None:
    """The loops for matrices of this order, where they are quicker than the operations of the layer."""
    return _compiled() if layer.device is None and order >= SMALLEST_ORDER else None


def reflect(
    V: Array,
    Z: Array,
    form: Array,
    scale: float,
    columns: Array,
    keep: Array,
    w: Array,
    rows: Array,
    X: Array,
    tilts: Array,
    tails: Array,
    along: Array,
    sums: Array,
) -> None:
    """Rows φ of Z, and what the projection needs of those of 2Z − V.

    Args:
        V, Z: (order, order); Z holds the last solution, and then the new one.
        form: (2N, order) that goes off V times ``scale``, or (0, 0).
        columns: (2N, c) of v.
        keep: (2N,) whether an entry of φ stays, or (0,): all do.
        w: (N,) of a quotient, with which signs are those of G_αβ alone, or (0,).
        rows: (2, order) for work.
        X: its corner (N, N) becomes that over σ.
        tilts: (2, N, N), the differences of the columns α and β of the sums and differences of the rows α and β.
        tails: (2, N, k+c), the columns z and v of these sums and differences.
        along: (2, N), rows α over β times w, and rows β over α times w.
        sums: (3,), to which the squares of ``Sizes`` are added.
    """
    real = V.dtype.type
    zero, half, factor = real(0.0), real(0.5), real(scale)
    N, order, outputs, rest = tails.shape[1], V.shape[1], columns.shape[1], tails.shape[2]
    for i in range(N):
        for side in range(2):
            r = i + side * N
            low, high, partner = 0, 2 * N, i + (1 - side) * N
            if len(w):
                low, high = (1 - side) * N, (2 - side) * N
            for j in range(order):
                rows[side, j] = V[r, j]
            if len(form):
                for j in range(order):
                    rows[side, j] -= factor * form[r, j]
            for j in range(outputs):
                rows[side, order - outputs + j] = columns[r, j]
            if len(keep):
                for j in range(2 * N):
                    if not keep[j]:
                        rows[side, j] = zero
                if not keep[r]:
                    for j in range(order):
                        rows[side, j] = zero
            for j in range(low, high):
                # NaN stays NaN.
                rows[side, j] = zero if rows[side, j] < zero else rows[side, j]
            rows[side, partner] = zero
            entries, multiplier, change = zero, zero, zero
            for j in range(order):
                new = rows[side, j]
                off, moved = V[r, j] - new, new - Z[r, j]
                entries += new * new
                multiplier += off * off
                change += moved * moved
                Z[r, j] = new
                rows[side, j] = new - off
            sums[0] += entries
            sums[1] += multiplier
            sums[2] += change
        for j in range(N):
            upper, lower = rows[0, j] - rows[0, N + j], rows[1, j] - rows[1, N + j]
            tilts[0, i, j] = upper + lower
            tilts[1, i, j] = upper - lower
            X[i, j] = half * ((rows[0, j] + rows[0, N + j]) + (rows[1, j] + rows[1, N + j]))
        for j in range(rest):
            tails[0, i, j] = rows[0, 2 * N + j] + rows[1, 2 * N + j]
            tails[1, i, j] = rows[0, 2 * N + j] - rows[1, 2 * N + j]
        if len(w):
            y, x = zero, zero
            for j in range(N):
                y += rows[0, N + j] * w[j]
                x += rows[1, j] * w[j]
            along[0, i], along[1, i] = y, x


def scaled_gap(G: Array, Z: Array, scale: float) -> float:
    """Make G ``scale · (G − Z)``; the sum of squares of G − Z."""
    factor, total = G.dtype.type(scale), 0.0
    for i in range(len(G)):
        own = G.dtype.type(0.0)
        for j in range(G.shape[1]):
            gap = G[i, j] - Z[i, j]
            own += gap * gap
            G[i, j] = factor * gap
        total += own
    return total


def remember(V: Array, R: Array, last_V: Array, last_R: Array, change: Array, plain: Array) -> None:
    """The changes of R and of V + R; all are flat."""
    for e in range(len(V)):
        moved = R[e] - last_R[e]
        change[e] = moved
        plain[e] = (V[e] - last_V[e]) + moved


def gram(changes: Array, R: Array, products: Array, right: Array) -> None:
    """Add the lower triangle of ``changes · changesᵀ`` to ``products`` (m, m), and ``changes · R`` to ``right``."""
    for start in range(0, len(R), CHUNK):
        # Indices from 0 on let the compiler work on several entries at once.
        seen = R[start : start + CHUNK]
        for i in range(len(changes)):
            one = changes[i, start : start + CHUNK]
            for j in range(i + 1):
                other = changes[j, start : start + CHUNK]
                total = changes.dtype.type(0.0)
                for e in range(len(one)):
                    total += one[e] * other[e]
                products[i, j] += total
            total = changes.dtype.type(0.0)
            for e in range(len(one)):
                total += one[e] * changes.dtype.type(seen[e])
            right[i] += total


def extrapolate(V: Array, R: Array, plain: Array, weights: Array, out: Array) -> None:
    """``out = V + R − weights · plain``; all but ``plain`` (m, entries) and ``weights`` (m,) are flat."""
    for start in range(0, len(V), CHUNK):
        last, step, following = V[start : start + CHUNK], R[start : start + CHUNK], out[start : start + CHUNK]
        for e in range(len(following)):
            following[e] = last[e] + step[e]
        for i in range(len(plain)):
            weight, known = plain.dtype.type(weights[i]), plain[i, start : start + CHUNK]
            for e in range(len(following)):
                following[e] -= weight * known[e]


LOOPS = reflect, scaled_gap, remember, gram, extrapolate
