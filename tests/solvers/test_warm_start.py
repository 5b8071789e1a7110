"""Warm starts: they are what they claim to be, they save iterations, and no garbage can spoil a bound."""

from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certificates.making.assemble import certify
from certificates.making.repair import repair
from certnet import fit
from certnet.solvers import solve
from certnet.solvers.interface import SolverResult, SolveStatus, WarmStart
from certnet.solvers.warm_start import (
    certified_dual,
    dual_factor,
    from_certificate,
    usable,
)
from formulations import Dual, Presolved, Primal, TrainingProgram, presolve
from tests.strategies import SEEDS, from_network, networks, programs, rng

TOLERANCE = 1e-5


def _presolved(gamma: float) -> Presolved:
    random = rng(3)
    result = presolve(TrainingProgram(random.standard_normal((14, 2)), random.standard_normal((14, 2)), gamma))
    assert result is not None
    return result


@cache
def _solved(solver: str, gamma: float) -> SolverResult:
    return solve(_presolved(gamma).program, solver, tolerance=TOLERANCE)


def _bound(presolved: Presolved, dual: Dual) -> float:
    return repair(presolved.rows.program, presolved.undo_dual(dual)).lower_bound


@given(programs(), SEEDS)
@settings(max_examples=40)
def test_a_network_keeps_its_objective_when_it_is_lifted(program: TrainingProgram, seed: int) -> None:
    presolved = presolve(program)
    if presolved is None:
        return
    # Without its part in the null space of X a network is the same function and no more expensive.
    rows = np.linalg.pinv(program.X, rcond=1e-10) @ program.X
    for U, V in networks(program, seed, 4):
        U = rows @ U
        lifted = presolved.program
        primal, dual = from_network(presolved, U, V)
        assert primal is not None
        assert dual is not None
        objective = program.objective(U, V)
        G = lifted.space.moment(primal.S)
        assert lifted.to_original(lifted.value(G)) == pytest.approx(objective, rel=1e-6)
        size = max(float(np.abs(G).max()), 1e-300)
        assert G[lifted.space.phi, lifted.space.phi].min() >= -1e-12 * size
        assert np.abs(np.diag(G[lifted.space.alpha, lifted.space.beta])).max() <= 1e-12 * size
        fitted = lifted.weight[:, None] * G[lifted.feature, lifted.space.v]
        np.testing.assert_allclose(dual.W, lifted.loss.dual(fitted), atol=1e-9 * max(1.0, float(np.abs(fitted).max())))


def test_dual_norms_lie_between_the_two_laws() -> None:
    """‖W‖ is nondecreasing and ‖W‖/γ nonincreasing in γ; the factor of a start lies between."""
    gammas = (1.0, 0.3, 0.1)
    sizes = [float(np.linalg.norm(_solved("interior-point", gamma).dual.W)) for gamma in gammas]
    for (gamma, smaller), (size, smaller_size) in zip(pairwise(gammas), pairwise(sizes), strict=True):
        ratio = smaller / gamma
        assert ratio * (1 - 1e-3) <= smaller_size / size <= 1 + 1e-3
        assert ratio <= dual_factor(smaller, gamma) <= 1
        assert dual_factor(gamma, smaller) == pytest.approx(1 / dual_factor(smaller, gamma))


@pytest.mark.parametrize("gamma", [0.03, 0.3, 1.0])
def test_a_scaled_dual_is_feasible_for_another_gamma(gamma: float) -> None:
    """The slack is a form of degree two in (W, N, γ)."""
    at = _presolved(0.1)
    dual = at.undo_dual(_solved("interior-point", 0.1).dual)
    U, V = np.zeros((2, 0)), np.zeros((2, 0))
    certificate, report = certify(at.rows, [dual], U, V)
    assert report.lower_bound > 0
    program = _presolved(gamma).rows.program
    proved = certified_dual(at.rows, certificate).times(gamma / 0.1)
    slack = program.slack(proved.W, proved.N)
    assert np.linalg.eigvalsh(slack)[0] >= -1e-9 * np.abs(slack).max()
    # Repair leaves a feasible dual nearly as it is.
    value = program.to_original(program.dual_value(proved.W))
    assert repair(program, proved).lower_bound >= value - 1e-6 * abs(value)


@pytest.mark.slow
def test_a_certificate_gives_its_dual_back() -> None:
    presolved = _presolved(0.1)
    dual = presolved.undo_dual(_solved("admm", 0.1).dual)
    certificate, report = certify(presolved.rows, [dual], np.zeros((2, 0)), np.zeros((2, 0)))
    again = repair(presolved.rows.program, certified_dual(presolved.rows, certificate)).lower_bound
    assert again == pytest.approx(report.lower_bound, rel=1e-6)


