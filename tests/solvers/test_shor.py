"""Shor's relaxation: its value against an independent model, its bounds against networks, and its symmetries."""

import math
import tracemalloc
from dataclasses import replace

import cvxpy as cp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certificates import Verdict
from certificates.failure import Deadline
from certificates.making.assemble import residual_dual
from certificates.making.repair import RepairedDual, repair, repair_without_products
from certificates.making.shor_bound import Price, ScaledShift
from certnet.jobs.best import certify
from certnet.solvers import solve
from certnet.solvers.shor import _Descent, _secular, shor_bound
from certnet.training import fit
from formulations import Dual, TrainingProgram, presolve
from formulations.program import NO_PRODUCTS
from tests.strategies import SEEDS, networks, programs, rng


def gaussian(seed: int, n: int, d: int, c: int, gamma: float) -> TrainingProgram:
    random = rng(seed)
    X = random.standard_normal((n, d))
    Y = np.maximum(X @ random.standard_normal((d, 3)), 0.0) @ random.standard_normal((3, c))
    return TrainingProgram(X, Y + 0.3 * random.standard_normal((n, c)), gamma)


def bound_of(program: TrainingProgram, **options: object) -> float:
    presolved = presolve(program)
    assert presolved is not None
    return shor_bound(presolved, **options).lower_bound


def relaxation_value(program: TrainingProgram) -> float:
    """The relaxation on the face (β, u, v), by an interior-point solver."""
    (n, d, c), X = program.shape, program.X
    S = cp.Variable((n + d + c, n + d + c), PSD=True)
    u, v = slice(n, n + d), slice(n + d, n + d + c)
    prediction = S[:n, v] + X @ S[u, v]
    complementary = cp.diag(S[:n, :n]) + cp.sum(cp.multiply(X, S[:n, u]), axis=1) == 0
    objective = 0.5 * cp.sum_squares(prediction - program.Y) + 0.5 * program.gamma * cp.trace(S[n:, n:])
    return float(cp.Problem(cp.Minimize(objective), [complementary]).solve(solver=cp.CLARABEL))


@pytest.mark.parametrize(("n", "d", "c", "gamma"), [(6, 2, 1, 0.3), (5, 2, 2, 0.1), (7, 3, 2, 1.0)])
def test_the_bound_is_the_value_of_the_relaxation(n: int, d: int, c: int, gamma: float) -> None:
    program = gaussian(n, n, d, c, gamma)
    value = relaxation_value(program)
    assert (1 - 5e-3) * value <= bound_of(program) <= value * (1 + 1e-5)


@settings(max_examples=6, deadline=None)
@given(programs(), SEEDS)
def test_bounds_are_proved_and_no_network_is_below(program: TrainingProgram, seed: int) -> None:
    presolved = presolve(program)
    if presolved is None:
        return
    pool = [*networks(program, seed)]
    dual = shor_bound(presolved, networks=pool[:2], random_state=seed % 7)
    certificate, report = certify(presolved.rows, dual, pool[0], {})
    assert report.verdict is Verdict.PROVED, report.reason
    assert certificate.lower_bound >= dual.lower_bound - 1e-6 * abs(dual.lower_bound)
    assert report.lower_bound <= min(program.objective(U, V) for U, V in pool) * (1 + 1e-12)
    for U, V in pool[:2]:
        alone = repair(presolved.rows.program, residual_dual(presolved.rows, U, V)).lower_bound
        assert dual.lower_bound >= alone


def test_it_is_weaker_than_the_doubly_nonnegative_relaxation() -> None:
    program = gaussian(0, 8, 3, 2, 0.5)
    presolved = presolve(program)
    assert presolved is not None
    result = solve(presolved.program)
    assert result.dual is not None
    products = repair(presolved.rows.program, presolved.undo_dual(result.dual)).lower_bound
    network = fit(program, random_state=0, max_rounds=1)
    assert bound_of(program) <= products * (1 + 1e-6) <= network.objective * (1 + 2e-6)


@settings(max_examples=3, deadline=None)
@given(SEEDS, st.sampled_from([1e-20, 0.1, 3.0, 1e20]))
def test_units_order_and_copies_of_rows_change_nothing(seed: int, unit: float) -> None:
    program = gaussian(seed, 15, 3, 2, 1.0)
    bound, X, Y, gamma = bound_of(program), program.X, program.Y, program.gamma
    order = rng(seed).permutation(len(X))
    same = {
        "targets": bound_of(TrainingProgram(X, unit * Y, unit * gamma)) / unit**2,
        "data": bound_of(TrainingProgram(unit * X, Y, unit * gamma)),
        "order": bound_of(TrainingProgram(X[order], Y[order], gamma)),
        "copies": bound_of(TrainingProgram(np.vstack([X, X]), np.vstack([Y, Y]), 2 * gamma)) / 2,
        "outputs": bound_of(TrainingProgram(X, Y[:, ::-1], gamma)),
    }
    for name, other in same.items():
        assert other == pytest.approx(bound, rel=5e-3), name


