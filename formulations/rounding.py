"""Numbers that are no float64, and the float64 numbers on either side of them."""

import math
from fractions import Fraction

import numpy as np

from formulations._validation import FloatArray
from formulations.errors import InputError


def below(value: Fraction) -> float:
    """The largest float64 number that is at most this one.

    Raises:
        InputError: it is beyond the range of float64.
    """
    try:
        nearest = float(value)
    except OverflowError:
        raise InputError("the numbers of an assertion are too large together.") from None
    return nearest if Fraction(nearest) <= value else math.nextafter(nearest, -math.inf)


def above(value: Fraction) -> float:
    """The least float64 number that is at least this one; errors as ``below``."""
    return 0.0 - below(-value)


def nearest(value: Fraction) -> float:
    """The nearest float64 number, infinite beyond their range."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def added(a: FloatArray, b: float) -> tuple[FloatArray, FloatArray]:
    """a + b rounded down, and rounded up, each to the next float64 number (error-free sum of Knuth)."""
    with np.errstate(all="ignore"):
        # What overflows is found when a region is made of it.
        total = a + b
        part = total - a
        rest = (a - (total - part)) + (b - part)
        down = np.where(rest >= 0, total, np.nextafter(total, -np.inf))
        return down, np.where(rest <= 0, total, np.nextafter(total, np.inf))


def whole(*arrays: FloatArray) -> list[list[int]]:
    """The arrays' numbers times one common power of two, as integers."""
    ratios = [[value.as_integer_ratio() for value in array.tolist()] for array in arrays]
    common = max((bottom for array in ratios for _, bottom in array), default=1)
    return [[top * (common // bottom) for top, bottom in array] for array in ratios]
