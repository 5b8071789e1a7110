"""The convex half of training: output weights for fixed hidden directions, a group lasso.

The dual, max ⟨R,Y⟩ − ½‖R‖² over R (n×c) with ‖h_jᵀR‖ ≤ γ for every column h_j, is solved by the method of
multipliers; its multipliers are V. Each inner problem is smooth, and a semismooth Newton method solves it (Li, Sun,
Toh 2018, arXiv 1607.05428). The identity in the dual Hessian keeps every Newton system definite, so that duplicate
or collinear columns do no harm.
"""

import time
from dataclasses import dataclass

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from formulations._validation import FloatArray, IntArray, as_matrix, as_positive
from formulations.errors import InputError

WORKING_SET = 400
LARGEST_DIRECT_SYSTEM = 2500
LARGEST_PENALTY = 1e4
OUTER_ITERATIONS = 60
INNER_ITERATIONS = 60


@dataclass(frozen=True, eq=False)
class GroupLassoResult:
    """Output weights and how near to optimal they are.

    Attributes:
        V: (c, m); columns that are not needed are exactly zero.
        residual: (n, c) Y − HVᵀ.
        objective: ½‖residual‖² + γ Σ‖v_j‖.
        dual_value: a lower bound on the optimum, from the residual scaled to dual feasibility (floating point).
        gap: (objective − dual_value)/objective, 0 when the objective is 0.
        iterations: Newton steps.
    """

    V: FloatArray
    residual: FloatArray
    objective: float
    dual_value: float
    gap: float
    iterations: int


def group_lasso(
    H: FloatArray,
    Y: FloatArray,
    gamma: float,
    V0: FloatArray | None = None,
    *,
    tolerance: float = 1e-10,
    deadline: float | None = None,
) -> GroupLassoResult:
    """Minimise ½‖HVᵀ − Y‖_F² + γ Σ_j ‖v_j‖ over V (c×m).

    Args:
        H: (n, m) hidden activations of unit directions; zero, duplicate and collinear columns are allowed.
        Y: (n, c) targets.
        gamma: γ > 0.
        V0: warm start, (c, m).
        tolerance: relative duality gap at which to stop.
        deadline: value of ``time.monotonic()`` after which the current iterate is returned.

    Raises:
        InputError: shapes that disagree, entries that are not finite, or γ that is not positive.
    """
    Y = as_matrix("Y", Y)
    H = np.asarray(H, dtype=np.float64)
    gamma = as_positive("gamma", gamma)
    if H.ndim != 2 or H.shape[0] != Y.shape[0]:
        raise InputError(f"H must have one row for each of the {Y.shape[0]} rows of Y, but its shape is {H.shape}.")
    if not np.isfinite(H).all():
        raise InputError("H has entries that are not finite; remove those columns first.")
    size = float(np.linalg.norm(Y))
    norm = np.linalg.norm(H, axis=0)
    V = np.zeros((Y.shape[1], H.shape[1]))
    # A column with h_jᵀY of norm ≤ ‖h_j‖‖Y‖ ≤ γ is zero at the optimum, because ‖R‖ ≤ ‖Y‖ there.
    useful = np.flatnonzero(norm * size > gamma)
    dual, steps = None, 0
    if len(useful):
        start = None if V0 is None else (V0[:, useful] * norm[useful] / size).T
        x, R, steps = _with_working_set(
            H[:, useful] / norm[useful], Y / size, gamma / (norm[useful] * size), start, tolerance, deadline
        )
        V[:, useful] = size * x.T / norm[useful]
        dual = size * R
    return _result(H, Y, gamma, V, dual, steps)


def _result(
    H: FloatArray, Y: FloatArray, gamma: float, V: FloatArray, dual: FloatArray | None, steps: int
) -> GroupLassoResult:
    residual = Y - H @ V.T
    objective = 0.5 * float(np.sum(residual**2)) + gamma * float(np.linalg.norm(V, axis=0).sum())
    limit = np.full(H.shape[1], gamma)
    dual_value = max(_dual_value(H, Y, limit, R) for R in (residual, dual) if R is not None)
    gap = max(objective - dual_value, 0.0) / objective if objective > 0 else 0.0
    return GroupLassoResult(V, residual, objective, dual_value, gap, steps)


def _dual_value(H: FloatArray, Y: FloatArray, limit: FloatArray, R: FloatArray) -> float:
    """⟨sR,Y⟩ − ½‖sR‖² for the best s at which sR satisfies ‖h_jᵀsR‖ ≤ limit_j; 0 is always possible."""
    inner, square = float(np.sum(R * Y)), float(np.sum(R**2))
    if not (inner > 0 and square > 0):
        return 0.0
    ratio = float((np.linalg.norm(H.T @ R, axis=1) / limit).max(initial=0.0))
    s = min(inner / square, 1.0 / ratio if ratio > 0 else np.inf)
    return s * inner - 0.5 * s * s * square


