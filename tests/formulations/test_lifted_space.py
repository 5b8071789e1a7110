"""The lifted cone: its coordinates, its face, and the forms on it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from formulations import InputError, LiftedSpace
from tests.strategies import SEEDS, rng


def violation(space: LiftedSpace, lam: np.ndarray) -> float:
    """How far λ (or columns of a matrix) is from K(A): the largest |α − β − Az|, |α_iβ_i| and negative φ_i."""
    alpha, beta = lam[space.alpha], lam[space.beta]
    wrong = np.abs(alpha - beta - space.generators @ lam[space.z]), np.abs(alpha * beta), -lam[space.phi]
    return float(max(part.max(initial=0.0) for part in wrong))


@st.composite
def spaces(draw: st.DrawFn) -> LiftedSpace:
    A = rng(draw(SEEDS)).standard_normal((draw(st.integers(0, 6)), draw(st.integers(1, 4))))
    return LiftedSpace(A, draw(st.integers(0, 3)))


@given(spaces(), SEEDS)
def test_lifted_points_belong_to_the_cone(space: LiftedSpace, seed: int) -> None:
    z = rng(seed).standard_normal((space.dimension, 5))
    lam = space.lift(z)
    assert lam.shape == (space.order, 5)
    # α − β = Az holds up to one rounding of the product.
    assert violation(space, lam) <= 1e-14


@given(spaces(), SEEDS)
def test_face_coordinates_describe_the_lifted_point(space: LiftedSpace, seed: int) -> None:
    random = rng(seed)
    lam = space.lift(random.standard_normal(space.dimension), random.standard_normal(space.outputs))
    np.testing.assert_allclose(space.expand(space.face(lam)), lam, atol=1e-14)
    np.testing.assert_allclose(space.basis @ space.face(lam), lam, atol=1e-14)


@given(spaces(), SEEDS)
def test_moment_and_pull_back_are_adjoint(space: LiftedSpace, seed: int) -> None:
    random = rng(seed)
    S = random.standard_normal((space.face_order, space.face_order))
    Q = random.standard_normal((space.order, space.order))
    S, Q = S + S.T, Q + Q.T
    J = space.basis
    np.testing.assert_allclose(space.moment(S), J @ S @ J.T, atol=1e-12)
    np.testing.assert_allclose(space.pull_back(Q), J.T @ Q @ J, atol=1e-12)


def test_bad_generators_are_refused() -> None:
    with pytest.raises(InputError, match="finite"):
        LiftedSpace(np.array([[np.nan]]))
    with pytest.raises(InputError, match="matrix"):
        LiftedSpace(np.zeros(3))
