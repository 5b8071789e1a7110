"""Leaves whose proof is linear, many at a time: what bounds from linear programs and CROWN give.

If every product of a leaf has the factor t, and neither t_i nor σ occurs, then the form is t times a linear function,
and so is everything that is taken off it. What remains,

    t · (ρ·β_free + q·x + κ t),

need not be positive semidefinite as a form in (β, x, t). It is nonnegative on the region if, with the proved bounds
``0 ≤ β_i ≤ b_i t`` and the least value of q·x,

    Σ min(ρ_i, 0) b_i + min_x q·x + κ ≥ 0.

So q may be anything; nothing has to cancel. All is computed as enclosures, for many leaves at once. A leaf whose
enclosure does not tell is computed again in rational numbers; there only the norm of a ball is rounded, upwards.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from certificates.arithmetic import Enclosure, RationalMatrix
from certificates.arithmetic.floating import inflate
from certificates.arithmetic.matrix import M, timed
from certificates.failure import NO_DEADLINE, Deadline, require
from certificates.nonnegativity import triangle_rows
from certificates.proof import LiftedProof, Triangles
from formulations.arrays import FloatArray, IntArray
from formulations.signs import ACTIVE, FREE, INACTIVE

if TYPE_CHECKING:
    from formulations.network import ReluNetwork
    from formulations.robustness import InputRegion, UnsafeCase

EXACT_ENTRIES = 1 << 20
"""Entries of the network's first layer up to which a leaf is computed in rational numbers: that takes seconds, and some
300 MB where they spread over all exponents."""
ROOT_BITS = 256
"""Leading bits of the square of a norm that count when its root is rounded up."""


def generator_rows(network: "ReluNetwork") -> FloatArray:
    """A = [U b], m×(d+1)."""
    return np.hstack([network.hidden, network.hidden_bias[:, None]])


def is_linear(proof: LiftedProof, leaf: int, neurons: int, rows: int) -> bool:
    """Whether each pair of the leaf has the factor t, the region's first row, and nothing else is used.

    Circuits, which come after the region's ``rows``, are not used either.
    """
    part = slice(int(proof.pair_offset[leaf]), int(proof.pair_offset[leaf + 1]))
    pairs, first = proof.pairs[part], 2 * neurons + rows
    with_t = (pairs == 2 * neurons).any(axis=1).all()
    with_circuit = ((pairs >= first) & (pairs < first + len(proof.circuits.target))).any()
    others = proof.complementarity[leaf].any() or proof.sigma[leaf].any()
    return bool(with_t and not with_circuit and not others)


@dataclass(frozen=True, eq=False)
class LinearLeaves:
    """L leaves of a case: what has to be nonnegative on each, and what is taken off it.

    Attributes:
        network, case: they belong to.
        stable: (m,) signs of the neurons, checked.
        kept: (N,) unstable neurons.
        bounds: (N, 2) proved bounds of their pre-activations.
        triangles: checked.
        mu: (L, r) weights of the rows.
        margin: δ.
        signs: (L, N) of the leaves.
        weights: (L, positions) multiplier of each inequality, the other factor being t.
    """

    network: "ReluNetwork"
    case: "UnsafeCase"
    stable: IntArray
    kept: IntArray
    bounds: FloatArray
    triangles: Triangles
    mu: FloatArray
    margin: float
    signs: IntArray
    weights: FloatArray

    def remainders(self, *, exactly: bool, deadline: Deadline = NO_DEADLINE) -> Iterator[Fraction | float]:
        """A lower bound of what remains on each leaf in turn, for t = 1; the leaf is proved where that is ≥ 0.

        Args:
            exactly: compute a leaf again in rational numbers where floating point does not prove it.
            deadline: when to give up.

        Raises:
            ProofFailure: the deadline has passed.
        """
        with np.errstate(all="ignore"):
            enclosed = least_enclosed(self, *self.form(timed(Enclosure, deadline))).tolist()
        entries = self.network.hidden.size + self.network.output.size + self.case.H.size
        for leaf, least in enumerate(enclosed):
            deadline.check()
            if exactly and entries <= EXACT_ENTRIES and not (least >= 0):
                rows = {name: getattr(self, name)[[leaf]] for name in ("mu", "signs", "weights")}
                one = replace(self, **rows)
                yield least_exact(one, *one.form(timed(RationalMatrix, deadline)))
            else:
                yield least

    def form(self, matrix: type[M]) -> tuple[M, M]:
        """ρ (L×N) on β, and what is left on z (L×(d+1)), in the coordinates of each leaf's face."""
        alpha, z = linear_form(self.network, self.case, self.stable, self.kept, self.mu, self.margin, matrix)
        return self.remainder(alpha, z, matrix)

    def remainder(self, alpha: M, z: M, matrix: type[M]) -> tuple[M, M]:
        """``form`` for any function on α of the unstable neurons (L×N) and on z (L×(d+1))."""

        def exact(value: FloatArray) -> M:
            return matrix.exact(np.ascontiguousarray(value))

        region, weights = self.case.region, self.weights
        A = generator_rows(self.network)[self.kept]
        (N, k), first = A.shape, weights.shape[1] - len(self.triangles.neuron)
        on_alpha, on_beta = alpha - exact(weights[:, :N]), weights[:, N : 2 * N]
        lower, upper = (
            exact(weights[:, 2 * N + 1 : first : 2][:, : k - 1]),
            exact(weights[:, 2 * N + 2 : first : 2][:, : k - 1]),
        )
        corner = upper @ exact(region.upper[:, None]) - lower @ exact(region.lower[:, None])
        z = z - matrix.block([[lower - upper, exact(weights[:, 2 * N : 2 * N + 1]) + corner]])
        used = np.flatnonzero(weights[:, first:].any(axis=0))
        if len(used):
            chosen = Triangles(self.triangles.neuron[used], self.triangles.bounds[used])
            nu, (first_part, second_part) = exact(weights[:, first + used]), triangle_rows(chosen, A, matrix)
            on_alpha, z = on_alpha - nu @ first_part, z - nu @ second_part
        # On the leaf's face: α = β + a·z where free, α = a·z where active, β = −a·z where inactive.
        inactive = self.signs == INACTIVE
        through = on_alpha.times(np.where(inactive, 0.0, 1.0)) + exact(np.where(inactive, on_beta, 0.0))
        return on_alpha - exact(on_beta), z + through @ exact(A)


