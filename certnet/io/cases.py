"""Rows as unsafe cases: a box for each conjunction, and rows on the outputs of a network that says all that is asked.

A row that relates several inputs, or inputs and outputs, is one on outputs too: of the same network with an output
``a·x`` more, which a neuron that is active on the whole region gives exactly, ``(a·x + s)₊ − s``. Inputs that a
property calls equal become one. So whatever is linear is asked in the one form that is proved, of two networks side by
side as well as of one.

Proofs use float64 numbers that enclose what is meant: boxes are rounded outwards, and unsafe rows towards more unsafe
outputs. Counterexamples are held against the rational numbers (``InputRegion.sides``, ``UnsafeCase.stated``).
"""

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from certificates.arithmetic.floating import inflate
from certificates.robustness import preactivation_bounds
from certnet.io.clauses import Clause, Row, Terms, moved, short
from certnet.io.folding import stacked
from formulations import InputError
from formulations._validation import FloatArray
from formulations.network import ReluNetwork
from formulations.robustness import InputRegion, OutputRow, UnsafeCase
from formulations.rounding import below, nearest

MOST_NUMBERS = 1 << 27  # Coefficients of all rows on outputs, and of all outputs that are added.
BESIDE = Fraction(1, 2**60)  # How far from a side that is excluded rational points are, as a part of the width.
FAR = Fraction(2) ** 900  # What is beyond it is too large for an output that is added.


@dataclass(frozen=True, eq=False)
class Property:
    """What a property file asks: unsafe cases over d inputs and c outputs.

    Attributes:
        inputs, outputs: how many the file declares.
        cases: a disjunction; where no point is unsafe whatever the network is, an impossible case stands for that.
        network: the network that the cases are about, where one was given. It is that one unless the file relates
            several inputs, or inputs and outputs: then it has outputs more, or inputs less that are equal to others.
        places: which of its inputs each declared input is.
    """

    inputs: int
    outputs: int
    cases: tuple[UnsafeCase, ...]
    network: ReluNetwork | None
    places: tuple[int, ...]


def asked(
    stated: list[Clause], sizes: tuple[int, int], network: ReluNetwork | None, spell: Callable[[int], str]
) -> Property:
    """The property of a disjunction over so many inputs and outputs; ``spell`` names an input in complaints."""
    places, network = _one_for_equal(stated, sizes[0], network)
    inputs, outputs = sizes if network is None else (network.inputs, network.outputs)
    formula = stated
    if inputs != sizes[0]:
        known: dict[int, Row] = {}
        formula = [[known.setdefault(id(row), moved(row, places)) for row in clause] for clause in stated]
    formula = [clause for clause in formula if not any(row.is_impossible for row in clause)]
    pairs = list(_pairs(formula, inputs, spell))
    if pairs:
        pairs, network = _outputs_alone(pairs, outputs, network)
        outputs = outputs if network is None else network.outputs
        if outputs * sum(not row.x for clause, _ in pairs for row in clause) > MOST_NUMBERS:
            raise InputError(f"the property has more than {MOST_NUMBERS} coefficients when it is expanded; split it.")
        cases = [_case(region, [row for row in clause if row.y], outputs, network) for clause, region in pairs]
    else:
        cases = [UnsafeCase(InputRegion(*np.zeros((2, inputs))), np.zeros((1, outputs)), np.ones(1))]
    return Property(*sizes, tuple(cases), network, places)


def _one_for_equal(
    formula: list[Clause], inputs: int, network: ReluNetwork | None
) -> tuple[tuple[int, ...], ReluNetwork | None]:
    """Which input stands for each, and the network with these alone: those that are equal in all cases become one.

    Their columns of weights are added, where no sum is rounded.
    """
    same = tuple(range(inputs))
    pairs = [_differences(clause) for clause in formula] if network is not None else []
    common = set.intersection(*pairs) if pairs else set()
    if network is None or not common:
        return same, network
    hidden, of = np.array(network.hidden), list(same)
    for i, j in sorted(common):
        i, j = sorted((of[i], of[j]))
        if i != j and not ((hidden[:, i] != 0) & (hidden[:, j] != 0)).any():
            hidden[:, i] += hidden[:, j]
            of = [i if place == j else place for place in of]
    kept = sorted(set(of))
    places = tuple(kept.index(place) for place in of)
    return places, replace(network, hidden=hidden[:, kept]).as_of(network)


def _differences(clause: Clause) -> set[tuple[int, int]]:
    """The pairs of inputs that a conjunction calls equal."""
    found: dict[bool, set[tuple[int, int]]] = {False: set(), True: set()}
    for row in clause:
        if len(row.x) == 2 and not row.y and row.constant == 0 and row.x[0][1] + row.x[1][1] == 0:
            (i, factor), (j, _) = sorted(row.x)
            found[factor > 0].add((i, j))
    return found[False] & found[True]


