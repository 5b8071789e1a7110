"""A counterexample is what exact arithmetic says it is: region and outputs are evaluated in rational numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from formulations._validation import FloatArray
from formulations.robustness import InputRegion, ReluNetwork, UnsafeCase


@dataclass(frozen=True, eq=False)
class Counterexample:
    """An unsafe input.

    Attributes:
        x: (d,) the input; its float64 entries are meant exactly.
        y: (c,) outputs, rounded to float64.
        case: which case it makes unsafe.
        margin: max_r (H f(x) + h)_r, rounded to float64 from the exact value, which is ≤ 0.
    """

    x: FloatArray
    y: FloatArray
    case: int
    margin: float


def exact_outputs(network: ReluNetwork, x: FloatArray) -> list[Fraction]:
    """f(x) in rational arithmetic."""
    inputs = [Fraction(value) for value in x.tolist()]
    hidden = []
    for row, bias in zip(network.hidden.tolist(), network.hidden_bias.tolist(), strict=True):
        value = Fraction(bias) + _dot(row, inputs)
        hidden.append(max(value, Fraction(0)))
    return [
        Fraction(bias) + _dot(row, hidden)
        for row, bias in zip(network.output.tolist(), network.output_bias.tolist(), strict=True)
    ]


def _dot(weights: Sequence[float], values: Sequence[Fraction]) -> Fraction:
    return sum((Fraction(w) * v for w, v in zip(weights, values, strict=True) if w and v), Fraction(0))


def lies_in(region: InputRegion, x: FloatArray) -> bool:
    """Whether x is in the region, decided exactly."""
    if not (np.isfinite(x).all() and (x >= region.lower).all() and (x <= region.upper).all()):
        return False
    if region.centre is None or region.radius is None:
        return True
    square = sum(
        ((Fraction(a) - Fraction(c)) ** 2 for a, c in zip(x.tolist(), region.centre.tolist(), strict=True)), Fraction(0)
    )
    return square <= Fraction(region.radius) ** 2


def confirm(network: ReluNetwork, case: UnsafeCase, x: FloatArray, number: int) -> Counterexample | None:
    """The counterexample at x, or None if x lies outside the region or some row is positive, exactly."""
    if x.shape != (network.inputs,) or not lies_in(case.region, x):
        return None
    y = exact_outputs(network, x)
    margin = max(
        Fraction(constant) + _dot(row, y) for row, constant in zip(case.H.tolist(), case.h.tolist(), strict=True)
    )
    if margin > 0:
        return None
    return Counterexample(x, np.array([float(value) for value in y]), number, float(margin))
