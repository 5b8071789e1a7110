"""Compiles the kernel of cones and the loops of the ADMM, and keeps them on the disk: ``python -m tests.warm_up``."""

import numpy as np

from certnet.search.cones import _Segment, _slice, basis_of, output_of
from certnet.solvers import admm, solve
from formulations import TrainingProgram, merge_rows

if __name__ == "__main__":
    random = np.random.default_rng(0)
    X, W = random.standard_normal((5, 3)), random.standard_normal((5, 2))
    program = merge_rows(TrainingProgram(X, W, 0.1)).program
    output = output_of(program, W, basis_of(program.space.generators))
    start = _Segment(output.roots, np.zeros(len(output.roots), dtype=np.int64))
    _slice(output, start, limit=1.0, notable=np.inf, budget=1)
    rows = merge_rows(TrainingProgram(random.standard_normal((80, 3)), random.standard_normal((80, 2)), 0.1)).program
    for admm.SINGLE_ORDER in (0, 1000):
        solve(rows, "admm", max_iterations=15)
