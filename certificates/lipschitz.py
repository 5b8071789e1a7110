"""l2 Lipschitz constants of linear functions of the outputs, global or on a region: what their certificates prove.

On a segment inside a convex region the mean gradient of ``C f`` is ``J + Σ g_i b_i U_iᵀ`` with the sum over the
unstable neurons, g_i in [0, 1], b_i = C V_i, and J the part of the neurons that are active all over the region. Without
a region every neuron is unstable. The b_i are rounded to float64, and L is lowered by what that may change. So L is a
Lipschitz constant if, for all δ in R^d and all p in R^r,

    p·Jδ + Σ_i ((b_i·p)(U_i·δ))₊ ≤ L ‖p‖‖δ‖.

* One function (r = 1, b_i = v_i): p = ±1, and −1 is covered by −δ. With ``ℓ = J·δ + Σ |v_i| (α_i or β_i)``, α_i where
  v_i > 0 and β_i where v_i < 0, the proof is of ``L²‖δ‖² − ℓ² ≥ 0`` on the lifted cone of the rows U_i.
* Several (r > 1): scaling δ against p makes the claim ``L(‖δ‖² + ‖p‖²) − 2 p·Jδ − 2 Σ (α_i α'_i + β_i β'_i) ≥ 0`` on
  the lifted cone of the rows (U_i, 0) and (0, b_i) over z = (δ, p), since ``(xy)₊ = x₊y₊ + x₋y₋``. The form is even,
  because −z exchanges α and β, so it is enough to prove it where ``e·z ≥ 0``, for any e. Without this a mixture of z
  and −z hides the signs from the relaxation, and products gain next to nothing.

With the complementarity multipliers alone either is LipSDP (Fazlyab et al. 2019); products of signs make it stronger.
LipSDP is checked at order d + r whatever the width: for one function by ``certificates.diagonal_slack``, for several
because the pre-activations' absolute values meet only their own partners and can be eliminated by hand. With T = −t ≥ 0
and ``4 α_i β_i = |a_i·z|² − (a_i·z)²`` the slack is positive semidefinite exactly if ``T_i T'_i ≥ 4`` for every i and

    [ L − ¼ UᵀTU, −Kᵀ; −K, L − ¼ BᵀT'B ] ⪰ 0,    K = J + ½ BᵀU.
"""

import math
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import numpy as np

from certificates.arithmetic import Arithmetic, RationalMatrix
from certificates.arithmetic.matrix import M, timed
from certificates.certificate import Certificate, Lipschitz, LipschitzProof
from certificates.diagonal_slack import is_plain, prove_without_products
from certificates.failure import NO_DEADLINE, Deadline, ProofFailure, require, require_arrays
from certificates.nonnegativity import MAX_ORDER, check_structure, leaves_with_signs, prove_nonnegative
from certificates.proof import Cone, LiftedProof
from certificates.report import Verdict
from certificates.resources import product_bytes, require_memory, row_bytes
from certificates.robustness import require_network, require_region, unstable_bounds
from certificates.work import Work
from formulations.arrays import FloatArray, IntArray
from formulations.signs import ACTIVE

if TYPE_CHECKING:
    from formulations.network import ReluNetwork

PROVED_SENTENCE = "the slack rebuilt from the weights is positive semidefinite, so no two inputs differ by more"


@dataclass(frozen=True, eq=False)
class Neurons:
    """The generators of a proof.

    Attributes:
        kept: (N,) unstable neurons whose row of U is not zero, and neither is their b_i.
        B: (N, r) their b_i, rounded to float64.
        lost: what this rounding may add to L.
    """

    kept: IntArray
    B: FloatArray
    lost: Fraction


