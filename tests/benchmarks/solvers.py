"""Solvers of the relaxation against each other. Run: python -m tests.benchmarks.solvers [--help]

Methods, each measured in a process of its own, one after the other, with one BLAS thread unless --threads says more:

* ``auto``, ``interior-point``, ``admm``: certnet's own solvers on the presolved, facially reduced program.
* ``scs``, ``clarabel``: the wrapped solvers on the same program. They show no iterates: they are run at tolerances from
  1e-1 to 1e-8, and a point of the trace is the end of one such run, with its time alone.
* ``scs-paper``: one call of SCS with its default settings (eps_abs = eps_rel = 1e-4, at most 100,000 iterations) on the
  formulation of the paper (``_methods.unreduced``) over the data as they are, until it ends or --scs-limit
  has passed. At 1e-4 SCS calls iris solved far from the optimum; a smaller --scs-tolerance tells what an accurate
  answer costs it. Its dual is mapped back and repaired like all others, so it has a bound too, at the end alone ("≤").

Times until an accuracy are those until the bound, repaired by ``making.repair``, is within 10, 1 and 0.1 % of the
relaxation's optimum. certnet's solvers are charged for presolve and for every repair; the wrapped ones for presolve and
writing the conic form, not for repairs; ``scs-paper`` for SCS alone. The optimum
is the value in ``_problems.REFERENCE``, or the best repaired bound of the run when that is larger (no bound exceeds the
optimum). While it runs, the interior point counts a strictly feasible dual without repair; the last one is repaired.
Without a reference the optimum is the objective of one of certnet's solvers that meets the best bound.

The last table compares the time of ``scs-paper`` with the first time at which both bound and objective of certnet's
solvers are as near to the optimum as SCS's final objective. That accuracy is held between 1e-4 (its tolerance) and
10 %. The ratio is a lower bound where SCS was stopped. --exponent measures cost against the number of points instead.
"""

import argparse
import dataclasses
import json
import platform
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from rich.console import Console

from certificates.files import write_atomically
from certnet.cli.doctor import gather
from certnet.solvers.registry import choose_solver
from formulations import InputError, presolve
from tests.benchmarks import _exponent
from tests.benchmarks._problems import load_problem
from tests.benchmarks._process import run
from tests.benchmarks._records import Job, Measurement
from tests.benchmarks._summary import Optimum, Ratio, optimum, ratios
from tests.benchmarks._tables import curve_table, ratio_table, solver_table

METHODS = ("interior-point", "admm", "auto", "scs", "clarabel", "scs-paper")
DATA = ("random0", "spiral", "iris", "ionosphere")
GAMMAS = (0.1, 0.01)
Runner = Callable[[Job], Measurement]


def cpu_model() -> str:
    """The processor's name as the system tells it."""
    info = Path("/proc/cpuinfo")
    if info.is_file():
        names = (line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line)
        return next(names, platform.processor())
    return platform.processor()


def machine(threads: int) -> dict[str, Any]:
    """Facts to read the figures with."""
    return {"cpu": cpu_model(), "threads": threads, "date": datetime.now(UTC).isoformat(), **gather()}


def solver_jobs(options: argparse.Namespace, problem: str, gamma: float) -> Iterator[Job]:
    """One job for each method asked for."""
    for method in options.only:
        paper = method == "scs-paper"
        yield Job(
            problem=problem,
            gamma=gamma,
            method=method,
            time_limit=options.scs_limit if paper else options.time_limit,
            tolerance=options.scs_tolerance if paper else options.tolerance,
        )


def measured(jobs: Iterator[Job], runner: Runner, note: Callable[[str], None]) -> Iterator[Measurement]:
    """Run the jobs; "auto" takes the measurement of the solver that it means, when that was just made."""
    done: dict[str, Measurement] = {}
    for job in jobs:
        twin = done.get(_meaning(job)) if job.method == "auto" else None
        if twin is None:
            note(f"{job.problem}, γ = {job.gamma:g}, {job.method} …")
            measurement = runner(job)
        else:
            measurement = dataclasses.replace(twin, job=job, message=f"{twin.message} Not run a second time.")
        done[job.method] = measurement
        yield measurement


def _meaning(job: Job) -> str:
    presolved = presolve(load_problem(job.problem, job.gamma).program)
    return "" if presolved is None else choose_solver(presolved.program, job.time_limit).solver


