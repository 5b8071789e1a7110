"""What a check found and what it is about, as the JSON object of ``certnet check`` and of ``certnet-check``."""

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from certificates.certificate import Certificate, Lipschitz, Robustness, Training
from certificates.report import Report, Verdict
from formulations.arrays import FloatArray

if TYPE_CHECKING:
    from formulations.robustness import InputRegion

SCHEMA = "certnet/1"
BAD_INPUT = 2
"""Exit code of a file that is no certificate."""
EXIT_CODES = {Verdict.REFUTED: 1, None: BAD_INPUT, Verdict.UNKNOWN: 3, Verdict.PROVED: 0}
"""What a verdict means to a calling script; None is bad input. Of several, the first in this order is that of all."""


def head(command: str | None, versions: Mapping[str, str | None], report: Report | None, reason: str) -> dict[str, Any]:
    """The fields that every object of schema ``certnet/1`` has; null where nothing is known."""
    return {
        "schema": SCHEMA,
        "command": command,
        "versions": versions,
        "verdict": None if report is None else str(report.verdict),
        "reason": reason,
        **{name: report and finite(getattr(report, name)) for name in ("objective", "lower_bound", "gap")},
    }


def finite(value: float | None) -> float | None:
    """A float for JSON: null for NaN and infinities."""
    return None if value is None or not math.isfinite(value) else float(value)


def strict(value: Any) -> Any:
    """The same without infinities and NaN, which JSON does not know; null stands for them."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): strict(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [strict(entry) for entry in value]
    return value


def figures(found: object, *names: str) -> Any:
    """These attributes for JSON; None of what is not there."""
    return None if found is None else {name: _plain(getattr(found, name)) for name in names}


def _plain(value: Any) -> Any:
    return value.tolist() if hasattr(value, "tolist") else value


def weights(omega: FloatArray) -> dict[str, float] | None:
    """What a report says of weights of rows; None where every row counts once."""
    if (omega == 1).all():
        return None
    return {"least": float(omega.min()), "largest": float(omega.max()), "sum": float(omega.sum())}


def stated(certificate: Certificate) -> dict[str, Any]:
    """What the certificate is about, from nothing but itself."""
    if isinstance(certificate.statement, Training):
        return _training(certificate)
    statement = certificate.statement
    network = {"network": figures(statement.network, "inputs", "width", "outputs")}
    return network | (_lipschitz(statement) if isinstance(statement, Lipschitz) else _cases(certificate))


def _training(certificate: Certificate) -> dict[str, Any]:
    n, d, c = certificate.shape
    return {
        "data": {"n": n, "d": d, "c": c, "fingerprint": certificate.data_fingerprint},
        "loss": certificate.loss,
        "weights": weights(certificate.sample_weight),
        "claimed": {"objective": certificate.objective, "lower_bound": certificate.lower_bound},
        "gamma": certificate.gamma,
        **figures(certificate, "hidden_bias", "output_bias"),
        "width": int(certificate.U.shape[1]) if certificate.U.ndim == 2 else None,
    }


def _cases(certificate: Certificate) -> dict[str, Any]:
    regions = []
    for case in certificate.cases:
        region = region_fields(case.region)
        regions += [region] if region not in regions else []
    rows = sum(len(case.H) for case in certificate.cases)
    about = {"cases": len(certificate.cases), "rows": rows, "regions": regions}
    return {"semantics": certificate.semantics, "property": about}


def _lipschitz(statement: Lipschitz) -> dict[str, Any]:
    region = None if statement.region is None else region_fields(statement.region)
    return {"norms": {"inputs": "l2", "outputs": "l2"}, "function": statement.C.tolist(), "region": region}


def region_fields(region: "InputRegion") -> dict[str, Any]:
    """A box, and a ball if there is one."""
    return figures(region, "lower", "upper", "centre", "radius")  # type: ignore[no-any-return]


def proved(certificate: Certificate, report: Report) -> dict[str, Any]:
    """The figures of a check beyond those of ``head``."""
    statement, found = certificate.statement, {"arithmetic": report.arithmetic, "seconds": report.seconds}
    if isinstance(statement, Lipschitz):
        return {"constant": report.constant, **found}
    if isinstance(statement, Robustness):
        leaves = {"linear": report.linear_leaves, "semidefinite": report.semidefinite_leaves}
        margin = {"margin": report.margin, "lower_bound": report.margin, "rounding": report.rounding}
        return {**margin, "leaves": leaves, **found}
    return found
