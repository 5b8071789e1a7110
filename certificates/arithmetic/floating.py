"""Floating-point arithmetic with proved error bounds, for matrices.

An ``Enclosure`` (mid, rad) holds every real matrix M with ``|M − mid| ≤ rad`` entrywise. Bounds follow Higham,
*Accuracy and Stability of Numerical Algorithms*, section 3: a sum of k products, in any order and with or without
fused multiply-add, errs by at most γ_k Σ|a||b|, γ_k = ku/(1−ku), plus k underflows. The machine model is that of
``certificates.arithmetic.machine``, which tests it. Sums do not underflow then, and a product that does loses at most
2^−1075; it is charged at 2^−1022, so that a few of them, and halvings, need no counting. That does not cover a thread
that flushes subnormal numbers: there an operand itself is lost, however large its partner.

A rigorous proof that a symmetric matrix is positive semidefinite, after Rump, *Verification of positive
definiteness*, BIT 46 (2006): if floating-point Cholesky of B runs to completion then ``B + Δ ⪰ 0`` for some
‖Δ‖₂ ≤ γ_{n+1}/(1−γ_{n+1}) tr(B) plus underflow. So Cholesky of ``B − δI`` with δ above that bound and above the norm of
the radii proves every matrix in the enclosure PSD. A run that stops proves nothing.
"""

import math
from dataclasses import dataclass, fields, replace
from fractions import Fraction
from typing import Any, ClassVar, Self

import numpy as np

from certificates.arithmetic.matrix import Arithmetic, Matrix
from certificates.failure import NO_DEADLINE, Deadline
from formulations.arrays import FloatArray, IntArray

UNIT = 2.0**-53
TINY = 2.0**-1022
"""Smallest positive normal number; far above the 2^−1075 that one operation which underflows can lose."""

PRODUCTS_AT_ONCE = 1 << 29
"""Products of numbers between two looks at the clock: some tenths of a second."""
_LARGEST_COUNT = 2**40


def gamma_bound(count: int) -> float:
    """An upper bound on γ_count = count·u/(1 − count·u)."""
    if not (0 <= count <= _LARGEST_COUNT):
        raise ValueError(f"count must lie in 0..2**40, not {count}")
    return count * UNIT * (1.0 + 2.0 * count * UNIT) * (1.0 + 4.0 * UNIT)


def inflate(value: FloatArray, operations: int) -> FloatArray:
    """An upper bound on what ``operations`` rounded steps with nonnegative operands should have given exactly.

    A chain of k nonnegative additions and multiplications loses at most the factor (1−u)^k and k underflows.
    """
    k = operations + 4
    bound: FloatArray = value * (1.0 + 2.0 * k * UNIT) + k * TINY
    return bound


def scaled(value: FloatArray, exponent: IntArray) -> FloatArray:
    """``value · 2^exponent``, exact but for underflow, which loses less than 2^−1073: two powers of two of one sign."""
    half = exponent // 2
    product: FloatArray = value * np.ldexp(1.0, half) * np.ldexp(1.0, exponent - half)
    return product


def nearest(value: Fraction) -> tuple[float, float]:
    """A rational number rounded to nearest, and a unit in the last place as radius where that is not exact."""
    try:
        nearest = float(value)
    except OverflowError:
        return math.inf, math.inf
    return nearest, 0.0 if Fraction(nearest) == value else 2.0 * UNIT * abs(nearest) + TINY


class Rounded(Matrix):
    """What the rounded arithmetics share; the last of their arrays, ``rad``, holds the radii."""

    @classmethod
    def exact(cls, value: FloatArray) -> Self:
        return cls(value, *(np.zeros_like(value) for _ in fields(cls)[1:]))  # type: ignore[arg-type, call-arg]

    @property
    def finite(self) -> bool:
        """True where no array holds NaN or an infinity."""
        return all(np.isfinite(array).all() for array in self.arrays)

    def with_unit_diagonal(self) -> Self:
        """``D S D`` for the symmetric S of this lower triangle, and powers of two that bring its diagonal near one.

        Scaling does no harm then, whatever the units of measurement.
        """
        half = np.frexp(np.diag(self.arrays[0]))[1] // 2
        whole = self.each(lambda array: scaled(np.tril(array) + np.tril(array, -1).T, -(half[:, None] + half)))
        return replace(whole, rad=inflate(whole.arrays[-1], 4))  # type: ignore[type-var]

    def positive_part(self) -> Self:
        """max(M, 0), which is 1-Lipschitz. What is not finite stays so."""
        *middle, rad = self.arrays
        kept = ~(sum(middle) <= 0)
        return type(self)(*(np.where(kept, array, 0.0) for array in middle), rad)  # type: ignore[call-arg]

    def __neg__(self) -> Self:
        *middle, rad = self.arrays
        return type(self)(*(-array for array in middle), rad)  # type: ignore[call-arg]


