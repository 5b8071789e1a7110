"""Cones of sign patterns against linear programs, counting formulas and exact arithmetic."""

import itertools
from collections import Counter
from fractions import Fraction
from math import comb

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog, nnls

from certificates.arithmetic import RationalMatrix
from certificates.combination import positive_dependence
from certificates.nonnegativity import Problem, leaves_with_signs, prove_nonnegative
from certificates.proof import Region
from certificates.tree import ImpliedSign, LeafProof, Node, Split, build, with_implied_signs
from certnet.branching import Arrangement, Cone
from formulations import ACTIVE, FREE, INACTIVE
from formulations.errors import InputError
from tests.strategies import SEEDS, rng


def integer_rows(random: np.random.Generator, n: int, k: int) -> np.ndarray:
    """Small integers, pairwise independent, so with many dependent triples."""
    rows: list[np.ndarray] = []
    while len(rows) < n:
        row = random.integers(-2, 3, k).astype(np.float64)
        if row.any() and all(np.linalg.matrix_rank([row, other]) == min(2, k) for other in rows):
            rows.append(row)
    return np.array(rows)


def random_cone(random: np.random.Generator, A: np.ndarray, cuts: int) -> Cone:
    """Cuts on neurons whose sign is open, so that an interior stays."""
    cone = Cone.whole(A)
    for _ in range(cuts):
        free = np.flatnonzero(cone.candidates == FREE)
        if len(free) == 0:
            break
        cone = cone.cut(int(random.choice(free)), int(random.choice([ACTIVE, INACTIVE])))
        assert cone.has_interior
    return cone


def implied_by_programs(A: np.ndarray, signs: np.ndarray) -> np.ndarray:
    """Fixed and implied signs, from the range of every ``a_i·z`` over the cone cut to a box."""
    known = np.flatnonzero(signs)
    out = signs.copy()
    for i in np.flatnonzero(signs == FREE):
        ends = [
            linprog(side * A[i], A_ub=-(signs[:, None] * A)[known], b_ub=np.zeros(len(known)), bounds=(-1.0, 1.0)).fun
            for side in (1.0, -1.0)
        ]
        out[i] = ACTIVE if ends[0] > -1e-7 else INACTIVE if ends[1] > -1e-7 else FREE
    return out


def confirm(A: np.ndarray, signs: np.ndarray, proof: ImpliedSign) -> None:
    """What the checker does with the impossible side."""
    assert all(signs[j] != FREE for j in proof.support)
    rows = np.vstack([signs[j] * A[j] for j in proof.support] + [-proof.sign * A[proof.neuron]])
    positive_dependence(rows, "the test")


def cells(A: np.ndarray) -> list[Cone]:
    """All cones with interior in which every sign is fixed."""
    found = [Cone.whole(A)]
    for i in range(len(A)):
        found = [half for cone in found for s in (ACTIVE, INACTIVE) if (half := cone.cut(i, s)).has_interior]
    return found


@pytest.mark.parametrize(
    ("n", "r"), [(1, 1), (4, 1), (1, 3), (2, 4), (3, 2), (9, 2), (5, 3), (9, 3), (4, 4), (6, 4), (9, 4), (7, 5)]
)
def test_a_generic_arrangement_has_the_known_number_of_cells(n: int, r: int) -> None:
    A = rng(100 * n + r).standard_normal((n, r))
    found = cells(A)
    patterns = {tuple(cone.fixed.tolist()) for cone in found}
    assert len(patterns) == len(found) == 2 * sum(comb(n - 1, j) for j in range(r))
    if r == 2 and n > 1:
        assert all(cone.directions.shape[1] == len(cone.facets) == 2 for cone in found)


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.integers(2, 7), st.integers(2, 4))
def test_a_degenerate_arrangement_has_the_number_of_cells_that_its_ranks_give(seed: int, n: int, k: int) -> None:
    """Zaslavsky: Σ over all subsets B of (−1)^(|B| − rank B)."""
    A = integer_rows(rng(seed), min(n, 6 if k == 2 else n), k)
    subsets = itertools.chain.from_iterable(itertools.combinations(range(len(A)), size) for size in range(len(A) + 1))
    expected = sum((-1) ** (len(B) - (np.linalg.matrix_rank(A[list(B)]) if B else 0)) for B in subsets)
    found = cells(A)
    assert len(found) == expected
    assert len({tuple(cone.fixed.tolist()) for cone in found}) == expected


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.integers(2, 4), st.integers(1, 8))
def test_implied_signs_are_those_of_linear_programs(seed: int, k: int, cuts: int) -> None:
    random = rng(seed)
    A = integer_rows(random, 6 if k == 2 else 12, k)
    cone = random_cone(random, A, cuts)
    expected = implied_by_programs(A, cone.fixed)
    assert np.array_equal(cone.candidates, expected)
    for implied in (cone.implied_signs(), cone.arrangement.implied_signs(cone.fixed)):
        signs = cone.fixed.copy()
        for proof in implied:
            confirm(A, cone.fixed, proof)
            signs[proof.neuron] = proof.sign
        assert np.array_equal(signs, expected)


