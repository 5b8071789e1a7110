"""The formula behind the repair, for any shift τ: h̄²(τ) bounds the true price for random data and multipliers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certificates.making.repair import project
from certificates.making.shifted import _SETTLED, ShiftedBound, complementary, shifted_bound
from formulations import Dual, Program, TrainingProgram, merge_rows
from tests.strategies import SEEDS, networks, programs, rng


def _bound(program: Program, W: np.ndarray, N: np.ndarray, t: np.ndarray) -> ShiftedBound:
    form = program.pricing(W)
    multipliers = form.lift_inequalities(N) + complementary(t, form.space.order)
    return shifted_bound(form.space, multipliers - form.form, form.metric)


def _multipliers(program: Program, random: np.random.Generator) -> Dual:
    """W near that of the zero network, and N of any sign."""
    zero, m = np.zeros(program.shape), 2 * program.space.neurons
    return Dual(program.loss.dual(zero) + random.standard_normal(program.shape), random.standard_normal((m, m)))


@settings(max_examples=80)
@given(programs(), SEEDS, st.floats(-6, 4))
def test_every_shift_gives_a_bound(program: TrainingProgram, seed: int, exponent: float) -> None:
    merged = merge_rows(program)
    if merged.program.space.neurons == 0:
        return
    random = rng(seed)
    dual = _multipliers(merged.program, random)
    W, N, t = project(merged.program, Dual(dual.W, dual.N * 10.0 ** random.integers(-2, 3)))
    bound = _bound(merged.program, W, N, t)
    tau = float(bound.values[-1]) + 10.0**exponent * max(float(np.abs(bound.values).max()), 1e-9)
    h_squared = bound(tau)
    A = merged.program.space.generators
    U = np.hstack([random.standard_normal((A.shape[1], 50)), A.T, -A.T])
    U /= np.linalg.norm(U, axis=0)
    phi = np.vstack([np.maximum(A @ U, 0), np.maximum(-A @ U, 0)])[merged.program.feature]
    values = np.sum(((merged.program.weight[:, None] * W).T @ phi) ** 2, axis=0)
    assert values.max() <= h_squared * (1 + 1e-8) + 1e-12
    if not (0 < h_squared < 1e300):
        return
    # Hence the lower bound of math: s⟨W,T⟩ − s²/2‖W‖² with s = min(γ/h̄, ⟨W,T⟩/‖W‖²) is below every network.
    alignment, square = float(np.sum(W * merged.program.loss.dual(np.zeros(merged.program.shape)))), float(np.sum(W**2))
    s = max(min(program.gamma / np.sqrt(h_squared), alignment / square), 0.0)
    lower = merged.program.to_original(s * alignment - 0.5 * s**2 * square)
    best = min(program.objective(*network) for network in networks(program, seed, count=6))
    assert lower <= best * (1 + 1e-9) + 1e-12


@settings(max_examples=25)
@given(programs(), SEEDS, st.integers(-2, 2))
def test_no_shift_on_a_fine_grid_is_better_than_the_one_found(program: TrainingProgram, seed: int, power: int) -> None:
    merged = merge_rows(program)
    if merged.program.space.neurons == 0:
        return
    dual = _multipliers(merged.program, rng(seed))
    bound = _bound(merged.program, *project(merged.program, Dual(dual.W, dual.N * 10.0**power)))
    tau, h_squared = bound.best()
    assert bound(tau) == h_squared
    largest, spread = float(bound.values[-1]), float(np.abs(bound.values).max())
    far, near = np.geomspace(1e-11, 1e3, 1000), np.geomspace(0.9, 1.1, 101)
    others = bound.many(np.concatenate([largest + spread * far, largest + (tau - largest) * near]))
    assert h_squared <= others.min() * (1 + _SETTLED)


def test_a_shift_below_the_spectrum_bounds_nothing() -> None:
    merged = merge_rows(TrainingProgram(np.eye(2), np.eye(2), 1.0))
    W, N, t = project(merged.program, Dual(merged.program.loss.dual(np.zeros(merged.program.shape)), np.zeros((4, 4))))
    bound = _bound(merged.program, W, N, t)
    assert bound(float(bound.values[-1])) == pytest.approx(np.inf)
