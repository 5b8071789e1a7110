"""``certnet audit``: certified and attacked accuracy of a network on data."""

import csv
import io
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from rich.markup import escape
from rich.table import Table

from certificates import Certificate, Robustness, read_certificate, write_certificate
from certificates.certificate import CaseProof
from certnet import __version__
from certnet.cli.exits import Exit
from certnet.cli.limits import began, job_seconds, positive_numbers
from certnet.cli.proofs import proof_folder
from certnet.cli.report import finite, head
from certnet.cli.rows import require_kind
from certnet.cli.show import Live, stderr_console
from certnet.io import Recipe, Split, load
from certnet.io.load_network import read_file
from certnet.io.output import Writer, files_in, json_writer, output_folder, print_result, require_named, text_writer
from certnet.io.targets import Outputs
from certnet.jobs import audit as _audit
from certnet.jobs.audit import audit_radii
from certnet.jobs.audit_journal import Journal, audit_fingerprint
from certnet.jobs.audit_result import AuditResult, InputAudit
from formulations import InputError
from formulations._validation import FloatArray
from formulations.network import ReluNetwork

FILES = {"report": "report.json", "inputs": "inputs.csv"}
JOURNAL = "journal.jsonl"
WORST = 10
PARTS = ("test", "train", "validation", "all")


@dataclass(frozen=True, kw_only=True)
class AuditOptions:
    """The options of the command.

    Attributes:
        radii: ascending.
        part: one of ``PARTS``.
        limit: number of inputs, from the first one on, or None.
        certificates: folder for certificates, or None.
        fresh: replace the journal instead of going on with it.
    """

    network: str
    recipe: Recipe
    norm: str
    radii: tuple[float, ...]
    part: str
    limit: int | None
    certified_radii: bool
    certificates: str | None
    time_limit: float | None
    input_limit: float | None
    workers: int
    scheduler: str | None
    out: str | None
    fresh: bool
    json: bool
    quiet: bool


def parse_radii(text: str) -> tuple[float, ...]:
    """The radii of ``--radii 0.01,0.03,0.1``.

    Raises:
        InputError: no positive finite numbers, or one of them twice.
    """
    return positive_numbers(text, "--radii", "0.01,0.03,0.1", audit_radii)


def run_audit(options: AuditOptions) -> int:
    """Audit, write report and table, print, and return the exit code.

    Raises:
        InputError: anything a user can put right.
    """
    started = began()
    _check(options)
    read = read_file(options.network)
    split = load(options.recipe, Outputs(len(read.V), read.classes))
    X, Y = _part(split, options.part)
    network = read.for_verification(split.classes)
    require_kind(network, X, Y, options.recipe.source)
    identity = _identity(network, X, Y, options)
    rows = len(X)
    X, Y = X[: options.limit], Y[: options.limit]
    out = Path(options.out or f"runs/audit/{split.name}")
    with output_folder(out, files=(*FILES.values(), JOURNAL), command="audit") as folder:
        journal = Journal(out / JOURNAL, identity)
        proofs = None if options.certificates is None else proof_folder(options.certificates, "--certificates")
        known = {} if options.fresh else journal.read(rows, network.inputs, options.radii[-1])
        known = {row: entry for row, entry in known.items() if row < len(X)}
        if options.fresh and journal.path.exists():
            journal.begin()
        keep = _Keep(journal, proofs)
        result = _run(network, X, Y, options, started, known=known, keep=keep)

        def described(place: Path | None, failures: tuple[str, ...]) -> tuple[dict[str, Any], Mapping[str, Writer]]:
            files = {**files_in(place, FILES), "journal": journal.path}
            notes, seconds = [*keep.notes, *failures], time.perf_counter() - started
            report = audit_report(result, split, options, files, notes, seconds=seconds)
            return report, {FILES["report"]: json_writer(report), FILES["inputs"]: _csv(result, split)}

        report, failure = folder.deliver(described)
    _show(report, options)
    if failure is not None and options.quiet:
        stderr_console().print(f"certnet: {failure}", markup=False, soft_wrap=True)
    if result.interrupted:
        return Exit.INTERRUPTED
    return Exit.UNKNOWN if any(result.undecided) else Exit.OK


