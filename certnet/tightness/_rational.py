"""Inner products and norms in rational arithmetic; float64 numbers are rationals."""

import math
from collections.abc import Sequence
from fractions import Fraction

from formulations._validation import FloatArray

Rationals = Sequence[Sequence[Fraction]]
"""A small matrix of rational numbers."""


def to_rationals(M: FloatArray) -> list[list[Fraction]]:
    """The entries of a finite float64 matrix as they are."""
    return [[Fraction(value) for value in row] for row in M.tolist()]


def inner_product(M: Rationals, P: Rationals) -> Fraction:
    """Σ M_ij P_ij."""
    return sum((m * p for row, other in zip(M, P, strict=True) for m, p in zip(row, other, strict=True)), Fraction(0))


def quadratic_value(M: FloatArray, x: FloatArray) -> Fraction:
    """xᵀMx without rounding; only the support of x is looked at."""
    support = x.nonzero()[0].tolist()
    point = {i: Fraction(float(x[i])) for i in support}
    return sum(
        (point[i] * point[j] * Fraction(float(M[i, j])) for i in support for j in support if M[i, j] != 0), Fraction(0)
    )


def rounded_up(value: Fraction) -> float:
    """The least float64 that is at least ``value``, or inf."""
    try:
        nearest = float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.nextafter(math.inf, 0.0)
    return nearest if Fraction(nearest) >= value else math.nextafter(nearest, math.inf)


def norm_above(M: Rationals) -> Fraction:
    """A rational number that is at least the Frobenius norm, by not more than a relative 1e-9."""
    square = inner_product(M, M)
    if square == 0:
        return Fraction(0)
    # A square root of an integer with at least 64 bits.
    shift = max(0, 64 - (square.numerator.bit_length() - square.denominator.bit_length()))
    shift += shift % 2
    scaled = (square.numerator << shift) // square.denominator + 1
    return Fraction(math.isqrt(scaled) + 1, 1 << (shift // 2))
