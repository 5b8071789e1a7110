"""The weight decay by validation: networks along a path of γ, without proofs, judged on rows they were not fitted to.

The path begins at the γ from which about the zero network is best, and each fit starts from the last network. It ends
early when the validation loss gets worse. The loss on the rows set apart is the one trained on, as a mean by weights:
log-loss for cross-entropy and logistic, half the squared error for squared.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from certificates.failure import Deadline
from certificates.findings import finite
from certnet.jobs.results import Pictured
from certnet.runtime.clock import Clock, Event, announce
from certnet.runtime.numerics import computing
from certnet.training.directions import drawn, largest_prices, normalised
from certnet.training.polish import Network, descend, joined, network_dual, prune
from certnet.training.pricing import values
from formulations import InputError, TrainingProgram
from formulations._validation import FloatArray, IntArray, as_matrix
from formulations.arguments import accepts, count, seconds
from formulations.losses import Kind

__all__ = ["Selection", "select_gamma"]

STAGE = "choosing γ"


@dataclass(frozen=True)
class Settings:
    """How the path is laid and when it ends."""

    steps: int = 13
    """Most γ on the path. Not measured."""
    decades: float = 5.0
    """Powers of ten from the first to the last of them. Not measured."""
    digits: int = 2
    """Digits of each γ, so that it can be typed again. Not measured."""
    scout_rows: int = 600
    """Training rows beyond which so many of them walk the path first, and all begin where that was best. Measured: in
    40 s of a busy core the validation loss on 6,000 rows falls from 0.32 to 0.19 (moons) and from 3.7 to 2.4
    (friedman1), and by a tenth more with the root of the ratio than with the ratio."""
    scout_share: float = 0.7
    """Of the time, what that may take. Not measured."""
    patience: int = 2
    """γ in a row without a better validation loss after which the path ends. Not measured."""
    worse: float = 1.5
    """Ratio of a validation loss and the best one above which it ends at once. Not measured."""
    rounds: int = 2
    """Times that new neurons are looked for at each γ. Not measured."""
    descent: int = 60
    """Steps of L-BFGS after each of them, and before. Measured: with 40 the validation loss on 6,000 rows of a made-up
    set is 4 % larger, at 0.8 of the time."""
    negligible: float = 1e-3
    """‖u_j‖‖v_j‖ over the largest, below which a neuron leaves. Not measured."""
    tolerance: float = 1e-3
    """Relative excess of the price over γ at which a network is good enough. Not measured."""
    starts: int = 30
    """Random starts of each search for neurons. Not measured."""
    climbing_steps: int = 1
    """Circles of each climb, which the descent goes on with. Measured: with 15 half the time goes
    into climbing, and the validation loss is no smaller."""
    new_neurons: int = 20
    """The most that join at a time. Not measured."""
    most_neurons: int = 150
    """Neurons of a network that no others join. Not measured."""
    share: float = 0.3
    """Share of a job's time limit that the choice may take. Not measured."""
    folds: int = 5
    """One in so many rows is set apart, where the caller gives none. Not measured."""


SETTINGS = Settings()


@dataclass(frozen=True, eq=False, repr=False)
class Selection(Pictured):
    """The path that was walked and the γ that did best.

    Attributes:
        gammas: in the order in which they were tried, from the largest.
        losses: the validation loss at each, a mean over the rows set apart.
        gamma: the choice, the larger one in doubt.
        rows: how many rows were set apart, each counted once.
        complete: False where time or Ctrl-C ended the path.
        interrupted: it was Ctrl-C.
        seconds: for all of it.
        network: U and V at the choice, for the rows that were not set apart; a start for training.
    """

    PICTURE = "selection"

    gammas: tuple[float, ...]
    losses: tuple[float, ...]
    gamma: float
    rows: int
    complete: bool
    interrupted: bool
    seconds: float
    network: Network | None = field(default=None, compare=False)

    def to_dict(self) -> dict[str, Any]:
        """All of it, as ``report.json`` has it under ``selection``; losses that are no numbers are None."""
        shown = {name: value for name, value in vars(self).items() if name != "network"}
        fields = {name: list(value) if isinstance(value, tuple) else value for name, value in shown.items()}
        return {**fields, "losses": [finite(loss) for loss in self.losses]}


