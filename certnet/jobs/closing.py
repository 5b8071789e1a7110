"""Closing a gap: stages in turn until it is closed, and the search that proves a price for a network's residual.

In few dimensions the weight space is cut into cones, else the signs of the data points are split.
"""

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np

from certificates import Verdict
from certnet.jobs.best import Proof
from certnet.jobs.job import Job, run
from certnet.jobs.narrowing import GAP_SHARE, search_seconds, watching, without_costly
from certnet.jobs.stages import train_network
from certnet.search.certificate import certify_search
from certnet.search.circuits import solve_with_circuits
from certnet.search.cone_closing import SubdivisionSearch
from certnet.search.merged import merged_search
from certnet.search.price import SearchSummary, bound_from_price
from certnet.training.polish import offered_dual
from certnet.training.trainer import fit

PAYS = 1e-7  # Relative excess of a price over γ from which a point is a neuron that lowers the objective.
IMPROVEMENT = 1e-9  # Relative decrease of the objective for which a search is begun anew.
UNAFFORDABLE = "Branching on signs was left out: memory or time do not suffice for its relaxations."
REJECTED = "Branching led to no proof that the check accepts; the bound comes from elsewhere."
KILLED = (
    "A worker was killed, perhaps for lack of memory, and branching ended there; give fewer --workers. What it had "
    "found before counts."
)
Closed = tuple[Proof | None, SearchSummary | None]
"""A proof if there is one, and what there is to say of the search."""

# Part of the time left that cutting cones may take while a relaxation waits. Compiling it alone may take longer.
# Measured: iris with free biases, γ = 0.3, 60 s, a cold cache on a busy machine; at 0.75 the relaxation took a quarter
# of the time, to no avail, and cones ended at 1.6 %.
CONES_SHARE = 0.9
CIRCUITS_SHARE = 0.1  # Part of the time left that separating circuits may take.
AGAIN_SHARE = 0.15  # Part of a time limit that must be left for another round of training and branching.
PATIENCE = 2  # Rounds without any gain after which no other follows.
GAIN = 1e-6  # Relative gain that counts.


def bound(job: Job, stages: Iterable[tuple[str, Callable[[Job], None]]]) -> None:
    """Stages in turn until the gap is closed, then further rounds of training and branching from other seeds.

    Cutting cones leaves time for a relaxation after it.
    """
    for name, work in stages:
        if job.is_open:
            waits = job.cuts_cones and work is branch and "relaxation" not in job.clock.stages
            run(job, name, work, share=CONES_SHARE if waits and job.clock.can_relax() else 1.0)
    if job.closing is None or job.closing.max_nodes is not None or not job.closing.train:
        return
    idle, number, least = 0, 0, AGAIN_SHARE * (job.clock.time_limit or 0.0)
    while idle < PATIENCE and job.is_open and job.clock.has_more_than(least):
        if job.search is not None and job.search.killed:
            break  # The next worker would be, too.
        before, number = job.best.gap, number + 1
        run(job, "training", lambda job, number=number: train_network(job, number))  # type: ignore[misc]
        if not job.interrupted:
            run(job, "branching", branch)
        idle = 0 if job.best.gap < before - GAIN else idle + 1


def branch(job: Job) -> None:
    """The stage: branch and bound until the gap is closed."""
    if not (job.cuts_cones or job.clock.can_branch()):
        job.clock.note("branching", UNAFFORDABLE)
        return
    proof, search = close_gap(job)
    if job.closing is not None and job.closing.train:
        job.trained = job.best.network
    if search is not None:
        job.search, job.interrupted = search, search.interrupted
        if search.killed:
            job.clock.note("branching", KILLED)
        if search.can_go_on:
            job.saver.update(search={**(search.state or {}), **job.narrowed})
    if proof is not None:
        job.take_proof("branching", proof)
        if proof[1].verdict is not Verdict.PROVED:
            job.clock.note("branching", REJECTED)


