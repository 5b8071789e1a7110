"""The convex half of training: output weights for fixed hidden directions, by a group lasso or by ridge regression.

The dual of the group lasso, max ⟨R,Y⟩ − ½‖R‖² over R (n×c) with ‖h_jᵀR‖ ≤ γ for every column h_j, is solved by the
method of multipliers; its multipliers are V. Each inner problem is smooth, and a semismooth Newton method solves it
(Li, Sun, Toh 2018, arXiv 1607.05428). The identity in the dual Hessian, which the squared loss puts there, keeps every
Newton system definite, so that duplicate or collinear columns do no harm.
"""

from dataclasses import dataclass

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from certificates.failure import NO_DEADLINE, Deadline
from formulations._validation import FloatArray, as_matrix, as_positive
from formulations.errors import InputError
from formulations.training import TrainingProgram

OUTER_ITERATIONS = INNER_ITERATIONS = 60


@dataclass(frozen=True)
class Settings:
    """Numbers that an experiment could move."""

    largest_direct_system: int = 2500
    """Order up to which a Newton system is factored; beyond, conjugate gradients. Not measured."""
    largest_penalty: float = 1e4
    """Of the method of multipliers, times the mean limit. Not measured."""
    penalty_growth: float = 5.0
    """Its growth where the gap has not shrunk tenfold. Not measured."""


SETTINGS = Settings()

DECAYS = 10.0 ** np.arange(-10.0, 2.0)
"""Ridge parameters that are tried, relative to the mean square of a hidden neuron's outputs."""


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


@dataclass(frozen=True, eq=False)
class _Problem:
    """½‖Hx − Y‖² + Σ limit_j‖x_j‖ over x (m×c)."""

    H: FloatArray
    Y: FloatArray
    limit: FloatArray
    tolerance: float
    deadline: Deadline

    def value(self, x: FloatArray) -> float:
        return 0.5 * float(np.sum((self.Y - self.H @ x) ** 2)) + float(self.limit @ np.linalg.norm(x, axis=1))

    def dual_value(self, R: FloatArray) -> float:
        """⟨sR,Y⟩ − ½‖sR‖² for the best s at which sR satisfies ‖h_jᵀsR‖ ≤ limit_j; 0 is always possible."""
        inner, square = float(np.sum(R * self.Y)), float(np.sum(R**2))
        if not (inner > 0 and square > 0):
            return 0.0
        ratio = float((np.linalg.norm(self.H.T @ R, axis=1) / self.limit).max(initial=0.0))
        s = min(inner / square, 1.0 / ratio if ratio > 0 else np.inf)
        return s * inner - 0.5 * s * s * square


