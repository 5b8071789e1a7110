"""Where nodes are bounded: in this process, in others on this machine, or on a Dask cluster."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from joblib import Parallel, parallel_config

from formulations.errors import InputError

CONNECT_SECONDS = 10.0
FOLLOW_SECONDS = 0.5
"""Between two looks of a worker for its parent."""


@contextmanager
def pool(
    workers: int, scheduler: str | None = None, *, as_completed: bool = False, threads: bool = False
) -> Iterator[tuple[Parallel, int]]:
    """A joblib pool, and the number of tasks that keep it busy.

    Args:
        workers: processes on this machine; 1 means this process.
        scheduler: address of a Dask scheduler such as ``tcp://host:8786``, or None.
        as_completed: results come one by one as tasks end, in any order, instead of a list in order.
        threads: of this process instead of other processes here, for work that holds no lock.

    Raises:
        InputError: Dask is not installed, or there is no scheduler or worker at the address.
    """
    results = "generator_unordered" if as_completed else "list"
    with ExitStack() as stack:
        if scheduler is None:
            settings = {} if workers == 1 or threads else {"initializer": _follow, "initargs": (os.getpid(),)}
            settings = {"backend": "threading"} if threads and workers > 1 else settings
            yield stack.enter_context(Parallel(n_jobs=workers, return_as=results, **settings)), workers
            return
        try:
            from distributed import Client
        except ImportError:
            raise InputError("--scheduler needs Dask; install it with: pip install 'certnet[dask]'.") from None
        try:
            client = stack.enter_context(Client(scheduler, timeout=CONNECT_SECONDS))
        except (OSError, ValueError) as error:
            raise InputError(f"There is no Dask scheduler at {scheduler} ({type(error).__name__}).") from None
        busy = sum(client.nthreads().values())
        if not busy > 0:
            raise InputError(
                f"The Dask scheduler at {scheduler} has no workers; start some with: dask worker {scheduler}."
            )
        stack.enter_context(parallel_config(backend="dask"))
        yield stack.enter_context(Parallel(n_jobs=busy, return_as=results)), busy


def _follow(parent: int) -> None:
    """Make this process a worker that ends with its parent, however that ends, and leaves signals and streams to it."""
    for name in ("SIGINT", "SIGHUP", "SIGTERM"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for number in range(3):
        os.dup2(nowhere, number)
    os.close(nowhere)

    def watch() -> None:
        # A process that has lost its parent gets another one, though not on Windows.
        while os.getppid() == parent:
            time.sleep(FOLLOW_SECONDS)
        os._exit(1)

    threading.Thread(target=watch, daemon=True, name="certnet-parent").start()
