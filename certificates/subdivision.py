"""A proof for few dimensions: the weight space is cut into simplicial cones, and on each a small matrix is copositive.

To prove: ``‖f(u)‖² ≤ uᵀPu`` for all u in R^d, where ``f(u) = Σ_i w_i (a_i·u)₊ + Lu``, and P is γ²I or, with a free
hidden bias, the matrix of ``γ²‖u‖² − σ q`` (``certificates.training``). With a basis B, the 2^d cones spanned by ±b_1,
…, ±b_d cover R^d. A tree cuts them: a cut of the edge (a, b) at θ puts ``(1−θ)v_a + θv_b`` in place of v_a in one child
and of v_b in the other, and the children cover the parent.

On a leaf, u = Σ t_j v_j with t ≥ 0. Rows whose hyperplanes do not cross it are linear there. For the others

    (a·u)₊ = Σ t_j (a·v_j)₊ − s,    0 ≤ s ≤ min(Σ t_j (a·v_j)₊, Σ t_j (−a·v_j)₊).

(The left side is convex, and both sums are bounds because (z)₊ = z + (−z)₊.) So for every unit vector p

    |p·f(u)| ≤ Σ t_j x_j,    ‖f(u) − (p·f(u))p‖ ≤ ‖Σ t_j q_j‖ + Σ t_j y_j,

and the leaf holds if for some η > 0 the d×d matrix ``M = VᵀPV − xxᵀ − (1+η)QᵀQ − (1+1/η)yyᵀ`` is copositive. Nothing
but the tree and σ is stored; p, η, x, q and y are chosen here, from the data.

Rounding: the values z_ij = a_i·v_j are computed in floating point. As f is a sum of 1-Lipschitz functions of them, an
error in z, in w and in the sums changes f(u) by at most ``D Σ t_j``, with one number D for leaves of a depth, and D is
added to x and y. Copositivity only needs lower bounds of the entries of M, so every rounding error is subtracted there.
``_LeafTest`` lists all sources of error.
Source of the test: simplicial partitions as in Bundfuss, Dür, *Algorithmic copositivity detection by simplicial
partition*, Linear Algebra Appl. 428 (2008); the bounds of the cones are ours.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from flint import fmpq_mat

from certificates.arithmetic.exact import to_fmpq
from certificates.arithmetic.floating import TINY, UNIT, Enclosure
from certificates.copositivity import are_copositive
from certificates.failure import Deadline, require, require_arrays
from formulations.arrays import FloatArray, IntArray

LEAF = -1
LARGEST_DIMENSION = 8
"""Largest d: the number of root cones is 2^d."""
LARGEST_TREE = 1 << 25
"""Most nodes; bounds the memory that a hostile file can ask for (about 2 GB)."""
CHUNK = 2048
"""Nodes of a subtree whose leaves are checked together."""
CHUNK_ENTRIES = 1 << 21
"""Entries of a temporary array; fewer leaves are taken at a time where many rows cross."""
DEEPEST = 4096


@dataclass(frozen=True, eq=False)
class Subdivision:
    """A tree of cuts for each of the 2^d cones of a basis, in preorder, one tree after the other.

    Cone number r has the columns ±b_j of the basis, with + where bit j of r is set.

    Attributes:
        basis: (d, d) b_1, …, b_d in columns, linearly independent.
        codes: (nodes,) ``LEAF`` or ``a·d + b`` for the edge (a, b) that is cut, a ≠ b.
        positions: (cuts,) θ in (0, 1), one for each code that is not ``LEAF``, in the same order.
        sigma: (1,) σ ≥ 0 with a free hidden bias, else (0,).
    """

    basis: FloatArray
    codes: IntArray
    positions: FloatArray
    sigma: FloatArray = field(default_factory=lambda: np.zeros(0))

    @property
    def leaves(self) -> int:
        """Number of leaves."""
        return int(np.count_nonzero(self.codes == LEAF))


@dataclass(frozen=True, eq=False)
class PiecewiseLinear:
    """``f(u) = Σ w_i (a_i·u)₊ + Lu`` in the coordinates of a basis, enclosed.

    Attributes:
        rows: (N, d) the rows a_i B.
        weights: (N, c) w_i.
        linear: (c, d) LB.
        metric: (d, d) BᵀPB.
    """

    rows: Enclosure
    weights: Enclosure
    linear: Enclosure
    metric: Enclosure


def in_basis(generators: FloatArray, features: Enclosure, square: Enclosure, basis: FloatArray) -> PiecewiseLinear:
    """The output ``Σ_i W_i (a_i·u)₊ + W_{N+i} (−a_i·u)₊`` for features W (2N×c), with (−z)₊ = (z)₊ − z, and
    P = ``square``."""
    N = len(generators)
    own, opposite = np.arange(N), np.arange(N, 2 * N)
    outputs = np.arange(features.shape[1])
    B = Enclosure.exact(basis)
    rows = Enclosure.exact(generators) @ B
    below = features.take(opposite, outputs)
    return PiecewiseLinear(
        rows=rows,
        weights=features.take(own, outputs) + below,
        linear=-(below.T @ rows),
        metric=B.T @ (square @ B),
    )


def check_subdivision(proof: Subdivision, dimension: int, quadratics: int) -> IntArray:
    """Check shapes, types and ranges, the basis, σ and the form of the trees; returns the end of each node's subtree.

    Raises:
        ProofFailure: the first violated condition.
    """
    require(proof.codes.ndim == 1, f"codes has {proof.codes.ndim} dimensions where 1 is needed")
    d, nodes = dimension, len(proof.codes)
    require(nodes <= LARGEST_TREE, f"the subdivision has {nodes} nodes, and this checker stops at {LARGEST_TREE}")
    require(1 <= d <= LARGEST_DIMENSION, f"a subdivision in {d} dimensions is beyond {LARGEST_DIMENSION}")
    require_arrays(proof, np.int64, codes=(nodes,))
    cuts = proof.codes[proof.codes != LEAF]
    require_arrays(proof, np.float64, basis=(d, d), positions=cuts.shape, sigma=(quadratics,))
    require((proof.sigma >= 0).all(), "sigma is negative")
    table = fmpq_mat(d, d, [to_fmpq(x) for x in proof.basis.ravel().tolist()])
    require(table.rank() == d, "the basis is not linearly independent")
    require(((cuts >= 0) & (cuts < d * d)).all(), "a code is out of range")
    require((cuts // d != cuts % d).all(), "a cut joins a vertex with itself")
    require(((proof.positions > 0) & (proof.positions < 1)).all(), "a cut does not lie inside its edge")
    return _ends(proof.codes, 1 << d)


def _ends(codes: IntArray, roots: int) -> IntArray:
    """For each node in preorder one past the end of its subtree.

    Let S count cuts as +1 and leaves as −1. A subtree ends where S is first one less than before it began.
    """
    nodes = len(codes)
    S = np.cumsum(np.where(codes != LEAF, 1, -1))
    require(
        nodes >= roots and S[-1] == -roots and (S[:-1] > -roots).all(),
        f"the subdivision does not consist of {roots} complete trees",
    )
    index = np.arange(nodes)
    key = np.sort((S + roots) * nodes + index)
    before = np.concatenate([[0], S[:-1]])
    ends: IntArray = key[np.searchsorted(key, (before - 1 + roots) * nodes + index)] % nodes + 1
    return ends


def prove_by_subdivision(function: PiecewiseLinear, proof: Subdivision, ends: IntArray, deadline: Deadline) -> None:
    """Check every leaf: ``‖f‖² ≤ uᵀPu`` on its cone; ``ends`` are from ``check_subdivision``.

    Raises:
        ProofFailure: the first violated condition, or a leaf whose matrix is not shown to be copositive.
    """
    require(
        all(part.finite for part in (function.rows, function.weights, function.linear, function.metric)),
        "numbers overflow in the coordinates of the basis",
    )
    number = np.cumsum(proof.codes != LEAF) - 1
    test = _LeafTest(function)
    for start, cone, depth in _subtrees(proof, ends, number):
        deadline.check()
        leaves, deepest = _leaf_cones(proof, ends, number, start, cone)
        require(depth + deepest <= DEEPEST, f"a leaf of the subdivision lies deeper than {DEEPEST} cuts")
        failed = test.first_failure(cone, leaves, depth + deepest, deadline)
        require(failed < 0, f"leaf {failed} below node {start} of the subdivision is not shown to be copositive")


def _subtrees(proof: Subdivision, ends: IntArray, number: IntArray) -> Iterator[tuple[int, FloatArray, int]]:
    """(first node, cone, depth) of the largest subtrees with at most ``CHUNK`` nodes; together they cover all."""
    d = len(proof.basis)
    roots = [0]
    for _ in range((1 << d) - 1):
        roots.append(int(ends[roots[-1]]))
    signs = np.where((np.arange(1 << d)[:, None] >> np.arange(d)) & 1, 1.0, -1.0)
    nodes, cones, depth = np.array(roots), signs[:, None] * np.eye(d), 0
    while len(nodes):
        require(depth <= DEEPEST, f"a leaf of the subdivision lies deeper than {DEEPEST} cuts")
        small = ends[nodes] - nodes <= CHUNK
        yield from ((node, cone, depth) for node, cone in zip(nodes[small].tolist(), cones[small], strict=True))
        nodes, cones = _children(proof, ends, number, nodes[~small], cones[~small])
        depth += 1


def _children(
    proof: Subdivision, ends: IntArray, number: IntArray, nodes: IntArray, cones: FloatArray
) -> tuple[IntArray, FloatArray]:
    """The children of cuts, and their cones."""
    a, b = np.divmod(proof.codes[nodes], len(proof.basis))
    below = _cut(cones, a, b, proof.positions[number[nodes]])
    return np.concatenate([nodes + 1, ends[nodes + 1]]), np.concatenate(below)


def _cut(cones: FloatArray, a: IntArray, b: IntArray, theta: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Both children of each cone (m, d, d). Entries lie in [−1, 1], so a cut adds at most 4 units of rounding."""
    each = np.arange(len(cones))
    vertex = (1.0 - theta)[:, None] * cones[each, :, a] + theta[:, None] * cones[each, :, b]
    first, second = cones.copy(), cones.copy()
    first[each, :, a] = vertex
    second[each, :, b] = vertex
    return first, second


