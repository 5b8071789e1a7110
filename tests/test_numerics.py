"""Data at the limits of float64, stages that fail, threads: no job is lost, and equal seeds give equal results."""

import threading
import warnings
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future
from functools import cache
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from threadpoolctl import ThreadpoolController

import certnet
from certificates import Verdict, check
from certificates.subdivision import Subdivision
from certnet.jobs import closing as _closing
from certnet.jobs import relaxing, tightness
from certnet.jobs import stages as _stages
from certnet.jobs.best import repaired
from certnet.runtime.blocks import side_by_side
from certnet.runtime.numerics import blas_threads, computing
from certnet.search import joint
from certnet.search import price as search
from certnet.search.cone_closing import SubdivisionSearch
from certnet.solvers import solve
from formulations import Presolved, TrainingProgram, merge_rows, presolve, rescale
from formulations._validation import FloatArray
from tests.strategies import rng


def _data(n: int = 9, d: int = 2, seed: int = 0) -> tuple[FloatArray, FloatArray]:
    random = rng(seed)
    return random.standard_normal((n, d)), np.eye(2)[random.integers(0, 2, n)]


def _nearly_equal(noise: float) -> TrainingProgram:
    """The last feature is the first one up to noise."""
    X, Y = _data()
    return TrainingProgram(np.c_[X, X[:, 0] + noise * rng(1).standard_normal(len(X))], Y, 0.1)


def _bound(program: TrainingProgram, solver: str) -> float:
    merged = merge_rows(program)
    presolved = Presolved(merged, rescale(merged.program))
    result = solve(presolved.program, solver=solver, tolerance=1e-5)
    assert result.dual is not None
    return float(repaired(merged, presolved.undo_dual(result.dual)).lower_bound)


def assert_sound(result: certnet.TrainingResult) -> None:
    """A proved bound, also in exact arithmetic where that can check it, and no network worse than none."""
    assert result.report.verdict is Verdict.PROVED, result.report.reason
    arithmetic = "auto" if isinstance(result.certificate.proof, Subdivision) else "exact"
    assert check(result.certificate, arithmetic=arithmetic).verdict is Verdict.PROVED
    assert result.report.lower_bound <= result.report.objective
    assert result.report.objective <= 0.5 * float(np.sum(result.program.Y**2)) * (1 + 1e-12)


@cache
def _bound_without_the_twin() -> float:
    """One feature twice is one feature of √2 the length: the same activations cost half as much."""
    X, Y = _data()
    return _bound(TrainingProgram(X * [np.sqrt(2.0), 1.0], Y, 0.1), "interior-point")


@pytest.mark.parametrize(
    ("solver", "noise"),
    [("interior-point", 1e-6), ("interior-point", 1e-15), pytest.param("admm", 1e-9, marks=pytest.mark.slow)],
)
def test_bounds_do_not_suffer_from_features_that_are_equal_up_to_noise(solver: str, noise: float) -> None:
    assert _bound(_nearly_equal(noise), solver) >= 0.98 * _bound_without_the_twin()


@pytest.mark.parametrize("factors", [(1.0, 1e6, 1e-6), (1e-8, 1.0, 1e8), (1e10, 1.0, 1.0)])
def test_no_scale_of_features_makes_the_cost_of_weights_singular(factors: tuple[float, ...]) -> None:
    X, Y = _data(d=3)
    presolved = presolve(TrainingProgram(X * factors, Y, 0.1))
    assert presolved is not None
    assert np.linalg.cond(presolved.program.metric) < 1e9
    np.linalg.cholesky(presolved.program.metric)


