"""The ADMM on form programs: its half step, optimality conditions, known values, invariances, and going on."""

from functools import cache

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certificates.making.repair import repair_form
from certnet.solvers import admm, solve
from certnet.solvers.arrays import Arrays
from certnet.solvers.interface import SolverOptions, SolverResult, SolveStatus
from certnet.solvers.orthonormal import FOR_BOUNDS, FOR_PRODUCTS, orthonormal
from certnet.solvers.splitting import Splitting
from formulations import (
    Dual,
    InputError,
    LiftedSpace,
    Program,
    TrainingProgram,
    merge_rows,
    presolve,
)
from tests.strategies import SEEDS, programs, rng


@cache
def _price(n: int = 9, d: int = 3, c: int = 2) -> Program:
    random = rng(n)
    program = presolve(TrainingProgram(random.standard_normal((n, d)), random.standard_normal((n, c)), 0.3)).program
    return program.pricing(program.loss.target)


@cache
def _general(n: int = 5, k: int = 3) -> Program:
    """A form with entries everywhere, and a metric that is no multiple of I."""
    random = rng(n)
    C, E = random.standard_normal((2 * n + k, 2 * n + k)), random.standard_normal((k, k))
    return Program.of_form(LiftedSpace(random.standard_normal((n, k))), C + C.T, E @ E.T + np.eye(k))


FORMS = [pytest.param(_price, id="pricing"), pytest.param(_general, id="general")]


def _solve(program: Program | Program, **options: object) -> SolverResult:
    return admm.admm(program, SolverOptions(**options))  # type: ignore[arg-type]


def _bound(program: Program, **options: object) -> float:
    return repair_form(program, _solve(program, **options).dual).delta


def _values(program: Program, Z: np.ndarray) -> np.ndarray:
    """The form at the lifted columns of Z, normalised."""
    lam = program.space.lift(Z)
    return np.sum(lam * (program.form @ lam), axis=0) / np.sum(Z * (program.metric @ Z), axis=0)


def _circle(count: int = 20_000) -> np.ndarray:
    angle = np.linspace(0.0, 2.0 * np.pi, count)
    return np.stack([np.cos(angle), np.sin(angle)])


# --- the half step ----------------------------------------------------------------------------------------------------


def _entrywise(layer: Arrays, program: Program, penalty: float) -> tuple[np.ndarray, np.ndarray]:
    """A symmetric V, and Z there."""
    V = rng(1).standard_normal((program.space.order, program.space.order))
    V, Z = V + V.T, layer.zeros(*V.shape)
    Splitting(program, layer).entrywise(layer.array(V), penalty, Z)
    return V, layer.host(Z)


def _feasible(program: Program, matrix: np.ndarray) -> np.ndarray:
    space, out = program.space, 0.5 * (matrix + matrix.T)
    out[space.phi, space.phi] = np.maximum(out[space.phi, space.phi], 0.0)
    for first, second in ((space.alpha, space.beta), (space.beta, space.alpha)):
        np.fill_diagonal(out[first, second], 0.0)
    missing = 1.0 - float(np.sum(program.metric * out[space.z, space.z]))
    out[space.z, space.z] += missing / float(np.sum(program.metric**2)) * program.metric
    return out


@pytest.mark.parametrize("form", FORMS)
def test_entrywise_solution_is_a_minimum(layer: Arrays, form) -> None:
    program, penalty, random = form(), 0.3, rng(2)
    V, Z = _entrywise(layer, program, penalty)

    def value(matrix: np.ndarray) -> float:
        return 0.5 * float(np.sum(program.form * matrix)) + 0.5 * penalty * float(np.sum((matrix - V) ** 2))

    np.testing.assert_allclose(Z, _feasible(program, Z), atol=1e-13)
    for size in (1e-3, 1e-1):
        for _ in range(20):
            assert value(Z) < value(_feasible(program, Z + size * random.standard_normal(Z.shape)))


