"""A part of the cone: where the signs of some generators are fixed.

A fixed sign takes a coordinate away: ``α_i = a_i·z, β_i = 0`` where the sign is +1, and ``β_i = −a_i·z, α_i = 0`` where
it is −1. The fixed activation remains as an inequality, and so do the whole's own inequalities. So a node of a branch
and bound is a smaller program, with the same dual variables as the whole but for those of what vanishes.

With one output, its sign may be fixed too. With a fixed W it is that of ``(κ∘W)ᵀφ_f``, and with a free one that of the
output weight v. Either way it is one inequality more, the last one, which is measured in units of the largest entry of
W: so its multipliers grow with W as all others do.
"""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from formulations._validation import FloatArray, IntArray
from formulations.errors import InputError
from formulations.lifted_space import LiftedSpace
from formulations.program import Program
from formulations.signs import ACTIVE, FREE, INACTIVE

PARALLEL = 1e-12  # Squared sine of the angle below which two inequalities count as one.


@dataclass(frozen=True, eq=False)
class Part:
    """A training program where some signs are fixed: W is free in the joint bound, and a number in ``pricing``.

    A feature of the whole is α or β of a free generator, a fixed activation, or zero here.

    Attributes:
        whole: the program.
        signs: (N,) of all generators: FREE, ACTIVE or INACTIVE.
        output: sign of the output, FREE where it is not fixed.
        free: (f,) the free generators.
        space: lifted space of the free generators, with the outputs of the whole.
        inequalities: (r, 2f+k) the fixed activations, then those of the whole that say something new here.
        positions: (2f+r,) position in the whole of each inequality here, φ first.
    """

    whole: Program
    signs: IntArray
    output: int
    free: IntArray
    space: LiftedSpace
    inequalities: FloatArray
    positions: IntArray

    @cached_property
    def _place(self) -> IntArray:
        """(f,) where the feature of each row of the loss is among the inequalities here, −1 where it is zero."""
        place = np.full(self.whole.positions, -1)
        place[self.positions] = np.arange(len(self.positions))
        return place[self.whole.feature]

    @property
    def features(self) -> IntArray:
        """(a,) rows of the loss whose features are not zero here."""
        return np.flatnonzero(self._place >= 0)

    @property
    def places(self) -> IntArray:
        """(a,) where those features are among the inequalities here."""
        return self._place[self._place >= 0]

    def lift(self, N: FloatArray) -> FloatArray:
        """N over the inequalities here as an N over the positions of the whole, zero where one vanishes."""
        out = np.zeros((self.whole.positions + (self.output != FREE),) * 2)
        out[np.ix_(self._all, self._all)] = N
        return out

    def restrict(self, N: FloatArray) -> FloatArray:
        """The part of such an N that matters here."""
        return N[np.ix_(self._all, self._all)]

    @property
    def _all(self) -> IntArray:
        """The positions, and that of the output where its sign is fixed."""
        return self.positions if self.output == FREE else np.append(self.positions, self.whole.positions)

    def rows(self, rows: FloatArray) -> FloatArray:
        """Linear forms over (α, β, z) of the whole (n, 2N+k) as such forms here; fixed activations are linear in z."""
        A, m, signs = self.whole.space.generators, self.whole.space.neurons, self.signs
        fixed = np.flatnonzero(signs != FREE)
        linear = rows[:, np.where(signs[fixed] == ACTIVE, 0, m) + fixed] @ (signs[fixed, None] * A[fixed])
        return np.hstack([rows[:, self.free], rows[:, m + self.free], rows[:, 2 * m :] + linear])

    def pricing(self, W: FloatArray | None = None) -> Program:
        """Pricing here: with fixed W (f×c) where the whole is about training, else with the form of the whole."""
        whole, space, inequalities = self.whole, self.space.with_outputs(0), self.inequalities
        if W is None:
            form = self.rows(self.rows(whole.form).T)
        else:
            phi = whole.features_of(W)
            factor = self.rows(np.hstack([phi.T, np.zeros((phi.shape[1], whole.space.dimension))]))
            form = -factor.T @ factor
            if self.output != FREE:
                inequalities = np.concatenate([inequalities, self.output * factor / largest_entry(W)])
        return Program.of_form(space, form, whole.metric, inequalities, region=whole.region, share=whole.share)


def largest_entry(W: FloatArray) -> float:
    """The unit of the output's inequality; 1 for W = 0."""
    return float(np.abs(W).max(initial=0.0)) or 1.0


def restrict(program: Program, signs: IntArray, kept: IntArray | None = None) -> Part:
    """A program where generators have these signs (N,): FREE, ACTIVE or INACTIVE; that of its only output may follow.

    ``kept`` are the inequalities of the program that are taken over; without it, those that say something new.
    """
    A = program.space.generators
    m, k = A.shape
    if signs.shape not in ((m,), (m + 1,)) or not np.isin(signs, (FREE, ACTIVE, INACTIVE)).all():
        raise InputError(f"signs must be {m} numbers 0, 1 or -1.")
    signs, output = signs[:m], int(signs[m:].sum())
    if output != FREE and program.shape[1] != 1:
        raise InputError("the sign of an output can be fixed where there is one output.")
    free, fixed = np.flatnonzero(signs == FREE), np.flatnonzero(signs != FREE)
    space = LiftedSpace(A[free], program.space.outputs)
    activations = np.zeros((len(fixed), 2 * len(free) + k))
    activations[:, 2 * len(free) :] = signs[fixed, None] * A[fixed]
    whole = Part(program, signs.copy(), output, free, space, activations, np.zeros(0, dtype=np.int64))
    own = whole.rows(program.inequalities)
    kept = _says_something(own, activations, space.with_outputs(0)) if kept is None else kept
    positions = np.concatenate([free, m + free, np.where(signs[fixed] == ACTIVE, 0, m) + fixed, 2 * m + kept])
    return replace(whole, inequalities=np.concatenate([activations, own[kept]]), positions=positions)


def _says_something(rows: FloatArray, others: FloatArray, space: LiftedSpace) -> IntArray:
    """Which rows are neither zero nor parallel on the face to an activation, to one of ``others`` or to an earlier row.

    A circuit whose support is fixed can become a multiple of ``−β_k``: it says that a sign is implied, and its products
    would leave the relaxation without interior.
    """
    if not len(rows):
        return np.zeros(0, dtype=np.int64)
    basis = space.basis
    unit = _unit_rows(np.concatenate([basis[space.phi], others @ basis]))
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