@pytest.mark.parametrize("options", [{}, {"solver": "scs"}, {"method": "global"}])
@pytest.mark.parametrize("kind", ["collinear", "scales", "offset", "subnormal", "duplicates"])
def test_training_survives_numpy_that_raises(kind: str, options: dict[str, Any]) -> None:
    X, Y = _data(n=6)
    if kind == "collinear":
        X = np.c_[X, X[:, 0] + 1e-10 * X[:, 1]]
    if kind == "scales":
        X = X * [1e-8, 1e8]
    if kind == "offset":
        X = X + 1e7
    if kind == "subnormal":
        X, Y = 1e-49 * X, 1e40 * Y
    if kind == "duplicates":
        X = X[[0, 0, 1, 1, 2, 2]] * (1.0 + 1e-15 * rng(3).integers(-2, 3, X.shape))
    gamma = 0.1 * float(np.linalg.norm(X.T @ Y))
    with np.errstate(all="raise"), warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        assert_sound(certnet.train(TrainingProgram(X, Y, gamma), time_limit=0.5, **options))


@pytest.mark.parametrize("size", [1.0, 1e-150, 1e150])
def test_verification_survives_numpy_that_raises(size: float) -> None:
    random = rng(0)
    first, second = size * random.standard_normal((4, 3)), random.standard_normal((2, 4))
    network = certnet.ReluNetwork(first, np.zeros(4), second, np.zeros(2))
    with np.errstate(all="raise"):
        slope = certnet.lipschitz_constant(network, np.ones((1, 2)), time_limit=1.0)
        radius = certnet.certified_radius(network, np.ones(3), 1, norm="l2", largest=50.0, time_limit=5.0)
    assert 0 < slope.sampled <= slope.constant
    assert 0 < radius.certified <= radius.attacked < 50


def _failing(*_: object, **__: object) -> None:
    raise np.linalg.LinAlgError("no convergence")


