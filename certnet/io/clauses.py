"""Formulas over X_i and Y_j as disjunctions of conjunctions of linear rows, in rational numbers."""

import functools
import itertools
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property
from typing import Any

from formulations import InputError

Expression = str | list["Expression"]
"""A symbol, or a list of expressions."""
Declared = dict[str, set[int] | range]
"""The numbers of the X and of the Y that are declared."""
MOST_CASES = 10_000  # Of a property when it is expanded.
MOST_ROWS = 1 << 24  # Of all its cases together.
MOST_NESTED = 200  # Brackets within each other.
LARGEST_EXPONENT = 999  # Of 10, in a number of a file.
MOST_DIGITS, MOST_BITS = 4200, 13_950
"""Of a number of a file, and of numerator and denominator of all that numbers sum up or multiply to. Python writes and
reads whole numbers of at most 4300 digits, so what is printed as a quotient can be read again."""
_NUMBER = re.compile(r"[+-]?+(?:[0-9]++(?:\.[0-9]*+)?+|\.[0-9]++)(?:[eE]([+-]?+[0-9]++))?+")
VARIABLE = re.compile(r"([XY])_(0|[1-9][0-9]{0,8})")
_LESS, _MORE = (False, False), (True, False)
_COMPARISONS: dict[str, tuple[tuple[tuple[bool, bool], ...], ...]] = {
    "<=": ((_LESS,),),
    ">=": ((_MORE,),),
    "<": (((False, True),),),
    ">": (((True, True),),),
    "=": ((_LESS, _MORE),),
    "==": ((_LESS, _MORE),),
    "!=": (((False, True),), ((True, True),)),
}
"""What a comparison means: a disjunction of conjunctions of rows, each (whether the sides change places, strict)."""


def shown(expression: Any) -> str:
    """An expression in a sentence."""
    parts = isinstance(expression, list)
    text = f"({' '.join(shown(part) for part in expression)})" if parts else " ".join(str(expression).split())
    return text if len(text) <= 60 else f"{text[:57]}…"


Terms = tuple[tuple[int, Fraction], ...]
"""Numbers of variables and their coefficients."""


@dataclass(frozen=True)
class Row:
    """``Σ x_i X_i + Σ y_j Y_j + constant ≤ 0``, or ``< 0`` where it is strict; exactly.

    With a ``slack`` what is meant lies between this row and the one whose constant is less by that.
    """

    x: Terms
    y: Terms
    constant: Fraction
    strict: bool = False
    slack: Fraction = Fraction(0)

    @cached_property
    def bound(self) -> Fraction:
        """Of a single X: from above where its coefficient is positive, else from below."""
        return short(-self.constant / self.x[0][1])

    @property
    def is_impossible(self) -> bool:
        """Whether it holds no variable and is false."""
        return not self.x and not self.y and (self.constant > 0 or (self.strict and self.constant == 0))


Clause = list[Row]
"""A conjunction."""


def clauses(expression: Expression, declared: Declared) -> list[Clause]:
    """A formula as a disjunction of conjunctions of rows; refused where it is none, or becomes too large."""
    if isinstance(expression, str) or not expression or not isinstance(expression[0], str):
        raise InputError(f"{shown(expression)} is no formula.")
    head, parts = expression[0], expression[1:]
    if head == "and":
        result: list[Clause] = [[]]
        for part in parts:
            result = both(result, clauses(part, declared))
        return result
    if head == "or":
        return either(clauses(part, declared) for part in parts)
    if head in _COMPARISONS and len(parts) == 2:
        left, right = (_term(part, declared) for part in parts)
        return [
            [_row(right, left, strict) if turned else _row(left, right, strict) for turned, strict in meant]
            for meant in _COMPARISONS[head]
        ]
    raise InputError(f"{shown(expression)} is not understood; certnet reads and, or, and comparisons such as <=.")


def either(parts: Iterable[list[Clause]]) -> list[Clause]:
    """The disjunction of disjunctions."""
    result: list[Clause] = []
    for part in parts:
        result += part
        _require_few(len(result), 0)
    return result


