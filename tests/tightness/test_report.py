"""The report on a training problem: tight and loose relaxations."""

from typing import Any

import numpy as np
import pytest

from certificates import Certificate, Verdict, check
from certificates.making.assemble import certify, residual_dual
from certnet.jobs.tightness import is_plain, measure_tightness
from certnet.jobs.train import train
from certnet.tightness.feasible import relaxation_value
from certnet.tightness.rank import infeasibility
from certnet.training import fit
from formulations import InputError, LiftedSpace, Primal, TrainingProgram, merge_rows, presolve
from formulations._validation import FloatArray
from tests.certificates.altering import replace
from tests.strategies import networks


def certificate_of(program: TrainingProgram, network: tuple[FloatArray, FloatArray] | None = None) -> Certificate:
    """A proved certificate with a network, a good one if none is given, and a poor bound."""
    trained = fit(program, random_state=0) if network is None else None
    U, V = network if trained is None else (trained.U, trained.V)
    merged = merge_rows(program)
    certificate, report = certify(merged, [residual_dual(merged, U, V)], U, V)
    assert report.verdict is Verdict.PROVED
    return certificate


def gaussian(seed: int, n: int, d: int, c: int, gamma: float) -> TrainingProgram:
    rng = np.random.default_rng(seed)
    return TrainingProgram(rng.standard_normal((n, d)), rng.standard_normal((n, c)), gamma)


@pytest.fixture(scope="module")
def loose() -> Certificate:
    """Its relaxation is off by a quarter."""
    return certificate_of(gaussian(0, 8, 2, 2, 0.1))


def test_one_data_point_is_tight() -> None:
    """The optimum for x, y of sizes a, b is γb/a − γ²/2a² where γ ≤ ab."""
    x, y, gamma = np.array([[3.0, 4.0]]), np.array([[2.0]]), 0.5
    found = measure_tightness(certificate_of(TrainingProgram(x, y, gamma)), time_limit=10.0)
    assert found.verdict is Verdict.PROVED
    optimum = gamma * 2.0 / 5.0 - gamma**2 / 50.0
    assert found.relaxation_bound <= optimum <= found.objective
    assert found.gap_of_relaxation <= 1e-4
    assert found.spectrum is not None
    assert found.spectrum.rank == 1
    assert found.membership is not None
    assert found.membership.verdict is Verdict.PROVED


def test_strong_regularisation_is_tight_and_its_points_are_the_network() -> None:
    program = gaussian(1, 6, 2, 1, 1.0)
    found = measure_tightness(certificate_of(program), time_limit=10.0)
    assert found.verdict is Verdict.PROVED
    assert found.points is not None
    assert found.spectrum is not None
    assert found.points.residual < 1e-5
    assert found.points.Z.shape[1] >= found.spectrum.rank
    assert found.relaxed_objective == pytest.approx(found.objective, rel=1e-4)


def test_a_solution_that_is_no_sum_of_neurons_does_not_refute_the_relaxation(loose: Certificate) -> None:
    """The optimum is not known from below here, so only the one solution found is refuted."""
    found = measure_tightness(loose, time_limit=10.0)
    assert found.verdict is Verdict.UNKNOWN
    assert "does not show that the relaxation is loose" in found.reason
    assert found.relaxation_bound <= found.lower_bound <= found.objective
    assert found.relaxed_objective is not None
    assert found.relaxed_objective < 0.9 * found.objective
    assert found.membership is not None
    assert found.membership.verdict is Verdict.REFUTED
    assert found.points is not None
    assert 0 < found.membership.distance <= found.points.residual
    assert found.infeasibility is not None
    assert found.infeasibility < 0.1 * found.membership.distance


@pytest.mark.slow
def test_the_same_seed_gives_the_same_report(loose: Certificate) -> None:
    first, second = (measure_tightness(loose, time_limit=30.0, random_state=3) for _ in range(2))
    assert (first.objective, first.relaxation_bound) == (second.objective, second.relaxation_bound)
    assert first.membership is not None
    assert second.membership is not None
    assert first.membership.distance == second.membership.distance


def test_a_large_tolerance_takes_any_gap_for_none(loose: Certificate) -> None:
    assert measure_tightness(loose, time_limit=5.0, tolerance=0.9).verdict is Verdict.PROVED


def test_nothing_but_zeros() -> None:
    certificate = certificate_of(TrainingProgram(np.zeros((3, 2)), np.ones((3, 1)), 0.1))
    found = measure_tightness(certificate)
    assert found.verdict is Verdict.PROVED
    assert found.relaxation is None
    assert found.objective == pytest.approx(1.5)


def test_a_certificate_that_is_not_proved_is_refused(loose: Certificate) -> None:
    with pytest.raises(InputError, match="not proved"):
        measure_tightness(replace(loose, W=3.0 * loose.W))
    with pytest.raises(InputError, match="not proved"):
        measure_tightness(replace(loose, lower_bound=2.0 * loose.objective))
    with pytest.raises(InputError):
        measure_tightness(loose, tolerance=float("nan"))


def test_infeasibility_counts_negative_and_complementary_entries() -> None:
    space = LiftedSpace(np.eye(2))
    P = np.eye(4)
    assert infeasibility(space, P) == 0.0
    P[0, 2] = P[2, 0] = 0.3
    P[0, 1] = P[1, 0] = -0.4
    assert infeasibility(space, P) == pytest.approx(np.sqrt(2 * 0.3**2 + 2 * 0.4**2) / np.linalg.norm(P))


