"""Presolve and undo change neither objective nor bound."""

import numpy as np
import pytest
from hypothesis import given

from certificates import Verdict, check
from certnet import fit, optimality, train
from formulations import Dual, InputError, Primal, TrainingProgram, merge_rows, presolve, rescale
from formulations.parallel import ZERO_ROW
from tests.strategies import SEEDS, networks, programs, rng


def random_dual(program, random: np.random.Generator) -> Dual:
    N = random.standard_normal((2 * program.space.neurons,) * 2)
    return Dual(random.standard_normal(program.shape), N + N.T)


@given(programs(), SEEDS)
def test_objective_of_a_network_survives_both_reductions(program: TrainingProgram, seed: int) -> None:
    presolved = presolve(program)
    for U, V in networks(program, seed, count=4):
        objective = program.objective(U, V)
        merged = merge_rows(program).program
        lam = merged.space.lift(U, V)
        assert merged.to_original(merged.value(lam @ lam.T)) == pytest.approx(objective, rel=1e-9, abs=1e-9)
        if presolved is None:
            continue
        scaling = presolved.scaling
        inside = scaling.undo_z(scaling.apply_z(U))
        lam = scaling.program.space.lift(scaling.apply_z(U), scaling.apply_v(V))
        value = scaling.program.to_original(scaling.program.value(lam @ lam.T))
        assert value == pytest.approx(program.objective(inside, V), rel=1e-7, abs=1e-7 * max(1.0, objective))
        assert value <= objective * (1 + 1e-7) + 1e-7
        z_moment = scaling.apply_z(U) @ scaling.apply_z(U).T
        S = np.zeros((scaling.program.space.face_order,) * 2)
        N = scaling.program.space.neurons
        S[N : N + len(z_moment), N : N + len(z_moment)] = z_moment
        moment = scaling.undo_moment(Primal(S, program.shape[2]))
        np.testing.assert_allclose(moment, inside @ inside.T, rtol=1e-5, atol=1e-6 * np.abs(moment).max())


@given(programs(), SEEDS)
def test_dual_value_survives_both_reductions(program: TrainingProgram, seed: int) -> None:
    presolved = presolve(program)
    if presolved is None:
        return
    dual = random_dual(presolved.program, rng(seed))
    merged = presolved.undo_dual(dual)
    value = presolved.program.to_original(presolved.program.dual_value(dual.W))
    W = presolved.rows.undo_W(merged.W)
    scale = 1 + float(np.sum(W**2))
    assert presolved.rows.program.to_original(presolved.rows.program.dual_value(merged.W)) == pytest.approx(
        value, abs=1e-10 * scale
    )
    assert float(np.sum(W * program.Y) - 0.5 * np.sum(W**2)) == pytest.approx(value, abs=1e-10 * scale)
    np.testing.assert_allclose(presolved.rows.merge_W(W), merged.W, atol=1e-10 * np.sqrt(scale))
    back = presolved.scaling.apply_dual(merged)
    np.testing.assert_allclose(back.W, dual.W, rtol=1e-12)
    np.testing.assert_allclose(back.N, dual.N, rtol=1e-12)


@given(programs(), SEEDS)
def test_slack_forms_agree_up_to_one_factor(program: TrainingProgram, seed: int) -> None:
    presolved = presolve(program)
    if presolved is None:
        return
    random = rng(seed)
    scaled, merged = presolved.program, presolved.rows.program
    dual = random_dual(scaled, random)
    undone = presolved.undo_dual(dual)
    S, T = scaled.slack(dual.W, dual.N), merged.slack(undone.W, undone.N)
    z = random.standard_normal((scaled.space.dimension, 6))
    inner = scaled.space.with_outputs(0).face(scaled.space.with_outputs(0).lift(z))
    outer = merged.space.with_outputs(0).face(merged.space.with_outputs(0).lift(presolved.scaling.undo_z(z)))
    left = np.sum(outer * (T @ outer), axis=0)
    # γ N scales like the whole form, and N by the square of the unit.
    scaling = presolved.scaling
    form_ratio = scaling.unit**2 * merged.gamma / scaled.gamma
    right = form_ratio * np.sum(inner * (S @ inner), axis=0)
    size = np.abs(right).max() + form_ratio * np.abs(S).max() * np.sum(inner**2, axis=0).max()
    np.testing.assert_allclose(left, right, atol=1e-7 * size)


@given(programs())
def test_rescaled_programs_have_unit_generators(program: TrainingProgram) -> None:
    merged = merge_rows(program).program
    if merged.space.neurons:
        generators = rescale(merged).program.space.generators
        np.testing.assert_allclose(np.linalg.norm(generators, axis=1), 1.0, rtol=1e-12)
        assert generators.shape[1] == np.linalg.matrix_rank(generators)


def test_zero_rows_and_merged_rows_leave_their_constant() -> None:
    X = np.array([[0.0, 0.0], [1.0, 0.0], [1.0, 0.0]])
    Y = np.array([[2.0], [1.0], [3.0]])
    merged = merge_rows(TrainingProgram(X, Y, 1.0))
    assert merged.rows.generator.tolist() == [ZERO_ROW, 0, 0]
    # ½·2² of the zero row; rows with other targets share a feature alone.
    assert merged.program.constant == pytest.approx(2.0)
    assert merged.program.feature.tolist() == [0, 0]
    assert merged.program.weight.tolist() == [1.0, 1.0]
    assert merged.program.loss.target.tolist() == [[1.0], [3.0]]


