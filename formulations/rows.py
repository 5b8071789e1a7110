"""Exact reduction of data rows to distinct directions.

Rows that are zero never activate; rows that are positive or negative multiples of one another share one generator:
if ``x_i = κ a`` then ``(x_i·u)₊ = |κ| α`` for κ > 0 and ``|κ| β`` for κ < 0. "Multiple" is decided in exact rational
arithmetic on the float64 entries, so the checker may rely on it. Rows that are parallel only up to rounding stay apart.
"""

from collections import Counter
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from formulations._validation import frozen
from formulations.arrays import FloatArray, IntArray
from formulations.parallel import ZERO_ROW, scale_rows


@dataclass(frozen=True, eq=False)
class RowReduction:
    """Distinct directions of the rows of X (n×d).

    Attributes:
        generators: N×d, one row for each direction: a data row times a power of two, so that its largest entry lies
            in [1, 2). The scaling is exact.
        source: (N,) the data row from which a generator was taken.
        generator: (n,) generator of each data row, or ``ZERO_ROW``.
        ratio: (n,) κ_i with x_i = κ_i · generator, rounded to nearest; 0 for zero rows. Its sign is exact.
    """

    generators: FloatArray
    source: IntArray
    generator: IntArray
    ratio: FloatArray

    @property
    def feature(self) -> IntArray:
        """(n,) index into φ = (α, β) of each data row's activation, or ``ZERO_ROW``."""
        shift = np.where(self.ratio < 0, len(self.source), 0)
        return np.where(self.generator == ZERO_ROW, ZERO_ROW, self.generator + shift)


def reduce_rows(X: FloatArray, kept: NDArray[np.bool_] | None = None) -> RowReduction:
    """Find zero rows and groups of exactly parallel rows of X (n×d); the first row of a group represents it.

    Rows that are not ``kept`` (n,) count as zero.
    """
    n = X.shape[0]
    generator = np.full(n, ZERO_ROW, dtype=np.int64)
    ratio = np.zeros(n)
    nonzero = np.flatnonzero(X.any(axis=1) if kept is None else X.any(axis=1) & kept)
    # Exactly parallel rows have equal ratios to their pivots, which division rounds alike: rows whose rounded ratios
    # occur once are on their own. A ratio that rounds in another way would cost a merge, never correctness.
    ratios = X[nonzero] / _pivots(X[nonzero], X[nonzero])[:, None] + 0.0
    keys = [row.tobytes() for row in ratios]
    frequency = Counter(keys)
    known: dict[bytes, int] = {}
    groups: dict[bytes | tuple[Fraction, ...], int] = {}
    representatives: list[int] = []
    for i, key in zip(nonzero.tolist(), keys, strict=True):
        raw = X[i].tobytes()
        if raw not in known:
            known[raw] = groups.setdefault(key if frequency[key] == 1 else _direction(X[i]), len(groups))
            if known[raw] == len(representatives):
                representatives.append(i)
        generator[i] = known[raw]
    source = np.array(representatives, dtype=np.int64)
    generators = scale_rows(X[source])
    own = generators[generator[nonzero]]
    ratio[nonzero] = _pivots(own, X[nonzero]) / _pivots(own, own)
    for array in (generators, source, generator, ratio):
        frozen(array)
    return RowReduction(generators, source, generator, ratio)


def _direction(row: FloatArray) -> tuple[Fraction, ...]:
    """The same for exactly those nonzero rows that are multiples of one another."""
    pivot = Fraction(float(row[np.abs(row).argmax()]))
    return tuple(Fraction(x) / pivot for x in row.tolist())


def _pivots(rows: FloatArray, values: FloatArray) -> FloatArray:
    """Of each row of ``values``, the entry where that row of ``rows`` is largest."""
    column = np.abs(rows).argmax(axis=1)[:, None]
    taken: FloatArray = np.take_along_axis(values, column, axis=1)[:, 0]
    return taken
