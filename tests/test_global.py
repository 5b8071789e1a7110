"""Global training with a proved gap: published optima, validity, interruptions, options that make no sense."""

from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace

import numpy as np
import pytest

import certnet
from certificates import Verdict, check
from certnet.jobs import closing as _closing
from certnet.search.circuits import solve_with_circuits
from certnet.search.price import bound_from_price, price_for_gap
from certnet.solvers.rounds import Rounds
from certnet.training.trainer import FitResult
from formulations import InputError, TrainingProgram, presolve
from tests.strategies import networks, rng

SETS = ["random0", "random1", "random2", "random3", "random4"]


def _gaussian(n: int, d: int, c: int, gamma: float = 0.3, seed: int = 0) -> TrainingProgram:
    random = rng(seed)
    return TrainingProgram(random.standard_normal((n, d)), random.standard_normal((n, c)), gamma)


def _assert_proved(result: certnet.TrainingResult, gap: float) -> None:
    assert result.report.verdict is Verdict.PROVED, result.report.reason
    assert result.report.gap <= gap
    assert result.report.lower_bound <= result.report.objective
    assert check(result.certificate).verdict is Verdict.PROVED


@pytest.mark.parametrize("gamma", [0.1, pytest.param(0.01, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    "name", ["random0", "spiral", *(pytest.param(name, marks=pytest.mark.slow) for name in SETS[1:])]
)
def test_the_papers_planar_sets_are_solved(name: str, gamma: float, paper_data, reference_values) -> None:
    X, Y = paper_data(name)
    known = reference_values[f"{name}/{gamma:g}"]
    result = certnet.train(TrainingProgram(X, Y, gamma), method="global", gap=1e-6)
    _assert_proved(result, 1e-6)
    assert known["exact_lower"] * (1 - 2e-6) <= result.report.objective <= known["exact_upper"] * (1 + 2e-6)


@pytest.mark.slow
def test_iris_is_solved(paper_data) -> None:
    # Column generation with a heuristic oracle had come to 2.54105.
    result = certnet.train(TrainingProgram(*paper_data("iris"), 0.1), method="global", gap=1e-6)
    _assert_proved(result, 1e-6)
    assert result.report.objective == pytest.approx(2.530227, rel=2e-6)


@pytest.mark.parametrize(
    ("n", "d", "kind"),
    [
        (8, 3, "subdivision"),
        pytest.param(9, 5, "subdivision", marks=pytest.mark.slow),
        pytest.param(9, 6, "signs", marks=pytest.mark.slow),
    ],
)
def test_a_gap_is_closed_in_more_dimensions(n: int, d: int, kind: str) -> None:
    program = _gaussian(n, d, 2)
    result = certnet.train(program, method="global", gap=1e-4)
    _assert_proved(result, 1e-4)
    assert result.search is not None
    assert result.search.kind == kind
    best = min(program.objective(U, V) for U, V in networks(program, 0))
    assert result.report.lower_bound <= best


@pytest.mark.slow
def test_branching_tightens_the_bound_of_the_relaxation() -> None:
    program = _gaussian(12, 3, 1)
    relaxed = certnet.train(program)
    closed = certnet.train(program, gap=1e-3)
    assert relaxed.report.gap > 1e-2
    _assert_proved(closed, 1e-3)
    assert closed.report.lower_bound > relaxed.report.lower_bound
    assert closed.search is not None
    assert closed.search.complete
    assert relaxed.search is None


@pytest.mark.slow
def test_few_nodes_leave_an_honest_gap() -> None:
    program = _gaussian(10, 6, 2)
    bounds = []
    for nodes in (1, 3):
        result = certnet.train(program, method="global", gap=1e-6, max_nodes=nodes)
        assert result.report.verdict is Verdict.PROVED
        assert result.search is not None
        assert not result.search.complete
        assert result.search.nodes <= nodes
        bounds.append(result.report.lower_bound)
    assert bounds[0] < bounds[1] <= result.report.objective


def test_a_missing_neuron_is_found_by_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    # A network of one neuron is no optimum; the price of some direction tells, and training goes on from there.
    program = _gaussian(7, 2, 2, gamma=0.1)
    honest = certnet.train(program, method="global", gap=1e-3)
    fit = _closing.fit

    def crippled(program: TrainingProgram, **options: object) -> FitResult:
        found = fit(program, **options)
        U, V = found.U[:, :1], found.V[:, :1]
        return replace(found, U=U, V=V, objective=program.objective(U, V))

    monkeypatch.setattr("certnet.jobs.stages.fit", crippled)
    result = certnet.train(program, method="global", gap=1e-3)
    _assert_proved(result, 1e-3)
    assert result.report.objective == pytest.approx(honest.report.objective, rel=2e-3)
    assert result.U.shape[1] > 1


def test_ctrl_c_while_branching_leaves_a_proof(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []

    def interrupt(event: certnet.jobs.train.Event) -> None:
        if event.stage == "branching" and event.iteration is not None:
            calls.append(event)
            raise KeyboardInterrupt

    result = certnet.train(_gaussian(6, 6, 1), method="global", gap=1e-6, progress=interrupt)
    assert calls
    assert result.interrupted
    assert result.report.verdict is Verdict.PROVED


@pytest.mark.parametrize("error", [KeyboardInterrupt, np.linalg.LinAlgError])
def test_a_search_that_ends_before_its_root_is_no_end_of_the_job(error: type, monkeypatch: pytest.MonkeyPatch) -> None:
    """It has no W then, whose price would be a proof."""
    calls = []

    def fails(*_: object, **__: object) -> None:
        calls.append(error)
        raise error

    monkeypatch.setattr("certnet.search.joint.interior_point", fails)
    result = certnet.train(_gaussian(6, 7, 1), method="global", gap=1e-4, max_nodes=3)
    assert calls
    assert result.interrupted is (error is KeyboardInterrupt)
    assert result.report.verdict is Verdict.PROVED
    assert result.report.lower_bound > 0


def test_ctrl_c_in_a_relaxation_with_circuits_reaches_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, in its first Newton step: a later stage would not hear it."""
    real, calls = solve_with_circuits, []

    def interrupted(*arguments: object, **options: object) -> object:
        def step(*_: object) -> float:
            calls.append(None)
            patch.undo()
            raise KeyboardInterrupt

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Rounds, "_step", step)
            return real(*arguments, **options)

    monkeypatch.setattr(_closing, "solve_with_circuits", interrupted)
    result = certnet.train(_gaussian(6, 7, 2), method="global", gap=1e-4, max_nodes=3, circuits=True)
    assert len(calls) == 1
    assert result.interrupted
    assert result.report.verdict is Verdict.PROVED


def test_a_killed_worker_ends_branching_and_not_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object, **__: object) -> None:
        raise BrokenProcessPool

    monkeypatch.setattr("certnet.search.merged.LARGEST", 0)
    monkeypatch.setattr("certnet.search.price.bound_node", killed)
    result = certnet.train(_gaussian(6, 7, 2), method="global", gap=1e-4)
    assert not result.interrupted
    assert result.notes.count(_closing.KILLED) == 1
    assert list(result.stages).index("relaxation") > list(result.stages).index("branching")
    assert result.search is not None
    assert result.search.killed
    assert result.report.verdict is Verdict.PROVED


@pytest.mark.parametrize("seed", range(3))
def test_prices_and_gaps_are_inverse(seed: int) -> None:
    random = rng(seed)
    program = presolve(_gaussian(6, 3, 2, seed=seed)).program
    W = program.loss.dual(np.zeros(program.shape)) + 0.3 * random.standard_normal(program.shape)
    alignment, square = float(np.sum(W * program.loss.dual(np.zeros(program.shape)))), float(np.sum(W**2))
    objective = program.to_original(0.45 * alignment**2 / square)
    for gap in (1e-6, 1e-3, 0.1):
        price = price_for_gap(program, W, objective, gap)
        if price > program.gamma * (1 + 1e-12):
            assert bound_from_price(program, W, price) == pytest.approx((1 - gap) * objective, rel=1e-9)
        assert bound_from_price(program, W, 1.1 * price) <= bound_from_price(program, W, price)
    assert bound_from_price(program, W, np.inf) == program.to_original(0.0)


@pytest.mark.parametrize(
    "options",
    [
        {"method": "magic"},
        {"gap": 0.0},
        {"gap": 1.0},
        {"gap": float("nan")},
        {"gap": 1e-3, "max_nodes": 0},
        {"gap": 1e-3, "workers": 0},
        {"max_nodes": 5},
    ],
)
def test_options_that_make_no_sense_are_refused(options: dict) -> None:
    with pytest.raises(InputError):
        certnet.train(_gaussian(4, 2, 1), **options)


def test_trivial_data_need_no_branching() -> None:
    result = certnet.train(TrainingProgram(np.zeros((3, 2)), np.ones((3, 1)), 0.1), method="global")
    assert result.report.verdict is Verdict.PROVED
    assert result.search is None
