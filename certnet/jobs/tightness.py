"""The tightness of the relaxation on one training problem, from its certificate.

A certificate holds no moment matrix, so the relaxation is solved again, from the certificate's network and dual. Then:

* the *a posteriori* test: the objective of the best network that rounding and polishing give equals a proved lower
  bound on the relaxation's value. Then the relaxation is exact, whatever its solution looks like;
* the contrary: a proved upper bound on the relaxation's value below a proved lower bound on the optimum, as branching
  gives one;
* the spectrum of the solution G, and points whose lifts sum to it;
* whether its (α, β) block is completely positive. If it is proved not to be, G is no sum of true λ's. That is about
  this one matrix of floating-point numbers and has a verdict of its own, ``membership``. It decides nothing about the
  relaxation: another solution of the same value might be a network.
"""

import contextlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from certificates import Certificate, Report, Verdict, check
from certificates.arithmetic import Arithmetic
from certificates.making.repair import RepairedDual
from certificates.proof import LiftedProof
from certificates.report import relative_gap
from certnet.jobs.certify import as_it_stands, certify, repaired
from certnet.jobs.plan import Plan
from certnet.jobs.preflight import require_memory
from certnet.runtime.abandon import OutOfTimeError, abandonable
from certnet.runtime.clock import Clock, Event
from certnet.runtime.numerics import computing, guarded
from certnet.solvers import Progress, SolverResult, SolveStatus, solve
from certnet.solvers.interface import WarmStart
from certnet.solvers.registry import AUTO, choose_solver, get_solver
from certnet.solvers.warm_start import PAYS, from_certificate, from_result
from certnet.tightness.complete_positivity import CompletePositivity, check_completely_positive
from certnet.tightness.feasible import relaxation_value
from certnet.tightness.rank import Points, Spectrum, extract_points, spectrum
from certnet.training import candidates_from_moment, fit
from formulations import InputError, LiftedSpace, MergedRows, Presolved, TrainingProgram, merge_rows, rescale
from formulations._validation import FloatArray, as_positive

TOLERANCE = 1e-4
"""Relative difference of objective and bound that counts as none."""
SOLVER_TOLERANCE = 1e-8
SHARPENER = "admm"
DEFAULT_TIME_LIMIT = 60.0
RELAXATION_SHARE, SHARPENING_SHARE, EXTRACTION_SHARE, MEMBERSHIP_SHARE = 0.4, 0.2, 0.25, 0.5
"""Parts of the time that is left when a stage begins."""
MEMBERSHIP_TOLERANCE, LARGEST_RESIDUAL = 1e-6, 1e-4
UNCERTAINTY_FACTOR = 10.0
"""A distance from the completely positive matrices counts when it is so many times what is wrong with G itself."""
NO_LIMIT_SECONDS = 120.0
"""What a stage may take where the user set no limit."""


@dataclass(frozen=True, eq=False)
class Tightness:
    """What was found; see the module.

    Attributes:
        verdict: on the statement that the relaxation's value is the optimum. PROVED when ``gap_of_relaxation`` is at
            most the tolerance, REFUTED when the relaxation's value is proved to lie below the optimum, else UNKNOWN.
        reason: one sentence.
        objective: of the best network, rounded up.
        lower_bound: the best proved bound on the optimum, by whatever proof.
        relaxation_bound: the best proved bound by a proof that the doubly nonnegative relaxation knows, hence a lower
            bound on the relaxation's value too.
        relaxed_objective: value of G in original units, in floating point; None if the solver left no G.
        relaxation_value: a proved upper bound on the relaxation's value, None if there is none.
        relaxation: the result that G was taken from, None if no data row is left to relax.
        infeasibility: relative size of the entries of G_φφ that should not be there, negative or complementary ones.
        spectrum, points, membership: of G without its output block; None without G. ``membership.verdict`` is about
            G alone, and no verdict on the relaxation.
        stages: seconds for each.
    """

    verdict: Verdict
    reason: str
    objective: float
    lower_bound: float
    relaxation_bound: float
    tolerance: float
    relaxed_objective: float | None = None
    relaxation_value: float | None = None
    relaxation: SolverResult | None = None
    infeasibility: float | None = None
    spectrum: Spectrum | None = None
    points: Points | None = None
    membership: CompletePositivity | None = None
    stages: Mapping[str, float] = field(default_factory=dict)

    @property
    def gap(self) -> float:
        """(objective − lower_bound)/objective."""
        return relative_gap(self.objective, self.lower_bound)

    @property
    def gap_of_relaxation(self) -> float:
        """(objective − relaxation_bound)/objective, at least the relaxation's own relative gap."""
        return relative_gap(self.objective, self.relaxation_bound)


