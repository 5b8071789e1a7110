"""What an audit found."""

from collections.abc import Mapping
from typing import Any

from certnet import plots
from certnet.report.records import Section, Table, drawn
from certnet.report.words import figure, listed, mapping, share, text


def robustness(report: Mapping[str, Any], key: str) -> Section:
    """What an audit found."""
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
    radii = [mapping(row) for row in listed(report.get("radii"), 12)]
    head = ("class", "inputs", "clean", *(f"{figure(row.get('radius'))}" for row in radii))
    total = {"class": "all", "n": mapping(report.get("data")).get("n"), "radii": report.get("radii")}
    total["clean_accuracy"] = report.get("clean_accuracy")
    rows = []
    for row in [*map(mapping, listed(report.get("classes"))), total]:
        parts = (_between(mapping(cell)) for cell in listed(row.get("radii"), 12))
        rows.append((text(row.get("class"), 60), text(row.get("n"), 20), share(row.get("clean_accuracy")), *parts))
    tables = [Table("Certified to attacked accuracy within each radius", head, tuple(rows))]
    worst = tuple(
        (
            *(text(row.get(name), 60) for name in ("row", "label", "predicted")),
            *(figure(row.get(name)) for name in ("certified_radius", "attacked_radius", "margin")),
        )
        for row in map(mapping, listed(report.get("worst"), 10))
    )
    if worst:
        head = ("row", "class", "predicted", "certified radius", "attacked radius", "margin")
        tables.append(Table("Inputs that lose their class first", head, worst, first_number=3))
    return Section("Under disturbances", pictures=pictures, tables=tuple(tables))


def _between(cell: Mapping[str, Any]) -> str:
    """Certified to attacked accuracy, or the one where they agree."""
    least, most = share(cell.get("certified_accuracy")), share(cell.get("attacked_accuracy"))
    return least if least == most else f"{least} – {most}"