def linear_form(
    network: "ReluNetwork",
    case: "UnsafeCase",
    stable: IntArray,
    kept: IntArray,
    mu: FloatArray,
    margin: float,
    matrix: type[M],
) -> tuple[M, M]:
    """``μᵀ(H f + h) − margin`` for L weights: coefficients on α of the unstable neurons (L×N) and on z (L×(d+1))."""
    weighted, every = matrix.exact(np.ascontiguousarray(mu)), np.arange(len(mu))
    rows = weighted @ matrix.exact(case.H)
    weights = rows @ matrix.exact(network.output)
    active = np.flatnonzero(stable == ACTIVE)
    constants = rows @ matrix.exact(np.ascontiguousarray(network.output_bias[:, None]))
    constants = constants + weighted @ matrix.exact(np.ascontiguousarray(case.h[:, None]))
    constants = constants - matrix.exact(np.full((len(mu), 1), margin))
    z = matrix.block([[matrix.exact(np.zeros((len(mu), network.hidden.shape[1]))), constants]])
    if len(active):
        z = weights.take(every, active) @ matrix.exact(np.ascontiguousarray(generator_rows(network)[active])) + z
    return weights.take(every, kept), z


def leaf_weights(proof: LiftedProof, leaves: IntArray, neurons: int, rows: int) -> FloatArray:
    """(L, positions) multipliers of linear leaves, each that of the pair of t and the inequality.

    Raises:
        ProofFailure: a pair is listed twice.
    """
    weights = np.zeros((len(leaves), 2 * neurons + rows + len(proof.circuits.target) + len(proof.triangles.neuron)))
    for row, leaf in zip(weights, leaves.tolist(), strict=True):
        part = slice(int(proof.pair_offset[leaf]), int(proof.pair_offset[leaf + 1]))
        pairs = proof.pairs[part]
        other = np.where(pairs[:, 0] == 2 * neurons, pairs[:, 1], pairs[:, 0])
        require(len(np.unique(other)) == len(other), "a pair of multipliers is listed twice")
        row[other] = proof.multipliers[part]
    return weights


