"""Re-proves a robustness certificate from the weights, the region and the property; trusts nothing else.

For each case: the pre-activation bounds are computed anew, rounded outwards, and stable neurons are told from them; the
form ``t·μᵀ(H f + h) − δ t²`` is rebuilt from the weights; every leaf of the split tree is proved, linear leaves
together (``certificates.linear_leaves``) and the others by a positive semidefinite slack
(``certificates.nonnegativity``). A certificate that fails proves nothing: UNKNOWN.
"""

import math
import time
from dataclasses import dataclass

import numpy as np

from certificates.arithmetic import MATRICES, Arithmetic, BallMatrix, Enclosure
from certificates.arithmetic.floating import inflate
from certificates.arithmetic.machine import rigorous
from certificates.arithmetic.matrix import timed
from certificates.failure import NO_DEADLINE, Deadline, ProofFailure, require
from certificates.linear_leaves import LinearLeaves, is_linear, leaf_weights, linear_form
from certificates.nonnegativity import (
    M,
    Problem,
    check_structure,
    check_triangle,
    extra_rows,
    leaves_with_signs,
    prove_leaf,
)
from certificates.proof import LiftedProof
from certificates.resources import product_bytes, require_memory
from certificates.robustness import CaseProof, RobustnessCertificate, lifted_region, unstable_neurons
from certificates.verdict import Verdict
from formulations._validation import IntArray
from formulations.arguments import accepts, seconds
from formulations.errors import InputError
from formulations.network import ReluNetwork
from formulations.robustness import UnsafeCase, require_fitting

DEFAULT_TIME_LIMIT = 600.0
BALL_ORDER = 250
"""Order N + d + 1 up to which the automatic arithmetic goes from floating point to balls where the first fails."""
LARGEST = float(np.finfo(np.float64).max)
BLOCK_ENTRIES = 1 << 20
"""Numbers in a block of linear leaves; bounds the memory that many leaves of a wide network can ask for."""
PROVED_SENTENCE = (
    "on every leaf a nonnegative weighting of the output rows stays at least the margin above 0, so no input of any "
    "region is unsafe"
)


@dataclass(frozen=True)
class RobustnessReport:
    """The checker's own figures.

    Attributes:
        verdict: PROVED or UNKNOWN.
        reason: one sentence; for a failure the first violated condition.
        margin: the least δ of all cases, a proved lower bound of ``max_r (H f(x) + h)_r`` for weights that add up to 1;
            −inf if nothing was proved.
        linear_leaves, semidefinite_leaves: how many leaves were proved in which way.
        arithmetic: of the semidefinite leaves; linear ones are checked in floating point with error bounds and, unless
            that is all that was asked for, in rational numbers where it does not prove them.
        seconds: time that checking took.
    """

    verdict: Verdict
    reason: str
    margin: float
    linear_leaves: int
    semidefinite_leaves: int
    arithmetic: str
    seconds: float


@accepts(certificate=RobustnessCertificate, time_limit=seconds)
def check_robustness(
    certificate: RobustnessCertificate,
    *,
    arithmetic: Arithmetic | str = Arithmetic.AUTO,
    time_limit: float | None = DEFAULT_TIME_LIMIT,
) -> RobustnessReport:
    """Re-prove a certificate. Never raises on its content: what cannot be proved is UNKNOWN with the reason.

    Args:
        certificate: nothing in it is trusted.
        arithmetic: of the semidefinite leaves; auto is floating point, and balls where that fails and the order allows.
        time_limit: seconds after which the proof is given up, or None.

    Raises:
        ValueError: an arithmetic that does not exist.
    """
    chosen = Arithmetic(arithmetic)
    start = time.perf_counter()
    deadline = Deadline(math.inf if time_limit is None else start + time_limit)
    counts = [0, 0]
    used, margin = chosen, -math.inf
    try:
        with rigorous(certificate.network.width):
            _check_statement(certificate)
            for case, proof in zip(certificate.cases, certificate.proofs, strict=True):
                linear, others, used = _check_with(certificate.network, case, proof, chosen, deadline)
                counts[0] += linear
                counts[1] += others
            proved = min(_normalised_margin(proof) for proof in certificate.proofs)
        verdict, reason, margin = Verdict.PROVED, PROVED_SENTENCE, proved
    except ProofFailure as failure:
        verdict, reason = Verdict.UNKNOWN, str(failure)
    return RobustnessReport(
        verdict=verdict,
        reason=reason,
        margin=margin,
        linear_leaves=counts[0],
        semidefinite_leaves=counts[1],
        arithmetic=used.value,
        seconds=time.perf_counter() - start,
    )