Bound = tuple[Fraction, bool]
"""A number, and from below whether it is excluded, from above whether it is included; so the larger is the tighter."""


def _pairs(formula: list[Clause], inputs: int, spell: Callable[[int], str]) -> Iterator[tuple[Clause, InputRegion]]:
    """The clauses whose bounds do not contradict each other, and their boxes; one object where these are the same."""
    region, known = functools.cache(_region), dict[tuple[int, ...], InputRegion | None]()
    for clause in formula:
        rows = [row for row in clause if row.x and not row.y]
        # Clauses share the rows that they come from, and hashes of these are dear.
        origin = tuple(map(id, rows))
        if origin not in known:
            box = _box(rows, inputs, spell)
            known[origin] = None if box is None else region(*box)
        found = known[origin]
        if found is not None:
            yield clause, found


def _box(
    rows: list[Row], inputs: int, spell: Callable[[int], str]
) -> tuple[tuple[Bound, ...], tuple[Bound, ...]] | None:
    """(lower, upper) of rows over inputs; None if they contradict each other."""
    lower: dict[int, Bound] = {}
    upper: dict[int, Bound] = {}
    for row in rows:
        if len(row.x) == 1:
            (i, factor), bound = row.x[0], row.bound
            if factor > 0:
                upper[i] = min(upper.get(i, (bound, True)), (bound, not row.strict))
            else:
                lower[i] = max(lower.get(i, (bound, False)), (bound, row.strict))
    _implied(rows, lower, upper)
    for i in lower.keys() & upper.keys():
        (low, excluded), (high, included) = lower[i], upper[i]
        if low > high or (low == high and (excluded or not included)):
            return None
    missing = next((i for i in range(inputs) if i not in lower or i not in upper), None)
    if missing is not None:
        raise InputError(f"{spell(missing)} has no lower or no upper bound; certnet verifies on bounded boxes.")
    return tuple(lower[i] for i in range(inputs)), tuple(upper[i] for i in range(inputs))


def _implied(rows: list[Row], lower: dict[int, Bound], upper: dict[int, Bound]) -> None:
    """Add bounds of inputs without one that follow from rows over several, until there are no more."""
    joint = [row for row in rows if len(row.x) > 1]
    count = -1
    while count < len(lower) + len(upper):
        count = len(lower) + len(upper)
        for row in joint:
            for i, factor in row.x:
                mine = upper if factor > 0 else lower
                if i in mine:
                    continue
                least = [(value, (lower if value > 0 else upper).get(j)) for j, value in row.x if j != i]
                if all(bound is not None for _, bound in least):
                    rest = sum((value * bound[0] for value, bound in least if bound is not None), row.constant)
                    mine[i] = (short(-rest / factor), factor > 0)


def _region(lower: Sequence[Bound], upper: Sequence[Bound]) -> InputRegion:
    """The box rounded outwards; what is strict excludes points from it, and no others."""
    region = InputRegion.between([bound for bound, _ in lower], [bound for bound, _ in upper])
    if not any(excluded for _, excluded in lower) and all(included for _, included in upper):
        return region
    least, largest = (np.array(side) for side in region.inner or (region.lower, region.upper))
    sides: tuple[list[Fraction], list[Fraction]] = ([], [])
    for i, ((low, excluded), (high, included)) in enumerate(zip(lower, upper, strict=True)):
        if excluded and Fraction(float(least[i])) == low:
            least[i] = math.nextafter(least[i], math.inf)
        if not included and Fraction(float(largest[i])) == high:
            largest[i] = math.nextafter(largest[i], -math.inf)
        # Where a side is excluded, rational points are looked for beside it.
        sides[0].append(short(low + excluded * (high - low) * BESIDE))
        sides[1].append(short(high - (not included) * (high - low) * BESIDE))
    return replace(region, inner=(least, largest), sides=(tuple(sides[0]), tuple(sides[1])))


Pairs = list[tuple[Clause, InputRegion]]
Form = tuple[tuple[int, float], ...]  # numbers of inputs and coefficients


