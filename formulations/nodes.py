"""Pricing on a part of the cone: where the signs of some generators are fixed.

A fixed sign takes a coordinate away: ``α_i = a_i·z, β_i = 0`` where the sign is +1, and ``β_i = −a_i·z, α_i = 0`` where
it is −1. The fixed activation remains as an inequality, and so do the whole's own inequalities. So a node of a branch
and bound is a smaller form program, with the same dual variables as the whole but for those of what vanishes.
"""

from dataclasses import dataclass

import numpy as np

from formulations._validation import FloatArray, IntArray
from formulations.errors import InputError
from formulations.forms import FormProgram
from formulations.lifted_space import LiftedSpace
from formulations.program import LiftedProgram, RawDual

FREE, ACTIVE, INACTIVE = 0, 1, -1

PARALLEL = 1e-12
"""Squared sine of the angle below which two inequalities count as one."""


@dataclass(frozen=True, eq=False)
class NodeProgram:
    """The pricing program of a node.

    Attributes:
        program: form program over the free generators; its inequalities are the fixed activations, then those of the
            whole that say something new here.
        signs: (N,) of all generators: FREE, ACTIVE or INACTIVE.
        free: (f,) the free generators.
        positions: (2f+r,) position in the whole of each inequality of ``program``.
        whole: number of positions in the whole.
    """

    program: FormProgram
    signs: IntArray
    free: IntArray
    positions: IntArray
    whole: int

    def lift_dual(self, dual: RawDual) -> FloatArray:
        """N of the node's program as an N over the positions of the whole, zero where one vanishes."""
        N = np.zeros((self.whole, self.whole))
        N[np.ix_(self.positions, self.positions)] = dual.N
        return N

    def restrict_dual(self, N: FloatArray) -> RawDual:
        """The part of an N over the positions of the whole that matters here."""
        return RawDual(self.program.target, N[np.ix_(self.positions, self.positions)])


@dataclass(frozen=True, eq=False)
class TrainingNode:
    """The part of a training program on which some signs are fixed, with W free: a leaf of the joint bound.

    Its moment matrix G is over (α, β, z, v) of the free generators. A feature of the whole is α or β of a free
    generator, a fixed activation, or zero here.

    Attributes:
        space: lifted space of the free generators, with the outputs of the whole.
        inequalities: (r, 2f+k) as in ``NodeProgram``.
        signs: (N,) of all generators.
        free: (f,) the free generators.
        positions: (2f+r,) position in the whole of each inequality here.
        whole: number of positions in the whole.
        features: (a,) features of the whole that are not zero here.
        places: (a,) where they are among the inequalities here.
    """

    space: LiftedSpace
    inequalities: FloatArray
    signs: IntArray
    free: IntArray
    positions: IntArray
    whole: int
    features: IntArray
    places: IntArray

    def lift(self, N: FloatArray) -> FloatArray:
        """N over the inequalities here as an N over the positions of the whole."""
        out = np.zeros((self.whole, self.whole))
        out[np.ix_(self.positions, self.positions)] = N
        return out

    def restrict(self, N: FloatArray) -> FloatArray:
        """The part of an N over the positions of the whole that matters here."""
        return N[np.ix_(self.positions, self.positions)]


def restrict(program: LiftedProgram, W: FloatArray, signs: IntArray) -> NodeProgram:
    """Pricing with fixed W (f×c) where generators have these signs (N,).

    Args:
        program: whose generators, features, metric and inequalities are meant.
        W: dual that is priced.
        signs: FREE, ACTIVE or INACTIVE for each generator.

    Raises:
        InputError: shapes that do not fit, or a sign other than 0, 1 and −1.
    """
    A = program.space.generators
    m = len(A)
    if W.shape != program.target.shape:
        raise InputError(f"W has shape {W.shape}, but the program has targets of shape {program.target.shape}.")
    part = _part(program, signs)
    # Each activation φ_p of the whole is a coordinate of the node, a linear form in z, or zero.
    weighted = np.zeros((2 * m, W.shape[1]))
    weighted[program.feature] = program.weight[:, None] * W
    free, fixed = part.free, np.flatnonzero(signs != FREE)
    linear = (signs[fixed, None] * A[fixed]).T @ weighted[part.alive[fixed]]
    factor = np.concatenate([weighted[free], weighted[m + free], linear])
    form = FormProgram(LiftedSpace(A[free]), -factor @ factor.T, program.metric, part.inequalities)
    return NodeProgram(form, signs.copy(), free, part.positions, program.positions)


