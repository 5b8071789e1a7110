"""The relaxation of many rows: of the costly ones alone, or with products within groups of rows."""

import math
import time

import numpy as np

from certificates.failure import SMALLEST_LIMIT
from certificates.nonnegativity import MAX_ORDER
from certnet.jobs.best import repaired
from certnet.jobs.job import Job
from certnet.jobs.narrowing import FEWEST_STEPS, RELAXATION_SHARE, in_groups, relax_costly
from certnet.jobs.stages import is_last, prove, relaxation_seconds
from certnet.runtime.machine import available_bytes
from certnet.runtime.numerics import cores
from certnet.solvers import Progress, SolveStatus
from certnet.solvers.grouped import grouped_admm, grouping
from certnet.solvers.interface import SolverOptions
from certnet.solvers.session import is_due
from certnet.solvers.warm_start import from_certificate
from formulations import Dual
from formulations.groups import GroupedDual

LAST_REPAIR_SECONDS = 3.0  # What repairing a solver's last dual may take after an interruption.
GROUP_SIZES = (128, 96, 64, 48, 32, 24)  # Rows of a group, of which the first is taken that leaves so many steps.
STEP_COST = 3.0  # Eigendecompositions that a step in groups takes as long as.
# Last repair and proof in groups, in repairs. Measured: 4.4 on 20,000 × 20 rows in groups of 64.
AFTER_GROUPS = 5.0
# The same before there was a repair, in proofs without products. Measured: 10 there; 100,000 rows in groups of 128 are
# repaired in 56 CPU s and need more than 82 for the check, which 12 does not leave.
AFTER_STEPS = 16.0
# Memory of a solve in groups for each entry of its matrices. Measured: 72 with 100,000 rows in groups of 128.
BYTES_PER_ENTRY = 75.0
MOST_BYTES = 4e9  # What it may take, also where there is more.
# Steps that have to fit into the time for the relaxation of all rows after that of the costly ones. Measured: 150 raise
# 57.13 to 57.17 and 200 to 57.97 on 200 Gaussian rows (γ = 3), 32.55 to 33.14 and 33.32 on 250 of digits (γ = 2); 100
# raise the second alone, to 32.66.
STEPS_AFTER = 150
# Rows of a group that are shared, at most. Measured: on pima indians (γ = 10, groups of 48) 800 steps prove 134.9 with
# 4, 136.5 with 8.
MOST_SHARED = 8


def relax_in_groups(job: Job) -> None:
    """Bound the objective by the relaxation with products within groups of rows, where all products are too many."""
    left = job.clock.share(RELAXATION_SHARE)
    if not in_groups(job) or left is None:
        return
    space = job.presolved.program.space
    rest = space.dimension + space.outputs
    # Repair and proof come after it, and without them it is worth nothing.
    left = min(left, max((job.clock.available() or 0.0) - AFTER_STEPS * job.clock.proving, SMALLEST_LIMIT))

    def seconds(size: int) -> float:
        count = -(-space.neurons // size)
        steps = count / min(cores(), count) * job.clock.step(size + rest) + job.clock.step(count + rest)
        return STEP_COST * steps

    def fits(size: int) -> bool:
        count = -(-space.neurons // size)
        entries = count * (2 * size + rest) ** 2 + (2 * count + rest) ** 2
        return BYTES_PER_ENTRY * entries <= min(available_bytes(), MOST_BYTES)

    least = 2 * space.neurons / (MAX_ORDER - rest)
    sizes = [size for size in GROUP_SIZES if size >= least] or [math.ceil(least)]
    sizes = [size for size in sizes if fits(size)]
    if not sizes:
        return
    job.grouped = True
    most = relaxation_seconds(job) if is_last(job) else None
    if (ended := relax_costly(job, most or left, FEWEST_STEPS)) is not None:
        follows = ended in (SolveStatus.CONVERGED, SolveStatus.STOPPED) and job.clock.can_relax()
        seconds_left = relaxation_seconds(job) or 0.0
        job.grouped = not (follows and job.clock.admm(space.face_order, STEPS_AFTER) <= seconds_left)
        return
    size = next((size for size in sizes if FEWEST_STEPS * seconds(size) <= left), min(sizes, key=seconds))
    count = -(-space.neurons // size)
    # The head may take about as long as all groups together, and the checker's order has an end.
    reach = min((count ** (1 / 3) * (size + rest) - rest) / count, (MAX_ORDER - rest) / (2 * count))
    shared = int(np.clip(reach, 1, MOST_SHARED))
    presolved, dual = job.presolved, job.resume and job.resume.dual
    if job.resume is None and job.start is not None:
        dual = from_certificate(presolved, job.start)[1]
    dual = dual if isinstance(dual, GroupedDual) else None
    groups = grouping(presolved.program, size, shared) if dual is None else dual.groups
    reports, taken, repairing = 0, -1, 0.0

    def take(dual: Dual, iteration: int) -> None:
        nonlocal repairing, taken
        begin, taken = time.perf_counter(), iteration
        found = repaired(job.merged, presolved.undo_dual(dual))
        if found.lower_bound > job.best.lower_bound:
            job.saver.update(dual=dual)
        job.best.take_dual(found)
        job.saver.look()
        repairing = time.perf_counter() - begin

    def watch(progress: Progress) -> bool:
        nonlocal reports
        reports += 1
        if is_due(reports):
            take(progress.dual(), progress.iteration)
        job.tell_progress("relaxation in groups", progress)
        return job.best.gap <= job.enough or not job.clock.has_more_than(AFTER_GROUPS * repairing)

    network, scaling = job.best.network, presolved.scaling
    result = grouped_admm(
        presolved.program,
        groups,
        SolverOptions(time_limit=left, tolerance=job.tolerance, callback=watch),
        (scaling.apply_z(network.U), scaling.apply_v(network.V)),
        dual,
        job.executor,
    )
    job.interrupted = result.status is SolveStatus.INTERRUPTED
    job.late |= result.status is not SolveStatus.CONVERGED
    if taken != result.iterations and (not job.interrupted or repairing <= LAST_REPAIR_SECONDS):
        take(result.dual, result.iterations)
    prove(job, "relaxation in groups")
    if not job.interrupted:
        job.saver.stage_ends("relaxation")
