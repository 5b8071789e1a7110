"""Best-first branch and bound over the signs of generators: an upper bound on the price h(W), proved at any moment.

W stays fixed. A node fixes some signs; its bound is the DNN relaxation on the smaller face. The node with the largest
bound is split next, on the generator whose two activations are largest in its relaxation.
"""

import heapq
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass

import numpy as np
from joblib import Parallel, delayed

from certnet.runtime.numerics import FAILURES
from certnet.search.bounds import Start, bound_node
from certnet.search.pool import pool as pool_of
from certnet.search.state import TreeReader, floats, integers, write_tree
from certnet.search.vertex import Branch
from certnet.solvers.interface import State
from formulations import FREE, InputError, Program
from formulations._validation import FloatArray


@dataclass(frozen=True)
class SearchProgress:
    """A look at the search: ``h_bar`` is proved up to rounding, for the scale of the program's W.

    ``state`` copies what a later search needs to go on.
    """

    nodes: int
    open: int
    h_bar: float
    seconds: float
    state: Callable[[], State]


@dataclass(frozen=True, eq=False)
class SearchResult:
    """What a search has proved, up to rounding.

    Attributes:
        root: the tree; its bounds and multipliers are those of ``W / unit``.
        unit: the price that was asked for.
        h_bar: largest bound of a leaf: ``‖(ω∘W)ᵀφ‖ ≤ h_bar`` for zᵀEz ≤ 1.
        best: largest price that was seen at a point, and ``direction`` (k,) the point.
        complete: every leaf is at most what was asked for.
        can_go_on: there is a leaf left to split.
        interrupted: by Ctrl-C, or because a worker was killed.
        nodes, steps, seconds: effort.
        state: what a later search needs to go on, if it can.
    """

    root: Branch
    unit: float
    h_bar: float
    best: float
    direction: FloatArray
    complete: bool
    can_go_on: bool
    interrupted: bool
    nodes: int
    steps: int
    seconds: float
    state: State | None


def search(
    program: Program,
    W: FloatArray,
    *,
    enough: float,
    start: Start | None = None,
    tree: Branch | None = None,
    max_nodes: int | None = None,
    time_limit: float | None = None,
    workers: int = 1,
    callback: Callable[[SearchProgress], bool | None] | None = None,
    too_large: float = np.inf,
    scheduler: str | None = None,
    confirm: Callable[[Branch, float], float] | None = None,
    resume: State | None = None,
) -> SearchResult:
    """Bound ``h(W)`` until it is at most ``enough``, or nodes or time run out. Ctrl-C ends the search in good order.

    Args:
        program: presolved program, numbers of order one. Its inequalities, circuits for instance, hold in every node.
        W: (f, c) dual in its coordinates.
        enough: price that is small enough.
        start: where the root's relaxation begins, for this W.
        tree: whose splits are taken over, for instance of a search with W free; it is left as it is. Its leaves are
            bounded first, each from its own multipliers.
        max_nodes: limit on relaxations that are solved.
        time_limit: seconds.
        workers: processes; the result is the same for equal numbers of workers.
        callback: called after every batch; a true value ends the search.
        scheduler: address of a Dask cluster that bounds the nodes instead of processes here.
        too_large: a point of a larger price ends the search: then W is not worth more effort.
        confirm: called with a node that is small enough, and the unit of its bound; returns the squared bound that
            will be proved in the end, in that unit. If that is too large after all, the node is split.
        resume: the state of an earlier search with the same program and W; what was enough then may differ.

    Raises:
        InputError: the cluster cannot be used, or the state to resume is damaged.
    """
    run = _Search(program, W, enough, max_nodes, time_limit, workers, scheduler)
    run.confirm = confirm
    run.start = None if start is None else start.times(enough**-2)
    if tree is not None and resume is None:
        run.plant(tree)
    try:
        run.run(callback, too_large, resume)
    except (KeyboardInterrupt, BrokenExecutor):
        # The latter where a worker was killed, perhaps for its memory; what is bounded stays so.
        run.interrupted = True
    except FAILURES as error:
        # What the nodes before have shown stays.
        if isinstance(error, InputError):
            raise
    return run.result()


