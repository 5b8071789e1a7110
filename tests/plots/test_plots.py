"""Plots draw the figures of a result, or of the object of its report; what has none is one sentence."""

import sys
import warnings
from typing import Any

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from certnet import plots
from certnet.io.network import TwoLayerNetwork
from certnet.jobs.audit import AuditResult, InputAudit
from certnet.jobs.selection import Selection
from certnet.tightness.rank import spectrum
from formulations import InputError
from formulations.network import ReluNetwork

HISTORY = {
    "history": [
        {"seconds": 0.5, "objective": 9.0, "lower_bound": None},
        {"seconds": 1.0, "objective": 8.0, "lower_bound": 1.0},
        {"seconds": 2.0, "objective": 7.0, "lower_bound": 6.0},
    ],
    "lower_bound": 5.0,
    "stages": {"relaxation": 3.0},
}
SELECTION = Selection(
    (3.0, 1.0, 0.3), (0.9, 0.5, 0.6), 1.0, rows=5, folds=5, complete=True, interrupted=False, seconds=1.0
)
AUDIT = AuditResult(
    "linf",
    (0.1, 0.2),
    (
        InputAudit(0, 0, 0, 1.0, ("certified", "attacked"), 0.12, 0.15, True, 0.1),
        InputAudit(1, 0, 0, 1.0, ("certified", "undecided"), 0.1, np.inf, True, 0.1),
    ),
    False,
    1.0,
)
CROSS = ReluNetwork(np.eye(2), np.zeros(2), np.array([[1.0, -1.0]]), np.zeros(1))


@pytest.fixture
def ax() -> Axes:
    return Figure().add_subplot()


def points(ax: Axes, line: int) -> np.ndarray:
    return np.array(ax.lines[line].get_xydata())


def test_a_bound_that_nothing_proves_is_not_drawn(ax: Axes) -> None:
    plots.history({**HISTORY, "lower_bound": None}, ax)
    objective, bound = (np.asarray(line.get_ydata(), dtype=float) for line in ax.get_lines()[:2])
    assert np.isfinite(objective).any()
    assert np.isnan(bound).all()
    assert not any("bound" in text.get_text() for text in ax.texts)


def test_history_ends_where_the_certificate_does(ax: Axes) -> None:
    assert plots.history(HISTORY, ax) is ax
    objective, bound = points(ax, 0), points(ax, 1)
    assert objective.tolist() == [[0.5, 9.0], [1.0, 8.0], [2.0, 7.0], [3.0, 7.0]]
    later = Figure().add_subplot()
    plots.history({**HISTORY, "objective": 6.5}, later)
    assert points(later, 0)[-1].tolist() == [3.0, 6.5]
    assert bound[1:].tolist() == [[1.0, 1.0], [2.0, 5.0], [3.0, 5.0]]  # 6 was never proved


def test_a_path_is_drawn_from_the_smallest_weight_decay(ax: Axes) -> None:
    rows = [{"gamma": 1.0, "gap": 0.01}, {"gamma": 0.1, "gap": 0.5}, {"gamma": 10.0, "gap": None}]
    plots.path({"results": rows}, ax)
    assert points(ax, 0).tolist() == [[0.1, 50.0], [1.0, 1.0]]
    assert ax.get_xscale() == "log"


def test_the_choice_is_marked(ax: Axes) -> None:
    SELECTION.plot(ax)
    assert points(ax, 0).tolist() == [[0.3, 0.6], [1.0, 0.5], [3.0, 0.9]]
    assert points(ax, 1).tolist() == [[1.0, 0.5]]


def test_eigenvalues_above_the_rank_are_filled(ax: Axes) -> None:
    plots.spectrum(spectrum(np.diag([4.0, 2.0, 1e-9])), ax)
    assert points(ax, 0).tolist() == [[1.0, 1.0], [2.0, 0.5]]
    assert len(points(ax, 1)) == 1


def test_accuracies_and_radii_of_an_audit(ax: Axes) -> None:
    AUDIT.plot(ax)
    assert points(ax, 0).tolist() == [[0.0, 100.0], [0.1, 100.0], [0.2, 50.0]]
    assert points(ax, 1).tolist() == [[0.0, 100.0], [0.1, 100.0], [0.2, 0.0]]
    other = Figure().add_subplot()
    plots.radii(AUDIT, other)
    assert points(other, 0).tolist() == [[75.0, 0.15]]
    assert points(other, 1).tolist() == [[25.0, 0.1], [75.0, 0.12]]


