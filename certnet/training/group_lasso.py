"""The convex half of training: output weights and the output bias for fixed hidden directions, by a group lasso.

    min over V (c×m)  L(HVᵀ) + γ Σ_j ‖v_j‖        dual:  max −L*(−W)  over W (n×c) with ‖h_jᵀW‖ ≤ γ

for any ``Loss`` L, which holds the output bias and the weights of the rows. ``quadratic_lasso`` solves it for a
quadratic, and for a loss whose dual earns a quadratic within a box. For the others L is replaced by the quadratic of
its own Hessian (Newton's method). Where the dual earns something linear in a box, the loss has kinks, and the proximal
point method (Rockafellar 1976) solves it: each step has ``D(w) − ε/2 ‖w − w'‖²`` about the last w' in place of D(w),
so that W converges to a multiplier on the kinks, where a gradient would say nothing.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from certificates.failure import NO_DEADLINE, Deadline
from certnet.training.curvature import Curvature, compact
from certnet.training.quadratic_lasso import QuadraticLasso, solve_quadratic
from formulations._validation import FloatArray, as_positive
from formulations.errors import InputError
from formulations.loss import Loss
from formulations.losses import SIGNS, Quadratic

FLOOR = 1e-4  # Least curvature of a row at first, relative to the mean: rows without any are held near.
FLOOR_CHANGE = 0.03  # Factor of it after a full step; the inverse after one that had to be shortened.
SMOOTHING_DECAY = 0.3  # Factor of ε where the gap has not shrunk tenfold.
LEAST_SMOOTHING = 1e-5  # The least ε, over the targets' spread.


@dataclass(frozen=True)
class Settings:
    """Numbers that an experiment could move."""

    cold_penalty: float = 0.05
    """The first penalty of a quadratic problem, see ``solve_quadratic``. Measured: on 60 rows with
    120 directions half of it, and twice, take 6 % more Newton steps with cross-entropy."""
    warm_penalty: float = 0.5
    """The same where there are output weights to start from. Measured: with 50 the neurons of iris that stay are fewer
    (squared loss, γ = 0.1), and column generation needs more than 12 rounds in place of 7 to 10."""
    newton_penalty: float = 50.0
    """The same of Newton's method for another loss. Measured: a third of the time of 0.5 on wine, cross-entropy."""
    kink_penalty: float = 5.0
    """The same in each proximal point step. Measured: carrying it over takes up to 6 times the Newton steps."""
    forcing: float = 0.03
    """Accuracy of the quadratic problem of a step, relative to the gap before it. Measured: there half of it,
    and twice, take up to 18 and 11 % more Newton steps."""
    smoothing: float = 0.1
    """ε of the first, in units of the targets' spread. Measured: there twice as much takes up to 10 % more."""
    patience: int = 2
    """Steps at the least ε that do not halve the gap after which it ends. Measured: on 8 rows with the hinge loss, with
    two of three directions almost the same, the gap stays at 3e-10 of the value; 200 steps in place of 2,600."""


SETTINGS = Settings()


@dataclass(frozen=True, eq=False)
class GroupLassoResult:
    """Output weights and how near to optimal they are.

    Attributes:
        V: (c, m); columns that are not needed are exactly zero.
        W: (n, c) the dual that goes with them: about −∇L(HVᵀ), and at kinks the multiplier; in the domain.
        objective, dual_value: of V, and a lower bound from W scaled to dual feasibility (floating point).
        gap: (objective − dual_value)/objective, 0 when the objective is 0.
        iterations: Newton steps on quadratic problems.
    """

    V: FloatArray
    W: FloatArray
    objective: float
    dual_value: float
    gap: float
    iterations: int


