"""Polishing and the rewritings: never worse, and exact where they promise it."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certnet.training.polish import balance, descend, joined, merge, polish, prune, reduce_width, refit
from certnet.training.pricing import candidates_from_moment
from formulations import InputError, TrainingProgram


def _instance(seed, n=15, d=3, c=2, m=8, gamma=0.1):
    generator = np.random.default_rng(seed)
    program = TrainingProgram(generator.standard_normal((n, d)), generator.standard_normal((n, c)), gamma)
    return program, generator.standard_normal((d, m)), generator.standard_normal((c, m))


def _output(program, U, V):
    return np.maximum(program.X @ U, 0.0) @ V.T


@settings(max_examples=15)
@given(seed=st.integers(0, 10**6), m=st.integers(0, 10), scale=st.sampled_from([1e-3, 1.0, 1e3]))
def test_nothing_raises_the_objective(seed, m, scale):
    program, U, V = _instance(seed, m=m)
    U = scale * U
    before = program.objective(U, V)
    for rewrite in (balance, merge):
        assert program.objective(*rewrite(program, U, V)) <= before * (1 + 1e-12)
    assert program.objective(*prune(program, U, V)) <= before * (1 + 1e-9)
    assert program.objective(*refit(program, U, V)) <= before * (1 + 1e-12)
    assert program.objective(*polish(program, U, V, max_iterations=50)) <= before


def test_polish_reaches_a_stationary_point():
    program, U, V = _instance(1)
    U, V = polish(program, *polish(program, U, V, max_iterations=2000), max_iterations=2000)
    R, H = program.dual(U, V), np.maximum(program.X @ U, 0.0)
    np.testing.assert_allclose(R.T @ H, program.gamma * V, atol=1e-4)
    for j in range(U.shape[1]):
        slack = np.abs(program.X @ U[:, j]) > 1e-8
        gradient = program.X[slack].T @ ((R @ V[:, j])[slack] * (H[slack, j] > 0)) - program.gamma * U[:, j]
        kinks = program.X[~slack]
        if len(kinks):
            gradient -= np.linalg.pinv(kinks) @ (kinks @ gradient)
        assert np.linalg.norm(gradient) <= 1e-3 * (1 + np.linalg.norm(U[:, j]))


def test_polish_keeps_data_on_its_kinks():
    program, U, V = _instance(2)
    X = program.X
    U[:, 0] -= X[0] * (X[0] @ U[:, 0]) / (X[0] @ X[0])
    W, _ = descend(program, U, V, max_iterations=30)
    assert abs(X[0] @ W[:, 0]) <= 1e-10 * np.linalg.norm(W[:, 0])
    assert not np.allclose(W[:, 0] / np.linalg.norm(W[:, 0]), U[:, 0] / np.linalg.norm(U[:, 0]))


@given(seed=st.integers(0, 10**6))
def test_balance_and_merge_keep_the_function(seed):
    program, U, V = _instance(seed)
    balanced = balance(program, U, V)
    np.testing.assert_allclose(np.linalg.norm(balanced[0], axis=0), np.linalg.norm(balanced[1], axis=0))
    np.testing.assert_allclose(_output(program, *balanced), _output(program, U, V), atol=1e-12)
    doubled = np.hstack([U, 3 * U]), np.hstack([0.5 * V, V / 6])
    merged = merge(program, *doubled)
    assert merged[0].shape == U.shape
    np.testing.assert_allclose(_output(program, *merged), _output(program, U, V), atol=1e-10)
    assert program.objective(*merged) <= program.objective(*doubled) * (1 + 1e-12)


def test_opposite_neurons_merge_to_nothing_and_dead_ones_are_pruned():
    program, U, V = _instance(3, m=1)
    U2, V2 = merge(program, np.hstack([U, U]), np.hstack([V, -V]))
    assert U2.shape == (3, 0)
    assert V2.shape == (2, 0)
    dead = TrainingProgram(np.abs(program.X), program.Y, 0.1)
    assert prune(dead, -np.abs(U), V)[0].shape[1] == 0


@pytest.mark.parametrize("seed", range(3))
def test_reduced_width_is_critical_and_keeps_outputs(seed):
    program, U, V = _instance(seed, n=4, c=2, m=40)
    U = U[:, np.any(program.X @ U > 0, axis=0)]
    V = V[:, : U.shape[1]]
    reduced = reduce_width(program, U, V)
    assert reduced[0].shape[1] <= 4 * 2 + 1 < U.shape[1]
    np.testing.assert_allclose(_output(program, *reduced), _output(program, U, V), atol=1e-9)
    assert program.objective(*reduced) <= program.objective(*balance(program, U, V)) * (1 + 1e-9)


def test_few_neurons_of_many_rows_are_no_work():
    program, U, V = _instance(0, n=4000, c=10, m=20)
    tracemalloc.start()
    reduced = reduce_width(program, U, V)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4000 * 8 * 100
    assert reduced[0].shape[1] <= U.shape[1]


def test_candidates_contain_what_the_moment_suggests():
    generator = np.random.default_rng(0)
    X, u = generator.standard_normal((6, 4)), generator.standard_normal(4)
    unit = u / np.linalg.norm(u)
    found = candidates_from_moment(np.outer(u, u), X, samples=5)
    assert found.shape == (4, 2 + 5 + 12)
    np.testing.assert_allclose(np.linalg.norm(found, axis=0), 1.0)
    np.testing.assert_allclose(np.abs(unit @ found[:, :7]), 1.0, atol=1e-10)
    np.testing.assert_array_equal(
        candidates_from_moment(np.eye(4), X, random_state=3), candidates_from_moment(np.eye(4), X, random_state=3)
    )
    assert candidates_from_moment(np.zeros((4, 4)), X).shape == (4, 12)
    with pytest.raises(InputError, match="G_uu"):
        candidates_from_moment(np.eye(3), X)


def test_neurons_join_where_the_decay_is_tiny():
    """The best size is then a tiny part of what could be paid for it."""
    generator = np.random.default_rng(4)
    X, fresh = generator.standard_normal((40, 3)), generator.standard_normal((3, 20))
    program = TrainingProgram(X, np.maximum(X @ fresh, 0.0).sum(axis=1, keepdims=True), 1e-6)
    empty = np.zeros((3, 0)), np.zeros((1, 0))
    found = joined(program, *empty, fresh / np.linalg.norm(fresh, axis=0))
    assert program.objective(*found) < 0.2 * program.objective(*empty)
