"""The trainer against L-BFGS as people use it. Run: python -m tests.benchmarks.training [--help]

L-BFGS, PyTorch's where that is installed and SciPy's else, trains each set from several random starts with as many
neurons as --width says; starts have the size of PyTorch's default initialisation. ``certnet.training.fit`` trains it
once. The loss is ½·sum of squares with weight decay γ/2 in both. Besides the objectives, the table has the seconds of
one run of L-BFGS, and those after which certnet has the objective of the best of all runs; both are seconds of the
processor, so that other work does not count. Nothing is chosen on test rows: objectives are those of the training rows.
"""

import argparse
import json
import time
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table
from scipy.optimize import minimize

from certificates.files import write_atomically
from certnet.training import fit
from certnet.training.polish import Network
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
    """One line of the table; objectives are those of the training problem.

    Attributes:
        seconds: of the whole fit.
        reached: seconds until its objective was at most ``best``, None if it never was.
        lbfgs_seconds: of one run of L-BFGS, on average.
    """

    problem: str
    gamma: float
    objective: float
    width: int
    seconds: float
    reached: float | None
    best: float
    median: float
    lbfgs_seconds: float


def lbfgs(program: TrainingProgram, width: int, seed: int, iterations: int) -> float:
    """Objective that L-BFGS reaches from one random start."""
    _, d, c = program.shape
    random = np.random.default_rng(seed)
    U = random.uniform(-1, 1, (d, width)) / np.sqrt(d)
    V = random.uniform(-1, 1, (c, width)) / np.sqrt(width)
    return (_scipy if find_spec("torch") is None else _torch)(program, U, V, iterations)


def _torch(program: TrainingProgram, U: FloatArray, V: FloatArray, iterations: int) -> float:
    import torch

    X, Y = torch.tensor(program.X), torch.tensor(program.Y)
    weights = [torch.tensor(start, requires_grad=True) for start in (U, V)]
    options = {"history_size": 30, "tolerance_change": 1e-10, "line_search_fn": "strong_wolfe"}
    optimiser = torch.optim.LBFGS(weights, max_iter=iterations, max_eval=2 * iterations, **options)

    def value() -> torch.Tensor:
        optimiser.zero_grad()
        loss = 0.5 * ((torch.relu(X @ weights[0]) @ weights[1].T - Y) ** 2).sum()
        loss = loss + 0.5 * program.gamma * sum((part**2).sum() for part in weights)
        loss.backward()
        return loss

    optimiser.step(value)
    return float(value().detach())


def _scipy(program: TrainingProgram, U: FloatArray, V: FloatArray, iterations: int) -> float:
    size = U.size

    def value(theta: FloatArray) -> tuple[float, FloatArray]:
        hidden, output = theta[:size].reshape(U.shape), theta[size:].reshape(V.shape)
        H = np.maximum(program.X @ hidden, 0.0)
        R = H @ output.T - program.Y
        slope = program.X.T @ ((R @ output) * (H > 0)) + program.gamma * hidden
        change = R.T @ H + program.gamma * output
        objective = 0.5 * float(np.sum(R**2)) + 0.5 * program.gamma * float(theta @ theta)
        return objective, np.concatenate([slope.ravel(), change.ravel()])

    start, options = np.concatenate([U.ravel(), V.ravel()]), {"maxiter": iterations, "maxfun": 2 * iterations}
    return float(minimize(value, start, jac=True, method="L-BFGS-B", options=options).fun)


def measure(problem: str, gamma: float, options: argparse.Namespace) -> Row:
    """Both trainers on one set."""
    program = load_problem(problem, gamma).program
    begin = time.process_time()
    reached = [lbfgs(program, options.width, seed, options.iterations) for seed in range(options.runs)]
    middle = time.process_time()
    found: list[float] = []

    def better(_: Network, objective: float) -> None:
        if objective <= min(reached) and not found:
            found.append(time.process_time() - middle)

    network = fit(program, time_limit=options.time_limit, better=better)
    end = time.process_time()
    return Row(
        problem=problem,
        gamma=gamma,
        objective=network.objective,
        width=int(network.U.shape[1]),
        seconds=end - middle,
        reached=found[0] if found else None,
        best=min(reached),
        median=float(np.median(reached)),
        lbfgs_seconds=(middle - begin) / options.runs,
    )


def table(rows: list[Row]) -> Table:
    """What was measured so far."""
    out = Table()
    for name in ("set", "γ", "L-BFGS best", "median", "s a run", "certnet reaches best, s", "certnet", "neurons", "s"):
        out.add_column(name)
    for row in rows:
        reached = "-" if row.reached is None else f"{row.reached:.2f}"
        cells = [f"{row.gamma:g}", f"{row.best:.6g}", f"{row.median:.6g}", f"{row.lbfgs_seconds:.2f}", reached]
        cells += [f"{row.objective:.6g}", str(row.width), f"{row.seconds:.1f}"]
        out.add_row(row.problem, *cells)
    return out


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", default=list(DATA))
    parser.add_argument("--gammas", nargs="+", type=float, default=list(GAMMAS))
    parser.add_argument("--width", type=int, default=100, help="neurons of L-BFGS (default 100)")
    parser.add_argument("--runs", type=int, default=3, help="starts of L-BFGS (default 3)")
    parser.add_argument("--iterations", type=int, default=2000, help="most iterations of L-BFGS (default 2000)")
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
