"""The stages of the jobs as functions of one state, and how a stage is run.

``train``, ``optimality`` and ``measure_tightness`` are lists of these stages. Each stage offers networks, duals and
proofs to ``job.best``; it is ended in good order by Ctrl-C, left behind when time is up or when it fails numerically,
and left out when nothing is left to gain.
"""

import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from certificates import OptimalityCertificate
from certificates.making import certify as certify_duals
from certificates.making import residual_dual
from certificates.making.repair import RepairedDual
from certificates.verdict import Verdict
from certnet.jobs import closing as _closing
from certnet.jobs.best import Best, Proof, as_it_stands, certify, repaired, with_network
from certnet.jobs.checkpoint import Checkpoint, Saver, program_fingerprint
from certnet.jobs.clock import CHECK, RAW_REPAIR, JobClock, require_memory
from certnet.jobs.closing import GLOBAL, SDP, Closing, close_gap, is_low
from certnet.runtime.abandon import Insisted, OutOfTimeError, abandonable
from certnet.runtime.numerics import guarded
from certnet.search.summary import SearchSummary
from certnet.solvers import Progress, SolverResult, SolveStatus, solve
from certnet.solvers.interface import State
from certnet.solvers.registry import AUTO, choose_solver
from certnet.solvers.shor import shor_bound
from certnet.solvers.warm_start import PAYS as WARM_STARTED
from certnet.solvers.warm_start import WarmStart, certified_dual, from_certificate, scaled
from certnet.training.polish import Network
from certnet.training.pricing import normalised, values
from certnet.training.rounding import candidates_from_moment
from certnet.training.trainer import FitResult, fit
from formulations import InputError, MergedRows, Presolved, TrainingProgram, merge_rows, rescale
from formulations._validation import FloatArray

EXACT = 1e-8
"""Relative gap at which a job ends that was not asked for one."""
SAMPLES = 100
PAYS = 1e-6
LAST_REPAIR_SECONDS, LAST_PROOF_SECONDS = 3.0, 5.0
"""What repairing a solver's last dual, and proving the best one, may take after an interruption."""
TRAINING = "training"
"""Stage of the checkpoints that are written before the first network is finished."""
COARSE: Mapping[str, Any] = {"tolerance": 1e-2, "max_rounds": 2}
"""Options of ``fit`` for a network from which cutting cones goes on with exact pricing."""
TOO_LARGE = (
    "Memory or time do not suffice for the relaxation of {neurons} distinct data directions; the bound is that of the "
    "relaxation without products, which is weaker."
)
UNAFFORDABLE = "Branching on signs was left out: memory or time do not suffice for its relaxations."
REJECTED = "Branching led to no proof that the check accepts; the bound comes from elsewhere."


@dataclass(frozen=True)
class Settings:
    """How long and how accurately the stages work."""

    first_rounds: int = 10
    """Rounds of the first network where a relaxation follows. Not measured."""
    first_share: float = 0.15
    """Share of the time left that the first network may take then. Not measured."""
    global_share: float = 0.4
    """The same where no relaxation follows: the search for a proof gets as much. Not measured."""
    soon_share: float = 0.5
    """Share of the time left after which the first network is left behind: a bound has to come too. Not measured."""
    tolerance: float = 1e-6
    """Relative excess of the price over γ at which training ends that no branching follows. Not measured."""
    tolerance_per_gap: float = 0.05
    """The same for each unit of a gap that is to be closed: an excess ε costs at most about 2ε of the bound. Not
    measured."""
    largest_tolerance: float = 1e-5
    """The most that this may be. Not measured."""
    smallest_tolerance: float = 1e-9
    """The least that this may be. Not measured."""
    relaxation_share: float = 0.6
    """About the share of the time left that the relaxation gets. Not measured."""
    cones_share: float = 0.75
    """Part of the time left that cutting cones may take while a relaxation waits. Compiling it alone may take longer.
    Not measured."""
    again_share: float = 0.15
    """Part of a time limit that must be left for another round of training and branching. Not measured."""
    patience: int = 2
    """Rounds without any gain after which no other follows. Not measured."""
    gain: float = 1e-6
    """Relative gain that counts. Not measured."""


SETTINGS = Settings()