@pytest.mark.parametrize("form", FORMS)
def test_multipliers_make_the_entrywise_solution_stationary(layer: Arrays, form) -> None:
    program, penalty = form(), 0.3
    space = program.space
    V, Z = _entrywise(layer, program, penalty)
    dual = Splitting(program, layer).multipliers(layer.array(V), penalty)
    assert dual.W.shape == (0, 0)
    # Off the normalised block, twice the gradient of the half step's objective is that of the signs.
    gradient = program.form + 2.0 * penalty * (Z - V)
    expected = np.zeros_like(Z)
    expected[space.phi, space.phi] = dual.N
    outside = np.ones_like(Z, dtype=bool)
    outside[space.z, space.z] = False
    np.testing.assert_allclose(np.where(outside, gradient - expected, 0.0), 0.0, atol=1e-13)
    # There it is a multiple of E.
    ratio = gradient[space.z, space.z] / program.metric
    np.testing.assert_allclose(ratio, ratio[0, 0], atol=1e-12)
    assert (dual.N[Z[space.phi, space.phi] > 0] == 0).all()


# --- optimality -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("units", [FOR_BOUNDS, FOR_PRODUCTS])
@pytest.mark.parametrize("form", FORMS)
def test_optimality_conditions(form, units) -> None:
    program = form()
    space = program.space
    result = admm.admm(program, SolverOptions(tolerance=1e-9, max_iterations=20_000), units)
    assert result.status is SolveStatus.CONVERGED
    S, N = result.primal.S, result.dual.N
    G, delta = space.moment(S), program.to_original(result.objective)
    assert np.sum(program.metric * G[space.z, space.z]) == pytest.approx(1.0, abs=1e-12)
    assert np.linalg.eigvalsh(S)[0] >= -1e-12
    assert G[space.phi, space.phi].min() >= -1e-7
    np.testing.assert_allclose(np.diag(G[space.alpha, space.beta]), 0.0, atol=1e-7)
    off = ~np.eye(space.neurons, dtype=bool)
    assert N[space.alpha, space.alpha].min() >= 0
    assert N[space.beta, space.beta].min() >= 0
    assert N[space.alpha, space.beta][off].min() >= 0
    size = float(np.abs(program.form).max())
    slack = program.slack(delta, N)
    assert np.linalg.eigvalsh(slack)[0] >= -1e-6 * size
    assert np.sum(slack * S) == pytest.approx(0.0, abs=1e-6 * size)
    assert np.sum(N * G[space.phi, space.phi]) == pytest.approx(0.0, abs=1e-6 * size)
    assert repair_form(program, result.dual).delta == pytest.approx(delta, abs=1e-5 * size)


def test_objective_is_that_of_the_primal_result() -> None:
    program = _general()
    result = _solve(program, max_iterations=30)
    assert result.objective == pytest.approx(program.value(program.space.moment(result.primal.S)), rel=1e-9)


@settings(max_examples=8)
@given(programs(), SEEDS, st.sampled_from([0, 1, 40]))
def test_bounds_are_below_every_lifted_point(program: TrainingProgram, seed: int, steps: int) -> None:
    lifted, random = merge_rows(program).program, rng(seed)
    if lifted.space.neurons == 0:
        return
    form = lifted.pricing(random.standard_normal(lifted.shape))
    Z = np.hstack([random.standard_normal((form.space.dimension, 50)), form.space.generators.T])
    size = float(np.abs(form.form).max())
    assert _bound(form, max_iterations=steps) <= float(_values(form, Z).min()) + 1e-9 * size


# --- known values -----------------------------------------------------------------------------------------------------


def test_without_generators_it_is_an_eigenvalue() -> None:
    form, metric = np.array([[0.0, 1.0], [1.0, 3.0]]), np.diag([1.0, 4.0])
    program = Program.of_form(LiftedSpace(np.zeros((0, 2))), form, metric)
    root = np.diag([1.0, 0.5])
    least = float(np.linalg.eigvalsh(root @ form @ root)[0])
    result = _solve(program, tolerance=1e-9)
    assert program.to_original(result.objective) == pytest.approx(least, rel=1e-6)
    assert repair_form(program, result.dual).delta == pytest.approx(least, rel=1e-6)


