"""What a proof may take, told from sizes before anything is built.

A certificate of a few kilobytes can describe a proof that needs any amount of memory. So every checker adds up the
sizes of its largest temporaries first, and refuses a proof beyond the limit: UNKNOWN, with a sentence. Time needs no
such table: all long operations look at the clock (``certificates.failure.Deadline``).
"""

from dataclasses import dataclass

from certificates.arithmetic.matrix import Arithmetic
from certificates.failure import require

MEMORY_LIMIT = 4 << 30
"""Bytes that a check may take besides the arrays of the certificate."""


@dataclass(frozen=True)
class _Entry:
    """Bytes for each entry of what a proof by products builds, with all copies at their most (measured).

    Attributes:
        form: of a form over λ = (φ, z).
        multipliers: of a matrix of multipliers over all inequalities.
        row: of the rows of further inequalities over λ, and of tables of features.
        elimination: of the cubed order of the slack, whose fractions grow with every step.
    """

    form: float
    multipliers: float
    row: float
    elimination: float = 0.0


_ENTRIES = {
    Arithmetic.EXACT: _Entry(900.0, 110.0, 700.0, 8.0),
    Arithmetic.BALL: _Entry(230.0, 110.0, 300.0),
    Arithmetic.FLOAT: _Entry(65.0, 32.0, 80.0),
}


def product_bytes(arithmetic: Arithmetic, neurons: int, dimension: int, further: int) -> float:
    """Bytes that a leaf of a proof by products takes, with so many inequalities besides the signs."""
    entry, order = _ENTRIES[arithmetic], 2.0 * neurons + dimension
    return (
        entry.form * order**2
        + entry.multipliers * (2.0 * neurons + further) ** 2
        + entry.row * further * order
        + entry.elimination * (neurons + dimension) ** 3
    )


def row_bytes(arithmetic: Arithmetic, rows: float, columns: float) -> float:
    """Bytes that a table of features or of the like takes, with its copies."""
    return _ENTRIES[arithmetic].row * rows * columns


def require_memory(needed: float, what: str) -> None:
    """Raise ``ProofFailure`` where ``what`` takes more bytes than the limit."""
    require(
        needed <= MEMORY_LIMIT,
        f"{what} takes about {needed / 2**30:.3g} GiB of memory, and this checker stops at {MEMORY_LIMIT >> 30} GiB",
    )
