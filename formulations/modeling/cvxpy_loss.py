"""The losses as CVXPY expressions, written down once more and on their own: they check the table of ``losses``."""

from typing import Any

import numpy as np

from formulations.loss import Loss
from formulations.losses import NUMBERS


def expression(loss: Loss, shift: Any) -> tuple[Any, Any]:
    """(T, value) with L as a convex expression of ``shift`` = T − f, where f are fitted values with the bias in them.

    T are the targets of losses of numbers, and 0 elsewhere.
    """
    import cvxpy as cp

    y, unit, kind = loss.target, loss.unit, loss.kind
    omega = np.repeat(loss.sample_weight[:, None], y.shape[1], axis=1)
    target = y / unit if kind.targets == NUMBERS else np.zeros_like(y)
    r = unit * shift  # y − f for numbers, −f elsewhere
    match kind.name:
        case "squared":
            # Without weights the square is one of the variable itself, which keeps the conic form small.
            return target, 0.5 * cp.sum_squares(shift if (omega == 1).all() else cp.multiply(np.sqrt(omega), shift))
        case "cross-entropy":
            value = loss.sample_weight @ (cp.log_sum_exp(-r, axis=1) + cp.sum(cp.multiply(y, r), axis=1))
        case "logistic":
            value = cp.sum(cp.multiply(omega, cp.logistic(cp.multiply(y, r))))
        case "hinge":
            value = cp.sum(cp.multiply(omega, cp.pos(1.0 + cp.multiply(y, r))))
        case "squared-hinge":
            value = 0.5 * cp.sum_squares(cp.multiply(np.sqrt(omega), cp.pos(1.0 + cp.multiply(y, r))))
        case "huber":
            value = 0.5 * cp.sum(cp.multiply(omega, cp.huber(r, kind.delta)))  # type: ignore[attr-defined]
        case "poisson":
            least = np.sum(omega * (np.where(y > 0, y * np.log(np.maximum(y, 1e-300)), 0.0) - y))
            value = cp.sum(cp.multiply(omega, cp.exp(-r) + cp.multiply(y, r))) + least
        case _:
            low, high = kind.limits(np.zeros((1, 1)))
            value = cp.sum(cp.multiply(omega, high.item() * cp.pos(r) - low.item() * cp.neg(r)))
    return target, value / unit**2
