"""Spectrum of a moment matrix, and the points that it is made of."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certnet.tightness.rank import extract_points, spectrum
from formulations import InputError, LiftedSpace
from tests.tightness.matrices import symmetric


def moment(space: LiftedSpace, Z: np.ndarray) -> np.ndarray:
    lam = space.lift(Z)
    return symmetric(lam @ lam.T)


@given(seed=st.integers(0, 2**32 - 1), rank=st.integers(1, 5))
def test_the_rank_of_a_sum_of_points(seed: int, rank: int) -> None:
    rng = np.random.default_rng(seed)
    space = LiftedSpace(rng.standard_normal((8, 3)))
    G = moment(space, rng.standard_normal((3, rank)))
    found = spectrum(G)
    assert found.rank == np.linalg.matrix_rank(G, tol=found.tolerance * np.linalg.norm(G, 2))
    assert found.values[0] == 1.0
    assert list(found.values) == sorted(found.values, reverse=True)
    assert spectrum(1e-200 * G).rank == found.rank


def test_gaps_and_their_places() -> None:
    found = spectrum(np.diag([2.0, 1.0, 1e-3, 1e-9, 0.0]))
    assert (found.rank, found.widest[0]) == (3, 3)
    assert found.gap == pytest.approx(1e6)
    assert found.widest[1] == pytest.approx(1e6)
    assert spectrum(np.eye(3)).gap == np.inf
    assert spectrum(np.zeros((3, 3))).rank == 0


@pytest.mark.parametrize("count", [1, 2, 3])
def test_points_are_found_again(count: int) -> None:
    rng = np.random.default_rng(count)
    space = LiftedSpace(rng.standard_normal((12, 3)))
    Z = rng.standard_normal((3, count))
    found = extract_points(space, moment(space, Z))
    assert found.residual < 1e-7
    assert found.Z.shape == (3, count)
    nearest = [np.linalg.norm(found.Z - z[:, None], axis=0).min() for z in Z.T]
    assert max(nearest) < 1e-4


def test_points_of_one_direction_become_one() -> None:
    space = LiftedSpace(np.random.default_rng(0).standard_normal((6, 2)))
    z = np.array([[0.3], [-1.2]])
    found = extract_points(space, moment(space, np.hstack([z, 2.0 * z])), start=np.hstack([z, 2.0 * z, 1e-12 * z]))
    assert found.Z.shape == (2, 1)
    assert np.linalg.norm(found.Z) == pytest.approx(np.sqrt(5.0) * np.linalg.norm(z))


def test_the_residual_is_that_of_the_points() -> None:
    """A solution of the relaxation that is no sum of points keeps its distance."""
    rng = np.random.default_rng(3)
    space = LiftedSpace(np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))
    G = moment(space, rng.standard_normal((2, 2))) + np.eye(space.order)
    found = extract_points(space, G, time_limit=1.0)
    P = G[space.phi, space.phi]
    assert (found.phi >= 0).all()
    assert found.residual >= np.linalg.norm(found.phi @ found.phi.T - P) / np.linalg.norm(P)
    assert found.residual > 0.05


def test_other_orders_are_refused() -> None:
    space = LiftedSpace(np.ones((2, 1)))
    with pytest.raises(InputError):
        extract_points(space, np.eye(4))
    with pytest.raises(InputError):
        extract_points(space.with_outputs(1), np.eye(6))
