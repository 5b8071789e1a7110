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
import time
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from itertools import permutations

import numpy as np
from scipy.optimize import linprog

from certificates import Verdict
from certificates.arithmetic.floating import sum_of_products
from certificates.combination import nonnegative_combination
from certificates.failure import ProofFailure
from certnet.tightness._rational import Rationals, inner_product, norm_above, rounded_up, to_rationals
from certnet.tightness.copositivity import check_copositive
from formulations._validation import FloatArray, IntArray

HORN = np.array([[1, -1, 1, 1, -1], [-1, 1, -1, 1, 1], [1, -1, 1, -1, 1], [1, 1, -1, 1, -1], [-1, 1, 1, -1, 1]])
ARRANGEMENTS = np.array([(0, *order) for order in permutations(range(1, 5)) if order[0] < order[-1]])
"""The twelve ways to put five positions on a pentagon."""
EXCHANGES = 20
SCALING_STEPS = 200
BEST_TUPLES = 12
SUPPORT = 1e-9
LARGEST_COPOSITIVE = 20
COPOSITIVE_SECONDS = 2.0
ENOUGH_PROGRAMS = 4000


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


def _separator(kind: SeparatorKind, positions: IntArray, form: Rationals, P: FloatArray) -> Separator | None:
    """The separator, if its inner product is negative."""
    symmetric = [[(form[i][j] + form[j][i]) / 2 for j in range(len(form))] for i in range(len(form))]
    value = inner_product(symmetric, to_rationals(P[np.ix_(positions, positions)]))
    if not value < 0:
        return None
    square = sum_of_products([(P, P)], upper=True)
    depth = float(-value / norm_above(symmetric))
    distance = depth / math.sqrt(square) * (1.0 - 1e-12) if math.isfinite(square) and square > 0 else 0.0
    rounded = np.array([[float(entry) for entry in row] for row in symmetric])
    return Separator(kind, positions, rounded, rounded_up(value), distance)


def horn_separator(P: FloatArray) -> Separator | None:
    """The deepest scaled Horn inequality that an exchange search finds violated, or None.

    Args:
        P: (n, n) symmetric, nonnegative; rows with a zero diagonal are left out.
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
        factor = [Fraction(float(value)) for value in d / size[positions]]
        form = [[int(HORN[i, j]) * factor[i] * factor[j] for j in range(5)] for i in range(5)]
        found = _separator(SeparatorKind.HORN, positions, form, P)
        if found is not None and (best is None or found.distance > best.distance):
            best = found
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
    return _separator(SeparatorKind.COPOSITIVE, usable, to_rationals(M), P)


@dataclass(frozen=True, eq=False)
class _Inequality:
    """ℓ over φ with rational coefficients."""

    positions: IntArray
    coefficients: tuple[Fraction, ...]

    def times(self, P: FloatArray) -> FloatArray:
        """Pℓ, in floating point."""
        product: FloatArray = P[:, self.positions] @ np.array([float(value) for value in self.coefficients])
        return product


def circuit_separator(
    A: FloatArray, P: FloatArray, *, deadline: float, enough: float = math.inf, random_state: int = 0
) -> Separator | None:
    """The deepest violated product of a sign with a circuit, or of two circuits, that linear programs find.

    Args:
        A: (N, k) generators.
        P: (2N, 2N) the (α, β) block.
        deadline: value of ``time.monotonic()`` after which the best so far is returned.
        enough: distance at which to stop.
        random_state: seed of the order in which the programs are solved.
    """
    rows = np.vstack([A, -A])
    rng = np.random.default_rng(random_state)
    signs = [_Inequality(np.array([p]), (Fraction(1),)) for p in np.flatnonzero(np.diag(P) > 0)]
    queue = [signs[p] for p in rng.permutation(len(signs))]
    best: Separator | None = None
    programs = 0
    while queue and programs < ENOUGH_PROGRAMS:
        inequality = queue.pop(0)
        moments = inequality.times(P)
        for k in _promising(rows, moments):
            if time.monotonic() > deadline:
                return best
            programs += 1
            circuit = _circuit(rows, moments, int(k))
            found = None if circuit is None else _product(inequality, circuit, P)
            if circuit is None or found is None:
                continue
            if best is None or found.distance > best.distance:
                best = found
                queue.insert(0, circuit)
            if best.distance >= enough:
                return best
    return best


def _promising(rows: FloatArray, moments: FloatArray) -> IntArray:
    """The positions whose moment lies highest above the linear function nearest to all: convexity fails there first."""
    fitted = rows @ np.linalg.lstsq(rows, moments, rcond=None)[0]
    size = np.maximum(np.linalg.norm(rows, axis=1), 1e-300)
    return np.argsort(-(moments - fitted) / size, kind="stable")[: max(8, len(rows) // 8)]


def _circuit(rows: FloatArray, moments: FloatArray, k: int) -> _Inequality | None:
    """The circuit with target k for which ``Σ c_j m_j − m_k`` is smallest, if that is negative."""
    others = np.delete(np.arange(len(rows)), [k])
    answer = linprog(moments[others], A_eq=rows[others].T, b_eq=rows[k], bounds=(0, None), method="highs-ds")
    if answer.x is None or not answer.fun < moments[k]:
        return None
    support = others[answer.x > SUPPORT]
    try:
        c = nonnegative_combination(rows[support], rows[k].tolist(), "a circuit")
    except ProofFailure:
        return None
    return _Inequality(np.append(support, k), (*c, Fraction(-1)))


def _product(first: _Inequality, second: _Inequality, P: FloatArray) -> Separator | None:
    positions = np.union1d(first.positions, second.positions)
    place = {int(p): i for i, p in enumerate(positions)}
    form = [[Fraction(0)] * len(positions) for _ in positions]
    for p, a in zip(first.positions.tolist(), first.coefficients, strict=True):
        for q, b in zip(second.positions.tolist(), second.coefficients, strict=True):
            form[place[p]][place[q]] += a * b
    return _separator(SeparatorKind.CIRCUIT, positions, form, P)
