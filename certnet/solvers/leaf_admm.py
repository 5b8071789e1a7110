"""The joint bound of a tree by the ADMM: for trees whose leaves are too large for the interior point.

Each leaf has a moment matrix, and the loss sees the sum of the leaves' entries over (φ, v). So its map has a closed
form in that of the loss: where q leaves have an entry and none of them is at a sign, all move by the same λ, and their
sum P is the map of the sum of theirs with a q-th of the penalty. Where the sign of the output is fixed, entries of
(φ, v) have that sign; which of them are at it is found in a few rounds, as by an active-set method. An activation that
vanishes on a leaf has zero rows there.
"""

import time
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial

import numpy as np

from certificates.making.repair import RepairedForm, raw_dual, repair_form
from certnet.runtime.blocks import side_by_side, workers
from certnet.runtime.machine import available_bytes
from certnet.runtime.numerics import blas_threads
from certnet.solvers.admm import Point, Run
from certnet.solvers.arrays import Array, Arrays
from certnet.solvers.interface import SolverOptions, SolveStatus
from certnet.solvers.joint import JointLeaf, JointResult
from certnet.solvers.loss_map import LossMap
from certnet.solvers.orthonormal import FOR_BOUNDS
from certnet.solvers.session import is_due
from certnet.solvers.splitting import Sizes, Splitting
from formulations import Dual, Part, Primal, Program, restrict
from formulations._validation import FloatArray, IntArray
from formulations.part import largest_entry
from formulations.signs import ACTIVE, FREE, INACTIVE

MARGIN = 1e-8  # Relative, of the bound on a price, so that rounding does not undo it.
# Part of what is missing that a bound has to gain from one repair to the next; where it gains less, and there is time
# for a larger tree, the solve ends.
LEAST_GAIN = 0.02
NEXT_ROUND = 3.0  # What the next solve, with twice the leaves, may take in units of this one.
FEWEST = 4  # Leaves that have to fit into memory.
RESIDUAL = 1e-6  # Relative residual at which a solve ends.
ROUNDS = 8  # Most rounds for the entries at a sign. The next step goes on where they end.
ABSENT = 1e-6  # Leaves that an entry counts as having where all are at their signs: its sum is held at 0.


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
        ends = run.session.run(run.solve), run.session.run(run.look_again)
        return replace(run.joint(), interrupted=SolveStatus.INTERRUPTED in ends, failed=SolveStatus.FAILED in ends)


