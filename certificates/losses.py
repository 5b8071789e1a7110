"""The losses that a statement may name, each with what a check needs of it, written without the solvers' table.

With ``ℓ(f, y) ≥ D(w) − w·f`` for all f, ``Σ ω_i ℓ(f_i, y_i) ≥ Σ ω_i D(W_i/ω_i) − ⟨W, f⟩`` for all weights ω > 0, which
is how W bounds the loss of any network. The table of ℓ, D and its domain is that of docs/mathematics.md (Theorem 2).
For numbers, r = y − f, and for signs, s = 1 − yf = y(y − f) and q = yw, ℓ is the maximum of ``wr − w²/2`` or ``qs −
q²/2``, the square for curved losses alone, over the limits of w or q; otherwise it has logarithms, and D has ``H(p) =
−p log p``. All domains hold w = 0. Whether W is in one is decided exactly, D is rounded down and ℓ up; logarithms and
exponentials are Arb's.
"""

import math
import re
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from flint import arb, ctx

from certificates.arithmetic.floating import PRECISION, SAFE_SIZE, TINY, rounded
from certificates.failure import NO_DEADLINE, Deadline, require
from formulations.arrays import FloatArray

NUMBERS, SIGNS, ONE_HOT, COUNTS = "numbers", "-1 or 1", "one-hot rows", "numbers that are not negative"
Products = list[tuple[FloatArray, FloatArray]]
"""Pairs of arrays of one shape, whose products are to be added up."""


@dataclass(frozen=True)
class Loss:
    """A line of the table.

    Attributes:
        targets: what y may be.
        below, above: ``−below ≤ w ≤ above``, or this of q; None where there is no limit, or y is the upper one.
        curved: whether D has the term −w²/2.
        entropic: whether ℓ and D have logarithms.
    """

    targets: str
    below: Fraction | None = None
    above: Fraction | None = None
    curved: bool = False
    entropic: bool = False

    @property
    def centred(self) -> bool:
        """Whether ℓ is taken as a function of f − y: of r = y − f, or of s = 1 − yf = y(y − f)."""
        return self.targets in (NUMBERS, SIGNS)


_ZERO, _ONE = Fraction(0), Fraction(1)
LOSSES = {
    "squared": Loss(NUMBERS, curved=True),
    "absolute": Loss(NUMBERS, _ONE, _ONE),
    "squared-hinge": Loss(SIGNS, _ZERO, curved=True),
    "hinge": Loss(SIGNS, _ZERO, _ONE),
    "logistic": Loss(SIGNS, _ZERO, _ONE, entropic=True),
    "cross-entropy": Loss(ONE_HOT, entropic=True),
    "poisson": Loss(COUNTS, entropic=True),
}
_WITH_NUMBER = re.compile(r"(huber|quantile):([0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]+)?)")


def loss_named(text: str) -> Loss:
    """The loss of this name; a parameter has to be a finite number δ > 0, or τ between 0 and 1."""
    if text in LOSSES:
        return LOSSES[text]
    found = _WITH_NUMBER.fullmatch(text)
    name, number = found.groups() if found else ("", "nan")
    known = ", ".join([*LOSSES, "huber:δ", "quantile:τ"])
    require(name != "", f"the loss {text[:40]!r} is not known to this checker (known: {known})")
    most = 1.0 if name == "quantile" else math.inf
    require(0 < float(number) < most, f"the parameter of the loss {text[:40]!r} is out of range")
    value = Fraction(float(number))
    return Loss(NUMBERS, value, value, curved=True) if name == "huber" else Loss(NUMBERS, 1 - value, value)


def require_targets(loss: Loss, Y: FloatArray) -> None:
    """Raise ``ProofFailure`` unless the finite targets Y (n×c) are what the loss takes."""
    sound = {
        NUMBERS: np.ones(len(Y), dtype=bool),
        SIGNS: (np.abs(Y) == 1).all(axis=1),
        COUNTS: (Y >= 0).all(axis=1),
        ONE_HOT: ((Y == 0) | (Y == 1)).all(axis=1) & (np.count_nonzero(Y, axis=1) == 1),
    }[loss.targets]
    row = int(np.argmin(sound))
    require(sound[row], f"row {row + 1} of Y is outside what the loss takes ({loss.targets})")


def require_domain(
    loss: Loss, W: FloatArray, Y: FloatArray, omega: FloatArray, deadline: Deadline = NO_DEADLINE
) -> None:
    """Raise ``ProofFailure`` unless all W_i/ω_i are in the domain, for finite W and proper Y (n×c), and ω > 0 (n)."""
    slope = Y * W if loss.targets == SIGNS else W
    holds = loss.centred or _at_most(W, omega, Y, deadline)
    holds = holds and (loss.above is None or _at_most(slope, omega, loss.above, deadline))
    holds = holds and (loss.below is None or _at_most(-slope, omega, loss.below, deadline))
    require(holds, "an entry of W is outside the domain of the loss")
    if loss.targets == ONE_HOT:
        require(not sums(W, deadline).any(), "a row of W does not sum to 0, which the loss needs")