def test_the_gradient_is_that_of_the_value() -> None:
    presolved = presolve(gaussian(1, 9, 3, 2, 0.2))
    assert presolved is not None
    run = _Descent(presolved, math.inf, lambda dual: None)
    random = rng(0)
    R, step = random.standard_normal((2, 5, run.rank))
    for size in (0.1, 1.0):
        slope = np.sum(run.point(size * R)[1] * step)
        above, below = (run.point(size * R + h * step)[0] for h in (1e-6, -1e-6))
        assert (above - below) / 2e-6 == pytest.approx(slope, rel=1e-5)


@given(SEEDS)
def test_the_nearest_point_of_an_ellipsoid(seed: int) -> None:
    random = rng(seed)
    N, c = 5, int(random.integers(1, 5))
    along, radius = random.standard_normal((N, c)), 10.0 ** random.uniform(-3, 1, (N, 1))
    values = np.sort(10.0 ** random.uniform(-6, 1, c))
    x = _secular(along, values, radius)
    size = np.sqrt(np.sum(values * (along / (x + values)) ** 2, axis=1, keepdims=True))
    assert (x >= 0).all()
    np.testing.assert_allclose(np.where(x > 0, size, radius), radius, rtol=1e-9)
    assert (size <= radius * (1 + 1e-9)).all()


def test_climbing_gets_near_the_price_without_products() -> None:
    """The price at the moments is a lower bound on h̄, and the repair an upper one."""
    presolved = presolve(gaussian(2, 40, 3, 2, 1.0))
    assert presolved is not None
    program = presolved.rows.program
    price = Price.of(program, program.loss.target)
    R_u, R_v = price.climb()
    U, S = price.generators @ R_u, price.total @ R_v
    reached = 0.5 * np.sum(U * (price.difference @ R_v)) + 0.5 * np.sum(
        np.linalg.norm(U, axis=1) * np.linalg.norm(S, axis=1)
    )
    h_bar = repair_without_products(program, program.loss.target).h_bar
    assert reached <= h_bar * (1 + 1e-9)
    assert h_bar <= reached * 1.02


@given(SEEDS)
def test_both_ways_to_the_largest_eigenvalue_agree(seed: int) -> None:
    random = rng(seed)
    k, c = (int(x) for x in random.integers(1, (8, 4)))
    cross, values = random.standard_normal((c, k)), random.uniform(0, 1, c)
    corner = random.standard_normal((k, k))
    corner = corner @ corner.T
    diagonal, axes = np.linalg.eigh(corner)
    whole, reduced = ScaledShift(values, cross, corner), ScaledShift(values, cross @ axes, diagonal)
    for kappa in values.max() * random.uniform(1.001, 5, 4):
        assert reduced(kappa) == pytest.approx(whole(kappa), rel=1e-9)
    assert whole(0.5 * values.max()) == reduced(0.5 * values.max()) == np.inf


def test_many_columns() -> None:
    program = gaussian(8, 110, 100, 1, 60.0)
    presolved = presolve(program)
    assert presolved is not None
    network = np.zeros((100, 0)), np.zeros((1, 0))
    dual = shor_bound(presolved, networks=[network])
    _, report = certify(presolved.rows, dual, network, {})
    assert report.verdict is Verdict.PROVED
    assert 0 < report.lower_bound <= report.objective


def test_a_deadline_in_the_past_still_gives_what_networks_give() -> None:
    program = gaussian(3, 25, 3, 1, 1.0)
    presolved = presolve(program)
    assert presolved is not None
    network = fit(program, random_state=0, max_rounds=1)
    seen: list[RepairedDual] = []
    cut = shor_bound(presolved, networks=[(network.U, network.V)], deadline=Deadline.after(-1.0), callback=seen.append)
    alone = repair(presolved.rows.program, residual_dual(presolved.rows, network.U, network.V))
    assert cut.lower_bound == alone.lower_bound
    assert seen == [cut]
    full = shor_bound(presolved, networks=[(network.U, network.V)])
    assert full.lower_bound >= cut.lower_bound


