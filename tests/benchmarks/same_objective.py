"""certnet beside scikit-learn's networks for one objective. Run: python -m tests.benchmarks.same_objective [--help]

``MLPClassifier(solver="lbfgs", alpha=γ)`` minimises certnet's objective with both biases free, divided by the rows; the
loss that it ends at, times the rows, is what certnet's objective is compared with. ``certnet.train`` gets ``--seconds``
for network, bound and check. Rows are standardised, and all of them are learned.
"""

import argparse
import time
import warnings
from collections.abc import Sequence

import numpy as np
from rich.console import Console
from rich.table import Table
from sklearn.exceptions import ConvergenceWarning
from sklearn.neural_network import MLPClassifier

import certnet
from formulations import TrainingProgram
from tests.benchmarks._problems import load_problem

NEURONS, STEPS = 100, 5000


def networks(program: TrainingProgram, seeds: int) -> tuple[list[float], float]:
    """The objectives that scikit-learn's networks of so many seeds end at, and the seconds of one in the mean."""
    # X has the column of ones of the free bias.
    X, Y, n = program.X[:, : program.shape[1] - 1], program.Y, program.shape[0]
    labels = Y[:, 0] if Y.shape[1] == 1 else np.argmax(Y, axis=1)
    begin, found = time.perf_counter(), []
    for seed in range(seeds):
        model = MLPClassifier(
            (NEURONS,),
            solver="lbfgs",
            alpha=program.gamma,
            max_iter=STEPS,
            max_fun=10 * STEPS,
            tol=1e-8,
            random_state=seed,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)
            found.append(n * float(model.fit(X, labels).loss_))
    return found, (time.perf_counter() - begin) / seeds


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.same_objective", description=__doc__)
    parser.add_argument("--data", nargs="+", default=["wine", "breast_cancer"], help="sets of _problems, for classes")
    parser.add_argument("--gammas", nargs="+", type=float, default=[10.0, 1.0, 0.1])
    parser.add_argument("--seconds", type=float, default=60.0, help="time limit of certnet")
    parser.add_argument("--gap", type=float, default=5e-4, help="relative gap at which certnet ends")
    parser.add_argument("--seeds", type=int, default=10, help="networks of scikit-learn")
    given = parser.parse_args(arguments)
    table = Table()
    for name in ("set", "γ", "best MLP", "worst MLP", "an MLP, s", "certnet", "bound", "gap, %", "s"):
        table.add_column(name, justify="left" if name == "set" else "right")
    for name in given.data:
        for gamma in given.gammas:
            program = load_problem(f"{name}-classes", gamma).program
            peers, seconds = networks(program, given.seeds)
            begin = time.perf_counter()
            report = certnet.train(program, gap=given.gap, time_limit=given.seconds, random_state=0).report
            figures = (min(peers), max(peers), seconds, report.objective, report.lower_bound, 100.0 * report.gap)
            took = time.perf_counter() - begin
            table.add_row(name, f"{gamma:g}", *(f"{value:.6g}" for value in figures), f"{took:.0f}")
            print(name, gamma, *figures, took, flush=True)
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
