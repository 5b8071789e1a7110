"""An audit: how many inputs keep their class under disturbances of several sizes, proved and attacked."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from joblib import delayed
from numpy.typing import ArrayLike

from certificates import Certificate, Robustness, Verdict, check
from certificates.certificate import CaseProof
from certnet.jobs.radius import Bracket
from certnet.runtime.clock import Event, announce
from certnet.runtime.display import Result
from certnet.runtime.numerics import computing
from certnet.search.counterexample import decided_classes, exact_outputs
from certnet.search.pool import pool as pool_of
from formulations import InputError
from formulations._validation import FloatArray, IntArray, as_matrix
from formulations.arguments import accepts, array, count, distinct, json_object, reals, seconds
from formulations.network import ReluNetwork
from formulations.robustness import region_maker

if TYPE_CHECKING:
    from matplotlib.axes import Axes

__all__ = ["AuditResult", "InputAudit", "audit"]

CERTIFIED, ATTACKED, UNDECIDED = "certified", "attacked", "undecided"
LARGEST_SHARE, TOLERANCE = 4.0, 1e-3
"""Certified radii are searched up to so many times the largest radius of the audit, and up to this relative error."""
KILLED = (
    "A worker was killed, perhaps for lack of memory; give fewer --workers, and the same command goes on from here."
)


@dataclass(frozen=True)
class Settings:
    """The tuning numbers of this module."""

    rounds: int = 2
    """Inputs for each busy worker that are handed out together. Not measured."""
    nearly_equal: float = 1e-6
    """Outputs that differ by such a share may be equal, and are compared exactly. Not measured."""
    predicted_together: int = 1000
    """Rows whose classes are decided together. Not measured."""


SETTINGS = Settings()


@dataclass(frozen=True)
class InputAudit:
    """What is known of one input.

    Attributes:
        row: its number in the data.
        label, predicted: its class, and the network's, as numbers of outputs; decided in exact arithmetic.
        margin: the label's output less the largest other one, in floating point; infinite with one class.
        status: "certified", "attacked" or "undecided" for each radius, ascending; a misclassified input is attacked.
        certified_radius: a proved radius; 0 if there is none. All radii of the audit up to it are certified.
        attacked_radius: a radius within which the class is lost, up to rounding; infinite if none was found.
        reached: whether it was verified to the end before the audit's own time limit.
        seconds: time it took, in the run that found it.
        counterexample: (d,) an input of another class within ``attacked_radius``, where one is known in float64.
        resumed: whether an earlier run found it, and this one has only confirmed it.
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
    counterexample: tuple[float, ...] | None = None
    resumed: bool = False

    @property
    def correct(self) -> bool:
        """Whether the undisturbed input is classified correctly."""
        return self.predicted == self.label

    def to_dict(self, classes: Sequence[str] | None = None) -> dict[str, Any]:
        """What JSON says of it, with the names of classes where they have any."""
        left_out = ("status", "counterexample", "resumed")
        entry = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in left_out}
        for name in ("margin", "attacked_radius"):
            entry[name] = entry[name] if math.isfinite(entry[name]) else None
        return entry | {name: class_name(entry[name], classes) for name in ("label", "predicted")}


def class_name(label: int, classes: Sequence[str] | None) -> str:
    """The name of an output, or its number."""
    return str(label) if classes is None else classes[label]


