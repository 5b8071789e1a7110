"""Plots of what jobs found: training, the path over γ, the choice of γ, the relaxation's spectrum, and audits."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from certnet.plots import style
from certnet.plots.style import COLOURS, MUTED, number, numbers
from certnet.runtime.wording import down, mapping, up
from formulations import InputError
from formulations._validation import FloatArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def history(result: Any, ax: "Axes | None" = None) -> "Axes":
    """Objective and lower bound of ``certnet.train`` or ``optimality`` over the seconds of the job.

    What lies between them is the gap. The lower bound is drawn as far as the certificate proves it in the end, and not
    where it proves nothing.
    """
    report = style.report_of(result)
    moments = style.rows_of(report, "history")
    seconds, objective, bound = (
        numbers([row.get(name) for row in moments], "history") for name in ("seconds", "objective", "lower_bound")
    )
    proved, stages = number(report.get("lower_bound")), report.get("stages")
    # A bound that the checker has not confirmed in the end counts no more than what it has.
    bound = np.minimum(bound, proved)
    if isinstance(stages, Mapping) and stages:
        # To the end of the job, where the certificate is.
        end = float(np.nansum([number(value) for value in stages.values()]))
        seconds = np.append(seconds, max(end, float(np.nanmax(seconds))))
        final = number(report.get("objective"))
        objective = np.append(objective, np.fmin(_last(objective), final))
        bound = np.append(bound, proved)
    ax = style.axes(ax)
    seconds = np.maximum(seconds, 1e-3)
    ax.fill_between(seconds, bound, objective, step="post", color=MUTED, alpha=0.12, linewidth=0)
    last = float(np.nanmax(seconds))
    for values, colour, marker, name, side in (
        (objective, COLOURS[1], "s", f"objective {up(_last(objective), 4)}", "bottom"),
        (bound, COLOURS[0], "o", f"lower bound {down(_last(bound), 4)}", "top"),
    ):
        # Markers tell the lines apart in grey, and show a history of one moment.
        ax.step(seconds, values, where="post", color=colour, linewidth=1.8, marker=marker, markersize=3)
        if np.isfinite(values).any():
            place = {"xytext": (0, 6 if side == "bottom" else -6), "ha": "right", "va": side}
            style.write(ax, last, _last(values), name, color=colour, **place)
    ax.set_xscale(style.scale_of(seconds))
    ax.set_yscale(style.scale_of(np.concatenate([objective, bound])))
    ax.margins(y=0.18)
    return style.named(ax, x="time (s)", y="training objective", title="Objective and lower bound")


def _last(values: FloatArray) -> float:
    return float(values[np.isfinite(values)][-1]) if np.isfinite(values).any() else float("nan")


def path(result: Any, ax: "Axes | None" = None) -> "Axes":
    """The proved relative gap at each weight decay of ``certnet.train_path``."""
    rows = style.rows_of(style.report_of(result), "results")
    gammas = numbers([row.get("gamma") for row in rows], "weight decays")
    gaps = 100.0 * np.array([number(row.get("gap")) for row in rows])
    order = np.argsort(gammas)
    gammas, gaps = gammas[order], np.maximum(gaps[order], 1e-10)
    ax = style.axes(ax)
    known = np.isfinite(gaps)
    ax.plot(gammas[known], gaps[known], color=COLOURS[0], linewidth=1.5, marker="o", markersize=5)
    style.of_gamma(ax, gammas)
    ax.set_yscale(style.scale_of(gaps))
    if known.any() and ax.get_yscale() == "linear":
        ax.set_ylim(bottom=0.0)
    return style.named(ax, x="weight decay γ", y="proved relative gap (%)", title="Gap over the weight decay")


def selection(result: Any, ax: "Axes | None" = None) -> "Axes":
    """The validation loss at each weight decay that ``certnet.select_gamma`` tried; the choice is marked."""
    report = style.report_of(result)
    gammas, losses = (numbers(report.get(name), name) for name in ("gammas", "losses"))
    if len(gammas) != len(losses):
        raise InputError("There is nothing to plot: the selection has not a loss for each weight decay.")
    order, chosen = np.argsort(gammas), number(report.get("gamma"))
    gammas, losses = gammas[order], losses[order]
    ax = style.axes(ax)
    ax.plot(gammas, losses, color=COLOURS[0], linewidth=1.5, marker="o", markersize=4)
    style.of_gamma(ax, gammas)
    ax.set_yscale(style.scale_of(losses))
    for loss in losses[(gammas == chosen) & np.isfinite(losses)]:
        colour, ends = COLOURS[1], {gammas[0]: (-5, "left"), gammas[-1]: (5, "right")}
        x, side = ends.get(chosen, (0, "center"))
        ax.plot([chosen], [loss], marker="o", markersize=11, mfc="none", color=colour, markeredgewidth=1.8)
        style.write(ax, chosen, loss, f"chosen: {chosen:g}", color=colour, xytext=(x, 11), ha=side)
    ax.margins(y=0.2)
    return style.named(ax, x="weight decay γ", y="validation loss (mean)", title="The choice of the weight decay")


def spectrum(result: Any, ax: "Axes | None" = None) -> "Axes":
    """Leading eigenvalues of the moment matrix over the largest one, of training or of a ``Spectrum``."""
    found = getattr(result, "values", None)
    report = {} if isinstance(found, tuple) else style.report_of(result)
    values = numbers(found if isinstance(found, tuple) else report.get("spectrum"), "spectrum")
    rank = number(result.rank if isinstance(found, tuple) else report.get("rank"))
    ax = style.axes(ax)
    places = np.arange(1, len(values) + 1)
    shown = np.fmax(values, 1e-16)
    counted = places <= rank if np.isfinite(rank) else np.ones(len(values), dtype=bool)
    ax.vlines(places, shown.min() / 2.0, shown, color=style.GRID, linewidth=1.0)
    for chosen, look in ((counted, {"color": COLOURS[0]}), (~counted, {"color": MUTED, "mfc": "none"})):
        ax.plot(places[chosen], shown[chosen], linestyle="none", marker="o", markersize=5, **look)
    ax.set_yscale("log")
    ax.set_ylim(bottom=shown.min() / 2.0)
    ax.xaxis.get_major_locator().set_params(integer=True)
    title = "Spectrum of the moment matrix"
    title += f", rank {rank:.0f}" if np.isfinite(rank) else ""
    return style.named(ax, x="eigenvalue", y="size over the largest", title=title)


def accuracy(result: Any, ax: "Axes | None" = None) -> "Axes":
    """Certified and attacked accuracy of ``certnet.audit`` over the radius; the true accuracy lies between them."""
    report = style.report_of(result)
    rows, clean = style.rows_of(report, "radii"), number(report.get("clean_accuracy"))
    radii = np.concatenate([[0.0], numbers([row.get("radius") for row in rows], "radii")])
    certified, attacked = (
        100.0 * np.concatenate([[clean], numbers([row.get(name) for row in rows], name)])
        for name in ("certified_accuracy", "attacked_accuracy")
    )
    ax = style.axes(ax)
    ax.fill_between(radii, certified, attacked, color=MUTED, alpha=0.14, linewidth=0)
    ax.plot(radii, attacked, "--s", color=COLOURS[1], markersize=5, label="attacked", linewidth=1.8)
    ax.plot(radii, certified, "-o", color=COLOURS[0], markersize=3.5, label="certified", linewidth=1.8)
    style.legend(ax, loc="lower left")
    ax.set_ylim(-4.0, 104.0)
    ax.set_xlim(left=0.0)
    return style.named(ax, x=_unit(report), y="accuracy (%)", title="Certified and attacked accuracy")


def radii(result: Any, ax: "Axes | None" = None) -> "Axes":
    """Certified and attacked radius of each row of ``certnet.audit``, sorted; what lies between is not known."""
    report = style.report_of(result)
    entry = mapping(report.get("inputs"))
    certified = numbers(entry.get("certified_radius"), "radii of rows")
    attacked = np.array([number(value) for value in entry.get("attacked_radius") or ()])
    if len(attacked) != len(certified):
        raise InputError("There is nothing to plot: the audit has not two radii for each row.")
    certified = np.nan_to_num(certified)
    order = np.lexsort((attacked, certified))
    certified, attacked = certified[order], attacked[order]
    share = 100.0 * (np.arange(len(order)) + 0.5) / len(order)
    ax = style.axes(ax)
    known = np.isfinite(attacked)
    ax.vlines(share[known], certified[known], attacked[known], color=MUTED, alpha=0.35, linewidth=1.0)
    ax.plot(share[known], attacked[known], "s", color=COLOURS[1], markersize=3, label="attacked")
    ax.plot(share, certified, "o", color=COLOURS[0], markersize=3, label="certified")
    style.legend(ax, loc="upper left", markerscale=1.6)
    ax.set_xlim(0.0, 100.0)
    return style.named(ax, x="rows, by certified radius (%)", y=_unit(report), title="Radius of each row")


def _unit(report: Mapping[str, Any]) -> str:
    norm = report.get("norm")
    return f"radius ({norm})" if norm in ("linf", "l2") else "radius"