@pytest.mark.parametrize("stage", ["fit", "shor_bound", "solve", "close_gap"])
def test_a_stage_that_fails_loses_nothing(stage: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr({"close_gap": _closing, "solve": relaxing}.get(stage, _stages), stage, _failing)
    # In few dimensions cones close the gap, and a relaxation does not take part.
    X, Y = _data(n=7, d=6 if stage == "solve" else 2)
    result = certnet.train(TrainingProgram(X, Y, 0.3), gap=1e-6, time_limit=1.5)
    assert_sound(result)
    assert any("LinAlgError: no convergence" in note for note in result.notes)
    assert result.report.lower_bound > 0


def test_optimality_outlives_its_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    places = ((_closing, "close_gap"), (_stages, "fit"), (relaxing, "solve"), (_stages, "shor_bound"))
    for module, name in places:
        monkeypatch.setattr(module, name, _failing)
    X, Y = _data(n=7)
    result = certnet.optimality(TrainingProgram(X, Y, 0.3), np.eye(2), np.eye(2), time_limit=5.0)
    assert result.report.verdict is Verdict.PROVED
    for stage in ("training", "bound without products", "branching", "relaxation", "rounding"):
        assert any(f"The stage {stage!r} was given up (LinAlgError" in note for note in result.notes)


def test_tightness_outlives_its_stages(monkeypatch: pytest.MonkeyPatch) -> None:
    X, Y = _data(n=7)
    trained = certnet.train(TrainingProgram(X, Y, 0.3), time_limit=5.0)
    monkeypatch.setattr(relaxing, "solve", _failing)
    monkeypatch.setattr(_stages, "fit", _failing)
    found = tightness.measure_tightness(trained.certificate, time_limit=5.0)
    assert found.lower_bound >= trained.report.lower_bound
    assert found.relaxation is None


def test_what_cutting_cones_has_proved_outlives_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = SubdivisionSearch._add_neurons
    calls: list[int] = []

    def second_fails(self: SubdivisionSearch, *arguments: Any) -> bool:
        calls.append(self.tests)
        if self.proved is not None:
            raise FloatingPointError("overflow")
        return whole(self, *arguments)

    monkeypatch.setattr(SubdivisionSearch, "_add_neurons", second_fails)
    X, Y = _data(n=7)
    result = certnet.train(TrainingProgram(X, Y, 0.3), method="global", gap=1e-6)
    assert_sound(result)
    assert result.report.gap < 0.5


@pytest.mark.parametrize("module", [search, joint])
def test_what_a_search_has_shown_outlives_a_node_that_fails(
    module: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = "bound_node" if module is search else "solve_joint"
    whole, calls = getattr(module, name), [0]

    def third_fails(*arguments: Any, **options: Any) -> Any:
        calls[0] += 1
        return whole(*arguments, **options) if calls[0] < 3 else _failing()

    monkeypatch.setattr(module, name, third_fails)
    X, Y = _data(n=7, d=3)
    presolved = presolve(TrainingProgram(X, Y, 0.3))
    assert presolved is not None
    if module is search:
        found = search.search(presolved.program, presolved.rows.merge_W(Y) / 9.0, enough=1e-3)
        assert np.isfinite(found.h_bar)
        assert found.can_go_on
    else:
        assert joint.joint_search(presolved.program, enough=np.inf).lower_bound > 0
    assert calls[0] >= 3


def test_errors_of_a_progress_function_are_the_callers() -> None:
    X, Y = _data()
    for stage in ("first network", "relaxation"):

        def fail(event: certnet.Event, stage: str = stage) -> None:
            if event.stage == stage:
                raise RuntimeError("mine")

        with pytest.raises(RuntimeError, match="mine"):
            certnet.train(TrainingProgram(X, Y, 0.1), progress=fail)


def _threads(work: Callable[[int], Any], count: int = 2) -> list[Any]:
    out: list[Any] = [None] * count

    def one(k: int) -> None:
        out[k] = work(k)

    threads = [threading.Thread(target=one, args=(k,)) for k in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return out


@pytest.mark.parametrize("options", [pytest.param({}, marks=pytest.mark.slow), {"method": "global", "gap": 1e-2}])
def test_threads_and_earlier_jobs_change_nothing(options: dict[str, Any]) -> None:
    def run(seed: int) -> tuple[float, float, bytes, bytes]:
        X, Y = _data(n=5, seed=seed)
        result = certnet.train(TrainingProgram(X, Y, 0.2), **options)
        return result.report.lower_bound, result.report.objective, result.U.tobytes(), result.V.tobytes()

    alone = [run(seed) for seed in range(2)]
    assert [run(seed) for seed in (1, 0)] == alone[::-1]
    assert _threads(run) == alone


def _blas() -> list[int]:
    return [library.num_threads for library in ThreadpoolController().select(user_api="blas").lib_controllers]


def test_the_limit_of_blas_threads_ends_with_the_last_job_that_asked_for_it() -> None:
    before, inside = _blas(), threading.Barrier(2)
    seen: list[list[int]] = []

    def work(k: int) -> None:
        with computing():
            inside.wait()
            if k == 1:
                # The other job has ended.
                first.wait()
                seen.append(_blas())
        first.set()

    first = threading.Event()
    _threads(work)
    assert seen == [[1] * len(before)]
    assert _blas() == before
    with blas_threads(2), blas_threads(1), blas_threads(None):
        assert _blas() == [1] * len(before)
    assert _blas() == before


class Losing(Executor):
    """Breaks after two blocks, and loses the second."""

    def __init__(self) -> None:
        self.given = 0

    def submit(self, work: Any, /, *arguments: Any, **options: Any) -> Any:
        self.given += 1
        if self.given > 2:
            raise BrokenExecutor("broken")
        future: Future[Any] = Future()
        future.set_result(work(*arguments)) if self.given == 1 else future.set_exception(OSError("a lost worker"))
        return future


@pytest.mark.parametrize("executor", [None, Losing()])
def test_blocks_come_in_order_whatever_an_executor_loses(executor: Executor | None) -> None:
    blocks = [(k, 10 * k) for k in range(200)]
    found = side_by_side(lambda a, b: a + b, *zip(*blocks, strict=True), executor=executor)
    assert list(found) == [a + b for a, b in blocks]


@pytest.mark.parametrize("executor", [None, Losing()])
def test_an_error_of_a_block_is_the_callers(executor: Executor | None) -> None:
    with pytest.raises(ZeroDivisionError):
        list(side_by_side(lambda a: 1 / a, [2, 1, 0], executor=executor))