class _Splitting:
    """The two maps over leaves with these signs; their matrices stand one below the other.

    ``executor`` has threads that work on leaves side by side; None: one leaf after the other. ``size`` is that of the
    costs.
    """

    def __init__(self, program: Program, layer: Arrays, signs: Sequence[IntArray], executor: Executor | None) -> None:
        assert not program.region.size  # null vectors of a leaf have one side; those of ``Quotient`` have two
        space = self.space = program.space
        N = space.neurons
        self.program, self.layer, self.shape = program, layer, (len(signs) * space.order, space.order)
        self._each = partial(side_by_side, executor=executor)
        self._sign = np.array([int(item[N:].sum()) for item in signs])
        self._gone = [
            np.concatenate([np.flatnonzero(item[:N] == INACTIVE), N + np.flatnonzero(item[:N] == ACTIVE)])
            for item in signs
        ]
        self._loss = LossMap(program)
        self._leaves = [Splitting(program, layer, self._loss, gone) for gone in self._gone]
        self.size = self._leaves[0].size
        present = np.array([~np.isin(self._loss.features, gone) for gone in self._gone])
        self._present = self._free = np.repeat(present[:, :, None], space.outputs, axis=2)

    def of(self, stacked: Array) -> Array:
        """The leaves' matrices."""
        leaves = len(self._gone)
        return stacked.reshape(leaves, len(stacked) // leaves, stacked.shape[1])  # which may be empty

    def _columns(self, V: Array, penalty: float, *, steps: bool = False) -> list[Array]:
        """Of each leaf rows φ and columns v of the solution, whose sums the loss sees; what ``steps`` goes on there."""
        space, loss, sign = self.space, self._loss, self._sign[:, None, None]
        own = self.layer.host(self.of(V)[:, space.phi, space.v]).astype(np.float64)
        seen, free, start = own[:, loss.features], self._free, loss.start
        for _ in range(ROUNDS):
            # With several outputs the number of leaves is that of the row, which its map needs to be one.
            count = np.maximum(free.sum(axis=0), ABSENT)
            total = (free * seen).sum(axis=0)
            moved = seen + (loss(total, 2.0 * penalty / count[:, :1], start) - total) / count
            before, start = free, None
            free = self._present & ((sign == FREE) | (sign * moved > 0))
            if np.array_equal(free, before):
                break
        if steps:
            self._free = free
            loss.go_on()
        own[:, loss.features] = np.where(self._present, moved, 0.0)
        own = np.where(sign == FREE, own, sign * np.maximum(sign * own, 0.0))
        for gone, entries in zip(self._gone, own, strict=True):
            entries[gone] = 0.0
        return [self.layer.array(entries) for entries in own]

    def entrywise(self, V: Array, penalty: float, Z: Array) -> tuple[list[Array], Sizes]:
        """That of ``Splitting`` for all leaves."""
        columns, stepped = self._columns(V, penalty, steps=True), Splitting.entrywise
        penalties = [penalty] * len(columns)
        found = list(self._each(stepped, self._leaves, self.of(V), penalties, self.of(Z), columns))
        return [X for X, _ in found], Sizes(*np.linalg.norm([sizes for _, sizes in found], axis=0).tolist())

    def factor(self, X: list[Array], expected_rank: int) -> Array:
        """The leaves' factors one below the other, of the largest of their ranks."""
        parts = list(self._each(lambda leaf, own: leaf.factor(own, expected_rank), self._leaves, X))
        out = self.layer.zeros(self.shape[0], max(part.shape[1] for part in parts))
        for target, part in zip(self.of(out), parts, strict=True):
            target[:, : part.shape[1]] = part
        return out

    def gap(self, F: Array, Z: Array, scale: float) -> tuple[Array, float]:
        """That of ``Splitting`` for all leaves."""
        out, sizes = self.layer.empty(*Z.shape), []
        found = self._each(lambda leaf, *of: leaf.gap(*of, scale), self._leaves, self.of(F), self.of(Z))
        for own, (difference, size) in zip(self.of(out), found, strict=True):
            own[...] = difference
            sizes.append(size)
        return out, float(np.linalg.norm(sizes))

    def multipliers(self, V: Array, penalty: float) -> tuple[FloatArray, list[FloatArray]]:
        """(W, N of each leaf over φ and an output in the sense of ``Part``), with exact signs, in float64."""
        columns, space, out = self._columns(V, penalty), self.space, []
        W = self._loss.W()
        pull, unit = self.program.features_of(W), largest_entry(W) / self.program.gamma
        for leaf, sign, own, given in zip(self._leaves, self._sign, self.of(V), columns, strict=True):
            N = np.pad(leaf.products(own, penalty, given), (0, 1))
            if sign != FREE:
                slope = -2.0 * penalty * (own[space.phi, space.v] - given).astype(np.float64)
                N[:-1, -1] = N[-1, :-1] = unit * np.maximum(sign * (slope - pull)[:, 0], 0.0)
            out.append(N)
        return W, out

    def start(self, W: FloatArray, S: Sequence[FloatArray], N: Sequence[FloatArray], penalty: float) -> FloatArray:
        """V of these iterates over the whole face, N as ``multipliers`` gives it."""
        space, unit, parts = self.space, self.program.gamma / largest_entry(W), []
        for leaf, sign, own, multipliers in zip(self._leaves, self._sign, S, N, strict=True):
            V = leaf.pulls(Dual(W, multipliers[:-1, :-1]))
            if sign != FREE:
                V[space.phi, space.v] -= sign * unit * multipliers[:-1, -1:]
                V[space.v, space.phi] = V[space.phi, space.v].T
            F = space.expand(Arrays().positive_factor(0.5 * (own + own.T), len(own)))
            parts.append(V / (2.0 * penalty) + F @ F.T)
        return np.concatenate(parts)


class _Run(Run):
    """As for one leaf, with the leaves' matrices one below the other."""

    splitting: _Splitting  # type: ignore[assignment]

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
        self.best = -np.inf, np.zeros(program.shape), [start.N for start in starts]
        self.reports, self.begin = 0, time.perf_counter()
        super().__init__(program, options, FOR_BOUNDS)

    def _split(self) -> _Splitting:  # type: ignore[override]
        return _Splitting(self.program, self.layer, self.signs, self.pool)

    def _start(self) -> Point:
        penalty = self.splitting.size
        if not self.first_W.any():
            V = np.zeros(self.splitting.shape)
        else:
            duals, S, outputs = [], [], self.program.space.outputs
            for start, node in zip(self.starts, self.nodes, strict=True):
                N = np.pad(node.lift(start.N), (0, int(node.output == FREE)))
                duals.append(self.coordinates.apply_dual(Dual(self.first_W, N)))
                S.append(self.coordinates.apply_primal(Primal(_on_whole(start.S, node), outputs)).S)
            V = self.splitting.start(duals[0].W, S, [dual.N for dual in duals], penalty)
        return Point(self.layer.array(V), self.layer.zeros(len(V), 0), penalty)

    def _report(self) -> bool:
        self.reports += 1
        if not is_due(self.reports):
            self.look(self.best[0])
            return False
        before, value = self.best[0], self._repair()
        if value >= self.enough:
            return True
        now = time.perf_counter() - self.begin
        follows = not self.session.out_of_time(NEXT_ROUND * now)
        missing = min(self.enough, self._objective()) - value
        return follows and self.reports > 8 and not value - before > LEAST_GAIN * missing

    def look_again(self) -> SolveStatus:
        """At the last multipliers, if there are any."""
        if self.iterations:
            self._repair()
        return SolveStatus.STOPPED

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
        if value > self.best[0]:
            factor = (scale * size) ** 2 / given.gamma
            self.best = value, scale * W, [factor * raw_dual(W, form.N, form.t, gamma=1.0).N for form in forms]
        return value

    def joint(self) -> JointResult:
        """The best bound, and the last moments; without a step those that it began with."""
        value, W, multipliers = self.best
        space, leaves = self.program.space, []
        factors = self.splitting.of(self._factor())
        for node, start, F, N in zip(self.nodes, self.starts, factors, multipliers, strict=True):
            own = start.S
            if self.iterations:
                face = space.face(F)
                S = self.coordinates.undo_primal(Primal(face @ face.T, space.outputs)).S
                kept = np.concatenate([node.free, np.arange(space.neurons, len(S))])
                own = S[np.ix_(kept, kept)]
            leaves.append(JointLeaf(own, N))
        return JointResult(
            W=W,
            leaves=tuple(leaves),
            value=value,
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
