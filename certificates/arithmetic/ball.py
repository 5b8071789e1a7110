"""Balls of about 100 bits: matrices of sums of two float64 numbers, with a radius.

A ``BallMatrix`` (high, low, rad) holds every real matrix M with ``|M − (high + low)| ≤ rad`` entrywise. Two facts about
the machine model of ``certificates.arithmetic.machine`` carry all of it:

* A sum of two float64 numbers is their rounded sum and its error, which is a float64 number (Knuth, *TAOCP 2*, 4.2.2).
  So exact parts are added up with hardly any error (Ogita, Rump, Oishi, SIAM J. Sci. Comput. 26, 2005).
* Matrices of whole numbers multiply exactly while all sums stay below 2^53. So a matrix is cut into slices of few bits,
  whose products are exact, in the same units along rows of the left factor and columns of the right (Ozaki et al.,
  *Error-free transformations of matrix multiplication*, Numer. Algorithms 59, 2012). What is left out is charged.

A symmetric matrix S is positive semidefinite exactly if ``X S Xᵀ`` is, for any invertible X, here a triangle with no
zero on its diagonal. With the inverse of a floating-point Cholesky factor of S the product is near the identity, and
the test of ``certificates.arithmetic.floating`` proves it with hardly any margin in S.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import ClassVar, Self

import numpy as np

from certificates.arithmetic.floating import TINY, UNIT, Enclosure, Rounded, gamma_bound, inflate, nearest, scaled
from certificates.arithmetic.matrix import Arithmetic
from formulations.arrays import FloatArray, IntArray

BITS = 100
"""Bits that a product keeps of the largest entry in a row, or a column."""
CONGRUENCES = 2
"""Each gains about 12 digits of the smallest eigenvalue, as far as the bits reach."""


def _pair(value: Fraction) -> tuple[float, float, float]:
    """A rational number as a sum of two float64 numbers, with a radius."""
    high, rad = nearest(value)
    return (high, *nearest(value - Fraction(high))) if rad and np.isfinite(high) else (high, 0.0, rad)


@dataclass(frozen=True, eq=False)
class BallMatrix(Rounded):
    """All matrices within ``rad`` of ``high + low``, entrywise."""

    high: FloatArray
    low: FloatArray
    rad: FloatArray
    arithmetic: ClassVar[Arithmetic] = Arithmetic.BALL
    number = staticmethod(_pair)

    @property
    def size(self) -> FloatArray:
        """About what the entries in the middle are at most; rounded to nearest."""
        return np.abs(self.high) + np.abs(self.low)

    @property
    def enclosure(self) -> Enclosure:
        """The same with a single number in the middle."""
        return Enclosure(self.high, inflate(np.abs(self.low) + self.rad, 1))

    def by(self, other: Self) -> Self:
        (a, b), (f, g), rests = _halves(self.high), _halves(other.high), (self.low * other.high, self.high * other.low)
        rad = other.size * self.rad + other.rad * (self.size + self.rad) + np.abs(self.low * other.low)
        rad = rad + UNIT * (np.abs(rests[0]) + np.abs(rests[1])) + 8.0 * TINY
        return self._total((a * f, a * g, b * f, b * g, *rests), rad)

    def __add__(self, other: Self) -> Self:
        return self._total((self.high, other.high, self.low, other.low), self.rad + other.rad)

    def __matmul__(self, other: Self) -> Self:
        inner = self.shape[1]
        bits = (53 - inner.bit_length()) // 2
        count = -(-BITS // bits)
        left, right = self._slices(bits, count), other.T._slices(bits, count)
        exponent = left[0][:, None] + right[0]
        # |A_i| ≤ 2^(−bits·(i−1)), and what j slices leave of B is at most 2^(−bits·j).
        lost = scaled(np.full(exponent.shape, (count + 2.0) * inner * 2.0 ** (-bits * count)), exponent)
        if other.rad.any():
            lost = lost + (self.size + self.rad) @ other.rad
        if self.rad.any():
            lost = lost + self.rad @ other.size
        product = self._total(self._products(left[1], right[1]), np.zeros(exponent.shape))
        high, low, rad = (scaled(part, exponent) for part in product.arrays)
        return type(self)(high, low, inflate(rad + lost, 2 * inner + 16) + (2.0 * inner + 8.0) * TINY)

    def _products(self, left: list[FloatArray], right: list[FloatArray]) -> Iterator[FloatArray]:
        """Those of slices i and j whose product counts, largest first; none is rounded."""
        for total in range(len(left)):
            for i in range(total + 1):
                self.deadline.check()
                if left[i].any() and right[total - i].any():
                    yield left[i] @ right[total - i].T

    def _slices(self, bits: int, count: int) -> tuple[IntArray, list[FloatArray]]:
        """(exponents e, slices A_i): high + low = 2^e (Σ A_i + rest) along rows, where A_i are whole multiples of
        2^(−bits·i), 2^bits of them at most, and |rest| ≤ 2^(−bits·count), for which |A_i| ≤ 2^(−bits·(i−1))."""
        high, low = _two_sum(self.high, self.low)
        exponent = np.frexp(np.abs(high).max(axis=1, initial=0.0))[1]
        high, low = scaled(high, -exponent[:, None]), scaled(low, -exponent[:, None])
        slices = []
        for i in range(1, count + 1):
            # Adding and taking away a large number rounds to multiples of its last place.
            large = 1.5 * 2.0 ** (52 - bits * i)
            slices.append((high + large) - large)
            high, low = _two_sum(high - slices[-1], low)
        return exponent, slices

    @classmethod
    def _total(cls, parts: Iterable[FloatArray], rad: FloatArray) -> Self:
        """The sum of parts, with further radii; errors of its additions are added up, and only that is rounded."""
        high, errors, size, count = np.zeros(rad.shape), np.zeros(rad.shape), np.zeros(rad.shape), 1
        for part in parts:
            high, error = _two_sum(high, part)
            errors, size, count = errors + error, size + np.abs(error), count + 1
        high, low = _two_sum(high, errors)
        return cls(high, low, inflate(rad + gamma_bound(count) * size, count + 4))

    def psd_obstacle(self) -> str | None:
        """After congruences that bring the matrix near the identity."""
        self.deadline.check()
        matrix, n = self, self.shape[0]
        for left in reversed(range(CONGRUENCES + 1)):
            enclosure, diagonal = matrix.enclosure, np.diag(matrix.high)
            found = enclosure.psd_obstacle()
            if found is None or not left or not enclosure.finite or not (diagonal > 0).all():
                break
            unit = matrix.with_unit_diagonal()
            try:
                factor = np.linalg.cholesky(unit.high + 16.0 * UNIT * n * np.eye(n))
                inverse = np.tril(np.linalg.inv(factor))
            except np.linalg.LinAlgError:
                break
            if not (np.diag(inverse) != 0).all():
                break
            X = type(self).exact(inverse)
            matrix = X @ (unit @ X.T)
        return found


def _two_sum(a: FloatArray, b: FloatArray) -> tuple[FloatArray, FloatArray]:
    """The rounded sum and its error."""
    total = a + b
    back = total - a
    return total, (a - (total - back)) + (b - back)


def _halves(value: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Two numbers of 26 bits that add up to one of 53 (Veltkamp; Dekker 1971)."""
    large = 134217729.0 * value
    first = large - (large - value)
    return first, value - first
