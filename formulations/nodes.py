"""Pricing on a part of the cone: where the signs of some generators are fixed.

A fixed sign takes a coordinate away: ``α_i = a_i·z, β_i = 0`` where the sign is +1, and ``β_i = −a_i·z, α_i = 0`` where
it is −1. The fixed activation remains as an inequality. So a node of a branch and bound is a smaller form program, with
the same dual variables as the whole but for those of coordinates that vanish.
"""

from dataclasses import dataclass

import numpy as np

from formulations._validation import FloatArray, IntArray
from formulations.errors import InputError
from formulations.forms import FormProgram
from formulations.lifted_space import LiftedSpace
from formulations.program import LiftedProgram, RawDual

FREE, ACTIVE, INACTIVE = 0, 1, -1


@dataclass(frozen=True, eq=False)
class NodeProgram:
    """The pricing program of a node.

    Attributes:
        program: form program over the free generators; its inequalities are the fixed activations.
        signs: (N,) of all generators: FREE, ACTIVE or INACTIVE.
        free: (f,) the free generators.
        positions: (2f+r,) place in φ = (α, β) of the whole of each inequality of ``program``.
    """

    program: FormProgram
    signs: IntArray
    free: IntArray
    positions: IntArray

    def lift_dual(self, dual: RawDual) -> FloatArray:
        """N of the node's program as an N of the whole (2N×2N), zero where a coordinate vanishes."""
        size = 2 * len(self.signs)
        N = np.zeros((size, size))
        N[np.ix_(self.positions, self.positions)] = dual.N
        return N

    def restrict_dual(self, N: FloatArray) -> RawDual:
        """The part of an N of the whole (2N×2N) that matters here."""
        return RawDual(self.program.target, N[np.ix_(self.positions, self.positions)])


def restrict(program: LiftedProgram, W: FloatArray, signs: IntArray, rows: IntArray | None = None) -> NodeProgram:
    """Pricing with fixed W (f×c) where generators have these signs (N,).

    Args:
        program: whose generators, features and metric are meant.
        W: dual that is priced.
        signs: FREE, ACTIVE or INACTIVE for each generator.
        rows: the fixed generators whose activations become inequalities, by default all of them. Those that bound the
            cone are enough: the others are nonnegative combinations of them, and so are their products.

    Raises:
        InputError: shapes that do not fit, or a sign other than 0, 1 and −1.
    """
    A = program.space.generators
    m, k = A.shape
    if W.shape != program.target.shape:
        raise InputError(f"W has shape {W.shape}, but the program has targets of shape {program.target.shape}.")
    if signs.shape != (m,) or not np.isin(signs, (FREE, ACTIVE, INACTIVE)).all():
        raise InputError(f"signs must be {m} numbers 0, 1 or -1.")
    free, fixed = np.flatnonzero(signs == FREE), np.flatnonzero(signs != FREE)
    kept = fixed if rows is None else np.asarray(rows, dtype=np.int64)
    if not np.isin(kept, fixed).all():
        raise InputError("only fixed generators can become inequalities.")
    f = len(free)
    order = 2 * f + k
    # Each activation φ_p of the whole is a coordinate of the node, a linear form in z, or zero.
    weighted = np.zeros((2 * m, W.shape[1]))
    weighted[program.feature] = program.weight[:, None] * W
    alive = np.where(signs == INACTIVE, m, 0) + np.arange(m)
    linear = (signs[fixed, None] * A[fixed]).T @ weighted[alive[fixed]]
    factor = np.concatenate([weighted[free], weighted[m + free], linear])
    inequalities = np.zeros((len(kept), order))
    inequalities[:, 2 * f :] = signs[kept, None] * A[kept]
    form = FormProgram(LiftedSpace(A[free]), -factor @ factor.T, program.metric, inequalities)
    return NodeProgram(form, signs.copy(), free, np.concatenate([free, m + free, alive[kept]]))
