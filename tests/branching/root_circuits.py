"""Circuits at the root of a search: a few that its relaxation violates, which then hold in every node.

Circuits of the whole are circuits of every node: ``formulations.restrict`` takes them over. They are separated for the
pricing of the W at hand, added, and dropped once they have had no multiplier for a while (``certnet.search.circuits``).
"""

from dataclasses import dataclass

import numpy as np

from certificates.making.repair import project
from certnet.search.bounds import Multipliers, Start
from certnet.search.circuits import price_with_circuits
from formulations import Dual, Presolved
from formulations._validation import FloatArray
from formulations.circuits import CircuitSet

ROUNDS = 1
"""Separations. Later ones find weaker circuits, and every node pays for them."""
TOLERANCE = 1e-3


@dataclass(frozen=True, eq=False)
class RootCircuits:
    """What a search with circuits begins with.

    Attributes:
        presolved: with the circuits as inequalities of both programs.
        circuits: in the order of these inequalities.
        start: dual and primal of the root, for ``certnet.search.price.search``.
        h_bar: the bound on the price that they show, up to rounding.
    """

    presolved: Presolved
    circuits: CircuitSet
    start: Start
    h_bar: float


def circuits_of_root(
    presolved: Presolved, W: FloatArray, *, rounds: int = ROUNDS, time_limit: float | None = None
) -> RootCircuits:
    """Separate circuits for the price of W (f×c, in the coordinates of ``presolved.program``).

    Args:
        presolved: of the training program; inequalities it has already are replaced.
        W: dual that is priced.
        rounds: the most separations.
        time_limit: seconds.

    Raises:
        InputError: a negative number of rounds, or W does not fit.
    """
    found = price_with_circuits(presolved, W, rounds=rounds, tolerance=TOLERANCE, time_limit=time_limit)
    result, program = found.result, found.presolved.program
    assert result.primal is not None  # the interior point always has both
    assert result.dual is not None
    form = program.pricing(W)
    _, N, t = project(form, Dual(form.target, result.dual.N))
    start = Start(Multipliers.from_matrix(N, t), result.primal.S, np.arange(program.space.neurons))
    h_bar = float(np.sqrt(max(-found.lower_bound, 0.0)))
    return RootCircuits(found.presolved, found.circuits, start, h_bar)
