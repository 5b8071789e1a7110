"""Several runs side by side, on a screen and on the page."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from certnet import plots
from certnet.report.proof import Proved
from certnet.report.records import Picture, Section, Table, drawn
from certnet.runtime.wording import NONE, OF_CLASSES, OF_NUMBERS, PARTS, bounds, cleaned, figure, mapping, number

SCORES = ("log_loss", "mean_squared_error", "accuracy")
"""By which the best run is chosen, on validation rows: the first that all have. Of accuracies the largest is best."""

BEST = "* best on the validation rows"


def row_of(name: str, report: Mapping[str, Any]) -> dict[str, Any]:
    """The figures of a run of training that stand in a table; what is missing or no number is None."""
    row: dict[str, Any] = {"run": name}
    row |= {field: text if isinstance(text := report.get(field), str) else None for field in ("loss", "verdict")}
    numbers = ("gamma", "width", "objective", "lower_bound", "gap", "seconds")
    row |= {field: number(report.get(field)) for field in numbers}
    scores = {field: report[field] for field in (*OF_CLASSES, *OF_NUMBERS) if isinstance(report.get(field), Mapping)}
    return row | {field: {part: number(found.get(part)) for part in PARTS} for field, found in scores.items()}


def differences(reports: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    """A sentence, by what differs, wherever figures of two runs cannot be compared."""
    said = {}
    data = [mapping(report.get("data")) for report in reports]
    judged = ("seed", "task", "rows", "name", "target", "classes")
    if any(entry.get(name) != data[0].get(name) for entry in data for name in judged):
        said["rows"] = "The runs are about different rows, data or targets; no scores are compared."
    if len({str(entry.get("fingerprint")) for entry in data}) > 1:
        said["data"] = "Training rows, features or their scale differ; objectives are not compared."
    terms = {"loss": "losses", "gamma": "weight decays"}
    for name, words in (terms | dict.fromkeys(("hidden_bias", "output_bias"), "treatments of the biases")).items():
        if len({str(report.get(name)) for report in reports}) > 1:
            said[name] = f"The runs have different {words}; compare scores and gaps, not objectives."
            break
    return said


def best_of(rows: Sequence[Mapping[str, Any]]) -> tuple[int, str, float] | None:
    """(which row, by which score, its value) of the best row on validation rows; in doubt the larger weight decay."""
    for name in SCORES:
        values = [number(mapping(row.get(name)).get("validation")) for row in rows]
        if values and None not in values:
            sign = 1.0 if name == "accuracy" else -1.0
            decays = [row["gamma"] or 0.0 for row in rows]
            place = max(range(len(rows)), key=lambda place: (sign * (values[place] or 0.0), decays[place]))
            return place, name, values[place] or 0.0
    return None


def table_of(caption: str, rows: Sequence[Mapping[str, Any]], marked: tuple[int, ...], note: str) -> Table:
    """The rows of ``row_of`` in a table."""
    name, title = ("r2", "R²") if any("r2" in row for row in rows) else ("accuracy", "accuracy")
    scored = (f"{title} {PARTS[0]}", *PARTS[1:])
    head = ("run", "loss", "γ", "objective", "lower bound", "gap", "neurons", *scored, "time")
    cells = tuple(
        (
            row["run"],
            cleaned(row["loss"] or NONE, 30),
            figure(row["gamma"], 6),
            *bounds(row),
            figure(row["width"], 9),
            *(figure(mapping(row.get(name)).get(part)) for part in PARTS),
            NONE if row["seconds"] is None else f"{row['seconds']:.1f} s",
        )
        for row in rows
    )
    return Table(caption, head, cells, first_number=2, marked=marked, note=note)


def compared(found: Sequence[Proved], names: Sequence[str]) -> Section:
    """The section of the page, with the gap over γ where the runs are a path."""
    rows = [row_of(name, one.report) for one, name in zip(found, names, strict=True)]
    trained = [k for k, one in enumerate(found) if one.report.get("command") in ("train", "optimality")]
    said = differences([found[k].report for k in trained])
    best = None if "rows" in said else best_of([rows[k] for k in trained])
    note = " ".join(said.values())
    if best is not None:
        note = f"Marked: the best {(OF_CLASSES | OF_NUMBERS)[best[1]]} on validation rows. {note}"
    pictures: tuple[Picture, ...] = ()
    if "gamma" in said and "data" not in said:
        path = {"results": [rows[k] for k in trained]}
        caption = "How far apart objective and lower bound are at each weight decay."
        pictures = drawn(lambda ax: plots.path(path, ax), "path", "Gap over the weight decay", caption)
    table = table_of("All runs", rows, () if best is None else (trained[best[0]],), note)
    return Section("Comparison", pictures=tuple(replace(one, wide=True) for one in pictures), tables=(table,))
