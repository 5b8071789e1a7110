"""The output folder: tested before the work, held by one run at a time, and filled with all results or none.

The files of a result are switched together. They are complete in a hidden folder before any name changes; then every
name becomes a link that leads through one common link, first to the old files, and renaming that common link switches
all of them at once. Last, each name becomes a plain file again. So whoever opens the files finds all of the old result
or all of the new one, whenever a run was killed.
"""

import contextlib
import csv
import errno
import io
import itertools
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from certificates.files import lock, remove_abandoned, write_atomically
from certnet.io.packed import json_object
from certnet.runtime.streams import standard_output, strict_json
from certnet.runtime.wording import mapping, shortened
from formulations import InputError

Writer = Callable[[Path], object]
"""Writes one complete file at the path it is given; may raise OSError or InputError."""
Result = Callable[[Path | None, tuple[str, ...]], tuple[dict[str, Any], Mapping[str, Writer]]]
"""Gives report and writers of a result in this folder (None: in none), with these remarks among the report's notes."""
_STAGING = re.compile(r"\.certnet-\w{8,16}")
_NEW, _OLD, _NOW, _READY = "new", "old", "now", "ready"
_NO_LINKS = (errno.EPERM, errno.ENOSYS, errno.ENOTSUP, errno.EOPNOTSUPP)


@dataclass(frozen=True)
class OutputFolder:
    """A folder that was shown to be writable. ``created`` lists the folders made for it, outermost first."""

    path: Path
    created: tuple[Path, ...]

    @classmethod
    def prepare(cls, path: Path, *, files: Sequence[str] = ()) -> "OutputFolder":
        """Make the folder and write to it once, so that a long job cannot end without a place for its results."""
        for name in files:
            if (path / name).is_dir():
                raise InputError(
                    f"{path / name} is a folder where a file is to be written; move it or choose another --out."
                )
        # lexists: a dangling link is there, and mkdir will say what is wrong with it.
        missing = itertools.takewhile(lambda place: not os.path.lexists(place), (path, *path.parents))
        folder = cls(path, tuple(missing)[::-1])
        try:
            path.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=path) as probe:
                probe.write(bytes(4096))
                probe.flush()
                os.fsync(probe.fileno())
        except OSError as error:
            folder.discard()
            raise _unwritable(path, error) from None
        remove_abandoned(path)
        return folder

    def write(self, writers: Mapping[str, Writer]) -> dict[str, Path]:
        """Write every file, then switch to all of them at once; on a failure the files are as they were."""
        try:
            staging = self.path / f".certnet-{os.urandom(8).hex()}"
            staging.mkdir()
            try:
                (staging / _NEW).mkdir()
                for name, writer in writers.items():
                    writer(staging / _NEW / name)
                    _to_disk(staging / _NEW / name)
                _to_disk(staging / _NEW)
                _switch(self.path, staging, [*writers])
            finally:
                with contextlib.suppress(OSError):
                    _settle(self.path, staging)
        except (OSError, InputError) as error:
            cause = error if isinstance(error, OSError) else error.__context__
            if not isinstance(cause, OSError):
                raise
            raise _unwritable(self.path, cause) from None
        return {name: self.path / name for name in writers}

    def deliver(self, result: Result) -> tuple[dict[str, Any], str | None]:
        """Write a result here, or where that fails into a fresh folder among the system's temporary files.

        Ctrl-C asks for just that, so the first one that comes meanwhile is no reason to stop. Returns the report of
        what was written, and a sentence for the user if it is not here.
        """
        report, writers = result(self.path, ())
        try:
            try:
                self.write(writers)
            except KeyboardInterrupt:
                self.write(writers)
            return report, None
        except InputError as error:
            failed = str(error).rpartition(";")[0] or str(error)
            self.discard()
        place = None
        with contextlib.suppress(OSError, InputError):
            place = Path(tempfile.mkdtemp(prefix=f"certnet-{self.path.name}-"))
            remark = f"{failed}; the results are in {place}."
            report, writers = result(place, (remark,))
            OutputFolder(place, ()).write(writers)
            return report, remark
        if place is not None:
            shutil.rmtree(place, ignore_errors=True)
        remark = f"{failed}, nor can a folder for temporary files; no file was written."
        return result(None, (remark,))[0], remark

    def discard(self) -> None:
        """Remove the folders that were made for the output, as far as they are empty."""
        for folder in reversed(self.created):
            with contextlib.suppress(OSError):
                folder.rmdir()


