"""The main job on published data: valid bounds, known optima, wrong solvers, interruptions."""

from functools import cache
from types import ModuleType

import numpy as np
import pytest

import certnet
from certificates import Verdict, check
from certificates.making.assemble import certify
from certnet.jobs import closing as _closing
from certnet.jobs import relaxing
from certnet.jobs import stages as _stages
from certnet.jobs.closing import Closed
from certnet.jobs.job import Job
from certnet.search.price import SearchSummary
from certnet.solvers import SolverResult, SolveStatus
from certnet.training.trainer import FitResult
from formulations import Dual, InputError, Primal, TrainingProgram
from tests.certificates.altering import replace
from tests.strategies import rng

SETS = ["random0", "random1", "random2", "random3", "random4"]


def assert_sound(result: certnet.TrainingResult) -> None:
    """What must hold whatever happened: a proved bound below the network's own objective."""
    assert result.report.verdict is Verdict.PROVED, result.report.reason
    assert check(result.certificate, arithmetic="exact").verdict is Verdict.PROVED
    assert result.report.lower_bound <= result.report.objective
    assert result.report.objective == pytest.approx(result.program.objective(result.U, result.V), rel=1e-9)


@pytest.mark.parametrize(
    ("name", "gamma"),
    [
        (SETS[0], 0.1),
        *(pytest.param(*pair, marks=pytest.mark.slow) for pair in zip(SETS[2:4], [0.01, 0.1], strict=True)),
    ],
)
def test_paper_random_sets(name: str, gamma: float, paper_data, reference_values) -> None:
    X, Y = paper_data(name)
    known = reference_values[f"{name}/{gamma:g}"]
    result = certnet.train(TrainingProgram(X, Y, gamma))
    assert_sound(result)
    assert result.relaxed_objective == pytest.approx(known["dnn"], rel=1e-3)
    assert 0.99 * known["dnn"] <= result.report.lower_bound <= known["exact_upper"]
    assert known["exact_lower"] * (1 - 1e-9) <= result.report.objective <= known["exact_upper"] * (1 + 1e-5)


@pytest.mark.slow
def test_paper_spiral(paper_data, reference_values) -> None:
    X, Y = paper_data("spiral")
    result = certnet.train(TrainingProgram(X, Y, 0.1), time_limit=8)
    assert_sound(result)
    assert 15.9 <= result.report.lower_bound <= reference_values["spiral/0.1"]["exact_upper"]
    assert result.report.objective <= 16.62


KINDS = ["random", "zero", "infinite", "nan", "negated", "perturbed", "huge", "none"]


def stub(kind: str, honest: SolverResult):
    """A solver that returns garbage with a straight face."""
    random = rng(0)

    def spoil(array: np.ndarray) -> np.ndarray:
        match kind:
            case "random":
                return random.standard_normal(array.shape)
            case "zero":
                return np.zeros_like(array)
            case "infinite":
                return np.full_like(array, np.inf)
            case "nan":
                return np.where(random.random(array.shape) < 0.5, np.nan, array)
            case "negated":
                return -array
            case "perturbed":
                return array * (1 + 1e-3 * random.standard_normal(array.shape))
            case _:
                return 1e12 * array

    def solve(program, **_: object) -> SolverResult:
        if kind == "none":
            return replace(honest, primal=None, dual=None)
        dual = Dual(spoil(honest.dual.W), spoil(honest.dual.N))
        primal = Primal(spoil(honest.primal.S), honest.primal.outputs)
        return replace(honest, dual=dual, primal=primal, status=SolveStatus.CONVERGED, objective=1e9)

    return solve


def no_fit(program: TrainingProgram, **_: object) -> FitResult:
    _, d, c = program.shape
    U, V = np.zeros((d, 0)), np.zeros((c, 0))
    return FitResult(U=U, V=V, objective=program.objective(U, V))


WRONG = [("random0", 0.1), ("random1", 0.01), ("spiral", 0.1)]