@dataclass(eq=False, kw_only=True)
class Job:
    """What the stages of one job share.

    Attributes:
        merged: the training program and its merged rows.
        clock: the time limit, and what was told.
        best: what the stages have found.
        saver: keeps the checkpoint.
        given: the network that proofs are about; None for the best one.
        method, closing: how the bound is proved, and the gap that is to be closed, if any.
        solver, tolerance, device: of the relaxation.
        random_state: seed of everything random.
        provenance: goes into the certificates.
        start: a certificate of the same data, perhaps for another γ.
        resume: where an earlier job was cut short.
        interrupted: Ctrl-C ended a stage.
        late: a stage did not end in time and was left behind.
        trained: the last fit that ended.
        relaxation, shown: the solver's result, and its last look.
        price_ratio: a price over γ that a direction was found to have for the given network.
        search: the last branch and bound.
        bounds: the lower bound that each source led to.
    """

    merged: MergedRows
    clock: JobClock
    best: Best
    saver: Saver
    given: Network | None = None
    method: str = GLOBAL
    closing: Closing | None = None
    solver: str = AUTO
    tolerance: float = 1e-6
    device: str = "cpu"
    random_state: int = 0
    provenance: Mapping[str, Any] = field(default_factory=dict)
    start: OptimalityCertificate | None = None
    resume: Checkpoint | None = None
    interrupted: bool = False
    late: bool = False
    trained: FitResult | None = None
    relaxation: SolverResult | None = None
    shown: Progress | None = None
    price_ratio: float | None = None
    search: SearchSummary | None = None
    bounds: dict[str, float] = field(default_factory=dict)

    @property
    def program(self) -> TrainingProgram:
        """The training program."""
        return self.merged.original

    @cached_property
    def presolved(self) -> Presolved | None:
        """In the coordinates of the solvers; None without data directions."""
        return Presolved(self.merged, rescale(self.merged.program)) if self.merged.program.space.neurons else None

    @property
    def network(self) -> Network:
        """What proofs are about."""
        return (self.best.network.U, self.best.network.V) if self.given is None else self.given

    @property
    def objective(self) -> float:
        """Of that network."""
        return self.best.network.objective if self.given is None else self._given_objective

    @cached_property
    def _given_objective(self) -> float:
        return self.program.objective(*self.network)

    @property
    def enough(self) -> float:
        """The relative gap at which nothing is left to gain."""
        return EXACT if self.closing is None else self.closing.gap

    @property
    def cuts_cones(self) -> bool:
        """True when branching will find the neurons that are missing, and faster than heuristic pricing."""
        return self.closing is not None and self.presolved is not None and is_low(self.presolved)

    def see(self, network: Network, objective: float) -> None:
        """A better network on the way of a stage."""
        self.best.see(network, objective)
        self.saver.update(U=self.best.network.U, V=self.best.network.V)
        self.saver.look()

    def keep(self, network: FitResult) -> None:
        """Take a network that is at least as good, and put it into the checkpoint."""
        if self.best.take_network(network):
            self.saver.update(U=network.U, V=network.V)

    def tell(self, stage: str, *, bound: float = -math.inf, objective: float | None = None, **figures: Any) -> None:
        """Show the best bound and objective, together with those of a running stage."""
        bound, objective = max(self.best.lower_bound, bound), self.objective if objective is None else objective
        self.clock.tell(stage, objective=objective, lower_bound=bound if np.isfinite(bound) else None, **figures)

    def take_proof(self, source: str, certificate: OptimalityCertificate, report: Any) -> None:
        """Keep a certificate if it is the best."""
        if report.verdict is Verdict.PROVED:
            self.bounds[source] = max(report.lower_bound, self.bounds.get(source, -math.inf))
        self.best.take_proof(certificate, report)


def begin(clock: JobClock, program: TrainingProgram, network: FitResult | None = None, **options: Any) -> Job:
    """The state at the beginning: rows merged, memory tested, with this network or none; ``options`` are fields.

    Raises:
        InputError: data too large for this machine, or a start or checkpoint about other data.
    """
    resume: Checkpoint | None = options.get("resume")
    if resume is not None and program_fingerprint(program) != resume.fingerprint:
        raise InputError("The checkpoint is about other data or another gamma; give those it was made with.")
    merged = merge_rows(program)
    require_memory(merged)
    clock.space = merged.program.space
    if network is None:
        _, d, c = program.shape
        network = untrained(program, np.zeros((d, 0)), np.zeros((c, 0)))
    saver = Saver(Checkpoint(fingerprint="", stage="", seconds=0.0, solver=""), None, clock)
    job = Job(merged=merged, clock=clock, best=Best(merged, network), saver=saver, **options)
    clock.saving = lambda: job.saver.reserve(merged.program.space.order)
    return job


