"""An audit: how many inputs keep their class under disturbances of several sizes, proved and attacked."""

import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from joblib import delayed
from numpy.typing import ArrayLike

from certificates import Certificate, Robustness, Verdict, check
from certificates.certificate import CaseProof
from certnet.jobs.audit_result import ATTACKED, CERTIFIED, UNDECIDED, AuditResult, InputAudit
from certnet.jobs.radius import certified_radius, distance
from certnet.jobs.verify import verify
from certnet.runtime.clock import Event
from certnet.runtime.numerics import computing
from certnet.search.counterexample import Counterexample, decided_classes, exact_outputs
from certnet.search.pool import pool as pool_of
from formulations import InputError
from formulations._validation import FloatArray, IntArray, as_matrix
from formulations.arguments import accepts, array, count, json_object, reals, seconds
from formulations.network import ReluNetwork
from formulations.robustness import InputRegion, keeps_class, region_maker

LARGEST_SHARE = 4.0
"""Certified radii are searched up to so many times the largest radius of the audit."""
ROUNDS = 2
"""Inputs for each busy worker that are handed out together."""
KILLED = (
    "A worker was killed, perhaps for lack of memory; give fewer --workers, and the same command goes on from here."
)
NEARLY_EQUAL = 1e-6
"""Outputs that differ by such a share may be equal."""
PREDICTED_TOGETHER = 1000
"""Rows whose classes are decided together."""


Finished = Callable[[InputAudit, Mapping[float, Certificate]], None]
"""Takes an input when it is done, and its certificates by radius."""
Recall = Callable[[InputAudit], Sequence[CaseProof] | None]
"""The stored proof of what an earlier run has certified, if there is one."""


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
    recall: Recall | None = None,
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
            Of those that are ``resumed``, as from a journal, only the certified radius and the counterexample are
            looked at, and confirmed: by the checker, and in exact arithmetic. What fails is verified again.
        recall: gives the proofs of such certified radii.
        finished: called in this process for every input that is verified to the end in this run.
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
    claims = {row: entry for row, entry in (known or {}).items() if entry.resumed}
    done = {row: entry for row, entry in (known or {}).items() if not entry.resumed}
    waiting = [row for row in range(len(points)) if row not in done]
    deadline = np.inf if time_limit is None else start + time_limit
    if np.isfinite(deadline) and len(points) > PREDICTED_TOGETHER:
        # Time for the inputs that will not be reached, which are many then.
        some, begin = slice(PREDICTED_TOGETHER), time.perf_counter()
        _prediction(network, points[some], classes[some])
        deadline -= (time.perf_counter() - begin) * len(points) / PREDICTED_TOGETHER
    interrupted, failure = False, None

    def work(row: int, until: float) -> Any:
        claim, proof = claims.get(row), None
        if claim is not None and recall is not None:
            proof = recall(claim)
        return delayed(_audited)(task, row, points[row], int(classes[row]), until, claim, proof)

    try:
        with pool_of(workers, scheduler, as_completed=True) as (pool, busy):
            size = 1 if busy == 1 else ROUNDS * busy
            for first in range(0, len(waiting), size):
                _tell(progress, start, deadline, len(points), len(waiting), first)
                if time.perf_counter() >= deadline:
                    break
                # On the clock that other processes have too, since an input may wait for a worker.
                until = time.time() + deadline - time.perf_counter()
                for entry, proofs in pool(work(row, until) for row in waiting[first : first + size]):
                    # Before it is kept: Ctrl-C between the two must not leave the report behind the journal.
                    done[entry.row] = entry
                    if entry.reached and not entry.resumed and finished is not None:
                        finished(entry, proofs)
    except KeyboardInterrupt:
        interrupted = True
    except BrokenExecutor:
        failure = KILLED
    done.update(_unreached(task, points, classes, [row for row in waiting if row not in done]))
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

    def status(self, low: float, high: float) -> tuple[str, ...]:
        """What is known of each radius, where ``low`` is certified and at ``high`` the class is lost."""
        return tuple(CERTIFIED if radius <= low else ATTACKED if radius >= high else UNDECIDED for radius in self.radii)


Proofs = dict[float, Certificate]


