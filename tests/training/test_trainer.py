"""Training: known optima, invariances, limits, interruption."""

import numpy as np
import pytest

from certnet.training import trainer
from certnet.training.pricing import price_planar
from certnet.training.trainer import fit
from formulations import InputError, TrainingProgram


def _planar(seed=0, n=10, c=2, gamma=0.1, d=2):
    generator = np.random.default_rng(seed)
    return TrainingProgram(generator.standard_normal((n, d)), generator.standard_normal((n, c)), gamma)


RANDOM = [(f"random{k}", gamma) for k in range(5) for gamma in (0.1, 0.01)]
QUICK = RANDOM[::7]
"""Each weight decay once."""


@pytest.mark.parametrize(
    ("name", "gamma"), [*QUICK, *(pytest.param(*pair, marks=pytest.mark.slow) for pair in RANDOM[2::3])]
)
def test_random_sets_reach_the_known_optimum(paper_data, reference_values, name, gamma):
    result = fit(TrainingProgram(*paper_data(name), gamma))
    known = reference_values[f"{name}/{gamma:g}"]
    assert result.objective >= known["exact_lower"] * (1 - 1e-9)
    assert result.objective <= known["exact_upper"] * (1 + 1e-6)


@pytest.mark.parametrize(("gamma", "known"), [(0.1, 16.5931), (0.01, 15.1552)])
def test_spiral_reaches_the_known_optimum(paper_data, gamma, known):
    assert fit(TrainingProgram(*paper_data("spiral"), gamma)).objective <= known


@pytest.mark.slow
@pytest.mark.parametrize(("gamma", "known"), [(0.1, 2.5411), (0.01, 0.7425)])
def test_raw_iris_is_at_least_as_good_as_known(paper_data, gamma, known):
    program = TrainingProgram(*paper_data("iris"), gamma)
    assert fit(program, callback=lambda round_: round_.objective <= known).objective <= known


@pytest.mark.slow
def test_ionosphere_beats_a_plain_descent(paper_data):
    # 1.1027 is the best of three L-BFGS runs with 100 neurons.
    program = TrainingProgram(*paper_data("ionosphere"), 0.1)
    assert fit(program, callback=lambda round_: round_.objective <= 1.1027).objective <= 1.1027


@pytest.mark.parametrize("seed", range(3))
def test_a_planar_optimum_has_matching_primal_and_dual_values(seed):
    program = _planar(seed)
    result = fit(program)
    R = program.dual(result.U, result.V)
    s = min(1.0, program.gamma / price_planar(program.X, R).best)
    lower = s * np.sum(R * program.Y) - 0.5 * s * s * np.sum(R**2)
    assert lower <= result.objective
    assert result.objective - lower <= 3e-6 * result.objective
    assert result.converged
    np.testing.assert_allclose(np.linalg.norm(result.U, axis=0), np.linalg.norm(result.V, axis=0))


def test_optimum_does_not_depend_on_order_rotation_or_repetition():
    program = _planar(4, n=7)
    X, Y, gamma = program.X, program.Y, program.gamma
    value = fit(program).objective
    order = np.random.default_rng(0).permutation(len(X))
    rotation = np.linalg.qr(np.random.default_rng(1).standard_normal((2, 2)))[0]
    assert fit(TrainingProgram(X[order], Y[order], gamma)).objective == pytest.approx(value, rel=3e-6)
    assert fit(TrainingProgram(X @ rotation, Y, gamma)).objective == pytest.approx(value, rel=3e-6)
    # Null directions of X do not matter, and neither does writing a row as two of length 1/√2.
    wide = np.hstack([X, np.zeros((len(X), 1))])
    assert fit(TrainingProgram(wide, Y, gamma)).objective == pytest.approx(value, rel=3e-6)
    halved = np.vstack([X, X]) / np.sqrt(2), np.vstack([Y, Y]) / np.sqrt(2)
    assert fit(TrainingProgram(*halved, gamma)).objective == pytest.approx(value, rel=3e-6)