def test_a_matrix_says_its_counts(ax: Axes) -> None:
    report = {"confusion": {"test": [[3, 1], [0, 2]]}, "data": {"classes": ["$x_{", "b"]}}
    plots.confusion(report, ax)
    assert sorted(text.get_text() for text in ax.texts) == ["1", "2", "3"]
    assert [text.get_text() for text in ax.get_xticklabels()] == ["$x_{", "b"]
    ax.figure.draw_without_rendering()  # names are no formulas
    with pytest.raises(InputError, match="a row and a column for each"):
        plots.confusion([[1, 2]])


def test_predictions_over_targets(ax: Axes) -> None:
    plots.fitted({"fitted": {"train": [[0.0, 0.5], [2.0, 1.5]]}}, ax)
    assert points(ax, 1).tolist() == [[0.0, 0.5], [2.0, 1.5]]


def test_a_pattern_has_a_row_for_each_row_and_a_column_for_each_neuron(ax: Axes) -> None:
    X = np.array([[1.0, -1.0], [1.0, 1.0], [-1.0, -1.0]])
    plots.activations(CROSS, X, ax)
    shades = ax.images[0].get_array()
    assert (shades[..., 3] > 0).tolist() == [[True, False], [True, True], [False, False]]


def test_the_plane_has_the_colours_of_the_classes(ax: Axes) -> None:
    X = np.array([[0.0, 0.0], [1.0, 1.0]])
    plots.decision_boundary(TwoLayerNetwork(CROSS, classes=("a", "b")), X, np.array([0, 1]), ax, classes=("a", "b"))
    image = ax.images[0].get_array()
    below, above = image[0, -1], image[-1, 0]  # x₁ > x₂ is the second class
    assert below.tolist() != above.tolist()
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["a", "b"]
    with pytest.raises(InputError, match="two features, and X has 3"):
        plots.decision_boundary(CROSS, np.ones((2, 3)))


@pytest.mark.parametrize(
    "draw", [plots.history, plots.path, plots.selection, plots.spectrum, plots.accuracy, plots.radii]
)
@pytest.mark.parametrize(
    "result",
    [
        {},
        {"history": [{}], "results": 3, "spectrum": "x"},
        {"history": [{"seconds": 1e308, "objective": 10**400, "lower_bound": 1e308}], "spectrum": [1e308, True]},
    ],
)
def test_what_has_no_figures_is_one_sentence(draw: Any, result: Any) -> None:
    with pytest.raises(InputError, match="There is nothing to plot"):
        draw(result, Figure().add_subplot())


def test_a_spectrum_with_gaps_is_drawn_without_them() -> None:
    drawn = plots.spectrum({"spectrum": [None, 1.0, 0], "rank": 2}, Figure().add_subplot())
    assert np.isfinite(drawn.get_ylim()).all()


def test_what_is_no_result_is_one_sentence() -> None:
    with pytest.raises(InputError, match="takes a result of certnet or the object of its report, not int"):
        plots.history(3)
    with pytest.raises(InputError, match="takes a network of certnet, not int"):
        plots.activations(3, np.ones((1, 1)))


@pytest.fixture
def _without_matplotlib(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [*sys.modules]:
        if name.partition(".")[0] == "matplotlib":
            monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)


@pytest.mark.usefixtures("_without_matplotlib")
def test_a_missing_library_is_one_sentence() -> None:
    with pytest.raises(InputError, match=r"pip install 'certnet\[plots\]'"):
        plots.history(HISTORY)


def test_signs_that_a_font_lacks_are_text_without_a_warning() -> None:
    from certnet.report.records import picture

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        text = picture(lambda ax: ax.set_xlabel("\u65e5\u672c \U0001f389"), key="k", title="t", description="d")
    assert "\u65e5\u672c \U0001f389" in text


def test_settings_of_the_process_stay() -> None:
    from certnet.report.records import picture

    before = dict(mpl.rcParams)
    text = picture(lambda ax: plots.history(HISTORY, ax), key="k", title="<t>", description="&")
    assert dict(mpl.rcParams) == before
    assert "&lt;t&gt;" in text
    assert "xmlns" not in text
    assert "<style" not in text
