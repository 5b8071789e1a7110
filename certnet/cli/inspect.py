"""``certnet show``, ``compare`` and ``report``: what runs left behind, read again."""

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING

from certnet.cli.limits import seconds_or_none
from certnet.cli.options import JSON, RUNS, run_names
from certnet.cli.output import head, place_for
from certnet.cli.parsing import argument, option
from certnet.cli.show import Live, first_line, job_table, rows_table, text_of
from certnet.io.output import print_result, write_file
from certnet.io.runs import Run, read_runs
from certnet.runtime.clock import Event
from certnet.runtime.display import plain
from certnet.runtime.wording import OF_CLASSES, OF_NUMBERS, printable
from formulations import InputError

if TYPE_CHECKING:
    from rich.table import Table as RichTable

LINE = 1000
"""Most characters of a line of the comparison where no terminal shows it: as if it were not folded."""


def show(
    run: Path = argument("RUN", "A run's folder, or its name in runs.", shell_complete=run_names),
    json: bool = JSON,
) -> None:
    """All there is to know about a run: what it means, its figures, how data are treated, and its files."""
    found = read_runs(run)
    if len(found) > 1:
        compare([run], json=json)
        return
    one = found[0]
    report = {**head("show", None, one.headline.text), "run": dict(one.report), "headline": one.headline.text}
    print_result(report, [] if json else [*_told(one)], as_json=json, needed=True)


def _told(run: Run) -> list[str]:
    """A run on a screen."""
    from rich.filesize import decimal

    try:
        lines = [first_line(run.report), *text_of(_table(run))]
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError):
        raise InputError(f"{run.path} holds a report that is damaged; run certnet {run.command} again.") from None
    files = sorted(path for path in run.path.iterdir() if path.is_file() and not path.name.startswith("."))
    lines += ["files", *(f"  {printable(str(path))} ({decimal(path.stat().st_size)})" for path in files)]
    if run.command == "train":
        path = printable(shlex.quote(str(run.path)))
        lines += [
            "next",
            f"  certnet check {path}                 proves the bound again",
            f"  certnet predict {path} NEW.csv       predicts new rows",
            f"  certnet report {path} --html FILE    makes a page of it",
        ]
    return lines


def _table(run: Run) -> "RichTable":
    """The figures of a run, and how data are treated on their way into its network."""
    from certnet.cli.audit import audit_table
    from certnet.report.sections import recipe_of

    if run.command == "audit":
        return audit_table(run.report)
    table = job_table(run.report)
    recipe = recipe_of(run.report)
    columns, notes = (("columns", sentence) for sentence in recipe.sentences), run.report["notes"]
    for name, text in (*recipe.facts, *columns, *(("note", str(note)) for note in notes)):
        table.add_row(name, plain(text))
    return table


def compare(runs: list[Path] = RUNS, json: bool = JSON) -> None:
    """One table of several runs, the best on validation rows marked, and what cannot be compared."""
    from certnet.report.comparison import BEST, best_of, differences, in_words, row_of
    from certnet.report.records import Table

    found = [one for run in runs for one in read_runs(run)]
    odd = next((run for run in found if run.command != "train"), None)
    if odd is not None:
        raise InputError(f"{odd.path} holds the results of certnet {odd.command}; compare runs of training.")
    rows = [row_of(str(run.path), run.report) for run in found]
    said = differences([run.report for run in found])
    best = None if any("rows" in about for about, _ in said) else best_of(rows)
    for place, row in enumerate(rows):
        row["best"] = best is not None and place == best[0]
    reason, name = "no run is called the best one, because they have no validation rows in common", None
    marked: tuple[int, ...] = ()
    if best is not None:
        marked, name = (best[0],), rows[best[0]]["run"]
        reason = f"best on the validation rows, by {(OF_CLASSES | OF_NUMBERS)[best[1]]}: {name}"
    sentences = [sentence for _, sentence in said]
    report = {**head("compare", None, reason), "best": name, "results": rows, "differences": sentences}
    lines = [f"{reason[0].upper()}{reason[1:]}."]
    if not json:
        table = rows_table(Table("", *in_words(rows), first_number=2, marked=marked, note=BEST if marked else ""))
        table.box, table.show_edge, table.pad_edge = None, False, False
        lines += [*text_of(table, LINE), *sentences]
    print_result(report, lines, as_json=json, needed=True)


def report(
    runs: list[Path] = RUNS,
    html: str | None = option("The page, complete in itself: no request, no script.", metavar="FILE"),
    time_limit: float = option("Seconds for proving each certificate again; 0 for no limit.", default=60.0),
    json: bool = JSON,
) -> None:
    """Make one page of runs of train, optimality and audit; their certificates are proved again for it."""
    from rich.filesize import decimal

    from certnet.report import page

    started, limit = time.perf_counter(), seconds_or_none(time_limit)
    if html is None:
        raise InputError("Name the file of the page: certnet report RUN --html FILE.html.")
    place = place_for(html, "--html", folder=False)
    found = [one for run in runs for one in read_runs(run)]
    with Live(enabled=True) as live:
        live(Event(f"proving {len(found)} certificates again", time.perf_counter() - started))
        text = page(found, time_limit=limit)
    write_file(place, text.encode())
    said = {**head("report", None, f"a page about {len(found)} runs was written"), "files": {"html": html}}
    said |= {"runs": [str(run.path) for run in found], "seconds": time.perf_counter() - started}
    print_result(said, [f"{place} ({decimal(len(text.encode()))})"], as_json=json)
