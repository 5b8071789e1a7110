"""Branching on the rows that cost something: a bound on their part of the objective is one on the whole.

The least loss of a row is 0, so rows that the best network fits well can be left out at the price of what they cost. A
tree of relaxations over the others is far smaller, since a step takes time cubic in the rows.

Here is also what a job does between the rounds of any search that branches (``watching``).
"""

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from certnet.jobs.best import certify, repaired, repairing
from certnet.jobs.job import Job
from certnet.search.certificate import certify_search
from certnet.search.joint import joint_search
from certnet.search.merged import LARGEST as LARGEST_TREE
from certnet.search.price import SearchProgress
from certnet.search.tree import intact, integers
from certnet.solvers import Progress, SolveStatus, solve
from certnet.solvers.interface import State, without_prefix
from certnet.solvers.warm_start import certified_dual
from formulations import Dual, Presolved, TrainingProgram, merge_rows, presolve
from formulations._validation import FloatArray
from formulations.groups import GroupedDual

STAGE, COARSE = "branching on costly rows", "relaxation of costly rows"
ADMM = "admm"
PREFIX = "costly_"
ROWS = "rows"

# Part of the objective that the rows left out may cost. Measured: of wine with cross-entropy and free biases 82 and 51
# of 178 rows are left at γ = 1 and 0.1; 110 rows leave 0.74 % after 30 CPU seconds, all 1.4 % after 64.
LOST = 0.003
FEWER = 0.8  # Part of the rows that has to be left at most; else leaving some out gains little.
# Entries of W and t of all rows up to which a tree over all of them is no dearer. Measured: on Gaussian data (n = 24, d
# = 6, squared loss, γ = 1) costly rows leave 1.2 % after 40 s, all rows 0.07 % after 10 s.
LEAST = 400
LARGEST = 1000  # Most entries of W and t of what is left.
QUICK = 400  # The same up to which this comes before the relaxation of all rows.
# What may be lost instead where all products would leave the ADMM too few steps; the first that leaves enough.
LOST_FOR_STEPS = (0.01, 0.02, 0.04)
# Steps of the ADMM that a time limit has to leave; with fewer, rows are left out, or products are those of groups of
# rows. Measured: on 1,797 rows of digits (cross-entropy, γ = 11, network 320.3) the 1,032 that cost all but 1 % prove
# 239.6, 255.1, 257.4 and 258.2 after 100, 200, 300 and 400 steps, the 519 of all but 4 % at most 242. On 600 rows
# (γ = 1, 60 s) 200 leave 17.4 %, 400 leave 15.8 %.
FEWEST_STEPS = 300
RELAXATION_SHARE = 0.6  # About the share of a time limit that the relaxation gets.
NEAR = 1.25  # Distance from the objective, in units of what is lost, at which this part is done.

GAP_SHARE = 0.7  # Part of the gap that a search has to reach; the rest is for rounding and the margins of the check.
TIME_SHARE = 0.85  # Part of the time left that searching may take; the rest is for repair and check of all leaves.
# Part of the time left that the proof of a tree may take while its search goes on. A stage that is left behind keeps
# the last of them.
PROOF_SHARE = 0.05
GAIN = 0.2  # Part of the gap that has to be closed since the last proof.


def search_seconds(job: Job) -> float | None:
    """What a search may take now."""
    seconds = job.clock.share(TIME_SHARE)
    return None if seconds is None else max(seconds, 1e-3)


