"""The ADMM's own parts: its two half steps, the acceleration, going on, float32, and the time limit."""

import time
from functools import cache

import numpy as np
import pytest

from certnet.jobs.best import repaired, repairing
from certnet.solvers import admm
from certnet.solvers.arrays import Arrays
from certnet.solvers.interface import Progress, Repair, SolverOptions, SolverResult, SolveStatus
from certnet.solvers.iterations import Anderson
from certnet.solvers.orthonormal import FOR_BOUNDS, orthonormal
from certnet.solvers.splitting import Splitting
from formulations import Dual, InputError, Program, TrainingProgram, presolve


@cache
def _program(n: int = 9, d: int = 3, c: int = 2, gamma: float = 0.1) -> Program:
    rng = np.random.default_rng(n)
    presolved = presolve(TrainingProgram(rng.standard_normal((n, d)), rng.standard_normal((n, c)), gamma))
    assert presolved is not None
    return presolved.program


def _solve(program: Program, **options: object) -> SolverResult:
    return admm.admm(program, SolverOptions(**options))  # type: ignore[arg-type]


def _set(monkeypatch: pytest.MonkeyPatch, **numbers: float) -> None:
    for name, number in numbers.items():
        monkeypatch.setattr(admm, name.upper(), number)


# --- the half steps ---------------------------------------------------------------------------------------------------


def _symmetric(program: Program, seed: int) -> np.ndarray:
    V = np.random.default_rng(seed).standard_normal((program.space.order, program.space.order))
    return V + V.T


def _half_steps(layer: Arrays, program: Program, V: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray]:
    """(Z, G) of a point V."""
    splitting = Splitting(program, layer)
    Z = layer.zeros(*V.shape)
    X, _ = splitting.entrywise(layer.array(V), penalty, Z)
    F = layer.host(splitting.factor(X, 0))
    return layer.host(Z), F @ F.T


def test_projection_matches_the_dense_basis(layer: Arrays) -> None:
    program = orthonormal(_program(), FOR_BOUNDS).program
    V = _symmetric(program, 0)
    Z, G = _half_steps(layer, program, V, 0.3)
    Q, _ = np.linalg.qr(program.space.basis)
    values, vectors = np.linalg.eigh(Q.T @ (2 * Z - V) @ Q)
    F = Q @ vectors * np.sqrt(np.maximum(values, 0.0))
    np.testing.assert_allclose(G, F @ F.T, atol=1e-12)


def test_entrywise_solution_is_a_minimum(layer: Arrays) -> None:
    program, penalty = orthonormal(_program(), FOR_BOUNDS).program, 0.3
    space, rng = program.space, np.random.default_rng(1)
    V = _symmetric(program, 1)
    Z, _ = _half_steps(layer, program, V, penalty)

    def value(matrix: np.ndarray) -> float:
        return program.value(matrix) + 0.5 * penalty * float(np.sum((matrix - V) ** 2))

    def feasible(matrix: np.ndarray) -> np.ndarray:
        out = 0.5 * (matrix + matrix.T)
        out[space.phi, space.phi] = np.maximum(out[space.phi, space.phi], 0.0)
        np.fill_diagonal(out[space.alpha, space.beta], 0.0)
        np.fill_diagonal(out[space.beta, space.alpha], 0.0)
        return out

    np.testing.assert_allclose(Z, feasible(Z), atol=1e-14)
    for size in (1e-3, 1e-1):
        for _ in range(20):
            assert value(Z) < value(feasible(Z + size * rng.standard_normal(Z.shape)))


