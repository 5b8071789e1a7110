"""Long jobs with a journal: ``certnet audit``, and the many properties of ``certnet verify --instances``."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from certificates.certificate import FLOAT32
from certnet.cli import options as common
from certnet.cli.calls import Asking
from certnet.cli.limits import began, job_seconds, positive_numbers, seconds_or_none
from certnet.cli.output import Exit, deliver, head, place_for, say
from certnet.cli.parsing import option
from certnet.cli.rows import Subject
from certnet.cli.show import Live, rows_table
from certnet.io.answers import require_kind
from certnet.io.dataset import Outputs
from certnet.io.float32 import require_plain
from certnet.io.instances import Instance, read_instances, results_csv, with_expected
from certnet.io.load_data import load
from certnet.io.output import csv_text, output_folder, print_result, require_named, text_writer
from certnet.io.runs import HOME
from certnet.report.records import Table
from certnet.report.sections import accuracies
from certnet.runtime.display import figures_table
from certnet.runtime.version import __version__
from certnet.runtime.wording import printable, share
from formulations import InputError

if TYPE_CHECKING:
    from rich.table import Table as RichTable

    from certnet.cli.verify import OfList

FILES = {"inputs": "inputs.csv", "report": "report.json"}
OF_LIST = {"results": "results.csv", "report": "report.json"}
JOURNAL = "journal.jsonl"
WORST = 10
RESUMED = "Interrupted; what is finished was written, and the same command goes on from there."
Part = Literal["test", "train", "validation", "all"]


def audit(
    network: str = common.NETWORK,
    norm: common.Norm = option("The norm of the disturbance.", required=True),
    radii: str = option("Its sizes, positive.", required=True, metavar="R,R,..."),
    data: str | None = common.DATA,
    *,
    part: Part | None = option("Rows to audit: by default test, or all of data that NETWORK's run was not trained on."),
    limit: int | None = option("The first so many of these rows; all by default.", least=1),
    certified_radii: bool = option("Search for the largest certified radius of each input too.", default=False),
    certificates: str | None = option("Where the proof of each input and radius is written.", metavar="FOLDER"),
    semantics: common.Semantics = common.SEMANTICS,
    columns: common.Columns,
    seed: int | None = option(
        "Seed of the split and of the attacks; by default the run's, else 0.", least=0, show_default=False
    ),
    time_limit: float = option("Seconds for the whole audit; 0 for no limit.", default=0.0),
    input_limit: float = option("Seconds for each input; 0 for no limit.", default=60.0),
    workers: int = common.WORKERS,
    scheduler: str | None = common.SCHEDULER,
    out: str | None = common.out_folder("runs/audit/NETWORK-DATA-NORM-RADII"),
    fresh: bool = option("Start anew, also where a journal is in the folder.", default=False),
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
    parts = {name: (X, Y) for name, X, Y in split.parts() if X is not None and Y is not None}
    if part not in (*parts, "all"):
        raise InputError(f"{split.name} has no {part} rows; choose another --part, such as all.")
    X, Y = map(np.vstack, zip(*parts.values() if part == "all" else [parts[part]], strict=True))
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
    # Audits of other radii are other audits, with journals of their own.
    place = Path(out or subject.place("audit", "-".join([split.name, norm, *(f"{size:g}" for size in sizes)])[:100]))
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
        table = csv_text([names, *([*one.to_dict(split.classes).values(), *one.status] for one in result.inputs)])
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
        interrupted=RESUMED,
        code=Exit.UNKNOWN if any(result.undecided) else Exit.OK,
    )


def audit_table(report: Mapping[str, Any]) -> "RichTable":
    """Clean and certified to attacked accuracy, of each class and of all."""
    data = report["data"]
    title = f"{report['network']} on {data['name']} ({data['part']} rows), {report['norm']}: certified to attacked"
    return rows_table(Table(title, *accuracies(report)))


def run_instances(
    source: str,
    network: str | None,
    listed: "OfList",
    asking: Asking,
    input_limit: float | None,
    how: Mapping[str, Any],
) -> int:
    """Decide all instances of a list, a folder or a pattern, and print a line for each and a summary.

    ``input_limit`` is for instances whose list names no seconds, and ``how`` are options of ``certnet.verify``.
    """
    require_named(listed.out)
    instances = read_instances(source, network)
    if listed.expected is not None:
        instances = with_expected(instances, listed.expected)
    named = Path(source) if Path(source).is_dir() else Path(source).parent
    category = named.resolve().name or "all"
    place = Path(listed.out or HOME / "verify" / category)

    from certnet.jobs.batch import Answer, BatchJournal, counts, decide_all, in_words

    with output_folder(place, files=(*OF_LIST.values(), JOURNAL), command="verify") as folder:
        proofs = None if asking.certificate is None else place_for(asking.certificate, "--certificate", folder=True)
        places = _places(instances, proofs)
        journal = BatchJournal(place / JOURNAL, {"certnet": __version__, **how})
        if listed.fresh:
            journal.restart()
        claims = journal.claims(instances)

        def finished(number: int, answer: Answer, certificate: Any) -> None:
            journal.add(instances[number], answer, certificate, places[number])
            if not asking.json:
                print_result({}, [printable(_line(instances[number], answer))], as_json=False)

        limit = asking.seconds
        with Live(enabled=True, time_limit=limit) as live:
            answers, interrupted, failure = decide_all(
                instances,
                time_limit=limit,
                input_limit=input_limit,
                workers=listed.workers,
                how=how,
                claims=claims,
                certificates=places,
                finished=finished,
                progress=live,
            )
        results = [
            {"network": one.network, "property": one.query, "expected": one.expected, **answer.to_dict()}
            for one, answer in zip(instances, answers, strict=True)
        ]
        known = counts(answers)
        expecting = [one for one in results if one["expected"] and one["result"] in ("sat", "unsat")]
        wrong = [one for one in expecting if one["expected"] != one["result"]]
        sentence = f"{known['unsat'] + known['sat']} of {len(results)} instances are decided: {in_words(known)}"
        if any(one.expected for one in instances):
            sentence += f"; {len(expecting) - len(wrong)} as expected, {len(wrong)} against it"
        notes = [*journal.notes, *([] if failure is None else [failure])]
        about = {
            **head("verify", None, sentence),
            "interrupted": interrupted,
            "instances": source,
            "counts": known,
            "contradicted": [one["property"] for one in wrong],
            "resumed": sum(answer.resumed for answer in answers),
            "results": results,
            "seconds": time.perf_counter() - asking.started,
            "files": {"journal": str(journal.path), "certificates": asking.certificate},
            "notes": notes,
        }
        table = text_writer(results_csv(category, results))
        report, unwritten = deliver(folder, OF_LIST, about, {OF_LIST["results"]: table})
    # A contradicted verdict is worse than a file that cannot be read, and that is worse than an open question.
    grades = ((wrong, Exit.REFUTED), (known["error"], Exit.USAGE), (known["unknown"] + known["timeout"], Exit.UNKNOWN))
    code = next((code for found, code in grades if found), Exit.OK)
    figures = [(word, str(count)) for word, count in known.items() if count]
    figures += [(f"expected {one['expected']}, found {one['result']}", one["property"]) for one in wrong]
    figures += [("error", f"{one['property']}: {one['reason']}") for one in results if one["result"] == "error"]
    return say(
        common.Shown(json=asking.json),
        report,
        figures_table(category, figures),
        [report["files"][name] for name in reversed(OF_LIST) if name in report["files"]],
        remarks=notes,
        failure=unwritten,
        interrupted=RESUMED,
        code=code,
    )


def _line(one: Instance, answer: Any) -> str:
    differs = one.expected is not None and answer.result in ("sat", "unsat") and answer.result != one.expected
    return f"{one.query} {answer.result} {answer.seconds:.3f} s" + (f"; expected {one.expected}" if differs else "")


def _places(instances: Sequence[Instance], folder: Path | None) -> list[Path | None]:
    """Where the proof of each is written; none may have the name of another."""
    if folder is None:
        return [None] * len(instances)
    stems = [Path(one.query).name.removesuffix(".gz").removesuffix(".vnnlib") for one in instances]
    if len({*stems}) < len(stems):
        stems = [f"{Path(one.network).stem}-{stem}" for one, stem in zip(instances, stems, strict=True)]
    if len({*stems}) < len(stems):
        raise InputError("Two instances are of files of the same names, and so would be their proofs; split the list.")
    return [folder / f"{stem}.cert" for stem in stems]
