"""Plots of an audit: accuracies by radius, and the radii of the rows."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from certnet.plots.style import COLOURS, MUTED, axes, legend, named, number, numbers, report_of, rows_of
from certnet.runtime.fields import mapping
from formulations import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def accuracy(result: Any, ax: "Axes | None" = None) -> "Axes":
    """Certified and attacked accuracy of ``certnet.audit`` over the radius; the true accuracy lies between them.

    Raises:
        InputError: the result holds no radii.
    """
    report = report_of(result)
    rows, clean = rows_of(report, "radii"), number(report.get("clean_accuracy"))
    radii = np.concatenate([[0.0], numbers([row.get("radius") for row in rows], "radii")])
    certified, attacked = (
        100.0 * np.concatenate([[clean], numbers([row.get(name) for row in rows], name)])
        for name in ("certified_accuracy", "attacked_accuracy")
    )
    ax = axes(ax)
    ax.fill_between(radii, certified, attacked, color=MUTED, alpha=0.14, linewidth=0)
    style = {"linewidth": 1.8, "linestyle": "--"}
    ax.plot(radii, attacked, color=COLOURS[1], marker="s", markersize=5, label="attacked", **style)
    ax.plot(radii, certified, color=COLOURS[0], marker="o", markersize=3.5, label="certified", linewidth=1.8)
    legend(ax, loc="lower left")
    ax.set_ylim(-4.0, 104.0)
    ax.set_xlim(left=0.0)
    return named(ax, x=_unit(report), y="accuracy (%)", title="Certified and attacked accuracy")


def radii(result: Any, ax: "Axes | None" = None) -> "Axes":
    """The certified and the attacked radius of each row of ``certnet.audit``, sorted; what lies between is not known.

    Raises:
        InputError: the result holds no radii of rows.
    """
    report = report_of(result)
    entry = mapping(report.get("inputs"))
    certified = numbers(entry.get("certified_radius"), "radii of rows")
    attacked = np.array([number(value) for value in entry.get("attacked_radius") or ()])
    if len(attacked) != len(certified):
        raise InputError("There is nothing to plot: the audit has not two radii for each row.")
    certified = np.nan_to_num(certified)
    order = np.lexsort((attacked, certified))
    certified, attacked = certified[order], attacked[order]
    share = 100.0 * (np.arange(len(order)) + 0.5) / len(order)
    ax = axes(ax)
    known = np.isfinite(attacked)
    ax.vlines(share[known], certified[known], attacked[known], color=MUTED, alpha=0.35, linewidth=1.0)
    style = {"linestyle": "none", "markersize": 3}
    ax.plot(share[known], attacked[known], color=COLOURS[1], marker="s", label="attacked", **style)
    ax.plot(share, certified, color=COLOURS[0], marker="o", label="certified", **style)
    legend(ax, loc="upper left", markerscale=1.6)
    ax.set_xlim(0.0, 100.0)
    return named(ax, x="rows, by certified radius (%)", y=_unit(report), title="Radius of each row")


def _unit(report: Mapping[str, Any]) -> str:
    norm = report.get("norm")
    return f"radius ({norm})" if norm in ("linf", "l2") else "radius"
