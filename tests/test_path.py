"""The regularisation path: what holds at one γ must agree with what holds at the others."""

from collections.abc import Callable
from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certificates import Verdict, check
from certificates.making.assemble import certify, residual_dual
from certnet.jobs import path
from certnet.jobs import train as job
from certnet.jobs.path import PathResult, train_path, transferred_bound
from certnet.jobs.train import Event, TrainingResult
from certnet.training.polish import balance, polish
from formulations import InputError, TrainingProgram, merge_rows
from tests.certificates.altering import replace
from tests.strategies import SEEDS, networks, programs, rng

GAMMAS = (0.1, 1.0, 0.3, 0.03)
X, Y = rng(5).standard_normal((6, 2)), rng(6).standard_normal((6, 2))


@cache
def _path() -> PathResult:
    return train_path(X, Y, gammas=GAMMAS)


def _results(found: PathResult) -> list[TrainingResult]:
    """All results, from the smallest γ to the largest."""
    results = [result for result in found.results if result is not None]
    return sorted(results, key=lambda result: result.program.gamma)


def _poor(gamma: float) -> TrainingResult:
    """The zero network with the bound 0, as an interrupted job might leave it."""
    program = TrainingProgram(X, Y, gamma)
    U, V = np.zeros((2, 0)), np.zeros((2, 0))
    certificate, report = certify(merge_rows(program), [], U, V)
    return TrainingResult(program, certificate, report)


@pytest.mark.slow
def test_every_gamma_has_its_own_proof_in_the_given_order() -> None:
    found = _path()
    assert found.gammas == GAMMAS
    assert not found.interrupted
    assert found.missing == ()
    for gamma, result in zip(GAMMAS, found.results, strict=True):
        assert result is not None
        assert result.program.gamma == result.certificate.gamma == gamma
        assert check(result.certificate, arithmetic="exact").verdict is Verdict.PROVED
        assert 0 < result.report.lower_bound <= result.report.objective
        assert result.report.objective == pytest.approx(result.program.objective(result.U, result.V), rel=1e-12)


@pytest.mark.slow
def test_objectives_and_bounds_fit_a_concave_nondecreasing_optimum() -> None:
    results = _results(_path())
    for i, small in enumerate(results):
        for large in results[i:]:
            assert small.report.lower_bound <= large.report.objective
            assert small.report.objective <= large.report.objective
    for i, left in enumerate(results):
        for k, right in enumerate(results[i + 2 :], i + 2):
            for middle in results[i + 1 : k]:
                a, b, c = (r.program.gamma for r in (left, middle, right))
                share = (b - a) / (c - a)
                chord = (1 - share) * left.report.objective + share * right.report.objective
                assert middle.report.objective >= chord * (1 - 1e-8)
                proved = (1 - share) * left.report.lower_bound + share * right.report.lower_bound
                assert middle.report.objective >= proved


@pytest.mark.slow
def test_no_network_of_the_path_is_better_elsewhere_than_what_is_reported_there() -> None:
    results = _results(_path())
    for here in results:
        for other in results:
            value = here.program.objective(*balance(here.program, other.U, other.V))
            assert here.report.objective <= value * (1 + 2e-9)
    for small, large in pairwise(results):
        for here, other in ((small, large), (large, small)):
            value = here.program.objective(*polish(here.program, other.U, other.V))
            assert here.report.objective <= value * (1 + 2e-9)


@pytest.mark.slow
def test_no_certificate_of_the_path_proves_more_elsewhere_than_what_is_reported_there() -> None:
    results = _results(_path())
    for here in results:
        for other in results:
            implied = transferred_bound(other.certificate, here.program)
            assert here.report.lower_bound >= implied * (1 - 1e-7)


@pytest.mark.slow
def test_a_path_is_no_worse_than_separate_jobs() -> None:
    for result in _results(_path())[1:3]:
        alone = job.train(TrainingProgram(X, Y, result.program.gamma))
        assert result.report.lower_bound >= alone.report.lower_bound * (1 - 1e-3)
        assert result.report.objective <= alone.report.objective * (1 + 1e-6)


@given(programs(max_n=6), SEEDS, st.floats(-2, 2))
@settings(max_examples=8)
def test_a_transferred_bound_is_below_every_network(program: TrainingProgram, seed: int, exponent: float) -> None:
    """The W of a certificate for one γ bounds the objectives at any other γ from below."""
    gamma = program.gamma * 10.0**exponent
    elsewhere = TrainingProgram(program.X, program.Y, gamma)
    merged = merge_rows(program)
    for U, V in networks(program, seed, 3):
        certificate, report = certify(merged, [residual_dual(merged, U, V)], U, V)
        assert transferred_bound(certificate, program) == pytest.approx(
            max(report.lower_bound, 0.0), rel=1e-6, abs=1e-300
        )
        bound = transferred_bound(certificate, elsewhere)
        for other in networks(elsewhere, seed + 1, 5):
            assert bound <= elsewhere.objective(*other) * (1 + 1e-12)