def _normalised_margin(proof: CaseProof) -> float:
    """δ over the largest Σμ, rounded down: what the largest row is at least."""
    rows = proof.mu.shape[1]
    if rows == 1 and bool((proof.mu <= 1.0).all()):
        return proof.margin
    total = float(inflate(proof.mu.sum(axis=1).max(keepdims=True), rows)[0])
    # Rounding may lift the quotient, by much where it is subnormal; so may the sums have been rounded down.
    return max(float(np.nextafter(proof.margin / max(total, 1.0), -math.inf)), 0.0)


def _check_statement(certificate: RobustnessCertificate) -> None:
    require(len(certificate.cases) > 0, "the certificate has no case")
    require(len(certificate.cases) == len(certificate.proofs), "the certificate has not one proof for each case")
    try:
        require_fitting(certificate.network, certificate.cases)
    except InputError as error:
        raise ProofFailure(str(error)) from None


def _check_with(
    network: ReluNetwork, case: UnsafeCase, proof: CaseProof, chosen: Arithmetic, deadline: Deadline
) -> tuple[int, int, Arithmetic]:
    def check_in(arithmetic: Arithmetic) -> tuple[int, int, Arithmetic]:
        matrix, exactly = timed(MATRICES[arithmetic], deadline), chosen is not Arithmetic.FLOAT
        return *check_case(network, case, proof, matrix, deadline, exactly=exactly), arithmetic

    if chosen is not Arithmetic.AUTO:
        return check_in(chosen)
    try:
        return check_in(Arithmetic.FLOAT)
    except ProofFailure:
        deadline.check()
        order = int(np.count_nonzero(proof.stable == 0)) + network.inputs + 1
        if order > BALL_ORDER:
            raise
    return check_in(Arithmetic.BALL)


def _require_affordable(network: ReluNetwork, case: UnsafeCase, given: CaseProof) -> None:
    """Refuse a case whose statement, or whose linear leaves, take more memory than the checker has.

    Raises:
        ProofFailure: they do.
    """
    (m, d), (rows, c), proof = network.hidden.shape, case.H.shape, given.proof
    N, triangles = float(np.count_nonzero(given.stable == 0)), float(proof.triangles.neuron.size)
    statement = 64.0 * m * (d + 1) + 80.0 * (2 * d + 1) * (d + 1)
    leaves = proof.leaves * (8.0 * N + 300.0)
    slopes = 80.0 * triangles * (N + d + 1) + 400.0 * (2 * d + triangles * (d + 2))
    block = 400.0 * max(BLOCK_ENTRIES, m + 2 * N + 3 * d + triangles + proof.circuits.target.size + c + rows)
    require_memory(statement + leaves + slopes + block, "the proof")