def test_one_generator_has_a_known_price() -> None:
    # ‖W (a·u)₊‖² over the unit ball is ‖W‖²‖a‖².
    a, W = np.array([[0.6, 0.8, 0.0]]), np.array([[1.0, 2.0]])
    form = np.zeros((5, 5))
    form[0, 0] = -np.sum(W**2)
    program = Program.of_form(LiftedSpace(a), form, np.eye(3))
    assert _bound(program, tolerance=1e-8) == pytest.approx(-5.0, rel=1e-6)


@pytest.mark.parametrize("seed", range(4))
def test_axes_of_the_plane_are_exact(seed: int) -> None:
    # With generators I in the plane φ has four entries, and doubly nonnegative matrices of order 4 are completely
    # positive; the best direction is found on a fine grid.
    W = rng(seed).standard_normal((2, 2))
    form = np.zeros((6, 6))
    form[:2, :2] = -W @ W.T
    program = Program.of_form(LiftedSpace(np.eye(2)), form, np.eye(2))
    least = float(_values(program, _circle()).min())
    assert _bound(program, tolerance=1e-8) == pytest.approx(least, rel=1e-5)


@pytest.mark.slow
def test_in_the_plane_the_bound_is_nearly_the_best_direction() -> None:
    program = _price(8, 2, 3)
    least = float(_values(program, _circle() / np.sqrt(np.diag(program.metric))[:, None]).min())
    delta = _bound(program, tolerance=1e-6)
    assert delta <= least + 1e-9
    assert delta >= 1.001 * least


def test_a_form_that_is_zero_has_the_bound_zero() -> None:
    program = Program.of_form(LiftedSpace(np.eye(2)), np.zeros((6, 6)), np.eye(2))
    assert _bound(program, max_iterations=50) == pytest.approx(0.0, abs=1e-9)


# --- invariance -------------------------------------------------------------------------------------------------------


def test_scaling_and_permutation_leave_the_bound() -> None:
    random = rng(3)
    A, W = random.standard_normal((7, 3)), random.standard_normal((7, 2))
    order, scale = random.permutation(7), random.uniform(0.1, 10.0, 7)
    T = random.standard_normal((3, 3)) + 2.0 * np.eye(3)

    def price(A: np.ndarray, W: np.ndarray, metric: np.ndarray) -> float:
        form = np.zeros((17, 17))
        form[:7, :7] = -W @ W.T
        return _bound(Program.of_form(LiftedSpace(A), form, metric), tolerance=1e-8)

    reference = price(A, W, np.eye(3))
    assert price(A[order], W[order], np.eye(3)) == pytest.approx(reference, rel=1e-5)
    assert price(scale[:, None] * A, W / scale[:, None], np.eye(3)) == pytest.approx(reference, rel=1e-5)
    assert price(A, 1e-4 * W, np.eye(3)) == pytest.approx(1e-8 * reference, rel=1e-5)
    # z = T z'.
    assert price(A @ T, W, T.T @ T) == pytest.approx(reference, rel=1e-5)


@pytest.mark.parametrize("form", FORMS)
def test_coordinates_are_undone(form) -> None:
    program, random = form(), rng(4)
    there = orthonormal(program, FOR_BOUNDS)
    space = program.space
    N = random.standard_normal((program.positions, program.positions))
    dual = there.apply_dual(Dual(np.zeros(program.shape), N + N.T))
    np.testing.assert_allclose(there.undo_dual(dual).N, N + N.T, atol=1e-12)
    np.testing.assert_allclose(there.program.metric, np.eye(space.dimension))
    assert np.abs(there.program.form).max() == pytest.approx(1.0)
    # The value and ⟨N, G⟩ scale alike.
    result = _solve(program, max_iterations=3)
    primal = there.apply_primal(result.primal)
    np.testing.assert_allclose(there.undo_primal(primal).S, result.primal.S, atol=1e-12)
    G, G_there = space.moment(result.primal.S), there.program.space.moment(primal.S)
    assert there.objective(G_there) == pytest.approx(program.value(G), rel=1e-9)
    product = float(np.sum(dual.N * G_there[space.phi, space.phi]))
    assert there.unit**2 * product == pytest.approx(float(np.sum((N + N.T) * G[space.phi, space.phi])), rel=1e-9)


