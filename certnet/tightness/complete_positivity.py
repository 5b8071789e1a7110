"""Is a doubly nonnegative matrix completely positive, P = BBᵀ with B ≥ 0?

For the (α, β) block of a lifted moment matrix this decides exactness. Let A have full column rank, ``G = JSJᵀ`` be
doubly nonnegative with diag(G_αβ) = 0, and ``G_φφ = BBᵀ`` with B ≥ 0. In each column (α, β) of B then α_iβ_i = 0,
because these products are nonnegative and sum to 0. And ``α − β`` lies in the range of A, because over all columns the
outer products (α − β)(α − β)ᵀ sum to ``A G_zz Aᵀ``. So the column is φ(z) for one z, and G is a sum of true λ(z)λ(z)ᵀ,
whose network attains the relaxation's value. The converse is plain.

Answers are about the float64 matrix. ``residual`` and ``distance`` enclose its relative distance from the cone: PROVED
when the residual is at most a tolerance, REFUTED when the distance exceeds one.
"""

import math
import time
from dataclasses import dataclass, replace

import networkx as nx
import numpy as np

from certificates import Verdict
from certificates.arithmetic import Enclosure
from certnet.tightness._factorisation import (
    alternate,
    improve,
    nonnegative,
    norm_ratio,
    relative_residual,
    square_root,
)
from certnet.tightness.separation import Separator, circuit_separator, horn_separator, residual_separator
from formulations import InputError
from formulations._validation import FloatArray, as_matrix, as_positive

TOLERANCE = 1e-6
NUMERICAL_RANK = 1e-7
SHIFTS = (1e-15, 1e-14, 1e-13, 1e-12, 1e-11, 1e-10, 1e-9, 1e-8, 1e-7, 1e-6, 1e-5)
MODERATE = 40
"""Binary exponent of √|P| from which P is scaled."""
LARGEST_FACTOR = 200
"""Columns of B that alternating projections are tried with."""


@dataclass(frozen=True, eq=False)
class CompletePositivity:
    """Whether a matrix is completely positive up to a tolerance, and why.

    Attributes:
        verdict: see the module.
        reason: one sentence.
        residual: an upper bound on the relative distance ‖P̃ − P‖_F/‖P‖_F from the nearest completely positive P̃; inf
            when none is known.
        distance: a lower bound on it, at least 0.
        factor: (n, m) B ≥ 0 for which BBᵀ is within ``residual``, or None.
        separator: the form behind ``distance``, or None.
    """

    verdict: Verdict
    reason: str
    residual: float
    distance: float
    factor: FloatArray | None = None
    separator: Separator | None = None


def is_completely_positive_graph(graph: "nx.Graph[int]") -> bool:
    """True when every doubly nonnegative matrix with this support is completely positive: no odd cycle of length ≥ 5.

    By Kogan and Berman (Discrete Math. 114 (1993)) these are the graphs whose blocks are bipartite, have at most four
    vertices, or are triangles with one common edge.
    """
    return all(_is_completely_positive_block(graph.subgraph(block)) for block in nx.biconnected_components(graph))


def _is_completely_positive_block(block: "nx.Graph[int]") -> bool:
    if len(block) <= 4 or nx.is_bipartite(block):
        return True
    tips = [vertex for vertex, degree in block.degree() if degree == 2]
    base = [vertex for vertex, degree in block.degree() if degree != 2]
    if len(base) != 2 or not block.has_edge(*base):
        return False
    return all(set(block.neighbors(tip)) == set(base) for tip in tips)


def support_graph(P: FloatArray, *, tolerance: float = 0.0) -> "nx.Graph[int]":
    """Positions i and j are joined when |P_ij| exceeds ``tolerance·√(P_ii P_jj)``."""
    size = np.sqrt(np.maximum(np.diag(P), 0.0))
    joined = np.abs(P) > tolerance * np.outer(size, size)
    np.fill_diagonal(joined, False)
    graph: nx.Graph[int] = nx.from_numpy_array(joined.astype(np.int64))
    return graph


