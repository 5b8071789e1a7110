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

from certificates.failure import Deadline
from certificates.findings import figures
from certnet.io.objectives import Given, objective_of
from certnet.jobs import relaxing
from certnet.jobs import stages as _stages
from certnet.jobs.best import repaired
from certnet.jobs.clock import JobClock
from certnet.jobs.closing import bound
from certnet.jobs.job import DEFAULT_GAP, GLOBAL, Job, begin, closing_of, run, untrained
from certnet.jobs.results import Certified
from certnet.runtime.clock import Event
from certnet.runtime.numerics import computing
from certnet.training.directions import largest_prices
from certnet.training.polish import Network, balance, network_dual, offered_dual
from certnet.training.trainer import FitResult
from formulations import InputError, TrainingProgram
from formulations._validation import FloatArray
from formulations.arguments import accepts, count, json_object, positive_count, seconds
from formulations.network import ReluNetwork
from formulations.training import LARGEST

__all__ = ["Neuron", "OptimalityResult", "optimality"]

MOST_STARTS = 200
"""Neurons from which pricing climbs."""
HALVINGS = 100
"""Of an interval that holds the strength of a neuron."""
PRICING_SHARE = 0.1
"""Part of the time left that pricing may take."""
PAYS = 1e-7
"""Relative excess of a price over γ from which a point is a neuron that lowers the objective."""
WORSE_THAN_NOTHING = (
    "The zero network has a smaller objective than this one; look whether data, standardisation and gamma are those "
    "it was trained with."
)


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
        """What ``report.json`` says of it, but for the data and the files."""
        trained = self.trained
        return {
            **super().to_dict(),
            **figures(self, "balanced_objective", "price_ratio"),
            "neuron": figures(self.neuron, "decrease", "u", "v"),
            "trained": trained and {"objective": trained.objective, "width": int(trained.U.shape[1])},
            "bounds": dict(self.bounds),
        }


@np.errstate(all="ignore")
@accepts(time_limit=seconds, random_state=count, threads=positive_count, executor=Executor, provenance=json_object)
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
        max_nodes: most relaxations of a search, or None.
        workers: processes of that search.
        threads: as for ``certnet.train``.
        scheduler: address of a Dask cluster that it uses instead, such as ``tcp://host:8786``.
        executor: an ``Executor`` of ``concurrent.futures``, such as that of a pool of processes or Dask's
            ``client.get_executor()``, which projects the matrices of groups of rows instead of threads. The bound is
            the same up to rounding, and survives the loss of workers.
        circuits: search with the circuit inequalities that the network's residual violates: fewer nodes, each of which
            takes longer. Where the weight space is cut, they do nothing.
        train: train globally as well. Without it branching is about the network's own residual, which proves little
            unless the network is nearly optimal.
        random_state: seed.
        progress: called with an ``Event`` now and then.
        provenance: JSON object that travels in the certificate; no part of the proof.
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
    network, output = _required(program, U, V, a)
    balanced = untrained(program, *balance(program, *network))
    neurons: list[Neuron] = []
    clock = JobClock(time_limit, progress)
    with clock.stage("presolve"):
        job = begin(
            clock,
            program,
            balanced,
            given=network,
            given_output=output,
            closing=closing,
            executor=executor,
            random_state=random_state,
            provenance=provenance or {},
        )
    if not job.objective <= program.loss.value(np.zeros(program.Y.shape)):
        clock.note("given network", WORSE_THAN_NOTHING)
    stages: list[tuple[str, Callable[[Job], None]]] = [("given network", _prove_given)]
    stages += [("training", _train)] if train else []
    stages += [("price", lambda job: neurons.extend(_look_for_neuron(job)))]
    with computing(job.merged.program.space.order, threads):
        for name, work in stages:
            if not job.interrupted:
                run(job, name, work)
        if job.has_directions:
            relaxing.auto(job, clock.available())
            bound(job, relaxing.bounding(job))
        certificate, report = _stages.conclude(job)
    return OptimalityResult(
        program=program,
        certificate=certificate,
        report=report,
        balanced_objective=balanced.objective,
        price_ratio=job.price_ratio,
        neuron=neurons[0] if neurons else None,
        trained=None if job.trained is None else job.best.network,
        bounds=job.bounds,
        search=job.search,
        stages=clock.stages,
        history=clock.history,
        interrupted=job.interrupted,
        notes=tuple(clock.notes) if given is None else (given.theirs, given.ours, *given.notes, *clock.notes),
        given=given,
    )


