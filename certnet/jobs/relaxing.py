"""The relaxation in a job: which solver, from where it starts, when it ends, and what is kept of it."""

import math
import time
from collections.abc import Callable
from typing import Any

from certificates.making.repair import raw_dual
from certnet.jobs.best import repaired, repairing
from certnet.jobs.clock import REPAIR
from certnet.jobs.closing import branch
from certnet.jobs.job import GLOBAL, Closing, Job
from certnet.jobs.many_rows import LAST_REPAIR_SECONDS, relax_in_groups
from certnet.jobs.narrowing import (
    ADMM,
    RELAXATION_SHARE,
    STAGE,
    branch_on_costly,
    has_tree,
    in_groups,
    is_quick,
    rows_of,
    without_costly,
)
from certnet.jobs.stages import bound_without_products, prove, relaxation_seconds, round_relaxation
from certnet.runtime.numerics import cores
from certnet.search.joint import FIRST_LEAVES
from certnet.search.merged import LARGEST, entries
from certnet.search.price import bound_from_price
from certnet.solvers import Progress, SolverResult, SolveStatus, solve
from certnet.solvers.admm import REPORT_EVERY
from certnet.solvers.interface import WarmStart
from certnet.solvers.leaf_admm import takes_leaves
from certnet.solvers.registry import choose_solver
from certnet.solvers.rounds import round_seconds
from certnet.solvers.warm_start import from_certificate
from formulations import Dual, Primal

FEW_ROWS = 100  # Rows up to which branching on signs soon gives more than the relaxation, with which it begins itself.
QUICK_TREE = 400
"""Entries of W and t up to which branching pays at once where the solver is the ADMM. Measured: on ionosphere with
logistic loss (350), γ = 3, 60 s, the gap is 7.8 %, and 9.6 % in 75 s where the relaxation comes first; on wine (712) a
tree is no better than the relaxation after 80 s."""

PRICE_STEPS = 1500  # Most steps of the solve for the price of the network's own W.
TREE_PRODUCTS = 6  # Products of a leaf by the order of S, as of ``certnet.solvers.joint``, for a guess of its time.
# Steps of the ADMM for the whole where it only tells which rows to split, and the fewest for leaves that pay. Measured:
# digits (600 rows, γ = 1, penalised biases): with four leaves 20 % after 100 steps, 12.9 after 400, 12.3 after 830; the
# whole ends at 13.9. Steps late in a solve take 0.6 of what the clock expects.
SCOUT_STEPS, LEAF_STEPS = 150, 250
# In units of the gap at which the relaxation ends: where it goes on after its share of the time. Measured: wine (γ =
# 10, gap 5e-4, 30 s) ends at 0.044 to 0.047 %, and at 0.055 % where a tree follows instead.
NEAR = 4.0
LOOK_SHARE = 0.02  # Most of the time left that the steps between two looks may take for that.
RELAXATION_GAP = 0.7  # Part of the gap to be closed at which the relaxation ends.

# Share of the time left that the price of the network's own W gets before W is free. Measured: on wine with
# cross-entropy and γ = 1 the solve with W free ends at a gap of 3.9 % when it begins there, and at 5.5 % when not.
PRICE_SHARE = 0.3
# Rounds of the interior point that have to fit into the time left where branching comes before the ADMM. Measured: on
# 120 rows of pima indians (logistic loss, γ = 3) a tree leaves 16.4 % after 40 CPU seconds, and 18.7 % where it begins
# with 300 steps of the ADMM; on 383 rows, γ = 10, two leaves leave 19.3 % after 118, the ADMM 19.9 %.
TREE_ROUNDS = 8.0


def auto(job: Job, time_limit: float | None) -> str:
    """Choose the solver that "auto" stands for in a job of ``time_limit`` seconds, and say why."""
    if job.resume is not None:
        job.solver = job.resume.solver
        return f"auto goes on with {job.solver}, which made the checkpoint."
    limit = None if time_limit is None else RELAXATION_SHARE * time_limit
    job.solver, reason = choose_solver(job.merged.program, limit)
    return f"auto chose {job.solver}, because {reason}."


