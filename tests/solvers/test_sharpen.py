"""Sharpened duals of forms: never worse than repair, optimal for their products, and invariant."""

import numpy as np
import pytest
import scipy.optimize as so
from hypothesis import given, settings
from hypothesis import strategies as st

from certificates.making.repair import raw_dual, repair_form
from certnet.solvers.admm import admm
from certnet.solvers.interface import SolverOptions, SolveStatus
from certnet.solvers.rounds import Rounds
from certnet.solvers.sharpen import sharpen
from formulations import Dual, LiftedSpace, Program, TrainingProgram, merge_rows
from tests.strategies import SEEDS, programs, rng


def _price(n: int, k: int, c: int, seed: int = 0) -> Program:
    random = rng(seed)
    W = random.standard_normal((n, c))
    form = np.zeros((2 * n + k, 2 * n + k))
    form[:n, :n] = -W @ W.T
    return Program.of_form(LiftedSpace(random.standard_normal((n, k))), form, np.eye(k))


def _random_dual(program: Program, seed: int, size: float = 1.0) -> Dual:
    N = np.abs(rng(seed).standard_normal((program.positions, program.positions)))
    return Dual(np.zeros(program.shape), size * (N + N.T))


def _delta(program: Program, dual: Dual) -> float:
    return repair_form(program, dual).delta


def _is_feasible(program: Program, dual: Dual) -> bool:
    repaired = repair_form(program, dual)
    N = raw_dual(np.zeros(program.shape), repaired.N, repaired.t, gamma=1.0).N
    slack = program.slack(repaired.delta, N)
    return bool(repaired.N.min(initial=0.0) >= 0 and np.linalg.eigvalsh(slack)[0] >= -1e-8 * np.abs(slack).max())


@pytest.mark.parametrize("error", [KeyboardInterrupt, MemoryError])
def test_what_ends_the_last_sharpening_leaves_the_solve(error: type, monkeypatch: pytest.MonkeyPatch) -> None:
    form = _price(6, 3, 2)

    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(Rounds, "run", fails)
    result = admm(form, SolverOptions(max_iterations=60))
    assert result.status is (SolveStatus.INTERRUPTED if error is KeyboardInterrupt else SolveStatus.ITERATION_LIMIT)
    assert result.iterations == 60
    assert result.dual is not None
    assert _is_feasible(form, result.dual)
    assert np.isfinite(_delta(form, result.dual))


@pytest.mark.slow
@settings(max_examples=15)
@given(programs(), SEEDS, st.integers(-6, 3))
def test_never_worse_than_repair(program: TrainingProgram, seed: int, exponent: int) -> None:
    lifted, random = merge_rows(program).program, rng(seed)
    if lifted.space.neurons == 0:
        return
    form = lifted.pricing(random.standard_normal(lifted.shape))
    size = float(np.abs(form.form).max())
    dual = _random_dual(form, seed, size * 10.0**exponent)
    sharpened = sharpen(form, dual)
    before, after = _delta(form, dual), _delta(form, sharpened)
    assert after >= before - 1e-6 * abs(before)
    Z = np.hstack([random.standard_normal((form.space.dimension, 50)), form.space.generators.T])
    lam = form.space.lift(Z)
    values = np.sum(lam * (form.form @ lam), axis=0) / np.sum(Z * (form.metric @ Z), axis=0)
    assert after <= float(values.min()) + 1e-9 * size


