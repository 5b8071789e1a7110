"""The independent checker: re-proves an optimality certificate from the data, and trusts nobody.

It imports numpy and our own exact or enclosing arithmetic; no solver, no modelling language. The steps, in order:

1. numbers are finite, shapes agree, the data match their fingerprint;
2. the map from data rows to generators is right (zero rows, exactly parallel rows: rational arithmetic);
3. multipliers of products of nonnegative coordinates are nonnegative;
4. the slack, rebuilt from X, γ, W and the multipliers with rounding enclosed, is positive semidefinite
   (``certificates.psd``), hence ``‖Wᵀ(Xu)₊‖ ≤ γ‖u‖`` for every u;
5. ``⟨W,Y⟩ − ½‖W‖²``, rounded down, is at least the claimed bound;
6. the network's objective, rounded up, is at most the claimed objective.

A certificate that fails proves nothing: UNKNOWN. A claim that its own network disproves is REFUTED.
"""

import math
import time
from dataclasses import dataclass

import numpy as np

from certificates.arithmetic.floating import UNIT, Enclosure, gamma_bound, inflate, sum_of_products
from certificates.certificate import LOSS, OptimalityCertificate, fingerprint
from certificates.report import CheckReport
from certificates.slack import form_matrix, slack_matrix
from certificates.verdict import Verdict
from formulations._validation import FloatArray, IntArray
from formulations.rows import ZERO_ROW, are_parallel, scale_rows


class _Broken(Exception):  # noqa: N818 - a step of the proof that does not hold, not an error of the program
    """The first violated condition, as a sentence."""


@dataclass(frozen=True, eq=False)
class _Generators:
    """Generators (N×d, exact) and, for each data row, its position in φ and its ratio κ with a relative error."""

    matrix: FloatArray
    feature: IntArray
    ratio: Enclosure


def dual_value(W: FloatArray, Y: FloatArray) -> float:
    """⟨W,Y⟩ − ½‖W‖², rounded down; −inf for entries beyond reach."""
    return sum_of_products([(W, Y), (-0.5 * W, W)], upper=False)


def network_objective(X: FloatArray, Y: FloatArray, gamma: float, U: FloatArray, V: FloatArray) -> float:
    """½‖(XU)₊Vᵀ − Y‖² + γ/2(‖U‖² + ‖V‖²), rounded up; +inf if it overflows."""
    hidden = (Enclosure.exact(X) @ Enclosure.exact(U)).positive_part()
    residual = hidden @ Enclosure.exact(V.T) + Enclosure.exact(-Y)
    if not residual.finite:
        return math.inf
    size = inflate(np.abs(residual.mid) + residual.rad, 2)
    loss = 0.5 * sum_of_products([(size, size)], upper=True)
    decay = 0.5 * gamma * sum_of_products([(U, U), (V, V)], upper=True)
    return math.nextafter((loss + decay) * (1.0 + 8.0 * UNIT), math.inf)


def relative_gap(objective: float, lower_bound: float) -> float:
    """(objective − lower_bound)/objective, never below the truth by more than rounding; 0 if both vanish."""
    if objective == 0 and lower_bound == 0:
        return 0.0
    if not (objective > 0 and math.isfinite(objective) and math.isfinite(lower_bound)):
        return math.inf
    return (objective - lower_bound) / objective


def check(certificate: OptimalityCertificate) -> CheckReport:
    """Re-prove a certificate. Never raises on its content: what cannot be proved is UNKNOWN with the reason.

    Time O((N+d)³), memory O((2N)² + (N+d)²) for N generators in d dimensions.
    """
    start = time.perf_counter()
    lower_bound, objective, margin = -math.inf, math.inf, math.nan
    with np.errstate(all="ignore"):
        try:
            _check_numbers(certificate)
            objective = network_objective(certificate.X, certificate.Y, certificate.gamma, certificate.U, certificate.V)
            refutation = _refutation(certificate, objective)
            if refutation is None:
                generators = _check_generators(certificate)
                margin = _check_dual_feasible(certificate, generators)
                lower_bound = dual_value(certificate.W, certificate.Y)
                _check_claims(certificate, lower_bound, objective)
                verdict, reason = (
                    Verdict.PROVED,
                    (
                        "the slack rebuilt from the data is positive semidefinite, so W is dual feasible and its value "
                        "bounds the objective of every network of every width"
                    ),
                )
            else:
                verdict, reason = Verdict.REFUTED, refutation
        except _Broken as broken:
            verdict, reason = Verdict.UNKNOWN, str(broken)
    return CheckReport(
        verdict=verdict,
        reason=reason,
        lower_bound=lower_bound,
        objective=objective,
        gap=relative_gap(objective, lower_bound),
        slack_margin=margin,
        seconds=time.perf_counter() - start,
    )


