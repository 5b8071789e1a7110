"""The joint bound of a tree by the ADMM: for trees whose leaves are too large for the interior point."""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import replace

import numpy as np

from certificates.making.repair import RepairedForm, raw_dual, repair_form
from certnet.runtime.blocks import side_by_side, workers
from certnet.runtime.machine import available_bytes
from certnet.runtime.numerics import blas_threads
from certnet.solvers.admm import Point, Run
from certnet.solvers.interface import SolverOptions, SolveStatus
from certnet.solvers.joint import JointLeaf, JointResult
from certnet.solvers.leaf_splitting import LeafSplitting
from certnet.solvers.orthonormal import FOR_BOUNDS
from certnet.solvers.session import is_due
from formulations import Dual, Part, Primal, Program, restrict
from formulations._validation import FloatArray, IntArray
from formulations.part import largest_entry
from formulations.signs import FREE, INACTIVE

MARGIN = 1e-8  # Relative, of the bound on a price, so that rounding does not undo it.
# Part of what is missing that a bound has to gain from one repair to the next; where it gains less, and there is time
# for a larger tree, the solve ends.
LEAST_GAIN = 0.02
NEXT_ROUND = 3.0  # What the next solve, with twice the leaves, may take in units of this one.
FEWEST = 4  # Leaves that have to fit into memory.
RESIDUAL = 1e-6  # Relative residual at which a solve ends.


def solve_leaves(
    program: Program,
    signs: Sequence[IntArray],
    W: FloatArray,
    starts: Sequence[JointLeaf],
    *,
    enough: float = np.inf,
    time_limit: float | None = None,
    max_iterations: int | None = None,
    look: Callable[[float], None] = lambda value: None,
) -> JointResult:
    """That of ``certnet.solvers.joint.solve_joint``, for programs without a region and inequalities besides signs.

    ``look`` is called with the best value now and then. Ctrl-C ends the solve, and the result says so.

    Memory O(L (2N+k+c)²) for L leaves, one eigendecomposition of order N+k+c for each leaf and step.
    """
    # Matrices of this order gain by threads for the leaves, and lose by those of the linear algebra.
    with blas_threads(1), workers(len(signs)) as pool:
        options = SolverOptions(time_limit=time_limit, tolerance=RESIDUAL, max_iterations=max_iterations)
        run = _Run(program, signs, W, starts, enough, options, look, pool)
        status = run.session.run(run.solve)
        return replace(run.joint(), interrupted=status is SolveStatus.INTERRUPTED)


