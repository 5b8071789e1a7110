"""The search of a cone, depth first: test, and where the test fails cut the cone in two.

A cone is spanned by the columns v_j of a k×k matrix. On it every activation lies between two linear functions of the
coordinates t of u = Σ t_j v_j, t ≥ 0:

    (a·u)₊ = Σ t_j (a·v_j)₊ − s,    0 ≤ s ≤ min(Σ t_j (a·v_j)₊, Σ t_j (−a·v_j)₊),

with s = 0 where the hyperplane of a does not cross the cone. With a unit vector p near the direction of the output,
this bounds the component of the output along p by a linear function of t, and what is orthogonal to p by another. So
``limit·uᵀEu − ‖output‖²`` is at least a quadratic form in t, whose copositivity is the test. The error of the bound is
quadratic in the size of the cone. ``certificates.cone_bound`` makes the same test rigorously.

The functions are plain loops, written for numba; uncompiled they do the same, to the last bit: squares are products,
because a library's power function may round otherwise. They make no arrays and assign no slices: numba takes longer to
compile the errors that those can raise than all the rest. Measured: 14 CPU seconds with them, 6 without.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from types import FunctionType
from typing import Any

import numpy as np

from certnet.runtime.compiled import compile_with_numba
from formulations._validation import FloatArray, IntArray

LEAF, REFUTED = -1, -2
"""Codes of a cone that passes and of one with a vertex above the limit; otherwise the code is ``a·k + b`` for the edge
(a, b) that is cut."""

FOUND = 256
"""Most points that one call reports."""
DEEPEST = 512
"""Cones that may wait at once."""
ON_PLANE = 1e-13
"""A vertex nearer to a hyperplane (of unit normal) than this counts as lying on it."""
SHORTEST_CUT = 0.02
"""A hyperplane is followed where it leaves at least this part of the edge on both sides."""
SHORTEST_EDGE = 0.1
"""And where the edge has at least this part of the length (1 − cos) of the longest one."""
HALVE_EVERY = 8
"""At every so many levels the longest edge is halved, so that cones cannot become flat for ever."""
SPREAD = 1e4
"""Largest η, and 1e-4/SPREAD the smallest, in (x + y)² ≤ (1+η)x² + (1+1/η)y²."""


def is_copositive(M: FloatArray, R: FloatArray, alive: IntArray) -> bool:
    """Whether tᵀMt ≥ 0 for all t ≥ 0, as far as elimination shows; R and alive are workspace.

    A variable whose couplings are all ≥ 0 may be dropped, one whose couplings are all ≤ 0 eliminated. Where the signs
    are mixed, eliminating with all couplings or with the negative ones alone is sufficient; both are tried.
    """
    k = len(M)
    for choice in range(1 << (k - 1)):
        replace(R, M, k)
        for a in range(k):
            alive[a] = 1
        mixed, holds = 0, True
        for _ in range(k):
            pivot, kind = choose_pivot(R, alive)
            d = R[pivot, pivot]
            negative_only = False
            if kind == 2:
                negative_only = (choice >> mixed) & 1 == 0
                mixed += 1
            holds = d >= 0.0 if kind == 0 else d > 0.0
            if not holds:
                break
            alive[pivot] = 0
            if kind > 0:
                eliminate(R, alive, pivot, negative_only)
        if holds:
            return True
        if mixed == 0:
            return False
    return False


def choose_pivot(R: FloatArray, alive: IntArray) -> tuple[int, int]:
    """The next variable and its kind: 0 without negative couplings, 1 without positive ones, 2 mixed."""
    k = len(R)
    pivot, kind, best = -1, 3, -np.inf
    for a in range(k):
        if alive[a] == 0:
            continue
        lowest, highest = 0.0, 0.0
        for b in range(k):
            if b != a and alive[b] == 1:
                lowest = min(lowest, R[a, b])
                highest = max(highest, R[a, b])
        if lowest >= 0.0:
            return a, 0
        if highest <= 0.0:
            if kind > 1:
                pivot, kind = a, 1
        elif kind > 1 and lowest > best:
            pivot, kind, best = a, 2, lowest
    return pivot, kind


def eliminate(R: FloatArray, alive: IntArray, pivot: int, negative_only: bool) -> None:
    """Complete the square in one variable, in place, with all couplings or the negative ones."""
    k, d = len(R), R[pivot, pivot]
    for a in range(k):
        if alive[a] == 1 and (R[a, pivot] < 0.0 or not negative_only):
            for b in range(k):
                if alive[b] == 1 and (R[pivot, b] < 0.0 or not negative_only):
                    R[a, b] -= R[a, pivot] * R[pivot, b] / d


def sift(
    Z: FloatArray, crossing: IntArray, count: int, weights: FloatArray, base: FloatArray, outputs: FloatArray
) -> int:
    """Keep the rows that cross the cone, in place; the active others join the linear part ``base`` (c×k).

    ``outputs`` (c×k) becomes the output at each vertex. Returns the number of rows kept.
    """
    k, c = Z.shape[1], weights.shape[1]
    kept = 0
    for m in range(count):
        above, below, i = False, False, crossing[m]
        for j in range(k):
            above = above or Z[m, j] > ON_PLANE
            below = below or Z[m, j] < -ON_PLANE
        if above and below:
            crossing[kept] = i
            for j in range(k):
                Z[kept, j] = Z[m, j]
            kept += 1
        elif above:
            for q in range(c):
                for j in range(k):
                    base[q, j] += weights[i, q] * Z[m, j]
    replace(outputs, base, c)
    for m in range(kept):
        for j in range(k):
            if Z[m, j] > 0.0:
                for q in range(c):
                    outputs[q, j] += weights[crossing[m], q] * Z[m, j]
    return kept


def bound(
    Z: FloatArray,
    crossing: IntArray,
    count: int,
    weights: FloatArray,
    outputs: FloatArray,
    limit: float,
    gram: FloatArray,
    M: FloatArray,
    x: FloatArray,
    y: FloatArray,
    lower: FloatArray,
    p: FloatArray,
) -> int:
    """The form M = limit·gram − xxᵀ − (1+η)QᵀQ − (1+1/η)yyᵀ with about the best η; the row that costs most, or −1.

    ``|p·output| ≤ x·t`` for the unit vector p of the mean output at the vertices, e_1 if there is none. What is across
    p of the output at the vertices is Q, which ``outputs`` (c×k) becomes, with errors ≤ y·t.
    """
    c, k = outputs.shape
    length = 0.0
    for q in range(c):
        p[q] = 0.0
        for j in range(k):
            p[q] += outputs[q, j] / math.sqrt(gram[j, j])
        length += p[q] * p[q]
    length = math.sqrt(length)
    for q in range(c):
        p[q] = p[q] / length if length > 0.0 else (1.0 if q == 0 else 0.0)
    for j in range(k):
        x[j] = y[j] = 0.0
        for q in range(c):
            x[j] += p[q] * outputs[q, j]
        lower[j] = x[j]
        for q in range(c):
            outputs[q, j] -= x[j] * p[q]
    worst, most = -1, -1.0
    for m in range(count):
        i = crossing[m]
        along, aside = 0.0, 0.0
        for q in range(c):
            along += p[q] * weights[i, q]
        for q in range(c):
            rest = weights[i, q] - along * p[q]
            aside += rest * rest
        aside = math.sqrt(aside) if c > 1 else 0.0
        above, below = 0.0, 0.0
        for j in range(k):
            above += max(Z[m, j], 0.0)
            below += max(-Z[m, j], 0.0)
        sign = 1.0 if above < below else -1.0
        for j in range(k):
            s = max(sign * Z[m, j], 0.0)
            x[j] += max(-along, 0.0) * s
            lower[j] -= max(along, 0.0) * s
            y[j] += aside * s
        cost = (max(-along, 0.0) + aside) * min(above, below)
        if cost > most:
            most, worst = cost, m
    first, second = 0.0, 0.0
    for j in range(k):
        x[j] = max(x[j], -lower[j], 0.0)
        second += y[j] * y[j] / gram[j, j]
        for q in range(c):
            first += outputs[q, j] * outputs[q, j] / gram[j, j]
    eta = math.sqrt(second / first) if first > 0.0 else SPREAD
    eta = min(max(eta, 1e-4 / SPREAD), SPREAD)
    for a in range(k):
        for b in range(a + 1):
            s = limit * gram[a, b] - x[a] * x[b]
            if c > 1:
                s -= (1.0 + 1.0 / eta) * y[a] * y[b]
                for q in range(c):
                    s -= (1.0 + eta) * outputs[q, a] * outputs[q, b]
            M[a, b] = M[b, a] = s
    return worst


def choose_cut(cone: FloatArray, Z: FloatArray, worst: int) -> tuple[int, int, float]:
    """The edge (a, b) to cut, and θ: the longest in half, or one where the hyperplane of row ``worst`` crosses it."""
    k = len(cone)
    first, second, theta, longest = 1, 0, 0.5, -1.0
    for a in range(k):
        for b in range(a):
            length, part = edge(cone, a, b, 0.5)
            if length > longest:
                # 8 bits are enough, and make for small files.
                longest, first, second = length, a, b
                theta = min(max(math.floor(256.0 * (1.0 - part) + 0.5), 1), 255) / 256.0
    if worst < 0:
        return first, second, theta
    highest = 0.0
    for a in range(k):
        for b in range(a):
            if Z[worst, a] * Z[worst, b] < 0.0:
                at_plane = Z[worst, a] / (Z[worst, a] - Z[worst, b])
                length, part = edge(cone, a, b, at_plane)
                part = min(part, 1.0 - part)
                if part > SHORTEST_CUT and length > SHORTEST_EDGE * longest and length * part > highest:
                    highest, first, second, theta = length * part, a, b, at_plane
    return first, second, theta


def edge(cone: FloatArray, a: int, b: int, theta: float) -> tuple[float, float]:
    """1 − cos of the angle of an edge, and which part of it lies before (1−θ)v_a + θv_b, for vertices of unit length.

    The part is 1/2 where both ends have the same share.
    """
    inner, square_a, square_b = 0.0, 0.0, 0.0
    for m in range(len(cone)):
        inner += cone[m, a] * cone[m, b]
        square_a += cone[m, a] * cone[m, a]
        square_b += cone[m, b] * cone[m, b]
    size_a, size_b = math.sqrt(square_a), math.sqrt(square_b)
    share = theta * size_b
    return 1.0 - inner / (size_a * size_b), share / (share + (1.0 - theta) * size_a)


def transform(matrix: FloatArray, cone: FloatArray, product: FloatArray) -> None:
    """product = matrix @ cone, without a library call: the matrices are tiny."""
    for a in range(len(matrix)):
        for j in range(cone.shape[1]):
            s = 0.0
            for m in range(cone.shape[0]):
                s += matrix[a, m] * cone[m, j]
            product[a, j] = s


def replace_vertex(source: FloatArray, target: FloatArray, rows: int, a: int, b: int, theta: float) -> None:
    """Columns of vertices after a cut: ``target`` gets the child without v_a, ``source`` becomes that without v_b."""
    for m in range(rows):
        for j in range(source.shape[1]):
            target[m, j] = source[m, j]
        target[m, a] = source[m, b] = (1.0 - theta) * source[m, a] + theta * source[m, b]


def replace(target: FloatArray, source: FloatArray, rows: int) -> None:
    """The first rows of ``target`` become those of ``source``."""
    for a in range(rows):
        for j in range(source.shape[1]):
            target[a, j] = source[a, j]


def workspace(N: int, k: int, c: int, budget: int) -> tuple[Any, ...]:
    """Arrays for N rows in R^k, c outputs and so many tests, as ``search`` unpacks them.

    First those of the cones on the way down, then of what is found, then of one cone.
    """
    waiting = [np.empty((DEEPEST, *shape)) for shape in ((k, k), (c, k), (N, k))]
    numbers = [np.empty(shape, dtype=np.int64) for shape in ((DEEPEST, N), DEEPEST, DEEPEST, budget)]
    found = [np.empty(budget), np.empty((FOUND, k))]
    one = [np.empty(shape) for shape in ((c, k), (k, k), (k, k), (k, k), (k, k), k, k, k, c)]
    return *waiting, *numbers, *found, *one, np.empty(k, dtype=np.int64)


def search(
    rows: FloatArray,
    weights: FloatArray,
    linear: FloatArray,
    metric: FloatArray,
    cones: FloatArray,
    depths: IntArray,
    limit: float,
    notable: float,
    budget: int,
    work: tuple[Any, ...],
) -> tuple[int, int, float, int, int]:
    """Search cones one after the other until all are done or ``budget`` tests are.

    Args:
        rows, weights, linear: (N, k) unit rows a_i, (N, c) w_i and (c, k); the output is ``linear u + Σ w_i (a_i·u)₊``.
        metric: (k, k) E, positive definite.
        cones, depths: (s, k, k), generators in columns, and (s,) number of cuts that led to each.
        limit: ``‖output‖² ≤ limit · uᵀEu`` is to be shown.
        notable: vertices where ‖output‖²/uᵀEu exceeds this are reported.
        budget, work: number of tests, and a ``workspace`` for them.

    Returns:
        (tests, notable points, best, cones begun, top), the best being the largest value at a vertex. In ``work`` stand
        the codes in preorder, cones in order, and the positions: an edge (a, b) is cut at (1−θ) v_a + θ v_b, and the
        first child has the new vertex in place of v_a, the second in place of v_b. The cones up to ``top`` are those of
        the last one begun that wait, the next one on top.
    """
    T, base, Z, crossing, kept, depth, codes, positions, found = work[:9]
    outputs, half, gram, M, R, x, y, lower, p, alive = work[9:]
    N, k = rows.shape
    c, count = weights.shape[1], len(cones)
    tests, hits, best, following, top = 0, 0, 0.0, 0, -1
    while tests < budget and (top >= 0 or following < count) and top + 2 < DEEPEST:
        if top < 0:
            top, depth[0], kept[0] = 0, depths[following], N
            replace(T[0], cones[following], k)
            transform(rows, T[0], Z[0])
            transform(linear, T[0], base[0])
            for m in range(N):
                crossing[0, m] = m
            following += 1
        at = top
        kept[at] = sift(Z[at], crossing[at], kept[at], weights, base[at], outputs)
        transform(metric, T[at], half)
        transform(T[at].T, half, gram)
        refuted = False
        for j in range(k):
            s = 0.0
            for q in range(c):
                s += outputs[q, j] * outputs[q, j]
            s /= gram[j, j]
            refuted = refuted or s > limit
            if s > notable and hits < FOUND:
                for m in range(k):
                    found[hits, m] = T[at, m, j]
                hits += 1
            best = max(best, s)
        passed, worst = False, -1
        if not refuted:
            worst = bound(Z[at], crossing[at], kept[at], weights, outputs, limit, gram, M, x, y, lower, p)
            passed = is_copositive(M, R, alive)
        positions[tests] = 0.0
        if refuted or passed:
            codes[tests] = REFUTED if refuted else LEAF
            top -= 1
        else:
            a, b, theta = choose_cut(T[at], Z[at], worst if depth[at] % HALVE_EVERY != 0 else -1)
            codes[tests], positions[tests] = a * k + b, theta
            # The first child is searched first, so it goes on top.
            top = at + 1
            depth[at] += 1
            depth[top], kept[top] = depth[at], kept[at]
            for m in range(kept[at]):
                crossing[top, m] = crossing[at, m]
            replace_vertex(Z[at], Z[top], kept[at], a, b, theta)
            replace_vertex(T[at], T[top], k, a, b, theta)
            replace_vertex(base[at], base[top], c, a, b, theta)
        tests += 1
    return tests, hits, best, following, top


@lru_cache(maxsize=1)
def fast_search() -> Callable[..., Any]:
    """``search`` as numba compiles it. Without numba it is the plain function, which is a hundred times as slow."""
    try:
        return _compile(compile_with_numba)
    except ImportError:
        return search


def is_compiled() -> bool:
    """True once this process has asked for the compiled kernel."""
    return fast_search.cache_info().currsize > 0


def _compile(jit: Callable[..., Any]) -> Callable[..., Any]:
    """``search`` and what it calls, compiled; the functions of the module stay as they are."""
    names = dict(globals())
    helpers = replace, choose_pivot, eliminate, is_copositive, sift, bound, edge, choose_cut, transform, replace_vertex
    for function in (*helpers, search):
        copy = FunctionType(function.__code__, names, function.__name__)
        copy.__module__, copy.__qualname__ = function.__module__, function.__qualname__
        names[function.__name__] = jit(copy)
    compiled: Callable[..., Any] = names["search"]
    return compiled