def group_lasso(
    H: FloatArray,
    loss: Loss,
    gamma: float,
    V0: FloatArray | None = None,
    *,
    tolerance: float = 1e-10,
    deadline: Deadline = NO_DEADLINE,
) -> GroupLassoResult:
    """Minimise L(HVᵀ) + γ Σ_j ‖v_j‖ over V (c×m), from V0 on, up to a relative duality gap.

    Columns of H (n×m), the hidden activations of unit directions, may be zero, duplicate and collinear. After the
    deadline the current iterate is returned.

    Raises:
        InputError: shapes that disagree, entries that are not finite, or γ that is not positive.
    """
    (n, c), H = loss.shape, np.asarray(H, dtype=np.float64)
    gamma = as_positive("gamma", gamma)
    if H.ndim != 2 or H.shape[0] != n:
        raise InputError(f"H must have one row for each of the {n} rows of Y, but its shape is {H.shape}.")
    if not np.isfinite(H).all():
        raise InputError("H has entries that are not finite; remove those columns first.")
    x = np.zeros((H.shape[1], c)) if V0 is None else V0.T.copy()
    # At the optimum of a squared loss ‖W‖ is at most that of the zero network, and then the others are zero. Under
    # another loss W may grow, and columns that turn out to violate join.
    useful = np.linalg.norm(H, axis=0) * loss.size() > gamma
    x[~useful] = 0.0
    solve = _quadratic if isinstance(loss.kind, Quadratic) else _newton
    steps = 0
    while True:
        best = _Lasso(H[:, useful], loss, gamma, tolerance, deadline)
        best.offer(x[useful])
        solve(best)
        x[useful], steps = best.x, steps + best.steps
        more = ~useful & (np.linalg.norm(H.T @ best.W, axis=1) > gamma * (1.0 + tolerance))
        if not more.any() or deadline.passed:
            break
        useful |= more
    best.H = H
    objective, dual_value = best.value(x, best.a), best.dual_value(best.W)
    gap = max(objective - dual_value, 0.0) / objective if objective > 0 else 0.0
    return GroupLassoResult(x.T, best.W, objective, dual_value, gap, steps)


@dataclass(eq=False)
class _Lasso:
    """L(Hx) + γ Σ‖x_j‖ over x (m×c), with the best point (x, a) and the best dual so far; at first those of zero."""

    H: FloatArray
    loss: Loss
    gamma: float
    tolerance: float
    deadline: Deadline

    def __post_init__(self) -> None:
        self.x, self.W = np.zeros((self.H.shape[1], self.loss.shape[1])), np.zeros(self.loss.shape)
        self.a = self.loss.bias(self.H @ self.x)
        self.best, self.best_dual, self.steps = self.value(self.x, self.a), 0.0, 0

    def value(self, x: FloatArray, a: FloatArray) -> float:
        return self.loss.value(self.H @ x, a) + self.gamma * float(np.sum(np.linalg.norm(x, axis=1)))

    def dual_value(self, W: FloatArray) -> float:
        """What sW earns for the largest s ≤ 1 with ‖h_jᵀsW‖ ≤ γ; s = 0 is always possible."""
        price = float(np.linalg.norm(self.H.T @ W, axis=1).max(initial=0.0))
        earned = self.loss.dual_value(min(1.0, self.gamma / price if price > 0 else 1.0) * W)
        return earned if earned > 0 else 0.0

    @property
    def gap(self) -> float:
        """How far the values are apart."""
        return self.best - self.best_dual

    @property
    def is_done(self) -> bool:
        """Whether that is enough, or the time is over."""
        return not self.gap > self.tolerance * self.best or self.deadline.passed

    def offer(self, x: FloatArray, a: FloatArray | None = None) -> None:
        """Keep a better point, by default with the best bias."""
        a = self.loss.bias(self.H @ x) if a is None else a
        value = self.value(x, a)
        if value < self.best:
            self.x, self.a, self.best = x, a, value

    def offer_dual(self, W: FloatArray) -> None:
        """Keep a better dual."""
        value = self.dual_value(W)
        if value >= self.best_dual:
            self.W, self.best_dual = W, value


def _newton(best: _Lasso) -> None:
    """Newton's method with a line search, for a loss without kinks."""
    loss, H, floor = best.loss, best.H, FLOOR
    penalty = SETTINGS.newton_penalty if best.x.any() else SETTINGS.cold_penalty
    for _ in range(50):
        x, a = best.x, best.a
        best.offer_dual(W := loss.dual(H @ x, a))
        if best.is_done or not len(x):
            break
        curvature = _curvature(loss, H @ x + a, floor)
        target = curvature.root(H @ x + a) + curvature.inverse_root(W)
        gap = best.gap
        # The gap is of the order of the error, and the decrease that Newton's step promises of its square.
        wanted = max(SETTINGS.forcing * gap * min(gap / best.best, 1.0), 0.01 * best.tolerance * best.best)
        step = _solution(best, curvature, target, (x, a), wanted, penalty)
        penalty, best.steps = step.penalty, best.steps + step.steps
        best.offer_dual(loss.project(step.W))
        before, length, there = best.best, 1.0, (step.x, step.a)
        while best.value(*there) > before - 1e-4 * length * step.decrease and length > 1e-9:
            length *= 0.5
            there = x + length * (step.x - x), a + length * (step.a - a)
        floor = min(max(floor * (FLOOR_CHANGE if length == 1.0 else 1.0 / FLOOR_CHANGE), 1e-11), 1.0)
        best.offer(*there)
        best.offer(best.x)
        if not (before - best.best > 0.01 * best.tolerance * before or best.gap < 0.5 * gap):
            break