def check_completely_positive(
    P: FloatArray,
    *,
    generators: FloatArray | None = None,
    factor: FloatArray | None = None,
    tolerance: float = TOLERANCE,
    least_distance: float | None = None,
    time_limit: float = 10.0,
    random_state: int = 0,
) -> CompletePositivity:
    """Enclose the distance of P from the completely positive matrices.

    Args:
        P: (n, n) symmetric, finite.
        generators: (N, k) A with n = 2N; circuits are tried then, and "completely positive" means over K(A).
        factor: (n, m) a B ≥ 0 to begin with, or None.
        tolerance: residual at which the answer is PROVED.
        least_distance: distance beyond which it is REFUTED, at least and by default the tolerance. It should exceed
            what is wrong with P itself.
        time_limit: seconds, about.
        random_state: seed.

    Raises:
        InputError: P is not square, symmetric and finite, or shapes that disagree.
    """
    P, tolerance = as_matrix("P", P), as_positive("tolerance", tolerance)
    if P.shape[0] != P.shape[1] or not np.array_equal(P, P.T):
        raise InputError("P must be symmetric; pass (P + P.T)/2.")
    if generators is not None and 2 * len(generators) != len(P):
        raise InputError(f"P has order {len(P)}, but {len(generators)} generators need {2 * len(generators)}.")
    if factor is not None and (len(factor) != len(P) or not (factor >= 0).all()):
        raise InputError("The factor must have a row for each row of P and no negative entry.")
    P, factor, exponent = _moderate(P, factor)
    least = tolerance if least_distance is None else max(least_distance, tolerance)
    search = _Search(P, tolerance, least, time.monotonic(), time_limit, random_state)
    search.offer(factor, "the given factor")
    if not search.residual <= tolerance:
        search.by_support()
    if not search.residual <= tolerance and generators is not None:
        search.separate(circuit_separator(generators, P, deadline=search.until(0.4), enough=10 * least))
    if search.undecided:
        search.separate(horn_separator(P))
    if search.undecided:
        search.factorise()
    if search.undecided and search.factor is not None:
        search.separate(residual_separator(P, search.factor, random_state=random_state))
    return _undo_scaling(search.result(), exponent)


def _moderate(P: FloatArray, factor: FloatArray | None) -> tuple[FloatArray, FloatArray | None, int]:
    """P·4^−e and factor·2^−e, so that squares of entries neither over- nor underflow; and e, 0 where none is needed."""
    e = int(np.frexp(np.abs(P).max())[1]) // 2
    scaled = np.ldexp(P, -2 * e)
    if abs(e) < MODERATE or not np.array_equal(np.ldexp(scaled, 2 * e), P):
        return P, factor, 0
    return scaled, None if factor is None else np.ldexp(factor, -e), e


def _undo_scaling(found: CompletePositivity, e: int) -> CompletePositivity:
    if e == 0:
        return found
    factor, separator = found.factor, found.separator
    return replace(
        found,
        factor=None if factor is None else np.ldexp(factor, e),
        separator=None
        if separator is None
        else replace(separator, inner_product=float(np.ldexp(separator.inner_product, 2 * e))),
    )


