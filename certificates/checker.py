"""The independent checker: re-proves an optimality certificate from the data, and trusts nobody.

It imports numpy, python-flint and our own arithmetic; no solver, no modelling language. The steps, in order:

1. numbers are finite, shapes agree, the data match their fingerprint;
2. the map from data rows to generators is right (zero rows, exactly parallel rows: rational arithmetic);
3. the nonnegativity proof holds for ``γ²‖u‖² − ‖Wᵀ(Xu)₊‖²`` (``certificates.nonnegativity``), hence W is dual feasible;
4. ``⟨W,Y⟩ − ½‖W‖²``, rounded down, is at least the claimed bound;
5. the network's objective, rounded up, is at most the claimed objective.

A certificate that fails proves nothing: UNKNOWN. A claim that a network disproves is REFUTED.
"""

import math
import time
from fractions import Fraction

import numpy as np

from certificates.arithmetic import MATRICES, Arithmetic, Enclosure, Matrix
from certificates.arithmetic.floating import TINY, UNIT, half, sum_of_products
from certificates.arithmetic.machine import MachineFailure, rigorous
from certificates.arithmetic.matrix import Entries, timed
from certificates.certificate import LOSS, OptimalityCertificate, fingerprint
from certificates.diagonal_slack import is_diagonal, needed, prove_without_products
from certificates.failure import NO_DEADLINE, Deadline, ProofFailure, require
from certificates.nonnegativity import (
    MAX_ORDER,
    M,
    Problem,
    check_structure,
    leaves_with_signs,
    prove_nonnegative,
)
from certificates.proof import LiftedProof, Region
from certificates.report import CheckReport
from certificates.residual import residual_size
from certificates.resources import product_bytes, require_memory, row_bytes
from certificates.subdivision import Subdivision, check_subdivision, in_basis, prove_by_subdivision
from certificates.verdict import Verdict
from formulations._validation import FloatArray
from formulations.arguments import accepts, seconds
from formulations.rows import ZERO_ROW, are_parallel, scale_rows

SMALL_ORDER = 400
"""Up to this order a slack that is singular, or nearly so, is looked at as a whole as well."""
_BLOCK_ENTRIES = 1 << 22
"""Entries of a temporary matrix; rows are taken in blocks so that a hostile width cannot exhaust memory."""
DEFAULT_TIME_LIMIT = 600.0
AUTO_BUDGET = 1.0
"""Seconds that the automatic choice of arithmetic aims at."""
PROVED_SENTENCE = (
    "the slack rebuilt from the data is positive semidefinite, so W is dual feasible and its value bounds the "
    "objective of every network of every width"
)

CUT_SENTENCE = (
    "on cones that cover the weight space, small matrices rebuilt from the data are copositive, so W is dual feasible "
    "and its value bounds the objective of every network of every width"
)


def dual_value(W: FloatArray, Y: FloatArray, deadline: Deadline = NO_DEADLINE) -> float:
    """⟨W,Y⟩ − ½‖W‖², rounded down; −inf for entries beyond reach."""
    return half(sum_of_products([(W, Y), (W, Y), (-W, W)], upper=False, deadline=deadline), upper=False)


