"""Reading VNN-LIB 2.0 through the ``vnnlib`` package, as the same formulas that a 1.0 file states.

The package parses and checks types; it is the standard's own. Entries of all inputs are numbered in the order in which
they are declared, each tensor row by row: entry ``X[1,0]`` of a first input X of shape [2,3] is ``X_3``. So are those
of hidden nodes and outputs, as ``Y_j``.

The package's parser works by recursion in compiled code, which deep nesting would crash, and it takes sizes modulo 2³²
in some places. Both are ruled out before a text reaches it.
"""

import functools
import json
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from typing import Any

import numpy as np

from certnet.io.clauses import MOST_NESTED, Declared, Expression, number, shown
from certnet.runtime.machine import needed
from formulations import InputError
from formulations.rounding import nearest

MOST_ENTRIES = 1 << 26
"""Entries of all tensors."""
TYPES = {"Real": "real", "F16": "float16", "F32": "float32", "F64": "float64", "BF16": "bfloat16"}
"""Element types of numbers, by the package's names."""
_SIGNS = {"LessEqual": "<=", "GreaterEqual": ">=", "LessThan": "<", "GreaterThan": ">", "Equal": "==", "NotEqual": "!="}
_CAPITAL = re.compile(r"(\(\s*declare-(?:input|hidden|output)\s+(\w+)\s+)Real\b")
_NUMBER = re.compile(
    r"""\[[^\]]*\]|"[^"]*"|(?<=[\s(])([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?)(?=[\s)])"""
)


@dataclass(frozen=True)
class Tensor:
    """A variable that a text declares.

    Attributes:
        kind: "input", "hidden" or "output".
        element: its element type, such as "real" or "float32".
        written: as the text has it, such as "Real".
        shape: its lengths; none of a scalar.
        start: the number of its first entry, among the X for an input and else among the Y.
        node: its name in the ONNX file, None where the order of declaration decides.
    """

    name: str
    kind: str
    element: str
    written: str
    shape: tuple[int, ...]
    start: int
    node: str | None

    @property
    def size(self) -> int:
        return math.prod(self.shape)


@dataclass(frozen=True)
class Declaration:
    """A network that a text declares: its name, its tensors, and the name of the network that it is equal to."""

    name: str
    tensors: tuple[Tensor, ...]
    equal_to: str | None

    def of(self, *kinds: str) -> tuple[Tensor, ...]:
        return tuple(tensor for tensor in self.tensors if tensor.kind in kinds)

    def spelled(self, number: int) -> str | None:
        """An input as the text spells it; None where it is another network's."""
        for tensor in self.of("input"):
            if tensor.start <= number < tensor.start + tensor.size:
                indices = ",".join(map(str, np.unravel_index(number - tensor.start, tensor.shape)))
                return f"{tensor.name}[{indices}]" if indices else tensor.name
        return None


