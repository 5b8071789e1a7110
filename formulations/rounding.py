"""Numbers that are no float64, and the float64 numbers on either side of them."""

import math
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from formulations._validation import FloatArray, as_array, frozen
from formulations.errors import InputError


def below(value: Fraction) -> float:
    """The largest float64 number that is at most this one; InputError beyond the range of float64."""
    try:
        nearest = float(value)
    except OverflowError:
        raise InputError("a number is beyond the range of float64, or several are too large together.") from None
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


def as_double(array: NDArray[Any]) -> FloatArray | None:
    """The same numbers in a new float64 array; None if float64 cannot hold some of them, such as 2^53 + 1."""
    with np.errstate(all="ignore"):
        converted = np.array(array, dtype=np.float64, order="C")
        exact = array.dtype == converted.dtype or array.dtype.itemsize < converted.dtype.itemsize
        return converted if exact or ((converted.astype(array.dtype) == array) | (array != array)).all() else None


def exact_array(name: str, value: ArrayLike, dimensions: int) -> FloatArray:
    """The same finite numbers in a read-only float64 array with so many dimensions; InputError says what is wrong."""
    array = as_array(name, value)
    if array.ndim != dimensions:
        raise InputError(
            f"{name} must be an array of numbers with {dimensions} dimensions, not of shape {array.shape}."
        )
    numbers = as_double(array)
    if numbers is None:
        raise InputError(f"{name} has a number that float64 cannot hold exactly; round it first.")
    if not np.isfinite(numbers).all():
        raise InputError(f"{name} has an entry that is not a finite number; remove it first.")
    frozen(numbers)
    return numbers


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
