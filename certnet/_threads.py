"""One BLAS thread for small matrices, also where several jobs run in threads of one process."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from threadpoolctl import threadpool_limits

SMALL_ORDER = 1500
"""Below this order of the lifted matrix a second BLAS thread is not worth its risk: while another process runs, random0
takes 0.9 s with one thread and 8 s with two, and a Newton step on bank_notes 4 s and 10 to 40 s."""


class _Shared:
    """The limit belongs to the process, so it stays until the last of the jobs that ask for it has ended."""

    def __init__(self) -> None:
        self._lock, self._users = threading.Lock(), 0
        self._limit: threadpool_limits | None = None

    def enter(self) -> None:
        with self._lock:
            self._users += 1
            if self._limit is None:
                self._limit = threadpool_limits(limits=1, user_api="blas")

    def leave(self) -> None:
        with self._lock:
            self._users -= 1
            if self._users == 0 and self._limit is not None:
                self._limit.restore_original_limits()
                self._limit = None


_shared = _Shared()


@contextmanager
def one_thread(order: int = 0) -> Iterator[None]:
    """Surrounds work on matrices of this order; large ones keep the threads they have.

    Sums depend on the number of threads in their last bits. A job that ends while another runs must not change it.
    """
    if order >= SMALL_ORDER:
        yield
        return
    _shared.enter()
    try:
        yield
    finally:
        _shared.leave()
