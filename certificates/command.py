"""``certnet-check CERTIFICATE...``: the checker alone, with numpy and python-flint and nothing else beneath.

Its objects are those of ``certnet check``, its exit codes too. What needs a reader of data or networks is not here.
"""

import argparse
import json
import math
import platform
import sys
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from typing import Any

from certificates.arithmetic import Arithmetic
from certificates.checker import DEFAULT_TIME_LIMIT, check
from certificates.container import read_certificate
from certificates.findings import BAD_INPUT, EXIT_CODES, head, proved, stated, strict
from certificates.report import Verdict
from formulations.errors import InputError
from formulations.text import printable

INTERRUPTED, INTERNAL = 130, 70
SHOWN = 8
"""Longer lists are in the JSON object alone."""


def main(argv: Sequence[str] | None = None) -> int:
    """Check the files and print what was found; the exit code is that of the worst verdict."""
    options = _parser().parse_args(argv)
    limit, results = options.time_limit, []
    if not (limit >= 0 and math.isfinite(limit)):
        sys.stderr.write(f"certnet-check: --time-limit must be seconds, or 0 for no limit, not {limit:g}.\n")
        return BAD_INPUT
    for name in options.certificates:
        try:
            certificate = read_certificate(name)
            report = check(certificate, arithmetic=options.arithmetic, time_limit=limit or None)
            found = {**head("check", _versions(), report, report.reason), **stated(certificate)}
            found |= proved(certificate, report)
        except (InputError, OSError) as error:
            found = {**head("check", _versions(), None, str(error)), "error": {"exit_code": BAD_INPUT}}
        except KeyboardInterrupt:
            sys.stderr.write("certnet-check: Interrupted.\n")
            return INTERRUPTED
        except Exception as error:  # noqa: BLE001 - Python itself would end with the code of a refutation
            sys.stderr.write(f"certnet-check: Unexpected {type(error).__name__} in {name}: {error}\n")
            return INTERNAL
        results.append({**found, "files": {"certificate": name}})
    verdicts = [None if found["verdict"] is None else Verdict(found["verdict"]) for found in results]
    worst = min(verdicts, key=[*EXIT_CODES].index)
    if options.json:
        count = f"{verdicts.count(Verdict.PROVED)} of {len(results)} certificates are proved"
        whole = {**head("check", _versions(), None, count), "verdict": worst, "results": results}
        text = json.dumps(strict(results[0] if len(results) == 1 else whole), indent=2, allow_nan=False)
    else:
        text = "\n".join(printable(line) for found in results for line in _lines(found))
    # What the encoding of stdout lacks is escaped.
    encoding = sys.stdout.encoding or "utf-8"
    sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    return EXIT_CODES[worst]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="certnet-check",
        description="Prove the bounds of certificates again, from the numbers inside them, with no solver.",
        epilog="Exit codes: 0 proved, 1 refuted, 2 bad input, 3 unknown; of several files the worst counts. 70 is an "
        "error in the checker itself, 130 Ctrl-C.",
    )
    parser.add_argument("certificates", nargs="+", metavar="CERTIFICATE")
    parser.add_argument("--arithmetic", choices=[*Arithmetic], default=Arithmetic.AUTO, help="default auto")
    parser.add_argument("--time-limit", type=float, default=DEFAULT_TIME_LIMIT, help="seconds a file; 0 for no limit")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout and nothing else there")
    parser.add_argument("--version", action="version", version=f"certnet-check {_version()}")
    return parser


def _version() -> str | None:
    """Of whichever of the two projects holds this file."""
    for project in ("certnet-check", "certnet"):
        try:
            return metadata.version(project)
        except metadata.PackageNotFoundError:
            continue
    return None


def _versions() -> dict[str, str | None]:
    beneath = {name: metadata.version(name) for name in ("numpy", "python-flint")}
    return {"certnet": _version(), "python": platform.python_version(), **beneath}


def _lines(found: Mapping[str, Any]) -> Iterator[str]:
    """The verdict and its reason, then every figure with all its digits."""
    yield f"{found['verdict'] or 'UNREADABLE'}  {found['files']['certificate']}: {found['reason']}"
    rest = ("schema", "command", "versions", "verdict", "reason", "files", "error")
    for name, value in _flat({key: entry for key, entry in found.items() if key not in rest}):
        yield f"  {name:<18} {value}"


def _flat(found: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    for key, value in found.items():
        name = f"{above}{key}".replace("_", " ")
        if isinstance(value, Mapping):
            yield from _flat(value, f"{name}: ")
        elif isinstance(value, list) and len(str(value)) > SHOWN * 20:
            yield name, f"{len(value)} entries (--json lists them)"
        elif value is not None:
            yield name, str(value)


if __name__ == "__main__":
    sys.exit(main())
