"""Checks on arrays and numbers that come from outside."""

import math
import numbers
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from formulations.arrays import FloatArray as FloatArray
from formulations.arrays import IntArray as IntArray
from formulations.errors import InputError


def frozen(array: NDArray[np.generic]) -> None:
    """Make an array that is shared between results read-only."""
    array.setflags(write=False)


def as_array(name: str, value: Any) -> NDArray[Any]:
    """Return ``value`` as an array of real numbers, or say in one sentence why it is none.

    Complex, text and object arrays are refused rather than converted silently.
    """
    try:
        array = np.asarray(value)
    except (ValueError, TypeError):
        raise InputError(f"{name} is no array: its rows have different lengths or types.") from None
    if array.dtype.kind not in "biuf":
        raise InputError(f"{name} must hold real numbers, but its type is {array.dtype}; convert it to float64.")
    return array


def as_matrix(name: str, value: ArrayLike, *, rows: int | None = None, columns: int | None = None) -> FloatArray:
    """Return ``value`` as a finite, C-ordered float64 matrix, or say in one sentence why it is none.

    A vector becomes a column.
    """
    array = as_array(name, value)
    if array.ndim == 1:
        array = array[:, None]
    if array.ndim != 2:
        raise InputError(f"{name} must be a matrix, but it has {array.ndim} dimensions.")
    if array.shape[0] == 0 or array.shape[1] == 0:
        raise InputError(f"{name} is empty (shape {array.shape}); at least one row and one column are needed.")
    if rows is not None and array.shape[0] != rows:
        raise InputError(f"{name} has {array.shape[0]} rows where {rows} are expected.")
    if columns is not None and array.shape[1] != columns:
        found = "is a vector" if np.ndim(value) == 1 else f"has {array.shape[1]} columns"
        raise InputError(f"{name} {found} where {columns} columns are expected.")
    matrix = np.array(array, dtype=np.float64, order="C")
    finite = np.isfinite(matrix)
    if not finite.all():
        row, column = (int(index) for index in np.argwhere(~finite)[0])
        raise InputError(
            f"{name} has {matrix[row, column]} in row {row + 1}, column {column + 1}; "
            "remove or impute such entries first."
        )
    return matrix


def as_positive(name: str, value: float) -> float:
    """Return ``value`` as a positive finite float."""
    number = real_number(value)
    if number is None:
        raise InputError(f"{name} must be a positive number, not {shown(value)}.")
    if not (number > 0 and math.isfinite(number)):
        raise InputError(f"{name} must be a positive finite number, not {number}.")
    return number


def shown(value: Any) -> str:
    """A value in a sentence: short ones as they are, others by their type."""
    if value is None or isinstance(value, str | numbers.Number | np.generic):
        text = repr(value)
        return text if len(text) <= 40 else f"{text[:39]}…"
    return f"an object of type {type(value).__name__}"


def real_number(value: Any) -> float | None:
    """A real number as a float, None for anything else; True and "1" are none."""
    if isinstance(value, bool | np.bool_) or not isinstance(value, numbers.Real):
        return None
    try:
        return float(value)
    except OverflowError:
        return math.inf
