"""The methods that are measured, each a function from a job to a measurement; to be called in a process of its own."""

import importlib
import math
import resource
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np

from certificates.making.repair import repair
from certnet.solvers import Progress, SolverResult, SolveStatus, solve
from certnet.solvers.arrays import Arrays
from certnet.solvers.loops import SMALLEST_ORDER, loops_for
from certnet.solvers.registry import AUTO, choose_solver, get_solver
from formulations import Dual, LiftedSpace, Loss, MergedRows, Presolved, Program, TrainingProgram, presolve
from formulations.modeling import CvxpyHandles, cvxpy_model
from formulations.modeling.compiled import Compiled
from tests.benchmarks._problems import load_problem
from tests.benchmarks._records import Job, Measurement, Point

RUNGS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5, 1e-6, 1e-8)
"""Tolerances at which a wrapped solver is run, one after the other."""
EXTERNAL = ("scs", "clarabel")
SETTLED = 1e-2
"""Relative residual above which bound and objective agree by chance."""
FEW, MANY = 5, 35
"""Iterations of the two solves whose difference is the time of 30 iterations."""


def measure(job: Job) -> Measurement:
    """Run the job here. The peak memory is that of the whole process.

    Raises:
        InputError: the method cannot run on this problem, or its data are not here.
    """
    return replace(METHODS[job.method](job), peak_mib=peak_memory())


def peak_memory() -> float:
    """Largest resident memory of this process in MiB.

    Linux counts for ``ru_maxrss`` what the parent had in memory when it started this process; VmHWM does not.
    """
    status = Path("/proc/self/status")
    if status.is_file():
        for line in status.read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) / 1024
    unit = 2**20 if sys.platform == "darwin" else 2**10
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


class Recorder:
    """Callback of a solve: one point for each look that shows something new."""

    def __init__(self, charged_before: float, enough: float | None = None) -> None:
        self.trace: list[Point] = []
        self.last: Progress | None = None
        self._enough = enough
        self._begin = time.perf_counter() - charged_before

    def seconds(self) -> float:
        """Charged so far."""
        return time.perf_counter() - self._begin

    def __call__(self, progress: Progress) -> bool:
        self.last = progress
        bound = progress.lower_bound
        self.add(self.seconds(), progress.iteration, bound, progress.objective)
        if self._enough is None:
            return False
        settled = max(progress.primal_residual, progress.dual_residual) <= SETTLED
        return settled and abs(bound - progress.objective) <= self._enough * progress.objective

    def add(self, seconds: float, iteration: int, bound: float, objective: float) -> None:
        """One more point; its bound is the best so far."""
        best = max(self.trace[-1].bound if self.trace else -math.inf, bound)
        point = Point(seconds, iteration, float(best), float(objective))
        if not self.trace or (point.bound, point.objective) != (self.trace[-1].bound, self.trace[-1].objective):
            self.trace.append(point)


@dataclass(frozen=True)
class _Prepared:
    """A presolved problem, and the seconds that presolving took."""

    presolved: Presolved
    seconds: float

    def bound(self, dual: Dual | None) -> float:
        """Repaired bound in original units, made in the coordinates of a certificate."""
        if dual is None:
            return -math.inf
        return repair(self.presolved.rows.program, self.presolved.undo_dual(dual)).lower_bound


def _prepare(job: Job) -> _Prepared:
    program = load_problem(job.problem, job.gamma).program
    begin = time.perf_counter()
    presolved = presolve(program)
    if presolved is None:
        raise ValueError(f"{job.problem} has no data row but zeros; there is nothing to solve.")
    return _Prepared(presolved, time.perf_counter() - begin)


def _reduced(job: Job) -> Measurement:
    """A solver of certnet on the presolved program."""
    prepared = _prepare(job)
    program = prepared.presolved.program
    _load(job, program)
    start = peak_memory()
    options: dict[str, Any] = {"time_limit": job.time_limit, "tolerance": job.tolerance}
    recorder = Recorder(prepared.seconds, job.enough)
    result = solve(program, job.method, callback=recorder, **options)
    solved = recorder.seconds()
    bound = prepared.bound(result.dual)
    repaired = recorder.seconds()
    objective = float(program.to_original(result.objective))
    shown = prepared.bound(recorder.last.dual()) if recorder.last else -math.inf
    claimed = recorder.trace[-1].bound if recorder.trace else -math.inf
    recorder.add(repaired, result.iterations, bound, objective)
    return _measurement(
        job,
        result,
        seconds=repaired,
        bound=max(bound, shown),
        objective=objective,
        start_mib=start,
        trace=tuple(recorder.trace),
        details=(
            ("presolve_seconds", prepared.seconds),
            ("last_repair_seconds", repaired - solved),
            # Bounds of the trace were made in the solver's coordinates; this is the last of them made anew.
            ("trace_bound", claimed),
            ("trace_bound_confirmed", shown),
        ),
    )


