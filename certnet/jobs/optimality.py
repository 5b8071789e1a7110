"""How far any two-layer ReLU network is from global optimality, and what would bring it nearer.

The network may come from anywhere. Its own residual is a dual point, a better trained network gives a better one, and
branch and bound on the signs proves how large that dual's price is. Every bound is proved by the independent checker,
about the network that was given.
"""

from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq

from certificates.failure import Deadline
from certificates.findings import figures
from certnet.io.objectives import Given, objective_of
from certnet.jobs import relaxing
from certnet.jobs import stages as _stages
from certnet.jobs.best import repaired
from certnet.jobs.clock import JobClock
from certnet.jobs.closing import PAYS, bound
from certnet.jobs.job import DEFAULT_GAP, GLOBAL, Job, begin, closing_of, fitting, run, untrained
from certnet.jobs.results import Certified
from certnet.runtime.clock import Event
from certnet.runtime.numerics import computing
from certnet.runtime.public import public
from certnet.training.polish import balance, network_dual, offered_dual
from certnet.training.pricing import largest_prices
from certnet.training.trainer import FitResult
from formulations import InputError, TrainingProgram
from formulations._validation import FloatArray
from formulations.training import LARGEST, SMALLEST

__all__ = ["Neuron", "OptimalityResult", "optimality"]

MOST_STARTS = 200  # Neurons from which pricing climbs.
PRICING_SHARE = 0.1  # Part of the time left that pricing may take.


@dataclass(frozen=True, eq=False)
class Neuron:
    """A neuron whose addition lowers the objective: ‖Wᵀ(Xu)₊‖ > γ for W = −∇loss at the network.

    With a = (Xu)₊ for u of cost 1 and g = Wᵀa the best output weights have the direction of g, and the strength s is
    that of the least loss + γs; for the squared loss the objective falls by (‖g‖ − γ)²/(2‖a‖²).

    Attributes:
        u: (d,) hidden weights, balanced with the output weights.
        v: (c,) output weights.
        price_ratio: ‖g‖/γ, more than 1.
        decrease: by how much the objective falls when the neuron is added to the network as it is.
    """

    u: FloatArray
    v: FloatArray
    price_ratio: float
    decrease: float


@dataclass(frozen=True, eq=False, repr=False, kw_only=True)
class OptimalityResult(Certified):
    """What is known of a network's distance from the optimum: ``report.gap`` is proved; see also ``Certified``.

    ``certificate`` is about the network that was given. ``notes`` say first which objective a model's is.

    Attributes:
        balanced_objective: the objective after neurons are rescaled, which changes no prediction.
        price_ratio: the largest ‖Wᵀ(Xu)₊‖/γ found over u of cost 1, for W = −∇loss at the network; at an optimum it is
            1. It is reached at a direction, so the true maximum is at least as large. None after Ctrl-C.
        neuron: the direction of that price as a neuron, None where it is hardly above 1.
        trained: the best network that certnet found, starting from the given one among others; None without training.
        bounds: the lower bound that each source led to: residuals, relaxation, branching, and the last certificate.
        given: a model with its objective, as it was read, or None.
    """

    COMMAND = "optimality"

    balanced_objective: float
    price_ratio: float | None
    neuron: Neuron | None
    trained: FitResult | None
    bounds: Mapping[str, float]
    given: Given | None

    def to_dict(self) -> dict[str, Any]:
        trained = self.trained
        return {
            **super().to_dict(),
            **figures(self, "balanced_objective", "price_ratio"),
            "neuron": figures(self.neuron, "decrease", "u", "v"),
            "trained": trained and {"objective": trained.objective, "width": int(trained.U.shape[1])},
            "bounds": dict(self.bounds),
        }