def open_neurons(
    network: "ReluNetwork", C: FloatArray, unstable: IntArray, deadline: Deadline = NO_DEADLINE
) -> Neurons:
    """The neurons that become generators, with their weights.

    ``((b·p)(u·δ))₊`` changes by at most ``‖b − b'‖‖u‖`` for unit p and δ when b becomes b', which ``lost`` sums up with
    norms that are no smaller.

    Raises:
        OverflowError: an entry of C V is beyond float64.
    """
    unstable = unstable[network.hidden[unstable].any(axis=1)]
    exact = timed(RationalMatrix, deadline)
    weights = (exact.exact(network.output[:, unstable].T) @ exact.exact(C.T)).rows()
    B = np.array([[float(x) for x in row] for row in weights]).reshape(len(unstable), len(C))
    present, lost = B.any(axis=1), Fraction(0)
    for row, rounded, u in zip(weights, B.tolist(), network.hidden[unstable], strict=True):
        deadline.check()
        error = sum((abs(x - Fraction(b)) for x, b in zip(row, rounded, strict=True)), Fraction(0))
        if error:
            lost += error * sum(map(Fraction, np.abs(u).tolist()))
    return Neurons(unstable[present], B[present], lost)


def prove_lipschitz(statement: Lipschitz, certificate: Certificate, work: Work) -> tuple[Verdict, str]:
    """Prove the constant, and leave it in the work.

    Raises:
        ProofFailure: the first violated condition.
    """
    proof, L = certificate.proofs[0], certificate.claims.get("constant", math.nan)
    order = len(statement.network.hidden) * min(len(np.atleast_1d(statement.C)), 2) + statement.network.hidden.shape[1]
    work.proved(lambda matrix: _prove(statement, proof, L, matrix, work.deadline), order)
    work.figures["constant"] = L
    return Verdict.PROVED, PROVED_SENTENCE


def _prove(statement: Lipschitz, given: LipschitzProof, constant: float, matrix: type[M], deadline: Deadline) -> None:
    unstable = _checked_statement(statement, given, constant, matrix.arithmetic)
    network, C = statement.network, statement.C
    try:
        neurons = open_neurons(network, C, unstable, deadline)
    except OverflowError:
        raise ProofFailure("a weight of a function of the outputs overflows") from None
    L = Fraction(constant) - neurons.lost
    require(L >= 0, "the constant is smaller than the error of the rounded weights")
    active = np.flatnonzero(given.stable == ACTIVE)
    J = matrix.exact(C) @ matrix.exact(network.output[:, active]) @ matrix.exact(network.hidden[active])
    cone, plain = _cone(network.hidden[neurons.kept], neurons.B, given.halfspace), is_plain(given.proof)
    check_structure(given.proof, cone, order_limit=None if plain else MAX_ORDER)
    form = (_several_functions if len(C) > 1 else _one_function)(L, cone, neurons.B, J, given.proof, matrix)
    if form is not None:
        prove_nonnegative(cone, form, given.proof, matrix)
    else:
        list(leaves_with_signs(given.proof, len(cone.generators)))  # one leaf, which must be written down properly


def _cone(U: FloatArray, B: FloatArray, halfspace: FloatArray) -> Cone:
    """Of the rows U_i over δ, or for several functions of (U_i, 0) and (0, b_i) over (δ, p) in the half-space."""
    if B.shape[1] == 1:
        return Cone.everywhere(U)
    wide = np.zeros((len(U), B.shape[1])), np.zeros(U.shape)
    generators = np.block([[U, wide[0]], [wide[1], B]])
    return Cone(generators, halfspace.reshape(-1, generators.shape[1]))


def _memory(statement: Lipschitz, given: LipschitzProof, arithmetic: Arithmetic) -> float:
    """Bytes that checking takes at its most, besides the certificate."""
    network, proof, r = statement.network, given.proof, len(statement.C)
    d = network.hidden.shape[1] if r == 1 else network.hidden.shape[1] + r
    N = int(np.count_nonzero(given.stable == 0)) * min(r, 2)
    weights = 64.0 * network.hidden.size + row_bytes(Arithmetic.EXACT, len(network.output), len(network.hidden) + r)
    if is_plain(proof):
        return weights + row_bytes(arithmetic, N, d) + product_bytes(arithmetic, 0, network.hidden.shape[1] + r, 0)
    further = len(given.halfspace[:1]) + proof.circuits.target.size + proof.triangles.neuron.size
    return weights + product_bytes(arithmetic, N, d, further)


