"""The main job: train through the lifted SDP, and prove how good the network is.

Stages: presolve → relaxation (SDP) → rounding and polishing → certificate → independent check. Data flow one way.
Ctrl-C or the time limit cuts a stage short; the stages after it then work with what there is, so that a network and a
proved bound always come out.
"""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from certificates import OptimalityCertificate, certify, repair, residual_dual
from certificates.certificate import fingerprint
from certificates.report import CheckReport
from certnet.solvers import Progress, SolverResult, SolveStatus, solve
from certnet.solvers.warm_start import certified_dual, from_certificate, scaled, usable
from certnet.training.rounding import candidates_from_moment
from certnet.training.trainer import fit
from formulations import InputError, MergedRows, Presolved, RawDual, TrainingProgram, merge_rows, rescale
from formulations._validation import FloatArray

RELAXATION_SHARE = 0.6
"""Share of a time limit that the relaxation may use; rounding, polishing and the certificate get the rest."""
LAST_FIT_SECONDS = 3.0
"""What polishing may still take after an interruption."""
BOUND_SHARE = 0.1
"""Share of the relaxation's time that goes into repaired bounds along the way."""
RANK_TOLERANCE = 1e-5
SPECTRUM_LENGTH = 20
SAMPLES = 100
SMALL_ORDER = 400
"""Below this order of the lifted matrix a second BLAS thread costs more than it saves, above all on a busy machine:
random0 takes 0.9 s with one thread and 8 s with two while another process runs."""
_BYTES_PER_ENTRY = 12 * 8


@dataclass(frozen=True)
class Event:
    """A sign of life from a running job; every figure may be missing.

    ``objective`` and ``lower_bound`` are the best so far in original units; ``lower_bound`` is a repaired bound.
    """

    stage: str
    seconds: float
    iteration: int | None = None
    objective: float | None = None
    lower_bound: float | None = None
    rank: int | None = None
    residual: float | None = None


@dataclass(frozen=True, eq=False)
class TrainingResult:
    """A trained network with its certificate, already re-proved by the independent checker.

    Attributes:
        program: the training problem that was solved.
        U, V: hidden (d×m) and output (c×m) weights; with a bias its row is the last one of U.
        certificate: proves ``report.lower_bound``.
        report: what the checker said of the certificate.
        relaxation: the solver's result, None if the relaxation was not reached.
        relaxed_objective: value of the relaxation's last primal iterate in original units; not a bound.
        rank: numerical rank of the relaxation's lifted moment matrix, with ``spectrum`` its leading eigenvalues
            relative to the largest.
        stages: seconds for each stage.
        interrupted: True when Ctrl-C cut a stage short.
    """

    program: TrainingProgram
    U: FloatArray
    V: FloatArray
    certificate: OptimalityCertificate
    report: CheckReport
    relaxation: SolverResult | None = None
    relaxed_objective: float | None = None
    rank: int | None = None
    spectrum: tuple[float, ...] = ()
    stages: Mapping[str, float] = field(default_factory=dict)
    interrupted: bool = False


class _Clock:
    """Wall time, the time limit, and what each stage took."""

    def __init__(self, time_limit: float | None, progress: Callable[[Event], None] | None) -> None:
        self._start = time.perf_counter()
        self._time_limit = time_limit
        self._progress = progress
        self.stages: dict[str, float] = {}

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self._start

    def left(self) -> float | None:
        return None if self._time_limit is None else max(self._time_limit - self.seconds, 0.0)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        begin = self.seconds
        self.tell(Event(name, begin))
        try:
            yield
        finally:
            self.stages[name] = self.seconds - begin

    def tell(self, event: Event) -> None:
        if self._progress is not None:
            self._progress(event)


class _BoundTracker:
    """Solver callback: repairs the running dual now and then and keeps the best one."""

    def __init__(self, presolved: Presolved, clock: _Clock) -> None:
        self._presolved = presolved
        self._clock = clock
        self._spent = 0.0
        self._begin = time.perf_counter()
        self.best: RawDual | None = None
        self.lower_bound = -np.inf

    def __call__(self, progress: Progress) -> None:
        now = time.perf_counter()
        if self._spent <= BOUND_SHARE * (now - self._begin):
            self.offer(progress.dual())
            self._spent += time.perf_counter() - now
        self._clock.tell(
            Event(
                "relaxation",
                self._clock.seconds,
                iteration=progress.iteration,
                lower_bound=self.lower_bound if np.isfinite(self.lower_bound) else None,
                rank=progress.rank,
                residual=max(progress.primal_residual, progress.dual_residual),
            )
        )

    def offer(self, dual: RawDual) -> None:
        """Keep a dual of the presolved program if its repaired bound is the best so far."""
        merged = self._presolved.undo_dual(dual)
        bound = repair(self._presolved.rows.program, merged).lower_bound
        if bound > self.lower_bound:
            self.best, self.lower_bound = merged, bound


def _require_memory(merged: MergedRows) -> None:
    """Refuse what cannot fit, before hours are lost; the relaxation needs some matrices of order 2N+d+c."""
    order = merged.program.space.order
    needed = order**2 * _BYTES_PER_ENTRY
    try:
        available = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, OSError, ValueError):
        return
    if needed > available:
        raise InputError(
            f"the relaxation of {merged.program.space.neurons} distinct data directions needs about "
            f"{needed / 2**30:.0f} GiB and this machine has {available / 2**30:.0f} GiB; use fewer rows."
        )