def _leaf_cones(
    proof: Subdivision, ends: IntArray, number: IntArray, start: int, cone: FloatArray
) -> tuple[FloatArray, int]:
    """The cones of all leaves of a subtree, level by level, and the depth of the deepest."""
    nodes, cones, depth, found = np.array([start]), cone[None], -1, []
    while len(nodes):
        is_leaf = proof.codes[nodes] == LEAF
        found.append(cones[is_leaf])
        nodes, cones = _children(proof, ends, number, nodes[~is_leaf], cones[~is_leaf])
        depth += 1
    return np.concatenate(found), depth


class _LeafTest:
    """The test of leaves for one function, with the constants that its rounding errors need.

    Let u = 2^−53, S = Σ_i ‖w_i‖₁‖a_i‖₁ + ‖L‖₁ (``size``), G = Σ|E_jk| (``metric_size``), m the depth of the leaf, and
    R = 4(N + 8d + 8c + 64) + 24m (``rounding``). D = 1.01 (enclosed + R u S) is added to x and 2D to y. Everything
    exact is about the true rows, weights and vertices; ``|v_j| ≤ 1`` in all entries. All bounds are per unit of t_j.

    ===================================  ===================================  ==========================================
    source                               what it changes at most              term that covers it
    ===================================  ===================================  ==========================================
    radii of a_i, w_i, L                 f by Σ‖w‖ δa + δw(‖a‖+δa) + δL        ``enclosed`` in D: once in x, twice in y
    radii of E                           v_iᵀEv_j by Σ δE                      ``metric_error``
    vertices: 3u a cut in each entry     f by 4mu S, v_iᵀEv_j by 8mu G         24m in D and in ``lost``
    a_i·v_j, at the root and here, and   f, (p·w)σ and ‖w−(p·w)p‖σ by du S      32d in D
    signs and σ that follow from it      each
    L + Σ w_i a_iᵀ over active rows      f by (N+1)u S                         4N in D, 8N in y
    P = Lv + Σ w_i (a_i·v)₊              P by (N+d+1)u S                       the same, and 32d
    p·w_i, p·P                           x by 2cu S                            32c in D
    ‖p‖ ≠ 1, by (c/2+3)u                 x by (c+6)u S, q and y by as much     32c in D, 64c in y
    sums over i in x and y               (N+2)u S                              4N in D, 8N in y
    w_i − (p·w_i)p and its length        y by (c+4)u S, also if it cancels     64c in y
    q = P − (p·P)p                       ‖Σ t_j q_j‖ by (c+4)u S Σ t_j         y, into which it may be counted
    v_iᵀEv_j                             2du G                                 32d in ``lost``
    x_i x_j, q_i·q_j, y_i y_j, 1+η, 1/    (c+15)u of the sum of their sizes    32(c+4)u times that sum
    and the sums that make M
    underflow in x, y, P                 2^−1075 Nc, hence M by less than       D where S > 2^−1000, else the 2^−1022
                                         2^−2000                               in the radii of E
    underflow in products that make M    2^−1075 (c+8), times up to 1.01e8      the radii of E; 1e9 (c+8) 2^−1022
    D, S and G themselves                a factor 1 ± (N+c+d)u                  1.01
    ===================================  ===================================  ==========================================

    So N is needed at most three times of four in x, d five times of 32, c four times of 32. p, η and the choice between
    the two bounds on s need no error terms: any will do.
    """

    def __init__(self, function: PiecewiseLinear) -> None:
        self.rows, self.weights, self.linear = function.rows.mid, function.weights.mid, function.linear.mid
        self.metric = function.metric.mid
        N, d = self.rows.shape
        c = self.weights.shape[1]
        row_size, row_error = np.abs(self.rows).sum(axis=1), function.rows.rad.sum(axis=1)
        weight_size, weight_error = np.abs(self.weights).sum(axis=1), function.weights.rad.sum(axis=1)
        # Vertices have entries in [−1, 1], up to rounding that the factors 1.01 cover.
        self.size = 1.01 * float(weight_size @ row_size + np.abs(self.linear).sum())
        self.enclosed = 1.01 * float(
            weight_size @ row_error + weight_error @ (row_size + row_error) + function.linear.rad.sum()
        )
        self.metric_size = 1.01 * float(np.abs(self.metric).sum())
        self.metric_error = 1.01 * float(function.metric.rad.sum())
        self.operations = 4 * (N + 8 * d + 8 * c + 64)

    def first_failure(self, root: FloatArray, cones: FloatArray, depth: int, deadline: Deadline) -> int:
        """The number of the first of these cones (m, d, d) for which the test fails, or −1."""
        at_root = self.rows @ root
        crossing = np.flatnonzero((at_root > 0).any(axis=1) & (at_root < 0).any(axis=1))
        active = (at_root >= 0).all(axis=1)
        linear = self.linear + self.weights[active].T @ self.rows[active]
        d, outputs = len(root), self.weights.shape[1]
        step = max(1, CHUNK_ENTRIES // (len(crossing) * (d + outputs) + d * (d + outputs)))
        for begin in range(0, len(cones), step):
            deadline.check()
            M = self._matrices(linear, crossing, cones[begin : begin + step], depth)
            failed = np.flatnonzero(~are_copositive(M, deadline))
            if len(failed):
                return begin + int(failed[0])
        return -1

    def _matrices(self, linear: FloatArray, crossing: IntArray, cones: FloatArray, depth: int) -> FloatArray:
        """Lower bounds (m, d, d) of the entries of M."""
        w = self.weights[crossing]
        z = self.rows[crossing] @ cones
        above, below = np.maximum(z, 0.0), np.maximum(-z, 0.0)
        P = linear @ cones + w.T @ above
        gram = cones.transpose(0, 2, 1) @ self.metric @ cones
        norm = np.sqrt(np.maximum(np.einsum("mjj->mj", gram), 1e-300))
        p = _unit(np.sum(P / norm[:, None, :], axis=2))
        # Of the two bounds on s, the one with the smaller sum; their difference is z.
        nearer = self.rows[crossing] @ cones.sum(axis=2)[:, :, None] < 0
        slack = np.where(nearer, above, below)
        share = p @ w.T
        rounding = self.operations + 24 * depth
        D = 1.01 * (self.enclosed + rounding * UNIT * self.size)
        middle = np.einsum("mc,mcj->mj", p, P)
        x = middle + np.einsum("mi,mij->mj", np.maximum(-share, 0.0), slack)
        x = np.maximum(x, -(middle - np.einsum("mi,mij->mj", np.maximum(share, 0.0), slack)))
        x = np.maximum(x, 0.0) + D
        lost = rounding * UNIT * self.metric_size + self.metric_error
        outer = x[:, :, None] * x[:, None, :]
        M = gram - outer
        size = np.abs(gram) + outer
        if w.shape[1] > 1:
            aside = _lengths([w[:, q] - share * p[:, q, None] for q in range(w.shape[1])])
            y = np.einsum("mi,mij->mj", aside, slack) + 2.0 * D
            Q = P - p[:, :, None] * middle[:, None, :]
            first = np.sum((Q / norm[:, None, :]) ** 2, axis=(1, 2))
            second = np.sum((y / norm) ** 2, axis=1)
            eta = _balance(second, first)[:, None, None]
            square = Q.transpose(0, 2, 1) @ Q
            outer = y[:, :, None] * y[:, None, :]
            M = M - (1.0 + eta) * square - (1.0 + 1.0 / eta) * outer
            length = np.linalg.norm(Q, axis=1)
            size = size + (1.0 + eta) * length[:, :, None] * length[:, None, :] + (1.0 + 1.0 / eta) * outer
            # Products that underflow are multiplied by 1 + η or 1 + 1/η, at most 1.01e8.
            lost += 1e9 * (w.shape[1] + 8.0) * TINY
        lower: FloatArray = M - (lost + 32.0 * (w.shape[1] + 4) * UNIT * size)
        return lower


def _balance(second: FloatArray, first: FloatArray) -> FloatArray:
    """η for each leaf; NaN where a sum is NaN, and any other positive number would do."""
    eta: FloatArray = np.clip(np.sqrt(second / np.maximum(first, 1e-300)), 1e-8, 1e4)
    return eta


def _lengths(entries: list[FloatArray]) -> FloatArray:
    """Euclidean lengths of vectors, given as one array for each entry, up to relative rounding whatever their size."""
    size = np.abs(entries[0])
    for entry in entries[1:]:
        np.maximum(size, np.abs(entry), out=size)
    safe = np.where(size > 0, size, 1.0)
    total = np.zeros_like(size)
    for entry in entries:
        scaled = entry / safe
        total += scaled * scaled
    lengths: FloatArray = np.sqrt(total) * size
    return lengths


def _unit(vectors: FloatArray) -> FloatArray:
    """Rows of unit length, up to rounding; e_1 for zero rows, NaN where an entry is not finite.

    They are divided by their largest entry first: squares of the quotients neither overflow nor underflow in sum.
    Lengths that did were no lengths, and false claims passed with them.
    """
    size = np.abs(vectors).max(axis=1, keepdims=True)
    scaled = vectors / np.where(size > 0, size, 1.0)
    scaled[size[:, 0] == 0, 0] = 1.0
    unit: FloatArray = scaled / np.sqrt(np.sum(scaled * scaled, axis=1, keepdims=True))
    return unit
