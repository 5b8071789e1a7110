"""Work on blocks of rows: the same function for each block, in threads, or wherever an executor takes it.

Results come in the order of the blocks, and blocks do not depend on who works on them. So whatever is summed over them
is summed in one order, and a job ends with the same numbers up to the rounding of the machines that took part.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext, suppress
from functools import partial
from typing import Any, TypeVar

import numpy as np

from certnet.runtime.numerics import cores

T = TypeVar("T")

AHEAD = 64
"""Blocks that are under way at once, at most; an executor of others does not say how many it works on. Not measured."""


def workers(tasks: int) -> AbstractContextManager[Executor | None]:
    """Threads for so many tasks at once, as many as there are ``cores``; None where there would be one.

    NumPy warns in none of them, as it does not in a job; what its caller said of that holds in its own thread alone.
    """
    count = min(cores(), tasks)
    return ThreadPoolExecutor(count, initializer=partial(np.seterr, all="ignore")) if count > 1 else nullcontext()


def side_by_side(work: Callable[..., T], *arguments: Iterable[Any], executor: Executor | None = None) -> Iterator[T]:
    """What ``map`` gives, one by one.

    A block that an executor loses, with a worker for instance, is worked on here. So an error is the work's own.

    Args:
        work: lets other threads run, and changes nothing. For executors in other processes a function of a module.
        executor: where blocks are worked on; None: in as many threads as there are ``cores``.
    """
    tasks = deque(zip(*arguments, strict=True))
    with workers(len(tasks)) if executor is None else nullcontext(executor) as pool:
        if pool is None:
            yield from (work(*task) for task in tasks)
            return
        ahead: deque[tuple[tuple[Any, ...], Future[T] | None]] = deque()
        while tasks or ahead:
            while tasks and len(ahead) < AHEAD:
                task, future = tasks.popleft(), None
                with suppress(RuntimeError):  # of an executor that is broken
                    future = pool.submit(work, *task)
                ahead.append((task, future))
            task, future = ahead.popleft()
            try:
                found = work(*task) if future is None else future.result()
            except Exception:
                if executor is None:
                    raise
                found = work(*task)
            yield found
