"""Nonnegative combinations, solved exactly.

A certificate never stores coefficients that would have to satisfy an equation up to rounding. It stores a support, and
the coefficients are the unique rational solution over the float64 rows, found by elimination without fractions, which
looks at the clock.
"""

from collections.abc import Sequence
from fractions import Fraction

from flint import fmpz, fmpz_mat

from certificates.arithmetic.exact import LOOK
from certificates.failure import NO_DEADLINE, Deadline, ProofFailure, require
from certificates.resources import require_memory
from formulations.arrays import FloatArray

_AT_ONCE = 10**10
"""Bit operations of an elimination that takes a tenth of a second, about; longer ones look at the clock."""


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
    if len(table) * count**2 * length <= _AT_ONCE:
        reduced, last, rank = fmpz_mat(table).rref()
        table = reduced.tolist()
        require(rank == count and all(table[i][i] == last for i in range(count)), reason)
    else:
        last = _eliminate(table, count, reason, deadline)
    require(not any(row[count] for row in table[count:]), reason)
    solution = [Fraction(int(row[count]), int(last)) for row in table[:count]]
    least = max(min(Fraction(0), *solution), Fraction(-1e308))
    require(least >= 0, f"{what} has the coefficient {float(least):.3e}, which is negative")
    return solution


def _eliminate(table: list[list[fmpz]], count: int, reason: str, deadline: Deadline) -> fmpz:
    """Eliminate the first columns, in place and without fractions; returns what then stands on the diagonal."""
    previous = fmpz(1)
    for k in range(count):
        found = next((i for i in range(k, len(table)) if table[i][k] != 0), None)
        if found is None:
            raise ProofFailure(reason)
        table[k], table[found] = table[found], table[k]
        pivots, pivot = table[k], table[k][k]
        for row in table[:k] + table[k + 1 :]:
            factor = row[k]
            for j in range(k + 1, count + 1):
                if j % LOOK == 0 or j == count:
                    deadline.check()
                row[j] = (row[j] * pivot - factor * pivots[j]) // previous
        previous = pivot
    return previous


def _integers(numbers: Sequence[float]) -> list[fmpz]:
    """The numbers times a common power of two."""
    ratios = [number.as_integer_ratio() for number in numbers]
    common = max(denominator for _, denominator in ratios)
    return [fmpz(numerator * (common // denominator)) for numerator, denominator in ratios]
