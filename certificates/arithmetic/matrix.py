"""What the formulas of a proof need from an arithmetic. Three exist: rational (exact), ball, and floating point."""

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Any, ClassVar, Protocol, Self, TypeVar

import numpy as np

from certificates.failure import NO_DEADLINE, Deadline
from formulations._validation import FloatArray, IntArray

Entries = Mapping[tuple[int, int], Fraction]
"""Rational entries of a sparse matrix by position."""


class Arithmetic(StrEnum):
    """How a proof is evaluated. AUTO takes the strongest that fits a time budget."""

    AUTO = "auto"
    EXACT = "exact"
    BALL = "ball"
    FLOAT = "float"


@dataclass(frozen=True)
class PsdProof:
    """Outcome of a test for positive semidefiniteness.

    Attributes:
        proved: every symmetric matrix that the entries enclose is PSD.
        margin: smallest pivot relative to the diagonal, how far the test was from failing; 0 if it failed.
        reason: empty when proved, else the first obstacle.
    """

    proved: bool
    margin: float
    reason: str

    @classmethod
    def failure(cls, reason: str) -> "PsdProof":
        """A test that proved nothing."""
        return cls(proved=False, margin=0.0, reason=reason)


class Matrix(Protocol):
    """A real matrix, or an enclosure of one; every operation encloses the exact result.

    Long operations look at the ``deadline`` of the class of their left operand, see ``timed``.
    """

    arithmetic: ClassVar[Arithmetic]
    deadline: ClassVar[Deadline]

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""

    @property
    def T(self) -> Self:
        """The transpose."""

    @classmethod
    def exact(cls, value: FloatArray) -> Self:
        """A matrix of float64 numbers, taken as they are."""

    @classmethod
    def from_rationals(cls, entries: Entries, shape: tuple[int, int]) -> Self:
        """A matrix of rational numbers, zero where nothing is listed."""

    @classmethod
    def block(cls, blocks: list[list[Self]]) -> Self:
        """Assemble a matrix from blocks."""

    @classmethod
    def sparse_product(cls, entries: Entries, height: int, factor: Self) -> Self:
        """The matrix of ``height`` rows with these rational entries, zero where nothing is listed, times ``factor``."""

    def scale_rows(self, factors: FloatArray) -> Self:
        """diag(factors) times this matrix, for finite float64 numbers."""

    def take(self, rows: IntArray, columns: IntArray) -> Self:
        """The submatrix at these positions."""

    def __add__(self, other: Self) -> Self: ...

    def __sub__(self, other: Self) -> Self: ...

    def __neg__(self) -> Self: ...

    def __matmul__(self, other: Self) -> Self: ...

    def prove_psd(self, deadline: Deadline = NO_DEADLINE) -> PsdProof:
        """Prove that the matrix is positive semidefinite; the lower triangle is read."""


M = TypeVar("M", bound=Matrix)


def timed(matrix: type[M], deadline: Deadline) -> type[M]:
    """The same arithmetic with a moment at which its operations give up, by ``ProofFailure``."""
    return type(matrix.__name__, (matrix,), {"deadline": deadline})


def product_by_rows(left: Any, right: Any, deadline: Deadline) -> Any:
    """The product of two matrices of python-flint, a block of rows after the other, each of which takes a moment.

    How long a block takes depends on the length of the numbers, so the blocks grow while that is short.
    """
    height, inner, width = left.nrows(), left.ncols(), right.ncols()
    if height * inner * width <= _AT_ONCE:
        return left * right
    entries: list[Any] = []
    first, rows = 0, 1
    while first < height:
        deadline.check()
        start, last = time.perf_counter(), min(first + rows, height)
        block = type(left)(last - first, inner, [left[i, j] for i in range(first, last) for j in range(inner)]) * right
        entries.extend(block[i, j] for i in range(last - first) for j in range(width))
        first, rows = last, 2 * rows if time.perf_counter() - start < _BLOCK_SECONDS else max(1, rows // 2)
    return type(left)(height, width, entries)


def nonzero_entries(value: FloatArray, deadline: Deadline) -> Iterator[tuple[tuple[int, int], float]]:
    """(position, entry) of the entries that are not zero, with a look at the clock for every row."""
    for i, row in enumerate(value):
        deadline.check()
        columns = np.flatnonzero(row)
        for j, entry in zip(columns.tolist(), row[columns].tolist(), strict=True):
            yield (i, j), entry


_AT_ONCE = 20_000
_BLOCK_SECONDS = 0.05


def unit_diagonal_scaling(diagonal: FloatArray) -> FloatArray:
    """Powers of two d_i with d_i² · diagonal_i in [1/2, 2)."""
    exponent = np.frexp(diagonal)[1] - 1
    powers: FloatArray = np.ldexp(1.0, -((exponent + 1) // 2))
    return powers
