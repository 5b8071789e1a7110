"""Many properties, each decided as by itself, in one process or several; a journal lets the next run go on."""

import hashlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from joblib import delayed

from certificates import Certificate, Robustness, Verdict, check, fingerprint, read_certificate
from certificates.certificate import REAL, CaseProof
from certificates.failure import Deadline
from certnet.io.instances import Instance
from certnet.io.query import Query, read_query
from certnet.jobs.audit import KILLED
from certnet.jobs.journal import JournalFile, pack, unpack
from certnet.jobs.verify import VerificationResult, as_declared, counterexample_fields, in_float32, verify
from certnet.runtime.clock import Clock, Event
from certnet.runtime.numerics import computing
from certnet.search.counterexample import confirm_near
from certnet.search.pool import pool as pool_of
from formulations import InputError

FORMAT = "certnet-batch-journal 1"
OPEN = ("unknown", "timeout")
DECIDED = ("unsat", "sat")
ERROR = "error"
WORDS = (*DECIDED, *OPEN, ERROR)
UNREACHED = "the time limit was reached before this instance"


@dataclass(frozen=True)
class Answer:
    """What is known of an instance.

    Attributes:
        result: a word of VNN-COMP.
        reason: one sentence.
        prepared, seconds: to read network and property, and to decide it.
        counterexample: as JSON says it, in the declared inputs and outputs; None without one.
        x, case: the same as the network has it, to be confirmed again.
        digest: of network and property.
        limit: seconds that there were for it.
        resumed: whether it is an earlier run's, confirmed now.
    """

    result: str
    reason: str
    prepared: float = 0.0
    seconds: float = 0.0
    counterexample: dict[str, Any] | None = None
    x: tuple[float, ...] | None = None
    case: int = 0
    digest: str = ""
    limit: float | None = None
    resumed: bool = False

    def to_dict(self) -> dict[str, Any]:
        """What JSON says of it."""
        shown = ("result", "reason", "prepared", "seconds", "counterexample", "resumed")
        return {name: getattr(self, name) for name in shown}


@dataclass(frozen=True)
class Claim:
    """What a journal says of an instance: nothing of it is believed."""

    answer: Answer
    proof: Any


@dataclass(frozen=True)
class Work:
    """One instance, for whichever process decides it."""

    number: int
    instance: Instance
    limit: float | None
    semantics: str
    how: Mapping[str, Any]
    claim: Claim | None = None
    certificate: Path | None = None


def decide_all(
    instances: Sequence[Instance],
    *,
    time_limit: float | None,
    input_limit: float | None,
    workers: int,
    semantics: str,
    how: Mapping[str, Any],
    claims: Mapping[Instance, Claim],
    certificates: Sequence[Path | None],
    finished: Callable[[int, Answer, Certificate | None], None],
    progress: Callable[[Event], None],
) -> tuple[list[Answer], bool, str | None]:
    """(the answers, whether it was interrupted, what failed) of all instances.

    Args:
        instances: in this order, as far as workers keep it.
        time_limit: seconds for everything, or None.
        input_limit: seconds for an instance that names none itself, or None.
        workers: processes.
        semantics: as in ``read_query``.
        how: options of ``verify``.
        claims: what an earlier run says of them; proofs are checked and counterexamples evaluated again.
        certificates: where the proof of each is, or will be.
        finished: told of each that is done, here.
        progress: called with a sign of life.
    """
    clock = Clock(time_limit, progress)
    answers: dict[int, Answer] = {}
    until = math.inf if time_limit is None else time.time() + time_limit
    works = [
        Work(number, one, one.seconds or input_limit, semantics, how, claims.get(one), certificates[number])
        for number, one in enumerate(instances)
    ]
    interrupted, failure = False, None
    clock.tell(f"0 of {len(works)} instances")
    try:
        with pool_of(workers, as_completed=True) as (pool, _):
            for number, answer, certificate in pool(delayed(settled)(work, until) for work in works):
                answers[number] = answer
                finished(number, answer, certificate)
                clock.tell(f"{len(answers)} of {len(works)} instances", known=_so_far(answers))
    except KeyboardInterrupt:
        interrupted = True
    except BrokenExecutor:
        failure = KILLED
    missing = Answer("timeout", UNREACHED)
    return [answers.get(number, missing) for number in range(len(works))], interrupted, failure


def settled(work: Work, until: float) -> tuple[int, Answer, Certificate | None]:
    """One instance, until ``time.time()`` is ``until``; a file that cannot be read is the answer "error"."""
    network, path = work.instance.files
    left = until - time.time()
    if left <= 0:
        return work.number, Answer("timeout", UNREACHED), None
    with computing(), np.errstate(all="ignore"):
        begin = time.perf_counter()
        try:
            query = read_query(path, network, semantics=work.semantics)
            digest = _digest(query, Path(path))
            prepared = time.perf_counter() - begin
            limit = min(left - prepared, math.inf if work.limit is None else work.limit)
            deadline = Deadline.after(None if limit == math.inf else limit)
            held = None if work.claim is None else _confirmed(query, work, digest, deadline)
            if held is not None:
                return work.number, held, None
            how = {**work.how, "provenance": {"network": Path(network).name, "property": Path(path).name}}
            found = verify(query.network, query.cases, semantics=query.semantics, time_limit=deadline.limit, **how)
        except InputError as error:
            return work.number, Answer(ERROR, str(error), limit=work.limit), None
    return work.number, _answer(query, found, prepared=prepared, digest=digest, limit=work.limit), found.certificate