def bounding(job: Job) -> list[tuple[str, Callable[[Job], None]]]:
    """The stages after the first bound, in the order in which they give most for their time."""
    cheap = ("bound without products", bound_without_products)
    relaxation = [
        ("relaxation in groups", relax_in_groups),
        ("price of the network", price_network),
        ("relaxation", relax),
        ("certificate", prove),
        ("rounding", round_relaxation),
    ]
    narrow, branching = ([(STAGE, branch_on_costly)], [("branching", branch)]) if job.closing else ([], [])
    if job.resume is not None and without_costly(job.resume.search) is not None:
        # The search that goes on is about the network as it is.
        return [cheap, *narrow, *branching]
    # In few dimensions cones close the gap; in more, many rows need a relaxation first.
    program = job.merged.program
    few = job.method == GLOBAL and program.space.neurons <= FEW_ROWS
    # Where the relaxation would be the ADMM's, a tree begins with one of its own.
    quick = job.solver == ADMM and job.closing is not None and _tree_is_quick(job, job.closing)
    if job.cuts_cones or few or quick:
        return [cheap, *branching, *relaxation]
    return [cheap, *narrow, *relaxation, *branching] if is_quick(job) else [cheap, *relaxation, *narrow, *branching]


def _tree_is_quick(job: Job, closing: Closing) -> bool:
    """Whether branching pays at once, because it is small or because there is time for several leaves.

    Or the ADMM bounds both sides of a single output in place of the relaxation; that takes hardly longer. Measured: on
    breast cancer (341 rows, γ = 3, penalised biases, 60 s) the few costly rows first leave 5.5 %, this 6.2 %.
    """
    program, left = job.merged.program, job.clock.available()
    variables = entries(program)
    both_sides = program.shape[1] == 1 and not closing.circuits and takes_leaves(job.presolved.program)
    both_sides = both_sides and not in_groups(job) and job.clock.can_relax() and rows_of(job) is None
    if variables <= QUICK_TREE or both_sides:
        return True
    seconds = TREE_ROUNDS * round_seconds(variables + TREE_PRODUCTS * program.space.face_order)
    return left is not None and seconds <= left and has_tree(job) and not is_quick(job)


def leaves_follow(job: Job) -> bool:
    """Whether there is time for leaves of the ADMM with several outputs; the whole then only tells what to split."""
    program, left = job.presolved.program, job.clock.available()
    plain = job.closing is not None and job.closing.max_nodes is None and not job.closing.circuits
    large = program.shape[1] > 1 and entries(program) > LARGEST and takes_leaves(program)
    if left is None or job.solver != ADMM or not (plain and large):
        return False
    steps = SCOUT_STEPS + LEAF_STEPS * math.ceil(FIRST_LEAVES / cores())
    return job.clock.admm(program.space.face_order, steps) <= left


def price_network(job: Job) -> None:
    """Bound the price of the network's own W by the doubly nonnegative relaxation of that price.

    Where the relaxation of training is tight, this W is optimal, and otherwise it is where a solve with W free begins.
    """
    network, presolved = job.best.network, job.presolved
    left_out = job.solver != ADMM or job.program.output_bias == "free" or job.grouped or job.priced is not None
    if left_out or not job.clock.can_relax():
        return
    program = presolved.program
    W = presolved.apply_dual(job.offered).W
    if not program.best_scale(W) > 0:
        return

    def proposed(dual: Dual) -> Dual:
        return Dual(W, dual.N / program.gamma)

    def watch(progress: Progress) -> bool:
        bound = bound_from_price(program, W, math.sqrt(max(-progress.lower_bound, 0.0)))
        job.saver.look(lambda: {"dual": proposed(progress.dual())})
        job.tell_progress("price", progress, bound)
        return bound >= network.objective * (1.0 - RELAXATION_GAP * job.enough)

    result = solve(
        program.pricing(W),
        solver=ADMM,
        time_limit=job.clock.share(PRICE_SHARE),
        max_iterations=PRICE_STEPS,
        tolerance=job.tolerance,
        callback=watch,
        device=job.device,
    )
    job.interrupted = result.status is SolveStatus.INTERRUPTED
    if result.dual is not None:
        found = repaired(job.merged, presolved.undo_dual(proposed(result.dual)))
        job.best.take_dual(found)
        job.priced = presolved.apply_dual(raw_dual(found.W, found.N, found.t, gamma=job.merged.program.gamma))
    prove(job, "price of the network")


