"""The robustness certificate: a network, a property, and for each unsafe case a proof that it cannot happen."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from certificates.arithmetic.floating import gamma_bound, inflate, sum_of_products
from certificates.failure import require
from certificates.proof import LiftedProof, Region
from formulations._validation import FloatArray, IntArray
from formulations.lifted_space import ACTIVE, INACTIVE
from formulations.network import ReluNetwork
from formulations.robustness import InputRegion, UnsafeCase


@dataclass(frozen=True, eq=False)
class CaseProof:
    """Why a case cannot happen: on every leaf ``μᵀ(H f(x) + h) ≥ margin > 0``, hence not all rows are ≤ 0.

    The lifted space has the neurons with ``stable = 0`` as generators [U b], z = (x, t), and as region the rows t ≥ 0,
    then for each input ``x_j − lower_j t ≥ 0`` and ``upper_j t − x_j ≥ 0``, and the ball's quadratic if there is one.

    Attributes:
        stable: (m,) 1 or −1 for neurons whose pre-activation is ≥ 0 or ≤ 0 on the region, else 0.
        mu: (leaves, r) weights μ ≥ 0 of the rows on each leaf, none of them all zero.
        margin: δ > 0.
        proof: nonnegativity of ``t·(μᵀH V α + μᵀ(H b₂ + h) t) − δ t²``; its triangles may rest on the bounds that the
            checker computes, and then have no support.
    """

    stable: IntArray
    mu: FloatArray
    margin: float
    proof: LiftedProof


@dataclass(frozen=True, eq=False)
class RobustnessCertificate:
    """Claim: no case is unsafe at any input. ``cases`` and ``proofs`` go in pairs.

    Attributes:
        network: the network; its numbers are taken at face value.
        cases: the disjunction that is shown to be impossible.
        proofs: one for each case.
        provenance: JSON object about how the certificate came to be; no part of the proof.
    """

    network: ReluNetwork
    cases: tuple[UnsafeCase, ...]
    proofs: tuple[CaseProof, ...]
    provenance: Mapping[str, Any] = field(default_factory=dict)


def lifted_region(region: InputRegion) -> Region:
    """The region over z = (x, t), as ``CaseProof`` describes it.

    The corner ``radius² − ‖centre‖²`` of the ball's quadratic is rounded up, which makes the region no smaller.
    """
    d = region.inputs
    rows = np.zeros((1 + 2 * d, d + 1))
    rows[0, d] = 1.0
    index = np.arange(d)
    rows[1 + 2 * index, index] = 1.0
    rows[1 + 2 * index, d] = -region.lower
    rows[2 + 2 * index, index] = -1.0
    rows[2 + 2 * index, d] = region.upper
    quadratics = np.zeros((0, d + 1, d + 1))
    if region.centre is not None and region.radius is not None:
        quadratics = -np.eye(d + 1)[None]
        quadratics[0, :d, d] = quadratics[0, d, :d] = region.centre
        radius = np.array([region.radius])
        quadratics[0, d, d] = sum_of_products([(radius, radius), (-region.centre, region.centre)], upper=True)
    return Region(rows, quadratics, homogenised=True)


def preactivation_bounds(network: ReluNetwork, region: InputRegion) -> tuple[FloatArray, FloatArray]:
    """Rigorous l ≤ Ux + b ≤ u (m,) on the region: the box bound, and where there is a ball the better of both.

    Every neuron's bound over the box alone is exact up to rounding outwards, and so is that over the ball alone. Where
    rounding might hide the sign of a bound over the box, it is rounded only once; 0 then is 0.
    """
    U, b = network.hidden, network.hidden_bias
    d = region.inputs
    above, below = np.maximum(U, 0.0), np.minimum(U, 0.0)
    reach = np.maximum(np.abs(region.lower), np.abs(region.upper))
    size = np.abs(U) @ reach + np.abs(b)
    # A sum of 2d + 1 products; the sizes are such sums themselves.
    error = inflate(size * gamma_bound(2 * d + 4), 2 * d + 8)
    least, most = above @ region.lower + below @ region.upper + b, above @ region.upper + below @ region.lower + b
    still = (U != 0).astype(np.float64) @ (reach != 0).astype(np.float64) == 0
    lower, upper = np.where(still, b, _down(least, error)), np.where(still, b, _up(most, error))
    for bound, middle, first, second, up in (
        (lower, least, region.lower, region.upper, False),
        (upper, most, region.upper, region.lower, True),
    ):
        for i in np.flatnonzero((np.abs(middle) <= 2.0 * error) & ~still).tolist():
            sharp = sum_of_products([(above[i], first), (below[i], second), (b[i : i + 1], np.ones(1))], upper=up)
            bound[i] = min(bound[i], sharp) if up else max(bound[i], sharp)
    if region.centre is not None and region.radius is not None:
        middle = U @ region.centre + b
        reach = inflate(region.radius * np.sqrt(inflate(np.sum(U**2, axis=1), d + 4)), 8)
        size = np.abs(U) @ np.abs(region.centre) + np.abs(b)
        error = inflate(size * gamma_bound(d + 4) + (np.abs(middle) + reach) * gamma_bound(4), d + 12)
        lower = np.maximum(lower, _down(middle - reach, error))
        upper = np.minimum(upper, _up(middle + reach, error))
    return lower, upper


def unstable_neurons(network: ReluNetwork, region: InputRegion, stable: IntArray) -> tuple[IntArray, FloatArray]:
    """(unstable neurons, their proved bounds), after checking that the others are stable on the region.

    Raises:
        ProofFailure: ``stable`` is malformed, a neuron that it calls stable is not, or a bound overflows.
    """
    require(
        stable.shape == (network.width,) and stable.dtype == np.int64 and bool(np.isin(stable, (-1, 0, 1)).all()),
        "stable is not a list of 1, -1 and 0, one for each neuron",
    )
    lower, upper = preactivation_bounds(network, region)
    wrong = np.flatnonzero(((stable == ACTIVE) & ~(lower >= 0)) | ((stable == INACTIVE) & ~(upper <= 0)))
    if len(wrong):
        i = int(wrong[0])
        require(False, f"neuron {i} is called stable, but its pre-activation lies in [{lower[i]:.3e}, {upper[i]:.3e}]")
    kept = np.flatnonzero(stable == 0)
    bounds = np.stack([lower[kept], upper[kept]], axis=1)
    require(np.isfinite(bounds).all(), "a pre-activation bound overflows")
    return kept, bounds


def _down(value: FloatArray, error: FloatArray) -> FloatArray:
    return np.asarray(np.nextafter(value - error, -np.inf))


def _up(value: FloatArray, error: FloatArray) -> FloatArray:
    return np.asarray(np.nextafter(value + error, np.inf))
