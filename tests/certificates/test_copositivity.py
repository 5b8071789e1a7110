"""Copositivity of small matrices against an exact decision: what passes is copositive, and most of what is passes."""

from fractions import Fraction
from itertools import combinations

import numpy as np
import pytest

from certificates.copositivity import are_copositive
from tests.strategies import rng

HORN = np.array(
    [[1, -1, 1, 1, -1], [-1, 1, -1, 1, 1], [1, -1, 1, -1, 1], [1, 1, -1, 1, -1], [-1, 1, 1, -1, 1]], dtype=float
)


def determinant(rows: list[list[Fraction]]) -> Fraction:
    """By elimination in rational arithmetic; 1 for the empty matrix."""
    rows, value = [list(row) for row in rows], Fraction(1)
    for k in range(len(rows)):
        pivot = next((i for i in range(k, len(rows)) if rows[i][k]), None)
        if pivot is None:
            return Fraction(0)
        if pivot != k:
            rows[k], rows[pivot], value = rows[pivot], rows[k], -value
        value *= rows[k][k]
        for i in range(k + 1, len(rows)):
            factor = rows[i][k] / rows[k][k]
            rows[i] = [x - factor * y for x, y in zip(rows[i], rows[k], strict=True)]
    return value


def is_copositive(M: np.ndarray) -> bool:
    """Hadeler (1983): M is not copositive exactly if some principal submatrix has a negative determinant and the
    cofactors of its last row are all nonnegative."""
    exact = [[Fraction(float(x)) for x in row] for row in M]
    for size in range(1, len(M) + 1):
        for S in combinations(range(len(M)), size):
            block = [[exact[i][j] for j in S] for i in S]
            if determinant(block) >= 0:
                continue
            minors = ([[row[j] for j in range(size) if j != k] for row in block[:-1]] for k in range(size))
            if all((-1) ** (size - 1 + k) * determinant(minor) >= 0 for k, minor in enumerate(minors)):
                return False
    return True


def symmetric(random: np.random.Generator, k: int) -> np.ndarray:
    """Symmetric matrices near the border of the copositive cone, many of them with small whole numbers."""
    if random.random() < 0.5:
        A = random.integers(-3, 4, (k, k)).astype(float)
        M = A + A.T
    else:
        A = random.standard_normal((k, k))
        M = A + A.T
    np.fill_diagonal(M, np.abs(np.diag(M)) + random.choice([0.0, 1.0, 3.0]))
    return M


def test_the_judge_knows_matrices() -> None:
    assert is_copositive(HORN)
    assert not is_copositive(HORN - 1e-9)
    assert is_copositive(np.array([[1.0, -1.0], [-1.0, 1.0]]))
    assert not is_copositive(np.array([[1.0, -1.0], [-1.0, 1.0 - 1e-15]]))
    assert not is_copositive(np.array([[0.0, -1.0], [-1.0, 5.0]]))
    assert is_copositive(np.array([[0.0, 2.0], [2.0, 0.0]]))


@pytest.mark.parametrize("count", [150, pytest.param(750, marks=pytest.mark.slow)])
def test_only_copositive_matrices_pass(count: int) -> None:
    random = rng(3)
    for k in range(1, 6):
        matrices = np.array([symmetric(random, k) for _ in range(count)])
        passed = are_copositive(matrices)
        truth = np.array([is_copositive(M) for M in matrices])
        assert not (passed & ~truth).any()
        assert (~truth).any() or k == 1
        # With a margin the test is complete up to order 3, where elimination loses nothing.
        above = are_copositive(matrices[truth] + 1e-9)
        assert above.mean() >= (1.0 if k <= 3 else 0.9)


@pytest.mark.parametrize("k", range(1, 9))
def test_sums_of_semidefinite_and_nonnegative_matrices_pass(k: int) -> None:
    random = rng(k)
    A = random.standard_normal((60, k, k))
    semidefinite = A @ A.transpose(0, 2, 1) + 1e-6 * np.eye(k)
    N = random.random((60, k, k))
    N = N + N.transpose(0, 2, 1)
    assert are_copositive(semidefinite).all()
    assert are_copositive(N).all()
    assert are_copositive(semidefinite + N).mean() > 0.9


def test_the_horn_matrix_lowered_is_refused() -> None:
    """Copositive, but no sum of a semidefinite and a nonnegative matrix; the test may not know it."""
    assert are_copositive(np.array([HORN, HORN + np.eye(5)]))[1]
    for amount in (1e-12, 1e-6, 1e-2):
        assert not are_copositive((HORN - amount)[None])[0]


def test_refusal_does_not_depend_on_units_or_order() -> None:
    random = rng(8)
    for k in range(2, 6):
        matrices = [M for M in (symmetric(random, k) for _ in range(60)) if not is_copositive(M)]
        for M in matrices:
            order, scale = random.permutation(k), 2.0 ** random.integers(-20, 20, k)
            other = (M * np.outer(scale, scale))[np.ix_(order, order)]
            assert not are_copositive(np.multiply.outer([1e-140, 1e-60, 1.0, 1e60, 1e140], other)).any()


def test_one_bad_matrix_does_not_harm_others() -> None:
    good = np.eye(3)
    for bad in (np.nan, np.inf, -np.inf):
        spoiled = good.copy()
        spoiled[0, 1] = spoiled[1, 0] = bad
        assert are_copositive(np.array([good, spoiled, good])).tolist() == [True, False, True]


@np.errstate(all="ignore")  # as the checker does; overflow is a refusal
def test_extreme_numbers() -> None:
    """Products that underflow or overflow are no reason to pass."""
    for tiny in (1e-155, 1e-162, 1e-200, 5e-324):
        assert not are_copositive(np.array([[[tiny, -2 * tiny], [-2 * tiny, tiny]]]))[0]
        assert not are_copositive(np.array([[[1.0, -tiny], [-tiny, 0.0]]]))[0]
    assert not are_copositive(np.array([[[1e-300, -1e300], [-1e300, 1e300]]]))[0]
    assert not are_copositive(np.array([[[1.0, -1e200], [-1e200, 1e300]]]))[0]
    assert are_copositive(np.zeros((1, 3, 3)))[0]
