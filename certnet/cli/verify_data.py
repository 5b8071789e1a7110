"""``certnet verify NETWORK DATA``: rows keep their class within a radius, or up to which radius they do."""

import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from certificates import Verdict
from certnet.cli.exits import BY_VERDICT, Exit
from certnet.cli.limits import Shares, began, seconds_or_none
from certnet.cli.proofs import proof_folder, write_proof
from certnet.cli.report import finite, head
from certnet.cli.rows import parse_rows, read_rows, require_kind
from certnet.cli.show import down, up
from certnet.cli.verify import VerifyOptions, counterexample_fields, fields, provenance, tell_notes, verified
from certnet.io import Recipe
from certnet.io.output import standard_output, strict_json
from certnet.jobs.radius import certified_radius
from certnet.search.counterexample import decided_classes
from formulations import InputError
from formulations._validation import FloatArray, IntArray
from formulations.network import ReluNetwork
from formulations.robustness import keeps_class, region_maker

WORST = (Exit.REFUTED, Exit.UNKNOWN, Exit.OK)
MISCLASSIFIED = "misclassified"
UNREACHED = "the time limit was reached before this row"


@dataclass(frozen=True, eq=False)
class _Rows:
    """The network, inputs (n×d) and classes (n), which rows are meant, and where certificates go."""

    network: ReluNetwork
    X: FloatArray
    labels: IntArray
    chosen: range
    folder: Path | None


def run_data(options: VerifyOptions) -> int:
    """Verify rows of data, print, and return the exit code.

    Raises:
        InputError: anything a user can put right.
    """
    start = began()
    limit = None if options.time_limit is None else seconds_or_none(options.time_limit)
    rows = _read(options)
    largest = options.largest_radius is not None
    one: Callable[[_Rows, int, VerifyOptions, float | None], dict[str, Any]] = _radius if largest else _kept
    results = []
    shares = Shares(limit, start, len(rows.chosen), options.input_limit)
    for row in rows.chosen:
        seconds = shares.take()
        entry = _unreached(rows, row, largest) if seconds == 0 else one(rows, row, options, seconds)
        results.append(entry)
        if not options.json:
            with standard_output():
                sys.stdout.write(f"{row} {_words(entry)}\n")
                sys.stdout.flush()
    summary = _radii(results) if largest else _counts(results)
    summary.entries["notes"] = tell_notes(rows.network)
    return _conclude(summary, results, options, time.perf_counter() - start)


def _read(options: VerifyOptions) -> _Rows:
    """Everything that can be wrong is found here, before the work begins and anything is written."""
    if options.norm is None or (options.radius is None and options.largest_radius is None):
        raise InputError(
            f"{options.subject!r} is no .vnnlib file, so it is read as data; then --norm linf or l2 and --radius R or "
            "--largest-radius R are needed."
        )
    if options.radius is not None and options.largest_radius is not None:
        raise InputError("--radius and --largest-radius exclude each other; give one of them.")
    largest = options.largest_radius
    if largest is not None and not (largest > 0 and np.isfinite(largest)):
        raise InputError(f"--largest-radius must be positive and finite, not {largest:g}.")
    recipe = Recipe(source=options.subject, target=options.target, task="classification")
    network, X, Y = read_rows(options.network, recipe, labelled=True)
    require_kind(network, X, Y, options.subject)
    chosen = parse_rows(options.rows, len(X))
    if options.radius is not None:
        region_maker(options.norm)(X[0], options.radius)
    folder = None if options.certificate is None else proof_folder(options.certificate, "--certificate")
    return _Rows(network, X, Y.argmax(axis=1), chosen, folder)


def _start(rows: _Rows, row: int) -> tuple[dict[str, Any], bool]:
    """(what is known of a row at once, whether it is classified correctly)."""
    label = int(rows.labels[row])
    predicted = decided_classes(rows.network, rows.X[[row]], rows.labels[[row]])[0]
    return {"row": row, "label": label}, bool(predicted == label)


def _unreached(rows: _Rows, row: int, largest: bool) -> dict[str, Any]:
    """What is said of a row when time is up before its turn."""
    entry = {"row": row, "label": int(rows.labels[row])}
    if largest:
        return entry | {"result": "radius", "certified_radius": 0.0, "attacked_radius": None, "open": True}
    return entry | {"verdict": str(Verdict.UNKNOWN), "result": "timeout", "reason": UNREACHED}


