"""The proved gap of any network: about the given weights, below every network, and sharp where the optimum is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import certnet
from certificates import Verdict, check
from certnet.jobs.train import Event
from certnet.training import fit
from formulations import InputError, TrainingProgram
from tests.strategies import SEEDS, networks, programs, rng


def _gaussian(n: int, d: int, c: int, gamma: float = 0.3, seed: int = 0) -> TrainingProgram:
    random = rng(seed)
    return TrainingProgram(random.standard_normal((n, d)), random.standard_normal((n, c)), gamma)


def _network(program: TrainingProgram) -> tuple[np.ndarray, np.ndarray]:
    """A fitted network that is no optimum."""
    return list(networks(program, 0, count=2))[-1]


def _assert_about(result: certnet.OptimalityResult, U: np.ndarray, V: np.ndarray) -> None:
    """The certificate is a theorem about the network that was given."""
    assert result.report.verdict is Verdict.PROVED, result.report.reason
    assert check(result.certificate).verdict is Verdict.PROVED
    np.testing.assert_array_equal(result.certificate.U, U)
    np.testing.assert_array_equal(result.certificate.V, V)
    assert result.report.objective == pytest.approx(result.program.objective(U, V), rel=1e-12)
    assert result.report.lower_bound <= result.report.objective


PLANE = _gaussian(8, 2, 2, gamma=0.1)
BEST = fit(PLANE, tolerance=1e-9)


@pytest.mark.parametrize("train", [True, False])
def test_a_global_optimum_is_proved_to_be_one(train: bool) -> None:
    result = certnet.optimality(PLANE, BEST.U, BEST.V, gap=1e-4, train=train)
    _assert_about(result, BEST.U, BEST.V)
    assert result.report.gap <= 1e-4
    assert result.price_ratio == pytest.approx(1.0, abs=1e-6)
    assert result.neuron is None
    assert (result.trained is not None) is train
    assert result.search is not None
    assert result.search.complete


def test_a_network_without_a_neuron_is_shown_what_it_lacks() -> None:
    U, V = BEST.U[:, 1:], BEST.V[:, 1:]
    result = certnet.optimality(PLANE, U, V, gap=1e-4)
    _assert_about(result, U, V)
    objective = PLANE.objective(U, V)
    assert result.trained is not None
    assert result.trained.objective == pytest.approx(BEST.objective, rel=1e-6)
    assert (1 - 1.01e-4) * BEST.objective <= result.report.lower_bound <= BEST.objective
    # The proved gap encloses the true one.
    assert result.report.gap >= (objective - BEST.objective) / objective
    assert result.neuron is not None
    assert result.neuron.price_ratio == result.price_ratio > 1.0
    assert 0 < result.neuron.decrease <= objective - BEST.objective


def _of_loss(loss: str, Y: np.ndarray, bias: str) -> TrainingProgram:
    X = rng(3).standard_normal((len(Y), 2))
    return TrainingProgram(X, Y, 0.1, loss=loss, hidden_bias=bias, output_bias=bias)


OTHER = _of_loss("logistic", np.where(rng(4).standard_normal((9, 1)) > 0, 1.0, -1.0), "free")


@pytest.mark.slow
@pytest.mark.parametrize("program", [_gaussian(9, 4, 3), OTHER])
def test_the_neuron_lowers_the_objective_as_said_and_no_other_length_does_more(program: TrainingProgram) -> None:
    random = rng(1)
    _, d, c = program.shape
    U, V = 0.3 * random.standard_normal((d, 3)), 0.3 * random.standard_normal((c, 3))
    neuron = certnet.optimality(program, U, V, max_nodes=1, train=False).neuron
    assert neuron is not None

    bias = program.output(U, V)

    def after(length: float) -> float:
        both = np.column_stack([U, length * neuron.u]), np.column_stack([V, length * neuron.v])
        return program.objective(*both, bias)

    assert program.objective(U, V) - after(1.0) == pytest.approx(neuron.decrease, rel=1e-9)
    assert after(1.0) < min(after(0.98), after(1.02))
    assert np.linalg.norm(program.penalised * neuron.u) == pytest.approx(np.linalg.norm(neuron.v), rel=1e-12)


def test_in_the_plane_no_direction_has_a_larger_price() -> None:
    U, V = BEST.U[:, :1], BEST.V[:, :1]
    result = certnet.optimality(PLANE, U, V, max_nodes=1, train=False)
    angle = np.linspace(0, 2 * np.pi, 5000)
    circle = np.maximum(PLANE.X @ np.vstack([np.cos(angle), np.sin(angle)]), 0.0)
    prices = np.linalg.norm(PLANE.dual(U, V).T @ circle, axis=0) / PLANE.gamma
    assert prices.max() <= result.price_ratio * (1 + 1e-12)
    assert prices.max() == pytest.approx(result.price_ratio, rel=1e-4)


def test_rescaled_and_permuted_neurons_change_the_objective_alone() -> None:
    factor = np.linspace(0.5, 3.0, BEST.U.shape[1])
    order = rng(2).permutation(BEST.U.shape[1])
    U, V = (BEST.U * factor)[:, order], (BEST.V / factor)[:, order]
    result = certnet.optimality(PLANE, U, V, gap=1e-4)
    _assert_about(result, U, V)
    assert result.balanced_objective == pytest.approx(BEST.objective, rel=1e-12)
    assert result.report.objective > result.balanced_objective
    assert result.report.lower_bound >= (1 - 1.01e-4) * BEST.objective
    assert result.neuron is None


@pytest.mark.slow
def test_more_dimensions_use_every_source() -> None:
    program = _gaussian(8, 6, 1)
    U, V = _network(program)
    result = certnet.optimality(program, U, V, max_nodes=1)
    _assert_about(result, U, V)
    residuals = ["residual of the network", "residual of the trained network"]
    sources = [*residuals, "without products", "branching", "relaxation"]
    # The network that rounding trains may prove more in the end, as "certificate".
    assert list(result.bounds)[: len(sources)] == sources
    assert result.report.lower_bound == max(result.bounds.values())
    assert result.bounds["relaxation"] > result.bounds["residual of the trained network"]
    assert result.search is not None
    assert result.search.nodes <= 1


@settings(max_examples=4)
@given(programs(max_n=6, max_d=3, max_c=2), SEEDS, st.integers(0, 4), st.booleans())
def test_no_network_is_below_the_bound(program: TrainingProgram, seed: int, width: int, train: bool) -> None:
    random = rng(seed)
    _, d, c = program.shape
    U, V = random.standard_normal((d, width)), random.standard_normal((c, width))
    result = certnet.optimality(program, U, V, max_nodes=4, train=train, time_limit=20)
    _assert_about(result, U, V)
    others = [*networks(program, seed), (U, V)]
    best = min(program.objective(*other) for other in others)
    assert result.report.lower_bound <= best * (1 + 1e-12)
    if result.trained is not None:
        # Objectives in floating point may be too small by rounding.
        assert result.report.lower_bound <= result.trained.objective * (1.0 + 1e-14)
        assert result.trained.objective <= result.balanced_objective


@pytest.mark.parametrize("train", [True, False])
def test_data_without_directions_have_a_known_optimum(train: bool) -> None:
    program = TrainingProgram(np.zeros((3, 2)), np.ones((3, 1)), 0.1)
    zero = certnet.optimality(program, np.zeros((2, 0)), np.zeros((1, 0)), train=train)
    assert zero.report.gap == pytest.approx(0.0, abs=1e-14)
    some = certnet.optimality(program, np.ones((2, 1)), np.ones((1, 1)), train=train)
    _assert_about(some, np.ones((2, 1)), np.ones((1, 1)))
    assert some.report.lower_bound == pytest.approx(1.5)
    assert any("zero network" in note for note in some.notes)


@pytest.mark.parametrize("stage", ["training", "price", "branching"])
def test_ctrl_c_in_any_stage_leaves_a_proof(stage: str) -> None:
    program = _gaussian(7, 5, 1)
    U, V = _network(program)
    seen = []

    def interrupt(event: Event) -> None:
        if event.stage == stage and not seen:
            seen.append(event)
            raise KeyboardInterrupt

    result = certnet.optimality(program, U, V, max_nodes=3, progress=interrupt)
    assert seen
    assert result.interrupted
    _assert_about(result, U, V)


@pytest.mark.slow
def test_equal_seeds_give_equal_results() -> None:
    program = _gaussian(6, 4, 1)
    U, V = _network(program)
    first, second = (certnet.optimality(program, U, V, max_nodes=1, random_state=3) for _ in range(2))
    assert first.bounds == second.bounds
    assert first.price_ratio == second.price_ratio


@pytest.mark.parametrize(
    ("U", "V", "options"),
    [
        (np.ones((3, 1)), np.ones((2, 1)), {}),
        (np.ones((2, 1)), np.ones((3, 1)), {}),
        (np.ones((2, 1)), np.ones((2, 2)), {}),
        (np.full((2, 1), np.nan), np.ones((2, 1)), {}),
        (np.full((2, 1), 1e200), np.ones((2, 1)), {}),
        (np.ones((2, 1)), np.ones((2, 1)), {"gap": 0.0}),
        (np.ones((2, 1)), np.ones((2, 1)), {"max_nodes": 0}),
        (np.ones((2, 1)), np.ones((2, 1)), {"workers": 0}),
    ],
)
def test_what_makes_no_sense_is_refused(U: np.ndarray, V: np.ndarray, options: dict) -> None:
    with pytest.raises(InputError):
        certnet.optimality(PLANE, U, V, **options)
