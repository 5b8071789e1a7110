"""What an audit found: accuracies within radii, and the inputs that lose their class first."""

from collections.abc import Mapping
from typing import Any

from certnet import plots
from certnet.report.records import Section, Table, drawn
from certnet.report.words import text
from certnet.runtime.fields import entries, mapping
from certnet.runtime.wording import between, figure, share


def robustness(report: Mapping[str, Any], key: str) -> Section:
    if report.get("command") != "audit":
        return Section("")
    pictures = drawn(
        lambda ax: plots.accuracy(report, ax),
        f"{key}-accuracy",
        "Accuracy by radius",
        "Certified: proved to keep the right class. Attacked: no input of another class was found. The true accuracy "
        "under attack lies between.",
    )
    pictures += drawn(
        lambda ax: plots.radii(report, ax),
        f"{key}-radii",
        "Radius of each row",
        "Up to its certified radius a row provably keeps its class; at its attacked radius it provably does not.",
    )
    head, rows = accuracies(report)
    tables = [Table("Certified to attacked accuracy within each radius", head, rows)]
    worst = tuple(
        (
            *(text(row.get(name), 60) for name in ("row", "label", "predicted")),
            *(figure(row.get(name)) for name in ("certified_radius", "attacked_radius", "margin")),
        )
        for row in map(mapping, entries(report.get("worst"), 10))
    )
    if worst:
        head = ("row", "class", "predicted", "certified radius", "attacked radius", "margin")
        tables.append(Table("Inputs that lose their class first", head, worst, first_number=3))
    return Section("Under disturbances", pictures=pictures, tables=tuple(tables))


def accuracies(report: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...]]:
    """Names of columns and rows of a table of clean and certified to attacked accuracy, of each class and of all."""
    radii = [mapping(row) for row in entries(report.get("radii"), 12)]
    total = {"class": "all", "n": mapping(report.get("data")).get("n"), "radii": report.get("radii")}
    total["clean_accuracy"] = report.get("clean_accuracy")
    rows = []
    for row in [*map(mapping, entries(report.get("classes"))), total]:
        parts = (between(mapping(cell)) for cell in entries(row.get("radii"), 12))
        clean = share(row.get("clean_accuracy"), at_least=True)
        rows.append((text(row.get("class"), 60), text(row.get("n"), 20), clean, *parts))
    return ("class", "inputs", "clean", *(figure(row.get("radius")) for row in radii)), tuple(rows)
