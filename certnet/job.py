"""The main job: train through the lifted SDP, and prove how good the network is.

Stages: presolve → a first network → relaxation (SDP) → rounding and polishing → certificate → independent check. Data
flow one way. Ctrl-C or the time limit cuts a stage short; the stages after it then work with what there is, so that a
network and a proved bound always come out. A checkpoint lets a later call go on where the relaxation was cut short.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from certificates import OptimalityCertificate, residual_dual
from certificates import certify as certify_duals
from certificates.certificate import fingerprint
from certificates.repair import RepairedDual
from certificates.report import CheckReport
from certnet._certify import as_it_stands, certify, repaired
from certnet._clock import Clock, Event
from certnet._closing import COARSE, Closing, close_gap, is_low
from certnet._numerics import FAILURES, computing, guarded
from certnet._plan import Plan
from certnet._preflight import beginning, choose, require_memory
from certnet._saver import Saver, sink
from certnet._training_result import TrainingResult, numerical_rank
from certnet.branching.summary import SearchSummary
from certnet.checkpoint import Checkpoint, differences, program_fingerprint, usable_state
from certnet.device import require_device
from certnet.solvers import Progress, SolverResult, SolveStatus, solve
from certnet.solvers.interface import State
from certnet.solvers.registry import AUTO, get_solver
from certnet.solvers.warm_start import PAYS as WARM_STARTED
from certnet.solvers.warm_start import certified_dual, from_certificate, scaled, usable
from certnet.training.pricing import normalised, values
from certnet.training.rounding import candidates_from_moment
from certnet.training.trainer import FitResult, fit
from formulations import InputError, MergedRows, Presolved, RawDual, TrainingProgram, merge_rows, rescale
from formulations._validation import FloatArray

__all__ = ["Event", "TrainingResult", "train"]

LAST_FIT_SECONDS = 1.0
"""What polishing may still take after an interruption."""
LAST_REPAIR_SECONDS = 3.0
"""What repairing a solver's last dual may take then."""
SDP, GLOBAL = "sdp", "global"
METHODS = (SDP, GLOBAL)
DEFAULT_GAP = 1e-3
SDP_TOLERANCE, LARGEST_TOLERANCE, SMALLEST_TOLERANCE = 1e-6, 1e-5, 1e-9
"""Relative excess of the price over γ at which training ends."""
TOLERANCE_PER_GAP = 0.05
"""The same where a gap is to be closed: an excess ε of the price costs at most about 2ε of the bound."""
SAMPLES = 100
PAYS = 1e-6