def _require(condition: bool | np.bool_, sentence: str) -> None:
    if not condition:
        raise _Broken(sentence)


def _check_numbers(c: OptimalityCertificate) -> None:
    n, d, outputs = c.shape
    m = len(c.source)
    shapes = {
        "X": (c.X, (n, d)),
        "Y": (c.Y, (n, outputs)),
        "W": (c.W, (n, outputs)),
        "complementarity": (c.complementarity, (m,)),
        "multipliers": (c.multipliers, (len(c.pairs),)),
        "U": (c.U, (d, c.U.shape[1] if c.U.ndim == 2 else -1)),
        "V": (c.V, (outputs, c.U.shape[1] if c.U.ndim == 2 else -1)),
    }
    for name, (array, shape) in shapes.items():
        _require(array.shape == shape, f"{name} has shape {array.shape} where {shape} is needed")
        _require(array.dtype == np.float64, f"{name} has type {array.dtype} where float64 is needed")
        _require(np.isfinite(array).all(), f"{name} holds a number that is not finite")
    integers = {"source": (c.source, (m,)), "generator": (c.generator, (n,)), "pairs": (c.pairs, (len(c.pairs), 2))}
    for name, (indices, shape) in integers.items():
        _require(indices.shape == shape, f"{name} has shape {indices.shape} where {shape} is needed")
        _require(indices.dtype == np.int64, f"{name} has type {indices.dtype} where int64 is needed")
    _require(math.isfinite(c.gamma) and c.gamma > 0, f"gamma is {c.gamma}, not a positive finite number")
    _require(math.isfinite(c.lower_bound), f"the claimed lower bound is {c.lower_bound}")
    _require(math.isfinite(c.objective), f"the claimed objective is {c.objective}")
    _require(c.loss == LOSS, f"the loss {c.loss!r} is not known to this checker (known: {LOSS})")
    found = fingerprint(c.X, c.Y)
    _require(
        found == c.data_fingerprint,
        f"the data have fingerprint {found[:12]}… but the certificate was made for {c.data_fingerprint[:12]}…",
    )


def _refutation(c: OptimalityCertificate, objective: float) -> str | None:
    """A network whose objective, rounded up, lies below the claimed lower bound disproves it."""
    if c.lower_bound > objective:
        return (
            f"the claimed lower bound {c.lower_bound:.10g} exceeds the objective {objective:.10g} "
            "of the certificate's own network"
        )
    trivial = 0.5 * sum_of_products([(c.Y, c.Y)], upper=True)
    if c.lower_bound > trivial:
        return f"the claimed lower bound {c.lower_bound:.10g} exceeds {trivial:.10g}, the objective of the zero network"
    return None


def _check_generators(c: OptimalityCertificate) -> _Generators:
    n, _, _ = c.shape
    m = len(c.source)
    _require(((c.source >= 0) & (c.source < n)).all(), "a generator's source is no data row")
    _require(((c.generator >= ZERO_ROW) & (c.generator < m)).all(), "a data row's generator does not exist")
    zero = ~c.X.any(axis=1)
    wrong = np.flatnonzero(zero != (c.generator == ZERO_ROW))
    _require(len(wrong) == 0, f"data row {wrong[0] + 1 if len(wrong) else 0} is wrongly marked as zero or nonzero")
    _require((c.generator[c.source] == np.arange(m)).all(), "a generator's source row belongs to another generator")
    matrix, _ = scale_rows(c.X[c.source])
    sign = np.zeros(n)
    mid, rad = np.zeros(n), np.zeros(n)
    for i in np.flatnonzero(~zero):
        g = int(c.generator[i])
        _require(
            are_parallel(c.X[i], c.X[c.source[g]]),
            f"data row {i + 1} is not an exact multiple of row {int(c.source[g]) + 1}, its generator",
        )
        pivot = int(np.argmax(np.abs(matrix[g])))
        quotient = c.X[i, pivot] / matrix[g, pivot]
        sign[i], mid[i] = np.sign(quotient), abs(quotient)
        rad[i] = (
            0.0
            if quotient * matrix[g, pivot] == c.X[i, pivot] and _is_power_of_two(quotient)
            else (inflate(UNIT * np.abs(np.array([quotient])), 2)[0])
        )
    feature = np.where(sign < 0, c.generator + m, c.generator)
    return _Generators(matrix, feature, Enclosure(mid, rad))


