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
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from certificates import Certificate
from certificates.failure import SMALLEST_LIMIT, Deadline
from certificates.making import certify
from certificates.making.assemble import replace_network
from certnet.jobs import train as job
from certnet.jobs.best import with_network
from certnet.jobs.checkpoint import Checkpoint
from certnet.jobs.results import Pictured
from certnet.jobs.train import Event, TrainingResult
from certnet.runtime.clock import Clock
from certnet.runtime.numerics import computing
from certnet.solvers.warm_start import certified_dual
from certnet.training.polish import Network, balance, polish
from formulations import TrainingProgram, merge_rows
from formulations.arguments import accepts, count, distinct, json_object, reals, seconds
from formulations.losses import Kind

__all__ = ["PathResult", "train_path"]

EXCHANGE_SHARE = 0.05
"""Share of a time limit that is kept for trying every network at its neighbours' γ."""
POLISH_SHARE = 0.1
"""Part of the time of a γ that polishing a neighbour's network may take before."""
SWEEPS = 5
"""Most passes up and down the path in which networks are tried at their neighbours' γ."""
BETTER = 1e-9
"""Relative improvement below which a network or bound of another γ is not taken over."""


@dataclass(frozen=True, eq=False, repr=False)
class PathResult(Pictured):
    """Results of a path, in the order in which the γ were given.

    Attributes:
        gammas: the weight decays.
        results: one for each; None where an interruption came first.
        seconds: for the whole path.
        interrupted: True when Ctrl-C cut the path short; then nothing was exchanged between the γ afterwards.
    """

    COMMAND, PICTURE = "path", "path"

    gammas: tuple[float, ...]
    results: tuple[TrainingResult | None, ...]
    seconds: float
    interrupted: bool = False

    @property
    def missing(self) -> tuple[float, ...]:
        """The γ without a result."""
        return tuple(gamma for gamma, result in zip(self.gammas, self.results, strict=True) if result is None)

    def to_dict(self) -> dict[str, Any]:
        """The objects of all results, with what is known of the path."""
        return {
            "gammas": list(self.gammas),
            "missing": list(self.missing),
            "interrupted": self.interrupted,
            "results": [result.to_dict() for result in self.results if result is not None],
            "seconds": self.seconds,
        }


