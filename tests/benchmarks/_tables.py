"""Measurements as tables."""

import math
from collections.abc import Sequence

from rich.table import Table

from tests.benchmarks._exponent import Curve
from tests.benchmarks._records import Measurement
from tests.benchmarks._summary import SHARES, Optimum, Ratio, seconds_within

NOTHING = "—"


def number(value: float, form: str = ".3g") -> str:
    """A number, or a dash where there is none."""
    return format(value, form) if math.isfinite(value) else NOTHING


def _seconds(m: Measurement, optimum: Optimum | None, share: float) -> str:
    """Time to an accuracy; "≤" where only the end of the solve was seen."""
    if optimum is None:
        return NOTHING
    seconds = seconds_within(m.trace, optimum.value, share)
    return ("≤ " if m.coarse and math.isfinite(seconds) else "") + number(seconds)


def solver_table(title: str, optimum: Optimum | None, measurements: Sequence[Measurement]) -> Table:
    """One row for each method on one problem."""
    known = "optimum not known" if optimum is None else f"optimum {optimum.value:.6g} ({optimum.source})"
    table = Table(title=f"{title}: {known}", title_justify="left")
    for name in ("method", "10 %, s", "1 %, s", "0.1 %, s", "end, s", "bound", "objective", "peak, MiB", "status"):
        table.add_column(name, justify="left" if name in ("method", "status") else "right")
    for m in measurements:
        method = f"auto ({m.solver.split()[0]})" if m.job.method == "auto" else m.job.method
        peak = f"{number(m.peak_mib, '.0f')} (+{number(m.peak_mib - m.start_mib, '.0f')})"
        times = [_seconds(m, optimum, share) for share in SHARES]
        bound, objective = number(m.bound, ".6g"), number(m.objective, ".6g")
        table.add_row(method, *times, number(m.seconds), bound, objective, peak, m.status)
    return table


def ratio_table(rows: Sequence[tuple[str, Ratio]]) -> Table:
    """SCS on the paper's formulation against certnet, at the accuracy that SCS reaches."""
    table = Table(title="SCS on the paper's formulation / certnet, at the accuracy of SCS", title_justify="left")
    names = ("problem", "certnet", "off by", "compared at", "SCS, s", "certnet, s", "ratio", "0.1 %, s", "ratio")
    for name in names:
        table.add_column(name, justify="left" if name in ("problem", "certnet") else "right")
    for problem, ratio in rows:
        sign = "≥ " if ratio.capped else ""
        table.add_row(
            problem,
            ratio.method,
            number(ratio.accuracy, ".2g"),
            number(ratio.compared, ".2g"),
            sign + number(ratio.scs_seconds),
            number(ratio.seconds),
            sign + number(ratio.ratio) if math.isfinite(ratio.seconds) else NOTHING,
            number(ratio.seconds_to_a_thousandth),
            sign + number(ratio.ratio_to_a_thousandth) if math.isfinite(ratio.seconds_to_a_thousandth) else NOTHING,
        )
    return table


def curve_table(curves: Sequence[Curve]) -> Table:
    """Seconds by n, and the exponent."""
    table = Table(title="Seconds against the number of points", title_justify="left")
    table.add_column("data")
    table.add_column("cost")
    sizes = sorted({n for curve in curves for n in curve.sizes})
    for n in sizes:
        table.add_column(f"n = {n}", justify="right")
    table.add_column("exponent", justify="right")
    for curve in curves:
        at = dict(zip(curve.sizes, curve.seconds, strict=True))
        cells = [number(at.get(n, math.nan)) for n in sizes]
        table.add_row(curve.family, curve.name, *cells, number(curve.exponent, ".2f"))
    return table
