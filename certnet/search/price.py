"""Branch and bound over the signs of generators: an upper bound on the price h(W), proved at any moment.

W stays fixed. A node fixes some signs; its bound is the DNN relaxation on the smaller face. The node with the largest
bound is split next, on the generator whose two activations are largest in its relaxation.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, fields

import numpy as np
from joblib import Parallel, delayed

from certnet.search.best_first import Budget, best_first, outlived
from certnet.search.bounds import bound_node
from certnet.search.pool import pool as pool_of
from certnet.search.tree import Branch, floats, intact, integers, read_tree, replant, write_tree
from certnet.solvers.interface import State
from formulations import Program
from formulations._validation import FloatArray

Confirm = Callable[[Branch, float], float]


@dataclass(frozen=True, eq=False)
class SearchSummary:
    """The search for a proof of the gap.

    Attributes:
        kind: "signs" for branching on the signs of data points, "subdivision" for cutting the weight space.
        complete: the bound that was asked for is shown.
        can_go_on: a longer search could improve the bound.
        interrupted: by Ctrl-C.
        nodes, leaves: tests or relaxations, and the leaves of the tree that proves the bound.
        price: bound on h(W) over what was asked for.
        steps, seconds: effort; Newton steps where there are some.
        state: what a later search needs to go on, if it can.
        killed: it ended because a worker was killed, perhaps for lack of memory.
    """

    kind: str
    complete: bool
    can_go_on: bool
    interrupted: bool
    nodes: int
    leaves: int
    price: float
    steps: int
    seconds: float
    state: State | None = None
    killed: bool = False


@dataclass(frozen=True)
class SearchProgress:
    """A look at the search; ``state`` copies what a later one needs to go on, ``result`` is what it has so far.

    ``lower_bound`` on the optimum, in original units, is proved up to rounding. ``between`` two rounds there is no
    state.
    """

    nodes: int
    open: int
    lower_bound: float
    seconds: float
    state: Callable[[], State]
    result: Callable[[], "SearchResult"]
    between: bool = False


Look = Callable[[SearchProgress], float | None]
"""Called between batches; tells the most leaves that there may be after the next one, None for any number."""


@dataclass(frozen=True, eq=False, kw_only=True)
class SearchResult(SearchSummary):
    """What a search over signs has proved, up to rounding.

    Attributes:
        W: (f, c) that it is about.
        lower_bound: on the optimum, in original units.
        root: the tree; its bounds and multipliers are those of ``W / unit``.
        unit: the price that was asked for.
        best: largest price that was seen at a point, and ``direction`` (k,) the point.
    """

    W: FloatArray
    lower_bound: float
    root: Branch
    unit: float
    best: float
    direction: FloatArray

    @property
    def h_bar(self) -> float:
        """Largest bound of a leaf: ``‖(ω∘W)ᵀφ‖ ≤ h_bar`` for zᵀEz ≤ 1."""
        return self.unit * self.price

    @property
    def summary(self) -> SearchSummary:
        """The same without the tree."""
        return SearchSummary(*(getattr(self, one.name) for one in fields(SearchSummary)))


def search(
    program: Program,
    W: FloatArray,
    *,
    enough: float,
    tree: Branch | None = None,
    max_nodes: int | None = None,
    time_limit: float | None = None,
    workers: int = 1,
    callback: Look | None = None,
    too_large: float = np.inf,
    scheduler: str | None = None,
    confirm: Confirm | None = None,
    resume: State | None = None,
) -> SearchResult:
    """Bound ``h(W)`` until it is at most ``enough``, or nodes or time run out. Ctrl-C ends the search in good order.

    Args:
        program: presolved program, numbers of order one. Its inequalities, circuits for instance, hold in every node.
        W: (f, c) dual in its coordinates.
        enough: price that is small enough.
        tree: whose splits are taken over, for instance of a search with W free; it is left as it is. Its leaves are
            bounded first, each from its own multipliers.
        max_nodes, time_limit: on relaxations that are solved, and on seconds.
        workers, scheduler: as ``pool`` takes them; the result is the same for equal numbers of workers.
        callback: called after every batch; the search ends where no more leaves may be.
        too_large: a point of a larger price ends the search: then W is not worth more effort.
        confirm: called with a node that is small enough, and the unit of its bound; returns the squared bound that
            will be proved in the end, in that unit. If that is too large after all, the node is split.
        resume: the state of an earlier search with the same program and W; what was enough then may differ.

    Raises:
        InputError: the cluster cannot be used, or the state to resume is damaged.
    """
    task = _Price(program, W, enough, Budget(max_nodes, time_limit), confirm, callback, too_large)
    if resume is not None:
        task.resume(resume)
    elif tree is not None:
        replant(task.root, tree, task.unit**-2)

    def run() -> None:
        with pool_of(workers, scheduler) as (task.pool, task.busy):
            best_first(task.root, task)

    interrupted, killed = outlived(run)
    return task.result(interrupted=interrupted, killed=killed)


@dataclass(eq=False)
class _Price:
    """The task, in units of the price that is enough: forms are of order one, as solvers want them."""

    program: Program
    W: FloatArray
    unit: float
    budget: Budget
    confirm: Confirm | None
    callback: Look | None
    too_large: float
    pool: Parallel = field(init=False)
    busy: int = field(init=False)

    def __post_init__(self) -> None:
        self.steps, self.begun = 0, False
        self.best, self.direction = 0.0, np.zeros(self.program.space.dimension)
        self.root = Branch.of(self.program)

    def resume(self, state: State) -> None:
        """Grow the stored tree again; bounds are brought to the unit of this search."""
        with intact():
            (unit,) = floats(state, "unit").tolist()
            self.budget.used, self.steps = integers(state, "counts").tolist()
            direction = floats(state, "best_direction")
            if not (unit > 0 and direction.shape == self.direction.shape):
                raise ValueError("its numbers make no sense")
            read_tree(self.root, state, self.program.positions, self.program.space.dimension)
        self._look(direction)
        factor = (unit / self.unit) ** 2
        for leaf in self.root.leaves:
            leaf.h_squared *= factor
            if leaf.bound is not None:
                leaf.bound = leaf.bound.times(factor)

    def _state(self) -> State:
        return {
            "W": self.W.copy(),
            "unit": np.array([self.unit]),
            "counts": np.array([self.budget.used, self.steps], dtype=np.int64),
            "best_direction": self.direction,
            **write_tree(self.root, self.program.positions),
        }

    def bound(self, vertices: list[Branch]) -> None:
        """Solve the relaxations of nodes, or settle those of a stored search.

        The first are all leaves of a given tree: as many at once as keep the pool busy, and where a limit ends it some
        get no key. Later ones are children, which take their parents' place in a proof all or not at all.
        """
        for leaf in vertices:
            if leaf.bound is not None:
                self._settle(leaf)
        fresh, first, self.begun = [leaf for leaf in vertices if leaf.bound is None], not self.begun, True
        room = None if self.budget.nodes is None or not first else max(self.budget.nodes - self.budget.used, 0)
        fresh, task, W = fresh[:room], delayed(bound_node), self.W / self.unit
        while fresh and (not first or self.budget.allows(1)):
            count = self.busy if first else len(fresh)
            some, fresh = fresh[:count], fresh[count:]
            options = {"enough": 1.0, "time_limit": self.budget.left}
            tasks = [task(self.program, W, leaf.signs, start=leaf.start, **options) for leaf in some]
            for leaf, bound in zip(some, self.pool(tasks), strict=True):
                leaf.bound, leaf.h_squared = bound, min(leaf.h_squared, bound.h_squared)
                self.budget.used += 1
                self.steps += bound.steps
                self._look(bound.direction)
                self._settle(leaf)

    def _settle(self, leaf: Branch) -> None:
        """Where the leaf stands in the queue. One without free generators stays a leaf: nothing below it can follow."""
        assert leaf.bound is not None  # it has just been bounded or read
        if self.confirm is not None and leaf.h_squared <= 1.0:
            leaf.h_squared = self.confirm(leaf, self.unit)
        leaf.neuron = leaf.bound.branch
        leaf.key = np.inf if leaf.neuron < 0 else -leaf.h_squared

    def is_over(self, worst: float, waiting: int) -> bool:
        """Whether what is asked for is shown, or cannot be: no split changes the largest bound."""
        if -worst <= self._least() or not self.budget.allows(2) or self.unit * self.best > self.too_large:
            return True
        if self.callback is None:
            return False
        bound = bound_from_price(self.program, self.W, self.unit * float(np.sqrt(-worst)))
        progress = SearchProgress(self.budget.used, waiting, bound, self.budget.spent, self._state, self.result)
        most = self.callback(progress)
        return most is not None and not waiting < most

    def together(self, waiting: int) -> int:
        """As many as keep all workers busy."""
        return max(1, self.busy // 2)

    def _least(self) -> float:
        """No split brings the squared price below the bound of a leaf without free generators."""
        return max([1.0, *(leaf.h_squared for leaf in self.root.leaves if leaf.key == np.inf)])

    def _look(self, z: FloatArray) -> None:
        """Keep a point if its price is larger than all before."""
        program = self.program
        size = float(np.sqrt(z @ program.metric @ z))
        if not size > 0:
            return
        phi = program.space.lift(np.stack([z, -z], axis=1))[program.space.phi]
        prices = np.linalg.norm(program.features_of(self.W).T @ phi, axis=0) / (self.unit * size)
        at = int(np.argmax(prices))
        if prices[at] > self.best:
            self.best, self.direction = float(prices[at]), (1 - 2 * at) * z / size

    def result(self, *, interrupted: bool = False, killed: bool = False) -> SearchResult:
        """The tree as it stands."""
        leaves, least = list(self.root.leaves), self._least()
        worst = max(leaf.h_squared for leaf in leaves)
        price = float(np.sqrt(max(worst, 0.0)))
        can_go_on = any(leaf.key != np.inf and leaf.h_squared > least for leaf in leaves)
        return SearchResult(
            kind="signs",
            W=self.W,
            lower_bound=bound_from_price(self.program, self.W, self.unit * price),
            root=self.root,
            unit=self.unit,
            price=price,
            best=self.unit * self.best,
            direction=self.direction,
            complete=bool(worst <= 1.0),
            can_go_on=can_go_on,
            interrupted=interrupted,
            killed=killed,
            nodes=self.budget.used,
            leaves=len(leaves),
            steps=self.steps,
            seconds=self.budget.spent,
            state=self._state() if can_go_on else None,
        )


def bound_from_price(program: Program, W: FloatArray, h_bar: float) -> float:
    """The lower bound in original units: the dual value of sW with ``s = min(γ/h̄, best scale)``."""
    return program.to_original(program.dual_value(program.best_scale(W, h_bar) * W))


def price_for_gap(program: Program, W: FloatArray, objective: float, gap: float) -> float:
    """The largest h̄ whose bound is within the relative ``gap`` of ``objective`` (original units); γ if none is.

    W has to be positively aligned with the targets.
    """
    s = None if program.loss is None else program.loss.least_scale(W, program.to_own(objective * (1.0 - gap)))
    if s is None:
        return float(program.gamma)
    return float(program.gamma / min(s, 1.0)) if s > 0 else float("inf")
