"""VNN-LIB 2.0: a formula means the same in both versions, and what it is true of; anything else is one sentence."""

import gzip
import itertools
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certnet.io.vnnlib import Property, read_vnnlib
from formulations import InputError
from formulations.robustness import OutputRow
from tests.verification.problems import parse_vnnlib

NAMES = [f"X_{i}" for i in range(4)], [f"Y_{j}" for j in range(3)]
TENSORS = {
    **{f"X_{i}": f"left[{i // 2},{i % 2}]" for i in range(4)},
    **{f"Y_{j}": f"right[0,{j}]" for j in range(3)},
}
"""Entries are numbered row by row."""
HEAD_1 = "".join(f"(declare-const {name} Real)" for name in itertools.chain(*NAMES))
HEAD_2 = (
    "(vnnlib-version <2.0>)\n"
    "(declare-network f (declare-input left float32 [2,2]) (declare-output right float32 [1,3]))\n"
)
BOX = ["and", *(["<=", f"X_{i}", 1.0] for i in range(4)), *([">=", f"X_{i}", -1.0] for i in range(4))]


def package() -> Any:
    return pytest.importorskip("vnnlib", reason="the vnnlib package is not installed")


def written(formula: Any, version: int) -> str:
    """A formula of nested lists in the syntax of a version."""
    if isinstance(formula, str):
        return formula if version == 1 else TENSORS[formula]
    if isinstance(formula, float):
        return repr(formula)
    head = "==" if version == 2 and formula[0] == "=" else formula[0]
    return f"({head} {' '.join(written(part, version) for part in formula[1:])})"


def holds(formula: Any, values: dict[str, float]) -> Any:
    """The truth of a formula, or the value of a term."""
    if isinstance(formula, float | Fraction):
        return formula
    if isinstance(formula, str):
        return values[formula]
    parts = [holds(part, values) for part in formula[1:]]
    if formula[0] == "-":
        return parts[0] - sum(parts[1:]) if len(parts) > 1 else -parts[0]
    meaning = {
        "and": all,
        "or": any,
        "+": sum,
        "*": np.prod,
        "<=": lambda pair: pair[0] <= pair[1],
        ">=": lambda pair: pair[0] >= pair[1],
        "=": lambda pair: pair[0] == pair[1],
        "<": lambda pair: pair[0] < pair[1],
        ">": lambda pair: pair[0] > pair[1],
        "!=": lambda pair: pair[0] != pair[1],
    }
    return meaning[formula[0]](parts)


def includes(stated: Property, x: np.ndarray, y: np.ndarray) -> bool:
    """Whether a point is in one of the cases."""
    values = [Fraction(value) for value in y.tolist()]
    return any(case.region.contains(x) and all(_satisfied(row, values) for row in case.rows) for case in stated.cases)


def _satisfied(row: OutputRow, y: list[Fraction]) -> bool:
    value = sum((weight * y[j] for j, weight in row.weights), row.constant)
    return value < 0 if row.strict else value <= 0


def outcome(text: str) -> Property | str:
    """What is read, or the sentence that no input satisfies it."""
    try:
        return parse_vnnlib(text)
    except InputError as error:
        return str(error)


EIGHTHS = st.integers(-12, 12).map(lambda k: k / 8)
SIGNS = st.sampled_from(["<=", ">=", "=", "<", ">", "!="])
VARIABLES = st.sampled_from(NAMES[1])
FACTORS = st.tuples(st.just("*"), EIGHTHS, VARIABLES)
TERMS = st.one_of(
    VARIABLES,
    EIGHTHS,
    FACTORS,
    st.tuples(st.sampled_from(["+", "-"]), FACTORS, EIGHTHS, VARIABLES),
    st.tuples(st.just("-"), VARIABLES),
)
ROWS = st.one_of(st.tuples(SIGNS, TERMS, TERMS), st.tuples(SIGNS, st.sampled_from(NAMES[0]), EIGHTHS))
FORMULAS = st.recursive(
    ROWS,
    lambda inner: st.tuples(st.sampled_from(["and", "or"]), inner, inner),
    max_leaves=6,
)


def same(left: Property, right: Property) -> None:
    assert (left.inputs, left.outputs, len(left.cases)) == (right.inputs, right.outputs, len(right.cases))
    for a, b in zip(left.cases, right.cases, strict=True):
        for one, other in ((a.region.lower, b.region.lower), (a.region.upper, b.region.upper), (a.H, b.H), (a.h, b.h)):
            np.testing.assert_array_equal(one, other)
        assert (a.region.sides, a.rows) == (b.region.sides, b.rows)