def least_enclosed(leaves: LinearLeaves, rho: Enclosure, z: Enclosure) -> FloatArray:
    """(L,) lower bounds of ``Σ min(ρ_i, 0) b_i + min q·x + κ`` in floating point, the sum over free neurons."""
    d, region = z.shape[1] - 1, leaves.case.region
    reach = np.maximum(-leaves.bounds[:, :1], 0.0)
    least_rho = np.where(leaves.signs == FREE, np.minimum(rho.lower, 0.0), 0.0)
    q, kappa = (Enclosure(z.mid[:, part], z.rad[:, part]) for part in (slice(d), slice(d, None)))
    return (Enclosure.exact(least_rho) @ Enclosure.exact(reach) + kappa + _least(region, q)).lower.ravel()


def least_exact(leaves: LinearLeaves, rho: RationalMatrix, z: RationalMatrix) -> Fraction:
    """The same of one leaf in rational numbers; exact unless a ball's norm is in it."""
    (on_beta,), ((*q, total),), region = rho.rows(), z.rows(), leaves.case.region
    for value, sign, least in zip(on_beta, leaves.signs[0].tolist(), leaves.bounds[:, 0].tolist(), strict=True):
        if sign == FREE and value < 0 and least < 0:
            total -= value * Fraction(least)
    sides = zip(q, region.lower.tolist(), region.upper.tolist(), strict=True)
    least_q = sum((value * Fraction(low if value > 0 else high) for value, low, high in sides), Fraction(0))
    if region.centre is not None and region.radius is not None:
        middle = sum((v * Fraction(c) for v, c in zip(q, region.centre.tolist(), strict=True)), Fraction(0))
        reach = Fraction(region.radius) * _root_above(sum((value * value for value in q), Fraction(0)))
        least_q = max(least_q, middle - reach)
    return total + least_q


def _root_above(square: Fraction) -> Fraction:
    """A rational that is at least the root, by a relative 2^−100 at most."""
    if square == 0:
        return square
    shift = max(ROOT_BITS - square.numerator.bit_length() + square.denominator.bit_length(), 0) // 2 + 1
    whole = (square.numerator << 2 * shift) // square.denominator + 1
    return Fraction(math.isqrt(whole) + 1, 1 << shift)


def _least(region: "InputRegion", q: Enclosure) -> Enclosure:
    """An enclosure whose lower end is at most the least value of every q·x in it over the region."""
    size = np.maximum(np.abs(region.lower), np.abs(region.upper))[:, None]
    slack = Enclosure.exact(q.rad) @ Enclosure.exact(size)
    below, above = np.minimum(q.mid, 0.0), np.maximum(q.mid, 0.0)
    box = Enclosure.exact(above) @ Enclosure.exact(region.lower[:, None])
    box = box + Enclosure.exact(below) @ Enclosure.exact(region.upper[:, None]) - slack
    if region.centre is None or region.radius is None:
        return box
    norm = np.sqrt(inflate(np.sum((np.abs(q.mid) + q.rad) ** 2, axis=1), 2 * q.shape[1] + 8))
    reach = inflate(region.radius * norm, 8)[:, None]
    # q·centre is taken over the whole enclosure, and the norm as well.
    ball = q @ Enclosure.exact(region.centre[:, None]) - Enclosure.exact(reach)
    better = ball.lower > box.lower
    return Enclosure(np.where(better, ball.mid, box.mid), np.where(better, ball.rad, box.rad))
