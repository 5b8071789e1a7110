"""Matrices whose place among the copositive and completely positive ones is known."""

import networkx as nx
import numpy as np


def circulant(first_row: list[float]) -> np.ndarray:
    """The symmetric circulant matrix with this first row."""
    n = len(first_row)
    return np.array([[float(first_row[(j - i) % n]) for j in range(n)] for i in range(n)])


HORN = circulant([1, -1, 1, 1, -1])
"""Copositive and extreme, but no sum of a positive semidefinite and a nonnegative matrix."""
HOFFMAN_PEREIRA = circulant([1, -1, 1, 0, 0, 1, -1])
"""The same of order 7 (Hoffman, Pereira 1973)."""


def clique_form(graph: nx.Graph, factor: float) -> np.ndarray:
    """factor·(A + I) − E, copositive if and only if factor is at least the stability number (de Klerk, Pasechnik)."""
    A = nx.to_numpy_array(graph)
    return factor * (A + np.eye(len(A))) - 1.0


def random_completely_positive(rng: np.random.Generator, order: int, columns: int) -> np.ndarray:
    """BBᵀ with sparse nonnegative B."""
    B = np.maximum(rng.standard_normal((order, columns)), 0.0)
    return symmetric(B @ B.T)


def symmetric(M: np.ndarray) -> np.ndarray:
    """The symmetric part."""
    return 0.5 * (M + M.T)
