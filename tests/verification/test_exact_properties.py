"""What a text states is decided exactly: against enumeration on the line, and points of regions in rational numbers."""

import contextlib
import itertools
import json
import operator
import re
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certificates import Certificate, Robustness, Verdict, check, read_certificate, write_certificate
from certificates.arithmetic.machine import MachineFailure
from certnet.cli.agreement import compare_property
from certnet.io.vnnlib import Property
from certnet.jobs.verify import verify
from certnet.search.counterexample import Counterexample, confirm, confirm_near, decided_classes, exact_outputs
from certnet.search.regions import pull_inside
from formulations import InputError
from formulations.network import ReluNetwork
from formulations.properties import keeps_class
from formulations.robustness import InputRegion, UnsafeCase
from tests.cli.support import caller
from tests.verification.problems import parse_vnnlib

SIGNS = {"<=": operator.le, ">=": operator.ge, "=": operator.eq, "<": operator.lt, ">": operator.gt}


def value(term: Any, point: dict[str, Fraction]) -> Fraction:
    """A term of nested lists at a point, by the meaning of SMT-LIB."""
    if isinstance(term, str):
        return point[term] if term in point else Fraction(term)
    parts = [value(part, point) for part in term[1:]]
    if term[0] == "-" and len(parts) == 1:
        return -parts[0]
    combined = parts[0]
    for part in parts[1:]:
        combined = {"+": operator.add, "-": operator.sub, "*": operator.mul}[term[0]](combined, part)
    return combined


def holds(formula: Any, point: dict[str, Fraction]) -> bool:
    if formula[0] in ("and", "or"):
        return {"and": all, "or": any}[formula[0]](holds(part, point) for part in formula[1:])
    return bool(SIGNS[formula[0]](value(formula[1], point), value(formula[2], point)))


def written(formula: Any) -> str:
    return formula if isinstance(formula, str) else f"({' '.join(written(part) for part in formula)})"


def parsed(formulas: Sequence[Any], inputs: int, outputs: int, network: ReluNetwork | None = None) -> Property:
    names = [*(f"X_{i}" for i in range(inputs)), *(f"Y_{j}" for j in range(outputs))]
    text = "".join(f"(declare-const {name} Real)" for name in names)
    return parse_vnnlib(text + "".join(f"(assert {written(formula)})" for formula in formulas), network)


def point_of(network: ReluNetwork, x: Sequence[Fraction]) -> dict[str, Fraction]:
    """Inputs and outputs by name, computed without certnet."""
    hidden = [
        max(sum((Fraction(w) * v for w, v in zip(row, x, strict=True)), Fraction(b)), Fraction(0))
        for row, b in zip(network.hidden.tolist(), network.hidden_bias.tolist(), strict=True)
    ]
    y = [
        sum((Fraction(w) * v for w, v in zip(row, hidden, strict=True)), Fraction(b))
        for row, b in zip(network.output.tolist(), network.output_bias.tolist(), strict=True)
    ]
    return {**{f"X_{i}": v for i, v in enumerate(x)}, **{f"Y_{j}": v for j, v in enumerate(y)}}


def place(found: Counterexample) -> tuple[Fraction, ...]:
    return tuple(Fraction(v) for v in found.x.tolist()) if found.exact is None else found.exact


def unsafe_somewhere(network: ReluNetwork, formulas: Sequence[Any], ends: Sequence[Fraction]) -> bool:
    """Whether all formulas hold at some point of a line, for a network of one input.

    Between two neighbours of kinks and ends of rows on inputs everything is linear, so a row changes at its own root
    alone; with these added a point of each gap and all ends themselves are enough.
    """
    kinks = [
        -Fraction(b) / Fraction(w)
        for (w,), b in zip(network.hidden.tolist(), network.hidden_bias.tolist(), strict=True)
        if w
    ]
    marks = sorted({*kinks, *ends, min(ends) - 1, max(ends) + 1})
    roots = set(marks)
    for low, high in itertools.pairwise(marks):
        for left, right in rows(formulas):
            a, b = (value(left, at) - value(right, at) for at in (point_of(network, [low]), point_of(network, [high])))
            if a != b and min(a, b) < 0 < max(a, b):
                roots.add(low + (high - low) * a / (a - b))
    places = sorted(roots)
    between = [(low + high) / 2 for low, high in itertools.pairwise(places)]
    return any(all(holds(f, point_of(network, [x])) for f in formulas) for x in [*places, *between])