def _outputs_alone(pairs: Pairs, outputs: int, network: ReluNetwork | None) -> tuple[Pairs, ReluNetwork | None]:
    """The same rows over outputs alone, of the network with an output for each form of inputs that they hold."""
    forms: dict[Form, int] = {}
    changed: dict[int, Row] = {}
    for row in itertools.chain.from_iterable(clause for clause, _ in pairs):
        if id(row) not in changed and row.x and (row.y or len(row.x) > 1):
            form, scale = _form(row.x)
            added = forms.setdefault(form, outputs + len(forms))
            changed[id(row)] = replace(row, x=(), y=(*row.y, (added, 1 / scale)))
    if not forms:
        return pairs, network
    if network is None:
        raise InputError(
            "an assertion relates several inputs, or inputs and outputs; read the property for its network."
        )
    if len(forms) * (network.inputs + network.width + network.outputs) > MOST_NUMBERS:
        raise InputError(f"the property relates inputs in {len(forms)} ways, which is too many; split it.")
    lower = functools.reduce(np.minimum, (region.lower for _, region in pairs))
    upper = functools.reduce(np.maximum, (region.upper for _, region in pairs))
    # x ↦ (f(x), (a·x + s)₊ − s for each form a with its shift s)
    rows, shifts = np.zeros((len(forms), network.inputs)), np.array([_shift(form, lower, upper) for form in forms])
    for number, form in enumerate(forms):
        rows[number, [i for i, _ in form]] = [value for _, value in form]
    linear = ReluNetwork(rows, shifts, np.eye(len(forms)), -shifts)
    whole = stacked([network.told(network.note, None), linear]).as_of(network)
    return [([changed.get(id(row), row) for row in clause], region) for clause, region in pairs], whole


def _form(x: Terms) -> tuple[Form, Fraction]:
    """Float64 coefficients, the first of them positive, and what these are times the given ones."""
    factor = _factor([weight for _, weight in x])
    if factor is None:
        raise InputError("the coefficients of an assertion over inputs have too many digits; round them.")
    first = min(x)[1]
    scale = factor if first > 0 else -factor
    return tuple(sorted((i, float(scale * weight)) for i, weight in x)), scale


def _shift(form: Form, lower: FloatArray, upper: FloatArray) -> float:
    """A power of two, or 0, that makes a·x + shift ≥ 0 on the box, with room for what rounding does to bounds."""
    least = sum((Fraction(a) * Fraction(float((lower if a > 0 else upper)[i])) for i, a in form), Fraction(0))
    if least >= 0:
        return 0.0
    if -least > FAR:
        raise InputError("the numbers of an assertion are too large together.")
    room = max(-least * (1 + Fraction(1, 2**20)), 1 / FAR)
    return 2.0 ** math.ceil(math.log2(room))


def _case(region: InputRegion, rows: Sequence[Row], outputs: int, network: ReluNetwork | None) -> UnsafeCase:
    """The case of these rows; without one every input of the region is unsafe."""
    rows = rows or [Row((), (), Fraction(0))]
    stated = tuple(OutputRow(row.y, row.constant, row.strict) for row in rows)
    H, h = np.zeros((len(stated), outputs)), np.zeros(len(stated))
    for number, row in enumerate(stated):
        factor = _factor([weight for _, weight in row.weights])
        charge = _charge(row, region, network) if factor is None else Fraction(0)
        factor = factor or Fraction(1)
        for j, weight in row.weights:
            H[number, j] = float(factor * weight)
        h[number] = below(factor * (row.constant - rows[number].slack) - charge)
    case = UnsafeCase(region, H, h)
    return case if case.rows == stated else replace(case, stated=stated)


def _factor(weights: Sequence[Fraction]) -> Fraction | None:
    """A factor in (¼, 1] that makes float64 numbers of all weights: 1 if they are such; None if there is none.

    At most 1, so that a margin of the scaled row is no larger than that of the row.
    """
    if all(_is_double(weight) for weight in weights):
        return Fraction(1)
    factor = Fraction(
        math.lcm(*(weight.denominator for weight in weights)), math.gcd(*(weight.numerator for weight in weights))
    )
    # The weights are whole numbers now, without a common divisor.
    factor /= Fraction(2) ** (factor.numerator.bit_length() - factor.denominator.bit_length() + 1)
    return factor if all(_is_double(factor * weight) for weight in weights) else None


def _charge(row: OutputRow, region: InputRegion, network: ReluNetwork | None) -> Fraction:
    """What rounding the weights of a row changes of it at most, by |y_j| ≤ Σ_i |V_ji| max(u_i, 0) + |b₂_j|."""
    refused = "the coefficients of a row over outputs have too many digits, or are too large or too small, to be "
    if network is None:
        raise InputError(f"{refused}scaled to float64 numbers; round them, or read the property for its network.")
    with np.errstate(all="ignore"):
        _, upper = preactivation_bounds(network, region)
        sizes = np.abs(network.output) @ np.maximum(upper, 0.0) + np.abs(network.output_bias)
        sizes = inflate(sizes, 2 * network.width + 2)
    if not np.isfinite(sizes).all() or any(math.isinf(nearest(weight)) for _, weight in row.weights):
        raise InputError(f"{refused}rounded to float64 numbers; rescale them.")
    return sum((abs(weight - Fraction(float(weight))) * Fraction(sizes[j]) for j, weight in row.weights), Fraction(0))


def _is_double(value: Fraction) -> bool:
    rounded = nearest(value)
    return math.isfinite(rounded) and Fraction(rounded) == value
