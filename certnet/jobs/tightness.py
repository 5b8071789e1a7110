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

import math
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace

from certificates import Certificate, Training, Verdict, check
from certificates.making.assemble import about, program_of
from certificates.proof import LiftedProof
from certnet.jobs import relaxing
from certnet.jobs import stages as _stages
from certnet.jobs.clock import JobClock
from certnet.jobs.job import Job, begin, run, untrained
from certnet.jobs.results import Tightness
from certnet.runtime.clock import Event
from certnet.runtime.numerics import computing
from certnet.runtime.public import public
from certnet.solvers import SolverResult, SolveStatus
from certnet.solvers.interface import WarmStart
from certnet.solvers.registry import AUTO, choose_solver, get_solver
from certnet.solvers.warm_start import from_certificate
from certnet.tightness.complete_positivity import check_completely_positive
from certnet.tightness.feasible import relaxation_value
from certnet.tightness.rank import extract_points, infeasibility, spectrum
from formulations import InputError
from formulations._validation import as_positive

__all__ = ["Tightness", "measure_tightness"]

TOLERANCE = 1e-4  # Relative difference of objective and bound that counts as none.
SOLVER_TOLERANCE = 1e-8
SHARPENER = "admm"
DEFAULT_TIME_LIMIT = 60.0
MEMBERSHIP_TOLERANCE, LARGEST_RESIDUAL = 1e-6, 1e-4
UNCERTAINTY_FACTOR = 10.0
"""A distance from the completely positive matrices counts when it is so many times what is wrong with G itself."""
UNENDING = -math.inf  # The gap that no bound reaches: the solver is to end by itself.

RELAXATION_SHARE = 0.4  # Part of the time left for the relaxation; the others likewise.
SHARPENING_SHARE = 0.2  # For the ADMM after it.
EXTRACTION_SHARE = 0.25  # For points whose lifts sum to the solution.
MEMBERSHIP_SHARE = 0.5  # For the test of complete positivity.
NO_LIMIT_SECONDS = 120.0  # Seconds for all of these where the user set no limit.


@public(certificate=about(Training))
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
        solver, time_limit: as for ``certnet.train``.
        tolerance: relative difference of objective and bound at which the relaxation counts as exact.
        random_state, progress: as for ``certnet.train``.

    Raises:
        InputError: the certificate is not proved, an unknown or unavailable solver, or data too large for this machine.
    """
    clock = JobClock(time_limit, progress)
    as_positive("tolerance", tolerance)
    if solver != AUTO:
        get_solver(solver)
    with clock.stage("check"):
        checked = check(certificate, time_limit=time_limit)
        if checked.verdict is not Verdict.PROVED:
            raise InputError(f"The certificate is not proved ({checked.reason}); train again, or give more time.")
        program = program_of(certificate)
        network = untrained(program, certificate.U, certificate.V)
        job = begin(clock, program, network, solver=solver, random_state=random_state)
    found = SimpleNamespace(
        certificate=certificate,
        objective=checked.objective,
        lower_bound=checked.lower_bound,
        relaxation_bound=checked.lower_bound if is_plain(certificate) else -math.inf,
        **dict.fromkeys(("relaxation_value", "infeasibility", "spectrum", "points", "membership")),
    )
    stages = [("relaxation", _relax), ("rank", _look_at_solution)] if clock.can_relax() else []
    with computing(job.merged.program.space.order):
        if not job.has_directions:
            # Every data row is zero: the zero network is optimal, and both sides are ½‖Y‖².
            found.relaxation_bound = checked.lower_bound
        else:
            for name, work in (*stages, ("rounding", _round), ("certificate", _prove)):
                run(job, name, partial(work, found))
                if job.interrupted:
                    raise KeyboardInterrupt
    del found.certificate
    return Tightness(
        tolerance=tolerance,
        relaxation=job.relaxation,
        relaxed_objective=job.relaxed_objective,
        stages=clock.stages,
        **vars(found),
    )


def is_plain(certificate: Certificate) -> bool:
    """True when the proof has no splits and no inequalities besides the signs: then it bounds the relaxation too."""
    proof, neurons = certificate.proof, certificate.source.size
    return isinstance(proof, LiftedProof) and proof.leaves == 1 and bool((proof.pairs < 2 * neurons).all())


def _relax(found: SimpleNamespace, job: Job) -> None:
    """Solve again from the certificate's network and dual, and let the ADMM sharpen the solution.

    The other solvers stop in the middle of the optimal face or beside it; a step of the ADMM ends in a projection,
    so that its G is exactly of low rank.
    """
    program, limit = job.presolved.program, job.clock.share(RELAXATION_SHARE)
    name = choose_solver(program, limit).solver if job.solver == AUTO else job.solver
    result = _solve(found, job, name, limit, from_certificate(job.presolved, found.certificate))
    if name != SHARPENER and result.primal is not None:
        sharpened = _solve(found, job, SHARPENER, job.clock.share(SHARPENING_SHARE), (result.primal, result.dual))
        ended = sharpened.status is SolveStatus.CONVERGED
        result = sharpened if ended or sharpened.primal_residual <= result.primal_residual else result
    job.relaxation = result


def _solve(
    found: SimpleNamespace, job: Job, solver: str, seconds: float | None, start: WarmStart | None
) -> SolverResult:
    """One solve; its duals are kept, and its solution bounds the relaxation's value."""
    limit = None if seconds is None else max(seconds, 0.1)
    result = relaxing.solve_relaxation(
        job, solver=solver, seconds=limit, tolerance=SOLVER_TOLERANCE, warm_start=start, enough=UNENDING
    )
    if job.interrupted:
        raise KeyboardInterrupt
    _stages.take_shown(job)
    if result.primal is not None:
        value = relaxation_value(job.presolved, found.certificate, result.primal, random_state=job.random_state)
        known = [one for one in (value, found.relaxation_value) if one is not None]
        found.relaxation_value = min(known, default=None)
    return result


