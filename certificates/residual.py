"""Residuals of a network, enclosed closely where float64 loses digits."""

import numpy as np
from flint import arb, arb_mat, ctx

from certificates.arithmetic import Enclosure
from certificates.arithmetic.ball import PRECISION
from certificates.arithmetic.floating import inflate
from formulations._validation import FloatArray

CLOSE = 1e-13
"""Relative excess of a sum of squares that is let pass."""
LARGEST_WORK = 100_000
"""Products up to which a residual is computed in balls, which takes some hundredths of a second."""


def residual_size(X: FloatArray, Y: FloatArray, U: FloatArray, V: FloatArray) -> FloatArray:
    """Upper bounds (n×c) on |(XU)₊Vᵀ − Y|; +inf where it overflows.

    Where terms cancel, as with one row a million times as long as the others, rounding in float64 can exceed what is
    left. Small residuals are then computed in balls.
    """
    hidden = (Enclosure.exact(X) @ Enclosure.exact(U)).positive_part()
    residual = hidden @ Enclosure.exact(V.T) + Enclosure.exact(-Y)
    size = inflate(np.abs(residual.mid) + residual.rad, 2)
    is_close = np.sum(residual.rad * size) <= CLOSE * np.sum(size * size)
    if not is_close and len(X) * U.shape[1] * (len(U) + len(V)) <= LARGEST_WORK:
        return _in_balls(X, Y, U, V)
    return np.where(np.isfinite(size), size, np.inf)


def _in_balls(X: FloatArray, Y: FloatArray, U: FloatArray, V: FloatArray) -> FloatArray:
    with ctx.workprec(PRECISION):
        zero = arb(0)
        product = arb_mat(*X.shape, X.ravel().tolist()) * arb_mat(*U.shape, U.ravel().tolist())
        hidden = arb_mat(len(X), U.shape[1], [x.max(zero) for row in product.tolist() for x in row])
        fitted = hidden * arb_mat(*V.T.shape, V.T.ravel().tolist())
        residual = fitted - arb_mat(*Y.shape, Y.ravel().tolist())
        upper = [float(x.abs_upper()) for row in residual.tolist() for x in row]
    # The conversion rounds to nearest.
    size: FloatArray = np.nextafter(np.array(upper).reshape(Y.shape), np.inf)
    return size
