"""Reading VNN-LIB: what must not happen, as boxes of inputs and rows on outputs.

A file of version 1.0 declares ``X_i`` and ``Y_j`` and asserts linear inequalities over them with ``and``, ``or``,
``<=``, ``>=``, and terms of ``+``, ``-``, ``*`` with numbers. The assertions together describe the unsafe points. They
are brought into a disjunction of conjunctions; in each of these the rows over a single X give the box, and rows over Y
the unsafe outputs.
Numbers are rational and stay so (``InputRegion.sides``, ``UnsafeCase.stated``): counterexamples are held against them.
Proofs use float64 numbers that enclose them: boxes are rounded outwards, and unsafe rows towards more unsafe outputs.
A file of version 2.0 is turned into the same formulas (``vnnlib2``).
"""

import itertools
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from pathlib import Path

import numpy as np

from certificates.arithmetic.floating import inflate
from certificates.robustness import preactivation_bounds
from certnet.io.packed import read_bytes, unreadable
from certnet.io.vnnlib2 import Declared, Expression, is_version_2, shown, version_2, without_comments
from formulations import InputError
from formulations.arguments import accepts, location
from formulations.network import ReluNetwork
from formulations.robustness import InputRegion, OutputRow, UnsafeCase
from formulations.rounding import below, nearest

__all__ = ["read_vnnlib"]

LARGEST_FILE = 1 << 26
"""Bytes, unpacked."""
MOST_CASES = 10_000
"""Of a property when it is expanded."""
MOST_NUMBERS = 1 << 27
"""Coefficients of all rows on outputs."""
LONGEST_NUMBER = 1000
LARGEST_EXPONENT = 999
"""Of 10, in a number of a file."""
MOST_BITS = 20_000
"""Of numerator and denominator, of what numbers sum up or multiply to."""
_TOKEN = re.compile(r"[()]|[^\s()]+", re.ASCII)
_NUMBER = re.compile(r"[+-]?+(?:[0-9]++(?:\.[0-9]*+)?+|\.[0-9]++)(?:[eE]([+-]?+[0-9]++))?+")
_VARIABLE = re.compile(r"([XY])_(0|[1-9][0-9]{0,8})")


@dataclass(frozen=True, eq=False)
class Property:
    """A property file: unsafe cases over d inputs and c outputs; without a case no point is unsafe."""

    inputs: int
    outputs: int
    cases: tuple[UnsafeCase, ...]


@accepts(path=location, network=ReluNetwork)
def read_vnnlib(path: str | Path, network: ReluNetwork | None = None) -> Property:
    """Read a VNN-LIB file of version 1.0, or of 2.0 where the ``vnnlib`` package is installed; ``.gz`` is unpacked.

    Args:
        path: the file.
        network: whose property it is. Rows over several outputs whose coefficients no factor makes float64 numbers can
            be read with it alone: what rounding them changes is bounded over its outputs.

    Raises:
        InputError: the file is missing, too large, not of this form, or of another network; the sentence says what and
            where.
    """
    source = Path(path)
    try:
        if source.is_dir():
            raise InputError(f"{source} is a folder; name the property file in it.")
        text = read_bytes(source, LARGEST_FILE).decode("utf-8-sig")
    except OSError as error:
        raise unreadable(source, error) from None
    except UnicodeDecodeError:
        raise InputError(f"{source.name} is no text; give a VNN-LIB file.") from None
    try:
        return parse_vnnlib(text, network)
    except InputError as error:
        raise InputError(f"{source.name}: {error}") from None


def parse_vnnlib(text: str, network: ReluNetwork | None = None) -> Property:
    """The property that a VNN-LIB text states, of this network.

    Raises:
        InputError: it is not of the form that this module describes.
    """
    if network is not None and network.ending is not None:
        raise InputError(
            f"the network ends in {network.ending}, and a property is about outputs after it; export the network up to "
            "its linear output layer."
        )
    declared: Declared = {"X": set(), "Y": set()}
    formula: list[list[Row]] = [[]]
    for assertion in version_2(text, declared) if is_version_2(text) else _version_1(text, declared):
        formula = _both(formula, _clauses(assertion, declared))
    if formula == [[]]:
        raise InputError("nothing is asserted.")
    inputs, outputs = len(declared["X"]), len(declared["Y"])
    if network is not None and (network.inputs, network.outputs) != (inputs, outputs):
        raise InputError(
            f"it declares {inputs} inputs and {outputs} outputs, but the network has {network.inputs} and "
            f"{network.outputs}; give the network it was made for."
        )
    return Property(inputs, outputs, tuple(_cases(formula, inputs, outputs, network)))


