"""Trees of sign splits that another verifier found, in JSON: the leaves, each with the signs on the way to it."""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from certnet.io.packed import read_bytes
from formulations import InputError
from formulations.arguments import accepts, location
from formulations.network import ReluNetwork

__all__ = ["SplitTree", "read_split_tree"]

LARGEST_FILE = 1 << 24  # Bytes.
MOST_SIGNS = 1 << 25  # Leaves of a tree times neurons of the network: the search keeps a sign for each.
LEAF = -1

Way = Sequence[tuple[int, int]]
"""Neurons and their signs from the root to a leaf."""
_Leaves = list[list[tuple[int, Literal[1, -1]]]]


@dataclass(frozen=True)
class SplitTree:
    """A tree for each unsafe case of a property, or one for all.

    Attributes:
        cases: of each tree its vertices in preorder, active sides first: the neuron that is split, counted from 0 in
            the order of the network's hidden neurons, or −1 for a leaf.
    """

    cases: tuple[tuple[int, ...], ...]

    def __post_init__(self) -> None:
        for tree in self.cases:
            waiting = list(itertools.accumulate((-1 if neuron == LEAF else 1 for neuron in tree), initial=1))
            if min(tree, default=-2) < LEAF or waiting[-1] != 0 or waiting.index(0) != len(tree):
                raise InputError("a tree of splits is no preorder; read_split_tree makes one of its leaves.")

    @property
    def leaves(self) -> int:
        return sum(tree.count(LEAF) for tree in self.cases)

    def of(self, case: int) -> tuple[int, ...]:
        return self.cases[case if len(self.cases) > 1 else 0]

    def require_fitting(self, neurons: int, cases: int) -> None:
        if len(self.cases) not in (1, cases):
            raise InputError(
                f"there are trees for {len(self.cases)} cases, and the property has {cases}; give one each."
            )
        largest = max(max(tree) for tree in self.cases)
        if largest >= neurons:
            raise InputError(f"a tree splits neuron {largest}, but neurons are 0 to {neurons - 1}; number them from 0.")


@accepts(path=location, network=ReluNetwork)
def read_split_tree(path: str | Path, network: ReluNetwork) -> SplitTree:
    """Read ``{"format": "certnet-split-tree", "version": 1, "cases": [[leaf, leaf, …], …]}``; ``.gz`` is unpacked.

    A leaf is the list of its ``[neuron, sign]`` from the root on, where sign 1 says that the pre-activation is
    nonnegative, and −1 that it is at most 0. Leaves come in any order, but together they must be all of a tree over
    the network's neurons; an InputError says where they are not.
    """
    import msgspec  # for these files alone

    class File(msgspec.Struct, forbid_unknown_fields=True):
        format: Literal["certnet-split-tree"]
        version: Literal[1]
        cases: Annotated[list[_Leaves], msgspec.Meta(min_length=1)]

    source = Path(path)
    try:
        found = msgspec.json.decode(read_bytes(source, LARGEST_FILE), type=File)
        if sum(map(len, found.cases)) * network.width > MOST_SIGNS:
            raise InputError(f"{source.name} has too many leaves for {network.width} neurons; split the property.")
        return SplitTree(tuple(_preorder(leaves, network.width) for leaves in found.cases))
    except InputError:
        raise
    except (msgspec.DecodeError, RecursionError, ValueError) as error:
        raise InputError(f"{source.name} is no tree of splits: {error}.") from None


def _preorder(leaves: Sequence[Way], neurons: int) -> tuple[int, ...]:
    """The vertices of the tree whose leaves these are."""
    tree: list[int] = []
    stack = [(leaves, 0)]
    while stack:
        below, depth = stack.pop()
        way = below[0][:depth] if below else []
        if [len(path) for path in below] == [depth]:
            tree.append(LEAF)
            continue
        if any(len(path) == depth for path in below):
            raise ValueError(f"{_named(way)} is a leaf, and split or listed once more")
        split = {path[depth][0] for path in below}
        if len(split) != 1:
            raise ValueError(f"{_named(way)} is split on {' and on '.join(map(str, sorted(split)[:2])) or 'nothing'}")
        (neuron,) = split
        if not 0 <= neuron < neurons:
            raise ValueError(f"{_named(way)} is split on neuron {neuron}, but neurons are 0 to {neurons - 1}")
        if any(neuron == passed for passed, _ in way):
            raise ValueError(f"{_named(way)} is split on neuron {neuron} a second time")
        active, inactive = ([path for path in below if path[depth][1] == sign] for sign in (1, -1))
        if not active or not inactive:
            side = "inactive" if active else "active"
            raise ValueError(f"below {_named(way)} there is no leaf where neuron {neuron} is {side}")
        tree.append(neuron)
        stack += [(inactive, depth + 1), (active, depth + 1)]
    return tuple(tree)


def _named(way: Way) -> str:
    """A vertex by the last signs on its way."""
    signs = ", ".join(f"[{neuron}, {sign}]" for neuron, sign in way[-4:])
    return f"the vertex {'… ' if len(way) > 4 else ''}{signs}" if way else "the root"
