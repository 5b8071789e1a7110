"""The ordering attack ≥ exact ≥ semidefinite, linear ≥ intervals of the least margin, and bounds on pre-activations."""

from fractions import Fraction
from math import isqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certificates import Certificate, Robustness, Verdict, check
from certificates.failure import Deadline
from certificates.linear_leaves import OpenCase
from certificates.robustness import lifted_cone, preactivation_bounds
from certnet.jobs.lipschitz import lipschitz_constant
from certnet.search.attack import attack
from certnet.search.eliminated import eliminated_bound
from certnet.search.linear import finish, nodes_of
from certnet.search.margin_proofs import case_proof, linear_leaf
from certnet.search.margin_rows import linear_bounds
from certnet.solvers.interface import SolveStatus
from certnet.solvers.interior_point import _Solve
from formulations.margin import MarginProblem
from formulations.network import ReluNetwork
from formulations.robustness import InputRegion, UnsafeCase
from tests.verification.margin_bounds import reduce_case, rounding_size
from tests.verification.problems import SEEDS, box_cases, exact_least_margin, random_box, random_network


def problem_of(network, case) -> MarginProblem:
    return reduce_case(network, case, *preactivation_bounds(network, case.region))


@settings(max_examples=12, deadline=None)
@given(box_cases())
def test_attack_is_above_exact_is_above_linear_is_above_intervals(drawn) -> None:
    network, case, exact = drawn
    problem = problem_of(network, case)
    free = np.zeros(problem.neurons, dtype=np.int64)
    linear = linear_bounds(problem, free[None], accurate=True).value[0]
    w = problem.weights[0]
    zeros = np.zeros((1, problem.neurons))
    intervals = finish(nodes_of(problem, free[None]), zeros).value[0]
    assert attack(network, case).margin >= exact - 1e-7 * (1.0 + np.abs(w).sum())
    assert exact >= linear - 1e-7
    assert linear >= intervals - 1e-7
    # Splitting helps or leaves the bound as it is.
    for i in range(problem.neurons):
        for sign in (1, -1):
            signs = free.copy()
            signs[i] = sign
            assert linear_bounds(problem, signs[None], accurate=True).value[0] >= linear - 1e-6 * (
                1.0 + np.abs(w).sum()
            )


@settings(max_examples=6, deadline=None)
@given(box_cases(width=4))
def test_a_semidefinite_leaf_proves_no_more_than_the_truth(drawn) -> None:
    network, case, exact = drawn
    problem = problem_of(network, case)
    found = eliminated_bound(problem, np.zeros(problem.neurons, dtype=np.int64), np.ones(1), -1.0)
    if found.leaf is None:
        return
    assert found.margin <= exact + 1e-9
    proof = case_proof(problem, found.leaf, [np.ones(1)], found.margin)
    for arithmetic in ("float", "ball", "exact"):
        report = check(Certificate(Robustness(network, (case,)), (proof,)), arithmetic=arithmetic)
        assert report.verdict is Verdict.PROVED, report.reason
        assert report.margin <= exact


def test_the_semidefinite_relaxation_decides_what_the_linear_one_leaves_open() -> None:
    network, region = random_network(6, width=8), random_box(6)
    case = UnsafeCase(region, np.array([[1.0, -1.0]]), np.zeros(1))
    case = UnsafeCase(region, case.H, np.array([0.4 - exact_least_margin(network, case)]))
    problem = problem_of(network, case)
    free = np.zeros(problem.neurons, dtype=np.int64)
    assert linear_bounds(problem, free[None], accurate=True).value[0] < -0.5
    assert eliminated_bound(problem, free, np.ones(1), -1.0).leaf is not None


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_preactivation_bounds_hold_exactly(seed: int) -> None:
    network = random_network(seed, inputs=4, width=3)
    box = random_box(seed, 4)
    lower, upper = preactivation_bounds(network, box)
    for i in range(network.width):
        row = [Fraction(x) for x in network.hidden[i].tolist()]
        ends = [
            sorted((a * Fraction(low), a * Fraction(high)))
            for a, low, high in zip(row, box.lower.tolist(), box.upper.tolist(), strict=True)
        ]
        bias = Fraction(float(network.hidden_bias[i]))
        least, most = (bias + sum(end[side] for end in ends) for side in (0, 1))
        assert Fraction(float(lower[i])) <= least
        assert most <= Fraction(float(upper[i]))
        assert float(least) - lower[i] <= 1e-12 * (1 + abs(float(least)))


