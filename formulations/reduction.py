"""Presolve of training programs, each step undone exactly on the way out.

Two reductions are chained: ``merge_rows`` (zero rows leave, parallel and antiparallel rows share a generator) and
``rescale`` (null directions of X leave, rows get unit norm with their sizes moved into the weights κ of the loss, ``u``
is whitened, and numbers become O(1)). Both return a ``Program`` and the maps back. The bound itself never depends on
``rescale``: its inverse only proposes multipliers, which the repair then makes valid for the original data.

Rows that are zero never activate; rows that are positive or negative multiples of one another share one generator:
if ``x_i = κ a`` then ``(x_i·u)₊ = |κ| α`` for κ > 0 and ``|κ| β`` for κ < 0. "Multiple" is decided in exact rational
arithmetic on the float64 entries, so the checker may rely on it. Rows that are parallel only up to rounding stay apart.
"""

from collections import Counter
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from formulations._validation import FloatArray, IntArray, frozen
from formulations.arguments import accepts
from formulations.lifted_space import LiftedSpace
from formulations.parallel import ZERO_ROW, scale_rows
from formulations.program import Dual, Primal, Program
from formulations.scaling import Scaling, rescale
from formulations.training import SMALLEST, TrainingProgram

REGION_SHARE = 0.4
"""θ, the share of a free hidden bias's region in the metric of solvers; the repair of a bound chooses its own.
Measured: on wine with cross-entropy 1e-4 makes the ADMM slow, and 0.1 to 0.4 do equally well."""


@dataclass(frozen=True, eq=False)
class RowReduction:
    """Distinct directions of the rows of X (n×d).

    Attributes:
        generators: N×d, one row for each direction: a data row times a power of two, so that its largest entry lies
            in [1, 2). The scaling is exact.
        source: (N,) the data row from which a generator was taken.
        generator: (n,) generator of each data row, or ``ZERO_ROW``.
        ratio: (n,) κ_i with x_i = κ_i · generator, rounded to nearest; 0 for zero rows. Its sign is exact.
    """

    generators: FloatArray
    source: IntArray
    generator: IntArray
    ratio: FloatArray

    @property
    def feature(self) -> IntArray:
        """(n,) index into φ = (α, β) of each data row's activation, or ``ZERO_ROW``."""
        shift = np.where(self.ratio < 0, len(self.source), 0)
        return np.where(self.generator == ZERO_ROW, ZERO_ROW, self.generator + shift)


def reduce_rows(X: FloatArray, kept: NDArray[np.bool_] | None = None) -> RowReduction:
    """Find zero rows and groups of exactly parallel rows of X (n×d); the first row of a group represents it.

    Rows that are not ``kept`` (n,) count as zero.
    """
    n = X.shape[0]
    generator = np.full(n, ZERO_ROW, dtype=np.int64)
    ratio = np.zeros(n)
    nonzero = np.flatnonzero(X.any(axis=1) if kept is None else X.any(axis=1) & kept)
    # Exactly parallel rows have equal ratios to their pivots, which division rounds alike: rows whose rounded ratios
    # occur once are on their own. A ratio that rounds in another way would cost a merge, never correctness.
    ratios = X[nonzero] / _pivots(X[nonzero], X[nonzero])[:, None] + 0.0
    keys = [row.tobytes() for row in ratios]
    frequency = Counter(keys)
    known: dict[bytes, int] = {}
    groups: dict[bytes | tuple[Fraction, ...], int] = {}
    representatives: list[int] = []
    for i, key in zip(nonzero.tolist(), keys, strict=True):
        raw = X[i].tobytes()
        if raw not in known:
            known[raw] = groups.setdefault(key if frequency[key] == 1 else _direction(X[i]), len(groups))
            if known[raw] == len(representatives):
                representatives.append(i)
        generator[i] = known[raw]
    source = np.array(representatives, dtype=np.int64)
    generators = scale_rows(X[source])
    own = generators[generator[nonzero]]
    ratio[nonzero] = _pivots(own, X[nonzero]) / _pivots(own, own)
    for array in (generators, source, generator, ratio):
        frozen(array)
    return RowReduction(generators, source, generator, ratio)


def _direction(row: FloatArray) -> tuple[Fraction, ...]:
    """The same for exactly those nonzero rows that are multiples of one another."""
    pivot = Fraction(float(row[np.abs(row).argmax()]))
    return tuple(Fraction(x) / pivot for x in row.tolist())


def _pivots(rows: FloatArray, values: FloatArray) -> FloatArray:
    """Of each row of ``values``, the entry where that row of ``rows`` is largest."""
    column = np.abs(rows).argmax(axis=1)[:, None]
    taken: FloatArray = np.take_along_axis(values, column, axis=1)[:, 0]
    return taken


