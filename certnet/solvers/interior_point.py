"""Structured primal-dual interior point for the DNN relaxation, with lazily added products.

Every constraint matrix on the face is of rank two, so the Schur complement of the HKM direction is gathered from two
Gram matrices (``certnet.solvers._rank_two``). Of the products ``G_pq ≥ 0`` only those that an iterate violates become
constraints; the others keep the multiplier 0, so each dual iterate is one of the full relaxation whatever is still
missing. A short ADMM predicts most of the products that will be active, gives the first bound, and is where the first
round starts. The later rounds go on from the first iterate with a moderate gap, which is well centred: that halves
their Newton steps, while later iterates lie too close to the boundary for new constraints.
Directions: Helmberg, Rendl, Vanderbei, Wolkowicz 1996; predictor and corrector: Mehrotra 1992.
"""

import time
from dataclasses import dataclass, replace

import numpy as np

from certnet.solvers._cost import affordable_constraints, step_seconds
from certnet.solvers._face_problem import FaceProblem, face_problem, feasible_multipliers
from certnet.solvers._iterate import NONE, Iterate, Measure, cold_start, extended, measure, warm_start
from certnet.solvers._newton import NewtonSystem, is_positive_definite
from certnet.solvers._orthonormal import FOR_PRODUCTS
from certnet.solvers._products import all_products, largest, least_correlation, violated
from certnet.solvers._rank_two import FaceMap
from certnet.solvers._session import Session, native_version
from certnet.solvers.admm import AdmmSolver
from certnet.solvers.interface import Progress, SolverOptions, SolverResult, SolveStatus, State, without_prefix
from certnet.solvers.warm_start import usable
from formulations import Dual, InputError, Primal, Program
from formulations._validation import IntArray

MAX_ITERATIONS = 400
"""Default limit on Newton steps over all rounds."""

MAX_PRODUCTS = 8000
"""Default limit on products."""
MAX_CONSTRAINTS = 14_000
"""Order of the largest Schur complement (1.5 GiB), unless W and t alone need more."""
LARGEST_SYSTEM = 32_000
"""Order of a Schur complement that is refused (8 GiB)."""

FIRST_GAP = 0.01
GAP_REDUCTION = 1e-3
PREDICTION_STEPS = 400
PREDICTION_SHARE = 0.25
"""Share of a time limit that the ADMM may use to predict products."""

FIRST_PRODUCTS = 2500
FEW_PRODUCTS = 600
PRODUCTS_PER_ORDER = 5
STEP_FRACTION = 0.95
SHORT_STEP = 1e-2
SHORT_STEPS = 4
SMALL_ERROR = 1e-3
DETERIORATION = 20.0
USABLE_ERROR = 0.05
LATE_SHIFTS = (0.03, 0.01)
"""Shifts of a start next to the end of an earlier round; see ``warm_start``."""
COLD = 2
"""Attempts at a round: 0 is the usual start, 1 a start next to the last round's end, 2 a central one."""
REPAIR_EVERY = 5
SLOWEST = 5.0
"""How many times longer than guessed more constraints may be expected to take."""
VERSION = 2
PREDICTION = "prediction."


@dataclass(frozen=True)
class InteriorPointSolver:
    """Interior point for programs of up to some thousand constraints: an entry of W for each feature and output, one
    complementarity for each generator, and the products.

    Attributes:
        max_products: the most products that may become constraints.
    """

    max_products: int = MAX_PRODUCTS
    name: str = "interior-point"

    def unavailable(self) -> str | None:
        """Always None: the solver needs numpy and scipy alone."""
        return None

    def solve(self, program: Program, options: SolverOptions) -> SolverResult:
        """Solve the DNN relaxation and return the last primal and the best strictly feasible dual iterate.

        The face matrix S of the result has an output block. ``options.warm_start`` tells which products to start from;
        without it a short ADMM does. ``options.max_iterations`` counts Newton steps. ``options.device`` is where that
        ADMM computes.

        Raises:
            InputError: the program has too many targets for this method, or the state to resume does not fit.
        """
        if (fixed := program.target.size + program.space.neurons) > LARGEST_SYSTEM:
            raise InputError(
                f"The interior point would need a matrix of order {fixed} here, more than {LARGEST_SYSTEM}; "
                "use --solver admm."
            )
        run = _Run(program, options, self.max_products)
        return run.result(run.session.run(run.solve), self.name)


