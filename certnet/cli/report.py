"""JSON objects of schema ``certnet/1``: report.json and every ``--json`` output."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from certificates import Certificate, Report

SCHEMA = "certnet/1"


def head(command: str | None, report: "Report | None", reason: str) -> dict[str, Any]:
    """The fields that every object begins with; null where nothing is known."""
    return {
        "schema": SCHEMA,
        "command": command,
        "verdict": None if report is None else str(report.verdict),
        "reason": reason,
        "objective": None if report is None else finite(report.objective),
        "lower_bound": None if report is None else finite(report.lower_bound),
        "gap": None if report is None else finite(report.gap),
    }


def failure(command: str | None, message: str, code: int) -> dict[str, Any]:
    """The object for a command that ended without a result."""
    return {**head(command, None, message), "error": {"exit_code": int(code), "message": message}}


def check_report(
    report: "Report",
    certificate: "Certificate",
    *,
    path: Path,
    compared_with: str | None,
    rows: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """The object that ``certnet check`` prints. ``compared_with`` names the data that were found to be equal, ``rows``
    says which of them."""
    from certnet.jobs.doctor import versions

    n, d, c = certificate.shape
    return {
        **head("check", report, report.reason),
        "data": {
            "n": n,
            "d": d,
            "c": c,
            "fingerprint": certificate.data_fingerprint,
            "compared_with": compared_with,
            "rows": rows,
        },
        "loss": certificate.loss,
        "claimed": {"objective": finite(certificate.objective), "lower_bound": finite(certificate.lower_bound)},
        "gamma": finite(certificate.gamma),
        "bias": certificate.bias and bool((certificate.X[:, -1:] == 1.0).all()),
        "width": int(certificate.U.shape[1]) if certificate.U.ndim == 2 else None,
        "slack_margin": finite(report.slack_margin),
        "arithmetic": report.arithmetic,
        "seconds": finite(report.seconds),
        "files": {"certificate": str(path)},
        "versions": versions(),
    }


def finite(value: float | None) -> float | None:
    """A float for JSON: null for NaN and infinities."""
    return None if value is None or not math.isfinite(value) else float(value)
