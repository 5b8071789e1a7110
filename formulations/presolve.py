"""Presolve of training programs, each step undone exactly on the way out.

Two reductions are chained: ``merge_rows`` (zero rows leave, parallel and antiparallel rows share a generator) and
``rescale`` (null directions of X leave, rows get unit norm with their weights moved into the loss, ``u`` is whitened,
and numbers become O(1)). Both return a ``Program`` and the maps back. The bound itself never depends on
``rescale``: its inverse only proposes multipliers, which the repair then makes valid for the original data.
"""

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from formulations._validation import FloatArray, IntArray
from formulations.arguments import accepts
from formulations.lifted_space import LiftedSpace
from formulations.loss import SquaredLoss
from formulations.program import Dual, Primal, Program
from formulations.rows import RowReduction, reduce_rows
from formulations.training import SMALLEST, TrainingProgram

RANK_TOLERANCE = 1e-12
WHITENING_STEPS = 5
WHITENING_FLOOR = 1e-10
LARGEST_STRETCH = 1e4
"""Most by which whitening stretches one direction of u beyond another. The cost of u becomes TᵀT, the square of that:
beyond some 1e8 solvers lose digits of it, and beyond 1e16 it is singular in float64. A direction that the data hardly
see costs a network so much that it need not look like the others."""


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
class Rescaled:
    """``program`` is ``merged`` in coordinates z = √t·T z', φ = √t·r φ' in which solvers converge."""

    merged: Program
    program: Program
    transform: FloatArray
    row_norm: FloatArray
    moment_scale: float
    target_norm: float
    inequality_norm: FloatArray = field(default_factory=lambda: np.zeros(0))

    @property
    def position_norm(self) -> FloatArray:
        """Size of each inequality, φ and then the others, where its counterpart in ``program`` has size one."""
        return np.concatenate([self.row_norm, self.row_norm, self.inequality_norm])

    @property
    def dual_scale(self) -> float:
        """Factor from N' to N at generators of equal norm: ‖T‖²/t."""
        return self.target_norm**2 / self.moment_scale

    def undo_dual(self, dual: Dual) -> Dual:
        """The same dual in the merged program's coordinates."""
        return Dual(self.target_norm * dual.W, self.dual_scale * self._rescaled(dual.N, 1.0 / self.position_norm))

    def apply_dual(self, dual: Dual) -> Dual:
        """Inverse of ``undo_dual``; used for warm starts."""
        return Dual(dual.W / self.target_norm, self._rescaled(dual.N, self.position_norm) / self.dual_scale)

    @staticmethod
    def _rescaled(N: FloatArray, size: FloatArray) -> FloatArray:
        """N with inequalities of these sizes; none stay none."""
        return N * np.outer(size, size) if N.size else N

    def with_inequalities(self, rows: FloatArray) -> "Rescaled":
        """The same scaling with these inequalities (r, 2N+k) of ``merged``; those of ``program`` have unit norm.

        Raises:
            InputError: rows that do not fit.
        """
        merged = self.merged.with_inequalities(rows)
        rows, split = merged.inequalities, 2 * len(self.row_norm)
        # λ = √t (r φ', T z') turns ℓ·λ into √t times the scaled row.
        phi = rows[:, :split] * np.concatenate([self.row_norm, self.row_norm])
        scaled = np.hstack([phi, rows[:, split:] @ self.transform])
        norm = np.linalg.norm(scaled, axis=1)
        norm = np.where(norm > 0, norm, 1.0)
        program = self.program.with_inequalities(scaled / norm[:, None])
        return replace(self, merged=merged, program=program, inequality_norm=norm)

    def undo_z(self, z: FloatArray) -> FloatArray:
        """Original u (d, or d×m) of points z' (k, or k×m)."""
        u: FloatArray = np.sqrt(self.moment_scale) * (self.transform @ z)
        return u

    @cached_property
    def _inverse(self) -> FloatArray:
        inverse: FloatArray = np.asarray(np.linalg.pinv(self.transform), dtype=np.float64)
        return inverse

    def apply_z(self, u: FloatArray) -> FloatArray:
        """Coordinates z' of original points u; what lies in the null space of X is dropped."""
        z: FloatArray = self._inverse @ u / np.sqrt(self.moment_scale)
        return z

    def apply_v(self, v: FloatArray) -> FloatArray:
        """Output coordinates v' of original output weights v (c, or c×m)."""
        # The regulariser of v keeps its share of the objective: γ‖v‖² = target_norm² γ'‖v'‖².
        scaled: FloatArray = v * np.sqrt(self.merged.gamma / self.program.gamma) / self.target_norm
        return scaled

    def undo_primal(self, primal: Primal) -> FloatArray:
        """The moment matrix G_uu (d×d) of the hidden weights in original coordinates."""
        N, k = self.program.space.neurons, self.program.space.dimension
        S_zz = primal.S[N : N + k, N : N + k]
        moment: FloatArray = self.moment_scale * (self.transform @ S_zz @ self.transform.T)
        return moment


