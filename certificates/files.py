"""Writing files so that an interruption or a full disk never leaves a half-written one behind."""

import contextlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO


def write_atomically(path: Path | str, write: Callable[[BinaryIO], None]) -> None:
    """Call ``write`` on a temporary file beside ``path``, flush it to disk and move it into place.

    Readers see the old file or the new one, never a part. On any failure the temporary file is removed and ``path``
    is as before.

    Raises:
        OSError: the folder is missing or read-only, or the disk is full.
    """
    target = Path(path)
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}.part")
    try:
        # Opened for exclusive creation, with the permissions that the umask gives any new file.
        with temporary.open("xb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(target)
    except BaseException:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
