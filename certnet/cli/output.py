"""What all commands say in one way: exit codes, the head of every JSON object, and where proofs are written."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from certificates import Certificate, Report, findings
from certnet.cli.commands import Exit as Exit
from certnet.cli.show import first_line, stderr_console, tell
from certnet.io.output import OutputFolder, Writer, json_writer, print_result, require_named, writing
from certnet.runtime.headline import headline
from certnet.runtime.machine import versions
from formulations import InputError

if TYPE_CHECKING:
    from rich.table import Table

    from certnet.cli.options import Shown

BY_VERDICT: dict[str | None, Exit] = {verdict: Exit(code) for verdict, code in findings.EXIT_CODES.items()}
"""What a verdict means to a calling script; None is bad input."""
SEVERITY = tuple(BY_VERDICT)  # Of several verdicts, the first of these is that of the whole.


def head(command: str | None, report: Report | None, reason: str) -> dict[str, Any]:
    """The fields that every object of schema ``certnet/1`` has; null where nothing is known."""
    return findings.head(command, versions(), report, reason)


def with_headline(report: Mapping[str, Any]) -> dict[str, Any]:
    """The object with the sentence that says what it means."""
    return {**report, "headline": headline(report).text}


def failure(command: str | None, message: str, code: int) -> dict[str, Any]:
    """The object for a command that ended without a result."""
    return {**head(command, None, message), "error": {"exit_code": int(code), "message": message}}


def place_for(name: str, option: str, *, folder: bool) -> Path:
    """A file or a folder that can be written to, tested before the work and refused if not; folders are made."""
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


def write_proof(path: Path, certificate: Certificate, notes: list[str]) -> dict[str, str]:
    """Write a certificate; returns where it is, for ``files``. A note says where that fails, which costs no answer."""
    from certificates import write_certificate

    try:
        with writing(path):
            write_certificate(path, certificate)
    except InputError as error:
        notes.append(f"There is no {path.name}: {error}")
        tell(f"certnet: {notes[-1]}")
        return {}
    return {"certificate": str(path)}


def deliver(
    folder: OutputFolder, names: Mapping[str, str], known: Mapping[str, Any], writers: Mapping[str, Writer]
) -> tuple[dict[str, Any], str | None]:
    """Write a result, whose last file is the report: what is known, headline, where the files are, and what failed.

    The report comes back, and a sentence where it is not in ``folder``.
    """
    *_, last = names.values()

    def described(place: Path | None, failures: tuple[str, ...]) -> tuple[dict[str, Any], Mapping[str, Writer]]:
        own = {} if place is None else {key: str(place / name) for key, name in names.items()}
        report = with_headline({**known, "files": own | known.get("files", {}), "notes": [*known["notes"], *failures]})
        return report, {**writers, last: json_writer(report)}

    return folder.deliver(described)


def say(
    shown: "Shown | SimpleNamespace",
    report: Mapping[str, Any],
    table: "Table",
    lines: Sequence[str],
    *,
    interrupted: str = "",
    remarks: Sequence[str] = (),
    failure: str | None = None,
    code: Exit | None = None,
) -> int:
    """Print what a job found: what it means, the figures, remarks, and last the theorem and where it is.

    Returns the exit code: this one, or that of the verdict.
    """
    if not shown.json:
        print_result(report, [first_line(report)], as_json=False)
    if not shown.quiet:
        stderr_console().print(table)
    tell(*remarks, quiet=shown.quiet)
    tell(*(f"certnet: {said}" for said in (interrupted if report.get("interrupted") else "", failure) if said))
    print_result(report, lines, as_json=shown.json)
    if report.get("interrupted"):
        return Exit.INTERRUPTED
    return BY_VERDICT[report["verdict"]] if code is None else code
