"""The state that the stages of a job share, and how a stage is run.

A stage is a function of this state. It offers networks, duals and proofs to ``job.best``; it is ended in good order by
Ctrl-C, left behind when time is up or when it fails numerically, and left out when nothing is left to gain.
"""

import math
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import ArrayLike

from certificates import Certificate, Verdict
from certnet.jobs.best import Best, Proof
from certnet.jobs.checkpoint import Checkpoint, Save, Saver, program_fingerprint
from certnet.jobs.clock import JobClock, require_memory
from certnet.runtime.abandon import Insisted, OutOfTimeError, abandonable
from certnet.runtime.numerics import guarded
from certnet.search.cone_closing import LARGEST_DIMENSION
from certnet.search.pool import pool
from certnet.search.price import SearchSummary
from certnet.solvers import Progress, SolverResult
from certnet.solvers.registry import AUTO
from certnet.training.polish import Network, offered_dual
from certnet.training.trainer import FitResult
from formulations import Dual, InputError, MergedRows, Presolved, Primal, TrainingProgram, merge_rows, rescale
from formulations._validation import FloatArray
from formulations.network import ReluNetwork
from formulations.program import NO_PRODUCTS
from formulations.training import LARGEST

T = TypeVar("T")
SDP, GLOBAL = METHODS = ("sdp", "global")
DEFAULT_GAP = 1e-3
EXACT = 1e-8  # Relative gap at which a job ends that was not asked for one.


@dataclass(frozen=True)
class Closing:
    """How a gap is to be closed: to which relative gap, with how many relaxations, by how many processes or which Dask
    cluster, with circuit inequalities or without, and whether directions of too large a price become neurons."""

    gap: float
    max_nodes: int | None = None
    workers: int = 1
    scheduler: str | None = None
    circuits: bool = False
    train: bool = True

    def __post_init__(self) -> None:
        if not (0 < self.gap < 1):
            raise InputError(f"The gap must lie between 0 and 1, not {self.gap:g}; 1e-3 means 0.1 %.")
        for value, name in ((self.max_nodes, "nodes"), (self.workers, "workers")):
            if value is not None and not value > 0:
                raise InputError(f"The number of {name} must be positive, not {value}.")


def closing_of(method: str, gap: float | None, *search: Any) -> Closing | None:
    """What the options say about branching; ``search`` are those of ``Closing`` after the gap."""
    if method not in METHODS:
        raise InputError(f"There is no method {method!r}; choose {' or '.join(METHODS)}.")
    closing = Closing(DEFAULT_GAP if gap is None else gap, *search)
    with pool(1, closing.scheduler):
        pass  # A scheduler has to answer now: a job that ends early would not ask it.
    if gap is not None or method == GLOBAL:
        return closing
    if closing.max_nodes is not None:
        raise InputError("A number of nodes needs a gap to close; give --gap too.")
    return None


@dataclass(eq=False, kw_only=True)
class Job:
    """The options of one job, and what its stages have found.

    Attributes:
        executor: takes blocks of groups of rows; None for threads.
        given: the network that proofs are about, with its output bias and objective; None for the best one.
        start: a certificate of the same data, perhaps for another γ.
        resume: where an earlier job was cut short.
        interrupted: Ctrl-C ended a stage.
        late: a stage did not end in time and was left behind.
        known: the bounds of ``start`` and ``resume`` are among those of ``best``.
        trained: the last fit that ended.
        relaxation, shown: the solver's result, and its last look.
        priced: a dual for the network's own W, in the solvers' coordinates.
        price_ratio: a price over γ that a direction was found to have for the given network.
        bounds: the lower bound that each source led to.
        grouped: the relaxation has products within groups of rows alone.
        narrowed: what the search on costly rows needs to go on.
    """

    merged: MergedRows
    clock: JobClock
    best: Best
    saver: Saver
    given: Network | None = None
    given_output: FloatArray = field(default_factory=lambda: np.zeros(0))
    given_objective: float = math.inf
    method: str = GLOBAL
    closing: Closing | None = None
    solver: str = AUTO
    tolerance: float = 1e-6
    device: str = "cpu"
    executor: Executor | None = None
    random_state: int = 0
    provenance: Mapping[str, Any] = field(default_factory=dict)
    start: Certificate | None = None
    resume: Checkpoint | None = None
    interrupted: bool = False
    late: bool = False
    known: bool = False
    trained: FitResult | None = None
    relaxation: SolverResult | None = None
    priced: Dual | None = None
    shown: Progress | None = None
    price_ratio: float | None = None
    search: SearchSummary | None = None
    bounds: dict[str, float] = field(default_factory=dict)
    grouped: bool = False
    narrowed: dict[str, Any] = field(default_factory=dict)

    @property
    def program(self) -> TrainingProgram:
        """The training program."""
        return self.merged.original

    @cached_property
    def presolved(self) -> Presolved:
        """In the coordinates of the solvers; asked for only where there are data directions."""
        return Presolved(self.merged, rescale(self.merged.program))

    @property
    def has_directions(self) -> bool:
        """False where every data row is zero."""
        return self.merged.program.space.neurons > 0

    @property
    def network(self) -> Network:
        """What proofs are about."""
        return (self.best.network.U, self.best.network.V) if self.given is None else self.given

    @property
    def objective(self) -> float:
        """Of that network."""
        return self.best.network.objective if self.given is None else self.given_objective

    @property
    def solution(self) -> Primal | None:
        """The last iterate of the relaxation, None without one of finite numbers."""
        primal = None if self.relaxation is None else self.relaxation.primal
        return primal if primal is not None and np.isfinite(primal.S).all() else None

    @property
    def relaxed_objective(self) -> float | None:
        """Its value in original units, in floating point; not a bound."""
        value = math.nan if self.relaxation is None else self.relaxation.objective
        return self.presolved.program.to_original(value) if math.isfinite(value) else None

    @property
    def enough(self) -> float:
        """The relative gap at which nothing is left to gain."""
        return EXACT if self.closing is None else self.closing.gap

    @property
    def cuts_cones(self) -> bool:
        """True when branching will find the neurons that are missing, and faster than heuristic pricing."""
        return self.closing is not None and self.has_directions and self.program.shape[1] <= LARGEST_DIMENSION

    @property
    def is_open(self) -> bool:
        """True when the gap is larger than it has to be and there is time to narrow it."""
        return not (self.interrupted or self.best.gap <= self.enough or self.clock.available() == 0.0)

    @property
    def offered(self) -> Dual:
        """The dual of the merged program that the best network offers, without multipliers."""
        network, W = self.best.network, self.best.network.W
        if W is None:
            return offered_dual(self.merged, (network.U, network.V))
        return Dual(self.merged.merge_W(W), NO_PRODUCTS)

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

    def tell_progress(self, stage: str, progress: Progress, bound: float | None = None) -> None:
        """The same of a solver's progress, whose bound may need to be made one on the objective."""
        residual = max(progress.primal_residual, progress.dual_residual)
        bound = progress.lower_bound if bound is None else bound
        self.tell(stage, bound=bound, iteration=progress.iteration, rank=progress.rank or None, residual=residual)

    def take_proof(self, source: str, proof: Proof) -> None:
        """Keep a certificate if it is the best."""
        if proof[1].verdict is Verdict.PROVED:
            self.bounds[source] = max(proof[1].lower_bound, self.bounds.get(source, -math.inf))
        self.best.take_proof(*proof)