def close_gap(job: Job) -> Closed:
    """Search until the gap is closed; a point of too large a price becomes a neuron, and the search begins anew."""
    return _cut_cones(job) if job.cuts_cones else _split_signs(job)


def _cut_cones(job: Job) -> Closed:
    network, closing = job.best.network, job.closing
    assert closing is not None  # it was asked for

    def tell(tests: int, objective: float, bound: float) -> None:
        job.tell("branching", bound=bound, objective=objective if job.given is None else None, iteration=tests)
        job.saver.look()

    cut = SubdivisionSearch(
        job.presolved,
        (network.U, network.V),
        closing.gap,
        left=job.clock.available,
        tell=tell,
        max_tests=closing.max_nodes,
        workers=closing.workers,
        scheduler=closing.scheduler,
        train=closing.train,
        better=job.see,
        take=(lambda proof: job.take_proof("branching", proof)) if job.given is None else None,
        provenance=job.provenance,
    )
    cut.run()
    if cut.objective < network.objective:
        job.keep(replace(network, U=cut.network[0], V=cut.network[1], objective=cut.objective))
    return cut.certify(*job.network), cut.summary()


def _split_signs(job: Job) -> Closed:
    network, closing, presolved, free = job.best.network, job.closing, job.presolved, None
    assert closing is not None  # it was asked for
    resume = None if job.resume is None else without_costly(job.resume.search)
    if job.search is not None and job.search.can_go_on:
        resume = without_costly(job.search.state)
    named = None
    if closing.circuits:
        # Those that the price of the first network's residual violates. Without them a tree means nothing.
        W = presolved.apply_dual(offered_dual(presolved.rows, (network.U, network.V))).W
        limit = job.clock.share(CIRCUITS_SHARE)
        root = solve_with_circuits(presolved, W, rounds=1, tolerance=1e-3, time_limit=limit)
        presolved, named, resume = root.presolved, root.circuits, None
    relaxed = None if named or job.relaxation is None else (job.relaxation.primal, job.relaxation.dual)
    program, gap = presolved.program, GAP_SHARE * closing.gap
    too_large = program.gamma * (1.0 + PAYS) if closing.train else np.inf

    keep = None if named else lambda state: {**state, **job.narrowed}
    watch = watching(job, "branching", presolved, keep, proves=not named)

    while True:
        W = presolved.apply_dual(offered_dual(presolved.rows, (network.U, network.V))).W
        if not closing.train:
            if not program.best_scale(W) > 0:
                return None, None
            # No search can show a price below that of a direction that is known.
            known = (job.price_ratio or 0.0) * program.gamma * (1.0 + gap)
            gap = max(gap, 1.0 - bound_from_price(program, W, known) / network.objective)

        found, free = merged_search(
            presolved,
            W,
            objective=network.objective,
            gap=gap,
            free=free,
            max_nodes=closing.max_nodes,
            time_limit=search_seconds(job),
            workers=closing.workers,
            scheduler=closing.scheduler,
            callback=watch,
            too_large=too_large,
            resume=resume,
            root=relaxed,
        )
        if found.interrupted or found.killed or found.complete or not found.best > too_large:
            break
        # Train on from the network and one more direction.
        other = fit(
            job.program,
            candidates=presolved.scaling.undo_z(found.direction)[:, None],
            start=(network.U, network.V),
            random_state=job.random_state,
            time_limit=job.clock.share(0.5),
            tolerance=PAYS,
        )
        if other.objective < network.objective * (1.0 - IMPROVEMENT):
            network = other
            job.see((network.U, network.V), network.objective)
            job.keep(network)
        else:
            # Rounding keeps the network from using the direction, which then only loosens the bound a little.
            too_large = np.inf
    summary = replace(found.summary, state=None if closing.circuits else found.state)
    if not found.W.any():
        # A search with W free that ended before it had any; a price of nothing proves nothing.
        return None, summary
    return certify_search(presolved, found, *job.network, provenance=job.provenance, circuits=named), summary
