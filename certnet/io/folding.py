"""Affine maps put into their neighbours, and whether that rounds.

"Exact" is never guessed: a product or sum counts as exact where an error-free transformation (Dekker, Knuth) finds no
error, which takes in all products of two float32 numbers.
"""

import math
from collections.abc import Callable

import numpy as np

from formulations._validation import FloatArray

MOST_SUMMED = 2**20
"""Products up to which sums are rounded once; beyond, sums of several terms count as rounded."""
_SPLIT = 2.0**27 + 1.0
_LEAST = 2.0**-900
"""Products of at least this size have no digits below the least float64 number."""


def folded(U: FloatArray, bias: FloatArray, gain: FloatArray, shift: FloatArray) -> tuple[FloatArray, FloatArray, bool]:
    """(U, b, whether they may be rounded) of the same function of x where U and b take gain·x + shift."""
    with np.errstate(all="ignore"):
        # What overflows is found when it is used.
        moved, plain = exact_matmul(shift[None], U) if shift.any() else (np.zeros((1, U.shape[1])), True)
        rounded = not (plain and exact_sum(bias, moved[0]) and exact_product(gain[:, None], U))
        return gain[:, None] * U, bias + moved[0], rounded


def normalised(
    mean: FloatArray, variance: FloatArray, epsilon: float, weight: FloatArray, bias: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """(gain, shift) of a batch normalisation in evaluation, rounded."""
    gain = weight / np.sqrt(variance + epsilon)
    return gain, bias - mean * gain


def powers_of_two(values: FloatArray) -> bool:
    """Whether all are powers of two, up to their signs, so that their reciprocals are exact."""
    return bool((np.abs(np.frexp(values)[0]) == 0.5).all())


def exact_product(a: FloatArray, b: FloatArray) -> bool:
    """Whether a·b is exact in float64 at each place."""
    with np.errstate(all="ignore"):
        product = a * b
        powers = [(np.abs(np.frexp(x)[0]) == 0.5) & (product / x == y) for x, y in ((a, b), (b, a))]
    plain = (a == 0) | (b == 0) | powers[0] | powers[1]
    return bool(plain.all() or (plain | _without_error(np.multiply, a, b, product)).all())


def exact_sum(a: FloatArray, b: FloatArray) -> bool:
    """Whether a + b is exact in float64 at each place."""
    with np.errstate(all="ignore"):
        total = a + b
        part = total - a
        return bool((((a - (total - part)) + (b - part)) == 0).all())


def exact_matmul(A: FloatArray, B: FloatArray) -> tuple[FloatArray, bool]:
    """(A B, whether it is exact): sums are rounded once where they are few, else exact where they have one term."""
    with np.errstate(all="ignore"):
        product = A @ B
        if len(A) * B.size > MOST_SUMMED or not np.isfinite(product).all():
            return product, bool(_without_error(np.matmul, A, B, product).all())
        exact = True
        for row, place in zip(A, product, strict=True):
            terms = row[:, None] * B
            place[:] = sums = [math.fsum(column) for column in terms.T.tolist()]
            rests = [math.fsum([*column, -total]) for column, total in zip(terms.T.tolist(), sums, strict=True)]
            exact = exact and not any(rests) and bool(_without_error(np.multiply, row[:, None], B, terms).all())
        return product, exact


def _without_error(
    multiply: Callable[..., FloatArray], a: FloatArray, b: FloatArray, product: FloatArray
) -> FloatArray:
    """Where a product of at most one term has no rounding error, by Dekker's halves."""
    with np.errstate(all="ignore"):
        terms = multiply((a != 0).astype(np.float64), (b != 0).astype(np.float64))
        (x, y), (u, v) = _halves(a), _halves(b)
        error = ((multiply(x, u) - product) + multiply(x, v) + multiply(y, u)) + multiply(y, v)
        return np.asarray((terms == 0) | ((terms == 1) & (error == 0) & (np.abs(product) >= _LEAST)))


def _halves(a: FloatArray) -> tuple[FloatArray, FloatArray]:
    large = a * _SPLIT
    upper = large - (large - a)
    return upper, a - upper
