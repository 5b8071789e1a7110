"""Files as they are, or packed with gzip as competitions ship them, never larger than a limit once unpacked."""

import gzip
import zlib
from pathlib import Path

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