@settings(max_examples=60, deadline=None)
@given(FORMULAS, st.integers(0, 2**32 - 1))
def test_both_versions_state_the_same_and_what_is_meant(formula: Any, seed: int) -> None:
    package()
    texts = [HEAD_1, HEAD_2]
    for part in (BOX, formula):
        texts = [text + f"(assert {written(part, k + 1)})\n" for k, text in enumerate(texts)]
    read = [outcome(text) for text in texts]
    if not isinstance(read[0], Property):
        assert read[0] == read[1]
        return
    first = read[0]
    same(first, read[1])
    random = np.random.default_rng(seed)
    for _ in range(20):
        x, y = random.integers(-10, 11, 4) / 8, random.integers(-16, 17, 3) / 8
        values = dict(zip(itertools.chain(*NAMES), [*x.tolist(), *y.tolist()], strict=True))
        assert includes(first, x, y) == (holds(BOX, values) and holds(formula, values))


def test_numbers_of_both_versions_are_exact() -> None:
    package()
    texts = [HEAD_1, HEAD_2.replace("float32", "real")]
    for k in range(2):
        texts[k] += f"(assert {written(BOX, k + 1)})"
        row = ["<=", ["*", 0.3, "Y_0"], ["+", ["*", 0.1, "Y_1"], ["*", 0.1, "Y_1"], 0.7]]
        for part in (["<=", ["*", 3.0, "X_0"], 1.0], ["<=", "X_3", 0.1], row):
            texts[k] += f"(assert {written(part, k + 1)})"
    first, second = (parse_vnnlib(text) for text in texts)
    same(first, second)
    (case,) = second.cases
    assert case.region.sides is not None
    assert [case.region.sides[1][i] for i in (0, 3)] == [Fraction(1, 3), Fraction(1, 10)]
    assert case.rows == (OutputRow(((0, Fraction(3, 10)), (1, Fraction(-1, 5))), Fraction(-7, 10)),)
    assert case.H[0, 0] * 2 == case.H[0, 1] * -3


def test_constants_have_the_type_of_what_they_are_compared_with() -> None:
    package()
    assertions = "(assert (and (<= t 0.1) (>= t -1.000000059604644775390626) (<= s (* 3.0 0.7))))"
    for element, single in (("float32", True), ("real", False)):
        declared = f"(declare-network f (declare-input t {element} []) (declare-output s {element} []))\n"
        (case,) = parse_vnnlib(f"(vnnlib-version <2.0>)\n{declared}{assertions}").cases
        # The number below 0 is just beyond the middle of two float32 numbers, and that is the nearest float64 number.
        tenth, low, limit = Fraction("0.1"), Fraction("-1.000000059604644775390626"), Fraction("2.1")
        if single:
            tenth, limit = Fraction(float(np.float32(0.1))), 3 * Fraction(float(np.float32(0.7)))
            low = Fraction(-1.00000011920928955078125)
        lower, upper = case.region.sides or (
            map(Fraction, side.tolist()) for side in (case.region.lower, case.region.upper)
        )
        assert (*lower, *upper) == (low, tenth)
        assert case.rows == (OutputRow(((0, Fraction(1)),), -limit),)
    with pytest.raises(InputError, match="range of float32"):
        parse_vnnlib(HEAD_2 + f"(assert {written(BOX, 2)})(assert (<= right[0,0] 1e39))")


def test_comments_line_ends_and_scalars() -> None:
    package()
    text = (
        "; a comment (((\n(vnnlib-version <2.0>) ; more\r\n(declare-network f ; é\n"
        '(declare-input t real [])\r(declare-output s real []))\n(assert (and (<= t 1.0) (>= t 0.0))) ; " )\n'
        "(assert (<= s 0.5))"
    )
    stated = parse_vnnlib("\ufeff" + text)
    assert (stated.inputs, stated.outputs) == (1, 1)
    assert stated.cases[0].H.tolist() == [[1.0]]
    assert stated.cases[0].h.tolist() == [-0.5]


def _network(inside: str, assertion: str = "(<= Y[0] 1.0)") -> str:
    return f"(vnnlib-version <2.0>)\n(declare-network N {inside})\n(assert {assertion})"