def untrained(program: TrainingProgram, U: FloatArray, V: FloatArray) -> FitResult:
    """A network that no fit of this run made."""
    return FitResult(U=U, V=V, objective=program.objective(U, V))


def run(job: Job, name: str, work: Callable[[Job], None], seconds: float | None = None, *, share: float = 1.0) -> None:
    """Do the work of a stage, in at most so many seconds; by default in a share of what is available.

    Raises:
        KeyboardInterrupt: a second Ctrl-C.
    """
    before, left = job.interrupted, job.clock.available()
    job.clock.kept = 0.0 if left is None else (1.0 - share) * left
    try:
        with guarded(job.clock, name):
            abandonable(lambda: work(job), seconds=job.clock.available() if seconds is None else seconds)
    except OutOfTimeError:
        job.late = True
    except KeyboardInterrupt as error:
        if before or isinstance(error, Insisted):
            raise
        job.interrupted = True
    finally:
        job.clock.kept = 0.0
    if job.interrupted and not before:
        job.clock.tell("finishing after Ctrl-C; press it again to abandon")


def is_open(job: Job) -> bool:
    """True when the gap is larger than it has to be and there is time to narrow it."""
    return not (job.interrupted or job.best.gap <= job.enough or job.clock.available() == 0.0)


def bound(job: Job, stages: Iterable[tuple[str, Callable[[Job], None]]]) -> None:
    """Stages in turn until the gap is closed, then further rounds of training and branching from other seeds.

    Cutting cones leaves time for a relaxation after it.
    """
    for name, work in stages:
        if is_open(job):
            waits = job.cuts_cones and work is branch and "relaxation" not in job.clock.stages
            run(job, name, work, share=SETTINGS.cones_share if waits and job.clock.can_relax() else 1.0)
    if job.closing is None or job.closing.max_nodes is not None or not job.closing.train:
        return
    idle = number = 0
    while idle < SETTINGS.patience and is_open(job) and job.clock.part_left() >= SETTINGS.again_share:
        number += 1
        before = job.best.gap
        run(job, TRAINING, lambda job, number=number: train_network(job, number))  # type: ignore[misc]
        if not job.interrupted:
            run(job, "branching", branch)
        idle = 0 if job.best.gap < before - SETTINGS.gain else idle + 1


def first_network(job: Job) -> None:
    """A network soon, so that an early Ctrl-C leaves something; without a time limit rounds alone bound it."""
    stored, resume = None, job.resume
    if resume is not None and resume.U is not None and resume.V is not None:
        _, d, c = job.program.shape
        if len(resume.U) != d or len(resume.V) != c:
            raise InputError("The network in the checkpoint does not fit the data; train again without it.")
        stored = untrained(job.program, resume.U, resume.V)
        job.keep(stored)
    if job.start is not None:
        job.keep(untrained(job.program, job.start.U, job.start.V))
    # A checkpoint of the training itself holds a network to go on from.
    if stored is None or (resume is not None and resume.stage == TRAINING):
        job.saver.update(stage=TRAINING)
        train_network(job)
    job.tell("first network")


def train_network(job: Job, number: int = 0) -> None:
    """Column generation that starts from the best network; every number has its own seed."""
    known, closing = job.best.network.U, job.closing
    effort: dict[str, Any] = {"tolerance": SETTINGS.tolerance}
    if closing is not None:
        tolerance = min(SETTINGS.largest_tolerance, SETTINGS.tolerance_per_gap * closing.gap)
        effort = {"tolerance": max(tolerance, SETTINGS.smallest_tolerance)}
    if job.method == SDP:
        effort["max_rounds"] = SETTINGS.first_rounds
    first = job.method == SDP and number == 0
    job.trained = fit(
        job.program,
        candidates=known if known.shape[1] else None,
        random_state=job.random_state + number,
        time_limit=job.clock.share(SETTINGS.first_share if first else SETTINGS.global_share),
        callback=lambda _: job.saver.look(),
        better=job.see,
        **(COARSE if job.cuts_cones else effort),
    )
    job.interrupted = job.trained.interrupted
    job.keep(job.trained)


def first_bound(job: Job) -> None:
    """The bounds that cost linear time, and those that were known before; the best of them is proved."""
    start, resume = job.start, job.resume
    if start is not None:
        known = scaled(certified_dual(job.merged, start), job.program.gamma / start.gamma)
        job.best.take_dual(repaired(job.merged, known))
    if resume is not None and resume.dual is not None and job.presolved is not None:
        job.saver.update(dual=resume.dual)
        job.best.take_dual(repaired(job.merged, job.presolved.undo_dual(resume.dual)))
    prove(job, "first bound")
    if not job.interrupted:
        job.saver.stage_ends("first network")


