"""Ctrl-C, SIGTERM and SIGHUP: heard within a second, served like Ctrl-C, and never for longer than 15 seconds.

Python calls its handlers between two steps of its own, hence not while the main thread is in a long routine of a linear
algebra library, and its other threads stand still if that routine keeps the interpreter's lock. But the interpreter's
part in C writes a byte for each signal at once. A small process of its own, the watcher, reads these bytes. It says on
stderr that the signal was heard, and ends this process at a second one or when its patience is over: through a thread
here, which exits with the usual code, and if that gets no turn, by SIGKILL. It goes with this process. Where there is
no ``fork``, as on Windows, only Ctrl-C is served, at the next step of Python.
"""

import atexit
import contextlib
import ctypes
import math
import os
import select
import signal
import sys
import threading
import time
from types import FrameType

INTERRUPTED = 130  # The exit code of all of them.
NAMES = ("SIGINT", "SIGTERM", "SIGHUP")
ECHO_SECONDS = 0.25
"""Signals that follow this closely are one: ``timeout`` and wrappers send theirs to the process and to its group."""
AGAIN_SECONDS = 0.05
SILENT_SECONDS = 0.3  # Who has ended by then needs no line that says the signal was heard.
UNWIND_SECONDS = 0.5  # What a second signal leaves to remove temporary files.
PATIENCE_SECONDS = 13.0  # From the first signal on, until the process is ended.
KILL_SECONDS = 1.2  # From then on, until it is killed.
HEARD = "certnet: Interrupted; finishing with what is at hand. Once more stops at once.\n"
ENDED = "certnet: Stopped at once; what was written before is kept.\n"


class Interruption(KeyboardInterrupt):
    """A signal came. After KeyboardInterrupt itself, Python may end by SIGINT whatever code is given."""


class Signals:
    """The signals of one process: ``hold`` early, ``serve`` once errors are caught, ``ignore`` when all is done."""

    def __init__(self) -> None:
        self.came = self._over = False
        self._last = -math.inf
        self._signals: list[signal.Signals] = []
        self._bytes: tuple[int, int] | None = None
        """Where signals are written, and where the watcher says that it is time to end."""

    def hold(self) -> None:
        """Start the watcher and keep signals waiting. To be called before there are threads, hence before NumPy."""
        if not hasattr(os, "fork") or threading.current_thread() is not threading.main_thread():
            return
        wanted = [getattr(signal, name) for name in NAMES]
        # Who was started with a signal ignored, as by nohup, goes on ignoring it.
        self._signals = [number for number in wanted if signal.getsignal(number) is not signal.SIG_IGN]
        signal.pthread_sigmask(signal.SIG_BLOCK, self._signals)
        # While Python ends, its handlers are gone already.
        atexit.register(signal.pthread_sigmask, signal.SIG_BLOCK, self._signals)
        heard, told = os.pipe(), os.pipe()
        parent = os.getpid()
        try:
            child = os.fork()
        except OSError:  # no more processes are allowed
            return
        if child == 0:
            with contextlib.suppress(BaseException):
                for number in (*wanted, signal.SIGPIPE):
                    signal.signal(number, signal.SIG_IGN)
                os.close(heard[1])
                os.close(told[0])
                _watch(parent, heard[0], told[1])
            os._exit(0)
        os.close(heard[0])
        os.close(told[1])
        os.set_blocking(heard[1], False)
        self._bytes = heard[1], told[0]

    def serve(self) -> None:
        """Let signals come; one that has come already raises its Interruption at once, and each later one in turn."""
        if self._bytes is not None:
            written, told = self._bytes
            signal.set_wakeup_fd(written, warn_on_full_buffer=False)
            with contextlib.suppress(RuntimeError):  # no more threads are allowed
                threading.Thread(target=_end, args=(told,), daemon=True, name="certnet-signals").start()
        if not self._signals:
            return
        sys.unraisablehook = self._again
        for number in self._signals:
            signal.signal(number, self._handle)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, self._signals)

    def _again(self, lost: "sys.UnraisableHookArgs") -> None:
        """Raise once more what was raised where Python drops it, as in a callback from C."""
        if not issubclass(lost.exc_type, Interruption):
            sys.__unraisablehook__(lost)
        elif not self._over:
            where = ctypes.c_ulong(threading.main_thread().ident or 0)
            again = (where, ctypes.py_object(Interruption))
            threading.Timer(AGAIN_SECONDS, ctypes.pythonapi.PyThreadState_SetAsyncExc, again).start()

    def ignore(self) -> None:
        """Signals are the watcher's alone from now on."""
        self._over = True

    def _handle(self, number: int, frame: FrameType | None) -> None:
        now, last = time.monotonic(), self._last
        self._last = now
        if now - last > ECHO_SECONDS and not self._over:
            self.came = True
            raise Interruption


def _end(told: int) -> None:
    """End this process when the watcher says so."""
    if os.read(told, 1):
        os._exit(INTERRUPTED)


def _watch(parent: int, heard: int, told: int) -> None:
    """The watcher's work, until ``parent`` has ended and ``heard`` is at its end."""
    never = math.inf
    last = -never
    says = ends = kills = never
    while True:
        now = time.monotonic()
        if now >= says:
            says = never
            _say(HEARD)
        if now >= ends:
            kills, ends = now + KILL_SECONDS, never
            _say(ENDED)
            os.write(told, b"!")
        if now >= kills:
            os.kill(parent, signal.SIGKILL)
        left = min(says, ends, kills) - now
        if not select.select([heard], [], [], None if left == never else max(left, 0.0))[0]:
            continue
        if not os.read(heard, 512):
            return
        now, before = time.monotonic(), last
        last = now
        if before == -never:
            says, ends = now + SILENT_SECONDS, now + PATIENCE_SECONDS
        elif now - before > ECHO_SECONDS and kills == never:
            ends = min(ends, now + UNWIND_SECONDS)


def _say(text: str) -> None:
    """A line on stderr, if it has room: nothing waits for a reader."""
    with contextlib.suppress(OSError):
        if select.select([], [2], [], 0)[1]:
            os.write(2, text.encode())
