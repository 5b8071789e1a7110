"""Copositivity decided in integers: subdivision of the orthant into simplicial cones (Bundfuss, Dür 2008).

A cone is given by its generators, the columns of an integer matrix V. With ``Q = VᵀMV``:

* ``Q ≥ 0`` entrywise, or Q minus its positive off-diagonal part positive semidefinite: M is nonnegative on the cone;
* a generator with ``Q_jj < 0``, or a pair with ``Q_ij < 0`` and ``Q_ij² > Q_ii Q_jj``: a point where M is negative;
* a row ``Q_j ≥ 0``: generator j may go; a row that is ``≤ 0`` off the diagonal: j may be minimised out (both exact);
* else the cone is cut in two, at a point between the pair with the most negative ``Q_ij``.

float64 entries are dyadic rationals, so M times a power of two is an integer matrix and nothing is ever rounded.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from flint import fmpq, fmpq_mat
from numpy.typing import NDArray

from certificates.arithmetic.exact import RationalMatrix
from certificates.failure import Deadline, ProofFailure
from formulations._validation import FloatArray

Integers = NDArray[np.object_]
"""A matrix of Python integers."""

NEARLY_PSD = -1e-9
"""Smallest eigenvalue, relative to a unit diagonal, from which the exact test is worth its time."""


@dataclass(frozen=True, eq=False)
class Subdivision:
    """How a subdivision ended.

    Attributes:
        copositive: True when every cone was settled, False when a witness was found, None when it was given up.
        witness: (n,) nonnegative integers x with xᵀMx < 0, or None.
        cones: cones that were looked at.
        reason: why it was given up; else empty.
    """

    copositive: bool | None
    witness: Integers | None
    cones: int
    reason: str = ""


def integer_matrix(M: FloatArray) -> Integers:
    """M times the power of two that makes every entry an integer."""
    ratios = [[value.as_integer_ratio() for value in row] for row in M.tolist()]
    denominator = max((q for row in ratios for _, q in row), default=1)
    out = np.empty(M.shape, dtype=object)
    for i, row in enumerate(ratios):
        for j, (p, q) in enumerate(row):
            out[i, j] = p * (denominator // q)
    return out


def subdivide(M: FloatArray, *, max_cones: int, deadline: Deadline) -> Subdivision:
    """Decide whether xᵀMx ≥ 0 for every x ≥ 0, for a symmetric matrix of small order.

    Args:
        M: (n, n) symmetric and finite.
        max_cones: number of cones after which to give up.
        deadline: when to give up.
    """
    form = integer_matrix(M)
    stack = [_identity(len(M))]
    cones = 0
    while stack:
        try:
            deadline.check()
        except ProofFailure as failure:
            return Subdivision(None, None, cones, str(failure))
        if cones >= max_cones:
            return Subdivision(None, None, cones, f"{max_cones} cones were not enough")
        cones += 1
        outcome = _settle(form, stack.pop())
        if isinstance(outcome, _Witness):
            return Subdivision(False, outcome.point, cones)
        stack.extend(outcome)
    return Subdivision(True, None, cones)


@dataclass(frozen=True, eq=False)
class _Witness:
    point: Integers


def _settle(form: Integers, V: Integers) -> _Witness | list[Integers]:
    """A witness, or the cones that are left to be settled: none, or two."""
    while True:
        Q = V.T @ form @ V
        point = _negative_point(Q)
        if point is not None:
            return _Witness(_primitive(V @ point))
        kept = np.array([bool((row < 0).any()) for row in Q], dtype=bool)
        if not kept.any():
            return []
        if not kept.all():
            V = V[:, kept]
            continue
        pivot = next((j for j in range(len(Q)) if (np.delete(Q[j], j) <= 0).all()), None)
        if pivot is None:
            break
        # The minimum over the multiple of generator ``pivot`` is at a nonnegative one, so it may be put in.
        others = [j for j in range(len(Q)) if j != pivot]
        V = _columns(_primitive(Q[pivot, pivot] * V[:, j] - Q[pivot, j] * V[:, pivot]) for j in others)
    if _is_dominated(Q):
        return []
    i, j, u = _cut(Q, V)
    left, right = V.copy(), V.copy()
    left[:, i] = right[:, j] = u
    return [left, right]


def _negative_point(Q: Integers) -> Integers | None:
    """Coefficients of a point on an edge where the form is negative."""
    n = len(Q)
    for i in range(n):
        if Q[i, i] < 0:
            return _combination(n, {i: 1})
    for i in range(n):
        for j in range(n):
            if i != j and Q[i, j] < 0 and Q[i, j] ** 2 > Q[i, i] * Q[j, j]:
                if Q[j, j] == 0:
                    return _combination(n, {i: 1, j: Q[i, i] // (-2 * Q[i, j]) + 1})
                return _combination(n, {i: Q[j, j], j: -Q[i, j]})
    return None


def _is_dominated(Q: Integers) -> bool:
    """Q minus its positive off-diagonal part is positive semidefinite; decided exactly, after a look in float64."""
    size = np.array([math.isqrt(int(value)) + 1 for value in np.diag(Q)], dtype=object)
    n = len(Q)
    rest = Q.copy()
    for i in range(n):
        for j in range(n):
            if i != j and rest[i, j] > 0:
                rest[i, j] = 0
    scaled = np.array([[float(Fraction(rest[i, j], size[i] * size[j])) for j in range(n)] for i in range(n)])
    if not float(np.linalg.eigvalsh(scaled)[0]) >= NEARLY_PSD:
        return False
    exact = fmpq_mat(n, n, [fmpq(int(value)) for value in rest.ravel()])
    return RationalMatrix(exact).prove_psd().proved


def _cut(Q: Integers, V: Integers) -> tuple[int, int, Integers]:
    """(i, j, u): where to cut the edge between generators i and j.

    Every u = s v_i + t v_j with t/s in [−Q_ij/Q_jj, −Q_ii/Q_ij] has ``uᵀMv_i ≥ 0`` and ``uᵀMv_j ≥ 0``; the simplest
    ratio keeps the integers short.
    """
    worst, pair = 0.0, (0, 0)
    for i in range(len(Q)):
        for j in range(i):
            if Q[i, j] < 0:
                depth = float(Fraction(Q[i, j] ** 2, Q[i, i] * Q[j, j]))
                if depth > worst:
                    worst, pair = depth, (i, j)
    i, j = pair
    ratio = _simplest(Fraction(-Q[i, j], Q[j, j]), Fraction(Q[i, i], -Q[i, j]))
    return i, j, _primitive(ratio.denominator * V[:, i] + ratio.numerator * V[:, j])


def _simplest(low: Fraction, high: Fraction) -> Fraction:
    """The fraction with the smallest denominator in [low, high], 0 < low ≤ high (continued fractions)."""
    whole = low.numerator // low.denominator
    if whole == low:
        return Fraction(whole)
    if whole + 1 <= high:
        return Fraction(whole + 1)
    return whole + 1 / _simplest(1 / (high - whole), 1 / (low - whole))


def _primitive(vector: Integers) -> Integers:
    """The vector over the greatest common divisor of its entries."""
    divisor = math.gcd(*(int(value) for value in vector))
    return vector // divisor if divisor > 1 else vector


def _combination(n: int, entries: dict[int, Any]) -> Integers:
    out = np.full(n, 0, dtype=object)
    for index, value in entries.items():
        out[index] = value
    return out


def _columns(vectors: Iterator[Integers]) -> Integers:
    return np.array(list(vectors), dtype=object).T


def _identity(n: int) -> Integers:
    return np.array([[int(i == j) for j in range(n)] for i in range(n)], dtype=object).reshape(n, n)
