"""Nodes: the same forms as the whole where the signs are right, with the whole's inequalities and multipliers."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certificates.making.assemble import residual_dual
from certificates.making.repair import repair_form
from certnet.search.circuits import exact_circuits
from certnet.solvers import solve
from certnet.training.trainer import fit
from formulations import ACTIVE, FREE, INACTIVE, LiftedSpace, Program, TrainingProgram, presolve, restrict
from formulations.circuits import planar_circuits
from tests.strategies import SEEDS, rng


def _program(seed: int, n: int, d: int):
    random = rng(seed)
    return presolve(TrainingProgram(random.standard_normal((n, d)), random.standard_normal((n, 2)), 0.1)).program


def _signs_at(program, z: np.ndarray, fixed: np.ndarray) -> np.ndarray:
    signs = np.where(program.space.generators @ z >= 0, ACTIVE, INACTIVE)
    return np.where(fixed, signs, FREE)


@settings(max_examples=60)
@given(SEEDS, st.integers(2, 7), st.integers(1, 4), st.integers(0, 4))
def test_a_node_is_the_whole_where_its_signs_hold(seed: int, n: int, d: int, r: int) -> None:
    plain, random = _program(seed, n, d), rng(seed)
    m, k = plain.space.neurons, plain.space.dimension
    program = plain.with_inequalities(random.standard_normal((r, 2 * m + k)))
    z = random.standard_normal(k)
    node = restrict(program, _signs_at(program, z, random.integers(0, 2, m) == 1))
    part = node.pricing(program.loss.dual(np.zeros(program.shape)))
    whole = program.pricing(program.loss.dual(np.zeros(program.shape)))
    N = np.abs(random.standard_normal((part.positions, part.positions)))
    N = N + N.T
    here, there = part.space.lift(z), whole.space.lift(z)
    assert here @ part.form @ here == pytest.approx(there @ whole.form @ there, abs=1e-9)
    products = there @ whole.lift_inequalities(node.lift(N)) @ there
    assert here @ part.lift_inequalities(N) @ here == pytest.approx(products, abs=1e-9)
    np.testing.assert_array_equal(node.restrict(node.lift(N)), N)


@settings(max_examples=40)
@given(SEEDS, st.integers(1, 6), st.integers(1, 4), st.integers(0, 3))
def test_a_part_of_a_form_is_the_form_where_its_signs_hold(seed: int, n: int, k: int, r: int) -> None:
    random = rng(seed)
    space = LiftedSpace(random.standard_normal((n, k)))
    C, rows = random.standard_normal((space.order, space.order)), random.standard_normal((r, space.order))
    program = Program.of_form(space, C + C.T, np.eye(k), rows)
    z = random.standard_normal(k)
    kept = np.flatnonzero(random.random(r) < 0.7)
    part = restrict(program, _signs_at(program, z, random.random(n) < 0.5), kept)
    form = part.pricing()
    here, there = form.space.lift(z), space.lift(z)
    assert here @ form.form @ here == pytest.approx(there @ program.form @ there, abs=1e-9)
    values = np.concatenate([there[space.phi], rows @ there])
    np.testing.assert_allclose(np.concatenate([here[form.space.phi], form.inequalities @ here]), values[part.positions])


def test_circuits_that_only_imply_a_sign_leave_the_node() -> None:
    # Consecutive rays: with both outer generators active the middle one is too, and its circuit says no more than that.
    plain = _program(0, 6, 2)
    A = plain.space.generators
    circuits = exact_circuits(A, planar_circuits(A))
    program = plain.with_inequalities(circuits.rows(2))
    m = len(A)
    z = rng(1).standard_normal(2)
    for fixed in (np.zeros(m, dtype=bool), np.arange(m) < 3, np.ones(m, dtype=bool)):
        node = restrict(program, _signs_at(program, z, fixed))
        part = node.pricing(program.loss.dual(np.zeros(program.shape)))
        basis = part.space.basis
        rows = np.concatenate([basis[part.space.phi], part.inequalities @ basis])
        rows /= np.linalg.norm(rows, axis=1)[:, None]
        fixed_rows = 2 * len(node.free) + int(fixed.sum())
        cosine = np.abs(np.triu(rows[fixed_rows:] @ rows.T, fixed_rows + 1))
        assert cosine.max(initial=0.0) < 1 - 1e-13
        assert (part.inequalities @ part.space.lift(z) >= -1e-12).all()
    # Where every sign is fixed, circuits are zero or linear consequences of activations.
    assert len(restrict(program, _signs_at(program, z, ~np.zeros(m, dtype=bool))).free) == 0


@pytest.mark.parametrize("fixed", [0, 1])
def test_circuits_close_the_gap_of_a_node_in_the_plane(fixed: int) -> None:
    """The price of the residual of an optimal network is γ, at each of its neurons."""
    random = rng(2)
    original = TrainingProgram(random.standard_normal((9, 2)), random.standard_normal((9, 1)), 0.05)
    presolved, network = presolve(original), fit(original)
    program = presolved.program
    A = program.space.generators
    circuits = exact_circuits(A, planar_circuits(A)).rows(2)
    W = presolved.apply_dual(residual_dual(presolved.rows, network.U, network.V)).W
    z = presolved.scaling.apply_z(network.U[:, 0])
    # The neuron's own sign is fixed where it is clearest, so that the node contains it.
    clear = np.argsort(-np.abs(A @ z))[:fixed]
    signs = _signs_at(program, z, np.isin(np.arange(len(A)), clear))
    prices = []
    for whole in (program, program.with_inequalities(circuits)):
        form = restrict(whole, signs).pricing(W)
        result = solve(form, "interior-point", tolerance=1e-5)
        prices.append(np.sqrt(-repair_form(form, result.dual).delta))
    assert prices[1] >= program.gamma * (1 - 1e-6)
    assert prices[1] <= program.gamma * (1 + 2e-3)
    assert prices[0] >= program.gamma * (1 + 1e-2)
