"""The joint bound: training over a tree of sign splits, with one W for all leaves.

The moment matrix is a sum ``G = Σ G_l`` over the leaves, each on the smaller face of its leaf, coupled through the
loss alone. The dual asks for the best common W such that every leaf's slack is positive semidefinite, with multipliers
of its own. So the value is at least that of any fixed W on the same leaves, and a disjunctive bound on the optimum.

Interior point as in ``certnet.solvers.interior_point``, with the arrow of ``certnet.solvers._joint_newton``. Of the
products those that an iterate violates become constraints, leaf by leaf.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from certnet.solvers._cost import step_seconds
from certnet.solvers._face_problem import FaceProblem, face_problem, feasible_multipliers, node_problem
from certnet.solvers._iterate import Iterate, extended
from certnet.solvers._joint_newton import JointDirection, JointNewton, LeafPoint
from certnet.solvers._newton import is_positive_definite, longest_step
from certnet.solvers._products import violated
from formulations import Part, Program, restrict
from formulations._validation import FloatArray, IntArray

MAX_ITERATIONS = 120
MAX_ROUNDS = 10
FIRST_GAP = 1e-2
STEP_FRACTION = 0.95
SHORT_STEP, SHORT_STEPS = 1e-2, 4
RESET_RESIDUAL = 1e-2
CENTRE_ERROR = 0.3
START_SHIFT = 0.03
"""What a start adds to S, as a part of the mean eigenvalue over all leaves."""
INTERIOR_SHARES = (0.1, 0.25, 0.5)
"""Part that a strictly feasible dual gets in the one where a solve starts: the first that makes all slacks definite.

The dual of a parent is feasible for its children. Without the products that are left out it may not quite be.
"""
PRODUCTS_PER_ORDER = 5
ROUNDING = 1e-13
SMALL_EIGENVALUE = 1e-6
SMALL_MULTIPLIER = 1e-3
NO_ROWS = np.zeros((0, 0))
SMALL_TRACE = 1e-3
"""Leaves whose S is below this part of the mean carry nothing; what they violate is noise."""
NEGLIGIBLE = 1e-5
"""Multipliers below this part of a leaf's largest do not take part in the next solve."""


@dataclass(frozen=True, eq=False)
class LeafStart:
    """What is known of a leaf: a face matrix S of order f+k+c and multipliers N over its inequalities, t at (α_i, β_i).

    N has the sense of ``Dual``.
    """

    S: FloatArray
    N: FloatArray


@dataclass(frozen=True, eq=False)
class JointLeaf:
    """A leaf of a solution: its node, the last S, and N of the best dual."""

    node: Part
    S: FloatArray
    N: FloatArray


@dataclass(frozen=True, eq=False)
class JointResult:
    """The best W and multipliers of every leaf that are feasible for it.

    Attributes:
        W: (f, c); zero where no dual was feasible.
        leaves: in the order that was asked for.
        value: ⟨W,T⟩ − ½‖W‖² in the program's own scale, a bound up to rounding; −∞ where no dual was feasible.
        objective: of the last primal iterate, in the program's own scale; near the bound where the solve has converged.
        gap: relative distance of the two, with the residuals.
        steps: Newton steps.
        products: constraints of this kind at the end.
        bytes: of the Schur complements of all leaves.
        seconds: of the solve.
    """

    W: FloatArray
    leaves: tuple[JointLeaf, ...]
    value: float
    objective: float
    gap: float
    steps: int
    products: int
    bytes: int
    seconds: float


@dataclass(frozen=True)
class JointProgress:
    """A look at a running solve: ``value`` is the best feasible dual's, in the program's own scale."""

    steps: int
    value: float
    objective: float
    error: float


def solve_joint(
    program: Program,
    signs: Sequence[IntArray],
    W: FloatArray,
    starts: Sequence[LeafStart],
    *,
    tolerance: float = 1e-3,
    max_rounds: int = MAX_ROUNDS,
    max_iterations: int = MAX_ITERATIONS,
    time_limit: float | None = None,
    callback: Callable[[JointProgress], bool | None] | None = None,
) -> JointResult:
    """Maximise the common bound over W and the multipliers of all leaves.

    Args:
        program: presolved training program.
        signs: (N,) fixed signs of each leaf; together they cover the cone.
        W: (f, c) where to start.
        starts: one for each leaf.
        tolerance: relative gap.
        max_rounds: limit on solves with ever more products. A search goes on with what this solve has found, so
            two are enough for it.
        max_iterations: Newton steps.
        time_limit: seconds.
        callback: called at every step; a true value ends the solve.
    """
    run = _Run(program, signs, tolerance, max_rounds, max_iterations, time_limit, callback)
    run.start(W, starts)
    run.solve()
    return run.result()