def _checked_statement(statement: Lipschitz, given: LipschitzProof, L: float, arithmetic: Arithmetic) -> IntArray:
    """The unstable neurons of a certificate whose claim makes sense and whose proof the memory can hold."""
    network, C, e = statement.network, statement.C, given.halfspace
    inputs, outputs = require_network(network)
    require(C.ndim == 2 and len(C) > 0, f"C has shape {C.shape}, which does not fit")
    require_arrays(statement, np.float64, C=(len(C), outputs))
    require(math.isfinite(L) and L >= 0, f"the constant is {L}, not a finite number of at least 0")
    sizes = {(0,), (inputs + len(C),)} if len(C) > 1 else {(0,)}
    require(e.shape in sizes and e.dtype == np.float64 and np.isfinite(e).all(), "the half-space does not fit")
    require_memory(_memory(statement, given, arithmetic), "the proof")
    if statement.region is not None:
        require_region(statement.region, inputs)
        unstable_bounds(network, statement.region, given)
        return np.flatnonzero(given.stable == 0)
    require_arrays(given, np.int64, stable=(len(network.hidden),))
    require(not given.stable.any(), "without a region no neuron is stable")
    return np.arange(len(network.hidden))


def _one_function(L: Fraction, cone: Cone, B: FloatArray, J: M, proof: LiftedProof, matrix: type[M]) -> M | None:
    """``L²‖δ‖² − ℓ²`` over λ = (α, β, δ); None where that is proved already, without products."""
    N, d = cone.generators.shape
    features = matrix.exact(np.maximum(np.concatenate([B, -B]), 0.0))
    square = multiple_of_identity(L * L, d, matrix)
    if is_plain(proof):
        obstacle = prove_without_products(cone.generators, features, J, square, proof.complementarity[0], matrix)
        require(obstacle is None, f"{obstacle}")
        return None
    features = matrix.block([[features], [J.T]])
    return matrix.diagonal(matrix.exact(np.zeros((2 * N, 2 * N))), square) - features @ features.T


def _several_functions(L: Fraction, cone: Cone, B: FloatArray, J: M, proof: LiftedProof, matrix: type[M]) -> M | None:
    """``L(‖δ‖² + ‖p‖²) − 2 p·Jδ − 2 Σ (α_i α'_i + β_i β'_i)`` over λ = (α, α', β, β', δ, p); None where that is proved
    already, without products."""
    (N, r), d = B.shape, J.shape[1]
    left, right = multiple_of_identity(L, d, matrix), multiple_of_identity(L, r, matrix)
    if is_plain(proof):
        T = -proof.complementarity[0]
        require((T >= 0).all(), "a complementarity multiplier is positive, and no product makes up for it")
        require(
            all(Fraction(t) * Fraction(other) >= 4 for t, other in zip(T[:N].tolist(), T[N:].tolist(), strict=True)),
            "the multipliers of a neuron's two generators have a product below 4",
        )
        rows, weights = matrix.exact(cone.generators[:N, :d]), matrix.exact(B)
        half, quarter = np.array([[0.5]]), np.array([[0.25]])
        J = J + (weights.T @ rows).times(half)
        left = left - (rows.T @ rows.times(T[:N, None])).times(quarter)
        right = right - (weights.T @ weights.times(T[N:, None])).times(quarter)
    slack = matrix.block([[left, -J.T], [-J, right]])
    if is_plain(proof):
        obstacle = slack.psd_obstacle()
        require(obstacle is None, f"{obstacle}")
        return None
    meeting = np.kron(np.eye(2), np.kron(np.array([[0.0, 1.0], [1.0, 0.0]]), np.eye(N))).astype(np.float64)
    return matrix.diagonal(-matrix.exact(meeting), slack)


def multiple_of_identity(value: Fraction, order: int, matrix: type[M]) -> M:
    """A rational number times the identity."""
    return matrix.from_rationals({(j, j): value for j in range(order)}, (order, order))