BOUNDED = "(and (<= X[0] 1.0) (>= X[0] 0.0) (<= X[1] 1.0) (>= X[1] 0.0)"
PLAIN = "(declare-input X float32 [2]) (declare-output Y float32 [2])"
SECOND = "(declare-network M (declare-input A float32 [2]) (declare-output B float32 [2]))\n(assert"
WRONG = {
    "two networks": (_network(PLAIN).replace("(assert", SECOND), "2 networks"),
    "whole numbers": (_network(PLAIN.replace("float32", "int32"), "(<= Y[0] Y[1])"), "type I32"),
    "a product": (_network(PLAIN, "(<= (* Y[0] Y[1]) 1.0)"), "multiplies variables"),
    "inputs with outputs": (_network(PLAIN, BOUNDED + "(<= X[0] Y[1]))"), "inputs and outputs"),
    "an unbounded input": (_network(PLAIN), "no lower or no upper bound"),
    "an output that is not there": (_network(PLAIN, "(<= Y[2] 1.0)"), "line 3: Index out of bounds"),
    "a tensor that is not there": (_network(PLAIN, "(<= Z[2] 1.0)"), "Undeclared variable"),
    "an index modulo 2^32": (_network(PLAIN, "(<= Y[4294967297] 1.0)"), "nine digits"),
    "a large tensor": (_network(PLAIN.replace("[2]", "[99999,99999]"), "(<= Y[0,0] 1.0)"), "more than"),
    "a huge number": (_network(PLAIN, f"(<= Y[0] {'9' * 400}.0)"), "too large"),
    "another version": (_network(PLAIN).replace("2.0", "3.0"), "version"),
    "no network": ("(vnnlib-version <2.0>)", "syntax error"),
    "an open bracket": (_network(PLAIN)[:-1], "syntax error"),
    "a closed bracket": (_network(PLAIN) + ")", "not open"),
    "deep nesting": (_network(PLAIN, "(and " * 100_000 + "(<= Y[0] 1.0)" + ")" * 100_000), "too deeply"),
    "nesting behind quotes": (_network(PLAIN + '"' + ")" * 100_000 + '"', "(" * 100_000), "not open"),
    "nesting between quotes": (_network(PLAIN, '(and ")" ' * 90), "quotes"),
    "nesting behind comments": (_network(PLAIN, "(and ; )\n" * 100_000), "too deeply"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_not_verified_is_one_sentence(wrong: str) -> None:
    package()
    text, words = WRONG[wrong]
    with pytest.raises(InputError, match=words) as caught:
        parse_vnnlib(text)
    assert "\n" not in str(caught.value)
    assert str(caught.value).endswith(".")


def test_without_the_package_a_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> Any:
        raise ImportError(name)

    monkeypatch.setattr("certnet.runtime.machine.importlib.import_module", missing)
    with pytest.raises(InputError, match=r"certnet\[vnnlib\]"):
        parse_vnnlib(_network(PLAIN))
    for text in ("; (vnnlib-version <2.0>)\n(declare-const X_0 Real)", "(declare-constant vnnlib-version Real)"):
        with pytest.raises(InputError, match="declare"):  # read as version 1.0
            parse_vnnlib(text)


def test_packed_files_are_unpacked_up_to_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = HEAD_1 + "".join(f"(assert {written(part, 1)})" for part in (BOX, ["<=", "Y_0", 1.0]))
    (tmp_path / "a.vnnlib").write_text(text)
    (tmp_path / "a.vnnlib.gz").write_bytes(gzip.compress(text.encode()))
    same(read_vnnlib(tmp_path / "a.vnnlib"), read_vnnlib(tmp_path / "a.vnnlib.gz"))
    for content, words in ((text.encode(), "no gzip file"), (gzip.compress(text.encode())[:-9], "cut off")):
        (tmp_path / "b.vnnlib.gz").write_bytes(content)
        with pytest.raises(InputError, match=words):
            read_vnnlib(tmp_path / "b.vnnlib.gz")
    monkeypatch.setattr("certnet.io.vnnlib.LARGEST_FILE", 1000)
    (tmp_path / "c.vnnlib.gz").write_bytes(gzip.compress(b" " * 10_000_000))
    with pytest.raises(InputError, match="more than 1000 bytes"):
        read_vnnlib(tmp_path / "c.vnnlib.gz")
