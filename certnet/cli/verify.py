"""``certnet verify``: a property of a file, or the classes of rows of data within a radius."""

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from certificates import Verdict
from certificates.certificate import FLOAT32
from certnet.cli import options as common
from certnet.cli.calls import Answer, Asking, Entries
from certnet.cli.limits import seconds_or_none
from certnet.cli.parsing import argument, option, refuse
from certnet.cli.query import answer, asked_of, unread
from certnet.cli.rows import Subject, parse_rows
from certnet.io.float32 import require_plain
from certnet.io.packed import ending
from certnet.runtime.abandon import OutOfTimeError
from certnet.runtime.wording import down
from formulations import InputError
from formulations._validation import as_positive
from formulations.properties import keeps_class
from formulations.robustness import region_maker

PROPERTY_SECONDS = INPUT_SECONDS = 60.0  # Of a property, and of a row or instance, where nothing else is given.
MISCLASSIFIED = "misclassified"
UNREACHED = "the time limit was reached before this row"


@dataclass(frozen=True, kw_only=True)
class OfData:
    """Options that go with data."""

    norm: common.Norm | None = option("With DATA: the norm of the disturbance.")
    radius: float | None = option("With DATA: its largest size, 0 or more.")
    largest_radius: float | None = option(
        "With DATA, instead of --radius: search for the radius of each row, up to R.", metavar="R"
    )
    rows: str | None = common.ROWS
    columns: common.Columns


@dataclass(frozen=True)
class OfQuery:
    """Options that go with a property."""

    networks: list[str] | None = option(
        "With QUERY: the file of a network that it declares.", "--network", metavar="NAME=FILE"
    )
    serialise_assignments: str | None = option(
        "With QUERY: write satisfying values there, as NAME.pb, not to stdout.", metavar="DIR"
    )
    tree: str | None = option("With a property: splits that another verifier found, as JSON.", metavar="FILE")


@dataclass(frozen=True)
class OfList:
    """Options that go with a list."""

    expected: str | None = option("With --instances: verdicts, in lines property,verdict.", metavar="FILE")
    workers: int = common.WORKERS
    out: str | None = common.out_folder("with --instances runs/verify/FOLDER-OF-LIST")
    fresh: bool = option("With --instances: start anew, also where a journal is.", default=False)


def verify(
    network: str | None = argument(
        "NETWORK|QUERY",
        "A network: a run, or a file that ends in .onnx, .npz or .safetensors. Or, alone, a VNN-LIB file, "
        "whose networks --network names.",
        required=False,
        shell_complete=common.run_names,
    ),
    subject: str | None = argument(
        "PROPERTY|DATA",
        "A VNN-LIB file, which states what is unsafe; or data as for certnet train, whose classes are to "
        "be kept (test rows where the file has them; features as they are in the file).",
        required=False,
    ),
    *,
    instances: str | None = option(
        "Instead of PROPERTY: a CSV file of lines network,property,seconds,expected; or, after NETWORK, a "
        "folder of properties or a pattern such as 'boxes/*.vnnlib'.",
        metavar="LIST",
    ),
    listed: OfList,
    asked: OfData,
    about: OfQuery,
    time_limit: float | None = option(
        "Seconds for the whole command; 0 for no limit. By default 60 for a property and none with DATA."
    ),
    input_limit: float = option(
        "Seconds for each row of DATA, or each instance that names none; 0 for no limit.", default=INPUT_SECONDS
    ),
    timeout: float | None = option("Another name of --time-limit, that of VNN-LIB.", metavar="SECONDS"),
    certificate: str | None = option(
        "Where the proof is written, if there is one; with DATA or --instances a folder.", metavar="FILE"
    ),
    semantics: common.Semantics = common.SEMANTICS,
    seed: int = option("Seed of the attack.", default=0, least=0),
    json: bool = common.JSON,
) -> int:
    """Prove that no input is unsafe (unsat), find one (sat), or say unknown or timeout, on the first line."""
    each = seconds_or_none(input_limit, "--input-limit")
    if timeout is not None and time_limit is not None:
        raise InputError("--timeout and --time-limit are the same; give one of them.")
    time_limit = timeout if time_limit is None else time_limit
    asking = Asking(time_limit or 0.0, certificate, seed, json)
    how: dict[str, Any] = {"random_state": seed}
    if instances is not None:
        if subject is not None:
            raise InputError("Leave the property or data out: --instances names its properties.")
        refuse("--instances names its properties", about, asked)
        from certnet.cli.audit import run_instances

        return run_instances(instances, network, listed, asking, each, {**how, "semantics": semantics})
    refuse("it goes with --instances", listed)
    if network is None:
        raise InputError("Name a network and a property, or --instances LIST; certnet verify --help has an example.")
    if subject is None and not about.networks and not Path(network).is_file():
        raise InputError(
            f"Say what is to be proved of {network}: name a .vnnlib file after it, or data with --norm and --radius."
        )
    if subject is None or about.networks or ending(Path(subject)) == ".vnnlib":
        refuse("it goes with data; the property file says which inputs are meant", asked)
        if input_limit != INPUT_SECONDS:
            raise InputError(
                "Leave --input-limit out: it goes with data and --instances; --time-limit is for a property."
            )
        if time_limit is None:
            asking = replace(asking, time_limit=PROPERTY_SECONDS)
        try:
            query = asked_of(network, subject, about.networks or [], semantics, asking.seconds)
        except OutOfTimeError:
            return unread(subject or network, json=json)
        if about.tree is not None:
            from certnet.io.split_tree import read_split_tree

            how["tree"] = read_split_tree(about.tree, query[0].network)
        return answer(*query, how, asking, about.serialise_assignments)
    refuse("it goes with a property of VNN-LIB", about)
    return _rows_kept(network, subject, asked, asking, each, semantics)


