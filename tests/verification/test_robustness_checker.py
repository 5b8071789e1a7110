"""The robustness checker at the ends of floating point, on unused parts of a proof, and against the clock."""

from fractions import Fraction

import numpy as np
import pytest

from certificates import Certificate, Robustness, Verdict, check, robustness
from certificates.certificate import CaseProof
from certificates.proof import Circuits
from certificates.robustness import preactivation_bounds
from formulations.network import ReluNetwork
from formulations.robustness import InputRegion, UnsafeCase
from tests.certificates.altering import replace
from tests.certificates.proofs import single

ARITHMETICS = ["float", "ball", "exact", "auto"]
IDENTITY = ReluNetwork(np.ones((1, 1)), np.zeros(1), np.ones((1, 1)), np.zeros(1))


def plain(region: InputRegion, constants: list[float], *, mu: list[float], margin: float) -> Certificate:
    """Rows ``x₊ + constant`` of the network f(x) = x₊; one leaf without any multiplier, x₊ unstable."""
    proof = single(np.zeros((0, 2), dtype=np.int64), np.zeros(0), np.zeros(1))
    proof = replace(proof, sigma=np.zeros((1, int(region.has_ball))))
    case = UnsafeCase(region, np.ones((len(constants), 1)), np.array(constants))
    given = CaseProof(np.zeros(1, np.int64), np.array([mu]), margin, proof)
    return Certificate(Robustness(IDENTITY, (case,)), (given,))


def changed(base: Certificate, **changes) -> Certificate:
    given = base.proofs[0]
    return replace(base, proofs=(replace(given, proof=replace(given.proof, **changes)),))


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_a_ball_whose_square_overflows_proves_what_needs_no_square(arithmetic: str) -> None:
    region = InputRegion(np.array([-1.0]), np.array([1.0]), np.array([1e160]), 1e160)
    sound = plain(region, [2.0], mu=[1.0], margin=0.5)
    assert check(sound, arithmetic=arithmetic).verdict is Verdict.PROVED
    semidefinite = changed(sound, complementarity=np.ones((1, 1)))
    assert "overflows" not in check(semidefinite, arithmetic=arithmetic).reason
    report = check(changed(sound, sigma=np.ones((1, 1))), arithmetic=arithmetic)
    assert report.verdict is Verdict.UNKNOWN
    assert "overflows" in report.reason


@pytest.mark.parametrize("mu", [[1.0, 0.5], [1.5, 0.0], [3.0, 4.0], [1e308, 1e308], [5e-324, 0.0]])
@pytest.mark.parametrize("margin", [5e-324, 1e-322, 0.1, 1.0])
def test_the_margin_is_rounded_down_for_weights_of_any_sum(mu: list[float], margin: float) -> None:
    region = InputRegion(np.array([-1.0]), np.array([1.0]))
    report = check(plain(region, [2.0, 2.0], mu=mu, margin=margin))
    if report.verdict is Verdict.PROVED:
        assert Fraction(report.margin) <= Fraction(margin) / max(sum(map(Fraction, mu)), 1)
        assert report.margin >= 0
    assert report.verdict is Verdict.PROVED or mu[0] > 1e300 or mu[0] < 1e-300


def test_circuits_that_no_leaf_uses_are_checked_all_the_same() -> None:
    base = plain(InputRegion(np.array([-1.0]), np.array([1.0])), [2.0], mu=[1.0], margin=0.5)
    false = Circuits(np.array([0]), np.array([0, 1]), np.array([1]))
    assert check(changed(base, circuits=false)).reason.startswith("circuit 0")


def test_linear_leaves_stop_at_the_time_limit_and_come_in_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    base = plain(InputRegion(np.array([-1.0]), np.array([1.0])), [2.0], mu=[1.0], margin=0.5)
    assert "time limit" in check(base, time_limit=0.0).reason
    split = changed(
        base,
        split=np.array([0, -1, -1]),
        children=np.array([[1, 2], [-1, -1], [-1, -1]]),
        leaf=np.array([-1, 1, 0]),
        pair_offset=np.zeros(3, dtype=np.int64),
        complementarity=np.zeros((2, 1)),
        sigma=np.zeros((2, 0)),
    )
    split = replace(split, proofs=(replace(split.proofs[0], mu=np.array([[1.0], [5.0]])),))
    monkeypatch.setattr(robustness, "BLOCK_ENTRIES", 1)
    report = check(split)
    assert (report.verdict, report.linear_leaves) == (Verdict.PROVED, 2)
    # The second leaf, x ≥ 0, has the weight 5 and the least value 10.
    for margin, verdict in ((1.999, Verdict.PROVED), (2.001, Verdict.UNKNOWN)):
        claim = replace(split.proofs[0], margin=margin)
        assert check(replace(split, proofs=(claim,))).verdict is verdict


def test_a_region_without_points_makes_every_claim_true_and_a_single_point_only_its_own() -> None:
    apart = InputRegion(np.array([-1.0]), np.array([1.0]), np.array([1e8]), 1.0)
    assert check(plain(apart, [-1.0], mu=[1.0], margin=0.5)).margin == 0.5
    point = InputRegion(np.array([-1.0]), np.array([1.0]), np.array([0.25]), 0.0)
    for margin, verdict in ((1.25 - 1e-9, Verdict.PROVED), (1.25 + 1e-9, Verdict.UNKNOWN)):
        assert check(plain(point, [1.0], mu=[1.0], margin=margin)).verdict is verdict


@pytest.mark.parametrize("size", [1e-170, 1e-160, 1e150, 1e154])
def test_bounds_on_balls_hold_where_squares_leave_the_range(size: float) -> None:
    network = ReluNetwork(size * np.ones((1, 2)), np.zeros(1), np.ones((1, 1)), np.zeros(1))
    region = InputRegion(np.full(2, -10.0), np.full(2, 10.0), np.zeros(2), 1.0)
    with np.errstate(over="ignore"):
        lower, upper = preactivation_bounds(network, region)
    reach = Fraction(upper[0])
    assert reach**2 >= 2 * Fraction(size) ** 2
    assert lower[0] == -upper[0]