def restrict_training(program: LiftedProgram, signs: IntArray) -> TrainingNode:
    """Training where generators have these signs (N,), with W free.

    Raises:
        InputError: signs that do not fit.
    """
    part = _part(program, signs)
    place = np.full(program.positions, -1)
    place[part.positions] = np.arange(len(part.positions))
    alive = np.flatnonzero(place[program.feature] >= 0)
    return TrainingNode(
        space=LiftedSpace(program.space.generators[part.free], program.space.outputs),
        inequalities=part.inequalities,
        signs=signs.copy(),
        free=part.free,
        positions=part.positions,
        whole=program.positions,
        features=alive,
        places=place[program.feature[alive]],
    )


@dataclass(frozen=True, eq=False)
class _Part:
    """The inequalities of a node; ``alive`` has the activation that does not vanish of each fixed generator."""

    free: IntArray
    alive: IntArray
    inequalities: FloatArray
    positions: IntArray


def _part(program: LiftedProgram, signs: IntArray) -> _Part:
    A = program.space.generators
    m, k = A.shape
    if signs.shape != (m,) or not np.isin(signs, (FREE, ACTIVE, INACTIVE)).all():
        raise InputError(f"signs must be {m} numbers 0, 1 or -1.")
    free, fixed = np.flatnonzero(signs == FREE), np.flatnonzero(signs != FREE)
    alive = np.where(signs == INACTIVE, m, 0) + np.arange(m)
    inequalities = np.zeros((len(fixed), 2 * len(free) + k))
    inequalities[:, 2 * len(free) :] = signs[fixed, None] * A[fixed]
    own = _restricted_rows(program, signs)
    told = _says_something(own, inequalities, LiftedSpace(A[free]))
    positions = np.concatenate([free, m + free, alive[fixed], 2 * m + told])
    return _Part(free, alive, np.concatenate([inequalities, own[told]]), positions)


def _restricted_rows(program: LiftedProgram, signs: IntArray) -> FloatArray:
    """The program's inequalities over the node's (α, β, z): fixed activations are linear in z."""
    A, rows = program.space.generators, program.inequalities
    m, free = len(A), np.flatnonzero(signs == FREE)
    active, inactive = np.flatnonzero(signs == ACTIVE), np.flatnonzero(signs == INACTIVE)
    z = rows[:, 2 * m :] + rows[:, active] @ A[active] - rows[:, m + inactive] @ A[inactive]
    return np.hstack([rows[:, free], rows[:, m + free], z])


def _says_something(rows: FloatArray, others: FloatArray, space: LiftedSpace) -> IntArray:
    """Which rows are neither zero nor parallel on the face to an activation, to one of ``others`` or to an earlier row.

    A circuit whose support is fixed can become a multiple of ``−β_k``: it says that a sign is implied, and its products
    would leave the relaxation without interior.
    """
    if not len(rows):
        return np.zeros(0, dtype=np.int64)
    basis = space.basis
    seen = np.concatenate([basis[space.phi], others @ basis])
    unit = _unit_rows(seen)
    own = rows @ basis
    size = np.abs(rows).max(axis=1)
    kept: list[int] = []
    for number, direction in enumerate(_unit_rows(own)):
        cosine = np.abs(unit @ direction).max(initial=0.0)
        if np.linalg.norm(own[number]) > PARALLEL * size[number] and cosine**2 < 1.0 - PARALLEL:
            kept.append(number)
            unit = np.concatenate([unit, direction[None]])
    return np.array(kept, dtype=np.int64)


def _unit_rows(rows: FloatArray) -> FloatArray:
    norm = np.linalg.norm(rows, axis=1)
    return np.asarray(rows / np.where(norm > 0, norm, 1.0)[:, None], dtype=np.float64)