def test_it_is_the_best_t_and_factor() -> None:
    # Two generators: a direct search over t and ν, in which δ is the least eigenvalue of a Schur complement.
    program = _price(2, 2, 2, seed=5)
    dual = _random_dual(program, 6, 0.05)
    i = np.arange(2)
    N = dual.N.copy()
    N[i, 2 + i] = N[2 + i, i] = 0.0

    def delta(x: np.ndarray) -> float:
        t, factor = x[:2], np.exp(x[2])
        M = program.slack(0.0, raw_dual(np.zeros(program.shape), factor * N, t, gamma=1.0).N)
        if np.linalg.eigvalsh(M[:2, :2])[0] <= 1e-12:
            return 1e3
        return -float(np.linalg.eigvalsh(M[2:, 2:] - M[2:, :2] @ np.linalg.solve(M[:2, :2], M[:2, 2:]))[0])

    searches = [
        so.minimize(delta, [-a, -a, b], method="Nelder-Mead", options={"maxiter": 4000, "xatol": 1e-9, "fatol": 1e-10})
        for a in (1.0, 5.0, 20.0)
        for b in (-3.0, 0.0)
    ]
    best = -min(float(search.fun) for search in searches)
    sharpened = sharpen(program, dual)
    assert _delta(program, sharpened) == pytest.approx(best, rel=1e-3)
    assert _delta(program, sharpened) <= best + 1e-6 * abs(best)


def test_the_products_are_a_multiple_of_those_given() -> None:
    program = _price(6, 3, 2)
    dual = _random_dual(program, 1, 0.1)
    sharpened = sharpen(program, dual)
    i = np.arange(6)
    off = np.ones_like(dual.N, dtype=bool)
    off[i, 6 + i] = off[6 + i, i] = False
    ratio = sharpened.N[off] / dual.N[off]
    np.testing.assert_allclose(ratio, ratio[0], rtol=1e-9)
    assert ratio[0] > 0
    assert _is_feasible(program, sharpened)


def test_without_products_only_t_is_free() -> None:
    program = _price(10, 3, 2)
    nothing = Dual(np.zeros(program.shape), np.zeros((20, 20)))
    sharpened = sharpen(program, nothing)
    assert _delta(program, sharpened) > _delta(program, nothing) + 1e-3 * abs(_delta(program, nothing))
    np.testing.assert_array_equal(repair_form(program, sharpened).N, 0.0)


def test_scaling_leaves_the_result() -> None:
    random = rng(2)
    program = _price(7, 3, 2)
    dual = _random_dual(program, 3, 0.1)
    reference = _delta(program, sharpen(program, dual))
    r, T = random.uniform(0.1, 10.0, 7), random.standard_normal((3, 3)) + 2.0 * np.eye(3)
    both = np.concatenate([r, r])
    D = np.zeros((17, 17))
    D[:14, :14], D[14:, 14:] = np.diag(1.0 / both), T
    moved = Program.of_form(
        LiftedSpace(r[:, None] * program.space.generators @ T), 1e-6 * D.T @ program.form @ D, T.T @ T
    )
    there = Dual(np.zeros(program.shape), 1e-6 * dual.N / np.outer(both, both))
    assert _delta(moved, sharpen(moved, there)) == pytest.approx(1e-6 * reference, rel=1e-3)


def test_more_steps_of_a_first_order_method_are_saved() -> None:
    # Correlated rows: the uniform shift of repair pays for all of them.
    random = rng(0)
    n, k = 40, 8
    A = random.standard_normal((n, k)) + 2.0
    W = random.standard_normal((n, 2))
    form = np.zeros((2 * n + k, 2 * n + k))
    form[:n, :n] = -W @ W.T
    program = Program.of_form(LiftedSpace(A), form, np.eye(k))
    seen = {}
    for steps in (40, 4000):
        seen[steps] = _delta(program, admm(program, SolverOptions(max_iterations=steps, tolerance=1e-9)).dual)
    assert seen[40] <= seen[4000] + 1e-9 * abs(seen[4000])
    assert seen[40] >= 1.5 * seen[4000]


def test_a_failure_keeps_what_was_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    program = _price(6, 3, 2)
    dual = _random_dual(program, 1, 0.1)
    whole, step = _delta(program, sharpen(program, dual)), Rounds._step

    def stops_after(count: int):
        calls = []

        def stopping(*arguments: object) -> object:
            calls.append(1)
            if len(calls) > count:
                raise np.linalg.LinAlgError("no convergence")
            return step(*arguments)

        return stopping

    monkeypatch.setattr(Rounds, "_step", stops_after(0))
    assert sharpen(program, dual) is dual
    monkeypatch.setattr(Rounds, "_step", stops_after(4))
    assert _delta(program, dual) < _delta(program, sharpen(program, dual)) < whole
