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
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial

import networkx as nx
import numpy as np

from certificates import Verdict
from certificates.arithmetic import Enclosure
from certificates.failure import Deadline
from certnet.runtime.wording import down, up
from certnet.tightness.factorisation import alternate, improve, norm_ratio, relative_residual, square_root
from certnet.tightness.separation import Separator, circuit_separator, deeper, horn_separator, residual_separator
from formulations import InputError
from formulations._validation import FloatArray, as_matrix, as_positive

NUMERICAL_RANK = 1e-7  # Relative eigenvalue that counts as zero where a factor is sought.
CIRCUIT_SHARE = 0.4  # Part of the time for circuits.
LARGEST_FACTOR = 200  # Columns of B that alternating projections are tried with.
SHIFTS = tuple(10.0**power for power in range(-15, -4))
"""Multiples of I, relative to the largest entry, that are added to make a matrix positive semidefinite."""


@dataclass(frozen=True, eq=False)
class CompletePositivity:
    """Whether a matrix is completely positive up to a tolerance, and why.

    Attributes:
        verdict, reason: see the module, and one sentence.
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


def check_completely_positive(
    P: FloatArray,
    *,
    generators: FloatArray | None = None,
    factor: FloatArray | None = None,
    tolerance: float = 1e-6,
    least_distance: float | None = None,
    time_limit: float = 10.0,
    random_state: int = 0,
) -> CompletePositivity:
    """Enclose the distance of P from the completely positive matrices.

    Args:
        P: (n, n) symmetric, finite.
        generators: (N, k) A with n = 2N; circuits of K(A) are tried then. P is taken to lie on the face of A, where
            both cones are the same (see the module): diag(P_αβ) = 0, and (I, −I) P (I, −I)ᵀ has its range in that of
            A. No other step looks at A.
        factor: (n, m) a B ≥ 0 to begin with, or None.
        tolerance: residual at which the answer is PROVED.
        least_distance: distance beyond which it is REFUTED, at least and by default the tolerance. It should exceed
            what is wrong with P itself.
        time_limit, random_state: seconds, about, and seed.

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
    # By a power of four, so that squares of entries neither over- nor underflow.
    e = int(np.frexp(np.abs(P).max())[1]) // 2
    e = e if np.array_equal(np.ldexp(np.ldexp(P, -2 * e), 2 * e), P) else 0
    P, least = np.ldexp(P, -2 * e), tolerance if least_distance is None else max(least_distance, tolerance)
    circuits_end, end = (Deadline.after(part * time_limit) for part in (CIRCUIT_SHARE, 1.0))
    rng = np.random.default_rng(random_state)
    best = Neighbour(math.inf, "")
    separator: Separator | None = None

    def is_open() -> bool:
        return not (best.residual <= tolerance or (separator is not None and separator.distance > least))

    if factor is not None:
        B = np.ldexp(factor, -e)
        best = min(best, Neighbour(relative_residual(P, B), "the given factor", B))
    if is_open():
        best = min([best, *_by_support(P, tolerance)])
    if is_open() and generators is not None:
        separator = circuit_separator(generators, P, deadline=circuits_end, enough=10 * least)
    if is_open():
        separator = deeper(separator, horn_separator(P))
    factors = _factors(P, rng, end)
    while is_open() and (found := next(factors, None)) is not None:
        best = min(best, found)
    if is_open() and best.factor is not None:
        separator = deeper(separator, residual_separator(P, best.factor, random_state=random_state))
    known = "none is known nearby" if math.isinf(best.residual) else f"the nearest known lies at {up(best.residual, 2)}"
    verdict = Verdict.UNKNOWN
    reason = f"{known}, and no inequality that was found is violated by more than {least:.0e}"
    if best.residual <= tolerance:
        verdict = Verdict.PROVED
        reason = f"a completely positive matrix lies within {up(best.residual, 2)} of it: {best.how}"
    elif separator is not None and separator.distance > least:
        verdict = Verdict.REFUTED
        reason = f"a {separator.kind} shows that it is {down(separator.distance, 2)} or more from all of them"
    distance = 0.0 if separator is None else separator.distance
    if separator is not None:
        separator = replace(separator, inner_product=float(np.ldexp(separator.inner_product, 2 * e)))
    own = None if best.factor is None else np.ldexp(best.factor, e)
    return CompletePositivity(verdict, reason, best.residual, distance, own, separator)


@dataclass(frozen=True, eq=False)
class Neighbour:
    """A completely positive matrix at this relative distance or less, ``BBᵀ`` if its factor is known."""

    residual: float
    how: str
    factor: FloatArray | None = None

    def __lt__(self, other: "Neighbour") -> bool:
        return self.residual < other.residual


def _by_support(P: FloatArray, tolerance: float) -> Iterator[Neighbour]:
    """Doubly nonnegative matrices nearby whose support alone, or whose dominant diagonal, is enough."""
    size = np.sqrt(np.maximum(np.diag(P), 0.0))
    for threshold in (0.0, 0.1 * tolerance, tolerance):
        apart, diagonal = np.where(threshold * np.outer(size, size) < P, P, 0.0), np.diag(np.maximum(np.diag(P), 0.0))
        np.fill_diagonal(apart, 0.0)
        near = test = diagonal + apart
        how = "no odd cycle of length 5 or more in its support"
        if not is_completely_positive_graph(nx.from_numpy_array(apart)):
            test, how = diagonal - apart, "a comparison matrix that is positive semidefinite"
        shift = _shift_to_psd(test)
        if shift is not None:
            change = np.abs(near - P)
            change[np.diag_indices_from(change)] += shift
            yield Neighbour(norm_ratio(change * (1.0 + 1e-15), P), how)


def _factors(P: FloatArray, rng: np.random.Generator, deadline: Deadline) -> Iterator[Neighbour]:
    """Alternating projections with more and more columns, each improved by descent."""
    R = square_root(P)
    if R.shape[1] == 0:
        B = np.zeros((len(P), 0))
        yield Neighbour(relative_residual(P, B), "the zero matrix", B)
        return
    norm, positive_part = np.linalg.norm(R, axis=0), partial(np.maximum, 0.0)
    R = R[:, norm > np.sqrt(NUMERICAL_RANK) * norm.max()]
    rank = R.shape[1]
    # A second start with as many columns pays: the first may end in a corner of a set that is not convex.
    for columns in sorted([rank, rank, rank + 1, rank + 3, 2 * rank, 2 * rank, 3 * rank]):
        if columns > LARGEST_FACTOR or deadline.passed:
            return
        B = improve(P, alternate(R, columns, nearest=positive_part, rng=rng, deadline=deadline), deadline=deadline)
        yield Neighbour(relative_residual(P, B), f"a nonnegative factor of {columns} columns", B)


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
        if (Enclosure.exact(M) + Enclosure.exact(shift * size * np.eye(len(M)))).psd_obstacle() is None:
            return shift * size
    return None