@dataclass(frozen=True, eq=False)
class Enclosure(Rounded):
    """All matrices within ``rad`` of ``mid``, entrywise."""

    mid: FloatArray
    rad: FloatArray
    arithmetic: ClassVar[Arithmetic] = Arithmetic.FLOAT
    number = staticmethod(nearest)

    @property
    def lower(self) -> FloatArray:
        """Lower bounds of the entries: the difference is rounded to nearest, so the number below it will do."""
        below: FloatArray = np.nextafter(self.mid - self.rad, -np.inf)
        return below

    @property
    def upper(self) -> FloatArray:
        """Upper bounds of the entries."""
        above: FloatArray = np.nextafter(self.mid + self.rad, np.inf)
        return above

    def norms(self) -> Self:
        """Upper bounds of the Euclidean norms of the rows, in a column."""
        squares = np.sum((np.abs(self.mid) + self.rad) ** 2, axis=1, keepdims=True)
        return self.exact(inflate(np.sqrt(inflate(squares, 2 * self.shape[1] + 8)), 2))

    def by(self, other: Self) -> Self:
        mid = self.mid * other.mid
        rad = np.abs(other.mid) * self.rad + other.rad * (np.abs(self.mid) + self.rad)
        return type(self)(mid, inflate(rad + UNIT * np.abs(mid), 6))

    def __add__(self, other: Self) -> Self:
        mid = self.mid + other.mid
        return type(self)(mid, inflate(self.rad + other.rad + UNIT * np.abs(mid), 4))

    def __matmul__(self, other: Self) -> Self:
        self.deadline.check()
        height, k = self.shape
        rows = max(1, PRODUCTS_AT_ONCE // max(k * other.shape[1], 1))
        if height > rows:
            parts = np.split(np.arange(height), range(rows, height, rows))
            return self.block([[self.take(part, np.arange(k)) @ other] for part in parts])
        size_a, size_b = np.abs(self.mid), np.abs(other.mid)
        rad = gamma_bound(k) * (size_a @ size_b)
        if other.rad.any():
            rad = rad + (size_a + self.rad) @ other.rad
        if self.rad.any():
            rad = rad + self.rad @ size_b
        return type(self)(self.mid @ other.mid, inflate(rad, 2 * k + 8) + 2.0 * k * TINY)

    def psd_obstacle(self) -> str | None:
        """In O(n³), without a look at the clock."""
        self.deadline.check()
        n = self.mid.shape[0]
        if n == 0:
            return None
        if not self.finite:
            return "the slack matrix has entries that are not finite (overflow)"
        diagonal = np.diag(self.mid)
        worst = int(np.argmin(diagonal))
        if not (diagonal[worst] > 0):
            return f"diagonal entry {worst + 1} of the slack matrix is {diagonal[worst]:.3e}, negative"
        unit = self.with_unit_diagonal()
        if not unit.finite:
            return "the slack matrix spans too many orders of magnitude to be scaled"
        B = unit.mid
        norm = float(inflate(unit.rad.sum(axis=1), n).max())
        trace = float(inflate(np.diag(B).sum(keepdims=True), n)[0])
        g = gamma_bound(n + 2)
        factorisation = g / (1.0 - g) * (1.0 + 8.0 * UNIT) * trace + 16.0 * n * n * TINY
        shift = (norm + factorisation) * (1.0 + 8.0 * UNIT)
        shifted = B.copy()
        np.fill_diagonal(shifted, np.nextafter(np.diag(B) - shift, -np.inf))
        try:
            L = np.linalg.cholesky(shifted)
        except np.linalg.LinAlgError:
            return (
                f"the slack matrix is not proved positive semidefinite (Cholesky of the unit-diagonal matrix "
                f"shifted by {shift:.1e} breaks down)"
            )
        proved = np.isfinite(L).all() and (np.diag(L) > 0).all()
        return None if proved else "the Cholesky factor of the slack matrix is not finite"


SAFE_SIZE = 1e140
"""Products of numbers below this size cannot overflow."""
_CHUNK, PRECISION = 1 << 16, 512


def sum_of_products(
    factors: list[tuple[FloatArray, FloatArray]], *, upper: bool, scale: float = 1.0, deadline: Deadline = NO_DEADLINE
) -> float:
    """A bound on scale · Σ a·b over all pairs of arrays: an upper bound if ``upper``, else a lower bound.

    The sum is enclosed in a ball of many bits, so the bound is as a rule the nearest float64 on its side. Returns ±inf
    (the useless side) for entries that are not finite or exceed ``SAFE_SIZE``.
    """
    from flint import arb, arb_mat, ctx  # takes long to import, and small boxes do without

    with ctx.workprec(PRECISION):
        total = arb(0)
        for a, b in ((np.ravel(a), np.ravel(b)) for a, b in factors):
            for start in range(0, a.size, _CHUNK):
                deadline.check()
                left, right = a[start : start + _CHUNK], b[start : start + _CHUNK]
                if not (np.abs(left).max() <= SAFE_SIZE and np.abs(right).max() <= SAFE_SIZE):
                    return math.inf if upper else -math.inf
                row, column = arb_mat(1, len(left), left.tolist()), arb_mat(len(left), 1, right.tolist())
                total += (row * column)[0, 0]
        total *= scale
        return rounded(total, upper=upper)


def rounded(ball: Any, *, upper: bool) -> float:
    """The least float64 above all of a ball, or the largest below it; ±inf (the useless side) for NaN."""
    end, useless = (ball.upper(), math.inf) if upper else (ball.lower(), -math.inf)
    nearest = float(end)
    if math.isnan(nearest):
        return useless
    holds = nearest >= end if upper else nearest <= end
    return nearest if holds else math.nextafter(nearest, useless)