@pytest.mark.slow
def test_admm_starts_better_at_a_neighbour() -> None:
    """Starts near a solution beat a cold start on data where neighbours are alike, and lead to as good a bound."""
    random = rng(11)
    X, Y = random.standard_normal((9, 2)), 5.0 * random.standard_normal((9, 3))
    cold_presolved, near_presolved = presolve(TrainingProgram(X, Y, 0.1)), presolve(TrainingProgram(X, Y, 0.2))
    assert cold_presolved is not None
    assert near_presolved is not None
    program = cold_presolved.program
    cold = solve(program, "admm", tolerance=1e-4)
    near = solve(near_presolved.program, "admm", tolerance=1e-4)
    network = fit(near_presolved.rows.original, time_limit=10.0)
    certificate, _ = certify(near_presolved.rows, [near_presolved.undo_dual(near.dual)], network.U, network.V)
    starts = {
        "itself": (cold.primal, cold.dual),
        "neighbour": (near.primal, near.dual.times(dual_factor(0.1, 0.2))),
        "certificate": from_certificate(cold_presolved, certificate),
    }
    for name, start in starts.items():
        result = solve(program, "admm", tolerance=1e-4, warm_start=usable(program, start))
        assert result.status is SolveStatus.CONVERGED
        assert result.iterations < 0.9 * cold.iterations, name
        assert _bound(cold_presolved, result.dual) >= 0.99 * _bound(cold_presolved, cold.dual), name


KINDS = ["nan", "infinite", "negated", "huge", "noise", "wrong shape", "asymmetric"]


def _spoilt(kind: str, array: np.ndarray, random: np.random.Generator) -> np.ndarray:
    match kind:
        case "nan":
            return np.where(random.random(array.shape) < 0.3, np.nan, array)
        case "infinite":
            return np.full_like(array, -np.inf)
        case "negated":
            return -array
        case "huge":
            return 1e200 * random.standard_normal(array.shape)
        case "noise":
            return 10.0 ** random.uniform(-5, 9) * random.standard_normal(array.shape)
        case "wrong shape":
            return array[:-1]
    return array + np.triu(random.standard_normal(array.shape[0])[:, None] * np.ones(array.shape), 1)


def _garbage(kinds: tuple[str, str, str], seed: int) -> WarmStart:
    honest, random = _solved("admm", 0.1), rng(seed)
    S, W, N = (
        _spoilt(kind, array, random)
        for kind, array in zip(kinds, (honest.primal.S, honest.dual.W, honest.dual.N), strict=True)
    )
    return Primal(S, honest.primal.outputs), Dual(W, N)


@pytest.mark.slow
@given(st.tuples(*[st.sampled_from(KINDS)] * 3), SEEDS)
@settings(max_examples=25)
def test_what_is_used_of_garbage_is_proper(kinds: tuple[str, str, str], seed: int) -> None:
    program = _presolved(0.1).program
    with np.errstate(all="ignore"):
        start = usable(program, _garbage(kinds, seed))
    primal, dual = start or (None, None)
    if kinds[0] in ("nan", "infinite", "huge", "wrong shape"):
        assert primal is None
    if {"nan", "infinite", "huge", "wrong shape"} & set(kinds[1:]):
        assert dual is None
    if primal is not None:
        np.testing.assert_array_equal(primal.S, primal.S.T)
        assert np.linalg.eigvalsh(primal.S)[0] >= -1e-9 * np.abs(primal.S).max(initial=0.0)
    if dual is not None:
        neurons = program.space.neurons
        products = dual.N.copy()
        products[np.arange(neurons), neurons + np.arange(neurons)] = 0.0
        products[neurons + np.arange(neurons), np.arange(neurons)] = 0.0
        assert products.min() >= 0
        np.testing.assert_array_equal(dual.N, dual.N.T)


@pytest.mark.slow
@pytest.mark.parametrize("solver", ["admm", "interior-point"])
@given(kinds=st.tuples(*[st.sampled_from(KINDS)] * 3), seed=SEEDS)
@settings(max_examples=7)
def test_no_start_can_spoil_a_bound(solver: str, kinds: tuple[str, str, str], seed: int) -> None:
    """Whatever came in, what comes out repairs to a bound below the optimum."""
    presolved = _presolved(0.1)
    optimum = presolved.program.to_original(_solved("interior-point", 0.1).objective)
    with np.errstate(all="ignore"):
        start = usable(presolved.program, _garbage(kinds, seed))
        result = solve(presolved.program, solver, tolerance=1e-3, max_iterations=60, warm_start=start)
        assert result.dual is not None
        assert _bound(presolved, result.dual) <= optimum * (1 + 1e-4)


def test_nothing_stays_nothing() -> None:
    program = _presolved(0.1).program
    assert usable(program, None) is None
    assert usable(program, (None, None)) is None
    result = _solved("interior-point", 0.1)
    honest = result.primal, result.dual
    primal, dual = usable(program, honest) or (None, None)
    assert primal is not None
    assert dual is not None
    np.testing.assert_allclose(primal.S, honest[0].S, atol=1e-8 * np.abs(honest[0].S).max())
    np.testing.assert_allclose(dual.N, honest[1].N, rtol=1e-12, atol=0)
