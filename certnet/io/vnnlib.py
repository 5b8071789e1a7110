"""Reading VNN-LIB: what must not happen, as boxes of inputs and rows on outputs.

A file of version 1.0 declares ``X_i`` and ``Y_j`` and asserts linear comparisons over them with ``and`` and ``or``,
and terms of ``+``, ``-``, ``*`` with numbers. The assertions together describe the unsafe points. They are brought into
a disjunction of conjunctions (``clauses``), and each of these becomes an unsafe case (``cases``). A file of version 2.0
is turned into the same formulas (``vnnlib2``). Numbers are rational and stay so.
"""

import contextlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from certnet.io.cases import Property, asked
from certnet.io.clauses import MOST_NESTED, VARIABLE, Clause, Declared, Expression, both, clauses, shown
from certnet.io.endings import before_ending
from certnet.io.packed import read_bytes
from formulations import InputError
from formulations.arguments import accepts, location
from formulations.network import ReluNetwork

if TYPE_CHECKING:
    from certnet.io.vnnlib2 import Declaration

__all__ = ["read_vnnlib"]

LARGEST_FILE = 1 << 26
"""Bytes, unpacked."""
_VERSION_2 = re.compile(r"\ufeff?(?:\s|;[^\r\n]*+)*+\((?:vnnlib-version|declare-network)\b")
"""A first command that version 2.0 alone has, after comments."""
_TOKEN = re.compile(r""";[^\r\n]*|[()]|"[^"]*"|\|[^|]*\||[^\s()";|]+|["|]""", re.ASCII)
"""A comment, a bracket, a string or a quoted symbol, which may hold brackets, a word, or a quote that is not closed."""


@accepts(path=location, network=ReluNetwork)
def read_vnnlib(path: str | Path, network: ReluNetwork | None = None) -> Property:
    """Read a VNN-LIB file of version 1.0, or of 2.0 where the ``vnnlib`` package is installed; ``.gz`` is unpacked.

    Args:
        path: the file.
        network: whose property it is. What relates several inputs, or inputs and outputs, can be read with it alone, as
            can rows whose coefficients no factor makes float64 numbers: what rounding changes is bounded over its
            outputs. The cases are about ``Property.network`` then.

    A type that the file declares for its tensors is the caller's to respect: ``verify(…, semantics="float32")``.

    Raises:
        InputError: the file is missing, too large, not of this form, or of another network.
    """
    with text_of(path) as text:
        return of_one(text).of(network)


@contextlib.contextmanager
def text_of(path: str | Path) -> Iterator[str]:
    """The text of a file, whose name is put before what is wrong with it."""
    source = Path(path)
    try:
        text = read_bytes(source, LARGEST_FILE).decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InputError(f"{source.name} is no text; give a VNN-LIB file.") from None
    try:
        yield text
    except InputError as error:
        raise InputError(f"{source.name}: {error}") from None


@dataclass(frozen=True, eq=False)
class Stated:
    """What a text states: a disjunction of conjunctions of rows over so many inputs and outputs.

    The ``networks`` are those that version 2.0 declares.
    """

    inputs: int
    outputs: int
    formula: list[Clause]
    networks: "tuple[Declaration, ...]" = ()

    def of(self, network: ReluNetwork | None) -> Property:
        formula = self.formula
        if network is not None:
            own = 1 if network.ending == "ArgMax" else network.outputs
            if (network.inputs, own) != (self.inputs, self.outputs):
                raise InputError(
                    f"it declares {self.inputs} inputs and {self.outputs} outputs, but the network has "
                    f"{network.inputs} and {own}; give the network it was made for."
                )
            if network.ending is not None:
                formula = before_ending(formula, network.ending, network.outputs)

        def spelled(number: int) -> str:
            return next(filter(None, (one.spelled(number) for one in self.networks)), f"X_{number}")

        return asked(formula, (self.inputs, self.outputs), network, spelled)


def stated(text: str) -> Stated:
    declared: Declared = {"X": set(), "Y": set()}
    networks: tuple[Declaration, ...] = ()
    formula: list[Clause] = [[]]
    assertions, count = _version_1(text, declared), 0
    if _VERSION_2.match(text) is not None:
        from certnet.io.vnnlib2 import version_2

        networks, assertions = version_2(text, declared)
    for count, assertion in enumerate(assertions, start=1):  # noqa: B007 - the last one
        formula = both(formula, clauses(assertion, declared))
    if not count:
        raise InputError("nothing is asserted.")
    return Stated(len(declared["X"]), len(declared["Y"]), formula, networks)


def is_version_2(path: str | Path) -> bool:
    """Whether a file begins like one of version 2.0; not if it cannot be read."""
    with contextlib.suppress(InputError), text_of(path) as text:
        return _VERSION_2.match(text) is not None
    return False


def of_one(text: str) -> Stated:
    found = stated(text)
    if len(found.networks) > 1:
        raise InputError(f"it declares {len(found.networks)} networks; certnet verify --network NAME=FILE takes each.")
    return found


def _version_1(text: str, declared: Declared) -> Iterator[Expression]:
    """The assertions of a 1.0 text, with what is ``declared`` before each."""
    over = False
    for command in _expressions(text):
        if not command or not isinstance(command[0], str):
            raise InputError("a command is expected, such as (assert (<= Y_0 Y_1)).")
        if over and command[0] in ("declare-const", "assert"):
            raise InputError(f"{shown(command)} comes after the question, so it is no part of it; put it before.")
        if command[0] == "declare-const":
            name = command[1] if len(command) == 3 and isinstance(command[1], str) else ""
            found, numbers = VARIABLE.fullmatch(name), declared.get(name[:1])
            if found is None or command[2] != "Real" or not isinstance(numbers, set):
                raise InputError(
                    f"{shown(command)} is not understood; declare X_i or Y_j as Real, such as X_0 and X_1."
                )
            if int(found[2]) in numbers:
                raise InputError(f"{name} is declared twice.")
            numbers.add(int(found[2]))
        elif command[0] == "assert" and len(command) == 2:
            yield command[1]
        elif command[0] in ("check-sat", "exit"):
            over = True
        elif command[0] not in ("set-logic", "set-info"):
            raise InputError(f"{shown(command)} is not understood; certnet reads declare-const and assert.")
    for letter, kind in (("X", "input"), ("Y", "output")):
        if not declared[letter] or declared[letter] != set(range(len(declared[letter]))):
            raise InputError(f"the {kind}s {letter}_0, {letter}_1, … are not all declared; declare each once.")


def _expressions(text: str) -> Iterator[list[Expression]]:
    """Top-level S-expressions; iterative, so that nesting cannot exhaust the stack."""
    stack: list[list[Expression]] = []
    for found in _TOKEN.finditer(text.removeprefix("\ufeff")):
        token, wrong = found[0], None
        if token[0] == ";":
            continue
        if token == "(":
            stack.append([])
            wrong = "is nested too deeply" if len(stack) > MOST_NESTED else None
        elif token in ('"', "|"):
            wrong = f"has a {token} that is not closed"
        elif not stack:
            wrong = "closes a bracket that is not open" if token == ")" else f"has {shown(token)} outside brackets"
        elif token != ")":
            stack[-1].append(token)
        elif len(stack) == 1:
            yield stack.pop()
        else:
            stack[-2].append(stack.pop())
        if wrong is not None:
            line = found.string.count("\n", 0, found.start()) + 1
            raise InputError(f"line {line} {wrong}.")
    if stack:
        raise InputError("a bracket is not closed at the end.")
