"""The wrapped solvers: signs of what they return, limits, interruption, availability."""

import builtins
import importlib.util
import signal
import subprocess
import sys
import threading
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
from cvxpy.reductions.solvers.conic_solvers.clarabel_conif import CLARABEL

from certificates.making.repair import repair
from certnet.solvers import SolverOptions, SolverResult, SolveStatus, available_solvers, modelled, solve
from certnet.solvers.modelled import NOT_INSTALLED
from certnet.solvers.registry import AUTO_LIMIT, choose_solver
from formulations import InputError, LiftedSpace, Loss, Program, TrainingProgram, presolve
from formulations.modeling.compiled import Compiled

OPEN = ["clarabel", "scs"]


@pytest.fixture(scope="module")
def training() -> TrainingProgram:
    rng = np.random.default_rng(7)
    return TrainingProgram(rng.standard_normal((9, 2)), rng.standard_normal((9, 2)), 0.2)


@pytest.fixture(scope="module")
def program(training: TrainingProgram) -> Program:
    result = presolve(training)
    assert result is not None
    return result.program


@pytest.fixture(scope="module")
def results(program: Program) -> dict[str, SolverResult]:
    return {name: solve(program, name, tolerance=1e-6) for name in OPEN}


@pytest.mark.parametrize("name", OPEN)
def test_iterates_satisfy_the_conditions_of_the_program(name: str, program, results) -> None:
    result = results[name]
    assert result.status is SolveStatus.CONVERGED
    assert result.solver == name
    assert result.version[0].isdigit()
    assert result.primal is not None
    assert result.dual is not None
    assert result.primal_residual <= 1e-4
    assert result.dual_residual <= 1e-4
    G, space = program.space.moment(result.primal.S), program.space
    assert np.linalg.eigvalsh(G)[0] >= -1e-3
    assert G[space.phi, space.phi].min() >= -1e-3
    assert np.abs(np.diag(G[space.alpha, space.beta])).max() <= 1e-3
    assert result.objective == pytest.approx(program.value(G))
    slack = program.slack(result.dual.W, result.dual.N)
    assert np.linalg.eigvalsh(slack)[0] >= -1e-4 * np.abs(slack).max()
    assert program.dual_value(result.dual.W) == pytest.approx(result.objective, rel=1e-2)
    # Complementary slackness of S and the slack on the (β, z) part.
    inner = result.primal.S[: len(slack), : len(slack)]
    assert abs(np.sum(slack * inner)) <= 1e-2 * np.linalg.norm(slack) * np.linalg.norm(inner)


def test_both_solvers_agree(results) -> None:
    assert results["scs"].objective == pytest.approx(results["clarabel"].objective, rel=1e-2)


@pytest.mark.parametrize("name", OPEN)
@pytest.mark.parametrize("limit", [{"time_limit": 0.01}, {"max_iterations": 3}, {"max_iterations": 40}])
def test_a_limited_solve_still_gives_a_dual_that_repairs_below_every_network(name, limit, training, program) -> None:
    result = solve(program, name, tolerance=1e-12, **limit)
    assert result.dual is not None
    assert np.isfinite(result.dual.W).all()
    assert np.isfinite(result.dual.N).all()
    assert result.status is not SolveStatus.CONVERGED
    if "max_iterations" in limit:
        assert result.iterations <= limit["max_iterations"]
    presolved = presolve(training)
    bound = repair(presolved.rows.program, presolved.undo_dual(result.dual)).lower_bound
    rng = np.random.default_rng(0)
    zero = training.objective(np.zeros((2, 1)), np.zeros((2, 1)))
    networks = [training.objective(rng.standard_normal((2, 3)), rng.standard_normal((2, 3))) for _ in range(20)]
    assert 0 <= bound <= min(zero, *networks)


