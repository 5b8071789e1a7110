"""Matrices of python-flint: rational numbers, which are never rounded, and balls (Arb), far tighter than float64."""

import functools
import time
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any, ClassVar, Self, TypeVar, cast

import numpy as np
from flint import arb, arb_mat, ctx, fmpq, fmpq_mat, fmpz

from certificates.arithmetic.matrix import Arithmetic, Entries, PsdProof, unit_diagonal_scaling
from certificates.failure import NO_DEADLINE, Deadline
from formulations.arrays import FloatArray, IntArray

PRECISION = 256
"""Bits of balls. Products of float64 numbers are exact at 106; the rest absorbs sums and the elimination."""
ELIMINATION_LIMIT = 150
"""Up to this order LDLᵀ runs in balls; beyond, a floating-point factor is verified in balls."""
LOOK = 16
"""Operations on long integers between two looks at the clock."""
_AT_ONCE = 20_000
_BLOCK_SECONDS = 0.05
Function = TypeVar("Function", bound=Callable[..., Any])


def to_fmpq(value: float | Fraction) -> fmpq:
    """A finite number as a rational. float64 numbers are dyadic rationals, so nothing is rounded."""
    return fmpq(*value.as_integer_ratio())


def _precise(function: Function) -> Function:
    """Sets the precision of balls around an operation."""

    @functools.wraps(function)
    def at_precision(*arguments: Any) -> Any:
        with ctx.workprec(PRECISION):
            return function(*arguments)

    return cast(Function, at_precision)


