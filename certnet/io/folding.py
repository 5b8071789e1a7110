"""Affine maps put into their neighbours, and whether that rounds."""

import numpy as np

from formulations._validation import FloatArray


def folded(U: FloatArray, bias: FloatArray, gain: FloatArray, shift: FloatArray) -> tuple[FloatArray, FloatArray, bool]:
    """(U, b, whether they may be rounded) of the same function of x where U and b take gain·x + shift."""
    with np.errstate(all="ignore"):
        # What overflows is found when it is used.
        rounded = bool(shift.any()) or not exact_product(gain[:, None], U)
        return gain[:, None] * U, bias + shift @ U, rounded


def powers_of_two(values: FloatArray) -> bool:
    """Whether all are powers of two, up to their signs, so that their reciprocals are exact."""
    return bool((np.abs(np.frexp(values)[0]) == 0.5).all())


def exact_product(a: FloatArray, b: FloatArray) -> bool:
    """Whether a·b is exact in float64 because at each place one factor is 0 or a power of two."""
    with np.errstate(all="ignore"):
        product = a * b
        plain = [(np.abs(np.frexp(x)[0]) == 0.5) & (product / x == y) for x, y in ((a, b), (b, a))]
    return bool(((a == 0) | (b == 0) | plain[0] | plain[1]).all())
