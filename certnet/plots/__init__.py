"""Plots of results with matplotlib (``pip install 'certnet[plots]'``), which is imported on first use.

Every function takes a result, or the object of its report, and axes or None, and returns the axes. It raises an
InputError where there is nothing to plot.
"""

from certnet.plots.data import activations, confusion, decision_boundary, fitted
from certnet.plots.results import accuracy, history, path, radii, selection, spectrum

__all__ = [
    "accuracy",
    "activations",
    "confusion",
    "decision_boundary",
    "fitted",
    "history",
    "path",
    "radii",
    "selection",
    "spectrum",
]
