"""Writing a tree of sign splits down as a ``LiftedProof``: nested nodes in, flat arrays out. Proves nothing yet."""

from dataclasses import dataclass, field

import numpy as np

from certificates.proof import LEAF, Circuits, LiftedProof, Triangles
from formulations import ACTIVE, FREE, INACTIVE
from formulations.arrays import FloatArray, IntArray
from formulations.errors import InputError


@dataclass(frozen=True, eq=False)
class LeafProof:
    """Multipliers of one leaf, in the convention of ``LiftedProof``.

    Attributes:
        pairs: (K, 2) positions p ≤ q.
        multipliers: (K,) positive N_pq; a pair contributes ``N_pq ℓ_p ℓ_q`` once.
        complementarity: (N,) free t.
        sigma: (q,) σ ≥ 0 of the region's quadratics; empty means zeros.
    """

    pairs: IntArray
    multipliers: FloatArray
    complementarity: FloatArray
    sigma: FloatArray = field(default_factory=lambda: np.zeros(0))

    @classmethod
    def from_matrix(cls, N: FloatArray, t: FloatArray) -> "LeafProof":
        """The terms ``ℓᵀNℓ + Σ t_i α_i β_i``, for symmetric N over all inequalities: signs φ, then further rows.

        Entries at complementary positions (α_i, β_i) have any sign and go to t, where they belong.

        Raises:
            InputError: N is not a symmetric finite matrix over at least the 2N signs, or is negative elsewhere.
        """
        neurons, size = len(t), len(N)
        if N.shape != (size, size) or t.shape != (neurons,) or size < 2 * neurons:
            raise InputError(
                f"a leaf of {neurons} neurons needs a square matrix of multipliers of order at least {2 * neurons}, "
                f"not one of shape {N.shape}."
            )
        if not (np.isfinite(N).all() and np.isfinite(t).all() and np.array_equal(N, N.T)):
            raise InputError("the multipliers of a leaf must be finite and symmetric; symmetrise them first.")
        index = np.arange(neurons)
        upper = np.triu(N)
        complementarity = t + 2.0 * upper[index, neurons + index]
        upper[index, neurons + index] = 0.0
        if not (upper >= 0).all():
            raise InputError("the multipliers of a leaf must not be negative; project them first.")
        p, q = np.nonzero(upper)
        pairs = np.stack([p, q], axis=1).astype(np.int64)
        return cls(pairs, np.where(p == q, 1.0, 2.0) * upper[p, q], complementarity)


@dataclass(frozen=True, eq=False)
class EmptyLeaf:
    """A leaf without interior: some positive combination of the rows ``σ_i a_i``, i in ``support``, vanishes.

    Attributes:
        support: neurons whose signs the path to the leaf has fixed; their rows form a minimal dependent set.
    """

    support: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class Split:
    """Two cases of the sign of one neuron.

    Attributes:
        neuron: i.
        active: where ``a_i·z ≥ 0``, so ``β_i = 0``.
        inactive: where ``a_i·z ≤ 0``, so ``α_i = 0``.
    """

    neuron: int
    active: "Node" = field(repr=False)
    inactive: "Node" = field(repr=False)


Node = Split | LeafProof | EmptyLeaf