def _with_working_set(
    H: FloatArray, Y: FloatArray, limit: FloatArray, start: FloatArray | None, tolerance: float, deadline: float | None
) -> tuple[FloatArray, FloatArray, int]:
    """Solve for unit columns over a growing set of them; (m×c solution, n×c dual, Newton steps)."""
    m, c = H.shape[1], Y.shape[1]
    x = np.zeros((m, c)) if start is None else np.array(start)
    if m <= WORKING_SET:
        return _multiplier_method(H, Y, limit, x, tolerance, deadline)
    chosen = np.linalg.norm(x, axis=1) > 0
    steps = 0
    R = Y - H @ x
    for _ in range(OUTER_ITERATIONS):
        score = np.linalg.norm(H.T @ R, axis=1) / limit
        score[chosen] = -np.inf
        best = np.argsort(-score, kind="stable")[:WORKING_SET]
        fresh = best[score[best] > 1.0]
        if len(fresh) == 0 and steps:
            break
        chosen[fresh] = True
        index: IntArray = np.flatnonzero(chosen)
        x[index], R, more = _multiplier_method(H[:, index], Y, limit[index], x[index], tolerance, deadline)
        steps += max(more, 1)
        value = _value(H[:, index], Y, limit[index], x[index])
        if value - _dual_value(H, Y, limit, R) <= tolerance * value or _late(deadline):
            break
        chosen = np.linalg.norm(x, axis=1) > 0
    return x, R, steps


def _value(H: FloatArray, Y: FloatArray, limit: FloatArray, x: FloatArray) -> float:
    return 0.5 * float(np.sum((Y - H @ x) ** 2)) + float(limit @ np.linalg.norm(x, axis=1))


def _late(deadline: float | None) -> bool:
    return deadline is not None and time.monotonic() > deadline


def _multiplier_method(
    H: FloatArray, Y: FloatArray, limit: FloatArray, x: FloatArray, tolerance: float, deadline: float | None
) -> tuple[FloatArray, FloatArray, int]:
    """Minimise ½‖Hx − Y‖² + Σ limit_j‖x_j‖ over x (m×c), columns of H of unit norm.

    The dual value is taken at the Newton iterate R, which is nearer to dual feasibility than Y − Hx: rounding in x is
    magnified by 1/limit there.
    """
    R = Y - H @ x
    best = (x, R) if np.any(x) else (np.zeros_like(x), Y)
    lowest, highest = _value(H, Y, limit, best[0]), _dual_value(H, Y, limit, R)
    penalty = (0.5 if np.any(x) else 0.05) / float(limit.mean())
    steps, stalled, gap, inner_tolerance = 0, 0, np.inf, 1e-3
    for _ in range(OUTER_ITERATIONS):
        R, x, more = _newton(H, Y, limit, x, R, penalty, inner_tolerance, deadline)
        steps += more
        value, dual = _value(H, Y, limit, x), _dual_value(H, Y, limit, R)
        best = (x if value <= lowest else best[0], R if dual >= highest else best[1])
        lowest, highest = min(value, lowest), max(dual, highest)
        previous, gap = gap, max(lowest - highest, 0.0) / max(lowest, 1e-300)
        at_most = penalty >= LARGEST_PENALTY / float(limit.mean())
        stalled = 0 if gap < 0.7 * previous or not at_most else stalled + 1
        if gap <= tolerance or stalled > 5 or _late(deadline):
            break
        if gap > 0.1 * previous:
            penalty = min(penalty * 5.0, LARGEST_PENALTY / float(limit.mean()))
        inner_tolerance = max(min(0.2 * inner_tolerance, 0.1 * gap), 1e-14)
    return best[0], best[1], steps


def _newton(
    H: FloatArray,
    Y: FloatArray,
    limit: FloatArray,
    x: FloatArray,
    R: FloatArray,
    penalty: float,
    tolerance: float,
    deadline: float | None,
) -> tuple[FloatArray, FloatArray, int]:
    """Minimise the augmented Lagrangian ½‖R‖² − ⟨R,Y⟩ + Σ (‖x_j + σh_jᵀR‖ − σ limit_j)₊²/2σ over R.

    Returns R, the new multipliers (the thresholded x + σHᵀR), and the number of steps.
    """
    threshold = penalty * limit
    T = x + penalty * (H.T @ R)
    steps, smallest, stalled = 0, np.inf, 0
    for steps in range(1, INNER_ITERATIONS + 1):  # noqa: B007 - the last value is returned
        norm = np.linalg.norm(T, axis=1)
        active = np.flatnonzero(norm > threshold)
        ratio = threshold[active] / norm[active]
        z = T[active] / norm[active, None]
        kept = (1.0 - ratio)[:, None] * T[active]
        gradient = R - Y + H[:, active] @ kept
        size = float(np.linalg.norm(gradient))
        # Near the rounding error of the multipliers the gradient stops shrinking; more steps are then useless.
        stalled = 0 if size < 0.5 * smallest else stalled + 1
        smallest = min(size, smallest)
        if not (size > tolerance) or (stalled > 4 and size < 1e-7) or _late(deadline):
            break
        step = -_solve(H[:, active], ratio, z, penalty, gradient, deadline)
        change = penalty * (H.T @ step)
        length = _line_search(R, Y, T, threshold, penalty, step, change, float(np.sum(gradient * step)))
        if length == 0.0:
            break
        R = R + length * step
        T = T + length * change
    norm = np.linalg.norm(T, axis=1)
    shrink = np.maximum(1.0 - threshold / np.maximum(norm, 1e-300), 0.0)
    return R, shrink[:, None] * T, steps


