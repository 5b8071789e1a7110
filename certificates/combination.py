"""Nonnegative combinations, solved exactly.

A certificate never stores coefficients that would have to satisfy an equation up to rounding. It stores a support, and
the coefficients are the unique rational solution over the float64 rows.
"""

from collections.abc import Sequence
from fractions import Fraction

import numpy as np

from certificates.arithmetic.exact import RationalMatrix
from certificates.failure import NO_DEADLINE, Deadline, require
from certificates.resources import require_memory
from formulations.arrays import FloatArray

_RATE = 1e11
"""Bit operations of an elimination in a second, about. It cannot be interrupted, so its time is estimated first."""


def nonnegative_combination(
    rows: FloatArray, target: Sequence[float], what: str, deadline: Deadline = NO_DEADLINE
) -> list[Fraction]:
    """The unique c with ``Σ c_j rows_j = target``, checked to be nonnegative; ``what`` names the inequality."""
    deadline.check()
    count, dimension = rows.shape
    require(count > 0, f"{what} has an empty support")
    require(count <= dimension, f"{what} has more supporting rows than can be independent")
    table = np.vstack([rows, target]).T
    # Elimination makes minors of the table: as long as their order times its entries, which are whole numbers there.
    exponents = np.frexp(table[table != 0])[1]
    length = count * (53.0 + np.ptp(exponents) if exponents.size else 0.0)
    require_memory(dimension * (count + 1) * (64 + length / 8), "solving for a support")
    late = dimension * count**2 * length > _RATE * deadline.left
    require(not late, f"{what}: solving for its coefficients takes longer than the time limit allows")
    reduced, rank = RationalMatrix.exact(table).flint.rref()
    unique = rank == count and all(reduced[i, i] == 1 for i in range(count))
    require(unique, f"{what}: its coefficients are not determined by its support")
    solution = [Fraction(int(reduced[i, count].p), int(reduced[i, count].q)) for i in range(count)]
    least = max(min(Fraction(0), *solution), Fraction(-1e308))
    require(least >= 0, f"{what} has the coefficient {float(least):.3e}, which is negative")
    return solution
