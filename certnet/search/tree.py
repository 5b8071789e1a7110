"""The tree of sign splits that a search grows: its own checkpoint, and what a certificate's tree is written from.

Nothing that is read from a checkpoint is trusted: what is proved in the end is repaired and checked anew from the data.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from certificates.making.tree import LeafProof, Node, Split
from formulations import ACTIVE, FREE, INACTIVE, InputError, Program
from formulations._validation import FloatArray, IntArray

if TYPE_CHECKING:
    from certnet.search.bounds import NodeBound
    from certnet.solvers.interface import State

VERSION = 4
LEAF = -1
UNBOUNDED = -1
"""Number of multipliers of a leaf that is not bounded yet."""


@dataclass(eq=False)
class Vertex:
    """A vertex of a tree: a leaf, or a split of one neuron, or of the output.

    Attributes:
        signs: (N,) fixed on the path; (N+1,) where the sign of an output can be split too, like one more neuron.
        outputs: 1 there, else 0.
        parent: None at the root.
        neuron: that is split, or would be split next; −1 where there is none.
        key: leaves with the smallest one are split first, those with an infinite one never; None before it is bounded.
        children: where the neuron is active and where it is inactive; None at leaves.
    """

    signs: IntArray
    parent: Self | None = field(default=None, repr=False)
    outputs: int = 0
    neuron: int = -1
    key: float | None = None
    children: tuple[Self, Self] | None = field(default=None, repr=False)

    @classmethod
    def root(cls, neurons: int, outputs: int = 0) -> Self:
        """A tree of one leaf on which all signs are free."""
        return cls(np.full(neurons + outputs, FREE, dtype=np.int64), outputs=outputs)

    @property
    def open(self) -> IntArray:
        """What can be split here."""
        return np.flatnonzero(self.signs == FREE)

    @property
    def free(self) -> IntArray:
        """(f,) neurons whose sign is not fixed here."""
        return np.flatnonzero(self.signs[: len(self.signs) - self.outputs] == FREE)

    @property
    def preorder(self) -> Iterator[Self]:
        """All vertices below, active sides first."""
        stack = [self]
        while stack:
            yield (vertex := stack.pop())
            stack += (vertex.children or ())[::-1]

    @property
    def leaves(self) -> Iterator[Self]:
        """Leaves below, active sides first."""
        return (vertex for vertex in self.preorder if vertex.children is None)

    def split(self, neuron: int) -> tuple[Self, Self]:
        """Two children on the sign of ``neuron``."""
        children = [type(self)(self.signs.copy(), self, self.outputs) for _ in range(2)]
        for child, sign in zip(children, (ACTIVE, INACTIVE), strict=True):
            child.signs[neuron] = sign
        self.neuron, self.children = neuron, (children[0], children[1])
        return self.children


@dataclass(eq=False)
class Branch(Vertex):
    """A vertex of a search for a price.

    Attributes:
        bound, start: of the node, once it is bounded, and what that starts from, by default the parent's bound.
        h_squared: the smallest proved bound on the squared price, its own or that of a vertex above.
    """

    bound: "NodeBound | None" = None
    h_squared: float = np.inf
    start: "NodeBound | None" = field(default=None, repr=False)

    def __post_init__(self) -> None:
        if self.parent is not None:
            self.h_squared, self.start = self.parent.h_squared, self.parent.bound

    @classmethod
    def of(cls, program: Program) -> "Branch":
        """The root for a training program, or for a price in it; a single output can be split."""
        return cls.root(program.space.neurons, int(program.shape[1] == 1))


V = TypeVar("V", bound=Vertex)


def plant(root: V, splits: Sequence[int], place: IntArray, stable: IntArray) -> list[V]:
    """Grow a given tree from its root on; its leaves in preorder.

    Args:
        root: a leaf.
        splits: vertices in preorder, active sides first: neurons of the network, ``LEAF`` for leaves.
        place: (m,) number in the tree's signs of each neuron that is not stable.
        stable: (m,) signs that the region fixes; what lies on their other side is left out.

    Raises:
        ValueError, IndexError: these are no splits of a tree.
    """
    leaves, stack = list[V](), list[V | None]([root])
    for neuron in splits:
        if not stack:
            raise ValueError("its tree goes on after its end")
        vertex = stack.pop()
        if vertex is None:
            stack += [] if neuron == LEAF else [None, None]
        elif neuron == LEAF:
            leaves.append(vertex)
        elif stable[neuron] != FREE:
            stack += [None, vertex] if stable[neuron] == ACTIVE else [vertex, None]
        elif neuron >= 0 and place[neuron] in vertex.open:
            stack += vertex.split(int(place[neuron]))[::-1]
        else:
            raise ValueError("it splits where it cannot")
    if stack:
        raise ValueError("it ends too early")
    return leaves


def replant(root: Branch, tree: Branch, factor: float) -> None:
    """Grow the splits of another tree from a root on; leaves may start from so many times the bounds of its leaves."""
    stack = [(tree, root)]
    while stack:
        source, branch = stack.pop()
        if source.children is not None:
            stack += zip(source.children, branch.split(source.neuron), strict=True)
        elif source.bound is not None:
            branch.start = source.bound.times(factor)


def last_moments(leaf: Branch, generators: FloatArray) -> tuple[FloatArray, Branch]:
    """The face matrix S of the vertex on a leaf's path that was bounded last, on the leaf's own face, and that vertex.

    The root has been bounded.
    """
    if leaf.bound is not None:
        return leaf.bound.S, leaf
    assert leaf.parent is not None  # only the root has none
    S, source = last_moments(leaf.parent, generators)
    return share_of_child(S, generators, leaf.parent, leaf), source


def share_of_child(S: FloatArray, generators: FloatArray, parent: Branch, child: Branch) -> FloatArray:
    """A child's share of its parent's face matrix S, on its own face; the shares of both children sum to S.

    Both sides of an output's split get half.

    The activations α and β of the generator that was split are orthogonal in S. So S is the sum of its part along α,
    where β vanishes, its part along β, where α vanishes, and a rest where both do, which is halved.
    """
    f, k, neuron = len(parent.free), generators.shape[1], parent.neuron
    if neuron == len(generators):
        return 0.5 * S
    place = int(np.flatnonzero(parent.free == neuron)[0])
    beta = np.eye(len(S))[place]
    alpha = beta.copy()
    alpha[f : f + k] = generators[neuron]
    parts = []
    for row in (alpha, beta):
        image = S @ row
        size = float(row @ image)
        parts.append(np.outer(image, image) / size if size > 0 else np.zeros_like(S))
    own = parts[0] if child.signs[neuron] == ACTIVE else parts[1]
    kept = np.delete(np.arange(len(S)), place)
    return np.asarray((own + 0.5 * (S - parts[0] - parts[1]))[np.ix_(kept, kept)])


def proof_tree(root: V, proof: Callable[[V], LeafProof]) -> Node:
    """The tree that a certificate is built from, out of the proofs of the leaves; no recursion, for deep ones."""
    built: dict[int, Node] = {}
    for vertex in reversed(list(root.preorder)):
        if vertex.children is None:
            built[id(vertex)] = proof(vertex)
        else:
            built[id(vertex)] = Split(vertex.neuron, *(built.pop(id(child)) for child in vertex.children))
    return built[id(root)]


def write_tree(root: Branch, positions: int) -> dict[str, NDArray[Any]]:
    """The tree below ``root`` as named arrays, for a program with so many inequalities."""
    leaves = list(root.leaves)
    known = [leaf.bound for leaf in leaves if leaf.bound is not None]

    def parts(name: str, kind: type = np.float64) -> NDArray[Any]:
        return np.concatenate([np.zeros(0, dtype=kind), *(getattr(bound, name).ravel() for bound in known)])

    return {
        "version": np.array([VERSION, len(root.signs), positions], dtype=np.int64),
        "neuron": np.array([LEAF if v.children is None else v.neuron for v in root.preorder], dtype=np.int64),
        "h_squared": np.array([leaf.h_squared for leaf in leaves], dtype=np.float64),
        "count": np.array([UNBOUNDED if v.bound is None else len(v.bound.p) for v in leaves], dtype=np.int64),
        "branch": np.array([bound.branch for bound in known], dtype=np.int64),
        **{name: parts(name, np.int64) for name in ("p", "q")},
        **{name: parts(name) for name in ("value", "t", "S", "direction")},
    }


def read_tree(root: Branch, state: "State", positions: int, dimension: int, outputs: int = 0) -> None:
    """Grow a tree that was written from its root on, in k = ``dimension`` and so many further coordinates of S.

    Raises:
        ValueError, KeyError: arrays that ``write_tree`` cannot have written; see ``intact``.
    """
    from certnet.search.bounds import NodeBound

    m = len(root.signs) - root.outputs
    if integers(state, "version").tolist() != [VERSION, len(root.signs), positions]:
        raise ValueError("it is about other data or of another version")
    every = np.arange(len(root.signs))
    leaves = plant(root, integers(state, "neuron").tolist(), every, np.full(len(every), FREE))
    count, squares = integers(state, "count"), floats(state, "h_squared")
    bounded = [leaf for leaf, number in zip(leaves, count.tolist(), strict=True) if number != UNBOUNDED]
    count = count[count != UNBOUNDED]
    p, q, value = (
        _parts(array, count) for array in (integers(state, "p"), integers(state, "q"), floats(state, "value"))
    )
    t = floats(state, "t").reshape(len(bounded), m)
    direction = floats(state, "direction").reshape(len(bounded), dimension)
    order = np.array([len(leaf.free) + dimension + outputs for leaf in bounded], dtype=np.int64)
    S = _parts(floats(state, "S"), order**2)
    for leaf, square in zip(leaves, squares.tolist(), strict=True):
        leaf.h_squared = square
    parts = zip(bounded, integers(state, "branch").tolist(), p, q, value, t, S, order.tolist(), direction, strict=True)
    for leaf, branch, p_, q_, value_, t_, S_, n, z in parts:
        places = np.concatenate([p_, q_])
        if not ((value_ >= 0).all() and (places >= 0).all() and (places < positions + root.outputs).all()):
            raise ValueError("a multiplier is out of range")
        if branch not in (leaf.open.tolist() or [-1]):
            raise ValueError("a leaf does not fit its signs")
        leaf.bound = NodeBound(leaf.h_squared, p_, q_, value_, t_, S_.reshape(n, n), leaf.free, branch, z, 0)


def _parts(array: NDArray[Any], sizes: IntArray) -> list[NDArray[Any]]:
    ends = np.cumsum(sizes)
    if (sizes < 0).any() or len(array) != (ends[-1] if len(ends) else 0):
        raise ValueError("its parts do not fit together")
    return [array[end - size : end] for end, size in zip(ends.tolist(), sizes.tolist(), strict=True)]


@contextmanager
def intact() -> Iterator[None]:
    """Surrounds what reads a stored search: whatever does not fit is one sentence.

    Raises:
        InputError: the search is damaged.
    """
    try:
        yield
    except (KeyError, ValueError, TypeError, IndexError, OverflowError) as error:
        raise InputError(f"The search to resume is damaged ({error}); start anew without it.") from None


def integers(state: "State", name: str) -> IntArray:
    """The vector of integers of this name; ValueError if it is none."""
    array = np.asarray(state[name])
    if array.dtype != np.int64 or array.ndim != 1:
        raise ValueError(f"{name} has another type")
    return array


def floats(state: "State", name: str) -> FloatArray:
    """The array of float64 numbers of this name; ValueError if it is none."""
    array = np.asarray(state[name])
    if array.dtype != np.float64 or np.isnan(array).any():
        raise ValueError(f"{name} holds what is no number")
    return array
