"""Structured primal-dual interior point for the DNN relaxation, with lazily added products.

Every constraint matrix on the face is of rank two, so the Schur complement of the HKM direction is gathered from two
Gram matrices (``certnet.solvers._rank_two``). Of the products ``G_pq ≥ 0`` only those that an iterate violates become
constraints; the others keep the multiplier 0, so each dual iterate is one of the full relaxation whatever is still
missing. A short ADMM predicts most of the products that will be active, and gives the first bound. The first
round starts at multiples of the identity; the others go on from its first iterate with a moderate gap, which is well
centred: that halves their Newton steps, while later iterates lie too close to the boundary for new constraints.
Directions: Helmberg, Rendl, Vanderbei, Wolkowicz 1996; predictor and corrector: Mehrotra 1992.
"""

from dataclasses import dataclass, replace

import numpy as np

from certnet.solvers._face_problem import FaceProblem, face_problem, feasible_multipliers
from certnet.solvers._incumbent import Incumbent
from certnet.solvers._newton import NewtonSystem, is_positive_definite, longest_step
from certnet.solvers._rank_two import RankTwoMap
from certnet.solvers._session import Session, native_version
from certnet.solvers.admm import AdmmSolver
from certnet.solvers.interface import Progress, SolverOptions, SolverResult, SolveStatus
from formulations import LiftedProgram, RawDual, RawPrimal
from formulations._validation import FloatArray, IntArray

MAX_ITERATIONS = 400
"""Default limit on Newton steps over all rounds."""

MAX_PRODUCTS = 8000
"""Default limit on products; the Schur complement is a square matrix of about that order."""

FIRST_GAP = 0.01
GAP_REDUCTION = 1e-3
PREDICTION_STEPS = 400
PREDICTION_SHARE = 0.25
"""Share of a time limit that the ADMM may use to predict products."""

PRODUCTS_PER_ORDER = 5
PRIMAL_START = 10.0
DUAL_START = 1.0
STEP_FRACTION = 0.95
SHORT_STEP = 1e-2
SHORT_STEPS = 4
SMALL_ERROR = 1e-3
DETERIORATION = 20.0
RESET_RESIDUAL = 1e-6
CENTRE_GAP = 0.3
CENTRE_RESIDUAL = 1e-2
NEW_CORRELATION = 0.01
NEW_SHARE = 0.5
WARM_SIZE = 1e-6
REPAIR_EVERY = 5


@dataclass(frozen=True, eq=False)
class _Iterate:
    """S and M ≻ 0, multipliers y = (W, t, N_pq) and values z > 0 of the products (p, q)."""

    S: FloatArray
    M: FloatArray
    y: FloatArray
    z: FloatArray
    p: IntArray
    q: IntArray


@dataclass(frozen=True, eq=False)
class _Measure:
    """Residuals, objectives and products of an iterate."""

    rows: FloatArray
    dual_matrix: FloatArray
    mu: float
    primal: float
    dual: float
    primal_residual: float
    dual_residual: float
    moments: FloatArray

    @property
    def gap(self) -> float:
        """Relative distance of the two objectives."""
        return abs(self.primal - self.dual) / max(abs(self.primal), abs(self.dual), 1e-300)

    @property
    def error(self) -> float:
        """The largest of both residuals and the gap."""
        return float(np.max([self.primal_residual, self.dual_residual, self.gap]))

    @property
    def is_centre(self) -> bool:
        """True when later rounds may start here."""
        return self.gap <= CENTRE_GAP and max(self.primal_residual, self.dual_residual) <= CENTRE_RESIDUAL


@dataclass(frozen=True)
class InteriorPointSolver:
    """Interior point for programs of up to about 400 generators.

    Attributes:
        max_products: the most products that may become constraints.
    """

    max_products: int = MAX_PRODUCTS
    name: str = "interior-point"

    def unavailable(self) -> str | None:
        """Always None: the solver needs numpy and scipy alone."""
        return None

    def solve(self, program: LiftedProgram, options: SolverOptions) -> SolverResult:
        """Solve the DNN relaxation and return the last primal and the best strictly feasible dual iterate.

        The face matrix S of the result has an output block. ``options.warm_start`` tells which products to start from;
        without it a short ADMM does. ``options.max_iterations`` counts Newton steps.
        """
        run = _Run(program, options, self.max_products)
        try:
            status = run.solve()
        except KeyboardInterrupt:
            status = SolveStatus.INTERRUPTED
        return run.result(status, self.name)


