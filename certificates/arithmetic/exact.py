"""Matrices of rational numbers (python-flint), which are never rounded."""

from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar

import numpy as np
from flint import fmpq, fmpq_mat, fmpz

from certificates.arithmetic.matrix import Arithmetic, Entries, PsdProof
from certificates.failure import NO_DEADLINE, Deadline
from formulations.arrays import FloatArray, IntArray

LOOK = 16
"""Operations on long integers, or rows of a product, between two looks at the clock."""


def to_fmpq(value: float | Fraction) -> fmpq:
    """A finite number as a rational. float64 numbers are dyadic rationals, so nothing is rounded.

    Raises:
        ValueError, OverflowError: NaN or an infinity.
    """
    return fmpq(*value.as_integer_ratio())


@dataclass(frozen=True, eq=False)
class RationalMatrix:
    """A matrix of rational numbers behind the interface of ``certificates.arithmetic.matrix.Matrix``."""

    value: fmpq_mat
    arithmetic: ClassVar[Arithmetic] = Arithmetic.EXACT
    deadline: ClassVar[Deadline] = NO_DEADLINE

    @property
    def shape(self) -> tuple[int, int]:
        return self.value.nrows(), self.value.ncols()

    @property
    def T(self) -> "RationalMatrix":
        return type(self)(self.value.transpose())

    @classmethod
    def exact(cls, value: FloatArray) -> "RationalMatrix":
        cls.deadline.check()
        positions = zip(*map(np.ndarray.tolist, np.nonzero(value)), strict=True)
        return cls.from_rationals({place: Fraction(float(value[place])) for place in positions}, value.shape)

    @classmethod
    def from_rationals(cls, entries: Entries, shape: tuple[int, int]) -> "RationalMatrix":
        matrix = fmpq_mat(*shape)
        for position, value in entries.items():
            matrix[position] = to_fmpq(value)
        return cls(matrix)

    @classmethod
    def block(cls, blocks: "list[list[RationalMatrix]]") -> "RationalMatrix":
        entries: list[fmpq] = []
        for row in blocks:
            cls.deadline.check()
            for parts in zip(*(block.value.tolist() for block in row), strict=True):
                entries.extend(x for part in parts for x in part)
        height, width = sum(row[0].shape[0] for row in blocks), sum(block.shape[1] for block in blocks[0])
        return cls(fmpq_mat(height, width, entries))

    @classmethod
    def sparse_product(cls, entries: Entries, height: int, factor: "RationalMatrix") -> "RationalMatrix":
        table = factor.value.tolist()
        product = [[fmpq(0)] * factor.shape[1] for _ in range(height)]
        for (i, j), value in entries.items():
            cls.deadline.check()
            scale = to_fmpq(value)
            product[i] = [x + scale * y for x, y in zip(product[i], table[j], strict=True)]
        return cls(fmpq_mat(height, factor.shape[1], [x for row in product for x in row]))

    def times(self, factors: FloatArray) -> "RationalMatrix":
        every = np.broadcast_to(factors, self.shape).ravel().tolist()
        entries = [x if f == 1.0 else x * to_fmpq(f) for x, f in zip(self.value.entries(), every, strict=True)]
        return type(self)(fmpq_mat(*self.shape, entries))

    def take(self, rows: IntArray, columns: IntArray) -> "RationalMatrix":
        self.deadline.check()
        entries = [self.value[i, j] for i in rows.tolist() for j in columns.tolist()]
        return type(self)(fmpq_mat(len(rows), len(columns), entries))

    def __add__(self, other: "RationalMatrix") -> "RationalMatrix":
        return type(self)(self.value + other.value)

    def __sub__(self, other: "RationalMatrix") -> "RationalMatrix":
        return type(self)(self.value - other.value)

    def __neg__(self) -> "RationalMatrix":
        return type(self)(-self.value)

    def __matmul__(self, other: "RationalMatrix") -> "RationalMatrix":
        return type(self)(product_by_rows(self.value, other.value, self.deadline))

    def rows(self) -> list[list[Fraction]]:
        """The entries."""
        self.deadline.check()
        return [[Fraction(int(x.p), int(x.q)) for x in row] for row in self.value.tolist()]

    def prove_psd(self) -> PsdProof:
        """Decide positive semidefiniteness by fraction-free symmetric elimination (Bareiss); never undecided.

        ``pivot / previous`` is the Schur complement.
        """
        n, margin, previous = self.shape[0], 1.0, fmpz(1)
        rows = [row[: i + 1] for i, row in enumerate(self.value.numer_denom()[0].tolist())] if n else []
        diagonal = [int(row[-1]) for row in rows]
        where = "the slack matrix is not positive semidefinite: pivot"
        for k in range(n):
            pivot = rows[k][k]
            if pivot < 0:
                return PsdProof.failure(f"{where} {k + 1} of {n} is negative")
            if pivot == 0:
                if any(rows[i][k] != 0 for i in range(k + 1, n)):
                    return PsdProof.failure(f"{where} {k + 1} of {n} is zero, its column is not")
                margin = 0.0
                continue
            margin = min(margin, int(pivot) / (int(previous) * diagonal[k]))
            for row in rows[k + 1 :]:
                factor = row[k]
                for j in range(k + 1, len(row)):
                    if j % LOOK == 0:
                        self.deadline.check()
                    row[j] = (row[j] * pivot - factor * rows[j][k]) // previous
            previous = pivot
        return PsdProof(proved=True, margin=margin, reason="")


def product_by_rows(left: Any, right: Any, deadline: Deadline) -> Any:
    """The product of two matrices of python-flint, a few rows after the others."""
    (height, inner), entries = (left.nrows(), left.ncols()), []
    for first in range(0, height, LOOK):
        deadline.check()
        rows = range(first, min(first + LOOK, height))
        part = type(left)(len(rows), inner, [left[i, j] for i in rows for j in range(inner)])
        entries.extend((part * right).entries())
    return type(left)(height, right.ncols(), entries)
