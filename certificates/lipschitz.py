"""l2 Lipschitz constants of linear functions of the outputs, global or on a region: what their certificates prove.

On a segment inside a convex region the mean gradient of ``C f`` is ``J + Σ g_i b_i U_iᵀ`` with the sum over the
unstable neurons, g_i in [0, 1], b_i = C V_i, and J the part of the neurons that are active all over the region. Without
a region every neuron is unstable. The b_i are rounded to float64, and L is lowered by what that may change. So L is a
Lipschitz constant if, for all δ in R^d and all p in R^r,

    p·Jδ + Σ_i ((b_i·p)(U_i·δ))₊ ≤ L ‖p‖‖δ‖.

* One function (r = 1, b_i = v_i): with ``ℓ = J·δ + Σ |v_i| (α_i or β_i)``, α_i where v_i > 0 and β_i where v_i < 0, the
  proof is of ``L²‖δ‖² − ℓ² ≥ 0`` on the lifted cone of the rows U_i.
* Several (r > 1): it is of ``L(‖δ‖² + ‖p‖²) − 2 p·Jδ − 2 Σ (α_i α'_i + β_i β'_i) ≥ 0`` on the lifted cone of the rows
  (U_i, 0) and (0, b_i) over z = (δ, p), where ``e·z ≥ 0``, for any e. Without products it is checked at order d + r:
  with T = −t ≥ 0 the slack is positive semidefinite exactly if ``T_i T'_i ≥ 4`` for every i and

    [ L − ¼ UᵀTU, −Kᵀ; −K, L − ¼ BᵀT'B ] ⪰ 0,    K = J + ½ BᵀU.

Why, says docs/mathematics.md (section 10). Without products either is LipSDP (Fazlyab et al. 2019).
"""

import math
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from certificates.arithmetic import Arithmetic, Matrix, RationalMatrix
from certificates.arithmetic.floating import inflate
from certificates.arithmetic.matrix import M, timed
from certificates.certificate import Certificate, Lipschitz, LipschitzProof
from certificates.failure import NO_DEADLINE, Deadline, require, require_arrays
from certificates.nonnegativity import check_structure, prove_nonnegative, require_psd
from certificates.norm_bound import norm_bytes, norm_order, parts_of, prove_norm
from certificates.proof import Cone, LiftedProof
from certificates.report import Verdict
from certificates.resources import require_memory, require_short, row_bytes
from certificates.robustness import network_bytes, open_bounds, preactivation_bounds, require_network, require_region
from certificates.work import Work
from formulations.arrays import FloatArray, IntArray
from formulations.signs import ACTIVE

if TYPE_CHECKING:
    from formulations.network import ReluNetwork

PROVED_SENTENCE = "the slack rebuilt from the weights is positive semidefinite, so no two inputs differ by more"


def open_neurons(
    network: "ReluNetwork", C: FloatArray, unstable: IntArray, deadline: Deadline = NO_DEADLINE
) -> tuple[IntArray, FloatArray, Fraction]:
    """The neurons that become generators (N,), where neither the row of U nor b_i is zero; the b_i (N×r), rounded to
    float64; and what this rounding may add to L.

    ``((b·p)(u·δ))₊`` changes by at most ``‖b − b'‖‖u‖`` for unit p and δ when b becomes b', which is summed up with
    norms that are no smaller.

    Raises:
        OverflowError: an entry of C V, or the sum of a row of U that this may change, is beyond float64.
    """
    unstable = unstable[network.hidden[unstable].any(axis=1)]
    exact = timed(RationalMatrix, deadline)
    weights = (exact.exact(network.output[:, unstable].T) @ exact.exact(C.T)).lower
    B = weights.astype(np.float64)
    present, lost = B.any(axis=1), Fraction(0)
    sizes = inflate(np.abs(network.hidden[unstable]).sum(axis=1), network.hidden.shape[1]).tolist()
    for row, rounded, size in zip(weights, B.tolist(), sizes, strict=True):
        deadline.check()
        error = sum((abs(x - Fraction(b)) for x, b in zip(row, rounded, strict=True)), Fraction(0))
        lost += error * Fraction(size) if error else 0
    return unstable[present], B[present], lost


