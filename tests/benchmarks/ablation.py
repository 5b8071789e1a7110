"""What each part of the bound is worth: proved gaps. Run: python -m tests.benchmarks.ablation [--help]

A network is trained once for each problem. Its objective is compared with the bound of a certificate that the checker
has proved, for

* ``dnn``: the doubly nonnegative relaxation,
* ``circuits``: the relaxation with circuit inequalities (``certnet.search.circuits``),
* ``branches-K``: branch and bound with W fixed to the network's residual, K relaxations,
* ``branches-K+circuits``: the same with the circuits that the root violates,
* ``joint-K``: branch and bound with W free, K relaxations, where every leaf of every solve counts.

Gaps are relative to the network's objective, which is an upper bound on the optimum.
"""

import argparse
import json
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from certificates import Report, Verdict
from certificates.files import write_atomically
from certificates.making.assemble import certify
from certnet.search.certificate import certify_search
from certnet.search.circuits import solve_with_circuits
from certnet.search.joint import joint_search
from certnet.search.price import search
from certnet.training import fit
from certnet.training.trainer import FitResult
from formulations import InputError, Presolved, TrainingProgram, presolve
from tests.benchmarks._problems import load_problem
from tests.strategies import from_network

PROBLEMS = ("noise-12-3", "noise-24-6", "teacher-24-6", "random0")
BRANCHES = (1, 10, 100, 1000)
USUAL = (
    "dnn",
    "circuits",
    *(f"branches-{k}{more}" for k in (10, 100) for more in ("", "+circuits")),
    "joint-10",
    "joint-100",
)
GAMMAS = {"noise-12-3": 0.1, "random0": 0.1}
OTHER_GAMMA = 0.3
CIRCUIT_ROUNDS = 3


@dataclass(frozen=True)
class Row:
    """One measurement: ``gap`` is NaN where the certificate was not proved."""

    problem: str
    gamma: float
    method: str
    gap: float
    leaves: int
    seconds: float


def problem(name: str, gamma: float) -> TrainingProgram:
    """``noise-n-d``: Gaussian data and targets, c = 2. ``teacher-n-d``: targets of a network of 4 neurons, with noise.

    Raises:
        InputError: the data are not here.
    """
    kind, *sizes = name.split("-")
    if kind not in ("noise", "teacher") or len(sizes) != 2:
        return load_problem(name, gamma).program
    n, d = (int(size) for size in sizes)
    random = np.random.default_rng(0)
    X = random.standard_normal((n, d))
    if kind == "noise":
        return TrainingProgram(X, random.standard_normal((n, 2)), gamma)
    signal = np.maximum(X @ random.standard_normal((d, 4)), 0.0) @ random.standard_normal((4, 2))
    return TrainingProgram(X, signal + 0.5 * random.standard_normal((n, 2)), gamma)


def methods(
    presolved: Presolved, network: FitResult, time_limit: float
) -> Iterator[tuple[str, Callable[[], tuple[Report, int]]]]:
    """Each method with a function that gives its report and the number of leaves of its proof."""
    U, V, program = network.U, network.V, presolved.program
    _, dual = from_network(presolved, U, V)
    assert dual is not None  # a network has a residual
    W, enough = dual.W, program.gamma * (1.0 + 1e-6)

    def relaxation(rounds: int) -> tuple[Report, int]:
        found = solve_with_circuits(presolved, rounds=rounds, time_limit=time_limit)
        _, report = certify(found.presolved.rows, [found.dual], U, V, circuits=found.circuits)
        return report, 1

    def branches(nodes: int, *, circuits: bool) -> tuple[Report, int]:
        at, named = presolved, None
        if circuits:
            root = solve_with_circuits(presolved, W, rounds=1, tolerance=1e-3)
            at, named = root.presolved, root.circuits
        found = search(at.program, W, enough=enough, max_nodes=nodes, time_limit=time_limit)
        certificate, report = certify_search(at, found, U, V, circuits=named)
        return report, certificate.proof.leaves

    def joint(nodes: int) -> tuple[Report, int]:
        found = joint_search(program, enough=network.objective, max_nodes=nodes, time_limit=time_limit)
        certificate, report = certify_search(presolved, found, U, V)
        return report, certificate.proof.leaves

    yield "dnn", lambda: relaxation(0)
    yield "circuits", lambda: relaxation(CIRCUIT_ROUNDS)
    for count in BRANCHES:
        yield f"branches-{count}", lambda count=count: branches(count, circuits=False)
        yield f"branches-{count}+circuits", lambda count=count: branches(count, circuits=True)
    for count in BRANCHES:
        yield f"joint-{count}", lambda count=count: joint(count)


def measure(name: str, gamma: float, time_limit: float, chosen: Collection[str] = ()) -> Iterator[Row]:
    """The chosen methods, or all, on one problem."""
    training = problem(name, gamma)
    network, presolved = fit(training, time_limit=time_limit), presolve(training)
    assert presolved is not None  # no problem here is trivial
    for method, run in methods(presolved, network, time_limit):
        if chosen and method not in chosen:
            continue
        begin = time.perf_counter()
        report, leaves = run()
        gap = report.gap if report.verdict is Verdict.PROVED else float("nan")
        yield Row(name, gamma, method, gap, leaves, time.perf_counter() - begin)


def table(rows: list[Row]) -> Table:
    """What was measured so far."""
    out = Table()
    for name in ("set", "γ", "bound", "proved gap, %", "leaves", "s"):
        out.add_column(name)
    for row in rows:
        figures = (f"{100 * row.gap:.3g}", str(row.leaves), f"{row.seconds:.2g}")
        out.add_row(row.problem, f"{row.gamma:g}", row.method, *figures)
    return out


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=list(PROBLEMS))
    parser.add_argument("--gamma", type=float, help="weight decay of all sets (default: one for each)")
    parser.add_argument("--time-limit", type=float, default=120.0, help="seconds for each bound (default 120)")
    parser.add_argument("--methods", nargs="+", default=list(USUAL), help="of those above, K 1, 10, 100 or 1000")
    parser.add_argument("--json", type=Path, help="file for all figures")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, write."""
    options, console, rows = parse(arguments), Console(), []
    for name in options.data:
        gamma = GAMMAS.get(name, OTHER_GAMMA) if options.gamma is None else options.gamma
        try:
            for row in measure(name, gamma, options.time_limit, options.methods):
                rows.append(row)
                console.print(f"{name}, {row.method}: {100 * row.gap:.3g} %", markup=False)
                if options.json is not None:
                    text = json.dumps([asdict(row) for row in rows], indent=1).encode()
                    write_atomically(options.json, lambda stream, text=text: stream.write(text))
        except InputError as error:
            console.print(f"Skipped: {error}", markup=False)
    console.print(table(rows))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