class Report:
    """What has been measured so far, on the console and in the file."""

    def __init__(self, console: Console, file: Path | None, threads: int) -> None:
        self.console, self._file = console, file
        self._record: dict[str, Any] = {"machine": machine(threads), "skipped": {}, "problems": [], "exponent": None}

    def write(self) -> None:
        """Replace the file by what there is now."""
        if self._file is not None:
            text = json.dumps(self._record, indent=1, allow_nan=False).encode()
            write_atomically(self._file, lambda stream: _put(stream, text))

    def skip(self, problem: str, reason: str) -> None:
        """Say why a problem is left out."""
        self.console.print(f"Skipped: {reason}")
        self._record["skipped"][problem] = reason
        self.write()

    def add(self, title: dict[str, Any], measurements: Sequence[Measurement], known: Optimum | None) -> list[Ratio]:
        """A problem whose methods were all measured."""
        found = [] if known is None else ratios(measurements, known.value)
        self._record["problems"].append(
            {
                **title,
                "optimum": None if known is None else dataclasses.asdict(known),
                "measurements": [m.to_json() for m in measurements],
                "ratios": [_finite({**dataclasses.asdict(r), "ratio": r.ratio}) for r in found],
            }
        )
        self.write()
        self.console.print(solver_table(f"{title['name']}, γ = {title['gamma']:g}", known, measurements))
        for m in measurements:
            if m.status in ("NOT MEASURED", "FAILED"):
                self.console.print(f"  {m.job.method}: {m.message}", markup=False)
        return found

    def curves(self, measurements: Sequence[Measurement], *, final: bool) -> None:
        """Cost against size, as far as it was measured."""
        curves = _exponent.curves(measurements)
        self._record["exponent"] = {
            "measurements": [m.to_json() for m in measurements],
            "curves": [
                _finite({**dataclasses.asdict(c), "seconds": [_number(s) for s in c.seconds], "exponent": c.exponent})
                for c in curves
            ],
        }
        self.write()
        if final:
            self.console.print(curve_table(curves))


def _put(stream: BinaryIO, text: bytes) -> None:
    stream.write(text)


def _number(value: Any) -> Any:
    return None if isinstance(value, float) and not abs(value) < float("inf") else value


def _finite(record: dict[str, Any]) -> dict[str, Any]:
    return {name: _number(value) for name, value in record.items()}


def compare(options: argparse.Namespace, report: Report, runner: Runner) -> None:
    """All methods on all problems, and the ratios."""
    found: list[tuple[str, Ratio]] = []
    for name in options.data:
        for gamma in options.gammas:
            try:
                problem = load_problem(name, gamma)
            except InputError as error:
                report.skip(name, str(error))
                break
            measurements = list(measured(solver_jobs(options, name, gamma), runner, _note))
            known = optimum(measurements, problem.reference)
            title = {"name": name, "gamma": gamma, "shape": problem.program.shape, "origin": problem.origin}
            added = report.add({**title, "reference": problem.reference}, measurements, known)
            found += [(f"{name}, γ = {gamma:g}", ratio) for ratio in added]
    if found:
        report.console.print(ratio_table(found))


def scaling(options: argparse.Namespace, report: Report, runner: Runner) -> None:
    """Cost against the number of points, for Gaussian data and rows of mnist_pca20."""
    measurements: list[Measurement] = []
    for family in _exponent.FAMILIES:
        try:
            load_problem(f"{family}-{min(options.sizes)}", options.gammas[0])
        except InputError as error:
            report.skip(family, str(error))
            continue
        jobs = _exponent.jobs(family, options.sizes, options.gammas[0], options.time_limit)
        for measurement in measured(jobs, runner, _note):
            measurements.append(measurement)
            report.curves(measurements, final=False)
    report.curves(measurements, final=True)


def _note(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=DATA, help="names of problems, see _problems")
    parser.add_argument("--gammas", nargs="+", type=float, default=GAMMAS, help="--exponent takes the first")
    parser.add_argument("--only", nargs="+", choices=METHODS, default=METHODS, metavar="SOLVER", help=str(METHODS))
    parser.add_argument("--time-limit", type=float, default=120.0, help="seconds for each solve")
    parser.add_argument("--scs-limit", type=float, default=1800.0, help="seconds for scs-paper")
    parser.add_argument("--tolerance", type=float, default=1e-7, help="where certnet's solvers and scs stop")
    parser.add_argument("--threads", type=int, default=1, help="BLAS threads")
    parser.add_argument("--scs-tolerance", type=float, default=1e-4, help="eps of scs-paper (default 1e-4)")
    parser.add_argument("--json", type=Path, help="file for all figures; it is replaced after each problem")
    parser.add_argument("--exponent", action="store_true", help="cost against the number of points instead")
    parser.add_argument("--sizes", nargs="+", type=int, default=_exponent.SIZES, help="for --exponent")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write the file."""
    options = parse(arguments)

    def runner(job: Job) -> Measurement:
        return run(job, threads=options.threads)

    report = Report(Console(width=130), options.json, options.threads)
    (scaling if options.exponent else compare)(options, report, runner)
    report.write()


if __name__ == "__main__":
    main()
