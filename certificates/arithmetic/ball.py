"""Ball arithmetic (Arb through python-flint): enclosures at a chosen precision, far tighter than float64."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from flint import arb, arb_mat, ctx, fmpq

from certificates.arithmetic.matrix import (
    Arithmetic,
    Entries,
    PsdProof,
    nonzero_entries,
    product_by_rows,
    unit_diagonal_scaling,
)
from certificates.failure import NO_DEADLINE, Deadline
from formulations._validation import FloatArray, IntArray

PRECISION = 256
"""Bits. Products of float64 numbers are exact at 106; the rest absorbs sums and the elimination."""
ELIMINATION_LIMIT = 150
"""Up to this order LDLᵀ runs in balls; beyond, a floating-point factor is verified in balls."""


@dataclass(frozen=True, eq=False)
class BallMatrix:
    """A matrix of balls behind the interface of ``certificates.arithmetic.matrix.Matrix``.

    Precision is set around each operation. A thread that changes it meanwhile costs tightness, never correctness.
    """

    value: arb_mat
    arithmetic: ClassVar[Arithmetic] = Arithmetic.BALL
    deadline: ClassVar[Deadline] = NO_DEADLINE

    @classmethod
    def exact(cls, value: FloatArray) -> "BallMatrix":
        """A matrix of float64 numbers, taken as they are."""
        with ctx.workprec(PRECISION):
            matrix = arb_mat(*value.shape)
            for position, entry in nonzero_entries(value, cls.deadline):
                matrix[position] = entry
            return cls(matrix)

    @classmethod
    def from_rationals(cls, entries: Entries, shape: tuple[int, int]) -> "BallMatrix":
        """Balls around rational numbers, zero where nothing is listed."""
        with ctx.workprec(PRECISION):
            matrix = arb_mat(*shape)
            for position, value in entries.items():
                matrix[position] = arb(fmpq(value.numerator, value.denominator))
            return cls(matrix)

    @classmethod
    def block(cls, blocks: "list[list[BallMatrix]]") -> "BallMatrix":
        """Assemble a matrix from blocks."""
        entries: list[arb] = []
        for row in blocks:
            cls.deadline.check()
            tables = [block.value.tolist() for block in row]
            for i in range(row[0].shape[0]):
                for table in tables:
                    entries.extend(table[i])
        height = sum(row[0].shape[0] for row in blocks)
        width = sum(block.shape[1] for block in blocks[0])
        with ctx.workprec(PRECISION):
            return cls(arb_mat(height, width, entries))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.value.nrows(), self.value.ncols()

    @property
    def T(self) -> "BallMatrix":
        """The transpose."""
        with ctx.workprec(PRECISION):
            return type(self)(self.value.transpose())

    @classmethod
    def sparse_product(cls, entries: Entries, height: int, factor: "BallMatrix") -> "BallMatrix":
        """The matrix of ``height`` rows with these rational entries, zero where nothing is listed, times ``factor``."""
        with ctx.workprec(PRECISION):
            table = factor.value.tolist()
            product = [[arb(0)] * factor.shape[1] for _ in range(height)]
            for (i, j), value in entries.items():
                cls.deadline.check()
                scale = arb(fmpq(value.numerator, value.denominator))
                product[i] = [x + scale * y for x, y in zip(product[i], table[j], strict=True)]
            return cls(arb_mat(height, factor.shape[1], [x for row in product for x in row]))

    def scale_rows(self, factors: FloatArray) -> "BallMatrix":
        """diag(factors) times this matrix, for finite float64 numbers."""
        with ctx.workprec(PRECISION):
            pairs = zip(factors.tolist(), self.value.tolist(), strict=True)
            return type(self)(arb_mat(*self.shape, [arb(scale) * x for scale, row in pairs for x in row]))

    def take(self, rows: IntArray, columns: IntArray) -> "BallMatrix":
        """The submatrix at these positions."""
        with ctx.workprec(PRECISION):
            self.deadline.check()
            entries = [self.value[int(i), int(j)] for i in rows for j in columns]
            return type(self)(arb_mat(len(rows), len(columns), entries))

    def __add__(self, other: "BallMatrix") -> "BallMatrix":
        with ctx.workprec(PRECISION):
            return type(self)(self.value + other.value)

    def __sub__(self, other: "BallMatrix") -> "BallMatrix":
        with ctx.workprec(PRECISION):
            return type(self)(self.value - other.value)

    def __neg__(self) -> "BallMatrix":
        with ctx.workprec(PRECISION):
            return type(self)(-self.value)

    def __matmul__(self, other: "BallMatrix") -> "BallMatrix":
        with ctx.workprec(PRECISION):
            return type(self)(product_by_rows(self.value, other.value, self.deadline))

    def prove_psd(self, deadline: Deadline = NO_DEADLINE) -> PsdProof:
        """Prove that every symmetric matrix in the balls is positive definite; the lower triangle is read."""
        n = self.shape[0]
        if n == 0:
            return PsdProof(proved=True, margin=1.0, reason="")
        with ctx.workprec(PRECISION):
            for i in range(n):
                entry = self.value[i, i]
                if not (entry > 0 and entry.is_finite()):
                    return PsdProof.failure(
                        f"diagonal entry {i + 1} of the slack matrix is {float(entry.mid()):.3e}, not provably positive"
                    )
            return _eliminate(self.value, deadline) if n <= ELIMINATION_LIMIT else _verify_factor(self.value, deadline)


def _eliminate(matrix: arb_mat, deadline: Deadline) -> PsdProof:
    n = matrix.nrows()
    rows = [[matrix[i, j] for j in range(i + 1)] for i in range(n)]
    diagonal = [rows[k][k] for k in range(n)]
    margin = 1.0
    for k in range(n):
        pivot = rows[k][k]
        if not (pivot > 0):
            return PsdProof.failure(
                f"the slack matrix is not proved positive semidefinite: pivot {k + 1} of {n} may be 0 or negative"
            )
        margin = min(margin, float((pivot / diagonal[k]).mid()))
        for i in range(k + 1, n):
            deadline.check()
            row = rows[i]
            factor = row[k] / pivot
            for j in range(k + 1, i + 1):
                row[j] = row[j] - factor * rows[j][k]
    return PsdProof(proved=True, margin=margin, reason="")


def _verify_factor(matrix: arb_mat, deadline: Deadline) -> PsdProof:
    """Prove ``DSD − LLᵀ`` diagonally dominant for a floating-point factor L of a slightly shifted DSD."""
    n = matrix.nrows()
    mid = np.zeros((n, n))
    for i in range(n):
        deadline.check()
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
    product = product_by_rows(factor, factor.transpose(), deadline)
    scale = [arb(x) for x in d.tolist()]
    off = [arb(0) for _ in range(n)]
    for i in range(n):
        deadline.check()
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