def rows(formula: Any) -> list[tuple[Any, Any]]:
    """The two sides of every inequality."""
    if isinstance(formula, list | tuple) and formula and isinstance(formula[0], str) and formula[0] in SIGNS:
        return [(formula[1], formula[2])]
    return [row for part in formula if isinstance(part, list | tuple) for row in rows(part)]


DECIMALS = (
    st.integers(-30, 30)
    .map(lambda k: f"{k // 10 if k >= 0 else -((-k) // 10)}.{abs(k) % 10}")
    .filter(lambda text: text != "0.0")
)
WEIGHTS = st.one_of(DECIMALS, st.sampled_from(["0.12345678901234567891", "-1.7320508075688772935", "1e-17"]))
"""The latter are no float64 numbers together, whatever they are multiplied by."""
POSITIVE = st.sampled_from(["1", "3", "7", "0.1", "0.3", "1.5", "10"])
BIT = st.sampled_from([0, 1, 2, 3])


@st.composite
def properties(draw: st.DrawFn) -> tuple[ReluNetwork, list[Any], list[Fraction]]:
    """A network of one input and two outputs, formulas with factors that float64 does not hold, and ends of boxes."""
    width = draw(st.integers(1, 4))
    small = st.integers(-8, 8).map(lambda k: k / 4)
    arrays = [draw(st.lists(small, min_size=n, max_size=n)) for n in (width, width, 2 * width, 2)]
    network = ReluNetwork(
        np.array(arrays[0]).reshape(width, 1), np.array(arrays[1]), np.array(arrays[2]).reshape(2, width), arrays[3]
    )
    a, b = draw(POSITIVE), draw(POSITIVE)
    low, high = sorted((draw(st.integers(-6, 6)), draw(st.integers(-6, 6))))
    box = ["and", ["<=", ["*", a, "X_0"], str(high)], [">=", ["*", b, "X_0"], str(low)]]
    ends = [Fraction(high) / Fraction(a), Fraction(low) / Fraction(b)]

    def row() -> list[Any]:
        terms = [["*", draw(WEIGHTS), name] for name in draw(st.sampled_from([["Y_0"], ["Y_1"], ["Y_0", "Y_1"]]))]
        return [draw(st.sampled_from(["<=", ">="])), ["+", *terms, *terms[: draw(BIT)]], draw(DECIMALS)]

    kind = draw(st.sampled_from(["and", "or"]))
    return network, [box, [kind, *(row() for _ in range(draw(st.integers(1, 3))))]], ends


@settings(max_examples=30, deadline=None)
@given(properties())
def test_verdicts_agree_with_enumeration_of_the_text(problem: tuple[ReluNetwork, list[Any], list[Fraction]]) -> None:
    network, formulas, ends = problem
    stated = parsed(formulas, 1, 2, network)
    result = verify(network, stated.cases, time_limit=5.0)
    truth = unsafe_somewhere(network, formulas, ends)
    if result.verdict is Verdict.REFUTED:
        assert result.counterexample is not None
        at = point_of(network, place(result.counterexample))
        assert all(holds(formula, at) for formula in formulas)
    else:
        assert result.verdict is not Verdict.PROVED or not truth
    # Float rows and boxes hold wherever those of the text do.
    for x in [*ends, *((ends[0] * k + ends[1] * (7 - k)) / 7 for k in range(1, 7))]:
        at = point_of(network, [x])
        if all(holds(formula, at) for formula in formulas):
            assert any(
                Fraction(case.region.lower[0]) <= x <= Fraction(case.region.upper[0])
                and all(
                    sum((Fraction(w) * at[f"Y_{j}"] for j, w in enumerate(row)), Fraction(h)) <= 0
                    for row, h in zip(case.H.tolist(), case.h.tolist(), strict=True)
                )
                for case in stated.cases
            )


LINE = ReluNetwork(np.array([[2.0**54]]), np.array([-(2.0**54) / 3]), np.ones((1, 1)), np.zeros(1))
"""0 up to the float64 number below 1/3, and 1/3 at 1/3 itself."""