def _required(program: TrainingProgram, U: ArrayLike, V: ArrayLike, a: ArrayLike | None) -> tuple[Network, FloatArray]:
    """The network's weights, and its output bias or the best one.

    Raises:
        InputError: they do not fit the program, or overflow, or a bias that the program has not.
    """
    network = ReluNetwork.of_program(U, V, None if a is None else np.atleast_1d(np.asarray(a)))
    _, d, c = program.shape
    if (network.inputs, network.outputs) != (d, c):
        raise InputError(
            f"The network takes {network.inputs} inputs to {network.outputs} outputs, but the program has {d} "
            f"features and {c} targets."
        )
    U, V, _ = network.program_weights(hidden_bias=False)
    size = max(float(np.abs(weights).max(initial=0.0)) for weights in (U, V))
    if not size <= LARGEST:
        raise InputError(f"The network has a weight of size {size:.1e}; rescale its neurons to below {LARGEST:.0e}.")
    output = program.output(U, V) if a is None else network.output_bias
    if program.output_bias == "none" and output.any():
        raise InputError(
            'The network has an output bias, but the training problem has none; choose output_bias "free".'
        )
    return (U, V), output


def _prove_given(job: Job) -> None:
    """The bound of the given network's own residual."""
    _stages.prove_dual(job, "residual of the network", repaired(job.merged, offered_dual(job.merged, job.network)))


def _train(job: Job) -> None:
    """The best network that the global trainer finds; the given one is among its starts."""
    _stages.train_network(job)
    if not job.interrupted:
        dual = job.offered
        _stages.prove_dual(job, "residual of the trained network", repaired(job.merged, dual))


def _look_for_neuron(job: Job) -> list[Neuron]:
    """The direction of the largest price for the dual of the given network, if it pays."""
    program, (U, V) = job.program, job.network
    X, W, gamma = program.X, network_dual(program, U, V), program.gamma
    generator = np.random.default_rng(job.random_state)
    starts = np.hstack([balance(program, U, V)[0], job.best.network.U])
    starts = starts[:, generator.permutation(starts.shape[1])[:MOST_STARTS]]
    left = job.clock.left()
    deadline = Deadline.after(None if left is None else PRICING_SHARE * left)
    found = largest_prices(program, W, starts, random_state=generator, deadline=deadline)
    if len(found.values) == 0:
        job.price_ratio = 0.0
        return []
    u = found.directions[:, 0]
    g = W.T @ np.maximum(X @ u, 0.0)
    size = float(np.linalg.norm(g))
    job.price_ratio = size / gamma
    if not size > gamma * (1.0 + PAYS):
        return []
    v = g / size
    strength, decrease = _strength(program, program.fitted(U, V), np.outer(np.maximum(X @ u, 0.0), v))
    return [Neuron(np.sqrt(strength) * u, np.sqrt(strength) * v, job.price_ratio, decrease)]


def _strength(program: TrainingProgram, fitted: FloatArray, change: FloatArray) -> tuple[float, float]:
    """The s that minimises L(fitted + s·change) + γs, and how much lower that is than at 0.

    The function is convex and falls at 0. The output bias stays as it is best without the change.
    """
    bias = program.loss.bias(fitted)

    def falls(s: float) -> bool:
        return bool(np.sum(program.loss.dual(fitted + s * change, bias) * change) > program.gamma)

    high = 1.0
    while falls(high) and high < LARGEST:
        high *= 2.0
    low = 0.0
    for _ in range(HALVINGS):
        middle = 0.5 * (low + high)
        low, high = (middle, high) if falls(middle) else (low, middle)
    decrease = program.loss.value(fitted, bias) - program.loss.value(fitted + low * change, bias) - program.gamma * low
    return low, float(decrease)