class _Run:
    """State of one solve. Iterates are replaced whole, so an interrupt finds them consistent.

    ``current`` is where the next Newton step begins, ``iterate`` the best of this round, ``settled`` the end of the
    last one, and ``centre`` where later rounds start.
    """

    def __init__(self, program: Program, options: SolverOptions, max_products: int) -> None:
        self.session = Session(program, options)
        self.program = program
        self.options = options
        self.problem: FaceProblem = face_problem(program)
        self.neurons = program.space.neurons
        self.max_products = min(max_products, max(MAX_CONSTRAINTS - self.problem.fixed, 0))
        self.limit = MAX_ITERATIONS if options.max_iterations is None else options.max_iterations
        self.iterations = self.rounds = self.short = 0
        self.target, self.least = max(FIRST_GAP, options.tolerance), np.inf
        self.attempt = COLD
        self.settled: tuple[Iterate, Measure] | None = None
        self.measure: Measure | None = None
        self.centre: tuple[Iterate, Measure] | None = None
        self.last_step: tuple[float, int] | None = None
        empty = np.zeros(0, dtype=np.int64)
        self.incumbent = self.session.incumbent
        if program.loss is not None:
            y = feasible_multipliers(self.problem, program)
            self.incumbent.offer(self.problem.raw_dual(y, empty, empty), self.problem.dual_value(y))
        self.iterate = self.current = cold_start(self.problem, empty, empty)
        self.predicted = False
        if options.resume is not None:
            self._resume(options.resume)

    def _predict(self) -> SolveStatus | None:
        """Choose the first products and the first iterate; a status when the solve ends here."""
        primal, dual = usable(self.program, self.options.warm_start) or (None, None)
        status = None
        if primal is None or dual is None:
            if self.program.loss is None and self._starts_cold(self.program):
                self._start_cold(dual)
                return None
            primal, dual, status = self._short_admm(dual)
        repaired, value = self.incumbent.offer_repaired(dual, nearly_feasible=True)
        normalisation = NONE
        if self.program.loss is None:
            dual, normalisation = repaired, np.array([2.0 * value])
        count = min(FIRST_PRODUCTS, self.max_products, self._affordable_products())
        products = largest(dual.N, self.neurons, count)
        at = warm_start(self.problem, primal.S, dual, *products, normalisation=normalisation)
        self._begin_round(at, attempt=0)
        self.iterate = at
        self.predicted = True
        return status

    def _starts_cold(self, program: Program) -> bool:
        """The ADMM takes no inequalities; where all products are few, a prediction takes longer than it saves."""
        return program.beyond_signs or program.positions**2 <= 2 * FEW_PRODUCTS

    def _start_cold(self, dual: Dual | None) -> None:
        """Begin a form program with the products of a dual; without one with all if they are few, else with none."""
        positions = self.program.positions
        if dual is None:
            dual = Dual(np.zeros_like(self.program.target), np.zeros((positions, positions)))
        products = largest(dual.N, self.neurons, self.max_products)
        if not len(products[0]) and positions**2 <= 2 * FEW_PRODUCTS:
            products = all_products(positions, self.neurons)
        self.incumbent.offer_repaired(dual)
        self.iterate = cold_start(self.problem, *products)
        self._begin_round(self.iterate, attempt=COLD)
        self.predicted = True

    def _affordable_products(self) -> int:
        """How many products let a round end within the time limit, by the guess of a step's time."""
        limit = self.options.time_limit
        if limit is None:
            return self.max_products
        constraints = affordable_constraints((1.0 - PREDICTION_SHARE) * limit)
        return max(constraints - self.problem.fixed, self.problem.order)

    def _short_admm(self, dual: Dual | None) -> tuple[Primal, Dual, SolveStatus | None]:
        limit, resume = self.options.time_limit, self.options.resume
        options = replace(
            self.options,
            time_limit=None if limit is None else PREDICTION_SHARE * limit,
            max_iterations=PREDICTION_STEPS,
            callback=None if self.options.callback is None else self._report_prediction,
            warm_start=None if dual is None else (None, self._of_signs(dual)),
            resume=None if resume is None else without_prefix(resume, PREDICTION),
        )
        program = self.program
        if program.loss is not None:
            program = program.with_inequalities(program.inequalities[:0])
        result = AdmmSolver(FOR_PRODUCTS).solve(program, options)
        ends = result.status in (SolveStatus.STOPPED, SolveStatus.INTERRUPTED)
        assert result.primal is not None  # the ADMM always has both
        assert result.dual is not None
        return result.primal, self._of_all(result.dual), result.status if ends else None

    def _of_signs(self, dual: Dual) -> Dual:
        """The part of a dual that the ADMM knows: its multipliers of products of signs."""
        phi = self.program.space.phi
        return Dual(dual.W, dual.N[phi, phi])

    def _of_all(self, dual: Dual) -> Dual:
        """A dual of the ADMM with zeros for the other inequalities."""
        missing = self.program.positions - len(dual.N)
        return Dual(dual.W, np.pad(dual.N, (0, missing)))

    def _report_prediction(self, progress: Progress) -> bool:
        """Pass a look at the ADMM on; the dual it shows is feasible."""
        self.incumbent.offer(self._of_all(progress.dual()), self.program.to_own(progress.lower_bound))
        inner = progress.state

        def state() -> State:
            assert inner is not None  # the ADMM always has a state
            return {"interior_point": self._signature(), **{PREDICTION + name: a for name, a in inner().items()}}

        return self.session.show(replace(progress, iteration=0, dual=self.incumbent.copy, state=state))

    def solve(self) -> SolveStatus:
        """Rounds of Newton steps; each ends at its own tolerance and is followed by more products."""
        tolerance = self.options.tolerance
        if not self.predicted:
            ended = self._predict()
            if ended is not None:
                return ended
        while True:
            status = self._round()
            if status not in (SolveStatus.CONVERGED, SolveStatus.INACCURATE) or self.measure is None:
                return status
            if not self.measure.is_dual_feasible:
                self.incumbent.offer_repaired(self.iterate.raw_dual(self.problem), nearly_feasible=True)
            if status is SolveStatus.INACCURATE and self.attempt < COLD and not (self.least <= SMALL_ERROR):
                self._try_again()
                continue
            self.rounds += 1
            self.settled = self.iterate, self.measure
            following, added = self._add_products(self.measure)
            if not added:
                if self.target <= tolerance:
                    missing = not (least_correlation(self.measure.moments, self.neurons) >= -max(tolerance, 1e-7))
                    return SolveStatus.INACCURATE if missing else status
                if status is SolveStatus.INACCURATE:
                    return status
            self.target = max(self.target * GAP_REDUCTION, tolerance)
            self._begin_round(following if added else self.current, attempt=0 if self.centre else COLD)

    def _try_again(self) -> None:
        """The start of this round failed: a safer one, next to the last round's end, and at last a central one."""
        p, q = self.current.p, self.current.q
        self.centre = None
        if self.attempt == 0 and self.settled is not None and not len(self.problem.rhs):
            # Products that are not the settled iterate's own have the multiplier 0 there.
            settled, _ = self.settled
            at = warm_start(self.problem, settled.S, settled.raw_dual(self.problem), p, q, shifts=LATE_SHIFTS)
            self._begin_round(at, attempt=1)
        else:
            self._begin_round(cold_start(self.problem, p, q), attempt=COLD)

    def _begin_round(self, at: Iterate, *, attempt: int) -> None:
        self.short, self.least, self.attempt = 0, np.inf, attempt
        self.current = at

    def _round(self) -> SolveStatus:
        """Newton steps until ``target`` is met. INACCURATE when no further progress is possible."""
        while True:
            constraints = self.current.constraints(self.problem)
            iterate, seen = measure(self.problem, self.current, constraints)
            self.current = iterate
            self._offer(iterate, seen)
            if seen.error < self.least or self.measure is None:
                self.iterate, self.measure, self.least = iterate, seen, seen.error
            if self.centre is None and seen.is_centre:
                self.centre = iterate, seen
            if self._report(iterate, seen) is not None:
                return SolveStatus.STOPPED
            if seen.error <= self.target:
                return SolveStatus.CONVERGED
            if self.session.out_of_time(self._expected_seconds()):
                return SolveStatus.TIME_LIMIT
            if self.iterations >= self.limit:
                return SolveStatus.ITERATION_LIMIT
            worse = self.least < SMALL_ERROR and not (seen.error <= DETERIORATION * self.least)
            if self.short >= SHORT_STEPS or worse:
                return SolveStatus.INACCURATE
            begin = time.perf_counter()
            try:
                following, step = self._newton(iterate, seen, constraints)
            except (np.linalg.LinAlgError, ValueError):
                # scipy raises ValueError for entries that are not finite; the iterate before it is kept.
                return SolveStatus.INACCURATE
            self.last_step = time.perf_counter() - begin, len(iterate.y)
            self.iterations += 1
            self.short = 0 if step > SHORT_STEP else self.short + 1
            self.current = following

    def _expected_seconds(self) -> float:
        """What a Newton step at the current iterate may take."""
        count = self.problem.fixed + len(self.current.p)
        if self.last_step is None:
            return step_seconds(count)
        seconds, before = self.last_step
        # A short step is mostly overhead, which does not grow with the cube; hence the limit on the rate.
        rate = min(seconds / step_seconds(before), SLOWEST)
        return seconds + rate * max(step_seconds(count) - step_seconds(before), 0.0)

    def _offer(self, at: Iterate, seen: Measure) -> None:
        """Keep the multipliers if they are feasible, and now and then what repair makes of them if they are not."""
        if seen.is_dual_feasible:
            self.incumbent.offer(at.raw_dual(self.problem), seen.dual)
        elif self.iterations % REPAIR_EVERY == 0:
            self.incumbent.offer_repaired(at.raw_dual(self.problem), nearly_feasible=True)

    def _newton(self, at: Iterate, seen: Measure, constraints: FaceMap) -> tuple[Iterate, float]:
        system = NewtonSystem(
            constraints,
            (at.S, at.M, at.y, at.z),
            (seen.rows, seen.dual_matrix),
            (self.problem.losses, self.problem.fixed),
        )
        predictor = system.direction(0.0)
        step = min(1.0, system.step(predictor))
        size = len(at.S) + len(at.z)
        if not (seen.mu > 0):
            raise np.linalg.LinAlgError("The iterate is on the boundary of the cone by rounding.")
        ratio = system.complementarity(predictor, step) / (size * seen.mu)
        centring = min(1.0, max(1e-6, ratio**3))
        direction = system.direction(centring * seen.mu, predictor)
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

    def _add_products(self, seen: Measure) -> tuple[Iterate, int]:
        """A start with the most violated products added, and how many they are."""
        at = self.iterate
        room = self.max_products - len(at.p)
        count = min(max(PRODUCTS_PER_ORDER * self.problem.order, len(at.p)), room)
        new_p, new_q = violated(seen.moments, self.neurons, (at.p, at.q), tolerance=self.options.tolerance, count=count)
        p, q = np.concatenate([at.p, new_p]), np.concatenate([at.q, new_q])
        if self.centre is None:
            return cold_start(self.problem, p, q), len(new_p)
        at, seen = self.centre
        return extended(self.problem, at, seen.moments, seen.mu, p, q), len(new_p)

    def _report(self, at: Iterate, seen: Measure) -> SolveStatus | None:
        return self.session.report(
            iteration=self.iterations,
            objective=seen.primal,
            primal_residual=seen.primal_residual,
            dual_residual=seen.dual_residual,
            rank=len(at.S),
            state=self._state,
            violation=lambda: -least_correlation(seen.moments, self.neurons),
        )

    def _signature(self) -> IntArray:
        space = self.program.space
        sizes = [space.neurons, space.dimension, space.outputs, self.problem.losses, self.program.positions]
        sizes += [len(self.problem.rhs)] if len(self.problem.rhs) > 1 else []
        return np.array([VERSION, *sizes], dtype=np.int64)

    def _state(self) -> State:
        """See ``Progress.state``: the iterates, from which everything else is computed anew, and the counters."""
        best = self.incumbent.copy()
        state = {
            "interior_point": self._signature(),
            "counts": np.array([self.iterations, self.rounds, self.short, self.attempt], dtype=np.int64),
            "numbers": np.array([self.target, self.least]),
            "best_W": best.W,
            "best_N": best.N,
            **self.current.state("current_"),
            **self.iterate.state("iterate_"),
        }
        if len(best.on_equalities):
            state["best_equalities"] = best.on_equalities
        if self.centre is not None:
            state.update(self.centre[0].state("centre_"))
        if self.settled is not None:
            state.update(self.settled[0].state("settled_"))
        return state

    def _resume(self, state: State) -> None:
        """Take up where ``_state`` was asked for; a state of the prediction is left to ``_short_admm``.

        Raises:
            InputError: the state does not fit.
        """
        signature = state.get("interior_point")
        if signature is None or not np.array_equal(signature, self._signature()):
            raise InputError("The solver's state to resume does not belong to this program and solver; start anew.")
        if any(name.startswith(PREDICTION) for name in state):
            return
        try:
            self.current = Iterate.from_state(state, "current_", self.problem)
            self.iterate, self.measure = self._measured(state, "iterate_")
            self.centre = self._measured(state, "centre_") if "centre_S" in state else None
            self.settled = self._measured(state, "settled_") if "settled_S" in state else None
            self.iterations, self.rounds, self.short, self.attempt = (int(count) for count in state["counts"])
            self.target, self.least = (float(number) for number in state["numbers"])
            self.incumbent.offer_repaired(Dual(state["best_W"], state["best_N"], state.get("best_equalities", NONE)))
        except (KeyError, ValueError, TypeError, np.linalg.LinAlgError) as error:
            raise InputError(f"The solver's state to resume is damaged ({error}); start anew.") from None
        self.predicted = True

    def _measured(self, state: State, prefix: str) -> tuple[Iterate, Measure]:
        at = Iterate.from_state(state, prefix, self.problem)
        return measure(self.problem, at, at.constraints(self.problem))

    def result(self, status: SolveStatus, name: str) -> SolverResult:
        """The last primal iterate (of the round before, while this one is far away), and the best feasible dual."""
        at, seen = self.iterate, self.measure
        if self.settled is not None and not (self.least <= USABLE_ERROR):
            at, seen = self.settled
        primal = Primal(at.S, self.program.space.outputs)
        return SolverResult(
            primal=primal,
            dual=self.incumbent.dual,
            objective=self.program.value(self.program.space.moment(primal.S)),
            status=status,
            message=f"{self.rounds} rounds, {len(at.p)} products.",
            solver=name,
            version=native_version(),
            iterations=self.iterations,
            seconds=self.session.seconds(),
            primal_residual=np.inf if seen is None else seen.primal_residual,
            dual_residual=np.inf if seen is None else seen.dual_residual,
            statistics={
                "rounds": float(self.rounds),
                "products": float(len(at.p)),
                "gap": np.inf if seen is None else seen.gap,
                "dual_value": self.incumbent.value,
            },
        )