def test_a_point_between_two_numbers_is_found_and_none_is_made_up() -> None:
    third = [["<=", ["*", "3", "X_0"], "1"], [">=", "X_0", "0"]]
    for row, unsafe in (
        ([">=", "Y_0", "0.25"], True),
        ([">=", ["*", "3", "Y_0"], "1"], True),
        ([">=", "Y_0", "2"], False),
    ):
        stated = parsed([*third, row], 1, 1)
        found = confirm_near(LINE, stated.cases[0], np.array([[1.0]]), 0)
        assert (found is not None) == unsafe
        if found is not None:
            assert found.exact == (Fraction(1, 3),)
    assert verify(LINE, parsed([*third, [">=", "Y_0", "0.25"]], 1, 1).cases).verdict is Verdict.REFUTED
    tenth = ReluNetwork(np.array([[2.0**55]]), np.array([-3602879701896396.0]), np.ones((1, 1)), np.zeros(1))
    stated = parsed([["<=", ["*", "10", "X_0"], "1"], [">=", "X_0", "0"], [">=", "Y_0", "1"]], 1, 1)
    assert verify(tenth, stated.cases).verdict is not Verdict.REFUTED


def test_check_compares_what_texts_state_and_not_how_they_are_rounded(tmp_path: Path) -> None:
    network = ReluNetwork(np.ones((1, 1)), np.zeros(1), np.array([[1.0], [0.0]]), np.array([1.0, 0.0]))
    box, row = (
        ["and", ["<=", ["*", "3", "X_0"], "1"], [">=", "X_0", "0"]],
        ["<=", ["*", "0.3", "Y_0"], ["*", "0.1", "Y_1"]],
    )
    stated = parsed([box, row], 1, 2)
    result = verify(network, stated.cases)
    assert result.certificate is not None
    write_certificate(tmp_path / "a.cert", result.certificate)
    own = read_certificate(tmp_path / "a.cert")

    def compared(*formulas: Any, certificate: Certificate = own) -> bool:
        names = "".join(f"(declare-const {name} Real)" for name in ("X_0", "Y_0", "Y_1"))
        (tmp_path / "p.vnnlib").write_text(names + "".join(f"(assert {written(formula)})" for formula in formulas))
        with contextlib.suppress(InputError):
            return compare_property(certificate, str(tmp_path / "p.vnnlib"))[0] > 0
        return False

    assert compared(box, row)
    assert compared(["or", ["and", row, box], ["and", box, row]])
    assert compared(["and", ["<=", "X_0", "0.3333333333333333"], [">=", "X_0", "0.1"]], row)
    assert compared(box, row, ["<=", "Y_1", "0"])
    assert compared(box, ["<=", ["*", "3", "Y_0"], "Y_1"])
    assert compared(box, ["<=", ["*", "3", "Y_0"], ["-", "Y_1", "0.001"]])
    assert compared(["or"])
    # Beyond 1/3, but not beyond the end of the certificate's box, which was rounded up.
    assert Fraction(1, 3) < Fraction("0.33333333333333334") <= Fraction(own.cases[0].region.upper[0])
    assert compared(["and", ["<=", "X_0", "0.33333333333333334"], [">=", "X_0", "0"]], row)
    assert not compared(["and", ["<=", "X_0", "0.3334"], [">=", "X_0", "0"]], row)
    assert not compared(box, ["<=", ["*", "3", "Y_0"], ["+", "Y_1", "0.001"]])
    assert not compared(box, ["<=", ["*", "3.0000001", "Y_0"], "Y_1"])
    assert not compared(box, ["or", row, ["<=", "Y_0", "0"]])
    # A box that ends at the number below 1/3 is smaller than what the text states.
    narrow = UnsafeCase(InputRegion(np.zeros(1), np.array([1 / 3])), own.cases[0].H, own.cases[0].h)
    assert Fraction(1 / 3) < Fraction(1, 3)
    smaller = Certificate(Robustness(network, (narrow,)), own.proofs)
    assert check(smaller).verdict is Verdict.PROVED
    assert not compared(box, row, certificate=smaller)


