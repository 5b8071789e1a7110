"""A vertex of the tree that a search grows."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from certnet.search.bounds import Multipliers, NodeBound
from formulations._validation import IntArray


@dataclass(eq=False)
class Branch:
    """A vertex of the tree: a split or a bound.

    Attributes:
        signs: (N,) fixed on the path.
        bound: of the node; None before it is bounded.
        h_squared: the smallest proved bound on the squared price, its own or that of a vertex above.
        neuron, active, inactive: the split, −1 and None at leaves.
    """

    signs: IntArray
    bound: NodeBound | None = None
    h_squared: float = np.inf
    neuron: int = -1
    active: "Branch | None" = None
    inactive: "Branch | None" = None

    @property
    def multipliers(self) -> Multipliers | None:
        """What proves the bound of the node."""
        return None if self.bound is None else self.bound.multipliers

    @property
    def leaves(self) -> "Iterable[Branch]":
        """Leaves below, active sides first."""
        stack = [self]
        while stack:
            at = stack.pop()
            if at.active is not None and at.inactive is not None:
                stack += [at.inactive, at.active]
            else:
                yield at

    def split(self, neuron: int) -> "tuple[Branch, Branch]":
        """Two children on the sign of ``neuron``; they have this vertex' bound until they are bounded themselves."""
        children = []
        for sign in (1, -1):
            signs = self.signs.copy()
            signs[neuron] = sign
            children.append(Branch(signs, h_squared=self.h_squared))
        self.neuron, (self.active, self.inactive) = neuron, children
        return self.active, self.inactive

    def rejoin(self) -> None:
        """Take a split back."""
        self.neuron, self.active, self.inactive = -1, None, None
