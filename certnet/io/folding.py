"""Affine maps put into their neighbours, networks put together, and how far rounding may move what comes out.

A product, quotient or sum counts as exact where an error-free transformation (Dekker, Knuth) finds no error, which
takes in all products of two float32 numbers; else it is charged by more than float64 may err.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from formulations import InputError
from formulations._validation import FloatArray
from formulations.network import ReluNetwork

MOST_SUMMED = 2**20
"""Products up to which sums are rounded once; beyond, sums of several terms count as rounded."""
LARGEST_MATRIX = 2**27
"""Most entries of a matrix that is computed."""
_SPLIT = 2.0**27 + 1.0
_LEAST = 2.0**-900
"""Products of at least this size have no digits below the least float64 number."""
_UNIT, _LOST, _ROOM = 2.0**-52, 2.0**-1000, 1.0 + 2.0**-30
"""More than an operation errs, relative to its result; than underflow takes; and for errors of such bounds."""


@dataclass(frozen=True, eq=False)
class Rounded:
    """An array, and by how much at most the exact numbers that it stands for differ from its entries."""

    values: FloatArray
    off: float = 0.0

    @property
    def size(self) -> float:
        """The largest of the exact numbers' sizes is at most this."""
        return float(np.abs(self.values).max(initial=0.0)) + self.off

    def changed(self, move: Callable[[FloatArray], FloatArray]) -> "Rounded":
        """After a function that moves, repeats or negates entries."""
        return Rounded(move(self.values), self.off)

    def spread(self, length: int) -> "Rounded":
        """A scalar or vector as a vector of this length."""
        return Rounded(np.broadcast_to(self.values, (length,)), self.off)

    def __neg__(self) -> "Rounded":
        return Rounded(-self.values, self.off)

    def __add__(self, other: "Rounded") -> "Rounded":
        with np.errstate(all="ignore"):
            # What overflows is found when it is used.
            total = self.values + other.values
            own = 0.0 if exact_sum(self.values, other.values) else _UNIT * _size(total)
        return Rounded(total, _above(self.off + other.off + own))

    def __mul__(self, other: "Rounded") -> "Rounded":
        with np.errstate(all="ignore"):
            product = self.values * other.values
            own = 0.0 if exact_product(self.values, other.values) else _UNIT * _size(product) + _LOST
        return Rounded(product, _above(own + _mixed(self.size, self.off, other.size, other.off)))

    def __truediv__(self, other: "Rounded") -> "Rounded":
        """The quotient by numbers that are exact."""
        with np.errstate(all="ignore"):
            found = self.values / other.values
            exact = bool((found * other.values == self.values).all()) and exact_product(found, other.values)
            own = 0.0 if exact else _UNIT * _size(found) + _LOST
            passed = self.off / float(np.abs(other.values).min(initial=math.inf)) if self.off else 0.0
        return Rounded(found, math.inf if other.off else _above(own + passed))

    def __matmul__(self, other: "Rounded") -> "Rounded":
        with np.errstate(all="ignore"):
            product, steps = _product(self.values, other.values)
            terms = self.values.shape[1]
            own = terms * _LOST + steps * _UNIT * _size(np.abs(self.values) @ np.abs(other.values)) if steps else 0.0
        return Rounded(product, _above(own + terms * _mixed(self.size, self.off, other.size, other.off)))


ONE, ZERO = Rounded(np.ones(())), Rounded(np.zeros(()))


def joined(join: Callable[[list[FloatArray]], Any], parts: Sequence[Rounded]) -> Rounded:
    """Arrays put together by a function such as ``np.hstack``."""
    return Rounded(join([part.values for part in parts]), max(part.off for part in parts))


def block_diagonal(blocks: Sequence[FloatArray]) -> FloatArray:
    """The blocks along the diagonal of a matrix of zeros."""
    ends = np.cumsum([[0, 0], *(block.shape for block in blocks)], axis=0)
    found = np.zeros(ends[-1])
    for block, (row, column) in zip(blocks, ends, strict=False):
        found[row : row + block.shape[0], column : column + block.shape[1]] = block
    return found


def folded(U: Rounded, bias: Rounded, gain: Rounded, shift: Rounded) -> tuple[Rounded, Rounded]:
    """(U, b) of the same function of x where U and b take gain·x + shift; gain and shift are vectors."""
    if shift.values.any() or shift.off:
        bias = bias + (shift.changed(lambda s: s[None]) @ U).changed(lambda b: b[0])
    return gain.changed(lambda g: g[:, None]) * U, bias


def normalised(
    mean: FloatArray, variance: FloatArray, epsilon: float, weight: FloatArray, bias: FloatArray
) -> tuple[Rounded, Rounded]:
    """(gain, shift) of a batch normalisation in evaluation."""
    root = np.sqrt(variance + epsilon)
    plain = exact_sum(variance, np.asarray(epsilon)) and exact_product(root, root)
    plain = plain and bool((root * root == variance + epsilon).all())
    gain = Rounded(weight) / Rounded(root)
    if not plain:  # the sum, the root and the quotient were rounded
        gain = Rounded(gain.values, 4.0 * _UNIT * _size(gain.values) + _LOST)
    return gain, Rounded(bias) + -(Rounded(mean) * gain)


def _size(array: FloatArray) -> float:
    return float(np.abs(array).max(initial=0.0))


def _mixed(a: float, a_off: float, b: float, b_off: float) -> float:
    """What a product of numbers of these sizes is off, that are off themselves."""
    return (a * b_off if b_off else 0.0) + (b * a_off if a_off else 0.0)