@np.errstate(all="ignore")
@accepts(random_state=count, time_limit=seconds)
def select_gamma(
    X: ArrayLike,
    Y: ArrayLike,
    *,
    loss: str | Kind = "squared",
    sample_weight: ArrayLike | None = None,
    hidden_bias: str = "none",
    output_bias: str = "none",
    validation: tuple[ArrayLike, ArrayLike, ArrayLike | None] | None = None,
    time_limit: float | None = None,
    random_state: int = 0,
    progress: Callable[[Event], None] | None = None,
) -> Selection:
    """Choose the weight decay of a training problem by validation; equal arguments give equal choices.

    Args:
        X, Y: training data (n×d) and targets (n×c) as for ``TrainingProgram``.
        loss, sample_weight, hidden_bias, output_bias: as for ``TrainingProgram``.
        validation: features, targets and weights (or None for ones) of rows to judge by; those whose features occur
            among the training rows are left out. Without it one in five training rows is set apart, of each class
            where the targets are classes, and rows with equal features stay together.
        time_limit: seconds for all, or None; the path ends then, and what was found until then decides.
        random_state: seed of the split and of the fits.
        progress: called with an ``Event`` now and then, and with a note for each γ.

    Raises:
        InputError: data that cannot be used, or too few rows to set some apart.
        KeyboardInterrupt: Ctrl-C before the first network.
    """
    clock = Clock(time_limit)
    data, targets = as_matrix("X", X), as_matrix("Y", Y)
    omega = np.ones(len(data)) if sample_weight is None else as_matrix("sample_weight", sample_weight)[:, 0]
    if validation is None:
        apart = set_apart(data, targets, random_state)
        held = data[apart], targets[apart], omega[apart]
        data, targets, omega = data[~apart], targets[~apart], omega[~apart]
    else:
        held = _unseen(data, *validation)
    if not len(held[0]) or not (held[2] > 0).any():
        raise InputError(
            "No row is left to choose the weight decay by; name one (--gamma), or give rows for validation."
        )

    def program_of(rows: IntArray | slice) -> Callable[[float], TrainingProgram]:
        given: dict[str, Any] = {"loss": loss, "hidden_bias": hidden_bias, "output_bias": output_bias}
        return lambda gamma: TrainingProgram(data[rows], targets[rows], gamma, sample_weight=omega[rows], **given)

    whole, few = program_of(slice(None)), SETTINGS.scout_rows
    program = whole(1.0)
    start: Network = np.zeros((program.shape[1], 0)), np.zeros((program.shape[2], 0))
    walk = partial(_walk, held=held, clock=clock, random_state=random_state, progress=progress)
    if len(data) <= few:
        return walk(whole, path(program), start, clock.left())[0]
    # The loss is a sum over rows, so the best γ grows with them, but more rows need less of it for each.
    sample = np.argsort(np.random.PCG64(random_state).random_raw(len(data)), kind="stable")[:few]
    scout, left = program_of(sample), clock.left()
    first, start = walk(
        scout, path(scout(1.0)), start, None if left is None else SETTINGS.scout_share * left, f"{few} rows, "
    )
    begin = gammas_from(first.gamma * math.sqrt(len(data) / few))
    return replace(first, gamma=begin[0]) if first.interrupted else walk(whole, begin, start, clock.left())[0]


def _walk(
    program_at: Callable[[float], TrainingProgram],
    gammas: Sequence[float],
    network: Network,
    limit: float | None,
    about: str = "",
    *,
    held: tuple[FloatArray, FloatArray, FloatArray],
    clock: Clock,
    random_state: int,
    progress: Callable[[Event], None] | None,
) -> tuple[Selection, Network]:
    """The path from a network, as long as the validation loss falls, and the best network on it."""
    tried: list[float] = []
    losses: list[float] = []
    generator, deadline = np.random.default_rng(random_state), Deadline.after(limit)
    stop, best, kept = "", 0, network
    with computing():
        for gamma in gammas:
            program = program_at(gamma)
            try:
                network = improved(program, network, generator, deadline)
            except KeyboardInterrupt:
                stop = "interrupted"
            tried.append(gamma)
            losses.append(validation_loss(program, *network, *held))
            note = f"{about}γ = {gamma:g}: validation loss {losses[-1]:.6g}, {network[0].shape[1]} neurons."
            announce(Event(STAGE, clock.seconds, note=note), progress)
            stop = stop or ("late" if deadline.passed else "")
            best = losses.index(min(losses))
            kept = network if best == len(losses) - 1 else kept
            far = losses[-1] > SETTINGS.worse * losses[best]
            if stop or far or len(losses) - 1 - best >= SETTINGS.patience:
                break
    found = Selection(
        gammas=tuple(tried),
        losses=tuple(losses),
        gamma=tried[best],
        rows=len(held[0]),
        complete=not stop,
        interrupted=stop == "interrupted",
        seconds=clock.seconds,
        network=kept,
    )
    return found, kept


