"""Proofs that a matrix is not completely positive: a form that is nonnegative on the cone but not at the matrix.

Three kinds, all evaluated in rational arithmetic on the float64 entries:

* *circuit*: a product ``ℓℓ'`` of inequalities ``ℓ = Σ c_j φ_j − φ_k ≥ 0`` from ``Σ c_j r_j = r_k``, c ≥ 0, over the
  rows of (A, −A). It needs the generators, and says that P is no moment matrix of K(A);
* *Horn*: a scaled and permuted Horn matrix on five positions, the simplest copositive form that doubly nonnegative
  matrices can violate;
* *copositive*: a matrix that ``check_copositive`` has proved copositive, taken from a failed factorisation.

If ⟨M, P⟩ < 0, every completely positive matrix is at least ``−⟨M, P⟩/‖M‖_F`` away from P.
"""

import math
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from itertools import permutations

import numpy as np

from certificates import Verdict
from certificates.arithmetic.floating import sum_of_products
from certificates.combination import nonnegative_combination
from certificates.failure import NO_DEADLINE, Deadline, ProofFailure
from certnet.search.circuits import most_programs
from certnet.tightness.copositivity import check_copositive
from certnet.tightness.orthant import Exact, rationals
from formulations._validation import FloatArray, IntArray
from formulations.circuits import signed_rows, violated_circuits
from formulations.rounding import nearest

HORN = np.array([[1, -1, 1, 1, -1], [-1, 1, -1, 1, 1], [1, -1, 1, -1, 1], [1, 1, -1, 1, -1], [-1, 1, 1, -1, 1]])
ARRANGEMENTS = np.array([(0, *order) for order in permutations(range(1, 5)) if order[0] < order[-1]])
"""The twelve ways to put five positions on a pentagon."""

EXCHANGES = 20  # Rounds of exchanges for pentagons.
SCALING_STEPS = 200  # Gradient steps for the scaling of a Horn matrix.
BEST_TUPLES = 12  # Pentagons that are scaled.
LARGEST_COPOSITIVE = 20  # Order up to which a failed factorisation is turned into a copositive matrix.
COPOSITIVE_SECONDS = 2.0  # Seconds for the proof that it is copositive.
# Rounds of circuits, with those of the rounds before among the known inequalities. Measured: six random sets.
ROUNDS = 3
CIRCUITS = 100  # Circuits of a round.
TRIED = 3  # Products of a circuit that are evaluated exactly.
LEAST_VIOLATION = 1e-12  # Violation from which a circuit counts.


class SeparatorKind(StrEnum):
    """Why the form is nonnegative on the cone."""

    CIRCUIT = "product of circuit inequalities"
    HORN = "scaled Horn matrix"
    COPOSITIVE = "copositive matrix"


@dataclass(frozen=True, eq=False)
class Separator:
    """A form M on some positions of P, with ⟨M, P⟩ < 0.

    Attributes:
        kind: why M is nonnegative on the cone.
        positions: (m,) rows of P that it uses.
        form: (m, m) M, rounded to float64.
        inner_product: ⟨M, P⟩, rounded up; negative.
        distance: a lower bound on ‖P̃ − P‖_F/‖P‖_F for every P̃ in the cone.
    """

    kind: SeparatorKind
    positions: IntArray
    form: FloatArray
    inner_product: float
    distance: float


def deeper(*separators: Separator | None) -> Separator | None:
    """The one that shows the largest distance; the first if they are alike."""
    return max(filter(None, separators), key=lambda found: found.distance, default=None)


def _separator(kind: SeparatorKind, positions: IntArray, form: Exact, P: FloatArray) -> Separator | None:
    """The separator, if its inner product is negative."""
    form = (form + form.T) / 2
    value = Fraction((form * rationals(P[np.ix_(positions, positions)])).sum())
    if not value < 0:
        return None
    square = sum_of_products([(P, P)], upper=True)
    depth = float(-value / _root_above(Fraction((form * form).sum())))
    distance = depth / math.sqrt(square) * (1.0 - 1e-12) if math.isfinite(square) and square > 0 else 0.0
    above = float(min(np.nextafter(nearest(value), np.inf), 0.0))
    return Separator(kind, positions, form.astype(np.float64), above, distance)


