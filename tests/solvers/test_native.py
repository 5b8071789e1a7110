"""The two native solvers of the DNN relaxation: feasibility, duality, agreement, and how a solve may end."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache

import numpy as np
import pytest

from certnet.solvers.face_map import FaceMap
from certnet.solvers.interface import Progress, Solver, SolverOptions, SolverResult, SolveStatus
from certnet.solvers.registry import NATIVE, get_solver
from certnet.solvers.session import Session
from formulations import Dual, LiftedSpace, Program, TrainingProgram, presolve

SOLVERS: dict[str, Solver] = {name: get_solver(name) for name in NATIVE}
TOLERANCE = {"admm": 2e-4, "interior-point": 1e-6}
"""Feasibility that each solver reaches on small programs, relative to the size of the matrix in question."""


@dataclass(frozen=True, eq=False)
class Case:
    original: TrainingProgram
    program: Program


def _data(name: str) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(7)
    if name == "plain":
        return rng.standard_normal((8, 3)), rng.standard_normal((8, 2))
    if name == "degenerate rows":
        X = rng.standard_normal((9, 2))
        X[3] = 0.0
        X[4] = 2.0 * X[0]
        X[5] = -0.5 * X[0]
        X[6] = -4.0 * X[1]
        return X, rng.standard_normal((9, 1))
    if name == "rank deficient":
        return rng.standard_normal((7, 2)) @ rng.standard_normal((2, 4)), rng.standard_normal((7, 3))
    if name == "badly scaled":
        return rng.standard_normal((8, 2)) * np.array([30.0, 0.2]) + 1.0, 5.0 * rng.standard_normal((8, 2))
    return np.array([[1.5]]), np.array([[2.0]])


CASES = ("plain", "degenerate rows", "rank deficient", "badly scaled", "one point")
WELL_SCALED = ("plain", "degenerate rows", "rank deficient", "one point")
"""Where the ADMM comes near the optimum; badly scaled data need the interior point."""


@cache
def _case(name: str) -> Case:
    X, Y = _data(name)
    original = TrainingProgram(X, Y, 0.5)
    presolved = presolve(original)
    assert presolved is not None
    return Case(original, presolved.program)


@cache
def _watched(solver: str, name: str) -> tuple[SolverResult, list[Dual]]:
    """A solve, and the duals that an interior point showed on its way."""
    limit = {"admm": 500 if name == "badly scaled" else 6000}.get(solver)
    shown: list[Dual] = []

    def look(progress: Progress) -> bool:
        shown.append(progress.dual())
        return False

    options = SolverOptions(max_iterations=limit, callback=look if solver == "interior-point" else None)
    return SOLVERS[solver](_case(name).program, options), shown


def _solved(solver: str, name: str) -> SolverResult:
    return _watched(solver, name)[0]


@pytest.fixture(params=CASES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=list(SOLVERS))
def solver(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def _relative(value: float, matrix: np.ndarray) -> float:
    return value / float(np.abs(matrix).max())


def test_interior_point_closes_the_gap(name: str) -> None:
    program, result = _case(name).program, _solved("interior-point", name)
    assert result.objective == pytest.approx(program.dual_value(result.dual.W), rel=1e-4)


@pytest.mark.parametrize("name", WELL_SCALED)
def test_values_agree(name: str) -> None:
    assert _solved("admm", name).objective == pytest.approx(_solved("interior-point", name).objective, rel=5e-3)


@pytest.mark.parametrize(
    ("solver", "name"),
    [("interior-point", name) for name in CASES] + [("admm", name) for name in WELL_SCALED],
)
def test_primal_is_feasible(solver: str, name: str) -> None:
    program, result = _case(name).program, _solved(solver, name)
    space, tolerance = program.space, TOLERANCE[solver]
    S = result.primal.S
    assert result.primal.outputs == space.outputs
    assert S.shape == (space.face_order, space.face_order)
    assert _relative(float(np.linalg.eigvalsh(S)[0]), S) >= -tolerance
    G = space.moment(S)
    assert _relative(float(G[space.phi, space.phi].min()), G) >= -tolerance
    assert _relative(float(np.abs(np.diag(G[space.alpha, space.beta])).max()), G) <= tolerance
    assert result.objective == pytest.approx(program.value(G), rel=1e-9)


def test_dual_signs_are_exact(solver: str, name: str) -> None:
    program, N = _case(name).program, _solved(solver, name).dual.N
    neurons = program.space.neurons
    neuron = np.arange(neurons)
    assert N.shape == (2 * neurons, 2 * neurons)
    np.testing.assert_array_equal(N, N.T)
    signed = N.copy()
    signed[neuron, neurons + neuron] = signed[neurons + neuron, neuron] = 0.0
    assert signed.min() >= 0.0
    assert np.isfinite(N).all()


def test_interior_point_dual_is_strictly_feasible(name: str) -> None:
    program, result = _case(name).program, _solved("interior-point", name)
    slack = program.slack(result.dual.W, result.dual.N)
    assert _relative(float(np.linalg.eigvalsh(slack)[0]), slack) > -1e-14
    assert program.dual_value(result.dual.W) <= result.objective * (1 + 1e-4)


@pytest.mark.parametrize("name", WELL_SCALED)
def test_admm_dual_is_nearly_feasible(name: str) -> None:
    program, result = _case(name).program, _solved("admm", name)
    slack = program.slack(result.dual.W, result.dual.N)
    assert _relative(float(np.linalg.eigvalsh(slack)[0]), slack) >= -1e-2
    assert program.dual_value(result.dual.W) == pytest.approx(result.objective, rel=2e-2)


def test_admm_says_when_it_has_not_converged() -> None:
    program, result = _case("badly scaled").program, _solved("admm", "badly scaled")
    optimum = program.dual_value(_solved("interior-point", "badly scaled").dual.W)
    assert result.objective != pytest.approx(optimum, rel=5e-3)
    assert result.status is SolveStatus.ITERATION_LIMIT
    assert max(result.primal_residual, result.dual_residual) > SolverOptions().tolerance


def test_dual_is_below_every_network(name: str) -> None:
    case, rng = _case(name), np.random.default_rng(3)
    bound = case.program.to_original(case.program.dual_value(_solved("interior-point", name).dual.W))
    _, d, c = case.original.shape
    for _ in range(50):
        size = rng.uniform(0.01, 1.0)
        U, V = size * rng.standard_normal((d, 6)), size * rng.standard_normal((c, 6))
        assert bound <= case.original.objective(U, V) + 1e-9
    assert bound <= 0.5 * float(np.sum(case.original.Y**2)) + 1e-9


def test_one_point_has_its_closed_form() -> None:
    # One neuron with p = |u||v| suffices: the value is the minimum of ½(1.5p − 2)² + 0.5p.
    p = (1.5 * 2.0 - 0.5) / 1.5**2
    value = 0.5 * (1.5 * p - 2.0) ** 2 + 0.5 * p
    for solver in SOLVERS:
        result = _solved(solver, "one point")
        assert _case("one point").program.to_original(result.objective) == pytest.approx(value, rel=1e-4)


def test_huge_weight_decay_gives_the_zero_network(solver: str) -> None:
    X, Y = _data("plain")
    presolved = presolve(TrainingProgram(X, Y, 1e4))
    assert presolved is not None
    result = SOLVERS[solver](presolved.program, SolverOptions())
    value = presolved.program.to_original(presolved.program.dual_value(result.dual.W))
    assert value == pytest.approx(0.5 * float(np.sum(Y**2)), rel=1e-4)


def test_random_small_programs_agree() -> None:
    for seed in range(2):
        rng = np.random.default_rng(seed)
        n, d, c = int(rng.integers(2, 9)), int(rng.integers(1, 4)), int(rng.integers(1, 4))
        presolved = presolve(TrainingProgram(rng.standard_normal((n, d)), rng.standard_normal((n, c)), 0.3))
        assert presolved is not None
        program = presolved.program
        first, second = (SOLVERS[name](program, SolverOptions()) for name in SOLVERS)
        assert first.objective == pytest.approx(second.objective, rel=5e-3)
        assert program.dual_value(second.dual.W) == pytest.approx(second.objective, rel=1e-4)


def test_time_limit_leaves_a_finite_dual(solver: str) -> None:
    result = SOLVERS[solver](_case("plain").program, SolverOptions(time_limit=1e-9))
    assert result.status is SolveStatus.TIME_LIMIT
    assert np.isfinite(result.dual.W).all()
    assert np.isfinite(result.dual.N).all()
    assert np.isfinite(result.primal.S).all()


def test_iteration_limit(solver: str) -> None:
    result = SOLVERS[solver](_case("plain").program, SolverOptions(max_iterations=3))
    assert result.status is SolveStatus.ITERATION_LIMIT
    assert result.iterations == 3


def test_callback_sees_the_dual_and_stops(solver: str) -> None:
    seen: list[Progress] = []

    def stop(progress: Progress) -> bool:
        seen.append(progress)
        return len(seen) == 2

    program = _case("plain").program
    result = SOLVERS[solver](program, SolverOptions(callback=stop))
    assert result.status is SolveStatus.STOPPED
    assert len(seen) == 2
    shown = seen[-1].dual()
    assert _least_eigenvalue(program, shown) > -1e-12
    assert seen[-1].lower_bound == program.to_original(program.dual_value(shown.W))
    assert 0.0 < seen[-1].lower_bound <= _solved("interior-point", "plain").objective * program.scale * (1 + 1e-5)


def test_interrupt_keeps_the_last_iterate(solver: str) -> None:
    def interrupt(progress: Progress) -> bool:
        raise KeyboardInterrupt

    result = SOLVERS[solver](_case("plain").program, SolverOptions(callback=interrupt))
    assert result.status is SolveStatus.INTERRUPTED
    assert np.isfinite(result.dual.N).all()


def test_other_errors_of_a_callback_are_not_swallowed(solver: str) -> None:
    def fail(progress: Progress) -> bool:
        raise RuntimeError("mine")

    with pytest.raises(RuntimeError, match="mine"):
        SOLVERS[solver](_case("plain").program, SolverOptions(callback=fail))


def test_solves_are_deterministic(solver: str) -> None:
    options = SolverOptions(max_iterations=12)
    first, second = (SOLVERS[solver](_case("plain").program, options) for _ in range(2))
    np.testing.assert_array_equal(first.dual.W, second.dual.W)
    np.testing.assert_array_equal(first.dual.N, second.dual.N)


def test_admm_goes_on_from_a_warm_start() -> None:
    program, result = _case("plain").program, _solved("admm", "plain")
    options = SolverOptions(max_iterations=25, warm_start=(result.primal, result.dual))
    warm = SOLVERS["admm"](program, options)
    cold = SOLVERS["admm"](program, SolverOptions(max_iterations=25))
    assert warm.primal_residual < 0.1 * cold.primal_residual
    assert warm.objective == pytest.approx(result.objective, rel=1e-2)


def test_interior_point_starts_from_the_products_of_a_dual() -> None:
    program, result = _case("plain").program, _solved("interior-point", "plain")
    warm = SOLVERS["interior-point"](program, SolverOptions(warm_start=(None, result.dual)))
    assert warm.iterations <= result.iterations
    assert program.dual_value(warm.dual.W) == pytest.approx(program.dual_value(result.dual.W), rel=1e-5)


def _least_eigenvalue(program: Program, dual: Dual) -> float:
    slack = program.slack(dual.W, dual.N)
    return _relative(float(np.linalg.eigvalsh(slack)[0]), slack)


def test_interior_point_has_a_feasible_dual_at_every_moment(name: str) -> None:
    program, shown = _case(name).program, _watched("interior-point", name)[1]
    assert all(_least_eigenvalue(program, dual) > -1e-12 for dual in shown)
    values = [program.dual_value(dual.W) for dual in shown]
    assert values[0] > 0.0
    assert values == sorted(values)


def test_stopping_while_products_are_predicted_leaves_a_feasible_dual() -> None:
    program = _case("plain").program
    result = SOLVERS["interior-point"](program, SolverOptions(callback=lambda progress: True))
    assert result.status is SolveStatus.STOPPED
    assert result.iterations == 0
    assert _least_eigenvalue(program, result.dual) > -1e-12
    assert 0.0 < program.dual_value(result.dual.W) < _solved("interior-point", "plain").objective


def test_a_session_keeps_the_better_dual() -> None:
    program, best = _case("plain").program, _solved("interior-point", "plain").dual
    zero = Dual(np.zeros_like(best.W), np.zeros_like(best.N))
    session = Session(program, SolverOptions())
    assert session.value == 0.0
    session.offer_repaired(Dual(2.0 * best.W, best.N))
    first = session.value
    assert 0.0 < first < program.dual_value(best.W)
    assert _least_eigenvalue(program, session.dual) > -1e-12
    session.offer(best, program.dual_value(best.W))
    session.offer(zero, 0.0)
    assert session.value == program.dual_value(best.W)
    session.copy_dual().W[:] = 0.0
    np.testing.assert_array_equal(session.dual.W, best.W)


@pytest.mark.parametrize(("quadratics", "rows"), [(0, 0), (2, 0), (1, 2)])
def test_gathered_schur_complement_matches_its_definition(quadratics: int, rows: int) -> None:
    rng = np.random.default_rng(1)
    space = LiftedSpace(rng.standard_normal((3, 2)), 2)
    first, second = np.array([0, 0, 1, 2, 4]), np.array([1, 5, 3, 4, space.v.start])
    if rows:
        first, second = np.append(first, [3, space.order]), np.append(second, [space.order, space.order + 1])
    over_z = rng.standard_normal((quadratics, 2, 2))
    count = quadratics + len(first)
    weight, scale = rng.uniform(0.5, 2.0, len(first)), rng.uniform(0.5, 2.0, count)
    constraints = FaceMap(
        space, over_z + over_z.transpose(0, 2, 1), rng.standard_normal((rows, space.order)), first, second, weight
    )
    order = space.face_order
    S, inverse = (B @ B.T + np.eye(order) for B in rng.standard_normal((2, order, order)))
    forms = [constraints.adjoint(unit) for unit in np.eye(count)]
    lam = space.lift(rng.standard_normal(2), rng.standard_normal(2))
    extended, z, face = np.concatenate([lam, constraints.rows @ lam]), lam[space.z], space.face(lam)
    values = [z @ Q @ z for Q in constraints.quadratics] + list(weight * extended[first] * extended[second])
    np.testing.assert_allclose([face @ form @ face for form in forms], values, atol=1e-10)
    expected = np.array([[np.sum(a * (S @ b @ inverse)) for b in forms] for a in forms])
    P, Q = constraints.gram(S), constraints.gram(inverse)
    got = np.tril(constraints.schur(P, Q, scale))
    np.testing.assert_allclose(got, np.tril(expected * np.outer(scale, scale)), atol=1e-10)
    np.testing.assert_allclose(constraints.schur_diagonal(P, Q), np.diag(expected), atol=1e-10)
    np.testing.assert_allclose(constraints(S), [np.sum(a * S) for a in forms], atol=1e-10)


def test_zero_targets_need_nothing(solver: str) -> None:
    presolved = presolve(TrainingProgram(_data("plain")[0], np.zeros((8, 2)), 0.1))
    assert presolved is not None
    result = SOLVERS[solver](presolved.program, SolverOptions(max_iterations=60))
    np.testing.assert_allclose(result.dual.W, 0.0, atol=1e-5)
    assert presolved.program.dual_value(result.dual.W) <= 0.0


def test_interior_point_reaches_the_value_of_random0(
    paper_data: Callable[[str], tuple[np.ndarray, np.ndarray]],
) -> None:
    presolved = presolve(TrainingProgram(*paper_data("random0"), 0.1))
    assert presolved is not None
    program = presolved.program
    result = SOLVERS["interior-point"](program, SolverOptions())
    assert program.to_original(program.dual_value(result.dual.W)) == pytest.approx(8.1014, abs=1e-4)
    assert program.to_original(result.objective) == pytest.approx(8.1014, abs=2e-4)


@cache
def _exactly_solved() -> float:
    program = _case("plain").program
    return program.dual_value(SOLVERS["interior-point"](program, SolverOptions(tolerance=1e-7)).dual.W)


@pytest.mark.parametrize("at", [2, 18])
def test_the_interior_point_goes_on_from_the_iterate_that_was_shown(at: int) -> None:
    program, seen = _case("plain").program, []
    options = SolverOptions(tolerance=1e-7)

    def look(progress: Progress) -> bool:
        seen.append(progress)
        return len(seen) == at

    SOLVERS["interior-point"](program, replace(options, callback=look))
    rest = SOLVERS["interior-point"](program, replace(options, warm_start=seen[-1].iterate()))
    assert rest.status is SolveStatus.CONVERGED
    assert program.dual_value(rest.dual.W) == pytest.approx(_exactly_solved(), rel=1e-6)


@pytest.mark.slow
def test_a_round_that_has_just_begun_does_not_spoil_the_result() -> None:
    rng = np.random.default_rng(3)
    presolved = presolve(TrainingProgram(rng.standard_normal((8, 4)), rng.standard_normal((8, 1)), 0.1))
    assert presolved is not None
    whole = SOLVERS["interior-point"](presolved.program, SolverOptions())
    values = []
    for steps in range(1, whole.iterations + 1):
        result = SOLVERS["interior-point"](presolved.program, SolverOptions(max_iterations=steps))
        if not result.message.startswith("0 rounds"):
            values.append(result.objective)
    assert len(values) >= 2
    # The first round ends at a gap of 1 %; the iterates that begin the second are 1.8 % off.
    np.testing.assert_allclose(values, whole.objective, rtol=8e-3)
