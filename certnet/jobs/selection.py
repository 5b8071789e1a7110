"""The weight decay by validation: networks along a path of γ, without proofs, judged on rows they were not fitted to.

The path begins at the γ from which about the zero network is best, and each fit starts from the last network. It ends
early when the validation loss gets worse. The loss on the rows set apart is the one trained on, as a mean by weights:
log-loss for cross-entropy and logistic, half the squared error for squared.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from certificates.failure import Deadline
from certnet.io.load_data import shuffled
from certnet.jobs.folds import Rows, divided, mean_loss, outputs_of, unseen
from certnet.jobs.results import Pictured
from certnet.runtime.clock import Clock, Event, announce
from certnet.runtime.numerics import computing
from certnet.runtime.public import public
from certnet.training.polish import Network
from certnet.training.quick import improved, zero_decay
from formulations import InputError, TrainingProgram
from formulations._validation import FloatArray
from formulations.losses import Kind

__all__ = ["Selection", "select_gamma"]

STAGE = "choosing γ"
INTERRUPTED, LATE = "interrupted", "late"
DIGITS = 2  # Of each γ, so that it can be typed again.
SCOUT_SHARE = 0.7  # Part of the time that scouting with few rows may take.
WORSE = 1.5  # Ratio of a validation loss and the best one above which the path ends at once.
SHARE = 0.3  # Share of a job's time limit that the choice may take.
SLACK = 1.3  # Time that a further part needs at most, over that of the first.


@dataclass(frozen=True)
class Settings:
    """How the path is laid and when it ends."""

    steps: int = 13
    """Most γ on the path. Measured: taking the least point of a parabola through the losses of three of them lowers the
    score by 0.002 ± 0.001 (26 tables of 200 rows, on rows that nothing was chosen by)."""
    decades: float = 5.0
    """Powers of ten from the first to the last of them. Measured: on these tables the choice is 0.8 to 4.2 below the
    first."""
    scout_rows: int = 600
    """Training rows beyond which so many of them walk the path first, and all begin where that was best. Measured: in
    40 s of a busy core the validation loss on 6,000 rows falls from 0.32 to 0.19 (moons) and from 3.7 to 2.4
    (friedman1), and by a tenth more with the root of the ratio than with the ratio."""
    patience: int = 2
    """γ in a row without a better validation loss after which the path ends. Measured: 3, of all folds' loss, make
    one choice of 42 another on these tables, whose score is no better."""
    unseen: int = 4
    """Steps below the first γ at which training begins, where the path is cut short before that. Measured:
    8,000 rows of four classes on a busy machine stayed at the first γ, where the network is constant."""
    folds: int = 5
    """Parts that the rows are divided into, where the caller gives none to judge by. Measured: on further rows of
    twelve sets of 90 to 340 rows, three or four seeds each, the loss is 0.87 of that where one part alone judges; with
    the largest γ within one standard error of the best, 0.90."""


SETTINGS = Settings()


@dataclass(frozen=True, eq=False, repr=False)
class Selection(Pictured):
    """The path that was walked and the γ that did best.

    Attributes:
        gammas: in the order in which they were tried, from the largest.
        losses: the validation loss at each, a mean over the rows set apart.
        gamma: the choice, the larger one in doubt; a guess, and none of ``gammas``, where the path ended too early.
        rows: how many rows judged, each counted once.
        folds: how many parts of the rows judged networks of the others; 1 where one part alone did.
        complete, interrupted: False where time or Ctrl-C ended the path, and whether it was Ctrl-C.
        seconds: for all of it.
        network: U and V at the choice, or the last before it, of the first part; a start for training.
        judged: None for a guess, else outputs of the networks there for the rows that judged them, and their targets.
    """

    PICTURE = "selection"
    FIELDS = ("gammas", "losses", "gamma", "rows", "folds", "complete", "interrupted", "seconds")

    gammas: tuple[float, ...]
    losses: tuple[float, ...]
    gamma: float
    rows: int
    folds: int
    complete: bool
    interrupted: bool
    seconds: float
    network: Network | None = field(default=None, compare=False)
    judged: tuple[FloatArray, FloatArray] | None = field(default=None, compare=False)

    @property
    def remark(self) -> str | None:
        """What to say of a choice that was cut short; None of one that was not."""
        cut = f"The choice of γ was cut short after {len(self.gammas)} of its values"
        if self.complete or self.gamma in self.gammas:
            return None if self.complete else f"{cut}; more --time-limit may choose a better one than {self.gamma:g}."
        return f"{cut}, so γ = {self.gamma:g} is a guess; more --time-limit chooses, or name one with --gamma."


@public(validation=tuple)
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
            among the training rows are left out. Without it the choice is by cross-validation in five folds, of each
            class alike where the targets are classes, and rows with equal features stay together; the choice is for
            training on all of them. Of more than 600 rows one fold alone judges.
        time_limit: seconds for all, or None; the path ends then, and what was found until then decides, or a guess.
        random_state: seed of the split and of the fits.
        progress: called with an ``Event`` now and then, and with a note for each γ.

    Raises:
        InputError: data that cannot be used, or too few rows to set some apart.
        KeyboardInterrupt: Ctrl-C before the first network.
    """
    clock, few = Clock(time_limit), SETTINGS.scout_rows
    rows = Rows.of("", X, Y, sample_weight)
    if validation is None:
        folds = divided(rows, SETTINGS.folds, random_state)[: None if len(rows.X) <= few else 1]
    else:
        counting = rows.chosen(rows.weights != 0) if rows.weights.any() else rows
        folds = [(counting, unseen(rows, *validation))]
    kinds = {"loss": loss, "hidden_bias": hidden_bias, "output_bias": output_bias}
    total = float(rows.weights.sum())
    parts = [_Part(fitted, held, total, kinds) for fitted, held in folds if (held.weights > 0).any()]
    if not parts:
        raise InputError("No row is left to choose the weight decay by; name one (--gamma) or give validation rows.")

    def tell(note: str) -> None:
        announce(Event(STAGE, clock.seconds, note=note), progress)

    first = parts[0]
    start = first.nothing
    if len(first.fitted.X) <= few:
        gammas = first.path()  # in time quadratic in the rows
    else:
        scout = replace(first, fitted=first.fitted.chosen(shuffled(len(first.fitted.X), random_state)[:few]))
        seconds = clock.left(SCOUT_SHARE)
        scouted = _walk(scout, scout.path(), start, seconds, random_state, lambda note: tell(f"{few} rows, {note}"))
        if scouted.stop == INTERRUPTED:
            return _selection([scouted], clock, guess=True)
        gammas, start = gammas_from(_guess(scouted)), scouted.networks[scouted.best]
    before = clock.seconds
    walks = [_walk(first, gammas, start, clock.left(), random_state, tell)]
    least = SLACK * (clock.seconds - before)
    for part in parts[1:]:
        left = clock.left()
        if walks[0].stop or (left is not None and not left >= least):
            break
        walked = _walk(part, walks[0].gammas, part.nothing, left, random_state)
        if not walked.stop:
            walks.append(walked)
        elif walked.stop == INTERRUPTED:
            walks[0].stop = INTERRUPTED
    found = _selection(walks, clock, guess=len(first.fitted.X) <= few)
    if len(walks) > 1:
        tell(f"By {len(walks)} folds γ = {found.gamma:g} is best: validation loss {min(found.losses):.6g}.")
    return found


