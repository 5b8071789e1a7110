"""Any dual becomes a bound, and no bound exceeds what a network reaches."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certificates import Verdict, check
from certificates.making.assemble import assemble, certify, residual_dual
from certificates.making.repair import project, repair
from certificates.making.shifted import complementary, shifted_bound
from certnet.solvers import solve
from formulations import Dual, InputError, TrainingProgram, merge_rows, presolve
from tests.strategies import SEEDS, networks, programs, rng


def random_dual(merged, random: np.random.Generator, kind: str) -> Dual:
    """Duals from sensible to absurd."""
    m = merged.program.space.neurons
    shape = merged.program.shape
    W = random.standard_normal(shape)
    if kind in ("target", "residual"):
        W = merged.program.loss.dual(np.zeros(merged.program.shape)) + (0.1 * W if kind == "residual" else 0.0)
    N = random.standard_normal((2 * m, 2 * m)) * 10.0 ** random.integers(-3, 3)
    if kind == "zero":
        W, N = 0 * W, 0 * N
    if kind == "huge":
        W, N = 1e200 * W, 1e200 * N
    if kind == "not finite":
        W.flat[0] = np.nan
        N.flat[-1] = np.inf
    return Dual(W, N)


KINDS = st.sampled_from(["plain", "target", "residual", "zero", "huge", "not finite"])


@settings(max_examples=40)
@given(programs(), SEEDS, KINDS)
def test_repaired_bounds_never_exceed_a_network(program: TrainingProgram, seed: int, kind: str) -> None:
    merged = merge_rows(program)
    best = min(program.objective(U, V) for U, V in networks(program, seed))
    repaired = repair(merged.program, random_dual(merged, rng(seed), kind))
    assert repaired.lower_bound <= best * (1 + 1e-9)
    assert repaired.lower_bound >= merged.program.constant * (1 - 1e-9) - 1e-300


@settings(max_examples=20)
@given(programs(), SEEDS, KINDS)
def test_what_is_certified_is_proved_and_true(program: TrainingProgram, seed: int, kind: str) -> None:
    merged = merge_rows(program)
    pool = list(networks(program, seed))
    U, V = min(pool, key=lambda network: program.objective(*network))
    certificate, report = certify(merged, [random_dual(merged, rng(seed), kind), residual_dual(merged, U, V)], U, V)
    assert report.verdict is Verdict.PROVED, report.reason
    assert certificate.lower_bound <= report.lower_bound
    assert report.lower_bound <= min(program.objective(*network) for network in pool) * (1 + 1e-12)
    assert report.objective == pytest.approx(program.objective(U, V), rel=1e-9)


def test_scaling_the_dual_changes_nothing() -> None:
    program = TrainingProgram(rng(0).standard_normal((6, 3)), rng(1).standard_normal((6, 2)), 0.3)
    merged = merge_rows(program)
    dual = random_dual(merged, rng(2), "residual")
    bounds = [repair(merged.program, Dual(s * dual.W, s**2 * dual.N)).lower_bound for s in (1e-6, 1.0, 1e5)]
    np.testing.assert_allclose(bounds, bounds[0], rtol=1e-7)


def test_one_point_in_one_dimension_is_tight() -> None:
    """x = 1, y, one output: p = min over a ≥ 0 of ½(a − y)² + γa = γy − γ²/2 for y ≥ γ, ½y² below; y < 0 flips v."""
    for y, expected in [(2.0, 0.5 * 2.0 - 0.125), (-2.0, 0.875), (0.3, 0.045)]:
        merged = merge_rows(TrainingProgram([[1.0]], [[y]], 0.5))
        bound = repair(
            merged.program, Dual(merged.program.loss.dual(np.zeros(merged.program.shape)), np.zeros((2, 2)))
        ).lower_bound
        assert bound == pytest.approx(expected, rel=1e-6)


def test_wrong_shapes_are_refused() -> None:
    merged = merge_rows(TrainingProgram(np.eye(2), np.eye(2), 1.0))
    with pytest.raises(InputError, match="shapes"):
        repair(merged.program, Dual(np.zeros((3, 2)), np.zeros((4, 4))))


@settings(max_examples=15)
@given(programs(max_n=5, max_d=3), SEEDS)
def test_invariances_of_the_bound(program: TrainingProgram, seed: int) -> None:
    """Order of data, signs of targets, and units: scaling X by a and γ by a, or Y by a and γ by a with bound a²."""
    random = rng(seed)
    n = program.shape[0]

    def bound(X: np.ndarray, Y: np.ndarray, gamma: float, W: np.ndarray) -> float:
        merged = merge_rows(TrainingProgram(X, Y, gamma))
        m = merged.program.space.neurons
        return repair(merged.program, Dual(merged.merge_W(W), np.zeros((2 * m, 2 * m)))).lower_bound

    X, Y, gamma = program.X, program.Y, program.gamma
    W = Y + 0.1 * random.standard_normal(Y.shape)
    reference = bound(X, Y, gamma, W)
    order = random.permutation(n)
    tolerance = {"rel": 1e-5, "abs": 1e-12}
    assert bound(X[order], Y[order], gamma, W[order]) == pytest.approx(reference, **tolerance)
    assert bound(X, -Y, gamma, -W) == pytest.approx(reference, **tolerance)
    assert bound(8.0 * X, Y, 8.0 * gamma, W) == pytest.approx(reference, **tolerance)
    assert bound(X, 8.0 * Y, 8.0 * gamma, 8.0 * W) == pytest.approx(64.0 * reference, **tolerance)


@given(programs(max_n=5, max_d=3), SEEDS)
def test_a_repeated_point_counts_twice(program: TrainingProgram, seed: int) -> None:
    """Duplicating a point with targets y, y equals one point with weight √2: the merged programs coincide."""
    X = np.vstack([program.X, program.X[:1]])
    Y = np.vstack([program.Y, program.Y[:1]])
    once = merge_rows(program)
    twice = merge_rows(TrainingProgram(X, Y, program.gamma))
    np.testing.assert_array_equal(once.program.space.generators, twice.program.space.generators)
    for U, V in networks(program, seed, count=3):
        extra = 0.5 * float(np.sum((np.maximum(program.X[:1] @ U, 0) @ V.T - program.Y[:1]) ** 2))
        lam = twice.program.space.lift(U, V)
        value = twice.program.to_original(twice.program.value(lam @ lam.T))
        assert value == pytest.approx(program.objective(U, V) + extra, rel=1e-9, abs=1e-9)


def test_an_infeasible_dual_is_not_proved() -> None:
    """Skipping the repair must not slip through the checker."""
    random = rng(3)
    program = TrainingProgram(random.standard_normal((6, 3)), random.standard_normal((6, 2)), 0.3)
    merged = merge_rows(program)
    honest = repair(merged.program, random_dual(merged, rng(2), "residual"))
    stretched = type(honest)(W=1.5 * honest.W, N=honest.N, t=honest.t, lower_bound=0.0)
    U, V = np.zeros((3, 1)), np.zeros((2, 1))
    assert check(assemble(merged, honest, U, V, {})).verdict is Verdict.PROVED
    assert check(assemble(merged, stretched, U, V, {})).verdict is Verdict.UNKNOWN


def test_the_factor_of_the_multipliers_is_found_again() -> None:
    """Multipliers that are off by a common factor cost almost nothing: h̄² is convex in that factor."""
    program = TrainingProgram(rng(0).standard_normal((9, 3)), rng(1).standard_normal((9, 2)), 0.3)
    presolved = presolve(program)
    assert presolved is not None
    dual = solve(presolved.program, "interior-point").dual
    merged = presolved.undo_dual(dual)
    reference = repair(presolved.rows.program, merged).lower_bound
    without = repair(presolved.rows.program, Dual(merged.W, np.zeros_like(merged.N))).lower_bound
    assert without < 0.95 * reference
    for factor in (0.3, 0.7, 1.5, 4.0):
        scaled = repair(presolved.rows.program, Dual(merged.W, factor * merged.N)).lower_bound
        assert reference * 0.98 <= scaled <= reference * (1 + 1e-4)


@pytest.mark.slow
@given(programs(), SEEDS, st.sampled_from(["plain", "target", "residual"]))
def test_the_factor_never_costs_anything(program: TrainingProgram, seed: int, kind: str) -> None:
    merged = merge_rows(program)
    if merged.program.space.neurons == 0:
        return
    W, N, t = project(merged.program, random_dual(merged, rng(seed), kind))
    form = merged.program.pricing(W)
    multipliers = form.lift_inequalities(N) + complementary(t, form.space.order)
    plain = shifted_bound(form.space, multipliers - form.form, form.metric)
    _, h_squared = plain.best()
    repaired = repair(merged.program, Dual(W, (N + complementary(t, len(N))) / merged.program.gamma))
    if repaired.scale > 0:
        assert repaired.h_bar**2 <= h_squared * (1 + 1e-6)
