"""The stages that jobs share, but for the relaxation: networks, cheap bounds, proofs, and the end."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from certificates.failure import Deadline
from certificates.making.assemble import certify as certify_duals
from certificates.making.assemble import replace_network
from certificates.making.repair import RepairedDual
from certnet.jobs.best import Proof, as_it_stands, certify, repaired, with_network
from certnet.jobs.clock import CHECK, ROUNDING_SHARE
from certnet.jobs.job import SDP, Job, run
from certnet.jobs.narrowing import has_tree, in_groups, prove_known
from certnet.search.price import price_for_gap
from certnet.solvers.shor import shor_bound
from certnet.solvers.warm_start import certified_dual
from certnet.training.polish import network_dual, offered_dual
from certnet.training.pricing import candidates_from_moment, normalised, values
from certnet.training.trainer import Round, fit
from formulations._validation import FloatArray

SAMPLES = 100
PAYS = 1e-6
LAST_PROOF_SECONDS = 5.0  # What proving the best dual may take after an interruption.
TRAINING = "training"  # Stage of the checkpoints that are written before the first network is finished.
COARSE: Mapping[str, Any] = {"tolerance": 1e-2, "max_rounds": 2, "patience": 0}
"""Options of ``fit`` for a network from which cutting cones goes on with exact pricing."""

FIRST_ROUNDS = 10  # Rounds of the first network where a relaxation follows.
# Relative decrease of the objective that prices have to promise for another round, where a gap is to be closed.
# Measured: on 200 rows of digits (4 classes, γ = 1) the second round ends after 12 CPU seconds and promises 4e-5, the
# third after 30.
FIRST_GAP = 1e-4
# Part of the gap to be closed that prices have to promise for rounding. Measured: on 120 rows of pima indians (γ = 3)
# rounding took a sixth of 60 s for 3e-9 of the objective, where the gap is 0.23.
WORTH = 0.01
# Part of the gap that a round of rounding has to bring for another, or the last two of the first network for rounding
# at all. Measured: on 600 rows of digits and of Gaussian data a round brings 0.3 to 0.6 of what the one before did.
LAST_GAIN = 5e-4
FIRST_GAIN = 1e-4  # The same of the first network, in units of the objective, where rows are too many for all products.
EARLY_SHARE = 0.05  # Part of the time limit until which the first network goes on though it promises little more.
# How often prices are looked for with more starts before the first network is done. Measured: on 178 rows of wine (γ =
# 10) each of them takes 1.5 of 11 CPU seconds, and the four that are usual find nothing.
FIRST_PATIENCE = 1
FIRST_SHARE = 0.3  # Share of the time left that the first network may take then. Its own W is where bounds begin.
# The same where all products are too many. Measured: on 20,000 × 20 rows of 80 s, with 0.3 the objective is 9018 and
# with 0.22 it is 9028, where bounds are at 1097.
SHARE_IN_GROUPS = 0.2
GLOBAL_SHARE = 0.4  # Where no relaxation follows: the search for a proof gets as much.
SOON_SHARE = 0.5  # Share of the time left after which the first network is left behind: a bound has to come too.
TOLERANCE = 1e-6  # Relative excess of the price over γ at which training ends that no branching follows.
# The same for each unit of a gap that is to be closed: an excess ε costs at most about 2ε of the bound.
TOLERANCE_PER_GAP = 0.05
LARGEST_TOLERANCE = 1e-5  # The most that this may be.
SMALLEST_TOLERANCE = 1e-9  # The least that this may be.


def first_network(job: Job) -> None:
    """A network soon, so that an early Ctrl-C leaves something; without a time limit rounds alone bound it."""
    # A checkpoint of the training itself holds a network to go on from.
    resume = job.resume
    if resume is None or resume.U is None or resume.stage == TRAINING:
        job.saver.update(stage=TRAINING)
        train_network(job)
    job.tell("first network")


def train_network(job: Job, number: int = 0) -> None:
    """Column generation that starts from the best network; every number has its own seed."""
    known, closing = (job.best.network.U, job.best.network.V), job.closing
    effort: dict[str, Any] = {"tolerance": TOLERANCE}
    if closing is not None:
        effort = {"tolerance": float(np.clip(TOLERANCE_PER_GAP * closing.gap, SMALLEST_TOLERANCE, LARGEST_TOLERANCE))}
    if job.method == SDP:
        effort["max_rounds"] = FIRST_ROUNDS
    first, share = job.method == SDP and number == 0, GLOBAL_SHARE
    if first:
        share = FIRST_SHARE if job.clock.can_relax() else SHARE_IN_GROUPS
        effort["patience"] = FIRST_PATIENCE
    least = FIRST_GAIN if job.has_directions and in_groups(job) else 0.0
    rounds, limit = list[Round](), job.clock.time_limit

    def look(found: Round) -> bool:
        job.saver.look()
        rounds.append(found)
        is_early = limit is not None and found.seconds < EARLY_SHARE * limit
        ends = (is_settled(job, found.price_ratio) and not is_early) or round_gain(rounds) < least
        return first and closing is not None and ends

    job.trained = fit(
        job.program,
        start=known if known[0].shape[1] else None,
        random_state=job.random_state + number,
        time_limit=job.clock.share(share),
        callback=look,
        better=job.see,
        **(COARSE if job.cuts_cones else effort),
    )
    job.interrupted = job.trained.interrupted
    job.keep(job.trained)


def is_settled(job: Job, price_ratio: float, gap: float = FIRST_GAP) -> bool:
    """Whether the largest price found for the best network, over γ, promises less than this relative decrease of the
    objective: a bound for so large a price is that near."""
    program, least = job.merged.program, 1.0 + PAYS
    if gap > 0:
        least = max(least, price_for_gap(program, job.offered.W, job.best.network.objective, gap) / program.gamma)
    return price_ratio <= least


def round_gain(rounds: Sequence[Round], last: int = 2) -> float:
    """The relative decrease of the objective that a round brought in the mean of the last ones; infinite without so
    many. Seconds have no part in it, so that equal seeds give equal results."""
    if len(rounds) < last:
        return np.inf
    return (1.0 - rounds[-1].objective / max(rounds[-last].objective, 1e-300)) / (last - 1)


def last_gain(job: Job) -> float:
    """The same of the last fit, whose last round may have been cut short."""
    return np.inf if job.trained is None else round_gain(job.trained.history, 3)


def relaxation_seconds(job: Job) -> float | None:
    """What the relaxation of all rows may take."""
    return job.clock.relaxation(job.trained if job.given is None else None, 0.0 if is_last(job) else ROUNDING_SHARE)


def is_last(job: Job) -> bool:
    """Whether nothing follows the relaxation: there is nothing to round, and there are too many rows for a tree."""
    first = job.trained if job.given is None else None
    if first is None or job.closing is None or has_tree(job):
        return False
    return is_settled(job, first.price_ratio) or last_gain(job) < FIRST_GAIN


def first_bound(job: Job) -> None:
    """The bounds that cost linear time, and those that were known before; the best of them is proved."""
    take_known(job)
    # Where rows are many, no W without products is much better than one that fits nothing. Measured: 36.66 for 5,000
    # Gaussian rows of 20 features (logistic loss, γ = 25), where Shor's relaxation has 36.67 and a network's W 35.18.
    _, d, c = job.program.shape
    job.best.take_dual(repaired(job.merged, offered_dual(job.merged, (np.zeros((d, 0)), np.zeros((c, 0))))))
    prove(job, "first bound")
    if not job.interrupted:
        job.saver.stage_ends("first network")


def take_known(job: Job) -> None:
    """The bounds of the certificate to start from and of the checkpoint."""
    if job.start is not None:
        known = certified_dual(job.merged, job.start).times(job.program.gamma / job.start.gamma)
        job.best.take_dual(repaired(job.merged, known))
    if job.resume is not None and job.resume.dual is not None:
        stored = job.presolved.undo_dual(job.resume.dual)
        prove_known(job, stored)
        job.best.take_dual(repaired(job.merged, stored))
    job.known = True


def prove(job: Job, source: str = "certificate") -> None:
    """Have the best dual at hand checked, if it promises more than what is proved."""
    take_shown(job)
    job.best.take_dual(repaired(job.merged, job.offered))
    if (dual := job.best.dual) is not None and not dual.lower_bound <= job.best.proved:
        prove_dual(job, source, dual)
    job.tell(source)


def take_shown(job: Job) -> None:
    """The best dual that the solver showed on its way."""
    if (shown := job.shown) is not None and shown.lower_bound > job.best.lower_bound:
        job.best.take_dual(as_it_stands(job.merged, job.presolved.undo_dual(shown.dual())))


def prove_dual(job: Job, source: str, dual: RepairedDual) -> None:
    """Have a dual of the merged program checked."""
    begin = job.clock.seconds
    job.take_proof(source, certify(job.merged, dual, job.network, job.provenance))
    if not dual.N.size and dual.grouped is None:
        job.clock.proving = job.clock.seconds - begin


def bound_without_products(job: Job) -> None:
    """The best bound without products, if a proof of it fits into the time too."""
    if (limit := job.clock.shor()) == 0.0:
        return
    found = shor_bound(
        job.presolved,
        networks=[job.network, *([] if job.given is None else [(job.best.network.U, job.best.network.V)])],
        deadline=Deadline.after(limit),
        random_state=job.random_state,
        callback=job.best.take_dual,
    )
    job.best.take_dual(found)
    prove(job, "without products")


def round_relaxation(job: Job, points: FloatArray | None = None) -> None:
    """The best network that starts from the best so far, from the relaxation's candidates and from points (d×k)."""
    primal, network = job.solution, job.best.network
    gap = 0.0 if job.closing is None else WORTH * job.best.gap
    columns = [U for U in (None if job.start is None else job.start.U, network.U, points) if U is not None]
    settled = is_settled(job, 1.0 if network.converged else network.price_ratio, gap)
    least = 0.0 if job.closing is None else LAST_GAIN * job.best.gap
    if primal is not None:
        moment = job.presolved.scaling.undo_moment(primal)
        candidates = candidates_from_moment(moment, job.program.X, samples=SAMPLES, random_state=job.random_state)
        columns.append(candidates)
        if settled:
            # The first fit found no direction that would lower the objective; perhaps the candidates hold one.
            W = network_dual(job.program, network.U, network.V)
            prices = values(job.program.X, W, normalised(job.program, candidates))
            settled = is_settled(job, float(prices.max(initial=0.0)) / job.program.gamma, gap)
    if settled or last_gain(job) < least:
        return
    rounds = [Round(0, 0.0, network.objective, network.U.shape[1], network.price_ratio)]

    def look(found: Round) -> bool:
        job.saver.look()
        rounds.append(found)
        return gap > 0 and (is_settled(job, found.price_ratio, gap) or round_gain(rounds) < least)

    fitted = fit(
        job.program,
        candidates=np.hstack(columns),
        start=(network.U, network.V) if network.U.shape[1] else None,
        random_state=job.random_state,
        time_limit=job.clock.rounding(relaxed=job.shown is not None),
        callback=look,
        better=job.see,
        **(COARSE if job.cuts_cones else {}),
    )
    job.interrupted = fitted.interrupted
    job.keep(fitted)
    job.tell("rounding")
    job.saver.update(stage="rounding")