def _rows_kept(file: str, data: str, asked: OfData, asking: Asking, each: float | None, semantics: str) -> int:
    """Decide whether rows of data keep their class."""
    from certnet.io.answers import require_kind
    from certnet.io.dataset import Outputs
    from certnet.io.load_data import read_source

    subject = Subject.named(file)
    if semantics == FLOAT32:
        require_plain(file, subject.read)
    norm, radius, largest = asked.norm, asked.radius, asked.largest_radius
    if norm is None or (radius is None and largest is None):
        needs = "then --norm linf or l2 and --radius R or --largest-radius R are needed"
        raise InputError(f"{data!r} is no .vnnlib file, so it is read as data; {needs}.")
    if radius is not None and largest is not None:
        raise InputError("--radius and --largest-radius exclude each other; give one of them.")
    if largest is not None:
        as_positive("--largest-radius", largest)
    subject.require_classes("rows of data are")
    recipe = subject.recipe(data, **vars(asked.columns), task="classification", loss="squared")
    given = read_source(recipe.asked_by(subject.read.columns), Outputs(subject.read.scores, subject.read.classes))
    network = subject.read.with_scores(given.classes)
    X, Y = (given.X, given.Y) if given.X_test is None or given.Y_test is None else (given.X_test, given.Y_test)
    require_kind(network, X, Y, data)
    labels, make = Y.argmax(axis=1).tolist(), region_maker(norm)
    if radius is not None:
        make(X[0], radius)

    def ask(row: int, *, time_limit: float | None, progress: Any, **how: Any) -> Answer:
        from certnet.jobs.radius import CertifiedRadius, certified_radius
        from certnet.jobs.verify import VerificationResult, misclassified
        from certnet.jobs.verify import verify as decide

        x, label = X[row], labels[row]
        how |= {"time_limit": time_limit, "semantics": semantics}
        how["provenance"] |= {"property": Path(data).name, "row": row}
        found: CertifiedRadius | VerificationResult
        entry, word = dict[str, Any](row=row, label=label), ""
        if time_limit != 0 and misclassified(network, x, label, semantics):
            found = CertifiedRadius(0.0, 0.0, None, None, False, 0.0)
            entry |= {"result": MISCLASSIFIED} | ({"verdict": str(Verdict.REFUTED)} if largest is None else {})
        elif largest is not None:
            found = certified_radius(network, x, label, norm=norm, largest=largest, **how)
            word = found.enclosure
        elif time_limit == 0:
            found = VerificationResult(Verdict.UNKNOWN, UNREACHED, -np.inf, np.inf, (0, 0), 0.0, timed_out=True)
        else:
            found = decide(network, keeps_class(network, make(x, radius or 0.0), label), progress=progress, **how)
        entry = {**found.to_dict(), **entry}
        return [(f"{row} {word or entry['result']}", entry)], found.certificate

    questions = {f"row {row}": partial(ask, row) for row in parse_rows(asked.rows, len(X))}
    about: dict[str, Any] = {"network": subject.name, "data": data, "semantics": semantics, "norm": norm}
    about |= {"radius": radius, "largest_radius": largest, "input_limit": each, "folder": True}
    if largest is not None:
        return asking.answer("verify", network, questions, _radii, **about)
    return asking.answer("verify", network, questions, _counted, more=_counts, **about)


def _counts(entries: Entries) -> dict[str, Any]:
    words = [entry["result"] for entry in entries]
    return {"counts": {word: words.count(word) for word in ("unsat", "sat", "unknown", "timeout", MISCLASSIFIED)}}


def _counted(entries: Entries) -> str:
    counts = _counts(entries)["counts"]
    return (
        f"{counts['unsat']} of {len(entries)} rows are proved to keep their class, {counts['sat']} are refuted, "
        f"{counts['unknown'] + counts['timeout']} are open, {counts[MISCLASSIFIED]} are misclassified"
    )


def _radii(entries: Entries) -> str:
    """The same of searches, which are unknown where one ended before the two radii met."""
    unfinished = sum(entry["open"] for entry in entries)
    wrong = sum(entry["result"] == MISCLASSIFIED for entry in entries)
    median = float(np.median([entry["certified_radius"] for entry in entries]))
    return (
        f"the median certified radius of {len(entries)} rows is {down(median)}, {wrong} are misclassified, "
        f"{unfinished} searches are open"
    )