def improved(program: TrainingProgram, network: Network, generator: np.random.Generator, deadline: Deadline) -> Network:
    """A network of this program from that of a larger γ: neurons whose price is too large join, a few times."""
    s = SETTINGS
    network = _descended(program, network, deadline)
    for _ in range(s.rounds):
        if deadline.passed:
            break
        W = network_dual(program, *network, tolerance=s.tolerance, deadline=deadline)
        found = largest_prices(
            program,
            W,
            samples=s.starts,
            max_steps=s.climbing_steps,
            random_state=generator,
            deadline=deadline,
        )
        fresh = found.directions[:, found.values > program.gamma * (1.0 + s.tolerance)]
        fresh = fresh[:, : min(s.new_neurons, max(s.most_neurons - network[0].shape[1], 0))]
        if not fresh.shape[1]:
            break
        network = _descended(program, joined(program, *network, fresh), deadline)
    return network


def _descended(program: TrainingProgram, network: Network, deadline: Deadline) -> Network:
    """The network after a short descent, without the neurons that have died in it."""
    s = SETTINGS
    found = descend(program, *network, max_iterations=s.descent, deadline=deadline)
    found = prune(program, *found, tolerance=s.negligible)
    return min(network, found, key=lambda one: program.objective(*one))


def path(program: TrainingProgram) -> list[float]:
    """The γ to try for a program, whose own γ does not matter, from the largest."""
    zero = np.zeros((program.shape[2], 0))
    W = program.dual(np.zeros((program.shape[1], 0)), zero)
    # The largest price among the rows' own directions is about that of all; the zero network is best from there on.
    own = program.X.T if program.penalised.all() else np.vstack([program.X[:, :-1].T, np.zeros(len(program.X))])
    directions = [normalised(program, part) for part in (own, -own)]
    directions.append(drawn(program, W, SETTINGS.starts, np.random.default_rng(0)))
    size = float(values(program.X, W, np.hstack(directions)).max(initial=0.0))
    return gammas_from(size if size > 0 else 1.0)


def gammas_from(first: float) -> list[float]:
    """The γ to try from this one on, down."""
    steps = SETTINGS.decades / (SETTINGS.steps - 1)
    return [float(f"{first * 10.0 ** (-steps * step):.{SETTINGS.digits - 1}e}") for step in range(SETTINGS.steps)]


def validation_loss(
    program: TrainingProgram, U: FloatArray, V: FloatArray, X: FloatArray, Y: FloatArray, weights: FloatArray
) -> float:
    """The mean loss of a network with its best output bias on other rows; infinite where it is no number."""
    features = np.hstack([X, np.ones((len(X), 1))]) if program.has_ones else X
    fitted = np.maximum(features @ U, 0.0) @ V.T + program.output(U, V)
    value = float(weights @ program.loss.kind.value(fitted, Y)) / float(weights.sum())
    return value if math.isfinite(value) else math.inf


def set_apart(X: FloatArray, Y: FloatArray, random_state: int) -> NDArray[np.bool_]:
    """(n,) which rows to judge by: one in five, of each class where Y are classes; equal features stay together.

    Raises:
        InputError: there are fewer than two different rows.
    """
    _, first, group = np.unique(X, axis=0, return_index=True, return_inverse=True)
    group = group.reshape(-1)
    groups = len(first)
    if groups < 2:
        raise InputError("One row alone gives no weight decay by validation; name one (--gamma).")
    # The raw stream, which NumPy promises to keep, so that a choice can be repeated with any version.
    order = np.argsort(np.random.PCG64(random_state).random_raw(groups), kind="stable")
    label = _labels(Y)[first]
    order = order[np.argsort(label[order], kind="stable")]
    chosen = np.zeros(groups, dtype=bool)
    chosen[order[SETTINGS.folds // 2 :: SETTINGS.folds]] = True
    if not chosen.any():
        chosen[order[-1]] = True
    return np.asarray(chosen[group])


def _labels(Y: FloatArray) -> IntArray:
    """A number for each class, and the same for all rows where the targets are no classes."""
    rows, label = np.unique(Y, axis=0, return_inverse=True)
    few = np.isin(rows, (-1.0, 0.0, 1.0)).all()
    return np.asarray(label.reshape(-1) if few else np.zeros(len(Y)), dtype=np.int64)


def _unseen(
    data: FloatArray, X: ArrayLike, Y: ArrayLike, weights: ArrayLike | None
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The validation rows whose features do not occur among the training rows."""
    features, targets = as_matrix("X_val", X, columns=data.shape[1]), as_matrix("Y_val", Y)
    omega = np.ones(len(features)) if weights is None else as_matrix("weights", weights)[:, 0]
    known = {row.tobytes() for row in data + 0.0}
    new = np.array([row.tobytes() not in known for row in features + 0.0], dtype=bool)
    return features[new], targets[new], omega[new]
