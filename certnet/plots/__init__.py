"""Plots of results with matplotlib (``pip install 'certnet[plots]'``), which is imported on first use.

Every function takes a result, or the object of its report, and axes or None, and returns the axes.
"""

from certnet.plots.data import activations, confusion, decision_boundary, fitted
from certnet.plots.robustness import accuracy, radii
from certnet.plots.training import history, path, selection, spectrum

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