@pytest.mark.parametrize("name", OPEN)
def test_the_repaired_bound_of_a_full_solve_is_nearly_the_objective(name, training, results, program) -> None:
    presolved = presolve(training)
    bound = repair(presolved.rows.program, presolved.undo_dual(results[name].dual)).lower_bound
    optimum = program.to_original(results["clarabel"].objective)
    assert bound <= optimum * (1 + 1e-4)
    assert bound >= 0.95 * optimum


def test_runs_are_reproducible(program) -> None:
    for name in OPEN:
        first, second = (solve(program, name, max_iterations=40) for _ in range(2))
        np.testing.assert_array_equal(first.dual.W, second.dual.W)


def test_one_feature_and_one_output() -> None:
    """min ½(αv − 1)² + γ/2(z² + v²) with γ = ½: αv = 1 − γ at the optimum, value γ(1 − γ/2)."""
    tiny = Program(
        space=LiftedSpace(np.ones((1, 1)), 1),
        loss=Loss(np.ones((1, 1))),
        feature=np.array([0]),
        weight=np.ones(1),
        metric=np.eye(1),
        gamma=0.5,
    )
    for name in OPEN:
        result = solve(tiny, name)
        assert result.objective == pytest.approx(0.375, rel=1e-3)
        assert result.dual.W[0, 0] == pytest.approx(0.5, rel=1e-3)


# Interruption


@pytest.mark.parametrize("name", OPEN)
def test_ctrl_c_ends_a_real_solve_without_an_exception(name) -> None:
    rng = np.random.default_rng(1)
    large = presolve(TrainingProgram(rng.standard_normal((45, 4)), rng.standard_normal((45, 2)), 0.01))
    done = threading.Event()

    def press() -> None:
        # A signal that arrives just as SCS takes SIGINT over is lost, so press again, as a user would.
        for pause in (0.3, 3.0, 3.0, 3.0):
            if done.wait(pause):
                return
            signal.raise_signal(signal.SIGINT)

    presser = threading.Thread(target=press)
    presser.start()
    result = solve(large.program, name, tolerance=1e-15, max_iterations=10**6, time_limit=30.0)
    done.set()
    presser.join()
    assert result.status is SolveStatus.INTERRUPTED
    assert (result.primal is None) == (result.dual is None)


def test_a_panic_is_a_failure_with_its_words(monkeypatch: pytest.MonkeyPatch, program) -> None:
    class PanicException(BaseException):
        pass

    def panic(*_: object) -> None:
        raise PanicException("index out of range")

    monkeypatch.setattr(CLARABEL, "solve_via_data", panic)
    result = solve(program, "clarabel")
    assert result.status is SolveStatus.FAILED
    assert "index out of range" in result.message


@pytest.mark.parametrize("name", OPEN)
def test_a_failure_in_cvxpy_is_a_failed_solve(name: str, monkeypatch: pytest.MonkeyPatch, program) -> None:
    def broken(*_: object) -> Compiled:
        raise ValueError("no such cone")

    monkeypatch.setattr(modelled, "Compiled", broken)
    result = solve(program, name)
    assert result.status is SolveStatus.FAILED
    assert "no such cone" in result.message
    assert result.dual is None


def test_a_solver_that_cvxpy_does_not_know_is_a_failed_solve(program) -> None:
    with pytest.raises(RuntimeError, match="MOSEKK"):
        Compiled(program, "MOSEKK")


@pytest.mark.slow
def test_a_solve_left_behind_leaves_no_half_of_cvxpy() -> None:
    """In a process of its own, where CVXPY is not there yet: a solve is left while it imports, and the next runs."""
    code = """
import sys, time
import numpy as np
from certnet.runtime.abandon import _Left, _Runner
from certnet.solvers import solve
from formulations import TrainingProgram, presolve
rng = np.random.default_rng(0)
program = presolve(TrainingProgram(rng.standard_normal((4, 2)), rng.standard_normal((4, 1)), 0.2)).program
left = _Runner(lambda: solve(program, "clarabel"))
while "cvxpy.atoms" not in sys.modules:
    time.sleep(0.001)
left.throw(_Left)
left._thread.join()
assert "cvxpy" in sys.modules, "the import was broken off"
sys.exit(solve(program, "clarabel").status.name)
"""
    run = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert run.stderr.strip() == "CONVERGED"