def prove(job: Job, source: str = "certificate") -> None:
    """Have the best dual at hand checked, if it promises more than what is proved."""
    take_shown(job)
    best = job.best
    best.take_dual(repaired(job.merged, residual_dual(job.merged, best.network.U, best.network.V)))
    if best.dual is not None and not best.dual.lower_bound <= best.proved:
        prove_dual(job, source, best.dual)
    job.tell(source)


def take_shown(job: Job) -> None:
    """The best dual that the solver showed on its way."""
    shown = job.shown
    if shown is not None and job.presolved is not None and shown.lower_bound > job.best.lower_bound:
        job.best.take_dual(as_it_stands(job.merged, job.presolved.undo_dual(shown.dual())))


def prove_dual(job: Job, source: str, dual: RepairedDual) -> None:
    """Have a dual of the merged program checked."""
    begin = job.clock.seconds
    job.take_proof(source, *certify(job.merged, dual, job.network, job.provenance))
    if not dual.N.size:
        job.clock.proving = job.clock.seconds - begin


def bound_without_products(job: Job) -> None:
    """The best bound without products, if a proof of it fits into the time too."""
    limit = job.clock.shor()
    if limit == 0.0:
        return
    assert job.presolved is not None  # there are data directions
    found = shor_bound(
        job.presolved,
        networks=[job.network, *([] if job.given is None else [(job.best.network.U, job.best.network.V)])],
        deadline=math.inf if limit is None else time.monotonic() + limit,
        random_state=job.random_state,
        callback=job.best.take_dual,
    )
    job.best.take_dual(found)
    prove(job, "without products")


def relax(job: Job) -> None:
    """Solve the doubly nonnegative relaxation; its duals hold whatever the network."""
    if not can_relax(job):
        return
    presolved, resume = job.presolved, job.resume
    start: WarmStart | None = None
    assert presolved is not None  # there are data directions
    if resume is not None and resume.dual is not None:
        network = job.best.network
        start = presolved.apply_network(network.U, network.V), resume.dual
    elif job.start is not None:
        start = from_certificate(presolved, job.start)
    rounds = job.given is None
    waits = not rounds and not job.cuts_cones and job.clock.can_branch()
    share = SETTINGS.relaxation_share if waits else _closing.SETTINGS.time_share
    enough = job.enough if job.closing is None else _closing.SETTINGS.gap_share * job.enough
    solve_relaxation(
        job,
        solver=job.solver,
        seconds=job.clock.relaxation(job.trained) if rounds else job.clock.relaxation(None, share),
        tolerance=job.tolerance,
        warm_start=start if job.solver in WARM_STARTED else None,
        enough=enough,
    )
    if not rounds:
        prove(job, "relaxation")
    elif not job.interrupted:
        job.saver.stage_ends("relaxation")


def can_relax(job: Job) -> bool:
    """Whether the relaxation can be afforded; a note says so if not."""
    if not job.clock.can_relax():
        job.clock.note("relaxation", TOO_LARGE.format(neurons=job.merged.program.space.neurons))
        return False
    return True


def solve_relaxation(
    job: Job, *, solver: str, seconds: float | None, tolerance: float, warm_start: WarmStart | None, enough: float
) -> SolverResult:
    """Solve the relaxation until the bound is within the relative gap ``enough`` of the objective; duals are kept."""
    presolved = job.presolved
    assert presolved is not None  # there are data directions

    def watch(progress: Progress) -> bool:
        job.shown = progress
        job.saver.look(lambda: {"dual": progress.dual()})
        job.tell(
            "relaxation",
            bound=progress.lower_bound,
            iteration=progress.iteration,
            rank=progress.rank,
            residual=max(progress.primal_residual, progress.dual_residual),
        )
        return bool(progress.lower_bound >= job.best.network.objective * (1.0 - enough))

    result = job.relaxation = solve(
        presolved.program,
        solver=solver,
        time_limit=seconds,
        tolerance=tolerance,
        callback=watch,
        warm_start=warm_start,
        seed=job.random_state,
        device=job.device,
    )
    if result.status is SolveStatus.FAILED:
        job.clock.note("relaxation", f"The solver {result.solver} failed ({result.message}).")
    job.interrupted = result.status is SolveStatus.INTERRUPTED
    # After Ctrl-C the last dual is repaired only if that is quick, and no dual that was shown is better.
    seen = job.shown is not None and job.shown.lower_bound >= job.best.lower_bound
    soon = not job.interrupted or (not seen and job.clock.is_quick(LAST_REPAIR_SECONDS, RAW_REPAIR))
    if result.dual is not None and soon:
        job.best.take_dual(repaired(job.merged, presolved.undo_dual(result.dual)))
    return result