@settings(max_examples=40, deadline=None)
@given(SEEDS, st.integers(1, 5), st.integers(0, 9))
def test_the_rays_span_the_cone(seed: int, k: int, cuts: int) -> None:
    random = rng(seed)
    A = random.standard_normal((20, k)) if random.random() < 0.5 or k < 3 else integer_rows(random, 12, k)
    cone = random_cone(random, A, cuts)
    rows = (cone.fixed[:, None] * A)[cone.fixed != FREE]
    assert (rows @ cone.rays >= -1e-9).all()
    line = cone.arrangement.back @ cone.lineality
    assert np.allclose(rows @ line, 0.0, atol=1e-9)
    # Tight rows are those that incidence says, and facets alone describe the cone.
    tight = np.abs((cone.fixed[:, None] * A)[cone.facets] @ cone.rays) <= 1e-9
    assert np.array_equal(tight, cone.incidence)
    points = random.standard_normal((k, 3000)) if len(rows) == 0 else _near(random, cone, k)
    by_facets = ((cone.fixed[:, None] * A)[cone.facets] @ points >= 0).all(axis=0)
    assert np.array_equal(by_facets, (rows @ points >= 0).all(axis=0))
    generators = np.column_stack([cone.rays, line, -line])
    for point in points[:, by_facets][:, :20].T:
        assert nnls(generators, point)[1] <= 1e-7 * np.linalg.norm(point)


def _near(random: np.random.Generator, cone: Cone, k: int) -> np.ndarray:
    """Points around the boundary of a cone, inside and outside."""
    line = cone.arrangement.back @ cone.lineality
    inside = cone.rays @ random.exponential(size=(cone.rays.shape[1], 500))
    inside += line @ random.standard_normal((line.shape[1], 500))
    return inside + 0.3 * random.standard_normal((k, 500))


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.integers(2, 4), st.integers(1, 6))
def test_scaling_rows_and_columns_changes_nothing(seed: int, k: int, cuts: int) -> None:
    random = rng(seed)
    A = random.standard_normal((15, k))
    B = A * 10.0 ** random.uniform(-6, 6, (15, 1)) * 10.0 ** random.uniform(-3, 3, k)
    plain, scaled = Cone.whole(A), Cone.whole(B)
    for _ in range(cuts):
        free = np.flatnonzero(plain.candidates == FREE)
        if len(free) == 0:
            break
        neuron, sign = int(random.choice(free)), int(random.choice([ACTIVE, INACTIVE]))
        plain, scaled = plain.cut(neuron, sign), scaled.cut(neuron, sign)
        assert np.array_equal(plain.candidates, scaled.candidates)
    for proof in scaled.implied_signs():
        confirm(B, scaled.fixed, proof)
    assert [p.neuron for p in scaled.implied_signs()] == [p.neuron for p in plain.implied_signs()]