@dataclass(frozen=True, eq=False)
class _Part:
    """Rows to fit to and rows to judge by, for weight decays of all the rows.

    The loss is a sum over rows, so the best γ grows with them, but more rows need less of it for each: about as the
    root of their weight.
    """

    fitted: Rows
    held: Rows
    total: float  # Weight of all rows that will be trained on.
    kinds: Mapping[str, Any]  # What is minimised besides.

    @property
    def share(self) -> float:
        """The decay for the fitted rows, over that for all."""
        return math.sqrt(float(self.fitted.weights.sum()) / self.total)

    def program(self, gamma: float) -> TrainingProgram:
        """The training problem of the fitted rows at a decay for all rows."""
        X, Y, weights = self.fitted
        return TrainingProgram(X, Y, gamma * self.share, sample_weight=weights, **self.kinds)

    @property
    def nothing(self) -> Network:
        """The network without neurons."""
        _, d, c = self.program(1.0).shape
        return np.zeros((d, 0)), np.zeros((c, 0))

    def path(self) -> list[float]:
        """The γ for all rows to try, from the largest."""
        return gammas_from(zero_decay(self.program(1.0)) / self.share)


@dataclass(eq=False)
class _Walk:
    """A path: at each γ the network, its outputs for the rows that judge, and their loss there; and why it ended."""

    part: _Part
    gammas: list[float] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)
    networks: list[Network] = field(default_factory=list)
    outputs: list[FloatArray] = field(default_factory=list)
    stop: str = ""

    @property
    def best(self) -> int:
        """Where the loss is least, the larger γ in doubt."""
        return self.losses.index(min(self.losses))


