"""Writing files so that an interruption or a full disk never leaves a half-written one behind."""

import contextlib
import os
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

_YOUNG = 60.0
_PART = re.compile(r"\..+\.[0-9a-f]{16}\.part", re.DOTALL)


def write_atomically(path: Path | str, write: Callable[[BinaryIO], None]) -> None:
    """Call ``write`` on a temporary file beside ``path``, flush it to disk and move it into place.

    Readers see the old file or the new one, never a part. On any failure the temporary file is removed and ``path``
    is as before.

    Raises:
        OSError: the folder is missing or read-only, or the disk is full.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{os.urandom(8).hex()}.part")
    try:
        # Opened for exclusive creation, with the permissions that the umask gives any new file.
        with temporary.open("xb") as file:
            with contextlib.suppress(OSError):
                lock(file.fileno())
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def lock(descriptor: int) -> bool:
    """Lock an open file or folder until it is closed, be it by a kill; False where somebody else has done so.

    Raises:
        OSError: this system cannot lock it.
    """
    if sys.platform == "win32":
        raise OSError("files cannot be locked here")
    import fcntl

    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def remove_abandoned(folder: Path) -> None:
    """Remove the temporary files that killed processes left in a folder; those still being written are locked."""
    with contextlib.suppress(OSError):
        for path in [*folder.iterdir()]:
            if _PART.fullmatch(path.name) and path.is_file() and not path.is_symlink():
                with contextlib.suppress(OSError), path.open("r+b") as file:
                    # One that is empty may have been made this moment and not be locked yet.
                    found = path.stat()
                    if (found.st_size or time.time() - found.st_mtime > _YOUNG) and lock(file.fileno()):
                        path.unlink()