def test_null_directions_of_the_data_stay_free() -> None:
    A = rng(3).standard_normal((10, 3))
    wide = np.column_stack([A, A[:, 0], np.zeros(10)])
    narrow, cone = Cone.whole(A), Cone.whole(wide)
    assert cone.arrangement.rank == 3
    for neuron, sign in ((0, 1), (1, -1), (2, 1), (3, 1)):
        if narrow.candidates[neuron] == FREE:
            narrow, cone = narrow.cut(neuron, sign), cone.cut(neuron, sign)
    assert np.array_equal(narrow.candidates, cone.candidates)
    assert (cone.candidates != FREE).sum() > (cone.fixed != FREE).sum()
    assert len(cone.implied_signs()) == (cone.candidates != cone.fixed).sum()
    for proof in cone.implied_signs():
        confirm(wide, cone.fixed, proof)


def test_rows_that_depend_up_to_rounding_are_decided_exactly() -> None:
    """Row 3 is a rounded combination of rows 0 and 1; row 2 can absorb the residual only if it lies on its side."""
    outcomes: Counter[bool] = Counter()
    for seed in range(60):
        random = rng(seed)
        # Rows 4 to 6 stay free; without them row 2 would be orthogonal to the others in whitened coordinates.
        A = random.standard_normal((7, 3))
        A[3] = A[:2].T @ random.uniform(0.1, 2.0, 2)
        cone = Cone.whole(A)
        for i in range(3):
            cone = cone.cut(i, ACTIVE)
        assert cone.candidates[3] == ACTIVE
        proof = cone.prove(3)
        provable = _exact_determinant(A[[0, 1, 3]]) * _exact_determinant(A[[0, 1, 2]]) >= 0
        assert (proof is not None) == provable
        if proof is not None:
            confirm(A, cone.fixed, proof)
        # The other side of row 3 looks empty in floating point; it is proved empty exactly if it is.
        other = cone.cut(3, INACTIVE)
        assert not other.has_interior
        assert (other.prove_empty() is not None) == provable
        outcomes[provable] += 1
    assert outcomes[True] > 5
    assert outcomes[False] > 5


def _exact_determinant(rows: np.ndarray) -> Fraction:
    a, b, c = ([Fraction(x) for x in row] for row in rows.tolist())
    return sum(
        (a[i] * (b[(i + 1) % 3] * c[(i + 2) % 3] - b[(i + 2) % 3] * c[(i + 1) % 3]) for i in range(3)), Fraction(0)
    )


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.integers(2, 4))
def test_proofs_are_handed_down(seed: int, k: int) -> None:
    random = rng(seed)
    A = integer_rows(random, 6 if k == 2 else 12, k)
    parent = random_cone(random, A, 4)
    proofs = parent.implied_signs()
    free = np.flatnonzero(parent.candidates == FREE)
    if len(free) == 0:
        return
    child = parent.cut(int(free[0]), INACTIVE)
    for proof in proofs:
        assert child.prove(proof.neuron) is proof
        confirm(A, child.fixed, proof)
    assert child.prove(int(free[0])) is None


def test_the_impossible_side_of_an_implied_sign_is_proved_empty() -> None:
    A = np.array([[1.0, 0.0], [0.0, 1.0], [2.0, 3.0], [1.0, -1.0]])
    cone = Cone.whole(A).cut(0, ACTIVE).cut(1, ACTIVE)
    assert cone.candidates.tolist() == [1, 1, 1, 0]
    assert cone.has_interior
    assert cone.prove_empty() is None
    assert cone.prove(3) is None
    assert cone.implied_signs() == (ImpliedSign(2, ACTIVE, (0, 1)),)
    empty = cone.cut(2, INACTIVE)
    assert not empty.has_interior
    leaf = empty.prove_empty()
    assert leaf is not None
    assert sorted(leaf.support) == [0, 1, 2]
    assert empty.candidates.tolist() == [1, 1, -1, 0]
    with pytest.raises(InputError, match="without interior"):
        empty.cut(3, ACTIVE)


def test_redundant_cuts_change_no_ray() -> None:
    A = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
    cone = Cone.whole(A)
    for i in range(3):
        cone = cone.cut(i, ACTIVE)
    # Row 3 touches the cone along a ray, row 4 in the apex only.
    more = cone.cut(3, ACTIVE).cut(4, ACTIVE)
    assert sorted(more.facets.tolist()) == [0, 1, 2]
    assert np.array_equal(more.rays, cone.rays)
    assert np.array_equal(more.candidates, np.ones(5))


