"""What a proof may take, told from sizes before anything is built.

A certificate of a few kilobytes can describe a proof that needs any amount of memory. So every checker adds up the
sizes of its largest temporaries first, and refuses a proof beyond the limit: UNKNOWN, with a sentence. Time needs no
such table: all long operations look at the clock (``certificates.failure.Deadline``), those in rational numbers between
rows, which therefore must not be long.
"""

from certificates.arithmetic.matrix import Arithmetic
from certificates.failure import require

MEMORY_LIMIT = 4 << 30
"""Bytes that a check may take besides the arrays of the certificate."""
LONGEST_ROW = 100_000
"""Numbers in a row of the data, or of a network's first layer and of functions of its outputs."""

_ENTRIES = {
    Arithmetic.EXACT: (900.0, 110.0, 700.0, 8.0),
    Arithmetic.BALL: (140.0, 64.0, 200.0, 0.0),
    Arithmetic.FLOAT: (65.0, 32.0, 80.0, 0.0),
}
"""Bytes for each entry of what a proof by products builds, with all copies at their most (measured): of a form over
λ = (φ, z), of a matrix of multipliers over all inequalities, of the rows of further inequalities and tables of
features, and of the cubed order of the slack, whose fractions grow with every step of the elimination."""


def product_bytes(arithmetic: Arithmetic, neurons: int, dimension: int, further: int) -> float:
    """Bytes that a leaf of a proof by products takes, with so many inequalities besides the signs."""
    (form, multipliers, row, elimination), order = _ENTRIES[arithmetic], 2.0 * neurons + dimension
    products = multipliers * (2.0 * neurons + further) ** 2 + row * further * order
    return form * order**2 + products + elimination * (neurons + dimension) ** 3


def row_bytes(arithmetic: Arithmetic, rows: float, columns: float) -> float:
    """Bytes that a table of features or of the like takes, with its copies."""
    return _ENTRIES[arithmetic][2] * rows * columns


def require_memory(needed: float, what: str) -> None:
    """Raise ``ProofFailure`` where ``what`` takes more bytes than the limit."""
    takes = f"{what} takes about {needed / 2**30:.3g} GiB of memory"
    require(needed <= MEMORY_LIMIT, f"{takes}, and this checker stops at {MEMORY_LIMIT >> 30} GiB")


def require_short(length: int) -> None:
    """Raise ``ProofFailure`` where so many numbers of a statement belong to one row or column of it."""
    require(length <= LONGEST_ROW, f"{length} numbers stand in a row, and this checker stops at {LONGEST_ROW}")