@dataclass(frozen=True, repr=False)
class AuditResult(Result):
    """All inputs of an audit: certified ≤ true ≤ attacked accuracy, and certified ≤ clean accuracy.

    Attributes:
        norm: "linf" or "l2".
        radii: ascending.
        inputs: one record for each input, in the order of the rows.
        interrupted: whether Ctrl-C ended it; inputs that were not reached are undecided.
        seconds: wall time.
        failure: why it ended before its time, in a sentence, if it did.
    """

    COMMAND = "audit"

    norm: str
    radii: tuple[float, ...]
    inputs: tuple[InputAudit, ...]
    interrupted: bool
    seconds: float
    failure: str | None = None

    @property
    def clean_accuracy(self) -> float:
        """Share of the undisturbed inputs that are classified correctly."""
        return float(np.mean([entry.correct for entry in self.inputs]))

    def share(self, *statuses: str) -> tuple[float, ...]:
        """Share of the inputs with one of these, for each radius."""
        return tuple(np.mean([[one in statuses for one in entry.status] for entry in self.inputs], axis=0).tolist())

    @property
    def certified_accuracy(self) -> tuple[float, ...]:
        """Share proved to keep the right class, for each radius; the checker has accepted every proof in this run."""
        return self.share(CERTIFIED)

    @property
    def attacked_accuracy(self) -> tuple[float, ...]:
        """Share for which no input of another class was found, for each radius."""
        return self.share(CERTIFIED, UNDECIDED)

    @property
    def undecided(self) -> tuple[float, ...]:
        """Share that is neither, for each radius: the distance of the two accuracies."""
        return self.share(UNDECIDED)

    def to_dict(self, classes: Sequence[str] | None = None) -> dict[str, Any]:
        """The figures as JSON has them, of all inputs and of those of each class that has any.

        ``inputs`` has the two radii of each row, in their order; an attacked radius that is not known is None.
        """
        labels = sorted({entry.label for entry in self.inputs})
        parts = [[entry for entry in self.inputs if entry.label == label] for label in labels]
        attacked = [entry.attacked_radius for entry in self.inputs]
        return {"norm": self.norm, "interrupted": self.interrupted, **self._figures()} | {
            "inputs": {
                "certified_radius": [entry.certified_radius for entry in self.inputs],
                "attacked_radius": [radius if math.isfinite(radius) else None for radius in attacked],
            },
            "classes": [
                {"class": class_name(label, classes), "n": len(part), **replace(self, inputs=tuple(part))._figures()}
                for label, part in zip(labels, parts, strict=True)
            ],
        }

    def plot(self, ax: "Axes | None" = None) -> "Axes":
        """Certified and attacked accuracy by radius; see ``certnet.plots.accuracy``."""
        from certnet.plots import accuracy

        return accuracy(self, ax)

    def _figures(self) -> dict[str, Any]:
        names = ("certified_accuracy", "attacked_accuracy", "undecided")
        rows = zip(self.radii, *(getattr(self, name) for name in names), strict=True)
        table = [dict(zip(("radius", *names), row, strict=True)) for row in rows]
        return {"clean_accuracy": self.clean_accuracy, "radii": table}