def test_rows_that_cannot_be_scaled_are_charged_and_certified(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    network = ReluNetwork(np.array([[1.0], [-1.0]]), np.array([0.5, 0.5]), np.eye(2), np.zeros(2))
    np.savez(tmp_path / "n.npz", W1=network.hidden, b1=network.hidden_bias, W2=network.output)
    terms = ["+", ["*", "0.12345678901234567891", "Y_0"], ["*", "0.3", "Y_1"]]
    box = ["and", ["<=", "X_0", "0.1"], [">=", "X_0", "-0.1"]]
    call = caller(capsys)
    for bound, code in (("0.1", 0), ("0.2", 1)):
        names = "".join(f"(declare-const {name} Real)" for name in ("X_0", "Y_0", "Y_1"))
        text = names + f"(assert {written(box)})(assert {written(['<=', terms, bound])})"
        with pytest.raises(InputError, match="for its network"):
            parse_vnnlib(text)
        (tmp_path / "p.vnnlib").write_text(text)
        done = call("verify", tmp_path / "n.npz", tmp_path / "p.vnnlib", "--certificate", tmp_path / "a.cert")
        assert done.code == code
    (tmp_path / "p.vnnlib").write_text(text.replace("0.2)", "0.1)"))
    assert call("check", tmp_path / "a.cert", "--property", tmp_path / "p.vnnlib").code == 0
    (tmp_path / "p.vnnlib").write_text(text.replace("0.2)", "0.1)").replace("67891", ""))
    assert call("check", tmp_path / "a.cert", "--property", tmp_path / "p.vnnlib").code == 2


def test_unsafe_points_are_printed_exactly(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    n = LINE
    np.savez(tmp_path / "n.npz", W1=n.hidden, b1=n.hidden_bias, W2=n.output)
    text = "(declare-const X_0 Real)(declare-const Y_0 Real)(assert (>= X_0 0))(assert (<= (* 3 X_0) 1))"
    (tmp_path / "p.vnnlib").write_text(text + "(assert (>= (* 3 Y_0) 1))")
    done = caller(capsys)("verify", tmp_path / "n.npz", tmp_path / "p.vnnlib")
    assert done.code == 1
    assert "(X_0 (/ 1 3))" in done.out
    # What is printed is read.
    assert parse_vnnlib(f"{text}(assert (= X_0 (/ 1 3)))(assert (<= Y_0 0))", n).cases[0].region.sides is not None
    assert caller(capsys)("verify", tmp_path / "n.npz", tmp_path / "p.vnnlib", "--json").json["counterexample"][
        "x"
    ] == ["1/3"]


def inside(region: InputRegion, x: np.ndarray, *, norm: str, centre: np.ndarray, radius: float) -> bool:
    """Whether x is in the ball, in rational arithmetic."""
    apart = [Fraction(a) - Fraction(c) for a, c in zip(x.tolist(), centre.tolist(), strict=True)]
    if norm == "linf":
        return max(map(abs, apart)) <= Fraction(radius)
    return sum(a * a for a in apart) <= Fraction(radius) ** 2


OFFSETS = st.sampled_from([0.0, 1.0, 10.0, 1000.0, 1e6, -1e6])


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["linf", "l2"]), OFFSETS, st.floats(1e-9, 1e3), st.floats(0.0, 3.0))
def test_balls_know_their_points(seed: int, norm: str, offset: float, radius: float, share: float) -> None:
    rng = np.random.default_rng(seed)
    centre = offset + rng.standard_normal(4)
    region = (InputRegion.l2 if norm == "l2" else InputRegion.linf)(centre, radius)
    direction = rng.standard_normal(4)
    direction /= np.linalg.norm(direction, ord=2 if norm == "l2" else np.inf)
    x = centre + share * radius * direction
    assert region.contains(x) == inside(region, x, norm=norm, centre=centre, radius=radius)
    near = pull_inside(region, x)
    assert near is not None
    assert inside(region, near, norm=norm, centre=centre, radius=radius)
    assert np.array_equal(near, pull_inside(region, x))
    assert (region.lower <= near).all()
    assert (near <= region.upper).all()
    if region.contains(x):
        assert np.array_equal(near, x)
    elif norm == "l2" and share <= 1.0 + 1e-12:
        # As near as float64 numbers allow.
        assert np.linalg.norm(near - x) <= 1e-12 * radius + 64 * np.spacing(abs(offset) + 4 + radius)
    # The box is rounded outwards to the next numbers.
    for side, sign in ((region.lower, -1), (region.upper, 1)):
        for a, c in zip(side.tolist(), centre.tolist(), strict=True):
            exact = Fraction(c) + sign * Fraction(radius)
            assert sign * Fraction(a) >= sign * exact > sign * Fraction(np.nextafter(a, -sign * np.inf))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), OFFSETS)