def test_sizes_and_gap_are_norms(layer: Arrays) -> None:
    program = orthonormal(_program(), FOR_BOUNDS).program
    splitting = Splitting(program, layer)
    V, last = _symmetric(program, 2), _symmetric(program, 3)
    Z = layer.array(last)
    _, sizes = splitting.entrywise(layer.array(V), 0.3, Z)
    new = layer.host(Z)
    assert sizes.entries == pytest.approx(np.linalg.norm(new))
    assert sizes.multiplier == pytest.approx(np.linalg.norm(V - new))
    assert sizes.change == pytest.approx(np.linalg.norm(new - last))
    F = np.random.default_rng(4).standard_normal((program.space.order, 3))
    out, gap = splitting.gap(layer.array(F), Z, 1.6)
    np.testing.assert_allclose(layer.host(out), 1.6 * (F @ F.T - new), atol=1e-12)
    assert gap == pytest.approx(np.linalg.norm(F @ F.T - new))


def test_multipliers_are_those_of_the_entrywise_problem(layer: Arrays) -> None:
    program, penalty = orthonormal(_program(), FOR_BOUNDS).program, 0.3
    space = program.space
    V = _symmetric(program, 5)
    Z, _ = _half_steps(layer, program, V, penalty)
    dual = Splitting(program, layer).multipliers(layer.array(V), penalty)
    np.testing.assert_allclose(dual.N, -2 * penalty * (V - Z)[space.phi, space.phi], atol=1e-14)
    # The loss is stationary: its gradient −ωW balances the pull of the penalty, which counts both triangles.
    pull = 2 * penalty * (Z - V)[program.feature, space.v]
    np.testing.assert_allclose(program.weight[:, None] * dual.W, pull, atol=1e-12)


# --- acceleration -----------------------------------------------------------------------------------------------------


def _contraction(order: int) -> tuple[np.ndarray, np.ndarray]:
    """Factors and fixed point of a slow linear map on matrices."""
    rng = np.random.default_rng(0)
    return rng.choice([0.5, 0.9, 0.99], (order, order)), rng.standard_normal((order, order))


def _iterate(layer: Arrays, memory: int, steps: int) -> float:
    """Distance to the fixed point after some steps, relative to the first one."""
    factors, fixed = _contraction(6)
    acceleration = Anderson(layer, (6, 6), memory, 5)
    V = layer.zeros(6, 6)
    for _ in range(steps):
        R = layer.array((factors - 1.0) * (layer.host(V) - fixed))
        V, _ = acceleration.push(V, R, float(np.sqrt(layer.square(R))))
    return float(np.linalg.norm(layer.host(V) - fixed) / np.linalg.norm(fixed))


def test_acceleration_finds_the_fixed_point_of_a_linear_map(layer: Arrays) -> None:
    assert _iterate(layer, 0, 40) > 0.3
    assert _iterate(layer, 5, 40) < 1e-5


def test_extrapolation_that_fails_is_withdrawn(layer: Arrays) -> None:
    acceleration, rng = Anderson(layer, (3, 3), 2, 1), np.random.default_rng(0)
    V = layer.zeros(3, 3)
    while not acceleration.extrapolated:
        last, step = V, layer.array(rng.standard_normal((3, 3)))
        V, accepted = acceleration.push(last, step, 1.0)
        assert accepted
    plain = layer.host(last) + layer.host(step)
    assert not np.allclose(layer.host(V), plain)
    out, accepted = acceleration.push(V, step, 2.5)
    assert not accepted
    np.testing.assert_allclose(layer.host(out), plain, atol=1e-15)
    assert not acceleration.extrapolated
    assert not acceleration.plain


# --- going on --------------------------------------------------------------------------------------------------------


def _assert_same(first: SolverResult, second: SolverResult) -> None:
    for a, b in (
        (first.dual.W, second.dual.W),
        (first.dual.N, second.dual.N),
        (first.primal.S, second.primal.S),
        (first.iterations, second.iterations),
        (first.primal_residual, second.primal_residual),
        (first.dual_residual, second.dual_residual),
    ):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("loss", ["squared", "logistic", "cross-entropy", "hinge"])
