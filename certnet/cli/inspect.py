"""``certnet show`` and ``certnet compare``: what runs left behind, read again."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from certnet.cli.options import Json, Runs, run_names

if TYPE_CHECKING:
    from rich.table import Table

    from certnet.io.runs import Run

FEATURES = 12
"""Names of features that are listed."""
SCORES = ("log_loss", "mean_squared_error", "accuracy")
"""By which the best run is chosen, on validation rows: the first that all have. Of accuracies the largest is best."""


def show(
    run: Annotated[
        Path, typer.Argument(metavar="RUN", autocompletion=run_names, help="A run's folder, or its name in runs.")
    ],
    json: Json = False,
) -> int:
    """All there is to know about a run: what it means, its figures, how data are treated, and its files."""
    from certnet.cli.output import Exit, head
    from certnet.io.output import print_result
    from certnet.io.runs import read_runs

    found = read_runs(run)
    if len(found) > 1:
        return compare([run], json=json)
    one = found[0]
    report = {**head("show", None, one.headline.text), "run": dict(one.report), "headline": one.headline.text}
    print_result(report, [] if json else [*_told(one)], as_json=json)
    return Exit.OK


def _told(run: "Run") -> list[str]:
    """A run on a screen."""
    from certnet.cli.show import first_line, text_of
    from certnet.runtime.wording import printable
    from formulations import InputError

    try:
        lines = [first_line(run.report), *text_of(_table(run))]
    except (KeyError, TypeError, ValueError, AttributeError, ArithmeticError):
        raise InputError(f"{run.path} holds a report that is damaged; run certnet {run.command} again.") from None
    files = sorted(path for path in run.path.iterdir() if path.is_file() and not path.name.startswith("."))
    lines += ["files", *(f"  {printable(str(path))} ({size(path.stat().st_size)})" for path in files)]
    return [*lines, *_what_next(run)]


def _table(run: "Run") -> "Table":
    from certnet.cli.audit import audit_table
    from certnet.cli.optimality import optimality_table
    from certnet.cli.show import training_table

    if run.command == "audit":
        return audit_table(run.report)
    if run.command == "optimality":
        return optimality_table(run.report)
    table = training_table(run.report)
    for name, text in _treatment(run):
        table.add_row(name, _plain(text))
    return table


def _treatment(run: "Run") -> list[tuple[str, str]]:
    """How data are treated on their way into the network."""
    network, data = run.network, run.report["data"]
    if network is None:
        return []
    names = network.feature_names
    more = f", … ({len(names)} in all)" if len(names) > FEATURES else ""
    scaled = "as they are" if network.scale is None else "mean 0 and deviation 1 on the training rows"
    rows = ", ".join(f"{count} {part}" for part, count in data["rows"].items() if count is not None)
    recipe = () if network.columns is None else network.columns.sentences()
    return [
        ("data", f"{data['source']}; rows: {rows}"),
        ("features", ", ".join(names[:FEATURES]) + more),
        ("scale of features", scaled),
        *(("columns", sentence) for sentence in recipe),
        *([] if network.classes is None else [("classes", ", ".join(network.classes))]),
        *(("note", str(note)) for note in run.report["notes"]),
    ]


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _what_next(run: "Run") -> list[str]:
    """Commands that go on from here."""
    if run.command != "train":
        return []
    return [
        "next",
        f"  certnet check {run.path}                 proves the bound again",
        f"  certnet predict {run.path} NEW.csv       predicts new rows",
        f"  certnet report {run.path} --html FILE    makes a page of it",
    ]


def size(count: int) -> str:
    """Bytes as people read them."""
    return f"{count} B" if count < 1000 else f"{count / 1e3:.0f} kB" if count < 10**6 else f"{count / 1e6:.1f} MB"


def compare(runs: Runs, json: Json = False) -> int:
    """One table of several runs, the best on validation rows marked, and what cannot be compared."""
    from certnet.cli.output import Exit, head
    from certnet.cli.show import text_of
    from certnet.io.output import print_result
    from certnet.io.runs import read_runs
    from certnet.runtime.wording import OF_CLASSES, OF_NUMBERS
    from formulations import InputError

    found = [one for run in runs for one in read_runs(run)]
    odd = next((run for run in found if run.command != "train"), None)
    if odd is not None:
        raise InputError(f"{odd.path} holds the results of certnet {odd.command}; compare runs of training.")
    rows = [row_of(run) for run in found]
    said = differences(found)
    best = None if any("rows" in about for about, _ in said) else best_of(rows)
    for place, row in enumerate(rows):
        row["best"] = best is not None and place == best[0]
    if best is not None:
        reason = f"best on the validation rows, by {(OF_CLASSES | OF_NUMBERS)[best[1]]}: {rows[best[0]]['run']}"
    else:
        reason = "no run is called the best one, because they have no validation rows in common"
    sentences = [sentence for _, sentence in said]
    report = {**head("compare", None, reason), "best": None if best is None else rows[best[0]]["run"]}
    report |= {"results": rows, "differences": sentences}
    lines = [f"{reason[0].upper()}{reason[1:]}.", *text_of(_comparison(rows)), *sentences]
    print_result(report, [] if json else lines, as_json=json)
    return Exit.OK


def row_of(run: "Run") -> dict[str, Any]:
    """The figures of a run of training that stand in a table; what is missing or no number is None."""
    from certnet.runtime.wording import OF_CLASSES, OF_NUMBERS

    row: dict[str, Any] = {"run": str(run.path)}
    row |= {name: text if isinstance(text := run.report.get(name), str) else None for name in ("loss", "verdict")}
    numbers = ("gamma", "width", "objective", "lower_bound", "gap", "seconds")
    row |= {name: _number(run.report.get(name)) for name in numbers}
    for name in (*OF_CLASSES, *OF_NUMBERS):
        parts = run.report.get(name)
        if isinstance(parts, Mapping):
            row[name] = {part: _number(parts.get(part)) for part in ("train", "validation", "test")}
    return row


def _number(value: object) -> float | int | None:
    number = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    return value if number else None  # type: ignore[return-value]


def differences(runs: Sequence["Run"]) -> list[tuple[str, str]]:
    """(what differs, a sentence) wherever figures of two runs cannot be compared."""
    said = []
    about = [run.report.get("data") for run in runs]
    data = [entry if isinstance(entry, Mapping) else {} for entry in about]
    treated = [{name: entry.get(name) for name in ("seed", "task", "rows", "name")} for entry in data]
    if any(entry != treated[0] for entry in treated):
        said.append(("rows", "The runs are about different data or different rows of them; no scores are compared."))
    if len({str(entry.get("fingerprint")) for entry in data}) > 1:
        said.append(("data", "Training rows, features or their scale differ; objectives are not compared."))
    for name, words in (("loss", "losses"), ("gamma", "weight decays"), ("hidden_bias", "treatments of the biases")):
        if len({str(run.report.get(name)) for run in runs}) > 1:
            said.append((name, f"The runs have different {words}; compare scores and gaps, not objectives."))
            break
    return said


def best_of(rows: Sequence[Mapping[str, Any]]) -> tuple[int, str, float] | None:
    """(which row, by which score, its value) of the best row on validation rows; in doubt the larger weight decay."""
    for name in SCORES:
        values = [_validation(row, name) for row in rows]
        if values and None not in values:
            sign = 1.0 if name == "accuracy" else -1.0
            decays = [row["gamma"] or 0.0 for row in rows]
            place = max(range(len(rows)), key=lambda place: (sign * (values[place] or 0.0), decays[place]))
            return place, name, values[place] or 0.0
    return None


def _validation(row: Mapping[str, Any], name: str) -> float | None:
    found = row.get(name)
    return None if found is None else _number(found.get("validation"))


def _comparison(rows: Sequence[Mapping[str, Any]]) -> "Table":
    from rich.table import Table

    from certnet.cli.show import score
    from certnet.runtime.wording import NONE, bounds

    name, title = ("r2", "R²") if any("r2" in row for row in rows) else ("accuracy", "accuracy")
    table = Table(box=None, pad_edge=False, show_edge=False)
    table.add_column("run", overflow="fold")
    for column in ("γ", "loss", "objective", "lower bound", "gap", "neurons", title, "validation", "test", "time"):
        table.add_column(column, justify="right")
    for row in rows:
        scored, seconds = row.get(name) or {}, row["seconds"]
        table.add_row(
            _plain(f"{row['run']}{' *' if row['best'] else ''}"),
            NONE if row["gamma"] is None else f"{row['gamma']:g}",
            _plain(row["loss"] or NONE),
            *bounds(row),
            NONE if row["width"] is None else str(row["width"]),
            *(score(scored.get(part)) for part in ("train", "validation", "test")),
            NONE if seconds is None else f"{seconds:.1f} s",
        )
    if any(row["best"] for row in rows):
        table.caption = "* best on the validation rows"
    return table