# --- going on ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", FORMS)
def test_a_warm_start_saves_steps(form) -> None:
    program = form()
    first = _solve(program, tolerance=1e-6)
    again = _solve(program, tolerance=1e-4, warm_start=(first.primal, first.dual))
    assert again.iterations < 0.2 * _solve(program, tolerance=1e-4).iterations
    assert again.objective == pytest.approx(first.objective, rel=1e-3)


def test_beginning_in_float32_ends_at_the_same_point(layer: Arrays, monkeypatch: pytest.MonkeyPatch) -> None:
    program = _price()
    double = _solve(program, tolerance=1e-5)
    monkeypatch.setattr(admm, "SINGLE_ORDER", 0)
    single = _solve(program, tolerance=1e-5)
    assert double.status is single.status is SolveStatus.CONVERGED
    assert single.objective == pytest.approx(double.objective, rel=1e-4)


def test_layers_agree(torch_layer: Arrays, monkeypatch: pytest.MonkeyPatch) -> None:
    first = _solve(_general(), max_iterations=40)
    monkeypatch.setattr(admm, "arrays", lambda device: torch_layer)
    second = _solve(_general(), max_iterations=40)
    np.testing.assert_allclose(first.dual.N, second.dual.N, atol=1e-6 * np.abs(first.dual.N).max())
    np.testing.assert_allclose(first.primal.S, second.primal.S, atol=1e-6 * np.abs(first.primal.S).max())


def test_progress_shows_bounds_that_only_improve() -> None:
    program = _price(8, 2, 2)
    seen: list[float] = []
    _solve(program, max_iterations=400, callback=lambda progress: seen.append(progress.lower_bound))
    assert seen == sorted(seen)
    assert -np.inf < seen[0] < seen[-1]
    assert seen[-1] <= float(_values(program, rng(0).standard_normal((2, 5000))).min()) + 1e-9


def test_inequalities_are_refused() -> None:
    space = LiftedSpace(np.eye(2))
    program = Program.of_form(space, np.eye(6), np.eye(2), np.ones((1, 6)))
    with pytest.raises(InputError, match="interior-point") as caught:
        _solve(program)
    assert str(caught.value).count(".") == 1


def test_forms_with_null_vectors_are_solved_on_the_quotient() -> None:
    """To the value that the interior point finds with the region, from any start; their primal lies on the face."""
    random = rng(4)
    X, Y = random.standard_normal((10, 2)) + random.standard_normal(2), np.eye(3)[np.arange(10) % 3]
    training = TrainingProgram(X, Y, 0.5, loss="cross-entropy", hidden_bias="free", output_bias="free")
    lifted = merge_rows(training).program
    form = lifted.pricing(training.dual(random.standard_normal((3, 2)), random.standard_normal((3, 2))))
    best = -repair_form(form, solve(form, "interior-point", tolerance=1e-9).dual).delta
    result = solve(form, "admm", max_iterations=800, tolerance=1e-7)
    assert -repair_form(form, result.dual).delta == pytest.approx(best, rel=2e-4)
    assert -2.0 * result.objective == pytest.approx(best, rel=1e-3)
    assert form.value(form.space.moment(result.primal.S)) == pytest.approx(result.objective, rel=1e-6)
    again = solve(form, "admm", max_iterations=60, warm_start=(result.primal, result.dual))
    assert -repair_form(form, again.dual).delta <= best * (1 + 1e-2)
