"""Certificates of global Lipschitz constants (l2) of one linear function of the outputs, and their check.

Every gradient of ``c·f`` has the form ``Σ g_i v_i U_i`` with v = Vᵀc and a pattern g in {0, 1}^m. So for any two inputs

    |c·f(x) − c·f(y)| ≤ max over g of g·(diag(v) U δ) = Σ_i (v_i U_i·δ)₊,    δ = x − y up to sign,

and L is a Lipschitz constant if ``L²‖δ‖² − (Σ_i (v_i U_i·δ)₊)² ≥ 0`` for all δ. That is pricing of the training problem
with the rows ``v_i U_i`` as data and a dual of ones, hence the same form on the same lifted cone. With the free
complementarity multipliers alone it is LipSDP (Fazlyab et al. 2019) for ``c·f``; products of signs make it stronger.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np

from certificates.arithmetic import MATRICES, Arithmetic
from certificates.failure import Deadline, ProofFailure, require
from certificates.nonnegativity import M, Problem, check_structure, prove_nonnegative
from certificates.proof import LiftedProof, Region
from certificates.verdict import Verdict
from formulations._validation import FloatArray, IntArray
from formulations.robustness import ReluNetwork

BALL_ORDER = 250
PROVED_SENTENCE = "the slack rebuilt from the weights is positive semidefinite, so no two inputs differ by more"


@dataclass(frozen=True, eq=False)
class LipschitzCertificate:
    """Claim: ``|c·f(x) − c·f(y)| ≤ constant ‖x − y‖₂`` for all inputs x, y.

    Attributes:
        network: the network; its numbers are taken at face value.
        c: (outputs,) the function of the outputs.
        constant: L ≥ 0.
        proof: over the nonzero rows of U as generators, in their order, with z = δ in all of R^d.
        provenance: JSON object; no part of the proof.
    """

    network: ReluNetwork
    c: FloatArray
    constant: float
    proof: LiftedProof
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class LipschitzReport:
    """The checker's own figures: PROVED or UNKNOWN, why, the proved constant (inf if none), arithmetic, seconds."""

    verdict: Verdict
    reason: str
    constant: float
    arithmetic: str
    seconds: float


def moving_neurons(network: ReluNetwork) -> IntArray:
    """Neurons whose row of U is not zero: the others are constant."""
    return np.flatnonzero(network.hidden.any(axis=1))


def output_weights(network: ReluNetwork, c: FloatArray) -> list[Fraction]:
    """v = Vᵀc, exactly."""
    factors = [Fraction(value) for value in c.tolist()]
    return [
        sum((a * Fraction(b) for a, b in zip(factors, column, strict=True) if a and b), Fraction(0))
        for column in network.output.T.tolist()
    ]


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
    if sum(certificate.network.hidden.shape) > BALL_ORDER and len(tried) > 1:
        tried = tried[:1]
    verdict, reason, constant = Verdict.UNKNOWN, "", math.inf
    used = tried[0]
    with np.errstate(all="ignore"):
        for used in tried:
            try:
                _prove(certificate, MATRICES[used], deadline)
            except ProofFailure as failure:
                reason = str(failure)
            except MemoryError:
                reason = "this machine has not enough memory for the proof"
            else:
                verdict, reason, constant = Verdict.PROVED, PROVED_SENTENCE, certificate.constant
                break
    return LipschitzReport(verdict, reason, constant, used.value, time.perf_counter() - start)


def _prove(certificate: LipschitzCertificate, matrix: type[M], deadline: Deadline) -> None:
    network, L = certificate.network, certificate.constant
    require(certificate.c.shape == (network.outputs,), f"c has shape {certificate.c.shape}, not {(network.outputs,)}")
    require(np.isfinite(certificate.c).all(), "c holds a number that is not finite")
    require(math.isfinite(L) and L >= 0, f"the constant is {L}, not a finite number of at least 0")
    kept = moving_neurons(network)
    generators, region = np.ascontiguousarray(network.hidden[kept]), Region.everywhere(network.inputs)
    N = len(kept)
    check_structure(certificate.proof, N, region)
    v = output_weights(network, certificate.c)
    entries = {(index if v[i] > 0 else N + index, 0): abs(v[i]) for index, i in enumerate(kept.tolist()) if v[i] != 0}
    features = matrix.from_rationals(entries, (2 * N, 1))
    size = matrix.exact(L * np.eye(network.inputs))
    wide = matrix.exact(np.zeros((2 * N, network.inputs)))
    form = matrix.block([[-(features @ features.T), wide], [wide.T, size @ size]])
    prove_nonnegative(Problem(generators, region, form), certificate.proof, matrix, deadline=deadline)