def _is_power_of_two(value: float) -> bool:
    return abs(math.frexp(value)[0]) == 0.5


def _feature_duals(c: OptimalityCertificate, generators: _Generators) -> Enclosure:
    """W̃ = Σ |κ_i| W_i over the data rows of each position of φ, so that Wᵀ(Xu)₊ = W̃ᵀφ."""
    active = np.flatnonzero(c.generator != ZERO_ROW)
    positions = generators.feature[active]
    count = int(np.bincount(positions, minlength=1).max(initial=1))
    size = 2 * len(c.source)
    kappa, kappa_rad = generators.ratio.mid[active][:, None], generators.ratio.rad[active][:, None]
    mid, total, spread = (np.zeros((size, c.W.shape[1])) for _ in range(3))
    np.add.at(mid, positions, kappa * c.W[active])
    np.add.at(total, positions, kappa * np.abs(c.W[active]))
    np.add.at(spread, positions, kappa_rad * np.abs(c.W[active]))
    single = count == 1 and not kappa_rad.any()
    rounding = np.zeros_like(total) if single else gamma_bound(count + 1) * total
    return Enclosure(mid, inflate(rounding + spread, 2 * count + 8))


def _check_dual_feasible(c: OptimalityCertificate, generators: _Generators) -> float:
    """Steps 3 and 4; returns the margin of the rigorous test."""
    m = len(c.source)
    N = _product_multipliers(c, m)
    M = form_matrix(_feature_duals(c, generators), N, c.complementarity)
    gamma_squared = sum_of_products([(np.array([c.gamma]), np.array([c.gamma]))], upper=False)
    d = c.X.shape[1]
    corner = Enclosure.exact(gamma_squared * np.eye(d))
    proof = slack_matrix(generators.matrix, M, corner).prove_psd()
    _require(proof.proved, proof.reason)
    return proof.margin


def _product_multipliers(c: OptimalityCertificate, m: int) -> FloatArray:
    """Symmetric N with φᵀNφ = Σ N_pq φ_p φ_q over the listed pairs; halving is exact above underflow."""
    negative = np.flatnonzero(~(c.multipliers >= 0))
    if len(negative):
        p, q = c.pairs[negative[0]]
        raise _Broken(f"the multiplier of the pair ({p}, {q}) is {c.multipliers[negative[0]]:.3e}, which is negative")
    p, q = c.pairs[:, 0], c.pairs[:, 1]
    _require(((p >= 0) & (p <= q) & (q < 2 * m)).all(), "a pair of multipliers is out of order or out of range")
    codes = p * (2 * m) + q
    _require(len(np.unique(codes)) == len(codes), "a pair of multipliers is listed twice")
    N = np.zeros((2 * m, 2 * m))
    # A multiplier that loses a bit when halved only shrinks towards 0 below 2**-1022, which keeps it nonnegative:
    # the proof is about the halved values, whatever the file says.
    values = np.where(p == q, c.multipliers, 0.5 * c.multipliers)
    N[p, q] = values
    N[q, p] = values
    return N


def _check_claims(c: OptimalityCertificate, lower_bound: float, objective: float) -> None:
    _require(
        c.lower_bound <= lower_bound,
        f"the claimed lower bound {c.lower_bound:.17g} exceeds what is proved, {lower_bound:.17g}",
    )
    _require(
        objective <= c.objective,
        f"the claimed objective {c.objective:.17g} is below the network's objective, {objective:.17g} rounded up",
    )
