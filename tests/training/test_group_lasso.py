"""The group lasso: optimality conditions, closed forms, and hard columns."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize

from certnet.training.group_lasso import group_lasso
from formulations import InputError, TrainingProgram
from formulations.loss import Loss


def _instance(seed, n=20, d=3, m=40, c=2):
    generator = np.random.default_rng(seed)
    U = generator.standard_normal((d, m))
    H = np.maximum(generator.standard_normal((n, d)) @ (U / np.linalg.norm(U, axis=0)), 0.0)
    return H, generator.standard_normal((n, c))


@given(seed=st.integers(0, 10**6), gamma=st.sampled_from([0.01, 0.3, 2.0]), c=st.integers(1, 4))
def test_optimality_conditions(seed, gamma, c):
    H, Y = _instance(seed, c=c)
    result = group_lasso(H, Loss(Y), gamma)
    assert result.gap <= 1e-10
    assert result.dual_value <= result.objective * (1 + 1e-14)
    R = Y - H @ result.V.T
    correlation = (H.T @ R).T
    size = np.linalg.norm(result.V, axis=0)
    assert np.linalg.norm(correlation, axis=0).max() <= gamma * (1 + 1e-4)
    on = size > 1e-6
    np.testing.assert_allclose(correlation[:, on], gamma * result.V[:, on] / size[on], atol=2e-4 * gamma)


def test_orthonormal_columns_are_thresholded_as_blocks():
    generator = np.random.default_rng(0)
    H = np.linalg.qr(generator.standard_normal((12, 5)))[0]
    Y = generator.standard_normal((12, 3))
    gamma = 1.8
    product = Y.T @ H
    size = np.linalg.norm(product, axis=0)
    expected = product * np.maximum(1 - gamma / size, 0)
    assert 0 < np.sum(size > gamma) < 5
    np.testing.assert_allclose(group_lasso(H, Loss(Y), gamma).V, expected, atol=1e-8)


def test_one_output_agrees_with_a_bound_constrained_solver():
    H, Y = _instance(3, m=15, c=1)
    gamma = 0.4

    def split(z):
        residual = H @ (z[:15] - z[15:]) - Y[:, 0]
        slope = H.T @ residual
        return 0.5 * residual @ residual + gamma * z.sum(), np.concatenate([slope, -slope]) + gamma

    options = {"maxiter": 5000, "ftol": 1e-15, "gtol": 1e-12}
    reference = minimize(split, np.zeros(30), jac=True, method="L-BFGS-B", bounds=[(0, None)] * 30, options=options)
    assert group_lasso(H, Loss(Y), gamma).objective == pytest.approx(reference.fun, rel=1e-9)


def test_duplicate_collinear_and_zero_columns_change_nothing():
    H, Y = _instance(5)
    plain = group_lasso(H, Loss(Y), 0.2)
    extended = np.hstack([H, H[:, :10], 0.5 * H[:, :10], np.zeros((len(H), 3)), H[:, :4] * (1 + 1e-13)])
    result = group_lasso(extended, Loss(Y), 0.2)
    assert result.gap <= 1e-10
    assert result.objective == pytest.approx(plain.objective, rel=1e-9)
    assert not result.V[:, 60:63].any()


def test_many_candidates_are_fitted_at_once():
    H, Y = _instance(7, n=40, m=1500, c=3)
    result = group_lasso(H, Loss(Y), 0.05)
    assert result.gap <= 1e-10
    assert np.linalg.norm(H.T @ result.W, axis=1).max() <= 0.05 * (1 + 1e-4)


def test_warm_start_gives_the_same_optimum():
    H, Y = _instance(8)
    cold = group_lasso(H, Loss(Y), 0.1)
    warm = group_lasso(H, Loss(Y), 0.1, group_lasso(H, Loss(Y), 0.2).V)
    assert warm.gap <= 1e-10
    assert warm.objective == pytest.approx(cold.objective, rel=1e-9)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_scaling_of_columns_and_decay_cancels(scale):
    H, Y = _instance(9)
    plain = group_lasso(H, Loss(Y), 0.1)
    scaled = group_lasso(scale * H, Loss(Y), scale * 0.1)
    assert scaled.gap <= 1e-10
    assert scaled.objective == pytest.approx(plain.objective, rel=1e-9)


def test_large_decay_and_no_columns_give_zero():
    H, Y = _instance(10)
    limit = np.linalg.norm(H.T @ Y, axis=1).max()
    assert not group_lasso(H, Loss(Y), 1.001 * limit).V.any()
    assert group_lasso(H, Loss(Y), 0.99 * limit).V.any()
    empty = group_lasso(np.zeros((len(Y), 0)), Loss(Y), 0.1)
    assert empty.V.shape == (2, 0)
    assert empty.objective == pytest.approx(0.5 * np.sum(Y**2))
    assert not group_lasso(H, Loss(0 * Y), 0.1).V.any()


def test_unusable_input_is_refused():
    H, Y = _instance(11)
    with pytest.raises(InputError, match="one row for each"):
        group_lasso(H[:-1], Loss(Y), 0.1)
    with pytest.raises(InputError, match="not finite"):
        group_lasso(np.full_like(H, np.nan), Loss(Y), 0.1)
    with pytest.raises(InputError, match="gamma"):
        group_lasso(H, Loss(Y), 0.0)


@pytest.mark.parametrize("apart", [0.0, 1e-9, 1e-7])
def test_almost_equal_columns_end_where_rounding_stops_the_gap(apart):
    """Under a loss with kinks, whose proximal point steps went on for 1,400 Newton steps in between."""
    X = np.random.default_rng(0).standard_normal((8, 2))
    U = np.array([[-0.9946927, -0.9946927, 0.98968067], [0.10289036, 0.10289036 + apart, -0.14329054]])
    result = group_lasso(np.maximum(X @ U, 0.0), TrainingProgram(X, np.ones((8, 1)), 0.5, loss="hinge").loss, 0.5)
    assert result.iterations < 1000
    assert 0 <= result.gap < 1e-8