def _kept(rows: _Rows, row: int, options: VerifyOptions, seconds: float | None) -> dict[str, Any]:
    """Whether a row keeps its class within ``--radius``."""
    entry, correct = _start(rows, row)
    if not correct:
        return entry | {"verdict": None, "result": MISCLASSIFIED}
    assert options.radius is not None
    assert options.norm is not None
    region = region_maker(options.norm)(rows.X[row], options.radius)
    result = verified(rows.network, keeps_class(rows.network, region, entry["label"]), options, seconds)
    entry |= {"verdict": str(result.verdict), **fields(result)}
    if rows.folder is not None and result.certificate is not None:
        file = rows.folder / f"row-{row}.cert"
        write_proof(file, result.certificate)
        entry["certificate"] = str(file)
    return entry


def _radius(rows: _Rows, row: int, options: VerifyOptions, seconds: float | None) -> dict[str, Any]:
    """Up to which radius a row keeps its class, at most ``--largest-radius``."""
    entry, correct = _start(rows, row)
    if not correct:
        return entry | {"result": MISCLASSIFIED, "certified_radius": 0.0, "attacked_radius": 0.0, "open": False}
    assert options.largest_radius is not None
    assert options.norm is not None
    start = time.perf_counter()
    found = certified_radius(
        rows.network,
        rows.X[row],
        entry["label"],
        norm=options.norm,
        largest=options.largest_radius,
        time_limit=seconds,
        random_state=options.seed,
        provenance={**provenance(options), "row": row},
    )
    entry |= {
        "result": "radius",
        "certified_radius": found.certified,
        "attacked_radius": finite(found.attacked),
        "open": found.open,
        "counterexample": None if found.counterexample is None else counterexample_fields(found.counterexample),
        "seconds": time.perf_counter() - start,
    }
    if rows.folder is not None and found.certificate is not None:
        file = rows.folder / f"row-{row}.cert"
        write_proof(file, found.certificate)
        entry["certificate"] = str(file)
    return entry


def _words(entry: Mapping[str, Any]) -> str:
    """The line of a row, after its number."""
    if entry["result"] != "radius":
        return str(entry["result"])
    attacked = entry["attacked_radius"]
    end = "" if attacked is None else f" <= attacked {up(attacked)}"
    return f"certified {down(entry['certified_radius'])} <= true{end}{'; open' if entry['open'] else ''}"


@dataclass(frozen=True)
class _Summary:
    """The last line, what JSON says beside the rows, and the exit code."""

    sentence: str
    entries: dict[str, Any]
    code: Exit


def _counts(results: Sequence[Mapping[str, Any]]) -> _Summary:
    counts = dict.fromkeys(("unsat", "sat", "unknown", "timeout", MISCLASSIFIED), 0)
    for entry in results:
        counts[entry["result"]] += 1
    sentence = (
        f"{counts['unsat']} of {len(results)} rows are proved to keep their class, {counts['sat']} are refuted, "
        f"{counts['unknown'] + counts['timeout']} are open, {counts[MISCLASSIFIED]} are misclassified"
    )
    verdicts = [Verdict(entry["verdict"]) for entry in results if entry["verdict"] is not None]
    worst = Verdict.REFUTED if counts[MISCLASSIFIED] else Verdict.PROVED
    code = min([BY_VERDICT[worst], *(BY_VERDICT[verdict] for verdict in verdicts)], key=WORST.index)
    verdict = next(verdict for verdict, exit_code in BY_VERDICT.items() if exit_code is code)
    return _Summary(sentence, {"verdict": str(verdict), "counts": counts}, code)


def _radii(results: Sequence[Mapping[str, Any]]) -> _Summary:
    """A search has no verdict; it is unknown where one ended before the two radii met."""
    unfinished = sum(entry["open"] for entry in results)
    wrong = sum(entry["result"] == MISCLASSIFIED for entry in results)
    certified = [entry["certified_radius"] for entry in results]
    sentence = (
        f"the median certified radius of {len(results)} rows is {down(float(np.median(certified)))}, {wrong} are "
        f"misclassified, {unfinished} searches are open"
    )
    return _Summary(sentence, {"verdict": None}, Exit.UNKNOWN if unfinished else Exit.OK)


def _conclude(summary: _Summary, results: Sequence[Mapping[str, Any]], options: VerifyOptions, seconds: float) -> int:
    with standard_output():
        if not options.json:
            sys.stdout.write(f"{summary.sentence}.\n")
            return summary.code
        from certnet.jobs.doctor import versions

        report = {
            **head("verify", None, summary.sentence),
            **summary.entries,
            "network": Path(options.network).name,
            "data": options.subject,
            "norm": options.norm,
            "radius": options.radius,
            "largest_radius": options.largest_radius,
            "results": list(results),
            "seconds": seconds,
            "versions": versions(),
        }
        sys.stdout.write(strict_json(report) + "\n")
    return summary.code