def _audited(
    task: _Task,
    row: int,
    x: FloatArray,
    label: int,
    until: float,
    claim: InputAudit | None,
    proof: Sequence[CaseProof] | None,
) -> tuple[InputAudit, Proofs]:
    """One input at all radii, until ``time.time()`` is ``until``; ``claim`` is what an earlier run says of it."""
    with computing():
        return _Audited(task, row, x, label, until - time.time()).run(claim, proof)


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
        self.nearest: float = np.inf
        self.witness: tuple[float, ...] | None = None
        self.proofs: Proofs = {}

    def run(self, claim: InputAudit | None, proof: Sequence[CaseProof] | None) -> tuple[InputAudit, Proofs]:
        """Ascend until a radius is refuted; the rest is then known."""
        task = self.task
        predicted, margin = _prediction(task.network, self.x[None], np.array([self.label]))
        if predicted[0] != self.label:
            self.high = self.nearest = 0.0
        held = claim is not None and self._holds(claim, proof)
        if not held:
            self._decide()
        earlier = claim if held else None
        entry = InputAudit(
            self.row,
            self.label,
            int(predicted[0]),
            float(margin[0]),
            task.status(self.low, self.high),
            self.low,
            min(self.high, self.nearest) if task.search else self.high,
            not self.cut,
            time.perf_counter() - self.start if earlier is None else earlier.seconds,
            self.witness,
            held,
        )
        return entry, self.proofs

    def _decide(self) -> None:
        limit = self._limit()
        for radius in self.task.radii:
            if self.high <= radius:
                break
            self._verify(radius, limit)
        if self.task.search and self.high > 0:
            self._search()

    def _holds(self, claim: InputAudit, proof: Sequence[CaseProof] | None) -> bool:
        """Take over what an earlier run found, as far as it is confirmed; False if there is more to it."""
        if claim.counterexample is not None:
            self._refute(np.array(claim.counterexample))
            if not (self.nearest if self.task.search else self.high) < np.inf:
                return False
        radius = claim.certified_radius
        if self.high == 0 or not radius > 0:
            return True
        if proof is None or not radius < self.high:
            return False
        # Wherever the proof was found, it has to do for this network and this property.
        cases = keeps_class(self.task.network, self.task.region(self.x, radius), self.label)
        certificate = Certificate(Robustness(self.task.network, cases), tuple(proof))
        if (
            len(proof) != len(cases)
            or check(certificate, time_limit=self._left(self._limit())).verdict is not Verdict.PROVED
        ):
            return False
        self.low = radius
        return True

    def _refute(self, x: FloatArray) -> None:
        """Take note of an input (d,) that is of another class exactly: it counts from the least region that has it."""
        task = self.task
        if decided_classes(task.network, x[None], np.array([self.label]))[0] == self.label:
            return
        self.high = min(
            self.high, next((radius for radius in task.radii if task.region(self.x, radius).contains(x)), np.inf)
        )
        apart = distance(x, self.x, task.norm)
        if apart < self.nearest:
            self.nearest, self.witness = apart, tuple(x.tolist())

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
            self._found(result.counterexample)
            self.high = min(self.high, radius)
        else:
            self.cut = self.cut or time.perf_counter() >= self.whole

    def _found(self, found: Counterexample | None) -> None:
        if found is not None and found.exact is None:
            self._refute(found.x)

    def _search(self) -> None:
        """Narrow both radii."""
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
            self.low = found.certified
            self.proofs[found.certified] = found.certificate
        self._found(found.counterexample)
        self.nearest = min(self.nearest, found.attacked)
        self.cut = self.cut or (found.open and time.perf_counter() >= self.whole)


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
    for row in np.flatnonzero((found > labels) & (np.abs(lead) <= NEARLY_EQUAL * size)).tolist():
        y = exact_outputs(network, X[row])
        found[row] = y.index(max(y))
    return found, lead


def _unreached(task: _Task, X: FloatArray, labels: IntArray, rows: list[int]) -> dict[int, InputAudit]:
    """Inputs that nothing was proved about; their predictions are known all the same."""
    entries = {}
    for first in range(0, len(rows), PREDICTED_TOGETHER):
        some = rows[first : first + PREDICTED_TOGETHER]
        predicted, margin = _prediction(task.network, X[some], labels[some])
        for row, found, lead in zip(some, predicted.tolist(), margin.tolist(), strict=True):
            label = int(labels[row])
            high = np.inf if found == label else 0.0
            entries[row] = InputAudit(row, label, found, lead, task.status(0.0, high), 0.0, high, False, 0.0)
    return entries
