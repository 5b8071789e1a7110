"""Inputs at which float32 rounds nothing, in whatever order it adds."""

import numpy as np
from numpy.typing import NDArray

from formulations._validation import FloatArray
from formulations.network import ReluNetwork

LEAST, DIGITS = 2.0**-126, 2.0**24


def evaluated_exactly(network: ReluNetwork, x: FloatArray) -> NDArray[np.bool_]:
    """Which outputs (c,) every float32 evaluation at x computes without any rounding.

    The terms of a sum are whole multiples of a power of two, their grid. Where the sum of their sizes is at most 2^24
    times the grid, so is every partial sum, and float32 holds all such multiples. No operand, product or sum that is
    not 0 is below 2^-126, so nothing is flushed.

    Args:
        network: of float32 weights.
        x: (d,) float32 numbers.
    """
    hidden, exact = _exactly(network.hidden, network.hidden_bias, x, np.ones(len(x), dtype=bool))
    return _exactly(network.output, network.output_bias, np.maximum(hidden, 0.0), exact)[1]


def _exactly(
    weights: FloatArray, bias: FloatArray, values: FloatArray, known: NDArray[np.bool_]
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Sums ``weights · values + bias``, and which are exact where these values are float32 numbers and known."""
    # A product of two float32 numbers is a float64 number, and so is a sum on a grid that float32 holds.
    terms = np.hstack([weights * values, bias[:, None]])
    used = weights != 0
    normal = ((np.abs(values) >= LEAST) | (values == 0)) & known
    fits = ((~used | normal) & (~used | (np.abs(weights) >= LEAST))).all(axis=1)
    mantissa, exponent = np.frexp(terms)
    whole = (mantissa * 2.0**53).astype(np.int64)
    grid = np.where(terms != 0, np.ldexp((whole & -whole).astype(np.float64), exponent - 53), np.inf).min(axis=1)
    sizes = np.abs(terms).sum(axis=1) * (1.0 + 2.0**-20)
    fits &= (grid >= LEAST) & ((sizes <= DIGITS * grid) | (sizes == 0)) & (sizes < np.finfo(np.float32).max)
    return terms.sum(axis=1), fits
