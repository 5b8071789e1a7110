"""Monotonicity in an input, against the slopes of all activation patterns that have an interior."""

import itertools

import numpy as np
import pytest
from scipy.optimize import linprog

from certificates import Verdict, check
from certificates.failure import Deadline
from certificates.robustness import Bounds, preactivation_bounds
from certnet.jobs.lipschitz import lipschitz_constant
from certnet.jobs.monotonicity import Monotonicity, monotonicity
from formulations import InputError
from formulations.network import ReluNetwork
from formulations.robustness import InputRegion
from tests.verification.problems import random_box, random_network

NESTED = ReluNetwork(
    np.array([[1.0, 0.2], [1.0, 0.2], [1.0, 0.0]]),
    np.array([0.3, -0.3, 9.0]),
    np.array([[3.0, -2.9, 0.05]]),
    np.zeros(1),
)
"""S = 3 s_1 − 2.9 s_2 + 0.05, with neuron 2 active only where neuron 1 is, which bounds alone do not see."""
SQUARE = InputRegion(-np.ones(2), np.ones(2))


def exact_slopes(network: ReluNetwork, region: InputRegion, feature: int, output: int) -> tuple[float, float]:
    """The least and the largest slope over a box; patterns without an interior have none."""
    weights, slopes = network.output[output] * network.hidden[:, feature], []
    cost = np.append(np.zeros(network.inputs), -1.0)
    box = [*zip(region.lower, region.upper, strict=True), (0.0, 1.0)]
    for pattern in itertools.product([0.0, 1.0], repeat=network.width):
        active = np.array(pattern)
        sign = np.where(active == 1, -1.0, 1.0)
        rows = np.hstack([sign[:, None] * network.hidden, np.ones((network.width, 1))])
        found = linprog(cost, A_ub=rows, b_ub=-sign * network.hidden_bias, bounds=box, method="highs")
        if found.status == 0 and found.x[-1] > 1e-9:
            slopes.append(float(weights @ active))
    return min(slopes), max(slopes)


def slope_near(network: ReluNetwork, x: np.ndarray, feature: int, output: int) -> tuple[float, float]:
    """The slopes on either side of x, by steps that are short beside the pieces of small networks."""
    step = 1e-9 * np.eye(len(x))[feature]
    left, here, right = network(np.stack([x - step, x, x + step]))[:, output]
    return (here - left) / 1e-9, (right - here) / 1e-9


def assert_right(found: Monotonicity, network: ReluNetwork, exact: tuple[float, float], feature: int) -> None:
    least, most = exact
    assert found.direction == ("rises" if least >= 0 else "falls" if most <= 0 else None)
    assert found.verdict is (Verdict.REFUTED if least < 0 < most else Verdict.PROVED)
    if found.certificate is not None:
        assert check(found.certificate).verdict is Verdict.PROVED
    if found.verdict is Verdict.REFUTED:
        assert found.rising is not None
        assert found.falling is not None
        assert max(slope_near(network, found.rising, feature, 0)) > 0
        assert min(slope_near(network, found.falling, feature, 0)) < 0


@pytest.mark.parametrize("seed", range(10))
def test_directions_are_those_of_all_patterns(seed: int) -> None:
    """Seed 3 has slopes of the other sign in a corner that samples miss; others are proved by splits."""
    network, region = random_network(seed, inputs=2, width=5, outputs=1), random_box(seed, 2)
    for feature in range(2):
        found = monotonicity(network, region, feature)
        assert_right(found, network, exact_slopes(network, region, feature, 0), feature)


def test_a_corner_that_samples_miss() -> None:
    network, region = random_network(3, width=6), random_box(3)
    slopes = exact_slopes(network, region, 0, 1)
    found = monotonicity(network, region, 0, 1)
    assert slopes[1] > 0
    assert found.slopes[1] <= 0
    assert found.verdict is Verdict.REFUTED


