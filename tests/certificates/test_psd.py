"""The rigorous PSD test: what it proves is true, and it proves what has a margin."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certificates.arithmetic.floating import Enclosure
from tests.strategies import SEEDS, rng


def is_psd_exactly(matrix: np.ndarray) -> bool:
    """LDLᵀ in rational arithmetic."""
    A = [[Fraction(float(x)) for x in row] for row in matrix]
    n = len(A)
    for k in range(n):
        if A[k][k] < 0:
            return False
        if A[k][k] == 0:
            if any(A[i][k] != 0 for i in range(k, n)):
                return False
            continue
        for i in range(k + 1, n):
            factor = A[i][k] / A[k][k]
            for j in range(k + 1, n):
                A[i][j] -= factor * A[k][j]
    return True


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
    if Enclosure.exact(A).prove_psd().proved:
        assert is_psd_exactly(A)
    else:
        # A margin of 1e-12 of the unit diagonal is ample for orders up to 6.
        if not (np.diag(A) > 0).all():
            return
        d = 1 / np.sqrt(np.diag(A))
        assert np.linalg.eigvalsh(d[:, None] * A * d)[0] < 1e-12


@pytest.mark.parametrize("n", [1, 5, 80, 300])
def test_definite_matrices_are_proved(n: int) -> None:
    R = rng(n).standard_normal((n, n))
    A = R @ R.T + 1e-6 * n * np.eye(n)
    proof = Enclosure.exact(A).prove_psd()
    assert proof.proved
    assert proof.margin > 0


@pytest.mark.parametrize("n", [2, 40, 200])
def test_indefinite_by_a_little_is_not_proved(n: int) -> None:
    random = rng(n)
    Q = np.linalg.qr(random.standard_normal((n, n)))[0]
    values = np.ones(n)
    values[0] = -1e-12
    assert not Enclosure.exact(Q @ np.diag(values) @ Q.T).prove_psd().proved


def test_radii_are_charged() -> None:
    A = np.diag([1.0, 1.0])
    uncertain = np.array([[0.0, 0.9], [0.9, 0.0]])
    assert Enclosure(A, uncertain).prove_psd().proved
    assert not Enclosure(A, uncertain * 1.2).prove_psd().proved


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("where", ["mid", "rad"])
def test_numbers_that_are_not_finite_prove_nothing(bad: float, where: str) -> None:
    mid, rad = np.eye(3), np.zeros((3, 3))
    (mid if where == "mid" else rad)[2, 1] = bad
    assert not Enclosure(mid, rad).prove_psd().proved


def test_singular_and_empty_matrices() -> None:
    assert not Enclosure.exact(np.zeros((2, 2))).prove_psd().proved
    assert not Enclosure.exact(np.ones((3, 3))).prove_psd().proved
    assert Enclosure.exact(np.zeros((0, 0))).prove_psd().proved


@pytest.mark.parametrize("size", [1e-280, 1e-150, 1e150, 1e280])
def test_units_of_measurement_do_not_matter(size: float) -> None:
    A = np.array([[2.0, 1.0], [1.0, 2.0]])
    assert Enclosure.exact(size * A).prove_psd().proved
    assert not Enclosure.exact(size * (A - 1.5 * np.eye(2))).prove_psd().proved
