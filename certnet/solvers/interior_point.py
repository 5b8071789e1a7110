"""Structured primal-dual interior point for the DNN relaxation, with lazily added products.

Every constraint matrix on the face is of rank two, so the Schur complement of the HKM direction is gathered from two
Gram matrices (``certnet.solvers.face_map``). A short ADMM predicts most of the products that will be active, gives the
first bound, and is where the first round starts (``certnet.solvers.rounds``).
"""

from dataclasses import replace

import numpy as np

from certnet.runtime.version import __version__
from certnet.solvers.admm import admm
from certnet.solvers.dual_loss import DualLoss, narrowed, widened
from certnet.solvers.face_problem import all_products, face_problem, feasible_multipliers, largest, least_correlation
from certnet.solvers.interface import Progress, SolverOptions, SolverResult, SolveStatus, WarmStart
from certnet.solvers.iterate import FaceIterate, Iterate, Measure, cold_start, warm_start
from certnet.solvers.orthonormal import FOR_PRODUCTS
from certnet.solvers.rounds import COLD, USUAL, Rounds, affordable_constraints
from certnet.solvers.session import Session
from certnet.solvers.warm_start import usable
from formulations import Dual, InputError, Primal, Program

MAX_ITERATIONS = 400  # Default limit on Newton steps over all rounds.
MAX_CONSTRAINTS = 14_000  # Order of the largest Schur complement (1.5 GiB), unless W and t alone need more.
LARGEST_SYSTEM = 32_000  # Order of a Schur complement that is refused (8 GiB).
# Steps of the ADMM that predicts products. Measured: see ``orthonormal``; 200 cost 6 to 10 Newton steps more of 30.
PREDICTION_STEPS = 400
PREDICTION_SHARE = 0.25  # Share of a time limit that it may use.
FIRST_PRODUCTS = 2500  # The most products that it names.
FEW_PRODUCTS = 600  # So many products of a form all become constraints at once, without a prediction.
# Part of the way to the middle of the domain of the loss that W of a start goes, if there are limits. Measured: on
# wine, iris and breast cancer (50 or 60 rows) 0.1 and 0.3 take 1 to 3 steps more in the first round.
INWARD = 0.02
REPAIR_EVERY = 5  # Steps between two repairs of a dual that is not feasible. Measured: 2 take 1.6 times as long.

MAX_PRODUCTS = 8000
"""Default limit on products."""


def interior_point(
    program: Program, options: SolverOptions, *, max_products: int = MAX_PRODUCTS, max_rounds: float = np.inf
) -> SolverResult:
    """Solve the DNN relaxation and return the last primal and the best strictly feasible dual iterate.

    For programs of up to some thousand constraints: an entry of W for each feature and output, one complementarity for
    each generator, and the products. The face matrix S of the result has an output block.

    Args:
        program: any.
        options: ``warm_start`` tells which products to start from; without it a short ADMM does, which computes on
            ``device``. ``max_iterations`` counts Newton steps.
        max_products: the most products that may become constraints.
        max_rounds: limit on solves with ever more products.

    Raises:
        InputError: the program has too many targets for this method.
    """
    if (fixed := program.shape[0] * program.shape[1] + program.space.neurons) > LARGEST_SYSTEM:
        raise InputError(
            f"The interior point would need a matrix of order {fixed} here, more than {LARGEST_SYSTEM}; "
            "use --solver admm."
        )
    run = _Solve(program, options, max_products, max_rounds)
    return run.result(run.session.run(run.solve))