def begin(
    clock: JobClock,
    program: TrainingProgram,
    network: FitResult | None = None,
    save: Save | None = None,
    **options: Any,
) -> Job:
    """The state at the beginning: rows merged, memory tested, with the best known network.

    ``save`` takes the checkpoints, and ``options`` are fields of ``Job``. Data too large for this machine are refused,
    and a checkpoint about other data.
    """
    resume: Checkpoint | None = options.get("resume")
    # What is stored stays stored until there is better.
    first = Checkpoint(program_fingerprint(program), "presolve", 0.0) if resume is None else resume
    if program_fingerprint(program) != first.fingerprint:
        raise InputError("The checkpoint is about other data or another gamma; give those it was made with.")
    merged = merge_rows(program)
    require_memory(merged)
    clock.space, clock.has_region = merged.program.space, merged.program.region.size > 0
    _, d, c = program.shape
    network = network or untrained(program, np.zeros((d, 0)), np.zeros((c, 0)))
    job = Job(merged=merged, clock=clock, best=Best(merged, network), saver=Saver(first, save, clock), **options)
    # Before any stage, so that Ctrl-C in the first one does not lose them.
    for known in (job.resume, job.start):
        if known is not None and known.U is not None and known.V is not None:
            job.keep(untrained(program, *fitting(program, known.U, known.V)[0]))
    clock.saving = lambda: job.saver.reserve(merged.program.space.order)
    return job


def untrained(program: TrainingProgram, U: FloatArray, V: FloatArray) -> FitResult:
    """A network that no fit of this run made."""
    return FitResult(U=U, V=V, objective=program.objective(U, V))


def fitting(
    program: TrainingProgram, U: ArrayLike, V: ArrayLike, a: ArrayLike | None = None
) -> tuple[Network, FloatArray]:
    """The network's weights, and its output bias or the best one; refused if they do not fit the program."""
    network = ReluNetwork.of_program(U, V, None if a is None else np.atleast_1d(np.asarray(a)))
    _, d, c = program.shape
    if (network.inputs, network.outputs) != (d, c):
        raise InputError(
            f"The network takes {network.inputs} inputs to {network.outputs} outputs, but the program has {d} "
            f"features and {c} targets."
        )
    U, V, _ = network.program_weights(hidden_bias=False)
    size = max(float(np.abs(weights).max(initial=0.0)) for weights in (U, V))
    if not size <= LARGEST:
        raise InputError(f"The network has a weight of size {size:.1e}; rescale its neurons to below {LARGEST:.0e}.")
    output = program.output(U, V) if a is None else network.output_bias
    if program.output_bias == "none" and output.any():
        raise InputError(
            'The network has an output bias, but the training problem has none; choose output_bias "free".'
        )
    return (U, V), output


def run(job: Job, name: str, work: Callable[[Job], T], seconds: float | None = None, *, share: float = 1.0) -> T | None:
    """What the work of a stage returns, in at most so many seconds, by default a share of those available; else None.

    Only a second Ctrl-C goes through.
    """
    found, before, left = None, job.interrupted, job.clock.available()
    job.clock.kept = 0.0 if left is None else (1.0 - share) * left
    try:
        with guarded(job.clock, name):
            found = abandonable(lambda: work(job), seconds=job.clock.available() if seconds is None else seconds)
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
    return found
