"""``certnet tightness``."""

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from certnet.cli.limits import began, job_seconds, seconds_or_none
from certnet.cli.options import SEED, SOLVER, Shown, run_names
from certnet.cli.parsing import argument, option

SHOWN_VALUES = 8
"""Eigenvalues in the table."""


def tightness(
    run: Path = argument(
        "RUN", "Output folder of certnet train, or a certificate that it wrote.", shell_complete=run_names
    ),
    *,
    solver: str = SOLVER,
    time_limit: float = option("Seconds for everything, about; 0 for no limit.", default=50.0),
    tolerance: float = option("Relative difference of objective and bound that is none.", default=1e-4),
    seed: int = SEED,
    shown: Shown,
) -> int:
    """Say how tight the relaxation behind a run is: bound against objective, rank, complete positivity."""
    from certificates import Training, read_certificate
    from certificates.findings import figures
    from certnet.cli.output import head, say, with_headline
    from certnet.cli.show import Live
    from certnet.cli.training import FILES
    from certnet.io.runs import find_run
    from certnet.jobs.tightness import measure_tightness
    from certnet.solvers.registry import AUTO, get_solver
    from formulations._validation import as_positive

    started, limit = began(), seconds_or_none(time_limit)
    as_positive("--tolerance", tolerance)
    if solver != AUTO:
        get_solver(solver)
    folder = None if run.is_file() else find_run(run)
    path = run if folder is None else folder / FILES["certificate"]
    certificate = read_certificate(path, Training)
    n, d, c = certificate.shape
    limit = job_seconds(limit, started)
    with Live(enabled=not shown.quiet, time_limit=limit) as live:
        found = measure_tightness(
            certificate, solver=solver, time_limit=limit, tolerance=tolerance, random_state=seed, progress=live
        )
    report: dict[str, Any] = {
        **head("tightness", None, found.reason),
        **found.to_dict(),
        "data": {"n": n, "d": d, "c": c, "fingerprint": certificate.data_fingerprint},
        "gamma": certificate.gamma,
        **figures(certificate, "loss", "hidden_bias", "output_bias"),
        "seconds": time.perf_counter() - started,
        "files": {"certificate": str(path)},
    }
    return say(shown, with_headline(report), _table(report), [f"{found.verdict}: {found.reason}"])


def _table(report: Mapping[str, Any]) -> Any:
    from certnet.runtime.display import figures_table
    from certnet.runtime.wording import NONE, bounds, down, percent, up

    data, solved = report["data"], report["relaxation"]
    spectrum, points, membership = report["spectrum"], report["points"], report["complete_positivity"]
    names = ("objective (upper bound)", "proved bound on the relaxation", "relative difference")
    value, best, status = solved["objective"], None, None
    if report["lower_bound"] > (solved["lower_bound"] or 0.0):
        best = f"{down(report['lower_bound'])}, gap {percent(report['gap'])}"
    if solved["solver"] is not None:
        status = f"{NONE if value is None else f'{value:.6g}'} ({solved['solver']}, "
        status += f"{solved['status'].replace('_', ' ')}; not a bound)"
    rank = spectrum and str(spectrum["rank"])
    if spectrum and spectrum["gap"] is not None:
        rank += f", with a gap of {spectrum['gap']:.1e} after it"
    return figures_table(
        f"tightness: n = {data['n']}, d = {data['d']}, c = {data['c']}, γ = {report['gamma']:g}",
        [
            ("loss", report["loss"]),
            ("biases", f"hidden {report['hidden_bias']}, output {report['output_bias']}"),
            *zip(names, bounds({**solved, "objective": report["objective"]}), strict=True),
            ("proved upper bound on it", None if solved["upper_bound"] is None else up(solved["upper_bound"])),
            ("best proved lower bound", best),
            ("value of its solution", status),
            ("rank of its solution", rank),
            ("spectrum", spectrum and ", ".join(f"{value:.1e}" for value in spectrum["values"][:SHOWN_VALUES])),
            ("true points", points and f"{points['count']}, their sum misses it by {points['residual']:.1e}"),
            ("solution completely positive", membership and f"{membership['verdict']} - {membership['reason']}"),
            *((f"time: {stage}", f"{seconds:.2f} s") for stage, seconds in report["stages"].items()),
            ("verdict", f"{report['verdict']} - {report['reason']}"),
        ],
    )
