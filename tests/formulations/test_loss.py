"""A loss, its conjugate, its prox, its bias and its scales agree with each other."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from formulations import InputError, LiftedSpace, Program
from formulations.loss import FREE_BIAS, NO_BIAS, Loss
from formulations.losses import COUNTS, KINDS, ONE_HOT, SIGNS, Kind, kind_named, name_of, smoothed
from formulations.prox import Prox
from tests.strategies import SEEDS, rng

NAMES = [*KINDS, "huber:0.3", "quantile:0.8"]
BIASES = [NO_BIAS, 0.7, FREE_BIAS]


def targets_of(kind: Kind, random: np.random.Generator, n: int, c: int) -> np.ndarray:
    """Targets that a loss takes."""
    if kind.targets == ONE_HOT:
        return np.eye(max(c, 2))[random.integers(0, max(c, 2), n)]
    if kind.targets == SIGNS:
        return random.choice([-1.0, 1.0], (n, c))
    return random.poisson(2.0, (n, c)).astype(float) if kind.targets == COUNTS else random.standard_normal((n, c))


@st.composite
def losses(draw: st.DrawFn, names: list[str] = NAMES) -> tuple[Loss, np.random.Generator]:
    """Any loss with weights, bias and unit; one with kinks is smoothed where there is a bias."""
    random, n, c = rng(draw(SEEDS)), draw(st.integers(2, 6)), draw(st.integers(1, 3))
    kind, decay = kind_named(draw(st.sampled_from(names))), draw(st.sampled_from(BIASES))
    kind = kind if decay == NO_BIAS else smoothed(kind, 0.1)
    target = targets_of(kind, random, n, c)
    if kind.targets == SIGNS:
        target[:2] = [[1.0], [-1.0]]  # with one class alone a free bias runs away
    if kind.targets == ONE_HOT:
        target = np.vstack([np.eye(target.shape[1]), target])
    if kind.targets == COUNTS:
        target[0] = 1.0
    return Loss(target, kind, random.uniform(0.5, 2.0, len(target)), decay, draw(st.sampled_from([1.0, 3.0]))), random


@given(losses())
def test_the_dual_value_is_a_lower_bound_that_the_slope_attains(case) -> None:
    loss, random = case
    R, other = random.standard_normal((2, *loss.shape))
    own, W = loss.dual(R), loss.project(random.standard_normal(loss.shape) * loss.size())
    assert loss.dual_value(W) <= loss.value(other) + np.sum(W * other) + 1e-8 * (1.0 + loss.size())
    assert loss.dual_value(own) == pytest.approx(loss.value(R) + np.sum(own * R), rel=1e-8, abs=1e-8)


@given(losses())
def test_the_slope_is_that_of_the_value(case) -> None:
    loss, random = case
    loss = replace(loss, kind=smoothed(loss.kind, 0.1))
    R, direction = random.standard_normal((2, *loss.shape))
    step = 1e-5 * direction
    change = loss.value(R + step) - loss.value(R - step)
    assert change == pytest.approx(-2.0 * np.sum(loss.dual(R) * step), rel=1e-4, abs=1e-7)


@given(losses())
def test_a_penalised_bias_is_its_decay_and_a_free_one_balances_the_dual(case) -> None:
    loss, random = case
    R = random.standard_normal(loss.shape)
    total, size = loss.dual(R).sum(axis=0), loss.size()
    if not loss.has_bias:
        np.testing.assert_array_equal(loss.bias(R), 0.0)
    else:
        np.testing.assert_allclose(total, loss.bias_decay * loss.bias(R), atol=1e-5 * size)
        for shift in random.standard_normal((5, loss.shape[1])):
            assert loss.value(R) <= loss.value(R, loss.bias(R) + shift) + 1e-9 * size


@given(losses(), st.sampled_from([1e-12, 1e12]))
def test_the_bias_does_not_depend_on_the_unit_of_the_weights(case, unit: float) -> None:
    loss, random = case
    loss = replace(loss, kind=smoothed(loss.kind, 0.1))
    R = random.standard_normal(loss.shape)
    decay = unit * loss.bias_decay if loss.has_bias else loss.bias_decay
    other = replace(loss, sample_weight=unit * loss.sample_weight, bias_decay=decay)
    assert other.value(R) == pytest.approx(unit * loss.value(R), rel=1e-6)


@given(losses())
def test_what_is_projected_lies_in_the_domain(case) -> None:
    loss, random = case
    W = loss.project(random.standard_normal(loss.shape) * loss.size())
    assert loss.largest_scale(W) >= 1.0 - 1e-9
    if loss.bias_decay == FREE_BIAS:
        np.testing.assert_allclose(W.sum(axis=0), 0.0, atol=1e-9 * loss.size())
    if loss.kind.couples:
        np.testing.assert_allclose(W.sum(axis=1), 0.0, atol=1e-9 * loss.size())
    np.testing.assert_allclose(loss.project(W), W, atol=1e-9 * loss.size())


@given(losses(), st.floats(0.1, 10.0), SEEDS)
def test_the_slope_vanishes_at_the_prox_of_shared_features_and_as_it_goes_on(case, penalty: float, seed: int) -> None:
    loss, random = case
    loss = replace(loss, kind=smoothed(loss.kind, 0.1))
    features = int(random.integers(1, len(loss.target) + 1))
    feature, kappa = random.integers(0, features, len(loss.target)), random.uniform(0.5, 2.0, len(loss.target))
    G = random.standard_normal((features, loss.shape[1]))
    prox, start = Prox(loss, feature, kappa, features), None
    for step in (0.1, 1.0, 0.0):
        start = P, a = prox(G, penalty, start=start)
        R = kappa[:, None] * P[feature]
        pull = np.zeros_like(G)
        np.add.at(pull, feature, kappa[:, None] * loss.dual(R, a))
        np.testing.assert_allclose(pull, penalty * (P - G), atol=1e-5 * loss.size())
        np.testing.assert_allclose(loss.value(R, a), loss.value(R), rtol=1e-7, atol=1e-9)
        # The next map goes on from here; what is asked between changes nothing.
        prox.go_on()
        between = prox(2.0 * G, penalty, start=start), prox(G, penalty, start=start)
        np.testing.assert_array_equal(between[1][0], prox(G, penalty, start=start)[0])
        G = G + step * random.standard_normal(G.shape)
    # A step that failed leaves a start of no use.
    lost = np.full_like(G, np.nan), np.zeros(loss.shape[1])
    np.testing.assert_array_equal(prox(G, penalty, start=lost)[0], prox(G, penalty)[0])


@given(losses(), st.floats(0.1, 10.0))
def test_rescaling_changes_the_units_alone(case, unit: float) -> None:
    loss, random = case
    loss = replace(loss, kind=smoothed(loss.kind, 0.1))
    R, other = random.standard_normal(loss.shape), replace(loss, unit=loss.unit * unit)
    assert unit**2 * other.value(R / unit) == pytest.approx(loss.value(R), rel=1e-6, abs=1e-9)
    np.testing.assert_allclose(unit * other.dual(R / unit), loss.dual(R), atol=1e-5 * loss.size())
    W = loss.dual(R)
    assert unit**2 * other.dual_value(W / unit) == pytest.approx(loss.dual_value(W), rel=1e-6, abs=1e-9)


@given(losses())
def test_a_row_of_weight_two_is_two_rows(case) -> None:
    loss, random = case
    loss = replace(loss, kind=smoothed(loss.kind, 0.1))
    R = random.standard_normal(loss.shape)
    twice = replace(loss, sample_weight=loss.sample_weight + np.eye(len(R))[0] * loss.sample_weight[0])
    rows = np.append(np.arange(len(R)), 0)
    assert twice.value(R) == pytest.approx(loss.take(rows).value(R[rows]), rel=1e-7)


@given(losses())
def test_scales_are_the_best_and_the_least(case) -> None:
    loss, random = case
    W = loss.dual(0.3 * random.standard_normal(loss.shape))
    best, limit = loss.best_scale(W), min(loss.largest_scale(W), 1e3)
    found = minimize_scalar(lambda s: -loss.dual_value(s * W), bounds=(0.0, limit), method="bounded")
    top = loss.dual_value(best * W)
    assert top >= -found.fun - 1e-6 * max(1.0, abs(found.fun))
    assert loss.least_scale(W, 2.0 * abs(top) + 1.0) is None
    if best > 0:
        least = loss.least_scale(W, 0.5 * top)
        assert least is not None
        assert least <= best * (1 + 1e-9)
        assert loss.dual_value(least * W) == pytest.approx(0.5 * top, rel=1e-6)
    assert loss.best_scale(0.0 * W) == 0.0


def test_names_are_read_as_they_are_written() -> None:
    for name in NAMES:
        kind = kind_named(name)
        assert kind_named(name_of(smoothed(kind, 0.1))) == kind
        assert kind.has_kinks == (kind.name in ("hinge", "absolute", "quantile"))
    for wrong in ("huber:0", "huber:x", "quantile:1", "squared:2", "mse", "quantile:nan", "huber:inf"):
        with pytest.raises(InputError):
            kind_named(wrong)


def test_a_price_limits_the_scale_and_nan_proves_nothing() -> None:
    loss, W = Loss(np.ones((1, 1))), np.ones((1, 1))
    program = Program(LiftedSpace(np.ones((1, 1)), 1), np.eye(1), loss, np.array([0]), np.ones(1), gamma=0.5)
    assert program.best_scale(W) == 1.0
    assert program.best_scale(W, 1.0) == 0.5
    assert program.best_scale(W, 1.0, margin=1.0) == 0.25
    assert program.best_scale(W, 0.1) == 1.0
    assert program.best_scale(-W) == program.best_scale(0.0 * W) == program.best_scale(np.nan * W) == 0.0
    assert program.best_scale(W, np.nan) == program.best_scale(W, np.inf) == 0.0