def _load(job: Job, program: Program) -> None:
    """Import what the solver needs beforehand, so that neither its time nor its memory counts."""
    get_solver(choose_solver(program, job.time_limit).solver if job.method == AUTO else job.method)
    # The first call of a compiled function sets its compiler up.
    loops = loops_for(Arrays(), SMALLEST_ORDER)
    if loops is not None:
        loops.scaled_gap(np.zeros((1, 1)), np.zeros((1, 1)), 1.0)
    if job.method in EXTERNAL:
        importlib.import_module(job.method)
        importlib.import_module("cvxpy")


def _measurement(job: Job, result: SolverResult, **fields: Any) -> Measurement:
    return Measurement(
        job=job,
        solver=f"{result.solver} {result.version}",
        status=result.status.name,
        message=result.message,
        iterations=result.iterations,
        primal_residual=float(result.primal_residual),
        dual_residual=float(result.dual_residual),
        **fields,
    )


def _wrapped(job: Job) -> Measurement:
    """A wrapped solver shows no iterates, so it is run at each tolerance of ``RUNGS`` until one takes too long."""
    prepared = _prepare(job)
    program = prepared.presolved.program
    _load(job, program)
    start = peak_memory()
    trace: list[Point] = []
    total = 0.0
    for tolerance in RUNGS:
        result = solve(program, job.method, time_limit=job.time_limit, tolerance=tolerance)
        seconds, total = prepared.seconds + result.seconds, total + result.seconds
        bound = prepared.bound(result.dual)
        trace.append(Point(seconds, result.iterations, bound, float(program.to_original(result.objective))))
        if result.status is not SolveStatus.CONVERGED:
            break
    return _measurement(
        job,
        result,
        seconds=max(point.seconds for point in trace),
        bound=max(point.bound for point in trace),
        objective=trace[-1].objective,
        start_mib=start,
        trace=by_time(trace),
        details=(("presolve_seconds", prepared.seconds), ("seconds_of_all_rungs", total), ("rungs", float(len(trace)))),
    )


def by_time(points: list[Point]) -> tuple[Point, ...]:
    """The points in the order of their times, each with the best bound that some solve gave within its time."""
    ordered = sorted(points, key=lambda point: point.seconds)
    best = accumulate((point.bound for point in ordered), max)
    return tuple(replace(point, bound=bound) for point, bound in zip(ordered, best, strict=True))


def paper_program(original: TrainingProgram) -> Program:
    """The training program over the data as they are: every row a generator, nothing merged, scaled or dropped."""
    n, d, c = original.shape
    return Program(
        space=LiftedSpace(original.X, c),
        loss=Loss(original.Y),
        feature=np.arange(n),
        weight=np.ones(n),
        metric=np.eye(d),
        gamma=original.gamma,
    )


def unreduced(program: Program) -> tuple[Any, CvxpyHandles]:
    """The paper's own form: a PSD matrix G of order 2N+k+c with ``tr(MGMᵀ) = 0`` for M = [−I I A 0].

    It has no interior point, so solvers are slow and inexact on it. Source: arXiv 2410.22311. The multiplier of
    ``tr(MGMᵀ) = 0`` is not read: it vanishes on the face. S is exact only so far as G lies on the face.
    """
    import cvxpy as cp

    space = program.space
    identity, outputs = np.eye(space.neurons), np.zeros((space.neurons, space.outputs))
    M = np.hstack([-identity, identity, space.generators, outputs])
    problem, handles = cvxpy_model(program, np.eye(space.order))
    on_face = cp.sum(cp.multiply(M.T @ M, handles.G)) == 0
    return cp.Problem(problem.objective, [*problem.constraints, on_face]), handles


