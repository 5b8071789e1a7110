"""Both native solvers with every loss, weights and biases, against CVXPY, random networks and one another."""

from dataclasses import replace
from functools import cache
from itertools import cycle

import numpy as np
import pytest
from hypothesis import given, settings

from certificates.making.repair import repair
from certnet.solvers import solve
from certnet.solvers.dual_loss import DualLoss, narrowed, widened
from certnet.solvers.interface import SolverResult
from certnet.solvers.joint import JointLeaf, solve_joint
from formulations import ACTIVE, FREE, INACTIVE, Dual, InputError, Presolved, TrainingProgram, presolve, restrict
from formulations.losses import KINDS, kind_named
from formulations.modeling import cvxpy_model, picos_model
from tests.formulations.test_loss import losses, targets_of
from tests.strategies import SEEDS, rng

NAMES = [*(name for name in KINDS if name not in ("huber", "quantile")), "huber:0.3", "quantile:0.8"]
BIASES = [("none", "none"), ("penalised", "penalised"), ("none", "free"), ("free", "free")]
SOME = list(zip(NAMES, cycle(BIASES), strict=False))
FREE_BIASES = [(name, BIASES[-1]) for name in NAMES]
ALL = [*SOME, *(pytest.param(*case, marks=pytest.mark.slow) for case in FREE_BIASES if case not in SOME)]
every_loss = pytest.mark.parametrize(("name", "biases"), ALL)


@cache
def _training(name: str, biases: tuple[str, str], n: int = 6, seed: int = 0) -> TrainingProgram:
    """Random data; the last row has the features of the one before and another target."""
    random, kind = rng(seed), kind_named(name)
    X, c = random.standard_normal((n, 2)), 3 if kind.couples else 2
    Y = targets_of(kind, random, n, c)
    Y[:3] = np.eye(3) if kind.couples else Y[:3]
    if kind.targets == "-1 or 1":
        Y[:2] = [[1.0, -1.0], [-1.0, 1.0]]
    X[-1], Y[-1] = X[-2], Y[0]
    omega = random.uniform(0.5, 2.0, n)
    hidden, output = biases
    return TrainingProgram(X, Y, 0.3, loss=name, sample_weight=omega, hidden_bias=hidden, output_bias=output)


@cache
def _solved(name: str, biases: tuple[str, str]) -> tuple[Presolved, SolverResult]:
    presolved = presolve(_training(name, biases))
    assert presolved is not None
    return presolved, solve(presolved.program, "interior-point", tolerance=1e-7)


def _bound(presolved: Presolved, result: SolverResult) -> float:
    assert result.dual is not None
    return repair(presolved.rows.program, presolved.undo_dual(result.dual)).lower_bound


@every_loss
def test_the_interior_point_finds_the_optimum_that_cvxpy_finds(name: str, biases: tuple[str, str]) -> None:
    presolved, result = _solved(name, biases)
    problem, _ = cvxpy_model(presolved.program)
    problem.solve("CLARABEL")
    expected = presolved.program.to_original(problem.value)
    assert presolved.program.to_original(result.objective) == pytest.approx(expected, rel=1e-4)
    assert _bound(presolved, result) == pytest.approx(expected, rel=1e-4)


@every_loss
def test_no_network_is_below_the_bounds(name: str, biases: tuple[str, str]) -> None:
    training, random = _training(name, biases), rng(5)
    presolved, result = _solved(name, biases)
    first_order = solve(presolved.program, "admm", max_iterations=150)
    best, weaker = _bound(presolved, result), _bound(presolved, first_order)
    assert 0.6 * best <= weaker <= best * (1 + 1e-6)
    (_, d, c), reached = training.shape, np.inf
    for size in np.geomspace(0.01, 3.0, 60):
        U, V = size * random.standard_normal((d, 5)), size * random.standard_normal((c, 5))
        reached = min(reached, training.objective(U, V))
    assert best <= reached * (1 + 1e-9)


@pytest.mark.parametrize(("name", "biases"), SOME[::3])
def test_a_fixed_w_proves_no_more_than_a_free_one(name: str, biases: tuple[str, str]) -> None:
    presolved, result = _solved(name, biases)
    program, random = presolved.rows.program, rng(1)
    d, c = program.space.dimension, program.shape[1]
    W = program.loss.dual(0.1 * random.standard_normal(program.shape))
    form = solve(program.pricing(program.loss.project(W)), "interior-point", tolerance=1e-6)
    fixed = repair(program, Dual(W, form.dual.N / program.gamma)).lower_bound
    assert fixed <= _bound(presolved, result) * (1 + 1e-6)
    assert (d, c) == (presolved.program.space.dimension, presolved.program.space.outputs)