def test_bounds_that_are_late_hold_and_are_wider() -> None:
    random = np.random.default_rng(0)
    hidden, x = random.normal(size=(40, 30)), random.normal(size=30)
    network = ReluNetwork(hidden, -hidden @ x, np.ones((1, 40)), np.zeros(1))
    sharp, late = (preactivation_bounds(network, InputRegion(x, x), Deadline.after(s)) for s in (None, 0.0))
    for row, bias, *bounds in zip(hidden.tolist(), network.hidden_bias.tolist(), *late, *sharp, strict=True):
        value = sum((Fraction(a) * Fraction(b) for a, b in zip(row, x.tolist(), strict=True)), Fraction(bias))
        assert bounds[0] <= bounds[2] <= value <= bounds[3] <= bounds[1]
    assert (sharp[1] - sharp[0] < late[1] - late[0]).all()


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.sampled_from([1e-12, 1e-3, 1.0]))
def test_a_ball_and_its_bounds_are_no_smaller_than_they_are(seed: int, radius: float) -> None:
    network, centre = random_network(seed, inputs=4, width=3), np.random.default_rng(seed).standard_normal(4)
    region = InputRegion.l2(centre, radius)
    case = UnsafeCase(region, np.ones((1, network.outputs)), np.zeros(1))
    lower, upper = preactivation_bounds(network, region)
    opened = OpenCase(network, case, np.zeros(network.width, dtype=np.int64), np.stack([lower, upper], axis=1))
    corner = lifted_cone(opened).quadratics[0][-1, -1]
    x, r = [Fraction(value) for value in centre.tolist()], Fraction(radius)
    assert Fraction(corner) >= r * r - sum(value * value for value in x)
    for row, bias, low, high in zip(network.hidden, network.hidden_bias, lower, upper, strict=True):
        u = [Fraction(value) for value in row.tolist()]
        middle = Fraction(bias) + sum(a * b for a, b in zip(u, x, strict=True))
        norm = Fraction(isqrt(int(sum(a * a for a in u) * 4**200)), 2**200)
        assert Fraction(low) <= middle - r * norm
        assert middle + r * norm <= Fraction(high)


@settings(max_examples=20, deadline=None)
@given(SEEDS)
def test_on_a_ball_samples_and_attack_lie_above_the_bound(seed: int) -> None:
    network = random_network(seed, inputs=3, width=6)
    rng = np.random.default_rng(seed)
    region = InputRegion.l2(rng.standard_normal(3), 0.8)
    case = UnsafeCase(region, np.array([[1.0, -1.0]]), np.zeros(1))
    problem = problem_of(network, case)
    bound = linear_bounds(problem, np.zeros((1, problem.neurons), dtype=np.int64))
    points = rng.standard_normal((500, 3))
    points *= 0.8 * rng.random((500, 1)) ** (1 / 3) / np.linalg.norm(points, axis=1, keepdims=True)
    samples = case.margins(network(region.centre + points))
    found = attack(network, case)
    assert found.margin <= samples.min() + 0.05 * (1 + abs(samples.min()))
    assert min(found.margin, samples.min()) >= bound.value[0] - 1e-7
    lower, upper = preactivation_bounds(network, region)
    z = (region.centre + points) @ network.hidden.T + network.hidden_bias
    assert (z >= lower).all()
    assert (z <= upper).all()
    if bound.value[0] - rounding_size(problem) > 0:
        proof = case_proof(problem, linear_leaf(problem, bound), [bound.mu[0]], bound.value[0] - rounding_size(problem))
        assert check(Certificate(Robustness(network, (case,)), (proof,))).verdict is Verdict.PROVED


def test_a_point_is_bounded_by_its_value() -> None:
    network = random_network(5)
    x = np.array([0.3, -0.2, 0.9])
    case = UnsafeCase(InputRegion(x, x), np.array([[1.0, 0.0]]), np.zeros(1))
    problem = problem_of(network, case)
    value = float(network(x[None])[0, 0])
    bound = linear_bounds(problem, np.zeros((1, problem.neurons), dtype=np.int64)).value[0]
    assert bound == pytest.approx(value, abs=1e-12)


def test_ctrl_c_during_a_semidefinite_bound_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """The solver notes it as a status; who only wants its dual must not go on as if nothing had been."""
    network = random_network(3, width=6)
    true = _Solve.solve

    def interrupted(run: _Solve) -> SolveStatus:
        true(run)
        raise KeyboardInterrupt

    monkeypatch.setattr(_Solve, "solve", interrupted)
    with pytest.raises(KeyboardInterrupt):
        lipschitz_constant(network, np.eye(2)[0])
