"""The main job: train through the lifted SDP, and prove how good the network is.

Stages: presolve → a first network → a first bound → those of ``relaxing.bounding``, each followed by the independent
check. Data flow one way. Ctrl-C or the time limit cuts a stage short; the stages after it then work with what there is,
so that a network and a proved bound always come out. A checkpoint lets a later call go on from network, dual and search
tree.
"""

import contextlib
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from certificates import Certificate, Training, fingerprint
from certificates.findings import figures
from certificates.making.assemble import about
from certnet.jobs import relaxing
from certnet.jobs import stages as _stages
from certnet.jobs.checkpoint import Checkpoint, write_checkpoint
from certnet.jobs.clock import JobClock
from certnet.jobs.closing import bound
from certnet.jobs.job import DEFAULT_GAP, SDP, begin, closing_of, fitting, run, untrained
from certnet.jobs.results import Certified
from certnet.runtime.clock import Event
from certnet.runtime.numerics import computing
from certnet.runtime.public import public
from certnet.solvers import SolverResult, SolveStatus
from certnet.solvers.arrays import require_device
from certnet.solvers.registry import AUTO, get_solver
from certnet.solvers.warm_start import certified_dual
from certnet.tightness.rank import spectrum
from certnet.training.polish import Network
from formulations import InputError, TrainingProgram
from formulations.arguments import matrices
from formulations.network import ReluNetwork

__all__ = ["Event", "TrainingResult", "train"]

RANK_SECONDS = 2.0  # For the eigenvalues of S, under a time limit. Measured: 0.2 at order 1,000.


@dataclass(frozen=True, eq=False, repr=False)
class TrainingResult(Certified):
    """A trained network with its certificate, already re-proved by the independent checker; see also ``Certified``.

    Attributes:
        relaxation: the solver's result, None if the relaxation was not reached.
        relaxed_objective: value of the relaxation's last primal iterate in original units; not a bound.
        rank: numerical rank of the relaxation's lifted moment matrix, with ``spectrum`` its leading eigenvalues
            relative to the largest; None where a time limit left no time for them.
        choice: why this solver, when certnet chose it; else None.
        resumable: the job was cut short, and a checkpoint of it, if one was asked for, is worth keeping.
    """

    COMMAND = "train"

    relaxation: SolverResult | None = None
    relaxed_objective: float | None = None
    rank: int | None = None
    spectrum: tuple[float, ...] = ()
    choice: str | None = None
    resumable: bool = False

    def to_dict(self) -> dict[str, Any]:
        solved = self.relaxation
        relaxation = solved and {
            **figures(solved, "solver", "version", "message", "iterations", "seconds"),
            "choice": self.choice,
            "status": solved.status.name.lower(),
            "objective": self.relaxed_objective,
        }
        return {**super().to_dict(), "rank": self.rank, "spectrum": list(self.spectrum), "relaxation": relaxation}

    @property
    def network(self) -> ReluNetwork:
        """The network as a function of the features X of the program, without its column of ones."""
        return ReluNetwork.of_program(
            self.U, self.V, self.certificate.proofs[0].output, hidden_bias=self.program.has_ones
        )


