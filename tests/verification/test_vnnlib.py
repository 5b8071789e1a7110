"""Reading VNN-LIB: the same meaning in every spelling, and one sentence for everything else."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certnet.io.vnnlib import read_vnnlib
from formulations import InputError
from tests.verification.problems import parse_vnnlib

HEAD = "(declare-const X_0 Real)(declare-const X_1 Real)\n(declare-const Y_0 Real)(declare-const Y_1 Real)\n"
LONG = f"1{'0' * 989}1 "
BOX = "(assert (>= X_0 -1)) (assert (<= X_0 2.5e-1)) (assert (and (<= 0 X_1) (>= 3 X_1))) ; the box\n"


def test_a_box_and_a_row() -> None:
    stated = parse_vnnlib(HEAD + BOX + "(assert (<= Y_0 Y_1))")
    assert (stated.inputs, stated.outputs, len(stated.cases)) == (2, 2, 1)
    case = stated.cases[0]
    assert case.region.lower.tolist() == [-1.0, 0.0]
    assert case.region.upper.tolist() == [0.25, 3.0]
    assert case.H.tolist() == [[1.0, -1.0]]
    assert case.h.tolist() == [0.0]


SPELLINGS = {
    "swapped": "(assert (>= Y_1 Y_0))",
    "a difference": "(assert (<= (- Y_0 Y_1) 0))",
    "a sum": "(assert (<= (+ Y_0 (* -1 Y_1)) 0.0))",
    "negated": "(assert (<= (- Y_1) (- Y_0)))",
    "nested": "(assert (or (and (<= Y_0 Y_1))))",
    "a factor": "(assert (<= (* 1 Y_0) (* Y_1 1.0)))",
    "quotients": "(assert (<= (/ (* 9 Y_0) 3 3) (- (* (/ -1 3) 3 Y_1))))",
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_spellings_of_one_row(spelling: str) -> None:
    case = parse_vnnlib(HEAD + BOX + SPELLINGS[spelling]).cases[0]
    assert case.H.tolist() == [[1.0, -1.0]]
    assert case.h.tolist() == [0.0]


def test_disjunctions_of_conjunctions_over_outputs_and_inputs() -> None:
    text = HEAD + BOX + "(assert (or (and (<= Y_0 1) (>= Y_1 2)) (>= Y_0 7)))(assert (or (<= X_0 0) (>= X_0 0.125)))"
    stated = parse_vnnlib(text)
    assert len(stated.cases) == 4
    assert sorted((case.region.lower[0], case.region.upper[0]) for case in stated.cases) == [
        (-1.0, 0.0),
        (-1.0, 0.0),
        (0.125, 0.25),
        (0.125, 0.25),
    ]
    assert sorted(len(case.H) for case in stated.cases) == [1, 1, 2, 2]
    # Cases that share a box share the region, so that its bounds are computed once.
    assert len({id(case.region) for case in stated.cases}) == 2


def test_impossible_cases_are_left_out_and_a_missing_row_means_every_input() -> None:
    stated = parse_vnnlib(HEAD + BOX + "(assert (or (<= X_0 -2) (<= X_0 0)))")
    assert len(stated.cases) == 1
    assert not stated.cases[0].H.any()
    assert stated.cases[0].h.tolist() == [0.0]


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(-1e6, 1e6), min_size=4, max_size=4))
def test_numbers_keep_every_digit(values: list[float]) -> None:
    sides = [sorted(values[:2]), sorted(values[2:])]
    text = HEAD + "".join(f"(assert (>= X_{i} {a!r}))(assert (<= X_{i} {b!r}))" for i, (a, b) in enumerate(sides))
    region = parse_vnnlib(text + "(assert (<= Y_0 0))").cases[0].region
    inner = (region.lower, region.upper) if region.inner is None else region.inner
    for i, (a, b) in enumerate(sides):
        for stated, outer, other in ((a, region.lower[i], inner[0][i]), (-b, -region.upper[i], -inner[1][i])):
            exact = Fraction(repr(stated))
            assert Fraction(outer) <= exact <= Fraction(other)
            assert outer == other or np.nextafter(outer, np.inf) == other


WRONG = {
    "nothing": ("", "not all declared"),
    "no assertion": (HEAD, "nothing is asserted"),
    "no bracket": (HEAD + "assert", "outside brackets"),
    "an open bracket": (HEAD + "(assert (<= Y_0 1)", "not closed"),
    "a closed bracket": (HEAD + BOX + ")", "not open"),
    "an unbounded input": (HEAD + "(assert (<= X_0 1))(assert (<= Y_0 1))", "no lower or no upper bound"),
    "an unknown output": (HEAD + BOX + "(assert (<= Y_5 1))", "Y_5 is not declared"),
    "a product": (HEAD + BOX + "(assert (<= (* Y_0 Y_1) 1))", "linear"),
    "inputs together": (HEAD + BOX + "(assert (<= (+ X_0 X_1) 1))", "several inputs"),
    "inputs with outputs": (HEAD + BOX + "(assert (<= X_0 Y_1))", "inputs and outputs"),
    "a quotient by a variable": (HEAD + BOX + "(assert (<= (/ 1 Y_0) 1))", "linear"),
    "a quotient by nothing": (HEAD + BOX + "(assert (<= (/ Y_0 2 (- 1 1)) 1))", "other than 0"),
    "a quotient that is too long to be written": (
        HEAD + BOX + f"(assert (= (* {LONG * 5} X_0) (* {LONG * 5} 3)))",
        "too large together",
    ),
    "a word": (HEAD + BOX + "(assert (<= Y_0 much))", "neither a number"),
    "a name": (HEAD.replace("Y_1", "y1"), "declare X_i or Y_j"),
    "a name twice": (HEAD + HEAD, "twice"),
    "a gap in the names": (HEAD.replace("X_1", "X_2") + "(assert (<= Y_0 1))", "not all declared"),
    "negation": (HEAD + BOX + "(assert (not (<= Y_0 1)))", "not understood"),
    "numbers that are huge together": (HEAD + BOX + "(assert (<= (+ Y_0 1e308 1e308) 0))", "too large together"),
    "a product of huge numbers": (HEAD + BOX + "(assert (<= (* 1e308 1e308 Y_0) 0))", "too large or"),
    "a product that grows": (HEAD + BOX + f"(assert (<= (* {'1e999 ' * 9} Y_0) 0))", "too large together"),
    "a bound that overflows": (
        HEAD + BOX.replace("X_0 2.5e-1", "(* 1e-300 X_0) 1e300") + "(assert (<= Y_0 1))",
        "too large together",
    ),
    "deep nesting": ("(" * 100_000, "deeply"),
    "an assertion after the question": (
        HEAD + BOX + "(assert (<= Y_0 1))(check-sat)(assert (<= Y_1 1))",
        "after the question",
    ),
    "a string without an end": (HEAD + BOX + '(set-info :source "(assert (<= Y_0 1))', "not closed"),
    "a symbol without an end": (HEAD + BOX + "(set-info :source |(assert (<= Y_0 1))", "not closed"),
    "many cases beside each other": (
        HEAD + BOX + f"(assert (or {('(and ' + '(or (<= Y_0 1) (<= Y_1 1))' * 12 + ')') * 2000}))",
        "cases",
    ),
    "too many cases": (HEAD + BOX + "(assert (or (<= Y_0 1) (<= Y_1 1)))" * 20, "cases"),
    "a padded name": (HEAD + BOX + "(assert (>= (+ Y_1 Y_01) 1.5))", "'Y_01' is neither"),
    "a padded zero": (HEAD + BOX + "(assert (>= (- Y_0 Y_00) 0.5))", "'Y_00' is neither"),
    "a padded input": (HEAD + "(assert (<= X_01 1))", "'X_01' is neither"),
    "a padded declaration": (HEAD + "(declare-const Y_02 Real)", "declare X_i or Y_j"),
    "a name without effect": (HEAD + BOX + "(assert (<= (+ (* 0 Y_9) Y_0) 1))", "Y_9 is not declared"),
    "a name in an impossible case": (HEAD + BOX + "(assert (or (<= 1 0) (and (<= 1 0) (<= Y_9 1))))", "Y_9 is not"),
    "a name that cancels": (HEAD + BOX + "(assert (<= (- Y_9 Y_9) 1))", "Y_9 is not declared"),
    "a name before its declaration": ("(assert (<= X_0 1))" + HEAD, "X_0 is not declared"),
    "other digits": (HEAD + BOX + "(assert (<= Y_\u0661 1))", "neither a number"),
    "digits of another script": (HEAD + BOX + "(assert (<= Y_0 \uff11))", "neither a number"),
    "an underscore": (HEAD + BOX + "(assert (<= Y_0 1_0))", "neither a number"),
    "an infinity": (HEAD + BOX + "(assert (<= Y_0 inf))", "neither a number"),
    "a name with a sign": (HEAD + BOX + "(assert (<= Y_+1 1))", "neither a number"),
    "a number of many digits": (HEAD + BOX + f"(assert (<= Y_0 {'1' * 5000}))", "too long"),
    "an exponent of many digits": (HEAD + BOX + f"(assert (<= Y_0 1e-{'1' * 2000}))", "too small"),
    "digits that no factor saves": (
        HEAD + BOX + "(assert (<= (+ (* 0.12345678901234567891 Y_0) (* 0.3 Y_1)) 0))",
        "too many digits",
    ),
    "a huge number": (HEAD + BOX + "(assert (<= Y_0 1e999))", "too large"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_cannot_be_read_is_said_in_one_sentence(wrong: str) -> None:
    text, words = WRONG[wrong]
    with pytest.raises(InputError, match=words) as caught:
        parse_vnnlib(text)
    assert "\n" not in str(caught.value)


def test_what_stands_in_strings_and_quotes_is_not_asserted() -> None:
    for quote in '"|':
        inside = f"(set-info :source {quote}; ) (assert (<= Y_0 0)) (set-info :x {quote})"
        (case,) = parse_vnnlib(HEAD + BOX + f"{inside}(assert (<= Y_1 5)) ; {quote}").cases
        assert case.H.tolist() == [[0.0, 1.0]]
        assert case.h.tolist() == [-5.0]


def test_rows_of_all_cases_together_are_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    text = HEAD + BOX + "(assert (or (<= Y_0 1) (<= Y_1 1)))" * 3
    assert len(parse_vnnlib(text).cases) == 8
    monkeypatch.setattr("certnet.io.clauses.MOST_ROWS", 50)
    with pytest.raises(InputError, match="50 rows"):
        parse_vnnlib(text)


def test_files_that_are_no_text(tmp_path) -> None:
    (tmp_path / "a.vnnlib").write_bytes(b"\xff\xfe\x00")
    for path, words in (
        (tmp_path / "a.vnnlib", "no text"),
        (tmp_path / "b.vnnlib", "cannot be read"),
        (tmp_path, "cannot be read"),
    ):
        with pytest.raises(InputError, match=words):
            read_vnnlib(path)
