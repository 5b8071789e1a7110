"""What all commands say in one way: exit codes, the head of every JSON object, and where proofs are written."""

import math
from enum import IntEnum
from pathlib import Path
from typing import Any

from certificates import Certificate, Report, Verdict, write_certificate
from certnet.cli.signals import INTERRUPTED as _INTERRUPTED
from certnet.io.output import OutputFolder, require_named
from formulations import InputError

SCHEMA = "certnet/1"
EPILOG = (
    "Exit codes: 0 proved or done, 1 refuted, 2 usage or bad input, 3 unknown, "
    "70 error in certnet itself, 130 interrupted."
)


class Exit(IntEnum):
    """What a calling script may rely on."""

    OK = 0
    REFUTED = 1
    USAGE = 2
    UNKNOWN = 3
    INTERNAL = 70
    INTERRUPTED = _INTERRUPTED


BY_VERDICT = {Verdict.PROVED: Exit.OK, Verdict.REFUTED: Exit.REFUTED, Verdict.UNKNOWN: Exit.UNKNOWN}


def head(command: str | None, report: Report | None, reason: str) -> dict[str, Any]:
    """The fields that every object of schema ``certnet/1`` begins with; null where nothing is known."""
    return {
        "schema": SCHEMA,
        "command": command,
        "verdict": None if report is None else str(report.verdict),
        "reason": reason,
        **{name: report and finite(getattr(report, name)) for name in ("objective", "lower_bound", "gap")},
    }


def failure(command: str | None, message: str, code: int) -> dict[str, Any]:
    """The object for a command that ended without a result."""
    return {**head(command, None, message), "error": {"exit_code": int(code), "message": message}}


def finite(value: float | None) -> float | None:
    """A float for JSON: null for NaN and infinities."""
    return None if value is None or not math.isfinite(value) else float(value)


def proof_place(name: str, option: str, *, folder: bool) -> Path:
    """A file or a folder for certificates that can be written to, tested before the work; folders are made.

    Raises:
        InputError: it has no name, is of the other kind, or its folder is missing or cannot be written to.
    """
    path = Path(name)
    if folder:
        require_named(name, option)
    elif not name.strip() or path.is_dir():
        raise InputError(f"{option} must name a file to write, not {name!r}.")
    elif not path.parent.is_dir():
        raise InputError(f"cannot write {name}: there is no folder {path.parent}; make it, or choose another place.")
    try:
        OutputFolder.prepare(path if folder else path.parent)
    except InputError as error:
        raise InputError(str(error).replace("--out", option)) from None
    return path


def write_proof(path: Path, certificate: Certificate) -> None:
    """Write a certificate.

    Raises:
        InputError: it cannot be written.
    """
    try:
        write_certificate(path, certificate)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}; choose another place.") from None