def round_relaxation(job: Job) -> None:
    """The best network that starts from the relaxation's candidates and from the best network."""
    primal, network = None if job.relaxation is None else job.relaxation.primal, job.best.network
    columns = [] if job.start is None else [job.start.U]
    columns.append(network.U)
    pays = not network.converged
    if primal is not None and np.isfinite(primal.S).all() and job.presolved is not None:
        moment = job.presolved.scaling.undo_moment(primal)
        candidates = candidates_from_moment(moment, job.program.X, samples=SAMPLES, random_state=job.random_state)
        columns.append(candidates)
        if not pays:
            # The first fit found no direction that would lower the objective; perhaps the candidates hold one.
            prices = values(job.program.X, job.program.residual(network.U, network.V), normalised(candidates))
            pays = bool(prices.max(initial=0.0) > job.program.gamma * (1.0 + PAYS))
    if not pays:
        return
    fitted = fit(
        job.program,
        candidates=np.hstack(columns),
        random_state=job.random_state,
        time_limit=job.clock.rounding(relaxed=job.shown is not None),
        callback=lambda _: job.saver.look(),
        better=job.see,
        **(COARSE if job.cuts_cones else {}),
    )
    job.interrupted = fitted.interrupted
    job.keep(fitted)
    job.tell("rounding")
    job.saver.update(stage="rounding")


def branch(job: Job) -> None:
    """Branch and bound until the gap is closed."""
    closing, presolved = job.closing, job.presolved
    assert closing is not None  # it was asked for
    assert presolved is not None
    if not (job.cuts_cones or job.clock.can_branch()):
        job.clock.note("branching", UNAFFORDABLE)
        return

    def tell(nodes: int, bound: float, reached: float | None, state: Callable[[], State] | None) -> None:
        job.tell("branching", bound=bound, objective=reached if job.given is None else None, iteration=nodes)
        job.saver.look(dict if state is None else lambda: {"search": state(), "stage": "branching"})

    resume = None if job.resume is None else job.resume.search
    if job.search is not None and job.search.can_go_on:
        resume = job.search.state
    closed = close_gap(
        presolved,
        job.best.network,
        closing,
        left=job.clock.available,
        tell=tell,
        random_state=job.random_state,
        provenance=job.provenance,
        resume=resume,
        better=job.see,
        given=job.given,
        known=job.price_ratio or 0.0,
    )
    job.keep(closed.network)
    if closing.train:
        job.trained = job.best.network
    if closed.search is not None:
        job.search, job.interrupted = closed.search, closed.search.interrupted
        if closed.search.can_go_on:
            job.saver.update(search=closed.search.state)
    if closed.proof is not None:
        job.take_proof("branching", *closed.proof)
        if closed.proof[1].verdict is not Verdict.PROVED:
            job.clock.note("branching", REJECTED)


def conclude(job: Job) -> Proof:
    """The certificate of the best bound, about the job's network, from what can still be checked in time."""
    dual, left = job.best.dual, job.clock.left()
    if job.shown is not None or (dual is not None and dual.lower_bound > job.best.proved):
        seconds = LAST_PROOF_SECONDS if job.interrupted or left is None else left
        is_linear = job.shown is None and dual is not None and not dual.N.size
        if is_linear or job.clock.is_quick(seconds, CHECK):
            run(job, "certificate", prove, seconds)
    if job.best.proof is None:
        # Nothing was proved before Ctrl-C; the trivial bound costs next to nothing.
        job.best.take_proof(*certify_duals(job.merged, [], *job.network, provenance=job.provenance))
    assert job.best.proof is not None
    return with_network(job.best.proof, job.network) if job.given is None else job.best.proof


def auto(job: Job, time_limit: float | None) -> str:
    """Choose the solver that "auto" stands for in a job of ``time_limit`` seconds, and say why."""
    if job.resume is not None:
        job.solver = job.resume.solver
        return f"auto goes on with {job.solver}, which made the checkpoint."
    limit = None if time_limit is None else SETTINGS.relaxation_share * time_limit
    job.solver, reason = choose_solver(job.merged.program, limit)
    return f"auto chose {job.solver}, because {reason}."
