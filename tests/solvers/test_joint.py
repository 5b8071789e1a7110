"""The joint bound lies between any fixed W on the same leaves and every network, and its multipliers prove it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certificates.making.repair import project, repair_form
from certnet.search.price import bound_from_price, search
from certnet.solvers import solve
from certnet.solvers.joint import JointLeaf, JointResult, solve_joint
from certnet.solvers.rounds import Rounds
from certnet.training import fit
from formulations import ACTIVE, FREE, INACTIVE, Dual, Program, TrainingProgram, presolve, restrict
from tests.strategies import SEEDS, from_network, networks, rng


def _gaussian(n: int, d: int, c: int, seed: int = 0, gamma: float = 0.3) -> TrainingProgram:
    random = rng(seed)
    return TrainingProgram(random.standard_normal((n, d)), random.standard_normal((n, c)), gamma)


def _cold(program: Program, signs: list[np.ndarray]) -> list[JointLeaf]:
    starts = []
    for item in signs:
        node = restrict(program, item)
        N = np.zeros((len(node.positions), len(node.positions)))
        starts.append(JointLeaf(np.eye(node.space.face_order), N))
    return starts


def _joint(program: Program, signs: list[np.ndarray], **options: object) -> JointResult:
    return solve_joint(program, signs, np.zeros(program.shape), _cold(program, signs), **options)


def _price(program: Program, signs: list[np.ndarray], result: JointResult) -> float:
    """The largest squared price that repair proves for W on a leaf, with the multipliers of the result."""
    worst = 0.0
    for item, leaf in zip(signs, result.leaves, strict=True):
        node = restrict(program, item)
        _, N, t = project(program, Dual(result.W, node.lift(leaf.N)))
        neuron = np.arange(len(t))
        N[neuron, len(t) + neuron] = N[len(t) + neuron, neuron] = 0.5 * t
        form = node.pricing(result.W)
        worst = max(worst, -repair_form(form, Dual(np.zeros(form.shape), node.restrict(N))).delta)
    return worst


def _both(n: int, neuron: int) -> list[np.ndarray]:
    signs = [np.full(n, FREE), np.full(n, FREE)]
    signs[0][neuron], signs[1][neuron] = ACTIVE, INACTIVE
    return signs


def test_one_leaf_is_the_relaxation() -> None:
    program = presolve(_gaussian(8, 3, 2)).program
    relaxed = solve(program, "interior-point", tolerance=1e-6)
    joint = _joint(program, [np.full(8, FREE)], tolerance=1e-4)
    assert joint.value <= relaxed.objective * (1 + 1e-6)
    assert joint.value == pytest.approx(relaxed.dual_value, rel=1e-3)
    assert joint.objective == pytest.approx(relaxed.objective, rel=1e-3)


@pytest.mark.parametrize(("n", "seed"), [(7, 0), pytest.param(9, 1, marks=pytest.mark.slow)])
def test_the_order_is_fixed_joint_network(n: int, seed: int) -> None:
    training = _gaussian(n, 4, 2, seed)
    network, presolved = fit(training), presolve(training)
    program = presolved.program
    W = from_network(presolved, network.U, network.V)[1].W
    before = -np.inf
    for nodes in (1, 3):
        found = search(program, W, enough=program.gamma * 1.0001, max_nodes=nodes)
        leaves = list(found.root.leaves)
        joint = _joint(program, [leaf.signs for leaf in leaves], tolerance=1e-3)
        bound = program.to_original(joint.value)
        assert bound_from_price(program, W, found.h_bar) <= bound * (1 + 2e-3)
        assert bound <= network.objective * (1 + 1e-9)
        assert joint.value >= before * (1 - 2e-3)
        assert _price(program, [leaf.signs for leaf in leaves], joint) <= program.gamma**2 * (1 + 1e-6)
        before = joint.value


@pytest.mark.slow
@settings(max_examples=3)
@given(SEEDS, st.integers(2, 4))
def test_no_network_is_below_the_bound(seed: int, d: int) -> None:
    training = _gaussian(5, d, 2, seed, gamma=0.1)
    program = presolve(training).program
    joint = _joint(program, _both(5, seed % 5), tolerance=1e-2)
    assert np.isfinite(joint.value)
    assert _price(program, _both(5, seed % 5), joint) <= program.gamma**2 * (1 + 1e-6)
    smallest = min(training.objective(U, V) for U, V in networks(training, seed))
    assert program.to_original(joint.value) <= smallest * (1 + 1e-9)


def test_starts_do_not_change_the_value_and_early_ends_are_bounds() -> None:
    program = presolve(_gaussian(8, 3, 2)).program
    signs = _both(8, 2)
    cold = _joint(program, signs, tolerance=1e-4)
    starts = cold.leaves
    warm = solve_joint(program, signs, cold.W, starts, tolerance=1e-4)
    assert warm.value == pytest.approx(cold.value, rel=1e-3)
    assert warm.steps < cold.steps
    again = solve_joint(program, signs, cold.W, starts, tolerance=1e-4)
    np.testing.assert_array_equal(again.W, warm.W)
    for early in (
        _joint(program, signs, max_iterations=8),
        _joint(program, signs, time_limit=1e-9),
        _joint(program, signs, enough=0.5 * cold.value),
    ):
        assert early.steps < cold.steps
        assert early.value <= cold.value * (1 + 1e-4)
        if np.isfinite(early.value):
            assert _price(program, signs, early) <= program.gamma**2 * (1 + 1e-6)


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_what_cuts_a_solve_short_leaves_its_best_dual(error: type, monkeypatch: pytest.MonkeyPatch) -> None:
    program = presolve(_gaussian(8, 3, 2)).program
    known, step, left = _joint(program, _both(8, 2), max_iterations=8), Rounds._step, [None] * 8

    def few(rounds: Rounds, seen: object) -> float:
        if not left:
            raise error
        left.pop()
        return step(rounds, seen)

    monkeypatch.setattr(Rounds, "_step", few)
    found = _joint(program, _both(8, 2))
    assert (found.interrupted, found.failed) == (error is KeyboardInterrupt, error is MemoryError)
    assert found.value == known.value > 0
    np.testing.assert_array_equal(found.W, known.W)
    assert _price(program, _both(8, 2), found) <= program.gamma**2 * (1 + 1e-6)


def test_the_parts_of_a_point_sum_to_it() -> None:
    """A lifted point lies in one leaf, where its features have the same values as in the whole."""
    program = presolve(_gaussian(6, 3, 2)).program
    random = rng(3)
    for _ in range(20):
        z, v = random.standard_normal(3), random.standard_normal(2)
        signs = np.where(program.space.generators @ z > 0, ACTIVE, INACTIVE)
        signs[random.random(6) < 0.5] = FREE
        node = restrict(program, signs)
        lam = node.space.lift(z, v)
        values = np.concatenate([lam[: 2 * len(node.free)], node.inequalities @ lam[: -len(v)]])
        whole = program.space.lift(z, v)[program.feature]
        expected = np.zeros(len(program.feature))
        expected[node.features] = values[node.places]
        np.testing.assert_allclose(expected, whole, atol=1e-12)
