"""Certificates of l2 Lipschitz constants of linear functions of the outputs, global or on a region, and their check.

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
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

from certificates.arithmetic import MATRICES, Arithmetic, RationalMatrix
from certificates.arithmetic.machine import rigorous
from certificates.arithmetic.matrix import timed
from certificates.failure import NO_DEADLINE, Deadline, ProofFailure, require
from certificates.lipschitz_weights import multiple_of_identity, prove_weights, rests_on_weights
from certificates.nonnegativity import M, Problem, prove_nonnegative
from certificates.proof import LiftedProof, Region
from certificates.resources import product_bytes, require_memory, row_bytes
from certificates.robustness import unstable_neurons
from certificates.verdict import Verdict
from formulations._validation import FloatArray, IntArray
from formulations.lifted_space import ACTIVE
from formulations.network import ReluNetwork
from formulations.robustness import InputRegion

BALL_ORDER = 250
WEIGHTS_AT_ONCE = 1 << 17
"""Output weights that are written as fractions at once."""
PROVED_SENTENCE = "the slack rebuilt from the weights is positive semidefinite, so no two inputs differ by more"


@dataclass(frozen=True, eq=False)
class LipschitzCertificate:
    """Claim: ``‖C(f(x) − f(y))‖₂ ≤ constant ‖x − y‖₂`` for all inputs x, y, or for all of a region.

    Attributes:
        network: the network; its numbers are taken at face value.
        C: (r, outputs) functions of the outputs, r ≥ 1.
        constant: L ≥ 0.
        stable: (m,) 1 or −1 for neurons whose pre-activation is ≥ 0 or ≤ 0 on the region, else 0; 0 without a region.
        proof: as the module's text says, with ``open_neurons`` in their order as generators.
        region: where x and y lie; None for everywhere.
        halfspace: (d + r,) e, or (0,) for none; only with r > 1.
        provenance: JSON object; no part of the proof.
    """

    network: ReluNetwork
    C: FloatArray
    constant: float
    stable: IntArray
    proof: LiftedProof
    region: InputRegion | None = None
    halfspace: FloatArray = field(default_factory=lambda: np.zeros(0))
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class LipschitzReport:
    """The checker's own figures: PROVED or UNKNOWN, why, the proved constant (inf if none), arithmetic, seconds."""

    verdict: Verdict
    reason: str
    constant: float
    arithmetic: str
    seconds: float


@dataclass(frozen=True, eq=False)
class Neurons:
    """The generators of a proof.

    Attributes:
        kept: (N,) unstable neurons whose row of U is not zero; with several functions neither is that of B.
        B: (N, r) their b_i, rounded to float64; exact values are ``weights``.
        weights: r lists of the exact entries of ``C V``, for all neurons.
        lost: what rounding B may add to L; 0 for one function, whose weights are used exactly.
    """

    kept: IntArray
    B: FloatArray
    weights: list[list[Fraction]]
    lost: Fraction


def open_neurons(network: ReluNetwork, C: FloatArray, unstable: IntArray, deadline: Deadline = NO_DEADLINE) -> Neurons:
    """The neurons that become generators, with their weights.

    ``((b·p)(u·δ))₊`` changes by at most ``‖b − b'‖‖u‖`` for unit p and δ when b becomes b', which ``lost`` sums up with
    norms that are no smaller.

    Raises:
        OverflowError: an entry of C V is beyond float64.
    """
    unstable = unstable[network.hidden[unstable].any(axis=1)]
    weights = output_weights(network, C, deadline)
    B = np.array([[float(row[i]) for row in weights] for i in unstable.tolist()]).reshape(len(unstable), len(C))
    if len(C) == 1:
        return Neurons(unstable, B, weights, Fraction(0))
    lost = Fraction(0)
    for i, rounded in zip(unstable.tolist(), B.tolist(), strict=True):
        deadline.check()
        apart = [(row[i], Fraction(b)) for row, b in zip(weights, rounded, strict=True)]
        if any(exact != b for exact, b in apart):
            error = sum((abs(exact - b) for exact, b in apart), Fraction(0))
            lost += error * sum((abs(Fraction(value)) for value in network.hidden[i].tolist()), Fraction(0))
    present = B.any(axis=1)
    return Neurons(unstable[present], B[present], weights, lost)


