"""The rigorous PSD test: what it proves is true, and it proves what has a margin."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certificates.arithmetic import BallMatrix, Enclosure, RationalMatrix
from tests.strategies import SEEDS, rng

BOTH = pytest.mark.parametrize("matrix", [Enclosure, BallMatrix])


@given(SEEDS, st.integers(1, 6), st.floats(-18, -2))
def test_nothing_false_is_proved(seed: int, n: int, exponent: float) -> None:
    """Matrices within 10**exponent of singular, on either side, in bad units."""
    random = rng(seed)
    Q = np.linalg.qr(random.standard_normal((n, n)))[0]
    values = random.random(n) + 0.1
    values[0] = random.choice([-1.0, 1.0]) * 10.0**exponent
    scale = 2.0 ** random.integers(-30, 30, size=n)
    A = scale[:, None] * (Q @ np.diag(values) @ Q.T) * scale
    A = np.tril(A) + np.tril(A, -1).T
    if Enclosure.exact(A).psd_obstacle() is None:
        assert RationalMatrix.exact(A).psd_obstacle() is None
    else:
        # A margin of 1e-12 of the unit diagonal is ample for orders up to 6.
        if not (np.diag(A) > 0).all():
            return
        d = 1 / np.sqrt(np.diag(A))
        assert np.linalg.eigvalsh(d[:, None] * A * d)[0] < 1e-12


@BOTH
@pytest.mark.parametrize("n", [1, 5, 80, 300])
def test_definite_matrices_are_proved(matrix, n: int) -> None:
    R = rng(n).standard_normal((n, n))
    A = R @ R.T + 1e-6 * n * np.eye(n)
    assert matrix.exact(A).psd_obstacle() is None


@BOTH
@pytest.mark.parametrize("n", [2, 40, 200])
@pytest.mark.parametrize("least", [-1e-12, -1e-9, -1e-3])
def test_indefinite_by_a_little_is_not_proved(matrix, n: int, least: float) -> None:
    random = rng(n)
    Q = np.linalg.qr(random.standard_normal((n, n)))[0]
    values = np.ones(n)
    values[0] = least
    assert matrix.exact(Q @ np.diag(values) @ Q.T).psd_obstacle() is not None


@pytest.mark.parametrize("n", [20, 200])
@pytest.mark.parametrize("least", [1e-13, 1e-10])
def test_balls_prove_what_floating_point_cannot(n: int, least: float) -> None:
    random = rng(n)
    Q = np.linalg.qr(random.standard_normal((n, n)))[0]
    values = np.geomspace(least, 1.0, n)
    A = Q @ np.diag(values) @ Q.T
    upper = A + np.triu(random.standard_normal((n, n)), 1)
    assert BallMatrix.exact(np.tril(A) + np.tril(A, -1).T).psd_obstacle() is None
    assert BallMatrix.exact(upper).psd_obstacle() is None  # the lower triangle is read
    assert n < 100 or least > 1e-11 or Enclosure.exact(A).psd_obstacle() is not None


@BOTH
def test_radii_are_charged(matrix) -> None:
    A = np.diag([1.0, 1.0])
    middle = (A,) if matrix is Enclosure else (A, np.zeros((2, 2)))
    uncertain = np.array([[0.0, 0.9], [0.9, 0.0]])
    assert matrix(*middle, uncertain).psd_obstacle() is None
    assert matrix(*middle, uncertain * 1.2).psd_obstacle() is not None


@settings(max_examples=60)
@given(SEEDS, st.integers(2, 8), st.floats(-14, -2))
def test_radii_are_charged_in_a_congruence(seed: int, n: int, exponent: float) -> None:
    """Nearly singular, so that floating point is not enough; the ball holds a matrix that is not definite or not."""
    random = rng(seed)
    Q = np.linalg.qr(random.standard_normal((n, n)))[0]
    values = np.ones(n)
    values[0] = 10.0**exponent
    A = (Q * values) @ Q.T
    A = np.tril(A) + np.tril(A, -1).T
    v = np.linalg.eigh(A)[1][:, 0]
    least, reach = float(v @ A @ v), np.abs(v).sum() ** 2
    rad = np.full((n, n), 1.01 * least / reach + 1e-15)
    assert BallMatrix(A, np.zeros((n, n)), rad).psd_obstacle() is not None
    assert exponent < -12 or BallMatrix(A, np.zeros((n, n)), 0.1 * rad / n).psd_obstacle() is None


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", [0, 1, 2])
def test_numbers_that_are_not_finite_prove_nothing(bad: float, where: int) -> None:
    parts = np.eye(3), np.zeros((3, 3)), np.zeros((3, 3))
    parts[where][2, 1] = bad
    assert BallMatrix(*parts).psd_obstacle() is not None
    assert where == 1 or Enclosure(parts[0], parts[2]).psd_obstacle() is not None


def test_singular_and_empty_matrices() -> None:
    assert Enclosure.exact(np.zeros((2, 2))).psd_obstacle() is not None
    assert Enclosure.exact(np.ones((3, 3))).psd_obstacle() is not None
    assert Enclosure.exact(np.zeros((0, 0))).psd_obstacle() is None


@pytest.mark.parametrize("size", [1e-280, 1e-150, 1e150, 1e280])
def test_units_of_measurement_do_not_matter(size: float) -> None:
    A = np.array([[2.0, 1.0], [1.0, 2.0]])
    assert Enclosure.exact(size * A).psd_obstacle() is None
    assert Enclosure.exact(size * (A - 1.5 * np.eye(2))).psd_obstacle() is not None


@settings(max_examples=60)
@given(SEEDS, st.integers(2, 9), st.integers(10, 22), st.sampled_from([-700, -300, 0, 500, 980]), st.booleans())
def test_balls_see_a_hair_of_definiteness(seed: int, n: int, digits: int, exponent: int, uneven: bool) -> None:
    """A singular matrix of small whole numbers, and with a hair more or less at the end of its diagonal."""
    random = rng(seed)
    L = np.tril(random.integers(-1, 2, (n, n)), -1) + np.eye(n)
    A = (L * np.append(random.integers(1, 9, n - 1), 0)) @ L.T
    A[-1, -1] += 8 * (last := not A[-1, -1])
    units = np.ldexp(1.0, random.integers(-20, 20, n) if uneven else np.zeros(n, dtype=int))
    whole = np.ldexp(units[:, None] * A * units, exponent)
    for sign in (1.0, -1.0, 0.0):
        hair = np.zeros((n, n))
        hair[-1, -1] = sign * 10.0**-digits * whole[-1, -1]
        obstacle = (BallMatrix.exact(whole) + BallMatrix.exact(hair)).psd_obstacle()
        assert (obstacle is None) is (sign > 0 or last), obstacle
