"""Places of certificates that commands write, tested before the work begins."""

from pathlib import Path

from certificates import Certificate, write_certificate
from certnet.io.output import OutputFolder, require_named
from formulations import InputError


def proof_file(name: str, option: str) -> Path:
    """The path of a file that can be written.

    Raises:
        InputError: it has no name, is a folder, or lies in one that is missing or read-only.
    """
    path = Path(name)
    if not name.strip() or path.is_dir():
        raise InputError(f"{option} must name a file to write, not {name!r}.")
    if not path.parent.is_dir():
        raise InputError(f"cannot write {name}: there is no folder {path.parent}; make it, or choose another place.")
    _tested(path.parent, option)
    return path


def proof_folder(name: str, option: str) -> Path:
    """A folder that can be written to; it is made where it is missing.

    Raises:
        InputError: it has no name or cannot be made or written to.
    """
    require_named(name, option)
    return _tested(Path(name), option)


def _tested(folder: Path, option: str) -> Path:
    try:
        return OutputFolder.prepare(folder).path
    except InputError as error:
        raise InputError(str(error).replace("--out", option)) from None


def write_proof(path: Path, certificate: Certificate) -> None:
    """Write a certificate.

    Raises:
        InputError: it cannot be written.
    """
    try:
        write_certificate(path, certificate)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}; choose another place.") from None