def test_looking_at_the_iterate_changes_nothing(loss: str) -> None:
    """Of the losses but the squared one each step begins where the last one ended."""
    random = np.random.default_rng(1)
    X, classes = random.standard_normal((9, 3)), random.integers(3, size=9)
    Y = np.eye(3)[classes] if loss in ("squared", "cross-entropy") else np.sign(classes - 0.5)
    presolved = presolve(TrainingProgram(X, Y, 0.1, loss=loss, hidden_bias="penalised", output_bias="free"))
    assert presolved is not None
    program = presolved.program
    plain = _solve(program, max_iterations=100)
    watched = _solve(program, max_iterations=100, callback=lambda progress: progress.iterate() is None)
    _assert_same(plain, watched)


def test_a_solve_goes_on_from_the_iterate_that_was_shown() -> None:
    program, shown = _program(gamma=0.5), []

    def look(progress: Progress) -> bool:
        shown.append((progress.iteration, progress.iterate()))
        return False

    whole = _solve(program, tolerance=1e-5, callback=look)
    for share in (0.3, 0.8):
        iteration, iterate = next(pair for pair in shown if pair[0] >= share * whole.iterations)
        again = _solve(program, tolerance=1e-5, warm_start=iterate)
        assert again.status is SolveStatus.CONVERGED
        assert iteration + again.iterations <= 1.3 * whole.iterations
        assert again.objective == pytest.approx(whole.objective, rel=1e-3)


# --- interrupts, failures, precision, time ----------------------------------------------------------------------------


def _fail_once(monkeypatch: pytest.MonkeyPatch, step: int, error: BaseException) -> None:
    """Let one projection fail."""
    calls, factor = [0], Splitting.factor

    def failing(self: Splitting, X: object, expected_rank: int) -> object:
        calls[0] += 1
        if calls[0] == step:
            raise error
        return factor(self, X, expected_rank)

    monkeypatch.setattr(Splitting, "factor", failing)


def test_interrupt_within_a_step_keeps_the_last_point(layer: Arrays, monkeypatch: pytest.MonkeyPatch) -> None:
    _set(monkeypatch, report_every=1)
    program, seen = _program(), []
    whole = _solve(program, max_iterations=6)
    _fail_once(monkeypatch, 7, KeyboardInterrupt())
    torn = _solve(program, callback=lambda progress: bool(seen.append(progress)))
    assert torn.status is SolveStatus.INTERRUPTED
    _assert_same(whole, torn)
    again = _solve(program, max_iterations=300, warm_start=seen[-1].iterate())
    assert again.primal_residual < 0.1 * torn.primal_residual