def network_objective(
    X: FloatArray, Y: FloatArray, gamma: float, U: FloatArray, V: FloatArray, deadline: Deadline = NO_DEADLINE
) -> float:
    """½‖(XU)₊Vᵀ − Y‖² + γ/2(‖U‖² + ‖V‖²), rounded up; +inf if it overflows. Memory O(n·c), whatever the width."""
    rows = max(1, _BLOCK_ENTRIES // max(U.shape[1], *X.shape[1:], *Y.shape[1:]))
    sizes = []
    for i in range(0, len(X), rows):
        deadline.check()
        sizes.append(residual_size(X[i : i + rows], Y[i : i + rows], U, V, deadline))
    loss = sum_of_products([(size, size) for size in sizes], upper=True, deadline=deadline)
    decay = gamma * sum_of_products([(U, U), (V, V)], upper=True, deadline=deadline)
    # Three rounded steps follow the products above; the last term charges their underflow.
    objective = 0.5 * (loss + decay) * (1.0 + 8.0 * UNIT) + 4.0 * TINY
    return math.inf if math.isnan(objective) else objective


def relative_gap(objective: float, lower_bound: float) -> float:
    """(objective − lower_bound)/objective, never below the truth by more than rounding; 0 if both vanish."""
    if objective == 0 and lower_bound == 0:
        return 0.0
    if not (objective > 0 and math.isfinite(objective) and math.isfinite(lower_bound)):
        return math.inf
    return (objective - lower_bound) / objective


def choose_arithmetic(certificate: OptimalityCertificate) -> Arithmetic:
    """The strongest arithmetic whose estimated time fits ``AUTO_BUDGET`` (docs/certificate-format.md, "Cost")."""
    if isinstance(certificate.proof, Subdivision):
        return Arithmetic.FLOAT
    (_, d, c), count = certificate.shape, len(certificate.source)
    order, assembly = count + d, dict.fromkeys(Arithmetic, 0.0)
    leaves, circuits = max(certificate.proof.leaves, 1), certificate.proof.circuits.target.size
    if is_diagonal(certificate.proof, c):
        order, assembly = c + d, {arithmetic: needed(arithmetic, count, d, c)[0] for arithmetic in MATRICES}
    elif circuits:
        # Leaf by leaf, the products of the multipliers with the circuits.
        mixed = 5e-8 * leaves * circuits * (count + order) * (circuits + count + order)
        assembly = dict.fromkeys(Arithmetic, mixed)
    exact = leaves * 0.35 * (order / 64.0) ** 4.5 + assembly[Arithmetic.EXACT]
    if exact * _length_factor(certificate) <= AUTO_BUDGET:
        return Arithmetic.EXACT
    if leaves * 2.0 * (order / 320.0) ** 2.5 + assembly[Arithmetic.BALL] <= AUTO_BUDGET:
        return Arithmetic.BALL
    return Arithmetic.FLOAT


def _length_factor(c: OptimalityCertificate) -> float:
    """How much longer than usual the integers of exact arithmetic are, from the range of binary exponents."""
    spread = 0
    assert isinstance(c.proof, LiftedProof)
    for array in (c.X, c.W, c.proof.multipliers, c.proof.complementarity):
        exponents = np.frexp(array[array != 0])[1]
        spread += int(np.ptp(exponents)) if exponents.size else 0
    return max(1.0, spread / 200.0) ** 2


@accepts(certificate=OptimalityCertificate, time_limit=seconds)
def check(
    certificate: OptimalityCertificate,
    *,
    arithmetic: Arithmetic | str = Arithmetic.AUTO,
    time_limit: float | None = DEFAULT_TIME_LIMIT,
) -> CheckReport:
    """Re-prove a certificate. Never raises on its content: what cannot be proved is UNKNOWN with the reason.

    Floating point takes time O(N²(N+d)) a leaf and memory O((2N+d)²) for N generators in d dimensions, and without
    products of inequalities O(N(c+d)²) and O(N(c+d)).

    Args:
        certificate: nothing in it is trusted.
        arithmetic: exact, ball, float, or auto for the strongest that should take about a second.
        time_limit: seconds after which the proof is given up as UNKNOWN, or None. It is looked at between rows,
            circuits, leaves and elimination steps.

    Raises:
        ValueError: an arithmetic that does not exist.
    """
    chosen = Arithmetic(arithmetic)
    start = time.perf_counter()
    deadline = Deadline(math.inf if time_limit is None else start + time_limit)
    lower_bound, objective, margin = -math.inf, math.inf, math.nan
    try:
        with rigorous(certificate.source.size):
            _check_numbers(certificate)
            if chosen is Arithmetic.AUTO:
                chosen = choose_arithmetic(certificate)
            c = certificate
            require_memory(_memory(c, chosen), "the proof")
            objective = network_objective(c.X, c.Y, c.gamma, c.U, c.V, deadline)
            refutation = _refutation(certificate, objective, deadline)
            if refutation is None:
                margin = _check_dual_feasible(certificate, timed(MATRICES[chosen], deadline), deadline)
                lower_bound = dual_value(certificate.W, certificate.Y, deadline)
                _check_claims(certificate, lower_bound, objective)
                verdict = Verdict.PROVED
                reason = CUT_SENTENCE if isinstance(c.proof, Subdivision) else PROVED_SENTENCE
            else:
                verdict, reason = Verdict.REFUTED, refutation
    except ProofFailure as failure:
        verdict, reason = Verdict.UNKNOWN, str(failure)
        if isinstance(failure, MachineFailure):
            lower_bound, objective, margin = -math.inf, math.inf, math.nan
    return CheckReport(
        verdict=verdict,
        reason=reason,
        lower_bound=lower_bound,
        objective=objective,
        gap=relative_gap(objective, lower_bound),
        slack_margin=margin,
        arithmetic=chosen.value,
        seconds=time.perf_counter() - start,
    )


def _check_numbers(c: OptimalityCertificate) -> None:
    arrays = {"X": c.X, "Y": c.Y, "W": c.W, "U": c.U, "V": c.V}
    for name, array in arrays.items():
        require(array.ndim == 2, f"{name} has {array.ndim} dimensions where 2 are needed")
        require(array.dtype == np.float64, f"{name} has type {array.dtype} where float64 is needed")
        require(np.isfinite(array).all(), f"{name} holds a number that is not finite")
    n, d, outputs = c.shape
    width = c.U.shape[1]
    shapes = {"Y": (n, outputs), "W": (n, outputs), "U": (d, width), "V": (outputs, width)}
    require(min(n, d, outputs) > 0, "the data are empty")
    for name, shape in shapes.items():
        require(arrays[name].shape == shape, f"{name} has shape {arrays[name].shape} where {shape} is needed")
    for name, indices, length in (("source", c.source, c.source.size), ("generator", c.generator, n)):
        require(indices.shape == (length,), f"{name} has shape {indices.shape} where {(length,)} is needed")
        require(indices.dtype == np.int64, f"{name} has type {indices.dtype} where int64 is needed")
    require(math.isfinite(c.gamma) and c.gamma > 0, f"gamma is {c.gamma}, not a positive finite number")
    require(math.isfinite(c.lower_bound), f"the claimed lower bound is {c.lower_bound}")
    require(math.isfinite(c.objective), f"the claimed objective is {c.objective}")
    require(c.loss == LOSS, f"the loss {c.loss[:40]!r} is not known to this checker (known: {LOSS})")
    found = fingerprint(c.X, c.Y)
    require(
        found == c.data_fingerprint,
        f"the data have fingerprint {found[:12]}… but the certificate was made for {c.data_fingerprint[:12]}…",
    )


def _memory(c: OptimalityCertificate, chosen: Arithmetic) -> float:
    """Bytes that checking takes at its most, besides the certificate."""
    (n, d, outputs), N = c.shape, c.source.size
    proof, numbers = c.proof, 8.0
    statement = 700.0 * n + 3 * numbers * (c.X.size + c.Y.size + c.W.size + c.U.size + c.V.size)
    if isinstance(proof, Subdivision):
        tree = numbers * (8.0 * proof.codes.size + 4.0 * N * d + (4.0 * N + 8.0 * d) * outputs)
        return statement + row_bytes(chosen, 2 * N, outputs) + tree
    features = row_bytes(chosen, 2 * N, outputs + d)
    if is_diagonal(proof, outputs):
        linear = needed(chosen, N, d, outputs)[1] + product_bytes(chosen, 0, d + outputs, 0)
        return statement + features + max(linear, product_bytes(chosen, N, d, 0) if N + d <= SMALL_ORDER else 0.0)
    return statement + features + product_bytes(chosen, N, d, proof.circuits.target.size)


def _refutation(c: OptimalityCertificate, objective: float, deadline: Deadline) -> str | None:
    """A network whose objective, rounded up, lies below the claimed lower bound disproves it."""
    if c.lower_bound > objective:
        return (
            f"the claimed lower bound {c.lower_bound:.10g} exceeds the objective {objective:.10g} "
            "of the certificate's own network"
        )
    trivial = half(sum_of_products([(c.Y, c.Y)], upper=True, deadline=deadline), upper=True)
    if c.lower_bound > trivial:
        return f"the claimed lower bound {c.lower_bound:.10g} exceeds {trivial:.10g}, the objective of the zero network"
    return None


def check_rows(c: OptimalityCertificate, deadline: Deadline) -> tuple[FloatArray, Entries]:
    """(generators N×d, |κ_i| at (position of row i in φ, i)), checked in rational arithmetic.

    Raises:
        ProofFailure: the map from data rows to generators is wrong.
    """
    n, count = len(c.X), len(c.source)
    require(((c.source >= 0) & (c.source < n)).all(), "a generator's source is no data row")
    require(((c.generator >= ZERO_ROW) & (c.generator < count)).all(), "a data row's generator does not exist")
    zero = ~c.X.any(axis=1)
    wrong = np.flatnonzero(zero != (c.generator == ZERO_ROW))
    require(len(wrong) == 0, f"data row {wrong[0] + 1 if len(wrong) else 0} is wrongly marked as zero or nonzero")
    own = c.generator[c.source] == np.arange(count)
    require(own.all(), "a generator's source row belongs to another generator")
    generators, _ = scale_rows(c.X[c.source])
    kappas: dict[tuple[int, int], Fraction] = {}
    for i in np.flatnonzero(~zero):
        deadline.check()
        g = int(c.generator[i])
        source = c.X[c.source[g]]
        require(
            are_parallel(c.X[i], source),
            f"data row {i + 1} is not an exact multiple of row {int(c.source[g]) + 1}, its generator",
        )
        pivot = int(np.argmax(np.abs(source)))
        kappa = Fraction(float(c.X[i, pivot])) / Fraction(float(generators[g, pivot]))
        kappas[g if kappa > 0 else count + g, int(i)] = abs(kappa)
    return generators, kappas


def training_features(c: OptimalityCertificate, kappas: Entries, matrix: type[M]) -> M:
    """W̃ = κW (2N×c), so that Wᵀ(Xu)₊ = W̃ᵀφ."""
    return matrix.sparse_product(kappas, 2 * len(c.source), matrix.exact(c.W))


def training_form(c: OptimalityCertificate, kappas: Entries, matrix: type[M]) -> M:
    """γ²‖u‖² − ‖W̃ᵀφ‖² over λ = (φ, u)."""
    d = c.shape[1]
    features = training_features(c, kappas, matrix)
    positions = features.shape[0]
    gamma = matrix.exact(c.gamma * np.eye(d))
    wide = matrix.exact(np.zeros((positions, d)))
    return matrix.block([[-(features @ features.T), wide], [wide.T, gamma @ gamma]])


def _check_dual_feasible(c: OptimalityCertificate, matrix: type[Matrix], deadline: Deadline) -> float:
    """Steps 2 and 3; returns the margin of the PSD proof, NaN for a subdivision, which has none."""
    if isinstance(c.proof, Subdivision):
        require(
            issubclass(matrix, Enclosure),
            "a subdivision is proved in floating point with enclosed errors alone; choose float or auto",
        )
        ends = check_subdivision(c.proof, c.shape[1])
        generators, kappas = check_rows(c, deadline)
        output = in_basis(generators, training_features(c, kappas, timed(Enclosure, deadline)), c.gamma, c.proof.basis)
        prove_by_subdivision(output, c.proof, ends, deadline)
        return math.nan
    whole, order = Region.everywhere(c.X.shape[1]), len(c.source) + c.X.shape[1]
    diagonal = is_diagonal(c.proof, c.shape[2])
    check_structure(c.proof, c.source.size, whole, order_limit=None if diagonal else MAX_ORDER)
    generators, kappas = check_rows(c, deadline)
    if diagonal:
        list(leaves_with_signs(c.proof, len(c.source)))  # one leaf, which must be written down properly
        features = training_features(c, kappas, matrix)
        found = prove_without_products(generators, features, c.gamma, c.proof.complementarity[0], matrix, deadline)
        if found.proved or order > SMALL_ORDER:
            require(found.proved, found.reason)
            return found.margin
    form = training_form(c, kappas, matrix)
    problem = Problem(generators, whole, form)
    return prove_nonnegative(problem, c.proof, matrix, deadline=deadline)


def _check_claims(c: OptimalityCertificate, lower_bound: float, objective: float) -> None:
    require(
        c.lower_bound <= lower_bound,
        f"the claimed lower bound {c.lower_bound:.17g} exceeds what is proved, {lower_bound:.17g}",
    )
    require(
        objective <= c.objective,
        f"the claimed objective {c.objective:.17g} is below the network's objective, {objective:.17g} rounded up",
    )