def test_equal_rows_with_equal_targets_add_up_their_weights() -> None:
    X, Y = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [-2.0, 0.0]]), np.array([[1.0], [1.0], [1.0], [1.0]])
    program = TrainingProgram(X, Y, 1.0, sample_weight=[1.0, 2.0, 0.5, 4.0])
    merged = merge_rows(program)
    assert merged.program.loss.sample_weight.tolist() == [1.5, 2.0, 4.0]
    assert merged.program.feature.tolist() == [0, 1, 2]
    assert merged.place.tolist() == [0, 1, 0, 2]
    W = np.array([[3.0], [1.0], [2.0]])
    np.testing.assert_allclose(merged.undo_W(W)[:, 0], [2.0, 1.0, 1.0, 2.0])
    np.testing.assert_allclose(merged.merge_W(merged.undo_W(W)), W)
    assert program.loss.dual_value(merged.undo_W(W)) == pytest.approx(merged.program.dual_value(W))


@pytest.mark.parametrize("tiny", [1e-77, 1e-170, 1e-300, 5e-324])
def test_rows_whose_squares_vanish_leave_like_zero_rows(tiny: float) -> None:
    X = np.array([[tiny, -tiny], [1.0, 0.0], [1.0, 2.0], [2 * tiny, -2 * tiny]])
    Y = np.array([[2.0], [1.0], [3.0], [1.0]])
    merged = merge_rows(TrainingProgram(X, Y, 0.1))
    assert merged.program.constant == pytest.approx(2.5)
    assert merged.program.loss.dual(np.zeros(merged.program.shape))[:, 0].tolist() == pytest.approx([1.0, 3.0])
    W = merged.undo_W(merged.program.loss.dual(np.zeros(merged.program.shape)))
    np.testing.assert_allclose(W, Y)
    np.testing.assert_allclose(merged.merge_W(W), merged.program.loss.dual(np.zeros(merged.program.shape)))
    certificate = train(merged.original, gap=1e-3).certificate
    report = check(certificate)
    assert report.verdict is Verdict.PROVED
    assert report.lower_bound >= 0.99 * report.objective


def test_data_whose_squares_vanish_cannot_be_trained_on() -> None:
    program = TrainingProgram([[1e-80], [-1e-300]], [[1.0], [2.0]], 1.0)
    for job in (train, fit, lambda program: optimality(program, np.ones((1, 1)), np.ones((1, 1)))):
        with pytest.raises(InputError, match="rescale"):
            job(program)


def test_all_zero_data_has_nothing_to_solve() -> None:
    assert presolve(TrainingProgram(np.zeros((3, 2)), np.ones((3, 1)), 1.0)) is None


@pytest.mark.parametrize(
    ("X", "Y", "gamma", "word"),
    [
        ([[np.nan]], [[1.0]], 1.0, "nan"),
        ([[1.0]], [[np.inf]], 1.0, "inf"),
        ([[1.0], [2.0]], [[1.0]], 1.0, "rows"),
        ([[1.0]], [[1.0]], 0.0, "gamma"),
        ([[1.0]], [[1.0]], -1.0, "gamma"),
        ([[1.0]], [[1.0]], np.nan, "gamma"),
        ([[1.0]], [["a"]], 1.0, "real numbers"),
        ([[1.0 + 1.0j]], [[1.0]], 1.0, "real numbers"),
        (np.zeros((0, 2)), np.zeros((0, 1)), 1.0, "empty"),
        (np.zeros((2, 2, 2)), np.zeros((2, 1)), 1.0, "dimensions"),
        ([[1e51]], [[1.0]], 1.0, "rescale"),
        ([[1.0]], [[1e200]], 1.0, "rescale"),
        ([[1.0]], [[1.0]], 1e-320, "between"),
        ([[1.0]], [[1.0]], 1e300, "between"),
    ],
)
def test_bad_data_get_one_sentence(X, Y, gamma: float, word: str) -> None:
    with pytest.raises(InputError, match=word) as caught:
        TrainingProgram(X, Y, gamma)
    assert "\n" not in str(caught.value)


@given(SEEDS)
def test_a_column_that_stands_in_for_the_bias_costs_nothing_more(seed: int) -> None:
    """Columns of categories add up to the column of ones; a free bias is cheaper than they are."""
    random = rng(seed)
    dummies = np.eye(3)[np.concatenate([np.arange(3), random.integers(0, 3, 9)])]
    X = np.hstack([random.standard_normal((12, 2)), dummies])
    Y = np.where(random.standard_normal(12) > 0, 1.0, -1.0)
    program = TrainingProgram(X, Y, 0.7, loss="logistic", hidden_bias="free", output_bias="free")
    presolved = presolve(program)
    assert presolved is not None
    U, V = random.standard_normal((6, 3)), random.standard_normal((1, 3))
    # What the categories have in common is better left to the bias.
    common = U[2:5].mean(axis=0)
    cheapest = U + np.outer([0, 0, -1, -1, -1, 1], common)
    np.testing.assert_allclose(program.fitted(cheapest, V), program.fitted(U, V), atol=1e-12)
    moment = presolved.program.space.moment(presolved.apply_network(U, V).S)
    value = presolved.program.to_original(presolved.program.value(moment))
    assert value == pytest.approx(program.objective(cheapest, V), rel=1e-9)
    np.testing.assert_allclose(presolved.scaling.undo_z(presolved.scaling.apply_z(U)), cheapest, atol=1e-9)
