"""Shor's relaxation of training: a bound in time and memory linear in the rows, weaker than that with products.

Without products of inequalities, moments ``P = R Rᵀ`` of (u, v) decide everything. Generator a_i can have any moments
``G_αv = m_i + e_i`` and ``G_βv = −m_i + e_i`` with ``m_i = ½R_vR_uᵀa_i`` and e_i in ``h_i P_vv^½ {‖s‖ ≤ 1}``, where
``h_i = ½‖a_iR_u‖``. So the relaxation is

    min over R of  Σ_i min over e_i of ½‖κ_i(±m_i + e_i) − T_i‖²  +  γ/2 (⟨E, R_uR_uᵀ⟩ + ‖R_v‖²),

which L-BFGS minimises, where rows that share a feature are one with their mean target. The residuals at any R are a
dual W; the repair makes a valid bound of it, with R as a hint. That is the squared loss without an output bias. For any
other the W of the given networks are all there is: the inner minimum has no closed form there.
"""

import contextlib
from collections.abc import Callable, Iterable

import numpy as np

from certificates.failure import NO_DEADLINE, Deadline
from certificates.making.assemble import residual_dual
from certificates.making.repair import RepairedDual, repair_without_products
from certificates.making.shor_bound import Factor
from certnet.solvers.iterations import lbfgs
from formulations import Presolved, Program
from formulations._validation import FloatArray

RANK = 32
"""Columns of R; more than a few are needed only to have no bad local minima."""
ITERATIONS = 1000
ENOUGH = 1e-3
"""Relative distance of the bound from the relaxation's value at which nothing is left to gain."""
FIRST_LOOK, GROWTH = 10, 1.6
"""Iteration at which the first bound is computed, and by how much later the next ones are."""
NEWTON_STEPS = 30

Network = tuple[FloatArray, FloatArray]


def shor_bound(
    presolved: Presolved,
    *,
    networks: Iterable[Network] = (),
    deadline: Deadline = NO_DEADLINE,
    random_state: int = 0,
    callback: Callable[[RepairedDual], None] | None = None,
) -> RepairedDual:
    """The best bound of Shor's relaxation, or of the residuals of these networks without products.

    It has no products (``N`` is ``NO_PRODUCTS``), and what ``certnet.jobs.best.certify`` makes of it is checked in
    linear time too.

    Args:
        presolved: of the training problem.
        networks: (U, V) with weights d×m and c×m; their residuals are candidates, and R starts at the best.
        deadline: no iteration begins after it; a bound comes out anyway.
        random_state: seed of the first R.
        callback: called with each better dual, so that an interruption loses none.
    """
    with np.errstate(all="ignore"):
        run = _Descent(presolved, deadline, callback or (lambda dual: None))
        start = np.random.default_rng(random_state).standard_normal((run.k + run.c, run.rank)) / np.sqrt(run.rank)
        start *= run.balanced_size(start)
        starts = [start]
        for U, V in networks:
            run.offer(residual_dual(presolved.rows, U, V).W, [])
            starts.append(run.from_network(U, V, start))
        if run.has_closed_form:
            run.descend(starts)
    return run.best


