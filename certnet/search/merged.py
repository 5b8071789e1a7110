"""Both searches in turn: first W is free, then it is the residual of the network.

With W free a few leaves go far, but every leaf takes part in every solve. With W fixed to the residual of a nearly
optimal network a leaf that is small enough is done with, which is what the last per cent need. So W is free until the
gap is moderate; then the search with fixed W goes on from that tree. The better bound of the two is returned.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace

from certnet.search.certificate import LeafRepair
from certnet.search.goal import bound_from_price, price_for_gap
from certnet.search.joint import JointSearchResult, joint_search
from certnet.search.price import SearchProgress, SearchResult, search
from certnet.solvers.interface import State, without_prefix
from formulations import Presolved, Program
from formulations._validation import FloatArray

SWITCH = 0.02
"""Relative gap at which W becomes fixed: on Gaussian data (n = 24, d = 6) a free W is ahead until about there."""
LARGEST = 3000
"""Most entries of W and t for which W is free: a Schur complement of this order is solved at every step."""
PREFIX = "free_"


@dataclass(frozen=True, eq=False)
class MergedResult:
    """The better tree of the two searches and the W that it is about.

    Attributes:
        W: (f, c).
        search: its tree, with the effort of both; ``best`` and ``direction`` are about the network's residual.
        free: the search with W free, for another call about a better network; None where it was left out.
    """

    W: FloatArray
    search: SearchResult
    free: JointSearchResult | None


def merged_search(
    presolved: Presolved,
    W: FloatArray,
    *,
    objective: float,
    gap: float,
    free: JointSearchResult | None = None,
    max_nodes: int | None = None,
    time_limit: float | None = None,
    workers: int = 1,
    scheduler: str | None = None,
    callback: Callable[[float, SearchProgress], bool | None] | None = None,
    too_large: float = float("inf"),
    resume: State | None = None,
    is_about: Callable[[State], bool] = lambda state: True,
) -> MergedResult:
    """Bound the optimum within ``gap`` of ``objective``, or as far as nodes and time go.

    Args:
        presolved: of the training program.
        W: residual of the network, in the coordinates of ``presolved.program``.
        objective: of the network, in original units; positive.
        gap: relative.
        free: of an earlier call about another network.
        max_nodes, time_limit: for both searches together.
        workers, scheduler: of the search with W fixed.
        callback: called with the proved bound (original units, up to rounding); a true value ends the search.
        too_large: as in ``certnet.search.price.search``.
        resume: the state of an earlier call.
        is_about: whether a stored search with fixed W was about this W.

    Raises:
        InputError: the cluster cannot be used, or the state to resume is damaged.
    """
    run = _Merged(presolved, W, objective, gap, callback)
    if free is None:
        stored = None if resume is None else without_prefix(resume, PREFIX)
        if resume is None or stored:
            run.relax(max_nodes, time_limit, stored)
    else:
        run.free = free
    if run.needs_fixed(max_nodes):
        fixed = None if resume is None or not _is_fixed(resume) or not is_about(resume) else _own(resume)
        run.fix(max_nodes, time_limit, workers, scheduler, too_large, fixed)
    return run.result()


class _Merged:
    def __init__(
        self,
        presolved: Presolved,
        W: FloatArray,
        objective: float,
        gap: float,
        callback: Callable[[float, SearchProgress], bool | None] | None,
    ) -> None:
        self.presolved, self.W, self.objective, self.gap = presolved, W, objective, gap
        self.callback = callback
        self.free: JointSearchResult | None = None
        self.fixed: SearchResult | None = None
        self.stopped = False

    @property
    def program(self) -> Program:
        """The presolved program."""
        return self.presolved.program

    def relax(self, max_nodes: int | None, time_limit: float | None, resume: State | None) -> None:
        """The search with W free, if the program is not too large for it."""
        if self.program.target.size + self.program.space.neurons > LARGEST:
            return

        def look(bound: float, progress: SearchProgress) -> bool:
            shown = replace(progress, state=lambda: _with_prefix(progress.state()))
            self.stopped = self.callback is not None and bool(self.callback(bound, shown))
            return self.stopped

        self.free = joint_search(
            self.program,
            enough=self.objective * (1.0 - max(self.gap, SWITCH)),
            max_nodes=max_nodes,
            time_limit=time_limit,
            callback=look,
            resume=resume,
        )

    @property
    def bound(self) -> float:
        """Of the search with W free."""
        return self.program.to_original(0.0) if self.free is None else self.free.lower_bound

    def needs_fixed(self, max_nodes: int | None) -> bool:
        """Whether W is to be fixed: the first search has come as far as it should, and that is not enough."""
        free = self.free
        if free is None:
            return True
        done = self.stopped or free.tree.interrupted or self.bound >= self.objective * (1.0 - self.gap)
        leaves = sum(1 for _ in free.tree.root.leaves)
        out_of_nodes = max_nodes is not None and free.tree.nodes + leaves > max_nodes
        return (free.tree.complete or free.exhausted) and not done and not out_of_nodes

    def fix(
        self,
        max_nodes: int | None,
        time_limit: float | None,
        workers: int,
        scheduler: str | None,
        too_large: float,
        resume: State | None,
    ) -> None:
        """The search with W fixed, from the tree of the one before."""
        spent = 0.0 if self.free is None else self.free.tree.seconds
        nodes = 0 if self.free is None else self.free.tree.nodes

        def look(progress: SearchProgress) -> bool:
            bound = max(bound_from_price(self.program, self.W, progress.h_bar), self.bound)
            shown = replace(progress, nodes=progress.nodes + nodes, state=lambda: self._state(progress.state()))
            return self.callback is not None and bool(self.callback(bound, shown))

        self.fixed = search(
            self.program,
            self.W,
            enough=price_for_gap(self.program, self.W, self.objective, self.gap),
            tree=None if self.free is None else self.free.tree.root,
            max_nodes=None if max_nodes is None else max(max_nodes - nodes, 1),
            time_limit=None if time_limit is None else max(time_limit - spent, 1e-3),
            workers=workers,
            scheduler=scheduler,
            confirm=LeafRepair(self.presolved, self.W).price,
            resume=resume,
            callback=look,
            too_large=too_large,
        )

    def _state(self, fixed: State) -> State:
        return {**fixed, **({} if self.free is None else _with_prefix(self.free.state))}

    def result(self) -> MergedResult:
        """The better tree."""
        free, fixed = self.free, self.fixed
        if fixed is None:
            assert free is not None  # one of the two has run
            is_open = not self.bound >= self.objective * (1.0 - self.gap)
            state = _with_prefix(free.state) if is_open else None
            tree = replace(free.tree, complete=not is_open, can_go_on=is_open, state=state)
            return MergedResult(free.W, tree, free)
        state = None if fixed.state is None else self._state(fixed.state)
        if free is None:
            return MergedResult(self.W, replace(fixed, state=state), None)
        tree = replace(
            fixed,
            nodes=free.tree.nodes + fixed.nodes,
            steps=free.tree.steps + fixed.steps,
            seconds=free.tree.seconds + fixed.seconds,
            state=state,
        )
        if bound_from_price(self.program, self.W, fixed.h_bar) >= self.bound:
            return MergedResult(self.W, tree, free)
        tree = replace(tree, root=free.tree.root, unit=free.tree.unit, h_bar=free.tree.h_bar)
        return MergedResult(free.W, tree, free)


def _with_prefix(state: State) -> State:
    return {PREFIX + name: array for name, array in state.items()}


def _own(state: State) -> State:
    return {name: array for name, array in state.items() if not name.startswith(PREFIX)}


def _is_fixed(state: State) -> bool:
    return "version" in state