@pytest.mark.slow
def test_scaling_of_data_and_decay_cancels_even_when_large():
    program = _planar(5, n=7, d=3)
    value = fit(program).objective
    # X → aX, γ → aγ leaves the optimum; so does Y → bY, γ → bγ up to b².
    assert fit(TrainingProgram(1e3 * program.X, program.Y, 1e3 * program.gamma)).objective == pytest.approx(
        value, rel=1e-4
    )
    assert fit(TrainingProgram(program.X, 50 * program.Y, 50 * program.gamma)).objective == pytest.approx(
        2500 * value, rel=1e-4
    )


def test_candidates_are_used():
    program = _planar(3)
    best = fit(program)
    plain, again = (
        fit(program, candidates=directions, random_state=5, callback=lambda round_: round_.number >= 1)
        for directions in (None, 7 * best.U)
    )
    assert plain.rounds == again.rounds == 1
    assert plain.objective > best.objective * (1 + 1e-5)
    assert again.objective <= best.objective * (1 + 1e-6)


@pytest.mark.slow
def test_history_decreases_and_seed_decides_everything():
    program = _planar(8, n=7, d=4)
    first, second = (fit(program, random_state=3) for _ in range(2))
    np.testing.assert_array_equal(first.U, second.U)
    np.testing.assert_array_equal(first.V, second.V)
    objectives = [round_.objective for round_ in first.history]
    assert np.all(np.diff(objectives) <= 0)
    assert first.rounds == len(objectives)
    assert first.objective == program.objective(first.U, first.V) <= objectives[-1] * (1 + 1e-9)


def test_no_time_and_interruption_keep_what_there_is():
    program = _planar(9, n=15, d=4)
    zero = 0.5 * np.sum(program.Y**2)
    rushed = fit(program, time_limit=0.0)
    assert not rushed.interrupted
    assert not rushed.converged
    assert rushed.objective <= zero

    def interrupt(_):
        raise KeyboardInterrupt

    stopped = fit(program, callback=interrupt)
    assert stopped.interrupted
    assert stopped.rounds == 1
    assert stopped.objective < zero


@pytest.mark.parametrize(
    ("X", "Y"),
    [
        (np.zeros((3, 3)), np.ones((3, 2))),
        (np.ones((3, 3)), np.zeros((3, 2))),
        (np.ones((1, 1)), np.full((1, 1), 1e-3)),
        (-np.ones((4, 3)), np.ones((4, 1))),
    ],
)
def test_degenerate_programs_never_do_worse_than_zero(X, Y):
    result = fit(TrainingProgram(X, Y, 0.1))
    assert np.isfinite(result.U).all()
    assert result.objective <= 0.5 * np.sum(Y**2)
    assert result.converged


def test_one_data_point_has_a_closed_form():
    # One neuron along x: min ½(‖x‖w − y)² + γw over w ≥ 0, hence w = (‖x‖y − γ)/‖x‖².
    x, y, gamma = np.array([[3.0, 4.0]]), 2.0, 0.5
    w = (5 * y - gamma) / 25
    result = fit(TrainingProgram(x, [[y]], gamma))
    assert result.objective == pytest.approx(0.5 * (5 * w - y) ** 2 + gamma * w, rel=1e-9)


def test_patience_is_how_often_prices_are_looked_for_again(monkeypatch):
    program, calls = _planar(d=3, n=8, gamma=0.5), []
    honest = trainer.largest_prices

    def counted(*arguments, **options):
        calls.append(options["samples"])
        return honest(*arguments, **options)

    monkeypatch.setattr(trainer, "largest_prices", counted)
    counts = []
    for patience in (0, 2):
        calls.clear()
        result = fit(program, patience=patience)
        assert result.converged
        counts.append(len(calls))
    assert counts[1] >= counts[0] + 2


def test_unusable_options_are_refused():
    program = _planar()
    for options in (
        {"tolerance": 0.0},
        {"time_limit": float("nan")},
        {"candidates": np.ones((3, 4))},
        {"candidates": np.full((2, 4), np.nan)},
    ):
        with pytest.raises(InputError):
            fit(program, **options)