@np.errstate(all="ignore")
@accepts(gammas=reals, time_limit=seconds, random_state=count, provenance=json_object)
def train_path(
    X: ArrayLike,
    Y: ArrayLike,
    *,
    gammas: Sequence[float],
    loss: str | Kind = "squared",
    sample_weight: ArrayLike | None = None,
    hidden_bias: str = "none",
    output_bias: str = "none",
    solver: str = "auto",
    time_limit: float | None = None,
    tolerance: float = 1e-5,
    random_state: int = 0,
    progress: Callable[[Event], None] | None = None,
    provenance: Mapping[str, Any] | None = None,
    device: str = "cpu",
    threads: int | None = None,
    known: Mapping[float, TrainingResult] | None = None,
    checkpoint: Callable[[float], Callable[[Checkpoint], None]] | None = None,
    resume: Mapping[float, Checkpoint] | None = None,
    finished: Callable[[TrainingResult], None] | None = None,
) -> PathResult:
    """Train and certify a network for each weight decay, from the largest to the smallest.

    Args:
        X, Y: data (n×d) and targets (n×c) as for ``TrainingProgram``.
        gammas: positive weight decays, each once, in any order.
        loss, sample_weight, hidden_bias, output_bias: as for ``TrainingProgram``.
        solver, tolerance, random_state, provenance, device, threads: as for ``certnet.train``.
        time_limit: seconds for the whole path, or None. Every γ gets an equal part of what is left when its turn comes.
        progress: called with an ``Event`` now and then, whose stage names the γ; its seconds are those of that γ.
        known: results of an earlier run on the same data by γ; they are neighbours of the others and not solved again.
        checkpoint: gives for each γ a function that keeps its checkpoints, as for ``certnet.train``.
        resume: checkpoints of an earlier run by γ, from which the relaxation goes on.
        finished: called with each new result as soon as it is there, and again if another γ improves it later.

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

    def listen(gamma: float) -> Callable[[Event], None] | None:
        """``progress`` for one γ; of equal notes from several γ only the first is passed on."""

        def show(event: Event) -> None:
            if progress is not None and event.note not in notes:
                progress(replace(event, stage=f"γ = {gamma:g}, {event.stage}"))
            notes.update([] if event.note is None else [event.note])

        return None if progress is None else show

    while waiting and not interrupted:
        gamma, share = waiting[0], (1.0 - EXCHANGE_SHARE) / len(waiting)
        start = _start(results, programs[gamma], clock.left(POLISH_SHARE * share, least=SMALLEST_LIMIT))
        results[gamma] = result = job.train(
            programs[gamma],
            solver=solver,
            time_limit=clock.left(share, least=SMALLEST_LIMIT),
            tolerance=tolerance,
            random_state=random_state,
            progress=listen(gamma),
            provenance=provenance,
            start=start,
            device=device,
            threads=threads,
            checkpoint=None if checkpoint is None else checkpoint(gamma),
            resume=None if resume is None else resume.get(gamma),
        )
        tell(result)
        interrupted = result.interrupted
        waiting.remove(gamma)
    interrupted = interrupted or not _exchange(results, clock.left(), tell)
    return PathResult(
        gammas=gammas,
        results=tuple(results.get(gamma) for gamma in gammas),
        seconds=clock.seconds,
        interrupted=interrupted,
    )


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
                improved = _with_bound(_with_network(results[gamma], networks[gamma]), results.values())
                if improved is not results[gamma]:
                    results[gamma] = improved
                    tell(improved)
    except KeyboardInterrupt:
        return False
    return True


def _exchange_networks(results: Mapping[float, TrainingResult], deadline: Deadline) -> dict[float, Network]:
    """The best network for each γ among all networks, and what polishing makes of each at its neighbours' γ."""
    ascending = sorted(results)
    best: dict[float, Network] = {gamma: (results[gamma].U, results[gamma].V) for gamma in ascending}
    up = list(pairwise(ascending))
    # A network that was no help at a neighbour is not tried there again.
    tried: dict[tuple[float, float], Network] = {}

    def offer(gamma: float, network: Network) -> bool:
        better = _is_better(results[gamma].program, network, best[gamma])
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
    return best


def _is_better(program: TrainingProgram, network: Network, than: Network) -> bool:
    return program.objective(*network) < program.objective(*than) * (1.0 - BETTER)


def _with_network(result: TrainingResult, network: Network) -> TrainingResult:
    """The result with another network, if that is better; the proof of its bound stays."""
    if not _is_better(result.program, network, (result.U, result.V)):
        return result
    certificate, report = with_network((result.certificate, result.report), network, result.program)
    return replace(result, certificate=certificate, report=report)


def _with_bound(result: TrainingResult, others: Iterable[TrainingResult]) -> TrainingResult:
    """The result with the best bound that a certificate of another γ gives for its own, if that is better."""
    program, certificate = result.program, result.certificate
    best = max(others, key=lambda other: transferred_bound(other.certificate, program))
    bound = transferred_bound(best.certificate, program)
    if not bound > result.report.lower_bound * (1.0 + BETTER):
        return result
    merged = merge_rows(program)
    dual = certified_dual(merged, best.certificate).times(program.gamma / best.certificate.gamma)
    improved, report = certify(merged, [dual], result.U, result.V, provenance=certificate.provenance)
    if not report.lower_bound > result.report.lower_bound:
        return result
    return replace(result, certificate=improved, report=report)


def transferred_bound(certificate: Certificate, program: TrainingProgram) -> float:
    """The lower bound for a program that a certificate for another γ implies, in floating point (not a proof).

    The largest value of sW over ``0 ≤ s ≤ γ/certificate.gamma``, for sW is feasible there.
    """
    W, loss = certificate.proofs[0].W, program.loss
    s = min(program.gamma / float(certificate.gamma), loss.best_scale(W))
    return loss.dual_value(s * W) if s > 0 else 0.0