def build(
    root: Node,
    neurons: int,
    *,
    circuits: Circuits | None = None,
    triangles: Triangles | None = None,
    rows: int = 0,
    quadratics: int = 0,
) -> LiftedProof:
    """Flatten a tree; nodes and leaves are numbered in preorder, active sides first.

    Multipliers of signs that vanish on a leaf (α_i where i is inactive, β_i where it is active) do nothing there; they
    are left out, and so is t_i of a fixed neuron.

    Args:
        root: tree whose leaves hold their multipliers.
        neurons: N.
        circuits, triangles: further inequalities, at the positions from 2N + ``rows`` on, in this order.
        rows, quadratics: how many the region has; 0 for all of R^k.

    Raises:
        InputError: a neuron or position out of range, a neuron split twice on a path, an empty leaf whose support is
            not fixed, or a leaf with another number of σ than the region has quadratics.
    """
    nothing = np.zeros(0, dtype=np.int64)
    circuits = Circuits(nothing, np.zeros(1, dtype=np.int64), nothing) if circuits is None else circuits
    if triangles is None:
        triangles = Triangles(nothing, np.zeros((0, 2)), np.zeros(1, dtype=np.int64), nothing)
    positions = 2 * neurons + rows + len(circuits.target) + len(triangles.neuron)
    split: list[int] = []
    children: list[list[int]] = []
    number_of: list[int] = []
    leaves: list[LeafProof] = []
    supports: list[tuple[int, ...]] = []
    stack: list[tuple[Node, IntArray, int, int]] = [(root, np.full(neurons, FREE, dtype=np.int64), -1, 0)]
    while stack:
        node, signs, parent, side = stack.pop()
        if parent >= 0:
            children[parent][side] = len(split)
        children.append([LEAF, LEAF])
        if isinstance(node, Split):
            i = node.neuron
            if not 0 <= i < neurons:
                raise InputError(f"the tree splits on neuron {i}, but there are {neurons} neurons.")
            if signs[i] != FREE:
                raise InputError(f"the tree splits on neuron {i} twice on one path; split on each neuron once.")
            # The active side is popped first.
            for child, sign, column in ((node.inactive, INACTIVE, 1), (node.active, ACTIVE, 0)):
                below = signs.copy()
                below[i] = sign
                stack.append((child, below, len(split), column))
            split.append(i)
            number_of.append(LEAF)
            continue
        split.append(LEAF)
        number_of.append(len(leaves))
        leaves.append(_written(node, signs, positions, quadratics))
        supports.append(node.support if isinstance(node, EmptyLeaf) else ())
    return LiftedProof(
        split=np.array(split, dtype=np.int64),
        children=np.array(children, dtype=np.int64),
        leaf=np.array(number_of, dtype=np.int64),
        pair_offset=_offsets([len(leaf.pairs) for leaf in leaves]),
        pairs=np.concatenate([leaf.pairs for leaf in leaves]).astype(np.int64),
        multipliers=np.concatenate([leaf.multipliers for leaf in leaves]).astype(np.float64),
        complementarity=np.stack([leaf.complementarity for leaf in leaves]),
        sigma=np.stack([leaf.sigma for leaf in leaves]),
        empty_offset=_offsets([len(support) for support in supports]),
        empty_support=np.array([i for support in supports for i in support], dtype=np.int64),
        circuits=circuits,
        triangles=triangles,
    )


def _written(node: LeafProof | EmptyLeaf, signs: IntArray, positions: int, quadratics: int) -> LeafProof:
    """The multipliers that matter where neurons have these signs (N,)."""
    neurons = len(signs)
    if isinstance(node, EmptyLeaf):
        inside = all(0 <= i < neurons for i in node.support)
        if not (node.support and inside and (signs[list(node.support)] != FREE).all()):
            raise InputError("an empty leaf needs a support of neurons whose signs its path has fixed.")
        node = LeafProof(np.zeros((0, 2), dtype=np.int64), np.zeros(0), np.zeros(neurons))
    sigma = node.sigma if len(node.sigma) else np.zeros(quadratics)
    if node.complementarity.shape != (neurons,):
        raise InputError(f"a leaf has {len(node.complementarity)} neurons where the tree has {neurons}.")
    if node.pairs.size and not (node.pairs.min() >= 0 and node.pairs.max() < positions):
        raise InputError(f"a leaf has multipliers beyond the {positions} inequalities of the tree.")
    if sigma.shape != (quadratics,):
        raise InputError(f"a leaf has {sigma.size} multipliers for {quadratics} quadratics of the region.")
    present = np.ones(positions, dtype=bool)
    present[: 2 * neurons] = np.concatenate([signs != INACTIVE, signs != ACTIVE])
    keep = present[node.pairs].all(axis=1) & (node.multipliers != 0)
    t = np.where(signs == FREE, node.complementarity, 0.0)
    return LeafProof(node.pairs[keep], node.multipliers[keep], t, sigma)


def _offsets(lengths: list[int]) -> IntArray:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
