"""Matrices of rational numbers (python-flint), which are never rounded."""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

from certificates.arithmetic.matrix import Arithmetic, Matrix
from formulations.arrays import FloatArray

LOOK = 16
"""Operations on long integers, or rows of a product, between two looks at the clock."""
ROOT_BITS = 256
"""Leading bits of the square of a norm that count when its root is rounded up."""


@dataclass(frozen=True, eq=False)
class RationalMatrix(Matrix):
    """A matrix of rational numbers, as an array of ``fmpq``. NaN and infinities raise ValueError and OverflowError."""

    value: NDArray[Any]
    arithmetic: ClassVar[Arithmetic] = Arithmetic.EXACT

    @staticmethod
    def number(value: Fraction | float) -> tuple[Any]:
        from flint import fmpq  # takes long to import, and small boxes do without

        return (fmpq(*value.as_integer_ratio()),)

    @classmethod
    def exact(cls, value: FloatArray) -> Self:
        cls.deadline.check()
        entries = np.full(value.shape, *cls.number(0.0), dtype=object)
        entries[value != 0] = [cls.number(x)[0] for x in value[value != 0].tolist()]
        return cls(entries)

    def by(self, other: Self) -> Self:
        return type(self)(self.value * other.value)

    def __add__(self, other: Self) -> Self:
        return type(self)(self.value + other.value)

    def __neg__(self) -> Self:
        return type(self)(-self.value)

    def __matmul__(self, other: Self) -> Self:
        right, entries = other.flint, list[Any]()
        for first in range(0, len(self.value), LOOK):
            self.deadline.check()
            entries += (type(self)(self.value[first : first + LOOK]).flint * right).entries()
        return type(self)(np.array(entries, dtype=object).reshape(len(self.value), other.shape[1]))

    @property
    def flint(self) -> Any:
        """The same as a matrix of python-flint."""
        from flint import fmpq_mat

        return fmpq_mat(*self.shape, self.value.ravel().tolist())

    def positive_part(self) -> Self:
        """max(M, 0)."""
        return type(self)(np.maximum(self.value, 0 * self.value))

    def norms(self) -> Self:
        """Upper bounds of the Euclidean norms of the rows, in a column; a relative 2^−100 too large at most."""
        found = self.exact(np.zeros((self.shape[0], 1)))
        for i, row in enumerate(self.value):
            square = sum(row * row, found.value[i, 0])
            p, q = int(square.p), int(square.q)
            shift = max(ROOT_BITS - p.bit_length() + q.bit_length(), 0) // 2 + 1
            if p:
                found.value[i] = self.number(Fraction(math.isqrt((p << 2 * shift) // q + 1) + 1, 1 << shift))
        return found

    @property
    def lower(self) -> NDArray[Any]:
        """The entries as an array of fractions, as enclosures have their lower ends."""
        self.deadline.check()
        entries = np.array([Fraction(int(x.p), int(x.q)) for x in self.value.ravel().tolist()], dtype=object)
        return entries.reshape(self.shape)

    def psd_obstacle(self) -> str | None:
        """Decided by fraction-free symmetric elimination (Bareiss): ``pivot / previous`` is the Schur complement."""
        n, previous = self.shape[0], 1
        rows = [row[: i + 1] for i, row in enumerate(self.flint.numer_denom()[0].tolist())] if n else []
        where = "the slack matrix is not positive semidefinite: pivot"
        for k in range(n):
            pivot = rows[k][k]
            if pivot < 0:
                return f"{where} {k + 1} of {n} is negative"
            if pivot == 0:
                if any(rows[i][k] != 0 for i in range(k + 1, n)):
                    return f"{where} {k + 1} of {n} is zero, its column is not"
                continue
            for row in rows[k + 1 :]:
                factor = row[k]
                for j in range(k + 1, len(row)):
                    if j % LOOK == 0:
                        self.deadline.check()
                    row[j] = (row[j] * pivot - factor * rows[j][k]) // previous
            previous = pivot
        return None
