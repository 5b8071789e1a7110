"""Circuit inequalities hold on the cone, are the cheapest there are, and survive presolve."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog, nnls

from certnet.search.circuits import exact_circuits
from formulations import Dual, InputError, LiftedSpace, TrainingProgram, merge_rows, presolve
from formulations.circuits import (
    CircuitSet,
    cheapest_circuits,
    planar_circuits,
    signed_rows,
    starting_bases,
    violated_circuits,
)
from tests.strategies import SEEDS, programs, rng


def unit_rows(seed: int, N: int, k: int) -> np.ndarray:
    A = rng(seed).standard_normal((N, k))
    return A / np.linalg.norm(A, axis=1)[:, None]


@settings(max_examples=25)
@given(SEEDS, st.integers(1, 5), st.integers(2, 6))
def test_the_cheapest_circuit_is_that_of_a_linear_program(seed: int, k: int, more: int) -> None:
    A, random = unit_rows(seed, k + more, k), rng(seed + 1)
    N = len(A)
    target = random.integers(2 * N, size=4)
    cost = random.uniform(0.0, 1.0, (4, 2 * N)) * random.integers(0, 2, (4, 2 * N))
    bases, c = cheapest_circuits(A, target, cost)
    rows = signed_rows(A)
    for b in range(4):
        assert (c[b] >= 0).all()
        assert target[b] not in bases[b]
        assert np.linalg.matrix_rank(rows[bases[b]]) == k
        assert c[b] @ rows[bases[b]] == pytest.approx(rows[target[b]], abs=1e-8)
        others = np.delete(np.arange(2 * N), target[b])
        best = linprog(cost[b, others], A_eq=rows[others].T, b_eq=rows[target[b]], bounds=(0, None))
        assert best.status == 0
        assert c[b] @ cost[b, bases[b]] == pytest.approx(best.fun, abs=1e-7)


@settings(max_examples=80)
@given(programs(max_n=9), SEEDS)
def test_circuits_hold_at_every_lifted_point(program: TrainingProgram, seed: int) -> None:
    """Also for parallel rows, deficient rank and bad scales: what the exact test lets through is valid."""
    reduced, random = presolve(program), rng(seed)
    assume(reduced is not None)
    space, there = reduced.program.space, reduced.rows.program.space
    s = random.standard_normal((space.face_order, 3))
    moments = space.moment(s @ s.T)[space.phi, space.phi]
    supports = violated_circuits(space.generators, moments, tolerance=1e-6, count=20)
    circuits = exact_circuits(there.generators, supports)
    Z = np.hstack([random.standard_normal((there.dimension, 40)), there.generators.T])
    rows = circuits.rows(there.dimension)
    lam = there.with_outputs(0).lift(Z)
    assert (rows @ lam >= -1e-9 * (np.abs(rows) @ np.abs(lam))).all()
    assert len(set(circuits.keys)) == len(circuits)


@pytest.mark.parametrize("k", [2, 3, 5])
def test_generic_moments_violate_circuits_and_lifted_points_do_not(k: int) -> None:
    space = LiftedSpace(unit_rows(k, 3 * k, k))
    random = rng(k)
    points = space.lift(random.standard_normal((k, 7)))
    true = points[space.phi] @ points[space.phi].T
    assert violated_circuits(space.generators, true, tolerance=1e-9, count=9) == {}
    # Signs and complementarity hold, and yet this is no point of the cone: all activations are large at random.
    phi = np.abs(points[space.phi]) * random.uniform(0.0, 2.0, (2 * len(space.generators), 7))
    found = violated_circuits(space.generators, phi @ phi.T, tolerance=1e-6, count=9)
    assert 0 < len(found) <= 9
    rows = exact_circuits(space.generators, found).rows(k)
    assert len(rows) == len(found)
    assert (rows @ space.lift(random.standard_normal((k, 500))) >= -1e-12).all()
    assert (np.diff(list(found.values())) <= 0).all()


@settings(max_examples=30)
@given(SEEDS, st.integers(3, 9))
def test_in_the_plane_all_circuits_follow_from_consecutive_ones(seed: int, N: int) -> None:
    A = unit_rows(seed, N, 2)
    circuits = exact_circuits(A, planar_circuits(A))
    assert len(circuits) == 2 * N
    random = rng(seed)
    target = random.integers(2 * N, size=6)
    bases, c = cheapest_circuits(A, target, random.uniform(0.0, 1.0, (6, 2 * N)))
    rows = circuits.rows(0)
    # Modulo α − β = Az, the others are nonnegative combinations.
    face = LiftedSpace(A).basis[: 2 * N]
    for b in range(6):
        other = np.zeros(2 * N)
        other[bases[b]] = c[b]
        other[target[b]] = -1.0
        _, residual = nnls((rows @ face).T, other @ face, maxiter=10_000)
        assert residual <= 1e-7 * np.abs(other).sum()


def test_rows_that_stand_alone_have_no_circuits() -> None:
    A = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.6, 0.8, 0.0], [0.0, 0.0, 1.0]])
    has_bases = (starting_bases(A) >= 0).all(axis=1)
    assert has_bases.tolist() == [True, True, True, False]
    with pytest.raises(InputError, match="leave it out"):
        cheapest_circuits(A, np.array([3]), np.ones((1, 8)))
    assert planar_circuits(np.eye(2)) == []


def test_a_support_without_nonnegative_coefficients_is_left_out() -> None:
    A = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    honest = (2, (0, 1))
    assert exact_circuits(A, [honest, (2, (0, 4)), (0, (1,)), (2, (0, 1, 3))]).keys == [honest]


@settings(max_examples=40)
@given(programs(max_n=7), SEEDS)
def test_presolve_carries_inequalities_and_their_multipliers(program: TrainingProgram, seed: int) -> None:
    """The slack of a dual is the same form in both coordinates, up to one factor."""
    plain, random = presolve(program), rng(seed)
    assume(plain is not None)
    d, m = program.shape[1], plain.program.space.neurons
    both = plain.with_inequalities(random.standard_normal((3, 2 * m + d)))
    scaling, there = both.scaling, both.rows.program
    assert np.linalg.norm(both.program.inequalities, axis=1) == pytest.approx(1.0)
    N = random.standard_normal((both.program.positions, both.program.positions))
    dual = Dual(random.standard_normal(both.program.shape), N + N.T)
    back = both.undo_dual(dual)
    again = both.apply_dual(back)
    np.testing.assert_allclose(again.N, dual.N, rtol=1e-9, atol=1e-12)
    s = random.standard_normal((both.program.space.with_outputs(0).face_order, 5))
    s_there = np.concatenate([scaling.phi[:, None] * s[:m], scaling.z @ s[m:]])
    own = both.program.slack(dual.W, dual.N)
    other = there.slack(back.W, back.N)
    values, others = s.T @ own @ s, s_there.T @ other @ s_there
    factor = (there.gamma / both.program.gamma) * scaling.unit**2
    assert others / factor == pytest.approx(values, rel=1e-6, abs=1e-7 * np.abs(values).max())


def test_inequalities_that_do_not_fit_are_refused() -> None:
    program = merge_rows(TrainingProgram(rng(0).standard_normal((4, 2)), np.ones((4, 1)), 0.1)).program
    assert program.positions == 8
    assert program.with_inequalities(np.ones((3, 10))).positions == 11
    for rows in (np.ones((3, 8)), np.ones(10), np.full((1, 10), np.nan)):
        with pytest.raises(InputError):
            program.with_inequalities(rows)


@pytest.mark.parametrize(
    ("target", "coefficients"),
    [([4], np.ones((1, 4))), ([0], np.ones((1, 4))), ([0], [[0.0, -1.0, 0.0, 0.0]]), ([0, 1], [[0.0, 1.0, 0.0, 0.0]])],
)
def test_circuits_that_do_not_fit_are_refused(target: list, coefficients: list) -> None:
    with pytest.raises(InputError):
        CircuitSet(np.array(target), np.array(coefficients))
