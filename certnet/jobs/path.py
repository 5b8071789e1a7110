"""The regularisation path: one network and one certificate for each γ, from the largest to the smallest.

Each γ starts at its neighbour: the neighbour's neurons are candidates, its dual and network are the warm start of the
relaxation. What is found at one γ then serves all others, both ways. A network's objective is affine in γ, so every
network bounds p_∞ from above at every γ; a W that is feasible for γ' is feasible for γ times γ/γ', so every
certificate bounds p_∞ from below at every γ. Hence p_∞ is nondecreasing and concave in γ, and so are the objectives of
a finished path.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise
from typing import Any

from numpy.typing import ArrayLike

from certificates import Certificate
from certificates.failure import SMALLEST_LIMIT, Deadline
from certificates.making.assemble import certify, replace_network
from certnet.jobs import train as job
from certnet.jobs.best import Proof, with_network
from certnet.jobs.checkpoint import Checkpoint
from certnet.jobs.results import Pictured
from certnet.jobs.train import Event, TrainingResult
from certnet.runtime.clock import Clock
from certnet.runtime.numerics import computing
from certnet.runtime.public import public
from certnet.solvers.warm_start import certified_dual
from certnet.training.polish import Network, balance, polish
from formulations import TrainingProgram, merge_rows
from formulations.arguments import distinct, reals
from formulations.losses import Kind

__all__ = ["PathResult", "train_path"]

EXCHANGE_SHARE = 0.05  # Share of a time limit that is kept for trying every network at its neighbours' γ.
POLISH_SHARE = 0.1  # Part of the time of a γ that polishing a neighbour's network may take before.
SWEEPS = 5  # Most passes up and down the path in which networks are tried at their neighbours' γ.
BETTER = 1e-9  # Relative improvement below which a network or bound of another γ is not taken over.


@dataclass(frozen=True, eq=False, repr=False)
class PathResult(Pictured):
    """Results of a path, in the order in which the γ were given.

    Attributes:
        gammas, results: the weight decays, and one result for each; None where an interruption came first.
        seconds: for the whole path.
        interrupted: True when Ctrl-C cut the path short; then nothing was exchanged between the γ afterwards.
    """

    COMMAND, PICTURE = "path", "path"
    FIELDS = ("gammas", "missing", "interrupted", "seconds")

    gammas: tuple[float, ...]
    results: tuple[TrainingResult | None, ...]
    seconds: float
    interrupted: bool = False

    @property
    def missing(self) -> tuple[float, ...]:
        """The γ without a result."""
        return tuple(gamma for gamma, result in zip(self.gammas, self.results, strict=True) if result is None)

    def to_dict(self) -> dict[str, Any]:
        return {**super().to_dict(), "results": [result.to_dict() for result in self.results if result is not None]}


@public(gammas=reals)
def train_path(
    X: ArrayLike,
    Y: ArrayLike,
    *,
    gammas: Sequence[float],
    loss: str | Kind = "squared",
    sample_weight: ArrayLike | None = None,
    hidden_bias: str = "none",
    output_bias: str = "none",
    time_limit: float | None = None,
    progress: Callable[[Event], None] | None = None,
    known: Mapping[float, TrainingResult] | None = None,
    checkpoint: Callable[[float], Callable[[Checkpoint], None]] | None = None,
    resume: Mapping[float, Checkpoint] | None = None,
    finished: Callable[[TrainingResult], None] | None = None,
    **options: Any,
) -> PathResult:
    """Train and certify a network for each weight decay, from the largest to the smallest.

    Args:
        X, Y: data (n×d) and targets (n×c) as for ``TrainingProgram``.
        gammas: positive weight decays, each once, in any order.
        loss, sample_weight, hidden_bias, output_bias: as for ``TrainingProgram``.
        time_limit: seconds for the whole path, or None. Every γ gets an equal part of what is left when its turn comes.
        progress: called with an ``Event`` now and then, whose stage names the γ; its seconds are those of that γ.
        known: results of an earlier run on the same data by γ; they are neighbours of the others and not solved again.
        checkpoint: gives for each γ a function that keeps its checkpoints, as for ``certnet.train``.
        resume: checkpoints of an earlier run by γ, from which the relaxation goes on.
        finished: called with each new result as soon as it is there, and again if another γ improves it later.
        options: solver, tolerance, random_state, provenance, device and threads, as for ``certnet.train``.

    Raises:
        InputError: γ or data that cannot be used, or a solver that is not available.
        KeyboardInterrupt: on a second Ctrl-C, while the first is being served.
    """
    clock = Clock(time_limit)
    gammas = distinct("gammas", gammas)
    objective: dict[str, Any] = {"loss": loss, "hidden_bias": hidden_bias, "output_bias": output_bias}
    programs = {gamma: TrainingProgram(X, Y, gamma, sample_weight=sample_weight, **objective) for gamma in gammas}
    results = {gamma: result for gamma, result in (known or {}).items() if gamma in programs}
    tell, notes, interrupted = finished or (lambda _: None), set[str](), False
    waiting = sorted(programs.keys() - results.keys(), reverse=True)

    def listen(gamma: float, event: Event) -> None:
        """``progress`` for one γ; of equal notes from several γ only the first is passed on."""
        if progress is not None and event.note not in notes:
            progress(replace(event, stage=f"γ = {gamma:g}, {event.stage}"))
        notes.update([] if event.note is None else [event.note])

    while waiting and not interrupted:
        gamma, share = waiting[0], (1.0 - EXCHANGE_SHARE) / len(waiting)
        try:
            start = _start(results, programs[gamma], clock.left(POLISH_SHARE * share, least=SMALLEST_LIMIT))
        except KeyboardInterrupt:
            interrupted = True
            break
        results[gamma] = result = job.train(
            programs[gamma],
            time_limit=clock.left(share, least=SMALLEST_LIMIT),
            progress=progress and partial(listen, gamma),
            start=start,
            checkpoint=None if checkpoint is None else checkpoint(gamma),
            resume=(resume or {}).get(gamma),
            **options,
        )
        tell(result)
        interrupted = result.interrupted
        waiting.remove(gamma)
    interrupted = interrupted or not _exchange(results, clock.left(), tell)
    return PathResult(gammas, tuple(results.get(gamma) for gamma in gammas), clock.seconds, interrupted)


def _start(
    results: Mapping[float, TrainingResult], program: TrainingProgram, seconds: float | None
) -> Certificate | None:
    """The certificate of the nearest γ, in the logarithm, with its network polished for this one.

    A polished network starts the relaxation better than the neighbour's own (Iris: bounds 3 % higher in equal time).
    """
    if not results:
        return None
    nearest = results[min(results, key=lambda other: abs(math.log(other / program.gamma)))]
    with computing():
        U, V = polish(program, nearest.U, nearest.V, deadline=Deadline.after(seconds))
    return replace_network(nearest.certificate, U, V, program.output(U, V))


def _exchange(
    results: dict[float, TrainingResult], seconds: float | None, tell: Callable[[TrainingResult], None]
) -> bool:
    """Let every γ profit from the networks and duals of the others. False when Ctrl-C ended it, which loses nothing."""
    try:
        # The matrices are small, and a second BLAS thread costs more than it saves.
        with computing():
            deadline = Deadline.after(seconds)
            networks = _exchange_networks(results, deadline)
            for gamma in sorted(results, reverse=True):
                if deadline.passed:
                    break
                program, before = results[gamma].program, (results[gamma].certificate, results[gamma].report)
                proof = with_network(before, networks[gamma], program) if gamma in networks else before
                proof = _with_bound(proof, program, [result.certificate for result in results.values()])
                if proof is not before:
                    results[gamma] = replace(results[gamma], certificate=proof[0], report=proof[1])
                    tell(results[gamma])
    except KeyboardInterrupt:
        return False
    return True


def _exchange_networks(results: Mapping[float, TrainingResult], deadline: Deadline) -> dict[float, Network]:
    """Better networks by γ: from all networks, and from what polishing makes of each at its neighbours' γ."""
    ascending = sorted(results)
    own: dict[float, Network] = {gamma: (results[gamma].U, results[gamma].V) for gamma in ascending}
    best = dict(own)
    up = list(pairwise(ascending))
    # A network that was no help at a neighbour is not tried there again.
    tried: dict[tuple[float, float], Network] = {}

    def offer(gamma: float, network: Network) -> bool:
        value = results[gamma].program.objective
        better = value(*network) < value(*best[gamma]) * (1.0 - BETTER)
        if better:
            best[gamma] = network
        return better

    for _ in range(SWEEPS):
        changed = False
        for source, gamma in [*up, *((above, below) for below, above in reversed(up))]:
            if not deadline.passed and tried.get((gamma, source)) is not best[source]:
                tried[gamma, source] = best[source]
                changed |= offer(gamma, polish(results[gamma].program, *best[source], deadline=deadline))
        if not changed:
            break
    # Time may have run out before a good network had spread; as they stand, all are compared everywhere.
    pool = [balance(results[gamma].program, *network) for gamma, network in best.items()]
    for gamma, result in results.items():
        offer(gamma, min(pool, key=lambda network, program=result.program: program.objective(*network)))  # type: ignore[misc]
    return {gamma: network for gamma, network in best.items() if network is not own[gamma]}


def _with_bound(proof: Proof, program: TrainingProgram, others: Iterable[Certificate]) -> Proof:
    """A proof of the best bound that a certificate of another γ gives for the program, if that is better."""
    certificate, report = proof
    best = max(others, key=lambda other: transferred_bound(other, program))
    if not transferred_bound(best, program) > report.lower_bound * (1.0 + BETTER):
        return proof
    merged = merge_rows(program)
    dual = certified_dual(merged, best).times(program.gamma / best.gamma)
    improved = certify(merged, [dual], certificate.U, certificate.V, provenance=certificate.provenance)
    return improved if improved[1].lower_bound > report.lower_bound else proof


def transferred_bound(certificate: Certificate, program: TrainingProgram) -> float:
    """The lower bound for a program that a certificate for another γ implies, in floating point (not a proof).

    The largest value of sW over ``0 ≤ s ≤ γ/certificate.gamma``, for sW is feasible there.
    """
    W, loss = certificate.proofs[0].W, program.loss
    s = min(program.gamma / float(certificate.gamma), loss.best_scale(W))
    return loss.dual_value(s * W) if s > 0 else 0.0
