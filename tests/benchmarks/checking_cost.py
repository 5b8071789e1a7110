"""What checking costs against the number of points, in each arithmetic. Run: python -m tests.benchmarks.checking_cost

Gaussian data, the residual of the zero network as W, and random multipliers on every pair, so that nothing is sparse.
Prints a table for docs/certificate-format.md, or JSON with --json. Takes about three minutes on two cores.
"""

import argparse
import json
import resource
import sys
import time
from dataclasses import replace

import numpy as np

from certificates import Verdict, check
from certificates.making.assemble import assemble, residual_dual
from certificates.making.repair import repair
from formulations import TrainingProgram, merge_rows

SIZES = [(25, 2, 5), (50, 4, 3), (75, 4, 3), (150, 8, 3), (300, 20, 5), (600, 20, 10), (1000, 20, 10)]
EXACT_LIMIT, BALL_LIMIT = 100, 1000


def certificate(n: int, d: int, c: int):
    """Half the residual of the zero network leaves room for multipliers, as large as floating point accepts."""
    random = np.random.default_rng(n)
    program = TrainingProgram(random.standard_normal((n, d)), random.standard_normal((n, c)), 0.1)
    merged = merge_rows(program)
    U, V = np.zeros((d, 0)), np.zeros((c, 0))
    dual = repair(merged.program, residual_dual(merged, U, V))
    N = np.abs(random.standard_normal((2 * n, 2 * n)))
    N = N + N.T
    N[np.arange(n), n + np.arange(n)] = N[n + np.arange(n), np.arange(n)] = 0.0
    for size in 0.1 ** np.arange(3.0, 12.0) / n:
        made = assemble(merged, replace(dual, W=0.5 * dual.W, t=0.5 * dual.t, N=size * N), U, V, {})
        if check(made, arithmetic="float").verdict is Verdict.PROVED:
            return made
    raise SystemExit(f"n = {n}: no multipliers are proved")


def measure() -> list[dict[str, object]]:
    rows = []
    for n, d, c in SIZES:
        made = certificate(n, d, c)
        row: dict[str, object] = {"n": n, "d": d, "c": c}
        for arithmetic, limit in (("exact", EXACT_LIMIT), ("ball", BALL_LIMIT), ("float", 10**9)):
            if n > limit:
                row[arithmetic] = None
                continue
            begin = time.process_time()
            report = check(made, arithmetic=arithmetic)
            row[arithmetic] = time.process_time() - begin
            if report.verdict is not Verdict.PROVED:
                raise SystemExit(f"n = {n}, {arithmetic}: {report.reason}")
        row["peak_mib"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        rows.append(row)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = measure()
    if options.json:
        json.dump(rows, sys.stdout)
        return
    print("| n | d | c | exact | ball | float | peak memory |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for row in rows:
        cells = ["—" if row[name] is None else f"{row[name]:.2f} s" for name in ("exact", "ball", "float")]
        print(f"| {row['n']} | {row['d']} | {row['c']} | {' | '.join(cells)} | {row['peak_mib']:.0f} MiB |")


if __name__ == "__main__":
    main()
