"""Complete positivity: graphs, factorisations, separators, and the enclosure of the distance."""

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certificates import Verdict
from certificates.failure import Deadline
from certnet.tightness.complete_positivity import (
    check_completely_positive,
    is_completely_positive_graph,
)
from certnet.tightness.factorisation import alternate, relative_residual, square_root
from certnet.tightness.separation import SeparatorKind, circuit_separator, horn_separator
from formulations import InputError, LiftedSpace
from tests.tightness.matrices import HORN, circulant, random_completely_positive, symmetric

CYCLE = circulant([1.0, 0.618, 0.0, 0.0, 0.618])
"""Doubly nonnegative with the pentagon as support; completely positive only up to 1/2."""


def has_long_odd_cycle(graph: nx.Graph) -> bool:
    return any(len(cycle) >= 5 and len(cycle) % 2 for cycle in nx.simple_cycles(graph))


@given(seed=st.integers(0, 2**32 - 1), order=st.integers(1, 7), density=st.floats(0.2, 0.9))
def test_graphs_are_told_by_their_odd_cycles(seed: int, order: int, density: float) -> None:
    graph = nx.gnp_random_graph(order, density, seed=seed)
    assert is_completely_positive_graph(graph) is not has_long_odd_cycle(graph)


def test_triangles_on_one_edge_are_completely_positive_graphs() -> None:
    book = nx.Graph([(0, 1), *((i, j) for i in range(2, 9) for j in (0, 1))])
    assert is_completely_positive_graph(book)
    book.add_edge(2, 3)
    assert not is_completely_positive_graph(book)


@pytest.mark.parametrize(("order", "columns"), [(3, 2), (6, 4), (8, 8), (10, 15)])
def test_products_of_nonnegative_factors_are_found_to_be_such(order: int, columns: int) -> None:
    P = random_completely_positive(np.random.default_rng(order), order, columns)
    found = check_completely_positive(P)
    assert found.verdict is Verdict.PROVED
    assert found.distance == 0.0
    if found.factor is not None:
        assert (found.factor >= 0).all()
        assert np.linalg.norm(found.factor @ found.factor.T - P) <= found.residual * np.linalg.norm(P)


@pytest.mark.parametrize("factor", [1e-150, 1.0, 1e100])
def test_pentagons(factor: float) -> None:
    """Berman, Shaked-Monderer 2003: with support a pentagon the comparison matrix must be positive semidefinite."""
    P = factor * CYCLE
    assert np.linalg.eigvalsh(CYCLE)[0] > 0
    found = check_completely_positive(P)
    assert found.verdict is Verdict.REFUTED
    assert found.separator is not None
    assert found.separator.kind is SeparatorKind.HORN
    # The nearest completely positive matrix of this kind has correlation 1/2.
    assert 0.0 < found.distance <= np.linalg.norm(CYCLE - circulant([1, 0.5, 0, 0, 0.5])) / np.linalg.norm(CYCLE)
    dominated = check_completely_positive(factor * circulant([1.0, 0.5, 0.0, 0.0, 0.5]))
    assert dominated.verdict is Verdict.PROVED


def test_the_heptagon_needs_another_copositive_matrix() -> None:
    P = circulant([1.0, 0.55, 0.0, 0.0, 0.0, 0.0, 0.55])
    assert np.linalg.eigvalsh(P)[0] > 0
    assert horn_separator(P) is None
    found = check_completely_positive(P)
    assert found.verdict is Verdict.REFUTED
    assert found.separator is not None
    assert found.separator.kind is SeparatorKind.COPOSITIVE
    assert found.distance <= found.residual


@given(seed=st.integers(0, 2**32 - 1))
def test_a_separator_separates_whatever_the_scaling_and_order(seed: int) -> None:
    rng = np.random.default_rng(seed)
    d, order = 10.0 ** rng.uniform(-2, 2, 5), rng.permutation(5)
    P = symmetric(np.outer(d, d) * CYCLE)[np.ix_(order, order)]
    separator = horn_separator(P)
    assert separator is not None
    assert separator.inner_product < 0
    size = np.sqrt(np.diag(separator.form))
    unit = separator.form / np.outer(size, size)
    assert np.allclose(np.abs(unit), 1.0)
    assert np.isclose(np.linalg.eigvalsh(unit)[0], np.linalg.eigvalsh(HORN)[0])
    # No completely positive matrix may violate it.
    for _ in range(5):
        Q = random_completely_positive(rng, 5, 4)[np.ix_(separator.positions, separator.positions)]
        assert np.sum(separator.form * Q) >= -1e-12 * np.linalg.norm(separator.form) * np.linalg.norm(Q)


