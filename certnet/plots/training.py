"""Plots of training: bound and objective, the path over γ, the choice of γ, and the spectrum of the relaxation."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from certnet.plots import style
from certnet.plots.style import number, numbers
from certnet.runtime.wording import down, up
from formulations import InputError
from formulations._validation import FloatArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOGARITHMIC = 30.0
"""Ratio of the largest and the smallest value from which an axis is logarithmic."""


def history(result: Any, ax: "Axes | None" = None) -> "Axes":
    """Objective and lower bound of ``certnet.train`` or ``optimality`` over the seconds of the job.

    What lies between them is the gap. The lower bound is drawn as far as the certificate proves it in the end, and not
    where it proves nothing.

    Raises:
        InputError: the result has no history.
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
    ax.fill_between(seconds, bound, objective, step="post", color=style.MUTED, alpha=0.12, linewidth=0)
    last = float(np.nanmax(seconds))
    for values, colour, marker, name, side in (
        (objective, style.COLOURS[1], "s", f"objective {up(_last(objective), 4)}", "bottom"),
        (bound, style.COLOURS[0], "o", f"lower bound {down(_last(bound), 4)}", "top"),
    ):
        # Markers tell the lines apart in grey, and show a history of one moment.
        ax.step(seconds, values, where="post", color=colour, linewidth=1.8, marker=marker, markersize=3)
        if np.isfinite(values).any():
            place = {"xytext": (0, 6 if side == "bottom" else -6), "ha": "right", "va": side}
            style.write(ax, last, _last(values), name, color=colour, **place)
    if style.spread(seconds) > LOGARITHMIC:
        ax.set_xscale("log")
    if style.spread(np.concatenate([objective, bound])) > LOGARITHMIC:
        ax.set_yscale("log")
    ax.margins(y=0.18)
    return style.named(ax, x="time (s)", y="training objective", title="Objective and lower bound")


def _last(values: FloatArray) -> float:
    return float(values[np.isfinite(values)][-1]) if np.isfinite(values).any() else float("nan")


def path(result: Any, ax: "Axes | None" = None) -> "Axes":
    """The proved relative gap at each weight decay of ``certnet.train_path``.

    Raises:
        InputError: no weight decay has a result.
    """
    rows = style.rows_of(style.report_of(result), "results")
    gammas = numbers([row.get("gamma") for row in rows], "weight decays")
    gaps = 100.0 * np.array([number(row.get("gap")) for row in rows])
    order = np.argsort(gammas)
    gammas, gaps = gammas[order], np.maximum(gaps[order], 1e-10)
    ax = style.axes(ax)
    known = np.isfinite(gaps)
    ax.plot(gammas[known], gaps[known], color=style.COLOURS[0], linewidth=1.5, marker="o", markersize=5)
    style.of_gamma(ax, gammas)
    if known.any() and style.spread(gaps) > LOGARITHMIC:
        ax.set_yscale("log")
    elif known.any():
        ax.set_ylim(bottom=0.0)
    return style.named(ax, x="weight decay γ", y="proved relative gap (%)", title="Gap over the weight decay")


def selection(result: Any, ax: "Axes | None" = None) -> "Axes":
    """The validation loss at each weight decay that ``certnet.select_gamma`` tried; the choice is marked.

    Raises:
        InputError: the result holds no losses.
    """
    report = style.report_of(result)
    gammas, losses = (numbers(report.get(name), name) for name in ("gammas", "losses"))
    if len(gammas) != len(losses):
        raise InputError("There is nothing to plot: the selection has not a loss for each weight decay.")
    order, chosen = np.argsort(gammas), number(report.get("gamma"))
    gammas, losses = gammas[order], losses[order]
    ax = style.axes(ax)
    ax.plot(gammas, losses, color=style.COLOURS[0], linewidth=1.5, marker="o", markersize=4)
    style.of_gamma(ax, gammas)
    if style.spread(losses) > LOGARITHMIC:
        ax.set_yscale("log")
    for loss in losses[(gammas == chosen) & np.isfinite(losses)]:
        colour, ends = style.COLOURS[1], {gammas[0]: (-5, "left"), gammas[-1]: (5, "right")}
        x, side = ends.get(chosen, (0, "center"))
        ax.plot([chosen], [loss], marker="o", markersize=11, mfc="none", color=colour, markeredgewidth=1.8)
        style.write(ax, chosen, loss, f"chosen: {chosen:g}", color=colour, xytext=(x, 11), ha=side)
    ax.margins(y=0.2)
    return style.named(ax, x="weight decay γ", y="validation loss (mean)", title="The choice of the weight decay")


def spectrum(result: Any, ax: "Axes | None" = None) -> "Axes":
    """The leading eigenvalues of the relaxation's moment matrix over the largest one.

    Args:
        result: of ``certnet.train`` with a relaxation, or a ``Spectrum``.

    Raises:
        InputError: there is no spectrum.
    """
    found = getattr(result, "values", None)
    report = {} if isinstance(found, tuple) else style.report_of(result)
    values = numbers(found if isinstance(found, tuple) else report.get("spectrum"), "spectrum")
    rank = number(result.rank if isinstance(found, tuple) else report.get("rank"))
    ax = style.axes(ax)
    places = np.arange(1, len(values) + 1)
    shown = np.fmax(values, 1e-16)
    counted = places <= rank if np.isfinite(rank) else np.ones(len(values), dtype=bool)
    ax.vlines(places, shown.min() / 2.0, shown, color=style.GRID, linewidth=1.0)
    for chosen, look in ((counted, {"color": style.COLOURS[0]}), (~counted, {"color": style.MUTED, "mfc": "none"})):
        ax.plot(places[chosen], shown[chosen], linestyle="none", marker="o", markersize=5, **look)
    ax.set_yscale("log")
    ax.set_ylim(bottom=shown.min() / 2.0)
    ax.xaxis.get_major_locator().set_params(integer=True)
    title = "Spectrum of the moment matrix"
    title += f", rank {rank:.0f}" if np.isfinite(rank) else ""
    return style.named(ax, x="eigenvalue", y="size over the largest", title=title)
