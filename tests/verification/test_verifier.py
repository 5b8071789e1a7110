"""Verdicts against exact enumeration, and what travels with them."""

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certificates import Verdict, check, read_certificate, write_certificate
from certnet.jobs.verify import verify
from certnet.runtime.clock import Clock
from certnet.search.counterexample import confirm, exact_outputs
from formulations import InputError
from formulations.properties import keeps_class
from formulations.robustness import InputRegion, UnsafeCase
from tests.certificates.altering import replace
from tests.verification.problems import SEEDS, box_cases, exact_least_margin, random_box, random_network


@settings(max_examples=15, deadline=None)
@given(box_cases(width=5))
def test_every_verdict_is_the_truth(drawn) -> None:
    network, case, exact = drawn
    result = verify(network, [case], time_limit=30.0)
    if exact > 0:
        assert result.verdict is Verdict.PROVED, result.reason
        assert result.certificate is not None
        assert result.lower_bound <= exact
    else:
        assert result.verdict is Verdict.REFUTED, result.reason
        assert result.counterexample is not None
        assert result.certificate is None
        x = result.counterexample.x
        assert (case.region.lower <= x).all()
        assert (x <= case.region.upper).all()
        y = exact_outputs(network, x)
        row = sum((Fraction(a) * b for a, b in zip(case.H[0].tolist(), y, strict=True)), Fraction(float(case.h[0])))
        assert row <= 0


@settings(max_examples=8, deadline=None)
@given(box_cases(width=4, rows=2))
def test_conjunctions_of_rows(drawn) -> None:
    network, case, exact = drawn
    result = verify(network, [case], time_limit=30.0)
    assert result.verdict is (Verdict.PROVED if exact > 0 else Verdict.REFUTED), (result.reason, exact)


def test_a_disjunction_is_refuted_by_any_case_and_proved_by_all() -> None:
    network, region = random_network(11, outputs=3), random_box(11)
    least = [exact_least_margin(network, UnsafeCase(region, np.eye(3)[k : k + 1], np.zeros(1))) for k in range(3)]
    cases = [UnsafeCase(region, np.eye(3)[k : k + 1], np.array([0.1 - least[k]])) for k in range(3)]
    result = verify(network, cases)
    assert result.verdict is Verdict.PROVED
    assert result.certificate is not None
    assert len(result.certificate.proofs) == 3
    assert 0 < result.lower_bound <= 0.1 + 1e-9
    unsafe = UnsafeCase(region, np.eye(3)[1:2], np.array([-0.1 - least[1]]))
    refuted = verify(network, [cases[0], unsafe, cases[2]])
    assert refuted.verdict is Verdict.REFUTED
    assert refuted.counterexample is not None
    assert refuted.counterexample.case == 1


def test_a_ball_is_verified_too() -> None:
    network = random_network(2, inputs=4, width=6, outputs=3)
    centre = np.array([0.5, -0.2, 0.1, 0.4])
    label = int(np.argmax(network(centre[None])[0]))
    verdicts = []
    for radius in (1e-3, 5.0):
        region = InputRegion.l2(centre, radius)
        result = verify(network, keeps_class(network, region, label), time_limit=20.0)
        verdicts.append(result.verdict)
        if result.counterexample is not None:
            assert np.linalg.norm(result.counterexample.x - centre) <= radius
    assert verdicts == [Verdict.PROVED, Verdict.REFUTED]


def test_an_open_bound_is_no_refutation() -> None:
    network, region = random_network(4, width=8), random_box(4)
    case = UnsafeCase(region, np.array([[1.0, -1.0]]), np.zeros(1))
    least = exact_least_margin(network, case)
    tight = UnsafeCase(region, case.H, np.array([1e-9 - least]))
    result = verify(network, [tight], time_limit=1e-9)
    assert result.verdict is Verdict.UNKNOWN
    assert result.timed_out
    assert result.counterexample is None
    assert result.lower_bound <= 1e-9


def test_a_machine_that_stands_still_is_no_error(monkeypatch: pytest.MonkeyPatch) -> None:
    network, region = random_network(4, width=8), random_box(4)
    case = UnsafeCase(region, np.array([[1.0, -1.0]]), np.array([1e3]))
    monkeypatch.setattr(Clock, "seconds", 100.0)
    result = verify(network, [case], time_limit=1.0)
    # CROWN proves it at once, and no time is left to check that.
    assert result.verdict is Verdict.UNKNOWN
    assert "the time limit was reached" in result.reason
    assert result.timed_out


