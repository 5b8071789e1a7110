"""l2 Lipschitz constants of linear functions of the outputs, global or on a region: what their certificates prove.

On a segment inside a convex region the mean gradient of ``C f`` is ``J + Σ g_i b_i U_iᵀ`` with the sum over the
unstable neurons, g_i in [0, 1], b_i = C V_i, and J the part of the neurons that are active all over the region. Without
a region every neuron is unstable. So L is a Lipschitz constant if, for all δ in R^d and all p in R^r,

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
from certificates.failure import NO_DEADLINE, Deadline, ProofFailure, require, require_array
from certificates.nonnegativity import Problem, check_structure, leaves_with_signs, prove_nonnegative
from certificates.proof import LiftedProof, Region
from certificates.report import Verdict
from certificates.resources import product_bytes, require_memory, row_bytes
from certificates.robustness import require_network, require_region, unstable_neurons
from certificates.work import Work
from formulations.arrays import FloatArray, IntArray
from formulations.signs import ACTIVE

if TYPE_CHECKING:
    from formulations.network import ReluNetwork

WEIGHTS_AT_ONCE = 1 << 17
"""Output weights that are written as fractions at once."""
PROVED_SENTENCE = "the slack rebuilt from the weights is positive semidefinite, so no two inputs differ by more"


@dataclass(frozen=True, eq=False)
class Neurons:
    """The generators of a proof.

    Attributes:
        kept: (N,) unstable neurons whose row of U is not zero, and neither is their weight.
        B: (N, r) their b_i, rounded to float64; exact values are ``weights``.
        weights: r lists of the exact entries of ``C V``, for all neurons.
        lost: what rounding B may add to L; 0 for one function, whose weights are used exactly.
    """

    kept: IntArray
    B: FloatArray
    weights: list[list[Fraction]]
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
    weights = output_weights(network, C, deadline)
    B = np.array([[float(row[i]) for row in weights] for i in unstable.tolist()]).reshape(len(unstable), len(C))
    lost = Fraction(0)
    if len(C) == 1:
        present = np.array([bool(weights[0][i]) for i in unstable.tolist()], dtype=bool)
        return Neurons(unstable[present], B[present], weights, lost)
    for i, rounded in zip(unstable.tolist(), B.tolist(), strict=True):
        deadline.check()
        apart = [(row[i], Fraction(b)) for row, b in zip(weights, rounded, strict=True)]
        if any(exact != b for exact, b in apart):
            error = sum((abs(exact - b) for exact, b in apart), Fraction(0))
            lost += error * sum((abs(Fraction(value)) for value in network.hidden[i].tolist()), Fraction(0))
    present = np.asarray(B.any(axis=1))
    return Neurons(unstable[present], B[present], weights, lost)


def output_weights(network: "ReluNetwork", C: FloatArray, deadline: Deadline = NO_DEADLINE) -> list[list[Fraction]]:
    """C V, exactly: r lists of as many numbers as neurons."""
    exact = timed(RationalMatrix, deadline)
    functions = exact.exact(np.ascontiguousarray(C))
    step = max(1, WEIGHTS_AT_ONCE // max(len(network.output), 1))
    rows: list[list[Fraction]] = [[] for _ in C]
    for first in range(0, len(network.hidden), step):
        part = functions @ exact.exact(np.ascontiguousarray(network.output[:, first : first + step]))
        for row, values in zip(rows, part.rows(), strict=True):
            row.extend(values)
    return rows


def prove_lipschitz(statement: Lipschitz, certificate: Certificate, work: Work) -> tuple[Verdict, str]:
    """Prove the constant, and leave it in the work.

    Raises:
        ProofFailure: the first violated condition.
    """
    require([type(proof) for proof in certificate.proofs] == [LipschitzProof], "the certificate has not one proof")
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
    U = np.ascontiguousarray(network.hidden[neurons.kept])
    J = _fixed_gradient(statement, given.stable, matrix)
    plain = is_plain(given.proof)
    if plain:
        generators = len(U) * min(len(C), 2)
        check_structure(given.proof, generators, Region.everywhere(network.hidden.shape[1]), order_limit=None)
        list(leaves_with_signs(given.proof, generators))  # one leaf, which must be written down properly
    if len(C) > 1:
        problem = _several_functions(L, U, neurons.B, J, given, matrix)
    else:
        problem = _one_function(L, U, neurons, J, given.proof, matrix)
    if problem is not None:
        prove_nonnegative(problem, given.proof, matrix)


def _memory(statement: Lipschitz, given: LipschitzProof, arithmetic: Arithmetic) -> float:
    """Bytes that checking takes at its most, besides the certificate."""
    network, proof, r = statement.network, given.proof, len(statement.C)
    d = network.hidden.shape[1] if r == 1 else network.hidden.shape[1] + r
    N = int(np.count_nonzero(given.stable == 0)) * min(r, 2)
    weights = 64.0 * network.hidden.size + 400.0 * (r * (len(network.hidden) + len(network.output)) + WEIGHTS_AT_ONCE)
    if is_plain(proof):
        return weights + row_bytes(arithmetic, N, d) + product_bytes(arithmetic, 0, network.hidden.shape[1] + r, 0)
    further = len(given.halfspace[:1]) + proof.circuits.target.size + proof.triangles.neuron.size
    return weights + product_bytes(arithmetic, N, d, further)


def _checked_statement(statement: Lipschitz, given: LipschitzProof, L: float, arithmetic: Arithmetic) -> IntArray:
    """The unstable neurons of a certificate whose claim makes sense and whose proof the memory can hold."""
    network, C, e, stable = statement.network, statement.C, given.halfspace, given.stable
    inputs, outputs = require_network(network)
    require(C.ndim == 2 and len(C) > 0, f"C has shape {C.shape}, which does not fit")
    require_array("C", C, np.float64, (len(C), outputs))
    require(math.isfinite(L) and L >= 0, f"the constant is {L}, not a finite number of at least 0")
    sizes = {(0,), (inputs + len(C),)} if len(C) > 1 else {(0,)}
    require(e.shape in sizes and e.dtype == np.float64 and np.isfinite(e).all(), "the half-space does not fit")
    require_memory(_memory(statement, given, arithmetic), "the proof")
    if statement.region is not None:
        require_region(statement.region, inputs)
        return unstable_neurons(network, statement.region, stable)[0]
    require_array("stable", stable, np.int64, (len(network.hidden),))
    require(not stable.any(), "without a region no neuron is stable")
    return np.arange(len(network.hidden))


def _fixed_gradient(statement: Lipschitz, stable: IntArray, matrix: type[M]) -> M:
    """J (r×d), of the active neurons."""
    network, active = statement.network, np.flatnonzero(stable == ACTIVE)
    output, hidden = (np.ascontiguousarray(part) for part in (network.output[:, active], network.hidden[active]))
    return matrix.exact(np.ascontiguousarray(statement.C)) @ matrix.exact(output) @ matrix.exact(hidden)


def _one_function(
    L: Fraction, U: FloatArray, neurons: Neurons, J: M, proof: LiftedProof, matrix: type[M]
) -> Problem[M] | None:
    """``L²‖δ‖² − ℓ²`` over λ = (α, β, δ); None where that is proved already, without products."""
    N, d = U.shape
    v = enumerate(neurons.weights[0][i] for i in neurons.kept.tolist())
    signed = matrix.from_rationals({(i if x > 0 else N + i, 0): abs(x) for i, x in v}, (2 * N, 1))
    square = multiple_of_identity(L * L, d, matrix)
    if is_plain(proof):
        found = prove_without_products(U, signed, J, square, proof.complementarity[0], matrix)
        require(found.proved, found.reason)
        return None
    features, wide = matrix.block([[signed], [J.T]]), matrix.exact(np.zeros((2 * N, d)))
    form = matrix.block([[matrix.exact(np.zeros((2 * N, 2 * N))), wide], [wide.T, square]]) - features @ features.T
    return Problem(U, Region.everywhere(d), form)


def _several_functions(
    L: Fraction, U: FloatArray, B: FloatArray, J: M, given: LipschitzProof, matrix: type[M]
) -> Problem[M] | None:
    """``L(‖δ‖² + ‖p‖²) − 2 p·Jδ − 2 Σ (α_i α'_i + β_i β'_i)`` over λ = (α, α', β, β', δ, p); None where that is proved
    already, without products."""
    (N, d), r = U.shape, B.shape[1]
    left, right = multiple_of_identity(L, d, matrix), multiple_of_identity(L, r, matrix)
    if is_plain(given.proof):
        T = -given.proof.complementarity[0]
        require((T >= 0).all(), "a complementarity multiplier is positive, and no product makes up for it")
        require(
            all(Fraction(t) * Fraction(other) >= 4 for t, other in zip(T[:N].tolist(), T[N:].tolist(), strict=True)),
            "the multipliers of a neuron's two generators have a product below 4",
        )
        rows, weights, quarter = matrix.exact(U), matrix.exact(B), np.array([[0.25]])
        cross = (weights.T @ rows).times(2.0 * quarter) + J
        left = left - (rows.T @ rows.times(T[:N, None])).times(quarter)
        right = right - (weights.T @ weights.times(T[N:, None])).times(quarter)
        outcome = matrix.block([[left, -cross.T], [-cross, right]]).prove_psd()
        require(outcome.proved, outcome.reason)
        return None
    generators = np.zeros((2 * N, d + r))
    generators[:N, :d], generators[N:, d:] = U, B
    signs, i = np.zeros((4 * N, 4 * N)), np.arange(N)
    for first in (0, 2 * N):
        signs[first + i, first + N + i] = signs[first + N + i, first + i] = -1.0
    wide = matrix.exact(np.zeros((4 * N, d + r)))
    form = matrix.block([[matrix.exact(signs), wide], [wide.T, matrix.block([[left, -J.T], [-J, right]])]])
    halfspace = given.halfspace[None] if len(given.halfspace) else np.zeros((0, d + r))
    return Problem(generators, Region(np.ascontiguousarray(halfspace), np.zeros((0, d + r, d + r))), form)


def multiple_of_identity(value: Fraction, order: int, matrix: type[M]) -> M:
    """A rational number times the identity."""
    return matrix.from_rationals({(j, j): value for j in range(order)}, (order, order))
