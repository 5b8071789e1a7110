"""Small programs for tests of the models."""

import numpy as np

from formulations import LiftedSpace, Loss, Program, TrainingProgram, presolve

SHAPES = [(8, 2, 2, 0.1), (6, 3, 1, 0.3), (5, 2, 3, 1.0)]


def degenerate_training(seed: int, n: int, d: int, c: int, gamma: float) -> TrainingProgram:
    """Random data with a zero row, an antiparallel and a parallel row."""
    rng = np.random.default_rng(seed)
    X, Y = rng.standard_normal((n, d)), rng.standard_normal((n, c))
    X[0] = 0.0
    X[2] = -2.0 * X[1]
    X[4] = 0.5 * X[3]
    return TrainingProgram(X, Y, gamma)


def presolved(index: int) -> Program:
    """One of the presolved small programs."""
    result = presolve(degenerate_training(index, *SHAPES[index]))
    assert result is not None
    return result.program


def plain(seed: int, *, metric: bool = False) -> Program:
    """A program that never went through presolve: parallel generators, some features, weights, and any metric."""
    rng = np.random.default_rng(seed)
    A = rng.standard_normal((4, 2))
    A[1] = -0.5 * A[0]
    root = rng.standard_normal((2, 2)) if metric else np.eye(2)
    return Program(
        space=LiftedSpace(A, 2),
        feature=np.array([6, 0, 3, 4, 2]),
        weight=rng.uniform(0.5, 2.0, 5),
        loss=Loss(rng.standard_normal((5, 2))),
        metric=root @ root.T + 0.1 * np.eye(2),
        gamma=0.2,
        scale=3.0,
        constant=1.0,
    )