def _check(options: AuditOptions) -> None:
    if options.limit is not None and options.limit < 1:
        raise InputError(f"--limit must be at least 1, not {options.limit}.")
    if options.workers < 1:
        raise InputError(f"--workers must be at least 1, not {options.workers}.")
    require_named(options.out)


def _part(split: Split, part: str) -> tuple[FloatArray, FloatArray]:
    """The rows of a part of the data, or of all parts one after the other."""
    parts = {name: (X, Y) for name, X, Y in split.parts() if X is not None and Y is not None}
    if part == "all":
        return np.vstack([X for X, _ in parts.values()]), np.vstack([Y for _, Y in parts.values()])
    if part not in parts:
        raise InputError(f"{split.name} has no {part} rows; choose another --part, such as all.")
    return parts[part]


def _identity(network: ReluNetwork, X: FloatArray, Y: FloatArray, options: AuditOptions) -> str:
    """Everything that decides what is known of an input. The time limits of the whole and the workers do not."""
    relevant = {
        "certnet": __version__,
        "norm": options.norm,
        "radii": options.radii,
        "certified_radii": options.certified_radii,
        "input_limit": options.input_limit,
        "seed": options.recipe.seed,
    }
    return audit_fingerprint(network, X, Y, relevant)


def _proof_name(row: int, radius: float) -> str:
    return f"row-{row}-radius-{radius!r}.cert"


class _Keep:
    """Writes what is finished: certificates first, so that no journal speaks of one that is missing.

    Attributes:
        notes: what could not be written, in a sentence. The next input is tried again.
    """

    def __init__(self, journal: Journal, proofs: Path | None) -> None:
        self._journal, self._proofs = journal, proofs
        self.notes: list[str] = []

    def __call__(self, entry: InputAudit, proofs: Mapping[float, Certificate]) -> None:
        try:
            if self._proofs is not None:
                for radius, certificate in proofs.items():
                    write_certificate(self._proofs / _proof_name(entry.row, radius), certificate)
            self._journal.add(entry, proofs.get(entry.certified_radius))
        except OSError as error:
            self.notes[:] = [
                f"Journal or certificates could not be written ({error.strerror or error}); make room and run the same "
                "command again."
            ]

    def recall(self, entry: InputAudit) -> Sequence[CaseProof] | None:
        """The stored proof of the certified radius: the certificate if there are to be such, else the journal's."""
        if self._proofs is None:
            return self._journal.proof(entry)
        try:
            name = self._proofs / _proof_name(entry.row, entry.certified_radius)
            return read_certificate(name, Robustness).proofs
        except (InputError, OSError):
            return None


def _run(
    network: ReluNetwork,
    X: FloatArray,
    Y: FloatArray,
    options: AuditOptions,
    started: float,
    *,
    known: Mapping[int, InputAudit],
    keep: _Keep,
) -> AuditResult:
    limit = job_seconds(options.time_limit, started)
    with Live(stderr_console(), enabled=not options.quiet, time_limit=limit) as live:
        return _audit.audit(
            network,
            X,
            Y.argmax(axis=1),
            norm=options.norm,
            radii=options.radii,
            certified_radii=options.certified_radii,
            time_limit=limit,
            input_limit=options.input_limit,
            random_state=options.recipe.seed,
            workers=options.workers,
            scheduler=options.scheduler,
            known=known,
            recall=keep.recall,
            finished=keep,
            progress=live,
            provenance={"network": Path(options.network).name, "data": Path(options.recipe.source).name},
        )


def audit_report(
    result: AuditResult,
    split: Split,
    options: AuditOptions,
    files: Mapping[str, Path],
    notes: Sequence[str],
    *,
    seconds: float,
) -> dict[str, Any]:
    """The object that the command writes and prints."""
    from certnet.jobs.doctor import versions

    count = len(result.inputs)
    reached = sum(entry.reached for entry in result.inputs)
    return {
        **head("audit", None, f"{reached} of {count} inputs were verified to the end"),
        "interrupted": result.interrupted,
        "network": Path(options.network).name,
        "data": {"name": split.name, "source": split.recipe.source, "part": options.part, "n": count},
        "norm": result.norm,
        "clean_accuracy": result.clean_accuracy,
        "radii": _figures(result),
        "classes": _classes(result, split),
        "worst": [_fields(entry, split) for entry in _worst(result)],
        "reached": reached,
        "resumed": sum(entry.resumed for entry in result.inputs),
        "seconds": seconds,
        "files": {**{name: str(path) for name, path in files.items()}, "certificates": options.certificates},
        "versions": versions(),
        "notes": [*split.notes, *notes, *([] if result.failure is None else [result.failure])],
    }


