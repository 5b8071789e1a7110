"""``certnet verify --instances``: many properties in one process, with VNN-COMP's table of results."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from certnet.cli.calls import Asking
from certnet.cli.options import Shown
from certnet.cli.output import Exit, deliver, head, place_for, say
from certnet.cli.show import Live
from certnet.io.instances import Instance, read_instances, results_csv, with_expected
from certnet.io.output import output_folder, print_result, require_named, text_writer
from certnet.io.runs import HOME
from certnet.runtime.display import figures_table
from certnet.runtime.version import __version__
from certnet.runtime.wording import printable
from formulations import InputError

if TYPE_CHECKING:
    from certnet.cli.verify import OfList

FILES = {"results": "results.csv", "report": "report.json"}
JOURNAL = "journal.jsonl"


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

    with output_folder(place, files=(*FILES.values(), JOURNAL), command="verify") as folder:
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
        report, unwritten = deliver(folder, FILES, about, {FILES["results"]: table})
    # A contradicted verdict is worse than a file that cannot be read, and that is worse than an open question.
    grades = ((wrong, Exit.REFUTED), (known["error"], Exit.USAGE), (known["unknown"] + known["timeout"], Exit.UNKNOWN))
    code = next((code for found, code in grades if found), Exit.OK)
    figures = [(word, str(count)) for word, count in known.items() if count]
    figures += [(f"expected {one['expected']}, found {one['result']}", one["property"]) for one in wrong]
    figures += [("error", f"{one['property']}: {one['reason']}") for one in results if one["result"] == "error"]
    return say(
        Shown(json=asking.json),
        report,
        figures_table(category, figures),
        [report["files"][name] for name in reversed(FILES) if name in report["files"]],
        remarks=notes,
        failure=unwritten,
        interrupted="Interrupted; what is finished was written, and the same command goes on from there.",
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
