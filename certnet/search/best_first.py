"""Best-first branch and bound, whatever is bounded: the price of a dual (``price``) or a margin (``margin``)."""

import heapq
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor
from dataclasses import dataclass, field
from typing import NamedTuple, Protocol, TypeVar

from certnet.runtime.numerics import FAILURES
from certnet.search.tree import Vertex
from formulations import InputError

V = TypeVar("V", bound=Vertex)


class Task(Protocol[V]):
    """What a search is about."""

    def bound(self, vertices: list[V]) -> None:
        """Bound new leaves: each gets a key and, unless that is infinite, a neuron to split."""

    def is_over(self, worst: float, waiting: int) -> bool:
        """Asked between batches, with the smallest key and the number of leaves that wait to be split."""

    def together(self, waiting: int) -> int:
        """How many of the waiting leaves are split next."""


@dataclass
class Budget:
    """Limits of a search on bounds (``nodes``) and seconds, bounds ``used`` so far, and when it began."""

    nodes: int | None = None
    seconds: float | None = None
    used: int = 0
    begin: float = field(default_factory=time.perf_counter)

    @property
    def spent(self) -> float:
        """Seconds since the search began."""
        return time.perf_counter() - self.begin

    @property
    def left(self) -> float | None:
        """Seconds left, positive; None without a limit."""
        return None if self.seconds is None else max(self.seconds - self.spent, 1e-3)

    def allows(self, nodes: int) -> bool:
        """Whether so many more bounds may be computed now."""
        late = self.seconds is not None and self.spent >= self.seconds
        return not late and (self.nodes is None or self.used + nodes <= self.nodes)


def best_first(root: V, task: Task[V]) -> None:
    """Bound the new leaves of a tree, then split the worst leaves until none waits or the task is over.

    If bounding children fails their parents are leaves again, and the exception goes on.
    """
    heap: list[tuple[float, int, V]] = []
    pushed = 0
    task.bound([leaf for leaf in root.leaves if leaf.key is None])
    fresh = list(root.leaves)
    while True:
        for leaf in fresh:
            if leaf.key is not None and leaf.key < float("inf"):
                pushed += 1
                heapq.heappush(heap, (leaf.key, pushed, leaf))
        if not heap or task.is_over(heap[0][0], len(heap)):
            return
        chosen = [heapq.heappop(heap)[2] for _ in range(min(task.together(len(heap)), len(heap)))]
        fresh = [child for leaf in chosen for child in leaf.split(leaf.neuron)]
        try:
            task.bound(fresh)
        except BaseException:
            for leaf in chosen:
                leaf.children = None
            raise


class Ending(NamedTuple):
    """What cut work short: Ctrl-C, or a worker that was killed, perhaps for its memory."""

    interrupted: bool = False
    killed: bool = False


def outlived(work: Callable[[], object]) -> Ending:
    """Do the work until it ends or fails: what it had shown before stays.

    Raises:
        InputError: of the work.
    """
    try:
        work()
    except KeyboardInterrupt:
        return Ending(interrupted=True)
    except BrokenExecutor:
        return Ending(killed=True)
    except FAILURES as error:
        if isinstance(error, InputError):
            raise
    return Ending()