def test_common_facets_do_not_make_rays_adjacent() -> None:
    """A product of two cones over squares: opposite corners of one square share four facets, yet no edge joins them."""
    square = np.array([[1.0, 0.0, 1.0], [-1.0, 0.0, 1.0], [0.0, 1.0, 1.0], [0.0, -1.0, 1.0]])
    A = np.vstack([np.kron(np.eye(2), square), [1.0, 1.0, 0.0, 0.0, 0.0, 0.0]])
    cone = Cone.whole(A)
    for i in range(8):
        cone = cone.cut(i, ACTIVE)
    assert cone.directions.shape[1] == len(cone.facets) == 8
    # The diagonal cuts one corner off; its edges lead to corners on the diagonal, so nothing new appears.
    half = cone.cut(8, ACTIVE)
    assert half.directions.shape[1] == 7
    assert len(half.facets) == 7


@pytest.mark.parametrize(("n", "k"), [(6, 2), (6, 3), (8, 3), (6, 4)])
def test_an_enumeration_of_cells_is_a_complete_tree(n: int, k: int) -> None:
    """Splits on open signs only, implied signs in chains: the checker accepts it, and every cell is there once."""
    A = rng(n + k).standard_normal((n, k))
    if k == 3:
        A = integer_rows(rng(n), n, k)
    nothing = LeafProof.from_matrix(np.zeros((2 * n, 2 * n)), np.zeros(n))

    def grow(cone: Cone, settled: frozenset[int]) -> Node:
        new = [proof for proof in cone.implied_signs() if proof.neuron not in settled]
        settled = settled | {proof.neuron for proof in new}
        free = np.flatnonzero(cone.candidates == FREE)
        if len(free) == 0:
            return with_implied_signs(new, nothing)
        i = int(free[0])
        below = Split(i, grow(cone.cut(i, ACTIVE), settled), grow(cone.cut(i, INACTIVE), settled))
        return with_implied_signs(new, below)

    proof = build(grow(Cone.whole(A), frozenset()), n)
    assert prove_nonnegative(
        Problem(A, Region.everywhere(k), RationalMatrix.exact(np.eye(2 * n + k))), proof, RationalMatrix
    )
    empty = np.diff(proof.empty_offset) > 0
    patterns = [tuple(signs.tolist()) for leaf, signs in leaves_with_signs(proof, n) if not empty[leaf]]
    assert sorted(patterns) == sorted(tuple(cone.fixed.tolist()) for cone in cells(A))


def test_many_dimensions_need_no_rays() -> None:
    random = rng(8)
    point = random.standard_normal(12)
    fixed = random.standard_normal((20, 12))
    signs = np.concatenate([np.sign(fixed @ point), np.zeros(25)]).astype(np.int64)
    # Nineteen rows follow from the fixed ones, one from their opposites; five more are anywhere.
    weights = random.exponential(size=(20, 20)) * np.append(np.ones(19), -1.0)[:, None]
    A = np.vstack([fixed, weights @ (signs[:20, None] * fixed), random.standard_normal((5, 12))])
    expected = implied_by_programs(A, signs)
    assert (expected[20:39] == ACTIVE).all()
    assert expected[39] == INACTIVE
    implied = Arrangement.of(A).implied_signs(signs)
    assert {proof.neuron: proof.sign for proof in implied} == {i: expected[i] for i in range(20, 45) if expected[i]}
    for proof in implied:
        confirm(A, signs, proof)
    assert Arrangement.of(A).implied_signs(np.zeros(40, dtype=np.int64)) == ()


def test_misuse_is_refused() -> None:
    A = np.eye(3)
    cone = Cone.whole(A).cut(0, ACTIVE)
    with pytest.raises(InputError, match="fixed already"):
        cone.cut(0, INACTIVE)
    with pytest.raises(InputError, match=r"\+1 or −1"):
        cone.cut(1, 0)
    with pytest.raises(InputError, match=r"\+1 or −1"):
        cone.arrangement.support_of_implied(cone.fixed, 1, 2)
    with pytest.raises(InputError, match="zero rows"):
        Cone.whole(np.array([[1.0, 0.0], [0.0, 0.0]]))
