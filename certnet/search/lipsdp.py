"""LipSDP without a general solver: weights of the neurons that make the spectral bound on all gradients smallest.

A gradient of ``C f`` on a region is ``J + Σ g_i b_i u_iᵀ`` with u_i the rows of U, b_i those of ``(C V)ᵀ`` and g_i in
[0, 1], over the neurons whose sign is open; J is the part of the active ones. For unit p and δ, ``g_i (b_i·p)(u_i·δ)``
is at most ``½(b_i·p)(u_i·δ) + ¼(θ_i (u_i·δ)² + (b_i·p)²/θ_i)`` for any θ_i > 0. So half the largest eigenvalue of

    M(θ) = [ UᵀΘU         UᵀB + 2Jᵀ ]        of order d + r
           [ BᵀU + 2J     BᵀΘ⁻¹B    ]

bounds all gradients. Its minimum over θ is the bound of LipSDP (Fazlyab et al. 2019), with one weight for each neuron;
a constant θ gives ``‖J‖ + ‖B‖‖U‖`` or less. In s = log θ the problem is convex, because ``eˢuuᵀ + e⁻ˢbbᵀ`` is, and it
is solved with the barrier ``−log det(2L − M)`` by Newton's method. Every θ gives a valid bound, so it may stop at any
time. For every Z ⪰ 0 of trace ½ no θ has a bound below ``⟨Z, M₀⟩ + 2 Σ √(u_iᵀZu_i · b_iᵀZb_i)``, M₀ being what does
not depend on θ, and the barrier's own Z comes near the least one.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.sparse.linalg import ArpackError, LinearOperator, eigsh

from certificates.failure import Deadline
from formulations._validation import FloatArray

GAP = 1e-8
"""Relative difference of the bound and what no weights can have, at which a solve is over."""
GROWTH = 8.0
"""Of the weight of L between two centres."""
CENTRED = 1e-2
"""Newton decrement, squared, at which the weight of L grows."""
LARGEST = 40.0
"""Limit on a step of log θ."""
DENSE = 400
"""Order up to which all eigenvalues are computed where the largest is wanted."""
POWERS = 200
ROUGHLY = 8
SECONDS_PER_FLOP = 1e-9
"""Of a machine that is busy; a first guess, after which steps are measured."""


@dataclass(frozen=True, eq=False)
class Gradients:
    """All gradients ``J + Σ g_i b_i u_iᵀ`` with g in [0, 1]^N.

    Attributes:
        U: (N, d) rows u_i.
        B: (N, r) rows b_i.
        J: (r, d).
    """

    U: FloatArray
    B: FloatArray
    J: FloatArray

    def matrix(self, theta: FloatArray, other: FloatArray) -> FloatArray:
        """M with ``other`` in the place of 1/θ."""
        cross = self.U.T @ self.B + 2.0 * self.J.T
        return np.block(
            [[self.U.T @ (theta[:, None] * self.U), cross], [cross.T, self.B.T @ (other[:, None] * self.B)]]
        )

    def slack(self, L: float, s: FloatArray) -> FloatArray:
        """2L − M at θ = exp s."""
        M = self.matrix(np.exp(s), np.exp(-s))
        return 2.0 * L * np.eye(len(M)) - M

    def bound(self, theta: FloatArray, other: FloatArray) -> float:
        """Half the largest eigenvalue of M, which bounds all gradients if ``θ_i other_i ≥ 1``."""
        d, order = self.U.shape[1], self.U.shape[1] + self.B.shape[1]
        if order <= DENSE:
            matrix = self.matrix(theta, other)
            return max(0.5 * float(np.linalg.eigvalsh(matrix)[-1]), 0.0) if np.isfinite(matrix).all() else math.inf

        def product(z: FloatArray) -> FloatArray:
            x, p = z[:d], z[d:]
            on_u, on_b = self.U @ x, self.B @ p
            return np.concatenate(
                [
                    self.U.T @ (theta * on_u + on_b) + 2.0 * (self.J.T @ p),
                    self.B.T @ (on_u + other * on_b) + 2.0 * (self.J @ x),
                ]
            )

        return max(0.5 * _largest(product, order), 0.0)

    def norm_product(self, *, exactly: bool = True) -> float:
        """``‖J‖ + ‖B‖‖U‖``, which bounds all gradients; of Frobenius norms, which are larger, unless ``exactly``."""
        norm = spectral_norm if exactly else np.linalg.norm
        return float(norm(self.J) + norm(self.B) * norm(self.U))


def spectral_norm(A: FloatArray) -> float:
    """The largest singular value; of large matrices by Lanczos' method, whose error is far below proofs' margins."""
    if not A.size:
        return 0.0
    if not np.isfinite(A).all():
        return math.inf
    if min(A.shape) <= DENSE:
        return float(np.linalg.norm(A, 2))
    return math.sqrt(max(_largest(lambda x: A.T @ (A @ x), A.shape[1]), 0.0))


def rough_norm(A: FloatArray) -> float:
    """About the largest singular value, and not above it, by a few multiplications."""
    x = np.abs(A).sum(axis=0)
    for _ in range(ROUGHLY):
        x = A.T @ (A @ (x / max(float(np.linalg.norm(x)), 1e-300)))
    return math.sqrt(float(np.linalg.norm(x)))


def _largest(product: Callable[[FloatArray], FloatArray], order: int) -> float:
    """The largest eigenvalue of a symmetric matrix that is only multiplied; errs by the tolerance's square or so."""
    operator = LinearOperator((order, order), matvec=product, dtype=np.float64)
    start = np.random.default_rng(0).standard_normal(order)
    try:
        return float(eigsh(operator, k=1, which="LA", v0=start, tol=1e-6, return_eigenvectors=False)[0])
    except ArpackError:
        for _ in range(POWERS):
            start = product(start / max(float(np.linalg.norm(start)), 1e-300))
        return float(np.linalg.norm(start))