def group_lasso(
    H: FloatArray,
    Y: FloatArray,
    gamma: float,
    V0: FloatArray | None = None,
    *,
    tolerance: float = 1e-10,
    deadline: Deadline = NO_DEADLINE,
) -> GroupLassoResult:
    """Minimise ½‖HVᵀ − Y‖_F² + γ Σ_j ‖v_j‖ over V (c×m).

    Args:
        H: (n, m) hidden activations of unit directions; zero, duplicate and collinear columns are allowed.
        Y: (n, c) targets.
        gamma: γ > 0.
        V0: warm start, (c, m).
        tolerance: relative duality gap at which to stop.
        deadline: the current iterate is returned after it.

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
    duals, steps = [], 0
    if len(useful):
        unit = _Problem(H[:, useful] / norm[useful], Y / size, gamma / (norm[useful] * size), tolerance, deadline)
        start = np.zeros((len(useful), Y.shape[1])) if V0 is None else (V0[:, useful] * norm[useful] / size).T
        x, R, steps = _multiplier_method(unit, start)
        V[:, useful] = size * x.T / norm[useful]
        duals.append(size * R)
    given = _Problem(H, Y, np.full(H.shape[1], gamma), tolerance, deadline)
    residual, objective = Y - H @ V.T, given.value(V.T)
    dual_value = max(given.dual_value(R) for R in (residual, *duals))
    gap = max(objective - dual_value, 0.0) / objective if objective > 0 else 0.0
    return GroupLassoResult(V, residual, objective, dual_value, gap, steps)


def _multiplier_method(problem: _Problem, x: FloatArray) -> tuple[FloatArray, FloatArray, int]:
    """Solve the problem, whose columns have unit norm, from x.

    The dual value is taken at the Newton iterate R, which is nearer to dual feasibility than Y − Hx: rounding in x is
    magnified by 1/limit there.
    """
    R, mean = problem.Y - problem.H @ x, float(problem.limit.mean())
    best = (x, R) if np.any(x) else (np.zeros_like(x), problem.Y)
    lowest, highest = problem.value(best[0]), problem.dual_value(R)
    penalty, most = (0.5 if np.any(x) else 0.05) / mean, SETTINGS.largest_penalty / mean
    steps, stalled, gap, inner_tolerance = 0, 0, np.inf, 1e-3
    for _ in range(OUTER_ITERATIONS):
        R, x, more = _newton(problem, x, R, penalty, inner_tolerance)
        steps += more
        value, dual = problem.value(x), problem.dual_value(R)
        best = (x if value <= lowest else best[0], R if dual >= highest else best[1])
        lowest, highest = min(value, lowest), max(dual, highest)
        previous, gap = gap, max(lowest - highest, 0.0) / max(lowest, 1e-300)
        stalled = 0 if gap < 0.7 * previous or penalty < most else stalled + 1
        if gap <= problem.tolerance or stalled > 5 or problem.deadline.passed:
            break
        if gap > 0.1 * previous:
            penalty = min(penalty * SETTINGS.penalty_growth, most)
        inner_tolerance = max(min(0.2 * inner_tolerance, 0.1 * gap), 1e-14)
    return *best, steps


def _thresholded(T: FloatArray, threshold: FloatArray) -> FloatArray:
    """Rows of T shortened by the threshold, to no less than 0."""
    shrink = np.maximum(1.0 - threshold / np.maximum(np.linalg.norm(T, axis=1), 1e-300), 0.0)
    return np.asarray(shrink[:, None] * T)


def _newton(
    problem: _Problem, x: FloatArray, R: FloatArray, penalty: float, tolerance: float
) -> tuple[FloatArray, FloatArray, int]:
    """Minimise the augmented Lagrangian ½‖R‖² − ⟨R,Y⟩ + Σ (‖x_j + σh_jᵀR‖ − σ limit_j)₊²/2σ over R.

    Returns R, the new multipliers (the thresholded x + σHᵀR), and the number of steps.
    """
    H, Y, threshold = problem.H, problem.Y, penalty * problem.limit
    T = x + penalty * (H.T @ R)
    steps, smallest, stalled = 0, np.inf, 0
    while steps < INNER_ITERATIONS:
        steps += 1
        norm = np.linalg.norm(T, axis=1)
        active = np.flatnonzero(norm > threshold)
        ratio = threshold[active] / norm[active]
        z = T[active] / norm[active, None]
        gradient = R - Y + H[:, active] @ ((1.0 - ratio)[:, None] * T[active])
        size = float(np.linalg.norm(gradient))
        # Near the rounding error of the multipliers the gradient stops shrinking; more steps are then useless.
        stalled = 0 if size < 0.5 * smallest else stalled + 1
        smallest = min(size, smallest)
        if not (size > tolerance) or (stalled > 4 and size < 1e-7) or problem.deadline.passed:
            break
        step = -_solve(H[:, active], ratio, z, penalty, gradient, problem.deadline)
        change = penalty * (H.T @ step)
        length = _step_length(R - Y, T, threshold, penalty, step, change, float(np.sum(gradient * step)))
        if length == 0.0:
            break
        R, T = R + length * step, T + length * change
    return R, _thresholded(T, threshold), steps


def _step_length(
    rest: FloatArray,
    T: FloatArray,
    threshold: FloatArray,
    penalty: float,
    step: FloatArray,
    change: FloatArray,
    slope: float,
) -> float:
    """By bisection on the derivative of the augmented Lagrangian along a step, which is convex: this never cycles.

    ``rest`` is R − Y; the step moves R by ``step`` and T by ``change``.
    """

    def derivative(length: float) -> float:
        smooth = float(np.sum((rest + length * step) * step))
        return smooth + float(np.sum(_thresholded(T + length * change, threshold) * change)) / penalty

    if not (slope < 0):
        return 0.0
    low, high, at = 0.0, 1.0, derivative(1.0)
    if abs(at) <= 0.5 * abs(slope):
        return 1.0
    if at < 0:
        while at < 0.5 * slope and high < 1e6:
            low, high = high, 2.0 * high
            at = derivative(high)
        if at <= 0:
            return high
    for _ in range(50):
        middle = 0.5 * (low + high)
        at = derivative(middle)
        if abs(at) <= 0.3 * abs(slope):
            return middle
        low, high = (middle, high) if at < 0 else (low, middle)
    return low


def _solve(
    H: FloatArray, ratio: FloatArray, z: FloatArray, penalty: float, G: FloatArray, deadline: Deadline
) -> FloatArray:
    """(I + σ Σ_j h_jh_jᵀ ⊗ P_j)⁻¹ G for G (n×c), where P_j = (1 − ratio_j)I + ratio_j z_jz_jᵀ."""
    (n, c), a = G.shape, H.shape[1]
    if a == 0:
        return G
    root = np.sqrt(1.0 - ratio)
    L = root[:, None, None] * np.eye(c) + (1.0 - root)[:, None, None] * z[:, :, None] * z[:, None, :]
    if min(a, n) * c > SETTINGS.largest_direct_system:
        return _conjugate_gradients(H, ratio, z, penalty, G, deadline)
    try:
        if a <= n:
            gram = np.einsum("ij,ipq,jqr->ipjr", H.T @ H, L, L, optimize=True).reshape(a * c, a * c)
            gram[np.diag_indices(a * c)] += 1.0 / penalty
            right = np.einsum("ipq,iq->ip", L, H.T @ G).ravel()
            weight = cho_solve(cho_factor(gram, lower=True, overwrite_a=True), right).reshape(a, c)
            return np.asarray(G - H @ np.einsum("ipq,iq->ip", L, weight))
        B = np.einsum("nj,jpq->npjq", H, L).reshape(n * c, a * c)
        matrix = penalty * (B @ B.T)
        matrix[np.diag_indices(n * c)] += 1.0
        return np.asarray(cho_solve(cho_factor(matrix, lower=True, overwrite_a=True), G.ravel()).reshape(n, c))
    except LinAlgError:
        return _conjugate_gradients(H, ratio, z, penalty, G, deadline)


def _conjugate_gradients(
    H: FloatArray, ratio: FloatArray, z: FloatArray, penalty: float, G: FloatArray, deadline: Deadline
) -> FloatArray:
    """The same system without forming it, to the accuracy that Newton needs."""
    x, r, p = np.zeros_like(G), G.copy(), G.copy()
    rho = float(np.sum(r**2))
    target = 1e-20 * rho
    for _ in range(300):
        if not (rho > target) or deadline.passed:
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


def best_ridge(program: TrainingProgram, U: FloatArray) -> FloatArray:
    """V (c, m) that minimises ``½‖HVᵀ − Y‖² + κ/2 ‖V‖²`` with ``H = (XU)₊``, for the best κ of a few.

    The best is the one whose network, once balanced, has the smallest objective ``½‖HVᵀ − Y‖² + γ Σ ‖u_j‖‖v_j‖``. One
    eigendecomposition of order min(n, m) serves every κ.

    Args:
        program: X (n, d), Y (n, c) and γ.
        U: (d, m) hidden weights.
    """
    H = np.maximum(program.X @ U, 0.0)
    n, m = H.shape
    tall = m <= n
    values, vectors = np.linalg.eigh(H.T @ H if tall else H @ H.T)
    values = np.maximum(values, 0.0)
    moments = vectors.T @ (H.T @ program.Y if tall else program.Y)
    lengths = np.linalg.norm(U, axis=0)
    best, least = np.zeros((program.shape[2], m)), np.inf
    for decay in DECAYS * float(values.sum()) / max(m, 1):
        if not decay > 0:
            break
        part = vectors @ (moments / (values + decay)[:, None])
        V = part if tall else H.T @ part
        loss = 0.5 * float(np.sum((H @ V - program.Y) ** 2))
        objective = loss + program.gamma * float(lengths @ np.linalg.norm(V, axis=1))
        if objective < least:
            best, least = V.T, objective
    return best
