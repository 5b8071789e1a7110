"""A vertex of the tree that a search grows."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from certificates.tree import EmptyLeaf, ImpliedSign
from certnet.branching.bounds import Multipliers, NodeBound, Start
from certnet.branching.cone import Cone
from formulations import FREE
from formulations._validation import IntArray

MOST_FREE = 24
"""Free generators from which a node with a cone is split without a relaxation: it would cost more than it prunes."""


@dataclass(eq=False)
class Branch:
    """A vertex of the tree: signs that follow here, then a split, a bound, or nothing where the cone is empty.

    Attributes:
        signs: (N,) after the implied ones.
        implied: signs implied by the path, in this order.
        bound: of the node; None where the cone is empty.
        neuron, active, inactive: the split, −1 and None at leaves.
        empty: the proof that the cone has no interior.
        cone: while cones are followed.
        start: of a node that is split without a relaxation, for its children.
    """

    signs: IntArray
    implied: tuple[ImpliedSign, ...] = ()
    bound: NodeBound | None = None
    h_squared: float = np.inf
    neuron: int = -1
    active: "Branch | None" = None
    inactive: "Branch | None" = None
    empty: EmptyLeaf | None = None
    cone: Cone | None = field(default=None, repr=False)
    start: Start | None = field(default=None, repr=False)

    @property
    def is_split_unseen(self) -> bool:
        """True when the node is split without a relaxation."""
        return self.cone is not None and int(np.count_nonzero(self.signs == FREE)) > MOST_FREE

    @property
    def facets(self) -> IntArray | None:
        """The fixed generators that bound the cone; None stands for all of them."""
        return None if self.cone is None else self.cone.facets

    @property
    def multipliers(self) -> Multipliers | None:
        """What proves the bound of the node: its own multipliers, or those that it has inherited."""
        if self.bound is not None:
            return self.bound.multipliers
        return None if self.start is None else self.start.multipliers

    @property
    def leaves(self) -> "Iterable[Branch]":
        """Leaves below, without empty ones."""
        stack = [self]
        while stack:
            at = stack.pop()
            if at.active is not None and at.inactive is not None:
                stack += [at.inactive, at.active]
            elif at.empty is None:
                yield at
