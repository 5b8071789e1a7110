"""What the formulas of a proof need from an arithmetic. Three exist: rational (exact), ball, and floating point."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from fractions import Fraction
from typing import ClassVar, Protocol, Self, TypeVar

import numpy as np

from certificates.failure import NO_DEADLINE, Deadline
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


class ArrayMatrix:
    """What the rounded arithmetics share: a frozen dataclass of arrays of one shape, the last of them the radii."""

    arithmetic: ClassVar[Arithmetic]
    deadline: ClassVar[Deadline] = NO_DEADLINE

    @staticmethod
    def number(value: Fraction) -> tuple[float, ...]:
        """The entries of a rational number, one for each array."""
        raise NotImplementedError

    @classmethod
    def exact(cls, value: FloatArray) -> Self:
        return cls(value, *(np.zeros_like(value) for _ in fields(cls)[1:]))  # type: ignore[arg-type, call-arg]

    @classmethod
    def from_rationals(cls, entries: Entries, shape: tuple[int, int]) -> Self:
        zero = cls.exact(np.zeros(shape))
        for position, value in entries.items():
            for array, number in zip(vars(zero).values(), cls.number(value), strict=True):
                array[position] = number
        return zero

    @classmethod
    def sparse_product(cls, entries: Entries, height: int, factor: Self) -> Self:
        values = cls.from_rationals({(i, 0): value for i, value in enumerate(entries.values())}, (len(entries), 1))
        rows, columns = np.array([*entries], dtype=np.int64).reshape(-1, 2).T
        every, order = np.arange(factor.shape[1]), np.argsort(rows, kind="stable")
        terms, total = factor.take(columns, every).by(values), cls.exact(np.zeros((height, factor.shape[1])))
        # The first entry of each row, then the second of each that has two, and so on.
        turn = np.empty(len(rows), dtype=np.int64)
        turn[order] = np.arange(len(rows)) - np.searchsorted(rows[order], rows[order])
        order = np.argsort(turn, kind="stable")
        for chosen in np.split(order, np.flatnonzero(np.diff(turn[order])) + 1):
            cls.deadline.check()
            added = total.take(rows[chosen], every) + terms.take(chosen, every)
            for old, new in zip(vars(total).values(), vars(added).values(), strict=True):
                old[rows[chosen]] = new
        return total

    @classmethod
    def block(cls, blocks: list[list[Self]]) -> Self:
        return cls(*(np.block([[vars(b)[part.name] for b in row] for row in blocks]) for part in fields(cls)))  # type: ignore[arg-type]

    def each(self, change: Callable[[FloatArray], FloatArray]) -> Self:
        """With each array changed."""
        return type(self)(*map(change, vars(self).values()))

    @property
    def shape(self) -> tuple[int, int]:
        height, width = next(iter(vars(self).values())).shape
        return height, width

    @property
    def T(self) -> Self:
        return self.each(np.transpose)

    @property
    def finite(self) -> bool:
        """True where no array holds NaN or an infinity."""
        return all(np.isfinite(array).all() for array in vars(self).values())

    @property
    def symmetric(self) -> Self:
        """The symmetric matrix of this lower triangle."""
        return self.each(lambda array: np.tril(array) + np.tril(array, -1).T)

    def take(self, rows: IntArray, columns: IntArray) -> Self:
        return self.each(lambda array: array[np.ix_(rows, columns)])

    def by(self, other: Self) -> Self:
        """The product entry by entry."""
        raise NotImplementedError

    def times(self, factors: FloatArray) -> Self:
        return self.by(self.exact(factors))

    def __add__(self, other: Self) -> Self:
        raise NotImplementedError

    def __neg__(self) -> Self:
        raise NotImplementedError

    def __sub__(self, other: Self) -> Self:
        return self + -other


def timed(matrix: type[M], deadline: Deadline) -> type[M]:
    """The same arithmetic with a moment at which its operations give up, by ``ProofFailure``."""
    return type(matrix.__name__, (matrix,), {"deadline": deadline})


def unit_diagonal_scaling(diagonal: FloatArray) -> FloatArray:
    """Powers of two d_i with d_i² · diagonal_i in [1/2, 2)."""
    exponent = np.frexp(diagonal)[1] - 1
    powers: FloatArray = np.ldexp(1.0, -((exponent + 1) // 2))
    return powers
