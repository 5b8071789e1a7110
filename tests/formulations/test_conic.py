"""The conic forms say what the program says: same values at any point, same optimum, same signs of the dual."""

import numpy as np
import pytest

from formulations import InputError, LiftedProgram, RawDual, RawPrimal, conic
from formulations.conic import (
    lower_from_upper,
    starting_point,
    to_matrix,
    to_triangle,
    triangle_size,
    unreduced,
    with_outputs,
)

from .small_programs import clarabel_solve, plain, presolved
from .without_outputs import without_outputs

PROGRAMS = [pytest.param(lambda i=i: presolved(i), id=f"presolved{i}") for i in range(3)]
PROGRAMS += [pytest.param(lambda: plain(5, metric=True), id="plain")]


def network_moment(program: LiftedProgram, seed: int) -> np.ndarray:
    """Face matrix S of three lifted points: in the feasible set by construction."""
    rng = np.random.default_rng(seed)
    space = program.space
    z, v = rng.standard_normal((space.dimension, 3)), rng.standard_normal((space.outputs, 3))
    s = space.face(space.lift(z, v))
    return s @ s.T


def symmetric(seed: int, order: int) -> np.ndarray:
    M = np.random.default_rng(seed).standard_normal((order, order))
    return M + M.T


@pytest.mark.parametrize("order", [1, 2, 5])
def test_triangles_keep_inner_products_and_come_back(order: int) -> None:
    A, B = symmetric(0, order), symmetric(1, order)
    assert to_triangle(A) @ to_triangle(B) == pytest.approx(np.sum(A * B))
    np.testing.assert_allclose(to_matrix(to_triangle(A), order), A)


def test_the_two_triangle_orders() -> None:
    M = np.array([[1.0, 2.0, 3.0], [2.0, 4.0, 5.0], [3.0, 5.0, 6.0]])
    root = np.sqrt(2)
    upper = to_triangle(M)
    np.testing.assert_allclose(upper, [1, 2 * root, 4, 3 * root, 5 * root, 6])
    np.testing.assert_allclose(upper[lower_from_upper(3)], [1, 2 * root, 3 * root, 4, 5 * root, 6])


@pytest.mark.parametrize("form", [with_outputs, without_outputs, unreduced])
def test_row_permutation_touches_triangles_alone(form) -> None:
    data = form(presolved(0))
    order = data.lower_order()
    assert sorted(order) == list(range(len(data.b)))
    head = data.zero + data.nonnegative
    np.testing.assert_array_equal(order[:head], np.arange(head))
    assert head + sum(triangle_size(k) for k in data.psd) == len(data.b)


@pytest.mark.parametrize("make", PROGRAMS)
def test_networks_are_feasible_with_the_value_of_the_program(make) -> None:
    program = make()
    S = network_moment(program, 3)
    space = program.space
    G = space.moment(S)
    for form, matrix in ((with_outputs, S), (unreduced, G)):
        data = form(program)
        residual = program.target - program.weight[:, None] * G[program.feature, space.v]
        x = np.concatenate([to_triangle(matrix), residual.ravel()])
        slack = data.b - data.A @ x
        np.testing.assert_allclose(slack, data.project(slack), atol=1e-9)
        assert data.value(x) == pytest.approx(program.value(G))
        np.testing.assert_allclose(data.recover_primal(x).S, S, atol=1e-12)


@pytest.mark.parametrize("make", PROGRAMS)
def test_eliminating_the_outputs_minimises_over_them(make) -> None:
    """The closed form never exceeds the value of a network's output block, and the best block attains it."""
    program = make()
    S = network_moment(program, 3)
    space, c = program.space, program.space.outputs
    inner = S[:-c, :-c]
    data = without_outputs(program)
    features = space.with_outputs(0).moment(inner)[np.ix_(program.feature, program.feature)]
    M = program.gamma * np.eye(len(features)) + np.outer(program.weight, program.weight) * features
    Z = program.target.T @ np.linalg.solve(M, program.target)
    x = np.concatenate([to_triangle(inner), to_triangle(Z)])
    slack = data.b - data.A @ x
    np.testing.assert_allclose(slack, data.project(slack), atol=1e-9)
    assert data.value(x) <= program.value(space.moment(S)) + 1e-12
    assert data.value(x) > 0
    # Kernel ridge regression on a factor of S attains it.
    R = np.linalg.cholesky(inner + 1e-14 * np.eye(len(inner)))
    factor = program.weight[:, None] * (space.with_outputs(0).expand(R))[program.feature]
    V = factor.T @ np.linalg.solve(M, program.target)
    lifted = np.vstack([R, V.T])
    assert program.value(space.moment(lifted @ lifted.T)) == pytest.approx(data.value(x), rel=1e-5)


