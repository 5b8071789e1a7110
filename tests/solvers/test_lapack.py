"""LAPACK beside the interpreter's lock: the same answers as NumPy, and other threads go on."""

import threading
import time

import numpy as np
import pytest

from certnet.solvers.linear_algebra import factor_in_place, positive_eigenpairs
from tests.strategies import rng


@pytest.mark.parametrize("n", [0, 1, 2, 7, 60])
@pytest.mark.parametrize("real", [np.float32, np.float64])
def test_positive_eigenpairs_make_the_positive_part(n: int, real: type) -> None:
    A = rng(n).standard_normal((n, n))
    A = (A + A.T).astype(real)
    upper = np.triu(A) + np.tril(np.full((n, n), np.nan, dtype=real), -1)
    values, vectors = positive_eigenpairs(upper)
    known, basis = np.linalg.eigh(A.astype(np.float64))
    precision = 50 * n * np.finfo(real).eps
    np.testing.assert_allclose(values, known[known > 0], atol=precision)
    np.testing.assert_allclose((vectors * values) @ vectors.T, (basis * np.maximum(known, 0)) @ basis.T, atol=precision)


def test_a_factor_multiplies_to_the_matrix() -> None:
    A = rng(0).standard_normal((40, 40))
    S = A @ A.T + np.eye(40)
    L = np.tril(S)
    factor_in_place(L)
    np.testing.assert_allclose(np.tril(L) @ np.tril(L).T, S, atol=1e-10)


def test_what_is_not_definite_is_refused() -> None:
    with pytest.raises(np.linalg.LinAlgError):
        factor_in_place(-np.eye(3))


def test_other_threads_run_meanwhile() -> None:
    A = rng(0).standard_normal((700, 700))
    work = threading.Thread(target=positive_eigenpairs, args=(A + A.T,))
    steps = 0
    work.start()
    while work.is_alive():
        time.sleep(1e-3)
        steps += 1
    assert steps > 3
