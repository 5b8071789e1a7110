"""Properties of the network in a file, as stricter ones of the network that float64 made of it.

Where weights are products or sums of numbers in a file, float64 may not hold them, and the network that is proved is
another one by as little as ``ReluNetwork.off`` says. On a box that moves output k by at most E_k; so E is taken off
what a proof has to reach, and added to what a counterexample has to.
"""

import math
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction

import numpy as np

from certificates.arithmetic.floating import inflate
from certificates.float32 import lowered, row_errors
from certificates.robustness import preactivation_bounds
from certnet.runtime.wording import up
from formulations._validation import FloatArray
from formulations.network import ReluNetwork
from formulations.robustness import InputRegion, UnsafeCase

CHARGED = (
    "The network's weights are products and sums of the file's numbers, which float64 rounds. That changes its outputs "
    "by at most {most} where the property looks, which is charged: answers are about the file's own numbers, while a "
    "certificate holds the rounded weights and the stricter rows."
)


def charged(network: ReluNetwork, cases: Sequence[UnsafeCase]) -> tuple[ReluNetwork, tuple[UnsafeCase, ...]]:
    """The same network with a note, and cases of it that decide those of the exact one.

    Where it is not known what rounding changed, or it overflows, both stay as they are, and the note says so.
    """
    if network.off is None:
        return network, tuple(cases)
    regions = {id(case.region): case.region for case in cases}
    known = {key: _errors(network, network.off, region) for key, region in regions.items()}
    most = max((float(errors.max()) for errors in known.values()), default=0.0)
    if not most < math.inf:
        return network, tuple(cases)
    found = []
    for case in cases:
        errors = known[id(case.region)]
        charges = [sum(abs(weight) * Fraction(errors[j]) for j, weight in row.weights) for row in case.rows]
        rows = tuple(
            replace(row, constant=row.constant + charge) for row, charge in zip(case.rows, charges, strict=True)
        )
        found.append(replace(lowered(case, row_errors(case, errors)), stated=rows))
    return network.told(CHARGED.format(most=up(most, 3)), network.ending, network.off), tuple(found)


def _errors(network: ReluNetwork, off: tuple[float, float, float, float], region: InputRegion) -> FloatArray:
    """(c,) E for all inputs of the region's box."""
    own, bias, last, shift = off
    sizes = np.maximum(np.abs(region.lower), np.abs(region.upper))
    with np.errstate(all="ignore"):
        # What overflows is infinite, or no number, and then nothing is decided.
        active = np.maximum(preactivation_bounds(network, region)[1], 0.0)
        moved = own * sizes.sum() + bias
        total = np.abs(network.output).sum(axis=1) * moved + last * (active + moved).sum() + shift
        return inflate(np.asarray(total), 2 * (network.width + network.inputs) + 8)
