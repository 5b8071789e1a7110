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
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from flint import fmpq, fmpq_mat, fmpz

from certificates.arithmetic.exact import RationalMatrix, to_fmpq
from certificates.arithmetic.floating import Enclosure, inflate
from certificates.arithmetic.matrix import M, timed
from certificates.failure import NO_DEADLINE, Deadline, require
from certificates.proof import LiftedProof, Triangles
from formulations._validation import FloatArray, IntArray
from formulations.lifted_space import ACTIVE, FREE, INACTIVE
from formulations.network import ReluNetwork
from formulations.robustness import InputRegion, UnsafeCase

EXACT_ENTRIES = 1 << 20
"""Entries of the network's first layer up to which a leaf is computed in rational numbers: that takes seconds, and some
300 MB where they spread over all exponents."""
ROOT_BITS = 256
"""Leading bits of the square of a norm that count when its root is rounded up."""


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

    network: ReluNetwork
    case: UnsafeCase
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
            forms = linear_form(*self._statement, self.mu, self.margin, timed(Enclosure, deadline))
            enclosed = _enclosed(self, *forms)
        entries = self.network.hidden.size + self.network.output.size + self.case.H.size
        exactly = exactly and entries <= EXACT_ENTRIES
        for leaf, least in enumerate(enclosed.tolist()):
            deadline.check()
            if exactly and not (least >= 0):
                form = linear_form(*self._statement, self.mu[[leaf]], self.margin, timed(RationalMatrix, deadline))
                yield _exact(self, leaf, *form)
            else:
                yield least

    @property
    def _statement(self) -> tuple[ReluNetwork, UnsafeCase, IntArray, IntArray]:
        return self.network, self.case, self.stable, self.kept


