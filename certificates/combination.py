"""Nonnegative combinations, solved exactly.

A certificate never stores coefficients that would have to satisfy an equation up to rounding. It stores a support, and
the coefficients are the unique rational solution over the float64 rows, found by elimination without fractions.
"""

from collections.abc import Sequence
from fractions import Fraction

from flint import fmpz, fmpz_mat

from certificates.failure import NO_DEADLINE, Deadline, require
from certificates.resources import require_memory
from formulations.arrays import FloatArray

_RATE = 1e11
"""Bit operations of an elimination in a second, about. It cannot be interrupted, so its time is estimated first."""


def nonnegative_combination(
    rows: FloatArray, target: Sequence[float], what: str, deadline: Deadline = NO_DEADLINE
) -> list[Fraction]:
    """The unique c with ``Σ c_j rows_j = target``, checked to be nonnegative.

    Raises:
        ProofFailure: no solution, more than one, or a negative coefficient, or it takes too long; ``what`` names the
            inequality.
    """
    deadline.check()
    count, dimension = rows.shape
    require(count > 0, f"{what} has an empty support")
    require(count <= dimension, f"{what} has more supporting rows than can be independent")
    reason = f"{what}: its coefficients are not determined by its support"
    table = [_integers([*column, b]) for column, b in zip(rows.T.tolist(), target, strict=True)]
    # Elimination makes minors of the table: as long as their order times its entries.
    length = count * max((abs(x).bit_length() for row in table for x in row), default=0)
    require_memory(len(table) * (count + 1) * (64 + length / 8), "solving for a support")
    long = len(table) * count**2 * length > _RATE * deadline.left
    require(not long, f"{what}: solving for its coefficients takes longer than the time limit allows")
    reduced, last, rank = fmpz_mat(table).rref()
    require(rank == count and all(reduced[i, i] == last for i in range(count)), reason)
    require(not any(reduced[i, count] for i in range(count, len(table))), reason)
    solution = [Fraction(int(reduced[i, count]), int(last)) for i in range(count)]
    least = max(min(Fraction(0), *solution), Fraction(-1e308))
    require(least >= 0, f"{what} has the coefficient {float(least):.3e}, which is negative")
    return solution


def _integers(numbers: Sequence[float]) -> list[fmpz]:
    """The numbers times a common power of two."""
    ratios = [number.as_integer_ratio() for number in numbers]
    common = max(denominator for _, denominator in ratios)
    return [fmpz(numerator * (common // denominator)) for numerator, denominator in ratios]