@dataclass(frozen=True, eq=False)
class _Measure:
    """The points of all leaves, the residual of W, and what follows from them."""

    points: tuple[LeafPoint, ...]
    moments: tuple[FloatArray, ...]
    rows: FloatArray
    mu: float
    primal: float
    dual: float
    primal_residual: float
    dual_residual: float

    @property
    def error(self) -> float:
        """The largest of residuals and relative gap."""
        gap = abs(self.primal - self.dual) / max(abs(self.primal), abs(self.dual), 1e-300)
        return float(np.max([gap, self.primal_residual, self.dual_residual]))


class _Run:
    def __init__(
        self,
        program: Program,
        signs: Sequence[IntArray],
        tolerance: float,
        max_rounds: int,
        max_iterations: int,
        time_limit: float | None,
        callback: Callable[[JointProgress], bool | None] | None,
    ) -> None:
        self.begin = time.perf_counter()
        self.deadline = None if time_limit is None else self.begin + time_limit
        self.program = program
        self.nodes = [restrict(program, item) for item in signs]
        self.problems = [node_problem(program, node) for node in self.nodes]
        c = program.space.outputs
        self.losses = [(node.features[:, None] * c + np.arange(c)).ravel() for node in self.nodes]
        self.targets = program.target.ravel()
        self.tolerance, self.callback = tolerance, callback
        self.max_rounds, self.max_iterations = max_rounds, max_iterations
        self.steps = self.short = 0
        self.last_step = 0.0
        self.centre: tuple[_Measure, FloatArray] | None = None
        self.best: tuple[float, FloatArray, tuple[Iterate, ...]] | None = None

    def start(self, W: FloatArray, starts: Sequence[LeafStart]) -> None:
        """Move approximate solutions into the cones; see ``certnet.solvers._iterate.warm_start``."""
        inner = feasible_multipliers(face_problem(self.program.with_inequalities(NO_ROWS)), self.program)
        orders = sum(problem.order for problem in self.problems)
        shift = START_SHIFT * max(sum(float(np.trace(start.S)) for start in starts) / orders, 1e-12)
        for share in INTERIOR_SHARES:
            self.W = (1.0 - share) * W.ravel() + share * inner[: len(self.targets)]
            duals = [
                self._start_dual(number, start, share, inner[len(self.targets) :])
                for number, start in enumerate(starts)
            ]
            if all(least >= SMALL_EIGENVALUE * self.program.gamma for _, least in duals):
                break
        leaves = [
            self._start_primal(number, start, at, least, shift)
            for number, (start, (at, least)) in enumerate(zip(starts, duals, strict=True))
        ]
        mu = sum(float(np.sum(at.S * at.M)) for at in leaves) / orders
        self.leaves = [self._lifted(number, at, mu) for number, at in enumerate(leaves)]

    def _start_dual(self, number: int, start: LeafStart, share: float, inner_t: FloatArray) -> tuple[Iterate, float]:
        """The leaf's multipliers mixed with strictly feasible ones, the slack as M, and its least eigenvalue."""
        node, problem = self.nodes[number], self.problems[number]
        p, q = kept_products(start.N, node)
        neuron = np.arange(len(node.free))
        t = (1.0 - share) * start.N[neuron, len(neuron) + neuron] + share * inner_t[node.free]
        y = np.concatenate([self.W[self.losses[number]], t, (1.0 - share) * start.N[p, q]])
        constraints = problem.with_products(p, q)
        slack = problem.cost - constraints.adjoint(y)
        at = Iterate(start.S, slack, y, np.zeros(len(p)), p, q)
        return at, float(np.linalg.eigvalsh(slack)[0])

    def _start_primal(self, number: int, start: LeafStart, at: Iterate, least: float, shift: float) -> Iterate:
        """S moved into the cone, and M too if the slack is not definite."""
        problem = self.problems[number]
        identity = np.eye(problem.order)
        S = 0.5 * (start.S + start.S.T)
        S = S + (shift + max(-float(np.linalg.eigvalsh(S)[0]), 0.0)) * identity
        enough = SMALL_EIGENVALUE * problem.unit
        M = at.M if least >= enough else at.M + (INTERIOR_SHARES[0] * problem.unit - least) * identity
        z = np.maximum(at.constraints(problem)(S)[problem.fixed :], shift)
        return replace(at, S=S, M=M, z=z)

    def _lifted(self, number: int, at: Iterate, mu: float) -> Iterate:
        """The multipliers of products raised towards ``mu/z``, as far as M stays well inside."""
        problem = self.problems[number]
        own = at.y[problem.fixed :]
        more = np.maximum(mu / at.z - own, 0.0)
        change = at.constraints(problem).adjoint(np.concatenate([np.zeros(problem.fixed), more]))
        share = min(1.0, 0.5 * longest_step(at.M, -change))
        y = at.y.copy()
        y[problem.fixed :] = np.maximum(own + share * more, SMALL_MULTIPLIER * mu / at.z)
        return replace(at, M=at.M - share * change, y=y)

    def solve(self) -> None:
        """Rounds of Newton steps, each followed by more products."""
        target = max(FIRST_GAP, self.tolerance)
        for number in range(self.max_rounds):
            seen = self._round(target)
            if seen is None or number == self.max_rounds - 1:
                return
            if not self._add_products(seen) and target <= self.tolerance:
                return
            target = self.tolerance

    def _round(self, target: float) -> _Measure | None:
        """Newton steps until ``target`` is met; None when time, steps or progress end first."""
        self.short, self.centre = 0, None
        while True:
            seen = self._measured()
            self._offer(seen)
            value = -np.inf if self.best is None else self.best[0]
            self.objective, self.error = seen.primal, seen.error
            if self.callback is not None and self.callback(JointProgress(self.steps, value, seen.primal, seen.error)):
                return None
            if self.centre is None and seen.error <= CENTRE_ERROR:
                self.centre = seen, self.W.copy()
            if seen.error <= target:
                return seen
            late = self.deadline is not None and time.perf_counter() + self._expected_seconds() >= self.deadline
            if late or self.steps >= self.max_iterations or self.short >= SHORT_STEPS:
                return None
            begin = time.perf_counter()
            try:
                step = self._newton(seen)
            except (np.linalg.LinAlgError, ValueError):
                # scipy raises ValueError for entries that are not finite; the iterate before it is kept.
                return None
            self.last_step = time.perf_counter() - begin
            self.steps += 1
            self.short = 0 if step > SHORT_STEP else self.short + 1

    def _expected_seconds(self) -> float:
        """What a Newton step may take: the last one's time, before it a guess by the sizes of the leaves."""
        return self.last_step or sum(step_seconds(len(at.y)) for at in self.leaves)

    def _measured(self) -> _Measure:
        points, moments, fitted = [], [], np.zeros_like(self.targets)
        cost = complementarity = squares = 0.0
        size, dual_residual = 0, 0.0
        for number, (problem, at, losses) in enumerate(zip(self.problems, self.leaves, self.losses, strict=True)):
            constraints, w = at.constraints(problem), len(losses)
            slack = problem.cost - constraints.adjoint(at.y)
            residual = float(np.linalg.norm(slack - at.M)) / max(float(np.linalg.norm(problem.cost)), 1e-300)
            if 0.0 < residual <= RESET_RESIDUAL and longest_step(at.M, slack - at.M) >= 2.0:
                # The slack is at least half of M, so taking its place costs little of the centrality.
                at, residual = replace(at, M=slack), 0.0
                self.leaves[number] = at
            if residual <= ROUNDING and is_positive_definite(slack):
                at, residual = replace(at, M=slack), 0.0
                self.leaves[number] = at
            dual_residual = max(dual_residual, residual)
            gram = constraints.gram(at.S)
            values = constraints.values(gram)
            fitted[losses] += values[:w]
            rows = -values
            rows[:w] = 0.0
            rows[problem.fixed :] += at.z
            squares += float(rows @ rows)
            cost += float(np.sum(problem.cost * at.S))
            complementarity += float(np.sum(at.S * at.M) + at.y[problem.fixed :] @ at.z)
            size += len(at.S) + len(at.z)
            points.append(LeafPoint(at, constraints, losses, problem.fixed, rows, slack - at.M))
            moments.append(problem.inequality_moments(gram))
        rows_of_W = self.targets - self.W - fitted
        squares += float(rows_of_W @ rows_of_W)
        return _Measure(
            points=tuple(points),
            moments=tuple(moments),
            rows=rows_of_W,
            mu=complementarity / size,
            primal=0.5 * float(np.sum((self.targets - fitted) ** 2)) + cost,
            dual=float(self.W @ self.targets - 0.5 * self.W @ self.W),
            primal_residual=float(np.sqrt(squares)) / (1.0 + float(np.linalg.norm(self.targets))),
            dual_residual=dual_residual,
        )

    def _offer(self, seen: _Measure) -> None:
        """Keep multipliers that are feasible for all leaves."""
        if seen.dual_residual == 0.0 and (self.best is None or seen.dual > self.best[0]):
            self.best = seen.dual, self.W.copy(), tuple(self.leaves)

    def _newton(self, seen: _Measure) -> float:
        system = JointNewton(seen.points, seen.rows)
        predictor = system.direction(0.0)
        step = min(1.0, system.step(predictor))
        size = sum(len(at.S) + len(at.z) for at in self.leaves)
        ratio = system.complementarity(predictor, step) / (size * seen.mu)
        centring = min(1.0, max(1e-6, ratio**3))
        direction = system.direction(centring * seen.mu, predictor)
        step = min(1.0, STEP_FRACTION * system.step(direction))
        self._move(direction, step)
        return step

    def _move(self, direction: JointDirection, step: float) -> None:
        W = self.W + step * direction.W
        leaves = []
        for at, change, losses in zip(self.leaves, direction.leaves, self.losses, strict=True):
            y = at.y + step * change.y
            y[: len(losses)] = W[losses]
            following = replace(at, S=at.S + step * change.S, M=at.M + step * change.M, y=y, z=at.z + step * change.z)
            if not (is_positive_definite(following.S) and is_positive_definite(following.M)):
                raise np.linalg.LinAlgError("The step left the cone by rounding.")
            leaves.append(following)
        self.W, self.leaves = W, leaves

    def _add_products(self, seen: _Measure) -> int:
        """Give every leaf that carries something its most violated products; returns how many.

        The next round begins at the centre of this one, well inside.
        """
        mean = sum(float(np.trace(at.S)) for at in self.leaves) / len(self.leaves)
        found = []
        for number, at in enumerate(self.leaves):
            count, p, q = PRODUCTS_PER_ORDER * self.problems[number].order, at.p, at.q
            if float(np.trace(at.S)) > SMALL_TRACE * mean:
                f = len(self.nodes[number].free)
                new_p, new_q = violated(seen.moments[number], f, (p, q), tolerance=self.tolerance, count=count)
                p, q = np.concatenate([p, new_p]), np.concatenate([q, new_q])
            found.append((p, q))
        added = sum(len(p) - len(at.p) for (p, _), at in zip(found, self.leaves, strict=True))
        if added:
            centre, self.W = self.centre or (seen, self.W)
            self.leaves = [
                extended(problem, point.at, moments, centre.mu, p, q)
                for problem, point, moments, (p, q) in zip(
                    self.problems, centre.points, centre.moments, found, strict=True
                )
            ]
        return added

    def result(self) -> JointResult:
        """The best feasible dual, and the last primal."""
        value, W, best = (-np.inf, np.zeros_like(self.W), None) if self.best is None else self.best
        leaves = []
        for number, node in enumerate(self.nodes):
            N = np.zeros((len(node.positions), len(node.positions)))
            if best is not None:
                N = multipliers_of(best[number], self.problems[number], node)
            leaves.append(JointLeaf(node, self.leaves[number].S, N))
        return JointResult(
            W=W.reshape(self.program.target.shape),
            leaves=tuple(leaves),
            value=value,
            objective=self.objective,
            gap=self.error,
            steps=self.steps,
            products=sum(len(at.p) for at in self.leaves),
            bytes=sum(8 * len(at.y) ** 2 for at in self.leaves),
            seconds=time.perf_counter() - self.begin,
        )


def multipliers_of(at: Iterate, problem: FaceProblem, node: Part) -> FloatArray:
    """N of an iterate over the inequalities of its leaf, with t at the complementary positions."""
    f = len(node.free)
    neuron = np.arange(f)
    N = np.zeros((len(node.positions), len(node.positions)))
    N[neuron, f + neuron] = at.y[problem.fixed - f : problem.fixed]
    N[at.p, at.q] = at.y[problem.fixed :]
    return N + N.T


def kept_products(N: FloatArray, node: Part) -> tuple[IntArray, IntArray]:
    """Products p < q with a multiplier that counts. Dropping more would cost the feasibility of the parent's dual."""
    upper = np.triu(N, 1)
    neuron = np.arange(len(node.free))
    upper[neuron, len(neuron) + neuron] = 0.0
    p, q = np.nonzero(upper > NEGLIGIBLE * max(float(upper.max(initial=0.0)), 1e-300))
    return p, q
