"""Pricing: monotone climbs, exact enumeration in the plane, and degenerate data."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certnet.training import pricing
from certnet.training.pricing import Pricing, climbed, distinct, draw_starts, price_planar, unit_columns, values
from formulations import InputError


def price(X, W, starts=None, *, samples=100, random_state=0) -> Pricing:
    """What is reached from given starts and drawn ones."""
    drawn = draw_starts(X, W, samples, np.random.default_rng(random_state))
    U = drawn if starts is None else np.hstack([unit_columns(starts), drawn])
    return climbed(X, W, U)


@given(seed=st.integers(0, 10**6), n=st.integers(1, 25), d=st.integers(1, 6), c=st.integers(1, 7))
def test_no_start_is_better_than_the_best_point_reached(seed, n, d, c):
    generator = np.random.default_rng(seed)
    X, W = generator.standard_normal((n, d)), generator.standard_normal((n, c))
    starts = generator.standard_normal((d, 15))
    found = price(X, W, starts, samples=10, random_state=seed)
    np.testing.assert_allclose(np.linalg.norm(found.directions, axis=0), 1.0, atol=1e-12)
    np.testing.assert_allclose(values(X, W, found.directions), found.values, rtol=1e-12)
    assert np.all(np.diff(found.values) <= 0)
    assert found.best >= values(X, W, unit_columns(starts)).max() * (1 - 1e-12)


@settings(max_examples=40)
@given(seed=st.integers(0, 10**6), n=st.integers(2, 25), c=st.integers(1, 4))
def test_enumeration_in_the_plane_equals_a_dense_search(seed, n, c):
    generator = np.random.default_rng(seed)
    X, W = generator.standard_normal((n, 2)), generator.standard_normal((n, c))
    exact = price_planar(X, W)
    angle = np.linspace(0, 2 * np.pi, 4001)
    sampled = values(X, W, np.vstack([np.cos(angle), np.sin(angle)]))
    # Between samples the value can change by at most its Lipschitz constant ‖W‖‖X‖ times half the spacing.
    slack = np.linalg.norm(W, 2) * np.linalg.norm(X, 2) * np.pi / 4000
    assert sampled.max() <= exact.best * (1 + 1e-12) <= sampled.max() + slack
    heuristic = price(X, W, samples=60, random_state=seed)
    assert heuristic.best == pytest.approx(exact.best, rel=1e-9)


@pytest.mark.parametrize("n", [4, 12, 16, 20, 36])
def test_rows_on_a_circle_are_priced_as_well(n):
    """Their angles meet, and differ by rounding at the end of the circle."""
    angle = 2 * np.pi * np.arange(n) / n
    X, W = np.column_stack([np.cos(angle), np.sin(angle)]), np.random.default_rng(n).standard_normal((n, 2))
    dense = np.linspace(0, 2 * np.pi, 4001)
    sampled = values(X, W, np.vstack([np.cos(dense), np.sin(dense)])).max()
    slack = np.linalg.norm(W, 2) * np.linalg.norm(X, 2) * np.pi / 4000
    assert sampled * (1 - 1e-12) <= price_planar(X, W).best <= sampled + slack


def peak_of(work):
    """What it allocates at most, in bytes."""
    tracemalloc.start()
    work()
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return peak


def test_memory_is_linear_in_the_rows_and_features():
    generator = np.random.default_rng(0)
    X, W = generator.standard_normal((3000, 2)), generator.standard_normal((3000, 2))
    assert peak_of(lambda: price_planar(X, W)) < 3000 * 8 * 200
    wide, targets, starts = (generator.standard_normal(shape) for shape in ((20, 200), (20, 1), (200, 100)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pricing, "BATCH", 200**2)
        assert peak_of(lambda: climbed(wide, targets, unit_columns(starts), max_steps=3)) < 10 * 8 * 200**2


def test_every_planar_maximiser_is_local():
    generator = np.random.default_rng(4)
    X, W = generator.standard_normal((15, 2)), generator.standard_normal((15, 2))
    found = price_planar(X, W)
    angle = np.arctan2(found.directions[1], found.directions[0])
    assert len(found.values) >= 2
    for shift in (-1e-5, 1e-5):
        near = values(X, W, np.vstack([np.cos(angle + shift), np.sin(angle + shift)]))
        assert np.all(near <= found.values * (1 + 1e-12))


@settings(max_examples=25)
@given(seed=st.integers(0, 10**6))
def test_points_reached_are_local_maxima(seed):
    generator = np.random.default_rng(seed)
    X, W = generator.standard_normal((20, 4)), generator.standard_normal((20, 2))
    found = price(X, W, samples=20, random_state=0)
    step = 1e-6 * generator.standard_normal((4, 500))
    for u, value in zip(found.directions.T, found.values, strict=True):
        around = unit_columns(u[:, None] + step)
        assert values(X, W, around).max() <= value * (1 + 1e-9)


def test_bad_scaling_does_no_harm():
    generator = np.random.default_rng(2)
    basis = generator.standard_normal((30, 3))
    W = generator.standard_normal((30, 2))
    X = basis * np.array([1.0, 1e3, 1e-3])
    found = price(X, W, samples=200, random_state=0)
    more = generator.standard_normal((3, 20000)) * np.array([[1.0], [1e-3], [1e3]])
    assert found.best >= values(X, W, unit_columns(np.hstack([more, generator.standard_normal((3, 20000))]))).max()


def test_rotation_and_equal_rows_leave_the_best_value():
    generator = np.random.default_rng(6)
    X, W = generator.standard_normal((18, 4)), generator.standard_normal((18, 3))
    best = price(X, W, samples=200).best
    rotation = np.linalg.qr(generator.standard_normal((4, 4)))[0]
    assert price(X @ rotation, W, samples=200).best == pytest.approx(best, rel=1e-9)
    # A row written twice with half the weight each, and a zero row, are the same function.
    X2, W2 = np.vstack([X, X[:5], np.zeros((1, 4))]), np.vstack([W, 0.5 * W[:5], W[:1]])
    W2[:5] *= 0.5
    assert price(X2, W2, samples=200).best == pytest.approx(best, rel=1e-9)


def test_degenerate_input_gives_no_direction():
    for X, W in ((np.zeros((4, 3)), np.ones((4, 2))), (np.ones((4, 3)), np.zeros((4, 2)))):
        assert price(X, W).best == 0.0
    assert price_planar(np.zeros((4, 2)), np.ones((4, 1))).best == 0.0
    with pytest.raises(InputError, match="plane"):
        price_planar(np.ones((4, 3)), np.ones((4, 1)))


def test_distinct_keeps_the_best_of_equal_directions():
    U = unit_columns(np.array([[1.0, 1.0, 0.0], [0.0, 1e-7, 1.0]]))
    kept = distinct(U, np.array([1.0, 2.0, 0.5]))
    np.testing.assert_array_equal(kept.values, [2.0, 0.5])
    np.testing.assert_array_equal(kept.directions[:, 0], U[:, 1])


def test_seed_decides_everything():
    generator = np.random.default_rng(1)
    X, W = generator.standard_normal((20, 5)), generator.standard_normal((20, 2))
    first, second = (price(X, W, samples=30, random_state=7) for _ in range(2))
    np.testing.assert_array_equal(first.directions, second.directions)