def test_poor_results_profit_from_their_neighbours() -> None:
    """Known results are not solved again, but networks and duals of the others improve them, with new proofs."""
    poor = _poor(0.2)
    seen: list[TrainingResult] = []
    found = train_path(X, Y, gammas=[0.2, 0.3], known={0.2: poor}, finished=seen.append)
    improved, solved = found.results
    assert improved is not None
    assert solved is not None
    assert [result.program.gamma for result in seen] == [0.3, 0.2]
    assert seen[1] is improved
    assert improved.relaxation is None
    assert improved.report.objective < poor.report.objective
    assert improved.report.lower_bound > 0.5 * solved.report.lower_bound
    assert check(improved.certificate, arithmetic="exact").verdict is Verdict.PROVED
    assert improved.report.lower_bound <= improved.report.objective


def _stub(train: Callable[[TrainingProgram, dict[str, Any]], TrainingResult], patch: pytest.MonkeyPatch) -> None:
    patch.setattr(path.job, "train", lambda program, **options: train(program, options))


def test_options_reach_every_job(monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"solver": "admm", "tolerance": 1e-3, "random_state": 7, "provenance": {"a": 1}, "device": "cpu"}
    seen: list[dict[str, Any]] = []

    def train(program: TrainingProgram, options: dict[str, Any]) -> TrainingResult:
        seen.append(options)
        assert program.hidden_bias == "penalised"
        return _poor(program.gamma)

    _stub(train, monkeypatch)
    monkeypatch.setattr(path, "_start", lambda *_: None)
    monkeypatch.setattr(path, "_exchange", lambda *_: True)
    train_path(X, Y, gammas=GAMMAS, hidden_bias="penalised", **given)
    assert len(seen) == len(GAMMAS)
    for options in seen:
        assert {name: options[name] for name in given} == given


def test_each_gamma_starts_at_its_nearest_neighbour(monkeypatch: pytest.MonkeyPatch) -> None:
    starts: dict[float, float | None] = {}

    def train(program: TrainingProgram, options: dict[str, Any]) -> TrainingResult:
        start = options["start"]
        starts[program.gamma] = None if start is None else start.gamma
        return _poor(program.gamma)

    _stub(train, monkeypatch)
    train_path(X, Y, gammas=GAMMAS)
    assert starts == {1.0: None, 0.3: 1.0, 0.1: 0.3, 0.03: 0.1}
    starts.clear()
    train_path(X, Y, gammas=[1.0, 0.02, 0.3], known={0.02: _poor(0.02)})
    assert starts == {1.0: 0.02, 0.3: 1.0}


def test_the_time_limit_is_shared_out_among_what_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    shares: list[float] = []

    def train(program: TrainingProgram, options: dict[str, Any]) -> TrainingResult:
        shares.append(options["time_limit"])
        return _poor(program.gamma)

    _stub(train, monkeypatch)
    train_path(X, Y, gammas=GAMMAS, time_limit=1000.0)
    # The stub takes no time, so that each γ leaves its share to the others.
    for share, left in zip(shares, (4, 3, 2, 1), strict=True):
        assert share == pytest.approx(0.95 * 1000.0 / left, rel=0.05)
    shares.clear()
    train_path(X, Y, gammas=GAMMAS)
    assert shares == [None] * 4


def test_ctrl_c_keeps_what_is_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    def train(program: TrainingProgram, _: dict[str, Any]) -> TrainingResult:
        return replace(_poor(program.gamma), interrupted=program.gamma == 0.3)

    _stub(train, monkeypatch)
    finished: list[float] = []
    found = train_path(X, Y, gammas=GAMMAS, finished=lambda result: finished.append(result.program.gamma))
    assert found.interrupted
    assert finished == [1.0, 0.3]
    assert found.missing == (0.1, 0.03)
    assert [None if result is None else result.program.gamma for result in found.results] == [None, 1.0, 0.3, None]


def test_ctrl_c_between_two_decays_keeps_what_is_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    _stub(lambda program, _: _poor(program.gamma), monkeypatch)

    def pressed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(path, "polish", pressed)
    found = train_path(X, Y, gammas=GAMMAS)
    assert found.interrupted
    assert len(found.missing) == len(GAMMAS) - 1


def test_ctrl_c_during_the_exchange_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    _stub(lambda program, _: _poor(program.gamma), monkeypatch)

    def pressed(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(path, "_exchange_networks", pressed)
    found = train_path(X, Y, gammas=GAMMAS)
    assert found.interrupted
    assert found.missing == ()


def test_events_name_their_gamma() -> None:
    events: list[Event] = []
    train_path(X[:4], Y[:4], gammas=[0.5, 1.0], progress=events.append)
    assert events
    for event in events:
        assert event.stage.startswith(("γ = 0.5, ", "γ = 1, "))
    notes = [event.note for event in events if event.note is not None]
    assert notes
    assert len(notes) == len(set(notes))


@pytest.mark.parametrize(
    ("gammas", "words"),
    [
        ([], "gammas is empty"),
        ([0.1, float("nan")], "gamma"),
        ([0.1, -1.0], "gamma"),
        ([0.0], "gamma"),
        ([float("inf")], "gamma"),
        ([1e-60], "gamma"),
        ([0.1, 1.0, 0.1], "0.1 twice"),
    ],
)
def test_gammas_that_cannot_be_used(gammas: list[float], words: str) -> None:
    with pytest.raises(InputError, match=words):
        train_path(X, Y, gammas=gammas)
