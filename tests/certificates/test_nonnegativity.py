"""The proof object: every part that it may use is justified, and what it proves is true at every point."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certificates import Verdict, check
from certificates.arithmetic import BallMatrix, Enclosure, RationalMatrix
from certificates.failure import ProofFailure
from certificates.nonnegativity import nonnegative_terms, prove_nonnegative
from certificates.proof import Cone, LiftedProof
from formulations import LiftedSpace, TrainingProgram, merge_rows
from tests.certificates.altering import replace
from tests.certificates.proofs import (
    box_region,
    certificate_with,
    full_tree,
    integers,
    simple,
    single,
    tree_certificate,
    with_circuits,
    with_products,
    with_triangles,
)
from tests.strategies import SEEDS, rng

ARITHMETICS = [RationalMatrix, BallMatrix, Enclosure]


def prove(A: np.ndarray, form: np.ndarray, proof: LiftedProof, region=None, bounds=None, matrix=RationalMatrix):
    linear, quadratics = (A[:0], ()) if region is None else region
    return prove_nonnegative(Cone(A, linear, quadratics, bounds), matrix.exact(form), proof, matrix)


def outer(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    return 0.5 * (np.outer(left, right) + np.outer(right, left))


@pytest.mark.parametrize("matrix", ARITHMETICS)
def test_a_form_that_is_positive_definite_needs_nothing(matrix) -> None:
    A = np.array([[1.0, 2.0], [-1.0, 0.5]])
    prove(A, np.eye(6), simple(2), matrix=matrix)
    with pytest.raises(ProofFailure, match="semidefinite|negative|positive"):
        prove(A, -np.eye(6), simple(2), matrix=matrix)


@settings(max_examples=150)
@given(SEEDS, st.integers(1, 3), st.integers(1, 3), st.sampled_from(ARITHMETICS))
def test_what_is_proved_holds_at_every_point(seed: int, N: int, k: int, matrix) -> None:
    """Forms made of a PSD part plus valid terms, then shifted by something that may or may not break them."""
    random = rng(seed)
    A = np.round(random.standard_normal((N, k)), 2)
    space = LiftedSpace(A)
    R = random.standard_normal((space.order, space.order))
    form = R @ R.T / space.order
    pairs = [(p, q) for p in range(2 * N) for q in range(p, 2 * N) if random.random() < 0.5]
    multipliers = random.random(len(pairs))
    t = random.standard_normal(N)
    for (p, q), value in zip(pairs, multipliers, strict=True):
        form += value * outer(np.eye(space.order)[p], np.eye(space.order)[q])
    for i in range(N):
        form += t[i] * outer(np.eye(space.order)[i], np.eye(space.order)[N + i])
    form -= random.choice([0.0, 0.01, 0.3, 3.0]) * np.eye(space.order)
    form = 0.5 * (form + form.T)
    try:
        prove(A, form, simple(N, pairs, multipliers, t), matrix=matrix)
    except ProofFailure:
        return
    lam = space.lift(random.standard_normal((k, 200)))
    values = np.sum(lam * (form @ lam), axis=0)
    assert (values >= -1e-12 * np.sum(lam**2, axis=0)).all()


@pytest.mark.parametrize("matrix", ARITHMETICS)
def test_signs_of_a_full_tree_prove_what_one_leaf_cannot(matrix) -> None:
    """u ↦ γ²‖u‖² − (αᵢ sums) is below zero somewhere on the face, but not on any cell."""
    A = np.array([[1.0, 0.0], [-1.0, 0.0]])
    space = LiftedSpace(A)
    form = np.zeros((space.order, space.order))
    form[space.z, space.z] = 1.01 * np.eye(2)
    form[0, 0] = form[1, 1] = -1.0
    proof, _ = full_tree(2)
    with pytest.raises(ProofFailure):
        prove(A, form, simple(2), matrix=matrix)
    with pytest.raises(ProofFailure, match="leaf 0"):
        prove(A, form, proof, matrix=matrix)
    # Both active means u_1 = 0, by α₀ α₁ = −u_1² ≥ 0.
    prove(A, form, with_products(proof, {0: [(0, 1)]}, 1.0), matrix=matrix)


def test_trees_must_cover_everything() -> None:
    A = np.array([[1.0, 0.0], [0.0, 1.0]])
    form = np.eye(6)
    proof, _ = full_tree(2)
    prove(A, form, proof)
    children = proof.children.copy()
    children[0] = (1, 1)
    for wrong, word in [
        (replace(proof, children=children), "twice"),
        (replace(proof, children=np.where(proof.children == 2, 1, proof.children)), "twice"),
        (replace(proof, split=np.where(proof.split == 1, 0, proof.split)), "split already"),
        (replace(proof, split=np.where(proof.split == 1, 7, proof.split)), "does not exist"),
        (replace(proof, leaf=np.where(proof.leaf == 3, 2, proof.leaf)), "leaf number"),
        (replace(proof, children=np.where(proof.children == 2, 99, proof.children)), "does not exist"),
        (replace(proof, children=np.where(proof.children == 1, 0, proof.children)), "twice"),
    ]:
        with pytest.raises(ProofFailure, match=word):
            prove(A, form, wrong)
    unreached = replace(
        simple(2),
        split=integers([-1, -1]),
        children=integers([[-1, -1], [-1, -1]]),
        leaf=integers([0, 1]),
        pair_offset=integers([0, 0, 0]),
        complementarity=np.zeros((2, 2)),
        sigma=np.zeros((2, 0)),
    )
    with pytest.raises(ProofFailure, match="does not reach"):
        prove(A, form, unreached)


def test_circuits_are_solved_and_checked() -> None:
    """r_0 + r_1 = r_2, so α_0 + α_1 − α_2 ≥ 0; its square with itself is a form that only the circuit proves."""
    A = np.array([[1.0, 0.5], [0.25, 1.0], [1.25, 1.5]])
    row = np.array([1.0, 1.0, -1.0, 0.0, 0.0, 0.0, 0.0, 0.0])
    form = outer(row, np.eye(8)[3])
    honest = with_circuits(simple(3, [(3, 6)], [1.0]), [(2, [0, 1])])
    prove(A, form, honest)
    with pytest.raises(ProofFailure):
        prove(A, form, simple(3))
    for target, support, word in [
        (2, [0, 4], "negative"),
        (2, [0, 1, 2], "target"),
        (2, [0], "determined"),
        (2, [0, 1, 3], "determined|independent"),
        (2, [0, 0], "twice"),
        (2, [], "empty"),
        (5, [0, 1], "negative"),
    ]:
        with pytest.raises(ProofFailure, match=word):
            prove(A, form, with_circuits(simple(3, [(3, 6)], [1.0]), [(target, support)]))
    # A row moved by one unit in the last place has other coefficients, so the same form is no longer proved.
    moved = A.copy()
    moved[2, 0] = np.nextafter(1.25, 2)
    with pytest.raises(ProofFailure):
        prove(moved, form, honest)


@given(SEEDS)
def test_random_circuits_hold(seed: int) -> None:
    random = rng(seed)
    A = random.standard_normal((4, 2))
    space = LiftedSpace(A)
    signed = np.vstack([A, -A])
    target = int(random.integers(8))
    support = [int(j) for j in random.choice([j for j in range(8) if j != target], 2, replace=False)]
    c = np.linalg.lstsq(signed[support].T, signed[target], rcond=None)[0]
    proof = with_circuits(simple(4), [(target, support)])
    if np.linalg.matrix_rank(signed[support]) == 2 and (c > 1e-9).all():
        prove(A, np.eye(space.order), proof)
        phi = space.lift(random.standard_normal((2, 100)))[:8]
        assert (c @ phi[support] - phi[target] >= -1e-9).all()
    elif (c < -1e-9).any():
        with pytest.raises(ProofFailure):
            prove(A, np.eye(space.order), proof)


def test_triangles_over_a_box() -> None:
    """Pre-activation x_0 − 2x_1 + 1 over the box [−1, 1]²: bounds −2 and 4, hence α ≤ 4 (a·z + 2t)/6."""
    A = np.array([[1.0, -2.0, 1.0]])
    region = box_region(np.array([-1.0, -1.0]), np.array([1.0, 1.0]))
    # Positions: φ 0..1, region rows 2..5 (x_0+t, x_1+t, t−x_0, t−x_1), triangle 6.
    row = np.array([-6.0, 0.0, 4.0, -8.0, 4.0 + 8.0])
    form = outer(row, np.eye(5)[1])
    known = np.array([[-2.0, 4.0]])
    proof = simple(1, [(1, 6)], [1.0])
    prove(A, form, with_triangles(proof, [(0, -2.0, 4.0)]), region, known)
    for triangle, word in [
        ((0, -1.5, 4.0), "lower bound of triangle 0 is violated by 5.000e-01"),
        ((0, -2.0, 3.5), "upper bound of triangle 0 is violated by 5.000e-01"),
        ((0, np.nextafter(-2.0, 0.0), 4.0), "lower bound of triangle 0 is violated"),
        ((0, 1.0, 4.0), "contain 0"),
        ((0, -2.0, -1.0), "contain 0"),
        ((0, 0.0, 0.0), "contain 0"),
        ((1, -2.0, 4.0), "outside 0..0"),
    ]:
        with pytest.raises(ProofFailure, match=word):
            prove(A, form, with_triangles(proof, [triangle]), region, known)
    with pytest.raises(ProofFailure, match="need bounds"):
        prove(A, form, with_triangles(proof, [(0, -2.0, 4.0)]), region)
    # The same row holds at points of the box.
    x = rng(0).uniform(-1, 1, size=(2, 500))
    lam = LiftedSpace(A).lift(np.vstack([x, np.ones(500)]))
    assert (row @ lam >= -1e-12).all()


def test_quadratics_of_a_ball_and_rows_of_a_box_multiply() -> None:
    """t² − x² ≥ 0 on the ball; (t − x)(t + x) is the same form from the box's rows."""
    A = np.array([[1.0, 0.0]])
    ball = np.zeros((0, 2)), (np.diag([-1.0, 1.0]),)
    form = np.diag([0.0, 0.0, -1.0, 1.0])
    prove(A, form, simple(1, sigma=[1.0]), ball)
    with pytest.raises(ProofFailure):
        prove(A, form, simple(1, sigma=[0.5]), ball)
    with pytest.raises(ProofFailure, match="negative"):
        prove(A, form, simple(1, sigma=[-1.0]), ball)
    box = box_region(np.array([-1.0]), np.array([1.0]))
    prove(A, form, simple(1, [(2, 3)], [1.0]), box)