def _at_most(left: FloatArray, omega: FloatArray, right: FloatArray | Fraction, deadline: Deadline) -> bool:
    """Whether ``left ≤ ω·right`` in every entry, for right ≥ 0: exactly, where floating point does not tell."""
    factor = np.broadcast_to(float(right) if isinstance(right, Fraction) else right, left.shape)
    product = omega[:, None] * factor
    # Rounding the factor and the product moves it by less than this.
    apart = np.abs(left - product) > 1e-15 * product + TINY
    if (apart & (left > product)).any():
        return False
    for i, k in np.argwhere(~apart & (left > 0)).tolist():
        deadline.check()
        exact = right if isinstance(right, Fraction) else Fraction(right[i, k])
        if Fraction(left[i, k]) > Fraction(omega[i]) * exact:
            return False
    return True


def sums(rows: FloatArray, deadline: Deadline = NO_DEADLINE) -> FloatArray:
    """The exact sum of each row, rounded once; so it is 0 only if the exact one is."""
    require(np.abs(rows).max(initial=0.0) <= SAFE_SIZE, "an entry of W is too large to be added up")
    totals = []
    for row in rows:
        deadline.check()
        totals.append(math.fsum(row))
    return np.array(totals)


def twice_earned(
    loss: Loss, W: FloatArray, Y: FloatArray, omega: FloatArray, deadline: Deadline = NO_DEADLINE
) -> Products:
    """Products whose sum is at most ``2 Σ ω_i D(W_i/ω_i)``, and nearly that, for W in the domain."""
    if loss.entropic:
        return [(np.array([_entropies(loss, W, Y, omega, deadline)]), np.array([2.0]))]
    products = [(W, Y), (W, Y)]
    if loss.curved:
        size, weight = np.abs(W), omega[:, None]
        products.append((-size, np.where(weight == 1, size, np.nextafter(size / weight, np.inf))))
    return products


def _entropies(loss: Loss, W: FloatArray, Y: FloatArray, omega: FloatArray, deadline: Deadline) -> float:
    """The sum of ω_i D(W_i/ω_i), rounded down."""
    with ctx.workprec(PRECISION):
        total = arb(0)
        # Rows one by one: lists of millions of them would take long, and much memory.
        for weight, slopes, targets in zip(map(arb, omega), W, Y, strict=True):
            deadline.check()
            # An entry that is 0 earns 0, exactly.
            for w, y in ((arb(w), arb(y)) for w, y in zip(slopes.tolist(), targets.tolist(), strict=True) if w):
                if loss.targets == SIGNS:
                    total += _entropy(y * w, weight) + _entropy(weight - y * w, weight)
                else:
                    total += _entropy(weight * y - w, weight)
                if loss.targets == COUNTS:
                    total -= _entropy(weight * y, weight) + w
        return rounded(total, upper=False)


def _entropy(p: arb, weight: arb) -> arb:
    """ω H(p/ω). The ball of a p near 0 is exact: then p is the difference of numbers of one size and few bits."""
    return arb(0) if p == 0 else -p * (p / weight).log()


def twice_lost(
    loss: Loss, lower: FloatArray, upper: FloatArray, Y: FloatArray, deadline: Deadline = NO_DEADLINE
) -> tuple[FloatArray, FloatArray]:
    """Two arrays (n×c or n×1) whose products are at least twice the losses of all f, or f − y if centred, between."""
    if loss.centred:
        opposed = (Y > 0) | (loss.targets == NUMBERS)
        lower, upper = np.where(opposed, -upper, lower), np.where(opposed, -lower, upper)
    if loss.entropic:
        values = np.empty((len(Y), 1 if loss.targets == ONE_HOT else Y.shape[1]))
        for i, row in enumerate(zip(lower, upper, Y, strict=True)):
            deadline.check()
            values[i] = _losses(loss, *(part.tolist() for part in row))
        return np.full_like(values, 2.0), values
    # ℓ is convex, so largest at an end. It is a maximum over w or q between the limits; wider ones make it larger.
    above, below = (math.inf if limit is None else _above(limit) for limit in (loss.above, loss.below))
    slopes, rests = [], []
    for end in (lower, upper):
        size, limit = np.abs(end), np.where(end > 0, above, below)
        slopes.append(np.minimum(size, limit) if loss.curved else limit)
        rests.append(2.0 * size - slopes[-1] if loss.curved else 2.0 * size)
    return np.maximum(*slopes), np.nextafter(np.maximum(*rests), np.inf)


def _losses(loss: Loss, lower: list[float], upper: list[float], y: list[float]) -> list[float]:
    """Upper bounds of the losses in a row of f, of s for signs, or of the one loss of the row."""
    with ctx.workprec(PRECISION):
        low, high = [*map(arb, lower)], [*map(arb, upper)]
        if loss.targets == SIGNS:
            found = [(s - 1).exp().log1p() for s in high]
        elif loss.targets == ONE_HOT:
            own = y.index(1.0)
            found = [sum(((f - low[own]).exp() for k, f in enumerate(high) if k != own), arb(0)).log1p()]
        else:
            least = [_entropy(arb(t), arb(1)) + t for t in y]
            ends = zip(low, high, map(arb, y), least, strict=True)
            found = [(a.exp() - t * a - h).max(b.exp() - t * b - h) for a, b, t, h in ends]
        return [rounded(value, upper=True) for value in found]


def _above(limit: Fraction) -> float:
    nearest = float(limit)
    return nearest if Fraction(nearest) >= limit else math.nextafter(nearest, math.inf)
