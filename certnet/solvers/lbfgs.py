"""L-BFGS that keeps to a deadline and returns the best point it has seen."""

from collections.abc import Callable
from contextlib import suppress

import numpy as np
from scipy.optimize import minimize

from certificates.failure import NO_DEADLINE, Deadline
from formulations._validation import FloatArray


class _Enough(Exception):  # noqa: N818 - the end of a descent
    """Out of time, or asked to stop."""


def lbfgs(
    evaluate: Callable[[FloatArray], tuple[float, FloatArray]],
    start: FloatArray,
    *,
    max_iterations: int,
    least_change: float = 1e-15,
    least_slope: float = 1e-12,
    nonnegative: bool = False,
    deadline: Deadline = NO_DEADLINE,
    watch: Callable[[FloatArray], bool] = lambda _: False,
) -> FloatArray:
    """The best point of a descent from ``start`` (of any shape), or the start; never one whose value is not finite.

    Args:
        evaluate: value and gradient at a point; after a ``LinAlgError`` the best point so far counts.
        max_iterations: an iteration may take several evaluations; twice as many are the limit.
        least_change: relative decrease of the value at which it ends.
        least_slope: largest entry of the gradient at which it ends.
        nonnegative: points have no negative entries.
        deadline: no evaluation begins after it but the first.
        watch: sees the best point after every iteration; true stops.
    """
    best, lowest = start, np.inf

    def seen(flat: FloatArray) -> tuple[float, FloatArray]:
        nonlocal best, lowest
        if lowest < np.inf and deadline.passed:
            raise _Enough
        point = flat.reshape(start.shape).copy()
        value, slope = evaluate(point)
        if value < lowest:
            best, lowest = point, value
        return value, slope.ravel()

    def after_iteration(_: FloatArray) -> None:
        if watch(best):
            raise _Enough

    limits = {"maxiter": max_iterations, "maxfun": 2 * max_iterations, "maxcor": 30}
    options = {**limits, "ftol": least_change, "gtol": least_slope}
    bounds = [(0.0, None)] * start.size if nonnegative else None
    with suppress(_Enough, np.linalg.LinAlgError):
        minimize(
            seen, start.ravel(), jac=True, method="L-BFGS-B", bounds=bounds, callback=after_iteration, options=options
        )
    return best