def version_2(text: str, declared: Declared) -> tuple[tuple[Declaration, ...], Iterator[Expression]]:
    """The networks of a VNN-LIB 2.0 text, and its assertions over X_i and Y_j, which become ``declared``."""
    package = needed(
        "vnnlib",
        "this is VNN-LIB 2.0, which needs the vnnlib package; install it with pip install 'certnet[vnnlib]', or write "
        "version 1.0.",
    )
    # Lines stay where they were, so that complaints name the right one.
    plain = re.sub(";.*", "", text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n"))
    _require_harmless(plain)
    capital = {name for _, name in _CAPITAL.findall(plain)}
    try:
        # The standard writes this type both ways, and the package knows one; so it is with numbers.
        query = package.parse_query_string(_NUMBER.sub(_with_a_point, _CAPITAL.sub(r"\1real", plain)))
    except (package.VNNLibException, ValueError, LookupError, OverflowError) as error:
        raise InputError(_complaint(error)) from None
    networks = tuple(_declarations(query, declared, capital))
    tensors = (tensor for network in networks for tensor in network.tensors)
    places = {tensor.name: ("X" if tensor.kind == "input" else "Y", tensor.start) for tensor in tensors}
    return networks, (_formula(assertion.expr, places) for assertion in query.assertions)


def _require_harmless(text: str) -> None:
    depth = 0
    for bracket in re.findall(r"[()]", text):
        depth += 1 if bracket == "(" else -1
        if depth > MOST_NESTED:
            raise InputError("brackets are nested too deeply.")
        if depth < 0:
            raise InputError("a bracket is closed that is not open.")
    # A bracket in quotes, or a name that quotes do not close, would have been counted wrongly.
    if re.search(r'"[^"\n]*([()\n]|$)', re.sub(r'"[^"()\n]*"', "", text)):
        raise InputError("a name in quotes holds a bracket or has no end.")
    if re.search(r"\[[^\]]*[0-9]{10}", text):
        raise InputError("a size or an index has more than nine digits.")


def _complaint(error: Exception) -> str:
    """The package's complaint in one sentence; those about meaning are JSON objects."""
    text = str(error)
    try:
        first = json.loads(text)["errors"][0]
        text = f"line {first['line']}: {first['message']}: {first['hint']}"
    except (ValueError, LookupError, TypeError):
        if not text.startswith("Parse error"):
            text = "a number is too large"
    return f"{' '.join(text.split()).rstrip('.')}."


def _with_a_point(found: re.Match[str]) -> str:
    """A number in decimals, without an exponent, as the package reads it; indices and names stay."""
    if found[1] is None:
        return found[0]
    text = format(Decimal(found[1]), "f")
    return text if "." in text else f"{text}.0"


def _declarations(query: Any, declared: Declared, capital: set[str]) -> Iterator[Declaration]:
    """The networks in order; the entries of their tensors become declared."""
    sizes = {"X": 0, "Y": 0}
    for network in query.networks:
        tensors = []
        parts = (("input", network.inputs), ("hidden", network.hidden), ("output", network.outputs))
        for kind, found in ((kind, entry) for kind, part in parts for entry in part):
            letter = "X" if kind == "input" else "Y"
            element = TYPES.get(found.dtype.name)
            if element is None:
                raise InputError(
                    f"the {kind} {found.name} has type {found.dtype.name}; certnet verifies numbers such as float32."
                )
            node = (found.onnx_name or "").strip('"') or None
            written = "Real" if found.name in capital else element
            tensors.append(Tensor(found.name, kind, element, written, tuple(found.shape), sizes[letter], node))
            sizes[letter] += tensors[-1].size
            if sum(sizes.values()) > MOST_ENTRIES:
                raise InputError(f"its tensors have more than {MOST_ENTRIES} entries.")
        yield Declaration(network.name, tuple(tensors), network.equal_to or None)
    declared |= {letter: range(size) for letter, size in sizes.items()}


def _formula(node: Any, places: Mapping[str, tuple[str, int]]) -> Expression:
    kind = type(node).__name__
    if kind in ("And", "Or"):
        return [kind.lower(), *(_formula(part, places) for part in node.args)]
    if kind not in _SIGNS:
        raise InputError(f"{shown(node)} is not understood; certnet reads and, or, and comparisons such as <=.")
    single = _is_single(node)
    return [_SIGNS[kind], _term(node.lhs, places, single), _term(node.rhs, places, single)]


def _is_single(node: Any) -> bool:
    """Whether a comparison is one of float32 numbers; then its constants are such numbers too."""
    return (type(node).__name__ == "Var" and node.dtype.name == "F32") or any(map(_is_single, node.children()))


def _term(node: Any, places: Mapping[str, tuple[str, int]], single: bool) -> Expression:
    kind, below = type(node).__name__, functools.partial(_term, places=places, single=single)
    if kind == "Var":
        position = 0
        for index, size in zip(node.indices, node.shape, strict=True):
            position = position * size + index
        letter, start = places[node.name]
        return f"{letter}_{start + position}"
    if kind in ("Float", "Int", "IntExpr"):
        return str(Decimal(_single(node.lexeme))) if single else str(node.lexeme)
    if kind == "Negate":
        return ["-", below(node.expr)]
    if kind == "Minus":
        return ["-", below(node.head), *map(below, node.rest)]
    if kind in ("Plus", "Multiply"):
        return ["+" if kind == "Plus" else "*", *map(below, node.args)]
    raise InputError(f"{shown(node)} is no linear term.")


def _single(text: str) -> float:
    """The float32 number nearest to a decimal one."""
    value = number(text)
    with np.errstate(over="ignore"):
        near = np.float32(nearest(value))
    if not np.isfinite(near):
        raise InputError(f"{shown(text)} is beyond the range of float32.")
    # It may have been rounded twice, and beyond its neighbour then.
    around = (near, np.nextafter(near, np.float32(-np.inf)), np.nextafter(near, np.float32(np.inf)))
    return min((float(one) for one in around if np.isfinite(one)), key=lambda one: abs(Fraction(one) - value))
