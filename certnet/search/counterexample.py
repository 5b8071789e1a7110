"""What exact arithmetic says: counterexamples, and the class of an input. Outputs are evaluated in rational numbers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from certificates.arithmetic import Enclosure
from certificates.arithmetic.machine import MachineFailure, require_machine
from certificates.failure import ProofFailure
from certificates.float32 import output_errors
from certificates.robustness import preactivation_bounds
from certnet.io.endings import after_ending
from certnet.search.float32 import evaluated_exactly
from certnet.search.regions import exact_point, pull_inside
from formulations import InputError
from formulations._validation import FloatArray, IntArray
from formulations.network import ReluNetwork
from formulations.robustness import InputRegion, UnsafeCase
from formulations.rounding import nearest

if TYPE_CHECKING:
    from certnet.io.query import Query

__all__ = ["Counterexample"]

Integers = NDArray[Any]
"""Python integers in an array of objects."""


@dataclass(frozen=True, eq=False)
class Counterexample:
    """An unsafe input.

    Attributes:
        x: (d,) the input; its float64 entries are meant exactly unless ``exact`` is there.
        y: (c,) outputs, rounded to float64.
        case: which case it makes unsafe.
        margin: the largest row's value, rounded to float64 from the exact value, which is ≤ 0; with float32 semantics
            what it is at most in any evaluation, and x holds float32 numbers.
        exact: the input, where no float64 vector is it; ``x`` is then the nearest one.
    """

    x: FloatArray
    y: FloatArray
    case: int
    margin: float
    exact: tuple[Fraction, ...] | None = None

    def to_dict(self) -> dict[str, Any]:
        """What JSON says of it."""
        x = exact_fields(self.x if self.exact is None else self.exact)
        return {"x": x, "y": self.y.tolist(), "case": self.case, "margin": self.margin}

    def as_declared(self, query: "Query") -> "Counterexample":
        """The same in the inputs and outputs that the query declares."""
        places, exact = list(query.places), self.exact
        exact = None if exact is None else tuple(exact[place] for place in places)
        outputs = after_ending(query.network.ending, self.y[: query.scores])
        return replace(self, x=self.x[places], y=outputs[: query.outputs], exact=exact)

    @property
    def is_single(self) -> bool:
        """Whether x holds float32 numbers, and is exact."""
        with np.errstate(over="ignore"):
            return self.exact is None and bool((self.x.astype(np.float32) == self.x).all())


def exact_fields(x: FloatArray | Sequence[Fraction]) -> list[float | str]:
    """What JSON says of an input: numbers that are float64 as such, others as fractions in text."""
    if isinstance(x, np.ndarray):
        found: list[float | str] = x.tolist()
        return found
    near = [nearest(value) for value in x]
    return [a if math.isfinite(a) and Fraction(a) == b else str(b) for a, b in zip(near, x, strict=True)]


def exact_outputs(network: ReluNetwork, x: FloatArray | Sequence[Fraction]) -> list[Fraction]:
    """f(x) in rational arithmetic: all numbers are integers times a power of two and over a denominator of x.

    Both are common to a layer. The denominator scales the biases, because (·)₊ is positively homogeneous.
    """
    if isinstance(x, np.ndarray):
        start, exponent, common = *_integers(x), 1
    else:
        common = math.lcm(*(entry.denominator for entry in x))
        start, exponent = np.array([int(entry * common) for entry in x], dtype=object), 0
    values, exponent = _layer(network.hidden, network.hidden_bias, start, exponent, common)
    hidden = np.array([max(value, 0) for value in values], dtype=object)
    values, exponent = _layer(network.output, network.output_bias, hidden, exponent, common)
    return [Fraction(value, common) * Fraction(2) ** exponent for value in values]


def _layer(weights: FloatArray, bias: FloatArray, values: Integers, exponent: int, common: int) -> tuple[Integers, int]:
    """``weights · (values 2^exponent) + common · bias`` as integers and their exponent."""
    factors, power = _integers(weights)
    added, own = _integers(bias)
    product = factors @ values if values.size else np.array([0] * len(bias), dtype=object)
    low = min(power + exponent, own)
    return product * 2 ** (power + exponent - low) + added * (common * 2 ** (own - low)), low


def _integers(array: FloatArray) -> tuple[Integers, int]:
    """(integers, e) with ``array = integers · 2^e`` exactly."""
    mantissa, exponent = np.frexp(array)
    whole, power = (mantissa * 2.0**53).astype(np.int64), exponent.astype(np.int64) - 53
    least = int(power[whole != 0].min()) if whole.any() else 0
    shift = np.where(whole != 0, power - least, 0)
    return whole.astype(object) * 2 ** shift.astype(object), least


def confirm(
    network: ReluNetwork, case: UnsafeCase, x: FloatArray | tuple[Fraction, ...], number: int
) -> Counterexample | None:
    """The counterexample at x, or None if x lies outside the exact region or some row that is meant is positive.

    Rational numbers are held against a box.
    """
    if isinstance(x, np.ndarray):
        inside = case.region.contains(x)
    else:
        low, high = case.region.sides or (case.region.lower.tolist(), case.region.upper.tolist())
        inside = all(a <= value <= b for a, value, b in zip(low, x, high, strict=True))
    return _unsafe(network, case, x, number) if inside else None


def confirm_near(network: ReluNetwork, case: UnsafeCase, X: FloatArray, number: int) -> Counterexample | None:
    """``confirm`` at float64 vectors of the exact region near each of X (n×d), until one is found.

    Where the region has rational sides and that fails, the point of the exact box nearest to it is tried as well. A
    vector of float32 numbers is returned instead if the one nearest to it in the region is unsafe too: networks are
    evaluated in these as a rule.
    """
    # Many starts of an attack end at the same vertex.
    kind = np.float64 if case.rounding is None else np.float32
    for x in {x.tobytes(): x for x in X}.values():
        for point in (pull_inside(case.region, x, kind), exact_point(case.region, x)):
            found = None if point is None else _unsafe(network, case, point, number)
            if found is not None and not found.is_single:
                single = pull_inside(case.region, found.x, np.float32)
                return (None if single is None else _unsafe(network, case, single, number)) or found
            if found is not None:
                return found
    return None


def _unsafe(
    network: ReluNetwork, case: UnsafeCase, x: FloatArray | tuple[Fraction, ...], number: int
) -> Counterexample | None:
    """The counterexample at a point of the region, if all rows are at most 0 there, in float32 by any evaluation.

    Where the machine is not that of the checkers' model nothing is refuted either: it takes subnormal numbers for 0.
    """
    try:
        require_machine()
    except MachineFailure:
        return None
    y, errors = exact_outputs(network, x), [Fraction(0)] * network.outputs
    if case.rounding is not None:
        if not isinstance(x, np.ndarray) or not (x.astype(np.float32) == x).all():
            return None
        try:
            at = InputRegion(x, x)
            lost = output_errors(network, at, preactivation_bounds(network, at)[1])
            errors = [*map(Fraction, np.where(evaluated_exactly(network, x), 0.0, lost).tolist())]
        except ProofFailure:
            return None
    values = [sum((w * y[j] + abs(w) * errors[j] for j, w in row.weights), row.constant) for row in case.rows]
    margin = max(values)
    if margin > 0 or any(row.strict and value == 0 for row, value in zip(case.rows, values, strict=True)):
        return None
    inputs, outputs = (np.array([nearest(Fraction(value)) for value in values]) for values in (x, y))
    return Counterexample(inputs, outputs, number, nearest(margin), None if isinstance(x, np.ndarray) else x)


def decided_classes(network: ReluNetwork, X: FloatArray, labels: IntArray) -> tuple[IntArray, NDArray[np.bool_]]:
    """Of each row of X (n×d) the first of its largest outputs, and whether it keeps its label (n,); decided exactly.

    It does if that output is larger than every other one; so a tie counts against it, as in ``keeps_class``. Floating
    point with error bounds decides most rows, rational arithmetic the others.

    Raises:
        InputError: this machine's arithmetic is not that of the checkers' model.
    """
    try:
        require_machine()
    except MachineFailure as failure:
        raise InputError(f"{failure}.") from None
    with np.errstate(all="ignore"):
        # What overflows is decided exactly.
        outputs = _enclosed(network, X)
        rows = np.arange(len(X))
        lead = np.nextafter(outputs.mid[rows, labels] - outputs.rad[rows, labels], -np.inf)
        others = np.nextafter(outputs.mid + outputs.rad, np.inf)
        others[rows, labels] = -np.inf
        kept = lead > others.max(axis=1, initial=-np.inf)
    found = np.array(labels, dtype=np.int64)
    for row in np.flatnonzero(~kept).tolist():
        y = exact_outputs(network, X[row])
        largest = max(y)
        found[row], kept[row] = y.index(largest), y[labels[row]] == largest and y.count(largest) == 1
    return found, kept


def _enclosed(network: ReluNetwork, X: FloatArray) -> Enclosure:
    """Outputs n×c with error bounds."""
    one = Enclosure.exact(np.ones((len(X), 1)))
    signal = Enclosure.exact(X)
    for weights, bias in ((network.hidden, network.hidden_bias), (network.output, network.output_bias)):
        product = signal @ Enclosure.exact(np.ascontiguousarray(weights.T))
        signal = product + one @ Enclosure.exact(bias[None])
        if weights is network.hidden:
            signal = signal.positive_part()
    return signal