def linear_form(
    network: ReluNetwork,
    case: UnsafeCase,
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
    z = matrix.block([[matrix.exact(np.zeros((len(mu), network.inputs))), constants]])
    if len(active):
        z = weights.take(every, active) @ matrix.exact(np.ascontiguousarray(network.generators[active])) + z
    return weights.take(every, kept), z


def leaf_weights(proof: LiftedProof, leaves: IntArray, neurons: int, rows: int) -> FloatArray:
    """(L, positions) multipliers of linear leaves; see ``LinearLeaves``.

    Raises:
        ProofFailure: a pair is listed twice.
    """
    positions = 2 * neurons + rows + len(proof.circuits.target) + len(proof.triangles.neuron)
    return np.stack([_weights(proof, int(leaf), neurons, positions) for leaf in leaves])


def _weights(proof: LiftedProof, leaf: int, neurons: int, positions: int) -> FloatArray:
    """(positions,) multiplier of each inequality; a pair is t and the inequality."""
    part = slice(int(proof.pair_offset[leaf]), int(proof.pair_offset[leaf + 1]))
    pairs = proof.pairs[part]
    other = np.where(pairs[:, 0] == 2 * neurons, pairs[:, 1], pairs[:, 0])
    weights = np.zeros(positions)
    require(len(np.unique(other)) == len(other), "a pair of multipliers is listed twice")
    weights[other] = proof.multipliers[part]
    return weights


def _enclosed(leaves: LinearLeaves, alpha: Enclosure, z: Enclosure) -> FloatArray:
    """(L,) lower ends of enclosures of what remains, in floating point; the form is on α (L×N) and z (L×(d+1))."""
    region, triangles, signs, weights = leaves.case.region, leaves.triangles, leaves.signs, leaves.weights
    A = np.ascontiguousarray(leaves.network.generators[leaves.kept])
    N, k = A.shape
    on_alpha, on_beta = alpha - Enclosure.exact(weights[:, :N]), -Enclosure.exact(weights[:, N : 2 * N])
    on_z = z - _region_part(region, weights[:, 2 * N : 2 * N + 1 + 2 * region.inputs])
    first = weights.shape[1] - len(triangles.neuron)
    if len(triangles.neuron) and weights[:, first:].any():
        nu = Enclosure.exact(weights[:, first:])
        low, high = (Enclosure.exact(np.ascontiguousarray(side)[:, None]) for side in triangles.bounds.T)
        at = np.zeros((len(triangles.neuron), N))
        at[np.arange(len(at)), triangles.neuron] = 1.0
        # u a·z − u l t − (u − l) α, each row by its own scalar.
        slope = _scaled(high, Enclosure.exact(A[triangles.neuron]))
        corner = np.zeros((1, k))
        corner[0, k - 1] = 1.0
        slope = slope - _scaled(_scaled(high, low), Enclosure.exact(np.repeat(corner, len(at), axis=0)))
        on_z = on_z - nu @ slope
        on_alpha = on_alpha + nu @ _scaled(high - low, Enclosure.exact(at))
    # On the leaf's face: α = β + a·z where free, α = a·z where active, β = −a·z where inactive.
    through = Enclosure(
        np.where(signs == INACTIVE, -on_beta.mid, on_alpha.mid), np.where(signs == INACTIVE, on_beta.rad, on_alpha.rad)
    )
    on_z = on_z + through @ Enclosure.exact(A)
    rho = on_alpha + on_beta
    least_rho = np.where(signs == FREE, np.minimum(rho.lower, 0.0), 0.0)
    reach = np.maximum(-leaves.bounds[:, 0], 0.0)
    charge = Enclosure.exact(least_rho) @ Enclosure.exact(reach[:, None])
    q = Enclosure(on_z.mid[:, : k - 1], on_z.rad[:, : k - 1])
    kappa = Enclosure(on_z.mid[:, k - 1 :], on_z.rad[:, k - 1 :])
    return (charge + kappa + _least(region, q)).lower.ravel()


def _region_part(region: InputRegion, weights: FloatArray) -> Enclosure:
    """What weights (L, 1+2d) of t and of the sides of the box contribute, over z."""
    t, lower, upper = (
        Enclosure.exact(np.ascontiguousarray(w)) for w in (weights[:, :1], weights[:, 1::2], weights[:, 2::2])
    )
    corner = upper @ Enclosure.exact(region.upper[:, None]) - lower @ Enclosure.exact(region.lower[:, None])
    return Enclosure.block([[lower - upper, t + corner]])


def _exact(leaves: LinearLeaves, leaf: int, form: RationalMatrix, tail: RationalMatrix) -> Fraction:
    """A lower bound of what remains on one leaf, in rational numbers; exact unless a ball's norm is in it.

    ``form`` (1×N) and ``tail`` (1×(d+1)) are what has to be nonnegative, on α and z.
    """
    alpha, z = form.value, tail.value
    region, triangles, weights = leaves.case.region, leaves.triangles, leaves.weights[leaf]
    N, d = len(leaves.kept), region.inputs
    w = {int(p): to_fmpq(weights[p]) for p in np.flatnonzero(weights)}
    zero = fmpq(0)
    on_alpha = [alpha[0, i] - w.get(i, zero) for i in range(N)]
    on_beta = [-w.get(N + i, zero) for i in range(N)]
    on_z = [z[0, j] for j in range(d + 1)]
    through = [zero] * N
    first = len(weights) - len(triangles.neuron)
    for index, (i, (low, high)) in enumerate(zip(triangles.neuron.tolist(), triangles.bounds.tolist(), strict=True)):
        if nu := w.get(first + index):
            under, over = to_fmpq(low), to_fmpq(high)
            through[i] -= nu * over
            on_z[d] += nu * over * under
            on_alpha[i] += nu * (over - under)
    total = zero
    for i, sign in enumerate(leaves.signs[leaf].tolist()):
        through[i] += -on_beta[i] if sign == INACTIVE else on_alpha[i]
        if sign == FREE:
            total += min(on_alpha[i] + on_beta[i], zero) * to_fmpq(max(-float(leaves.bounds[i, 0]), 0.0))
    if any(through):
        A = type(form).exact(np.ascontiguousarray(leaves.network.generators[leaves.kept])).value
        product = fmpq_mat(1, N, through) * A
        on_z = [value + product[0, j] for j, value in enumerate(on_z)]
    q, kappa = on_z[:d], on_z[d] - w.get(2 * N, zero)
    lower, upper = ([to_fmpq(value) for value in side.tolist()] for side in (region.lower, region.upper))
    for j in range(d):
        above, below = w.get(2 * N + 1 + 2 * j, zero), w.get(2 * N + 2 + 2 * j, zero)
        q[j] += below - above
        kappa += above * lower[j] - below * upper[j]
    least = sum((value * (lower[j] if value > 0 else upper[j]) for j, value in enumerate(q)), zero)
    if region.centre is not None and region.radius is not None:
        middle = sum((value * to_fmpq(c) for value, c in zip(q, region.centre.tolist(), strict=True)), zero)
        least = max(least, middle - to_fmpq(region.radius) * _root_above(sum((value * value for value in q), zero)))
    total += kappa + least
    return Fraction(int(total.p), int(total.q))


def _root_above(square: fmpq) -> fmpq:
    """A rational that is at least the root, by a relative 2^−100 at most."""
    if square == 0:
        return fmpq(0)
    shift = max(ROOT_BITS - int(square.p).bit_length() + int(square.q).bit_length(), 0) // 2 + 1
    whole = (int(square.p) << 2 * shift) // int(square.q) + 1
    return fmpq(fmpz(math.isqrt(whole) + 1), fmpz(1 << shift))


def _scaled(factor: Enclosure, matrix: Enclosure) -> Enclosure:
    """Row i of ``matrix`` times entry i of the column ``factor``."""
    mid = factor.mid * matrix.mid
    rad = np.abs(factor.mid) * matrix.rad + factor.rad * (np.abs(matrix.mid) + matrix.rad)
    return Enclosure(mid, inflate(rad + 2.0**-53 * np.abs(mid), 8))


def _least(region: InputRegion, q: Enclosure) -> Enclosure:
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
