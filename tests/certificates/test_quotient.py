"""Repair on the quotient by the null vectors of a free hidden bias."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certificates import Verdict
from certificates.making.assemble import certify
from certificates.making.form_bound import best_multipliers
from certificates.making.quotient import Quotient, balance
from certificates.making.repair import repair, repair_form
from certnet.solvers import solve
from formulations import Dual, Presolved, TrainingProgram, presolve
from tests.strategies import SEEDS, rng


def _training(seed: int, hidden: str = "free", n: int = 12) -> TrainingProgram:
    random = rng(seed)
    X = random.standard_normal((n, 2)) * random.uniform(0.2, 5.0, 2) + random.standard_normal(2)
    Y = np.eye(3)[np.arange(n) % 3]
    return TrainingProgram(X, Y, 0.5, loss="cross-entropy", hidden_bias=hidden, output_bias=hidden)


def _presolved(seed: int, hidden: str = "free") -> tuple[Presolved, np.ndarray]:
    """And W of a random network, balanced."""
    training = _training(seed, hidden)
    presolved, random = presolve(training), rng(seed + 1)
    assert presolved is not None
    W = training.dual(random.standard_normal((3, 2)), random.standard_normal((3, 2)))
    return presolved, presolved.rows.merge_W(W)


def _random_N(n: int, seed: int) -> np.ndarray:
    N = np.abs(rng(seed).standard_normal((2 * n, 2 * n))) * (rng(seed + 1).random((2 * n, 2 * n)) < 0.3)
    return 0.5 * (N + N.T)


@given(SEEDS, st.integers(2, 12))
def test_balanced_matrices_have_equal_sums_and_the_same_cycles(seed: int, n: int) -> None:
    B = rng(seed).random((n, n)) ** 4
    np.fill_diagonal(B, 0.0)
    balanced = balance(B)
    np.testing.assert_allclose(balanced.sum(axis=0), balanced.sum(axis=1), rtol=1e-9, atol=1e-12 * B.max())
    assert (balanced >= 0).all()
    # A diagonal scaling keeps the products along cycles.
    np.testing.assert_allclose(balanced * balanced.T, B * B.T, rtol=1e-9)


def test_matrices_without_cycles_vanish() -> None:
    balanced = balance(np.triu(np.ones((5, 5)), 1))
    assert balanced.max() <= 1e-8
    assert not balance(np.zeros((4, 4))).any()


@settings(max_examples=10)
@given(SEEDS)
def test_it_exists_only_where_the_null_vectors_do(seed: int) -> None:
    presolved, W = _presolved(seed)
    program = presolved.rows.program
    assert Quotient.of(program.pricing(W)) is not None
    W[0, 0] += 0.1 * np.abs(W).max()
    assert Quotient.of(program.pricing(W)) is None
    penalised, W = _presolved(seed, "penalised")
    assert Quotient.of(penalised.rows.program.pricing(W)) is None


@settings(max_examples=20)
@given(SEEDS)
def test_balanced_multipliers_and_the_shift_keep_the_null_vectors(seed: int) -> None:
    presolved, W = _presolved(seed)
    form = presolved.rows.program.pricing(W)
    quotient = Quotient.of(form)
    assert quotient is not None
    space, nu = form.space, np.linalg.eigh(form.cost())[1][:, 0]
    lam = np.concatenate([space.generators @ nu, np.zeros(space.neurons), nu])
    N, t = quotient.balanced(_random_N(space.neurons, seed))
    for products, complementarity in ((N, t), quotient.shifted(N, t, 3.0)):
        whole = form.lift_inequalities(products)
        i = np.arange(space.neurons)
        whole[i, space.neurons + i] += 0.5 * complementarity
        whole[space.neurons + i, i] += 0.5 * complementarity
        assert (products >= 0).all()
        assert np.abs(space.basis.T @ whole @ lam).max() <= 1e-9 * (1 + np.abs(whole).max() * np.abs(lam).max())


@settings(max_examples=6)
@given(SEEDS)
def test_its_bounds_are_true_and_proved(seed: int) -> None:
    presolved, W = _presolved(seed)
    training, random = _training(seed), rng(seed + 2)
    program = presolved.rows.program
    N = _random_N(program.space.neurons, seed) * np.abs(W).max() ** 2 / 50
    form = program.pricing(W)
    repaired = repair_form(form, Dual(np.zeros(form.shape), N))
    lam = form.space.lift(random.standard_normal((3, 200)) * np.array([[1.0], [1.0], [3.0]]))
    slack = np.sum(lam * (form.form @ lam), axis=0) - repaired.delta * np.einsum(
        "ij,ik,kj->j", lam[form.space.z], form.cost(), lam[form.space.z]
    )
    assert (slack >= -1e-9 * np.abs(repaired.delta)).all()
    U, V = random.standard_normal((3, 2)), random.standard_normal((3, 2))
    _, report = certify(presolved.rows, [Dual(W, N / program.gamma)], U, V)
    assert report.verdict is Verdict.PROVED, report.reason
    assert report.lower_bound <= min(training.objective(s * U, s * V) for s in (0.0, 0.1, 0.5, 1.0)) * (1 + 1e-12)


@pytest.mark.parametrize("seed", range(2))
def test_at_an_optimum_it_proves_the_same(seed: int) -> None:
    presolved, W = _presolved(seed)
    form = presolved.rows.program.pricing(W)
    quotient = Quotient.of(form)
    assert quotient is not None
    best = repair_form(form, solve(form, "interior-point", tolerance=1e-9).dual)
    N, t = quotient.repair(best.N, factors=True)
    *_, again = best_multipliers(form, N, t, 1e-9)
    assert again == pytest.approx(-best.delta, rel=1e-3)


@pytest.mark.parametrize("seed", [0, pytest.param(3, marks=pytest.mark.slow)])
def test_training_on_the_quotient_loses_no_more_than_the_region_is_worth(seed: int) -> None:
    """Where the relaxation is loose, its optimum uses the region; where it is tight, it does not."""
    presolved, _ = _presolved(seed)
    assert Quotient.of(presolved.program) is not None
    assert Quotient.of(_presolved(seed, "penalised")[0].program) is None
    bounds = []
    for solver, steps in (("interior-point", 100), ("admm", 800)):
        dual = solve(presolved.program, solver, tolerance=1e-8, max_iterations=steps).dual
        assert dual is not None
        bounds.append(repair(presolved.rows.program, presolved.undo_dual(dual)).lower_bound)
    assert 0.98 * bounds[0] <= bounds[1] <= bounds[0] * (1 + 1e-5)
