"""Whether a matrix of any arithmetic holds the numbers it should, in rational arithmetic."""

from fractions import Fraction

import numpy as np

from certificates.arithmetic import BallMatrix, Enclosure, Matrix, RationalMatrix

Table = list[list[Fraction]]


def fractions(values: np.ndarray) -> Table:
    return [[Fraction(x) for x in row] for row in values.tolist()]


def exact_product(A: np.ndarray, B: np.ndarray) -> Table:
    columns = fractions(B.T)
    return [[sum((a * b for a, b in zip(row, c, strict=True)), Fraction(0)) for c in columns] for row in fractions(A)]


def encloses(matrix: Matrix, exact: Table) -> bool:
    if isinstance(matrix, RationalMatrix):
        return matrix.lower.tolist() == exact
    if isinstance(matrix, BallMatrix):
        high, low, rad = map(fractions, (matrix.high, matrix.low, matrix.rad))
        middle = [[a + b for a, b in zip(*rows, strict=True)] for rows in zip(high, low, strict=True)]
    else:
        assert isinstance(matrix, Enclosure)
        middle, rad = fractions(matrix.mid), fractions(matrix.rad)
    return all(abs(m - x) <= r for rows in zip(middle, exact, rad, strict=True) for m, x, r in zip(*rows, strict=True))