def _version_1(text: str, declared: Declared) -> Iterator[Expression]:
    """The assertions of a 1.0 text, with what is ``declared`` before each."""
    for command in _expressions(text):
        if not command or not isinstance(command[0], str):
            raise InputError("a command is expected, such as (assert (<= Y_0 Y_1)).")
        if command[0] == "declare-const":
            _declare(command, declared)
        elif command[0] == "assert" and len(command) == 2:
            yield command[1]
        elif command[0] not in ("set-logic", "set-info", "check-sat", "exit"):
            raise InputError(f"{shown(command)} is not understood; certnet reads declare-const and assert.")
    for letter, kind in (("X", "input"), ("Y", "output")):
        if not declared[letter] or declared[letter] != set(range(len(declared[letter]))):
            raise InputError(f"the {kind}s {letter}_0, {letter}_1, … are not all declared; declare each once.")


def _expressions(text: str) -> Iterator[list[Expression]]:
    """Top-level S-expressions; iterative, so that nesting cannot exhaust the stack."""
    stack: list[list[Expression]] = []
    for number, line in enumerate(without_comments(text).split("\n"), start=1):
        for token in _TOKEN.findall(line):
            if token == "(":
                stack.append([])
                if len(stack) > 200:
                    raise InputError(f"line {number} is nested too deeply.")
            elif not stack:
                wrong = "closes a bracket that is not open" if token == ")" else f"has {token!r} outside brackets"
                raise InputError(f"line {number} {wrong}.")
            elif token != ")":
                stack[-1].append(token)
            elif len(stack) == 1:
                yield stack.pop()
            else:
                stack[-2].append(stack.pop())
    if stack:
        raise InputError("a bracket is not closed at the end.")


def _declare(command: list[Expression], declared: Declared) -> None:
    name = command[1] if len(command) == 3 and isinstance(command[1], str) else ""
    found, numbers = _VARIABLE.fullmatch(name), declared.get(name[:1])
    if found is None or command[2] != "Real" or not isinstance(numbers, set):
        raise InputError(f"{shown(command)} is not understood; declare X_i or Y_j as Real, such as X_0 and X_1.")
    if int(found[2]) in numbers:
        raise InputError(f"{name} is declared twice.")
    numbers.add(int(found[2]))


@dataclass(frozen=True)
class Row:
    """``Σ x_i X_i + Σ y_j Y_j + constant ≤ 0``, exactly."""

    x: tuple[tuple[int, Fraction], ...]
    y: tuple[tuple[int, Fraction], ...]
    constant: Fraction

    @cached_property
    def bound(self) -> Fraction:
        """Of a single X: from above where its coefficient is positive, else from below."""
        return -self.constant / self.x[0][1]


def _clauses(expression: Expression, declared: Declared) -> list[list[Row]]:
    """A formula as a disjunction of conjunctions of rows."""
    if isinstance(expression, str) or not expression or not isinstance(expression[0], str):
        raise InputError(f"{shown(expression)} is no formula.")
    head, parts = expression[0], expression[1:]
    if head == "and":
        result: list[list[Row]] = [[]]
        for part in parts:
            result = _both(result, _clauses(part, declared))
        return result
    if head == "or":
        return [clause for part in parts for clause in _clauses(part, declared)]
    if head in ("<", ">") and len(parts) == 2:
        raise InputError(f"{shown(expression)} is strict; certnet verifies with <= and >=.")
    if head in ("<=", ">=", "=") and len(parts) == 2:
        left, right = (_term(part, declared) for part in parts)
        return [[*([] if head == ">=" else [_row(left, right)]), *([] if head == "<=" else [_row(right, left)])]]
    raise InputError(f"{shown(expression)} is not understood; certnet reads and, or, <= and >=.")


def _both(left: list[list[Row]], right: list[list[Row]]) -> list[list[Row]]:
    if len(left) * len(right) > MOST_CASES:
        raise InputError(f"the property has more than {MOST_CASES} cases when it is expanded; split it.")
    if len(right) == 1:
        # The usual case, one row after another; copies would take time with the square of their number.
        for clause in left:
            clause.extend(right[0])
        return left
    return [a + b for a, b in itertools.product(left, right)]


Linear = dict[str, Fraction]
"""Coefficients of variables; that of the empty name is the constant."""


def _term(expression: Expression, declared: Declared) -> Linear:
    """A linear term."""
    if isinstance(expression, str):
        found = _VARIABLE.fullmatch(expression)
        if found is None:
            return {"": _number(expression)}
        if int(found[2]) not in declared[found[1]]:
            raise InputError(f"{expression} is not declared.")
        return {expression: Fraction(1)}
    if not expression or expression[0] not in ("+", "-", "*") or len(expression) < 2:
        raise InputError(f"{shown(expression)} is no linear term.")
    terms = [_term(part, declared) for part in expression[1:]]
    if expression[0] == "*":
        terms.sort(key=lambda term: term.keys() == {""})
        if any(term.keys() != {""} for term in terms[1:]):
            raise InputError(f"{shown(expression)} multiplies variables; properties have to be linear.")
        product = terms[0]
        for term in terms[1:]:
            product = _sum((term[""], product))
        return product
    rest = Fraction(1 if expression[0] == "+" else -1)
    first = rest if len(terms) == 1 else Fraction(1)
    return _sum((first, terms[0]), *((rest, term) for term in terms[1:]))


