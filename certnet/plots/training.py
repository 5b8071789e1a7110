"""Plots of training: bound and objective, the path over γ, the choice of γ, and the spectrum of the relaxation."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from certnet.plots.style import (
    COLOURS,
    GRID,
    MUTED,
    axes,
    named,
    number,
    numbers,
    of_gamma,
    report_of,
    rows_of,
    spread,
    write,
)
from certnet.runtime.wording import down, up
from formulations import InputError
from formulations._validation import FloatArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LOGARITHMIC = 30.0
"""Ratio of the largest and the smallest value from which an axis is logarithmic."""


def history(result: Any, ax: "Axes | None" = None) -> "Axes":
    """Objective and lower bound over the seconds of a job; what lies between them is the gap.

    The lower bound is drawn as far as the certificate proves it in the end, and not where it proves nothing.

    Args:
        result: of ``certnet.train`` or ``certnet.optimality``, or the object of its report.
        ax: axes to draw into, or None for a new figure.

    Raises:
        InputError: the result has no history.
    """
    report = report_of(result)
    moments = rows_of(report, "history")
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
    ax = axes(ax)
    objective_colour, bound_colour = COLOURS[1], COLOURS[0]
    seconds = np.maximum(seconds, 1e-3)
    ax.fill_between(seconds, bound, objective, step="post", color=MUTED, alpha=0.12, linewidth=0)
    # Markers tell the lines apart in grey, and show a history of one moment.
    ax.step(seconds, objective, where="post", color=objective_colour, linewidth=1.8, marker="s", markersize=3)
    ax.step(seconds, bound, where="post", color=bound_colour, linewidth=1.8, marker="o", markersize=3)
    last = float(np.nanmax(seconds))
    for values, colour, name, above in (
        (objective, objective_colour, f"objective {up(_last(objective), 4)}", True),
        (bound, bound_colour, f"lower bound {down(_last(bound), 4)}", False),
    ):
        if not np.isfinite(values).any():
            continue
        place = {"xytext": (0, 6 if above else -6), "ha": "right", "va": "bottom" if above else "top"}
        write(ax, last, _last(values), name, color=colour, **place)
    if spread(seconds) > LOGARITHMIC:
        ax.set_xscale("log")
    if spread(np.concatenate([objective, bound])) > LOGARITHMIC:
        ax.set_yscale("log")
    ax.margins(y=0.18)
    return named(ax, x="time (s)", y="training objective", title="Objective and lower bound")


def _last(values: FloatArray) -> float:
    return float(values[np.isfinite(values)][-1]) if np.isfinite(values).any() else float("nan")


def path(result: Any, ax: "Axes | None" = None) -> "Axes":
    """The proved relative gap at each weight decay.

    Args:
        result: of ``certnet.train_path``, or the object of ``path.json``.
        ax: axes to draw into, or None for a new figure.

    Raises:
        InputError: no weight decay has a result.
    """
    rows = rows_of(report_of(result), "results")
    gammas = numbers([row.get("gamma") for row in rows], "weight decays")
    gaps = 100.0 * np.array([number(row.get("gap")) for row in rows])
    order = np.argsort(gammas)
    gammas, gaps = gammas[order], np.maximum(gaps[order], 1e-10)
    ax = axes(ax)
    known = np.isfinite(gaps)
    ax.plot(gammas[known], gaps[known], color=COLOURS[0], linewidth=1.5, marker="o", markersize=5)
    of_gamma(ax, gammas)
    if known.any() and spread(gaps) > LOGARITHMIC:
        ax.set_yscale("log")
    elif known.any():
        ax.set_ylim(bottom=0.0)
    return named(ax, x="weight decay γ", y="proved relative gap (%)", title="Gap over the weight decay")


def selection(result: Any, ax: "Axes | None" = None) -> "Axes":
    """The validation loss at each weight decay that was tried; the choice is marked.

    Args:
        result: of ``certnet.select_gamma``, or the object ``selection`` of a report.
        ax: axes to draw into, or None for a new figure.

    Raises:
        InputError: it holds no losses.
    """
    report = report_of(result)
    gammas, losses = (numbers(report.get(name), name) for name in ("gammas", "losses"))
    if len(gammas) != len(losses):
        raise InputError("There is nothing to plot: the selection has not a loss for each weight decay.")
    order, chosen = np.argsort(gammas), number(report.get("gamma"))
    gammas, losses = gammas[order], losses[order]
    ax = axes(ax)
    ax.plot(gammas, losses, color=COLOURS[0], linewidth=1.5, marker="o", markersize=4)
    of_gamma(ax, gammas)
    if spread(losses) > LOGARITHMIC:
        ax.set_yscale("log")
    for gamma, loss in zip(gammas, losses, strict=True):
        if gamma == chosen and np.isfinite(loss):
            ax.plot([gamma], [loss], marker="o", markersize=11, fillstyle="none", color=COLOURS[1], markeredgewidth=1.8)
            side = {gammas[0]: (-5, "left"), gammas[-1]: (5, "right")}.get(gamma, (0, "center"))
            write(ax, gamma, loss, f"chosen: {gamma:g}", color=COLOURS[1], xytext=(side[0], 11), ha=side[1])
    ax.margins(y=0.2)
    return named(ax, x="weight decay γ", y="validation loss (mean)", title="The choice of the weight decay")


def spectrum(result: Any, ax: "Axes | None" = None) -> "Axes":
    """The leading eigenvalues of the relaxation's moment matrix over the largest one.

    Args:
        result: of ``certnet.train`` with a relaxation, or the object of its report; or a ``Spectrum``.
        ax: axes to draw into, or None for a new figure.

    Raises:
        InputError: there is no spectrum.
    """
    found = getattr(result, "values", None)
    report = {} if isinstance(found, tuple) else report_of(result)
    values = numbers(found if isinstance(found, tuple) else report.get("spectrum"), "spectrum")
    rank = number(result.rank if isinstance(found, tuple) else report.get("rank"))
    ax = axes(ax)
    places = np.arange(1, len(values) + 1)
    shown = np.fmax(values, 1e-16)
    counted = places <= rank if np.isfinite(rank) else np.ones(len(values), dtype=bool)
    ax.vlines(places, shown.min() / 2.0, shown, color=GRID, linewidth=1.0)
    ax.plot(places[counted], shown[counted], linestyle="none", marker="o", markersize=5, color=COLOURS[0])
    ax.plot(
        places[~counted], shown[~counted], linestyle="none", marker="o", markersize=5, color=MUTED, fillstyle="none"
    )
    ax.set_yscale("log")
    ax.set_ylim(bottom=shown.min() / 2.0)
    ax.xaxis.get_major_locator().set_params(integer=True)
    title = "Spectrum of the moment matrix"
    title += f", rank {rank:.0f}" if np.isfinite(rank) else ""
    return named(ax, x="eigenvalue", y="size over the largest", title=title)


__all__ = ["history", "path", "selection", "spectrum"]
