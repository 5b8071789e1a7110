"""``certnet audit``: certified and attacked accuracy of a network on data."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np

from certificates.certificate import FLOAT32
from certnet.cli import options as common
from certnet.cli.limits import began, job_seconds, positive_numbers, seconds_or_none
from certnet.cli.output import Exit, csv_text, deliver, head, place_for, say
from certnet.cli.parsing import option
from certnet.cli.rows import Subject
from certnet.cli.show import Live, rows_table
from certnet.io.answers import require_kind
from certnet.io.dataset import Split
from certnet.io.float32 import require_plain
from certnet.io.load_data import load
from certnet.io.output import output_folder, require_named, text_writer
from certnet.io.targets import Outputs
from certnet.report.records import Table
from certnet.report.robustness import accuracies
from certnet.runtime.version import __version__
from certnet.runtime.wording import share
from formulations import InputError
from formulations._validation import FloatArray

if TYPE_CHECKING:
    from rich.table import Table as RichTable

FILES = {"inputs": "inputs.csv", "report": "report.json"}
JOURNAL = "journal.jsonl"
WORST = 10
Part = Literal["test", "train", "validation", "all"]


def audit(
    network: common.Network,
    norm: Annotated[common.Norm, option(help="The norm of the disturbance.")],
    radii: Annotated[str, option(metavar="R,R,...", help="Its sizes, positive.")],
    data: common.Data = None,
    *,
    part: Annotated[
        Part | None,
        option(help="Rows to audit: by default test, or all of data that NETWORK's run was not trained on."),
    ] = None,
    limit: Annotated[int | None, option(least=1, help="The first so many of these rows; all by default.")] = None,
    certified_radii: Annotated[bool, option(help="Search for the largest certified radius of each input too.")] = False,
    certificates: Annotated[
        str | None, option(metavar="FOLDER", help="Where the proof of each input and radius is written.")
    ] = None,
    semantics: common.Semantics = "real",
    columns: common.Columns,
    seed: Annotated[
        int | None,
        option(least=0, help="Seed of the split and of the attacks; by default the run's, else 0.", show_default=False),
    ] = None,
    time_limit: Annotated[float, option(help="Seconds for the whole audit; 0 for no limit.")] = 0.0,
    input_limit: Annotated[float, option(help="Seconds for each input; 0 for no limit.")] = 60.0,
    workers: common.Workers = 1,
    scheduler: common.Scheduler = None,
    out: Annotated[str | None, common.out_folder("runs/audit/NETWORK-DATA")] = None,
    fresh: Annotated[bool, option(help="Start anew, also where a journal is in the folder.")] = False,
    shown: common.Shown,
) -> int:
    """Certified and attacked accuracy of NETWORK on DATA; goes on where the same audit was cut short."""
    from certnet.jobs import audit as work
    from certnet.jobs.audit_input import AuditJournal, audit_fingerprint

    started = began()
    sizes = tuple(sorted(positive_numbers(radii, "--radii", "0.01,0.03,0.1")))
    seconds, each = seconds_or_none(time_limit), seconds_or_none(input_limit, "--input-limit")
    require_named(out)
    subject = Subject.named(network)
    subject.require_classes("audits are")
    data = subject.data(data)
    read, other = subject.read, subject.knows_other(data)
    given = {**vars(columns), "seed": seed, "split": False if other else None}
    recipe = subject.recipe(data, **given, task="classification", loss="squared", raw=True)
    seed, part = recipe.seed, part or ("all" if other else "test")
    split = load(recipe.asked_by(read.columns), Outputs(read.scores, read.classes))
    X, Y = _part(split, part)
    relu = read.with_scores(split.classes)
    require_kind(relu, X, Y, data)
    if semantics == FLOAT32:
        require_plain(network, read)
    # Everything that decides what is known of an input; the time limit of the whole and the workers do not.
    how: dict[str, Any] = {"norm": norm, "radii": sizes, "certified_radii": certified_radii}
    how |= {"semantics": semantics, "input_limit": each}
    identity = audit_fingerprint(relu, X, Y, {"certnet": __version__, "seed": seed, **how})
    rows = len(X)
    X, Y = X[:limit], Y[:limit]
    place = Path(out or subject.place("audit", split.name))
    with output_folder(place, files=(*FILES.values(), JOURNAL), command="audit") as folder:
        proofs = None if certificates is None else place_for(certificates, "--certificates", folder=True)
        journal = AuditJournal(place / JOURNAL, identity, proofs)
        if fresh:
            journal.restart()
        known = journal.known(rows, relu.inputs, sizes[-1])
        remaining = job_seconds(seconds, started)
        with Live(enabled=not shown.quiet, time_limit=remaining) as live:
            result = work.audit(
                relu,
                X,
                Y.argmax(axis=1),
                **how,
                time_limit=remaining,
                random_state=seed,
                workers=workers,
                scheduler=scheduler,
                known={row: entry for row, entry in known.items() if row < len(X)},
                recall=journal.recall,
                finished=journal.add,
                progress=live,
                provenance={"network": subject.name, "data": Path(data).name},
            )
        # Inputs that lose their class first.
        order = sorted(result.inputs, key=lambda one: (one.attacked_radius, one.certified_radius, one.margin))
        reached = sum(entry.reached for entry in result.inputs)
        notes = [*relu.notes, *split.notes, *journal.notes, *([] if result.failure is None else [result.failure])]
        about = {
            **head("audit", None, f"{reached} of {len(X)} inputs were verified to the end"),
            "interrupted": result.interrupted,
            "network": subject.name,
            "data": {"name": split.name, "source": data, "part": part, "n": len(X)},
            "semantics": semantics,
            "norm": norm,
            **result.to_dict(split.classes),
            "worst": [entry.to_dict(split.classes) for entry in order[:WORST]],
            "reached": reached,
            "resumed": sum(entry.resumed for entry in result.inputs),
            "seconds": time.perf_counter() - started,
            "files": {"journal": str(journal.path), "certificates": certificates},
            "notes": notes,
        }
        names = [*result.inputs[0].to_dict(), *(f"radius {radius!r}" for radius in sizes)]
        table = csv_text(names, ([*one.to_dict(split.classes).values(), *one.status] for one in result.inputs))
        report, failure = deliver(folder, FILES, about, {FILES["inputs"]: text_writer(table)})
    clean = share(report["clean_accuracy"], at_least=True)
    lines = [f"clean accuracy {clean} on {len(X)} inputs; {report['reason']}"]
    lines += [
        f"{norm} radius {row['radius']:g}: certified {share(row['certified_accuracy'], at_least=True)} <= true <= "
        f"attacked {share(row['attacked_accuracy'], at_least=False)}"
        for row in report["radii"]
    ]
    return say(
        shown,
        report,
        audit_table(report),
        [*lines, *(report["files"][name] for name in reversed(FILES) if name in report["files"])],
        remarks=notes,
        failure=failure,
        interrupted="Interrupted; what is finished was written, and the same command goes on from there.",
        code=Exit.UNKNOWN if any(result.undecided) else Exit.OK,
    )


def _part(split: Split, part: str) -> tuple[FloatArray, FloatArray]:
    """The rows of a part of the data, or of all parts one after the other."""
    parts = {name: (X, Y) for name, X, Y in split.parts() if X is not None and Y is not None}
    if part == "all":
        return np.vstack([X for X, _ in parts.values()]), np.vstack([Y for _, Y in parts.values()])
    if part not in parts:
        raise InputError(f"{split.name} has no {part} rows; choose another --part, such as all.")
    return parts[part]


def audit_table(report: Mapping[str, Any]) -> "RichTable":
    """Clean and certified to attacked accuracy, of each class and of all."""
    data = report["data"]
    title = f"{report['network']} on {data['name']} ({data['part']} rows), {report['norm']}: certified to attacked"
    return rows_table(Table(title, *accuracies(report)))
