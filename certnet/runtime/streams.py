"""Standard streams that may be closed or full, or whose readers may have gone, without harm to anything else."""

import codecs
import contextlib
import io
import json
import os
import sys
from collections.abc import Iterator, Mapping
from typing import Any, TextIO

ESCAPES = "certnet-escapes"


def prepare_streams() -> None:
    """Put the null device in place of closed streams, and let stdout write what its encoding lacks as JSON escapes.

    For a process at its start: else the first file to be opened would take the place of a closed stream, and whatever
    libraries print would end up in it.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
    sys.stdout = sys.stdout or _nowhere()
    sys.stderr = sys.stderr or _nowhere()
    codecs.register_error(ESCAPES, _escapes)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors=ESCAPES)


def _nowhere() -> TextIO:
    return open(os.devnull, "w", encoding="utf-8")  # noqa: PTH123 - it stays open as long as the process


def _escapes(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    units = error.object[error.start : error.end].encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[k]:02x}{units[k + 1]:02x}" for k in range(0, len(units), 2)), error.end


class Guarded(io.TextIOBase):
    """Passes text on to a stream while that is possible; falls silent for good where it fails, or without one."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        self._try("write", text)
        return len(text)

    def flush(self) -> None:
        self._try("flush")

    def isatty(self) -> bool:
        return bool(self._try("isatty"))

    def fileno(self) -> int:
        return super().fileno() if self._stream is None else self._stream.fileno()

    @property
    def encoding(self) -> str:  # type: ignore[override]
        return getattr(self._stream, "encoding", None) or "utf-8"

    def _try(self, name: str, *arguments: str) -> Any:
        if self._stream is not None:
            try:
                return getattr(self._stream, name)(*arguments)
            except (OSError, ValueError):  # ValueError: it is closed
                silence(self._stream)
                self._stream = None
        return None


def silence(stream: TextIO) -> None:
    """Send what a stream still holds, and all that follows, nowhere; else Python would complain once more at exit."""
    with contextlib.suppress(OSError, ValueError):
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


@contextlib.contextmanager
def standard_output(*, needed: bool = False) -> Iterator[None]:
    """Surrounds writing to stdout and flushes it. A stdout that fails loses its text, and nothing else.

    A sentence on stderr says so, unless its reader has gone, who wants no more. From then on stdout is silent.

    Args:
        needed: this text is all that the command is for, so that a failure is an error.

    Raises:
        InputError: stdout is needed and cannot be written to, for example on a full disk.
        BrokenPipeError: it is needed, and whoever read it has gone.
    """
    try:
        yield
        sys.stdout.flush()
    except OSError as error:
        silence(sys.stdout)
        gone = isinstance(error, BrokenPipeError)
        if gone and needed:
            raise
        reason = error.strerror or error
        sentence = f"The standard output cannot be written to ({reason}); send it somewhere else."
        if needed:
            from formulations import InputError  # brings NumPy, which --help does without

            raise InputError(sentence) from None
        if not gone:
            sys.stderr.write(f"certnet: {sentence}\n")


def strict_json(value: Mapping[str, Any]) -> str:
    """JSON text without NaN or Infinity tokens; null stands for them."""
    from certificates.findings import strict  # brings NumPy, which --help does without

    return json.dumps(strict(value), indent=2, allow_nan=False, ensure_ascii=False)
