"""Cutting the weight space: the trees do not depend on how the work is sliced, and what they say is true."""

import time
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from joblib import Parallel

from certificates.failure import Deadline
from certnet.search import cone_kernel as kernel
from certnet.search import cones as search
from certnet.search.cone_kernel import fast_search
from certnet.search.cones import Exploration, Output, basis_of, explore, output_of
from formulations import TrainingProgram, presolve
from formulations.arrays import FloatArray
from tests.strategies import rng


def _output(n: int = 8, d: int = 3, c: int = 2, seed: int = 0) -> Output:
    random = rng(seed)
    X, W = random.standard_normal((n, d)), random.standard_normal((n, c))
    presolved = presolve(TrainingProgram(X, W, 0.1))
    assert presolved is not None
    return output_of(
        presolved.rows.program, presolved.rows.merge_W(W), basis_of(presolved.rows.program.space.generators)
    )


def _value(output: Output, t: FloatArray) -> FloatArray:
    """‖f(u)‖/√(uᵀEu) at the columns t (d×m)."""
    found = output.linear @ t + output.weights.T @ np.maximum(output.rows @ t, 0.0)
    return np.asarray(np.linalg.norm(found, axis=0) / np.sqrt(np.sum(t * (output.metric @ t), axis=0)))


def _largest(output: Output) -> float:
    """The price from below, at many points."""
    return float(_value(output, rng(1).standard_normal((len(output.metric), 20000))).max())


def _same(first: Exploration, second: Exploration) -> bool:
    return np.array_equal(first.codes, second.codes) and np.array_equal(first.positions, second.positions)


@pytest.mark.parametrize(("d", "c"), [(1, 1), (2, 1), (2, 3), (3, 2)])
def test_a_complete_search_bounds_every_point_and_a_refuted_one_has_a_point(d: int, c: int) -> None:
    output = _output(d=d, c=c)
    price = _largest(output)
    proved = explore(output, 1.2 * price)
    assert proved.complete
    assert not proved.refuted
    assert proved.best <= 1.2 * price
    refuted = explore(output, 0.9 * price, notable=0.9 * price)
    assert refuted.refuted
    assert not refuted.complete
    assert len(refuted.codes) == 0
    assert _value(output, refuted.points).max() == pytest.approx(refuted.best, rel=1e-12)
    assert refuted.best > 0.9 * price
    assert (_value(output, refuted.points) > 0.9 * price).all()


def test_the_output_is_that_of_the_data() -> None:
    random = rng(3)
    X = np.vstack([random.standard_normal((5, 3)), np.zeros((1, 3))])
    X[4] = -2.0 * X[0]
    W = random.standard_normal((6, 2))
    presolved = presolve(TrainingProgram(X, W, 0.1))
    assert presolved is not None
    output = output_of(
        presolved.rows.program, presolved.rows.merge_W(W), basis_of(presolved.rows.program.space.generators)
    )
    t = random.standard_normal((3, 50))
    u = output.basis @ t
    expected = np.linalg.norm(W.T @ np.maximum(X @ u, 0.0), axis=0) / np.linalg.norm(u, axis=0)
    assert _value(output, t) == pytest.approx(expected, rel=1e-10)


def test_directions_that_no_row_sees_complete_the_basis() -> None:
    X = rng(0).standard_normal((6, 2)) @ rng(1).standard_normal((2, 4))
    presolved = presolve(TrainingProgram(X, X[:, :1], 0.1))
    assert presolved is not None
    basis = basis_of(X)
    assert basis.shape == (4, 4)
    assert np.linalg.cond(basis) < 1e8
    output = output_of(presolved.rows.program, presolved.rows.merge_W(X[:, :1]), basis)
    assert explore(output, 1.2 * _largest(output)).complete


def test_slices_threads_and_compilation_do_not_change_the_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    output = _output(n=7, d=3)
    limit = 1.02 * _largest(output)
    plain = explore(output, limit)
    monkeypatch.setattr(search, "PLAIN_SLICE_WORK", 56)
    assert _same(plain, explore(output, limit))
    monkeypatch.setattr(search, "is_compiled", lambda: True)
    monkeypatch.setattr(search, "fast_search", lambda: kernel.search)
    monkeypatch.setattr(search, "SLICE", 50)
    with Parallel(n_jobs=2, backend="threading") as pool:
        assert _same(plain, explore(output, limit, pool=pool, busy=2))


@pytest.mark.slow
def test_compiled_and_plain_kernels_agree(monkeypatch: pytest.MonkeyPatch) -> None:
    fast_search()
    for seed in range(5):
        output = _output(n=9, d=3, c=1 + seed % 3, seed=seed)
        limit = 1.01 * _largest(output)
        fast = explore(output, limit)
        with monkeypatch.context() as patch:
            patch.setattr(search, "fast_search", lambda: kernel.search)
            assert _same(fast, explore(output, limit))


def test_limits_end_a_search_and_leave_no_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "PLAIN_SLICE_WORK", 80)
    output = _output()
    limit = 1.001 * _largest(output)
    few = explore(output, limit, max_tests=20)
    assert few.tests == 20
    late = explore(output, limit, deadline=Deadline.after(-1.0))
    assert late.tests == 0
    looks: list[int] = []

    def look(tests: int) -> bool:
        looks.append(tests)
        return len(looks) == 2

    stopped = explore(output, limit, callback=look)
    assert len(looks) == 2
    assert 0 < looks[0] < looks[1] == stopped.tests
    for found in (few, late, stopped):
        assert not found.complete
        assert len(found.codes) == 0


def test_compiling_does_not_count_as_searching(monkeypatch: pytest.MonkeyPatch) -> None:
    # A fresh installation compiles for longer than a short search may take.
    compiled: list[bool] = []

    def compile_slowly() -> Callable[..., Any]:
        if not compiled:
            time.sleep(0.5)
            compiled.append(True)
        return kernel.search

    monkeypatch.setattr(search, "SLICE", 10)
    monkeypatch.setattr(search, "PLAIN_WORK", 0)
    monkeypatch.setattr(search, "is_compiled", lambda: bool(compiled))
    monkeypatch.setattr(search, "fast_search", compile_slowly)
    output = _output()
    found = explore(output, 1.2 * _largest(output), deadline=Deadline.after(0.4))
    assert compiled
    assert found.complete


def test_a_larger_limit_needs_no_more_cones() -> None:
    output = _output()
    price = _largest(output)
    tests = [explore(output, factor * price).tests for factor in (4.0, 1.5, 1.1)]
    assert tests[0] <= tests[1] <= tests[2]


def test_cones_that_are_done_are_not_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the cones that waited after each slice only those that still wait are in memory."""
    sliced = search._slice
    waited: list[weakref.ref[FloatArray]] = []
    alive: list[int] = []

    def followed(*arguments: Any) -> search.Slice:
        answer = sliced(*arguments)
        waited.append(weakref.ref(answer[2]))
        alive.append(sum(cones() is not None for cones in waited))
        return answer

    monkeypatch.setattr(search, "_slice", followed)
    monkeypatch.setattr(search, "PLAIN_SLICE_WORK", 160)
    output = _output(20, 4, 2)
    explore(output, 1.001 * _largest(output), max_tests=400)
    assert len(alive) >= 50
    assert max(alive) <= 3
