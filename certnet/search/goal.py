"""Between prices and gaps: what a bound on h(W) says of the optimum, and which bound a gap needs."""

import numpy as np

from formulations import LiftedProgram
from formulations._validation import FloatArray


def bound_from_price(program: LiftedProgram, W: FloatArray, h_bar: float) -> float:
    """The lower bound in original units: ``s⟨W,T⟩ − s²/2 ‖W‖²`` with ``s = min(γ/h̄, ⟨W,T⟩/‖W‖²)``."""
    alignment, square = float(np.sum(W * program.target)), float(np.sum(W**2))
    if not (alignment > 0 and h_bar < np.inf):
        return program.to_original(0.0)
    s = alignment / square
    if h_bar > 0:
        s = min(s, program.gamma / h_bar)
    return program.to_original(s * alignment - 0.5 * s**2 * square)


def price_for_gap(program: LiftedProgram, W: FloatArray, objective: float, gap: float) -> float:
    """The largest h̄ whose bound is within the relative ``gap`` of ``objective`` (original units); γ if none is.

    W has to be positively aligned with the targets.
    """
    alignment, square = float(np.sum(W * program.target)), float(np.sum(W**2))
    goal = program.to_own(objective * (1.0 - gap))
    discriminant = alignment**2 - 2.0 * square * goal
    if not (discriminant > 0 and alignment > 0):
        return float(program.gamma)
    # The smaller root of s⟨W,T⟩ − s²/2‖W‖² = goal, written without cancellation.
    s = 2.0 * goal / (alignment + float(np.sqrt(discriminant)))
    return float(program.gamma / min(s, 1.0)) if s > 0 else float("inf")
