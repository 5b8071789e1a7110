"""Floating-point arithmetic with proved error bounds, for matrices.

An ``Enclosure`` (mid, rad) holds every real matrix M with ``|M − mid| ≤ rad`` entrywise. Bounds follow Higham,
*Accuracy and Stability of Numerical Algorithms*, section 3: a sum of k products, in any order and with or without
fused multiply-add, errs by at most γ_k Σ|a||b|, γ_k = ku/(1−ku), plus k underflows. Underflow is charged at the
smallest *normal* number, so the bounds also hold where subnormals are flushed to zero. Round-to-nearest is assumed.
"""

import math
from dataclasses import dataclass

import numpy as np

from formulations._validation import FloatArray

UNIT = 2.0**-53
TINY = 2.0**-1022
"""Smallest positive normal number; bounds the error of one operation that underflows."""

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


@dataclass(frozen=True, eq=False)
class Enclosure:
    """All matrices within ``rad`` of ``mid``, entrywise."""

    mid: FloatArray
    rad: FloatArray

    @classmethod
    def exact(cls, value: FloatArray) -> "Enclosure":
        """A matrix of float64 numbers, taken as they are."""
        return cls(value, np.zeros_like(value))

    @property
    def T(self) -> "Enclosure":
        """The transpose."""
        return Enclosure(self.mid.T, self.rad.T)

    @property
    def finite(self) -> bool:
        """True when neither midpoint nor radius holds NaN or an infinity."""
        return bool(np.isfinite(self.mid).all() and np.isfinite(self.rad).all())

    def __getitem__(self, index: slice) -> "Enclosure":
        return Enclosure(self.mid[index], self.rad[index])

    def __neg__(self) -> "Enclosure":
        return Enclosure(-self.mid, self.rad)

    def __add__(self, other: "Enclosure") -> "Enclosure":
        mid = self.mid + other.mid
        return Enclosure(mid, inflate(self.rad + other.rad + UNIT * np.abs(mid), 4))

    def __matmul__(self, other: "Enclosure") -> "Enclosure":
        k = self.mid.shape[1]
        size_a, size_b = np.abs(self.mid), np.abs(other.mid)
        rad = gamma_bound(k) * (size_a @ size_b)
        if other.rad.any():
            rad = rad + (size_a + self.rad) @ other.rad
        if self.rad.any():
            rad = rad + self.rad @ size_b
        return Enclosure(self.mid @ other.mid, inflate(rad, 2 * k + 8) + 2.0 * k * TINY)

    def positive_part(self) -> "Enclosure":
        """max(M, 0), which is 1-Lipschitz."""
        return Enclosure(np.maximum(self.mid, 0.0), self.rad)

    def scale_by_powers(self, rows: FloatArray, columns: FloatArray) -> "Enclosure":
        """diag(rows) M diag(columns) for vectors of powers of two: exact but for underflow, which is charged."""
        factor_mid = (rows[:, None] * self.mid) * columns
        factor_rad = (rows[:, None] * self.rad) * columns
        return Enclosure(factor_mid, inflate(factor_rad, 2) + _scaled_underflow(rows, columns))


def _scaled_underflow(rows: FloatArray, columns: FloatArray) -> FloatArray:
    """What two underflowing multiplications can lose: the first loss is scaled by the second factor."""
    loss: FloatArray = TINY * (1.0 + np.broadcast_to(columns, (len(rows), len(columns))))
    return loss


def split_product(a: FloatArray, b: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(p, e) with ``a·b = p + e`` exactly (Dekker, Veltkamp), if nothing over- or underflows."""
    p = a * b
    a_high, b_high = _high_part(a), _high_part(b)
    a_low, b_low = a - a_high, b - b_high
    e = ((a_high * b_high - p) + a_high * b_low + a_low * b_high) + a_low * b_low
    return p, e


def _high_part(a: FloatArray) -> FloatArray:
    c = 134217729.0 * a
    high: FloatArray = c - (c - a)
    return high


SAFE_SIZE = 1e140
"""Products of numbers below this size cannot overflow, nor can Dekker's splitting."""


def sum_of_products(factors: list[tuple[FloatArray, FloatArray]], *, upper: bool) -> float:
    """A bound on Σ a·b over all pairs of arrays: an upper bound if ``upper``, else a lower bound.

    The error-free products are summed by ``math.fsum``, whose result is correctly rounded, so the bound is off by one
    unit in the last place. Returns ±inf (the useless side) for entries that are not finite or exceed ``SAFE_SIZE``.
    """
    terms: list[float] = []
    count = 0
    for a, b in factors:
        flat_a, flat_b = np.ravel(a), np.ravel(b)
        for flat in (flat_a, flat_b):
            if not (np.abs(flat).max(initial=0.0) <= SAFE_SIZE):
                return math.inf if upper else -math.inf
        p, e = split_product(flat_a, flat_b)
        terms.extend(p.tolist())
        terms.extend(e.tolist())
        count += p.size
    underflow = 8 * count * TINY
    if upper:
        return math.nextafter(math.fsum([*terms, underflow]), math.inf)
    return math.nextafter(math.fsum([*terms, -underflow]), -math.inf)
