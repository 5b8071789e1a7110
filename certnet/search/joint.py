"""Branch and bound with W free: a tree of sign splits whose leaves share the best W.

The root is the relaxation of training. Each round splits the leaves whose moment matrices are furthest from
complementary, and solves the joint bound over all leaves again (``certnet.solvers.joint``). The dual of a parent is
feasible for its children, so the bound never falls, and any W with the multipliers of all leaves is a certificate.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from certificates.making.repair import project
from certnet.runtime.numerics import FAILURES
from certnet.search.bounds import Multipliers, NodeBound, branching_scores
from certnet.search.price import SearchProgress, SearchResult
from certnet.search.tree import Branch, floats, intact, integers, read_tree, write_tree
from certnet.solvers.interface import Progress, SolverOptions, SolveStatus, State
from certnet.solvers.interior_point import InteriorPointSolver
from certnet.solvers.joint import JointProgress, JointResult, LeafStart, solve_joint
from formulations import ACTIVE, FREE, Dual, InputError, Program, restrict
from formulations._validation import FloatArray, IntArray

TOLERANCE = 1e-2
"""Relative gap at which a solve ends while the bound is far from what is enough."""
GAP_SHARE = 0.2
"""The same as a part of the distance from what is enough, where that is smaller."""
SMALLEST_TOLERANCE = 3e-4
SOLVE_ROUNDS = 2
"""Rounds of products in a solve; the next solve finds what is missing."""
GROWTH = 1.5
"""Leaves after a round for each one before."""
ROOT_SHARE = 0.5
"""Part of the time limit that the root may take."""
MOST_BYTES = 4 << 30
"""Memory that the Schur complements of all leaves may take."""
MARK = "joint"


@dataclass(frozen=True, eq=False)
class JointSearchResult:
    """The best W that was found, its bound in original units up to rounding, and the tree that shows it.

    ``tree`` is about the price of W, in units of one: ``certnet.search.certificate.certify_search`` takes it.
    ``state`` is what a later search needs to go on, also where this one was complete. ``exhausted`` tells that there
    is no leaf left to split, or no memory for more leaves.
    """

    W: FloatArray
    lower_bound: float
    tree: SearchResult
    state: State
    exhausted: bool


def joint_search(
    program: Program,
    *,
    enough: float,
    max_nodes: int | None = None,
    time_limit: float | None = None,
    callback: Callable[[float, SearchProgress], bool | None] | None = None,
    resume: State | None = None,
) -> JointSearchResult:
    """Branch with W free until the bound is ``enough``, or until nodes, memory or time run out.

    Ctrl-C ends the search in good order.

    Args:
        program: presolved training program.
        enough: lower bound in original units that is large enough.
        max_nodes: limit on relaxations: every leaf of every solve counts.
        time_limit: seconds.
        callback: called with the bound (original units) after every solve, and at steps of the root's; a true value
            ends the search.
        resume: state of an earlier search for the same program.

    Raises:
        InputError: the state to resume is damaged, or there are more targets than the interior point takes.
    """
    run = _Search(program, enough, max_nodes, time_limit, callback)
    try:
        run.run(resume)
    except KeyboardInterrupt:
        run.interrupted = True
    except FAILURES as error:
        # What the rounds before have shown stays.
        if isinstance(error, InputError):
            raise
    return run.result()


class _Search:
    def __init__(
        self,
        program: Program,
        enough: float,
        max_nodes: int | None,
        time_limit: float | None,
        callback: Callable[[float, SearchProgress], bool | None] | None,
    ) -> None:
        self.program, self.enough = program, program.to_own(enough)
        self.max_nodes, self.callback = max_nodes, callback
        self.begin = time.perf_counter()
        self.deadline = None if time_limit is None else self.begin + time_limit
        self.nodes = self.steps = 0
        self.root = Branch(np.full(program.space.neurons, FREE, dtype=np.int64))
        self.W, self.value = np.zeros_like(program.target), 0.0
        self.bytes = 0
        self.stopped = self.interrupted = self.exhausted = False

    def run(self, resume: State | None) -> None:
        """Bound the root, then split and solve in rounds."""
        if resume is not None:
            self._resume(resume)
        else:
            self._solve_root()
        while not self._ended() and not self._tell():
            if self.max_nodes is not None and self.nodes + self._leaves() + 1 > self.max_nodes:
                return
            chosen = self._chosen()
            if not chosen or not self._fits(len(chosen)):
                self.exhausted = True
                return
            self._round(chosen)

    def _left(self) -> float | None:
        return None if self.deadline is None else max(self.deadline - time.perf_counter(), 1e-3)

    def _tolerance(self) -> float:
        missing = GAP_SHARE * (self.enough - self.value) / max(abs(self.enough), 1e-300)
        return float(np.clip(missing, SMALLEST_TOLERANCE, TOLERANCE))

    def _ended(self) -> bool:
        return self.value >= self.enough or self.stopped or self._left() == 1e-3

    def _solve_root(self) -> None:
        program, left = self.program, self._left()

        def look(progress: Progress) -> bool:
            value = program.to_own(progress.lower_bound)
            self.stopped = self.callback is not None and bool(self.callback(progress.lower_bound, self._progress()))
            return self.stopped or value >= self.enough

        options = SolverOptions(
            tolerance=TOLERANCE, callback=look, time_limit=None if left is None else ROOT_SHARE * left
        )
        result = InteriorPointSolver().solve(program, options)
        assert result.primal is not None  # the interior point always has both
        assert result.dual is not None
        self.interrupted = self.stopped = result.status is SolveStatus.INTERRUPTED
        self.nodes, self.steps = 1, result.iterations
        self.W, self.value = result.dual.W, result.statistics["dual_value"]
        self.root.bound = self._bound(self.root.signs, result.primal.S, result.dual.N, result.iterations)
        self.root.h_squared = program.gamma**2

    def _bound(self, signs: IntArray, S: FloatArray, N: FloatArray, steps: int) -> NodeBound:
        """What is kept of a leaf. N over the positions of the whole has the sense of ``Dual``."""
        program = self.program
        free = np.flatnonzero(signs == FREE)
        _, products, t = project(program, Dual(self.W, N))
        scores = branching_scores(program, self.W, free, S)
        z = slice(len(free), len(free) + program.space.dimension)
        _, vectors = np.linalg.eigh(0.5 * (S[z, z] + S[z, z].T))
        return NodeBound(
            h_squared=program.gamma**2,
            multipliers=Multipliers.from_matrix(products, t),
            S=S,
            branch=int(free[np.argmax(scores)]) if len(free) else -1,
            direction=vectors[:, -1],
            steps=steps,
        )

    def _chosen(self) -> list[Branch]:
        """Leaves to split: where the product of the two activations of a generator is largest in the loss."""
        leaves = list(self.root.leaves)
        scores = np.array([self._score(leaf) for leaf in leaves])
        count = max(1, round((GROWTH - 1.0) * len(leaves)))
        if self.max_nodes is not None:
            count = min(count, max(self.max_nodes - self.nodes - len(leaves), 0))
        order = np.argsort(-scores, kind="stable")[:count]
        return [leaves[number] for number in order if scores[number] > 0]

    def _score(self, leaf: Branch) -> float:
        assert leaf.bound is not None  # every leaf has been solved
        free = np.flatnonzero(leaf.signs == FREE)
        return float(np.max(branching_scores(self.program, self.W, free, leaf.bound.S), initial=0.0))

    def _leaves(self) -> int:
        return sum(1 for _ in self.root.leaves)

    def _fits(self, splits: int) -> bool:
        leaves = self._leaves()
        return self.bytes * (leaves + splits) <= MOST_BYTES * leaves

    def _round(self, chosen: list[Branch]) -> None:
        """Split leaves and solve again; where that gives no better bound, W stays and children inherit multipliers."""
        before = {id(child): leaf for leaf in chosen for child in leaf.split(_branch_of(leaf))}
        leaves = list(self.root.leaves)
        try:
            starts = [self._start(leaf, before.get(id(leaf))) for leaf in leaves]
            result = solve_joint(
                self.program,
                [leaf.signs for leaf in leaves],
                self.W,
                starts,
                tolerance=self._tolerance(),
                max_rounds=SOLVE_ROUNDS,
                time_limit=self._left(),
                callback=self._look,
            )
        except (KeyboardInterrupt, *FAILURES):
            for leaf in chosen:
                leaf.rejoin()
            raise
        self._take(leaves, starts, result)

    def _look(self, progress: JointProgress) -> bool:
        return progress.value >= self.enough

    def _start(self, leaf: Branch, parent: Branch | None) -> LeafStart:
        """The leaf's last S and N, or those of its parent on the child's face."""
        source = leaf if parent is None else parent
        assert source.bound is not None  # every leaf has been solved
        node = restrict(self.program, leaf.signs)
        S = source.bound.S
        if parent is not None:
            S = share_of_child(S, self.program.space.generators, parent, leaf)
        N = source.bound.multipliers.matrix() / self.program.gamma
        return LeafStart(S, node.restrict(N))

    def _take(self, leaves: list[Branch], starts: list[LeafStart], result: JointResult) -> None:
        self.nodes += len(leaves)
        self.steps += result.steps
        better = result.value > self.value
        if better:
            self.W, self.value = result.W, result.value
        for leaf, start, found in zip(leaves, starts, result.leaves, strict=True):
            N = found.node.lift(found.N if better else start.N)
            leaf.bound = self._bound(leaf.signs, found.S, N, result.steps)
            leaf.h_squared = leaf.bound.h_squared
        self.bytes = result.bytes

    def _progress(self) -> SearchProgress:
        return SearchProgress(
            self.nodes, self._leaves(), float(self.program.gamma), time.perf_counter() - self.begin, self._state
        )

    def _tell(self) -> bool:
        bound = self.program.to_original(self.value)
        return self.callback is not None and bool(self.callback(bound, self._progress()))

    def _state(self) -> State:
        counts = np.array([self.nodes, self.steps], dtype=np.int64)
        tree = write_tree(self.root, self.program.positions)
        return {**tree, MARK: np.array([self.bytes], dtype=np.int64), "W": self.W.copy(), "counts": counts}

    def _resume(self, state: State) -> None:
        space = self.program.space
        with intact():
            self.nodes, self.steps = integers(state, "counts").tolist()
            (self.bytes,) = integers(state, MARK).tolist()
            W = floats(state, "W")
            if W.shape != self.W.shape or not np.isfinite(W).all() or self.bytes < 0:
                raise ValueError("it is about other data")
            read_tree(self.root, state, self.program.positions, space.dimension, space.outputs)
        self.W, self.value = W, self.program.dual_value(W)
        if any(leaf.bound is None for leaf in self.root.leaves):
            # The root was interrupted.
            self.root = Branch(np.full(space.neurons, FREE, dtype=np.int64))
            self._solve_root()

    def result(self) -> JointSearchResult:
        """The tree as it stands."""
        program, complete, state = self.program, self.value >= self.enough, self._state()
        can_go_on = not complete and any(leaf.bound is not None and leaf.bound.branch >= 0 for leaf in self.root.leaves)
        tree = SearchResult(
            root=self.root,
            unit=1.0,
            h_bar=float(program.gamma),
            best=0.0,
            direction=np.zeros(program.space.dimension),
            complete=bool(complete),
            can_go_on=can_go_on,
            interrupted=self.interrupted,
            nodes=self.nodes,
            steps=self.steps,
            seconds=time.perf_counter() - self.begin,
            state=state if can_go_on else None,
        )
        return JointSearchResult(self.W, program.to_original(self.value), tree, state, self.exhausted)


def share_of_child(S: FloatArray, generators: FloatArray, parent: Branch, child: Branch) -> FloatArray:
    """A child's share of its parent's face matrix S, on its own face; the shares of both children sum to S.

    The activations α and β of the generator that was split are orthogonal in S. So S is the sum of its part along α,
    where β vanishes, its part along β, where α vanishes, and a rest where both do, which is halved.
    """
    free = np.flatnonzero(parent.signs == FREE)
    f, k, neuron = len(free), generators.shape[1], parent.neuron
    place = int(np.flatnonzero(free == neuron)[0])
    beta, alpha = np.zeros(len(S)), np.zeros(len(S))
    beta[place] = alpha[place] = 1.0
    alpha[f : f + k] = generators[neuron]
    parts = []
    for row in (alpha, beta):
        image = S @ row
        size = float(row @ image)
        parts.append(np.outer(image, image) / size if size > 0 else np.zeros_like(S))
    own = parts[0] if child.signs[neuron] == ACTIVE else parts[1]
    share = own + 0.5 * (S - parts[0] - parts[1])
    kept = np.delete(np.arange(len(S)), place)
    return np.asarray(share[np.ix_(kept, kept)])


def _branch_of(leaf: Branch) -> int:
    assert leaf.bound is not None  # every leaf has been solved
    return leaf.bound.branch
