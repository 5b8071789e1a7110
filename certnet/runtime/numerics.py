"""Floating point of a whole job: threads of its linear algebra, silence about what is not finite, and stages that fail.

None of this bears on a proof. Whatever overflows, fails or is given up costs tightness; the checker decides.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
from threadpoolctl import ThreadpoolController

from certnet.runtime.clock import Clock
from certnet.runtime.machine import cpus
from formulations import InputError

SMALL_ORDER = 1500
"""Below this order of the lifted matrix a second BLAS thread is not worth its risk: while another process runs, random0
takes 0.9 s with one thread and 8 s with two, and a Newton step on bank_notes 4 s and 10 to 40 s."""

FAILURES = (ArithmeticError, ValueError, RuntimeError, RuntimeWarning, MemoryError)
"""What numerical code raises where it cannot go on: numpy's LinAlgError and scipy's complaints are ValueErrors, those
of ARPACK RuntimeErrors, and warnings are raised where a program turns them into errors."""


def cores() -> int:
    """How many this process may use, or as many threads as its jobs may begin."""
    return min([cpus()["usable"] or 1, *_BLAS.own])


class _BlasThreads:
    """The number of BLAS threads, which a process has only once, for the jobs that run in it.

    While jobs run, the smallest of their limits holds. The numbers found are put back after the last one. A limit that
    ended with the first of two jobs would let the other go on with other roundings.

    Attributes:
        own: the limits of threads that jobs begin themselves.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._limits: list[int] = []
        self.own: list[int] = []
        self._found: dict[str, int] = {}

    @contextmanager
    def at_most(self, limit: int | None) -> Iterator[None]:
        """At most so many threads; None asks for nothing."""
        if limit is None:
            yield
            return
        self._change(self._limits.append, limit)
        try:
            yield
        finally:
            self._change(self._limits.remove, limit)

    @contextmanager
    def own_at_most(self, limit: int | None) -> Iterator[None]:
        """At most so many threads that jobs begin themselves; None asks for nothing."""
        limits = [] if limit is None else [limit]
        self.own.extend(limits)
        try:
            yield
        finally:
            for one in limits:
                self.own.remove(one)

    def _change(self, change: Callable[[int], None], limit: int) -> None:
        # Libraries may have been loaded since the last change, so all are looked at.
        with self._lock:
            change(limit)
            for library in ThreadpoolController().select(user_api="blas").lib_controllers:
                found = self._found.setdefault(library.filepath, library.num_threads)
                wanted = min([found, *self._limits])
                # threadpoolctl lets the first thread alone set the number, and others do nothing without a word.
                release = getattr(library, "clear_controlling_thread", lambda *, force: None)
                release(force=True)
                library.set_num_threads(wanted)
                release(force=True)
            if not self._limits:
                self._found.clear()


_BLAS = _BlasThreads()
blas_threads = _BLAS.at_most
"""Context in which the linear algebra of this process has at most so many threads."""


@contextmanager
def computing(order: int = 0, threads: int | None = None) -> Iterator[None]:
    """Surrounds a job whose lifted matrix has this order: few BLAS threads where it is small, and no warnings.

    With ``threads``, linear algebra has so many whatever the order, and the process begins no more of its own.
    Overflow and 0/0 are expected on the way; a caller who has numpy raise on them is not to lose a job by that.
    """
    blas = threads or (1 if order < SMALL_ORDER else None)
    with blas_threads(blas), _BLAS.own_at_most(threads), np.errstate(all="ignore"):
        yield


@contextmanager
def guarded(clock: Clock, stage: str) -> Iterator[None]:
    """Surrounds a stage without which the job can end: a numerical failure is noted, and what was found before counts.

    Errors of the caller's own progress function are his, and pass, even where a part of the stage outlived them.
    """
    with clock.stage(stage):
        try:
            yield
        except FAILURES as error:
            if isinstance(error, InputError) or error is clock.foreign:
                raise
            clock.note(stage, f"The stage '{stage}' was given up ({failure(error)}); what was found before counts.")
        if clock.foreign is not None:
            raise clock.foreign


def failure(error: BaseException) -> str:
    """An exception in a few words."""
    return f"{type(error).__name__}: {error}".rstrip(": .")
