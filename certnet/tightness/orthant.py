"""Copositivity decided in integers: subdivision of the orthant into simplicial cones (Bundfuss, Dür 2008).

A cone is given by its generators, the columns of an integer matrix V. With ``Q = VᵀMV``:

* ``Q ≥ 0`` entrywise, or Q minus its positive off-diagonal part positive semidefinite: M is nonnegative on the cone;
* a generator with ``Q_jj < 0``, or a pair with ``Q_ij < 0`` and ``Q_ij² > Q_ii Q_jj``: a point where M is negative;
* a row ``Q_j ≥ 0``: generator j may go; a row that is ``≤ 0`` off the diagonal: j may be minimised out (both exact);
* else the cone is cut in two, at a point between the pair with the most negative ``Q_ij``.

float64 entries are dyadic rationals, so M times a power of two is an integer matrix and nothing is ever rounded.
"""

import math
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from flint import fmpq

from certificates.arithmetic.exact import RationalMatrix
from certificates.failure import Deadline, ProofFailure
from formulations._validation import FloatArray
from formulations.rounding import whole

Exact = Any
"""An array of Python integers or Fractions."""

NEARLY_PSD = -1e-9
"""Smallest eigenvalue, relative to a unit diagonal, from which the exact test is worth its time."""


class Subdivision(NamedTuple):
    """``copositive`` is None when it was given up, for this reason; a witness is x ≥ 0 (n,) with xᵀMx < 0."""

    copositive: bool | None
    witness: Exact | None
    cones: int
    reason: str = ""


def rationals(M: FloatArray) -> Exact:
    """The entries of a finite float64 array as they are."""
    return np.vectorize(Fraction, otypes=[object])(M)


def integer_matrix(M: FloatArray) -> Exact:
    """M times the power of two that makes every entry an integer."""
    return np.array(whole(M.ravel())[0], dtype=object).reshape(M.shape)


def quadratic_value(M: FloatArray, x: FloatArray) -> Fraction:
    """xᵀMx without rounding; only the support of x is looked at."""
    support = x.nonzero()[0]
    point = rationals(x[support])
    return Fraction(point @ rationals(M[np.ix_(support, support)]) @ point)


def subdivide(M: FloatArray, *, max_cones: int, deadline: Deadline) -> Subdivision:
    """Decide whether xᵀMx ≥ 0 for every x ≥ 0, for a symmetric matrix of small order, or give up."""
    form, stack, cones = integer_matrix(M), [np.eye(len(M), dtype=object)], 0
    while stack:
        try:
            deadline.check()
        except ProofFailure as failure:
            return Subdivision(None, None, cones, str(failure))
        if cones >= max_cones:
            return Subdivision(None, None, cones, f"{max_cones} cones were not enough")
        cones += 1
        witness, rest = _settle(form, stack.pop())
        if witness is not None:
            return Subdivision(False, witness, cones)
        stack.extend(rest)
    return Subdivision(True, None, cones)


def _settle(form: Exact, V: Exact) -> tuple[Exact | None, list[Exact]]:
    """A witness, or the cones that are left to be settled: none, or two."""
    while True:
        Q = V.T @ form @ V
        point = _negative_point(Q)
        if point is not None:
            return _primitive(V @ point), []
        kept = (Q < 0).any(axis=1).astype(bool)
        if not kept.any():
            return None, []
        if not kept.all():
            V = V[:, kept]
            continue
        pivot = next((j for j in range(len(Q)) if (np.delete(Q[j], j) <= 0).all()), None)
        if pivot is None:
            break
        # The minimum over the multiple of generator ``pivot`` is at a nonnegative one, so it may be put in.
        others = [j for j in range(len(Q)) if j != pivot]
        V = np.array([_primitive(Q[pivot, pivot] * V[:, j] - Q[pivot, j] * V[:, pivot]) for j in others]).T
    if _is_dominated(Q):
        return None, []
    i, j, ratio = _cut(Q)
    left, right = V.copy(), V.copy()
    left[:, i] = right[:, j] = _primitive(ratio.denominator * V[:, i] + ratio.numerator * V[:, j])
    return None, [left, right]


def _negative_point(Q: Exact) -> Exact | None:
    """Coefficients of a point on an edge where the form is negative."""
    point = np.zeros(len(Q), dtype=object)
    for i in range(len(Q)):
        if Q[i, i] < 0:
            point[i] = 1
            return point
    for i, j in zip(*np.nonzero(Q < 0), strict=True):
        if Q[i, j] ** 2 > Q[i, i] * Q[j, j]:
            point[i], point[j] = (Q[j, j], -Q[i, j]) if Q[j, j] else (1, Q[i, i] // (-2 * Q[i, j]) + 1)
            return point
    return None


def _is_dominated(Q: Exact) -> bool:
    """Q minus its positive off-diagonal part is positive semidefinite; decided exactly, after a look in float64."""
    n, size = len(Q), [math.isqrt(value) + 1 for value in np.diag(Q)]
    rest = np.where((Q > 0) & ~np.eye(n, dtype=bool), 0, Q)
    scaled = np.array([[float(Fraction(rest[i, j], size[i] * size[j])) for j in range(n)] for i in range(n)])
    if not float(np.linalg.eigvalsh(scaled)[0]) >= NEARLY_PSD:
        return False
    exact = np.array([fmpq(value) for value in rest.ravel()], dtype=object).reshape(n, n)
    return RationalMatrix(exact).psd_obstacle() is None


def _cut(Q: Exact) -> tuple[int, int, Fraction]:
    """(i, j, t/s): where to cut the edge between generators i and j, at ``s v_i + t v_j``.

    Every such u with t/s in [−Q_ij/Q_jj, −Q_ii/Q_ij] has ``uᵀMv_i ≥ 0`` and ``uᵀMv_j ≥ 0``; the simplest ratio keeps
    the integers short.
    """
    pairs = [(i, j) for i in range(len(Q)) for j in range(i) if Q[i, j] < 0]
    i, j = max(pairs, key=lambda pair: float(Fraction(Q[pair] ** 2, Q[pair[0], pair[0]] * Q[pair[1], pair[1]])))
    return i, j, _simplest(Fraction(-Q[i, j], Q[j, j]), Fraction(Q[i, i], -Q[i, j]))


def _simplest(low: Fraction, high: Fraction) -> Fraction:
    """The fraction with the smallest denominator in [low, high], 0 < low ≤ high (continued fractions)."""
    floor = low.numerator // low.denominator
    if floor == low:
        return Fraction(floor)
    if floor + 1 <= high:
        return Fraction(floor + 1)
    return floor + 1 / _simplest(1 / (high - floor), 1 / (low - floor))


def _primitive(vector: Exact) -> Exact:
    """The vector over the greatest common divisor of its entries."""
    divisor = math.gcd(*vector)
    return vector // divisor if divisor > 1 else vector
