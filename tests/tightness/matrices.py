"""Matrices whose place among the copositive and completely positive ones is known."""

import numpy as np


def circulant(first_row: list[float]) -> np.ndarray:
    """The symmetric circulant matrix with this first row."""
    n = len(first_row)
    return np.array([[float(first_row[(j - i) % n]) for j in range(n)] for i in range(n)])


HORN = circulant([1, -1, 1, 1, -1])
"""Copositive and extreme, but no sum of a positive semidefinite and a nonnegative matrix."""


def random_completely_positive(rng: np.random.Generator, order: int, columns: int) -> np.ndarray:
    """BBᵀ with sparse nonnegative B."""
    B = np.maximum(rng.standard_normal((order, columns)), 0.0)
    return symmetric(B @ B.T)


def symmetric(M: np.ndarray) -> np.ndarray:
    """The symmetric part."""
    return 0.5 * (M + M.T)