# Iterates that are not finite


@pytest.mark.parametrize(("bad_x", "bad_y"), [(True, True), (True, False), (False, True)])
def test_iterates_that_are_not_finite_are_dropped(
    bad_x: bool, bad_y: bool, monkeypatch: pytest.MonkeyPatch, program
) -> None:
    def solved(_: object, data: dict, *__: object) -> SimpleNamespace:
        x, z = np.full(len(data["c"]), np.nan if bad_x else 0.0), np.full(len(data["b"]), np.inf if bad_y else 0.0)
        return SimpleNamespace(status="Solved", x=x, z=z, obj_val=0.0, solve_time=0.0, iterations=1)

    monkeypatch.setattr(CLARABEL, "solve_via_data", solved)
    result = solve(program, "clarabel")
    assert result.status is SolveStatus.FAILED
    assert (result.primal is None) == bad_x
    assert (result.dual is None) == bad_y
    assert "no finite" in result.message
    assert result.primal_residual == result.dual_residual == float("inf")


# Registry


def test_every_solver_is_listed_and_the_open_ones_run() -> None:
    solvers = available_solvers()
    assert {"interior-point", "admm", "clarabel", "scs", "mosek"} == set(solvers)
    assert solvers["clarabel"] is None
    assert solvers["scs"] is None


def test_an_unknown_solver_is_named_with_the_choices(program) -> None:
    with pytest.raises(InputError, match=r"'gurobi'.*interior-point.*clarabel.*mosek"):
        solve(program, "gurobi")


@pytest.mark.parametrize(
    "options", [{"time_limit": 0.0}, {"time_limit": float("nan")}, {"tolerance": 0.0}, {"max_iterations": 0}]
)
def test_options_without_sense_are_refused(options, program) -> None:
    with pytest.raises(InputError, match=next(iter(options))):
        solve(program, "clarabel", **options)


def test_a_missing_package_is_no_silent_fallback(monkeypatch: pytest.MonkeyPatch, program) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert "pip install clarabel" in available_solvers()["clarabel"]
    with pytest.raises(InputError, match="pip install scs"):
        solve(program, "scs")


