"""What all plots share: axes, colours, and figures out of results or of the JSON objects about them."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from certnet.runtime import wording
from certnet.runtime.machine import needed
from formulations import InputError
from formulations._validation import FloatArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes

INK, MUTED, GRID = "#1b1f24", "#5b6570", "#d5d9de"
"""Of text, of what is less important, and of lines in the background."""
COLOURS = ("#0067a5", "#c2500a", "#00785a", "#8b4a9c", "#8a6d00", "#b3325e", "#3f6f8f", "#5c6b00")
"""Told apart with any colour vision, and at least 4:1 against white; the page replaces them where it is dark."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
FEW = 5  # Weight decays up to which each has a mark on the axis.
LARGEST = 1e100  # Size from which on numbers are not drawn: axes have to reach beyond them.
LOGARITHMIC = 30.0  # Ratio of the largest and the smallest value from which an axis is logarithmic.
LABEL = 28  # Characters of a name in a plot.


def axes(ax: "Axes | None", *, size: tuple[float, float] = (6.0, 3.4)) -> "Axes":
    """These axes, or those of a new figure, prepared."""
    if ax is None:
        needs = "Plots need matplotlib; install it with: pip install 'certnet[plots]'."
        pyplot = needed("matplotlib.pyplot", needs)
        ax = pyplot.subplots(figsize=size, layout="constrained")[1]
    ax.spines[["top", "right"]].set_visible(False)
    for side in ("left", "bottom"):
        ax.spines[side].set_color(MUTED)
    ax.tick_params(which="both", color=MUTED, labelcolor=INK)
    ax.grid(axis="y", color=GRID, linewidth=0.6)
    ax.set_axisbelow(True)
    return ax


def named(ax: "Axes", *, x: str, y: str, title: str) -> "Axes":
    """The axes with labels and a title; nothing in them is read as a formula."""
    for text, label in ((ax.xaxis.label, x), (ax.yaxis.label, y), (ax.title, title)):
        text.set_parse_math(False)
        text.set_text(label)
        text.set_color(INK)
    return ax


def write(ax: "Axes", x: float, y: float, text: str, *, color: str = INK, **place: Any) -> None:
    """Words beside a point, moved by points of type."""
    ax.annotate(
        name_of(text), (x, y), textcoords="offset points", color=color, parse_math=False, annotation_clip=False, **place
    )


def legend(ax: "Axes", **place: Any) -> None:
    """A legend without a frame."""
    found = ax.legend(frameon=False, labelcolor=INK, **place)
    for text in found.get_texts():
        text.set_parse_math(False)


def name_of(value: object, most: int = LABEL) -> str:
    """A name that can be drawn: no control characters, and not too long."""
    return wording.cleaned(str(value), most)


def report_of(result: object) -> Mapping[str, Any]:
    """The JSON object about a result; results have it as ``to_dict()``, and ``report.json`` holds it."""
    if isinstance(result, Mapping):
        return result
    to_dict = getattr(result, "to_dict", None)
    if to_dict is None:
        raise InputError(
            f"This plot takes a result of certnet or the object of its report, not {type(result).__name__}."
        )
    found: Mapping[str, Any] = to_dict()
    return found


def rows_of(report: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    """The objects in the list ``name``; what is none is left out."""
    value = report.get(name)
    rows = [row for row in value if isinstance(row, Mapping)] if isinstance(value, Sequence) else []
    if not rows:
        raise InputError(f"There is nothing to plot: the result has no {name}.")
    return rows


def numbers(values: object, name: str) -> FloatArray:
    """(n,) floats of a list, NaN where something else stands."""
    listed = values if isinstance(values, Sequence | np.ndarray) and not isinstance(values, str) else []
    found = np.array([number(value) for value in listed], dtype=np.float64)
    if not np.isfinite(found).any():
        raise InputError(f"There is nothing to plot: the result has no {name}.")
    return found


def number(value: object) -> float:
    """A float that can be drawn, else NaN."""
    found = wording.number(value)
    return float(found) if found is not None and abs(found) <= LARGEST else math.nan


def of_gamma(ax: "Axes", gammas: FloatArray) -> None:
    """A logarithmic axis for weight decays; where they are few, each is written out."""
    from matplotlib.ticker import NullFormatter

    ax.set_xscale("log")
    ax.xaxis.set_minor_formatter(NullFormatter())
    known = np.unique(gammas[gammas > 0])
    if len(known) <= FEW:
        ax.set_xticks(known, [f"{gamma:.3g}" for gamma in known])


def scale_of(values: FloatArray) -> str:
    """The scale of an axis: "log" where the positive values are further apart than ``LOGARITHMIC``."""
    positive = values[np.isfinite(values) & (values > 0)]
    return "log" if len(positive) and positive.max() > LOGARITHMIC * positive.min() else "linear"
