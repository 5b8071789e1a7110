"""Branch and bound with W free: a tree of sign splits whose leaves share the best W.

The root is the relaxation of training. Each round splits the leaves whose moment matrices are furthest from
complementary, and solves the joint bound over all leaves again (``certnet.solvers.joint``). The dual of a parent is
feasible for its children, so the bound never falls, and any W with the multipliers of all leaves is a certificate.
"""

from dataclasses import dataclass

import numpy as np

from certificates.making.repair import raw_dual, repair
from certnet.search.best_first import Budget, outlived
from certnet.search.bounds import NodeBound, branching_scores
from certnet.search.price import Look, SearchProgress, SearchResult
from certnet.search.tree import Branch, floats, intact, integers, last_moments, read_tree, write_tree
from certnet.solvers.interface import Progress, SolverOptions, State, WarmStart
from certnet.solvers.interior_point import interior_point
from certnet.solvers.joint import JointLeaf, solve_joint
from certnet.solvers.leaf_admm import solve_leaves
from certnet.solvers.warm_start import usable
from formulations import Program, restrict
from formulations._validation import FloatArray

SMALLEST_TOLERANCE = 3e-4  # The least relative gap at which a solve ends.
ROOT_SHARE = 0.5  # Part of the time limit that the root may take.
MOST_BYTES = 4 << 30  # Memory that the Schur complements of all leaves may take.
# Relative gap at which a solve ends, as a part of the distance from what is enough, where that is small.
GAP_SHARE = 0.2
FIRST_LEAVES = 4
"""Leaves that the ADMM bounds first. Measured: on 600 rows of digits (cross-entropy, γ = 1, penalised biases) the whole
ends at 13.9 %, two leaves at 12.7 % after 600 CPU seconds, and four leave 12.3 % after 220 seconds of two cores."""


@dataclass(frozen=True)
class Settings:
    """The tuning numbers of this module."""

    tolerance: float = 1e-2
    """Relative gap at which a solve ends while the bound is far from what is enough. Measured: on 20 Gaussian rows (d =
    5, γ = 0.3) six nodes end 0.1 % lower at 0.005 and 0.4 % higher at 0.02, in the same time."""
    solve_rounds: int = 1
    """Rounds of products in a solve; those that are missing are left out. Measured: on 70 rows of wine, γ = 1, with 2
    rounds 8 leaves leave 0.71 % of the objective after 87 CPU seconds, with 1 round 32 leaves 0.93 % after 21."""
    growth: float = 2.0
    """Most leaves after a round for each one before. Measured: there, with 2 rounds, 8 leaves take 87 CPU seconds, and
    at 1.5 7 leaves take 94."""
    least_score: float = 0.1
    """Score, in units of the largest, below which a leaf is not split. Measured: on Gaussian data (n = 24, 30 and 40)
    the bound after equal time is as good or better than without, with half the leaves; 0.3 is slower."""


SETTINGS = Settings()
MARK = "joint"


def joint_search(
    program: Program,
    *,
    enough: float,
    max_nodes: int | None = None,
    time_limit: float | None = None,
    callback: Look | None = None,
    resume: State | None = None,
    root: WarmStart | None = None,
    large: bool = False,
) -> SearchResult:
    """Branch with W free until the bound is ``enough``, or until nodes, memory or time run out.

    Ctrl-C ends the search in good order. The result is about the price of the best W, in units of one. It always has a
    state; it cannot go on where no leaf is left to split, or no memory for more leaves.

    Args:
        program: presolved training program.
        enough: lower bound in original units that is large enough.
        max_nodes, time_limit: on relaxations, of which every leaf of every solve is one, and on seconds.
        callback: called after every solve, and at steps of the root's; the search ends where no more leaves may be.
        resume: state of an earlier search for the same program.
        root: primal and dual of the relaxation, which is not solved again then.
        large: the ADMM bounds the leaves, see ``solve_leaves``; with one output it begins with that split.

    Raises:
        InputError: the state to resume is damaged, or there are more targets than the interior point takes.
    """
    run = _Joint(program, program.to_own(enough), Budget(max_nodes, time_limit), callback, large)
    ending = outlived(lambda: run.run(resume, root))
    return run.result(interrupted=ending.interrupted or run.interrupted)