def conclude(job: Job) -> Proof:
    """The certificate of the best bound, about the job's network, from what can still be checked in time."""
    if job.interrupted and job.resume is not None and not job.known:
        run(job, "first bound", take_known, LAST_PROOF_SECONDS)
    dual, left = job.best.dual, job.clock.left()
    if job.shown is not None or (dual is not None and dual.lower_bound > job.best.proved):
        seconds = LAST_PROOF_SECONDS if job.interrupted else left
        is_linear = job.shown is None and dual is not None and not dual.N.size
        if is_linear or seconds is None or job.clock.takes(CHECK) <= seconds:
            run(job, "certificate", prove, seconds)
    if job.best.proof is None:
        # Nothing was proved before Ctrl-C; the trivial bound costs next to nothing.
        job.best.take_proof(*certify_duals(job.merged, [], *job.network, provenance=job.provenance))
    assert job.best.proof is not None
    if job.given is None:
        return with_network(job.best.proof, job.network, job.program)
    # Until here the proof was about the given weights with their best bias.
    certificate, report = job.best.proof
    certificate = replace_network(certificate, *job.given, job.given_output)
    return certificate, replace(report, objective=certificate.claims["objective"])


def outcome(job: Job, proof: Proof) -> dict[str, Any]:
    """The fields of ``Certified`` when a job ends with this proof."""
    certificate, report = proof
    return {
        "program": job.program,
        "certificate": certificate,
        "report": report,
        "search": job.search,
        "stages": job.clock.stages,
        "history": job.clock.history,
        "interrupted": job.interrupted,
        "notes": tuple(job.clock.notes),
    }