def _relax(
    presolved: Presolved,
    solver: str,
    tolerance: float,
    random_state: int,
    clock: _Clock,
    start: OptimalityCertificate | None,
) -> tuple[SolverResult, RawDual | None]:
    left = clock.left()
    tracker = _BoundTracker(presolved, clock)
    result = solve(
        presolved.program,
        solver=solver,
        time_limit=None if left is None else RELAXATION_SHARE * left,
        tolerance=tolerance,
        callback=tracker,
        warm_start=None if start is None else usable(presolved.program, from_certificate(presolved, start)),
        seed=random_state,
    )
    if result.dual is not None:
        tracker.offer(result.dual)
    return result, tracker.best


def _spectrum(result: SolverResult | None) -> tuple[int | None, tuple[float, ...]]:
    """Numerical rank and leading eigenvalues of S; G = JSJᵀ has the same rank because J is injective."""
    if result is None or result.primal is None or not np.isfinite(result.primal.S).all():
        return None, ()
    values = np.linalg.eigvalsh(result.primal.S)[::-1]
    if not (values[0] > 0):
        return 0, ()
    relative = values / values[0]
    return int(np.sum(relative > RANK_TOLERANCE)), tuple(float(value) for value in relative[:SPECTRUM_LENGTH])


def train(
    program: TrainingProgram,
    *,
    solver: str = "auto",
    time_limit: float | None = None,
    tolerance: float = 1e-5,
    random_state: int = 0,
    progress: Callable[[Event], None] | None = None,
    provenance: Mapping[str, Any] | None = None,
    start: OptimalityCertificate | None = None,
) -> TrainingResult:
    """Train a two-layer ReLU network through the lifted SDP and certify its distance from global optimality.

    Args:
        program: data, targets and γ; the loss is ½·sum of squares.
        solver: "auto", or a name from ``certnet.available_solvers()``.
        time_limit: seconds for the whole job, or None. The bound stays valid however early a solver stops.
        tolerance: relative residual at which the relaxation's solver stops.
        random_state: seed of everything random; equal seeds give equal networks unless time cuts a stage short.
        progress: called with an ``Event`` now and then.
        provenance: JSON object that travels in the certificate; no part of the proof.
        start: a certificate about the same X and Y, perhaps for another γ. Its neurons are candidates, its dual takes
            part in the proof, and both are a warm start of the relaxation.

    Raises:
        InputError: unknown or unavailable solver, data too large for this machine, or a start about other data.
        KeyboardInterrupt: on a second Ctrl-C, while the first is being served.
    """
    clock = _Clock(time_limit, progress)
    with clock.stage("presolve"):
        if start is not None and fingerprint(program.X, program.Y) != start.data_fingerprint:
            raise InputError("start is a certificate about other data; give one about the same X and Y, or none.")
        merged = merge_rows(program)
        _require_memory(merged)
    threads = 1 if merged.program.space.order < SMALL_ORDER else None
    with threadpool_limits(limits=threads, user_api="blas"):
        return _train(merged, solver, tolerance, random_state, clock, provenance or {}, start)


def _train(
    merged: MergedRows,
    solver: str,
    tolerance: float,
    random_state: int,
    clock: _Clock,
    provenance: Mapping[str, Any],
    start: OptimalityCertificate | None,
) -> TrainingResult:
    program = merged.original
    interrupted = False
    result: SolverResult | None = None
    dual: RawDual | None = None
    candidates: FloatArray | None = None
    relaxed_objective: float | None = None
    if merged.program.space.neurons:
        presolved = Presolved(merged, rescale(merged.program))
        with clock.stage("relaxation"):
            try:
                result, dual = _relax(presolved, solver, tolerance, random_state, clock, start)
                interrupted = result.status is SolveStatus.INTERRUPTED
                if np.isfinite(result.objective):
                    relaxed_objective = presolved.program.to_original(result.objective)
                if result.primal is not None and np.isfinite(result.primal.S).all():
                    moment = presolved.scaling.undo_primal(result.primal)
                    candidates = candidates_from_moment(moment, program.X, samples=SAMPLES, random_state=random_state)
            except KeyboardInterrupt:
                interrupted = True
    if interrupted:
        clock.tell(Event("finishing after Ctrl-C; press it again to abandon", clock.seconds))
    if start is not None:
        candidates = start.U if candidates is None else np.hstack([start.U, candidates])
    with clock.stage("rounding"):
        fitted = fit(
            program,
            candidates=candidates,
            random_state=random_state,
            time_limit=LAST_FIT_SECONDS if interrupted else clock.left(),
        )
        if interrupted and fitted.interrupted:
            raise KeyboardInterrupt
        interrupted = interrupted or fitted.interrupted
    with clock.stage("certificate"):
        duals = [residual_dual(merged, fitted.U, fitted.V)] + ([dual] if dual is not None else [])
        if start is not None:
            duals.append(scaled(certified_dual(merged, start), program.gamma / start.gamma))
        try:
            certificate, report = certify(merged, duals, fitted.U, fitted.V, provenance=provenance)
        except KeyboardInterrupt:
            if interrupted:
                raise
            interrupted = True
            certificate, report = certify(merged, duals, fitted.U, fitted.V, provenance=provenance)
    rank, spectrum = _spectrum(result)
    return TrainingResult(
        program=program,
        U=fitted.U,
        V=fitted.V,
        certificate=certificate,
        report=report,
        relaxation=result,
        relaxed_objective=relaxed_objective,
        rank=rank,
        spectrum=spectrum,
        stages=clock.stages,
        interrupted=interrupted,
    )
