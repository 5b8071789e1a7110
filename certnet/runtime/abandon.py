"""Work that can be left behind.

A long call into LAPACK hears neither a deadline nor Ctrl-C. So it runs in a thread of its own, and the caller waits for
it no longer than it wants to. What the work has found by then must lie where the caller can reach it: the thread ends
at its next step in Python, and what it returns is dropped.

Python serves threads while NumPy computes. SciPy's LAPACK holds them all until it returns, so a caller keeps such calls
short by choosing what it begins.
"""

import contextlib
import ctypes
import sys
import threading
from collections.abc import Callable
from contextvars import copy_context
from typing import Generic, TypeVar

from certificates.failure import Deadline

T = TypeVar("T")

PATIENCE = 5.0  # Seconds that work may take to end in good order after Ctrl-C.
LOOK_SECONDS = 0.1
WHOLE = frozenset({"importlib", "_frozen_importlib", "numba", "llvmlite"})
"""Packages whose calls are not broken: half a module, or half of numba's registries, would fail all later work."""


class OutOfTimeError(Exception):
    """The work had not ended in time and was left behind."""


class Insisted(KeyboardInterrupt):
    """Ctrl-C came a second time, while the work was serving the first."""


class _Left(BaseException):
    """Raised in a thread that nobody waits for any more; no ``except Exception`` stops it."""


def abandonable(
    work: Callable[[], T],
    *,
    seconds: float | None = None,
    patience: float = PATIENCE,
    interrupt: Callable[[], None] | None = None,
) -> T:
    """What ``work`` returns or raises, if it ends within ``seconds``; it runs in a thread and a copy of the context.

    Ctrl-C becomes a KeyboardInterrupt inside the work, which has ``patience`` seconds to return in good order, but no
    more than is left of ``seconds``. ``interrupt`` is called instead, for work that hears of Ctrl-C in another way.

    Raises:
        OutOfTimeError: it did not end in time.
        KeyboardInterrupt: Ctrl-C, and the work did not end in time after it.
        Insisted: a second Ctrl-C.
    """
    runner, deadline = _Runner(work), Deadline.after(seconds)
    try:
        if runner.wait(deadline):
            return runner.result()
        raise OutOfTimeError
    except KeyboardInterrupt:
        try:
            if not runner.ended:
                runner.throw(KeyboardInterrupt) if interrupt is None else interrupt()
                if runner.wait(Deadline(min(Deadline.after(patience).moment, deadline.moment))):
                    return runner.result()
        except KeyboardInterrupt as error:
            # The work's own interrupt comes out here too.
            if not runner.ended:
                raise Insisted from error
        raise
    finally:
        runner.throw(_Left)


class _Runner(Generic[T]):
    """A thread with its outcome."""

    def __init__(self, work: Callable[[], T]) -> None:
        self._work, self._context = work, copy_context()
        self._outcome: list[T] = []
        self._error: BaseException = KeyboardInterrupt()  # of work that was hit before it began
        self._begun = self._dropped = False
        self._done, self._throwing = threading.Event(), threading.Lock()
        self._thread = threading.Thread(target=self._run, name="certnet-work", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        _here.runner = self
        # What is thrown in hits calls and loops, so each call lies in a ``try``; after the first ``_end`` nothing is.
        try:
            try:
                self._do()
            finally:
                try:
                    self._end()
                finally:
                    self._end()
        except (KeyboardInterrupt, _Left):
            return

    def _do(self) -> None:
        try:
            with self._throwing:
                self._begun = True
            if not self._dropped:
                self._outcome.append(self._context.run(self._work))
        except BaseException as error:  # noqa: BLE001 - it is raised again where the work was asked for
            self._error = error

    def _end(self) -> None:
        with self._throwing:
            # What is on its way is called back.
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(threading.get_ident()), None)
            self._done.set()

    @property
    def ended(self) -> bool:
        """True when there is an outcome. ``Thread.join`` is no help: Ctrl-C inside it passes for the thread's end."""
        return self._done.is_set() or not self._thread.is_alive()

    def wait(self, deadline: Deadline) -> bool:
        """True when the work has ended, False when the deadline came first."""
        while not self.ended:
            if deadline.passed:
                return False
            # An interrupt that is no signal of the system is seen between two looks.
            self._done.wait(min(deadline.left, LOOK_SECONDS))
        return True

    def result(self) -> T:
        if self._outcome:
            return self._outcome[0]
        raise self._error

    def throw(self, error: type[BaseException]) -> None:
        """Raise an error in the thread, as soon as it runs Python again; what has not begun does not begin.

        Python's own steps before that would not bear an error: they hold a lock of all threads. Nor would an import,
        which is waited for.
        """
        ident = self._thread.ident
        with self._throwing:
            self._dropped = self._dropped or not self._begun
            if ident is None or not self._begun or self.ended:
                return
            if _must_go_on(ident):
                self._throw_later(error)
            else:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(error))

    def _throw_later(self, error: type[BaseException]) -> None:
        timer = threading.Timer(LOOK_SECONDS, self.throw, (error,))
        timer.daemon = True
        with contextlib.suppress(RuntimeError):  # the interpreter is ending
            timer.start()


def _must_go_on(ident: int) -> bool:
    """True while the thread imports a module or compiles."""
    frame = sys._current_frames().get(ident)
    while frame is not None:
        if str(frame.f_globals.get("__name__")).partition(".")[0] in WHOLE:
            return True
        frame = frame.f_back
    return False


_here = threading.local()
_before = sys.unraisablehook


def _again(lost: "sys.UnraisableHookArgs") -> None:
    """Throw once more what hit the work where Python drops it, as in a callback from C or of a weak reference."""
    runner = getattr(_here, "runner", None)
    if runner is None or not issubclass(lost.exc_type, KeyboardInterrupt | _Left):
        _before(lost)
    else:
        runner._throw_later(lost.exc_type)


sys.unraisablehook = _again