def best_weights(
    gradients: Gradients, time_limit: float | None = None, keep: Callable[[FloatArray], object] = lambda _: None
) -> FloatArray:
    """θ (N,) > 0 whose bound is smallest, or what was found in ``time_limit`` seconds; no row of U or B is zero.

    No step is begun that would take longer, by the slowest so far. ``keep`` gets every θ that is better than those
    before, for callers that do not wait for the end.
    """
    N = len(gradients.U)
    if N == 0:
        return np.ones(0)
    deadline, order = Deadline.after(time_limit), gradients.U.shape[1] + gradients.B.shape[1]
    guess, slowest = SECONDS_PER_FLOP * (4.0 * N * order**2 + 8.0 * N**2 * order + 2.0 * order**3 + N**3), 0.0
    # With rows of unit norm the weights are near 1 where a constant weight is good.
    u, b = np.linalg.norm(gradients.U, axis=1), np.linalg.norm(gradients.B, axis=1)
    root = np.sqrt(u * b)
    norm_b, norm_u = spectral_norm(gradients.B), spectral_norm(gradients.U)
    s = np.log(max(norm_b, 1e-300) / max(norm_u, 1e-300) * u / b)
    keep(np.exp(s) * b / u)
    unit = 0.5 * max(spectral_norm(gradients.J) + norm_b * norm_u, 1e-300)
    scaled = Gradients(
        gradients.U * (root / u / math.sqrt(unit))[:, None],
        gradients.B * (root / b / math.sqrt(unit))[:, None],
        gradients.J / unit,
    )
    least = max(scaled.bound(np.exp(s), np.exp(-s)), 1e-300)
    best, L, below, weight = s, 1.1 * least, 0.0, order / least
    while (slowest or guess) < deadline.left and not L - below <= GAP * L:
        begun = time.perf_counter()
        with np.errstate(all="ignore"):
            step = _newton(scaled, L, s, weight)
        if step is None:
            # Near the boundary rounding makes the slack singular; the weights so far will do.
            break
        L, s, centred, under = step
        below = max(below, under)
        if least > L:
            best, least = s, L
            keep(np.exp(best) * b / u)
        if centred:
            if order / weight < 0.1 * GAP * least:
                # Rounding keeps the two bounds apart.
                break
            weight *= GROWTH
        slowest = max(slowest, time.perf_counter() - begun)
    return np.asarray(np.exp(best) * b / u)


def _newton(
    gradients: Gradients, L: float, s: FloatArray, weight: float
) -> tuple[float, FloatArray, bool, float] | None:
    """A step that decreases ``weight L − log det(2L − M(s))``; None where rounding makes the system singular.

    (L, s) where it leads, strictly feasible; whether there is hardly more to gain; what no weights have a bound below.
    """
    try:
        gradient, hessian, below = _derivatives(gradients, L, s, weight)
        step = -np.linalg.solve(hessian, gradient)
    except np.linalg.LinAlgError:
        return None
    decrement = -float(gradient @ step)
    if not decrement > 0 or not np.isfinite(step).all():
        return None
    size, value = min(1.0, LARGEST / max(float(np.abs(step[1:]).max()), 1e-300)), _barrier(gradients, L, s, weight)
    for _ in range(40):
        moved = L + size * step[0], s + size * step[1:]
        if _barrier(gradients, *moved, weight) <= value - 0.1 * size * decrement:
            return *moved, decrement < CENTRED, below
        size *= 0.5
    return L, s, True, below


def _barrier(gradients: Gradients, L: float, s: FloatArray, weight: float) -> float:
    try:
        return weight * L - 2.0 * float(np.log(np.diag(np.linalg.cholesky(gradients.slack(L, s)))).sum())
    except np.linalg.LinAlgError:
        return math.inf


def _derivatives(gradients: Gradients, L: float, s: FloatArray, weight: float) -> tuple[FloatArray, FloatArray, float]:
    """Gradient and Hessian of the barrier in (L, s), gathered from ``A Z Aᵀ``, as each term of M has rank two, and the
    bound that no weights have, from Z divided by twice its trace."""
    d, N = gradients.U.shape[1], len(s)
    Z = np.linalg.inv(gradients.slack(L, s))
    Z = 0.5 * (Z + Z.T)
    A = np.zeros((2 * N, len(Z)))
    A[:N, :d] = np.exp(0.5 * s)[:, None] * gradients.U
    A[N:, d:] = np.exp(-0.5 * s)[:, None] * gradients.B
    AZ = A @ Z
    gram = AZ @ A.T
    own, length = np.diag(gram), np.sum(AZ**2, axis=1)
    gram = gram * gram
    hessian = np.empty((N + 1, N + 1))
    hessian[0, 0] = 4.0 * float(np.sum(Z**2))
    hessian[0, 1:] = hessian[1:, 0] = -2.0 * (length[:N] - length[N:])
    hessian[1:, 1:] = gram[:N, :N] - gram[:N, N:] - gram[N:, :N] + gram[N:, N:] + np.diag(own[:N] + own[N:])
    trace = 2.0 * float(np.trace(Z))
    gradient = np.concatenate([[weight - trace], own[:N] - own[N:]])
    cross = gradients.U.T @ gradients.B + 2.0 * gradients.J.T
    below = 2.0 * float(np.sum(Z[:d, d:] * cross) + np.sqrt(own[:N] * own[N:]).sum())
    return gradient, hessian, below / trace