@dataclass(eq=False)
class _Joint:
    """The tree, the best W and its value so far."""

    program: Program
    enough: float
    budget: Budget
    callback: Look | None
    large: bool = False

    def __post_init__(self) -> None:
        self.root = Branch.of(self.program)
        self.W, self.value = np.zeros(self.program.shape), 0.0
        self.steps = self.bytes = 0
        self.stopped = self.exhausted = self.interrupted = False
        self.most = np.inf

    def run(self, resume: State | None, root: WarmStart | None) -> None:
        """Bound the root, then split and solve in rounds."""
        if resume is not None:
            self._resume(resume)
        if any(leaf.bound is None for leaf in self.root.leaves):
            self.root = Branch.of(self.program)
            if self.large:
                # What it takes from here on tells what the next round will.
                self._tell(self.value)
            if not self._take_root(root):
                self._solve_root()
        while not (self.value >= self.enough or self.stopped) and self.budget.allows(0) and not self._tell(self.value):
            leaves = list(self.root.leaves)
            if not self.budget.allows(len(leaves) + 1):
                return
            chosen = self._chosen(leaves)
            if not chosen:
                self.exhausted = True
                return
            for leaf in chosen:
                leaf.split(leaf.bound.branch if leaf.bound else -1)
            if chosen == [self.root] and self.large and self.most >= FIRST_LEAVES and self.budget.allows(FIRST_LEAVES):
                self._split_again()
            kept = False
            try:
                # A larger tree that shows no more, and whose solve was cut short, is of no use.
                kept = self._solve() or (self.budget.allows(0) and not self.stopped)
            finally:
                for leaf in () if kept else chosen:
                    leaf.children = None

    def _take_root(self, root: WarmStart | None) -> bool:
        """Begin at the solution of another solver, as far as it is one."""
        primal, dual = usable(self.program, root) or (None, None)
        if primal is None or dual is None:
            return False
        found = repair(self.program, dual)
        self.budget.used, self.W, self.value = 1, found.W, self.program.dual_value(found.W)
        self._keep(self.root, primal.S, raw_dual(found.W, found.N, found.t, gamma=self.program.gamma).N)
        return True

    def _solve_root(self) -> None:
        if self.large:
            space = self.program.space
            S, N = np.zeros((space.face_order,) * 2), np.zeros((self.program.positions,) * 2)
            self._keep(self.root, S, N)
            if self.program.shape[1] == 1:
                # Both sides of the output take hardly longer than the whole.
                self.root.split(space.neurons)
            self._solve()
            return
        # Inequalities that are parallel on the face count once, as in every node.
        program, left = self.program, self.budget.left
        program = program.with_inequalities(restrict(program, self.root.signs).inequalities)

        def look(progress: Progress) -> bool:
            value = program.to_own(progress.lower_bound)
            self.stopped = self._tell(value)
            return self.stopped or value >= self.enough

        limit = None if left is None else ROOT_SHARE * left
        options = SolverOptions(tolerance=SETTINGS.tolerance, callback=look, time_limit=limit)
        result = interior_point(program, options, max_rounds=SETTINGS.solve_rounds)
        assert result.primal is not None  # the interior point always has both
        assert result.dual is not None
        self.budget.used, self.steps = 1, result.iterations
        self.W, self.value = result.dual.W, result.dual_value
        self._keep(self.root, result.primal.S, result.dual.N)
        result.uninterrupted()

    def _keep(self, leaf: Branch, S: FloatArray, N: FloatArray) -> None:
        leaf.h_squared, node = self.program.gamma**2, restrict(self.program, leaf.signs)
        leaf.bound = NodeBound.of(node, self.W, S, N, h_squared=leaf.h_squared, steps=self.steps)

    def _chosen(self, leaves: list[Branch]) -> list[Branch]:
        """Leaves with the largest scores, as many as nodes, memory and the callback allow."""
        scores = np.array([self._scores(leaf).max(initial=0.0) for leaf in leaves])
        now, nodes = len(leaves), self.budget.nodes
        memory = now * (MOST_BYTES / max(self.bytes, 1) - 1.0)
        limits = [max(1.0, (SETTINGS.growth - 1.0) * now), self.most - now, memory]
        if nodes is not None:
            limits.append(nodes - self.budget.used - now)
        order = np.argsort(-scores, kind="stable")[: max(int(min(limits)), 0)]
        least = SETTINGS.least_score * scores.max(initial=0.0)
        return [leaves[number] for number in order if scores[number] > 0 and scores[number] >= least]

    def _split_again(self) -> None:
        """Split the children of the root by the row of its next score at once."""
        root, scores = self.root, self._scores(self.root)
        scores[root.free == root.neuron] = 0.0
        if scores.max(initial=0.0) > 0:
            for child in root.children or ():
                child.split(int(root.free[np.argmax(scores)]))

    def _scores(self, vertex: Branch) -> FloatArray:
        assert vertex.bound is not None  # it has been solved
        return branching_scores(self.program, self.W, vertex.free, vertex.bound.S)

    def _solve(self) -> bool:
        """Bound all leaves; False where that gives no better bound: W stays and children inherit multipliers."""
        leaves, program, W, limit = list(self.root.leaves), self.program, self.W, self.budget.left
        starts, signs = [self._start(leaf) for leaf in leaves], [leaf.signs for leaf in leaves]
        if self.large:
            result = solve_leaves(program, signs, W, starts, enough=self.enough, time_limit=limit, look=self._show)
        else:
            missing = GAP_SHARE * (self.enough - self.value) / max(abs(self.enough), 1e-300)
            result = solve_joint(
                program,
                signs,
                W,
                starts,
                enough=self.enough,
                tolerance=float(np.clip(missing, SMALLEST_TOLERANCE, SETTINGS.tolerance)),
                max_rounds=SETTINGS.solve_rounds,
                time_limit=limit,
            )
        self.interrupted, self.stopped = result.interrupted, result.interrupted or result.failed
        self.budget.used += len(leaves)
        self.steps, self.bytes = self.steps + result.steps, result.bytes
        better = result.value > self.value
        if better:
            self.W, self.value = result.W, result.value
        for leaf, start, found in zip(leaves, starts, result.leaves, strict=True):
            self._keep(leaf, found.S, found.N if better else start.N)
        return better

    def _start(self, leaf: Branch) -> JointLeaf:
        """The leaf's last S and N, or those of the vertex above that was solved last, on its own face."""
        S, source = last_moments(leaf, self.program.space.generators)
        assert source.bound is not None  # it has been solved
        N = source.bound.matrix(self.program.positions) / self.program.gamma
        return JointLeaf(S, restrict(self.program, leaf.signs).restrict(N))

    def _progress(self, value: float, *, between: bool = False) -> SearchProgress:
        leaves, bound = sum(1 for _ in self.root.leaves), self.program.to_original(value)
        return SearchProgress(self.budget.used, leaves, bound, self.budget.spent, self._state, self.result, between)

    def _show(self, value: float) -> None:
        """Show what a solve that goes on has found."""
        if self.callback is not None:
            self.callback(self._progress(max(value, self.value), between=True))

    def _tell(self, value: float) -> bool:
        """Show it; whether there may be no more leaves."""
        if self.callback is None:
            return False
        progress = self._progress(value)
        most = self.callback(progress)
        self.most = np.inf if most is None else most
        return not progress.open + 1 <= self.most

    def _state(self) -> State:
        return {
            **write_tree(self.root, self.program.positions),
            MARK: np.array([self.bytes], dtype=np.int64),
            "W": self.W.copy(),
            "counts": np.array([self.budget.used, self.steps], dtype=np.int64),
        }

    def _resume(self, state: State) -> None:
        with intact():
            self.budget.used, self.steps = integers(state, "counts").tolist()
            (self.bytes,) = integers(state, MARK).tolist()
            W = floats(state, "W")
            if W.shape != self.W.shape or not np.isfinite(W).all() or self.bytes < 0:
                raise ValueError("it is about other data")
            space = self.program.space
            read_tree(self.root, state, self.program.positions, space.dimension, space.outputs)
        self.W, self.value = W, self.program.dual_value(W)

    def result(self, *, interrupted: bool = False) -> SearchResult:
        """The tree as it stands."""
        program, complete = self.program, bool(self.value >= self.enough)
        return SearchResult(
            kind="signs",
            W=self.W,
            lower_bound=program.to_original(self.value),
            root=self.root,
            unit=1.0,
            price=float(program.gamma),
            best=0.0,
            direction=np.zeros(program.space.dimension),
            complete=complete,
            can_go_on=not (complete or self.exhausted),
            interrupted=interrupted,
            nodes=self.budget.used,
            leaves=sum(1 for _ in self.root.leaves),
            steps=self.steps,
            seconds=self.budget.spent,
            state=self._state(),
        )
