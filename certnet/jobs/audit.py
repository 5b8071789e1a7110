"""An audit: how many inputs keep their class under disturbances of several sizes, proved and attacked."""

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from joblib import delayed
from numpy.typing import ArrayLike

from certificates import Certificate
from certificates.certificate import REAL, CaseProof
from certificates.findings import finite
from certnet.jobs.audit_input import CERTIFIED, UNDECIDED, InputAudit, InputWork, audited, class_name, predictions
from certnet.jobs.radius import Bracket
from certnet.jobs.results import Pictured
from certnet.jobs.verify import misclassified
from certnet.runtime.clock import Clock, Event
from certnet.runtime.public import public
from certnet.search.pool import pool as pool_of
from formulations import InputError
from formulations._validation import FloatArray, IntArray, as_matrix
from formulations.arguments import array, distinct, positive_count, reals, seconds
from formulations.network import ReluNetwork
from formulations.robustness import region_maker

__all__ = ["AuditResult", "InputAudit", "audit"]

KILLED = (
    "A worker was killed, perhaps for lack of memory; give fewer --workers, and the same command goes on from here."
)

PREDICTED_TOGETHER = 1000  # Rows whose classes are decided together.


@dataclass(frozen=True, repr=False)
class AuditResult(Pictured):
    """All inputs of an audit: certified ≤ true ≤ attacked accuracy, and certified ≤ clean accuracy.

    Attributes:
        norm, radii: "linf" or "l2", and ascending numbers.
        inputs: one record for each input, in the order of the rows.
        interrupted, seconds: whether Ctrl-C ended it, and wall time; inputs that were not reached are undecided.
        failure: why it ended before its time, in a sentence, if it did.
    """

    COMMAND, PICTURE = "audit", "accuracy"

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
        return {"norm": self.norm, "interrupted": self.interrupted, **self._figures()} | {
            "inputs": {
                "certified_radius": [entry.certified_radius for entry in self.inputs],
                "attacked_radius": [finite(entry.attacked_radius) for entry in self.inputs],
            },
            "classes": [
                {"class": class_name(label, classes), "n": len(part), **replace(self, inputs=tuple(part))._figures()}
                for label, part in zip(labels, parts, strict=True)
            ],
        }

    def _figures(self) -> dict[str, Any]:
        names = ("certified_accuracy", "attacked_accuracy", "undecided")
        rows = zip(self.radii, *(getattr(self, name) for name in names), strict=True)
        table = [dict(zip(("radius", *names), row, strict=True)) for row in rows]
        return {"clean_accuracy": self.clean_accuracy, "radii": table}


@public(X=array, labels=array, radii=reals, input_limit=seconds, workers=positive_count, known=Mapping)
def audit(
    network: ReluNetwork,
    X: ArrayLike,
    labels: ArrayLike,
    *,
    norm: str,
    radii: Sequence[float],
    certified_radii: bool = False,
    semantics: str = REAL,
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
        semantics: as for ``verify``. Classes of undisturbed inputs are those of real numbers in either.
        time_limit: seconds for everything, or None. Inputs that are not reached are undecided.
        input_limit: seconds for the radii of one input, and as many again for its certified radius; or None.
        random_state, progress, provenance: as for ``verify``.
        workers, scheduler: processes on this machine, or the address of a Dask scheduler to use instead.
        known: inputs by row that need not be verified again, as an earlier call with the same arguments gave them.
            Of those that are ``resumed``, as from a journal, only the certified radius and the counterexample are
            looked at, and confirmed: by the checker, and in exact arithmetic. What fails is verified again.
        recall: gives the proofs of such certified radii, None where there is none.
        finished: called in this process for every input that is verified to the end in this run, with its
            certificates by radius.

    Raises:
        InputError: arguments that make no sense or do not fit together, or no Dask cluster at the address.
    """
    clock = Clock(time_limit, progress)
    points, classes = _inputs(network, X, labels)
    sizes = tuple(sorted(distinct("radii", radii)))
    region_maker(norm)
    if semantics != REAL and len(points):
        # What float32 does not evaluate is refused at once.
        misclassified(network, points[0], int(classes[0]), semantics)
    claims = {row: entry for row, entry in (known or {}).items() if entry.resumed}
    done = {row: entry for row, entry in (known or {}).items() if not entry.resumed}
    waiting = [row for row in range(len(points)) if row not in done]
    together, before = PREDICTED_TOGETHER, len(done)
    if time_limit is not None and len(points) > together:
        # Time for the inputs that will not be reached, which are many then.
        begin = clock.seconds
        predictions(network, points[:together], classes[:together])
        clock.time_limit = time_limit - (clock.seconds - begin) * len(points) / together
    left = clock.left()
    # On the clock that other processes have too, since an input may wait for a worker.
    until = math.inf if left is None else time.time() + left

    def one(row: int, claim: InputAudit | None = None) -> InputWork:
        about = {**(provenance or {}), "row": row}
        bracket = Bracket(network, points[row], int(classes[row]), norm, random_state, about, semantics=semantics)
        proof = None if claim is None or recall is None else recall(claim)
        return InputWork(row, bracket, sizes, certified_radii, input_limit, claim, proof)

    def tell() -> None:
        count = len(done) - before
        about = f", about {clock.seconds / count * (len(waiting) - count):.0f} s to go" if count else ""
        if count < len(waiting):
            clock.tell(f"input {len(done) + 1} of {len(points)}{about}")

    def take(found: tuple[InputAudit, dict[float, Certificate]]) -> None:
        entry, proofs = found
        # Before it is kept: Ctrl-C between the two must not leave the report behind the journal.
        done[entry.row] = entry
        if entry.reached and not entry.resumed and finished is not None:
            finished(entry, proofs)
        tell()

    tell()
    tasks = (delayed(audited)(one(row, claims.get(row)), until) for row in waiting if clock.left() != 0.0)
    interrupted, failure = in_pool(tasks, take, workers, scheduler)
    missing = [row for row in waiting if row not in done]
    for first in range(0, len(missing), together):
        some = missing[first : first + together]
        answers = zip(some, *predictions(network, points[some], classes[some]), strict=True)
        done.update({row: one(row).entry(int(found), lead) for row, found, lead in answers})
    entries = tuple(done[row] for row in range(len(points)))
    return AuditResult(norm, sizes, entries, interrupted, clock.seconds, failure)


def in_pool(
    tasks: Iterable[Any], take: Callable[[Any], None], workers: int, scheduler: str | None = None
) -> tuple[bool, str | None]:
    """Have tasks of joblib done, and their results taken as they come: (whether Ctrl-C ended it, what else did)."""
    try:
        with pool_of(workers, scheduler, as_completed=True) as (pool, _):
            for result in pool(tasks):
                take(result)
    except KeyboardInterrupt:
        return True, None
    except BrokenExecutor:
        return False, KILLED
    return False, None


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
