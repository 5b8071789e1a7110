"""What ``certnet.train`` proves in a given time, from a hundred rows to a hundred thousand.

Run: python -m tests.benchmarks.ladder [--help]. Logistic loss or cross-entropy, both biases free, standardised rows, at
weight decays that validation prefers. Each line is a process of its own, one after the other; memory is its peak, with
Python and the data. Every bound has been proved by the checker. A run ends before its limit where its gap is reached.
"""

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence

import certnet
from certificates import Verdict
from tests.benchmarks._methods import peak_memory
from tests.benchmarks._problems import load_problem

SETS = {
    "wine": 0.1,
    "ionosphere": 3.0,
    "breast_cancer": 3.0,
    "pima_indians": 10.0,
    "mnist_1000": 3.8,
    "all_digits": 11.0,
    "generated_2000_30_3": 30.0,
    "generated_10000_20_3": 100.0,
    "flipped_100000_20": 500.0,
}
"""Weight decays by set."""


def measure(name: str, gamma: float, limit: float, gap: float) -> str:
    """A line of the table."""
    program = load_problem(f"{name}-classes", gamma).program
    begin = time.perf_counter()
    report = certnet.train(program, gap=gap, time_limit=limit).report
    seconds = time.perf_counter() - begin
    proved = f"{report.lower_bound:.6g} | {report.gap:.2%}" if report.verdict is Verdict.PROVED else "– | –"
    shape = f"{program.shape[0]:,} × {program.X.shape[1] - 1}"
    cells = f"{gamma:g} | {limit:g} | {report.objective:.6g} | {proved} | {seconds:.1f} | {peak_memory() / 1024:.1f}"
    return f"| {name} ({shape}) | {cells} |"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and print each line when it is there."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.ladder", description=__doc__)
    parser.add_argument("--data", nargs="+", choices=SETS, default=list(SETS), help="sets of _problems, for classes")
    parser.add_argument("--seconds", nargs="+", type=float, default=[60.0, 300.0], help="time limits")
    parser.add_argument("--gap", type=float, default=1e-3, help="relative gap at which a run ends")
    parser.add_argument("--here", action="store_true", help="one set and one limit, in this process")
    given = parser.parse_args(arguments)
    if given.here:
        print(measure(given.data[0], SETS[given.data[0]], given.seconds[0], given.gap))
        return
    print(
        "| data | γ | limit, s | objective | bound | gap | s | GiB |\n| --- | --- | --- | --- | --- | --- | --- | --- |"
    )
    for name in given.data:
        for limit in given.seconds:
            options = "--here", "--data", name, "--seconds", str(limit), "--gap", str(given.gap)
            command = [sys.executable, "-m", "tests.benchmarks.ladder", *options]
            process = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
            print(process.stdout.strip() or f"| {name} | failed with code {process.returncode} |", flush=True)


if __name__ == "__main__":
    main()
