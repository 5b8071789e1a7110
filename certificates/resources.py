"""What a proof may take, told from sizes before anything is built.

A certificate of a few kilobytes can describe a proof that needs any amount of memory. So every checker adds up the sizes
of its largest temporaries first, and refuses a proof that is beyond the limit: UNKNOWN, with a sentence. Time needs no
such table: all long operations look at the clock (``certificates.failure.Deadline``).
"""

from certificates.failure import require

MEMORY_LIMIT = 4 << 30
"""Bytes that a check may take besides the arrays of the certificate."""


def require_memory(needed: float, what: str) -> None:
    """Raise ``ProofFailure`` where ``what`` takes more bytes than the limit."""
    require(
        needed <= MEMORY_LIMIT,
        f"{what} takes about {needed / 2**30:.3g} GiB of memory, and this checker stops at {MEMORY_LIMIT >> 30} GiB",
    )
