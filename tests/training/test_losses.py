"""Training with every loss, weights and biases: the group lasso against a modelling tool, and what must not matter."""

from dataclasses import replace
from itertools import product

import cvxpy as cp
import numpy as np
import pytest

from certnet.training import fit
from certnet.training.group_lasso import group_lasso
from certnet.training.polish import balance, merge, network_dual, polish, prune, reduce_width, refit
from certnet.training.pricing import largest_prices, normalised, values
from formulations import TrainingProgram
from formulations.losses import COUNTS, ONE_HOT, SIGNS, kind_named

LOSSES = (
    "squared",
    "cross-entropy",
    "logistic",
    "hinge",
    "squared-hinge",
    "huber:0.7",
    "absolute",
    "quantile:0.8",
    "poisson",
)
BIASES = ("none", "penalised", "free")
SMOOTH = ("squared", "cross-entropy", "logistic", "squared-hinge", "huber:0.7", "poisson")


def _targets(loss: str, n: int, c: int, rng: np.random.Generator) -> np.ndarray:
    takes = kind_named(loss).targets
    if takes == ONE_HOT:
        return np.eye(c)[rng.permutation(np.arange(n) % c)]
    if takes == SIGNS:
        return np.sign(rng.standard_normal((n, c)))
    return rng.poisson(2.0, (n, c)).astype(float) if takes == COUNTS else rng.standard_normal((n, c))


def _program(loss: str, *, seed: int = 0, n: int = 12, d: int = 2, c: int = 2, gamma: float = 0.3, **options):
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((n, d))
    if options.pop("weights", False):
        options["sample_weight"] = rng.uniform(0.2, 3.0, n)
    return TrainingProgram(X, _targets(loss, n, c, rng), gamma, loss=loss, **options)


def _modelled(loss: str, f: cp.Expression, Y: np.ndarray, omega: np.ndarray) -> cp.Expression:
    """The loss in a modelling tool, from the table's definitions."""
    name, _, number = loss.partition(":")
    w = np.repeat(omega[:, None], Y.shape[1], axis=1)
    margin = 1 - cp.multiply(Y, f)
    if name == "cross-entropy":
        return omega @ (cp.log_sum_exp(f, axis=1) - cp.sum(cp.multiply(Y, f), axis=1))
    constant = np.sum(w * np.where(Y > 0, Y * np.log(np.maximum(Y, 1e-300)) - Y, 0.0)) if name == "poisson" else 0.0
    each = {
        "squared": lambda: 0.5 * cp.square(f - Y),
        "logistic": lambda: cp.logistic(-cp.multiply(Y, f)),
        "hinge": lambda: cp.pos(margin),
        "squared-hinge": lambda: 0.5 * cp.square(cp.pos(margin)),
        "huber": lambda: 0.5 * cp.huber(f - Y, float(number)),
        "absolute": lambda: cp.abs(f - Y),
        "quantile": lambda: float(number) * cp.pos(Y - f) + (1 - float(number)) * cp.pos(f - Y),
        "poisson": lambda: cp.exp(f) - cp.multiply(Y, f),
    }[name]()
    return cp.sum(cp.multiply(w, each)) + constant


@pytest.mark.parametrize(("loss", "bias"), list(product(LOSSES, BIASES)))
def test_the_group_lasso_agrees_with_a_modelling_tool(loss: str, bias: str) -> None:
    program = _program(loss, output_bias=bias, weights=True)
    U = normalised(program, np.random.default_rng(1).standard_normal((2, 6)))
    H = np.maximum(program.X @ np.hstack([U, U[:, :1]]), 0.0)
    result = group_lasso(H, program.loss, program.gamma)
    assert result.gap <= 1e-8
    assert result.dual_value <= result.objective * (1 + 1e-12)
    V, a = cp.Variable((2, 7)), cp.Variable((1, 2))
    f = H @ V.T + np.ones((len(H), 1)) @ a
    cost = _modelled(loss, f, program.Y, program.loss.sample_weight) + program.gamma * cp.sum(cp.norm(V, axis=0))
    if bias == "penalised":
        cost += 0.5 * program.gamma * cp.sum_squares(a)
    problem = cp.Problem(cp.Minimize(cost), [a == 0] if bias == "none" else [])
    problem.solve(solver=cp.CLARABEL)
    assert result.objective == pytest.approx(problem.value, rel=1e-6)
    # W is a dual: in the domain, its columns sum to 0 under a free bias, and no column has a larger price.
    np.testing.assert_allclose(result.W, program.loss.project(result.W), atol=1e-9)
    if bias == "free":
        np.testing.assert_allclose(result.W.sum(axis=0), 0.0, atol=1e-9)
    assert np.linalg.norm(H.T @ result.W, axis=1).max() <= program.gamma * (1 + 1e-5)


@pytest.mark.parametrize(
    "loss",
    ["squared", "cross-entropy", *(pytest.param(loss, marks=pytest.mark.slow) for loss in LOSSES[2:])],
)
def test_the_optimum_does_not_depend_on_how_the_data_are_written(loss: str) -> None:
    biases = {"hidden_bias": "free", "output_bias": "free"}
    program = _program(loss, n=8, d=1, gamma=0.5, **biases)
    x, Y = program.X[:, :1], program.Y
    value = fit(program).objective

    def again(x: np.ndarray, Y: np.ndarray, gamma: float = 0.5, **options) -> float:
        return fit(TrainingProgram(x, Y, gamma, loss=loss, **biases, **options)).objective

    assert value <= program.objective(np.zeros((2, 0)), np.zeros((2, 0))) * (1 + 1e-12)
    assert again(x + 7.0, Y) == pytest.approx(value, rel=1e-6)
    order = np.random.default_rng(1).permutation(8)
    assert again(x[order], Y[order]) == pytest.approx(value, rel=1e-6)
    assert again(3.0 * x, Y, 1.5) == pytest.approx(value, rel=1e-6)
    weights = np.append(2.0, np.ones(7))
    assert again(x, Y, sample_weight=weights) == pytest.approx(
        again(np.vstack([x, x[:1]]), np.vstack([Y, Y[:1]])), rel=1e-6
    )