def _above(bound: float) -> float:
    """A bound that errors of its own computation do not reach; infinite where it is no number."""
    return bound * _ROOM if bound * _ROOM < math.inf else math.inf


def exact_product(a: FloatArray, b: FloatArray) -> bool:
    """Whether a·b is exact in float64 at each place."""
    with np.errstate(all="ignore"):
        product = a * b
        powers = [(np.abs(np.frexp(x)[0]) == 0.5) & (product / x == y) for x, y in ((a, b), (b, a))]
    plain = (a == 0) | (b == 0) | powers[0] | powers[1]
    return bool(plain.all() or (plain | _without_error(np.multiply, a, b, product)).all())


def exact_sum(a: FloatArray, b: FloatArray) -> bool:
    """Whether a + b is exact in float64 at each place."""
    with np.errstate(all="ignore"):
        total = a + b
        part = total - a
        return bool((((a - (total - part)) + (b - part)) == 0).all())


def _product(A: FloatArray, B: FloatArray) -> tuple[FloatArray, int]:
    """(A B, how often each term was rounded): sums once where they are few, else not where they have one term."""
    with np.errstate(all="ignore"):
        product, exact = A @ B, True
        if len(A) * B.size > MOST_SUMMED or not np.isfinite(product).all():
            return product, 0 if _without_error(np.matmul, A, B, product).all() else len(B) + 1
        for row, place in zip(A, product, strict=True):
            terms = row[:, None] * B
            try:
                place[:] = sums = [math.fsum(column) for column in terms.T.tolist()]
                rests = [math.fsum([*column, -total]) for column, total in zip(terms.T.tolist(), sums, strict=True)]
            except OverflowError:  # of partial sums
                return A @ B, len(B) + 1
            exact = exact and not any(rests) and bool(_without_error(np.multiply, row[:, None], B, terms).all())
        return product, 0 if exact else 2


def _without_error(
    multiply: Callable[..., FloatArray], a: FloatArray, b: FloatArray, product: FloatArray
) -> FloatArray:
    """Where a product of at most one term has no rounding error, by Dekker's halves."""
    with np.errstate(all="ignore"):
        terms = multiply((a != 0).astype(np.float64), (b != 0).astype(np.float64))
        (x, y), (u, v) = _halves(a), _halves(b)
        error = ((multiply(x, u) - product) + multiply(x, v) + multiply(y, u)) + multiply(y, v)
        return np.asarray((terms == 0) | ((terms == 1) & (error == 0) & (np.abs(product) >= _LEAST)))


def _halves(a: FloatArray) -> tuple[FloatArray, FloatArray]:
    large = a * _SPLIT
    upper = large - (large - a)
    return upper, a - upper


def side_by_side(networks: Sequence[ReluNetwork]) -> ReluNetwork:
    """(x, x′, …) ↦ (f(x), f′(x′), …)."""
    if len(networks) == 1:
        return networks[0]
    hidden, output = (_diagonal([getattr(one, name) for one in networks]) for name in ("hidden", "output"))
    return _joined(networks, hidden, output)


def stacked(networks: Sequence[ReluNetwork]) -> ReluNetwork:
    """x ↦ (f(x), f′(x), …); neurons that several networks share are one. Errors as ``side_by_side``."""
    if len(networks) == 1:
        return networks[0]
    hidden = np.vstack([network.hidden for network in networks])
    whole = _joined(networks, hidden, _diagonal([network.output for network in networks]))
    _, first, which = np.unique(whole.generators, axis=0, return_index=True, return_inverse=True)
    # No sum is rounded: a network that had two equal neurons would keep them.
    order = np.argsort(first)
    output = np.zeros((whole.outputs, len(first)))
    for neuron, place in enumerate(np.argsort(order)[which.reshape(-1)].tolist()):
        if (output[:, place].astype(bool) & whole.output[:, neuron].astype(bool)).any():
            return whole
        output[:, place] += whole.output[:, neuron]
    kept = np.sort(first)
    joined = ReluNetwork(whole.hidden[kept], whole.hidden_bias[kept], output, whole.output_bias)
    return joined.as_of(whole)


def _joined(networks: Sequence[ReluNetwork], hidden: FloatArray, output: FloatArray) -> ReluNetwork:
    ending = next((network.ending for network in networks if network.ending is not None), None)
    if ending is not None:
        raise InputError(f"one of several outputs comes after {ending}; export the network up to its linear layer.")
    noted = [network for network in networks if network.note is not None]
    offs = [network.off for network in noted if network.off is not None]
    a, b, c, d = (max(part, default=0.0) for part in zip(*offs, strict=True)) if offs else (0.0,) * 4
    return ReluNetwork(
        hidden,
        np.concatenate([network.hidden_bias for network in networks]),
        output,
        np.concatenate([network.output_bias for network in networks]),
    ).told(
        " ".join(dict.fromkeys(str(network.note) for network in noted)) or None,
        None,
        (a, b, c, d) if offs and len(offs) == len(noted) else None,
    )


def _diagonal(blocks: Sequence[FloatArray]) -> FloatArray:
    rows, columns = (sum(block.shape[axis] for block in blocks) for axis in (0, 1))
    if rows * columns > LARGEST_MATRIX:
        raise InputError(
            f"the networks have {rows * columns} weights together; certnet joins {LARGEST_MATRIX} at most."
        )
    return block_diagonal(blocks)