def watching(
    job: Job, stage: str, presolved: Presolved, keep: Callable[[State], State] | None, *, proves: bool = True
) -> Callable[[SearchProgress], float | None]:
    """What a search for the program of ``presolved`` calls after each round; it says how many leaves fit into time.

    A proof that takes little of the time left is made at once. It is what stays if the search comes to no good end, and
    it tells what the proof of a leaf takes.

    Args:
        keep: what a checkpoint holds of the search's state; None where it cannot go on.
        proves: whether trees are proved on the way.
    """
    order = presolved.program.space.face_order
    most = job.clock.pace(order)

    def is_worth_a_proof(progress: SearchProgress) -> bool:
        left, proved = job.clock.available(), max(job.best.proved, 0.0)
        # The root alone is the relaxation. Without a limit nothing is left behind.
        if not proves or left is None or progress.open < 2:
            return False
        closes = progress.lower_bound - proved >= GAIN * (job.best.network.objective - proved)
        return closes and progress.open * job.clock.leaf(order) <= PROOF_SHARE * left

    def watch(progress: SearchProgress) -> float | None:
        job.tell(stage, bound=progress.lower_bound, iteration=progress.nodes)
        if progress.between:
            return None
        job.saver.look(dict if keep is None else lambda: {"search": keep(progress.state()), "stage": stage})
        if is_worth_a_proof(progress):
            begin, result = time.perf_counter(), progress.result()
            job.take_proof(stage, certify_search(presolved, result, *job.network, provenance=job.provenance))
            job.clock.proving_leaf = (time.perf_counter() - begin) / result.leaves
        return most(progress.open)

    return watch


def costly_rows(program: TrainingProgram, U: FloatArray, V: FloatArray, lost: float) -> NDArray[np.bool_]:
    """(n,) all rows but those of the smallest losses, which together are at most ``lost``; of all targets that are
    classes or signs, and so few in number, at least one row stays."""
    losses = program.loss.losses(program.fitted(U, V) + program.output(U, V))
    order = np.argsort(losses, kind="stable")
    kept = np.ones(len(losses), dtype=bool)
    kept[order[: int(np.searchsorted(np.cumsum(losses[order]), lost, side="right"))]] = False
    _, first = np.unique(program.Y[order[::-1]], axis=0, return_index=True)
    if len(first) <= 2 * program.shape[2]:
        kept[order[::-1][first]] = True
    return kept


def entries(program: TrainingProgram, kept: NDArray[np.bool_]) -> int:
    """Of W and t for these rows."""
    return int(kept.sum()) * (program.shape[2] + 1)


def without_costly(state: State | None) -> State | None:
    """What a stored search holds besides; None for nothing."""
    return {name: array for name, array in (state or {}).items() if not name.startswith(PREFIX)} or None


def rows_of(job: Job) -> NDArray[np.bool_] | None:
    """The rows that a search is worth; None where it is not."""
    stored = {} if job.resume is None else without_prefix(job.resume.search or {}, PREFIX)
    n = job.program.shape[0]
    if stored:
        with intact():
            kept = np.zeros(n, dtype=bool)
            kept[integers(stored, ROWS)] = True
            return kept
    if job.closing is None or job.closing.circuits or job.cuts_cones or job.best.network.U.shape[1] == 0:
        return None
    if entries(job.program, np.ones(n, dtype=bool)) <= LEAST:
        return None
    network = job.best.network
    kept = costly_rows(job.program, network.U, network.V, LOST * network.objective)
    small = kept.sum() <= FEWER * n and entries(job.program, kept) <= LARGEST
    return kept if small else None


def is_quick(job: Job) -> bool:
    """Whether that search comes before a relaxation of all rows."""
    kept = rows_of(job)
    return kept is not None and entries(job.program, kept) <= QUICK


def has_tree(job: Job) -> bool:
    """Whether a tree with W free is small enough, over all rows or over the costly ones."""
    return rows_of(job) is not None or entries(job.program, np.ones(job.program.shape[0], dtype=bool)) <= LARGEST_TREE