def _whitening(A: FloatArray, *, whiten: bool) -> tuple[FloatArray, FloatArray, FloatArray]:
    """(A', T, r) with ``A T = diag(r) A'``, rows of A' of unit norm, and T (d×k) spanning the row space of A."""
    norm = np.linalg.norm(A, axis=1)
    unit = A / norm[:, None]
    _, singular, Vt = np.linalg.svd(unit, full_matrices=False)
    T = Vt[singular > RANK_TOLERANCE * singular[0]].T
    Z = unit @ T
    for _ in range(WHITENING_STEPS if whiten else 0):
        Z /= np.linalg.norm(Z, axis=1)[:, None]
        values, vectors = np.linalg.eigh(Z.T @ Z * (Z.shape[1] / Z.shape[0]))
        root = (vectors / np.sqrt(np.maximum(values, WHITENING_FLOOR * values[-1]))) @ vectors.T
        Z, T = Z @ root, T @ root
    left, stretch, right = np.linalg.svd(T, full_matrices=False)
    T = (left * np.minimum(stretch, LARGEST_STRETCH * stretch[-1])) @ right
    Z = A @ T
    r: FloatArray = np.linalg.norm(Z, axis=1)
    return Z / r[:, None], T, r


def rescale(merged: Program, *, whiten: bool = True) -> Rescaled:
    """Scale a merged program; ``whiten=False`` keeps u orthonormal, so that the metric stays a multiple of I."""
    A, T, r = _whitening(merged.space.generators, whiten=whiten)
    f = merged.feature % len(r)
    metric = T.T @ merged.metric @ T
    metric_mean = float(np.trace(metric)) / len(metric)
    target_norm = float(np.linalg.norm(merged.target)) or 1.0
    weight = merged.weight * r[f]
    weight_mean = float(np.linalg.norm(weight)) / np.sqrt(len(weight))
    t = target_norm / np.sqrt(len(weight)) / (weight_mean * np.sqrt(metric_mean))
    program = Program(
        space=LiftedSpace(A, merged.space.outputs),
        metric=metric / metric_mean,
        loss=SquaredLoss(merged.feature, weight * t * np.sqrt(metric_mean) / target_norm, merged.target / target_norm),
        gamma=merged.gamma * metric_mean * t / target_norm**2,
        scale=merged.scale * target_norm**2,
        constant=merged.constant,
    )
    plain = Rescaled(
        merged=merged,
        program=program,
        transform=T,
        row_norm=r,
        moment_scale=t,
        target_norm=target_norm,
    )
    return plain.with_inequalities(merged.inequalities)


@dataclass(frozen=True, eq=False)
class Presolved:
    """Both reductions of a training program, with the maps back chained."""

    rows: MergedRows
    scaling: Rescaled

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
        return Presolved(replace(self.rows, program=scaling.merged), scaling)

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
