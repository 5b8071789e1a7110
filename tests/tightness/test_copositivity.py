"""Copositivity: known matrices, stability numbers, and counterexamples in rational arithmetic."""

from fractions import Fraction

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certificates import Verdict
from certificates.failure import Deadline
from certnet.tightness.copositivity import Method, check_copositive
from certnet.tightness.orthant import integer_matrix, subdivide
from formulations import InputError
from tests.tightness.matrices import HOFFMAN_PEREIRA, HORN, clique_form, symmetric

GRAPHS = [
    ("pentagon", nx.cycle_graph(5), 2),
    ("heptagon", nx.cycle_graph(7), 3),
    ("petersen", nx.petersen_graph(), 4),
    ("moebius ladder", nx.circulant_graph(8, [1, 4]), 3),
    ("square of a cycle", nx.circulant_graph(8, [1, 2]), 2),
]


def value(M: np.ndarray, x: np.ndarray) -> Fraction:
    point = [Fraction(float(entry)) for entry in x]
    return sum(Fraction(float(M[i, j])) * point[i] * point[j] for i in range(len(M)) for j in range(len(M)))


def assert_refuted(M: np.ndarray) -> None:
    report = check_copositive(M)
    assert report.verdict is Verdict.REFUTED
    assert report.witness is not None
    assert (report.witness >= 0).all()
    assert value(M, report.witness) < 0


@pytest.mark.parametrize("M", [HORN, HOFFMAN_PEREIRA], ids=["Horn", "Hoffman-Pereira"])
def test_extreme_matrices_that_no_splitting_proves(M: np.ndarray) -> None:
    report = check_copositive(M)
    assert report.verdict is Verdict.PROVED
    assert report.method is Method.SUBDIVISION
    permuted = np.random.default_rng(1).permutation(len(M))
    scale = np.random.default_rng(2).uniform(0.3, 3.0, len(M))
    other = (2.0 ** np.round(np.log2(scale)))[:, None] * M[np.ix_(permuted, permuted)]
    other = other * 2.0 ** np.round(np.log2(scale))
    assert check_copositive(other).verdict is Verdict.PROVED
    assert_refuted(M - 1e-9 * np.eye(len(M)))


@pytest.mark.parametrize(("name", "graph", "stability"), GRAPHS, ids=[name for name, _, _ in GRAPHS])
def test_the_stability_number_is_the_smallest_copositive_factor(name: str, graph: nx.Graph, stability: int) -> None:
    assert check_copositive(clique_form(graph, stability)).verdict is Verdict.PROVED
    assert_refuted(clique_form(graph, stability - 2.0**-20))


@pytest.mark.parametrize("order", [3, 5, 12, 30])
def test_sums_of_a_semidefinite_and_a_nonnegative_matrix(order: int) -> None:
    rng = np.random.default_rng(order)
    B, N = rng.standard_normal((order, order)), np.abs(rng.standard_normal((order, order)))
    N = symmetric(N * (rng.random((order, order)) < 0.3)) * (1.0 - np.eye(order))
    M = symmetric(B @ B.T + 0.1 * np.eye(order)) + 10.0 * N
    assert M.min() < 0
    report = check_copositive(M)
    assert report.verdict is Verdict.PROVED
    assert report.nonnegative is not None
    assert (report.nonnegative >= 0).all()
    assert np.linalg.eigvalsh(M - report.nonnegative)[0] > -1e-10


def test_a_singular_semidefinite_matrix_is_decided_exactly() -> None:
    B = np.random.default_rng(3).integers(-3, 4, (9, 4)).astype(float)
    assert check_copositive(B @ B.T).verdict is Verdict.PROVED
    assert_refuted(np.array([[1.0, -1.0 - 2.0**-52], [-1.0 - 2.0**-52, 1.0]]))
    assert_refuted(np.array([[0.0, -1e-50], [-1e-50, 1e50]]))


@given(seed=st.integers(0, 2**32 - 1), order=st.integers(1, 6))
def test_subdivision_agrees_with_all_faces(seed: int, order: int) -> None:
    """A matrix is copositive unless the smallest eigenvalue of a principal submatrix has a positive eigenvector and
    is negative (Kaplan 2000)."""
    M = symmetric(np.random.default_rng(seed).integers(-4, 9, (order, order)).astype(float))
    np.fill_diagonal(M, np.abs(np.diag(M)) + 1.0)
    copositive = True
    for subset in range(1, 1 << order):
        index = [i for i in range(order) if subset >> i & 1]
        values, vectors = np.linalg.eigh(M[np.ix_(index, index)])
        signs = vectors * np.sign(vectors.sum(axis=0))
        copositive &= not ((values < -1e-9) & (signs > 1e-9).all(axis=0)).any()
    outcome = subdivide(M, max_cones=5000, deadline=Deadline())
    if outcome.copositive is not None:
        assert outcome.copositive == copositive
    if outcome.witness is not None:
        form = integer_matrix(M)
        assert min(outcome.witness) >= 0
        assert outcome.witness @ form @ outcome.witness < 0
    report = check_copositive(M)
    assert report.verdict is (Verdict.PROVED if copositive else Verdict.REFUTED)


def test_integers_of_fractions_are_proportional() -> None:
    M = symmetric(np.random.default_rng(5).standard_normal((4, 4)))
    form = integer_matrix(M)
    factor = Fraction(int(form[0, 0])) / Fraction(float(M[0, 0]))
    assert all(Fraction(int(form[i, j])) == factor * Fraction(float(M[i, j])) for i in range(4) for j in range(4))


def test_what_is_given_up_is_unknown_with_a_reason() -> None:
    report = check_copositive(clique_form(nx.petersen_graph(), 4.0), max_cones=3)
    assert report.verdict is Verdict.UNKNOWN
    assert "3 cones" in report.reason
    late = check_copositive(clique_form(nx.petersen_graph(), 4.0), time_limit=1e-6)
    assert late.verdict is Verdict.UNKNOWN
    assert "time limit" in late.reason


@pytest.mark.parametrize("M", [np.ones((2, 3)), np.array([[1.0, 2.0], [0.0, 1.0]]), np.array([[np.nan]])])
def test_other_arrays_are_refused(M: np.ndarray) -> None:
    with pytest.raises(InputError):
        check_copositive(M)
