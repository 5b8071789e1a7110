"""What a property asks of networks: relations of inputs and outputs mean what they say, and are decided with proofs."""

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certificates import Verdict, check
from certnet.io.folding import side_by_side, stacked
from certnet.io.network import TwoLayerNetwork
from certnet.io.query import read_query
from certnet.io.vnnlib import Property
from certnet.jobs.verify import verify
from certnet.search.counterexample import confirm, exact_outputs
from formulations import InputError
from formulations.network import ReluNetwork
from tests.verification.problems import parse_vnnlib, random_network
from tests.verification.test_vnnlib2 import EIGHTHS, SIGNS, holds

X, Y = [f"X_{i}" for i in range(4)], [f"Y_{j}" for j in range(2)]
HEAD = "".join(f"(declare-const {name} Real)" for name in [*X, *Y])
BOX = "".join(f"(assert (and (<= {name} 1) (>= {name} -1)))" for name in X)
PARTS = [
    ReluNetwork(np.array([[1.0, -2.0], [2.0, 1.0]]), np.array([0.0, -1.0]), np.array([[1.0, -1.0]]), np.array([0.5])),
    ReluNetwork(np.array([[1.0, -2.0], [-1.0, 1.0]]), np.array([0.0, 1.0]), np.array([[1.0, 2.0]]), np.array([-1.0])),
]
NETWORK = side_by_side(PARTS)
TERMS = st.recursive(
    st.one_of(st.sampled_from([*X, *Y]), EIGHTHS, st.tuples(st.just("*"), EIGHTHS, st.sampled_from([*X, *Y]))),
    lambda inner: st.tuples(st.sampled_from(["+", "-"]), inner, inner),
    max_leaves=4,
)
ROWS = st.one_of(
    st.tuples(SIGNS, TERMS, TERMS), st.sampled_from([("=", "X_0", "X_2"), ("=", "X_1", "X_3"), ("=", "X_3", "X_2")])
)
FORMULAS = st.recursive(
    ROWS, lambda inner: st.tuples(st.sampled_from(["and", "and", "or"]), inner, inner), max_leaves=5
)


def written(formula: Any) -> str:
    if isinstance(formula, tuple):
        return f"({' '.join(map(written, formula))})"
    return formula if isinstance(formula, str) else repr(formula)


def unsafe(stated: Property, x: np.ndarray) -> bool:
    """Whether some case calls this input unsafe, exactly; inputs that are one have to be equal."""
    assert stated.network is not None
    joined = np.full(stated.network.inputs, np.nan)
    for place, value in zip(stated.places, x.tolist(), strict=True):
        if joined[place] == joined[place] and joined[place] != value:
            return False
        joined[place] = value
    return any(confirm(stated.network, case, joined, 0) is not None for case in stated.cases)


@settings(max_examples=25, deadline=None)
@given(st.lists(FORMULAS, min_size=1, max_size=3), st.integers(0, 2**32 - 1))
def test_cases_are_unsafe_where_the_formulas_hold(formulas: list[Any], seed: int) -> None:
    stated = parse_vnnlib(HEAD + BOX + "".join(f"(assert {written(formula)})" for formula in formulas), NETWORK)
    random = np.random.default_rng(seed)
    for _ in range(12):
        x = random.integers(-9, 10, 4) / 8
        x[2:] = np.where(random.random(2) < 0.5, x[:2], x[2:])
        values = dict(zip([*X, *Y], [*map(Fraction, x.tolist()), *exact_outputs(NETWORK, x)], strict=True))
        inside = bool((abs(x) <= 1).all())
        assert unsafe(stated, x) == (inside and all(holds(_exact(formula), values) for formula in formulas))


def _exact(formula: Any) -> Any:
    if isinstance(formula, tuple):
        return tuple(map(_exact, formula))
    return Fraction(formula) if isinstance(formula, float) else formula


def test_networks_beside_and_upon_each_other_compute_what_each_does() -> None:
    for x in np.random.default_rng(0).integers(-8, 9, (20, 4)) / 8:
        first, second = (exact_outputs(network, part) for network, part in zip(PARTS, (x[:2], x[2:]), strict=True))
        assert exact_outputs(NETWORK, x) == [*first, *second]
        both = stacked([*PARTS, PARTS[0]])
        assert both.width == 3  # (1, -2) with bias 0 stands in both
        outputs = [exact_outputs(network, x[:2])[0] for network in PARTS]
        assert exact_outputs(both, x[:2]) == [*outputs, outputs[0]]


DECIDED = {
    "equal networks are equal": ("(= X_0 X_2)(= X_1 X_3)(>= (- Y_0 Y_1) 1e-9)", PARTS[0], Verdict.PROVED),
    "and not more": ("(= X_0 X_2)(= X_1 X_3)(>= (- Y_0 Y_1) 0)", PARTS[0], Verdict.REFUTED),
    "nearly equal inputs": ("(= X_0 X_2)(<= (- X_1 X_3) 0.1)(<= (- X_3 X_1) 0.1)(>= (- Y_0 Y_1) 0.31)", PARTS[0],
                            Verdict.PROVED),
    "by enough": ("(= X_0 X_2)(<= (- X_1 X_3) 0.1)(<= (- X_3 X_1) 0.1)(>= (- Y_0 Y_1) 0.19)", PARTS[0],
                  Verdict.REFUTED),
    "monotone": ("(<= X_0 X_2)(= X_1 X_3)(<= (- Y_1 Y_0) -2.1)", PARTS[0], Verdict.PROVED),
    "not monotone": ("(<= X_0 X_2)(= X_1 X_3)(<= (- Y_1 Y_0) -0.1)", PARTS[0], Verdict.REFUTED),
    "inputs that contradict each other": ("(>= (+ X_0 X_1) 1)(>= (- 0 X_0 X_1) 0.5)", PARTS[1], Verdict.PROVED),
    "no input between": ("(> X_0 0.5)(< X_0 0.5)", PARTS[1], Verdict.PROVED),
    "a strict bound": ("(> X_0 0.5)(< (* 2 X_0) 1.001)(< Y_0 1000)", PARTS[1], Verdict.REFUTED),
    "inputs against outputs": ("(>= (+ X_0 X_1) (+ Y_0 9.6))", PARTS[1], Verdict.PROVED),
}  # fmt: skip