def _root_above(square: Fraction) -> Fraction:
    """A rational number that is at least the root of a positive one, by not more than a relative 1e-9."""
    p, q = square.numerator, square.denominator
    shift = max(0, 33 + (q.bit_length() - p.bit_length()) // 2)  # The root of an integer of 64 bits or more.
    return Fraction(math.isqrt((p << 2 * shift) // q + 1) + 1, 1 << shift)


def horn_separator(P: FloatArray) -> Separator | None:
    """The deepest scaled Horn inequality that an exchange search finds violated by P ≥ 0, or None.

    Rows with a zero diagonal are left out.
    """
    size = np.sqrt(np.maximum(np.diag(P), 0.0))
    usable = np.flatnonzero(size > 0)
    if len(usable) < 5:
        return None
    C = P[np.ix_(usable, usable)] / np.outer(size[usable], size[usable])
    best: Separator | None = None
    for five in _exchange(C):
        d = _scaling(HORN * C[np.ix_(five, five)])
        if d is None:
            continue
        positions = usable[five]
        factor = rationals(d / size[positions])
        best = deeper(best, _separator(SeparatorKind.HORN, positions, HORN * np.outer(factor, factor), P))
    return best


def _exchange(C: FloatArray) -> list[IntArray]:
    """Ordered 5-tuples of positions at which ⟨H, C⟩ is locally smallest: the best in the best order."""
    n = len(C)
    neighbours = np.argsort(-(C - 2.0 * np.eye(n)), axis=1, kind="stable")[:, :4]
    starts = np.column_stack([neighbours[:, 2], neighbours[:, 0], np.arange(n), neighbours[:, 1], neighbours[:, 3]])
    scores = np.full(n, np.inf)
    for _ in range(EXCHANGES):
        before = scores.copy()
        for place in range(5):
            others = [p for p in range(5) if p != place]
            cost = sum(2.0 * HORN[place, p] * C[starts[:, p]] for p in others)
            for p in others:
                cost[np.arange(n), starts[:, p]] = np.inf
            starts[:, place] = np.argmin(cost, axis=1)
        arranged = starts[:, ARRANGEMENTS]
        values = np.einsum("pq,sapq->sa", HORN, C[arranged[..., :, None], arranged[..., None, :]])
        starts, scores = arranged[np.arange(n), np.argmin(values, axis=1)], values.min(axis=1)
        if (scores >= before).all():
            break
    distinct = {tuple(starts[k].tolist()): float(scores[k]) for k in np.argsort(scores, kind="stable")}
    return [np.array(five) for five in list(distinct)[:BEST_TUPLES] if len(set(five)) == 5]


def _scaling(Q: FloatArray) -> FloatArray | None:
    """d > 0 with dᵀQd small relative to ‖d‖², None if no negative value was found."""
    d = np.full(5, 1.0 / np.sqrt(5.0))
    step = 0.5 / max(float(np.linalg.norm(Q, 2)), 1e-300)
    for _ in range(SCALING_STEPS):
        d = np.maximum(d - step * (Q @ d), 0.0)
        norm = float(np.linalg.norm(d))
        if not norm > 0:
            return None
        d /= norm
    return d if float(d @ Q @ d) < 0 else None


def residual_separator(P: FloatArray, B: FloatArray, *, random_state: int = 0) -> Separator | None:
    """From the best B ≥ 0: at the nearest completely positive matrix BBᵀ the form BBᵀ − P is copositive.

    A multiple of the diagonal of P makes room for a B that is not quite the best. Small orders alone.
    """
    size = np.sqrt(np.maximum(np.diag(P), 0.0))
    usable = np.flatnonzero(size > 0)
    if not (5 <= len(usable) <= LARGEST_COPOSITIVE):
        return None
    P_used = P[np.ix_(usable, usable)]
    residual = (B @ B.T - P)[np.ix_(usable, usable)]
    shift = -0.5 * float(np.sum(residual * P_used)) / float(np.trace(P_used))
    if not shift > 0:
        return None
    M = residual + shift * np.eye(len(usable))
    M = 0.5 * (M + M.T)
    report = check_copositive(M, time_limit=COPOSITIVE_SECONDS, random_state=random_state)
    if report.verdict is not Verdict.PROVED:
        return None
    return _separator(SeparatorKind.COPOSITIVE, usable, rationals(M), P)


Inequality = tuple[IntArray, Exact]
"""Positions in φ and rational coefficients of an ℓ."""


def circuit_separator(
    A: FloatArray, P: FloatArray, *, deadline: Deadline = NO_DEADLINE, enough: float = math.inf
) -> Separator | None:
    """The deepest violated product of a sign with a circuit, or of two circuits, that linear programs find.

    A are generators (N×k), no two of them parallel, and P is the (α, β) block; ``enough`` is a distance.
    """
    rows, best = signed_rows(A), None
    size = np.linalg.norm(rows, axis=1)
    known: list[Inequality] = [(np.array([p]), np.array([Fraction(1)])) for p in range(len(rows))]
    most = most_programs(A.shape[1])
    for _ in range(ROUNDS):
        if not deadline.left > 0:
            return best
        # The known inequalities over φ of unit generators, in floating point.
        L = np.zeros((len(known), len(rows)))
        for row, (positions, coefficients) in zip(L, known, strict=True):
            row[positions] = coefficients.astype(np.float64)
        L = L * size / np.linalg.norm(L * size, axis=1, keepdims=True)
        moments = L @ (P / np.outer(size, size)) @ L.T
        found = violated_circuits(
            A / size[: len(A), None], moments, tolerance=LEAST_VIOLATION, count=CIRCUITS, most_programs=most
        )
        before, across = best, moments[: len(rows)] / np.sqrt(np.maximum(np.diag(moments), 1e-300))
        for k, support in found:
            if deadline.passed:
                return best
            try:
                c = nonnegative_combination(rows[list(support)], rows[k].tolist(), "a circuit")
            except ProofFailure:
                continue
            circuit = np.array([*support, k]), np.array([*c, Fraction(-1)])
            known.append(circuit)
            violation = (circuit[1].astype(np.float64) * size[circuit[0]]) @ across[circuit[0]]
            for q in np.argsort(violation, kind="stable")[:TRIED]:
                best = deeper(best, _product(circuit, known[q], P))
            if best is not None and best.distance >= enough:
                return best
        if best is before:
            break
    return best


def _product(first: Inequality, second: Inequality, P: FloatArray) -> Separator | None:
    positions = np.union1d(first[0], second[0])
    form = np.full((len(positions), len(positions)), Fraction(0))
    form[np.ix_(*(np.searchsorted(positions, one[0]) for one in (first, second)))] = np.outer(first[1], second[1])
    return _separator(SeparatorKind.CIRCUIT, positions, form, P)
