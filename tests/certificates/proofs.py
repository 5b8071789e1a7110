"""Small proofs with every feature of the format, made by hand: trees, circuits, triangles, balls."""

import itertools

import numpy as np

from certificates import Certificate
from certificates.making.assemble import assemble
from certificates.making.repair import RepairedDual
from certificates.proof import LEAF, Circuits, LiftedProof, Triangles
from formulations import MergedRows, TrainingProgram, merge_rows
from formulations.robustness import UnsafeCase
from tests.certificates.altering import replace
from tests.verification.margin_bounds import Relaxation, margin_bound
from tests.verification.problems import random_box, random_network


def integers(values) -> np.ndarray:
    return np.array(values, dtype=np.int64)


def single(pairs: np.ndarray, multipliers: np.ndarray, t: np.ndarray) -> LiftedProof:
    """A proof without splits, regions, circuits or triangles: products of signs and complementarity alone."""
    none, start = integers([]), integers([0])
    return LiftedProof(
        split=integers([LEAF]),
        children=integers([[-1, -1]]),
        leaf=start,
        pair_offset=integers([0, len(pairs)]),
        pairs=pairs,
        multipliers=multipliers,
        complementarity=t[None, :],
        sigma=np.zeros((1, 0)),
        circuits=Circuits(none, start, none),
        triangles=Triangles(none, np.zeros((0, 2))),
        groups=none,
    )


def simple(neurons: int, pairs=(), multipliers=(), t=None, sigma=()) -> LiftedProof:
    """One leaf."""
    proof = single(
        integers(list(pairs)).reshape(-1, 2),
        np.array(multipliers, dtype=np.float64),
        np.zeros(neurons) if t is None else np.asarray(t, dtype=np.float64),
    )
    return replace(proof, sigma=np.array([sigma], dtype=np.float64).reshape(1, -1))


def full_tree(neurons: int) -> tuple[LiftedProof, list[tuple[int, ...]]]:
    """Every neuron split on every path; also the signs of each leaf. No multipliers."""
    nodes = 2 ** (neurons + 1) - 1
    split, children = np.full(nodes, LEAF), np.full((nodes, 2), LEAF)
    leaf = np.full(nodes, LEAF)
    first_leaf = 2**neurons - 1
    for node in range(first_leaf):
        split[node] = int(np.log2(node + 1))
        children[node] = (2 * node + 1, 2 * node + 2)
    leaf[first_leaf:] = np.arange(2**neurons)
    count = 2**neurons
    base = simple(neurons)
    proof = replace(
        base,
        split=split,
        children=children,
        leaf=leaf,
        pair_offset=np.zeros(count + 1, dtype=np.int64),
        complementarity=np.zeros((count, neurons)),
        sigma=np.zeros((count, 0)),
    )
    return proof, list(itertools.product((1, -1), repeat=neurons))


def is_realisable(A: np.ndarray, signs: tuple[int, ...], seed: int = 0) -> bool:
    """Whether some of many random points has these signs (d ≤ 3, few neurons: reliable)."""
    z = np.random.default_rng(seed).standard_normal((A.shape[1], 20000))
    return bool((np.array(signs)[:, None] == np.sign(A @ z)).all(axis=0).any())


def with_circuits(proof: LiftedProof, circuits: list[tuple[int, list[int]]]) -> LiftedProof:
    target = integers([k for k, _ in circuits])
    offset = integers(np.cumsum([0, *(len(support) for _, support in circuits)]))
    return replace(proof, circuits=Circuits(target, offset, integers([j for _, s in circuits for j in s])))


def with_products(proof: LiftedProof, products: dict[int, list[tuple[int, int]]], multiplier: float) -> LiftedProof:
    """The same multiplier at these pairs of each leaf."""
    listed = [products.get(leaf, []) for leaf in range(proof.leaves)]
    pairs = integers([pair for leaf in listed for pair in leaf]).reshape(-1, 2)
    offset = integers(np.cumsum([0, *(len(leaf) for leaf in listed)]))
    return replace(proof, pairs=pairs, pair_offset=offset, multipliers=np.full(len(pairs), multiplier))


def with_triangles(proof: LiftedProof, triangles: list[tuple[int, float, float]]) -> LiftedProof:
    bounds = np.array([bounds for _, *bounds in triangles], dtype=np.float64).reshape(-1, 2)
    return replace(proof, triangles=Triangles(integers([i for i, *_ in triangles]), bounds))


def box_region(low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, tuple[()]]:
    """{(x, t): low·t ≤ x ≤ high·t}; rows 0..k−1 are x − low t, rows k..2k−1 are high t − x."""
    k = len(low)
    eye = np.eye(k)
    rows = np.vstack([np.hstack([eye, -low[:, None]]), np.hstack([-eye, high[:, None]])])
    return rows, ()


def tree_certificate(seed: int = 0) -> Certificate:
    """An optimality certificate in the plane with a full split tree and one (idle) circuit.

    Where three signs cannot be, their rows add up to 0, and products make the slack as large as one likes.
    """
    random = np.random.default_rng(seed)
    X = np.array([[1.0, 0.0], [0.25, 1.0], [1.25, 1.0]])
    program = TrainingProgram(X, random.standard_normal((3, 2)) + 1.0, 0.25)
    merged = merge_rows(program)
    A = merged.program.space.generators
    proof, signs = full_tree(3)
    products = {}
    largest = 0.0
    W = program.Y
    for leaf, sigma in enumerate(signs):
        if is_realisable(A, sigma):
            active = np.array(sigma) > 0
            largest = max(largest, float(np.linalg.norm(W[active].T @ X[active], 2))) if active.any() else largest
        else:
            p = [i if sign > 0 else 3 + i for i, sign in enumerate(sigma)]
            products[leaf] = list(itertools.combinations(sorted(p), 2))
    proof = with_circuits(with_products(proof, products, 100.0), [(2, [0, 1])])
    scaled = 0.25 / largest * (1 - 1e-9) * W
    return certificate_with(merged, scaled, proof)


def certificate_with(merged: MergedRows, W: np.ndarray, proof: LiftedProof) -> Certificate:
    """A certificate with this dual (merged coordinates are the original ones) and this proof; claims as they follow."""
    m = merged.program.space.neurons
    d, c = merged.original.shape[1:]
    dual = RepairedDual(W, np.zeros((2 * m, 2 * m)), np.zeros(m), 0.0)
    return replace(assemble(merged, dual, np.zeros((d, 1)), np.zeros((c, 1)), {}), proof=proof)


def linear_robustness() -> Certificate:
    """A proof for two inputs and three neurons by one linear leaf."""
    network, region = random_network(3, inputs=2, width=3), random_box(3, 2)
    case = UnsafeCase(region, np.eye(2)[:1], np.array([100.0]))
    certificate = margin_bound(network, case, Relaxation.CROWN).certificate
    assert certificate is not None
    return certificate