@pytest.mark.parametrize("name", DECIDED)
def test_relations_are_decided_and_the_checker_agrees(name: str) -> None:
    rows, second, verdict = DECIDED[name]
    text = HEAD + BOX + "".join(f"(assert {row})" for row in _top(rows))
    stated = parse_vnnlib(text, side_by_side([PARTS[0], second]))
    assert stated.network is not None
    result = verify(stated.network, stated.cases, time_limit=20)
    assert result.verdict is verdict
    if result.certificate is not None:
        assert check(result.certificate).verdict is Verdict.PROVED
    # What no sample contradicts: the same by looking at many points.
    if verdict is Verdict.PROVED:
        points = np.random.default_rng(0).integers(-8, 9, (100, 4)) / 8
        points[:50, 2:] = points[:50, :2]
        assert not any(unsafe(stated, x) for x in points)


def _top(text: str) -> list[str]:
    """The expressions of a text."""
    found, depth, start = [], 0, 0
    for place, letter in enumerate(text):
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if depth == 0:
            found.append(text[start : place + 1])
            start = place + 1
    return found


def test_bounds_of_an_input_may_follow_from_those_of_others() -> None:
    network = random_network(3, width=4)
    head = "".join(f"(declare-const X_{i} Real)" for i in range(3)) + "(declare-const Y_0 Real)(declare-const Y_1 Real)"
    text = head + "(assert (and (>= X_0 0) (<= X_0 1) (<= (+ X_1 X_0) 2) (>= X_1 0)))"
    stated = parse_vnnlib(text + "(assert (= X_2 (+ (* 2 X_0) X_1)))(assert (<= Y_0 0))", network)
    (region,) = {case.region for case in stated.cases}
    assert region.lower.tolist() == [0.0, 0.0, 0.0]
    assert region.upper.tolist() == [1.0, 2.0, 4.0]
    with pytest.raises(InputError, match="X_2 has no lower or no upper bound"):
        parse_vnnlib(text + "(assert (<= X_2 X_1))", network)
    (case,) = parse_vnnlib(text + "(assert (and (<= X_2 -1) (>= X_2 X_1)))", network).cases
    assert case.is_impossible


@pytest.mark.parametrize("size", ["1.0", "1e-150"])
def test_sums_of_inputs_mean_what_they_say_however_small_they_are(size: str) -> None:
    box = BOX.replace("1)", f"{size})").replace("-1)", f"-{size})")
    rows = f"(<= (+ (* {size} X_0) (* {size} X_1)) (* -1.5 {size} {size}))"
    stated = parse_vnnlib(f"{HEAD}{box}(assert {rows})", NETWORK)
    assert unsafe(stated, np.array([-0.9, -0.9, 0, 0]) * float(size))
    assert not unsafe(stated, np.array([-0.9, 0, 0, 0]) * float(size))


@pytest.mark.parametrize(("sign", "found"), [("<", True), (">", False)])
def test_points_that_no_float_is_lie_beside_strict_sides(sign: str, found: bool) -> None:
    """X_0 = 1/3 and X_1 between numbers that are next to each other: a point in rational numbers alone."""
    rows = ["(= (* 3 X_0) 1)", "(> X_1 0.1)", "(< X_1 0.100000000000000001)", f"({sign} Y_0 100)"]
    stated = parse_vnnlib(HEAD + BOX + "".join(f"(assert {row})" for row in rows), NETWORK)
    assert stated.network is not None
    result = verify(stated.network, stated.cases, time_limit=20)
    assert (result.counterexample is not None) == found
    if result.counterexample is not None:
        x = result.counterexample.exact
        assert x is not None
        assert x[0] == Fraction(1, 3)
        assert Fraction("0.1") < x[1] < Fraction("0.100000000000000001")


def test_two_networks_of_one_name_are_refused(tmp_path: Path) -> None:
    pytest.importorskip("vnnlib", reason="the vnnlib package is not installed")
    TwoLayerNetwork(PARTS[0]).save(tmp_path / "net.npz")
    declared = "(declare-network N (declare-input {0} real [2]) (declare-output {1} real [1]))"
    text = "(vnnlib-version <2.0>)" + declared.format("A", "B") + declared.format("C", "D") + "(assert (<= B[0] 0.0))"
    (tmp_path / "two.vnnlib").write_text(text)
    with pytest.raises(InputError, match="4 inputs and 2 outputs, but the network has 2 and 1"):
        read_query(tmp_path / "two.vnnlib", {"N": str(tmp_path / "net.npz")})