def test_absurd_networks_and_warnings_as_errors_do_no_harm() -> None:
    presolved = presolve(gaussian(9, 30, 3, 2, 1.0))
    assert presolved is not None
    plain = shor_bound(presolved).lower_bound
    absurd = [(np.full((3, 2), size), np.full((2, 2), size)) for size in (np.nan, np.inf, 1e100, 0.0)]
    with np.errstate(all="raise"):
        assert shor_bound(presolved, networks=absurd).lower_bound == pytest.approx(plain, rel=5e-3)


def test_an_interruption_loses_no_dual_that_was_seen() -> None:
    presolved = presolve(gaussian(6, 300, 4, 2, 3.0))
    assert presolved is not None
    seen: list[RepairedDual] = []

    def keep(dual: RepairedDual) -> None:
        seen.append(dual)
        if len(seen) == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        shor_bound(presolved, callback=keep)
    network = np.zeros((4, 0)), np.zeros((2, 0))
    _, report = certify(presolved.rows, seen[-1], network, {})
    assert report.verdict is Verdict.PROVED
    assert report.lower_bound > 0


def test_a_dual_that_is_slightly_infeasible_is_shrunk() -> None:
    presolved = presolve(gaussian(7, 30, 3, 2, 1.0))
    assert presolved is not None
    dual = shor_bound(presolved)
    network = np.zeros((3, 0)), np.zeros((2, 0))
    for excess in (1e-7, 1e-4):
        large = replace(dual, W=dual.W * (1 + excess))
        _, report = certify(presolved.rows, large, network, {})
        assert report.verdict is Verdict.PROVED
        assert report.lower_bound >= dual.lower_bound * (1 - 30 * excess)


def test_equal_seeds_give_equal_bounds_and_bounds_only_rise() -> None:
    presolved = presolve(gaussian(4, 60, 4, 2, 0.3))
    assert presolved is not None

    def run() -> tuple[RepairedDual, list[float]]:
        seen: list[RepairedDual] = []
        return shor_bound(presolved, random_state=3, callback=seen.append), [dual.lower_bound for dual in seen]

    (first, seen), (second, again) = run(), run()
    assert seen == again == sorted(seen)
    np.testing.assert_array_equal(first.t, second.t)


def test_without_products_is_never_worse_than_one_shift_for_all() -> None:
    for seed in range(5):
        presolved = presolve(gaussian(seed, 20, 3, 2, 0.5))
        assert presolved is not None
        program = presolved.rows.program
        W = program.loss.target
        nothing = np.zeros((program.positions, program.positions))
        nothing[0, 0] = 1e-300  # takes the way of duals with products
        dense = repair(program, Dual(W, nothing)).lower_bound
        assert repair(program, Dual(W, NO_PRODUCTS)).lower_bound >= dense * (1 - 1e-6)


def test_two_thousand_rows_need_little_memory() -> None:
    program = gaussian(5, 2000, 5, 1, 20.0)
    tracemalloc.start()
    presolved = presolve(program)
    assert presolved is not None
    dual = shor_bound(presolved)
    certificate, report = certify(presolved.rows, dual, (np.zeros((5, 0)), np.zeros((1, 0))), {})
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert report.verdict is Verdict.PROVED
    assert 0 < certificate.lower_bound <= report.objective
    assert peak < 2**25


def test_rows_that_share_a_feature_count_by_their_weights() -> None:
    plain, random = gaussian(3, 8, 2, 1, 0.3), rng(3)
    rows = np.append(np.arange(8), [0, 1])
    X, Y = plain.X[rows], plain.Y[rows]
    Y[-1] += 1.0
    twice = bound_of(TrainingProgram(X, Y, 0.3))
    omega = np.where(np.arange(10) == 0, 2.0, 1.0)[np.arange(10) != 8]
    weighted = TrainingProgram(np.delete(X, 8, axis=0), np.delete(Y, 8, axis=0), 0.3, sample_weight=omega)
    assert bound_of(weighted) == pytest.approx(twice, rel=1e-6)
    for _ in range(50):
        U, V = random.standard_normal((2, 3)), random.standard_normal((1, 3))
        assert twice <= weighted.objective(U, V)


def test_other_losses_have_the_bounds_of_their_networks() -> None:
    plain = gaussian(3, 12, 2, 1, 0.3)
    program = TrainingProgram(plain.X, np.sign(plain.Y), 0.3, loss="logistic", output_bias="free")
    network, presolved = fit(program), presolve(program)
    own = repair_without_products(presolved.rows.program, presolved.rows.merge_W(program.dual(network.U, network.V)))
    bound = bound_of(program, networks=[(network.U, network.V)])
    assert 0 < own.lower_bound <= bound <= network.objective
    assert bound_of(program) == 0.0
