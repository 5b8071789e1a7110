"""Searches with circuits: no node is worse for them, the proof names them, and without their reason it is refused."""

import numpy as np
import pytest

from certificates import Verdict, check
from certificates.proof import Circuits
from certnet.search.certificate import certify_search
from certnet.search.circuits import exact_circuits, solve_with_circuits
from certnet.search.joint import joint_search
from certnet.search.price import search
from certnet.training import fit
from formulations import InputError, TrainingProgram, presolve
from tests.certificates.altering import replace
from tests.strategies import from_network, rng


@pytest.fixture(scope="module")
def problem() -> tuple:
    random = rng(0)
    program = TrainingProgram(random.standard_normal((9, 3)), random.standard_normal((9, 2)), 0.3)
    network, presolved = fit(program), presolve(program)
    _, dual = from_network(presolved, network.U, network.V)
    return network, presolved, dual.W, solve_with_circuits(presolved, dual.W, rounds=1, tolerance=1e-3)


@pytest.mark.slow
def test_circuits_tighten_the_root_and_its_children(problem: tuple) -> None:
    _, presolved, W, root = problem
    enough = presolved.program.gamma * 1.001
    assert len(root.circuits) > 0
    plain, found = [], []
    for nodes in (1, 3):
        plain.append(search(presolved.program, W, enough=enough, max_nodes=nodes))
        found.append(search(root.presolved.program, W, enough=enough, max_nodes=nodes))
        assert found[-1].best * (1 - 1e-9) <= found[-1].h_bar <= plain[-1].h_bar * (1 + 1e-3)
    assert found[0].h_bar < 0.99 * plain[0].h_bar
    assert found[1].h_bar <= found[0].h_bar


def test_the_proof_names_its_circuits(problem: tuple) -> None:
    network, presolved, W, root = problem
    enough = presolved.program.gamma * 1.001
    found = search(root.presolved.program, W, enough=enough, max_nodes=3)
    certificate, report = certify_search(root.presolved, found, network.U, network.V, circuits=root.circuits)
    assert report.verdict is Verdict.PROVED
    assert report.lower_bound <= network.objective
    circuits = certificate.proof.circuits
    assert 0 < len(circuits.target) <= len(root.circuits)
    positions = 2 * len(certificate.source) + len(circuits.target)
    assert certificate.proof.pairs.max() == positions - 1
    other = (circuits.target + len(certificate.source)) % (2 * len(certificate.source))
    changed = replace(certificate.proof, circuits=Circuits(other, circuits.offset, circuits.support))
    assert check(replace(certificate, proof=changed)).verdict is not Verdict.PROVED
    with pytest.raises(InputError, match="name the circuit"):
        certify_search(root.presolved, found, network.U, network.V)


@pytest.mark.slow
def test_a_free_w_branches_with_circuits_even_if_some_say_the_same() -> None:
    random = rng(0)
    program = TrainingProgram(random.standard_normal((12, 6)), random.standard_normal((12, 2)), 0.1)
    network, presolved = fit(program), presolve(program)
    _, dual = from_network(presolved, network.U, network.V)
    once, merged = (
        solve_with_circuits(presolved, dual.W, rounds=1, tolerance=1e-3).circuits,
        presolved.rows.program.space,
    )
    # With α and β exchanged a circuit is the same inequality on the face.
    mirrored = [[(place + 12) % 24 for place in (target, *support)] for target, support in once.keys]
    twice = once.joined(exact_circuits(merged.generators, [(target, (*support,)) for target, *support in mirrored]))
    assert len(twice) == 2 * len(once) > 0
    presolved = presolved.with_inequalities(twice.rows(merged.dimension))
    found = joint_search(presolved.program, enough=network.objective, max_nodes=6)
    assert found.nodes == 6
    certificate, report = certify_search(presolved, found, network.U, network.V, circuits=twice)
    assert report.verdict is Verdict.PROVED
    assert 0.85 * network.objective < found.lower_bound * (1 - 1e-4) <= report.lower_bound <= network.objective
    assert 0 < len(certificate.proof.circuits.target) <= len(once)


@pytest.mark.slow
def test_a_search_with_circuits_is_resumed_with_the_same_ones(problem: tuple) -> None:
    _, presolved, W, root = problem
    program, enough = root.presolved.program, presolved.program.gamma * 1.001
    whole = search(program, W, enough=enough, max_nodes=7)
    part = search(program, W, enough=enough, max_nodes=3)
    rest = search(program, W, enough=enough, max_nodes=7, resume=part.state)
    assert rest.h_bar == pytest.approx(whole.h_bar, rel=1e-9)
    with pytest.raises(InputError, match="start anew"):
        search(presolved.program, W, enough=enough, resume=part.state)


def test_rounds_of_pricing_never_fall_below_the_price(problem: tuple) -> None:
    _, presolved, W, _ = problem
    program = presolved.program
    z = rng(1).standard_normal((3, 2000))
    z /= np.sqrt(np.sum(z * (program.metric @ z), axis=0))
    phi = program.space.lift(z)[program.feature]
    price = float(np.linalg.norm((program.weight[:, None] * W).T @ phi, axis=0).max())
    rounds = solve_with_circuits(presolved, W, rounds=2, tolerance=1e-3).rounds
    bounds = [float(np.sqrt(-bound)) for _, bound in rounds]
    assert min(bounds) >= price
    assert bounds[-1] < bounds[0]
    with pytest.raises(InputError, match="negative"):
        solve_with_circuits(presolved, W, rounds=-1)
