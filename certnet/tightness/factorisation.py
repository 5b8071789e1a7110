"""P = BBᵀ with B ≥ 0, by alternating projections, and how far a product is from P, rounded up.

If ``P = RRᵀ`` then every square factor of P is RQ with Q orthogonal (R padded by zero columns). Groetzner, Dür, *A
factorization method for completely positive matrices*, Linear Algebra Appl. 591 (2020), alternate between the
orthogonal matrices and {Q : RQ ≥ 0}; the second projection is replaced by the cheap one of their section 4. What a run
ends with is improved by L-BFGS on ``¼‖BBᵀ − P‖²``. A run that fails proves nothing.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from certificates.arithmetic import Enclosure
from certificates.arithmetic.floating import inflate, sum_of_products
from certificates.failure import NO_DEADLINE, Deadline
from certnet.solvers.iterations import lbfgs
from formulations._validation import FloatArray

ITERATIONS = 2000  # Projections of one run.
SETTLED = 1e-13  # Relative distance at which a run has arrived.
RANK_FLOOR = 1e-12  # Relative eigenvalue that counts as zero in a root.

STOP: Mapping[str, Any] = {"max_iterations": 2000, "least_change": 0.0, "least_slope": 1e-14}
"""When L-BFGS ends."""


def square_root(P: FloatArray) -> FloatArray:
    """R (n×r) with RRᵀ = P, up to negative and negligible eigenvalues, which are left out."""
    values, vectors = np.linalg.eigh(0.5 * (P + P.T))
    kept = values > RANK_FLOOR * max(float(values[-1]), 0.0)
    return np.asarray((vectors[:, kept] * np.sqrt(values[kept]))[:, ::-1])


def alternate(
    R: FloatArray,
    columns: int,
    *,
    nearest: Callable[[FloatArray], FloatArray],
    rng: np.random.Generator,
    deadline: Deadline = NO_DEADLINE,
) -> FloatArray:
    """The best matrix in the cone with so many columns, at least as many as R (n×r), whose rank is r.

    Its product with its transpose should be near RRᵀ. ``nearest`` maps the columns of a matrix into the cone.
    """
    r = R.shape[1]
    padded = np.hstack([R, np.zeros((len(R), columns - r))])
    inverse = np.linalg.pinv(padded)
    Q, _ = np.linalg.qr(rng.standard_normal((columns, columns)))
    size = float(np.linalg.norm(R)) or 1.0
    best, smallest = nearest(padded @ Q), math.inf
    for _ in range(ITERATIONS):
        product = padded @ Q
        inside = nearest(product)
        distance = float(np.linalg.norm(inside - product)) / size
        if distance < smallest:
            best, smallest = inside, distance
        if not (distance > SETTLED) or deadline.passed:
            break
        left, _, right = np.linalg.svd(Q + inverse @ (inside - product))
        Q = left @ right
    return best


def improve(P: FloatArray, B: FloatArray, *, deadline: Deadline = NO_DEADLINE) -> FloatArray:
    """A nonnegative B whose product is nearer to P; never worse."""

    def evaluate(X: FloatArray) -> tuple[float, FloatArray]:
        error = X @ X.T - P
        return 0.25 * float(np.sum(error**2)), error @ X

    return lbfgs(evaluate, B, nonnegative=True, deadline=deadline, **STOP)


def improve_points(A: FloatArray, P: FloatArray, Z: FloatArray, *, deadline: Deadline = NO_DEADLINE) -> FloatArray:
    """Points Z (k×m) for which Σ φ(z)φ(z)ᵀ, φ = ((Az)₊, (−Az)₊), is nearer to P; never worse."""
    n = len(A)

    def evaluate(Z: FloatArray) -> tuple[float, FloatArray]:
        product = A @ Z
        phi = np.vstack([np.maximum(product, 0.0), np.maximum(-product, 0.0)])
        error = phi @ phi.T - P
        slope = error @ phi
        change = A.T @ np.where(product > 0, slope[:n], np.where(product < 0, -slope[n:], 0.0))
        return 0.25 * float(np.sum(error**2)), change

    return lbfgs(evaluate, Z, deadline=deadline, **STOP)


def relative_residual(P: FloatArray, B: FloatArray) -> float:
    """‖BBᵀ − P‖_F/‖P‖_F for the float64 matrices as they are, rounded up; inf when it cannot be bounded."""
    if not P.any():
        return 0.0 if not B.any() else math.inf
    with np.errstate(all="ignore"):
        left = Enclosure.exact(np.ascontiguousarray(B))
        error = left @ left.T - Enclosure.exact(P)
        return norm_ratio(inflate(np.abs(error.mid) + error.rad, 2), P)


def norm_ratio(upper: FloatArray, P: FloatArray) -> float:
    """‖upper‖_F/‖P‖_F, rounded up."""
    above = sum_of_products([(upper, upper)], upper=True)
    below = sum_of_products([(P, P)], upper=False)
    if not (math.isfinite(above) and below > 0):
        return math.inf
    return math.sqrt(above / below) * (1.0 + 1e-14)
