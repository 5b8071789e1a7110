"""The group lasso for a quadratic loss, whose curvature may differ from row to row and couple the outputs.

    min over x (m×c)  Q(T − S(Hx)) + Σ_j limit_j‖x_j‖ + Σ_j decay_j/2 ‖x_j‖²,   Q(r) = max ⟨R,r⟩ − ½‖R‖²

over R (n×c) in a box, so that Q is half the square where there is no box, and linear far out where there is one; S is
invertible and acts on each row of an (n×c) matrix. The dual, max ⟨R,T⟩ − ½‖R‖² over R in the box with
‖h_jᵀ(SR)‖ ≤ limit_j for every column h_j without decay, is solved by the method of multipliers; its multipliers are x,
and of the box B = T − S(Hx) − R. Each inner problem is smooth, and a semismooth Newton method solves it (Li, Sun, Toh
2018, arXiv 1607.05428). The identity in the dual Hessian, which a quadratic loss puts there, keeps every Newton system
definite, so that duplicate or collinear columns do no harm. An output bias is a column of ones whose limit is 0.
"""

from dataclasses import dataclass

import numpy as np

from certificates.failure import Deadline
from certnet.training.curvature import Curvature, compact, newton_step
from formulations._validation import FloatArray

OUTER_ITERATIONS = INNER_ITERATIONS = 60
LARGEST_PENALTY = 1e7  # Of the method of multipliers, times the mean limit.
PENALTY_GROWTH = 10.0  # Its growth where the gap has not shrunk tenfold. Measured: 5 and 20 take up to 14 % more steps.
BOX_ROUNDS = 5  # Rounds in which a dual is made feasible for the output bias and the box.


