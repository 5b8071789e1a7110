"""Writing a tree of sign splits down as a ``LiftedProof``: nested nodes in, flat arrays out. Proves nothing yet."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from certificates.proof import LEAF, Circuits, LiftedProof, Triangles
from formulations import ACTIVE, FREE, INACTIVE
from formulations.arrays import FloatArray, IntArray
from formulations.errors import InputError

if TYPE_CHECKING:
    from formulations.circuits import CircuitSet
    from formulations.groups import GroupedDual


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
    def plain(cls, t: FloatArray) -> "LeafProof":
        """Without products."""
        return cls(np.zeros((0, 2), dtype=np.int64), np.zeros(0), t)

    @classmethod
    def from_matrix(cls, N: FloatArray, t: FloatArray) -> "LeafProof":
        """The terms ``ℓᵀNℓ + Σ t_i α_i β_i``, for symmetric N over all inequalities: signs φ, then further rows.

        Entries at complementary positions (α_i, β_i) have any sign and go to t, where they belong.
        """
        neurons, index, upper = len(t), np.arange(len(t)), np.triu(N)
        complementarity = t + 2.0 * upper[index, neurons + index]
        upper[index, neurons + index] = 0.0
        p, q = np.nonzero(upper)
        pairs = np.stack([p, q], axis=1).astype(np.int64)
        return cls(pairs, np.where(p == q, 1.0, 2.0) * upper[p, q], complementarity)

    @classmethod
    def from_groups(cls, dual: "GroupedDual", t: FloatArray) -> "LeafProof":
        """The same of groups; what is at complementary positions is left out."""
        N = len(t)
        keys: list[IntArray] = []
        values: list[FloatArray] = []
        for rows, block in zip((*dual.groups.rows, dual.groups.head), (*dual.blocks, dual.head), strict=True):
            upper = np.triu(block)
            p, q = np.nonzero(upper)
            place, kept = np.concatenate([rows, N + rows]), q != p + len(rows)
            first, second = place[p[kept]], place[q[kept]]
            keys.append(np.minimum(first, second) * 2 * N + np.maximum(first, second))
            values.append((np.where(p == q, 1.0, 2.0) * upper[p, q])[kept])
        # A pair of shared generators of one group stands with that group and with the head.
        key, place = np.unique(np.concatenate(keys), return_inverse=True)
        multipliers = np.zeros(len(key))
        np.add.at(multipliers, place, np.concatenate(values))
        return cls(np.stack([key // (2 * N), key % (2 * N)], axis=1).astype(np.int64), multipliers, t)


@dataclass(frozen=True, eq=False)
class Split:
    """Two cases of the sign of one neuron, or of an output.

    Attributes:
        neuron: i, or N + k for output k.
        active: where ``a_i·z ≥ 0``, so ``β_i = 0``, or where the output is ≥ 0.
        inactive: where ``a_i·z ≤ 0``, so ``α_i = 0``, or where the output is ≤ 0.
    """

    neuron: int
    active: "Node" = field(repr=False)
    inactive: "Node" = field(repr=False)


Node = Split | LeafProof


def build(
    root: Node,
    neurons: int,
    *,
    circuits: "CircuitSet | None" = None,
    triangles: Triangles | None = None,
    groups: IntArray | None = None,
    rows: int = 0,
    quadratics: int = 0,
    outputs: int = 0,
) -> LiftedProof:
    """Flatten a tree; nodes and leaves are numbered in preorder, active sides first.

    Multipliers of signs that vanish on a leaf (α_i where i is inactive, β_i where it is active) do nothing there; they
    are left out, and so are t_i of a fixed neuron and circuits without multipliers.

    Args:
        root, neurons: tree whose leaves hold their multipliers, and N.
        circuits, triangles: further inequalities, at the positions from 2N + ``rows`` on, in this order.
        groups: (N,) as in ``LiftedProof``, if any.
        rows, quadratics: how many the region has; 0 for all of R^k.
        outputs: how many may be split; their inequalities have the last positions.

    Raises:
        InputError: a neuron or output that does not exist, or is split twice on a path.
    """
    nothing = np.zeros(0, dtype=np.int64)
    if triangles is None:
        triangles = Triangles(nothing, np.zeros((0, 2)))
    positions = 2 * neurons + rows + len(circuits or ()) + len(triangles.neuron) + outputs
    split: list[int] = []
    children: list[list[int]] = []
    leaves: list[LeafProof] = []
    stack: list[tuple[Node, IntArray, int, int]] = [(root, np.full(neurons + outputs, FREE, dtype=np.int64), -1, 0)]
    while stack:
        node, signs, parent, side = stack.pop()
        if parent >= 0:
            children[parent][side] = len(split)
        children.append([LEAF, LEAF])
        if isinstance(node, Split):
            i = node.neuron
            if not (0 <= i < len(signs) and signs[i] == FREE):
                raise InputError(f"the tree splits on neuron {i} twice on one path, or beyond its {neurons} neurons.")
            # The active side is popped first.
            for child, sign, column in ((node.inactive, INACTIVE, 1), (node.active, ACTIVE, 0)):
                below = signs.copy()
                below[i] = sign
                stack.append((child, below, len(split), column))
            split.append(i)
        else:
            split.append(LEAF)
            leaves.append(_written(node, signs[:neurons], positions, quadratics))
    is_leaf = np.array(split) == LEAF
    pairs = np.concatenate([leaf.pairs for leaf in leaves]).astype(np.int64)
    written, pairs = _in_use(circuits, pairs, 2 * neurons + rows)
    return LiftedProof(
        split=np.array(split, dtype=np.int64),
        children=np.array(children, dtype=np.int64),
        leaf=np.where(is_leaf, np.cumsum(is_leaf) - 1, LEAF).astype(np.int64),
        pair_offset=np.cumsum([0, *(len(leaf.pairs) for leaf in leaves)], dtype=np.int64),
        pairs=pairs,
        multipliers=np.concatenate([leaf.multipliers for leaf in leaves]).astype(np.float64),
        complementarity=np.stack([leaf.complementarity for leaf in leaves]),
        sigma=np.stack([leaf.sigma for leaf in leaves]),
        circuits=written,
        triangles=triangles,
        groups=nothing if groups is None else groups.astype(np.int64),
    )


def _in_use(circuits: "CircuitSet | None", pairs: IntArray, first: int) -> tuple[Circuits, IntArray]:
    """The circuits that some pair names, and the pairs with the positions that follow; ``first`` is that of all."""
    if circuits is None:
        return Circuits(np.zeros(0, dtype=np.int64), np.zeros(1, dtype=np.int64), np.zeros(0, dtype=np.int64)), pairs
    used = np.isin(first + np.arange(len(circuits)), pairs)
    kept = circuits.take(np.flatnonzero(used))
    circuit, support = np.nonzero(kept.coefficients)
    offset = np.searchsorted(circuit, np.arange(len(kept) + 1))
    moved = pairs - np.searchsorted(first + np.flatnonzero(~used), pairs)
    return Circuits(*(array.astype(np.int64) for array in (kept.target, offset, support))), moved


def _written(node: LeafProof, signs: IntArray, positions: int, quadratics: int) -> LeafProof:
    """The multipliers that matter where neurons have these signs (N,)."""
    sigma = node.sigma if len(node.sigma) else np.zeros(quadratics)
    present = np.ones(positions, dtype=bool)
    present[: 2 * len(signs)] = np.concatenate([signs != INACTIVE, signs != ACTIVE])
    keep = present[node.pairs].all(axis=1) & (node.multipliers != 0)
    t = np.where(signs == FREE, node.complementarity, 0.0)
    return LeafProof(node.pairs[keep], node.multipliers[keep], t, sigma)