@pytest.mark.parametrize(
    ("name", "gamma"), [WRONG[0], *(pytest.param(*pair, marks=pytest.mark.slow) for pair in WRONG[1:])]
)
def test_a_wrong_solver_cannot_hurt(
    name: str, gamma: float, paper_data, reference_values, monkeypatch: pytest.MonkeyPatch
) -> None:
    X, Y = paper_data(name)
    program = TrainingProgram(X, Y, gamma)
    honest = certnet.solve(certnet.presolve(program).program, solver="admm", max_iterations=300)
    exact = reference_values[f"{name}/{gamma:g}"]["exact_upper"]
    monkeypatch.setattr(_stages, "fit", no_fit)
    bounds = {}
    for kind in KINDS:
        monkeypatch.setattr(relaxing, "solve", stub(kind, honest))
        with np.errstate(all="ignore"):
            result = certnet.train(program)
        assert result.report.verdict is Verdict.PROVED
        assert result.report.lower_bound <= exact
        bounds[kind] = result.report.lower_bound
    # A slightly wrong dual still gives more than no dual at all, which leaves the bound of the data alone.
    assert bounds["perturbed"] > bounds["none"] > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "name"),
    [
        (_stages, "fit"),
        (_stages, "certify"),
        (_stages, "shor_bound"),
        (relaxing, "solve"),
        (_stages, "candidates_from_moment"),
        (_closing, "close_gap"),
    ],
)
def test_ctrl_c_in_each_stage_keeps_the_best(module: ModuleType, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    program = TrainingProgram(rng(0).standard_normal((6, 2)), rng(1).standard_normal((6, 2)), 0.2)
    original, events, heard = getattr(module, name), list[certnet.Event](), list[int]()

    def wrapper(*args, **kwargs):
        heard.append(len(events))
        if len(heard) == 1:
            raise KeyboardInterrupt
        return original(*args, **kwargs)

    monkeypatch.setattr(module, name, wrapper)
    # In the plane cones would close a gap, and no relaxation would take part.
    result = certnet.train(program, progress=events.append, gap=1e-4 if name == "close_gap" else None)
    assert result.interrupted
    assert_sound(result)
    before = events[: heard[0]]
    zero = program.objective(np.zeros((2, 0)), np.zeros((2, 0)))
    known = min((event.objective for event in before if event.objective is not None), default=zero)
    assert result.report.objective <= known * (1 + 1e-12)
    assert known < 0.9 * zero or name == "fit"
    bounds = [event.lower_bound for event in before if event.lower_bound is not None]
    assert result.report.lower_bound >= max(bounds, default=0.0) * (1 - 1e-9)
    assert bounds or name in ("fit", "certify")


def test_a_second_ctrl_c_abandons(monkeypatch: pytest.MonkeyPatch) -> None:
    program = TrainingProgram(rng(0).standard_normal((6, 2)), rng(1).standard_normal((6, 2)), 0.2)

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(relaxing, "solve", interrupt)
    monkeypatch.setattr(_stages, "certify", interrupt)
    with pytest.raises(KeyboardInterrupt):
        certnet.train(program)


def test_an_early_ctrl_c_leaves_a_real_network() -> None:
    """Interrupted as soon as the rounding begins, the network is still far better than none."""
    program = TrainingProgram(rng(0).standard_normal((40, 5)), np.eye(2)[rng(1).integers(2, size=40)], 0.05)
    result = certnet.fit(program, time_limit=0.0)
    assert result.objective < 0.5 * program.objective(np.zeros((5, 0)), np.zeros((2, 0)))


def test_a_progress_callback_that_is_interrupted(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C lands in the middle of the solver: its last iterate is used."""
    program = TrainingProgram(rng(0).standard_normal((7, 3)), rng(1).standard_normal((7, 2)), 0.2)
    events = []

    def progress(event: certnet.Event) -> None:
        events.append(event)
        if event.iteration is not None and event.iteration >= 5 and not any(e.stage == "rounding" for e in events):
            raise KeyboardInterrupt

    result = certnet.train(program, progress=progress)
    assert result.interrupted
    assert_sound(result)


def test_time_limit_still_gives_a_bound() -> None:
    program = TrainingProgram(rng(0).standard_normal((60, 4)), rng(1).standard_normal((60, 2)), 0.2)
    result = certnet.train(program, time_limit=0.5)
    assert result.report.verdict is Verdict.PROVED
    assert not result.interrupted
    assert 0 < result.report.lower_bound <= result.report.objective


def test_equal_seeds_give_equal_results() -> None:
    program = TrainingProgram(rng(0).standard_normal((6, 2)), rng(1).standard_normal((6, 1)), 0.2)
    first, second = (certnet.train(program, random_state=3) for _ in range(2))
    np.testing.assert_array_equal(first.U, second.U)
    assert first.report.lower_bound == second.report.lower_bound


def test_data_without_any_direction() -> None:
    """All rows zero: nothing can be learnt, and ½‖Y‖² is proved optimal."""
    result = certnet.train(TrainingProgram(np.zeros((3, 2)), np.ones((3, 1)), 0.1))
    assert_sound(result)
    assert result.report.lower_bound == pytest.approx(1.5, rel=1e-12)
    assert result.report.objective == pytest.approx(1.5, rel=1e-12)


def test_large_decay_makes_the_zero_network_optimal() -> None:
    program = TrainingProgram(rng(0).standard_normal((6, 2)), rng(1).standard_normal((6, 2)), 1e3)
    result = certnet.train(program)
    assert_sound(result)
    assert result.report.gap < 1e-9


def test_targets_that_the_output_bias_fits_leave_no_gap() -> None:
    """The checker rounds the objective of 0 up to the smallest numbers, and no bound is relative to those."""
    result = certnet.train(TrainingProgram(np.eye(3), np.full((3, 1), 5.0), 0.1, output_bias="free"))
    assert_sound(result)
    assert 0 < result.report.objective < 1e-290
    assert 0 <= result.report.gap < 1e-15
    assert "better than this one by more than 9.0e-16 %" in result.message()


def test_unknown_solvers_are_named() -> None:
    with pytest.raises(InputError, match="admm"):
        certnet.train(TrainingProgram(np.eye(2), np.eye(2), 1.0), solver="magic")


@pytest.mark.parametrize(
    ("network", "words"),
    [
        ((np.zeros((5, 1)), np.zeros((2, 1))), "5 inputs to 2 outputs, but the program has 2"),
        ((np.full((2, 1), np.nan), np.zeros((2, 1))), "not a finite number"),
        ((np.full((2, 1), 1e200), np.ones((2, 1))), "rescale its neurons"),
        ((np.zeros((2, 1)),), "pair of matrices"),
    ],
)
def test_a_network_to_start_from_has_to_fit(network: tuple[np.ndarray, ...], words: str) -> None:
    """One with NaN was the result, with an infinite objective."""
    with pytest.raises(InputError, match=words):
        certnet.train(TrainingProgram(np.eye(2), np.eye(2), 0.1), start_network=network)


def test_more_features_than_can_be_proved() -> None:
    with pytest.raises(InputError, match="6000 features and 1 outputs are 6001 together.*use fewer features"):
        certnet.train(TrainingProgram(np.ones((2, 6000)), np.ones((2, 1)), 1.0))


def test_one_namespace() -> None:
    assert set(certnet.__all__) <= set(dir(certnet))
    for name in certnet.__all__:
        assert getattr(certnet, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        _ = certnet.nonsense


@cache
def _closed() -> tuple[TrainingProgram, certnet.TrainingResult]:
    program = TrainingProgram(rng(3).normal(size=(12, 2)), rng(4).normal(size=(12, 1)), 0.5)
    return program, certnet.train(program, gap=1e-3)


@pytest.mark.parametrize(("proved", "can_go_on"), [(True, False), (False, True)])
def test_the_certificate_is_about_the_network(proved: bool, can_go_on: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """A search that ends early may have found a better network, with a proof that is no better or with none."""
    program, best = _closed()

    def cut_short(job: Job) -> Closed:
        better = FitResult(best.U, best.V, program.objective(best.U, best.V))
        poor = certify(job.merged, [], best.U, best.V)
        search = SearchSummary("subdivision", False, can_go_on, False, 1, 0, 2.0, 0, 0.1)
        job.keep(better)
        return poor if proved else None, search

    monkeypatch.setattr(_closing, "close_gap", cut_short)
    monkeypatch.setattr(_stages, "fit", no_fit)
    result = certnet.train(program, method="global", gap=1e-3)
    assert check(result.certificate).verdict is Verdict.PROVED
    assert result.report.objective == best.report.objective < 0.9 * no_fit(program).objective
    assert result.report.objective == pytest.approx(program.objective(result.U, result.V), rel=1e-12)
    np.testing.assert_array_equal(result.U, best.U)