def prove_lipschitz(statement: Lipschitz, certificate: Certificate, work: Work) -> tuple[Verdict, str]:
    """Prove the constant, and leave it in the work."""
    given, constant = certificate.proofs[0], certificate.claims.get("constant", math.nan)
    network, C, proof = statement.network, statement.C, given.proof
    unstable = _checked_statement(statement, given, constant, work.deadline)
    (m, d), r, active = network.hidden.shape, len(C), np.flatnonzero(given.stable == ACTIVE)
    weights = row_bytes(Arithmetic.EXACT, len(network.output), m + r) + row_bytes(Arithmetic.EXACT, len(unstable), r)
    require_memory(weights, "the proof")
    kept, B, lost = open_neurons(network, C, unstable, work.deadline)
    L = Fraction(constant) - lost
    require(L >= 0, "the constant is smaller than the error of the rounded weights")
    cone = _cone(network.hidden[kept], B, given.halfspace)
    check_structure(proof, *cone.size, in_parts=proof.plain)
    parts, k = parts_of(proof, 1), cone.generators.shape[1]

    def prove(matrix: type[Matrix]) -> None:
        needed = network_bytes(network, matrix.arithmetic) + norm_bytes(proof, parts, k, 1, matrix.arithmetic)
        require_memory(weights + needed, "the proof")
        J = matrix.exact(C) @ matrix.exact(network.output[:, active]) @ matrix.exact(network.hidden[active])
        if r > 1:
            return _prove_several(L, cone, B, J, proof, matrix)
        # |v_i| at α_i where v_i > 0, and at β_i where v_i < 0.
        features = matrix.exact(np.maximum(np.concatenate([B, -B]), 0.0))
        prove_norm(cone, features, J, multiple_of_identity(L * L, d, matrix), proof, parts, matrix)

    work.proved(prove, norm_order(proof, parts, k, 1))
    work.figures["constant"] = constant
    return Verdict.PROVED, PROVED_SENTENCE


def _cone(U: FloatArray, B: FloatArray, halfspace: FloatArray) -> Cone:
    """Of the rows U_i over δ, or for several functions of (U_i, 0) and (0, b_i) over (δ, p) in the half-space."""
    if B.shape[1] == 1:
        return Cone.everywhere(U)
    wide = np.zeros((len(U), B.shape[1])), np.zeros(U.shape)
    generators = np.block([[U, wide[0]], [wide[1], B]])
    return Cone(generators, halfspace.reshape(-1, generators.shape[1]))


def _checked_statement(statement: Lipschitz, given: LipschitzProof, L: float, deadline: Deadline) -> IntArray:
    """The unstable neurons of a certificate whose statement and claim make sense."""
    network, C, e = statement.network, statement.C, given.halfspace
    inputs, outputs = require_network(network)
    require(C.ndim == 2 and len(C) > 0, f"C has shape {C.shape}, which does not fit")
    require_arrays(statement, np.float64, C=(len(C), outputs))
    require_short(inputs + len(C))
    require(math.isfinite(L) and L >= 0, f"the constant is {L}, not a finite number of at least 0")
    sizes = {(0,), (inputs + len(C),)} if len(C) > 1 else {(0,)}
    require(e.shape in sizes and e.dtype == np.float64 and np.isfinite(e).all(), "the half-space does not fit")
    if statement.region is not None:
        require_region(statement.region, inputs)
        open_bounds(given, *preactivation_bounds(network, statement.region, deadline))
        return np.flatnonzero(given.stable == 0)
    require_arrays(given, np.int64, stable=(len(network.hidden),))
    require(not given.stable.any(), "without a region no neuron is stable")
    return np.arange(len(network.hidden))


def _prove_several(L: Fraction, cone: Cone, B: FloatArray, J: M, proof: LiftedProof, matrix: type[M]) -> None:
    """Prove ``L(‖δ‖² + ‖p‖²) − 2 p·Jδ − 2 Σ (α_i α'_i + β_i β'_i) ≥ 0`` over λ = (α, α', β, β', δ, p)."""
    (N, r), d = B.shape, J.shape[1]
    left, right = multiple_of_identity(L, d, matrix), multiple_of_identity(L, r, matrix)
    if not proof.plain:
        meeting = np.kron(np.eye(2), np.kron(np.array([[0.0, 1.0], [1.0, 0.0]]), np.eye(N))).astype(np.float64)
        form = matrix.diagonal(-matrix.exact(meeting), matrix.block([[left, -J.T], [-J, right]]))
        return prove_nonnegative(cone, form, proof, matrix)
    T = -proof.complementarity[0]
    require((T >= 0).all(), "a complementarity multiplier is positive, and no product makes up for it")
    products = (Fraction(t) * Fraction(other) for t, other in zip(T[:N].tolist(), T[N:].tolist(), strict=True))
    require(min(products, default=4) >= 4, "the multipliers of a neuron's two generators have a product below 4")
    rows, weights = matrix.exact(cone.generators[:N, :d]), matrix.exact(B)
    K = J + (weights.T @ rows).times(0.5)
    left = left - (rows.T @ rows.times(T[:N, None])).times(0.25)
    right = right - (weights.T @ weights.times(T[N:, None])).times(0.25)
    require_psd(matrix.block([[left, -K.T], [-K, right]]), "")


def multiple_of_identity(value: Fraction, order: int, matrix: type[M]) -> M:
    """A rational number times the identity."""
    return matrix.from_rationals({(j, j): value for j in range(order)}, (order, order))
