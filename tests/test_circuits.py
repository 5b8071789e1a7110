"""Training bounded with circuits: never above a network, better than without, exact in the plane, and proved."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given, settings

from certificates import Certificate, Verdict, check
from certificates.making.assemble import certify
from certificates.making.repair import repair
from certificates.proof import Circuits
from certnet.search.circuits import solve_with_circuits
from certnet.solvers import solve
from certnet.solvers.registry import choose_solver
from certnet.training.trainer import FitResult, fit
from formulations import Dual, InputError, Presolved, TrainingProgram, presolve
from tests.certificates.altering import replace
from tests.strategies import SEEDS, networks, programs, rng


def _gaussian(n: int, d: int, c: int, gamma: float, seed: int = 0) -> tuple[Presolved, FitResult]:
    random = rng(seed)
    program = TrainingProgram(random.standard_normal((n, d)), random.standard_normal((n, c)), gamma)
    return presolve(program), fit(program)


@pytest.fixture(scope="module")
def solved() -> tuple:
    presolved, network = _gaussian(8, 3, 1, 0.1)
    result = solve_with_circuits(presolved, rounds=3)
    certificate, report = certify(result.presolved.rows, [result.dual], network.U, network.V, circuits=result.circuits)
    return presolved, network, result, certificate, report


def test_the_order_is_relaxation_circuits_optimum(solved: tuple) -> None:
    presolved, network, _, certificate, report = solved
    plain = solve(presolved.program, "interior-point")
    relaxation = presolved.program.to_original(plain.objective)
    assert report.verdict is Verdict.PROVED
    assert len(certificate.proof.circuits.target) > 0
    assert certificate.lower_bound <= network.objective
    gap, before = (network.objective - bound for bound in (certificate.lower_bound, relaxation))
    assert before > 0.02 * network.objective
    assert gap < 0.5 * before


def test_rounds_tell_what_they_did(solved: tuple) -> None:
    _, network, result, certificate, _ = solved
    counts = [count for count, _ in result.rounds]
    assert counts[0] == 0
    assert counts[1] > 0
    assert len(result.rounds) <= 4
    assert result.lower_bound == max(bound for _, bound in result.rounds) <= network.objective
    assert certificate.lower_bound == pytest.approx(result.lower_bound, rel=1e-4)


def test_a_tampered_circuit_is_refused(solved: tuple) -> None:
    certificate: Certificate = solved[3]
    proof = certificate.proof
    circuits = proof.circuits
    N = len(certificate.source)

    def verdict(target: np.ndarray, support: np.ndarray) -> Verdict:
        changed = replace(proof, circuits=Circuits(target, circuits.offset, support))
        return check(replace(certificate, proof=changed)).verdict

    assert verdict(circuits.target, circuits.support) is Verdict.PROVED
    used = int(proof.pairs[proof.pairs[:, 1] >= 2 * N, 1][0]) - 2 * N
    mirrored, other = circuits.support.copy(), circuits.target.copy()
    start = circuits.offset[used]
    mirrored[start] = (mirrored[start] + N) % (2 * N)
    other[used] = (other[used] + N) % (2 * N)
    assert verdict(circuits.target, mirrored) is Verdict.UNKNOWN
    assert verdict(other, circuits.support) is Verdict.UNKNOWN


@pytest.mark.parametrize(("n", "c", "gamma"), [(5, 1, 0.1), (6, 2, 0.01)])
def test_in_the_plane_circuits_close_the_gap(n: int, c: int, gamma: float) -> None:
    presolved, network = _gaussian(n, 2, c, gamma, seed=n)
    result = solve_with_circuits(presolved)
    certificate, report = certify(result.presolved.rows, [result.dual], network.U, network.V, circuits=result.circuits)
    assert report.verdict is Verdict.PROVED
    assert certificate.lower_bound <= network.objective
    assert certificate.lower_bound >= network.objective * (1 - 1e-3)
    assert [count for count, _ in result.rounds] == [0, 2 * n]


@pytest.mark.slow
@settings(max_examples=10)
@given(programs(max_n=6), SEEDS)
def test_any_multipliers_of_circuits_give_a_valid_bound(program: TrainingProgram, seed: int) -> None:
    plain, random = presolve(program), rng(seed)
    assume(plain is not None)
    result = solve_with_circuits(plain, rounds=1, tolerance=1e-2)
    merged = result.presolved.rows.program
    N = np.abs(random.standard_normal((merged.positions, merged.positions))) * 10.0 ** random.integers(-3, 1)
    W = merged.loss.dual(np.zeros(merged.shape)) + random.standard_normal(merged.shape)
    guess = repair(merged, Dual(W, N))
    smallest = min(program.objective(U, V) for U, V in networks(program, seed))
    assert result.lower_bound <= smallest * (1 + 1e-6)
    assert guess.lower_bound <= smallest * (1 + 1e-6)


def test_enough_ends_it() -> None:
    presolved, _ = _gaussian(6, 3, 1, 0.1)
    plain = solve_with_circuits(presolved, rounds=0)
    assert len(plain.rounds) == 1
    assert len(plain.circuits) == 0
    early = solve_with_circuits(presolved, enough=0.5 * plain.lower_bound)
    assert len(early.rounds) == 1
    assert early.lower_bound >= 0.5 * plain.lower_bound
    with pytest.raises(InputError, match="negative"):
        solve_with_circuits(presolved, rounds=-1)


def test_a_program_with_circuits_needs_no_start_and_one_solver() -> None:
    presolved, network = _gaussian(6, 2, 1, 0.1)
    rounds = solve_with_circuits(presolved)
    program = rounds.presolved.program
    assert choose_solver(program).solver == "interior-point"
    alone = solve(program, tolerance=1e-4)
    assert program.to_original(alone.dual_value) == pytest.approx(network.objective, rel=2e-3)
    assert program.pricing(program.loss.dual(np.zeros(program.shape))).positions == program.positions
    for name in ("admm", "scs", "clarabel"):
        with pytest.raises(InputError, match="interior-point"):
            solve(program, name)


def test_a_certificate_must_name_its_circuits(solved: tuple) -> None:
    _, network, result, *_ = solved
    with pytest.raises(InputError, match="name the circuit"):
        certify(result.presolved.rows, [result.dual], network.U, network.V)


@pytest.mark.slow
@pytest.mark.parametrize(("number", "gamma"), [(0, 0.01), (1, 0.1), (3, 0.1)])
def test_the_random_sets_of_the_paper_within_a_thousandth(
    number: int, gamma: float, paper_data: Callable, reference_values: dict
) -> None:
    program = TrainingProgram(*paper_data(f"random{number}"), gamma)
    known = reference_values[f"random{number}/{gamma}"]
    network = fit(program)
    result = solve_with_circuits(presolve(program), enough=network.objective * (1 - 9e-4))
    certificate, report = certify(result.presolved.rows, [result.dual], network.U, network.V, circuits=result.circuits)
    assert report.verdict is Verdict.PROVED
    assert known["dnn"] < certificate.lower_bound <= known["exact_upper"]
    assert certificate.lower_bound >= known["exact_lower"] * (1 - 1e-3)
