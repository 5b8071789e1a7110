"""``certnet tightness``."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from certificates import Certificate, Training, read_certificate
from certnet.cli.limits import began, job_seconds
from certnet.cli.output import BY_VERDICT, finite, head
from certnet.cli.show import NONE, Live, bounds, down, figures_table, percent, stderr_console, up
from certnet.cli.train import FILES
from certnet.io.output import print_result
from certnet.jobs.tightness import Tightness, measure_tightness
from certnet.runtime.machine import versions
from certnet.solvers.registry import AUTO, get_solver
from certnet.tightness import Points, Spectrum
from certnet.tightness.complete_positivity import CompletePositivity
from formulations._validation import as_positive

SHOWN_VALUES = 8
"""Eigenvalues in the table."""


@dataclass(frozen=True, kw_only=True)
class TightnessOptions:
    """The options of the command."""

    solver: str
    time_limit: float | None
    tolerance: float
    seed: int
    json: bool
    quiet: bool


def run_tightness(run: Path, options: TightnessOptions) -> int:
    """Measure the tightness of the relaxation behind a run, print what was found, and return the exit code.

    Args:
        run: the output folder of ``certnet train``, or a certificate. The certificate alone is read.
        options: see the class.

    Raises:
        InputError: no readable certificate, one that is not proved, or a bad option.
    """
    started = began()
    as_positive("--tolerance", options.tolerance)
    if options.solver != AUTO:
        get_solver(options.solver)
    path = run / FILES["certificate"] if run.is_dir() else run
    certificate = read_certificate(path, Training)
    console = stderr_console()
    limit = job_seconds(options.time_limit, started)
    with Live(console, enabled=not options.quiet, time_limit=limit) as live:
        found = measure_tightness(
            certificate,
            solver=options.solver,
            time_limit=limit,
            tolerance=options.tolerance,
            random_state=options.seed,
            progress=live,
        )
    if not options.quiet:
        console.print(_table(found, certificate))
    report = _report(found, certificate, path, time.perf_counter() - started)
    print_result(report, [f"{found.verdict}: {found.reason}"], as_json=options.json)
    return BY_VERDICT[found.verdict]


def _report(found: Tightness, certificate: Certificate, path: Path, seconds: float) -> dict[str, Any]:
    n, d, c = certificate.shape
    return {
        **head("tightness", None, found.reason),
        "verdict": str(found.verdict),
        "objective": finite(found.objective),
        "lower_bound": finite(found.lower_bound),
        "gap": finite(found.gap),
        "data": {"n": n, "d": d, "c": c, "fingerprint": certificate.data_fingerprint},
        "gamma": finite(certificate.gamma),
        "tolerance": finite(found.tolerance),
        "relaxation": _relaxation(found),
        "spectrum": _spectrum(found.spectrum),
        "points": _points(found.points),
        "complete_positivity": _membership(found.membership),
        "stages": {name: float(value) for name, value in found.stages.items()},
        "seconds": seconds,
        "files": {"certificate": str(path)},
        "versions": versions(),
    }


def _relaxation(found: Tightness) -> dict[str, Any]:
    result = found.relaxation
    return {
        "lower_bound": finite(found.relaxation_bound),
        "upper_bound": finite(found.relaxation_value),
        "objective": finite(found.relaxed_objective),
        "gap": finite(found.gap_of_relaxation),
        "infeasibility": finite(found.infeasibility),
        "solver": None if result is None else result.solver,
        "status": None if result is None else result.status.name.lower(),
        "iterations": None if result is None else int(result.iterations),
    }


def _spectrum(spectrum: Spectrum | None) -> dict[str, Any] | None:
    if spectrum is None:
        return None
    return {
        "rank": spectrum.rank,
        "gap": finite(spectrum.gap),
        "widest_gap": {"rank": spectrum.widest[0], "ratio": finite(spectrum.widest[1])},
        "tolerance": spectrum.tolerance,
        "values": list(spectrum.values),
    }


def _points(points: Points | None) -> dict[str, Any] | None:
    return None if points is None else {"count": int(points.Z.shape[1]), "residual": finite(points.residual)}


def _membership(membership: CompletePositivity | None) -> dict[str, Any] | None:
    if membership is None:
        return None
    separator = membership.separator
    return {
        "verdict": str(membership.verdict),
        "reason": membership.reason,
        "residual": finite(membership.residual),
        "distance": finite(membership.distance),
        "separator": None
        if separator is None
        else {
            "kind": str(separator.kind),
            "positions": [int(position) for position in separator.positions],
            "inner_product": finite(separator.inner_product),
        },
    }


def _table(found: Tightness, certificate: Certificate) -> Table:
    """The table of the command."""
    n, d, c = certificate.shape
    table = figures_table(f"tightness: n = {n}, d = {d}, c = {c}, γ = {certificate.gamma:g}")
    figures = {
        "objective": finite(found.objective),
        "lower_bound": finite(found.relaxation_bound),
        "gap": finite(found.gap_of_relaxation),
    }
    names = ("objective (upper bound)", "proved bound on the relaxation", "relative difference")
    for name, figure in zip(names, bounds(figures), strict=True):
        table.add_row(name, figure)
    if found.relaxation_value is not None:
        table.add_row("proved upper bound on it", up(found.relaxation_value))
    if found.lower_bound > found.relaxation_bound:
        table.add_row("best proved lower bound", f"{down(found.lower_bound)}, gap {percent(finite(found.gap))}")
    if found.relaxation is not None:
        result = found.relaxation
        value = NONE if found.relaxed_objective is None else f"{found.relaxed_objective:.6g}"
        status = result.status.name.lower().replace("_", " ")
        table.add_row("value of its solution", escape(f"{value} ({result.solver}, {status}; not a bound)"))
    if found.spectrum is not None:
        spectrum = found.spectrum
        table.add_row("rank of its solution", f"{spectrum.rank}, with a gap of {spectrum.gap:.1e} after it")
        table.add_row("spectrum", ", ".join(f"{value:.1e}" for value in spectrum.values[:SHOWN_VALUES]))
    if found.points is not None:
        points = found.points
        table.add_row("true points", f"{points.Z.shape[1]}, their sum misses it by {points.residual:.1e}")
    if found.membership is not None:
        membership = found.membership
        table.add_row("solution completely positive", escape(f"{membership.verdict} - {membership.reason}"))
    for stage, seconds in found.stages.items():
        table.add_row(escape(f"time: {stage}"), f"{seconds:.2f} s")
    table.add_row("verdict", escape(f"{found.verdict} - {found.reason}"))
    return table