def test_box_and_ball_together_know_their_points(seed: int, offset: float) -> None:
    rng = np.random.default_rng(seed)
    centre, radius = offset + rng.standard_normal(3), float(rng.uniform(0.1, 2))
    lower = centre + rng.uniform(-1, 0.3, 3) * radius
    region = InputRegion(lower, lower + rng.uniform(0, 1, 3) * radius, centre, radius)
    near = pull_inside(region, region.lower + 3 * rng.standard_normal(3))
    if near is None:
        anchor = np.clip(centre, region.lower, region.upper)
        assert not inside(region, anchor, norm="l2", centre=centre, radius=radius)
    else:
        assert region.contains(near)
        assert inside(region, near, norm="l2", centre=centre, radius=radius)
        assert (region.lower <= near).all()
        assert (near <= region.upper).all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("offset", [1.0, 10.0, 1000.0, 1e6])
def test_balls_that_are_refutable_with_room_to_spare_are_refuted(norm: str, offset: float) -> None:
    """f = (q·(x − c) + 1, 0): the class is lost at the distance 1 over the dual norm of q."""
    for seed in range(4):
        rng = np.random.default_rng(seed)
        q, centre = rng.integers(-8, 9, 5).astype(float), offset + rng.integers(-8, 9, 5)
        shift = 1.0 - float(q @ centre)
        network = ReluNetwork(
            np.vstack([q, -q]), np.array([shift, -shift]), np.array([[1.0, -1.0], [0.0, 0.0]]), [0, 0]
        )
        true = 1.0 / (np.abs(q).sum() if norm == "linf" else np.linalg.norm(q))
        region = (InputRegion.linf if norm == "linf" else InputRegion.l2)(centre, true / 0.999)
        result = verify(network, keeps_class(network, region, 0), time_limit=10.0)
        assert result.verdict is Verdict.REFUTED
        assert result.counterexample is not None
        assert inside(region, result.counterexample.x, norm=norm, centre=centre, radius=true / 0.999)


def test_an_edge_that_rounding_passes_refutes_nothing() -> None:
    """f = ((2^54 x − 2^52 + 1)₊, ½) keeps its class on |x − ½| ≤ ¼, but not at the number below ¼."""
    network = ReluNetwork(
        np.array([[2.0**54]]), np.array([1.0 - 2.0**52]), np.array([[1.0], [0.0]]), np.array([0, 0.5])
    )
    region = InputRegion.linf([0.5], 0.25)
    assert region.lower[0] == 0.25
    (case,) = keeps_class(network, region, 0)
    below = np.nextafter(0.25, 0.0)
    assert confirm_near(network, case, np.array([[below]]), 0) is None
    assert verify(network, [case]).verdict is not Verdict.REFUTED
    wider = InputRegion.linf([0.5], float(np.nextafter(0.25, 1.0)))
    assert confirm_near(network, keeps_class(network, wider, 0)[0], np.array([[0.0]]), 0) is not None


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1.0, 1e8, 2.0**60]))
def test_classes_are_decided_as_in_rational_arithmetic(seed: int, size: float) -> None:
    rng = np.random.default_rng(seed)
    d, m, c, n = 2, 3, int(rng.integers(1, 4)), 12
    small = lambda *shape: rng.integers(-2, 3, shape).astype(float)  # noqa: E731
    network = ReluNetwork(small(m, d), size * small(m), small(c, m), size * small(c))
    X, labels = small(n, d) / 2, rng.integers(0, c, n)
    for x, label, found, kept in zip(X, labels.tolist(), *decided_classes(network, X, labels), strict=True):
        y = exact_outputs(network, x)
        assert y == [point_of(network, [Fraction(v) for v in x.tolist()])[f"Y_{j}"] for j in range(c)]
        others = [y[k] for k in range(c) if k != label]
        assert found == y.index(max(y))
        assert kept == (not others or y[label] > max(others))