@np.errstate(all="ignore")
def measure_tightness(
    certificate: Certificate,
    *,
    solver: str = AUTO,
    time_limit: float | None = DEFAULT_TIME_LIMIT,
    tolerance: float = TOLERANCE,
    random_state: int = 0,
    progress: Callable[[Event], None] | None = None,
) -> Tightness:
    """Solve the relaxation of a certificate's training problem again, and say how tight it is.

    Args:
        certificate: is checked first; nothing in it is trusted.
        solver: "auto", or a name from ``certnet.available_solvers()``.
        time_limit: seconds for everything, about, or None.
        tolerance: relative difference of objective and bound at which the relaxation counts as exact.
        random_state: seed of everything random.
        progress: called with an ``Event`` now and then.

    Raises:
        InputError: the certificate is not proved, an unknown or unavailable solver, or data too large for this machine.
    """
    clock = Clock(time_limit, progress)
    as_positive("tolerance", tolerance)
    if solver != AUTO:
        get_solver(solver)
    with clock.stage("check"):
        checked = check(certificate, arithmetic=Arithmetic.FLOAT, time_limit=time_limit)
        if checked.verdict is not Verdict.PROVED:
            raise InputError(f"The certificate is not proved ({checked.reason}); train again, or give more time.")
        merged = merge_rows(TrainingProgram(certificate.X, certificate.Y, certificate.gamma))
        require_memory(merged)
    with computing(merged.program.space.order):
        run = _Run(certificate, checked, merged, clock, tolerance=tolerance, random_state=random_state)
        return run.finish(solver)


def infeasibility(space: LiftedSpace, P: FloatArray) -> float:
    """‖negative and complementary entries of P‖_F/‖P‖_F, for P over φ."""
    wrong = np.minimum(P, 0.0)
    index = np.arange(space.neurons)
    for rows, columns in ((index, space.neurons + index), (space.neurons + index, index)):
        wrong[rows, columns] = P[rows, columns]
    size = float(np.linalg.norm(P))
    return float(np.linalg.norm(wrong)) / size if size > 0 else 0.0


def is_plain(certificate: Certificate) -> bool:
    """True when the proof has no splits and no inequalities besides the signs: then it bounds the relaxation too."""
    proof, neurons = certificate.proof, certificate.source.size
    return isinstance(proof, LiftedProof) and proof.leaves == 1 and bool((proof.pairs < 2 * neurons).all())