@public(start=about(Training), start_network=matrices, executor=Executor)
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
    start_network: Network | None = None,
    device: str = "cpu",
    threads: int | None = None,
    checkpoint: Path | str | Callable[[Checkpoint], None] | None = None,
    resume: Checkpoint | None = None,
    method: str = SDP,
    gap: float | None = None,
    max_nodes: int | None = None,
    workers: int = 1,
    scheduler: str | None = None,
    executor: Executor | None = None,
    circuits: bool = False,
) -> TrainingResult:
    """Train a two-layer ReLU network and certify its distance from global optimality.

    Args:
        program: data, targets, loss, biases and γ.
        solver: "auto", or a name from ``certnet.available_solvers()``.
        time_limit: seconds for the whole job, or None. The bound stays valid however early a solver stops.
        tolerance: relative residual at which the relaxation's solver stops.
        random_state: seed of everything random; equal seeds give equal networks unless time cuts a stage short.
        progress: called with an ``Event`` now and then.
        provenance: JSON object that travels in the certificate; no part of the proof.
        start: a certificate about the same X and Y, perhaps for another γ. Its neurons are candidates, its dual takes
            part in the proof, and both are a warm start of the relaxation for the solvers that gain by it.
        start_network: U (d×m) and V (c×m) of any network of this shape. Its neurons are candidates, and the result is
            no worse.
        device: "cpu" or "cuda", where the ADMM computes.
        threads: most threads of this process. None: as many as there are cores, but one for linear algebra where the
            lifted matrix has fewer than 1,500 rows.
        checkpoint: a file that is written about once a minute and at the end of stages. It is removed at the end
            unless the job was cut short. A function gets each ``certnet.jobs.checkpoint.Checkpoint`` instead; if it
            raises OSError, the job goes on without.
        resume: a checkpoint of the same program, from ``certnet.jobs.checkpoint.read_checkpoint``. The job goes on from
            its network, its iterate and its search tree, and ends with no worse bound. ``time_limit`` counts from now.
        method: "sdp" solves the lifted SDP, whose dual gives the bound and whose solution gives neurons to start from;
            "global" trains by column generation alone and proves the bound by branch and bound.
        gap: relative gap to be proved; branch and bound on the signs of the data points goes on until it is, or until
            time or nodes run out. None: no branching after the SDP, and a gap of 1e-3 for the method "global" and for a
            search to be resumed.
        max_nodes, workers: most relaxations of that search, or None, and its processes.
        scheduler: address of a Dask cluster that it uses instead, such as ``tcp://host:8786``.
        executor: an ``Executor`` of ``concurrent.futures``, such as that of a pool of processes or Dask's
            ``client.get_executor()``, which projects the matrices of groups of rows instead of threads. The bound is
            the same up to rounding, and survives the loss of workers.
        circuits: search with the circuit inequalities that the network's residual violates: fewer nodes, each of which
            takes longer. Where the weight space is cut, they do nothing.

    Raises:
        InputError: unknown or unavailable solver or device, data too large for this machine, a start or checkpoint
            about other data, or a network that does not fit the program.
        KeyboardInterrupt: on a second Ctrl-C, while the first is being served.
    """
    clock, choice = JobClock(time_limit, progress), None
    gap = DEFAULT_GAP if gap is None and resume is not None and resume.search else gap
    closing = closing_of(method, gap, max_nodes, workers, scheduler, circuits)
    require_device(device)
    if solver != AUTO:
        get_solver(solver)
    with clock.stage("presolve"):
        own = fingerprint(program.X, program.Y, program.loss.sample_weight)
        if start is not None and own != start.data_fingerprint:
            raise InputError("start is a certificate about other data; give one about the same X and Y, or none.")
        job = begin(
            clock,
            program,
            None if start_network is None else untrained(program, *fitting(program, *start_network)[0]),
            partial(write_checkpoint, checkpoint) if isinstance(checkpoint, Path | str) else checkpoint,
            method=method,
            closing=closing,
            solver=solver,
            tolerance=tolerance,
            device=device,
            executor=executor,
            random_state=random_state,
            provenance=provenance or {},
            start=start,
            resume=resume,
        )
    if solver == AUTO and job.has_directions:
        choice = relaxing.auto(job, time_limit)
        if method == SDP:
            clock.tell("presolve", note=choice)
    job.saver.update(solver=job.solver)
    with computing(job.merged.program.space.order, threads):
        run(job, "first network", _stages.first_network, clock.share(_stages.SOON_SHARE))
        # Where the first network was left behind, there is still time for everything else.
        job.late = False
        run(job, "first bound", _stages.first_bound)
        if job.has_directions:
            bound(job, relaxing.bounding(job))
        proof = _stages.conclude(job)
        timed_out = job.relaxation is not None and job.relaxation.status is SolveStatus.TIME_LIMIT
        goes_on = job.late or timed_out or (job.search is not None and job.search.can_go_on)
        cut = job.interrupted or (goes_on and not proof[1].gap <= job.enough)
        if cut:
            with clock.stage("checkpoint"):
                # What was proved too, so that a resumed job begins with this network and this bound.
                (certificate, report), known = proof, job.resume is None or job.known
                job.saver.update(U=certificate.U, V=certificate.V)
                if known and job.has_directions and np.isfinite(report.lower_bound):
                    job.saver.update(dual=job.presolved.apply_dual(certified_dual(job.merged, certificate)))
                job.saver.write_last()
        # G = JSJᵀ has the rank of S because J is injective.
        solution, found = job.solution, None
        if solution is not None:
            found = run(job, "rank", lambda _: spectrum(solution.S), None if time_limit is None else RANK_SECONDS)
            if found is None:
                clock.note("rank", "The rank of the relaxation was left out.")
    if isinstance(checkpoint, Path | str) and not cut:
        with contextlib.suppress(OSError):
            Path(checkpoint).unlink()
    return TrainingResult(
        **_stages.outcome(job, proof),
        relaxation=job.relaxation,
        relaxed_objective=job.relaxed_objective,
        rank=None if found is None else found.rank,
        spectrum=() if found is None else found.values,
        choice=None if job.relaxation is None else choice,
        resumable=cut,
    )