@pytest.mark.parametrize("loss", LOSSES)
def test_with_one_feature_the_primal_and_the_dual_value_meet(loss: str) -> None:
    program = _program(loss, n=9, d=1, gamma=0.5, hidden_bias="free", output_bias="free", weights=True)
    result = fit(program)
    assert result.converged
    W = network_dual(program, result.U, result.V) if result.W is None else result.W
    # Brute force: in the bias the price is largest with a row on its kink.
    x = program.X[:, 0]
    every = np.array([[sign, -sign * kink] for sign in (-1.0, 1.0) for kink in x]).T
    price = float(values(program.X, W, every).max())
    assert largest_prices(program, W).best == pytest.approx(price, rel=1e-12)
    lower = program.loss.dual_value(min(1.0, program.gamma / price) * W)
    assert lower <= result.objective * (1 + 1e-9)
    assert lower == pytest.approx(result.objective, rel=1e-5)


@pytest.mark.parametrize(("loss", "decay"), list(product(("hinge", "absolute", "quantile:0.8"), (0.0, 0.3, 30.0))))
def test_the_bias_on_kinks_is_the_best(loss: str, decay: float) -> None:
    rng = np.random.default_rng(5)
    whole = _program(loss, n=9, output_bias="free", weights=True).loss
    piecewise, R = replace(whole, bias_decay=decay), rng.standard_normal((9, 2))
    best = piecewise.bias(R)
    value = piecewise.value(R, best)
    for shift in (1e-6, 1e-3, 0.1, 3.0):
        for way in rng.standard_normal((40, 2)):
            assert value <= piecewise.value(R, best + shift * way) * (1 + 1e-14)


@pytest.mark.parametrize(("loss", "bias"), list(product(LOSSES, BIASES)))
def test_no_rewriting_raises_the_objective(loss: str, bias: str) -> None:
    program = _program(loss, seed=3, n=10, d=2, hidden_bias=bias, output_bias=bias)
    rng = np.random.default_rng(4)
    U, V = rng.standard_normal((program.shape[1], 7)), rng.standard_normal((2, 7))
    before = program.objective(U, V)
    for rewrite in (
        lambda: balance(program, U, V),
        lambda: merge(program, U, V),
        lambda: prune(program, U, V),
        lambda: reduce_width(program, U, V),
        lambda: refit(program, U, V),
        lambda: polish(program, U, V, max_iterations=15),
    ):
        assert program.objective(*rewrite()) <= before * (1 + 1e-9)


def test_a_constant_neuron_leaves_for_the_output_bias() -> None:
    program = _program("logistic", hidden_bias="free", output_bias="free")
    U, V = np.array([[1.0, 0.0], [2.0, 0.0], [0.5, 3.0]]), np.array([[1.0, 4.0], [-1.0, 5.0]])
    for rewritten in (balance(program, U, V), refit(program, U, V), polish(program, U, V)):
        assert rewritten[0].shape[1] <= 1
        assert program.objective(*rewritten) < program.objective(U, V)


@pytest.mark.parametrize("seed", range(4))
def test_prices_under_a_free_bias_are_local_maxima(seed: int) -> None:
    rng = np.random.default_rng(seed)
    X = rng.standard_normal((30, 3)) * np.array([1.0, 30.0, 0.1]) + np.array([5.0, -100.0, 0.0])
    program = TrainingProgram(X, rng.standard_normal((30, 2)), 0.1, hidden_bias="free", output_bias="free")
    W = program.dual(np.zeros((4, 0)), np.zeros((2, 0)))
    found = largest_prices(program, W, samples=60, random_state=seed)
    np.testing.assert_allclose(np.linalg.norm(found.directions[:-1], axis=0), 1.0, atol=1e-12)
    np.testing.assert_allclose(values(program.X, W, found.directions), found.values, rtol=1e-12)
    best = found.directions[:, :1]
    for size in (1e-2, 1e-4, 1e-6):
        near = best[:-1] + size * rng.standard_normal((3, 300)) / np.array([[1.0], [30.0], [0.1]])
        near = near / np.linalg.norm(near, axis=0)
        every = np.hstack([np.vstack([near, -program.X[i, :3] @ near]) for i in range(30)])
        assert values(program.X, W, every).max() <= found.best * (1 + 1e-8)


@pytest.mark.slow
@pytest.mark.parametrize("loss", SMOOTH)
def test_descent_reaches_a_stationary_point(loss: str) -> None:
    program = _program(loss, n=20, d=3, c=2, gamma=0.5, hidden_bias="free", output_bias="free")
    result = fit(program, time_limit=20.0)
    assert result.price_ratio <= 1 + 1e-4
    W = program.dual(result.U, result.V)
    np.testing.assert_allclose(W.sum(axis=0), 0.0, atol=1e-6)
    H = np.maximum(program.X @ result.U, 0.0)
    np.testing.assert_allclose(W.T @ H, program.gamma * result.V, atol=1e-3)
