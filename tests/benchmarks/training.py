"""The global trainer against L-BFGS. Run: python -m tests.benchmarks.training [--help]

Each set is trained by ``certnet.training.fit`` once, and by L-BFGS (scipy) from several random starts with as many
neurons as --width says; the loss is ½·sum of squares with weight decay γ/2 in both. The table has the best and the
median objective of the L-BFGS runs. Starts have the size of PyTorch's default initialisation. Nothing is chosen on test
rows: objectives are those of the training rows.
"""

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.optimize import minimize

from certificates.files import write_atomically
from certnet.training import fit
from formulations import InputError, TrainingProgram
from formulations._validation import FloatArray
from tests.benchmarks._problems import load_problem

DATA = (
    *("random0", "random1", "random2", "random3", "random4", "spiral", "iris"),
    *("ionosphere", "pima_indians", "bank_notes", "mnist_pca20"),
)
GAMMAS = (0.1, 0.01)


@dataclass(frozen=True)
class Row:
    """One line of the table; objectives are those of the training problem, times are seconds for all runs."""

    problem: str
    gamma: float
    objective: float
    width: int
    seconds: float
    best: float
    median: float
    lbfgs_seconds: float


def lbfgs(program: TrainingProgram, width: int, seed: int, iterations: int) -> float:
    """Objective that L-BFGS reaches from one random start."""
    X, Y, gamma = program.X, program.Y, program.gamma
    _, d, c = program.shape
    random = np.random.default_rng(seed)
    start = np.concatenate(
        [
            random.uniform(-1, 1, d * width) / np.sqrt(d),
            random.uniform(-1, 1, c * width) / np.sqrt(width),
        ]
    )

    def value(theta: FloatArray) -> tuple[float, FloatArray]:
        U, V = theta[: d * width].reshape(d, width), theta[d * width :].reshape(c, width)
        pre = X @ U
        H = np.maximum(pre, 0.0)
        R = H @ V.T - Y
        back = (R @ V) * (pre > 0)
        objective = 0.5 * float(np.sum(R**2)) + 0.5 * gamma * float(theta @ theta)
        gradient = np.concatenate([(X.T @ back + gamma * U).ravel(), (R.T @ H + gamma * V).ravel()])
        return objective, gradient

    answer = minimize(
        value, start, jac=True, method="L-BFGS-B", options={"maxiter": iterations, "maxfun": 2 * iterations}
    )
    return float(answer.fun)


def measure(problem: str, gamma: float, options: argparse.Namespace) -> Row:
    """Both trainers on one set."""
    program = load_problem(problem, gamma).program
    begin = time.perf_counter()
    network = fit(program, time_limit=options.time_limit)
    middle = time.perf_counter()
    reached = [lbfgs(program, options.width, seed, options.iterations) for seed in range(options.runs)]
    end = time.perf_counter()
    return Row(
        problem=problem,
        gamma=gamma,
        objective=network.objective,
        width=int(network.U.shape[1]),
        seconds=middle - begin,
        best=min(reached),
        median=float(np.median(reached)),
        lbfgs_seconds=end - middle,
    )


def table(rows: list[Row]) -> Table:
    """What was measured so far."""
    out = Table()
    for name in ("set", "γ", "certnet", "neurons", "s", "L-BFGS best", "median", "s", "certnet / best"):
        out.add_column(name)
    for row in rows:
        cells = [f"{row.gamma:g}", f"{row.objective:.6g}", str(row.width), f"{row.seconds:.1f}"]
        cells += [f"{row.best:.6g}", f"{row.median:.6g}", f"{row.lbfgs_seconds:.1f}", f"{row.objective / row.best:.4f}"]
        out.add_row(row.problem, *cells)
    return out


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=list(DATA))
    parser.add_argument("--gammas", nargs="+", type=float, default=list(GAMMAS))
    parser.add_argument("--width", type=int, default=300, help="neurons of L-BFGS (default 300)")
    parser.add_argument("--runs", type=int, default=10, help="starts of L-BFGS (default 10)")
    parser.add_argument("--iterations", type=int, default=3000, help="most iterations of L-BFGS (default 3000)")
    parser.add_argument("--time-limit", type=float, default=120.0, help="seconds for certnet's trainer (default 120)")
    parser.add_argument("--json", type=Path, help="file for all figures")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Measure, print, write."""
    options, console, rows = parse(arguments), Console(), []
    for problem in options.data:
        for gamma in options.gammas:
            try:
                rows.append(measure(problem, gamma, options))
            except InputError as error:
                console.print(f"Skipped: {error}", markup=False)
                continue
            console.print(
                f"{problem}, γ = {gamma:g}: {rows[-1].objective:.6g} against {rows[-1].best:.6g}", markup=False
            )
            if options.json is not None:
                text = json.dumps([asdict(row) for row in rows], indent=1).encode()
                write_atomically(options.json, lambda stream, text=text: stream.write(text))
    console.print(table(rows))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
