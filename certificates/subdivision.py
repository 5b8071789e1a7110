"""A proof for few dimensions: the weight space is cut into simplicial cones, and on each a small matrix is copositive.

To prove: ``‖f(u)‖² ≤ uᵀPu`` for all u in R^d, where ``f(u) = Σ_i w_i (a_i·u)₊ + Lu``, and P is γ²I or, with a free
hidden bias, the matrix of ``γ²‖u‖² − σ q`` (``certificates.training``). With a basis B, the 2^d cones spanned by ±b_1,
…, ±b_d cover R^d. A tree cuts them: a cut of the edge (a, b) at θ puts ``(1−θ)v_a + θv_b`` in place of v_a in one child
and of v_b in the other, and the children cover the parent.

What is shown on a leaf, and what is charged for rounding, says ``certificates.cone_bound``. Nothing but the tree and σ
is stored.

Source: simplicial partitions as in Bundfuss, Dür, *Algorithmic copositivity detection by simplicial partition*, Linear
Algebra Appl. 428 (2008); the bounds of the cones are ours.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from certificates.arithmetic.exact import RationalMatrix
from certificates.cone_bound import LeafTest
from certificates.failure import Deadline, require, require_arrays
from formulations.arrays import FloatArray, IntArray

LEAF = -1
LARGEST_DIMENSION = 8
"""Largest d: the number of root cones is 2^d."""
LARGEST_TREE = 1 << 25
"""Most nodes; bounds the memory that a hostile file can ask for (about 2 GB)."""
CHUNK = 2048
"""Nodes of a subtree whose leaves are checked together."""
DEEPEST = 4096
Failing = tuple[int, FloatArray, int]


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


def check_subdivision(proof: Subdivision, dimension: int, quadratics: int) -> IntArray:
    """Check shapes, types and ranges, the basis, σ and the form of the trees; returns the end of each subtree."""
    require(proof.codes.ndim == 1, f"codes has {proof.codes.ndim} dimensions where 1 is needed")
    d, nodes = dimension, len(proof.codes)
    require(nodes <= LARGEST_TREE, f"the subdivision has {nodes} nodes, and this checker stops at {LARGEST_TREE}")
    require(1 <= d <= LARGEST_DIMENSION, f"a subdivision in {d} dimensions is beyond {LARGEST_DIMENSION}")
    require_arrays(proof, np.int64, codes=(nodes,))
    cuts = proof.codes[proof.codes != LEAF]
    require_arrays(proof, np.float64, basis=(d, d), positions=cuts.shape, sigma=(quadratics,))
    require((proof.sigma >= 0).all(), "sigma is negative")
    require(RationalMatrix.exact(proof.basis).flint.rank() == d, "the basis is not linearly independent")
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


def failing_leaves(test: LeafTest, proof: Subdivision, ends: IntArray, deadline: Deadline) -> Iterator[Failing]:
    """Nodes of the leaves on which ``‖f‖² ≤ uᵀPu`` is not shown, their cones (d, d), and a bound on their depth; where
    there is none, it holds everywhere. ``test`` tells, and ``ends`` are from ``check_subdivision``."""
    d, roots = len(proof.basis), [0]
    for _ in range((1 << d) - 1):
        roots.append(int(ends[roots[-1]]))
    signs, theta = np.where((np.arange(1 << d)[:, None] >> np.arange(d)) & 1, 1.0, -1.0), np.zeros(len(ends))
    theta[proof.codes != LEAF] = proof.positions
    below = partial(_small_subtrees, proof.codes, theta, ends)
    for above, nodes, cones in below(np.array(roots), signs[:, None] * np.eye(d), CHUNK):
        for start, cone in zip(nodes.tolist(), cones, strict=True):
            deadline.check()
            levels = [*below(np.array([start]), cone[None], 1)]
            depth = above + levels[-1][0]
            require(depth <= DEEPEST, f"a leaf of the subdivision lies deeper than {DEEPEST} cuts")
            leaves, their_cones = (np.concatenate([level[k] for level in levels]) for k in (1, 2))
            for failed in test.failures(cone, their_cones, depth, deadline):
                yield int(leaves[failed]), their_cones[failed], depth


def _small_subtrees(
    codes: IntArray, theta: FloatArray, ends: IntArray, nodes: IntArray, cones: FloatArray, most: int
) -> Iterator[tuple[int, IntArray, FloatArray]]:
    """(cuts above, first nodes, cones) of the largest subtrees of at most ``most`` nodes, level by level below these
    nodes with their cones; together they cover all. Those of one node are the leaves."""
    depth = 0
    while len(nodes):
        require(depth <= DEEPEST, f"a leaf of the subdivision lies deeper than {DEEPEST} cuts")
        small = ends[nodes] - nodes <= most
        yield depth, nodes[small], cones[small]
        nodes, cones, depth = nodes[~small], cones[~small], depth + 1
        cones = np.concatenate(cut(cones, *np.divmod(codes[nodes], cones.shape[1]), theta[nodes]))
        nodes = np.concatenate([nodes + 1, ends[nodes + 1]])


def cut(cones: FloatArray, a: IntArray, b: IntArray, theta: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Both children of each cone (m, d, d). Entries lie in [−1, 1], so a cut adds at most 4 units of rounding."""
    each = np.arange(len(cones))
    vertex = (1.0 - theta)[:, None] * cones[each, :, a] + theta[:, None] * cones[each, :, b]
    first, second = cones.copy(), cones.copy()
    first[each, :, a] = vertex
    second[each, :, b] = vertex
    return first, second
