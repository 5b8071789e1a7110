"""Between prices and gaps: what a bound on h(W) says of the optimum, and which bound a gap needs."""

from formulations import Program
from formulations._validation import FloatArray


def bound_from_price(program: Program, W: FloatArray, h_bar: float) -> float:
    """The lower bound in original units: the dual value of sW with ``s = min(γ/h̄, best scale)``."""
    return program.to_original(program.dual_value(program.best_scale(W, h_bar) * W))


def price_for_gap(program: Program, W: FloatArray, objective: float, gap: float) -> float:
    """The largest h̄ whose bound is within the relative ``gap`` of ``objective`` (original units); γ if none is.

    W has to be positively aligned with the targets.
    """
    goal = program.to_own(objective * (1.0 - gap))
    s = None if program.loss is None else program.loss.least_scale(W, goal)
    if s is None:
        return float(program.gamma)
    return float(program.gamma / min(s, 1.0)) if s > 0 else float("inf")
