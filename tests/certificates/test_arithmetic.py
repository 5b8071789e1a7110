"""Exact, ball and floating point agree on what is positive semidefinite."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certificates.arithmetic import BallMatrix, Enclosure, RationalMatrix
from tests.certificates.enclosing import encloses
from tests.strategies import SEEDS, rng


def gram(n: int, rank: int, seed: int) -> np.ndarray:
    """A PSD matrix with small integer entries, so that it is exactly what it should be."""
    R = rng(seed).integers(-4, 5, size=(n, rank)).astype(float)
    return R @ R.T


def definite(n: int, seed: int = 0) -> np.ndarray:
    return gram(n, n, seed) + np.eye(n)


def bad_units(n: int) -> np.ndarray:
    d = np.ldexp(1.0, rng(n).integers(-200, 200, size=n))
    return d[:, None] * definite(n) * d


def indefinite_by(n: int, size: float) -> np.ndarray:
    """[[1, 1], [1, 1 − size]] beside a definite block: determinant −size."""
    A = np.eye(n)
    A[:2, :2] = [[1.0, 1.0], [1.0, 1.0 - size]]
    return A


SUITE = {
    "definite": (definite(12), True),
    "definite, order 40": (definite(40), True),
    "bad units": (bad_units(10), True),
    "huge": (1e290 * definite(6), True),
    "tiny": (1e-290 * definite(6), True),
    "indefinite": (definite(8) - 1e3 * np.eye(8), False),
    "indefinite by 1e-12": (indefinite_by(7, 1e-12), False),
    "indefinite by 1e-15": (indefinite_by(7, 2.0**-50), False),
    "indefinite, bad units": (bad_units(10) * (1 - 1e6 * np.eye(10)), False),
    "zero diagonal, nonzero row": (np.array([[0.0, 1.0], [1.0, 1.0]]), False),
    "negative diagonal": (np.diag([1.0, -5e-324]), False),
}
SINGULAR = {
    "singular": gram(8, 3, 1),
    "zero": np.zeros((4, 4)),
    "rank one": np.ones((5, 5)),
    "singular, denormal": 5e-324 * np.ones((3, 3)),
}


@pytest.mark.parametrize("name", SUITE)
@pytest.mark.parametrize("matrix", [RationalMatrix, BallMatrix, Enclosure])
def test_all_three_agree(name: str, matrix) -> None:
    value, psd = SUITE[name]
    with np.errstate(all="ignore"):
        obstacle = matrix.exact(value).psd_obstacle()
    assert (obstacle is None) is psd, obstacle
    assert obstacle != ""


@pytest.mark.parametrize("name", SINGULAR)
def test_singular_matrices_are_proved_exactly_and_never_wrongly(name: str) -> None:
    assert RationalMatrix.exact(SINGULAR[name]).psd_obstacle() is None
    shifted = SINGULAR[name].copy()
    shifted[0, 0] = np.nextafter(shifted[0, 0], -np.inf)
    for matrix in (RationalMatrix, BallMatrix, Enclosure):
        assert matrix.exact(shifted).psd_obstacle() is not None


def test_denormal_numbers() -> None:
    """Exact and ball arithmetic see through denormals; floating point may only give up."""
    A = 5e-324 * np.array([[2.0, 1.0], [1.0, 2.0]])
    assert RationalMatrix.exact(A).psd_obstacle() is None
    assert BallMatrix.exact(A).psd_obstacle() is None
    B = 5e-324 * np.array([[1.0, 2.0], [2.0, 1.0]])
    for matrix in (RationalMatrix, BallMatrix, Enclosure):
        assert matrix.exact(B).psd_obstacle() is not None


@given(SEEDS, st.integers(1, 6), st.integers(0, 17))
def test_balls_and_floats_never_contradict_rationals(seed: int, n: int, digits: int) -> None:
    random = rng(seed)
    Q = np.linalg.qr(random.standard_normal((n, n)))[0]
    values = random.random(n)
    values[0] = random.choice([-1, 1]) * 10.0**-digits
    A = Q @ np.diag(values) @ Q.T
    A = np.tril(A) + np.tril(A, -1).T
    truth = RationalMatrix.exact(A).psd_obstacle() is None
    ball = BallMatrix.exact(A).psd_obstacle() is None
    assert ball == truth
    assert Enclosure.exact(A).psd_obstacle() is not None or truth


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_large_orders_use_a_verified_factor(sign: float) -> None:
    n = 160
    Q = np.linalg.qr(rng(3).standard_normal((n, n)))[0]
    values = np.linspace(0.1, 1.0, n)
    values[0] = sign * 1e-9
    A = (Q * values) @ Q.T
    assert (BallMatrix.exact(A).psd_obstacle() is None) is (sign > 0)


@given(SEEDS, st.integers(1, 4), st.integers(1, 4), st.integers(1, 4))
def test_matrix_operations_agree(seed: int, n: int, k: int, m: int) -> None:
    random = rng(seed)
    A, B, C = random.standard_normal((n, k)), random.standard_normal((k, m)), random.standard_normal((n, m))
    rows, columns = random.integers(n, size=3), random.integers(m, size=2)

    def formula(matrix):
        value = (matrix.exact(A) @ matrix.exact(B) - matrix.exact(C)) + -matrix.exact(C)
        taken = value.take(rows, columns)
        return matrix.block([[taken, taken], [-taken, taken + taken]]).T

    exact = formula(RationalMatrix).lower.tolist()
    assert encloses(formula(BallMatrix), exact)
    assert encloses(formula(Enclosure), exact)
