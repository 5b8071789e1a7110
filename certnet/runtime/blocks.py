"""Work on blocks of rows: the same function for each block, in threads, or wherever an executor takes it.

Results come in the order of the blocks, and blocks do not depend on who works on them. So whatever is summed over them
is summed in one order, and a job ends with the same numbers up to the rounding of the machines that took part.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any, TypeVar

from certnet.runtime.numerics import cores
from formulations import InputError

T = TypeVar("T")

CONNECT_SECONDS = 10.0
AHEAD = 64
"""Blocks that are under way at once, at most; an executor of others does not say how many it works on. Not measured."""


def side_by_side(work: Callable[..., T], *arguments: Iterable[Any], executor: Executor | None = None) -> Iterator[T]:
    """What ``map`` gives, one by one.

    A block that an executor loses, with a worker for instance, is worked on here. So an error is the work's own.

    Args:
        work: lets other threads run, and changes nothing. For executors in other processes a function of a module.
        arguments: of each block.
        executor: where blocks are worked on; None: in as many threads as there are ``cores``.
    """
    tasks = deque(zip(*arguments, strict=True))
    count = min(cores(), len(tasks))
    if executor is None and count < 2:
        yield from (work(*task) for task in tasks)
        return
    with ThreadPoolExecutor(count) if executor is None else nullcontext(executor) as pool:
        ahead: deque[tuple[tuple[Any, ...], Future[T] | None]] = deque()
        while tasks or ahead:
            while tasks and len(ahead) < AHEAD:
                task = tasks.popleft()
                ahead.append((task, _begun(pool, work, task)))
            task, future = ahead.popleft()
            try:
                found = work(*task) if future is None else future.result()
            except Exception:
                if executor is None:
                    raise
                found = work(*task)
            yield found


def _begun(pool: Executor, work: Callable[..., T], task: tuple[Any, ...]) -> "Future[T] | None":
    """None where the executor is broken."""
    try:
        return pool.submit(work, *task)
    except RuntimeError:
        return None


@contextmanager
def cluster(address: str) -> Iterator[Any]:
    """A client of the Dask scheduler at an address such as ``tcp://host:8786``.

    The tasks of lost workers are run again by others; that is Dask's own doing.

    Raises:
        InputError: Dask is not installed, or there is no scheduler or worker at the address.
    """
    try:
        from distributed import Client
    except ImportError:
        raise InputError("--scheduler needs Dask; install it with: pip install 'certnet[dask]'.") from None
    with ExitStack() as stack:
        try:
            client = stack.enter_context(Client(address, timeout=CONNECT_SECONDS))
        except (OSError, ValueError) as error:
            raise InputError(f"There is no Dask scheduler at {address} ({type(error).__name__}).") from None
        if not client.nthreads():
            raise InputError(f"The Dask scheduler at {address} has no workers; start some with: dask worker {address}.")
        yield client


@contextmanager
def workers(executor: Executor | None, address: str | None) -> Iterator[Executor | None]:
    """The executor that was given, else that of the cluster at an address, if there is one. Errors as ``cluster``."""
    if executor is not None or address is None:
        yield executor
        return
    with cluster(address) as client:
        yield client.get_executor()