def both(left: list[Clause], right: list[Clause]) -> list[Clause]:
    """The conjunction of two disjunctions."""
    _require_few(len(left) * len(right), len(left) * sum(map(len, right)) + len(right) * sum(map(len, left)))
    if len(right) == 1:
        # The usual case, one row after another; copies would take time with the square of their number.
        for clause in left:
            clause.extend(right[0])
        return left
    return [a + b for a, b in itertools.product(left, right)]


def _require_few(cases: int, rows: int) -> None:
    if cases > MOST_CASES or rows > MOST_ROWS:
        most = f"{MOST_CASES} cases" if cases > MOST_CASES else f"{MOST_ROWS} rows"
        raise InputError(f"the property has more than {most} when it is expanded; split it.")


Linear = dict[str, Fraction]
"""Coefficients of variables; that of the empty name is the constant."""


def _term(expression: Expression, declared: Declared) -> Linear:
    if isinstance(expression, str):
        found = VARIABLE.fullmatch(expression)
        if found is None:
            return {"": number(expression)}
        if int(found[2]) not in declared[found[1]]:
            raise InputError(f"{expression} is not declared.")
        return {expression: Fraction(1)}
    if not expression or expression[0] not in ("+", "-", "*", "/") or len(expression) < 2:
        raise InputError(f"{shown(expression)} is no linear term.")
    terms = [_term(part, declared) for part in expression[1:]]
    if expression[0] == "*":
        terms.sort(key=lambda term: term.keys() == {""})
        if any(term.keys() != {""} for term in terms[1:]):
            raise InputError(f"{shown(expression)} multiplies variables; properties have to be linear.")
        return functools.reduce(lambda product, term: _sum((term[""], product)), terms)
    if expression[0] == "/":
        if len(terms) < 2 or any(term.keys() != {""} or not term[""] for term in terms[1:]):
            raise InputError(f"{shown(expression)} does not divide by numbers other than 0; properties are linear.")
        return functools.reduce(lambda quotient, term: _sum((1 / term[""], quotient)), terms)
    rest = Fraction(1 if expression[0] == "+" else -1)
    first = rest if len(terms) == 1 else Fraction(1)
    return _sum((first, terms[0]), *((rest, term) for term in terms[1:]))


def _sum(*parts: tuple[Fraction, Linear]) -> Linear:
    """Factors times terms, together."""
    total: Linear = {}
    for factor, term in parts:
        for name, value in term.items():
            total[name] = short(total.get(name, Fraction(0)) + factor * value)
    return total


def short(value: Fraction) -> Fraction:
    """The same number; refused where it has too many digits."""
    if max(value.numerator.bit_length(), value.denominator.bit_length()) > MOST_BITS:
        raise InputError("the numbers of an assertion are too large together.")
    return value


def number(text: str) -> Fraction:
    """A decimal number, exactly."""
    found = _NUMBER.fullmatch(text)
    if found is None:
        raise InputError(f"{shown(text)!r} is neither a number nor a variable X_i or Y_j.")
    exponent = (found[1] or "0").lstrip("+-0")
    if len(text) > MOST_DIGITS or len(exponent) > 9 or int(exponent or "0") > LARGEST_EXPONENT:
        raise InputError(f"the number {shown(text)} is too large, too small or too long to be read exactly.")
    return short(Fraction(text))


def _row(small: Linear, large: Linear, strict: bool) -> Row:
    """``small ≤ large`` as a row, or ``small < large``."""
    total = dict(small)
    for name, value in large.items():
        total[name] = total[name] - value if name in total else -value
    constant = total.pop("", Fraction(0))
    entries = [(name[0], int(name[2:]), value) for name, value in total.items() if value]
    x, y = (tuple((i, value) for letter, i, value in entries if letter == part) for part in "XY")
    return Row(x, y, constant, strict)


def moved(row: Row, places: Sequence[int]) -> Row:
    """The row over inputs of other numbers: X_i becomes X_{places[i]}; what comes together is added."""
    if all(places[i] == i for i, _ in row.x):
        return row
    total: dict[int, Fraction] = {}
    for i, value in row.x:
        total[places[i]] = total.get(places[i], Fraction(0)) + value
    return replace(row, x=tuple((i, value) for i, value in total.items() if value))
