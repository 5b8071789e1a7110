"""The ADMM for products within groups of rows: a step costs one small eigendecomposition for each group."""

from concurrent.futures import Executor
from dataclasses import dataclass, replace

import numpy as np

from certnet.runtime.numerics import blas_threads
from certnet.solvers.admm import SETTINGS, TIMED_STEPS, Point, Run, ratio
from certnet.solvers.grouped_splitting import GroupedSplitting
from certnet.solvers.interface import Progress, SolverOptions, SolveStatus
from certnet.solvers.orthonormal import FOR_BOUNDS, orthonormal
from formulations import Program
from formulations._validation import FloatArray
from formulations.groups import GroupedDual, Groups

__all__ = ["GroupedResult", "grouped_admm", "grouping"]

FEW_STEPS = 100
"""Where a time limit leaves fewer steps, the penalty falls at once to where balancing would lead it. Measured: on 5,000
Gaussian rows of 20 features (logistic loss, γ = 25, groups of 24) 20 and 40 steps prove 232 to 270 and 341 to 361 with
penalties of 0.005 to 0.04 of the usual, and 150 and 220 with that; 200 steps of the usual prove 384. On 600 rows 200
steps prove 144 with the usual and 132 with the lower one."""
SMALL_PENALTY = 3.0
"""That penalty, in units of the one at which moments and scaled multipliers are of one size. Measured: 1 to 8 are alike
in the first line above."""


@dataclass(frozen=True, eq=False)
class GroupedResult:
    """How a solve ended, and its last dual in the coordinates of the program that was given; no bound."""

    dual: GroupedDual
    status: SolveStatus
    iterations: int


def grouped_admm(
    program: Program,
    groups: Groups,
    options: SolverOptions,
    network: tuple[FloatArray, FloatArray] | None = None,
    dual: GroupedDual | None = None,
    executor: Executor | None = None,
) -> GroupedResult:
    """Solve the relaxation of training with products within groups and return the last dual, whatever happened.

    Memory O(m (2s+k+c)²) for m groups of s generators.

    Args:
        program: of training, without inequalities besides its signs.
        groups: of its generators.
        options: the warm start is not used; ``dual`` of what the callback sees gives a ``GroupedDual``.
        network: z (k×p) and v (c×p) of the neurons of a network of this program to begin with.
        dual: of this program with these groups, to begin with besides the network.
        executor: where matrices of groups are projected; None: in threads.
    """
    # Small matrices gain by threads of their own, and lose by those of the linear algebra.
    with blas_threads(1):
        run = _Run(program, groups, options, network, dual, executor)
        status = run.session.run(run.solve)
    return GroupedResult(run.dual(), status, run.iterations)


def grouping(program: Program, size: int, shared: int) -> Groups:
    """Groups of at most so many generators that are alike in the coordinates that the ADMM works in.

    Measured: after 600 steps on pima indians (logistic loss, γ = 10, 12 groups) 130.8 is proved so, 123.8 with groups
    of the presolved coordinates, and 127.2 with those of what the network's neurons see.
    """
    return Groups.of(orthonormal(program, FOR_BOUNDS).program.space.generators, size, shared)


class _Run(Run):
    """As for all products, but V is moved in place, so that the solve holds no matrices besides V and Z.

    Float32 and acceleration do not pay. Measured: 200 steps for 2,000 rows in groups of 48 take 12.1 CPU s in float32,
    and 13.0 in float64; 600 × 20 rows in groups of 50, γ = 10: 50, 200 and 800 steps prove 103.3, 130.7 and 140.7
    without acceleration, in a sixth less time, and 98.4, 129.4 and 140.8 with it.
    """

    def __init__(
        self,
        program: Program,
        groups: Groups,
        options: SolverOptions,
        network: tuple[FloatArray, FloatArray] | None,
        dual: GroupedDual | None,
        executor: Executor | None,
    ) -> None:
        self.groups, self.network, self.known, self.executor = groups, network, dual, executor
        super().__init__(program, options, FOR_BOUNDS)

    def _use(self, *, single: bool) -> None:
        self.grouped = GroupedSplitting(self.program, self.groups, self.executor)

    def _start(self) -> Point:
        penalty = SETTINGS.first_penalty * self.grouped.size
        V, self.Z = self.grouped.zeros(), self.grouped.zeros()
        if self.network is not None:
            z, v = self.coordinates.apply_z(self.network[0]), self.coordinates.apply_v(self.network[1])
            known = None if self.known is None else self.coordinates.apply_dual(self.known)
            assert known is None or isinstance(known, GroupedDual)
            V = self.grouped.start(z, v, penalty, known)
        return Point(V, None, penalty)

    def _go_on(self, at: Point) -> None:
        self.at = at

    def _step(self) -> bool:
        at = self.at
        sizes = self.grouped.step(at.V, self.Z, at.penalty, SETTINGS.relaxation)
        primal = ratio(sizes.gap, max(sizes.entries, self.smallest))
        self.at = replace(at, primal_residual=primal, dual_residual=ratio(sizes.change, sizes.multiplier))
        # The durations of all steps but this one are known.
        few = FEW_STEPS * max(self.durations, default=0.0)
        if self.iterations == TIMED_STEPS - 1 and self.session.out_of_time(few):
            self._rescale(min(SMALL_PENALTY * ratio(sizes.multiplier, sizes.entries), 1.0))
        return True

    def _rescale(self, factor: float) -> None:
        self.grouped.rescale(self.at.V, self.at.penalty, factor)
        self.at = replace(self.at, penalty=self.at.penalty * factor)

    def dual(self) -> GroupedDual:
        """The running dual in the coordinates of the program that was given."""
        dual = self.coordinates.undo_dual(self.grouped.multipliers(self.at.V, self.at.penalty))
        assert isinstance(dual, GroupedDual)
        return dual

    def _report(self) -> bool:
        return self.session.show(
            Progress(
                iteration=self.iterations,
                objective=np.inf,
                primal_residual=self.at.primal_residual,
                dual_residual=self.at.dual_residual,
                rank=0,
                dual=self.dual,
            )
        )