def _look_at_solution(found: SimpleNamespace, job: Job) -> None:
    """Spectrum, points and complete positivity of G without its output block, in presolved coordinates."""
    if job.solution is None:
        return
    space = job.presolved.program.space.with_outputs(0)
    order = space.face_order
    G = space.moment(job.solution.S[:order, :order])
    G = 0.5 * (G + G.T)
    P = G[space.phi, space.phi]
    found.spectrum = spectrum(G)
    found.infeasibility = infeasibility(space, P)
    found.points = extract_points(
        space,
        G,
        start=job.presolved.scaling.apply_z(found.certificate.U),
        time_limit=_seconds(job, EXTRACTION_SHARE),
        random_state=job.random_state,
    )
    # What is wrong with G as a solution, relatively: forbidden entries, and its distance from optimality.
    bound = max(found.relaxation_bound, -math.inf if job.best.dual is None else job.best.dual.lower_bound)
    value = math.inf if job.relaxed_objective is None else job.relaxed_objective
    doubt = UNCERTAINTY_FACTOR * max(found.infeasibility, abs(value - bound) / found.objective)
    found.membership = check_completely_positive(
        P,
        generators=space.generators,
        factor=found.points.phi,
        tolerance=min(max(MEMBERSHIP_TOLERANCE, doubt), LARGEST_RESIDUAL),
        least_distance=doubt,
        time_limit=_seconds(job, MEMBERSHIP_SHARE),
        random_state=job.random_state,
    )


def _round(found: SimpleNamespace, job: Job) -> None:
    """The best network that starts from the certificate's, from G and from the points in it."""
    Z = None if found.points is None else job.presolved.scaling.undo_z(found.points.Z)
    _stages.round_relaxation(job, Z)


def _prove(found: SimpleNamespace, job: Job) -> None:
    """What the new dual and the new network prove."""
    _stages.prove(job)
    if job.best.proof is not None:
        report = job.best.proof[1]
        found.objective = min(found.objective, report.objective)
        if report.verdict is Verdict.PROVED:
            found.relaxation_bound = max(found.relaxation_bound, report.lower_bound)
            found.lower_bound = max(found.lower_bound, report.lower_bound)


def _seconds(job: Job, share: float) -> float:
    """This part of the time that is left, at least a little."""
    seconds = job.clock.share(share)
    return NO_LIMIT_SECONDS if seconds is None else max(seconds, 0.1)