class _Search:
    """The best residual and the best distance so far."""

    def __init__(
        self, P: FloatArray, tolerance: float, least: float, start: float, time_limit: float, random_state: int
    ) -> None:
        self.P, self.tolerance, self.least = P, tolerance, least
        self._start, self._time_limit, self._seed = start, time_limit, random_state
        self.residual, self.how = math.inf, ""
        self.factor: FloatArray | None = None
        self.separator: Separator | None = None

    @property
    def distance(self) -> float:
        return 0.0 if self.separator is None else self.separator.distance

    @property
    def undecided(self) -> bool:
        return not (self.residual <= self.tolerance or self.distance > self.least)

    def until(self, share: float) -> float:
        """A deadline at this share of the time."""
        return self._start + share * self._time_limit

    def offer(self, B: FloatArray | None, how: str) -> None:
        if B is None:
            return
        residual = relative_residual(self.P, B)
        if residual < self.residual:
            self.residual, self.how, self.factor = residual, how, B

    def separate(self, separator: Separator | None) -> None:
        if separator is not None and separator.distance > self.distance:
            self.separator = separator

    def by_support(self) -> None:
        """A doubly nonnegative matrix nearby whose support alone, or whose dominant diagonal, is enough."""
        for threshold in (0.0, 0.1 * self.tolerance, self.tolerance):
            near = _without_small_entries(self.P, threshold)
            if is_completely_positive_graph(support_graph(near)):
                how = "no odd cycle of length 5 or more in its support"
                test = near
            else:
                how = "a comparison matrix that is positive semidefinite"
                test = 2.0 * np.diag(np.diag(near)) - near
            shift = _shift_to_psd(test)
            if shift is None:
                continue
            change = np.abs(near - self.P)
            change[np.diag_indices_from(change)] += shift
            residual = norm_ratio(change * (1.0 + 1e-15), self.P)
            if residual < self.residual:
                self.residual, self.how, self.factor = residual, how, None

    def factorise(self) -> None:
        """Alternating projections with more and more columns, each improved by descent."""
        rng = np.random.default_rng(self._seed)
        R = square_root(self.P)
        if R.shape[1] == 0:
            self.offer(np.zeros((len(self.P), 0)), "the zero matrix")
            return
        norm = np.linalg.norm(R, axis=0)
        R = R[:, norm > np.sqrt(NUMERICAL_RANK) * norm.max()]
        rank = R.shape[1]
        # A second start with as many columns pays: the first may end in a corner of a set that is not convex.
        for columns in sorted([rank, rank, rank + 1, rank + 3, 2 * rank, 2 * rank, 3 * rank]):
            if columns > LARGEST_FACTOR or not self.undecided or time.monotonic() > self.until(1.0):
                return
            B = alternate(R, columns, nearest=nonnegative, rng=rng, deadline=self.until(1.0))
            self.offer(improve(self.P, B, deadline=self.until(1.0)), f"a nonnegative factor of {columns} columns")

    def result(self) -> CompletePositivity:
        verdict, reason = self._verdict()
        return CompletePositivity(verdict, reason, self.residual, self.distance, self.factor, self.separator)

    def _verdict(self) -> tuple[Verdict, str]:
        if self.residual <= self.tolerance:
            return Verdict.PROVED, f"a completely positive matrix lies within {self.residual:.1e} of it: {self.how}"
        if self.separator is not None and self.distance > self.least:
            kind = self.separator.kind
            return Verdict.REFUTED, f"a {kind} shows that it is {self.distance:.1e} or more from all of them"
        known = (
            "none is known nearby" if math.isinf(self.residual) else f"the nearest known lies at {self.residual:.1e}"
        )
        return Verdict.UNKNOWN, f"{known}, and no inequality that was found is violated by more than {self.least:.0e}"


def _without_small_entries(P: FloatArray, threshold: float) -> FloatArray:
    """P with entries below a correlation of ``threshold``, and negative ones, set to zero."""
    size = np.sqrt(np.maximum(np.diag(P), 0.0))
    near: FloatArray = np.where(threshold * np.outer(size, size) < P, P, 0.0)
    np.fill_diagonal(near, np.maximum(np.diag(P), 0.0))
    return near


def _shift_to_psd(M: FloatArray) -> float | None:
    """A multiple of I that makes M positive semidefinite, with a proof, or None if it takes more than a little."""
    used = np.flatnonzero(np.abs(M).any(axis=0))
    if len(used) == 0:
        return 0.0
    M = M[np.ix_(used, used)]
    size = float(np.abs(M).max())
    if not float(np.linalg.eigvalsh(M)[0]) >= -SHIFTS[-1] * size:
        return None
    for shift in (0.0, *SHIFTS):
        if (Enclosure.exact(M) + Enclosure.exact(shift * size * np.eye(len(M)))).prove_psd().proved:
            return shift * size
    return None