class _Run(Run):
    """As for one leaf, with the leaves' matrices one below the other."""

    splitting: LeafSplitting  # type: ignore[assignment]

    def __init__(
        self,
        program: Program,
        signs: Sequence[IntArray],
        W: FloatArray,
        starts: Sequence[JointLeaf],
        enough: float,
        options: SolverOptions,
        look: Callable[[float], None],
        pool: Executor | None,
    ) -> None:
        self.pool = pool
        self.signs, self.starts, self.first_W, self.enough, self.look = signs, starts, W, enough, look
        self.nodes = [restrict(program, item) for item in signs]
        self.best: tuple[float, FloatArray, list[FloatArray]] | None = None
        self.reports, self.begin = 0, time.perf_counter()
        super().__init__(program, options, FOR_BOUNDS)

    def _split(self) -> LeafSplitting:  # type: ignore[override]
        return LeafSplitting(self.program, self.layer, self.signs, self.pool)

    def _allocate(self, rows: int, columns: int) -> None:  # type: ignore[override]
        super()._allocate(len(self.signs) * rows, columns)

    def _start(self) -> Point:
        penalty = self.splitting.size
        if not self.first_W.any():
            V = np.zeros((len(self.signs) * self._order, self._order))
        else:
            whole = [Primal(_on_whole(start.S, node), node.whole.space.outputs) for start, node in self._pairs]
            lifted = [_padded(node.lift(start.N), self.given.positions + 1) for start, node in self._pairs]
            duals = [self.coordinates.apply_dual(Dual(self.first_W, N)) for N in lifted]
            S = [self.coordinates.apply_primal(primal).S for primal in whole]
            V = self.splitting.start(duals[0].W, S, [dual.N for dual in duals], penalty)
        return Point(self.layer.array(V), self.layer.zeros(len(V), 0), penalty)

    @property
    def _pairs(self) -> list[tuple[JointLeaf, Part]]:
        return list(zip(self.starts, self.nodes, strict=True))

    def _report(self) -> bool:
        self.reports += 1
        if not is_due(self.reports):
            self.look(-np.inf if self.best is None else self.best[0])
            return False
        before, value = -np.inf if self.best is None else self.best[0], self._repair()
        if value >= self.enough:
            return True
        now = time.perf_counter() - self.begin
        follows = not self.session.out_of_time(NEXT_ROUND * now)
        missing = min(self.enough, self._objective()) - value
        return follows and self.reports > 8 and not value - before > LEAST_GAIN * missing

    def _repair(self) -> float:
        """The bound that the running multipliers prove; kept if it is the best."""
        at, given = self.at, self.given
        W, of_leaves = self.splitting.multipliers(at.V, at.penalty)
        duals = [self.coordinates.undo_dual(Dual(W, N)) for N in of_leaves]
        W = duals[0].W
        if not W.any():
            return -np.inf
        size = largest_entry(W)

        def repaired(node: Part, dual: Dual) -> RepairedForm:
            N = node.restrict(dual.N if node.output != FREE else dual.N[:-1, :-1])
            form = node.pricing(W / size)
            return repair_form(form, Dual(np.zeros(form.shape), given.gamma / size**2 * N))

        forms = list(side_by_side(repaired, self.nodes, duals, executor=self.pool))
        price = size * float(np.sqrt(max(0.0, *(-form.delta for form in forms))))
        scale = given.best_scale(W, price, MARGIN)
        value = given.dual_value(scale * W)
        if self.best is None or value > self.best[0]:
            factor = (scale * size) ** 2 / given.gamma
            self.best = value, scale * W, [factor * raw_dual(W, form.N, form.t, gamma=1.0).N for form in forms]
        return value

    def joint(self) -> JointResult:
        """The best bound, and the last moments."""
        # After an interruption of the first steps there may be nothing to repair.
        value = self._repair() if self.iterations else -np.inf
        W, multipliers = np.zeros(self.given.shape), [start.N for start in self.starts]
        if self.best is not None:
            value, W, multipliers = self.best
        space, leaves = self.program.space, []
        for node, F, N in zip(self.nodes, self.splitting.of(self._factor()), multipliers, strict=True):
            face = space.face(F)
            S = self.coordinates.undo_primal(Primal(face @ face.T, space.outputs)).S
            kept = np.concatenate([node.free, np.arange(space.neurons, len(S))])
            leaves.append(JointLeaf(S[np.ix_(kept, kept)], N))
        return JointResult(
            W=W,
            leaves=tuple(leaves),
            value=value if self.best is not None else -np.inf,
            objective=self._objective(),
            steps=self.iterations,
            bytes=leaf_bytes(self.given) * len(leaves),
        )

    def _objective(self) -> float:
        parts = self.splitting.of(self._factor())
        return self.coordinates.objective(np.einsum("lir,ljr->ij", parts, parts))

    def _factor(self) -> FloatArray:
        return np.asarray(self.layer.host(self.at.F), dtype=np.float64)


def takes_leaves(program: Program) -> bool:
    """Whether it can bound leaves of this program, and there is memory for several."""
    return not (program.region.size or program.beyond_signs) and FEWEST * leaf_bytes(program) <= available_bytes()


def leaf_bytes(program: Program) -> int:
    """Memory of a leaf: V, Z, their steps, and what the acceleration remembers."""
    return 8 * 16 * program.space.order**2


def _on_whole(S: FloatArray, node: Part) -> FloatArray:
    """A leaf's face matrix in the coordinates (β, z, v) of the whole."""
    A, f = node.whole.space.generators, len(node.free)
    rows = np.zeros((len(A) + len(S) - f, len(S)))
    rows[node.free, np.arange(f)] = 1.0
    rows[len(A) :, f:] = np.eye(len(S) - f)
    inactive = np.flatnonzero(node.signs == INACTIVE)
    rows[inactive, f : f + A.shape[1]] = -A[inactive]
    return np.asarray(rows @ S @ rows.T)


def _padded(N: FloatArray, count: int) -> FloatArray:
    """N over so many positions."""
    return np.pad(N, (0, count - len(N)))
