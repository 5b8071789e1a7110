"""Reading VNN-LIB 2.0 through the ``vnnlib`` package, as the same formulas that a 1.0 file states.

The package parses and checks types; it is the standard's own. One network with one input and one output tensor is read.
Entries of a tensor are numbered row by row, so that entry ``X[1,0]`` of shape [2,3] is the input ``X_3``.

The package's parser works by recursion in compiled code, which deep nesting would crash, and it takes sizes modulo 2³²
in some places. Both are ruled out before a text reaches it.
"""

import importlib
import json
import math
import re
from collections.abc import Iterator
from typing import Any

from formulations import InputError

Expression = str | list["Expression"]
"""A symbol, or a list of expressions."""
Declared = dict[str, set[int] | range]
"""The numbers of the X and of the Y that are declared."""
MOST_NESTED = 200
MOST_ENTRIES = 1 << 26
"""Entries of a tensor."""
_REAL = frozenset({"Real", "F16", "F32", "F64", "BF16"})
_SIGNS = {"LessEqual": "<=", "GreaterEqual": ">=", "LessThan": "<", "GreaterThan": ">", "Equal": "="}
_FOUND = re.compile(r"\s*\((vnnlib-version|declare-network)\b")


def is_version_2(text: str) -> bool:
    """Whether the first command of a text is one of version 2.0 alone."""
    return _FOUND.match(without_comments(text)) is not None


def version_2(text: str, declared: Declared) -> Iterator[Expression]:
    """The assertions of a VNN-LIB 2.0 text over X_i and Y_j, which become ``declared``."""
    try:
        package = importlib.import_module("vnnlib")
    except ImportError:
        raise InputError(
            "this is VNN-LIB 2.0, which needs the vnnlib package; install it with pip install 'certnet[vnnlib]', or "
            "write version 1.0."
        ) from None
    plain = without_comments(text)
    _require_harmless(plain)
    try:
        query = package.parse_query_string(plain)
    except (package.VNNLibException, ValueError, LookupError, OverflowError) as error:
        raise InputError(_complaint(error)) from None
    names = _tensors(query, declared)
    for assertion in query.assertions:
        yield _formula(assertion.expr, names)


def without_comments(text: str) -> str:
    """The text with its lines where they were, so that complaints name the right one."""
    lines = text.removeprefix("\ufeff").replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return "\n".join(line.split(";", 1)[0] for line in lines)


def shown(expression: Any) -> str:
    """An expression of either version in a sentence."""
    parts = isinstance(expression, list)
    text = f"({' '.join(shown(part) for part in expression)})" if parts else str(expression)
    return text if len(text) <= 60 else f"{text[:57]}…"


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
        elif re.search(r"'[eE][0-9]*'$", text):
            text += "; version 2.0 writes numbers without an exponent, such as 0.001"
    return f"{' '.join(text.split()).rstrip('.')}."


def _tensors(query: Any, declared: Declared) -> dict[str, str]:
    """X or Y by the tensor's name; their entries become declared."""
    if len(query.networks) != 1:
        raise InputError(f"the file declares {len(query.networks)} networks; certnet verifies one at a time.")
    network = query.networks[0]
    if len(network.hidden):
        raise InputError(f"the file speaks of the hidden node {network.hidden[0].name}; certnet reads inputs, outputs.")
    names: dict[str, str] = {}
    for letter, kind, tensors in (("X", "input", network.inputs), ("Y", "output", network.outputs)):
        if len(tensors) != 1:
            raise InputError(f"the network has {len(tensors)} {kind} tensors; certnet reads networks with one.")
        tensor, size = tensors[0], math.prod(tensors[0].shape)
        if tensor.dtype.name not in _REAL:
            raise InputError(
                f"the {kind} {tensor.name} has type {tensor.dtype.name}; certnet verifies numbers such as float32."
            )
        if size > MOST_ENTRIES:
            raise InputError(f"the {kind} {tensor.name} has more than {MOST_ENTRIES} entries.")
        names[tensor.name], declared[letter] = letter, range(size)
    return names


def _formula(node: Any, names: dict[str, str]) -> Expression:
    kind = type(node).__name__
    if kind in ("And", "Or"):
        return [kind.lower(), *(_formula(part, names) for part in node.args)]
    if kind not in _SIGNS:
        raise InputError(f"{shown(node)} is not understood; certnet reads and, or, <=, >= and ==.")
    return [_SIGNS[kind], _term(node.lhs, names), _term(node.rhs, names)]


def _term(node: Any, names: dict[str, str]) -> Expression:
    kind = type(node).__name__
    if kind == "Var":
        position = 0
        for index, size in zip(node.indices, node.shape, strict=True):
            position = position * size + index
        return f"{names[node.name]}_{position}"
    if kind in ("Float", "Int", "IntExpr"):
        return str(node.lexeme)
    if kind == "Negate":
        return ["-", _term(node.expr, names)]
    if kind == "Minus":
        return ["-", _term(node.head, names), *(_term(part, names) for part in node.rest)]
    if kind in ("Plus", "Multiply"):
        return ["+" if kind == "Plus" else "*", *(_term(part, names) for part in node.args)]
    raise InputError(f"{shown(node)} is no linear term.")