def test_sums_of_true_points_violate_no_circuit() -> None:
    rng = np.random.default_rng(0)
    space = LiftedSpace(rng.standard_normal((7, 3)))
    phi = space.lift(rng.standard_normal((3, 5)))[space.phi]
    P = symmetric(phi @ phi.T)
    found = circuit_separator(space.generators, P)
    # Products that are zero in exact arithmetic come out negative by rounding.
    assert found is None or found.distance < 1e-14
    assert check_completely_positive(P, generators=space.generators, factor=phi).verdict is Verdict.PROVED


def test_a_matrix_may_be_completely_positive_but_violate_a_circuit() -> None:
    """r_3 = r_1 + r_2 asks for α_3 ≤ α_1 + α_2: then α_3 = 2α_1 + 2α_2 is no point of K(A), nor P on its face."""
    A = np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]])
    phi = np.array([[1.0], [1.0], [4.0], [0.0], [0.0], [0.0]])
    P = phi @ phi.T
    assert check_completely_positive(P).verdict is Verdict.PROVED
    difference = phi[:3] - phi[3:]
    assert np.linalg.matrix_rank(np.hstack([A, difference])) > np.linalg.matrix_rank(A)
    # Its support decides before any circuit is asked.
    found = check_completely_positive(P, generators=A)
    assert found.verdict is Verdict.PROVED
    assert found.separator is None
    separator = circuit_separator(A, P)
    assert separator is not None
    assert separator.kind is SeparatorKind.CIRCUIT
    assert separator.inner_product < 0


def test_circuits_take_so_much_work_and_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The more dimensions the fewer programs, and no round begins late."""
    asked: list[int] = []

    def violated(*_: object, most_programs: int, **__: object) -> dict:
        asked.append(most_programs)
        return {}

    monkeypatch.setattr("certnet.tightness.separation.violated_circuits", violated)
    for k in (2, 10):
        A = np.random.default_rng(k).standard_normal((12, k))
        circuit_separator(A, np.eye(24))
        assert circuit_separator(A, np.eye(24), deadline=Deadline.after(0.0)) is None
    assert asked == [20_000, 5_000]


def test_residuals_are_rounded_up() -> None:
    B = np.abs(np.random.default_rng(1).standard_normal((6, 3)))
    P = symmetric(B @ B.T)
    assert np.linalg.norm(B @ B.T - P) / np.linalg.norm(P) <= relative_residual(P, B) < 1e-14
    assert relative_residual(4.0 * P, B) == pytest.approx(0.75)
    assert relative_residual(np.zeros((6, 6)), B) == np.inf
    assert relative_residual(P, np.full((6, 1), np.inf)) == np.inf


def test_alternating_projections_end_in_the_cone() -> None:
    rng = np.random.default_rng(2)
    inside = np.abs(rng.standard_normal((6, 6))) + 0.3
    P = symmetric(inside @ inside.T)
    found = [alternate(square_root(P), 9, nearest=lambda X: np.maximum(X, 0.0), rng=rng) for _ in range(5)]
    assert all((B >= 0).all() for B in found)
    # Some starts end elsewhere: the set of orthogonal matrices is not convex.
    assert min(relative_residual(P, B) for B in found) < 1e-10


def test_a_small_distance_does_not_count() -> None:
    found = check_completely_positive(CYCLE, least_distance=0.5)
    assert found.verdict is Verdict.UNKNOWN
    assert 0.0 < found.distance < 0.5
    assert found.distance <= found.residual


def test_zero_and_arrays_that_are_refused() -> None:
    assert check_completely_positive(np.zeros((6, 6))).verdict is Verdict.PROVED
    with pytest.raises(InputError):
        check_completely_positive(np.array([[1.0, 2.0], [0.0, 1.0]]))
    with pytest.raises(InputError):
        check_completely_positive(np.eye(4), generators=np.ones((3, 2)))
    with pytest.raises(InputError):
        check_completely_positive(np.eye(4), factor=-np.ones((4, 1)))


def test_a_negative_eigenvalue_is_not_overlooked() -> None:
    """Not even doubly nonnegative; no step may call it completely positive."""
    P = np.array([[1.0, 2.0], [2.0, 1.0]])
    found = check_completely_positive(P)
    assert found.verdict is not Verdict.PROVED
    assert found.residual > 0.1
