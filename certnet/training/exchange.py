"""One step of the exchange method: directions that pay join the network, and all output weights are fitted anew."""

import numpy as np

from certnet.training.group_lasso import group_lasso
from certnet.training.polish import Network, balance, polish
from certnet.training.pricing import Pricing, distinct, normalised, price, values
from formulations import TrainingProgram
from formulations._validation import FloatArray

APART = 1e-4
"""1 − cos from which two starts are worth climbing both."""
MOST_LOOKED_AT = 6000
MOST_CLIMBED = 500
CLIMBING_STEPS = 30
SAME_MAXIMISER = 1e-8
SMALLEST_TOLERANCE = 1e-10
LARGEST_TOLERANCE = 1e-7
EQUAL = 1e-12
"""Relative increase of the objective that rounding may cause."""
TOLERANCE_PER_GAP = 1e-4
POLISHING_STEPS = 100


def climb(program: TrainingProgram, W: FloatArray, points: FloatArray, *, deadline: float | None = None) -> Pricing:
    """Local maximisers of ‖Wᵀ(Xu)₊‖ on the sphere, from the best of many points (d×m), best first.

    Args:
        program: its X.
        W: (n, c) dual.
        points: starts of any length.
        deadline: value of ``time.monotonic()`` after which the points reached are returned.
    """
    starts = normalised(points)
    value = values(program.X, W, starts)
    order = np.argsort(-value, kind="stable")[:MOST_LOOKED_AT]
    apart = distinct(starts[:, order], value[order], tolerance=APART).directions[:, :MOST_CLIMBED]
    reached = price(program.X, W, apart, samples=0, max_steps=CLIMBING_STEPS, deadline=deadline)
    return distinct(reached.directions, reached.values, tolerance=SAME_MAXIMISER)


def exchange(
    program: TrainingProgram,
    network: Network,
    directions: FloatArray,
    *,
    joint: bool,
    gap: float = 0.0,
    deadline: float | None = None,
) -> Network:
    """The best output weights for the network's directions and new ones; never worse than the network, up to rounding.

    Args:
        program: the training problem.
        network: U (d×m) and V (c×m).
        directions: (d, q) unit columns.
        joint: descend in all weights afterwards; pays while neurons are few.
        gap: relative gap that is being closed; the weights need not be much more accurate.
        deadline: value of ``time.monotonic()`` after which the weights reached are returned.
    """
    U, V = balance(*network)
    size = np.linalg.norm(U, axis=0)
    unit = np.hstack([U / size, directions])
    start = np.hstack([V * size, np.zeros((V.shape[0], directions.shape[1]))])
    H = np.maximum(program.X @ unit, 0.0)
    tolerance = min(max(TOLERANCE_PER_GAP * gap, SMALLEST_TOLERANCE), LARGEST_TOLERANCE)
    fitted = balance(unit, group_lasso(H, program.Y, program.gamma, start, tolerance=tolerance, deadline=deadline).V)
    if joint:
        fitted = polish(program, *fitted, max_iterations=POLISHING_STEPS, deadline=deadline)
    # At an equal objective the residual of the new fit is the better dual.
    return fitted if program.objective(*fitted) <= (1.0 + EQUAL) * program.objective(*network) else network
