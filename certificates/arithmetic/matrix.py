"""What the formulas of a proof need from an arithmetic. Three exist: rational (exact), ball, and floating point."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import ClassVar, Protocol, Self, TypeVar

from certificates.failure import Deadline
from formulations.arrays import FloatArray, IntArray

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

    def times(self, factors: FloatArray) -> Self:
        """Each entry times a finite float64 number; a column of factors scales rows, a row of them columns."""

    def take(self, rows: IntArray, columns: IntArray) -> Self:
        """The submatrix at these positions."""

    def __add__(self, other: Self) -> Self: ...

    def __sub__(self, other: Self) -> Self: ...

    def __neg__(self) -> Self: ...

    def __matmul__(self, other: Self) -> Self: ...

    def prove_psd(self) -> PsdProof:
        """Prove that the matrix is positive semidefinite; the lower triangle is read."""


M = TypeVar("M", bound=Matrix)


def timed(matrix: type[M], deadline: Deadline) -> type[M]:
    """The same arithmetic with a moment at which its operations give up, by ``ProofFailure``."""
    return type(matrix.__name__, (matrix,), {"deadline": deadline})