def test_a_row_twice_is_a_row_of_weight_two() -> None:
    name = "cross-entropy"
    first = _training(name, ("none", "free"))
    twice = np.append(np.arange(6), 0)
    omega = first.loss.sample_weight + first.loss.sample_weight[0] * np.eye(6)[0]
    same = {"loss": name, "output_bias": "free"}
    bounds = []
    for training in (
        TrainingProgram(first.X[twice], first.Y[twice], 0.3, sample_weight=first.loss.sample_weight[twice], **same),
        TrainingProgram(first.X, first.Y, 0.3, sample_weight=omega, **same),
    ):
        presolved = presolve(training)
        bounds.append(_bound(presolved, solve(presolved.program, "interior-point", tolerance=1e-6)))
    assert bounds[0] == pytest.approx(bounds[1], rel=1e-5)


@pytest.mark.parametrize(
    ("name", "biases"),
    [
        pytest.param("cross-entropy", ("penalised", "free"), marks=pytest.mark.slow),
        pytest.param("hinge", ("free", "free"), marks=pytest.mark.slow),
    ],
)
def test_leaves_share_w_in_its_domain(name: str, biases: tuple[str, str]) -> None:
    presolved, result = _solved(name, biases)
    program = presolved.program
    signs = [np.full(program.space.neurons, FREE) for _ in range(2)]
    signs[0][1], signs[1][1] = ACTIVE, INACTIVE
    starts = []
    for item in signs:
        node = restrict(program, item)
        starts.append(JointLeaf(np.eye(node.space.face_order), np.zeros((len(node.positions),) * 2)))
    joint = solve_joint(program, signs, np.zeros(program.shape), starts, tolerance=1e-5)
    assert joint.objective == pytest.approx(joint.value, rel=1e-3)
    assert joint.value >= program.dual_value(result.dual.W) * (1 - 1e-4)
    assert program.loss.largest_scale(joint.W) >= 1 - 1e-9
    np.testing.assert_allclose(program.loss.project(joint.W), joint.W, atol=1e-9)
    assert program.dual_value(joint.W) == pytest.approx(joint.value)


@settings(max_examples=40)
@given(losses(), SEEDS)
def test_the_dual_loss_is_that_of_the_table_in_other_coordinates(case, seed: int) -> None:
    loss, random = case
    program = presolve(TrainingProgram(random.standard_normal((len(loss.target), 2)), loss.target, 0.5, loss=loss.kind))
    dual = replace(DualLoss.of(program.program), loss=loss)
    w, other = dual.centre, dual.flat(random.standard_normal(loss.shape))
    assert dual.gaps(w).min(initial=np.inf) > 0
    assert dual.value(w) == pytest.approx(loss.dual_value(dual.W(w)))
    np.testing.assert_allclose(dual.flat(dual.W(w)), w, atol=1e-12)
    # Slope and curvature are derivatives; a penalised bias is no part of them.
    plain, step = replace(dual, loss=replace(loss, bias_decay=np.inf)), 1e-6 * dual.gaps(w).min(initial=1.0)
    change = plain.value(w + step * other) - plain.value(w - step * other)
    assert change == pytest.approx(2 * step * plain.slope(w) @ other, rel=1e-4, abs=1e-9)
    bend = plain.slope(w + step * other) - plain.slope(w - step * other)
    np.testing.assert_allclose(-plain.curvature(w, 0 * dual.gaps(w))(other), bend / (2 * step), rtol=1e-3, atol=1e-3)
    s = random.uniform(0.1, 1.0, len(dual.gaps(w)))
    assert dual.pull(s) @ other == pytest.approx(s @ dual.moved(other))
    added = plain.curvature(w, s)(other) - plain.curvature(w, 0 * s)(other)
    assert added @ other == pytest.approx(s @ dual.moved(other) ** 2)
    assert dual.repeated(dual.basis.T @ np.ones(loss.shape[1])) @ other == pytest.approx(dual.W(other).sum(), abs=1e-9)


def test_rotated_outputs_lose_nothing() -> None:
    dual = DualLoss.of(presolve(_training("cross-entropy", ("none", "none"))).program)
    np.testing.assert_allclose(dual.basis.T @ dual.basis, np.eye(2), atol=1e-14)
    np.testing.assert_allclose(dual.basis.sum(axis=0), 0.0, atol=1e-14)
    S = rng(0).standard_normal((7, 7))
    np.testing.assert_allclose(narrowed(widened(S + S.T, dual.basis), dual.basis), S + S.T, atol=1e-13)


def test_models_refuse_what_they_cannot_state() -> None:
    program = presolve(_training("logistic", ("none", "none"))).program
    with pytest.raises(InputError, match="squared loss alone"):
        picos_model(program)
    with pytest.raises(InputError, match="training"):
        cvxpy_model(program.pricing(program.loss.dual(np.zeros(program.shape))))