@dataclass(frozen=True, eq=False)
class QuadraticLasso:
    """See the module's text. The columns S(h_j) (n, m) and the target T (n, c) have norms of about 1.

    The box is (lower, upper) of R, (n, c) each with 0 in it, and S a diagonal with it; None where there is none.
    """

    H: FloatArray
    curvature: Curvature
    target: FloatArray
    limit: FloatArray
    decay: FloatArray
    box: tuple[FloatArray, FloatArray] | None = None

    def __post_init__(self) -> None:
        # Where S is one number for each row, it joins H.
        if self.curvature.is_uniform:
            object.__setattr__(self, "H", np.sqrt(self.curvature.diagonal) * self.H)
            object.__setattr__(self, "curvature", Curvature(np.ones((len(self.H), 1)), None))

    def boxed(self, R: FloatArray) -> FloatArray:
        """R moved into the box."""
        return R if self.box is None else np.clip(R, *self.box)

    def fitted(self, x: FloatArray) -> FloatArray:
        """S(Hx)."""
        return self.curvature.root(self.H @ x)

    def correlation(self, R: FloatArray) -> FloatArray:
        """(m, c) h_jᵀ(SR)."""
        return np.asarray(self.H.T @ self.curvature.root(R))

    def value(self, x: FloatArray) -> float:
        """The objective."""
        cost = self.limit @ np.linalg.norm(x, axis=1) + 0.5 * float(self.decay @ np.sum(x**2, axis=1))
        rest = self.target - self.fitted(x)
        R = self.boxed(rest)
        return float(np.sum(R * (rest - 0.5 * R))) + float(cost)

    def dual_value(self, R: FloatArray) -> float:
        """The dual value of the best multiple of R in the box, R being made feasible for a column without limit."""
        R, penalised = self.boxed(R), self.decay > 0
        for j in np.flatnonzero(~penalised & (self.limit == 0)).tolist():
            R = self._without(R, j)
        correlation = self.correlation(R)
        inner, square = float(np.sum(R * self.target)), float(np.sum(R**2))
        square += float(np.sum(np.sum(correlation[penalised] ** 2, axis=1) / self.decay[penalised]))
        if not (inner > 0 and square > 0):
            return 0.0
        limited = self.limit > 0
        ratio = float((np.linalg.norm(correlation[limited], axis=1) / self.limit[limited]).max(initial=0.0))
        s = min(inner / square, 1.0 / ratio if ratio > 0 else np.inf, 1.0 if self.box is not None else np.inf)
        return s * inner - 0.5 * s * s * square

    def _without(self, R: FloatArray, j: int) -> FloatArray:
        """R less its part along column j, in which rows at the ends of the box do not share."""
        column, units = self.H[:, j : j + 1], np.eye(R.shape[1])
        for _ in range(BOX_ROUNDS if self.box is not None else 1):
            inside = np.ones(R.shape) if self.box is None else (self.box[0] < R) & (self.box[1] > R)
            ones = np.stack([inside * self.curvature.root(column * unit) for unit in units])
            products = np.tensordot(ones, ones, ((1, 2), (1, 2)))
            excess = (column.T @ self.curvature.root(R))[0]
            R = self.boxed(R - np.tensordot(np.linalg.pinv(products, hermitian=True) @ excess, ones, 1))
        return R

    def multipliers(self, P: FloatArray, Q: FloatArray, penalty: float) -> tuple[FloatArray, FloatArray]:
        """The new (x, B): the proximal maps of P = x + σHᵀSR and Q = B + σR."""
        x = ((1.0 - self._shrinkage(P, penalty)) / (1.0 + penalty * self.decay))[:, None] * P
        return x, np.zeros_like(Q) if self.box is None else Q - penalty * np.clip(Q / penalty, *self.box)

    def _shrinkage(self, P: FloatArray, penalty: float) -> FloatArray:
        """(m,) threshold over the norm of each row of P, at most 1."""
        size = np.maximum(np.linalg.norm(P, axis=1), 1e-300)
        return np.asarray(np.minimum(penalty * self.limit / size, 1.0))

    def newton(
        self, P: FloatArray, Q: FloatArray, penalty: float, gradient: FloatArray, deadline: Deadline
    ) -> FloatArray:
        """The Newton step of R for the augmented Lagrangian, of this gradient.

        That is ½‖R‖² − ⟨R,T⟩ + Σ of the Moreau envelopes at P, and of the box at Q.
        """
        ratio = self._shrinkage(P, penalty)
        active = np.flatnonzero(ratio < 1.0)
        z = P[active] / np.maximum(np.linalg.norm(P[active], axis=1), 1e-300)[:, None]
        factor = penalty / (1.0 + penalty * self.decay[active])
        # L_j, symmetric, with L² = factor ((1 − ratio)I + ratio zzᵀ), the derivative of a proximal map.
        root = np.sqrt(1.0 - ratio[active])[:, None, None]
        roots = root * np.eye(z.shape[1]) + (1.0 - root) * z[:, :, None] * z[:, None, :]
        roots = np.sqrt(factor)[:, None, None] * roots
        if self.box is None:
            return -newton_step(self.H[:, active], self.curvature, roots, gradient, deadline)
        outside = np.sqrt(1.0 + penalty * (self.boxed(Q / penalty) != Q / penalty))
        curvature = compact(self.curvature.diagonal / outside**2)
        return np.asarray(-newton_step(self.H[:, active], curvature, roots, gradient / outside, deadline) / outside)