@accepts(
    network=ReluNetwork,
    X=array,
    labels=array,
    radii=reals,
    time_limit=seconds,
    input_limit=seconds,
    random_state=count,
    workers=count,
    known=Mapping,
    provenance=json_object,
)
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
    recall: Callable[[InputAudit], Sequence[CaseProof] | None] | None = None,
    finished: Callable[[InputAudit, Mapping[float, Certificate]], None] | None = None,
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
            Of those that are ``resumed``, as from a journal, only the certified radius and the counterexample are
            looked at, and confirmed: by the checker, and in exact arithmetic. What fails is verified again.
        recall: gives the proofs of such certified radii, None where there is none.
        finished: called in this process for every input that is verified to the end in this run, with its
            certificates by radius.
        progress: called with a sign of life.
        provenance: JSON object that travels with the certificates.

    Raises:
        InputError: arguments that make no sense or do not fit together, or no Dask cluster at the address.
    """
    start = time.perf_counter()
    points, classes = _inputs(network, X, labels)
    sizes = tuple(sorted(distinct("radii", radii)))
    region_maker(norm)
    for name, limit in (("time_limit", time_limit), ("input_limit", input_limit)):
        if limit is not None and not (limit > 0):
            raise InputError(f"{name} must be positive or None, not {limit}.")
    if workers < 1:
        raise InputError(f"workers must be at least 1, not {workers}.")
    claims = {row: entry for row, entry in (known or {}).items() if entry.resumed}
    done = {row: entry for row, entry in (known or {}).items() if not entry.resumed}
    waiting = [row for row in range(len(points)) if row not in done]
    deadline, together = math.inf if time_limit is None else start + time_limit, SETTINGS.predicted_together
    if deadline < math.inf and len(points) > together:
        # Time for the inputs that will not be reached, which are many then.
        begin = time.perf_counter()
        _prediction(network, points[:together], classes[:together])
        deadline -= (time.perf_counter() - begin) * len(points) / together
    interrupted, failure = False, None

    def one(row: int, claim: InputAudit | None = None) -> _Input:
        about = {**(provenance or {}), "row": row}
        bracket = Bracket(network, points[row], int(classes[row]), norm, random_state, about)
        proof = None if claim is None or recall is None else recall(claim)
        return _Input(row, bracket, sizes, certified_radii, input_limit, claim, proof)

    try:
        with pool_of(workers, scheduler, as_completed=True) as (pool, busy):
            size = 1 if busy == 1 else SETTINGS.rounds * busy
            for first in range(0, len(waiting), size):
                now = time.perf_counter()
                stage = f"input {len(points) - len(waiting) + first + 1} of {len(points)}"
                if first:
                    stage += f", about {(now - start) / first * (len(waiting) - first):.0f} s to go"
                left = max(deadline - now, 0.0)
                announce(Event(stage, now - start, time_left=left if left < math.inf else None), progress)
                if left == 0:
                    break
                # On the clock that other processes have too, since an input may wait for a worker.
                until = time.time() + deadline - time.perf_counter()
                some = waiting[first : first + size]
                for entry, proofs in pool(delayed(_audited)(one(row, claims.get(row)), until) for row in some):
                    # Before it is kept: Ctrl-C between the two must not leave the report behind the journal.
                    done[entry.row] = entry
                    if entry.reached and not entry.resumed and finished is not None:
                        finished(entry, proofs)
    except KeyboardInterrupt:
        interrupted = True
    except BrokenExecutor:
        failure = KILLED
    missing = [row for row in waiting if row not in done]
    for first in range(0, len(missing), together):
        some = missing[first : first + together]
        predictions = zip(some, *_prediction(network, points[some], classes[some]), strict=True)
        done.update({row: one(row).entry(int(found), lead) for row, found, lead in predictions})
    entries = tuple(done[row] for row in range(len(points)))
    return AuditResult(norm, sizes, entries, interrupted, time.perf_counter() - start, failure)


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


def _prediction(network: ReluNetwork, X: FloatArray, labels: IntArray) -> tuple[IntArray, FloatArray]:
    """(the classes of inputs X (n×d), exactly; the lead of the labels' outputs (n,), in floating point).

    Of equal largest outputs the first is the class, though such an input keeps no class within any radius.
    """
    with np.errstate(all="ignore"):
        outputs = network(X)
    size, rows = np.abs(outputs).max(axis=1, initial=0.0), np.arange(len(X))
    own = outputs[rows, labels]
    outputs[rows, labels] = -np.inf
    lead = own - outputs.max(axis=1, initial=-np.inf)
    found = decided_classes(network, X, labels)
    for row in np.flatnonzero((found > labels) & (np.abs(lead) <= SETTINGS.nearly_equal * size)).tolist():
        y = exact_outputs(network, X[row])
        found[row] = y.index(max(y))
    return found, lead


@dataclass(frozen=True, eq=False)
class _Input:
    """One input of an audit, with what an earlier run claims of it.

    Regions grow with the radius, also as they are rounded. So a proof holds for all smaller radii, and a
    counterexample for all larger ones.
    """

    row: int
    bracket: Bracket
    radii: tuple[float, ...]
    search: bool
    input_limit: float | None
    claim: InputAudit | None = None
    proof: Sequence[CaseProof] | None = None

    def entry(self, predicted: int, lead: float, **more: Any) -> InputAudit:
        """The record, as far as the bracket says."""
        label, low = self.bracket.label, self.bracket.low
        high = self.lost() if predicted == label else 0.0
        status = (CERTIFIED if radius <= low else ATTACKED if radius >= high else UNDECIDED for radius in self.radii)
        attacked = min(high, self.bracket.high) if self.search else high
        entry = InputAudit(self.row, label, predicted, float(lead), tuple(status), low, attacked, False, 0.0)
        return replace(entry, **more)

    def lost(self) -> float:
        """The least radius of the audit that was refuted, or whose region holds the witness, exactly."""
        high, x = self.bracket.high, self.bracket.witness
        for radius in self.radii:
            if radius >= high or (x is not None and self.bracket.region(radius).contains(x)):
                return radius
        return math.inf

    def limit(self, whole: float) -> float:
        """When a part of the work that begins now ends."""
        return whole if self.input_limit is None else min(time.perf_counter() + self.input_limit, whole)

    def decide(self, whole: float) -> bool:
        """Ascend until a radius is refuted, the rest is then known; and narrow the certified radius.

        Returns whether it was not verified to the end when ``time.perf_counter()`` was ``whole``.
        """
        bracket, end, cut = self.bracket, self.limit(whole), False
        for radius in self.radii:
            if bracket.high <= radius:
                break
            verdict = bracket.decide(radius, _left(end))
            cut = cut or (verdict is Verdict.UNKNOWN and time.perf_counter() >= whole)
        if self.search and bracket.high > 0:
            is_open = bracket.search(LARGEST_SHARE * self.radii[-1], TOLERANCE, self.limit(whole))
            cut = cut or (is_open and time.perf_counter() >= whole)
        return cut

    def confirmed(self, whole: float) -> "_Input | None":
        """What an earlier run claims, as far as it is confirmed now; None if there is no claim or more to find."""
        one, claim = replace(self, bracket=replace(self.bracket)), self.claim
        if claim is None:
            return None
        bracket, radius = one.bracket, claim.certified_radius
        if claim.counterexample is not None and bracket.high > 0:
            x = np.array(claim.counterexample)
            if decided_classes(bracket.network, x[None], np.array([bracket.label]))[0] != bracket.label:
                bracket.lose(x, bracket.high)
            if not (bracket.high if self.search else one.lost()) < math.inf:
                return None
        if bracket.high == 0 or not radius > 0:
            return one
        # Wherever the proof was found, it has to do for this network and this property.
        cases = bracket.cases(radius)
        if self.proof is None or len(self.proof) != len(cases) or not radius < bracket.high:
            return None
        certificate = Certificate(Robustness(bracket.network, cases), tuple(self.proof))
        if check(certificate, time_limit=_left(self.limit(whole))).verdict is not Verdict.PROVED:
            return None
        bracket.low = radius
        return one


def _left(end: float) -> float | None:
    return None if end == math.inf else max(end - time.perf_counter(), 1e-6)


def _audited(one: _Input, until: float) -> tuple[InputAudit, dict[float, Certificate]]:
    """One input at all radii, until ``time.time()`` is ``until``."""
    with computing(), np.errstate(all="ignore"):
        start, bracket, claim = time.perf_counter(), one.bracket, one.claim
        whole = start + until - time.time()
        (predicted,), (lead,) = _prediction(bracket.network, bracket.x[None], np.array([bracket.label]))
        if predicted != bracket.label:
            bracket.high = 0.0
        held = one.confirmed(whole)
        cut = held is None and one.decide(whole)
        seconds = time.perf_counter() - start if held is None or claim is None else claim.seconds
        bracket = (held or one).bracket
        witness = None if bracket.witness is None else tuple(bracket.witness.tolist())
        more = {"reached": not cut, "seconds": seconds, "counterexample": witness, "resumed": held is not None}
        best = (*one.radii, bracket.low)
        certificates = {radius: found for radius, found in bracket.certificates.items() if radius in best}
        return (held or one).entry(int(predicted), lead, **more), certificates
