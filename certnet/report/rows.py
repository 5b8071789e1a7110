"""How a network does on the rows of its data."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from certnet import plots
from certnet.plots.data import counts_of
from certnet.report.proof import Proved
from certnet.report.records import Picture, Section, Table, drawn
from certnet.report.words import names, text
from certnet.runtime.fields import entries, mapping, number
from certnet.runtime.wording import OF_CLASSES, OF_NUMBERS, PARTS, figure, share
from formulations import InputError


def on_data(one: Proved, key: str) -> Section:
    """How the network does on the rows."""
    report = one.report
    data = mapping(report.get("data"))
    if report.get("command") == "audit":
        return Section("")
    scores = []
    for name, words in {**OF_CLASSES, **OF_NUMBERS}.items():
        values = mapping(report.get(name))
        if any(number(values.get(part)) is not None for part in PARTS):
            scores.append((words, *(figure(values.get(part)) for part in PARTS)))
    counts = mapping(data.get("rows"))
    head = ("", *(f"{part} ({text(counts[part], 20)})" if number(counts.get(part)) else part for part in PARTS))
    tables = [Table("Scores, by rows", head, tuple(scores))] if scores else []
    tables += [*_confusion(report), *_worst(report)]
    pictures = drawn(
        lambda ax: plots.fitted(report, ax),
        f"{key}-fitted",
        "Predictions over targets",
        "Points on the line are exact. Test rows where there are any.",
    )
    pictures += _of_network(one, key)
    note = () if not tables else ("Nothing was chosen by the test rows.",)
    return Section("On the data", pictures=pictures, tables=tuple(tables), sentences=note)


def _of_network(one: Proved, key: str) -> tuple[Picture, ...]:
    network, rows, labels = one.network, one.rows, one.labels
    if network is None or rows is None:
        return ()
    data = mapping(one.report.get("data"))
    features, classes = names(data.get("features")), names(data.get("classes"))
    found: tuple[Picture, ...] = ()
    if labels is not None and rows.shape[1] == 2:
        given = {"classes": classes or None, "features": features if len(features) == 2 else None}
        found += drawn(
            lambda ax: plots.decision_boundary(network, rows, labels, ax, **given),
            f"{key}-plane",
            "Decision boundary",
            "The class the network gives each point of the plane, with the training rows.",
        )
    return found + drawn(
        lambda ax: plots.activations(network, rows, ax, order=labels),
        f"{key}-active",
        "Active neurons",
        "Training rows from top to bottom"
        + ("" if labels is None else ", sorted by class")
        + "; a neuron is coloured where it is active.",
    )


def _confusion(report: Mapping[str, Any]) -> list[Table]:
    """The confusion matrix and what follows from it for each class."""
    matrices, classes = mapping(report.get("confusion")), names(mapping(report.get("data")).get("classes"))
    part = next((part for part in reversed(PARTS) if matrices.get(part)), None)
    try:
        matrix = counts_of(matrices.get(part or ""))
    except InputError:
        return []
    labels = classes if len(classes) == len(matrix) else [str(k) for k in range(len(matrix))]
    shown = tuple((label, *(f"{cell:g}" for cell in row)) for label, row in zip(labels, matrix, strict=True))
    with np.errstate(all="ignore"):  # 0 of 0 rows are a dash
        right, totals, given = matrix.diagonal(), matrix.sum(axis=1), matrix.sum(axis=0)
        tint = tuple(map(tuple, (matrix / np.maximum(totals, 1)[:, None]).tolist()))
        ratios = np.stack([right / given, right / totals, 2.0 * right / (totals + given)], axis=1).tolist()
    each = [(label, f"{total:g}", *map(share, row)) for label, total, row in zip(labels, totals, ratios, strict=True)]
    head = ("class", "rows", "precision", "recall", "F1")
    return [
        Table(f"Confusion matrix ({part} rows)", ("class \\ predicted", *labels), shown, tint=tint),
        Table(f"Each class ({part} rows)", head, tuple(each)),
    ]


def _worst(report: Mapping[str, Any]) -> list[Table]:
    found = mapping(report.get("worst"))
    rows = [mapping(row) for row in entries(found.get("rows"), 10)]
    cells = tuple(
        (text(row.get("row"), 20), _values(row.get("target")), _values(row.get("predicted")), figure(row.get("loss")))
        for row in rows
    )
    if not cells:
        return []
    note = "Rows are counted from 0 among these rows."
    title = f"The rows with the largest loss ({text(found.get('part'), 20)} rows)"
    return [Table(title, ("row", "target", "predicted", "loss"), cells, first_number=3, note=note)]


def _values(value: object) -> str:
    """A class, or the numbers of a regression."""
    return ", ".join(figure(entry) for entry in entries(value, 6)) if isinstance(value, list) else text(value, 60)