class _Run:
    """State of one solve. ``iterate``, ``best`` and their measures are replaced whole, so an interrupt finds them
    consistent."""

    def __init__(self, program: LiftedProgram, options: SolverOptions, max_products: int) -> None:
        self.session = Session(options)
        self.program = program
        self.options = options
        self.max_products = max_products
        self.problem: FaceProblem = face_problem(program)
        self.limit = MAX_ITERATIONS if options.max_iterations is None else options.max_iterations
        self.iterations = 0
        self.rounds = 0
        self.least = np.inf
        self.measure: _Measure | None = None
        self.centre: tuple[_Iterate, _Measure] | None = None
        empty = np.zeros(0, dtype=np.int64)
        y = feasible_multipliers(self.problem)
        self.incumbent = Incumbent(program, self.problem.raw_dual(y, empty, empty))
        self.iterate = self.current = self._start(empty, empty)

    def _predict(self) -> SolveStatus | None:
        """Choose the first products, from the warm start or from a short ADMM; a status when the solve ends here."""
        neurons = self.program.space.neurons
        dual = None if self.options.warm_start is None else self.options.warm_start[1]
        status = None
        if dual is None or dual.N.shape != (2 * neurons, 2 * neurons) or dual.W.shape != self.program.target.shape:
            dual, status = self._short_admm()
        self.incumbent.offer_repaired(dual)
        size = np.where(_is_product(neurons), dual.N, 0.0)
        p, q = np.nonzero(size > WARM_SIZE * max(float(size.max()), 1e-300))
        largest = np.argsort(-size[p, q], kind="stable")[: self.max_products]
        self.iterate = self.current = self._start(p[largest], q[largest])
        return status

    def _short_admm(self) -> tuple[RawDual, SolveStatus | None]:
        limit = self.options.time_limit
        options = replace(
            self.options,
            time_limit=None if limit is None else PREDICTION_SHARE * limit,
            max_iterations=PREDICTION_STEPS,
            callback=None if self.options.callback is None else self._report_prediction,
            warm_start=None,
        )
        result = AdmmSolver().solve(self.program, options)
        ends = result.status in (SolveStatus.STOPPED, SolveStatus.INTERRUPTED)
        assert result.dual is not None  # the ADMM always has one
        return result.dual, result.status if ends else None

    def _report_prediction(self, progress: Progress) -> bool:
        """Pass a look at the ADMM on; its dual is repaired first, like everything that may be returned."""
        self.incumbent.offer_repaired(progress.dual())
        callback = self.options.callback
        return bool(callback and callback(replace(progress, iteration=0, dual=self.incumbent.copy)))

    def _start(self, p: IntArray, q: IntArray) -> _Iterate:
        order = self.problem.order
        dual = DUAL_START * self.program.gamma
        y = np.zeros(self.problem.fixed + len(p))
        y[self.problem.fixed :] = dual
        return _Iterate(PRIMAL_START * np.eye(order), dual * np.eye(order), y, np.full(len(p), PRIMAL_START), p, q)

    def solve(self) -> SolveStatus:
        """Rounds of Newton steps; each ends at its own tolerance and is followed by more products."""
        tolerance = self.options.tolerance
        target = max(FIRST_GAP, tolerance)
        ended = self._predict()
        if ended is not None:
            return ended
        while True:
            status = self._round(target)
            if status is SolveStatus.INACCURATE and self.centre is not None and not (self.least <= SMALL_ERROR):
                # The warm start failed; a central one, of this round and of those after it, takes its place.
                self.centre = None
                self.current = self._start(self.current.p, self.current.q)
                status = self._round(target)
            if status not in (SolveStatus.CONVERGED, SolveStatus.INACCURATE) or self.measure is None:
                return status
            self.rounds += 1
            iterate, added = self._add_products(self.measure)
            if added:
                self.current = iterate
            elif target <= tolerance:
                missing = not (self._violation(self.measure) >= -max(tolerance, 1e-7))
                return SolveStatus.INACCURATE if missing else status
            elif status is SolveStatus.INACCURATE:
                return status
            target = max(target * GAP_REDUCTION, tolerance)

    def _round(self, target: float) -> SolveStatus:
        """Newton steps until ``target`` is met. INACCURATE when no further progress is possible."""
        short = 0
        self.least = least = np.inf
        while True:
            constraints = self.problem.with_products(self.current.p, self.current.q)
            iterate, measure = self._measure(self.current, constraints)
            self.current = iterate
            if measure.error < least or self.measure is None:
                self.iterate, self.measure, least = iterate, measure, measure.error
                self.least = least
            if self.centre is None and measure.is_centre:
                self.centre = iterate, measure
            if self._report(iterate, measure) is not None:
                return SolveStatus.STOPPED
            if measure.error <= target:
                return SolveStatus.CONVERGED
            if self.session.out_of_time():
                return SolveStatus.TIME_LIMIT
            if self.iterations >= self.limit:
                return SolveStatus.ITERATION_LIMIT
            if short >= SHORT_STEPS or (least < SMALL_ERROR and not (measure.error <= DETERIORATION * least)):
                return SolveStatus.INACCURATE
            try:
                following, step = self._newton(iterate, measure, constraints)
            except (np.linalg.LinAlgError, ValueError):
                # scipy raises ValueError for entries that are not finite; the iterate before it is kept.
                return SolveStatus.INACCURATE
            self.iterations += 1
            short = 0 if step > SHORT_STEP else short + 1
            self.current = following

    def _newton(self, at: _Iterate, measure: _Measure, constraints: RankTwoMap) -> tuple[_Iterate, float]:
        system = NewtonSystem(
            constraints,
            (at.S, at.M, at.y, at.z),
            (measure.rows, measure.dual_matrix),
            (self.problem.losses, self.problem.fixed),
        )
        predictor = system.direction(0.0)
        step = min(1.0, system.step(predictor))
        size = len(at.S) + len(at.z)
        ratio = system.complementarity(predictor, step) / (size * measure.mu)
        centring = min(1.0, max(1e-6, ratio**3))
        direction = system.direction(centring * measure.mu, predictor)
        step = min(1.0, STEP_FRACTION * system.step(direction))
        following = replace(
            at,
            S=at.S + step * direction.S,
            M=at.M + step * direction.M,
            y=at.y + step * direction.y,
            z=at.z + step * direction.z,
        )
        if not (is_positive_definite(following.S) and is_positive_definite(following.M)):
            raise np.linalg.LinAlgError("The step left the cone by rounding.")
        return following, step

    def _measure(self, at: _Iterate, constraints: RankTwoMap) -> tuple[_Iterate, _Measure]:
        """Residuals of an iterate. A tiny dual residual is removed exactly, which makes y strictly feasible."""
        problem, program = self.problem, self.program
        losses, fixed = problem.losses, problem.fixed
        slack = problem.cost - constraints.adjoint(at.y)
        scale = float(np.linalg.norm(problem.cost))
        dual_residual = float(np.linalg.norm(slack - at.M)) / scale
        W = at.y[:losses].reshape(program.target.shape)
        if dual_residual <= RESET_RESIDUAL and is_positive_definite(slack):
            at, dual_residual = replace(at, M=slack), 0.0
            self.incumbent.offer(problem.raw_dual(at.y, at.p, at.q))
        elif self.iterations % REPAIR_EVERY == 0:
            self.incumbent.offer_repaired(problem.raw_dual(at.y, at.p, at.q))
        moments = constraints.gram(at.S)
        values = constraints.weight * moments[constraints.first, constraints.second]
        rows = -values
        rows[:losses] += problem.target - at.y[:losses]
        rows[fixed:] += at.z
        complementarity = float(np.sum(at.S * at.M) + at.y[fixed:] @ at.z)
        loss = 0.5 * float(np.sum((problem.target - values[:losses]) ** 2))
        return at, _Measure(
            rows=rows,
            dual_matrix=slack - at.M,
            mu=complementarity / (len(at.S) + len(at.z)),
            primal=loss + float(np.sum(problem.cost * at.S)),
            dual=program.dual_value(W),
            primal_residual=float(np.linalg.norm(rows)) / (1.0 + float(np.linalg.norm(problem.target))),
            dual_residual=dual_residual,
            moments=moments,
        )

    def _correlations(self, measure: _Measure) -> FloatArray:
        """``G_pq / √(G_pp G_qq)``; a product is judged by it because rows differ in size."""
        neurons = self.program.space.neurons
        G = measure.moments[: 2 * neurons, : 2 * neurons]
        size = np.sqrt(np.maximum(np.diag(G), 1e-14))
        return np.where(_is_product(neurons), G / np.outer(size, size), 0.0)

    def _violation(self, measure: _Measure) -> float:
        return float(np.min(self._correlations(measure), initial=0.0))

    def _add_products(self, measure: _Measure) -> tuple[_Iterate, int]:
        """A start with the most violated products added, and how many they are."""
        at = self.iterate
        correlation = self._correlations(measure)
        correlation[at.p, at.q] = 0.0
        p, q = np.nonzero(correlation < -self.options.tolerance)
        room = self.max_products - len(at.p)
        count = min(max(PRODUCTS_PER_ORDER * self.problem.order, len(at.p)), room, len(p))
        worst = np.argsort(correlation[p, q], kind="stable")[: max(count, 0)]
        p, q = np.concatenate([at.p, p[worst]]), np.concatenate([at.q, q[worst]])
        return self._start(p, q) if self.centre is None else self._start_at(*self.centre, p, q), len(worst)

    def _start_at(self, at: _Iterate, measure: _Measure, p: IntArray, q: IntArray) -> _Iterate:
        """An old iterate with the products beyond its own appended; its dual residual stays as it is."""
        fixed, own = self.problem.fixed, len(at.p)
        new_p, new_q = p[own:], q[own:]
        size = np.sqrt(np.maximum(np.diag(measure.moments), 1e-14))
        z = np.maximum(measure.moments[new_p, new_q], NEW_CORRELATION * size[new_p] * size[new_q])
        y = np.concatenate([np.zeros(fixed), measure.mu / z])
        change = self.problem.with_products(new_p, new_q).adjoint(y)
        share = min(1.0, NEW_SHARE * longest_step(at.M, -change))
        return _Iterate(
            S=at.S,
            M=at.M - share * change,
            y=np.concatenate([at.y, share * y[fixed:]]),
            z=np.concatenate([at.z, z]),
            p=p,
            q=q,
        )

    def _report(self, at: _Iterate, measure: _Measure) -> SolveStatus | None:
        return self.session.report(
            iteration=self.iterations,
            objective=measure.primal,
            primal_residual=measure.primal_residual,
            dual_residual=measure.dual_residual,
            rank=len(at.S),
            dual=self.incumbent.copy,
        )

    def result(self, status: SolveStatus, name: str) -> SolverResult:
        """The last primal iterate, and the strictly feasible dual of largest value."""
        measure = self.measure
        primal = RawPrimal(self.iterate.S, self.program.space.outputs)
        return SolverResult(
            primal=primal,
            dual=self.incumbent.dual,
            objective=self.program.value(self.program.space.moment(primal.S)),
            status=status,
            message=f"{self.rounds} rounds, {len(self.iterate.p)} products.",
            solver=name,
            version=native_version(),
            iterations=self.iterations,
            seconds=self.session.seconds(),
            primal_residual=np.inf if measure is None else measure.primal_residual,
            dual_residual=np.inf if measure is None else measure.dual_residual,
            statistics={
                "rounds": float(self.rounds),
                "products": float(len(self.iterate.p)),
                "gap": np.inf if measure is None else measure.gap,
                "dual_value": self.incumbent.value,
            },
        )


def _is_product(neurons: int) -> FloatArray:
    """Mask of positions p < q of φ that are products: not complementary, and no square (those are ≥ 0 anyway)."""
    mask = np.triu(np.ones((2 * neurons, 2 * neurons), dtype=bool), 1)
    neuron = np.arange(neurons)
    mask[neuron, neurons + neuron] = False
    return mask
