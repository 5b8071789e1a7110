"""Questions about float32 as questions about real numbers, and inputs at which float32 rounds nothing."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from certificates.failure import ProofFailure
from certificates.float32 import lowered, output_errors, row_errors
from certificates.robustness import preactivation_bounds
from formulations import InputError
from formulations._validation import FloatArray
from formulations.network import ReluNetwork
from formulations.robustness import InputRegion, UnsafeCase

Bounds = tuple[FloatArray, FloatArray]
LEAST, DIGITS = 2.0**-126, 2.0**24


def in_float32(
    network: ReluNetwork,
    cases: Sequence[UnsafeCase],
    bounds: Callable[[InputRegion], tuple[FloatArray, FloatArray]] | None = None,
) -> list[UnsafeCase]:
    """The cases of real numbers that are proved in place of these, with E taken off.

    ``bounds`` gives those of the pre-activations, where they are known.

    Raises:
        InputError: float32 does not evaluate the network, or might overflow.
    """
    known: dict[int, FloatArray] = {}
    found = []
    for case in cases:
        key, region = id(case.region), case.region
        try:
            if key not in known:
                highest = (preactivation_bounds(network, region) if bounds is None else bounds(region))[1]
                known[key] = output_errors(network, region, highest)
            errors = row_errors(case, known[key])
            found.append(replace(lowered(case, errors), stated=case.rows, rounding=errors))
        except ProofFailure as failure:
            raise InputError(f"{failure}; leave --semantics float32 out, or give float32 weights.") from None
    return found


def evaluated_exactly(network: ReluNetwork, x: FloatArray) -> NDArray[np.bool_]:
    """Which outputs (c,) every float32 evaluation at x computes without any rounding.

    The terms of a sum are whole multiples of a power of two, their grid. Where the sum of their sizes is at most 2^24
    times the grid, so is every partial sum, and float32 holds all such multiples. No operand, product or sum that is
    not 0 is below 2^-126, so nothing is flushed.
    Weights and x (d,) are float32 numbers.
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
