"""``certnet verify``: a property of a file, or the classes of rows of data within a radius."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer

from certificates import Verdict
from certificates.certificate import FLOAT32
from certnet.cli.limits import began, seconds_or_none, shares
from certnet.cli.options import (
    Circuits,
    Drop,
    Json,
    NoFeature,
    Norm,
    Rows,
    Semantics,
    Target,
    Workers,
    out_folder,
    run_names,
)
from certnet.cli.output import BY_VERDICT, SEVERITY, Exit, head, place_for, with_headline, write_proof
from certnet.cli.query import answer, asked_of, tell_notes
from certnet.cli.rows import Subject, median_radius, parse_rows, read_rows
from certnet.cli.show import Live, first_line
from certnet.io.float32 import require_plain
from certnet.io.output import print_result
from certnet.io.packed import ending
from certnet.runtime.clock import Event
from certnet.runtime.wording import down, up
from formulations import InputError
from formulations._validation import as_positive
from formulations.properties import keeps_class
from formulations.robustness import region_maker

PROPERTY_SECONDS = 60.0
"""Time limit of a property where none is given."""
MISCLASSIFIED = "misclassified"
UNREACHED = "the time limit was reached before this row"


def verify(
    network: Annotated[
        str | None,
        typer.Argument(
            metavar="NETWORK|QUERY",
            autocompletion=run_names,
            help="A network: a run, or a file that ends in .onnx, .npz or .safetensors. Or, alone, a VNN-LIB file, "
            "whose networks --network names.",
            show_default=False,
        ),
    ] = None,
    subject: Annotated[
        str | None,
        typer.Argument(
            metavar="PROPERTY|DATA",
            help="A VNN-LIB file, which states what is unsafe; or data as for certnet train, whose classes are to "
            "be kept (test rows where the file has them; features as they are in the file).",
            show_default=False,
        ),
    ] = None,
    networks: Annotated[
        list[str] | None,
        typer.Option("--network", metavar="NAME=FILE", help="With QUERY: the file of a network that it declares."),
    ] = None,
    instances: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="Instead of PROPERTY: a CSV file of lines network,property,seconds,expected; or, after NETWORK, a "
            "folder of properties or a pattern such as 'boxes/*.vnnlib'.",
        ),
    ] = None,
    expected: Annotated[
        str | None, typer.Option(metavar="FILE", help="With --instances: verdicts, in lines property,verdict.")
    ] = None,
    norm: Annotated[Norm | None, typer.Option(help="With DATA: the norm of the disturbance.")] = None,
    radius: Annotated[float | None, typer.Option(help="With DATA: its largest size, 0 or more.")] = None,
    largest_radius: Annotated[
        float | None,
        typer.Option(metavar="R", help="With DATA, instead of --radius: search for the radius of each row, up to R."),
    ] = None,
    rows: Rows = None,
    target: Target = None,
    weight_column: NoFeature = None,
    drop: Drop = None,
    time_limit: Annotated[
        float | None,
        typer.Option(
            help="Seconds for the whole command; 0 for no limit. By default 60 for a property and none with DATA.",
            show_default=False,
        ),
    ] = None,
    input_limit: Annotated[
        float, typer.Option(help="Seconds for each row of DATA, or each instance that names none; 0 for no limit.")
    ] = 60.0,
    timeout: Annotated[
        float | None, typer.Option(metavar="SECONDS", help="Another name of --time-limit, that of VNN-LIB.")
    ] = None,
    serialise_assignments: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="With QUERY: write satisfying values there, as NAME.pb, not to stdout."),
    ] = None,
    certificate: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Where the proof is written, if there is one; with DATA or --instances a folder."
        ),
    ] = None,
    tree: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="With a property: splits that another verifier found, as JSON."),
    ] = None,
    semantics: Semantics = "real",
    circuits: Circuits = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the attack.")] = 0,
    workers: Workers = 1,
    out: Annotated[str | None, out_folder("with --instances runs/verify/FOLDER-OF-LIST")] = None,
    fresh: Annotated[
        bool, typer.Option("--fresh", help="With --instances: start anew, also where a journal is.")
    ] = False,
    json: Json = False,
) -> int:
    """Prove that no input is unsafe (unsat), find one (sat), or say unknown or timeout, on the first line."""
    started = began()
    each = seconds_or_none(input_limit, "--input-limit")
    if timeout is not None and time_limit is not None:
        raise InputError("--timeout and --time-limit are the same; give one of them.")
    time_limit = timeout if time_limit is None else time_limit
    limit = None if time_limit is None else seconds_or_none(time_limit)
    how: dict[str, Any] = {"circuits": circuits, "random_state": seed}
    of_data = {"--norm": norm, "--radius": radius, "--largest-radius": largest_radius, "--rows": rows}
    of_data |= {"--target": target, "--weight-column": weight_column, "--drop": drop}
    of_query = {"--network": networks or None, "--serialise-assignments": serialise_assignments, "--tree": tree}
    of_list = {"--expected": expected, "--workers": None if workers == 1 else workers, "--out": out}
    of_list |= {"--fresh": fresh or None}
    if instances is not None:
        _refuse({"a property or data": subject, **of_query, **of_data}, "--instances names its properties")
        files: dict[str, Any] = {"expected": expected, "certificates": certificate, "out": out, "fresh": fresh}
        from certnet.cli.instances import run_instances

        return run_instances(
            instances,
            network,
            started,
            time_limit=limit,
            input_limit=each,
            semantics=semantics,
            how=how,
            workers=workers,
            json=json,
            **files,
        )
    _refuse(of_list, "it goes with --instances")
    if network is None:
        raise InputError("Name a network and a property, or --instances LIST; certnet verify --help has an example.")
    if subject is None or networks or ending(Path(subject)) == ".vnnlib":
        _refuse(of_data, "it goes with data; the property file says which inputs are meant")
        how["time_limit"] = PROPERTY_SECONDS if time_limit is None else limit
        query = asked_of(network, subject, networks or [], semantics)
        if tree is not None:
            from certnet.io.split_tree import read_split_tree

            how["tree"] = read_split_tree(tree, query[0].network)
        return answer(*query, how, started, certificate=certificate, serialise=serialise_assignments, json=json)
    _refuse(of_query, "it goes with a property of VNN-LIB")
    about = Subject.named(network)
    names = {"network": about.name, "property": Path(subject).name}
    if semantics == FLOAT32:
        require_plain(network, about.read)
    if norm is None or (radius is None and largest_radius is None):
        raise InputError(
            f"{subject!r} is no .vnnlib file, so it is read as data; then --norm linf or l2 and --radius R or "
            "--largest-radius R are needed."
        )
    if radius is not None and largest_radius is not None:
        raise InputError("--radius and --largest-radius exclude each other; give one of them.")
    if largest_radius is not None:
        as_positive("--largest-radius", largest_radius)
    given = {"target": target, "weight_column": weight_column, "task": "classification", "loss": "squared"}
    read, X, Y = read_rows(about, about.recipe(subject, **given, drop=drop))
    labels, chosen, make = Y.argmax(axis=1).tolist(), parse_rows(rows, len(X)), region_maker(norm)
    if radius is not None:
        make(X[0], radius)
    folder = None if certificate is None else place_for(certificate, "--certificate", folder=True)

    from certnet.jobs.radius import CertifiedRadius, certified_radius
    from certnet.jobs.verify import VerificationResult, misclassified
    from certnet.jobs.verify import verify as decide

    results: list[dict[str, Any]] = []
    with Live(enabled=True, time_limit=limit) as live:
        for row, seconds in zip(chosen, shares(limit, started, len(chosen), each), strict=True):
            x, label = X[row], labels[row]
            found: CertifiedRadius | VerificationResult
            entry: dict[str, Any] = {"row": row, "label": label}
            how |= {"semantics": semantics, "provenance": {**names, "row": row}}
            tell = live.part(f"row {row} ({len(results) + 1} of {len(chosen)})", started, _so_far(results))
            tell(Event("begins", 0.0))
            if seconds == 0 and largest_radius is not None:
                found = CertifiedRadius(0.0, np.inf, None, None, True, 0.0)
            elif seconds == 0:
                found = VerificationResult(Verdict.UNKNOWN, UNREACHED, -np.inf, np.inf, (0, 0), 0.0, timed_out=True)
            elif misclassified(read, x, label, semantics):
                found, entry["result"] = CertifiedRadius(0.0, 0.0, None, None, False, 0.0), MISCLASSIFIED
            elif largest_radius is not None:
                found = certified_radius(read, x, label, norm=norm, largest=largest_radius, time_limit=seconds, **how)
            else:
                found = decide(
                    read, keeps_class(read, make(x, radius or 0.0), label), time_limit=seconds, progress=tell, **how
                )
            entry = {**found.to_dict(), **entry}
            if folder is not None and found.certificate is not None:
                entry["certificate"] = str(folder / f"row-{row}.cert")
                write_proof(folder / f"row-{row}.cert", found.certificate)
            results.append(entry)
            if not json:
                print_result(entry, [f"{row} {_words(entry)}"], as_json=False)
    sentence, summary, code = _counts(results) if largest_radius is None else _radii(results)
    report = with_headline(
        {
            **head("verify", None, sentence),
            **summary,
            "network": names["network"],
            "data": subject,
            "semantics": semantics,
            "norm": norm,
            "radius": radius,
            "largest_radius": largest_radius,
            "results": results,
            "seconds": time.perf_counter() - started,
            "notes": tell_notes(read),
        }
    )
    print_result(report, [first_line(report)], as_json=json)
    return code


def _refuse(options: Mapping[str, Any], why: str) -> None:
    """Refuse options that are given, and not None.

    Raises:
        InputError: for the first of them.
    """
    for name, value in options.items():
        if value is not None:
            raise InputError(f"Leave {name} out: {why}.")


def _words(entry: Mapping[str, Any]) -> str:
    """The line of a row, after its number."""
    if entry["result"] != "radius":
        return str(entry["result"])
    attacked = entry["attacked_radius"]
    end = "" if attacked is None else f" <= attacked {up(attacked)}"
    return f"certified {down(entry['certified_radius'])} <= true{end}{'; open' if entry['open'] else ''}"


def _so_far(results: Sequence[Mapping[str, Any]]) -> str | None:
    """What is known of the rows that are done."""
    counts = Counter(str(entry["result"]) for entry in results if entry["result"] != "radius")
    radii = [entry["certified_radius"] for entry in results if entry["result"] == "radius"]
    median = median_radius(radii)
    return ", ".join([*(f"{count} {word}" for word, count in counts.items()), *filter(None, [median])]) or None


def _counts(results: Sequence[Mapping[str, Any]]) -> tuple[str, dict[str, Any], Exit]:
    """(the last line, what JSON says beside the rows, the exit code) of rows at one radius."""
    counts = dict.fromkeys(("unsat", "sat", "unknown", "timeout", MISCLASSIFIED), 0)
    for entry in results:
        counts[entry["result"]] += 1
    sentence = (
        f"{counts['unsat']} of {len(results)} rows are proved to keep their class, {counts['sat']} are refuted, "
        f"{counts['unknown'] + counts['timeout']} are open, {counts[MISCLASSIFIED]} are misclassified"
    )
    verdicts = [Verdict(entry["verdict"] or Verdict.REFUTED) for entry in results]
    verdict = min(verdicts, key=SEVERITY.index)
    return sentence, {"verdict": str(verdict), "counts": counts}, BY_VERDICT[verdict]


def _radii(results: Sequence[Mapping[str, Any]]) -> tuple[str, dict[str, Any], Exit]:
    """The same of searches, which have no verdict; it is unknown where one ended before the two radii met."""
    unfinished = sum(entry["open"] for entry in results)
    wrong = sum(entry["result"] == MISCLASSIFIED for entry in results)
    median = float(np.median([entry["certified_radius"] for entry in results]))
    sentence = (
        f"the median certified radius of {len(results)} rows is {down(median)}, {wrong} are misclassified, "
        f"{unfinished} searches are open"
    )
    return sentence, {"verdict": None}, Exit.UNKNOWN if unfinished else Exit.OK