def test_verdicts_repeat_and_files_are_equal_byte_for_byte(tmp_path: Path) -> None:
    network, region = random_network(7, width=8), random_box(7)
    case = UnsafeCase(region, np.array([[1.0, -1.0]]), np.zeros(1))
    case = UnsafeCase(region, case.H, np.array([0.05 - exact_least_margin(network, case)]))
    files = []
    for name in ("a.cert", "b.cert"):
        result = verify(network, [case], random_state=3, provenance={"note": "x"})
        assert result.certificate is not None
        write_certificate(tmp_path / name, result.certificate)
        files.append((tmp_path / name).read_bytes())
    assert files[0] == files[1]
    again = read_certificate(tmp_path / "a.cert")
    assert check(again).verdict is Verdict.PROVED
    assert again.provenance == {"note": "x"}


def test_a_counterexample_outside_the_region_or_safe_is_none() -> None:
    network, region = random_network(1), random_box(1)
    everywhere = UnsafeCase(region, np.zeros((1, 2)), np.array([0.0]))
    middle = 0.5 * (region.lower + region.upper)
    assert confirm(network, everywhere, middle, 0) is not None
    assert confirm(network, everywhere, np.nextafter(region.upper, np.inf), 0) is None
    assert confirm(network, replace(everywhere, h=np.array([5e-324])), middle, 0) is None
    ball = InputRegion.l2(np.zeros(3), 1.0)
    assert confirm(network, replace(everywhere, region=ball), np.array([1.0, 0.0, 0.0]), 0) is not None
    assert confirm(network, replace(everywhere, region=ball), np.array([1.0, 1e-12, 0.0]), 0) is None


def test_constant_inputs_and_no_unstable_neuron() -> None:
    network = random_network(8, width=6)
    box = random_box(8)
    lower = box.lower.copy()
    lower[1] = box.upper[1]
    case = UnsafeCase(InputRegion(lower, box.upper), np.array([[1.0, -1.0]]), np.zeros(1))
    least = exact_least_margin(network, case)
    for wanted in (0.01, -0.01):
        result = verify(network, [replace(case, h=np.array([wanted - least]))])
        assert result.verdict is (Verdict.PROVED if wanted > 0 else Verdict.REFUTED)
    point = UnsafeCase(InputRegion(box.lower, box.lower), case.H, np.array([100.0]))
    assert verify(network, [point]).verdict is Verdict.PROVED


def test_wrong_statements_are_refused() -> None:
    network = random_network(0)
    with pytest.raises(InputError, match="input 1 has the lower bound"):
        InputRegion(np.array([0.0, 2.0]), np.array([1.0, 1.0]))
    with pytest.raises(InputError, match="radius"):
        InputRegion.l2(np.zeros(3), -0.1)
    with pytest.raises(InputError, match="not a finite number"):
        replace(network, hidden=np.full((5, 3), np.nan))
    with pytest.raises(InputError, match="about 2 inputs"):
        verify(network, [UnsafeCase(InputRegion(np.zeros(2), np.ones(2)), np.ones((1, 2)), np.zeros(1))])
    with pytest.raises(InputError, match="no output 7"):
        keeps_class(network, random_box(0), 7)


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.integers(-300, 300))
def test_exact_outputs_are_those_of_fractions(seed: int, power: int) -> None:
    network = random_network(seed, inputs=3, width=4)
    rng = np.random.default_rng(seed)
    x = rng.standard_normal(3) * 2.0 ** rng.integers(-40, 40, 3) * 10.0**power
    x[rng.integers(3)] = 0.0

    def dot(row, values):
        return sum((Fraction(a) * b for a, b in zip(row.tolist(), values, strict=True)), Fraction(0))

    inputs = [Fraction(value) for value in x.tolist()]
    hidden = [
        max(dot(row, inputs) + Fraction(float(bias)), Fraction(0))
        for row, bias in zip(network.hidden, network.hidden_bias, strict=True)
    ]
    outputs = [
        dot(row, hidden) + Fraction(float(bias)) for row, bias in zip(network.output, network.output_bias, strict=True)
    ]
    assert exact_outputs(network, x) == outputs


@pytest.mark.parametrize("size", [1e-300, 1e-8, 1e8, 1e150, 1e300])
def test_numbers_of_any_size_end_in_a_verdict(size: float) -> None:
    network, box = random_network(0), random_box(0)
    regions = [box, InputRegion.l2(np.zeros(3), size), InputRegion(-size * np.ones(3), size * np.ones(3))]
    for changed in (replace(network, hidden=size * network.hidden), replace(network, output=size * network.output)):
        for region in regions:
            case = UnsafeCase(region, np.array([[1.0, -1.0]]), np.array([1.0]))
            result = verify(changed, [case], time_limit=2.0)
            # Small outputs stay away from −1; large ones do not. Beyond, squares overflow.
            wrong = Verdict.REFUTED if size < 1 else Verdict.PROVED
            assert result.verdict is not wrong
            assert size > 1e8 or result.verdict is not Verdict.UNKNOWN
            if result.verdict is Verdict.REFUTED:
                assert confirm(changed, case, result.counterexample.x, 0) is not None
