"""Margins near rounding: verdicts are told by exact arithmetic, whatever cancels, and a margin of 0 is unsafe."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest

from certificates import Verdict, check
from certificates.robustness import preactivation_bounds
from certnet.jobs.verify import verify
from certnet.search.counterexample import exact_outputs
from formulations._validation import FloatArray
from formulations.network import ReluNetwork
from formulations.robustness import InputRegion, UnsafeCase, region_maker
from tests.certificates.altering import replace
from tests.verification.problems import random_ball, random_network

ONE = np.array([[1.0]])


def exact_value(network: ReluNetwork, x: FloatArray) -> Fraction:
    return exact_outputs(network, x)[0]


def with_output(network: ReluNetwork, bias: float) -> ReluNetwork:
    """One output, the first, with another bias."""
    return ReluNetwork(network.hidden, network.hidden_bias, network.output[:1], np.array([bias]))


def margin_case(region: InputRegion) -> UnsafeCase:
    return UnsafeCase(region, ONE, np.zeros(1))


def assert_told(network: ReluNetwork, region: InputRegion, exact: Fraction) -> None:
    """The verdict is the sign of the least output, which is ``exact``."""
    result = verify(network, [margin_case(region)], time_limit=20.0)
    if exact > 0:
        assert result.verdict is Verdict.PROVED, (result.reason, float(exact))
        assert Fraction(result.lower_bound) <= exact
    else:
        assert result.verdict is Verdict.REFUTED, (result.reason, float(exact))
        assert result.counterexample is not None
        assert exact_value(network, result.counterexample.x) <= 0


@pytest.mark.parametrize("shift", [1e-4, 1e-9, 1e-12, 0.0, -1e-12, -1e-4])
@pytest.mark.parametrize("seed", range(4))
def test_active_neurons_that_cancel_hide_no_sign(seed: int, shift: float) -> None:
    """All neurons are active, so the output is linear and its least value over the box is that of a corner."""
    rng = np.random.default_rng(seed)
    U = rng.standard_normal((6, 3))
    V = 1e3 * rng.standard_normal(6)
    V[3:], U[3:] = -V[:3], U[:3] + 1e-3 * rng.standard_normal((3, 3))
    box = InputRegion(np.full(3, 3.0), np.full(3, 7.0))
    network = ReluNetwork(U, np.full(6, 60.0), V[None], np.zeros(1))
    slope = [sum((Fraction(v) * Fraction(u) for v, u in zip(V, column, strict=True)), Fraction(0)) for column in U.T]
    corner = np.where([value > 0 for value in slope], box.lower, box.upper)
    network = with_output(network, shift - float(exact_value(network, corner)))
    assert_told(network, box, exact_value(network, corner))


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("shift", [1e-3, 1e-16, 0.0, -1e-16])
def test_a_point_is_decided_exactly(norm: str, shift: float) -> None:
    for seed in range(6):
        rng = np.random.default_rng(seed)
        network = random_network(seed, inputs=4, width=7, outputs=1)
        if seed % 2:
            # Every neuron is on its kink.
            network = ReluNetwork(network.hidden, np.zeros(7), network.output, network.output_bias)
        x = np.zeros(4) if seed % 2 else rng.standard_normal(4)
        network = with_output(network, network.output_bias[0] - float(exact_value(network, x)) + shift)
        assert_told(network, region_maker(norm)(x, 0.0), exact_value(network, x))


def least_on_a_segment(network: ReluNetwork, box: InputRegion, moving: int) -> Fraction:
    """The exact least output of a box of which one input moves: at an end, or where a neuron has its kink."""
    at, best = [Fraction(float(box.lower[moving])), Fraction(float(box.upper[moving]))], []
    rows = [[Fraction(v) for v in row] for row in network.generators.tolist()]
    fixed = [Fraction(v) for v in box.lower.tolist()] + [Fraction(1)]
    for row in rows:
        rest = sum((a * x for k, (a, x) in enumerate(zip(row, fixed, strict=True)) if k != moving), Fraction(0))
        if row[moving] and at[0] < -rest / row[moving] < at[1]:
            at.append(-rest / row[moving])
    for s in at:
        x = [s if k == moving else value for k, value in enumerate(fixed[:-1])]
        best.append(exact_outputs(network, tuple(x))[0])
    return min(best)


@pytest.mark.parametrize("part", [1e-6, 1e-9, 0.0, -1e-9, -1e-6])
def test_boxes_without_interior(part: float) -> None:
    """A small part of the margin's size, above and below 0; one that is 0 is never proved and raises nothing."""
    for seed in range(8):
        rng = np.random.default_rng(seed)
        network = random_network(seed, inputs=3, width=7, outputs=1)
        if seed % 2:
            network = ReluNetwork(
                *(np.round(2 * a) for a in (network.hidden, network.hidden_bias, network.output)), [0]
            )
        lower = np.round(rng.standard_normal(3))
        upper = lower + np.array([0.0, 2.0, 0.0])
        box = InputRegion(lower, upper)
        size = float(np.abs(network.output[0]) @ (np.abs(network.hidden) @ np.abs(upper) + np.abs(network.hidden_bias)))
        least = float(least_on_a_segment(network, box, 1))
        network = with_output(network, network.output_bias[0] - least + part * (1.0 + size))
        exact = least_on_a_segment(network, box, 1)
        if abs(exact) > 1e-12 * size:
            assert_told(network, box, exact)
        else:
            result = verify(network, [margin_case(box)], time_limit=5.0)
            assert result.verdict is not (Verdict.REFUTED if exact > 0 else Verdict.PROVED)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("offset", [1.0, 10.0, 1000.0, 1e6])