def solve_quadratic(
    problem: QuadraticLasso, x: FloatArray, tolerance: float, relative: float, penalty: float, deadline: Deadline
) -> tuple[FloatArray, FloatArray, float, int]:
    """(x, R, last penalty, Newton steps) from x, up to a gap of ``tolerance``, or of ``relative`` times the value.

    ``penalty`` is the first one, in units of the inverse mean limit: small, or what the last one of a similar problem
    was.

    The dual value is taken at the Newton iterate R, which is nearer to dual feasibility than T − S(Hx): rounding in x
    is magnified by 1/limit there.
    """
    rest, mean = problem.target - problem.fitted(x), float(problem.limit[problem.limit > 0].mean())
    R = problem.boxed(rest)
    B = rest - R
    best = (x, R) if np.any(x) else (np.zeros_like(x), problem.boxed(problem.target))
    lowest, highest = problem.value(best[0]), problem.dual_value(R)
    penalty, most = penalty / mean, LARGEST_PENALTY / mean
    steps, stalled, gap, inner_tolerance = 0, 0, np.inf, 1e-3
    for _ in range(OUTER_ITERATIONS):
        R, x, B, more = _newton(problem, x, B, R, penalty, inner_tolerance, deadline)
        steps += more
        value, dual = problem.value(x), problem.dual_value(R)
        best = (x if value <= lowest else best[0], R if dual >= highest else best[1])
        lowest, highest = min(value, lowest), max(dual, highest)
        previous, gap = gap, max(lowest - highest, 0.0)
        stalled = 0 if gap < 0.7 * previous or penalty < most else stalled + 1
        if gap <= max(tolerance, relative * lowest) or stalled > 5 or deadline.passed:
            break
        if gap > 0.1 * previous:
            penalty = min(penalty * PENALTY_GROWTH, most)
        inner_tolerance = max(min(0.2 * inner_tolerance, 0.1 * gap / max(lowest, 1e-300)), 1e-14)
    return best[0], problem.boxed(best[1]), penalty * mean, steps


def _newton(
    problem: QuadraticLasso,
    x: FloatArray,
    B: FloatArray,
    R: FloatArray,
    penalty: float,
    tolerance: float,
    deadline: Deadline,
) -> tuple[FloatArray, FloatArray, FloatArray, int]:
    """Minimise the augmented Lagrangian over R. Returns R, the new multipliers x and B, and the number of steps."""
    rest, P, Q = R - problem.target, x + penalty * problem.correlation(R), B + penalty * R
    x, B = problem.multipliers(P, Q, penalty)
    steps, smallest, stalled = 0, np.inf, 0
    while steps < INNER_ITERATIONS:
        steps += 1
        gradient = rest + problem.fitted(x) + B
        size = float(np.linalg.norm(gradient))
        # Near the rounding error of the multipliers the gradient stops shrinking; more steps are then useless.
        stalled = 0 if size < 0.5 * smallest else stalled + 1
        smallest = min(size, smallest)
        if not (size > tolerance) or (stalled > 4 and size < 1e-7) or deadline.passed:
            break
        step = problem.newton(P, Q, penalty, gradient, deadline)
        change = penalty * problem.correlation(step)
        way, slope = (step, change, penalty * step), float(np.sum(gradient * step))
        length = _step_length(problem, penalty, (rest, P, Q), way, slope)
        if length == 0.0:
            break
        rest, P, Q = rest + length * step, P + length * change, Q + length * penalty * step
        x, B = problem.multipliers(P, Q, penalty)
    return rest + problem.target, x, B, steps


def _step_length(
    problem: QuadraticLasso,
    penalty: float,
    point: tuple[FloatArray, ...],
    way: tuple[FloatArray, ...],
    slope: float,
) -> float:
    """By bisection on the derivative of the augmented Lagrangian along a step, which is convex: this never cycles.

    ``point`` is (R − T, P, Q), and the step moves it along ``way``. 0 where it does not descend.
    """
    low, high, length = 0.0, np.inf, 1.0
    for _ in range(70 if slope < 0 else 0):
        rest, P, Q = (old + length * move for old, move in zip(point, way, strict=True))
        x, B = problem.multipliers(P, Q, penalty)
        at = float(np.sum((rest + B) * way[0])) + float(np.sum(x * way[1])) / penalty
        if abs(at) <= (0.5 if high == np.inf else 0.3) * abs(slope):
            return length
        low, high = (length, high) if at < 0 else (low, length)
        length = min(2.0 * length, 1e6) if high == np.inf else 0.5 * (low + high)
    return low