@pytest.mark.parametrize("arithmetic", ["exact", "ball", "float"])
def test_a_certificate_with_tree_and_circuit(arithmetic: str) -> None:
    certificate = tree_certificate()
    report = check(certificate, arithmetic=arithmetic)
    assert report.verdict is Verdict.PROVED, report.reason
    assert report.arithmetic == arithmetic
    stretched = replace(certificate, W=1.01 * certificate.W, lower_bound=0.0)
    assert check(stretched, arithmetic=arithmetic).verdict is Verdict.UNKNOWN


def test_the_tree_beats_one_leaf() -> None:
    """The same W has no proof without the tree's signs and multipliers."""
    certificate = tree_certificate()
    program = TrainingProgram(certificate.X, certificate.Y, certificate.gamma)
    single = certificate_with(merge_rows(program), certificate.W, simple(3))
    assert check(single).verdict is Verdict.UNKNOWN


def test_absurd_sizes_are_refused() -> None:
    A = np.zeros((4000, 1))
    with pytest.raises(ProofFailure, match="order"):
        prove_nonnegative(Cone.everywhere(A), Enclosure.exact(np.eye(1)), simple(4000), Enclosure)


@settings(max_examples=25, deadline=None)
@given(SEEDS, st.integers(1, 3), st.integers(0, 3), st.integers(0, 2))
def test_terms_against_the_sum_of_their_products(seed: int, neurons: int, rows: int, further: int) -> None:
    """Of signs, rows of the region and further inequalities, squares among them; and a quadratic of the region."""
    random, k = rng(seed), 2
    linear, others = random.integers(-3, 4, (rows, k)), random.integers(-3, 4, (further, 2 * neurons + k))
    region = np.hstack([np.zeros((rows, 2 * neurons)), linear])
    every = np.vstack([np.eye(2 * neurons, 2 * neurons + k), region, others]).astype(np.float64)
    pairs = np.argwhere(np.triu(random.random((len(every), len(every))) < 0.4))
    weights, t = random.integers(1, 9, len(pairs)).astype(np.float64), random.integers(-9, 9, (1, neurons)) / 2
    quadratic, sigma = random.integers(-3, 4, (k, k)), random.integers(0, 3, (1, 1)) / 2
    quadratic = (quadratic + quadratic.T).astype(np.float64)
    proof = replace(single(pairs, weights, t[0]), sigma=sigma)
    cone = Cone(np.ones((neurons, k)), linear.astype(np.float64), (quadratic,))
    products = np.zeros((len(every), len(every)))
    products[tuple(pairs.T)] = weights
    true = every.T @ products @ every
    true[np.arange(neurons), neurons + np.arange(neurons)] += t[0]
    true = 0.5 * (true + true.T)
    true[2 * neurons :, 2 * neurons :] += sigma * quadratic
    for matrix in (RationalMatrix, Enclosure):
        found = nonnegative_terms(cone, proof, 0, matrix.exact(every[2 * neurons :]), matrix)
        assert (found.arrays[0].astype(np.float64) == true).all()
