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
from formulations.rows import RowReduction, reduce_rows
from formulations.scaling import Scaling, rescale
from formulations.training import SMALLEST, TrainingProgram


@dataclass(frozen=True, eq=False)
class MergedRows:
    """A training program written over the distinct directions of its data rows.

    ``program`` has z = u, the identity as metric, scale 1, and a constant that holds what no network can change:
    ½‖y_i‖² of zero rows and the spread of targets on merged rows.
    """

    original: TrainingProgram
    rows: RowReduction
    program: Program

    def undo_W(self, W: FloatArray) -> FloatArray:
        """The n×c dual of the original data whose dual value is that of W (f×c) plus the constant.

        Zero rows get their optimum ``W_i = y_i``; a merged row gets ``y_i`` minus its share of the fitted value.
        """
        active, weight = _counted(self.rows, self.program.feature), self.program.weight[:, None]
        place = np.searchsorted(self.program.feature, self.rows.feature[active])
        ratio = np.abs(self.rows.ratio[active])[:, None]
        out = self.original.Y.copy()
        out[active] -= ratio * (self.program.target / weight)[place]
        # What is left of the target of a row that shares its feature with none is 0, not rounding.
        out[active[np.bincount(place)[place] == 1]] = 0.0
        out[active] += ratio * (W / weight)[place]
        return out

    def merge_W(self, W: FloatArray) -> FloatArray:
        """The merged dual (f×c) of an n×c dual: ``ω W̄ = Σ |κ_i| W_i`` over the rows of a feature."""
        total = np.zeros((2 * self.program.space.neurons, W.shape[1]))
        active = _counted(self.rows, self.program.feature)
        np.add.at(total, self.rows.feature[active], np.abs(self.rows.ratio[active])[:, None] * W[active])
        merged: FloatArray = total[self.program.feature] / self.program.weight[:, None]
        return merged


def merge_rows(original: TrainingProgram) -> MergedRows:
    """Drop rows that are zero or so small that their squares vanish, and merge exactly parallel ones.

    What is left of a small row in a slack is far below the margin of a certificate, which is checked with it.
    """
    rows = reduce_rows(original.X)
    active = rows.active
    N, c = len(rows.source), original.Y.shape[1]
    ratio = np.abs(rows.ratio[active])
    squares = np.zeros(2 * N)
    np.add.at(squares, rows.feature[active], ratio**2)
    weighted = np.zeros((2 * N, c))
    np.add.at(weighted, rows.feature[active], ratio[:, None] * original.Y[active])
    feature = np.flatnonzero(squares > SMALLEST**2)
    active = _counted(rows, feature)
    ratio = np.abs(rows.ratio[active])
    weight = np.sqrt(squares[feature])
    target = weighted[feature] / weight[:, None]
    zero = np.delete(np.arange(len(original.X)), active)
    # ½Σ‖κ_i t/ω − y_i‖² is summed as it stands: as ½(Σ‖y_i‖² − ‖t‖²) it would cancel and could turn out negative.
    position = np.searchsorted(feature, rows.feature[active])
    spread = ratio[:, None] * (target / weight[:, None])[position] - original.Y[active]
    constant = 0.5 * float(np.sum(original.Y[zero] ** 2) + np.sum(spread**2))
    program = Program(
        space=LiftedSpace(rows.generators, c),
        metric=np.eye(original.X.shape[1]),
        loss=SquaredLoss(feature, weight, target),
        gamma=original.gamma,
        constant=constant,
    )
    return MergedRows(original, rows, program)


def _counted(rows: RowReduction, feature: IntArray) -> IntArray:
    """The data rows of these features."""
    return np.flatnonzero(np.isin(rows.feature, feature))


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
