"""The main job: train through the lifted SDP, and prove how good the network is.

Stages: presolve → a first network → relaxation (SDP) → rounding and polishing → certificate → independent check. Data
flow one way. Ctrl-C or the time limit cuts a stage short; the stages after it then work with what there is, so that a
network and a proved bound always come out. A checkpoint lets a later call go on where the relaxation was cut short.
"""

import contextlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from certificates import Certificate, Training, fingerprint
from certificates.making import certify as certify_duals
from certificates.making import residual_dual
from certificates.making.assemble import about
from certificates.making.repair import RepairedDual
from certnet.jobs.best import Best, Proof
from certnet.jobs.certify import as_it_stands, certify, repaired, with_network
from certnet.jobs.checkpoint import Checkpoint, program_fingerprint, usable_state
from certnet.jobs.closing import COARSE, GAP_SHARE, Closing, close_gap, is_low, is_small
from certnet.jobs.plan import CHECK, FIRST_ROUNDS, RAW_REPAIR, Plan
from certnet.jobs.preflight import beginning, choose, require_memory
from certnet.jobs.saver import Saver, sink
from certnet.jobs.stages import Staged
from certnet.jobs.training_result import TrainingResult, numerical_rank
from certnet.runtime.clock import Clock, Event
from certnet.runtime.numerics import computing
from certnet.search.price import SearchSummary
from certnet.solvers import Progress, SolverResult, SolveStatus, solve
from certnet.solvers.arrays import require_device
from certnet.solvers.interface import State
from certnet.solvers.registry import AUTO, get_solver
from certnet.solvers.warm_start import PAYS as WARM_STARTED
from certnet.solvers.warm_start import certified_dual, from_certificate, scaled, usable
from certnet.training.polish import Network
from certnet.training.pricing import candidates_from_moment, normalised, values
from certnet.training.trainer import FitResult, fit
from formulations import Dual, InputError, MergedRows, Presolved, Primal, TrainingProgram, merge_rows
from formulations._validation import FloatArray
from formulations.arguments import accepts, count, json_object, seconds

__all__ = ["Event", "TrainingResult", "train"]

LAST_REPAIR_SECONDS, LAST_PROOF_SECONDS = 3.0, 5.0
"""What repairing a solver's last dual, and proving the best one, may take after an interruption."""
EXACT = 1e-8
"""Relative gap at which a job ends that was not asked for one."""
SDP, GLOBAL = "sdp", "global"
TRAINING = "training"
"""Stage of the checkpoints that are written before the first network is finished."""
METHODS = (SDP, GLOBAL)
DEFAULT_GAP = 1e-3
SDP_TOLERANCE, LARGEST_TOLERANCE, SMALLEST_TOLERANCE = 1e-6, 1e-5, 1e-9
"""Relative excess of the price over γ at which training ends."""
TOLERANCE_PER_GAP = 0.05
"""The same where a gap is to be closed: an excess ε of the price costs at most about 2ε of the bound."""
SAMPLES = 100
PAYS = 1e-6


