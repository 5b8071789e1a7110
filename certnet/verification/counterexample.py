"""A counterexample is what exact arithmetic says it is: region and outputs are evaluated in rational numbers."""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np
from numpy.typing import NDArray

from formulations._validation import FloatArray
from formulations.robustness import InputRegion, ReluNetwork, UnsafeCase

Integers = NDArray[Any]
"""Python integers in an array of objects."""


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
    """f(x) in rational arithmetic: all numbers are integers times a power of two, which is common to a layer."""
    values, exponent = _layer(network.hidden, network.hidden_bias, *_integers(x))
    hidden = np.array([max(value, 0) for value in values], dtype=object)
    values, exponent = _layer(network.output, network.output_bias, hidden, exponent)
    return [Fraction(value) * Fraction(2) ** exponent for value in values]


def _layer(weights: FloatArray, bias: FloatArray, values: Integers, exponent: int) -> tuple[Integers, int]:
    """``weights · (values 2^exponent) + bias`` as integers and their exponent."""
    factors, power = _integers(weights)
    added, own = _integers(bias)
    product = factors @ values if values.size else np.array([0] * len(bias), dtype=object)
    low = min(power + exponent, own)
    return product * 2 ** (power + exponent - low) + added * 2 ** (own - low), low


def _integers(array: FloatArray) -> tuple[Integers, int]:
    """(integers, e) with ``array = integers · 2^e`` exactly."""
    mantissa, exponent = np.frexp(array)
    whole, power = (mantissa * 2.0**53).astype(np.int64), exponent.astype(np.int64) - 53
    least = int(power[whole != 0].min()) if whole.any() else 0
    shift = np.where(whole != 0, power - least, 0)
    return whole.astype(object) * 2 ** shift.astype(object), least


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
