"""The part of ``certnet check`` that is about robustness certificates."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from certificates.robustness import RobustnessCertificate
from certificates.robustness_checker import check_robustness
from certificates.robustness_file import read_robustness
from certnet.cli.report import finite, head
from certnet.cli.show import NONE, down
from certnet.interchange import read_relu_network
from certnet.verification.vnnlib import read_vnnlib
from formulations import InputError
from formulations.robustness import InputRegion

if TYPE_CHECKING:
    from certnet.cli.check import CheckOptions


def examine_robustness(path: Path, options: "CheckOptions") -> dict[str, Any]:
    """Check one certificate; the object that ``certnet check`` prints.

    Raises:
        InputError: the file is no readable certificate, or is about another network or property than the given ones.
    """
    from certnet.doctor import versions

    certificate = read_robustness(path)
    if options.network is not None:
        compare_network(certificate, options.network)
    if options.stated is not None:
        compare_property(certificate, options.stated)
    report = check_robustness(certificate, arithmetic=options.arithmetic, time_limit=options.time_limit)
    network = certificate.network
    return {
        **head("check", None, report.reason),
        "verdict": str(report.verdict),
        "lower_bound": finite(report.margin),
        "margin": finite(report.margin),
        "network": {
            "inputs": network.inputs,
            "width": network.width,
            "outputs": network.outputs,
            "compared_with": options.network,
        },
        "property": {"cases": len(certificate.cases), "compared_with": options.stated},
        "leaves": {"linear": report.linear_leaves, "semidefinite": report.semidefinite_leaves},
        "arithmetic": report.arithmetic,
        "seconds": finite(report.seconds),
        "files": {"certificate": str(path)},
        "versions": versions(),
    }


def robustness_lines(found: dict[str, Any] | Any) -> dict[str, str]:
    """What people see of one report."""
    copy = "the copy inside the certificate"
    leaves, network, stated = found["leaves"], found["network"], found["property"]
    compared = {name: part["compared_with"] for name, part in (("network", network), ("property", stated))}
    return {
        "verdict": found["verdict"],
        "reason": found["reason"],
        "margin": NONE if found["margin"] is None else down(found["margin"]),
        "cases": str(stated["cases"]),
        "leaves": f"{leaves['linear']} linear, {leaves['semidefinite']} semidefinite",
        "arithmetic": found["arithmetic"],
        **{name: copy if other is None else f"{other}, equal to {copy}" for name, other in compared.items()},
    }


def compare_network(certificate: RobustnessCertificate, path: str) -> None:
    """Insist that the certificate is about the network of this file.

    Raises:
        InputError: it is not, or the file cannot be read.
    """
    given, own = read_relu_network(path), certificate.network
    names = ("hidden", "hidden_bias", "output", "output_bias")
    if not all(np.array_equal(getattr(given, name), getattr(own, name)) for name in names):
        raise InputError(f"The certificate is about another network than {path}; pass the one it was made for.")


def compare_property(certificate: RobustnessCertificate, path: str) -> None:
    """Insist that the certificate is about the cases of this file, in their order.

    Raises:
        InputError: it is not, or the file cannot be read.
    """
    cases = read_vnnlib(path).cases
    same = len(cases) == len(certificate.cases) and all(
        np.array_equal(a.H, b.H) and np.array_equal(a.h, b.h) and _same_region(a.region, b.region)
        for a, b in zip(cases, certificate.cases, strict=True)
    )
    if not same:
        raise InputError(f"The certificate is about another property than {path}; pass the one it was made for.")


def _same_region(a: InputRegion, b: InputRegion) -> bool:
    box = np.array_equal(a.lower, b.lower) and np.array_equal(a.upper, b.upper)
    return box and not a.has_ball and not b.has_ball
