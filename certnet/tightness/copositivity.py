"""Copositivity of a symmetric matrix: is xᵀMx ≥ 0 for every x ≥ 0?

Three steps, cheap before dear: a search for a counterexample, a splitting into a positive semidefinite and
a nonnegative part (SPN; decides every matrix of order 4 or less, Diananda 1962, up to the boundary of the cone), and a
subdivision of the orthant for small orders (Bundfuss, Dür, *Algorithmic copositivity detection by simplicial
partition*, Linear Algebra Appl. 428 (2008)). Verdicts are theorems about the float64 entries: proofs are exact or
carry proved error bounds, and counterexamples are evaluated in rational arithmetic.
"""

import time
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from certificates import Verdict
from certificates.arithmetic import Enclosure, RationalMatrix
from certificates.failure import Deadline
from certnet.tightness.orthant import quadratic_value, subdivide
from formulations import InputError
from formulations._validation import FloatArray, as_matrix
from formulations.modeling.compiled import nonnegative_part

SUBDIVISION_ORDER = 30  # Order up to which the orthant is subdivided.
EXACT_ORDER = 40  # Order up to which positive semidefiniteness is decided in rational arithmetic.
# Order beyond which the semidefinite program of a splitting takes long. Measured: order 45 takes 3 s.
SPLITTING_ORDER = 60
SPN_SHARE = 0.5  # Part of the time for a splitting.
STARTS = 64  # Random starts for a counterexample besides the vertices.
DESCENT_STEPS = 300  # Projected gradient steps of each.


class Method(StrEnum):
    """What settled the question."""

    COUNTEREXAMPLE = "counterexample"
    NONNEGATIVE = "nonnegative"
    SPN = "positive semidefinite plus nonnegative"
    SUBDIVISION = "subdivision"
    NONE = "none"


@dataclass(frozen=True, eq=False)
class Copositivity:
    """Whether a matrix is copositive, and why.

    Attributes:
        verdict: PROVED, REFUTED by ``witness``, or UNKNOWN.
        reason, method: one sentence, and what settled it.
        witness: (n,) x ≥ 0 with xᵀMx < 0 exactly, or None.
        nonnegative: (n, n) N ≥ 0 for which M − N is positive semidefinite, or None.
        cones: cones of the subdivision, 0 if there was none.
    """

    verdict: Verdict
    reason: str
    method: Method
    witness: FloatArray | None = None
    nonnegative: FloatArray | None = None
    cones: int = 0


def check_copositive(
    M: FloatArray,
    *,
    time_limit: float = 10.0,
    max_cones: int = 20_000,
    random_state: int = 0,
) -> Copositivity:
    """Prove or refute that M is copositive.

    Matrices on the boundary of the cone are settled by subdivision if at all: a splitting without any margin cannot be
    found in floating point, unless M itself is positive semidefinite or nonnegative.

    Args:
        M: (n, n), with InputError unless it is symmetric and finite.
        time_limit, max_cones: seconds, about, and cones of the subdivision after which it is given up.
        random_state: seed of the search for a counterexample.
    """
    M = as_matrix("M", M)
    if M.shape[0] != M.shape[1] or not np.array_equal(M, M.T):
        raise InputError("M must be symmetric; pass (M + M.T)/2.")
    if (M >= 0).all():
        return Copositivity(Verdict.PROVED, "every entry is nonnegative", Method.NONNEGATIVE)
    witness = counterexample(M, random_state=random_state)
    if witness is not None:
        return _refuted(witness)
    found = _split(M, time_limit * SPN_SHARE)
    if found is not None:
        return found
    if len(M) > SUBDIVISION_ORDER:
        reason = f"no splitting was found, and order {len(M)} is too large for a subdivision"
        return Copositivity(Verdict.UNKNOWN, reason, Method.NONE)
    # The share of the splitting is over, however long CVXPY took to load.
    deadline = Deadline(time.perf_counter() + (1.0 - SPN_SHARE) * time_limit)
    outcome = subdivide(M, max_cones=max_cones, deadline=deadline)
    if outcome.copositive:
        reason = f"a subdivision into {outcome.cones} cones proves it on each"
        return Copositivity(Verdict.PROVED, reason, Method.SUBDIVISION, cones=outcome.cones)
    reason = outcome.reason
    if outcome.witness is not None:
        point = np.array([value / max(outcome.witness) for value in outcome.witness])
        if quadratic_value(M, point) < 0:
            return _refuted(point, outcome.cones)
        reason = "a counterexample exists in integers, but not among the float64 numbers next to it"
    return Copositivity(Verdict.UNKNOWN, reason, Method.NONE, cones=outcome.cones)