@np.errstate(all="ignore")
@accepts(
    program=TrainingProgram,
    time_limit=seconds,
    random_state=count,
    provenance=json_object,
    start=about(Training),
    resume=Checkpoint,
)
def train(
    program: TrainingProgram,
    *,
    solver: str = AUTO,
    time_limit: float | None = None,
    tolerance: float = 1e-5,
    random_state: int = 0,
    progress: Callable[[Event], None] | None = None,
    provenance: Mapping[str, Any] | None = None,
    start: Certificate | None = None,
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
            unless the job was cut short. A function gets each ``certnet.jobs.checkpoint.Checkpoint`` instead; if it
            raises OSError, the job goes on without.
        resume: a checkpoint of the same program, from ``certnet.jobs.checkpoint.read_checkpoint``. The relaxation goes
            on from its iterate. ``time_limit`` counts from now.
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
        with contextlib.suppress(OSError):
            Path(checkpoint).unlink()
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


class _Run(Staged):
    """One call of ``train`` after its arguments were checked: the stages, what they share, and how they were cut."""

    def __init__(
        self,
        merged: MergedRows,
        saver: Saver,
        clock: Clock,
        *,
        start: Certificate | None,
        resume: Checkpoint | None,
        provenance: Mapping[str, Any],
        choice: str | None,
        method: str,
        closing: Closing | None,
    ) -> None:
        _, d, c = merged.original.shape
        nothing = _given(merged.original, np.zeros((d, 0)), np.zeros((c, 0)))
        super().__init__(merged, clock, Plan(clock, saver, merged.program.space), Best(merged, nothing))
        self.saver, self.first = saver, nothing
        self.start, self.resume, self.provenance, self.choice = start, resume, provenance, choice
        self.options = saver.current
        self.result: SolverResult | None = None
        self.relaxed_objective: float | None = None
        self.candidates: FloatArray | None = None
        self.shown: Progress | None = None
        self.method, self.closing = method, closing
        self.search: SearchSummary | None = None

    def finish(self) -> TrainingResult:
        """All stages, the cheap ones first, until nothing is left to gain."""
        enough = EXACT if self.closing is None else self.closing.gap
        self.stage("first network", self._first_network, self.plan.soon())
        # Where the first network was left behind, there is still time for everything else.
        self.late = False
        self.stage("first bound", self._first_bound)
        if self.presolved is not None:
            self.bound(self._bounding(self.presolved), enough, cones=is_low(self.presolved))
            if self.closing is not None and self.closing.max_nodes is None:
                self.go_on(self._again, enough)
        certificate, report = self._last()
        cut = self._is_cut()
        if cut:
            self._last_checkpoint(certificate, report.lower_bound)
        rank, spectrum = numerical_rank(self.result)
        return TrainingResult(
            program=self.program,
            certificate=certificate,
            report=report,
            relaxation=self.result,
            relaxed_objective=self.relaxed_objective,
            rank=rank,
            spectrum=spectrum,
            stages=self.clock.stages,
            interrupted=self.interrupted,
            choice=None if self.result is None else self.choice,
            notes=tuple(self.clock.notes),
            search=self.search,
            resumable=cut,
        )

    def _bounding(self, presolved: Presolved) -> Iterator[tuple[str, Callable[[], None]]]:
        """The stages after the first bound, in the order in which they give most for their time."""
        yield "bound without products", self._shor
        relaxation = [("relaxation", self._relax), ("rounding", self._round), ("certificate", self._prove)]
        branching = [] if self.closing is None else [("branching", self._close)]
        if self.resume is not None and self.resume.search is not None:
            # The search that goes on is about the network as it is.
            yield from branching
            return
        # In few dimensions cones close the gap; in more, many rows need a relaxation first.
        branches_first = is_low(presolved) or (self.method == GLOBAL and is_small(presolved))
        yield from [*branching, *relaxation] if branches_first else [*relaxation, *branching]

    def _is_cut(self) -> bool:
        """True when Ctrl-C or the time limit ended the relaxation, or anything the search."""
        if self.search is not None and self.search.can_go_on:
            return True
        return (
            self.interrupted or self.late or (self.result is not None and self.result.status is SolveStatus.TIME_LIMIT)
        )

    def _last_checkpoint(self, certificate: Certificate, lower_bound: float) -> None:
        """Keep what was proved together with the solver's state, so that a resumed job begins with this bound."""
        with self.clock.stage("checkpoint"):
            self.saver.update(U=certificate.U, V=certificate.V)
            if self.presolved is not None and np.isfinite(lower_bound):
                dual = self.presolved.apply_dual(certified_dual(self.merged, certificate))
                self.saver.update(dual=dual, lower_bound=lower_bound)
            self.saver.write_last()

    def _keep(self, network: FitResult) -> None:
        """Take a network that is at least as good, and put it into the checkpoint."""
        if self.best.take_network(network):
            self.saver.look_at_network(network.U, network.V)

    def _see(self, network: Network, objective: float) -> None:
        """A better network on the way of a stage."""
        self.best.see(network, objective)
        best = self.best.network
        self.saver.look_at_network(best.U, best.V)

    def _first_network(self) -> None:
        """A network soon, so that an early Ctrl-C leaves something; without a time limit rounds alone bound it."""
        stored = self._stored_network()
        # A checkpoint of the training itself holds a network to go on from.
        trains = stored is None or (self.resume is not None and self.resume.stage == TRAINING)
        if trains:
            self.saver.update(stage=TRAINING)
        if stored is not None:
            self._keep(stored)
        if self.start is not None:
            self._keep(_given(self.program, self.start.U, self.start.V))
        if trains:
            limit = self.plan.first_network() if self.method == SDP else self.plan.global_training()
            given = [network.U for network in (self.start, stored) if network is not None]
            self.first = fit(
                self.program,
                candidates=np.hstack(given) if given else None,
                random_state=self.options.random_state,
                time_limit=limit,
                callback=lambda _: self.saver.tick(),
                better=self._see,
                **self._effort(),
            )
            self.interrupted = self.first.interrupted
            self._keep(self.first)
        self._tell("first network")

    def _first_bound(self) -> None:
        """The bounds that cost linear time, and those that were known before; the best of them is proved."""
        for dual in self._known():
            self.best.take_dual(dual)
        self._prove()
        self._tell("first bound")
        if not self.interrupted:
            self.saver.stage_ends("first network")

    def _shor(self) -> None:
        """The best bound without products, if a proof of it fits into the time too."""
        network = self.best.network
        if self.without_products([(network.U, network.V)], self.options.random_state):
            self._prove()
            self._tell("bound without products")

    def _known(self) -> Iterator[RepairedDual]:
        """Repaired duals: of the network, of the start, and of the checkpoint."""
        U, V = self.best.network.U, self.best.network.V
        yield repaired(self.merged, residual_dual(self.merged, U, V))
        if self.start is not None:
            known = certified_dual(self.merged, self.start)
            yield repaired(self.merged, scaled(known, self.program.gamma / self.start.gamma))
        if self.resume is not None and self.presolved is not None:
            self.saver.update(state=self.resume.state, dual=self.resume.dual, lower_bound=self.resume.lower_bound)
            if self.resume.dual is not None:
                yield repaired(self.merged, self.presolved.undo_dual(self.resume.dual))

    @property
    def _closing_trains(self) -> bool:
        """True when closing the gap will find the neurons that are missing, and faster than heuristic pricing."""
        return self.closing is not None and self.presolved is not None and is_low(self.presolved)

    def _effort(self) -> dict[str, Any]:
        """How accurate the first network is to be."""
        rounds = {} if self.method == GLOBAL else {"max_rounds": FIRST_ROUNDS}
        if self.closing is None:
            return {"tolerance": SDP_TOLERANCE, **rounds}
        if self._closing_trains:
            return COARSE
        tolerance = max(min(LARGEST_TOLERANCE, TOLERANCE_PER_GAP * self.closing.gap), SMALLEST_TOLERANCE)
        return {"tolerance": tolerance, **rounds}

    def _stored_network(self) -> FitResult | None:
        """The network of the checkpoint, if it has one for these data."""
        resume = self.resume
        if resume is None or resume.U is None or resume.V is None:
            return None
        _, d, c = self.program.shape
        if len(resume.U) != d or len(resume.V) != c:
            raise InputError("The network in the checkpoint does not fit the data; train again without it.")
        return _given(self.program, resume.U, resume.V)

    def _tell(self, stage: str, progress: Progress | None = None) -> None:
        bound = self.best.lower_bound if progress is None else max(self.best.lower_bound, progress.lower_bound)
        figures: dict[str, Any] = {}
        if progress is not None:
            residual = max(progress.primal_residual, progress.dual_residual)
            figures = {"iteration": progress.iteration, "rank": progress.rank, "residual": residual}
        self.clock.tell(
            stage,
            objective=self.best.network.objective,
            lower_bound=bound if np.isfinite(bound) else None,
            **figures,
        )

    def _watch(self, progress: Progress) -> bool:
        """True once the bound leaves nothing to gain."""
        self.shown = progress
        self.saver.look(progress)
        self._tell("relaxation", progress)
        enough = EXACT if self.closing is None else GAP_SHARE * self.closing.gap
        return progress.lower_bound >= self.best.network.objective * (1.0 - enough)

    def _relax(self) -> None:
        presolved = self.presolved
        assert presolved is not None  # there are data directions
        if not self.can_relax():
            return
        result = self.result = self._solve(presolved)
        if result.status is SolveStatus.FAILED:
            self.clock.note("relaxation", f"The solver {result.solver} failed ({result.message}).")
        self.interrupted = result.status is SolveStatus.INTERRUPTED
        if np.isfinite(result.objective):
            self.relaxed_objective = presolved.program.to_original(result.objective)
        if result.primal is not None and np.isfinite(result.primal.S).all():
            moment = presolved.scaling.undo_moment(result.primal)
            self.candidates = candidates_from_moment(
                moment, self.program.X, samples=SAMPLES, random_state=self.options.random_state
            )
        if result.dual is not None and not (self.interrupted and not self._repairs_soon()):
            self.best.take_dual(repaired(self.merged, presolved.undo_dual(result.dual)))
        if self.shown is not None:
            self.saver.take(self.shown)
        if not self.interrupted:
            self.saver.stage_ends("relaxation")

    def _repairs_soon(self) -> bool:
        """Whether a solver's last dual can still be repaired after Ctrl-C, and one that was shown is no better."""
        seen = self.shown is not None and self.shown.lower_bound >= self.best.lower_bound
        return not seen and self.plan.is_quick(LAST_REPAIR_SECONDS, RAW_REPAIR)

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
                time_limit=self.plan.relaxation(self.first),
                tolerance=self.options.tolerance,
                callback=self._watch,
                seed=self.options.random_state,
                device=self.options.device,
                **more,
            )

        if resume is None:
            return run(warm_start=warm_start)
        state, obstacle = usable_state(resume, self.options)
        stored = None
        if state is not None:
            try:
                iterate = Primal(state["S"], program.space.outputs), Dual(state["W"], state["N"])
                stored = usable(program, iterate)
            except KeyError:
                pass
            obstacle = "" if stored is not None else "its state cannot be used"
        if stored is None:
            self.clock.note("relaxation", f"The relaxation starts anew from the checkpoint's dual, because {obstacle}.")
            stored = usable(program, (None, resume.dual)) or warm_start
        return run(warm_start=stored)

    def _round(self) -> None:
        """The best network that starts from the relaxation's candidates and from the first network."""
        if self._nothing_pays():
            return
        fitted = fit(
            self.program,
            candidates=self._columns(),
            random_state=self.options.random_state,
            time_limit=self.plan.rounding(relaxed=self.shown is not None),
            callback=lambda _: self.saver.tick(),
            better=self._see,
            **(self._effort() if self._closing_trains else {}),
        )
        self.interrupted = fitted.interrupted
        self._keep(fitted)
        self._tell("rounding")
        self.saver.update(stage="rounding")

    def _nothing_pays(self) -> bool:
        """True when the first fit found no direction that would lower the objective, and the candidates hold none."""
        if not self.best.network.converged:
            return False
        if self.candidates is None:
            return True
        R = self.program.residual(self.best.network.U, self.best.network.V)
        prices = values(self.program.X, R, normalised(self.candidates))
        return bool(prices.max(initial=0.0) <= self.program.gamma * (1.0 + PAYS))

    def _columns(self) -> FloatArray:
        """Where the last fit starts."""
        parts = [] if self.start is None else [self.start.U]
        parts.append(self.best.network.U)
        if self.candidates is not None:
            parts.append(self.candidates)
        return np.hstack(parts)

    def _again(self, number: int) -> None:
        """Another start of training, then the search for a proof once more."""

        def train() -> None:
            fitted = fit(
                self.program,
                candidates=self.best.network.U,
                random_state=self.options.random_state + number,
                time_limit=self.plan.global_training(),
                better=self._see,
                **self._effort(),
            )
            self.interrupted = fitted.interrupted
            self._keep(fitted)

        self.stage("training", train)
        if not self.interrupted:
            self.stage("branching", self._close)

    def _prove(self) -> None:
        """Have the best dual at hand checked, be it one that a solver has shown."""
        network, shown = self.best.network, self.shown
        if shown is not None and self.presolved is not None and shown.lower_bound > self.best.lower_bound:
            self.best.take_dual(as_it_stands(self.merged, self.presolved.undo_dual(shown.dual())))
        self.best.take_residual(network.U, network.V)
        begin = self.clock.seconds
        self.best.prove(lambda dual: certify(self.merged, dual, network.U, network.V, provenance=self.provenance))
        self.plan.proving = self.clock.seconds - begin

    def _last(self) -> Proof:
        """The certificate of the best bound, about the best network, from what can still be checked in time."""
        dual = self.best.dual
        if self.shown is not None or (dual is not None and dual.lower_bound > self.best.proved):
            left = self.clock.left()
            seconds = LAST_PROOF_SECONDS if self.interrupted or left is None else left
            is_linear = self.shown is None and dual is not None and not dual.N.size
            if is_linear or self.plan.is_quick(seconds, CHECK):
                self.stage("certificate", self._prove, seconds)
        if self.best.proof is None:
            # Nothing was proved before Ctrl-C; the trivial bound costs next to nothing.
            U, V = self.best.network.U, self.best.network.V
            self.best.take_proof(*certify_duals(self.merged, [], U, V, provenance=self.provenance))
        assert self.best.proof is not None
        return with_network(*self.best.proof, self.best.network.U, self.best.network.V)

    def _close(self) -> None:
        """Branch and bound, if a gap was asked for that is not reached."""
        closing, presolved = self.closing, self.presolved
        assert closing is not None  # it was asked for
        assert presolved is not None
        if not self.can_branch(is_low=is_low(presolved)):
            return

        def tell(nodes: int, bound: float, reached: float | None, state: Callable[[], State] | None) -> None:
            self.clock.tell("branching", iteration=nodes, objective=reached, lower_bound=max(bound, self.best.proved))
            if state is None:
                self.saver.tick()
            else:
                self.saver.look_at_search(state)

        resume = None if self.resume is None else self.resume.search
        if self.search is not None and self.search.can_go_on:
            resume = self.search.state
        closed = close_gap(
            presolved,
            self.best.network,
            closing,
            left=self.plan.left,
            tell=tell,
            random_state=self.options.random_state,
            provenance=self.provenance,
            resume=resume,
            better=self._see,
        )
        self.search, self.interrupted = closed.search, closed.search.interrupted
        self._keep(closed.network)
        if closed.search.can_go_on:
            self.saver.update(search=closed.search.state)
        if closed.proof is not None:
            self.best.take_proof(*closed.proof)


def _given(program: TrainingProgram, U: FloatArray, V: FloatArray) -> FitResult:
    """A network that no fit of this run made."""
    return FitResult(U=U, V=V, objective=program.objective(U, V))