def _line_search(
    R: FloatArray,
    Y: FloatArray,
    T: FloatArray,
    threshold: FloatArray,
    penalty: float,
    step: FloatArray,
    change: FloatArray,
    slope: float,
) -> float:
    """A step length by bisection on the derivative; the function is convex, so this never cycles."""

    def derivative(length: float) -> float:
        moved = T + length * change
        norm = np.linalg.norm(moved, axis=1)
        shrink = np.maximum(1.0 - threshold / np.maximum(norm, 1e-300), 0.0)
        smooth = float(np.sum((R + length * step - Y) * step))
        return smooth + float(np.sum(shrink[:, None] * moved * change)) / penalty

    if not (slope < 0):
        return 0.0
    low, high = 0.0, 1.0
    at_one = derivative(1.0)
    if abs(at_one) <= 0.5 * abs(slope):
        return 1.0
    if at_one < 0:
        while at_one < 0.5 * slope and high < 1e6:
            low, high = high, 2.0 * high
            at_one = derivative(high)
        if at_one <= 0:
            return high
    for _ in range(50):
        middle = 0.5 * (low + high)
        value = derivative(middle)
        if abs(value) <= 0.3 * abs(slope):
            return middle
        low, high = (middle, high) if value < 0 else (low, middle)
    return low


def _solve(
    H: FloatArray, ratio: FloatArray, z: FloatArray, penalty: float, G: FloatArray, deadline: float | None
) -> FloatArray:
    """(I + σ Σ_j h_jh_jᵀ ⊗ P_j)⁻¹ G for G (n×c), where P_j = (1 − ratio_j)I + ratio_j z_jz_jᵀ."""
    n, c = G.shape
    a = H.shape[1]
    if a == 0:
        return G
    root = np.sqrt(1.0 - ratio)
    L = root[:, None, None] * np.eye(c) + (1.0 - root)[:, None, None] * z[:, :, None] * z[:, None, :]
    if min(a, n) * c > LARGEST_DIRECT_SYSTEM:
        return _conjugate_gradients(H, ratio, z, penalty, G, deadline)
    try:
        if a <= n:
            gram = np.einsum("ij,ipq,jqr->ipjr", H.T @ H, L, L, optimize=True).reshape(a * c, a * c)
            gram[np.diag_indices(a * c)] += 1.0 / penalty
            right = np.einsum("ipq,iq->ip", L, H.T @ G).ravel()
            weight = cho_solve(cho_factor(gram, lower=True, overwrite_a=True), right).reshape(a, c)
            solution: FloatArray = G - H @ np.einsum("ipq,iq->ip", L, weight)
            return solution
        B = np.einsum("nj,jpq->npjq", H, L).reshape(n * c, a * c)
        matrix = penalty * (B @ B.T)
        matrix[np.diag_indices(n * c)] += 1.0
        direct: FloatArray = cho_solve(cho_factor(matrix, lower=True, overwrite_a=True), G.ravel()).reshape(n, c)
        return direct
    except LinAlgError:
        return _conjugate_gradients(H, ratio, z, penalty, G, deadline)


def _conjugate_gradients(
    H: FloatArray,
    ratio: FloatArray,
    z: FloatArray,
    penalty: float,
    G: FloatArray,
    deadline: float | None,
    iterations: int = 300,
) -> FloatArray:
    """The same system without forming it, to the accuracy that Newton needs."""
    x = np.zeros_like(G)
    r = G.copy()
    p = r.copy()
    rho = float(np.sum(r**2))
    target = 1e-20 * rho
    for _ in range(iterations):
        if not (rho > target) or _late(deadline):
            break
        T = H.T @ p
        T = (1.0 - ratio)[:, None] * T + (ratio * np.sum(T * z, axis=1))[:, None] * z
        Ap = p + penalty * (H @ T)
        step = rho / float(np.sum(p * Ap))
        x += step * p
        r -= step * Ap
        rho, previous = float(np.sum(r**2)), rho
        p = r + (rho / previous) * p
    return x