def _curvature(loss: Loss, f: FloatArray, floor: float) -> Curvature:
    """The Hessian of the rows at f; a curvature below that part of the mean is raised to it."""
    diagonal, row = loss.curvature(f)
    omega = loss.sample_weight[:, None]
    least = np.maximum(floor * omega * float(np.mean(diagonal / omega)), 1e-300)
    return Curvature(diagonal + least, row) if loss.kind.couples else compact(np.maximum(diagonal, least))


def _quadratic(best: _Lasso) -> None:
    """One quadratic problem, or, where the dual earns something linear, one for each proximal point step."""
    loss = best.loss
    omega, zero = loss.sample_weight[:, None], np.zeros(loss.shape)
    lower, upper = loss.limits
    is_boxed = bool(np.isfinite(lower).any() or np.isfinite(upper).any())
    kinks, size = loss.kind.has_kinks, spread(loss)
    centre = loss.kind.fitted(zero, loss.target) / loss.unit
    epsilon, W = SETTINGS.smoothing * size if kinks else 1.0, zero
    (x, a), stalled = (best.x, best.a), 0
    for number in range(40 if kinks else 1):
        if best.is_done or not len(x) or stalled > SETTINGS.patience:
            break
        curvature = compact(np.broadcast_to(omega / epsilon, loss.shape))
        root = np.sqrt(curvature.diagonal)
        target = root * (centre + epsilon * W / omega) if kinks else root * centre
        wanted = max(0.3 * best.tolerance * best.best, SETTINGS.forcing * best.gap) if kinks else None
        box = (lower / root, upper / root) if is_boxed else None
        step = _solution(best, curvature, target, (x, a), wanted, SETTINGS.kink_penalty if kinks else None, box)
        best.steps += step.steps
        x, a, W = step.x, step.a, loss.project(step.W)
        before = best.gap
        best.offer(x, a)
        best.offer_dual(W)
        # The least ε is where rounding stops the gap, between almost equal columns for one.
        stalled = stalled + 1 if epsilon <= LEAST_SMOOTHING * size and best.gap > 0.5 * before else 0
        if number and best.gap > 0.1 * before:
            epsilon = max(SMOOTHING_DECAY * epsilon, LEAST_SMOOTHING * size)
    if not kinks:
        best.offer(best.x)
        best.offer_dual(loss.dual(best.H @ best.x))


class _Solution(NamedTuple):
    """Of a quadratic problem: by how much it is better than the start, and the Newton steps it took."""

    x: FloatArray
    a: FloatArray
    W: FloatArray
    decrease: float
    penalty: float
    steps: int


def _solution(
    problem: _Lasso,
    curvature: Curvature,
    target: FloatArray,
    start: tuple[FloatArray, FloatArray],
    tolerance: float | None,
    penalty: float | None = None,
    box: tuple[FloatArray, FloatArray] | None = None,
) -> _Solution:
    """The problem with ``Q(target − S(Hx + a))`` in place of L, from (x, a), in normal units.

    Up to ``tolerance``, or to the relative one of the whole problem where that is None; ``penalty`` is that of
    ``solve_quadratic``.
    """
    loss, columns, (z, a) = problem.loss, problem.H, start
    limit, decay = np.full(columns.shape[1], problem.gamma), np.zeros(columns.shape[1])
    if loss.has_bias:
        columns, z = np.hstack([columns, np.ones((len(columns), 1))]), np.vstack([z, a])
        limit, decay = np.append(limit, 0.0), np.append(decay, loss.bias_decay)
    unit, lengths = float(np.linalg.norm(target)), np.maximum(curvature.lengths(columns), 1e-300)
    limit, decay, z = limit / (lengths * unit), decay / lengths**2, z * lengths[:, None] / unit
    box = None if box is None else (box[0] / unit, box[1] / unit)
    model = QuadraticLasso(columns / lengths, curvature, target / unit, limit, decay, box)
    limits = (0.0, problem.tolerance) if tolerance is None else (tolerance / unit**2, 0.0)
    penalty = penalty or (SETTINGS.warm_penalty if z.any() else SETTINGS.cold_penalty)
    found, R, penalty, steps = solve_quadratic(model, z, *limits, penalty, problem.deadline)
    decrease = max(model.value(z) - model.value(found), 0.0) * unit**2
    found = unit * found / lengths[:, None]
    x, a = (found[:-1], found[-1]) if loss.has_bias else (found, a)
    return _Solution(x, a, curvature.root(unit * R), decrease, penalty, steps)


def spread(loss: Loss) -> float:
    """About how large fitted values are: the targets' standard deviation, or 1 for classes."""
    spread = 1.0 if loss.kind.targets == SIGNS else float(np.std(loss.target, axis=0).max())
    return spread if spread > 0 else max(float(np.abs(loss.target).max()), 1.0)