def relax(job: Job) -> None:
    """Solve the doubly nonnegative relaxation; its duals hold whatever the network."""
    if job.grouped:
        return
    if not job.clock.can_relax():
        rows = f"{job.merged.program.space.neurons} distinct data directions"
        weaker = "the bound is that of the relaxation without products, which is weaker"
        job.clock.note("relaxation", f"Memory or time do not suffice for the relaxation of {rows}; {weaker}.")
        return
    resume = job.resume
    start: WarmStart | None = None
    known = job.priced if resume is None or job.priced is not None else resume.dual
    if resume is not None and resume.iterate is not None:
        S, dual = resume.iterate
        start = Primal(S, job.presolved.program.space.outputs), dual
    elif known is not None:
        start = job.presolved.apply_network(job.best.network.U, job.best.network.V), known
    elif job.start is not None:
        start = from_certificate(job.presolved, job.start)
    usual = most = relaxation_seconds(job)
    order, look = job.presolved.program.space.face_order, job.clock.share(LOOK_SHARE)
    if look is not None and job.solver == ADMM and job.clock.admm(order, REPORT_EVERY) <= look:
        # It is looked at often enough to have all that is left where its bound is near.
        most = job.clock.relaxation(None, 0.0)
    solve_relaxation(
        job,
        solver=job.solver,
        seconds=most,
        usual=usual,
        steps=SCOUT_STEPS if leaves_follow(job) else None,
        tolerance=job.tolerance,
        warm_start=start,
        enough=job.enough if job.closing is None else RELAXATION_GAP * job.enough,
    )
    if job.given is not None:
        prove(job, "relaxation")
    elif not job.interrupted:
        job.saver.stage_ends("relaxation")


def solve_relaxation(
    job: Job,
    *,
    solver: str,
    seconds: float | None,
    tolerance: float,
    warm_start: WarmStart | None,
    enough: float,
    usual: float | None = None,
    steps: int | None = None,
) -> SolverResult:
    """Solve the relaxation until the bound is within the relative gap ``enough`` of the objective; duals are kept.

    After ``usual`` seconds it ends unless the bound is near.
    """
    presolved, begin = job.presolved, time.perf_counter()

    def watch(progress: Progress) -> bool:
        job.shown = progress
        shown = progress.iterate or (lambda: (None, None))
        job.saver.look(lambda: {"dual": progress.dual(), **_iterate(*shown())})
        job.tell_progress("relaxation", progress)
        bound, objective = progress.lower_bound, job.best.network.objective
        is_late = usual is not None and time.perf_counter() - begin > usual
        is_near = bound >= objective * (1.0 - NEAR * enough)
        return bool(bound >= objective * (1.0 - enough) or (is_late and not is_near))

    result = job.relaxation = solve(
        presolved.program,
        solver=solver,
        time_limit=seconds,
        max_iterations=steps,
        tolerance=tolerance,
        callback=watch,
        warm_start=warm_start,
        device=job.device,
        repair=repairing(presolved) if solver == ADMM else None,
    )
    if result.status is SolveStatus.FAILED:
        job.clock.note("relaxation", f"The solver {result.solver} failed ({result.message}).")
    job.interrupted = result.status is SolveStatus.INTERRUPTED
    job.saver.update(**_iterate(result.primal, result.dual))
    # After Ctrl-C the last dual is repaired only if that is quick, and no dual that was shown is better.
    seen = job.shown is not None and job.shown.lower_bound >= job.best.lower_bound
    soon = not job.interrupted or (not seen and job.clock.takes(REPAIR) <= LAST_REPAIR_SECONDS)
    if result.dual is not None and soon:
        job.best.take_dual(repaired(job.merged, presolved.undo_dual(result.dual)))
    return result


def _iterate(primal: Primal | None, dual: Dual | None) -> dict[str, Any]:
    """What a checkpoint keeps of a solver's iterate."""
    return {} if primal is None or dual is None else {"iterate": (primal.S, dual)}
