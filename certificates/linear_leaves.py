"""Leaves whose proof is linear, many at a time: what bounds from linear programs and CROWN give.

If every product of a leaf has the factor t, and neither t_i nor σ occurs, then the form is t times a linear function,
and so is everything that is taken off it. What remains,

    t · (ρ·β_free + q·x + κ t),

need not be positive semidefinite as a form in (β, x, t). It is nonnegative on the region if, with the proved bounds
``0 ≤ β_i ≤ b_i t`` and the least value of q·x,

    Σ min(ρ_i, 0) b_i + min_x q·x + κ ≥ 0.

So q may be anything; nothing has to cancel. All is computed as enclosures, for many leaves at once.
"""

import math
from dataclasses import dataclass

import numpy as np

from certificates.arithmetic.floating import Enclosure, inflate
from certificates.failure import require
from certificates.nonnegativity import Problem
from certificates.proof import LiftedProof
from formulations._validation import FloatArray, IntArray
from formulations.nodes import FREE, INACTIVE
from formulations.robustness import InputRegion


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
class LinearForms:
    """For each of L leaves the linear function: coefficients on α (L×N) and on z = (x, t) (L×k)."""

    alpha: Enclosure
    z: Enclosure


def prove_linear_leaves(
    problem: Problem[Enclosure],
    region: InputRegion,
    proof: LiftedProof,
    leaves: IntArray,
    signs: IntArray,
    forms: LinearForms,
) -> float:
    """Check leaves of a proof whose structure and triangles were checked; returns the least remainder.

    Args:
        problem: generators, region rows (t ≥ 0 first) and bounds of the neurons; its form is not used.
        region: the same region.
        proof: nothing in it is trusted.
        leaves: (L,) numbers of linear leaves.
        signs: (L, N) their signs.
        forms: what has to be nonnegative on each.

    Raises:
        ProofFailure: a leaf is not proved.
    """
    N = len(problem.generators)
    positions = 2 * N + len(problem.region.linear) + len(proof.circuits.target) + len(proof.triangles.neuron)
    weights = np.stack([_weights(proof, int(leaf), N, positions) for leaf in leaves])
    remainder = _remainders(problem, region, proof, signs, weights, forms)
    bad = np.flatnonzero(~(remainder >= 0))
    if len(bad):
        require(
            False,
            f"the linear function of leaf {int(leaves[bad[0]])} is only shown to be at least {remainder[bad[0]]:.3e}",
        )
    return float(remainder.min(initial=math.inf))


def _weights(proof: LiftedProof, leaf: int, neurons: int, positions: int) -> FloatArray:
    """(positions,) multiplier of each inequality; a pair is t and the inequality."""
    part = slice(int(proof.pair_offset[leaf]), int(proof.pair_offset[leaf + 1]))
    pairs = proof.pairs[part]
    other = np.where(pairs[:, 0] == 2 * neurons, pairs[:, 1], pairs[:, 0])
    weights = np.zeros(positions)
    require(len(np.unique(other)) == len(other), "a pair of multipliers is listed twice")
    weights[other] = proof.multipliers[part]
    return weights


def _remainders(
    problem: Problem[Enclosure],
    region: InputRegion,
    proof: LiftedProof,
    signs: IntArray,
    weights: FloatArray,
    forms: LinearForms,
) -> FloatArray:
    """Lower bounds of what remains on each leaf, for t = 1."""
    A = problem.generators
    N, k = A.shape
    assert problem.bounds is not None
    triangles, rows = proof.triangles, problem.region.linear
    count = len(rows)
    on_alpha, on_beta = forms.alpha - Enclosure.exact(weights[:, :N]), -Enclosure.exact(weights[:, N : 2 * N])
    on_z = forms.z - Enclosure.exact(weights[:, 2 * N : 2 * N + count]) @ Enclosure.exact(rows)
    first = 2 * N + count + len(proof.circuits.target)
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
    reach = np.maximum(-problem.bounds[:, 0], 0.0)
    charge = Enclosure.exact(least_rho) @ Enclosure.exact(reach[:, None])
    q = Enclosure(on_z.mid[:, : k - 1], on_z.rad[:, : k - 1])
    kappa = Enclosure(on_z.mid[:, k - 1 :], on_z.rad[:, k - 1 :])
    return (charge + kappa + _least(region, q)).lower.ravel()


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
