"""``certnet show``, ``compare``, ``report`` and ``export``: what runs left behind, read again and for other tools."""

import json as _json
import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from certnet.cli.limits import seconds_or_none
from certnet.cli.options import JSON, NETWORK, RUNS, run_names
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

LINE = 1000  # Most characters of a line of the comparison where no terminal shows it: as if it were not folded.


def show(
    run: Path = argument("RUN", "A run's folder, or its name in runs.", shell_complete=run_names),
    json: bool = JSON,
) -> None:
    """All there is to know about a run: what it means, its figures, how data are treated, and its files."""
    from rich.filesize import decimal

    found = read_runs(run)
    if len(found) > 1:
        compare([run], json=json)
        return
    one, lines = found[0], list[str]()
    if not json:
        try:
            lines = [first_line(one.report), *text_of(_table(one))]
        except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError):
            raise InputError(f"{one.path} holds a report that is damaged; run certnet {one.command} again.") from None
        files = sorted(path for path in one.path.iterdir() if path.is_file() and not path.name.startswith("."))
        lines += ["files", *(f"  {printable(str(path))} ({decimal(path.stat().st_size)})" for path in files)]
    if one.command == "train":
        path = printable(shlex.quote(str(one.path)))
        lines += [
            "next",
            f"  certnet check {path}                 proves the bound again",
            f"  certnet predict {path} NEW.csv       predicts new rows",
            f"  certnet report {path} --html FILE    makes a page of it",
        ]
    report = {**head("show", None, one.headline.text), "run": dict(one.report), "headline": one.headline.text}
    print_result(report, lines, as_json=json, needed=True)


def _table(run: Run) -> "RichTable":
    """The figures of a run, and how data are treated on their way into its network."""
    from certnet.cli.audit import audit_table
    from certnet.report.sections import recipe_of

    if run.command == "audit":
        return audit_table(run.report)
    table, recipe = job_table(run.report), recipe_of(run.report)
    columns, notes = (("columns", sentence) for sentence in recipe.sentences), run.report["notes"]
    for name, text in (*recipe.facts, *columns, *(("note", str(note)) for note in notes)):
        table.add_row(name, plain(text))
    return table


def compare(runs: list[Path] = RUNS, json: bool = JSON) -> None:
    """One table of several runs, the best on validation rows marked, and what cannot be compared."""
    from certnet.report.comparison import BEST, best_of, differences, row_of, table_of

    found = [one for run in runs for one in read_runs(run)]
    odd = next((run for run in found if run.command != "train"), None)
    if odd is not None:
        raise InputError(f"{odd.path} holds the results of certnet {odd.command}; compare runs of training.")
    rows = [row_of(str(run.path), run.report) for run in found]
    said = differences([run.report for run in found])
    best = None if "rows" in said else best_of(rows)
    for place, row in enumerate(rows):
        row["best"] = best is not None and place == best[0]
    reason, name = "no run is called the best one, because they have no validation rows in common", None
    marked: tuple[int, ...] = ()
    if best is not None:
        marked, name = (best[0],), rows[best[0]]["run"]
        reason = f"best on the validation rows, by {(OF_CLASSES | OF_NUMBERS)[best[1]]}: {name}"
    sentences = list(said.values())
    report = {**head("compare", None, reason), "best": name, "results": rows, "differences": sentences}
    lines = [f"{reason[0].upper()}{reason[1:]}."]
    if not json:
        table = rows_table(table_of("", rows, marked, BEST if marked else ""))
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


def export(
    network: str = NETWORK,
    onnx: str | None = option("Write an ONNX graph, FILE.onnx.", metavar="FILE"),
    torch: str | None = option("Write tensors for PyTorch, FILE.safetensors; no pickle.", metavar="FILE"),
    numpy: str | None = option("Write NumPy arrays, FILE.npz.", metavar="FILE"),
    single: bool = option("Numbers of 32 bits instead of 64.", "--float32", default=False),
    json: bool = JSON,
) -> None:
    """Write NETWORK for other tools, with standardisation, and compare it with this network before it is written."""
    from certnet.cli.rows import Subject
    from certnet.io.export import Kind, export
    from certnet.runtime.wording import up

    asked: dict[Kind, str | None] = {"onnx": onnx, "torch": torch, "numpy": numpy}
    given = {kind: path for kind, path in asked.items() if path is not None}
    if not given:
        raise InputError("Say what to write: --onnx FILE.onnx, --torch FILE.safetensors or --numpy FILE.npz.")
    subject = Subject.named(network)
    about = metadata(subject)
    lines, results = [], []
    for kind, path in given.items():
        done = export(Path(path), subject.read, kind, about, single=single)
        results.append({"file": str(done.path), "kind": kind, "difference": done.difference, "rows": done.rows})
        lines += [
            f"{done.path}: its outputs differ from the network's by {up(done.difference, 2)} at most, on {done.rows} "
            "points like the data; to use it:",
            *(f"    {line}" for line in done.how),
        ]
    if subject.run is not None:
        lines.append(f"X = certnet.read_run({str(subject.run.path)!r}).features(FILE) gives the raw features of a file")
    report = {
        **head("export", None, f"{len(results)} files were written and compared"),
        "network": subject.name,
        "dtype": "float32" if single else "float64",
        "metadata": about,
        "results": results,
    }
    lines += [f"{name:<9}{about[name]}" for name in ("features", "classes", "scores") if name in about]
    print_result(report, lines, as_json=json)


def metadata(subject: Any) -> dict[str, str]:
    """What a file says about the network beside its numbers; values are text, lists in JSON."""
    read, run = subject.read, subject.run
    lists: dict[str, Any] = {"features": list(read.feature_names)}
    lists |= {} if read.classes is None else {"classes": list(read.classes)}
    lists |= {} if read.columns is None else {"columns": read.columns.to_json()}
    about = {"network": subject.name, **{name: _json.dumps(one, ensure_ascii=False) for name, one in lists.items()}}
    about |= {} if run is None else {"loss": run.objective["loss"]}
    loss, also = about.get("loss"), ""
    if read.classes is None:
        scores = "logarithms of the predicted means" if loss == "poisson" else "predicted numbers"
    elif read.is_binary:
        scores = "positive for the second class"
        also = "; its logistic function is the probability of that class" if loss == "logistic" else ""
    else:
        scores = "one for each class, the largest wins"
        also = "; their softmax are the probabilities" if loss == "cross-entropy" else ""
    return {**about, "scores": scores + also}