@dataclass(frozen=True, eq=False)
class _FlintMatrix:
    """A matrix of python-flint behind the interface of ``certificates.arithmetic.matrix.Matrix``.

    Precision is set around each operation. A thread that changes it meanwhile costs tightness, never correctness.
    """

    value: Any
    of: ClassVar[Any]
    deadline: ClassVar[Deadline] = NO_DEADLINE

    @staticmethod
    def number(value: float | Fraction) -> Any:
        """A finite number in the arithmetic. ValueError or OverflowError for NaN and infinities."""
        raise NotImplementedError

    @property
    def shape(self) -> tuple[int, int]:
        return self.value.nrows(), self.value.ncols()

    @property
    @_precise
    def T(self) -> Self:
        return type(self)(self.value.transpose())

    @classmethod
    @_precise
    def exact(cls, value: FloatArray) -> Self:
        matrix = cls.of(*value.shape)
        for i, row in enumerate(value):
            cls.deadline.check()
            columns = np.flatnonzero(row)
            for j, entry in zip(columns.tolist(), row[columns].tolist(), strict=True):
                matrix[i, j] = cls.number(entry)
        return cls(matrix)

    @classmethod
    @_precise
    def from_rationals(cls, entries: Entries, shape: tuple[int, int]) -> Self:
        matrix = cls.of(*shape)
        for position, value in entries.items():
            matrix[position] = cls.number(value)
        return cls(matrix)

    @classmethod
    @_precise
    def block(cls, blocks: list[list[Self]]) -> Self:
        entries: list[Any] = []
        for row in blocks:
            cls.deadline.check()
            for parts in zip(*(block.value.tolist() for block in row), strict=True):
                entries.extend(x for part in parts for x in part)
        height, width = sum(row[0].shape[0] for row in blocks), sum(block.shape[1] for block in blocks[0])
        return cls(cls.of(height, width, entries))

    @classmethod
    @_precise
    def sparse_product(cls, entries: Entries, height: int, factor: Self) -> Self:
        table = factor.value.tolist()
        product = [[cls.number(0.0)] * factor.shape[1] for _ in range(height)]
        for (i, j), value in entries.items():
            cls.deadline.check()
            scale = cls.number(value)
            product[i] = [x + scale * y for x, y in zip(product[i], table[j], strict=True)]
        return cls(cls.of(height, factor.shape[1], [x for row in product for x in row]))

    @_precise
    def times(self, factors: FloatArray) -> Self:
        every = np.broadcast_to(factors, self.shape).ravel().tolist()
        entries = [x if f == 1.0 else x * self.number(f) for x, f in zip(self.value.entries(), every, strict=True)]
        return type(self)(self.of(*self.shape, entries))

    @_precise
    def take(self, rows: IntArray, columns: IntArray) -> Self:
        self.deadline.check()
        entries = [self.value[i, j] for i in rows.tolist() for j in columns.tolist()]
        return type(self)(self.of(len(rows), len(columns), entries))

    @_precise
    def __add__(self, other: Self) -> Self:
        return type(self)(self.value + other.value)

    @_precise
    def __sub__(self, other: Self) -> Self:
        return type(self)(self.value - other.value)

    @_precise
    def __neg__(self) -> Self:
        return type(self)(-self.value)

    @_precise
    def __matmul__(self, other: Self) -> Self:
        return type(self)(product_by_rows(self.value, other.value, self.deadline))


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
        entries.extend(block.entries())
        first, rows = last, 2 * rows if time.perf_counter() - start < _BLOCK_SECONDS else max(1, rows // 2)
    return type(left)(height, width, entries)


class RationalMatrix(_FlintMatrix):
    """A matrix of rational numbers."""

    arithmetic: ClassVar[Arithmetic] = Arithmetic.EXACT
    of = fmpq_mat
    number = staticmethod(to_fmpq)

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


class BallMatrix(_FlintMatrix):
    """A matrix of balls."""

    arithmetic: ClassVar[Arithmetic] = Arithmetic.BALL
    of = arb_mat

    @staticmethod
    def number(value: float | Fraction) -> Any:
        return arb(value) if isinstance(value, float) else arb(to_fmpq(value))

    @_precise
    def prove_psd(self) -> PsdProof:
        """Prove that every symmetric matrix in the balls is positive definite."""
        n = self.shape[0]
        for i in range(n):
            entry = self.value[i, i]
            if not (entry > 0 and entry.is_finite()):
                return PsdProof.failure(
                    f"diagonal entry {i + 1} of the slack matrix is {float(entry.mid()):.3e}, not provably positive"
                )
        return self._eliminated() if n <= ELIMINATION_LIMIT else self._factor_verified()

    def _eliminated(self) -> PsdProof:
        n, margin = self.shape[0], 1.0
        rows = [[self.value[i, j] for j in range(i + 1)] for i in range(n)]
        diagonal = [row[-1] for row in rows]
        for k in range(n):
            pivot = rows[k][k]
            if not (pivot > 0):
                return PsdProof.failure(
                    f"the slack matrix is not proved positive semidefinite: pivot {k + 1} of {n} may be 0 or negative"
                )
            margin = min(margin, float((pivot / diagonal[k]).mid()))
            for row in rows[k + 1 :]:
                self.deadline.check()
                factor = row[k] / pivot
                for j in range(k + 1, len(row)):
                    row[j] = row[j] - factor * rows[j][k]
        return PsdProof(proved=True, margin=margin, reason="")

    def _factor_verified(self) -> PsdProof:
        """Prove ``DSD − LLᵀ`` diagonally dominant for a floating-point factor L of a slightly shifted DSD."""
        n, matrix = self.shape[0], self.value
        mid = np.zeros((n, n))
        for i in range(n):
            self.deadline.check()
            mid[i, : i + 1] = mid[: i + 1, i] = [float(matrix[i, j].mid()) for j in range(i + 1)]
        d = unit_diagonal_scaling(np.diag(mid))
        scaled = d[:, None] * mid * d
        shift = 16.0 * n * 2.0**-53
        try:
            if not np.isfinite(scaled).all():
                raise np.linalg.LinAlgError
            L = np.linalg.cholesky(scaled - shift * np.eye(n))
        except np.linalg.LinAlgError:
            return PsdProof.failure(
                "the slack matrix is not proved positive semidefinite (Cholesky of the unit-diagonal matrix "
                f"shifted by {shift:.1e} breaks down)"
            )
        factor = arb_mat(n, n, L.ravel().tolist())
        product = product_by_rows(factor, factor.transpose(), self.deadline)
        scale = [arb(x) for x in d.tolist()]
        off = [arb(0) for _ in range(n)]
        for i in range(n):
            self.deadline.check()
            for j in range(i):
                size = abs(scale[i] * matrix[i, j] * scale[j] - product[i, j])
                off[i] += size
                off[j] += size
        for i in range(n):
            if not (scale[i] * matrix[i, i] * scale[i] - product[i, i] >= off[i]):
                return PsdProof.failure(
                    f"the slack matrix is not proved positive semidefinite: the remainder of its factor exceeds "
                    f"{shift:.1e} in row {i + 1}"
                )
        return PsdProof(proved=True, margin=float(np.diag(L).min() ** 2), reason="")
