"""Presolve of training programs, each step undone exactly on the way out.

Two reductions are chained: ``merge_rows`` (zero rows leave, parallel and antiparallel rows share a generator) and
``rescale`` (null directions of X leave, rows get unit norm with their weights moved into the loss, ``u`` is whitened,
and numbers become O(1)). Both return a ``Program`` and the maps back. The bound itself never depends on
``rescale``: its inverse only proposes multipliers, which the repair then makes valid for the original data.
"""

from dataclasses import dataclass, replace

import numpy as np

from formulations._validation import FloatArray, IntArray
from formulations.arguments import accepts
from formulations.lifted_space import LiftedSpace
from formulations.loss import SquaredLoss
from formulations.program import Dual, Primal, Program
from formulations.rows import ZERO_ROW, RowReduction, reduce_rows
from formulations.scaling import Scaling, rescale
from formulations.training import SMALLEST, TrainingProgram


@dataclass(frozen=True, eq=False)
class MergedRows:
    """A training program written over the distinct directions of its data rows.

    ``program`` has z = u, the identity as metric, scale 1, and a constant that holds what no network can change:
    ½‖y_i‖² of zero rows and the spread of targets on merged rows. Of the data rows that count, ``active`` are the
    indices, ``place`` the features, and ``ratio`` (a, 1) the |κ_i|.
    """

    original: TrainingProgram
    rows: RowReduction
    program: Program
    active: IntArray
    place: IntArray
    ratio: FloatArray

    def undo_W(self, W: FloatArray) -> FloatArray:
        """The n×c dual of the original data whose dual value is that of W (f×c) plus the constant.

        Zero rows get their optimum ``W_i = y_i``; a merged row gets ``y_i`` minus its share of the fitted value.
        """
        weight, out = self.program.weight[:, None], self.original.Y.copy()
        out[self.active] -= self.ratio * (self.program.target / weight)[self.place]
        # What is left of the target of a row that shares its feature with none is 0, not rounding.
        out[self.active[np.bincount(self.place)[self.place] == 1]] = 0.0
        out[self.active] += self.ratio * (W / weight)[self.place]
        return out

    def merge_W(self, W: FloatArray) -> FloatArray:
        """The merged dual (f×c) of an n×c dual: ``ω W̄ = Σ |κ_i| W_i`` over the rows of a feature."""
        total = np.zeros((len(self.program.weight), W.shape[1]))
        np.add.at(total, self.place, self.ratio * W[self.active])
        return np.asarray(total / self.program.weight[:, None])


def merge_rows(original: TrainingProgram) -> MergedRows:
    """Drop rows that are zero or so small that their squares vanish, and merge exactly parallel ones.

    What is left of a small row in a slack is far below the margin of a certificate, which is checked with it.
    """
    rows, Y = reduce_rows(original.X), original.Y
    squares, nonzero = np.zeros(2 * len(rows.source)), np.flatnonzero(rows.generator != ZERO_ROW)
    np.add.at(squares, rows.feature[nonzero], rows.ratio[nonzero] ** 2)
    feature = np.flatnonzero(squares > SMALLEST**2)
    active = np.flatnonzero(np.isin(rows.feature, feature))
    place, ratio = np.searchsorted(feature, rows.feature[active]), np.abs(rows.ratio[active])[:, None]
    weight = np.sqrt(squares[feature])
    target = np.zeros((len(feature), Y.shape[1]))
    np.add.at(target, place, ratio * Y[active])
    target /= weight[:, None]
    # ½Σ‖κ_i t/ω − y_i‖² is summed as it stands: as ½(Σ‖y_i‖² − ‖t‖²) it would cancel and could turn out negative.
    spread = ratio * (target / weight[:, None])[place] - Y[active]
    program = Program(
        space=LiftedSpace(rows.generators, Y.shape[1]),
        metric=np.eye(original.X.shape[1]),
        loss=SquaredLoss(feature, weight, target),
        gamma=original.gamma,
        constant=0.5 * float(np.sum(np.delete(Y, active, axis=0) ** 2) + np.sum(spread**2)),
    )
    return MergedRows(original, rows, program, active, place, ratio)


@dataclass(frozen=True, eq=False)
class Presolved:
    """Both reductions of a training program, with the maps back chained."""

    rows: MergedRows
    scaling: Scaling

    @property
    def program(self) -> Program:
        """The program that a solver gets."""
        return self.scaling.program

    def undo_dual(self, dual: Dual) -> Dual:
        """A solver's dual in the coordinates of ``rows.program``, where it is repaired."""
        return self.scaling.undo_dual(dual)

    def apply_dual(self, dual: Dual) -> Dual:
        """Inverse of ``undo_dual``: a dual of ``rows.program`` in the coordinates of ``program``."""
        return self.scaling.apply_dual(dual)

    def with_inequalities(self, rows: FloatArray) -> "Presolved":
        """The same reductions of a relaxation with these inequalities (r, 2N+d) of ``rows.program``.

        Raises:
            InputError: rows that do not fit.
        """
        scaling = self.scaling.with_inequalities(rows)
        return Presolved(replace(self.rows, program=scaling.given), scaling)

    def apply_network(self, U: FloatArray, V: FloatArray) -> Primal:
        """The face matrix Σ_j s_j s_jᵀ of a network: hidden weights U (d×m), output weights V (c×m).

        Its value in ``program`` is the network's objective, except that what U has in the null space of X is free.
        """
        space = self.program.space
        s = space.face(space.lift(self.scaling.apply_z(U), self.scaling.apply_v(V)))
        return Primal(s @ s.T, space.outputs)


@accepts(original=TrainingProgram)
def presolve(original: TrainingProgram, *, whiten: bool = True) -> Presolved | None:
    """Run both reductions. None when every data row is zero: then the zero network is optimal."""
    rows = merge_rows(original)
    if rows.program.space.neurons == 0:
        return None
    return Presolved(rows, rescale(rows.program, whiten=whiten))
