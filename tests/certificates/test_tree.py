"""Trees that are built are accepted by the checker when what they say is true, and refused when it is not."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings

from certificates.arithmetic import Enclosure, RationalMatrix
from certificates.failure import ProofFailure
from certificates.making.tree import LeafProof, Node, Split, build
from certificates.nonnegativity import leaves_with_signs, prove_nonnegative
from certificates.proof import Cone, LiftedProof
from formulations import ACTIVE, FREE, INACTIVE
from formulations.circuits import CircuitSet
from formulations.errors import InputError
from formulations.lifted_space import LiftedSpace
from formulations.program import Program
from tests.certificates.altering import replace
from tests.strategies import SEEDS, rng

NEURONS = 5
SUM = (0, 1, 2)
"""Row 2 is the sum of rows 0 and 1, so that α₀ + α₁ − α₂ ≥ 0: true on every cell, but no product of signs shows it."""

LEFT = {
    (1, -1, 1): (NEURONS + 1,), (1, -1, -1): (0,), (-1, 1, 1): (NEURONS,), (-1, 1, -1): (1,),
    (1, 1, -1): (0, 1), (-1, -1, 1): (NEURONS, NEURONS + 1),
}  # fmt: skip
"""On a cell, the positions of φ that ``α₀ + α₁ − α₂`` is the sum of. In the last two the point 0 is alone."""

CIRCUIT = CircuitSet(np.array([2]), np.array([[1.0, 1.0] + [0.0] * (2 * NEURONS - 2)]))


def prove(A: np.ndarray, form: np.ndarray, proof: LiftedProof, matrix=RationalMatrix) -> None:
    prove_nonnegative(Cone.everywhere(A), matrix.exact(form), proof, matrix)


def generators(random: np.random.Generator) -> np.ndarray:
    """Integer rows in space, pairwise independent, with row 2 = row 0 + row 1."""
    while True:
        A = random.integers(-3, 4, (NEURONS, 3)).astype(np.float64)
        A[2] = A[0] + A[1]
        if all(np.linalg.matrix_rank(A[list(pair)]) == 2 for pair in itertools.combinations(range(NEURONS), 2)):
            return A


def form_and_weights(A: np.ndarray, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """``¼‖λ‖² + (α₀ + α₁ − α₂) c·φ + Σ t_i α_i β_i``, with c ≥ 0 and t; entries are exact in binary."""
    N, order = len(A), 2 * len(A) + A.shape[1]
    c = random.integers(0, 9, 2 * N) / 8.0
    t = random.integers(-40, 41, N) / 8.0
    left, right = np.zeros(order), np.zeros(order)
    left[list(SUM)] = 1.0, 1.0, -1.0
    right[: 2 * N] = c
    form = 0.25 * np.eye(order) + 0.5 * (np.outer(left, right) + np.outer(right, left))
    index = np.arange(N)
    form[index, N + index] += 0.5 * t
    form[N + index, index] += 0.5 * t
    return form, c, t


def leaf_proof(signs: np.ndarray, c: np.ndarray, t: np.ndarray, random: np.random.Generator) -> LeafProof:
    """The products that the cell needs, and some at positions that vanish there."""
    matrix = np.zeros((2 * NEURONS, 2 * NEURONS))
    for position in LEFT.get(tuple(signs[list(SUM)].tolist()), ()):
        matrix[position] += 0.5 * c
        matrix[:, position] += 0.5 * c
    vanishing = np.concatenate([signs == INACTIVE, signs == ACTIVE])
    useless = 8.0 * random.random((2 * NEURONS, 2 * NEURONS)) * (vanishing[:, None] | vanishing)
    return LeafProof.from_matrix(matrix + (useless + useless.T), t)


def random_tree(c: np.ndarray, t: np.ndarray, random: np.random.Generator) -> Node:
    """Splits in random order until the dependent triple is fixed; then some more, by chance."""

    def grow(signs: np.ndarray) -> Node:
        free = np.flatnonzero(signs == FREE)
        left = [i for i in SUM if signs[i] == FREE]
        if not left and (len(free) == 0 or random.random() < 0.6):
            return leaf_proof(signs, c, t, random)
        neuron = int(random.choice(free))
        return Split(neuron, grow(fixed(signs, neuron, ACTIVE)), grow(fixed(signs, neuron, INACTIVE)))

    return grow(np.zeros(NEURONS, dtype=np.int64))


def fixed(signs: np.ndarray, neuron: int, sign: int) -> np.ndarray:
    below = signs.copy()
    below[neuron] = sign
    return below


@settings(max_examples=10, deadline=None)
@given(SEEDS)
def test_a_tree_proves_what_its_leaves_prove(seed: int) -> None:
    random = rng(seed)
    A = generators(random)
    form, c, t = form_and_weights(A, random)
    proof = build(random_tree(c, t, random), NEURONS)
    prove(A, form, proof)
    prove(A, form, proof, Enclosure)
    assert (proof.multipliers > 0).all()
    for leaf, signs in leaves_with_signs(proof, NEURONS):
        vanishing = np.concatenate([signs == INACTIVE, signs == ACTIVE])
        assert not vanishing[proof.pairs[proof.pair_offset[leaf] : proof.pair_offset[leaf + 1]]].any()
        assert not proof.complementarity[leaf, signs != FREE].any()


@settings(max_examples=40, deadline=None)
@given(SEEDS)
def test_a_tampered_leaf_is_refused(seed: int) -> None:
    random = rng(seed)
    A = generators(random)
    form, c, t = form_and_weights(A, random)
    proof = build(random_tree(c, t, random), NEURONS)
    if len(proof.multipliers):
        multipliers = proof.multipliers.copy()
        multipliers[random.integers(len(multipliers))] += 1e5
        with pytest.raises(ProofFailure, match="semidefinite|negative|positive"):
            prove(A, form, replace(proof, multipliers=multipliers))


def test_nodes_and_leaves_are_numbered_in_preorder() -> None:
    leaves = [LeafProof.from_matrix(np.diag([w, w, 0.0, 0.0]), np.array([w, w])) for w in (1.0, 2.0, 3.0)]
    proof = build(Split(1, Split(0, leaves[0], leaves[1]), leaves[2]), 2)
    assert proof.split.tolist() == [1, 0, -1, -1, -1]
    assert proof.children.tolist() == [[1, 4], [2, 3], [-1, -1], [-1, -1], [-1, -1]]
    assert proof.leaf.tolist() == [-1, -1, 0, 1, 2]
    # α₀² is left out where neuron 0 is inactive, α₁² where neuron 1 is.
    assert proof.pair_offset.tolist() == [0, 2, 3, 4]
    assert proof.pairs.tolist() == [[0, 0], [1, 1], [1, 1], [0, 0]]
    assert proof.multipliers.tolist() == [1.0, 1.0, 2.0, 3.0]
    assert proof.complementarity.tolist() == [[0.0, 0.0], [0.0, 0.0], [3.0, 0.0]]


@settings(max_examples=30, deadline=None)
@given(SEEDS)
def test_a_leaf_holds_the_form_of_its_matrix(seed: int) -> None:
    """ℓᵀNℓ at points that need not be complementary, with rows beyond the signs."""
    random = rng(seed)
    A = random.standard_normal((3, 2))
    space = LiftedSpace(A)
    rows = random.standard_normal((2, space.order))
    program = Program.of_form(space, np.zeros((space.order, space.order)), np.eye(2), rows)
    N = random.random((8, 8)) * (random.random((8, 8)) < 0.6)
    N = N + N.T
    index = np.arange(3)
    N[index, 3 + index] = N[3 + index, index] = random.standard_normal(3)
    t = random.standard_normal(3)
    leaf = LeafProof.from_matrix(N, t)
    lam = random.standard_normal(space.order)
    values = np.concatenate([lam[:6], rows @ lam])
    terms = leaf.multipliers @ (values[leaf.pairs[:, 0]] * values[leaf.pairs[:, 1]])
    terms += leaf.complementarity @ (lam[:3] * lam[3:6])
    expected = lam @ program.lift_inequalities(N) @ lam + t @ (lam[:3] * lam[3:6])
    assert np.isclose(terms, expected, rtol=1e-12, atol=1e-12)


@settings(max_examples=20, deadline=None)
@given(SEEDS)
def test_circuits_serve_every_leaf(seed: int) -> None:
    """With the circuit as an inequality the form needs no split, and may have any."""
    random = rng(seed)
    A = generators(random)
    form, c, t = form_and_weights(A, random)
    N = np.zeros((2 * NEURONS + 1, 2 * NEURONS + 1))
    N[-1, :-1] = N[:-1, -1] = 0.5 * c
    leaf = LeafProof.from_matrix(N, t)
    prove(A, form, build(leaf, NEURONS, circuits=CIRCUIT))
    prove(A, form, build(Split(4, leaf, Split(2, leaf, leaf)), NEURONS, circuits=CIRCUIT))


def test_depth_is_not_limited_by_the_stack() -> None:
    n = 1200
    nothing = LeafProof(np.zeros((0, 2), dtype=np.int64), np.zeros(0), np.zeros(n))
    node: Node = nothing
    for i in range(n):
        node = Split(i, nothing, node)
    proof = build(node, n)
    assert proof.leaves == n + 1
    assert sum(1 for _ in leaves_with_signs(proof, n)) == n + 1


def bad_trees() -> list[tuple[str, str, Node]]:
    nothing = LeafProof.from_matrix(np.zeros((4, 4)), np.zeros(2))
    return [
        ("out of range", "neuron 2 .* beyond", Split(2, nothing, nothing)),
        ("negative", "neuron -1 .* beyond", Split(-1, nothing, nothing)),
        ("twice", "twice", Split(1, Split(1, nothing, nothing), nothing)),
    ]


@pytest.mark.parametrize(("message", "tree"), [pytest.param(m, t, id=name) for name, m, t in bad_trees()])
def test_trees_that_make_no_sense_are_refused(message: str, tree: Node) -> None:
    with pytest.raises(InputError, match=message):
        build(tree, 2)
