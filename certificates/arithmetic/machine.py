"""The floating-point arithmetic that every bound of the checkers assumes, and a test whether this thread has it.

The model, stated here once:

* float64 is IEEE 754 binary64, and ``+ − × ÷ √`` on single numbers and elementwise on arrays are rounded once, to
  nearest, ties to even. So no extended precision in between (x87), and no other rounding direction.
* Underflow is gradual: subnormal operands count (no DAZ) and subnormal results are kept (no FTZ). Then sums never
  underflow, and a product or quotient that does is off by at most 2^−1075.
* A product of matrices, and a Cholesky factor, is made of such sums of products in any order, by any number of threads,
  with or without fused multiply-add; not by an algorithm of fewer multiplications (Strassen).

The modes of rounding and flushing belong to a thread, and any library may change them: one compiled with
``-ffast-math``, or ``torch.set_flush_denormal(True)``. A bound computed then may be false. So a check tests the thread
before and after it works, and the threads of the matrix products with it. All comparisons are of bit patterns, for
in a thread that flushes 2^−1074 equals 0.
"""

import operator
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np

from certificates.failure import ProofFailure
from formulations.arrays import FloatArray

SENTENCE = (
    "the floating-point arithmetic of this thread does not round to nearest with gradual underflow (a library has "
    "changed its mode; do not flush subnormal numbers), so nothing can be proved here"
)


class MachineFailure(ProofFailure):
    """The arithmetic is not that of the model: no figure that was computed with it counts."""


def _power(exponent: int) -> int:
    """The bits of 2^exponent."""
    return (exponent + 1023) << 52 if exponent >= -1022 else 1 << (exponent + 1074)


_SIGN, _ONE, _LEAST = 1 << 63, _power(0), 1
_HALF = _power(-53)
"""Half a unit in the last place of 1: a tie."""
_MORE = _HALF + (1 << 41)
"""A little more than the tie; with 64 bits in between it would become one."""
_THREE, _FIVE = _power(1) + (1 << 51), _power(2) + (1 << 50)
_SUMS = [
    (_ONE, _HALF, _ONE),
    (_ONE, _MORE, _ONE + 1),
    (_ONE | _SIGN, _HALF | _SIGN, _ONE | _SIGN),
    (_ONE | _SIGN, _MORE | _SIGN, (_ONE + 1) | _SIGN),
    (_ONE + 1, _HALF, _ONE + 2),
    (_LEAST, _LEAST, 2),
    (_power(-1022), _LEAST | _SIGN, _power(-1022) - 1),
]
_PRODUCTS = [
    (_LEAST, _ONE, _LEAST),
    (_LEAST, _power(1000), _power(-74)),
    (_power(-600), _power(-470), _power(-1070)),
    (_ONE + 1, _ONE + 1, _ONE + 2),
    (3, _power(-1), 2),
]
_QUOTIENTS = [(_LEAST, _LEAST, _ONE), (_ONE, _THREE, 0x3FD5555555555555), (_ONE, _FIVE, 0x3FC999999999999A)]
_PROBES: list[tuple[Callable[..., object], list[tuple[int, int, int]]]] = [
    (operator.add, _SUMS),
    (operator.mul, _PRODUCTS),
    (operator.truediv, _QUOTIENTS),
]
_REPEAT = 5
"""Arrays of a probe are so many times as long: longer than the registers, and no multiple of them."""
_SHORT, _SMALL, LARGE = 16, 128, 512
"""Orders of the matrix products that are tested; a larger product occupies more threads."""


@contextmanager
def rigorous(order: int = 0) -> Iterator[None]:
    """Surrounds a proof of about this order: the machine is tested before and after, overflow makes no noise, and
    memory that runs out and exact numbers that overflow are failures of the proof."""
    with np.errstate(all="ignore"):
        require_machine(max(order, 1))
        try:
            yield
        except MemoryError:
            raise ProofFailure("this machine has not enough memory for the proof") from None
        except OverflowError:
            raise ProofFailure("a number of the proof overflows") from None
        require_machine()


def require_machine(order: int = 0) -> None:
    """Test this thread, and those of matrix products of about this order; some 0.3 ms. They begin with the mode of the
    thread that made them, and nothing changes it later. Raises ``MachineFailure``."""
    for operation, rows in _PROBES:
        a, b, right = _floats(rows).T
        _require_same([operation(x, y) for x, y in zip(a.tolist(), b.tolist(), strict=True)], right)
        a, b, right = (np.tile(column, _REPEAT) for column in (a, b, right))
        _require_same(operation(a, b), right)
    _require_same(np.sqrt(_floats([_LEAST] * 3 * _REPEAT)), _floats([_power(-537)] * 3 * _REPEAT))
    _require_products(_SHORT)
    if order:
        _require_products(_SMALL if order <= _SMALL else LARGE)


def _require_products(order: int) -> None:
    """Every row of ``left @ right`` is a rounded sum of two products or a single product that needs subnormals."""
    sums = [(a, b, 0, 0) for a, b, _ in _SUMS]
    rows = [*sums, (0, 0, _power(-600), 0), (0, 0, 0, _power(1000))]
    truth = [*(right for _, _, right in _SUMS), _power(-1070), _power(-74)]
    left, right, wanted = np.zeros((order, order)), np.zeros((order, order)), np.zeros((order, order))
    columns = slice(None, None, max(1, order // 8))
    left[:, -4:] = np.resize(_floats(rows), (order, 4))
    right[-4:, columns] = _floats([(_ONE,), (_ONE,), (_power(-470),), (_LEAST,)])
    wanted[:, columns] = np.resize(_floats([(value,) for value in truth]), (order, 1))
    _require_same(left @ right, wanted)
    _require_same(left @ right[:, 0], wanted[:, 0])
    _require_same([row @ right[:, 0] for row in left[:_SHORT]], wanted[:_SHORT, 0])


def _floats(bits: object) -> FloatArray:
    """float64 numbers of these bit patterns."""
    values: FloatArray = np.array(bits, dtype=np.uint64).view(np.float64)
    return values


def _require_same(found: object, wanted: FloatArray) -> None:
    """Bit by bit, and of one shape."""
    found, wanted = (np.ascontiguousarray(array, dtype=np.float64) for array in (found, wanted))
    if not np.array_equal(found.view(np.int64), wanted.view(np.int64)):
        raise MachineFailure(SENTENCE)
