"""Writing a tree of sign splits down as a ``LiftedProof``: nested nodes in, flat arrays out. Proves nothing yet."""

from dataclasses import dataclass, field, replace

import numpy as np

from certificates.proof import LEAF, Circuits, LiftedProof, Triangles
from formulations import ACTIVE, FREE, INACTIVE
from formulations._validation import FloatArray, IntArray
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
    positions = 2 * neurons + rows + (len(circuits.target) if circuits is not None else 0)
    positions += len(triangles.neuron) if triangles is not None else 0
    flat = _FlatTree(neurons, positions, quadratics)
    stack: list[tuple[Node, IntArray, int, int]] = [(root, np.full(neurons, FREE, dtype=np.int64), -1, 0)]
    while stack:
        node, signs, parent, side = stack.pop()
        number = flat.open_node(parent, side)
        if isinstance(node, Split):
            flat.split_node(number, node.neuron, signs)
            # The active side is popped first.
            for child, sign, column in ((node.inactive, INACTIVE, 1), (node.active, ACTIVE, 0)):
                below = signs.copy()
                below[node.neuron] = sign
                stack.append((child, below, number, column))
        elif isinstance(node, EmptyLeaf):
            flat.close_empty(number, node, signs)
        else:
            flat.close_proved(number, node, signs)
    proof = flat.proof(circuits)
    return proof if triangles is None else replace(proof, triangles=triangles)


class _FlatTree:
    """The growing arrays of a proof."""

    def __init__(self, neurons: int, positions: int, quadratics: int) -> None:
        self.neurons, self.positions, self.quadratics = neurons, positions, quadratics
        self.split: list[int] = []
        self.children: list[list[int]] = []
        self.leaf: list[int] = []
        self.pairs: list[IntArray] = []
        self.multipliers: list[FloatArray] = []
        self.complementarity: list[FloatArray] = []
        self.sigma: list[FloatArray] = []
        self.supports: list[tuple[int, ...]] = []

    def open_node(self, parent: int, side: int) -> int:
        number = len(self.split)
        self.split.append(LEAF)
        self.children.append([LEAF, LEAF])
        self.leaf.append(LEAF)
        if parent >= 0:
            self.children[parent][side] = number
        return number

    def split_node(self, number: int, neuron: int, signs: IntArray) -> None:
        if not 0 <= neuron < self.neurons:
            raise InputError(f"the tree splits on neuron {neuron}, but there are {self.neurons} neurons.")
        if signs[neuron] != FREE:
            raise InputError(f"the tree splits on neuron {neuron} twice on one path; split on each neuron once.")
        self.split[number] = neuron

    def close_empty(self, number: int, node: EmptyLeaf, signs: IntArray) -> None:
        support = node.support
        valid = all(0 <= i < self.neurons for i in support) and bool((signs[list(support)] != FREE).all())
        if not (support and valid):
            raise InputError("an empty leaf needs a support of neurons whose signs its path has fixed.")
        nothing = np.zeros(0, dtype=np.int64)
        self._close(number, LeafProof(nothing.reshape(0, 2), np.zeros(0), np.zeros(self.neurons)), support)

    def close_proved(self, number: int, node: LeafProof, signs: IntArray) -> None:
        if node.complementarity.shape != (self.neurons,):
            raise InputError(f"a leaf has {len(node.complementarity)} neurons where the tree has {self.neurons}.")
        if node.pairs.size and not (node.pairs.min() >= 0 and node.pairs.max() < self.positions):
            raise InputError(f"a leaf has multipliers beyond the {self.positions} inequalities of the tree.")
        present = np.ones(self.positions, dtype=bool)
        present[: 2 * self.neurons] = np.concatenate([signs != INACTIVE, signs != ACTIVE])
        keep = present[node.pairs].all(axis=1) & (node.multipliers != 0)
        t = np.where(signs == FREE, node.complementarity, 0.0)
        self._close(number, LeafProof(node.pairs[keep], node.multipliers[keep], t, node.sigma), ())

    def _close(self, number: int, node: LeafProof, support: tuple[int, ...]) -> None:
        sigma = node.sigma if len(node.sigma) else np.zeros(self.quadratics)
        if sigma.shape != (self.quadratics,):
            raise InputError(f"a leaf has {sigma.size} multipliers for {self.quadratics} quadratics of the region.")
        self.leaf[number] = len(self.supports)
        self.pairs.append(node.pairs)
        self.multipliers.append(node.multipliers)
        self.complementarity.append(node.complementarity)
        self.sigma.append(sigma)
        self.supports.append(support)

    def proof(self, circuits: Circuits | None) -> LiftedProof:
        pairs = np.concatenate(self.pairs).astype(np.int64)
        single = LiftedProof.single(pairs, np.concatenate(self.multipliers).astype(np.float64), np.zeros(self.neurons))
        return replace(
            single,
            split=np.array(self.split, dtype=np.int64),
            children=np.array(self.children, dtype=np.int64),
            leaf=np.array(self.leaf, dtype=np.int64),
            pair_offset=_offsets([len(part) for part in self.pairs]),
            complementarity=np.stack(self.complementarity),
            sigma=np.stack(self.sigma),
            empty_offset=_offsets([len(support) for support in self.supports]),
            empty_support=np.array([i for support in self.supports for i in support], dtype=np.int64),
            circuits=single.circuits if circuits is None else circuits,
        )


def _offsets(lengths: list[int]) -> IntArray:
    return np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