class _Search:
    def __init__(
        self,
        program: Program,
        W: FloatArray,
        enough: float,
        max_nodes: int | None,
        time_limit: float | None,
        workers: int,
        scheduler: str | None,
    ) -> None:
        # In units of the price that is small enough, forms are of order one, as solvers want them.
        self.program, self.W, self.unit = program, W / enough, enough
        self.enough = 1.0
        self.max_nodes = max_nodes
        self.begin = time.perf_counter()
        self.deadline = None if time_limit is None else self.begin + time_limit
        self.workers, self.scheduler = workers, scheduler
        self.nodes = self.steps = 0
        self.best, self.direction = 0.0, np.zeros(program.space.dimension)
        self.root = Branch(np.full(program.space.neurons, FREE, dtype=np.int64))
        self.heap: list[tuple[float, int, Branch]] = []
        self.pushed = 0
        self.start: Start | None = None
        self.starts: dict[int, Start] = {}
        self.stuck = 0.0
        self.interrupted = False
        self.confirm: Callable[[Branch, float], float] | None = None

    def run(
        self,
        callback: Callable[[SearchProgress], bool | None] | None,
        too_large: float,
        resume: State | None,
    ) -> None:
        """Bound the root, then split the worst leaves, as many at a time as keep all workers busy."""
        if resume is not None:
            self._resume(resume)
        with pool_of(self.workers, self.scheduler) as (pool, busy):
            self._bound(
                pool, [(leaf, self.starts.get(id(leaf), self.start)) for leaf in self.root.leaves if leaf.bound is None]
            )
            while self.heap and -self.heap[0][0] > max(self.enough, self.stuck) and not self._ended():
                if self.unit * self.best > too_large or (callback is not None and callback(self._progress())):
                    return
                count = max(1, busy // 2)
                chosen = [heapq.heappop(self.heap)[2] for _ in range(min(count, len(self.heap)))]
                try:
                    self._bound(pool, [item for branch in chosen for item in self._split(branch)])
                except (KeyboardInterrupt, *FAILURES):
                    # The children are not all bounded: their parents are leaves again.
                    for branch in chosen:
                        branch.rejoin()
                        self._push(branch)
                    raise

    def plant(self, tree: Branch) -> None:
        """Grow the splits of another tree, and keep what its leaves may start from."""
        stack = [(tree, self.root)]
        while stack:
            source, branch = stack.pop()
            if source.active is not None and source.inactive is not None:
                active, inactive = branch.split(source.neuron)
                stack += [(source.inactive, inactive), (source.active, active)]
            elif source.bound is not None:
                free = np.flatnonzero(source.signs == FREE)
                order = len(free) + self.program.space.dimension
                start = Start(source.bound.multipliers, source.bound.S[:order, :order], free)
                self.starts[id(branch)] = start.times(self.unit**-2)

    def _state(self) -> State:
        numbers = np.array([self.unit, self.best])
        counts = np.array([self.nodes, self.steps], dtype=np.int64)
        search = {"W": self.unit * self.W, "numbers": numbers, "counts": counts, "best_direction": self.direction}
        return {**search, **write_tree(self.root, self.program.positions, self.program.space.dimension)}

    def _resume(self, state: State) -> None:
        """Grow the stored tree again; bounds are brought to the unit of this search."""
        space = self.program.space
        reader = TreeReader(state, space.neurons, self.program.positions, space.dimension)
        try:
            unit, best = floats(state, "numbers").tolist()
            self.nodes, self.steps = integers(state, "counts").tolist()
            direction = floats(state, "best_direction")
        except (KeyError, ValueError, TypeError) as error:
            raise InputError(f"The search to resume is damaged ({error}); start anew without it.") from None
        if not (unit > 0 and best >= 0 and direction.shape == (space.dimension,)):
            raise InputError("The search to resume is damaged in its numbers; start anew without it.")
        factor = (unit / self.unit) ** 2
        self._look(direction)
        for branch, bound, square in reader.leaves(self.root):
            branch.bound = None if bound is None else bound.times(factor)
            branch.h_squared = factor * square
            if bound is not None:
                self._push(branch)

    def _ended(self) -> bool:
        late = self.deadline is not None and time.perf_counter() >= self.deadline
        return late or (self.max_nodes is not None and self.nodes + 2 > self.max_nodes)

    def _split(self, branch: Branch) -> list[tuple[Branch, Start | None]]:
        """Children of a leaf, with what they start from."""
        assert branch.bound is not None  # only bounded leaves wait to be split
        start = Start(branch.bound.multipliers, branch.bound.S, np.flatnonzero(branch.signs == FREE))
        return [(child, start) for child in branch.split(branch.bound.branch)]

    def _bound(self, pool: Parallel, items: list[tuple[Branch, Start | None]]) -> None:
        """Solve the relaxations of nodes."""
        tasks = [
            delayed(bound_node)(self.program, self.W, branch.signs, **self._options(branch, start))
            for branch, start in items
        ]
        for (branch, _), bound in zip(items, pool(tasks), strict=True):
            branch.bound = bound
            branch.h_squared = min(branch.h_squared, bound.h_squared)
            self.nodes += 1
            self.steps += bound.steps
            self._look(bound.direction)
            self._push(branch)

    def _options(self, branch: Branch, start: Start | None) -> dict[str, object]:
        left = None if self.deadline is None else max(self.deadline - time.perf_counter(), 1e-3)
        return {
            "start": start,
            "enough": self.enough,
            "time_limit": left,
        }

    def _push(self, branch: Branch) -> None:
        """Keep a leaf for splitting. One without free generators stays a leaf: nothing below its bound can follow."""
        if self.confirm is not None and branch.h_squared <= self.enough:
            branch.h_squared = self.confirm(branch, self.unit)
        if branch.bound is not None and branch.bound.branch < 0:
            self.stuck = max(self.stuck, branch.h_squared)
            return
        self.pushed += 1
        heapq.heappush(self.heap, (-branch.h_squared, self.pushed, branch))

    def _look(self, z: FloatArray) -> None:
        """Keep a point if its price is larger than all before."""
        program = self.program
        weighted = program.weight[:, None] * self.W
        for point in (z, -z):
            phi = program.space.lift(point)[program.feature]
            size = float(np.sqrt(point @ program.metric @ point))
            price = float(np.linalg.norm(weighted.T @ phi)) / size if size > 0 else 0.0
            if price > self.best:
                self.best, self.direction = price, point / size

    def _progress(self) -> SearchProgress:
        worst = max(-self.heap[0][0] if self.heap else 0.0, self.stuck, self.enough)
        h_bar = self.unit * float(np.sqrt(worst))
        return SearchProgress(self.nodes, len(self.heap), h_bar, time.perf_counter() - self.begin, self._state)

    def result(self) -> SearchResult:
        """The tree as it stands."""
        worst = max((leaf.h_squared for leaf in self.root.leaves), default=0.0)
        can_go_on = any(h < -max(self.enough, self.stuck) for h, _, _ in self.heap)
        return SearchResult(
            root=self.root,
            unit=self.unit,
            h_bar=self.unit * float(np.sqrt(max(worst, 0.0))),
            best=self.unit * self.best,
            direction=self.direction,
            complete=bool(worst <= self.enough),
            can_go_on=can_go_on,
            interrupted=self.interrupted,
            nodes=self.nodes,
            steps=self.steps,
            seconds=time.perf_counter() - self.begin,
            state=self._state() if can_go_on else None,
        )
