"""From measurements to times until an accuracy, ratios and exponents. Pure arithmetic."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from tests.benchmarks._records import Measurement, Point

SHARES = (0.1, 0.01, 0.001)
NATIVE = ("auto", "interior-point", "admm")
PAPER = "scs-paper"
CLOSE = 5e-4
"""Relative gap between a native solver's objective and the best bound below which the objective is an optimum."""
BEST_ACCURACY, WORST_ACCURACY = 1e-4, 0.1
"""Limits of the accuracy at which times are compared with SCS: its own tolerance, and what deserves the name."""


@dataclass(frozen=True)
class Optimum:
    """The relaxation's optimum as well as it is known, and from where."""

    value: float
    source: str


@dataclass(frozen=True)
class Ratio:
    """SCS on the paper's formulation against one of certnet's solvers.

    Attributes:
        accuracy: |objective of SCS − optimum| / optimum.
        compared: the accuracy asked of certnet, between ``BEST_ACCURACY`` and ``WORST_ACCURACY``.
        scs_seconds, seconds: times; infinite when certnet's solver did not get there.
        capped: SCS was stopped by its time limit, so the ratio is a lower bound.
        seconds_to_a_thousandth: given when SCS is more accurate than that, else NaN.
    """

    method: str
    accuracy: float
    compared: float
    scs_seconds: float
    seconds: float
    capped: bool
    seconds_to_a_thousandth: float = math.nan

    @property
    def ratio(self) -> float:
        """How many times longer SCS took; 0 when certnet's solver did not get there."""
        return self.scs_seconds / self.seconds

    @property
    def ratio_to_a_thousandth(self) -> float:
        """The same for an accuracy of 0.1 %."""
        return self.scs_seconds / self.seconds_to_a_thousandth


def optimum(measurements: Sequence[Measurement], reference: float | None) -> Optimum | None:
    """The reference, or else the objective of a native solver that meets the best bound of the run; None without.

    No repaired bound exceeds the relaxation's optimum, so the best bound replaces a reference that lies below it.
    """
    best = max((m.bound for m in measurements), default=-math.inf)
    if reference is not None:
        return Optimum(best, "best bound") if best > reference else Optimum(reference, "reference")
    # The objective of an inexact iterate may lie below the bound; then the bound is nearer.
    gaps = [(abs(m.objective - best) / abs(best), m) for m in measurements if m.job.method in NATIVE and best > 0]
    close = [(gap, m) for gap, m in gaps if gap <= CLOSE]
    if not close:
        return None
    _, nearest = min(close, key=lambda pair: pair[0])
    return Optimum(max(best, nearest.objective), nearest.job.method)


def seconds_within(trace: Iterable[Point], value: float, share: float, *, with_objective: bool = False) -> float:
    """First time at which the bound is within ``share`` of ``value``, and on request the objective too; else ∞."""
    for point in trace:
        near = not with_objective or abs(point.objective - value) <= share * value
        if point.bound >= (1.0 - share) * value and near:
            return point.seconds
    return math.inf


def ratios(measurements: Sequence[Measurement], value: float) -> list[Ratio]:
    """One for each native solver; none when SCS did not run on the paper's formulation or left no objective."""
    paper = next((m for m in measurements if m.job.method == PAPER), None)
    if paper is None or not math.isfinite(paper.objective):
        return []
    accuracy = abs(paper.objective - value) / value
    compared = min(max(accuracy, BEST_ACCURACY), WORST_ACCURACY)
    found = []
    for m in measurements:
        if m.job.method not in NATIVE:
            continue
        found.append(
            Ratio(
                method=m.job.method,
                accuracy=accuracy,
                compared=compared,
                scs_seconds=paper.seconds,
                seconds=seconds_within(m.trace, value, compared, with_objective=True),
                capped=paper.status != "CONVERGED",
                seconds_to_a_thousandth=(
                    seconds_within(m.trace, value, 1e-3, with_objective=True) if compared < 1e-3 else math.nan
                ),
            )
        )
    return found


def exponent(sizes: Sequence[float], costs: Sequence[float]) -> float:
    """Slope of the least-squares line through (log size, log cost); NaN with fewer than two usable points."""
    usable = [(n, cost) for n, cost in zip(sizes, costs, strict=True) if 0 < cost < math.inf]
    if len({n for n, _ in usable}) < 2:
        return math.nan
    n, cost = np.log(np.array(usable)).T
    return float(np.polyfit(n, cost, 1)[0])
