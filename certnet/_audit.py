"""An audit: how many inputs keep their class under disturbances of several sizes, proved and attacked."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from joblib import delayed
from numpy.typing import ArrayLike

from certificates.robustness import RobustnessCertificate
from certificates.verdict import Verdict
from certnet._clock import Event
from certnet._threads import one_thread
from certnet.branching.pool import pool as pool_of
from certnet.verification import certified_radius, verify
from certnet.verification.counterexample import confirm
from formulations import InputError
from formulations._validation import FloatArray, IntArray, as_matrix
from formulations.robustness import InputRegion, ReluNetwork, keeps_class, region_maker

CERTIFIED, ATTACKED, UNDECIDED = "certified", "attacked", "undecided"
LARGEST_SHARE = 4.0
"""Certified radii are searched up to so many times the largest radius of the audit."""
ROUNDS = 2
"""Inputs for each busy worker that are handed out together, and told how much time is left."""


@dataclass(frozen=True)
class InputAudit:
    """What is known of one input.

    Attributes:
        row: its number in the data.
        label, predicted: its class, and the network's, as numbers of outputs.
        margin: the label's output less the largest other one, in floating point; infinite with one class.
        status: "certified", "attacked" or "undecided" for each radius, ascending; a misclassified input is attacked.
        certified_radius: a proved radius, at least the largest certified one of the audit; 0 if there is none.
        attacked_radius: a radius within which the class is lost, up to rounding; infinite if none was found.
        reached: whether it was verified to the end before the audit's own time limit.
        seconds: time it took.
    """

    row: int
    label: int
    predicted: int
    margin: float
    status: tuple[str, ...]
    certified_radius: float
    attacked_radius: float
    reached: bool
    seconds: float

    @property
    def correct(self) -> bool:
        """Whether the undisturbed input is classified correctly."""
        return self.predicted == self.label


@dataclass(frozen=True)
class AuditResult:
    """All inputs of an audit: certified ≤ true ≤ attacked accuracy, and certified ≤ clean accuracy.

    Attributes:
        norm: "linf" or "l2".
        radii: ascending.
        inputs: one record for each input, in the order of the rows.
        interrupted: whether Ctrl-C ended it; inputs that were not reached are undecided.
        seconds: wall time.
    """

    norm: str
    radii: tuple[float, ...]
    inputs: tuple[InputAudit, ...]
    interrupted: bool
    seconds: float

    @property
    def clean_accuracy(self) -> float:
        """Share of the undisturbed inputs that are classified correctly."""
        return float(np.mean([entry.correct for entry in self.inputs]))

    def share(self, status: str) -> tuple[float, ...]:
        """Share of the inputs with this status, for each radius."""
        return tuple(
            float(np.mean([entry.status[k] == status for entry in self.inputs])) for k in range(len(self.radii))
        )

    @property
    def certified_accuracy(self) -> tuple[float, ...]:
        """Share proved to keep the right class, for each radius; the checker has accepted every proof."""
        return self.share(CERTIFIED)

    @property
    def attacked_accuracy(self) -> tuple[float, ...]:
        """Share for which no input of another class was found, for each radius."""
        return tuple(
            float(np.mean([entry.status[k] != ATTACKED for entry in self.inputs])) for k in range(len(self.radii))
        )

    @property
    def undecided(self) -> tuple[float, ...]:
        """Share that is neither, for each radius: the distance of the two accuracies."""
        return self.share(UNDECIDED)


Finished = Callable[[InputAudit, Mapping[float, RobustnessCertificate]], None]
"""Takes an input when it is done, and its certificates by radius."""


def audit_radii(radii: Sequence[float]) -> tuple[float, ...]:
    """The radii in ascending order.

    Raises:
        InputError: there is none, one occurs twice, or one is not positive and finite.
    """
    values = sorted(float(radius) for radius in radii)
    if not values:
        raise InputError("radii must hold at least one number.")
    wrong = [radius for radius in values if not (radius > 0 and np.isfinite(radius))]
    if wrong:
        raise InputError(f"radii must be positive and finite, not {wrong[0]:g}.")
    if len(set(values)) < len(values):
        raise InputError("radii hold the same number twice; give each once.")
    return tuple(values)


def audit(
    network: ReluNetwork,
    X: ArrayLike,
    labels: ArrayLike,
    *,
    norm: str,
    radii: Sequence[float],
    certified_radii: bool = False,
    time_limit: float | None = None,
    input_limit: float | None = None,
    random_state: int = 0,
    workers: int = 1,
    scheduler: str | None = None,
    known: Mapping[int, InputAudit] | None = None,
    finished: Finished | None = None,
    progress: Callable[[Event], None] | None = None,
    provenance: Mapping[str, Any] | None = None,
) -> AuditResult:
    """Verify every input at every radius. Nothing is chosen by what comes out.

    Args:
        network: f(x) = V (Ux + b)₊ + b₂; its largest output is the class.
        X: (n, d) inputs; radii are in their units.
        labels: (n,) right classes, numbers of outputs.
        norm: "linf" or "l2".
        radii: positive, in any order.
        certified_radii: search for the largest certified radius of each input, up to 4 times the largest of ``radii``.
        time_limit: seconds for everything, or None. Inputs that are not reached are undecided.
        input_limit: seconds for the radii of one input, and as many again for its certified radius; or None.
        random_state: seed of the attacks.
        workers: processes on this machine.
        scheduler: address of a Dask scheduler to use instead.
        known: inputs by row that need not be verified again, as an earlier call with the same arguments gave them.
        finished: called in this process for every input that is verified to the end.
        progress: called with a sign of life.
        provenance: JSON object that travels with the certificates.

    Raises:
        InputError: arguments that make no sense or do not fit together, or no Dask cluster at the address.
    """
    start = time.perf_counter()
    points, classes = _inputs(network, X, labels)
    sizes = audit_radii(radii)
    region_maker(norm)
    for name, limit in (("time_limit", time_limit), ("input_limit", input_limit)):
        if limit is not None and not (limit > 0):
            raise InputError(f"{name} must be positive or None, not {limit}.")
    if workers < 1:
        raise InputError(f"workers must be at least 1, not {workers}.")
    task = _Task(network, norm, sizes, certified_radii, input_limit, random_state, dict(provenance or {}))
    done = dict(known or {})
    waiting = [row for row in range(len(points)) if row not in done]
    deadline = np.inf if time_limit is None else start + time_limit
    interrupted = False
    try:
        with pool_of(workers, scheduler, as_completed=True) as (pool, busy):
            size = 1 if busy == 1 else ROUNDS * busy
            for first in range(0, len(waiting), size):
                _tell(progress, start, deadline, len(points), len(waiting), first)
                if time.perf_counter() >= deadline:
                    break
                left = deadline - time.perf_counter()
                batch = waiting[first : first + size]
                for entry, proofs in pool(
                    delayed(_audited)(task, row, points[row], int(classes[row]), left) for row in batch
                ):
                    # Before it is kept: Ctrl-C between the two must not leave the report behind the journal.
                    done[entry.row] = entry
                    if entry.reached and finished is not None:
                        finished(entry, proofs)
    except KeyboardInterrupt:
        interrupted = True
    entries = [
        done[row] if row in done else _unreached(task, row, points[row], int(classes[row]))
        for row in range(len(points))
    ]
    return AuditResult(norm, sizes, tuple(entries), interrupted, time.perf_counter() - start)


def _inputs(network: ReluNetwork, X: ArrayLike, labels: ArrayLike) -> tuple[FloatArray, IntArray]:
    points = as_matrix("X", X)
    classes = np.asarray(labels)
    if points.shape[1] != network.inputs:
        raise InputError(f"X has {points.shape[1]} columns, but the network has {network.inputs} inputs.")
    if classes.shape != (len(points),) or classes.dtype.kind not in "iu":
        raise InputError(f"labels must be {len(points)} whole numbers, one for each row of X.")
    wrong = classes[(classes < 0) | (classes >= network.outputs)]
    if len(wrong):
        raise InputError(f"the network has outputs 0 to {network.outputs - 1}, and there is no output {wrong[0]}.")
    return points, classes.astype(np.int64)


def _tell(
    progress: Callable[[Event], None] | None, start: float, deadline: float, rows: int, waiting: int, done: int
) -> None:
    """How far the audit is, and how long the rest will take at the pace so far."""
    if progress is None:
        return
    now = time.perf_counter()
    stage = f"input {rows - waiting + done + 1} of {rows}"
    if done:
        stage += f", about {(now - start) / done * (waiting - done):.0f} s to go"
    left = deadline - now
    progress(Event(stage, now - start, time_left=max(left, 0.0) if np.isfinite(left) else None))


@dataclass(frozen=True, eq=False)
class _Task:
    """What is the same for all inputs."""

    network: ReluNetwork
    norm: str
    radii: tuple[float, ...]
    search: bool
    input_limit: float | None
    random_state: int
    provenance: dict[str, Any]

    def region(self, x: FloatArray, radius: float) -> InputRegion:
        """The disturbed inputs."""
        return region_maker(self.norm)(x, radius)


Proofs = dict[float, RobustnessCertificate]


def _audited(task: _Task, row: int, x: FloatArray, label: int, left: float) -> tuple[InputAudit, Proofs]:
    """One input at all radii, in at most ``left`` seconds."""
    with one_thread(), np.errstate(all="ignore"):
        return _Audited(task, row, x, label, left).run()


class _Audited:
    """One input: the largest radius that is proved, the least that is refuted, and the proofs.

    Regions grow with the radius, also as they are rounded. So a proof holds for all smaller radii, and a
    counterexample for all larger ones.
    """

    def __init__(self, task: _Task, row: int, x: FloatArray, label: int, left: float) -> None:
        self.task, self.row, self.x, self.label = task, row, x, label
        self.start = time.perf_counter()
        self.whole = self.start + left
        self.low, self.high, self.cut = 0.0, np.inf, False
        self.certified = 0.0
        self.proofs: Proofs = {}

    def run(self) -> tuple[InputAudit, Proofs]:
        """Ascend until a radius is refuted; the rest is then known."""
        task = self.task
        predicted, margin = _prediction(task, self.x, self.label)
        limit = self._limit()
        if predicted != self.label:
            self.high = 0.0
        for radius in task.radii:
            if self.high <= radius:
                break
            self._verify(radius, limit)
        attacked = self.high
        if task.search and attacked > 0:
            attacked = self._search()
        status = tuple(
            CERTIFIED if radius <= self.low else ATTACKED if radius >= self.high else UNDECIDED for radius in task.radii
        )
        seconds = time.perf_counter() - self.start
        certified = max(self.low, self.certified)
        entry = InputAudit(self.row, self.label, predicted, margin, status, certified, attacked, not self.cut, seconds)
        return entry, self.proofs

    def _limit(self) -> float:
        """When this part of the work ends."""
        own = np.inf if self.task.input_limit is None else time.perf_counter() + self.task.input_limit
        return float(min(own, self.whole))

    def _left(self, limit: float) -> float | None:
        return None if not np.isfinite(limit) else max(limit - time.perf_counter(), 1e-6)

    def _verify(self, radius: float, limit: float) -> None:
        task = self.task
        result = verify(
            task.network,
            keeps_class(task.network, task.region(self.x, radius), self.label),
            time_limit=self._left(limit),
            random_state=task.random_state,
            provenance={**task.provenance, "row": self.row, "norm": task.norm, "radius": radius},
        )
        if result.verdict is Verdict.PROVED and result.certificate is not None:
            self.low = radius
            self.proofs[radius] = result.certificate
        elif result.verdict is Verdict.REFUTED:
            self.high = radius
        else:
            self.cut = self.cut or time.perf_counter() >= self.whole

    def _search(self) -> float:
        """The attacked radius after a search; the certified one is kept."""
        limit = self._limit()
        found = certified_radius(
            self.task.network,
            self.x,
            self.label,
            norm=self.task.norm,
            largest=LARGEST_SHARE * self.task.radii[-1],
            time_limit=self._left(limit),
            random_state=self.task.random_state,
            provenance={**self.task.provenance, "row": self.row},
        )
        if found.certified > self.low and found.certificate is not None:
            self.proofs[found.certified] = found.certificate
        self.cut = self.cut or (found.open and time.perf_counter() >= self.whole)
        self.certified = found.certified
        return float(min(self.high, found.attacked))


def _prediction(task: _Task, x: FloatArray, label: int) -> tuple[int, float]:
    """(the predicted class, the label's lead over the others).

    Floating point predicts. Where it says another class than the label, exact arithmetic must agree, so that an input
    that is proved to keep its class never counts as misclassified.
    """
    network = task.network
    outputs = network(x[None])[0]
    predicted, others = int(np.argmax(outputs)), np.delete(outputs, label)
    if predicted != label:
        cases = keeps_class(network, task.region(x, 0.0), label)
        number = predicted if predicted < label else predicted - 1
        predicted = label if confirm(network, cases[number], x, number) is None else predicted
    return predicted, float(outputs[label] - others.max()) if len(others) else np.inf


def _unreached(task: _Task, row: int, x: FloatArray, label: int) -> InputAudit:
    """An input that nothing was proved about; its prediction is known all the same."""
    with np.errstate(all="ignore"):
        predicted, margin = _prediction(task, x, label)
    status = ATTACKED if predicted != label else UNDECIDED
    high = 0.0 if predicted != label else np.inf
    return InputAudit(row, label, predicted, margin, (status,) * len(task.radii), 0.0, high, False, 0.0)