def test_auto_depends_on_size_and_time() -> None:
    def with_generators(n: int) -> Program:
        space = LiftedSpace(np.ones((n, 1)), 1)
        return Program(space, np.eye(1), Loss(np.ones((n, 1))), np.arange(n), np.ones(n))

    largest = with_generators(AUTO_LIMIT // 2)
    assert choose_solver(largest).solver == "interior-point"
    assert choose_solver(with_generators(AUTO_LIMIT // 2 + 1)).solver == "admm"
    assert choose_solver(largest, 1.0).solver == "admm"
    assert choose_solver(with_generators(150), 1e6) == choose_solver(with_generators(150))
    assert choose_solver(with_generators(151), 1e6).solver == "admm"
    assert choose_solver(with_generators(20), 0.1).solver == "interior-point"


def test_auto_says_which_solver_ran(program, results) -> None:
    result = solve(program)
    assert result.solver == "interior-point"
    assert result.objective == pytest.approx(results["clarabel"].objective, rel=1e-3)


def test_a_program_too_large_for_clarabel_is_refused_before_it_is_built() -> None:
    n = 300
    space = LiftedSpace(np.ones((n, 1)), 1)
    large = Program(space, np.eye(1), Loss(np.ones((n, 1))), np.arange(n), np.ones(n))
    with pytest.raises(InputError, match="admm"):
        solve(large, "clarabel")


# MOSEK


def test_mosek_that_cannot_be_imported(monkeypatch: pytest.MonkeyPatch, program) -> None:
    original = builtins.__import__

    def without_mosek(name: str, *args, **kwargs):
        if name.split(".")[0] == "mosek":
            raise ImportError("No module named 'mosek'")
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without_mosek)
    assert modelled.unavailable("mosek") == NOT_INSTALLED
    with pytest.raises(InputError, match=r"certnet\[mosek\]"):
        solve(program, "mosek")


class _FakeMosek:
    """As much of MOSEK as the test for availability touches."""

    class Error(Exception):
        msg = "missing licence file"

    class feature:  # noqa: N801
        pts, pton = 1, 2

    def __init__(self, *, licensed: bool) -> None:
        self.licensed = licensed

    def Env(self) -> "_FakeMosek":
        return self

    def __enter__(self) -> "_FakeMosek":
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def checkoutlicense(self, _: int) -> None:
        if not self.licensed:
            raise self.Error


@pytest.mark.parametrize("licensed", [True, False])
def test_mosek_needs_a_licence(licensed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mosek", _FakeMosek(licensed=licensed))
    reason = modelled.unavailable("mosek")
    if licensed:
        assert reason is None
    else:
        assert "licence" in reason
        assert "MOSEKLM_LICENSE_FILE" in reason
        assert "missing licence file" in reason


class _ClarabelAsMosek(Compiled):
    """A program compiled for Clarabel, which is called where MOSEK would be; it notes the parameters."""

    seen: ClassVar[list[dict]] = []

    def __init__(self, program: Program, _: str) -> None:
        super().__init__(program, "CLARABEL")
        original = self.chain.solve_via_data

        def call(problem, data, *, solver_opts):
            self.seen.append(solver_opts)
            parameters = solver_opts["mosek_params"]
            limit = parameters.get("MSK_IPAR_INTPNT_MAX_ITERATIONS", 200)
            names = ("tol_gap_abs", "tol_gap_rel", "tol_feas")
            tolerances = dict.fromkeys(names, parameters["MSK_DPAR_INTPNT_CO_TOL_REL_GAP"])
            return original(problem, data, solver_opts={"max_iter": limit, **tolerances})

        self.chain.solve_via_data = call


def test_the_route_of_mosek_with_another_solver_at_its_end(monkeypatch: pytest.MonkeyPatch, program, results) -> None:
    monkeypatch.setattr(modelled, "Compiled", _ClarabelAsMosek)
    result = modelled.mosek(program, SolverOptions(tolerance=1e-7, time_limit=50.0))
    parameters = _ClarabelAsMosek.seen[-1]["mosek_params"]
    assert set(parameters.values()) - {1e-7} == {parameters["MSK_DPAR_OPTIMIZER_MAX_TIME"]}
    assert 0 < parameters["MSK_DPAR_OPTIMIZER_MAX_TIME"] <= 50.0
    assert result.status is SolveStatus.CONVERGED
    assert result.iterations > 0
    assert result.objective == pytest.approx(results["clarabel"].objective, rel=1e-4)
    assert program.dual_value(result.dual.W) == pytest.approx(result.objective, rel=1e-3)
    limited = modelled.mosek(program, SolverOptions(max_iterations=3))
    assert limited.status is SolveStatus.ITERATION_LIMIT
    assert limited.dual is not None


def test_unlicensed_mosek_fails_with_its_words_and_no_iterate(program) -> None:
    pytest.importorskip("mosek")
    if modelled.unavailable("mosek") is None:
        pytest.skip("this machine has a MOSEK licence")
    result = modelled.mosek(program, SolverOptions())
    assert result.status is SolveStatus.FAILED
    assert result.primal is None
    assert result.dual is None
    assert "MOSEK" in result.message


def test_licensed_mosek_agrees(program, results) -> None:
    if modelled.unavailable("mosek") is not None:
        pytest.skip("MOSEK has no licence here")
    result = solve(program, "mosek")
    assert result.objective == pytest.approx(results["clarabel"].objective, rel=1e-4)
    assert program.dual_value(result.dual.W) == pytest.approx(result.objective, rel=1e-3)