def branch_on_costly(job: Job) -> None:
    """The stage: a tree over the costly rows, with W free, until what is left out is all that is missing."""
    kept, closing = rows_of(job), job.closing
    presolved, network = None if kept is None else presolve(job.program, kept=kept), job.best.network
    if presolved is None or closing is None:
        return
    resume = without_prefix({} if job.resume is None else job.resume.search or {}, PREFIX)
    state_of: Mapping[str, Any] = {PREFIX + ROWS: presolved.rows.kept.nonzero()[0]}

    def kept_state(state: State) -> State:
        job.narrowed = {**state_of, **{PREFIX + name: array for name, array in state.items()}}
        return job.narrowed

    near = max(GAP_SHARE * closing.gap, NEAR * LOST)
    found = joint_search(
        presolved.program,
        enough=network.objective * (1.0 - near),
        max_nodes=closing.max_nodes,
        time_limit=search_seconds(job),
        callback=watching(job, STAGE, presolved, kept_state),
        resume={name: array for name, array in resume.items() if name != ROWS} or None,
    )
    job.interrupted = found.interrupted
    if found.state is not None:
        job.saver.update(search=kept_state(found.state))
    if found.W.any() and found.lower_bound > job.best.lower_bound:
        job.take_proof(STAGE, certify_search(presolved, found, *job.network, provenance=job.provenance))


def in_groups(job: Job) -> bool:
    """Whether all products would leave the ADMM too few steps."""
    left = job.clock.share(RELAXATION_SHARE)
    if job.solver != ADMM or left is None:
        return False
    order = job.presolved.program.space.face_order
    return not (job.clock.can_relax() and job.clock.admm(order, FEWEST_STEPS) <= left)


def relax_costly(job: Job, seconds: float, steps: int) -> SolveStatus | None:
    """Solve the relaxation of the costly rows instead of that of all, and say how it ended; None if so many steps do
    not fit into the time even then. ``job.priced`` becomes its dual, for all rows."""
    network, rest = job.best.network, job.presolved.program.space.dimension + job.program.shape[2]
    for lost in LOST_FOR_STEPS:
        kept = costly_rows(job.program, network.U, network.V, lost * network.objective)
        if kept.sum() <= FEWER * len(kept) and job.clock.admm(int(kept.sum()) + rest, steps) <= seconds:
            break
    else:
        return None
    presolved, shown = presolve(job.program, kept=kept), list[Progress]()
    if presolved is None:
        return None

    def watch(progress: Progress) -> bool:
        shown[:] = [max([*shown, progress], key=lambda one: one.lower_bound)]
        job.tell_progress(COARSE, progress)
        return bool(progress.lower_bound >= network.objective * (1.0 - NEAR * lost))

    result = solve(
        presolved.program,
        solver=ADMM,
        time_limit=seconds,
        tolerance=job.tolerance,
        callback=watch,
        warm_start=(presolved.apply_network(network.U, network.V), None),
        device=job.device,
        repair=repairing(presolved),
    )
    job.interrupted = result.status is SolveStatus.INTERRUPTED
    job.late |= result.status is not SolveStatus.CONVERGED
    # The last dual need not be the best one.
    duals = [*(one.dual() for one in shown), *([] if result.dual is None else [result.dual])]
    found = [repaired(presolved.rows, presolved.undo_dual(dual)) for dual in duals]
    best = max(found, key=lambda dual: dual.lower_bound, default=None)
    if best is not None and best.lower_bound > job.best.lower_bound:
        proof = certify(presolved.rows, best, job.network, job.provenance)
        job.take_proof(COARSE, proof)
        job.priced = job.presolved.apply_dual(certified_dual(job.merged, proof[0]))
        job.saver.update(dual=job.priced)
    if not job.interrupted:
        job.saver.stage_ends("relaxation")
    return result.status


def prove_known(job: Job, dual: Dual) -> None:
    """Prove a dual of the merged program on the rows alone that have a part in it; nothing if all of them have one.

    Repair of the whole would move the multipliers of the others too, and lose a little.
    """
    W = job.merged.undo_W(dual.W)
    kept = np.asarray(W.any(axis=1), dtype=bool)
    if isinstance(dual, GroupedDual) or not dual.N.size or kept.all() or not kept.any():
        return
    rows = merge_rows(job.program, kept)
    at = job.merged.positions(rows.rows.source)
    found = repaired(rows, Dual(rows.merge_W(W), dual.N[np.ix_(at, at)]))
    job.take_proof(COARSE, certify(rows, found, job.network, job.provenance))