def output_weights(network: ReluNetwork, C: FloatArray, deadline: Deadline = NO_DEADLINE) -> list[list[Fraction]]:
    """C V, exactly: r lists of as many numbers as neurons."""
    exact = timed(RationalMatrix, deadline)
    functions = exact.exact(np.ascontiguousarray(C))
    step = max(1, WEIGHTS_AT_ONCE // max(network.outputs, 1))
    rows: list[list[Fraction]] = [[] for _ in C]
    for first in range(0, network.width, step):
        part = functions @ exact.exact(np.ascontiguousarray(network.output[:, first : first + step]))
        for row, values in zip(rows, part.rows(), strict=True):
            row.extend(values)
    return rows


def check_lipschitz(
    certificate: LipschitzCertificate,
    *,
    arithmetic: Arithmetic | str = Arithmetic.AUTO,
    time_limit: float | None = 600.0,
) -> LipschitzReport:
    """Re-prove a certificate; what cannot be proved is UNKNOWN with the reason.

    Auto is floating point, and balls where that fails and the order allows.

    Raises:
        ValueError: an arithmetic that does not exist.
    """
    chosen, start = Arithmetic(arithmetic), time.perf_counter()
    deadline = Deadline(math.inf if time_limit is None else start + time_limit)
    tried = [chosen] if chosen is not Arithmetic.AUTO else [Arithmetic.FLOAT, Arithmetic.BALL]
    generators = certificate.network.width * min(len(np.atleast_1d(certificate.C)), 2)
    if generators + certificate.network.inputs > BALL_ORDER and len(tried) > 1:
        tried = tried[:1]
    verdict, reason, constant = Verdict.UNKNOWN, "", math.inf
    used = tried[0]
    for used in tried:
        try:
            with rigorous(certificate.network.width):
                _prove(certificate, used, deadline)
        except ProofFailure as failure:
            reason = str(failure)
        else:
            verdict, reason, constant = Verdict.PROVED, PROVED_SENTENCE, certificate.constant
            break
    return LipschitzReport(verdict, reason, constant, used.value, time.perf_counter() - start)


def _prove(certificate: LipschitzCertificate, arithmetic: Arithmetic, deadline: Deadline) -> None:
    matrix = timed(MATRICES[arithmetic], deadline)
    unstable = _checked_statement(certificate, arithmetic)
    try:
        neurons = open_neurons(certificate.network, certificate.C, unstable, deadline)
    except OverflowError:
        raise ProofFailure("a weight of a function of the outputs overflows") from None
    L = Fraction(certificate.constant) - neurons.lost
    require(L >= 0, "the constant is smaller than the error of the rounded weights")
    U = np.ascontiguousarray(certificate.network.hidden[neurons.kept])
    J = _fixed_gradient(certificate, matrix)
    one = len(certificate.C) == 1
    if rests_on_weights(certificate.proof):
        v = [neurons.weights[0][i] for i in neurons.kept.tolist()] if one else None
        prove_weights(certificate.proof, L, U, neurons.B if v is None else v, J, matrix, deadline)
        return
    problem = _one_function(L, U, neurons, J, matrix) if one else _several_functions(L, U, neurons, J, matrix)
    if len(certificate.halfspace):
        nothing = np.zeros((0, problem.generators.shape[1], problem.generators.shape[1]))
        region = Region(np.ascontiguousarray(certificate.halfspace[None]), nothing)
        problem = Problem(problem.generators, region, problem.form)
    prove_nonnegative(problem, certificate.proof, matrix, deadline=deadline)


def _memory(certificate: LipschitzCertificate, arithmetic: Arithmetic) -> float:
    """Bytes that checking takes at its most, besides the certificate."""
    network, proof, r = certificate.network, certificate.proof, len(certificate.C)
    d = network.inputs if r == 1 else network.inputs + r
    N = int(np.count_nonzero(certificate.stable == 0)) * min(r, 2)
    weights = 64.0 * network.hidden.size + 400.0 * (r * (network.width + network.outputs) + WEIGHTS_AT_ONCE)
    if rests_on_weights(proof):
        return weights + row_bytes(arithmetic, N, d) + product_bytes(arithmetic, 0, network.inputs + r, 0)
    further = len(certificate.halfspace[:1]) + proof.circuits.target.size + proof.triangles.neuron.size
    return weights + product_bytes(arithmetic, N, d, further)


def _checked_statement(certificate: LipschitzCertificate, arithmetic: Arithmetic) -> IntArray:
    """The unstable neurons of a certificate whose claim makes sense and whose proof the memory can hold."""
    network, C, L, e = certificate.network, certificate.C, certificate.constant, certificate.halfspace
    require(C.ndim == 2 and C.shape[1] == network.outputs and len(C) > 0, f"C has shape {C.shape}, which does not fit")
    require(C.dtype == np.float64 and np.isfinite(C).all(), "C holds a number that is not finite")
    require(math.isfinite(L) and L >= 0, f"the constant is {L}, not a finite number of at least 0")
    sizes = {(0,), (network.inputs + len(C),)} if len(C) > 1 else {(0,)}
    require(e.shape in sizes and e.dtype == np.float64 and np.isfinite(e).all(), "the half-space does not fit")
    require_memory(_memory(certificate, arithmetic), "the proof")
    if certificate.region is not None:
        require(certificate.region.inputs == network.inputs, "the region has another number of inputs")
        return unstable_neurons(network, certificate.region, certificate.stable)[0]
    stable = certificate.stable
    require(
        stable.shape == (network.width,) and stable.dtype == np.int64 and not stable.any(),
        "without a region no neuron is stable",
    )
    return np.arange(network.width)


def _fixed_gradient(certificate: LipschitzCertificate, matrix: type[M]) -> M:
    """J (r×d), of the active neurons."""
    network, active = certificate.network, np.flatnonzero(certificate.stable == ACTIVE)
    if not len(active):
        return matrix.exact(np.zeros((len(certificate.C), network.inputs)))
    weights = matrix.exact(np.ascontiguousarray(certificate.C)) @ matrix.exact(
        np.ascontiguousarray(network.output[:, active])
    )
    return weights @ matrix.exact(np.ascontiguousarray(network.hidden[active]))


def _one_function(L: Fraction, U: FloatArray, neurons: Neurons, J: M, matrix: type[M]) -> Problem[M]:
    """``L²‖δ‖² − ℓ²`` over λ = (α, β, δ)."""
    N, d = U.shape
    v = [neurons.weights[0][i] for i in neurons.kept.tolist()]
    entries = {(i if value > 0 else N + i, 0): abs(value) for i, value in enumerate(v) if value}
    features = matrix.block([[matrix.from_rationals(entries, (2 * N, 1))], [J.T]])
    square = matrix.from_rationals({(2 * N + j, 2 * N + j): L * L for j in range(d)}, (2 * N + d, 2 * N + d))
    return Problem(U, Region.everywhere(d), square - features @ features.T)


def _several_functions(L: Fraction, U: FloatArray, neurons: Neurons, J: M, matrix: type[M]) -> Problem[M]:
    """``L(‖δ‖² + ‖p‖²) − 2 p·Jδ − 2 Σ (α_i α'_i + β_i β'_i)`` over λ = (α, α', β, β', δ, p)."""
    N, d = U.shape
    r = neurons.B.shape[1]
    rows = np.zeros((2 * N, d + r))
    rows[:N, :d], rows[N:, d:] = U, neurons.B
    signs = np.zeros((4 * N, 4 * N))
    i = np.arange(N)
    for first in (0, 2 * N):
        signs[first + i, first + N + i] = signs[first + N + i, first + i] = -1.0
    corner = matrix.block(
        [[multiple_of_identity(L, d, matrix), -J.T], [-J, multiple_of_identity(L, r, matrix)]],
    )
    wide = matrix.exact(np.zeros((4 * N, d + r)))
    form = matrix.block([[matrix.exact(signs), wide], [wide.T, corner]])
    return Problem(rows, Region.everywhere(d + r), form)