@pytest.mark.parametrize("make", PROGRAMS)
def test_forms_agree_and_their_duals_are_dual(make) -> None:
    program = make()
    values = {}
    for form in (with_outputs, without_outputs):
        data = form(program)
        x, y = clarabel_solve(data)
        values[form.__name__] = data.value(x)
        dual = data.recover_dual(x, y)
        np.testing.assert_array_equal(dual.N, dual.N.T)
        i = np.arange(program.space.neurons)
        signs = dual.N.copy()
        signs[i, i + len(i)] = signs[i + len(i), i] = 0.0
        assert signs.min() >= -1e-7
        assert program.dual_value(dual.W) == pytest.approx(data.value(x), rel=1e-4)
        # With the wrong sign or factor anywhere the slack would be far from PSD, or its value far from the optimum.
        slack = program.slack(dual.W, dual.N)
        assert np.linalg.eigvalsh(slack)[0] >= -1e-6 * max(1.0, float(np.abs(slack).max()))
        assert max(data.residuals(x, y)) <= 1e-4
    assert values["with_outputs"] == pytest.approx(values["without_outputs"], rel=1e-4)


@pytest.mark.parametrize("make", PROGRAMS)
def test_primal_iterates_have_the_optimal_value(make) -> None:
    program = make()
    data = with_outputs(program)
    x, _ = clarabel_solve(data)
    primal = data.recover_primal(x)
    assert primal.outputs == program.space.outputs
    G = program.space.moment(primal.S)
    assert program.value(G) == pytest.approx(data.value(x), rel=1e-4)
    assert np.linalg.eigvalsh(G)[0] >= -1e-6
    assert G[program.space.phi, program.space.phi].min() >= -1e-6


@pytest.mark.parametrize("index", [0, 1])
def test_the_papers_form_agrees_loosely(index: int) -> None:
    program = presolved(index)
    data, reference = unreduced(program), with_outputs(program)
    x, y = clarabel_solve(data)
    x_reference, _ = clarabel_solve(reference)
    assert data.value(x) == pytest.approx(reference.value(x_reference), rel=1e-2)
    dual = data.recover_dual(x, y)
    assert program.dual_value(dual.W) == pytest.approx(data.value(x), rel=1e-2)
    assert np.linalg.eigvalsh(program.slack(dual.W, dual.N))[0] >= -1e-4
    assert data.recover_primal(x).S.shape == (program.space.face_order,) * 2


def test_residuals_of_undefined_points_are_infinite() -> None:
    data = with_outputs(presolved(1))
    x, y = np.full(len(data.q), np.nan), np.zeros(len(data.b))
    assert data.residuals(x, y) == (np.inf, np.inf)


def test_residuals_see_an_infeasible_point_and_a_wrong_sign() -> None:
    program = presolved(1)
    data = with_outputs(program)
    x, y = clarabel_solve(data)
    m = triangle_size(program.space.face_order)
    worse = x.copy()
    worse[:m] -= to_triangle(np.eye(program.space.face_order))
    assert data.residuals(worse, y)[0] > 1e-2
    assert data.residuals(x, -y)[1] > 1e-2


@pytest.mark.parametrize("make", PROGRAMS)
def test_starting_point_inverts_the_recovery(make) -> None:
    program = make()
    data = with_outputs(program)
    x, y = clarabel_solve(data)
    start_x, start_y = starting_point(program, data, data.recover_primal(x), data.recover_dual(x, y))
    np.testing.assert_allclose(start_x, x, atol=1e-4)
    np.testing.assert_allclose(start_y, y, atol=1e-4)


def test_starting_point_without_outputs_and_wrong_shapes() -> None:
    program = presolved(1)
    data = with_outputs(program)
    order = program.space.face_order - program.space.outputs
    x, y = starting_point(program, data, RawPrimal(np.eye(order), 0), None)
    S = data.recover_primal(x).S
    np.testing.assert_allclose(S[:order, :order], np.eye(order))
    assert not S[order:].any()
    assert np.isfinite(y).all()
    with pytest.raises(InputError, match="primal warm start"):
        starting_point(program, data, RawPrimal(np.eye(order + 1), 0), None)
    with pytest.raises(InputError, match="dual warm start"):
        starting_point(program, data, None, RawDual(program.target, np.zeros((1, 1))))


def test_a_matrix_that_would_not_fit_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conic, "MAXIMUM_ENTRIES", 10)
    with pytest.raises(InputError, match="admm"):
        with_outputs(presolved(0))