def _figures(result: AuditResult) -> list[dict[str, float]]:
    names = ("certified_accuracy", "attacked_accuracy", "undecided")
    rows = zip(result.radii, *(getattr(result, name) for name in names), strict=True)
    return [dict(zip(("radius", *names), row, strict=True)) for row in rows]


def _classes(result: AuditResult, split: Split) -> list[dict[str, Any]]:
    """The same figures for the inputs of each class that has any."""
    table = []
    for label in sorted({entry.label for entry in result.inputs}):
        inputs = tuple(entry for entry in result.inputs if entry.label == label)
        part = AuditResult(result.norm, result.radii, inputs, result.interrupted, result.seconds)
        row = {"class": _name(split, label), "n": len(inputs), "clean_accuracy": part.clean_accuracy}
        table.append({**row, "radii": _figures(part)})
    return table


def _worst(result: AuditResult) -> list[InputAudit]:
    """Inputs that lose their class first: by attacked radius, then certified radius, then margin."""
    order = sorted(result.inputs, key=lambda entry: (entry.attacked_radius, entry.certified_radius, entry.margin))
    return order[:WORST]


def _name(split: Split, label: int) -> str:
    return str(label) if split.classes is None else split.classes[label]


def _fields(entry: InputAudit, split: Split) -> dict[str, Any]:
    return {
        "row": entry.row,
        "label": _name(split, entry.label),
        "predicted": _name(split, entry.predicted),
        "margin": finite(entry.margin),
        "certified_radius": entry.certified_radius,
        "attacked_radius": finite(entry.attacked_radius),
        "reached": entry.reached,
        "seconds": entry.seconds,
    }


def _csv(result: AuditResult, split: Split) -> Writer:
    """A line for each input."""
    text = io.StringIO()
    names = list(_fields(result.inputs[0], split))
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*names, *(f"radius {radius!r}" for radius in result.radii)])
    for entry in result.inputs:
        values = _fields(entry, split).values()
        writer.writerow(["" if value is None else value for value in values] + list(entry.status))
    return text_writer(text.getvalue())


def _show(report: Mapping[str, Any], options: AuditOptions) -> None:
    """The tables on stderr, a line for each radius on stdout."""
    console = stderr_console()
    if not options.quiet:
        console.print(_table(report))
    if report["interrupted"]:
        console.print(
            "certnet: Interrupted; what is finished was written, and the same command goes on from there.",
            markup=False,
            soft_wrap=True,
        )
    for note in report["notes"] if not options.quiet else []:
        console.print(note, markup=False, soft_wrap=True)
    lines = [f"clean accuracy {report['clean_accuracy']:.4f} on {report['data']['n']} inputs; {report['reason']}"]
    lines += [
        f"{report['norm']} radius {row['radius']:g}: certified {row['certified_accuracy']:.4f} <= true <= attacked "
        f"{row['attacked_accuracy']:.4f}"
        for row in report["radii"]
    ]
    lines += [report["files"][name] for name in FILES if name in report["files"]]
    print_result(report, lines, as_json=options.json)


def _table(report: Mapping[str, Any]) -> Table:
    """Clean and certified to attacked accuracy, of each class and of all."""
    data = report["data"]
    title = f"{report['network']} on {data['name']} ({data['part']} rows), {report['norm']}: certified to attacked"
    table = Table(title=escape(title), title_justify="left")
    table.add_column("class")
    for column in ("inputs", "clean", *(f"{row['radius']:g}" for row in report["radii"])):
        table.add_column(column, justify="right")
    everything = {"class": "all", "n": data["n"], **{name: report[name] for name in ("clean_accuracy", "radii")}}
    for row in (*report["classes"], everything):
        shown = (f"{cell['certified_accuracy']:.3f} to {cell['attacked_accuracy']:.3f}" for cell in row["radii"])
        table.add_row(escape(row["class"]), str(row["n"]), f"{row['clean_accuracy']:.3f}", *shown)
    return table