@public(executor=Executor)
def optimality(
    model: Any,
    X: Any,
    y: Any,
    a: ArrayLike | None = None,
    *,
    gap: float = DEFAULT_GAP,
    time_limit: float | None = None,
    max_nodes: int | None = None,
    workers: int = 1,
    threads: int | None = None,
    scheduler: str | None = None,
    executor: Executor | None = None,
    circuits: bool = False,
    train: bool = True,
    random_state: int = 0,
    progress: Callable[[Event], None] | None = None,
    provenance: Mapping[str, Any] | None = None,
    **terms: Any,
) -> OptimalityResult:
    """Prove how far a network is from global optimality among networks of every width.

    Args:
        model: a model of scikit-learn or PyTorch, or a stored network, as ``objective_of`` takes it. Or a
            ``TrainingProgram``, with its data, targets, loss, biases and γ.
        X, y: the data that the model was trained on. Or for a program the network: U (d×m; with a hidden bias its row
            is the last one) and V (c×m).
        a: for a program the network's output bias (c,); the best one if None.
        gap: branching goes on until the bound is within this relative distance of the best network known.
        time_limit: seconds, or None.
        max_nodes, workers, threads, scheduler, executor, circuits, random_state, progress, provenance: as for
            ``certnet.train``.
        train: train globally as well. Without it branching is about the network's own residual, which proves little
            unless the network is nearly optimal.
        terms: loss, decay, weights and biases of a model; those of ``objective_of``.

    Raises:
        InputError: what ``objective_of`` refuses, a network that does not fit the program, options that make no sense,
            or data too large.
        KeyboardInterrupt: on a second Ctrl-C, while the first is being served.
    """
    closing = closing_of(GLOBAL, gap, max_nodes, workers, scheduler, circuits, train)
    given = None
    if isinstance(model, TrainingProgram):
        if terms:
            raise InputError(f"A TrainingProgram has its objective in it; leave {next(iter(terms))} out.")
        program, U, V = model, X, y
    elif a is not None:
        raise InputError("a is the output bias of a program's network; a model has its own, so leave a out.")
    else:
        given = objective_of(model, X, y, **terms)
        program, (U, V, a) = given.program, given.weights()
    network, output = fitting(program, U, V, a)
    balanced = untrained(program, *balance(program, *network))
    neuron: Neuron | None = None
    clock = JobClock(time_limit, progress)
    with clock.stage("presolve"):
        job = begin(
            clock,
            program,
            balanced,
            given=network,
            given_output=output,
            given_objective=program.objective(*network, output),
            closing=closing,
            executor=executor,
            random_state=random_state,
            provenance=provenance or {},
        )
    if not job.objective <= program.loss.value(np.zeros(program.Y.shape)):
        advice = "look whether data, standardisation and gamma are those it was trained with"
        clock.note("given network", f"The zero network has a smaller objective than this one; {advice}.")
    training = [("training", _train)] if train else []
    stages: list[tuple[str, Callable[[Job], Neuron | None]]] = [("given network", _prove_given), *training]
    with computing(job.merged.program.space.order, threads):
        for name, work in (*stages, ("price", _neuron_that_pays)):
            if not job.interrupted:
                neuron = run(job, name, work)
        if job.has_directions:
            relaxing.auto(job, clock.available())
            bound(job, relaxing.bounding(job))
        proof = _stages.conclude(job)
    if given is not None:
        clock.notes[:0] = [given.theirs, given.ours, *given.notes]
    return OptimalityResult(
        **_stages.outcome(job, proof),
        balanced_objective=balanced.objective,
        price_ratio=job.price_ratio,
        neuron=neuron,
        trained=None if job.trained is None else job.best.network,
        bounds=job.bounds,
        given=given,
    )


def _prove_given(job: Job) -> None:
    """The bound of the given network's own residual."""
    _stages.prove_dual(job, "residual of the network", repaired(job.merged, offered_dual(job.merged, job.network)))


def _train(job: Job) -> None:
    """The best network that the global trainer finds; the given one is among its starts."""
    _stages.train_network(job)
    if not job.interrupted:
        _stages.prove_dual(job, "residual of the trained network", repaired(job.merged, job.offered))


def _neuron_that_pays(job: Job) -> Neuron | None:
    """The direction of the largest price for the dual of the given network; None where that is hardly above γ."""
    program, (U, V) = job.program, job.network
    X, W, gamma = program.X, network_dual(program, U, V), program.gamma
    generator = np.random.default_rng(job.random_state)
    starts = np.hstack([balance(program, U, V)[0], job.best.network.U])
    starts = starts[:, generator.permutation(starts.shape[1])[:MOST_STARTS]]
    deadline = Deadline.after(job.clock.left(PRICING_SHARE))
    found = largest_prices(program, W, starts, random_state=generator, deadline=deadline)
    if len(found.values) == 0:
        job.price_ratio = 0.0
        return None
    u = found.directions[:, 0]
    g = W.T @ np.maximum(X @ u, 0.0)
    size = float(np.linalg.norm(g))
    job.price_ratio = size / gamma
    if not size > gamma * (1.0 + PAYS):
        return None
    v = g / size
    strength, decrease = _strength(program, program.fitted(U, V), np.outer(np.maximum(X @ u, 0.0), v))
    return Neuron(np.sqrt(strength) * u, np.sqrt(strength) * v, job.price_ratio, decrease)


def _strength(program: TrainingProgram, fitted: FloatArray, change: FloatArray) -> tuple[float, float]:
    """The s that minimises L(fitted + s·change) + γs, and how much lower that is than at 0.

    The function is convex and falls at 0. The output bias stays as it is best without the change.
    """
    loss, bias = program.loss, program.loss.bias(fitted)

    def slope(s: float) -> float:
        return program.gamma - float(np.sum(loss.dual(fitted + s * change, bias) * change))

    high = 1.0
    while slope(high) < 0 and high < LARGEST:
        high *= 2.0
    s = float(brentq(slope, 0.0, high, xtol=SMALLEST, maxiter=1000)) if slope(0.0) < 0 <= slope(high) else 0.0
    return s, float(loss.value(fitted, bias) - loss.value(fitted + s * change, bias) - program.gamma * s)