def _sum(*parts: tuple[Fraction, Linear]) -> Linear:
    """Factors times terms, together."""
    total: Linear = {}
    for factor, term in parts:
        for name, value in term.items():
            total[name] = total.get(name, Fraction(0)) + factor * value
            if max(total[name].numerator.bit_length(), total[name].denominator.bit_length()) > MOST_BITS:
                raise InputError("the numbers of an assertion are too large together.")
    return total


def _number(text: str) -> Fraction:
    """A decimal number, exactly."""
    found = _NUMBER.fullmatch(text)
    if found is None:
        raise InputError(f"{shown(text)!r} is neither a number nor a variable X_i or Y_j.")
    exponent = (found[1] or "0").lstrip("+-0")
    if len(text) > LONGEST_NUMBER or len(exponent) > 9 or int(exponent or "0") > LARGEST_EXPONENT:
        raise InputError(f"the number {shown(text)} is too large, too small or too long to be read exactly.")
    return Fraction(text)


def _row(small: Linear, large: Linear) -> Row:
    """``small ≤ large`` as a row."""
    total = dict(small)
    for name, value in large.items():
        total[name] = total[name] - value if name in total else -value
    constant = total.pop("", Fraction(0))
    entries = [(name[0], int(name[2:]), value) for name, value in total.items() if value]
    x, y = (tuple((i, value) for letter, i, value in entries if letter == part) for part in "XY")
    return Row(x, y, constant)


Box = tuple[tuple[Fraction, ...], tuple[Fraction, ...]]
"""(lower, upper)."""


def _cases(formula: list[list[Row]], inputs: int, outputs: int, network: ReluNetwork | None) -> Iterator[UnsafeCase]:
    """The cases of a disjunction, without those that no point satisfies."""
    if outputs * sum(not row.x for clause in formula for row in clause) > MOST_NUMBERS:
        raise InputError(f"the property has more than {MOST_NUMBERS} coefficients when it is expanded; split it.")
    regions: dict[Box | None, InputRegion | None] = {None: None}
    known: dict[tuple[int, ...], InputRegion | None] = {}
    for clause in formula:
        if any(not row.x and not row.y and row.constant > 0 for row in clause):
            continue
        bounds = [row for row in clause if row.x]
        # Clauses share the rows that they come from, and hashes of these are dear.
        origin = tuple(map(id, bounds))
        if origin not in known:
            box = _box(bounds, inputs)
            if box is not None and box not in regions:
                regions[box] = InputRegion.between(*box)
            known[origin] = regions[box]
        region = known[origin]
        if region is not None:
            yield _case(region, [OutputRow(row.y, row.constant) for row in clause if row.y], outputs, network)


def _box(rows: list[Row], inputs: int) -> Box | None:
    """(lower, upper) of rows over single inputs; None if they contradict each other."""
    lower: dict[int, Fraction] = {}
    upper: dict[int, Fraction] = {}
    for row in rows:
        if row.y:
            raise InputError("an assertion relates inputs and outputs; certnet reads them apart.")
        if len(row.x) != 1:
            raise InputError("an assertion relates several inputs; certnet reads boxes, one bound per input.")
        (i, factor), bound = row.x[0], row.bound
        if factor > 0:
            upper[i] = min(upper.get(i, bound), bound)
        else:
            lower[i] = max(lower.get(i, bound), bound)
    if any(lower[i] > upper[i] for i in lower.keys() & upper.keys()):
        return None
    missing = next((i for i in range(inputs) if i not in lower or i not in upper), None)
    if missing is not None:
        raise InputError(f"X_{missing} has no lower or no upper bound; certnet verifies on bounded boxes.")
    return tuple(lower[i] for i in range(inputs)), tuple(upper[i] for i in range(inputs))


def _case(region: InputRegion, rows: Sequence[OutputRow], outputs: int, network: ReluNetwork | None) -> UnsafeCase:
    """The case of these rows; without one every input of the region is unsafe."""
    stated = tuple(rows) or (OutputRow((), Fraction(0)),)
    H, h = np.zeros((len(stated), outputs)), np.zeros(len(stated))
    for number, row in enumerate(stated):
        factor = _factor([weight for _, weight in row.weights])
        charge = _charge(row, region, network) if factor is None else Fraction(0)
        factor = factor or Fraction(1)
        for j, weight in row.weights:
            H[number, j] = float(factor * weight)
        h[number] = below(factor * row.constant - charge)
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
