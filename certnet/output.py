"""The output folder: tested before the work, and filled with all results or none."""

import contextlib
import json
import math
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from certnet._streams import silence
from formulations import InputError

Writer = Callable[[Path], None]
"""Writes one complete file at the path it is given; may raise OSError or InputError."""


@dataclass(frozen=True)
class OutputFolder:
    """A folder that was shown to be writable. ``created`` lists the folders made for it, outermost first."""

    path: Path
    created: tuple[Path, ...]

    @classmethod
    def prepare(cls, path: Path, *, files: Sequence[str] = ()) -> "OutputFolder":
        """Make the folder and write to it once, so that a long job cannot end without a place for its results.

        Raises:
            InputError: the folder cannot be made or written to, or a folder in it has the name of one of ``files``.
        """
        for name in files:
            if (path / name).is_dir():
                raise InputError(
                    f"{path / name} is a folder where a file is to be written; move it or choose another --out."
                )
        missing = []
        current = path
        while not _exists(current):
            missing.append(current)
            current = current.parent
        folder = cls(path, tuple(reversed(missing)))
        try:
            path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=path) as probe:
                probe.write(bytes(4096))
                probe.flush()
                os.fsync(probe.fileno())
        except OSError as error:
            folder.discard()
            raise _unwritable(path, error) from None
        return folder

    def write(self, writers: Mapping[str, Writer]) -> dict[str, Path]:
        """Write every file, then move all of them into place; a failure before that leaves the folder as it was.

        Raises:
            InputError: a file cannot be written, for example on a full disk.
        """
        try:
            with self._staging() as staging:
                for name, writer in writers.items():
                    writer(staging / name)
                    _to_disk(staging / name)
                for name in writers:
                    (staging / name).replace(self.path / name)
                _to_disk(self.path)
        except (OSError, InputError) as error:
            cause = error if isinstance(error, OSError) else error.__context__
            if not isinstance(cause, OSError):
                raise
            raise _unwritable(self.path, cause) from None
        return {name: self.path / name for name in writers}

    def discard(self) -> None:
        """Remove the folders that were made for the output, as far as they are empty."""
        for folder in reversed(self.created):
            with contextlib.suppress(OSError):
                folder.rmdir()

    @contextlib.contextmanager
    def _staging(self) -> Iterator[Path]:
        """A folder on the same file system as the results, gone afterwards whatever happens."""
        staging = Path(tempfile.mkdtemp(prefix=".certnet-", dir=self.path))
        try:
            yield staging
        finally:
            shutil.rmtree(staging, ignore_errors=True)


@contextlib.contextmanager
def output_folder(path: Path, *, files: Sequence[str]) -> Iterator[OutputFolder]:
    """A tested output folder, removed again if it was new and the work failed before anything was written.

    Raises:
        InputError: as ``OutputFolder.prepare``.
    """
    folder = OutputFolder.prepare(path, files=files)
    try:
        yield folder
    except BaseException:
        folder.discard()
        raise


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
            raise InputError(sentence) from None
        if not gone:
            sys.stderr.write(f"certnet: {sentence}\n")


def strict_json(value: Mapping[str, Any], *, indent: int | None = 2) -> str:
    """JSON text without NaN or Infinity tokens; null stands for them."""
    return json.dumps(_finite(value), indent=indent, allow_nan=False, ensure_ascii=False)


def json_writer(value: Mapping[str, Any]) -> Writer:
    """A writer of ``strict_json`` text."""
    text = strict_json(value) + "\n"
    return lambda path: _write_text(path, text)


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _finite(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(entry) for entry in value]
    return value


def _exists(path: Path) -> bool:
    # lexists: a dangling link is there, and mkdir will say what is wrong with it.
    return os.path.lexists(path)


def _to_disk(path: Path) -> None:
    """Flush a file, or where the system allows it a folder, to the disk."""
    if path.is_dir() and os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _unwritable(path: Path, error: OSError) -> InputError:
    return InputError(f"The folder {path} cannot be written to ({error.strerror or error}); choose another with --out.")
