"""Many properties, each decided as by itself, in one process or several; a journal lets the next run go on."""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import msgspec
import numpy as np
from joblib import delayed

from certificates import Certificate, Robustness
from certificates.certificate import REAL
from certificates.failure import Deadline
from certnet.io.instances import Instance
from certnet.io.query import Query, read_query
from certnet.jobs.audit import in_pool
from certnet.jobs.journal import Journal, digest_of, is_proved, pack, recalled
from certnet.jobs.verify import verify
from certnet.runtime.abandon import OutOfTimeError
from certnet.runtime.clock import Clock, Event
from certnet.runtime.numerics import computing
from certnet.search.counterexample import confirm_near
from certnet.search.float32 import in_float32
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
        result, reason: a word of VNN-COMP, and a sentence.
        prepared, seconds: to read network and property, and to decide it.
        counterexample: as JSON says it, in the declared inputs and outputs; None without one.
        x, case: the same as the network has it, to be confirmed again.
        digest: of network and property.
        limit: seconds that there were for it, None without end.
        resumed: whether it is an earlier run's, confirmed now.
        proof: what a journal holds of one; nothing of it is believed.
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
    proof: Any = None

    def to_dict(self) -> dict[str, Any]:
        """What JSON says of it."""
        shown = ("result", "reason", "prepared", "seconds", "counterexample", "resumed")
        return {name: getattr(self, name) for name in shown}


def decide_all(
    instances: Sequence[Instance],
    *,
    time_limit: float | None,
    input_limit: float | None,
    workers: int,
    how: Mapping[str, Any],
    claims: Mapping[Instance, Answer],
    certificates: Sequence[Path | None],
    finished: Callable[[int, Answer, Certificate | None], None],
    progress: Callable[[Event], None],
) -> tuple[list[Answer], bool, str | None]:
    """(the answers, whether it was interrupted, what failed) of all instances.

    Args:
        input_limit: seconds for an instance that names none itself, or None.
        how: options of ``verify``, semantics too.
        claims: what an earlier run says of them; proofs are checked and counterexamples evaluated again.
        certificates: where the proof of each is, or will be.
        finished: told of each that is done, here.
    """
    clock = Clock(time_limit, progress)
    answers: dict[int, Answer] = {}
    until = math.inf if time_limit is None else time.time() + time_limit

    def take(found: tuple[int, Answer, Certificate | None]) -> None:
        answers[found[0]] = found[1]
        finished(*found)
        clock.tell(f"{len(answers)} of {len(instances)} instances", known=in_words(counts(answers.values())))

    clock.tell(f"0 of {len(instances)} instances")
    tasks = (
        delayed(settled)(number, one, one.seconds or input_limit, how, until, claims.get(one), certificates[number])
        for number, one in enumerate(instances)
    )
    interrupted, failure = in_pool(tasks, take, workers)
    missing = Answer("timeout", "the run ended before this instance" if interrupted or failure else UNREACHED)
    return [answers.get(number, missing) for number in range(len(instances))], interrupted, failure


