"""What float32 may change of a network's outputs, whatever evaluates them.

An evaluation takes a vector x of float32 numbers. It forms each pre-activation as the sum of the products U_ij x_j and
of b_i, rectifies it, and forms each output likewise. Terms are added in any order, with or without fused multiply-add;
terms that are 0 may be left out. Every operation is rounded to nearest, to float32 or to a wider format on the way.
What is smaller than 2^-126 may be flushed to zero, where it is an operand and where it is a result.

Of k terms each takes part in k roundings at most. So with u = 2^-24 and γ_k = ku/(1 − ku) the computed sum of terms
w_j s_j is within

    γ_k Σ|w_j s_j| + (1 + γ_k) 2^-126 (Σ|w_j| + Σ|s_j| + 4k)

of the exact one: what underflows loses at most 2^-126 in an operation, of which there are 2k, and w_j or s_j in a
product, or the bias, where these are flushed; what is lost is rounded along with the rest. No partial sum exceeds the
exact sum of sizes and this, so where both stay below 2^126 nothing overflows. An error in s_j is passed on with |w_j|,
and rectifying is 1-Lipschitz; a neuron that is inactive in every evaluation passes nothing on.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from certificates.arithmetic.floating import inflate
from certificates.failure import require
from formulations.arrays import FloatArray

if TYPE_CHECKING:
    from formulations.network import ReluNetwork
    from formulations.robustness import InputRegion, UnsafeCase

UNIT, LEAST, LARGEST = 2.0**-24, 2.0**-126, 2.0**126
MOST_TERMS = 1 << 20
"""Of a sum: so that γ_k ≤ ku(1 + 2ku), which is computed without rounding."""


def output_errors(network: "ReluNetwork", region: "InputRegion", highest: FloatArray) -> FloatArray:
    """(c,) bounds of |ŷ − f(x)| for every float32 vector x of the region's box and every evaluation ŷ.

    Args:
        network, region: their arrays fit together and are finite.
        highest: (m,) upper bounds of the pre-activations on the region.
    """
    arrays = (network.hidden, network.hidden_bias, network.output, network.output_bias)
    single = all((array.astype(np.float32) == array).all() for array in arrays)
    require(single, "a weight of the network is no float32 number, so float32 does not evaluate it")
    size = np.maximum(np.abs(region.lower), np.abs(region.upper))
    lost = _layer_errors(network.hidden, network.hidden_bias, size, np.zeros(size.shape))
    dead = np.nextafter(highest + lost, np.inf) <= 0
    lost = np.where(dead, 0.0, lost)
    size = np.where(dead, 0.0, np.nextafter(np.maximum(highest, 0.0) + lost, np.inf))
    return _layer_errors(network.output, network.output_bias, size, lost)


def _layer_errors(weights: FloatArray, bias: FloatArray, size: FloatArray, error: FloatArray) -> FloatArray:
    """Error bounds of ``weights · s + bias`` for all s whose entries are at most ``size`` and off by ``error``."""
    W, terms = np.abs(weights), np.count_nonzero(weights, axis=1) + 1
    require((terms <= MOST_TERMS).all(), f"a neuron has more than {MOST_TERMS} weights")
    gamma, steps = terms * UNIT * (1.0 + 2.0 * terms * UNIT), 2 * len(size) + 16
    total = inflate(W @ size + np.abs(bias), steps)
    lost = gamma * total + (1.0 + gamma) * (LEAST * (W.sum(axis=1) + size.sum() + 4.0 * terms)) + W @ error
    found = inflate(lost, steps)
    require((total + found <= LARGEST).all(), "evaluated in float32, the network might overflow on the region")
    return found


def row_errors(case: "UnsafeCase", errors: FloatArray) -> FloatArray:
    """(r,) bounds E of what such errors (c,) of outputs change of ``H y + h``.

    They are a little larger than that, by more than rounding H to float64 may change of the rows of some file.
    """
    return inflate(np.abs(case.H) @ errors, 2 * len(errors) + 8) * (1.0 + 2.0**-40) + 2.0**-500


def lowered(case: "UnsafeCase", errors: FloatArray) -> "UnsafeCase":
    """The case with E taken off h. That its rows are not all ≤ 0 proves that those of the case are not in float32."""
    h = np.nextafter(case.h - errors, -np.inf)
    require(np.isfinite(h).all(), "a constant of an output row overflows")
    return replace(case, h=h)