@np.errstate(all="ignore")
def train(
    program: TrainingProgram,
    *,
    solver: str = AUTO,
    time_limit: float | None = None,
    tolerance: float = 1e-5,
    random_state: int = 0,
    progress: Callable[[Event], None] | None = None,
    provenance: Mapping[str, Any] | None = None,
    start: OptimalityCertificate | None = None,
    device: str = "cpu",
    checkpoint: Path | str | Callable[[Checkpoint], None] | None = None,
    resume: Checkpoint | None = None,
    method: str = SDP,
    gap: float | None = None,
    max_nodes: int | None = None,
    workers: int = 1,
    scheduler: str | None = None,
) -> TrainingResult:
    """Train a two-layer ReLU network and certify its distance from global optimality.

    Args:
        program: data, targets and γ; the loss is ½·sum of squares.
        solver: "auto", or a name from ``certnet.available_solvers()``.
        time_limit: seconds for the whole job, or None. The bound stays valid however early a solver stops.
        tolerance: relative residual at which the relaxation's solver stops.
        random_state: seed of everything random; equal seeds give equal networks unless time cuts a stage short.
        progress: called with an ``Event`` now and then.
        provenance: JSON object that travels in the certificate; no part of the proof.
        start: a certificate about the same X and Y, perhaps for another γ. Its neurons are candidates, its dual takes
            part in the proof, and both are a warm start of the relaxation for the solvers that gain by it.
        device: "cpu" or "cuda", where the ADMM computes.
        checkpoint: a file that is written about once a minute and at the end of stages. It is removed at the end
            unless the job was cut short. A function gets each ``certnet.checkpoint.Checkpoint`` instead; if it raises
            OSError, the job goes on without.
        resume: a checkpoint of the same program, from ``certnet.checkpoint.read_checkpoint``. The relaxation goes on
            from its state, with the same iterates as if it had never stopped where software, machine and options are
            the same. ``time_limit`` counts from now.
        method: "sdp" solves the lifted SDP, whose dual gives the bound and whose solution gives neurons to start from;
            "global" trains by column generation alone and proves the bound by branch and bound.
        gap: relative gap to be proved; branch and bound on the signs of the data points goes on until it is, or until
            time or nodes run out. None: no branching after the SDP, and a gap of 1e-3 for the method "global".
        max_nodes: most relaxations of that search, or None.
        workers: processes of that search.
        scheduler: address of a Dask cluster that it uses instead, such as ``tcp://host:8786``.

    Raises:
        InputError: unknown or unavailable solver or device, data too large for this machine, or a start or checkpoint
            about other data.
        KeyboardInterrupt: on a second Ctrl-C, while the first is being served.
    """
    clock = Clock(time_limit, progress)
    closing = closing_of(method, gap, max_nodes, workers, scheduler)
    require_device(device)
    if solver != AUTO:
        get_solver(solver)
    with clock.stage("presolve"):
        if start is not None and fingerprint(program.X, program.Y) != start.data_fingerprint:
            raise InputError("start is a certificate about other data; give one about the same X and Y, or none.")
        if resume is not None and program_fingerprint(program) != resume.fingerprint:
            raise InputError("The checkpoint is about other data or another gamma; give those it was made with.")
        merged = merge_rows(program)
        require_memory(merged)
    choice = None
    if solver == AUTO and merged.program.space.neurons:
        solver, choice = choose(merged, resume, time_limit)
        if method == SDP:
            clock.tell("presolve", note=choice)
    with computing(merged.program.space.order):
        begin = beginning(
            program,
            resume,
            solver=solver,
            tolerance=tolerance,
            random_state=random_state,
            device=device,
        )
        saver = Saver(begin, sink(checkpoint), clock)
        run = _Run(
            merged,
            saver,
            clock,
            start=start,
            resume=resume,
            provenance=provenance or {},
            choice=choice,
            method=method,
            closing=closing,
        )
        result = run.finish()
    if isinstance(checkpoint, Path | str) and not result.resumable:
        Path(checkpoint).unlink(missing_ok=True)
    return result


def closing_of(
    method: str, gap: float | None, max_nodes: int | None, workers: int, scheduler: str | None = None
) -> Closing | None:
    """What the options say about branching.

    Raises:
        InputError: options that make no sense.
    """
    if method not in METHODS:
        raise InputError(f"There is no method {method!r}; choose {' or '.join(METHODS)}.")
    if gap is not None and not (0 < gap < 1):
        raise InputError(f"The gap must lie between 0 and 1, not {gap:g}; 1e-3 means 0.1 %.")
    if max_nodes is not None and not max_nodes > 0:
        raise InputError(f"The number of nodes must be positive, not {max_nodes}.")
    if not workers > 0:
        raise InputError(f"The number of workers must be positive, not {workers}.")
    if gap is None and method == SDP:
        if max_nodes is not None:
            raise InputError("A number of nodes needs a gap to close; give --gap too.")
        return None
    return Closing(gap if gap is not None else DEFAULT_GAP, max_nodes, workers, scheduler)