@pytest.mark.slow
def test_the_value_of_the_relaxation_is_enclosed() -> None:
    """A bound from below by duality, one from above by a feasible point; the solver's own value is near both."""
    program = gaussian(0, 10, 3, 1, 0.3)
    found = measure_tightness(certificate_of(program), time_limit=10.0)
    assert found.relaxation_value is not None
    assert found.relaxation_bound <= found.relaxation_value
    assert found.relaxation_value - found.relaxation_bound < 1e-4 * found.objective
    assert found.relaxed_objective == pytest.approx(found.relaxation_value, rel=1e-4)


KINDS = [
    {},
    {"hidden_bias": "penalised", "output_bias": "penalised"},
    {"hidden_bias": "free", "output_bias": "free"},
    {"loss": "cross-entropy", "hidden_bias": "free", "output_bias": "free"},
    {"loss": "logistic", "output_bias": "free", "sample_weight": np.arange(1.0, 7.0)},
    {"loss": "huber:0.5", "sample_weight": np.full(6, 0.3)},
]


@pytest.mark.parametrize("kinds", KINDS, ids=lambda kinds: " ".join(map(str, kinds.values()))[:40] or "plain")
@pytest.mark.parametrize("seed", range(2))
def test_true_networks_are_feasible_points(seed: int, kinds: dict[str, Any]) -> None:
    """A sum of true λ's is feasible for the relaxation, so the bound is a little above its objective."""
    plain = gaussian(seed, 6, 3, 2, 0.5)
    signs = np.where(plain.Y > 0, 1.0, -1.0)
    one_hot = np.hstack([signs[:, :1] > 0, signs[:, :1] < 0]).astype(float)
    Y = {"cross-entropy": one_hot, "logistic": signs}.get(kinds.get("loss", ""), plain.Y)
    program = TrainingProgram(plain.X, Y, 0.1, **kinds)
    certificate = certificate_of(program, min(networks(program, seed), key=lambda pair: program.objective(*pair)))
    presolved = presolve(program)
    assert presolved is not None
    value = relaxation_value(presolved, certificate, presolved.apply_network(certificate.U, certificate.V))
    objective = program.objective(certificate.U, certificate.V)
    assert value is not None
    assert objective - 1e-9 <= value <= 1.001 * objective


def test_rows_that_a_certificate_leaves_out_count_in_the_relaxation() -> None:
    """Of a row whose W is 0 a proof says nothing, and a row parallel to it can stand for both."""
    X, Y, gamma = np.array([[1.0], [2.0]]), np.array([[1.0], [0.0]]), 0.1
    program = TrainingProgram(X, Y, gamma)
    honest = certificate_of(program)
    W = np.array([[0.05], [0.0]])
    partial = replace(honest, W=W, generator=np.array([0, -1]), lower_bound=0.04)
    assert check(partial).verdict is Verdict.PROVED
    found = measure_tightness(partial, time_limit=10.0, tolerance=1e-11)
    # α = 1/5 would fit best: with u² + v² of 2α the optimum is 0.419, and the relaxation of one feature is exact.
    assert found.verdict is not Verdict.REFUTED
    assert found.relaxation_value is None or found.relaxation_value >= 0.419 - 1e-12


def test_a_solution_that_is_a_little_infeasible_is_made_feasible() -> None:
    """Wrong signs and products that are not complementary cost about as much as they are wrong."""
    program = gaussian(2, 6, 3, 2, 0.5)
    certificate = certificate_of(program)
    presolved = presolve(program)
    assert presolved is not None
    S = presolved.apply_network(certificate.U, certificate.V).S
    noise = np.random.default_rng(0).standard_normal(S.shape)
    disturbed = S + 1e-6 * np.abs(S).max() * (noise @ noise.T)
    value = relaxation_value(presolved, certificate, Primal(disturbed, program.Y.shape[1]))
    assert value is not None
    assert value == pytest.approx(program.objective(certificate.U, certificate.V), rel=1e-2)


def test_points_that_are_not_feasible_give_no_value(loose: Certificate) -> None:
    presolved = presolve(TrainingProgram(loose.X, loose.Y, loose.gamma))
    assert presolved is not None
    order, c = presolved.program.space.face_order, loose.Y.shape[1]
    assert relaxation_value(presolved, loose, Primal(-np.eye(order), c)) is None
    wrong = np.zeros((order, order))
    wrong[0, 1] = wrong[1, 0] = -1.0
    assert relaxation_value(presolved, loose, Primal(np.eye(order) + wrong, c)) is None
    assert relaxation_value(presolved, loose, Primal(np.eye(order - c), 0)) is None
    assert relaxation_value(presolved, loose, Primal(np.full((order, order), np.nan), c)) is None


def test_a_bound_that_branching_proves_refutes_the_relaxation() -> None:
    program = gaussian(0, 10, 2, 1, 0.1)
    result = train(program, method="global", gap=1e-2, time_limit=30.0)
    found = measure_tightness(result.certificate, time_limit=10.0)
    assert not is_plain(result.certificate)
    assert found.verdict is Verdict.REFUTED
    assert found.lower_bound == result.report.lower_bound
    assert found.relaxation_value is not None
    assert found.relaxation_bound <= found.relaxation_value < found.lower_bound <= found.objective
    assert "no network" in found.reason