def _answer(query: Query, found: VerificationResult, **more: Any) -> Answer:
    unsafe = found.counterexample
    if unsafe is not None:
        shown = counterexample_fields(as_declared(query, unsafe))
        more |= {"counterexample": shown, "x": tuple(unsafe.x.tolist()), "case": unsafe.case}
    return Answer(found.status, found.reason, seconds=found.seconds, **more)


def _digest(query: Query, path: Path) -> str:
    """SHA-256 of the network as it was read and of the property's file."""
    digest = hashlib.sha256(path.read_bytes())
    for weights, bias in (
        (query.network.hidden, query.network.hidden_bias),
        (query.network.output, query.network.output_bias),
    ):
        digest.update(fingerprint(weights, bias[:, None]).encode())
    return digest.hexdigest()


def _confirmed(query: Query, work: Work, digest: str, deadline: Deadline) -> Answer | None:
    """What an earlier run claims, if it is about the same question and holds now."""
    assert work.claim is not None
    answer = work.claim.answer
    if answer.digest != digest:
        return None
    if answer.result in OPEN:
        # More time may decide it.
        longer = answer.limit is not None and (work.limit is None or work.limit > answer.limit)
        return None if longer else answer
    if answer.result == "sat":
        if answer.x is None or len(answer.x) != query.network.inputs or not 0 <= answer.case < len(query.cases):
            return None
        cases = query.cases if query.semantics == REAL else in_float32(query.network, query.cases)
        unsafe = confirm_near(query.network, cases[answer.case], np.array([answer.x]), answer.case)
        if unsafe is None:
            return None
        return replace(answer, counterexample=counterexample_fields(as_declared(query, unsafe)))
    proofs = _proofs(work)
    if proofs is None or len(proofs) != len(query.cases):
        return None
    certificate = Certificate(Robustness(query.network, query.cases, query.semantics), tuple(proofs))
    verdict = check(certificate, time_limit=deadline.limit).verdict
    return answer if verdict is Verdict.PROVED else None


def _proofs(work: Work) -> Sequence[CaseProof] | None:
    assert work.claim is not None
    if work.certificate is None:
        return unpack(work.claim.proof)
    try:
        return read_certificate(work.certificate, Robustness).proofs
    except (InputError, OSError):
        return None


def _so_far(answers: Mapping[int, Answer]) -> str:
    return ", ".join(f"{count} {word}" for word, count in counts([*answers.values()]).items() if count)


def counts(answers: Sequence[Answer]) -> dict[str, int]:
    """How often each word is the result."""
    return {word: sum(answer.result == word for answer in answers) for word in WORDS}


class BatchJournal:
    """Keeps answers, but for errors, which may be gone next time.

    Attributes:
        notes: what could not be written, in a sentence. The next answer is tried again.
    """

    def __init__(self, path: Path, options: Mapping[str, Any]) -> None:
        self.file = JournalFile(path, {"format": FORMAT, **options}, "a batch", "other options")
        self.notes: list[str] = []

    def read(self, instances: Sequence[Instance]) -> dict[Instance, Claim]:
        """What it says of these instances, the last word of each.

        Raises:
            InputError: it is of other options, or damaged.
        """
        claims = dict(self.file.read(_claim))
        return {one: claims[one.files] for one in instances if one.files in claims}

    def add(self, instance: Instance, answer: Answer, certificate: Certificate | None) -> None:
        """Keep one."""
        if answer.resumed or answer.result == ERROR or not answer.digest:
            return
        proof = None if certificate is None else pack(certificate.proofs)
        value = {name: getattr(answer, name) for name in _KINDS}
        try:
            self.file.append({"files": instance.files, **value, "proof": proof})
        except OSError as error:
            self.notes[:] = [
                f"The journal could not be written ({error.strerror or error}); make room and run the same command "
                "again."
            ]


_KINDS: dict[str, tuple[type, ...]] = {
    "result": (str,),
    "reason": (str,),
    "prepared": (float,),
    "seconds": (float,),
    "x": (list, type(None)),
    "case": (int,),
    "digest": (str,),
    "limit": (float, int, type(None)),
}
"""What a line holds, and of which types."""


def _claim(value: dict[str, Any]) -> tuple[tuple[str, str], Claim]:
    """The claim of a line; raises ValueError, KeyError or TypeError if it is none."""
    (network, query), proof = value.pop("files"), value.pop("proof")
    fits = value.keys() == _KINDS.keys() and all(type(value[name]) in kinds for name, kinds in _KINDS.items())
    if not fits or value["result"] not in (*DECIDED, *OPEN):
        raise ValueError(value)
    x = value.pop("x")
    if not all(
        math.isfinite(number) for number in [*(x or []), value["prepared"], value["seconds"], value["limit"] or 0]
    ):
        raise ValueError(x)
    return (network, query), Claim(Answer(**value, x=None if x is None else tuple(map(float, x)), resumed=True), proof)