def check_case(
    network: ReluNetwork,
    case: UnsafeCase,
    given: CaseProof,
    matrix: type[M],
    deadline: Deadline,
    *,
    exactly: bool = True,
) -> tuple[int, int]:
    """Check one case; returns the numbers of linear and of semidefinite leaves.

    ``exactly`` is whether linear leaves that floating point does not prove are computed in rational numbers.

    Raises:
        ProofFailure: the first violated condition.
    """
    proof = given.proof
    deadline.check()
    _require_affordable(network, case, given)
    kept, bounds = unstable_neurons(network, case.region, given.stable)
    region = lifted_region(case.region)
    generators = np.ascontiguousarray(network.generators[kept])
    N = len(kept)
    check_structure(proof, N, region)
    rows = len(case.H)
    require(given.mu.shape == (proof.leaves, rows) and given.mu.dtype == np.float64, "mu has a wrong shape or type")
    require(np.isfinite(given.mu).all() and (given.mu >= 0).all(), "mu has an entry that is negative or not finite")
    require((given.mu.sum(axis=1) > 0).all(), "mu is zero on a leaf")
    require(math.isfinite(given.margin) and given.margin > 0, f"the margin is {given.margin}, not a positive number")
    statement = Problem(generators, region, Enclosure.exact(np.zeros((0, 0))), bounds)
    linear: list[tuple[int, IntArray]] = []
    others: list[tuple[int, IntArray]] = []
    for leaf, signs in leaves_with_signs(proof, N):
        deadline.check()
        require(
            proof.empty_offset[leaf] == proof.empty_offset[leaf + 1],
            f"leaf {leaf} is called empty; here it has to be proved like the others",
        )
        (linear if is_linear(proof, leaf, N, len(region.linear)) else others).append((leaf, signs))
    if others or proof.circuits.target.size:
        table = _table(proof, statement, matrix, deadline)
        for leaf, signs in others:
            deadline.check()
            form = _form(network, case, given, leaf, kept, matrix)
            prove_leaf(Problem(generators, region, form, bounds), proof, leaf, signs, table, matrix, deadline)
    else:
        for index in range(len(proof.triangles.neuron)):
            deadline.check()
            check_triangle(proof, index, statement, deadline)
    arguments = network, case, given.stable, kept, bounds, proof.triangles
    positions = 2 * N + len(region.linear) + proof.circuits.target.size + proof.triangles.neuron.size
    block = max(1, BLOCK_ENTRIES // (network.width + positions + network.inputs + network.outputs + rows))
    for start in range(0, len(linear), block):
        deadline.check()
        numbers = np.array([leaf for leaf, _ in linear[start : start + block]], dtype=np.int64)
        signs = np.stack([signs for _, signs in linear[start : start + block]])
        weights = leaf_weights(proof, numbers, N, len(region.linear))
        leaves = LinearLeaves(*arguments, given.mu[numbers], given.margin, signs, weights)
        for leaf, least in zip(numbers.tolist(), leaves.remainders(exactly=exactly, deadline=deadline), strict=True):
            if not (least >= 0):
                shown = float(max(least, -LARGEST))
                require(False, f"the linear function of leaf {leaf} is only shown to be at least {shown:.3e}")
    return len(linear), len(others)


def _table(proof: LiftedProof, statement: Problem[Enclosure], matrix: type[M], deadline: Deadline) -> M:
    """The region's rows, circuits and triangles over λ, each justified."""
    N, width = statement.generators.shape
    further = len(statement.region.linear) + proof.circuits.target.size + proof.triangles.neuron.size
    arithmetic = next(how for how, known in MATRICES.items() if issubclass(matrix, known))
    require_memory(product_bytes(arithmetic, N, width, further), "a semidefinite leaf")
    entries, count = extra_rows(proof, statement, deadline)
    return matrix.from_rationals(entries, (count, 2 * N + width))


def leaf_is_proved(
    network: ReluNetwork,
    case: UnsafeCase,
    given: CaseProof,
    signs: IntArray,
    *,
    in_balls: bool = False,
    deadline: Deadline = NO_DEADLINE,
) -> bool:
    """Whether the checker would accept a proof's first leaf, which is not linear, where neurons have these signs (N,).

    For those who look for proofs: what is asked here beforehand is not refused at the end. ``in_balls`` asks for the
    arithmetic in which a proof is checked again that floating point does not accept, if its order allows. After the
    deadline nothing is proved.
    """
    region = lifted_region(case.region)
    try:
        with np.errstate(all="ignore"):
            kept, bounds = unstable_neurons(network, case.region, given.stable)
            if in_balls and len(kept) + network.inputs + 1 > BALL_ORDER:
                return False
            generators = np.ascontiguousarray(network.generators[kept])
            statement = Problem(generators, region, Enclosure.exact(np.zeros((0, 0))), bounds)
            matrix = BallMatrix if in_balls else Enclosure
            form = _form(network, case, given, 0, kept, matrix)
            table = _table(given.proof, statement, matrix, deadline)
            prove_leaf(Problem(generators, region, form, bounds), given.proof, 0, signs, table, matrix, deadline)
    except ProofFailure:
        return False
    return True


def _form(network: ReluNetwork, case: UnsafeCase, given: CaseProof, leaf: int, kept: IntArray, matrix: type[M]) -> M:
    """t times the linear form, as a symmetric matrix over λ = (α, β, z)."""
    alpha, z = linear_form(network, case, given.stable, kept, given.mu[[leaf]], given.margin, matrix)
    N, k = len(kept), network.inputs + 1
    row = matrix.block([[alpha, matrix.exact(np.zeros((1, N))), z]])
    unit = np.zeros((2 * N + k, 1))
    unit[-1, 0] = 0.5
    half = matrix.exact(unit) @ row
    return half + half.T