@dataclass(frozen=True, eq=False)
class MergedRows:
    """A training program written over the distinct directions of its data rows.

    ``program`` has z = u, the metric of the training program, scale 1, and a constant that holds what no network can
    change: the loss of zero rows where there is no output bias. A row of its loss stands for equal data rows with equal
    targets, whose weights add up. ``active`` are the data rows that count and ``place`` their rows in the loss. Rows
    that are not ``kept`` (n,) are left out.
    """

    original: TrainingProgram
    rows: RowReduction
    program: Program
    active: IntArray
    place: IntArray
    kept: NDArray[np.bool_]

    def undo_W(self, W: FloatArray) -> FloatArray:
        """The n×c dual of the original data whose dual value is that of W (f×c) plus the constant.

        Zero rows get their optimum, rows that are left out 0, and merged rows their shares by weight.
        """
        loss, merged = self.original.loss, self.program.loss
        assert merged is not None
        out = np.where(self.kept[:, None], loss.dual(np.zeros(loss.shape)), 0.0)
        share = loss.sample_weight[self.active] / merged.sample_weight[self.place]
        out[self.active] = share[:, None] * W[self.place]
        return out

    def positions(self, source: IntArray) -> IntArray:
        """(2g,) positions in φ, α before β, of the generators that stand for g data rows: where a program about these
        alone lies in this one."""
        place = self.rows.generator[source]
        return np.concatenate([place, self.program.space.neurons + place])

    def merge_W(self, W: FloatArray) -> FloatArray:
        """The merged dual (f×c) of an n×c dual: the sums over merged rows."""
        total = np.zeros(self.program.shape)
        np.add.at(total, self.place, W[self.active])
        return total


def merge_rows(original: TrainingProgram, kept: NDArray[np.bool_] | None = None) -> MergedRows:
    """Share a generator among parallel rows, add up equal rows, and drop rows that are zero.

    Rows that are not ``kept`` (n,) are left out, as if they cost nothing: the least loss of a row is 0, so a bound on
    what is left is one on the whole.

    Rows so small that their squares vanish count as zero: what is left of one in a slack is far below the margin of a
    certificate, which is checked with it. With an output bias zero rows have a loss that can be changed, and stay.
    """
    rows, loss = reduce_rows(original.X, kept), original.loss
    there = np.ones(len(original.X), dtype=bool) if kept is None else kept
    squares, nonzero = np.zeros(2 * len(rows.source)), np.flatnonzero(rows.generator != ZERO_ROW)
    np.add.at(squares, rows.feature[nonzero], rows.ratio[nonzero] ** 2)
    seen = np.zeros(len(original.X), dtype=bool)
    seen[nonzero] = squares[rows.feature[nonzero]] > SMALLEST**2
    feature = np.where(seen, rows.feature, 0)
    kappa = np.where(seen, np.abs(rows.ratio), 0.0)
    active = np.flatnonzero(seen | (there & (loss.has_bias and len(rows.source) > 0)))
    keys = np.column_stack([feature, kappa, original.Y])[active] + 0.0
    _, first, group = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)
    place = np.argsort(order)[group.ravel()]
    own = active[first[order]]
    omega = np.zeros(len(own))
    np.add.at(omega, place, loss.sample_weight[active])
    dropped = loss.take(np.setdiff1d(np.flatnonzero(there), active))
    share = REGION_SHARE if original.region.size else 0.0
    program = Program(
        space=LiftedSpace(rows.generators, original.Y.shape[1]),
        metric=original.cost(share),
        region=original.region,
        share=share,
        loss=replace(loss.take(own), sample_weight=omega),
        feature=feature[own],
        weight=kappa[own],
        gamma=original.gamma,
        constant=dropped.value(np.zeros(dropped.shape)) if len(dropped.target) else 0.0,
    )
    return MergedRows(original, rows, program, active, place, there)


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
        """The same reductions of a relaxation with these inequalities (r, 2N+d) of ``rows.program``."""
        scaling = self.scaling.with_inequalities(rows)
        return Presolved(replace(self.rows, program=scaling.given), scaling)

    def apply_network(self, U: FloatArray, V: FloatArray) -> Primal:
        """The face matrix Σ_j s_j s_jᵀ of a network: hidden weights U (d×m), output weights V (c×m).

        Its value in ``program`` is the network's objective, except that what U has in the null space of X is free.
        """
        space = self.program.space
        s = space.face(space.lift(self.scaling.apply_z(U), self.scaling.apply_v(V)))
        return Primal(s @ s.T, space.outputs)


@accepts(original=TrainingProgram, kept=np.ndarray)
def presolve(original: TrainingProgram, *, kept: NDArray[np.bool_] | None = None) -> Presolved | None:
    """Run both reductions, of the rows that are ``kept`` (n,) alone where that is given. None when every data row is
    zero: then the zero network is optimal."""
    rows = merge_rows(original, kept)
    if rows.program.space.neurons == 0:
        return None
    return Presolved(rows, rescale(rows.program))
