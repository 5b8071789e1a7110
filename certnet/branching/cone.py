"""The polyhedral cone of a node, by its extreme rays: one more sign is one step of the double description method.

The cone is ``{z : σ_i a_i·z ≥ 0 for the fixed i}``. In few dimensions (about six) its rays are few, and one product
with all generators tells which other signs they imply. Rays are floating point and prove nothing: ``prove`` and
``prove_empty`` give supports that have been confirmed in rational arithmetic. A candidate without a proof (rows of the
data that depend on each other up to rounding) must be treated as free by whatever ends up in a certificate, and a cone
that looks empty without a proof must be bounded like any other.

Fukuda, Prodon, "Double description method revisited" (1996), with the combinatorial test of adjacency.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from certificates.tree import EmptyLeaf, ImpliedSign
from certnet.branching.arrangement import TOLERANCE, Arrangement
from formulations import ACTIVE, FREE, INACTIVE
from formulations._validation import FloatArray, IntArray
from formulations.errors import InputError

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Cone:
    """A node's cone in the coordinates w of its arrangement: ``span(lineality) + cone(directions)``.

    Attributes:
        arrangement: the generators.
        fixed: (N,) signs that were cut: +1, −1, or 0 (free).
        lineality: (r, l) orthonormal basis of the largest subspace in the cone.
        directions: (r, R) unit extreme rays, modulo the lineality.
        facets: (F,) fixed neurons that bound the cone.
        incidence: (F, R) whether a ray lies on a facet.
        closing: the neuron whose sign left no interior, −1 while there is an interior. Such a cone is not cut further.
    """

    arrangement: Arrangement
    fixed: IntArray
    lineality: FloatArray
    directions: FloatArray
    facets: IntArray
    incidence: BoolArray
    closing: int = -1
    _proofs: dict[int, ImpliedSign] = field(default_factory=dict, repr=False)

    @classmethod
    def whole(cls, generators: FloatArray | Arrangement) -> "Cone":
        """All of R^k, no sign fixed."""
        arrangement = generators if isinstance(generators, Arrangement) else Arrangement.of(generators)
        rank = arrangement.rank
        return cls(
            arrangement=arrangement,
            fixed=np.zeros(arrangement.neurons, dtype=np.int64),
            lineality=np.eye(rank),
            directions=np.zeros((rank, 0)),
            facets=np.zeros(0, dtype=np.int64),
            incidence=np.zeros((0, 0), dtype=bool),
        )

    @property
    def has_interior(self) -> bool:
        """Whether an interior was seen, up to rounding; ``prove_empty`` proves that there is none."""
        return self.closing < 0

    @cached_property
    def rays(self) -> FloatArray:
        """(k, R) unit extreme rays in the coordinates z, modulo lineality and null directions of the generators."""
        rays = self.arrangement.back @ self.directions
        rays /= np.linalg.norm(rays, axis=0)
        return rays

    def cut(self, neuron: int, sign: int) -> "Cone":
        """The part where ``sign · a_neuron·z ≥ 0``.

        Raises:
            InputError: the sign is not ±1, the neuron is fixed already, or the cone has no interior.
        """
        if sign not in (ACTIVE, INACTIVE):
            raise InputError(f"a sign is +1 or −1, not {sign}.")
        if self.fixed[neuron] != FREE:
            raise InputError(f"the sign of neuron {neuron} is fixed already; cut with a free one.")
        if not self.has_interior:
            raise InputError("a cone without interior cannot be cut; prove it empty or keep its parent.")
        row = sign * self.arrangement.units[neuron]
        fixed = self.fixed.copy()
        fixed[neuron] = sign
        # What was implied with few signs is implied with more, and by the same support.
        proofs = self._proofs.copy()
        proofs.pop(neuron, None)
        if self.lineality.shape[1] and not np.linalg.norm(row @ self.lineality) <= TOLERANCE:
            return replace(self._cut_lineality(row, neuron), fixed=fixed, _proofs=proofs)
        values = row @ self.directions
        if not (values > TOLERANCE).any():
            return replace(self, fixed=fixed, closing=neuron, _proofs=proofs)
        if (values > TOLERANCE).all():
            return replace(self, fixed=fixed, _proofs=proofs)
        return replace(self._cut_rays(values, neuron), fixed=fixed, _proofs=proofs)

    def _cut_lineality(self, row: FloatArray, neuron: int) -> "Cone":
        """One direction of the lineality becomes a ray; the others, and all rays, are moved into the hyperplane."""
        slope = row @ self.lineality
        size = float(np.linalg.norm(slope))
        new = self.lineality @ (slope / size)
        # The last columns of a full QR of the slope are the directions within the hyperplane.
        turned = np.linalg.qr(slope[:, None], mode="complete").Q[:, 1:]
        moved = self.directions - np.outer(new, (row @ self.directions) / size)
        moved /= np.linalg.norm(moved, axis=0)
        rays, facets = moved.shape[1], len(self.facets)
        incidence = np.ones((facets + 1, rays + 1), dtype=bool)
        incidence[:facets, :rays] = self.incidence
        incidence[facets, rays] = False
        return replace(
            self,
            lineality=self.lineality @ turned,
            directions=np.column_stack([moved, new]),
            facets=np.append(self.facets, neuron),
            incidence=incidence,
        )

    def _cut_rays(self, values: FloatArray, neuron: int) -> "Cone":
        """Drop the rays outside; where an edge of the cone crosses the hyperplane, a new ray appears."""
        inside, outside = np.flatnonzero(values > TOLERANCE), np.flatnonzero(values < -TOLERANCE)
        p, q, common = self._edges(inside, outside)
        crossing = values[p] * self.directions[:, q] - values[q] * self.directions[:, p]
        crossing /= np.linalg.norm(crossing, axis=0)
        kept = np.flatnonzero(values >= -TOLERANCE)
        on_row = np.concatenate([values[kept] <= TOLERANCE, np.ones(len(p), dtype=bool)])
        incidence = np.vstack([np.column_stack([self.incidence[:, kept], common]), on_row])
        facets = np.append(self.facets, neuron)
        needed = _maximal(incidence)
        return replace(
            self,
            directions=np.column_stack([self.directions[:, kept], crossing]),
            facets=facets[needed],
            incidence=incidence[needed],
        )

    def _edges(self, inside: IntArray, outside: IntArray) -> tuple[IntArray, IntArray, BoolArray]:
        """Adjacent pairs (p, q) of rays, and the facets that both lie on (F, pairs).

        Two rays are adjacent if no third lies on every facet that contains both.
        """
        p, q = np.repeat(inside, len(outside)), np.tile(outside, len(inside))
        common = self.incidence[:, p] & self.incidence[:, q]
        count = common.sum(axis=0)
        dimension = self.directions.shape[0] - self.lineality.shape[1]
        enough = count >= dimension - 2
        p, q, common, count = p[enough], q[enough], common[:, enough], count[enough]
        on_all = common.T.astype(np.float32) @ self.incidence.astype(np.float32) == count[:, None]
        adjacent = on_all.sum(axis=1) == 2
        return p[adjacent], q[adjacent], common[:, adjacent]

    @cached_property
    def candidates(self) -> IntArray:
        """(N,) fixed signs and those that the rays suggest, 0 where both are possible. Floating point: no proof."""
        if not self.has_interior or self.directions.shape[1] == 0:
            return self.fixed
        units = self.arrangement.units
        values = units @ self.directions
        low, high = values.min(axis=1), values.max(axis=1)
        signs = np.where(low >= -TOLERANCE, ACTIVE, np.where(high <= TOLERANCE, INACTIVE, FREE)).astype(np.int64)
        if self.lineality.shape[1]:
            signs[~(np.linalg.norm(units @ self.lineality, axis=1) <= TOLERANCE)] = FREE
        return np.where(self.fixed != FREE, self.fixed, signs)

    def prove(self, neuron: int) -> ImpliedSign | None:
        """The proof of a candidate sign, remembered and handed down; None if the neuron is fixed, free or unproved."""
        if neuron not in self._proofs:
            proof = self._prove(neuron)
            if proof is None:
                return None
            self._proofs[neuron] = proof
        return self._proofs[neuron]

    def _prove(self, neuron: int) -> ImpliedSign | None:
        sign = int(self.candidates[neuron])
        if sign == FREE or self.fixed[neuron] != FREE:
            return None
        # The facets span the dual cone; only where rows depend on each other up to rounding can the others help.
        for among in (self.facets, None):
            support = self.arrangement.support_of_implied(self.fixed, neuron, sign, among=among)
            if support is not None:
                return ImpliedSign(neuron, sign, support)
        return None

    def implied_signs(self) -> tuple[ImpliedSign, ...]:
        """Every candidate that can be proved, in the order of the neurons."""
        found = [self.prove(int(i)) for i in np.flatnonzero((self.candidates != FREE) & (self.fixed == FREE))]
        return tuple(proof for proof in found if proof is not None)

    def prove_empty(self) -> EmptyLeaf | None:
        """The proof that there is no interior, or None."""
        if self.has_interior:
            return None
        opposite = -int(self.fixed[self.closing])
        support = self.arrangement.support_of_implied(self.fixed, self.closing, opposite)
        return None if support is None else EmptyLeaf((*support, self.closing))


def _maximal(incidence: BoolArray) -> IntArray:
    """Rows whose set of rays lies in no other row's; of equal sets the first. Only facets remain."""
    table = incidence.astype(np.float32)
    shared = table @ table.T
    size = np.diagonal(shared)
    first = np.arange(len(size))
    larger = (size[None, :] > size[:, None]) | ((size[None, :] == size[:, None]) & (first[None, :] < first[:, None]))
    return np.flatnonzero(~((shared == size[:, None]) & larger).any(axis=1))