def _walk(
    part: _Part,
    gammas: Sequence[float],
    network: Network,
    limit: float | None,
    random_state: int,
    tell: Callable[[str], None] | None = None,
) -> _Walk:
    """The path from a network, to its end; where somebody is told of it, only as long as the validation loss falls."""
    walk, generator, deadline = _Walk(part), np.random.default_rng(random_state), Deadline.after(limit)
    with computing():
        for gamma in gammas:
            program = part.program(gamma)
            try:
                network = improved(program, network, generator, deadline)
            except KeyboardInterrupt:
                walk.stop = INTERRUPTED
                if walk.gammas:
                    break
            outputs = outputs_of(program, *network, part.held.X)
            loss = mean_loss(program, outputs, part.held.Y, part.held.weights)
            walk.gammas.append(gamma)
            walk.losses.append(loss)
            walk.networks.append(network)
            walk.outputs.append(outputs)
            if tell is not None:
                tell(f"γ = {gamma:g}: validation loss {loss:.6g}, {network[0].shape[1]} neurons.")
            walk.stop = walk.stop or (LATE if deadline.passed else "")
            far = loss > WORSE * min(walk.losses) or len(walk.losses) - 1 - walk.best >= SETTINGS.patience
            if walk.stop or (far and tell is not None):
                break
    return walk


def _guess(walk: _Walk) -> float:
    """The best γ of a path from the top; where that ended on its way down, with a fit that was broken off, none of the
    first few."""
    gamma, cut = walk.gammas[walk.best], walk.stop and walk.best >= len(walk.gammas) - 2
    return min(gamma, gammas_from(walk.gammas[0])[SETTINGS.unseen]) if cut else gamma


def _selection(walks: Sequence[_Walk], clock: Clock, *, guess: bool) -> Selection:
    """What walks along the same γ say together; ``guess`` where they began at the top."""
    first, program = walks[0], walks[0].part.program(1.0)
    _, Y, weights = map(np.concatenate, zip(*(walk.part.held for walk in walks), strict=True))
    outputs = [np.vstack(found) for found in zip(*(walk.outputs for walk in walks), strict=True)]
    losses = [mean_loss(program, found, Y, weights) for found in outputs]
    best = losses.index(min(losses))
    gamma = _guess(first) if guess and len(walks) == 1 else first.gammas[best]
    return Selection(
        gammas=tuple(first.gammas),
        losses=tuple(losses),
        gamma=gamma,
        rows=len(Y),
        folds=len(walks),
        complete=not first.stop,
        interrupted=first.stop == INTERRUPTED,
        seconds=clock.seconds,
        network=first.networks[best],
        judged=(outputs[best], Y) if gamma == first.gammas[best] else None,
    )


def gammas_from(first: float) -> list[float]:
    """The γ to try from this one on, down."""
    steps = SETTINGS.decades / (SETTINGS.steps - 1)
    return [float(f"{first * 10.0 ** (-steps * step):.{DIGITS - 1}e}") for step in range(SETTINGS.steps)]
