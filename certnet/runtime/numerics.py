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


_LOCK = threading.Lock()
_LIMITS: list[int] = []  # Of BLAS threads, of the jobs that run in this process.
_FOUND: dict[str, int] = {}  # How many threads each library had before.
_OWN: list[int] = []  # Limits of the threads that jobs begin themselves.


def cores() -> int:
    """How many this process may use, or as many threads as its jobs may begin."""
    return min([cpus()["usable"] or 1, *_OWN])


@contextmanager
def blas_threads(limit: int | None) -> Iterator[None]:
    """Context in which the linear algebra of this process has at most so many threads; None asks for nothing.

    While several jobs run, the smallest of their limits holds, and the numbers found are put back after the last one. A
    limit that ended with the first of two jobs would let the other go on with other roundings.
    """
    if limit is None:
        yield
        return
    _change(_LIMITS.append, limit)
    try:
        yield
    finally:
        _change(_LIMITS.remove, limit)


def _change(change: Callable[[int], None], limit: int) -> None:
    # Libraries may have been loaded since the last change, so all are looked at.
    with _LOCK:
        change(limit)
        for library in ThreadpoolController().select(user_api="blas").lib_controllers:
            found = _FOUND.setdefault(library.filepath, library.num_threads)
            wanted = min([found, *_LIMITS])
            # threadpoolctl lets the first thread alone set the number, and others do nothing without a word.
            release = getattr(library, "clear_controlling_thread", lambda *, force: None)
            release(force=True)
            library.set_num_threads(wanted)
            release(force=True)
        if not _LIMITS:
            _FOUND.clear()


@contextmanager
def computing(order: int = 0, threads: int | None = None) -> Iterator[None]:
    """Surrounds a job whose lifted matrix has this order: few BLAS threads where it is small, and no warnings.

    With ``threads``, linear algebra has so many whatever the order, and the process begins no more of its own.
    Overflow and 0/0 are expected on the way; a caller who has numpy raise on them is not to lose a job by that.
    """
    blas, own = threads or (1 if order < SMALL_ORDER else None), [threads] if threads else []
    _OWN.extend(own)
    try:
        with blas_threads(blas), np.errstate(all="ignore"):
            yield
    finally:
        for one in own:
            _OWN.remove(one)


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
