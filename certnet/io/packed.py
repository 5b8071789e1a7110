"""Files as they are, or packed with gzip as competitions ship them, and NumPy archives; nothing is ever unpickled."""

import gzip
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from formulations import InputError

PACKED = ".gz"


def ending(path: Path) -> str:
    """The ending in lower case that says what a file holds: ``.onnx`` for ``net.onnx`` and for ``net.onnx.gz``."""
    name = path.name.lower().removesuffix(PACKED)
    return Path(name).suffix


def read_bytes(path: Path, largest: int) -> bytes:
    """The bytes of a file, unpacked where its name ends in ``.gz``.

    Raises:
        InputError: it holds more than ``largest`` bytes, or is no gzip file though its name says so.
        OSError: it cannot be read.
    """
    try:
        if path.suffix.lower() == PACKED:
            with gzip.open(path) as file:
                content = file.read(largest + 1)
        else:
            with path.open("rb") as file:
                content = file.read(largest + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error):
        raise InputError(f"{path.name} is no gzip file or was cut off; pack it again, or give it unpacked.") from None
    if len(content) > largest:
        raise InputError(f"{path.name} holds more than {largest} bytes, which is the most that certnet reads of it.")
    return content


def npz_arrays(
    path: Path, damaged: str, *, wanted: Callable[[str], bool], largest: float = np.inf
) -> tuple[tuple[str, ...], dict[str, NDArray[Any]]]:
    """The names of all arrays of an ``.npz`` file, and those arrays that are wanted.

    Args:
        path: the file.
        damaged: the sentence for a file that is no such archive.
        wanted: tells by its name whether an array is.
        largest: bytes that the archive may unpack to.

    Raises:
        InputError: it is no archive, too large, or holds pickled objects.
        OSError: it cannot be read.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if sum(member.file_size for member in archive.infolist()) > largest:
                raise InputError(f"{path.name} unpacks to more than {largest} bytes; it is no network.")
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files if wanted(name)}
            names = tuple(stored.files)
    except InputError:
        raise
    except ValueError as error:
        pickled = f"{path.name} holds pickled objects; save plain numeric or text arrays."
        raise InputError(pickled if "pickle" in str(error) else damaged) from None
    except (
        *(zipfile.BadZipFile, zlib.error, EOFError, KeyError, SyntaxError, TypeError, AttributeError),
        # Encrypted members, unknown compression, and array headers with absurd shapes.
        *(RuntimeError, OverflowError, MemoryError),
    ):
        raise InputError(damaged) from None
    if not all(isinstance(array, np.ndarray) for array in arrays.values()):
        raise InputError(damaged)
    return names, arrays
