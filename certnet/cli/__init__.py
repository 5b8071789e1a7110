"""The command line. Importing it imports neither NumPy nor solvers nor scikit-learn."""

import contextlib
import gc
import os
import sys
import threading
import time
from collections.abc import Sequence

from certnet.cli.signals import INTERRUPTED, Signals
from certnet.runtime.streams import prepare_streams

LEFT = "certnet-work"
"""Name of threads of ``certnet.runtime.abandon``."""
_STARTED = time.perf_counter() - time.process_time()
"""About when Python started. The kernel's age of the process will not do: a shell may have become this process."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code; errors become one sentence on stderr.

    Without ``argv`` this is the work of the process: it then also takes SIGTERM and SIGHUP for Ctrl-C.
    """
    signals = Signals()
    if argv is None:
        gc.disable()  # until the work begins, as imports make much that stays
        prepare_streams()
        signals.hold()
    from certnet.cli.app import run
    from certnet.runtime.clock import begin_with_process

    if argv is None:
        begin_with_process(_STARTED)
    try:
        code = run(sys.argv[1:] if argv is None else argv, signals)
    except KeyboardInterrupt:  # while the last words were written
        code = INTERRUPTED
    finally:
        signals.ignore()
    if argv is None:
        gc.freeze()  # who ends need not look for what could be freed
        if any(thread.name == LEFT for thread in threading.enumerate()):
            # A compiler that was left behind works on in a library, which must not be taken down under it.
            for stream in (sys.stdout, sys.stderr):
                with contextlib.suppress(OSError, ValueError):
                    stream.flush()
            os._exit(code)
    return code


__all__ = ["main"]