def _refuted(witness: FloatArray, cones: int = 0) -> Copositivity:
    reason = "a point with nonnegative entries makes the form negative"
    return Copositivity(Verdict.REFUTED, reason, Method.COUNTEREXAMPLE, witness=witness, cones=cones)


def _split(M: FloatArray, time_limit: float) -> Copositivity | None:
    """M itself, or M minus a nonnegative part, is positive semidefinite."""
    none = np.zeros_like(M)
    if _proves_psd(M, none):
        return Copositivity(Verdict.PROVED, "it is positive semidefinite", Method.SPN, nonnegative=none)
    size = np.sqrt(np.diag(M))
    if len(M) > SPLITTING_ORDER or not (size > 0).all():
        return None
    scale = np.outer(size, size)
    N = nonnegative_part(M / scale, time_limit=time_limit)
    N = None if N is None else 0.5 * (N * scale + (N * scale).T)
    if N is None or not (N >= 0).all() or not _proves_psd(M, N):
        return None
    reason = "it is the sum of a positive semidefinite and a nonnegative matrix"
    return Copositivity(Verdict.PROVED, reason, Method.SPN, nonnegative=N)


def _proves_psd(M: FloatArray, N: FloatArray) -> bool:
    """Whether it is proved that M − N is positive semidefinite."""
    if len(M) <= EXACT_ORDER:
        return (RationalMatrix.exact(M) - RationalMatrix.exact(N)).psd_obstacle() is None
    return (Enclosure.exact(M) - Enclosure.exact(N)).psd_obstacle() is None


def counterexample(M: FloatArray, *, random_state: int = 0) -> FloatArray | None:
    """A point x ≥ 0 with xᵀMx < 0, checked in rational arithmetic, or None if the search found none.

    Projected gradients on the simplex from vertices, midpoints and random points; then the stationary point on the
    support. The last is exact where the minimum lies inside a face.
    """
    n = len(M)
    rng = np.random.default_rng(random_state)
    size = float(np.abs(M).max()) or 1.0
    scaled = M / size
    x = np.vstack([np.eye(n), rng.dirichlet(np.full(n, 0.5), size=STARTS)])
    step = 1.0 / max(float(np.linalg.norm(scaled, 2)), 1e-300)
    for _ in range(DESCENT_STEPS):
        x = _onto_simplex(x - step * (x @ scaled))
    values = np.sum((x @ scaled) * x, axis=1)
    for k in np.argsort(values, kind="stable")[:8]:
        for point in (x[k], _stationary(scaled, x[k])):
            if point is not None and quadratic_value(M, point) < 0:
                return point
    return None


def _onto_simplex(x: FloatArray) -> FloatArray:
    """Projection of each row onto {x ≥ 0, Σ x = 1}."""
    ordered = np.sort(x, axis=1)[:, ::-1]
    excess = np.cumsum(ordered, axis=1) - 1.0
    count = np.arange(1, x.shape[1] + 1)
    support = np.sum(ordered - excess / count > 0, axis=1)
    shift = excess[np.arange(len(x)), support - 1] / support
    projected: FloatArray = np.maximum(x - shift[:, None], 0.0)
    return projected


def _stationary(M: FloatArray, x: FloatArray) -> FloatArray | None:
    """The eigenvector of the smallest eigenvalue on the support of x, where it has one sign."""
    support = np.flatnonzero(x > 1e-6)
    _, vectors = np.linalg.eigh(M[np.ix_(support, support)])
    vector = vectors[:, 0] * np.sign(vectors[:, 0].sum() or 1.0)
    if not (vector >= 0).all():
        return None
    point = np.zeros(len(x))
    point[support] = vector
    return point