def test_failure_keeps_the_last_point(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = _solve(_program(), max_iterations=6)
    _fail_once(monkeypatch, 7, np.linalg.LinAlgError("no convergence"))
    failed = _solve(_program())
    assert failed.status is SolveStatus.FAILED
    _assert_same(whole, failed)


def test_failure_in_float32_goes_on_in_float64(monkeypatch: pytest.MonkeyPatch) -> None:
    _set(monkeypatch, single_order=0)
    _set(monkeypatch, single_residual=0.0)
    _fail_once(monkeypatch, 7, np.linalg.LinAlgError("no convergence"))
    run = admm.Run(_program(), SolverOptions(max_iterations=3000, tolerance=1e-5), FOR_BOUNDS)
    assert run.layer.single
    assert run.solve() is SolveStatus.CONVERGED
    assert not run.layer.single
    assert run.at.V.dtype == np.float64


def test_a_step_that_waits_for_a_compiler_does_not_end_a_solve() -> None:
    run = admm.Run(_program(), SolverOptions(time_limit=600.0), FOR_BOUNDS)
    for durations, ends in (([1000.0, 1e-3, 1e-3], False), ([1000.0] * 3, True), ([], False)):
        run.durations = durations
        assert run._out_of_time(2) == ends


@pytest.mark.slow
def test_beginning_in_float32_ends_at_the_same_point(layer: Arrays, monkeypatch: pytest.MonkeyPatch) -> None:
    program = _program(gamma=0.5)
    double = _solve(program, max_iterations=4000, tolerance=1e-6)
    assert double.status is SolveStatus.CONVERGED
    _set(monkeypatch, single_order=0)
    for residual in (1e-4, 0.0):
        _set(monkeypatch, single_residual=residual)
        single = _solve(program, max_iterations=4000, tolerance=1e-6)
        assert single.objective == pytest.approx(double.objective, rel=1e-3)
        np.testing.assert_allclose(single.dual.W, double.dual.W, atol=2e-3)
        assert single.primal_residual < 1e-5


def test_layers_agree(torch_layer: Arrays, monkeypatch: pytest.MonkeyPatch) -> None:
    first = _solve(_program(), max_iterations=60)
    monkeypatch.setattr(admm, "arrays", lambda device: torch_layer)
    second = _solve(_program(), max_iterations=60)
    np.testing.assert_allclose(first.dual.N, second.dual.N, atol=1e-6 * np.abs(first.dual.N).max())
    np.testing.assert_allclose(first.primal.S, second.primal.S, atol=1e-6 * np.abs(first.primal.S).max())


def test_objective_is_that_of_the_primal_result() -> None:
    # In the program's own scale, which is not the original one.
    program = _program()
    assert program.scale != pytest.approx(1.0)
    result = _solve(program, max_iterations=30)
    assert result.primal is not None
    value = program.value(program.space.moment(result.primal.S))
    assert result.objective == pytest.approx(value, rel=1e-9)


def test_time_limit_counts_the_step_to_come_and_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    factor = Splitting.factor

    def slow(self: Splitting, X: object, expected_rank: int) -> object:
        now[0] += 1.0
        return factor(self, X, expected_rank)

    monkeypatch.setattr(Splitting, "factor", slow)
    for limit, steps in ((10.5, 9), (0.5, 1), (20.0, 18)):
        now[0] = 0.0
        result = _solve(_program(), time_limit=limit)
        assert result.status is SolveStatus.TIME_LIMIT
        assert result.iterations == steps


def test_unknown_device_is_an_error() -> None:
    with pytest.raises(InputError, match="must be one of cpu, cuda"):
        _solve(_program(), device="tpu")


def test_duals_are_shown_as_repaired_in_the_coordinates_of_the_data() -> None:
    """Where columns are constant but for an entry, a free hidden bias costs a shift in the solver's own ones dearly."""
    random = np.random.default_rng(0)
    X = random.standard_normal((40, 6))
    X[:, 4:] = 0.0
    X[7, 4], X[9, 5] = 7.0, 5.0
    y = np.sign(X[:, 0] + 0.3 * random.standard_normal(40))
    presolved = presolve(TrainingProgram(X, y, 1.0, loss="logistic", hidden_bias="free", output_bias="free"))
    assert presolved is not None

    def shown(repair: Repair | None) -> tuple[float, float]:
        """The last bound that was shown, and what its dual proves."""
        seen: list[Progress] = []
        _solve(presolved.program, max_iterations=200, tolerance=1e-9, callback=seen.append, repair=repair)
        dual = presolved.undo_dual(seen[-1].dual())
        return seen[-1].lower_bound, repaired(presolved.rows, dual).lower_bound

    repair = repairing(presolved)
    assert repair is not None
    looks = list[tuple[bool, float, float]]()

    def watched(dual: Dual, *, factors: bool) -> tuple[Dual, float]:
        looks.append((factors, repair(dual, factors=False)[1], repair(dual, factors=True)[1]))
        return repair(dual, factors=factors)

    there, proved = shown(watched)
    # Early looks are rough, and a rough look never proves more.
    assert [factors for factors, *_ in looks] == [False] * 3 + [True] * (len(looks) - 3)
    assert len(looks) > 3
    assert all(rough <= whole + 1e-9 for _, rough, whole in looks)
    assert proved >= there * (1 - 1e-6)
    assert there >= shown(None)[0]
    without = presolve(TrainingProgram(X, y, 1.0, loss="logistic"))
    assert without is not None
    assert repairing(without) is None