class _Descent:
    """L-BFGS over R (k+c, rank), with bounds computed on the way."""

    def __init__(self, presolved: Presolved, deadline: Deadline, callback: Callable[[RepairedDual], None]) -> None:
        self.presolved, self.deadline, self.callback = presolved, deadline, callback
        program = presolved.program
        self.program: Program = program
        self.k, self.c = program.space.dimension, program.shape[1]
        self.rank = min(self.k + self.c, RANK)
        N = program.space.neurons
        assert program.loss is not None
        self.loss = program.loss
        self.has_closed_form = self.loss.kind.name == "squared" and not self.loss.has_bias
        self.picked = np.divmod(program.feature, N)
        squares, sums = np.zeros((2, N, 1)), np.zeros((2, N, self.c))
        omega, kappa, y = self.loss.sample_weight, program.weight, self.loss.target / self.loss.unit
        np.add.at(squares, self.picked, (omega * kappa**2)[:, None])
        np.add.at(sums, self.picked, (omega * kappa)[:, None] * y)
        self.weight = np.sqrt(squares)
        self.target = sums / np.where(squares > 0, self.weight, 1.0)
        self.square = np.sum(squares, axis=0)
        self.spread = 0.5 * float(np.sum(omega[:, None] * y**2) - np.sum(self.target**2))
        self.sides = np.array([1.0, -1.0])[:, None, None]
        merged = presolved.rows.program
        self.best = repair_without_products(merged, np.zeros(merged.shape))
        self.iteration, self.next_look = 0, float(FIRST_LOOK)

    def balanced_size(self, R: FloatArray) -> float:
        """A factor at which the moments have about the size that fits the targets."""
        size = np.linalg.norm(0.5 * self.program.space.generators @ R[: self.k] @ R[self.k :].T * self.weight[0])
        return float(np.sqrt(max(self.loss.size(), 1e-12) / max(float(size), 1e-12)))

    def from_network(self, U: FloatArray, V: FloatArray, start: FloatArray) -> FloatArray:
        """The moments of a network in few columns, with a little of ``start`` so that no direction is missing."""
        scaling = self.presolved.scaling
        R = np.vstack([scaling.apply_z(U), scaling.apply_v(V)])
        if not (R.size and np.isfinite(R).all()):
            return start
        left, singular, _ = np.linalg.svd(R, full_matrices=False)
        few = (left * singular)[:, : self.rank]
        mixed: FloatArray = 0.05 * start + np.pad(few, ((0, 0), (0, self.rank - few.shape[1])))
        return mixed

    def offer(self, W: FloatArray, factors: list[Factor]) -> None:
        """Repair a dual of the merged program, and keep it if its bound is the best."""
        found = repair_without_products(self.presolved.rows.program, W, factors=factors)
        if found.lower_bound > self.best.lower_bound:
            self.best = found
            self.callback(found)

    def descend(self, starts: list[FloatArray]) -> None:
        """Minimise from the best R until the deadline, and offer the duals on the way."""
        if self.deadline.passed:
            return
        with contextlib.suppress(np.linalg.LinAlgError):
            values = [self.point(start)[0] for start in starts]
            found = lbfgs(
                lambda R: self.point(R)[:2],
                starts[int(np.argmin(np.nan_to_num(values, nan=np.inf)))],
                max_iterations=ITERATIONS,
                least_change=1e-10,
                deadline=self.deadline,
                watch=self._watch,
            )
            self._look(found)

    def _watch(self, R: FloatArray) -> bool:
        self.iteration += 1
        if self.iteration < self.next_look:
            return False
        self.next_look *= GROWTH
        return self._look(R)

    def _look(self, R: FloatArray) -> bool:
        """Offer the dual of a point; true when its bound is near enough to the value."""
        scaling, merged = self.presolved.scaling, self.presolved.rows.program
        value, _, W = self.point(R)
        self.offer(scaling.unit * W, [(scaling.z @ R[: self.k], R[self.k :])])
        value = self.program.to_original(value + self.spread) - merged.constant
        return self.best.lower_bound - merged.constant >= (1.0 - ENOUGH) * value

    def point(self, R: FloatArray) -> tuple[float, FloatArray, FloatArray]:
        """Value, gradient and dual W (f×c) at R; O(N(k + c)·rank)."""
        program, A = self.program, self.program.space.generators
        R_u, R_v = R[: self.k], R[self.k :]
        U = A @ R_u
        size = np.sqrt(np.sum(U**2, axis=1, keepdims=True) + 1e-300)
        m = self.sides * (0.5 * U @ R_v.T)
        ideal = np.sum(self.weight * (self.target - self.weight * m), axis=0) / self.square
        values, axes = np.linalg.eigh(R_v @ R_v.T)
        values = np.maximum(values, 1e-14 * max(float(values[-1]), 1e-300))
        along = ideal @ axes
        e = along * values / (values + _secular(along, values, 0.5 * size)) @ axes.T
        fitted = m + e
        W = self.target - self.weight * fitted
        total, difference = np.sum(self.weight * W, axis=0), np.sum(self.sides * self.weight * W, axis=0)
        S = total @ R_v
        spread = np.sqrt(np.sum(S**2, axis=1, keepdims=True) + 1e-300)
        EU = program.metric @ R_u
        value = 0.5 * float(np.sum(W**2)) + 0.5 * program.gamma * float(np.sum(R_u * EU) + np.sum(R_v**2))
        pull_u = -0.5 * (difference @ R_v + spread / size * U)
        pull_v = -0.5 * (difference.T @ U + total.T @ (size / spread * S))
        gradient = np.vstack([A.T @ pull_u + program.gamma * EU, pull_v + program.gamma * R_v])
        own = self.loss.dual(program.weight[:, None] * fitted[self.picked])
        return value, gradient, own


def _secular(along: FloatArray, values: FloatArray, radius: FloatArray) -> FloatArray:
    """x ≥ 0 (N×1) with ``Σ_j values_j along_ij²/(x_i + values_j)² = radius_i²``, or 0 where the sum is smaller at 0.

    Newton's method on the reciprocal root, which is concave in x, so that steps from the left stay there.
    """
    root = np.sqrt(values)
    x: FloatArray = np.maximum(np.max(root * np.abs(along) / radius - values, axis=1, keepdims=True), 0.0)
    if len(values) == 1:
        return x
    for _ in range(NEWTON_STEPS):
        terms = values * (along / (x + values)) ** 2
        total = np.sum(terms, axis=1, keepdims=True)
        excess = np.sqrt(total) / radius
        step = (excess - 1.0) * total / np.maximum(np.sum(terms / (x + values), axis=1, keepdims=True), 1e-300)
        x = np.maximum(x + step, 0.0)
        if not float(np.max(np.where(x > 0, np.abs(excess - 1.0), 0.0), initial=0.0)) > 1e-13:
            break
    return x
