"""What a property says of outputs after a last function, as rows on the outputs before it.

With p = σ(y) such as Softmax, ``p_i ≤ p_j`` holds where ``y_i ≤ y_j`` does, and ``p ≤ t`` where ``y ≤ σ⁻¹(t)``. That
threshold is irrational as a rule; it is enclosed. Counterexamples are held against the side that makes rows harder to
meet (``Row.constant``), and proofs against the other one (``Row.slack``). What has no such form is refused.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from fractions import Fraction

import numpy as np

from certnet.io.clauses import Clause, Row, Terms, both, either
from formulations import InputError
from formulations._validation import FloatArray, IntArray

ENDINGS: dict[str, Callable[[FloatArray], FloatArray]] = {
    "LogSoftmax": lambda y: y - y.max() - np.log(np.exp(y - y.max()).sum()),
    "Sigmoid": lambda y: 0.5 + 0.5 * np.tanh(0.5 * y),
    "Softmax": lambda y: np.exp(y - y.max()) / np.exp(y - y.max()).sum(),
    "Tanh": np.tanh,
}
"""Functions of all outputs (c,) that networks of files may end in, and that keep the outputs' order, strictly."""
PROBABILISTIC = ("logistic", "cross-entropy")
"""Losses whose scores are logits."""
BITS = 256
"""Of the balls that enclose thresholds."""
_ALWAYS: list[Clause] = [[]]
_NEVER: list[Clause] = []
_RANGES: dict[str, tuple[Fraction | None, Fraction]] = {
    "LogSoftmax": (None, Fraction(0)),
    "Sigmoid": (Fraction(0), Fraction(1)),
    "Softmax": (Fraction(0), Fraction(1)),
    "Tanh": (Fraction(-1), Fraction(1)),
}
"""Between what values lie, which they never reach; None for no bound. Those of Softmax do where it has one output."""


def before_ending(formula: list[Clause], ending: str, outputs: int) -> list[Clause]:
    """A disjunction about outputs after a function, as one about the ``outputs`` before it."""
    if ending not in (*_RANGES, "ArgMax"):
        raise InputError(f"the network ends in {ending}, after which certnet reads no property; export it without.")

    def before(clause: Clause) -> list[Clause]:
        mine = [row for row in clause if row.y]
        if any(row.x for row in mine):
            raise InputError(f"an assertion relates inputs to outputs after {ending}; certnet relates outputs alone.")
        result: list[Clause] = [[row for row in clause if not row.y]]
        if ending == "ArgMax":
            return both(result, list(_positions(mine, outputs))) if mine else result
        for row in mine:
            result = both(result, [list(part) for part in _before(row, ending, outputs)])
        return result

    return either(map(before, formula))


def after_ending(ending: str | None, y: FloatArray) -> FloatArray:
    """The file's outputs, rounded, where those before its last function are ``y`` (c,)."""
    if ending == "ArgMax":
        return np.array([float(np.argmax(y))])
    return y if ending is None else np.asarray(ENDINGS[ending](y))


def _positions(rows: list[Row], outputs: int) -> Iterator[Clause]:
    """That the first largest output is one of those that meet the rows."""
    for k in range(outputs):
        values = [sum((weight * k for _, weight in row.y), row.constant) for row in rows]
        if all(value < 0 or (value == 0 and not row.strict) for value, row in zip(values, rows, strict=True)):
            yield [Row((), ((j, Fraction(1)), (k, Fraction(-1))), Fraction(0), j < k) for j in range(outputs) if j != k]


def _before(row: Row, ending: str, outputs: int) -> list[Clause]:
    total = sum(weight for _, weight in row.y)
    if len(row.y) > 1 and total == 0 and (ending == "LogSoftmax" or (len(row.y) == 2 and row.constant == 0)):
        # Differences of logarithms of probabilities are those of outputs.
        return [[row]]
    if len(row.y) == 1:
        return _threshold(row, ending, outputs)
    raise InputError(
        f"the network ends in {ending}, after which certnet reads comparisons of two outputs, or of one with a number."
    )


def _threshold(row: Row, ending: str, outputs: int) -> list[Clause]:
    """σ(y) ≤ t or σ(y) ≥ t of a single output."""
    ((output, weight),) = row.y
    at = -row.constant / weight
    least, most = _RANGES[ending]
    if ending in ("Softmax", "LogSoftmax") and outputs == 1:
        met = row.constant + (weight if ending == "Softmax" else 0)
        return _ALWAYS if met < 0 or (met == 0 and not row.strict) else _NEVER
    if at >= most or (least is not None and at <= least):
        return _ALWAYS if (at >= most) == (weight > 0) else _NEVER
    if ending == "Softmax" and outputs == 2:
        y: Terms = ((output, weight), (1 - output, -weight))
    elif ending in ("Sigmoid", "Tanh"):
        y = ((output, weight),)
    else:
        raise InputError(
            f"the network ends in {ending} over {outputs} outputs, of which one is compared with a number; certnet "
            "reads comparisons of two."
        )
    low, high = (weight * bound for bound in _enclosed(at, ending))
    # Σ w y − w σ⁻¹(t) ≤ 0: harder to meet is the larger constant.
    constant, slack = max(-low, -high), abs(high - low)
    return [[replace(row, y=y, constant=constant, slack=slack)]]


def _enclosed(at: Fraction, ending: str) -> tuple[Fraction, Fraction]:
    """Rational numbers below and above the y with σ(y) = t."""
    from flint import arb, ctx, fmpq

    odds = (1 + at) / (1 - at) if ending == "Tanh" else at / (1 - at)
    if odds == 1:
        return Fraction(0), Fraction(0)
    with ctx.workprec(BITS):
        value = arb(fmpq(odds.numerator, odds.denominator)).log() * (arb(0.5) if ending == "Tanh" else arb(1))
        ends = (end.man_exp() for end in (value.lower(), value.upper()))
        low, high = (Fraction(int(mantissa)) * Fraction(2) ** int(exponent) for mantissa, exponent in ends)
        return low, high


def probabilities(loss: str, scores: FloatArray) -> FloatArray | None:
    """(n, classes) of scores (n×c, or n×1 for the second of two classes); None where the loss makes none."""
    from scipy.special import expit, softmax  # is slow to import

    if loss not in PROBABILISTIC or not np.isfinite(scores).all():
        return None
    found = softmax(scores, axis=1) if loss == "cross-entropy" else np.hstack([expit(-scores), expit(scores)])
    return np.asarray(found)


def means(loss: str, scores: FloatArray) -> FloatArray:
    """(n, c) predictions of numbers; that of a Poisson model is the exponential of its score."""
    return np.exp(scores) if loss == "poisson" else scores


def class_numbers(scores: FloatArray) -> IntArray:
    """(n,) the class that scores or targets (n×c, or n×1 for the second of two classes) stand for."""
    return np.asarray((scores[:, 0] > 0) if scores.shape[1] == 1 else scores.argmax(axis=1), dtype=np.int64)
