"""Exact rational matrices (python-flint). float64 numbers are dyadic rationals, so nothing is ever rounded."""

from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar

from flint import fmpq, fmpq_mat, fmpz

from certificates.arithmetic.matrix import Arithmetic, Entries, PsdProof, nonzero_entries, product_by_rows
from certificates.failure import NO_DEADLINE, Deadline
from formulations._validation import FloatArray, IntArray

LOOK = 16
"""Operations on long integers between two looks at the clock."""


def to_fmpq(value: float) -> fmpq:
    """A finite float as a rational."""
    numerator, denominator = float(value).as_integer_ratio()
    return fmpq(numerator, denominator)


@dataclass(frozen=True, eq=False)
class RationalMatrix:
    """A matrix of rationals behind the interface of ``certificates.arithmetic.matrix.Matrix``."""

    value: fmpq_mat
    arithmetic: ClassVar[Arithmetic] = Arithmetic.EXACT
    deadline: ClassVar[Deadline] = NO_DEADLINE

    @classmethod
    def exact(cls, value: FloatArray) -> "RationalMatrix":
        """A matrix of float64 numbers. Raises ValueError or OverflowError for NaN and infinities."""
        matrix = fmpq_mat(*value.shape)
        for position, entry in nonzero_entries(value, cls.deadline):
            matrix[position] = to_fmpq(entry)
        return cls(matrix)

    @classmethod
    def from_rationals(cls, entries: Entries, shape: tuple[int, int]) -> "RationalMatrix":
        """A matrix of rational numbers, zero where nothing is listed."""
        matrix = fmpq_mat(*shape)
        for position, value in entries.items():
            matrix[position] = fmpq(value.numerator, value.denominator)
        return cls(matrix)

    @classmethod
    def block(cls, blocks: "list[list[RationalMatrix]]") -> "RationalMatrix":
        """Assemble a matrix from blocks."""
        entries: list[fmpq] = []
        for row in blocks:
            cls.deadline.check()
            tables = [_table(block.value) for block in row]
            for i in range(row[0].shape[0]):
                for table in tables:
                    entries.extend(table[i])
        height = sum(row[0].shape[0] for row in blocks)
        width = sum(block.shape[1] for block in blocks[0])
        return cls(fmpq_mat(height, width, entries))

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return self.value.nrows(), self.value.ncols()

    @property
    def T(self) -> "RationalMatrix":
        """The transpose."""
        return type(self)(self.value.transpose())

    @classmethod
    def sparse_product(cls, entries: Entries, height: int, factor: "RationalMatrix") -> "RationalMatrix":
        """The matrix of ``height`` rows with these rational entries, zero where nothing is listed, times ``factor``."""
        table = _table(factor.value)
        product = [[fmpq(0)] * factor.shape[1] for _ in range(height)]
        for (i, j), value in entries.items():
            cls.deadline.check()
            scale = fmpq(value.numerator, value.denominator)
            product[i] = [x + scale * y for x, y in zip(product[i], table[j], strict=True)]
        return cls(fmpq_mat(height, factor.shape[1], [x for row in product for x in row]))

    def scale_rows(self, factors: FloatArray) -> "RationalMatrix":
        """diag(factors) times this matrix, for finite float64 numbers."""
        pairs = zip(factors.tolist(), _table(self.value), strict=True)
        return type(self)(fmpq_mat(*self.shape, [to_fmpq(scale) * x for scale, row in pairs for x in row]))

    def rows(self) -> list[list[Fraction]]:
        """The entries."""
        self.deadline.check()
        return [[Fraction(int(x.p), int(x.q)) for x in row] for row in _table(self.value)]

    def take(self, rows: IntArray, columns: IntArray) -> "RationalMatrix":
        """The submatrix at these positions."""
        self.deadline.check()
        entries = [self.value[int(i), int(j)] for i in rows for j in columns]
        return type(self)(fmpq_mat(len(rows), len(columns), entries))

    def __add__(self, other: "RationalMatrix") -> "RationalMatrix":
        return type(self)(self.value + other.value)

    def __sub__(self, other: "RationalMatrix") -> "RationalMatrix":
        return type(self)(self.value - other.value)

    def __neg__(self) -> "RationalMatrix":
        return type(self)(-self.value)

    def __matmul__(self, other: "RationalMatrix") -> "RationalMatrix":
        return type(self)(product_by_rows(self.value, other.value, self.deadline))

    def prove_psd(self, deadline: Deadline = NO_DEADLINE) -> PsdProof:
        """Decide positive semidefiniteness by fraction-free symmetric elimination (Bareiss); never undecided."""
        n = self.shape[0]
        if n == 0:
            return PsdProof(proved=True, margin=1.0, reason="")
        numerator, _ = self.value.numer_denom()
        return _eliminate([[numerator[i, j] for j in range(i + 1)] for i in range(n)], deadline)


def _table(matrix: fmpq_mat) -> list[list[fmpq]]:
    return [[matrix[i, j] for j in range(matrix.ncols())] for i in range(matrix.nrows())]


def _eliminate(rows: list[list[fmpz]], deadline: Deadline) -> PsdProof:
    """Bareiss elimination on the lower triangle of an integer matrix; ``pivot / previous`` is the Schur complement."""
    n = len(rows)
    diagonal = [int(rows[k][k]) for k in range(n)]
    previous = fmpz(1)
    margin = 1.0
    for k in range(n):
        pivot = rows[k][k]
        if pivot < 0:
            return PsdProof.failure(f"the slack matrix is not positive semidefinite: pivot {k + 1} of {n} is negative")
        if pivot == 0:
            if any(rows[i][k] != 0 for i in range(k + 1, n)):
                return PsdProof.failure(
                    f"the slack matrix is not positive semidefinite: pivot {k + 1} of {n} is zero, its column is not"
                )
            margin = 0.0
            continue
        margin = min(margin, int(pivot) / (int(previous) * diagonal[k]))
        for i in range(k + 1, n):
            row, factor = rows[i], rows[i][k]
            for j in range(k + 1, i + 1):
                if j % LOOK == 0:
                    deadline.check()
                row[j] = (row[j] * pivot - factor * rows[j][k]) // previous
        previous = pivot
    return PsdProof(proved=True, margin=margin, reason="")