class _Run:
    """One call of ``train`` after its arguments were checked: the best network, the duals, and how it was cut."""

    def __init__(
        self,
        merged: MergedRows,
        saver: Saver,
        clock: Clock,
        *,
        start: OptimalityCertificate | None,
        resume: Checkpoint | None,
        provenance: Mapping[str, Any],
        choice: str | None,
        method: str,
        closing: Closing | None,
    ) -> None:
        self.merged, self.program = merged, merged.original
        self.saver, self.clock = saver, clock
        self.start, self.resume, self.provenance, self.choice = start, resume, provenance, choice
        self.options = saver.current
        self.presolved = Presolved(merged, rescale(merged.program)) if merged.program.space.neurons else None
        _, d, c = self.program.shape
        self.network = _given(self.program, np.zeros((d, 0)), np.zeros((c, 0)))
        self.best: RepairedDual | None = None
        self.interrupted = False
        self.result: SolverResult | None = None
        self.relaxed_objective: float | None = None
        self.candidates: FloatArray | None = None
        self.shown: Progress | None = None
        self.method, self.closing = method, closing
        self.search: SearchSummary | None = None
        self.plan = Plan(clock, saver, merged.program.space.order)

    def finish(self) -> TrainingResult:
        """All stages."""
        self._first_network()
        branches = self.resume is not None and self.resume.search is not None
        if self.presolved is not None and not self.interrupted and self.method == SDP and not branches:
            self._relax()
        if self.interrupted:
            self.clock.tell("finishing after Ctrl-C; press it again to abandon")
        self._round()
        certificate, report = self._certify()
        certificate, report = self._close(certificate, report)
        cut = self._is_cut()
        if cut:
            self._last_checkpoint(certificate, report.lower_bound)
        rank, spectrum = numerical_rank(self.result)
        return TrainingResult(
            program=self.program,
            U=self.network.U,
            V=self.network.V,
            certificate=certificate,
            report=report,
            relaxation=self.result,
            relaxed_objective=self.relaxed_objective,
            rank=rank,
            spectrum=spectrum,
            stages=self.clock.stages,
            interrupted=self.interrupted,
            choice=self.choice,
            notes=tuple(self.clock.notes),
            search=self.search,
            resumable=cut,
        )

    def _is_cut(self) -> bool:
        """True when Ctrl-C or the time limit ended the relaxation, or anything the search."""
        if self.search is not None and self.search.can_go_on:
            return True
        return self.interrupted or (self.result is not None and self.result.status is SolveStatus.TIME_LIMIT)

    def _last_checkpoint(self, certificate: OptimalityCertificate, lower_bound: float) -> None:
        """Keep what was proved together with the solver's state, so that a resumed job begins with this bound."""
        with self.clock.stage("checkpoint"):
            if self.presolved is not None and np.isfinite(lower_bound):
                dual = self.presolved.apply_dual(certified_dual(self.merged, certificate))
                self.saver.update(dual=dual, lower_bound=lower_bound)
            self.saver.write()

    def _keep(self, network: FitResult) -> None:
        """Take a network that is at least as good, and put it into the checkpoint."""
        if network.objective <= self.network.objective:
            self.network = network
            self.saver.update(U=network.U, V=network.V)

    def _offer(self, candidate: RepairedDual) -> None:
        """Keep a repaired dual of the merged program, if its bound is the best so far."""
        if self.best is None or candidate.lower_bound > self.best.lower_bound:
            self.best = candidate

    @property
    def lower_bound(self) -> float:
        """The best repaired bound so far, in original units."""
        return -np.inf if self.best is None else self.best.lower_bound

    def _first_network(self) -> None:
        """A network and a bound from its residual within seconds, so that an early Ctrl-C leaves something."""
        limit = self.plan.first_network() if self.method == SDP else self.plan.global_training()
        with guarded(self.clock, "first network"):
            stored = self._stored_network()
            if stored is None:
                begin = self.clock.seconds
                given = None if self.start is None else self.start.U
                first = fit(
                    self.program,
                    candidates=given,
                    random_state=self.options.random_state,
                    time_limit=limit,
                    **self._effort(),
                )
                if limit is not None:
                    self.plan.overrun = max(self.clock.seconds - begin - limit, 0.0)
                self.interrupted = first.interrupted
                self._keep(first)
            else:
                self._keep(stored)
            self.clock.tell("first network", objective=self.network.objective)
            try:
                begin = self.clock.seconds
                self._offer(repaired(self.merged, residual_dual(self.merged, self.network.U, self.network.V)))
                self.plan.repair_seconds = self.clock.seconds - begin
                self._resume_dual()
            except KeyboardInterrupt:
                if self.interrupted:
                    raise
                self.interrupted = True
        self._tell("first network")
        self.saver.stage_ends("first network")

    @property
    def _closing_trains(self) -> bool:
        """True when closing the gap will find the neurons that are missing, and faster than heuristic pricing."""
        return self.closing is not None and self.presolved is not None and is_low(self.presolved)

    def _effort(self) -> dict[str, Any]:
        """How accurate the first network is to be."""
        if self.closing is None:
            return {"tolerance": SDP_TOLERANCE}
        if self._closing_trains:
            return COARSE
        return {"tolerance": max(min(LARGEST_TOLERANCE, TOLERANCE_PER_GAP * self.closing.gap), SMALLEST_TOLERANCE)}

    def _stored_network(self) -> FitResult | None:
        """The network of the checkpoint, if it has one for these data."""
        resume = self.resume
        if resume is None or resume.U is None or resume.V is None:
            return None
        _, d, c = self.program.shape
        if len(resume.U) != d or len(resume.V) != c:
            raise InputError("The network in the checkpoint does not fit the data; train again without it.")
        return _given(self.program, resume.U, resume.V)

    def _resume_dual(self) -> None:
        if self.resume is None or self.presolved is None:
            return
        self.saver.update(state=self.resume.state, dual=self.resume.dual, lower_bound=self.resume.lower_bound)
        if self.resume.dual is not None:
            self._offer(repaired(self.merged, self.presolved.undo_dual(self.resume.dual)))

    def _tell(self, stage: str, progress: Progress | None = None) -> None:
        bound = self.lower_bound if progress is None else max(self.lower_bound, progress.lower_bound)
        figures: dict[str, Any] = {}
        if progress is not None:
            residual = max(progress.primal_residual, progress.dual_residual)
            figures = {"iteration": progress.iteration, "rank": progress.rank, "residual": residual}
        self.clock.tell(
            stage,
            objective=self.network.objective,
            lower_bound=bound if np.isfinite(bound) else None,
            **figures,
        )

    def _watch(self, progress: Progress) -> None:
        self.shown = progress
        self.saver.look(progress)
        self._tell("relaxation", progress)

    def _relax(self) -> None:
        presolved = self.presolved
        assert presolved is not None  # there are data directions
        with guarded(self.clock, "relaxation"):
            try:
                result = self.result = self._solve(presolved)
                if result.status is SolveStatus.FAILED:
                    self.clock.note("relaxation", f"The solver {result.solver} failed ({result.message}).")
                self.interrupted = result.status is SolveStatus.INTERRUPTED
                self._take_duals(presolved, result.dual)
                if np.isfinite(result.objective):
                    self.relaxed_objective = presolved.program.to_original(result.objective)
                if result.primal is not None and np.isfinite(result.primal.S).all():
                    moment = presolved.scaling.undo_primal(result.primal)
                    self.candidates = candidates_from_moment(
                        moment, self.program.X, samples=SAMPLES, random_state=self.options.random_state
                    )
            except KeyboardInterrupt:
                if self.interrupted:
                    raise
                self.interrupted = True
                self._take_duals(presolved, None)
            except FAILURES:
                self._take_duals(presolved, None)
                raise
        if self.shown is not None:
            self.saver.take(self.shown)
        if not self.interrupted:
            self.saver.stage_ends("relaxation")

    def _take_duals(self, presolved: Presolved, last: RawDual | None) -> None:
        """The best dual that the solver showed, and its last one, which has to be repaired.

        The repair comes now, so that the time left is known; after Ctrl-C only if nothing was shown and it is quick.
        """
        seen = self.shown is not None and self.shown.lower_bound > self.lower_bound
        if self.shown is not None and seen:
            self._offer(as_it_stands(self.merged, presolved.undo_dual(self.shown.dual())))
        slow = self.interrupted and (seen or self.plan.raw_repair > LAST_REPAIR_SECONDS)
        if last is not None and not slow:
            self._offer(repaired(self.merged, presolved.undo_dual(last)))

    def _solve(self, presolved: Presolved) -> SolverResult:
        """The relaxation, from the checkpoint's state where there is one that the solver can use."""
        resume, program = self.resume, presolved.program
        warm_start = None
        if self.start is not None and self.options.solver in WARM_STARTED:
            warm_start = from_certificate(presolved, self.start)

        def run(**more: Any) -> SolverResult:
            return solve(
                program,
                solver=self.options.solver,
                time_limit=self.plan.relaxation(self.network),
                tolerance=self.options.tolerance,
                callback=self._watch,
                seed=self.options.random_state,
                device=self.options.device,
                **more,
            )

        if resume is None:
            return run(warm_start=warm_start)
        state, obstacle = usable_state(resume, self.options)
        if state is not None:
            odd = differences(resume, self.options)
            if odd:
                self.clock.note("relaxation", f"The relaxation goes on, perhaps not bit for bit: {odd}.")
            try:
                return run(resume=state)
            except InputError as error:
                obstacle = f"its state cannot be used ({error})"
        self.clock.note("relaxation", f"The relaxation starts anew from the checkpoint's dual, because {obstacle}.")
        return run(warm_start=usable(program, (None, resume.dual)) or warm_start)

    def _round(self) -> None:
        """The best network that starts from the relaxation's candidates and from the first network."""
        if self.resume is not None and self.resume.search is not None:
            # The search that goes on is about the network as it is.
            return
        if self._closing_trains and self.method == GLOBAL:
            return
        if self.interrupted and self.network.U.shape[1]:
            # An interruption before the relaxation ended left no candidates that would pay for the wait.
            limit: float | None = LAST_FIT_SECONDS if self.candidates is not None else 0.0
        else:
            limit = self.plan.rounding()
        with guarded(self.clock, "rounding"):
            if limit == 0.0 or self._nothing_pays():
                return
            fitted = fit(
                self.program,
                candidates=self._columns(),
                random_state=self.options.random_state,
                time_limit=LAST_FIT_SECONDS if self.interrupted else limit,
                **(self._effort() if self._closing_trains else {}),
            )
            if self.interrupted and fitted.interrupted:
                raise KeyboardInterrupt
            self.interrupted = self.interrupted or fitted.interrupted
            self._keep(fitted)
        self._tell("rounding")
        self.saver.update(stage="rounding")

    def _nothing_pays(self) -> bool:
        """True when the first fit found no direction that would lower the objective, and the candidates hold none."""
        if not self.network.converged:
            return False
        if self.candidates is None:
            return True
        R = self.program.residual(self.network.U, self.network.V)
        prices = values(self.program.X, R, normalised(self.candidates))
        return bool(prices.max(initial=0.0) <= self.program.gamma * (1.0 + PAYS))

    def _columns(self) -> FloatArray | None:
        """Where the last fit starts. A first network that time cut short takes part only if time rules anyway: else
        equal seeds would give different networks."""
        parts = [] if self.start is None else [self.start.U]
        if self._is_cut() or self.resume is not None or not self.network.timed_out:
            parts.append(self.network.U)
        if self.candidates is not None:
            parts.append(self.candidates)
        return np.hstack(parts) if parts else None

    def _certify(self) -> tuple[OptimalityCertificate, CheckReport]:
        try:
            return self._prove()
        except KeyboardInterrupt:
            if self.interrupted:
                raise
            self.interrupted = True
            return self._prove()

    def _close(
        self, certificate: OptimalityCertificate, report: CheckReport
    ) -> tuple[OptimalityCertificate, CheckReport]:
        """Branch and bound, if a gap was asked for that is not reached."""
        closing, presolved, objective = self.closing, self.presolved, self.network.objective
        if closing is None or presolved is None or self.interrupted or not objective > 0:
            return certificate, report
        if report.gap <= closing.gap:
            return certificate, report

        def tell(nodes: int, bound: float, reached: float | None, state: Callable[[], State] | None) -> None:
            best = max(bound, report.lower_bound)
            self.clock.tell("branching", iteration=nodes, objective=reached, lower_bound=best)
            if state is not None:
                self.saver.look_at_search(state)

        closed = None
        with guarded(self.clock, "branching"):
            closed = close_gap(
                presolved,
                self.network,
                closing,
                left=self.clock.left,
                tell=tell,
                random_state=self.options.random_state,
                provenance=self.provenance,
                resume=None if self.resume is None else self.resume.search,
            )
        if closed is None:
            return certificate, report
        self.search, self.interrupted = closed.search, closed.search.interrupted
        if closed.search.can_go_on:
            self._keep(closed.network)
            self.saver.update(search=closed.search.state)
        if closed.proof is None:
            return certificate, report
        found, found_report = closed.proof
        if found_report.verdict is not report.verdict or not found_report.lower_bound > report.lower_bound:
            return certificate, report
        self._keep(closed.network)
        return found, found_report

    def _prove(self) -> tuple[OptimalityCertificate, CheckReport]:
        """Offer the duals that are left, and certify the best, or else W = 0, which always can be."""
        merged, U, V = self.merged, self.network.U, self.network.V
        with guarded(self.clock, "certificate"):
            if self.start is not None:
                known = scaled(certified_dual(merged, self.start), self.program.gamma / self.start.gamma)
                self._offer(repaired(merged, known))
            if self.best is None or not self.interrupted:
                self._offer(repaired(merged, residual_dual(merged, U, V)))
        if self.best is not None:
            with guarded(self.clock, "certificate"):
                return certify(merged, self.best, U, V, provenance=self.provenance)
        return certify_duals(merged, [], U, V, provenance=self.provenance)


def _given(program: TrainingProgram, U: FloatArray, V: FloatArray) -> FitResult:
    """A network that no fit of this run made."""
    return FitResult(U=U, V=V, objective=program.objective(U, V))