def test_a_slope_that_is_0_but_in_a_corner() -> None:
    """Nothing that is sampled falls or rises: −(x + y − 1.999999)₊ on the square."""
    network = ReluNetwork(np.ones((1, 2)), np.array([-1.999999]), np.array([[-1.0]]), np.zeros(1))
    found = monotonicity(network, SQUARE, 0)
    assert (found.verdict, found.direction) == (Verdict.PROVED, "falls")


def test_a_region_without_inputs_is_refused() -> None:
    empty = InputRegion(np.ones(2), 2.0 * np.ones(2), centre=np.zeros(2), radius=1.0)
    with pytest.raises(InputError, match="no input of the region"):
        monotonicity(NESTED, empty, 0)


def test_a_proof_that_needs_splits() -> None:
    found = monotonicity(NESTED, SQUARE, 0)
    assert (found.verdict, found.direction) == (Verdict.PROVED, "rises")
    assert found.leaves > 1
    assert found.certificate is not None
    assert check(found.certificate).verdict is Verdict.PROVED


def test_parallel_neurons_change_sign_together() -> None:
    """|x| and (x)₊ + (−2x)₊: slopes of opposite neurons; where they meet there is no slope to be proved."""
    hidden, bias = np.array([[1.0], [-1.0], [2.0]]), np.zeros(3)
    region = InputRegion(-np.ones(1), np.ones(1))
    rises = ReluNetwork(hidden, bias, np.array([[1.0, -0.5, 0.0], [1.0, -1.0, -0.5]]), np.zeros(2))
    for output in range(2):
        found = monotonicity(rises, region, 0, output)
        assert (found.verdict, found.direction) == (Verdict.PROVED, "rises")
    falls_too = ReluNetwork(hidden, bias, np.array([[1.0, 1.0, 0.0]]), np.zeros(1))
    assert monotonicity(falls_too, region, 0).verdict is Verdict.REFUTED


def test_balls_are_no_larger_than_they_are() -> None:
    """Falls only in a corner of the box around the ball."""
    network = ReluNetwork(
        np.array([[1.0, 1.0], [1.0, 0.0]]), np.array([-1.7, 5.0]), np.array([[-2.0, 1.0]]), np.zeros(1)
    )
    box, ball = InputRegion(-np.ones(2), np.ones(2)), InputRegion.l2(np.zeros(2), 1.0)
    assert monotonicity(network, box, 0).verdict is Verdict.REFUTED
    assert monotonicity(network, ball, 0).direction == "rises"


def test_time_that_is_up_decides_nothing() -> None:
    found = monotonicity(NESTED, SQUARE, 0, time_limit=0.0)
    assert found.verdict is Verdict.UNKNOWN
    assert found.direction is None
    assert found.certificate is None


@pytest.mark.parametrize("limit", [None, 60.0])
def test_bounds_of_neurons_keep_the_time_limit(monkeypatch: pytest.MonkeyPatch, limit: float | None) -> None:
    """They are sharpened in rational numbers, which takes long for many neurons."""
    deadlines: list[Deadline] = []

    def bounds(network: ReluNetwork, region: InputRegion, deadline: Deadline) -> Bounds:
        deadlines.append(deadline)
        return preactivation_bounds(network, region, deadline)

    monkeypatch.setattr("certnet.jobs.monotonicity.preactivation_bounds", bounds)
    monkeypatch.setattr("certnet.jobs.lipschitz.preactivation_bounds", bounds)
    monotonicity(NESTED, SQUARE, 0, time_limit=limit)
    lipschitz_constant(NESTED, np.eye(NESTED.outputs), region=SQUARE, time_limit=limit)
    assert len(deadlines) >= 2
    assert all((deadline.limit is None) == (limit is None) for deadline in deadlines)


def test_inputs_that_there_are_not() -> None:
    with pytest.raises(InputError, match="inputs 0 to 2, and there is no input 3"):
        monotonicity(random_network(0), random_box(0), 3)
    with pytest.raises(InputError, match="region has 2 inputs"):
        monotonicity(random_network(0), random_box(0, 2), 0)
