"""Nonnegative combinations, solved exactly.

A certificate never stores coefficients that would have to satisfy an equation up to rounding. It stores a support, and
the coefficients are the unique rational solution over the float64 rows (python-flint).
"""

from collections.abc import Sequence
from fractions import Fraction

from flint import fmpq, fmpq_mat

from certificates.arithmetic.rational import to_fmpq
from certificates.failure import ProofFailure, require
from formulations._validation import FloatArray


def nonnegative_combination(rows: FloatArray, target: Sequence[float], what: str) -> list[Fraction]:
    """The unique c with ``Σ c_j rows_j = target``, checked to be nonnegative.

    Raises:
        ProofFailure: no solution, more than one, or a negative coefficient; ``what`` names the inequality.
    """
    count, dimension = rows.shape
    require(count > 0, f"{what} has an empty support")
    require(count <= dimension + 1, f"{what} has more supporting rows than can be independent")
    augmented = [[to_fmpq(x) for x in column] for column in rows.T.tolist()]
    table = fmpq_mat(
        dimension, count + 1, [x for row, b in zip(augmented, target, strict=True) for x in [*row, to_fmpq(b)]]
    )
    reduced, rank = table.rref()
    pivots = [next((j for j in range(count + 1) if reduced[i, j] != 0), None) for i in range(rank)]
    require(pivots == list(range(count)), f"{what}: its coefficients are not determined by its support")
    solution = [reduced[i, count] for i in range(count)]
    for value in solution:
        if value < 0:
            raise ProofFailure(f"{what} has the coefficient {_float(value):.3e}, which is negative")
    return [Fraction(int(value.p), int(value.q)) for value in solution]


def positive_dependence(rows: FloatArray, what: str) -> None:
    """Check that some positive combination of all the rows vanishes: a circuit whose signs all agree.

    Raises:
        ProofFailure: the rows have no such dependence, or more than one.
    """
    count, dimension = rows.shape
    require(2 <= count <= dimension + 1, f"{what} has a support of {count} rows")
    table = fmpq_mat(dimension, count, [to_fmpq(x) for x in rows.T.ravel().tolist()])
    reduced, rank = table.rref()
    require(rank == count - 1, f"{what}: its rows are not a minimal dependent set")
    # With the last coefficient 1 the others are minus the last column; all must be positive.
    pivots = [next(j for j in range(count) if reduced[i, j] != 0) for i in range(rank)]
    require(pivots == list(range(count - 1)), f"{what}: its last row does not depend on the others")
    for i in range(rank):
        require(reduced[i, count - 1] < 0, f"{what}: the dependence has coefficients of both signs")


def _float(value: fmpq) -> float:
    try:
        return int(value.p) / int(value.q)
    except OverflowError:
        return float("-inf")