def test_a_witness_at_a_little_less_than_the_radius_is_found(norm: str, offset: float) -> None:
    found = 0
    for seed in range(5):
        network = random_network(seed, inputs=4, width=8, outputs=1)
        network = ReluNetwork(
            network.hidden,
            network.hidden_bias - network.hidden @ np.full(4, offset),
            network.output,
            network.output_bias,
        )
        x = offset + np.random.default_rng(seed).standard_normal(4)
        network = with_output(network, network.output_bias[0] - network(x[None])[0, 0] + 0.5)
        result = verify(network, [margin_case(region_maker(norm)(x, 2.0))], time_limit=20.0)
        if result.counterexample is None:
            continue
        found += 1
        apart = [Fraction(float(a)) - Fraction(float(b)) for a, b in zip(result.counterexample.x, x, strict=True)]
        size = max(abs(v) for v in apart) if norm == "linf" else sum((v * v for v in apart), Fraction(0))
        distance = float(size) if norm == "linf" else float(size) ** 0.5
        for _ in range(3):
            region = region_maker(norm)(x, distance / 0.999)
            again = verify(network, [margin_case(region)], time_limit=20.0)
            assert again.verdict is Verdict.REFUTED, (seed, again.reason)
            assert again.counterexample is not None
            assert region.contains(again.counterexample.x)
            assert exact_value(network, again.counterexample.x) <= 0
            distance *= 0.9995
            # Nearer and nearer to the true radius, while the witness still lies within.
            if not region_maker(norm)(x, distance / 0.999).contains(again.counterexample.x):
                break
    assert found >= 3


def test_floating_point_alone_does_not_prove_what_cancels_and_no_arithmetic_proves_more() -> None:
    V, shift = np.array([[1e6, -1e6]]), 1e-9
    network = ReluNetwork(np.ones((2, 1)), np.array([50.0, 40.0]), V, np.array([shift - 1e7]))
    result = verify(network, [margin_case(InputRegion(np.array([3.0]), np.array([7.0])))])
    assert result.certificate is not None
    exact = Fraction(shift - 1e7) + Fraction(10**7)
    assert 0 < Fraction(result.lower_bound) <= exact
    assert check(result.certificate, arithmetic="float").verdict is Verdict.UNKNOWN
    for arithmetic in ("auto", "ball", "exact"):
        assert check(result.certificate, arithmetic=arithmetic).verdict is Verdict.PROVED
        (proof,) = result.certificate.proofs
        above = float(np.nextafter(float(exact), np.inf))
        changed = replace(result.certificate, proofs=(replace(proof, margin=above),))
        assert check(changed, arithmetic=arithmetic).verdict is Verdict.UNKNOWN


def test_bounds_whose_sign_rounding_might_hide_are_rounded_once() -> None:
    U = np.array([[0.1, 0.2, -0.3], [1.0, -1.0, 0.0], [0.0, 0.0, 0.0]])
    box = InputRegion(np.array([1.0, 1.0, 1.0]), np.array([1.0, 1.0, 1.0]))
    lower, upper = preactivation_bounds(ReluNetwork(U, np.zeros(3), np.ones((1, 3)), np.zeros(1)), box)
    exact = [sum((Fraction(v) for v in row), Fraction(0)) for row in U.tolist()]
    assert all(Fraction(a) <= e <= Fraction(b) for a, e, b in zip(lower.tolist(), exact, upper.tolist(), strict=True))
    assert lower[0] > 0
    assert (lower[1:] == 0).all()
    assert (upper[1:] == 0).all()
    assert all(b <= np.nextafter(a, np.inf) for a, b in zip(lower.tolist(), upper.tolist(), strict=True))


def test_bounds_on_balls_and_thin_boxes_hold_exactly_at_their_ends() -> None:
    for seed in range(5):
        network, region = random_network(seed), random_ball(seed)
        sizes = [1e-3, 1e-12, 1e-16, 0.0]
        bounds = [
            preactivation_bounds(network, InputRegion.l2(region.centre, size * (region.radius or 0.0)))
            for size in sizes
        ]
        for (low, high), (inner_low, inner_high) in pairwise(bounds):
            assert (low <= inner_low).all()
            assert (inner_high <= high).all()
