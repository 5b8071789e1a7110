"""The one proof object: nonnegativity of a quadratic form on a lifted cone, leaf by leaf of a tree of sign splits.

On a leaf the form is written as

    F(λ) = [form that is PSD on the leaf's face] + Σ N_pq ℓ_p(λ) ℓ_q(λ) + Σ t_i α_i β_i + Σ σ_k q_k(z),    N, σ ≥ 0,

with valid linear inequalities ``ℓ ≥ 0``, free t, and the region's quadratics ``q ≥ 0``. Optimality uses it with no
region, or with that of a free bias; robustness and Lipschitz constants use it with boxes and balls. Everything is an
array, so that one file format serves all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from formulations.arrays import FloatArray, IntArray

LEAF = -1
SHARED = -1


@dataclass(frozen=True, eq=False)
class Cone:
    """The lifted cone of N generators over a region of R^k: all λ = (α, β, z), α = (Az)₊, β = (−Az)₊, z in the region.

    It is part of the statement, hence trusted.

    Attributes:
        generators: (N, k) A.
        linear: (r, k) rows g with ``g·z ≥ 0`` on the region; none for all of R^k.
        quadratics: q symmetric Q (k×k) with ``zᵀQz ≥ 0``, as arrays or as matrices of the arithmetic of the proof.
        bounds: (N, 2) l and u with ``l t ≤ a_i·z ≤ u t`` on the region, where t, the last coordinate of z, is positive;
            triangles rest on them.
    """

    generators: FloatArray
    linear: FloatArray
    quadratics: Sequence[Any] = ()
    bounds: FloatArray | None = None

    @property
    def size(self) -> tuple[int, int, int, int]:
        """N, k, and how many rows and quadratics the region has."""
        return *self.generators.shape, len(self.linear), len(self.quadratics)

    @classmethod
    def everywhere(cls, generators: FloatArray, quadratics: Sequence[Any] = ()) -> "Cone":
        """Over all of R^k, or where some quadratics are nonnegative."""
        return cls(generators, generators[:0], quadratics)


@dataclass(frozen=True, eq=False)
class Circuits:
    """Inequalities ``Σ c_j φ_j − φ_k ≥ 0`` from ``Σ c_j r_j = r_k``, c ≥ 0, over the rows r of (A, −A), by convexity.

    Only the support is stored: c is the unique solution, which the checker finds in rational arithmetic. So there is no
    rounding residual to absorb.

    Attributes:
        target: (e,) position k in φ.
        offset: (e+1,) circuit i has support ``support[offset[i]:offset[i+1]]``.
        support: positions j in φ; the rows r_j are linearly independent.
    """

    target: IntArray
    offset: IntArray
    support: IntArray


@dataclass(frozen=True, eq=False)
class Triangles:
    """Inequalities ``u a_i·z − u l t − (u − l) α_i ≥ 0`` from ``l t ≤ a_i·z ≤ u t`` on the region, l ≤ 0 ≤ u, l < u.

    Only where the last coordinate of z is t > 0. The checker computes bounds of its own, which have to be as good.

    Attributes:
        neuron: (m,) i.
        bounds: (m, 2) columns l and u.
    """

    neuron: IntArray
    bounds: FloatArray


@dataclass(frozen=True, eq=False)
class LiftedProof:
    """A tree of sign splits with a nonnegativity proof at every leaf.

    Positions of inequalities: 0..2N−1 are φ = (α, β) ≥ 0, then the region's rows, then circuits, then triangles, then
    the outputs ``±(W̃ᵀφ + Jz)_k ≥ 0`` of a bound on a norm, with the sign that the leaf gives them.

    Attributes:
        split: (nodes,) neuron that a node splits on, N + k for output k, ``LEAF`` (−1) for leaves; node 0 is the root.
        children: (nodes, 2) children with ``β_i = 0`` (active) and ``α_i = 0`` (inactive), or where the output is ≥ 0
            and ≤ 0; −1 at leaves.
        leaf: (nodes,) number of the leaf, −1 at inner nodes.
        pair_offset: (leaves+1,) leaf l owns the pairs ``pair_offset[l]:pair_offset[l+1]``.
        pairs: (K, 2) positions p ≤ q, no pair twice in a leaf.
        multipliers: (K,) N_pq ≥ 0; a pair contributes ``N_pq ℓ_p ℓ_q`` once.
        complementarity: (leaves, N) free t_i.
        sigma: (leaves, q) σ_k ≥ 0.
        circuits, triangles: further valid inequalities, shared by all leaves.
        groups: (N,) group of each generator, ``SHARED`` (−1) for one that may join any group, where pairs join no two
            groups and the slack is proved group by group (``certificates.norm_bound``); empty for any other proof.
    """

    split: IntArray
    children: IntArray
    leaf: IntArray
    pair_offset: IntArray
    pairs: IntArray
    multipliers: FloatArray
    complementarity: FloatArray
    sigma: FloatArray
    circuits: Circuits
    triangles: Triangles
    groups: IntArray

    @property
    def leaves(self) -> int:
        """Number of leaves."""
        return self.pair_offset.size - 1

    def products(self, leaf: int) -> tuple[IntArray, FloatArray]:
        """The pairs of a leaf, and their multipliers."""
        own = slice(*self.pair_offset[leaf : leaf + 2].tolist())
        return self.pairs[own], self.multipliers[own]

    @property
    def plain(self) -> bool:
        """Whether it has one leaf and no products; it may have σ."""
        others = (self.pairs, self.groups, self.circuits.target, self.triangles.neuron)
        return self.leaves == self.split.size == 1 and not any(array.size for array in others)
