"""A loss, its conjugate, its prox and its scales agree with each other."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from formulations import LiftedSpace, Program, SquaredLoss
from tests.strategies import SEEDS, rng


@st.composite
def losses(draw: st.DrawFn) -> tuple[SquaredLoss, np.random.Generator]:
    random, f, c = rng(draw(SEEDS)), draw(st.integers(1, 5)), draw(st.integers(1, 3))
    return SquaredLoss(np.arange(f), random.uniform(0.5, 2.0, f), random.standard_normal((f, c))), random


@given(losses())
def test_the_dual_value_is_a_lower_bound_that_the_gradient_attains(case) -> None:
    loss, random = case
    R, W = random.standard_normal((2, *loss.target.shape))
    assert loss.dual_value(W) <= loss.value(R) + np.sum(W * R) + 1e-9
    own = loss.dual(R)
    assert loss.dual_value(own) == pytest.approx(loss.value(R) + np.sum(own * R), abs=1e-9)


@given(losses(), st.floats(0.1, 10.0))
def test_the_prox_is_where_the_gradient_vanishes(case, penalty: float) -> None:
    loss, random = case
    G = random.standard_normal(loss.target.shape)
    P = loss.prox(np.asarray)(G, penalty)
    weight = loss.weight[:, None]
    np.testing.assert_allclose(weight * loss.dual(weight * P), penalty * (P - G), atol=1e-9)


@given(losses(), st.floats(0.1, 10.0))
def test_rescaling_changes_the_units_alone(case, unit: float) -> None:
    loss, random = case
    size, G = random.uniform(0.5, 2.0, len(loss.weight)), random.standard_normal(loss.target.shape)
    other = loss.rescaled(size, unit)
    here, there = loss.weight[:, None] * G, other.weight[:, None] * (G / size[:, None])
    assert unit**2 * other.value(there) == pytest.approx(loss.value(here))
    np.testing.assert_allclose(unit * other.dual(there), loss.dual(here), atol=1e-9)


@given(losses())
def test_scales_are_the_best_and_the_least(case) -> None:
    loss, random = case
    W = loss.target + 0.3 * random.standard_normal(loss.target.shape)
    best = loss.best_scale(W)
    found = minimize_scalar(lambda s: -loss.dual_value(s * W))
    assert loss.dual_value(best * W) == pytest.approx(-found.fun, abs=1e-9)
    top = loss.dual_value(best * W)
    assert loss.least_scale(W, 2.0 * abs(top) + 1.0) is None
    if best > 0:
        least = loss.least_scale(W, 0.5 * top)
        assert least is not None
        assert least <= best * (1 + 1e-9)
        assert loss.dual_value(least * W) == pytest.approx(0.5 * top)
    assert loss.best_scale(0.0 * W) == 0.0


def test_a_price_limits_the_scale_and_nan_proves_nothing() -> None:
    loss = SquaredLoss(np.array([0]), np.ones(1), np.ones((1, 1)))
    program, W = Program(LiftedSpace(np.ones((1, 1)), 1), np.eye(1), loss, gamma=0.5), np.ones((1, 1))
    assert program.best_scale(W) == 1.0
    assert program.best_scale(W, 1.0) == 0.5
    assert program.best_scale(W, 1.0, margin=1.0) == 0.25
    assert program.best_scale(W, 0.1) == 1.0
    assert program.best_scale(-W) == program.best_scale(0.0 * W) == program.best_scale(np.nan * W) == 0.0
    assert program.best_scale(W, np.nan) == program.best_scale(W, np.inf) == 0.0