def merge_dual(merged: MergedRows, dual: Dual) -> Dual:
    """A dual of ``paper_program`` as one of the merged program, where it can be repaired.

    With ``φ = L φ'`` for the merged features φ' the multipliers become ``Lᵀ N L``. Rows of zeros drop out.
    """
    rows, N = merged.rows, merged.program.space.neurons
    n = len(rows.ratio)
    L = np.zeros((2 * n, 2 * N))
    i = np.flatnonzero(rows.generator >= 0)
    generator, ratio = rows.generator[i], rows.ratio[i]
    # A row that points the other way swaps α and β.
    swapped = np.where(ratio < 0, N, 0)
    L[i, generator + swapped] = np.abs(ratio)
    L[n + i, generator + N - swapped] = np.abs(ratio)
    return Dual(merged.merge_W(dual.W), L.T @ dual.N @ L)


def _paper(job: Job) -> Measurement:
    """One call of SCS with its default settings on the paper's own formulation, to its own end or the time limit."""
    original = load_problem(job.problem, job.gamma).program
    data = Compiled(paper_program(original), "SCS", unreduced)
    start = peak_memory()
    begin = time.perf_counter()
    wishes = {"eps_abs": job.tolerance, "eps_rel": job.tolerance, "time_limit_secs": job.time_limit}
    answer = data.chain.solve_via_data(data.problem, data.data, solver_opts=wishes)
    seconds = time.perf_counter() - begin
    return _paper_measurement(job, original, data, answer, seconds=seconds, start_mib=start)


def _paper_measurement(
    job: Job, original: TrainingProgram, data: Compiled, answer: dict[str, Any], *, seconds: float, start_mib: float
) -> Measurement:
    import scs

    info = answer["info"]
    data.keep({**answer, "info": {**info, "status_val": 1}})
    primal, dual = data.recover()
    c, b = data.data["c"], data.data["b"]
    bound, smallest = -math.inf, math.nan
    presolved = presolve(original)
    if dual is not None and presolved is not None:
        merged = presolved.rows
        bound = repair(merged.program, merge_dual(merged, dual)).lower_bound
    if primal is not None:
        values = np.linalg.eigvalsh(data.handles.G.value)
        smallest = float(values[0] / max(float(values[-1]), 1e-300))
    objective, iterations = float(info["pobj"]), int(info["iter"])
    return Measurement(
        job=job,
        solver=f"scs {scs.__version__}",
        status=_paper_status(info),
        message=f"SCS: {info['status']}",
        seconds=seconds,
        iterations=iterations,
        bound=bound,
        objective=objective,
        primal_residual=float(info["res_pri"]) / (1.0 + float(np.linalg.norm(b))),
        dual_residual=float(info["res_dual"]) / (1.0 + float(np.linalg.norm(c))),
        smallest_eigenvalue=smallest,
        start_mib=start_mib,
        coarse=True,
        trace=(Point(seconds, iterations, bound, objective),),
        details=(("order", float(data.data["dims"].psd[0])), ("scs_primal_residual", float(info["res_pri"]))),
    )


def _paper_status(info: dict[str, Any]) -> str:
    if info["status_val"] == 1:
        return SolveStatus.CONVERGED.name
    if "time_limit" in info["status"]:
        return SolveStatus.TIME_LIMIT.name
    if "max_iters" in info["status"]:
        return SolveStatus.ITERATION_LIMIT.name
    return SolveStatus.FAILED.name


def _admm_iteration(job: Job) -> Measurement:
    """Seconds of one ADMM iteration: the mean over 30, without set-up, reports and repairs."""
    program = _prepare(job).presolved.program
    start = peak_memory()
    seconds = []
    # The smallest tolerance there is, so that all solves run to their iteration limit; the first loads compiled loops.
    for count in (FEW, FEW, MANY):
        result = solve(program, "admm", max_iterations=count, tolerance=1e-15)
        seconds.append(result.seconds)
    each = (seconds[2] - seconds[1]) / (MANY - FEW)
    return _measurement(job, result, seconds=seconds[2], start_mib=start, details=(("seconds_per_iteration", each),))


METHODS: dict[str, Callable[[Job], Measurement]] = {
    "auto": _reduced,
    "interior-point": _reduced,
    "admm": _reduced,
    "scs": _wrapped,
    "clarabel": _wrapped,
    "scs-paper": _paper,
    "admm-iteration": _admm_iteration,
}