class _Run:
    """One report after the certificate was checked."""

    def __init__(
        self,
        certificate: Certificate,
        checked: Report,
        merged: MergedRows,
        clock: Clock,
        *,
        tolerance: float,
        random_state: int,
    ) -> None:
        self.certificate, self.merged, self.clock = certificate, merged, clock
        self.program = merged.original
        self.tolerance, self.random_state = tolerance, random_state
        self.U, self.V = certificate.U, certificate.V
        self.objective, self.lower_bound = checked.objective, checked.lower_bound
        self.relaxation_bound = checked.lower_bound if is_plain(certificate) else -math.inf
        self.presolved = Presolved(merged, rescale(merged.program)) if merged.program.space.neurons else None
        self.plan = Plan(clock, None, merged.program.space)
        self.shown: Progress | None = None
        self.best: RepairedDual | None = None
        self.result: SolverResult | None = None
        self.spectrum: Spectrum | None = None
        self.points: Points | None = None
        self.membership: CompletePositivity | None = None
        self.infeasibility: float | None = None
        self.relaxed_objective: float | None = None
        self.relaxation_value: float | None = None

    def seconds(self, share: float) -> float:
        """This part of the time that is left, at least a little."""
        left = self.plan.left()
        return NO_LIMIT_SECONDS if left is None else max(share * left, 0.1)

    def finish(self, solver: str) -> Tightness:
        """All stages."""
        if self.presolved is None:
            # Every data row is zero: the zero network is optimal, and both sides are ½‖Y‖².
            self.relaxation_bound = max(self.relaxation_bound, self.lower_bound)
        else:
            if self.plan.can_relax():
                self._stage("relaxation", partial(self._relax, self.presolved, solver))
                self._stage("rank", partial(self._look_at_solution, self.presolved))
            self._stage("rounding", partial(self._round, self.presolved))
            self._stage("certificate", self._certify)
        verdict, reason = self._verdict()
        return Tightness(
            verdict=verdict,
            reason=reason,
            objective=self.objective,
            lower_bound=self.lower_bound,
            relaxation_bound=self.relaxation_bound,
            tolerance=self.tolerance,
            relaxed_objective=self.relaxed_objective,
            relaxation_value=self.relaxation_value,
            relaxation=self.result,
            infeasibility=self.infeasibility,
            spectrum=self.spectrum,
            points=self.points,
            membership=self.membership,
            stages=self.clock.stages,
        )

    def _stage(self, name: str, work: Callable[[], None]) -> None:
        """Do the work of a stage, which is left behind when time is up or when it fails numerically."""
        with contextlib.suppress(OutOfTimeError), guarded(self.clock, name):
            abandonable(work, seconds=self.plan.left())

    def _relax(self, presolved: Presolved, solver: str) -> None:
        """Solve again from the certificate's network and dual, and let the ADMM sharpen the solution.

        The other solvers stop in the middle of the optimal face or beside it; a step of the ADMM ends in a projection,
        so that its G is exactly of low rank.
        """
        limit = None if self.clock.left() is None else self.seconds(RELAXATION_SHARE)
        name = choose_solver(presolved.program, limit).solver if solver == AUTO else solver
        start = from_certificate(presolved, self.certificate) if name in PAYS else None
        result = self._solve(presolved, name, start, limit)
        if name != SHARPENER and result.primal is not None:
            limit = None if self.clock.left() is None else self.seconds(SHARPENING_SHARE)
            sharpened = self._solve(presolved, SHARPENER, from_result(result), limit)
            ended = sharpened.status is SolveStatus.CONVERGED
            result = sharpened if ended or sharpened.primal_residual <= result.primal_residual else result
        self.result = result
        if np.isfinite(result.objective):
            self.relaxed_objective = presolved.program.to_original(result.objective)

    def _solve(
        self, presolved: Presolved, solver: str, start: WarmStart | None, time_limit: float | None
    ) -> SolverResult:
        """One solve; its duals are kept."""
        self.shown = None
        result = solve(
            presolved.program,
            solver=solver,
            time_limit=time_limit,
            tolerance=SOLVER_TOLERANCE,
            callback=self._watch,
            warm_start=start,
            seed=self.random_state,
        )
        if result.status is SolveStatus.INTERRUPTED:
            raise KeyboardInterrupt
        self._offer_shown(presolved)
        if result.primal is not None:
            value = relaxation_value(presolved, self.certificate, result.primal, random_state=self.random_state)
            known = self.relaxation_value
            self.relaxation_value = value if known is None or (value is not None and value < known) else known
        if result.dual is not None:
            self._offer(repaired(self.merged, presolved.undo_dual(result.dual)))
        return result

    def _offer_shown(self, presolved: Presolved) -> None:
        """The best dual that the solver showed on its way."""
        if self.shown is not None and np.isfinite(self.shown.lower_bound):
            self._offer(as_it_stands(self.merged, presolved.undo_dual(self.shown.dual())))

    def _offer(self, dual: RepairedDual) -> None:
        if self.best is None or dual.lower_bound > self.best.lower_bound:
            self.best = dual

    def _uncertainty(self) -> float:
        """Relative size of what is wrong with G as a solution: forbidden entries, and its distance from optimality."""
        if self.infeasibility is None or self.relaxed_objective is None:
            return math.inf
        bound = max(self.relaxation_bound, -math.inf if self.best is None else self.best.lower_bound)
        return max(self.infeasibility, abs(self.relaxed_objective - bound) / self.objective)

    def _watch(self, progress: Progress) -> None:
        self.shown = progress
        self.clock.tell(
            "relaxation",
            iteration=progress.iteration,
            objective=self.objective,
            lower_bound=max(progress.lower_bound, self.relaxation_bound),
            rank=progress.rank,
            residual=max(progress.primal_residual, progress.dual_residual),
        )

    def _look_at_solution(self, presolved: Presolved) -> None:
        """Spectrum, points and complete positivity of G without its output block, in presolved coordinates."""
        primal = None if self.result is None else self.result.primal
        if primal is None or not np.isfinite(primal.S).all():
            return
        space = presolved.program.space.with_outputs(0)
        order = space.face_order
        G = space.moment(primal.S[:order, :order])
        G = 0.5 * (G + G.T)
        P = G[space.phi, space.phi]
        self.spectrum = spectrum(G)
        self.infeasibility = infeasibility(space, P)
        self.points = extract_points(
            space,
            G,
            start=presolved.scaling.apply_z(self.U),
            time_limit=self.seconds(EXTRACTION_SHARE),
            random_state=self.random_state,
        )
        doubt = UNCERTAINTY_FACTOR * self._uncertainty()
        self.membership = check_completely_positive(
            P,
            generators=space.generators,
            factor=self.points.phi,
            tolerance=min(max(MEMBERSHIP_TOLERANCE, doubt), LARGEST_RESIDUAL),
            least_distance=doubt,
            time_limit=self.seconds(MEMBERSHIP_SHARE),
            random_state=self.random_state,
        )

    def _round(self, presolved: Presolved) -> None:
        """The best network that starts from the certificate's, from G and from the points in it."""
        columns = [self.U]
        if self.result is not None and self.result.primal is not None and self.points is not None:
            moment = presolved.scaling.undo_moment(self.result.primal)
            columns.append(presolved.scaling.undo_z(self.points.Z))
            columns.append(candidates_from_moment(moment, self.program.X, random_state=self.random_state))
        limit = self.seconds(1.0)
        fitted = fit(self.program, candidates=np.hstack(columns), random_state=self.random_state, time_limit=limit)
        if fitted.interrupted:
            raise KeyboardInterrupt
        if fitted.objective < self.program.objective(self.U, self.V):
            self.U, self.V = fitted.U, fitted.V

    def _certify(self) -> None:
        """What the new dual and the new network prove."""
        if self.best is None:
            return
        _, report = certify(self.merged, self.best, self.U, self.V, provenance={})
        self.objective = min(self.objective, report.objective)
        if report.verdict is Verdict.PROVED:
            self.relaxation_bound = max(self.relaxation_bound, report.lower_bound)
            self.lower_bound = max(self.lower_bound, report.lower_bound)

    def _verdict(self) -> tuple[Verdict, str]:
        gap = relative_gap(self.objective, self.relaxation_bound)
        if gap <= self.tolerance:
            return Verdict.PROVED, (
                f"a network's objective and a proved bound on the relaxation differ by {max(gap, 0.0):.1e}, so the "
                "relaxation is exact up to that"
            )
        if self.relaxation_value is not None and self.relaxation_value < self.lower_bound:
            return Verdict.REFUTED, (
                f"the relaxation's value is at most {self.relaxation_value:.10g}, and no network has an objective "
                f"below {self.lower_bound:.10g}"
            )
        membership = self.membership
        if membership is None:
            rest = "there is no solution of the relaxation to look at"
        elif membership.verdict is Verdict.REFUTED:
            rest = (
                f"the solution found is no sum of neurons, for {membership.reason}; another solution of the same value "
                "may be one, so this does not show that the relaxation is loose"
            )
        else:
            rest = f"of the solution's (α, β) block: {membership.reason}"
        return Verdict.UNKNOWN, f"objective and bound differ by {gap:.1e}; {rest}"
