"""Plots of a network on data: classes, predictions, activations, and the plane of two features."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from certnet.io.endings import class_numbers
from certnet.plots.style import COLOURS, INK, MARKERS, MUTED, axes, legend, name_of, named, numbers
from certnet.runtime.wording import PARTS, mapping
from formulations import InputError
from formulations._validation import FloatArray, as_matrix
from formulations.network import ReluNetwork

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GRID_POINTS = 220  # Along each side of the plane.
MOST_ROWS, MOST_POINTS, MOST_CLASSES = 400, 600, 50
"""Rows of the pattern of activations, points in the plane, and classes of a confusion matrix that are drawn."""


def confusion(result: Any, ax: "Axes | None" = None, *, part: str | None = None) -> "Axes":
    """How many rows of each class were given each class.

    Args:
        result: the object of a report of training on classes, or a square matrix of counts with a row for each class.
        part: "test", "validation" or "train"; by default the first of these that there is.
    """
    names = mapping(mapping(result).get("data")).get("classes")
    counts, where = _of_part(result, "confusion", part)
    matrix = counts_of(counts)
    count = len(matrix)
    labels = [name_of(name, 16) for name in names] if isinstance(names, list) and len(names) == count else range(count)
    side = min(max(0.55 * count + 1.6, 3.2), 9.0)
    ax = axes(ax, size=(side, side))
    ax.grid(False)
    ax.spines[["left", "bottom"]].set_visible(False)
    shares = matrix / np.maximum(matrix.sum(axis=1, keepdims=True), 1)
    ax.imshow(_tinted(0.65 * shares, COLOURS[0]), interpolation="nearest")
    if count <= 16:
        for row, column in np.ndindex(count, count):
            if matrix[row, column]:
                ax.text(column, row, f"{matrix[row, column]:g}", ha="center", va="center", color=INK, parse_math=False)
    for axis, turned in ((ax.xaxis, 45 if count > 3 else 0), (ax.yaxis, 0)):
        axis.set_ticks(range(count), [str(label) for label in labels], rotation=turned, parse_math=False)
    return named(ax, x="predicted", y="class", title=f"Classes and predictions{where}")


def _of_part(result: Any, name: str, part: str | None) -> tuple[Any, str]:
    """What a report has of this name about a part, by default the first it has, and which one; or the result itself."""
    if isinstance(result, Mapping):
        found = mapping(result.get(name))
        part = next((one for one in reversed(PARTS) if found.get(one)), None) if part is None else part
        result = found.get(part or "")
    return result, "" if part is None else f" ({part} rows)"


def counts_of(value: object) -> FloatArray:
    """(c, c) a confusion matrix."""
    try:
        matrix = np.asarray(value, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        matrix = np.zeros(0)
    square = matrix.ndim == 2 and 0 < len(matrix) == matrix.shape[1] <= MOST_CLASSES
    if not square or not np.isfinite(matrix).all() or (matrix < 0).any():
        raise InputError(
            f"There is nothing to plot: a confusion matrix has a row and a column for each of at most {MOST_CLASSES} "
            "classes, and counts in them."
        )
    return matrix


def _tinted(opacity: FloatArray, colour: str) -> FloatArray:
    """(…, 4) this colour with these opacities, so that the background shows through, whatever it is."""
    from matplotlib.colors import to_rgba_array

    return np.asarray(to_rgba_array(colour, opacity.ravel())).reshape(*opacity.shape, 4)


def fitted(result: Any, ax: "Axes | None" = None, *, part: str | None = None) -> "Axes":
    """Predictions over targets of a regression with one output; points on the line are exact.

    Args:
        result: the object of a report of training on numbers, or pairs (target, prediction).
        part: as of ``confusion``.
    """
    pairs, where = _of_part(result, "fitted", part)
    listed = [list(pair)[:2] for pair in pairs] if isinstance(pairs, list | np.ndarray) else []
    targets, found_ = (numbers([pair[k] if len(pair) == 2 else None for pair in listed], "pairs") for k in (0, 1))
    ax = axes(ax, size=(4.6, 4.2))
    low, high = np.nanmin([targets, found_]), np.nanmax([targets, found_])
    ax.plot([low, high], [low, high], color=MUTED, linewidth=1.0, linestyle="--")
    ax.plot(targets, found_, linestyle="none", marker="o", markersize=3.5, color=COLOURS[0], alpha=0.6)
    return named(ax, x="target", y="prediction", title=f"Predictions over targets{where}")


def activations(network: Any, X: ArrayLike, ax: "Axes | None" = None, *, order: ArrayLike | None = None) -> "Axes":
    """Which neurons of a network are active on which rows; at most some hundred rows, evenly chosen.

    Args:
        network: a result of training, a ``TwoLayerNetwork`` or a ``ReluNetwork``.
        X: (n, d) features as the network takes them.
        order: (n,) numbers to sort rows by, such as labels.

    Raises:
        InputError: X does not fit the network, or the network has no neurons.
    """
    relu, data = _taken(network, X)
    active = data @ relu.hidden.T + relu.hidden_bias > 0
    if not active.size:
        raise InputError("There is nothing to plot: the network has no neurons, or there are no rows.")
    rows = np.arange(len(active)) if order is None else np.argsort(np.asarray(order), kind="stable")
    rows = rows[np.linspace(0, len(rows) - 1, min(len(rows), MOST_ROWS)).astype(int)]
    columns = np.argsort(-active.mean(axis=0), kind="stable")
    ax = axes(ax, size=(5.6, 3.6))
    ax.grid(False)
    shades = _tinted(0.85 * active[rows][:, columns], COLOURS[0])
    ax.imshow(shades, interpolation="nearest", aspect="auto", extent=(0.5, len(columns) + 0.5, len(rows) + 0.5, 0.5))
    ax.xaxis.get_major_locator().set_params(integer=True)
    rows_are = "rows" if len(rows) == len(active) else f"rows ({len(rows)} of {len(active)})"
    return named(ax, x="neurons, by how often they are active", y=rows_are, title="Active neurons")


def _taken(network: Any, X: ArrayLike) -> tuple[ReluNetwork, FloatArray]:
    """The network without what it does to features, and (n, d) what it takes of X."""
    relu = getattr(network, "network", network)
    if not isinstance(relu, ReluNetwork):
        raise InputError(f"This plot takes a network of certnet, not {type(network).__name__}.")
    return relu, network.features(X) if hasattr(network, "features") else as_matrix("X", X, columns=relu.inputs)


def decision_boundary(
    network: Any,
    X: ArrayLike,
    y: ArrayLike | None = None,
    ax: "Axes | None" = None,
    *,
    classes: Sequence[str] | None = None,
    features: Sequence[str] | None = None,
) -> "Axes":
    """The classes that a network of two features gives the plane, with the rows in it.

    Args:
        network: as of ``activations``; one output is positive for the second of two classes.
        X: (n, 2) features as the network takes them.
        y: (n,) numbers of classes of the rows, or None.
        classes, features: names.

    Raises:
        InputError: the network has not two features, or X and y do not fit.
    """
    data = as_matrix("X", X)
    if data.shape[1] != 2:
        raise InputError(f"A decision boundary is drawn for two features, and X has {data.shape[1]}.")
    labels = None if y is None else np.asarray(y)
    if labels is not None and (labels.shape != (len(data),) or labels.dtype.kind not in "iub"):
        raise InputError(f"y must be {len(data)} whole numbers, one for each row of X.")
    low, high = data.min(axis=0), data.max(axis=0)
    room = np.where(high > low, 0.08 * (high - low), 1.0)
    sides = [np.linspace(low[k] - room[k], high[k] + room[k], GRID_POINTS) for k in (0, 1)]
    mesh = np.stack(np.meshgrid(*sides), axis=-1)
    relu, places = _taken(network, mesh.reshape(-1, 2))
    scores = relu(places)
    count = max(scores.shape[1], 2)
    ax = axes(ax, size=(5.0, 4.2))
    ax.grid(False)
    colours = [COLOURS[k % len(COLOURS)] for k in range(count)]
    plane = class_numbers(scores).reshape(GRID_POINTS, GRID_POINTS)
    tints = np.stack([_tinted(np.array(0.16), colour) for colour in colours])[plane]
    ends = (sides[0][0], sides[0][-1], sides[1][0], sides[1][-1])
    ax.imshow(tints, extent=ends, origin="lower", aspect="auto", interpolation="nearest")
    scores = np.hstack([-scores, scores]) if scores.shape[1] == 1 else scores
    for k in range(count if count > 2 else 1):
        # Where this class is as good as the best other one; drawn from the scores, lines are no steps.
        lead = (scores[:, k] - np.delete(scores, k, axis=1).max(axis=1)).reshape(plane.shape)
        if lead.min() < 0 < lead.max():
            ax.contour(*sides, lead, levels=[0.0], colors=MUTED, linewidths=0.8)
    some = np.linspace(0, len(data) - 1, min(len(data), MOST_POINTS)).astype(int)
    if labels is None:
        ax.plot(*data[some].T, linestyle="none", marker="o", markersize=3, color=MUTED)
    else:
        for k in range(count):
            name = name_of(k if classes is None or k >= len(classes) else classes[k])
            look = {"marker": MARKERS[k % len(MARKERS)], "markersize": 4, "color": colours[k], "linestyle": "none"}
            ax.plot(*data[some][labels[some] == k].T, label=name, markeredgewidth=0.4, **look)
        if count <= 8:
            legend(ax, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    x, y_name = ("feature 1", "feature 2") if features is None else (name_of(name) for name in features[:2])
    return named(ax, x=x, y=y_name, title="Decision boundary")