def test_another_machine_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    network = ReluNetwork(np.ones((1, 1)), np.zeros(1), np.array([[1.0], [0.0]]), np.zeros(2))
    (case,) = keeps_class(network, InputRegion.linf([0.0], 1.0), 0)
    assert confirm(network, case, np.zeros(1), 0) is not None

    def flushes(order: int = 0) -> None:
        raise MachineFailure("subnormal numbers are flushed")

    monkeypatch.setattr("certnet.search.counterexample.require_machine", flushes)
    assert confirm(network, case, np.zeros(1), 0) is None
    assert confirm_near(network, case, np.zeros((1, 1)), 0) is None
    with pytest.raises(InputError, match="flushed"):
        decided_classes(network, np.zeros((1, 1)), np.array([0]))


def test_texts_of_witnesses_are_read_back(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """What is printed satisfies the file, whatever the box's sides are."""
    network = ReluNetwork(np.eye(3), np.zeros(3), np.ones((1, 3)), np.zeros(1))
    np.savez(tmp_path / "n.npz", W1=network.hidden, W2=network.output)
    formulas = [
        ["and", ["=", ["*", "3", "X_0"], "2"], ["=", "X_1", "0.7"], [">=", "X_2", "0.1"], ["<=", "X_2", "0.25"]],
        [">=", ["*", "0.3", "Y_0"], "0.1"],
    ]
    names = "".join(f"(declare-const {name} Real)" for name in ("X_0", "X_1", "X_2", "Y_0"))
    (tmp_path / "p.vnnlib").write_text(names + "".join(f"(assert {written(formula)})" for formula in formulas))
    done = caller(capsys)("verify", tmp_path / "n.npz", tmp_path / "p.vnnlib", "--json")
    x = [Fraction(entry) for entry in json.loads(done.out)["counterexample"]["x"]]
    assert all(holds(formula, point_of(network, x)) for formula in formulas)
    assert x[:2] == [Fraction(2, 3), Fraction(7, 10)]
    shown = caller(capsys)("verify", tmp_path / "n.npz", tmp_path / "p.vnnlib").out
    assert re.search(r"\(X_0 \(/ 2 3\)\)\n\(X_1 0\.7\)\n\(X_2 ", shown)


@pytest.mark.parametrize(
    ("hidden", "bias", "output", "least"),
    [([-1, -2], [-1, -2], [-2, 3], 0), ([-3, -2], [3, -2], [-2, 3], -12), ([1, 3, 3], [-3, 3, 3], [-1, -2, 2], 0)],
)
def test_a_band_below_all_outputs_is_never_met(
    hidden: list[int], bias: list[int], output: list[int], least: int
) -> None:
    """The rows of a band cancel when they are weighted alike, and then no neuron seems worth a split."""
    network = ReluNetwork(np.array(hidden)[:, None], np.array(bias), np.array([output]), np.zeros(1))
    text = "(declare-const X_0 Real)(declare-const Y_0 Real)(assert (>= X_0 -2))(assert (<= X_0 2))"
    text += f"(assert (>= Y_0 (- {least} 0.2)))"
    assert verify(network, parse_vnnlib(f"{text}(assert (<= Y_0 (- {least} 0.1)))").cases).verdict is Verdict.PROVED
    assert verify(network, parse_vnnlib(f"{text}(assert (<= Y_0 {least}))").cases).verdict is Verdict.REFUTED


def test_a_tie_on_a_dead_part_of_the_box_is_found_beside_points_that_look_the_same() -> None:
    """Both outputs are equal where the neuron is off; beside that floating point may take them for equal."""
    rng = np.random.default_rng(0)
    for _ in range(40):
        x, slope = rng.normal(scale=1e5), rng.normal()
        network = ReluNetwork(np.array([[slope]]), np.array([-slope * x]), np.array([[1.0], [0.3]]), np.full(2, 0.7))
        assert verify(network, keeps_class(network, InputRegion.linf([x], 0.1), 0)).verdict is Verdict.REFUTED
