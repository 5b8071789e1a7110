"""What the formulas of a proof need from an arithmetic. Three exist: rational (exact), ball, and floating point."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import fields
from enum import StrEnum
from fractions import Fraction
from typing import Any, ClassVar, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

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


class Matrix(ABC):
    """A real matrix, or an enclosure of one: a frozen dataclass of arrays of one shape. Every operation encloses the
    exact result.

    Long operations look at the ``deadline`` of the class of their left operand, see ``timed``.
    """

    arithmetic: ClassVar[Arithmetic]
    deadline: ClassVar[Deadline] = NO_DEADLINE

    @classmethod
    @abstractmethod
    def exact(cls, value: FloatArray) -> Self:
        """A matrix of float64 numbers, taken as they are."""

    @staticmethod
    @abstractmethod
    def number(value: Fraction) -> tuple[Any, ...]:
        """The entries of a rational number, one for each array."""

    @abstractmethod
    def by(self, other: Self) -> Self:
        """The product entry by entry."""

    @abstractmethod
    def __add__(self, other: Self) -> Self: ...

    @abstractmethod
    def __neg__(self) -> Self: ...

    @abstractmethod
    def __matmul__(self, other: Self) -> Self: ...

    @abstractmethod
    def psd_obstacle(self) -> str | None:
        """None if every symmetric matrix in the enclosure is proved positive semidefinite, else the first obstacle, in
        words; the lower triangle is read."""

    def __sub__(self, other: Self) -> Self:
        return self + -other

    @property
    def arrays(self) -> tuple[NDArray[Any], ...]:
        """The arrays, in the order of the fields."""
        return tuple(vars(self).values())

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        height, width = self.arrays[0].shape
        return height, width

    @property
    def T(self) -> Self:
        """The transpose."""
        return self.each(np.transpose)

    def each(self, change: Callable[[NDArray[Any]], NDArray[Any]]) -> Self:
        """With each array changed."""
        return type(self)(*map(change, self.arrays))

    def take(self, rows: IntArray, columns: IntArray) -> Self:
        """The submatrix at these positions."""
        self.deadline.check()
        return self.each(lambda array: array[np.ix_(rows, columns)])

    def times(self, factors: FloatArray | float) -> Self:
        """Each entry times a finite float64 number; a column of factors scales rows, a row of them columns."""
        return self.by(self.exact(np.atleast_2d(factors)))

    @classmethod
    def from_rationals(cls, entries: Entries, shape: tuple[int, int]) -> Self:
        """A matrix of rational numbers, zero where nothing is listed."""
        matrix = cls.exact(np.zeros(shape))
        for position, value in entries.items():
            cls.deadline.check()
            for array, number in zip(matrix.arrays, cls.number(value), strict=True):
                array[position] = number
        return matrix

    @classmethod
    def block(cls, blocks: list[list[Self]]) -> Self:
        """Assemble a matrix from blocks."""
        cls.deadline.check()
        return cls(*(np.block([[vars(b)[part.name] for b in row] for row in blocks]) for part in fields(cls)))  # type: ignore[arg-type]

    @classmethod
    def diagonal(cls, first: Self, second: Self) -> Self:
        """Two blocks on the diagonal."""
        zero = cls.exact(np.zeros((first.shape[0], second.shape[1])))
        return cls.block([[first, zero], [cls.exact(np.zeros(zero.shape[::-1])), second]])

    @classmethod
    def sparse_product(cls, entries: Entries, height: int, factor: Self) -> Self:
        """The matrix of ``height`` rows with these rational entries, zero where nothing is listed, times ``factor``."""
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
            for old, new in zip(total.arrays, added.arrays, strict=True):
                old[rows[chosen]] = new
        return total


M = TypeVar("M", bound=Matrix)


def timed(matrix: type[M], deadline: Deadline) -> type[M]:
    """The same arithmetic with a moment at which its operations give up, by ``ProofFailure``."""
    return type(matrix.__name__, (matrix,), {"deadline": deadline})