def settled(
    number: int,
    instance: Instance,
    allowed: float | None,
    how: Mapping[str, Any],
    until: float,
    claim: Answer | None = None,
    place: Path | None = None,
) -> tuple[int, Answer, Certificate | None]:
    """One instance, until ``time.time()`` is ``until``; a file that cannot be read is the answer "error".

    So is what certnet fails at: one of many instances is not to end the others, in this run and whenever it goes on.
    """
    network, path = instance.files
    left = until - time.time()
    if left <= 0:
        return number, Answer("timeout", UNREACHED), None
    with computing(), np.errstate(all="ignore"):
        begin = time.perf_counter()
        try:
            most = min(left, math.inf if allowed is None else allowed)
            query = read_query(path, network, semantics=how["semantics"], seconds=most)
            digest = digest_of(Path(path).read_bytes(), query.network)
            prepared = time.perf_counter() - begin
            most = min(left - prepared, math.inf if allowed is None else allowed)
            limit = None if most == math.inf else most
            deadline = Deadline.after(limit)
            if claim is not None and claim.digest == digest:
                # More time may decide what is open.
                longer = claim.limit is not None and (allowed is None or allowed > claim.limit)
                held = _confirmed(query, claim, place, deadline) if claim.result in DECIDED or not longer else None
                if held is not None:
                    return number, held, None
            how = {**how, "provenance": {"network": Path(network).name, "property": Path(path).name}}
            how["semantics"] = query.semantics
            found = verify(query.network, query.cases, time_limit=deadline.limit, **how)
        except OutOfTimeError:
            return number, Answer("timeout", "reading its files took all of its time", limit=most), None
        except (InputError, OSError) as error:
            return number, Answer(ERROR, str(error)), None
        except Exception as error:  # noqa: BLE001 - it becomes a sentence, and decides nothing
            why = f"unexpected {type(error).__name__}; verify this instance alone with --debug"
            return number, Answer(ERROR, f"{why} for the traceback."), None
    known: dict[str, Any] = {"prepared": prepared, "seconds": found.seconds, "digest": digest, "limit": limit}
    unsafe = found.counterexample
    if unsafe is not None:
        shown = unsafe.as_declared(query).to_dict()
        known |= {"counterexample": shown, "x": tuple(unsafe.x.tolist()), "case": unsafe.case}
    return number, Answer(found.status, found.reason, **known), found.certificate


def _confirmed(query: Query, answer: Answer, place: Path | None, deadline: Deadline) -> Answer | None:
    """What an earlier run claims of the same question, if it holds now."""
    if answer.result in OPEN:
        return answer
    if answer.result == "sat":
        if answer.x is None or len(answer.x) != query.network.inputs or not 0 <= answer.case < len(query.cases):
            return None
        cases = query.cases if query.semantics == REAL else in_float32(query.network, query.cases)
        unsafe = confirm_near(query.network, cases[answer.case], np.array([answer.x]), answer.case)
        if unsafe is None:
            return None
        return replace(answer, counterexample=unsafe.as_declared(query).to_dict())
    statement = Robustness(query.network, query.cases, query.semantics)
    return answer if is_proved(statement, recalled(place, answer.proof), deadline.limit) else None


def counts(answers: Iterable[Answer]) -> dict[str, int]:
    """How often each word is the result."""
    found = Counter(answer.result for answer in answers)
    return {word: found[word] for word in WORDS}


def in_words(known: Mapping[str, int]) -> str:
    """The counts that are not 0."""
    return ", ".join(f"{count} {word}" for word, count in known.items() if count)


class Said(msgspec.Struct, forbid_unknown_fields=True):
    """What a line says of an instance, by its files."""

    files: tuple[str, str]
    result: Literal["unsat", "sat", "unknown", "timeout"]
    reason: str
    prepared: float
    seconds: float
    x: tuple[float, ...] | None
    case: int
    digest: str
    limit: float | None
    proof: Any


class BatchJournal(Journal[Said]):
    """Keeps answers, but for errors, which may be gone next time."""

    def __init__(self, path: Path, options: Mapping[str, Any]) -> None:
        super().__init__(path, {"format": FORMAT, **options}, Said, "a batch", "other options")

    def claims(self, instances: Sequence[Instance]) -> dict[Instance, Answer]:
        """What it says of these instances, the last word of each."""
        found = {said.files: msgspec.structs.asdict(said) for said in self.read(lambda _: True)}
        for fields in found.values():
            del fields["files"]
        return {one: Answer(**found[one.files], resumed=True) for one in instances if one.files in found}

    def add(self, instance: Instance, answer: Answer, certificate: Certificate | None, place: Path | None) -> None:
        """Keep one, and its certificate where it has a place."""
        if answer.resumed or answer.result == ERROR or not answer.digest:
            return
        said = {name: getattr(answer, name) for name in Said.__struct_fields__ if name not in ("files", "proof")}
        kept = {} if place is None or certificate is None else {place: certificate}
        self.keep(Said(files=instance.files, proof=pack(certificate), **said), kept)
