"""The search bounds the price from above at any moment, and what it proves is true."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certificates import Verdict, check
from certificates.arithmetic import Arithmetic
from certnet.search.bounds import bound_node
from certnet.search.certificate import certify_search
from certnet.search.price import SearchResult, search
from certnet.training import fit
from formulations import ACTIVE, FREE, INACTIVE, Dual, Presolved, TrainingProgram, presolve, restrict
from tests.certificates.altering import replace
from tests.strategies import SEEDS, from_network, rng


def _gaussian(n: int, d: int, c: int, seed: int = 0, gamma: float = 0.3) -> TrainingProgram:
    random = rng(seed)
    return TrainingProgram(random.standard_normal((n, d)), random.standard_normal((n, c)), gamma)


def _presolved(program: TrainingProgram) -> Presolved:
    presolved = presolve(program)
    assert presolved is not None
    return presolved


def _search(presolved: Presolved, W: np.ndarray, *, enough: float, **options: object) -> SearchResult:
    return search(presolved.program, W, enough=enough, **options)


def _price_by_patterns(X: np.ndarray, W: np.ndarray) -> tuple[float, float]:
    """h(W) from below by many points, and from above: no pattern gives more than its matrix without the cone."""
    upper = 0.0
    for pattern in product((0.0, 1.0), repeat=len(X)):
        upper = max(upper, float(np.linalg.norm((np.array(pattern)[:, None] * W).T @ X, 2)))
    U = rng(0).standard_normal((X.shape[1], 20000))
    U /= np.linalg.norm(U, axis=0)
    lower = float(np.linalg.norm(W.T @ np.maximum(X @ U, 0.0), axis=0).max())
    return lower, upper


@pytest.mark.parametrize(("n", "d", "c"), [(6, 2, 1), (6, 4, 2)])
def test_the_bound_lies_between_points_and_the_worst_pattern(n: int, d: int, c: int) -> None:
    program = _gaussian(n, d, c)
    presolved = _presolved(program)
    W = program.Y
    dual = presolved.apply_dual(Dual(presolved.rows.merge_W(W), np.zeros((2 * n, 2 * n))))
    lower, upper = _price_by_patterns(program.X, W)
    unit = presolved.program.gamma / program.gamma
    scale = float(np.linalg.norm(dual.W)) / float(np.linalg.norm(W))
    # The presolved price is that of the data in units of γ: h(W)/γ does not change.
    target = lower * unit
    result = _search(presolved, dual.W, enough=target * 1e-3, max_nodes=60)
    h_bar = result.h_bar / unit
    assert scale > 0
    assert lower <= h_bar * (1 + 1e-9)
    assert h_bar <= upper * (1 + 1e-6)
    assert result.best <= result.h_bar * (1 + 1e-9)
    assert result.best / unit == pytest.approx(lower, rel=2e-2)


@pytest.mark.slow
def test_in_the_plane_a_trained_network_is_proved_optimal() -> None:
    program = _gaussian(12, 2, 2, gamma=0.1)
    network = fit(program, tolerance=1e-9)
    presolved = _presolved(program)
    _, dual = from_network(presolved, network.U, network.V)
    result = _search(presolved, dual.W, enough=presolved.program.gamma * (1 + 1e-6))
    assert result.complete
    certificate, report = certify_search(presolved, result, network.U, network.V)
    assert report.verdict is Verdict.PROVED
    assert report.objective - report.lower_bound <= 1e-5 * report.objective
    again = check(certificate, arithmetic=Arithmetic.EXACT)
    assert again.verdict is Verdict.PROVED
    assert again.lower_bound == pytest.approx(report.lower_bound)


@pytest.mark.slow
def test_more_nodes_give_a_better_bound() -> None:
    program = _gaussian(10, 7, 2)
    network = fit(program)
    presolved = _presolved(program)
    _, dual = from_network(presolved, network.U, network.V)
    few = _search(presolved, dual.W, enough=presolved.program.gamma * 1.001, max_nodes=1)
    more = _search(presolved, dual.W, enough=presolved.program.gamma * 1.001, max_nodes=9)
    assert more.h_bar < few.h_bar
    for result in (few, more):
        _, report = certify_search(presolved, result, network.U, network.V)
        assert report.verdict is Verdict.PROVED
        assert report.lower_bound <= network.objective


def test_a_tampered_leaf_is_rejected() -> None:
    program = _gaussian(8, 2, 1)
    network = fit(program)
    presolved = _presolved(program)
    _, dual = from_network(presolved, network.U, network.V)
    result = _search(presolved, dual.W, enough=presolved.program.gamma * 1.0001)
    certificate, report = certify_search(presolved, result, network.U, network.V)
    assert report.verdict is Verdict.PROVED
    proof = certificate.proof
    worse = replace(proof, complementarity=proof.complementarity + 10.0 * np.abs(certificate.W).max() ** 2)
    swapped = replace(proof, children=proof.children[:, ::-1].copy())
    for tampered in (worse, swapped, replace(proof, multipliers=-proof.multipliers - 1.0)):
        assert check(replace(certificate, proof=tampered)).verdict is not Verdict.PROVED
    assert check(replace(certificate, W=1.01 * certificate.W)).verdict is not Verdict.PROVED


@pytest.mark.slow
def test_stopping_early_and_interrupts_leave_a_proof() -> None:
    program = _gaussian(14, 3, 2)
    network = fit(program)
    presolved = _presolved(program)
    _, dual = from_network(presolved, network.U, network.V)
    enough = presolved.program.gamma * 1.0001

    def interrupt(progress: object) -> bool:
        raise KeyboardInterrupt

    for options in ({"callback": lambda progress: True}, {"callback": interrupt}, {"time_limit": 1e-6}):
        result = _search(presolved, dual.W, enough=enough, **options)
        assert not result.complete
        _, report = certify_search(presolved, result, network.U, network.V)
        assert report.verdict is Verdict.PROVED
        assert report.lower_bound <= network.objective


@pytest.mark.slow
def test_workers_do_not_change_what_is_proved() -> None:
    program = _gaussian(10, 6, 2)
    network = fit(program)
    presolved = _presolved(program)
    _, dual = from_network(presolved, network.U, network.V)
    results = [
        _search(presolved, dual.W, enough=presolved.program.gamma * 1.01, max_nodes=5, workers=workers)
        for workers in (1, 2)
    ]
    assert results[0].h_bar == pytest.approx(results[1].h_bar, rel=1e-9)


@settings(max_examples=40)
@given(SEEDS, st.integers(2, 4), st.integers(1, 2))
def test_restricted_forms_are_the_form_on_their_cone(seed: int, d: int, c: int) -> None:
    random = rng(seed)
    program = _presolved(_gaussian(5, d, c, seed)).program
    W = random.standard_normal(program.shape)
    z = random.standard_normal((d, 20))
    A = program.space.generators
    phi = program.space.lift(z)[program.feature]
    price = np.sum(((program.weight[:, None] * W).T @ phi) ** 2, axis=0)
    for j in range(z.shape[1]):
        signs = np.where(A @ z[:, j] > 0, ACTIVE, INACTIVE)
        signs[random.random(5) < 0.5] = FREE
        node = restrict(program, signs).pricing(W)
        lam = node.space.lift(z[:, j])
        assert lam @ node.form @ lam == pytest.approx(-price[j], rel=1e-9, abs=1e-12)
        assert (node.inequalities @ lam >= 0).all()


def test_a_child_is_never_worse_than_its_parent() -> None:
    program = _presolved(_gaussian(8, 3, 2)).program
    W = program.loss.dual(np.zeros(program.shape)) / program.gamma
    signs = np.zeros(8, dtype=np.int64)
    parent = bound_node(program, W, signs)
    for sign in (ACTIVE, INACTIVE):
        below = signs.copy()
        below[parent.branch] = sign
        assert bound_node(program, W, below, start=parent).h_squared <= parent.h_squared * (1 + 1e-7)


def test_a_node_where_every_feature_vanishes_has_the_price_zero() -> None:
    random = rng(0)
    program = _presolved(TrainingProgram(random.standard_normal((4, 2)), random.standard_normal((4, 1)), 0.3)).program
    found = bound_node(program, program.loss.dual(np.zeros(program.shape)), np.full(4, INACTIVE))
    assert found.h_squared == 0.0
    assert found.branch == -1
    some = bound_node(
        program,
        np.where(np.arange(4)[:, None] < 1, program.loss.dual(np.zeros(program.shape)), 0.0),
        np.array([INACTIVE, 0, 0, 0]),
    )
    assert some.h_squared == 0.0
    assert some.branch > 0
