"""The compiled passes against array operations, on everything that a step can be about."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certificates.making.quotient import Quotient
from certnet.solvers import loops
from certnet.solvers.arrays import Arrays
from certnet.solvers.iterations import Anderson
from certnet.solvers.loss_map import LossMap
from certnet.solvers.orthonormal import FOR_BOUNDS, orthonormal
from certnet.solvers.splitting import Splitting
from formulations import Program, TrainingProgram, presolve

KINDS = "plain", "gone", "form", "quotient", "form of a quotient"


def _program(kind: str, seed: int) -> Program:
    rng = np.random.default_rng(seed)
    biases = {"hidden_bias": "free", "output_bias": "free"} if kind.endswith("quotient") else {}
    X, Y = rng.standard_normal((7, 3)), rng.standard_normal((7, int(rng.integers(1, 4))))
    presolved = presolve(TrainingProgram(X, Y, 0.3, **biases))
    assert presolved is not None
    program, loss = presolved.program, presolved.program.loss
    assert loss is not None
    if kind.startswith("form"):
        program = program.pricing(loss.project(rng.standard_normal(program.shape)))
    program = orthonormal(program, FOR_BOUNDS).program
    assert (Quotient.of(program) is not None) == kind.endswith("quotient")
    return program


def _splittings(kind: str, seed: int, *, single: bool) -> tuple[Splitting, Splitting]:
    """One with array operations, one with loops."""
    program, layer, made = _program(kind, seed), Arrays(single=single), []
    for smallest in (10**9, 0):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loops, "SMALLEST_ORDER", smallest)
            gone = {"loss": LossMap(program), "gone": np.array([1, program.space.neurons])} if kind == "gone" else {}
            made.append(Splitting(program, layer, **gone))
    assert [splitting._loops is None for splitting in made] == [True, False]
    return made[0], made[1]


@pytest.mark.parametrize("single", [False, True])
@pytest.mark.parametrize("kind", KINDS)
@given(seed=st.integers(0, 10**6))
def test_both_take_the_same_half_steps(kind: str, single: bool, seed: int) -> None:
    plain, compiled = _splittings(kind, seed, single=single)
    rng, layer = np.random.default_rng(seed), plain.layer
    V = rng.standard_normal(plain.shape)
    V, F = layer.array(V + V.T), layer.array(rng.standard_normal((len(V), 3)))
    start, found = layer.array(rng.standard_normal(plain.shape)), []
    for splitting in (plain, compiled):
        Z = layer.copy(start)
        parts = list[np.ndarray]()
        # The second step finds what the first one left in the arrays for work.
        for at in (V, layer.copy(V[::-1, ::-1])):
            X, sizes = splitting.entrywise(at, 0.7, Z)
            gap, size = splitting.gap(F, Z, 1.8)
            assert X.dtype == gap.dtype == layer.dtype
            parts += [layer.copy(Z), np.triu(X), np.array(sizes), gap, np.array(size)]
        found.append(parts)
    tolerance = 1e-4 if single else 1e-12
    for first, second in zip(*found, strict=True):
        np.testing.assert_allclose(first, second, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("single", [False, True])
def test_nan_is_not_lost(single: bool) -> None:
    for splitting in _splittings("plain", 0, single=single):
        V = splitting.layer.array(np.ones(splitting.shape))
        V[1, 2] = V[2, 1] = np.nan
        X, sizes = splitting.entrywise(V, 0.7, splitting.layer.zeros(*splitting.shape))
        assert np.isnan(sizes.entries)
        with pytest.raises(np.linalg.LinAlgError):
            splitting.factor(X, 0)


@pytest.mark.parametrize("single", [False, True])
@given(seed=st.integers(0, 10**6), entries=st.integers(30, 60))
def test_both_extrapolate_alike(single: bool, seed: int, entries: int) -> None:
    rng, layer = np.random.default_rng(seed), Arrays(single=single)
    factors = layer.array(rng.uniform(0.3, 0.99, (entries, entries)))
    fixed, ends = layer.array(rng.standard_normal((entries, entries))), []
    for smallest in (10**9, 0):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loops, "SMALLEST_ORDER", smallest)
            acceleration, V = Anderson(layer, factors.shape, 3, 2), layer.zeros(*factors.shape)
        assert (acceleration._loops is None) == (smallest > 0)
        for _ in range(7):
            R = (factors - 1.0) * (V - fixed)
            V, _ = acceleration.push(V, R, float(np.linalg.norm(R)))
            assert V.dtype == layer.dtype
        ends.append(V)
    np.testing.assert_allclose(*ends, rtol=1e-3, atol=1e-3)