@contextlib.contextmanager
def output_folder(
    path: Path, *, files: Sequence[str], command: str | None = None, source: str | None = None
) -> Iterator[OutputFolder]:
    """A tested output folder that no other run writes to meanwhile, nor another command or one about another source.

    It is removed again if it was new and the work failed before anything was written. What killed runs left half done
    is completed or removed first.
    """
    folder = OutputFolder.prepare(path, files=files)
    try:
        with _held(path):
            for entry in [*path.iterdir()]:
                if _STAGING.fullmatch(entry.name) and entry.is_dir() and not entry.is_symlink():
                    with contextlib.suppress(OSError):
                        _settle(path, entry)
            other: Mapping[str, Any] = {}
            with contextlib.suppress(InputError):
                other = json_object(path / "report.json")
            made, data = other.get("command"), mapping(mapping(other.get("data")).get("recipe")).get("source")
            if command is not None and isinstance(made, str) and made != command:
                raise InputError(f"{path} holds the results of certnet {made}; choose another --out.")
            if source is not None and isinstance(data, str) and Path(data).resolve() != Path(source).resolve():
                raise InputError(f"{path} holds a run on {shortened(data)}; choose another --out for {source}.")
            yield folder
    except BaseException:
        folder.discard()
        raise


def require_named(out: str | None, option: str = "--out") -> None:
    if out is not None and not out.strip():
        raise InputError(f"{option} names no folder; give one, or leave {option} away.")


def print_result(report: Mapping[str, Any], lines: Sequence[str], *, as_json: bool, needed: bool = False) -> None:
    """Put a report on stdout, as JSON or in these lines; ``needed`` as of ``standard_output``."""
    with standard_output(needed=needed):
        sys.stdout.write((strict_json(report) if as_json else "\n".join(lines)) + "\n")


def json_writer(value: Mapping[str, Any]) -> Writer:
    return text_writer(strict_json(value) + "\n")


@contextlib.contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Surrounds the writing of a file, and says so where it cannot be written."""
    try:
        yield
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}; choose another place.") from None


def write_file(path: Path, content: bytes) -> None:
    """Write a file that appears when it is complete; an old one stays until then."""
    with writing(path):
        write_atomically(path, lambda file: file.write(content))  # type: ignore[arg-type]


def csv_text(rows: Iterable[Iterable[Any]]) -> str:
    """A table in CSV, a line for each row."""
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue()


def text_writer(text: str) -> Writer:
    return lambda path: path.write_text(text, encoding="utf-8")


def _switch(folder: Path, staging: Path, names: Sequence[str]) -> None:
    """From one moment to the next, let all names in ``folder`` show the files in ``staging/new``."""
    (staging / _OLD).mkdir()
    for name in names:
        if (folder / name).exists():
            shutil.copy2(folder / name, staging / _OLD / name)
            _to_disk(staging / _OLD / name)
    try:
        (staging / _NOW).symlink_to(_OLD, target_is_directory=True)
    except (OSError, NotImplementedError) as error:
        if os.name != "nt" and not (isinstance(error, OSError) and error.errno in _NO_LINKS):
            raise
        # Without links some files may be missing for a moment; a kill is made good by the next run.
        (staging / _NEW).rename(staging / _READY)
        _roll_forward(folder, staging)
        return
    link, following = staging / "link", staging / "next"
    for name in names:
        link.symlink_to(Path(staging.name, _NOW, name))
        link.replace(folder / name)
    following.symlink_to(_NEW, target_is_directory=True)
    _to_disk(staging)
    _to_disk(folder)
    following.replace(staging / _NOW)
    with contextlib.suppress(OSError):
        # The switch is done, and nothing that fails from here on can undo it.
        _to_disk(staging)


def _settle(folder: Path, staging: Path) -> None:
    """Make plain files of the links into ``staging``, each with the content it shows, and remove the rest."""
    _roll_forward(folder, staging)
    for link in [*folder.iterdir()]:
        if link.is_symlink() and link.readlink().parts[0] == staging.name:
            if link.exists():
                link.resolve().replace(link)
            else:
                link.unlink()
    _to_disk(folder)
    shutil.rmtree(staging, ignore_errors=True)


def _roll_forward(folder: Path, staging: Path) -> None:
    """Move finished files to their names, after removing what is there: never old and new ones side by side."""
    ready = [*(staging / _READY).iterdir()] if (staging / _READY).is_dir() else []
    for file in ready:
        (folder / file.name).unlink(missing_ok=True)
    for file in ready:
        file.replace(folder / file.name)


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Keeps other runs out of a folder; the system lets go of it when the process ends, however it ends."""
    with contextlib.ExitStack() as stack:
        # Some systems lock no folders; then a file in it has to do.
        for path, flags in ((folder, os.O_RDONLY), (folder / ".certnet.lock", os.O_RDWR | os.O_CREAT)):
            with contextlib.suppress(OSError):
                descriptor = os.open(path, flags, 0o666)
                stack.callback(os.close, descriptor)
                if lock(descriptor):
                    break
                raise InputError(f"Another run is writing to {folder}; wait for its end or choose another --out.")
        yield


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
