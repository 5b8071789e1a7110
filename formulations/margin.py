"""The margin of a case over the lifted cone of the neurons whose signs its region leaves open.

Inequalities are, in this order: φ, t, the sides of the box, and triangles.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from formulations._validation import FloatArray, IntArray
from formulations.network import ReluNetwork
from formulations.robustness import UnsafeCase
from formulations.signs import ACTIVE, FREE, INACTIVE

FIXED_INPUT = 1e7  # Weight of ``−(x_j − lower_j t)²`` for inputs that do not vary, in units of the form.


@dataclass(frozen=True, eq=False)
class MarginProblem:
    """A case after presolve: stable neurons are gone, N unstable ones are left.

    Attributes:
        case: the case.
        stable: (m,) ACTIVE or INACTIVE for neurons whose sign does not change on the region, else FREE.
        kept: (N,) the unstable neurons.
        generators: (N, d+1) rows [U b] of these.
        bounds: (N, 2) l < 0 < u with l ≤ Ux + b ≤ u on the region.
        weights: (r, N) H V at the unstable neurons.
        linear: (r, d+1) what the active neurons, biases and h contribute, over z = (x, t).
    """

    case: UnsafeCase
    stable: IntArray
    kept: IntArray
    generators: FloatArray
    bounds: FloatArray
    weights: FloatArray
    linear: FloatArray

    @property
    def neurons(self) -> int:
        """N."""
        return len(self.kept)

    @cached_property
    def middle(self) -> FloatArray:
        """(d,) of the box."""
        return 0.5 * self.case.region.lower + 0.5 * self.case.region.upper

    @cached_property
    def width(self) -> FloatArray:
        """(d,) half of the box's sides, 0 for inputs that do not vary."""
        return 0.5 * (self.case.region.upper - self.case.region.lower)

    @cached_property
    def size(self) -> FloatArray:
        """(N,) largest absolute value of each pre-activation."""
        return np.maximum(-self.bounds[:, 0], self.bounds[:, 1])


def stable_signs(lower: FloatArray, upper: FloatArray) -> IntArray:
    """ACTIVE or INACTIVE where the bounds of a pre-activation have one sign, else FREE."""
    return np.where(lower >= 0, ACTIVE, np.where(upper <= 0, INACTIVE, FREE)).astype(np.int64)


def reduce_cases(
    network: ReluNetwork, cases: Sequence[UnsafeCase], lower: FloatArray, upper: FloatArray
) -> list[MarginProblem]:
    """Take out the neurons whose sign the bounds ``lower``, ``upper`` (m,) fix, for cases of one region."""
    stable = stable_signs(lower, upper)
    kept, active = np.flatnonzero(stable == FREE), stable == ACTIVE
    generators, bounds = network.generators[kept], np.stack([lower[kept], upper[kept]], axis=1)
    rows = network.generators[active]
    problems = []
    for case in cases:
        weights = case.H @ network.output
        linear = weights[:, active] @ rows
        linear[:, -1] += case.H @ network.output_bias + case.h
        problems.append(MarginProblem(case, stable, kept, generators, bounds, weights[:, kept], linear))
    return problems
