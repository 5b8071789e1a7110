"""Rows that are multiples of one another, decided and scaled without rounding."""

from fractions import Fraction

import numpy as np

from formulations.arrays import FloatArray

ZERO_ROW = -1  # In place of the generator of a row that is zero, or whose dual is.


def are_parallel(x: FloatArray, y: FloatArray) -> bool:
    """True when the nonzero vectors x and y are exact multiples of each other, decided without rounding."""
    if np.array_equal(x, y) or np.array_equal(x, -y):
        return True
    if not np.array_equal(x == 0, y == 0):
        return False
    pivot = int(np.argmax(np.abs(x)))
    x_pivot, y_pivot = Fraction(float(x[pivot])), Fraction(float(y[pivot]))
    return all(Fraction(float(a)) * y_pivot == Fraction(float(b)) * x_pivot for a, b in zip(x, y, strict=True))


def scale_rows(rows: FloatArray) -> FloatArray:
    """Nonzero rows times powers of two, exactly; one whose entries are so far apart that this would round stays."""
    exponent = np.frexp(np.abs(rows).max(axis=1, initial=0.0, keepdims=True))[1].astype(np.int64) - 1
    scaled = np.ldexp(rows, -exponent)
    return np.where((np.ldexp(scaled, exponent) == rows).all(axis=1, keepdims=True), scaled, rows)