class _Solve:
    """A start, the rounds, and the best feasible dual that was seen on the way."""

    def __init__(self, program: Program, options: SolverOptions, max_products: int, max_rounds: float) -> None:
        self.session = Session(program, options)
        self.program, self.options = program, options
        self.loss = DualLoss.of(program)
        self.problem = face_problem(program, self.loss)
        self.max_rounds = max_rounds
        self.max_products = min(max_products, max(MAX_CONSTRAINTS - self.problem.fixed, 0))
        empty = np.zeros(0, dtype=np.int64)
        self.rounds = self._rounds(cold_start([self.problem], self.loss, [(empty, empty)]), COLD)
        if program.loss is not None:
            y = feasible_multipliers(self.problem, self.loss)
            dual = self._dual(self.rounds.at.faces[0]._replace(y=y))
            self.session.offer(dual, self.loss.value(y[self.problem.entries]))

    def _dual(self, at: FaceIterate) -> Dual:
        """The dual that its multipliers are."""
        return Dual(self.loss.W(at.y[self.problem.entries]), self.problem.products(at.y, at.p, at.q))

    def _rounds(self, start: Iterate, attempt: int) -> Rounds:
        limit = self.options.max_iterations
        return Rounds(
            [self.problem],
            self.loss,
            start,
            look=self._look,
            late=self.session.out_of_time,
            tolerance=self.options.tolerance,
            max_iterations=MAX_ITERATIONS if limit is None else limit,
            max_products=self.max_products,
            max_rounds=self.max_rounds,
            attempt=attempt,
        )

    def solve(self) -> SolveStatus:
        """Find a start, unless the prediction ends the solve already, and go on from there."""
        ended = self._start()
        if ended is not None:
            return ended
        status = self.rounds.run()
        if status in (SolveStatus.CONVERGED, SolveStatus.INACCURATE):
            self._offer(self.rounds.measure, repair=True)
        return status

    def _start(self) -> SolveStatus | None:
        """Rounds that begin at the warm start, at the prediction, or cold; how the solve ends if it ends there."""
        primal, dual = usable(self.program, self.options.warm_start) or (None, None)
        ended, problem, neurons, at = None, self.problem, self.program.space.neurons, None
        are_few = self.program.positions**2 <= 2 * FEW_PRODUCTS
        # The ADMM takes no inequalities; where all products are few, a prediction takes longer than it saves.
        if (primal is None or dual is None) and self.program.loss is None and (self.program.beyond_signs or are_few):
            dual = self.session.dual if dual is None else dual
            products = largest(dual.N, neurons, self.max_products)
            if are_few and not len(products[0]):
                products = all_products(self.program.positions, neurons)
            self.session.offer_repaired(dual)
        else:
            if primal is None or dual is None:
                primal, dual, ended = self._short_admm(dual)
            repaired, value = self.session.offer_repaired(dual, factors=self.program.loss is not None)
            W, first, decay = self.loss.inside(dual.W, INWARD), np.zeros(0), self.program.gamma
            if self.program.loss is None:
                dual, first, decay = repaired, np.array([2.0 * value]), abs(2.0 * value)
            region = np.full(problem.quadratics - len(first), self.program.share * decay)
            most, limit = self.max_products, self.options.time_limit
            if limit is not None:
                # So many let a round end within it, by the guess of a step's time.
                affordable = affordable_constraints((1.0 - PREDICTION_SHARE) * limit)
                most = min(most, max(affordable - problem.fixed, problem.order))
            products = largest(dual.N, neurons, min(FIRST_PRODUCTS, most))
            y = problem.multipliers(np.concatenate([first, region, W]), dual.N, *products)
            at = warm_start(problem, narrowed(primal.S, problem.basis), y, *products)
        if at is None:
            self.rounds = self._rounds(cold_start([problem], self.loss, [products]), COLD)
        else:
            self.rounds = self._rounds(Iterate.on(W, self.loss, [at]), USUAL)
        return ended

    def _short_admm(self, dual: Dual | None) -> tuple[Primal, Dual, SolveStatus | None]:
        """Its iterates, and how the solve ends if it ends there. The ADMM knows the products of signs alone."""
        limit, program, phi = self.options.time_limit, self.program, self.program.space.phi

        def of_all(dual: Dual) -> Dual:
            """A dual of the ADMM with zeros for the other inequalities."""
            return Dual(dual.W, np.pad(dual.N, (0, self.program.positions - len(dual.N))))

        def look(progress: Progress) -> bool:
            """Pass it on; the dual it shows is feasible."""
            self.session.offer(of_all(progress.dual()), self.program.to_own(progress.lower_bound))
            return self.session.show(replace(progress, iteration=0, dual=self.session.copy_dual))

        options = replace(
            self.options,
            time_limit=None if limit is None else PREDICTION_SHARE * limit,
            max_iterations=PREDICTION_STEPS,
            callback=None if self.options.callback is None else look,
            warm_start=None if dual is None else (None, Dual(dual.W, dual.N[phi, phi])),
        )
        if program.loss is not None:
            program = program.with_inequalities(program.inequalities[:0])
        result = admm(program, options, FOR_PRODUCTS)
        ends = result.status in (SolveStatus.STOPPED, SolveStatus.INTERRUPTED)
        assert result.primal is not None  # the ADMM always has both
        assert result.dual is not None
        return result.primal, of_all(result.dual), result.status if ends else None

    def _look(self, rounds: Rounds, seen: Measure) -> bool:
        """Keep the multipliers, and now and then what repair makes of them if they are not feasible; report."""
        self._offer(seen, repair=rounds.iterations % REPAIR_EVERY == 0 or seen.error <= rounds.target)
        return self.session.report(
            iteration=rounds.iterations,
            objective=seen.primal,
            primal_residual=seen.primal_residual,
            dual_residual=seen.dual_residual,
            rank=self.problem.order,
            iterate=lambda: self._iterate(rounds),
            violation=lambda: -least_correlation(seen.points[0].moments, self.problem.neurons),
        )

    def _iterate(self, rounds: Rounds) -> WarmStart:
        (at,) = rounds.measure.at.faces
        return self._primal(at), self._dual(at)

    def _primal(self, at: FaceIterate) -> Primal:
        return Primal(widened(at.S, self.problem.basis), self.program.space.outputs)

    def _offer(self, seen: Measure, *, repair: bool) -> None:
        if seen.is_dual_feasible:
            self.session.offer(self._dual(*seen.at.faces), seen.dual)
        elif repair:
            self.session.offer_repaired(self._dual(*seen.at.faces), factors=self.program.loss is not None)

    def result(self, status: SolveStatus) -> SolverResult:
        """The last primal iterate and the best feasible dual."""
        rounds, seen = self.rounds, self.rounds.reached
        (at,) = seen.at.faces
        primal = self._primal(at)
        return SolverResult(
            primal=primal,
            dual=self.session.dual,
            objective=self.program.value(self.program.space.moment(primal.S)),
            status=status,
            message=f"{rounds.rounds} rounds, {len(at.p)} products.",
            solver="interior-point",
            version=__version__,
            iterations=rounds.iterations,
            seconds=self.session.seconds(),
            primal_residual=seen.primal_residual,
            dual_residual=seen.dual_residual,
            dual_value=self.session.value,
        )
