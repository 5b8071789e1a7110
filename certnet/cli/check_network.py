"""The part of ``certnet check`` that is about networks: robustness and Lipschitz certificates."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from certificates import Certificate, Lipschitz, Verdict, check
from certnet.cli.report import finite, head
from certnet.cli.show import NONE, down, up
from certnet.io import read_relu_network
from certnet.io.vnnlib import read_vnnlib
from formulations import InputError
from formulations.network import ReluNetwork
from formulations.robustness import InputRegion, OutputRow, UnsafeCase

if TYPE_CHECKING:
    from certnet.cli.check import CheckOptions

SHOWN, SHOWN_TERMS = 3, 40
"""Regions that are named in the text, and terms of functions of outputs."""


def examine(path: Path, certificate: Certificate, options: "CheckOptions") -> dict[str, Any]:
    """Check one certificate; the object that ``certnet check`` prints.

    Raises:
        InputError: the certificate is about another network or property than the given ones.
    """
    about_slope = isinstance(certificate.statement, Lipschitz)
    return (_lipschitz if about_slope else _robustness)(path, certificate, options)


def _robustness(path: Path, certificate: Certificate, options: "CheckOptions") -> dict[str, Any]:
    notes = [] if options.network is None else compare_network(certificate.network, options.network)
    stated = None if options.stated is None else compare_property(certificate, options.stated)
    report = check(certificate, arithmetic=options.arithmetic, time_limit=options.time_limit)
    return {
        **_head(report.verdict, report.reason, certificate.network, path, options),
        "notes": notes,
        "lower_bound": finite(report.margin),
        "margin": finite(report.margin),
        "property": {
            "cases": len(certificate.cases),
            "rows": sum(len(case.H) for case in certificate.cases),
            "regions": _distinct([region_fields(case.region) for case in certificate.cases]),
            "compared_with": options.stated,
            "cases_compared": stated,
        },
        "leaves": {"linear": report.linear_leaves, "semidefinite": report.semidefinite_leaves},
        "arithmetic": report.arithmetic,
        "seconds": finite(report.seconds),
    }


def _lipschitz(path: Path, certificate: Certificate, options: "CheckOptions") -> dict[str, Any]:
    if options.stated is not None:
        raise InputError(f"{path} is about a Lipschitz constant; leave --property out.")
    notes = [] if options.network is None else compare_network(certificate.network, options.network)
    report = check(certificate, arithmetic=options.arithmetic, time_limit=options.time_limit)
    return {
        **_head(report.verdict, report.reason, certificate.network, path, options),
        "notes": notes,
        "constant": finite(report.constant),
        "norms": {"inputs": "l2", "outputs": "l2"},
        "function": certificate.C.tolist(),
        "region": None if certificate.region is None else region_fields(certificate.region),
        "arithmetic": report.arithmetic,
        "seconds": finite(report.seconds),
    }


def region_fields(region: InputRegion) -> dict[str, Any]:
    """A box, and a ball if there is one."""
    return {
        "lower": region.lower.tolist(),
        "upper": region.upper.tolist(),
        "centre": None if region.centre is None else region.centre.tolist(),
        "radius": region.radius,
    }


def _distinct(regions: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The regions without repetitions, in their order."""
    return [region for i, region in enumerate(regions) if region not in regions[:i]]


def _head(verdict: Verdict, reason: str, network: ReluNetwork, path: Path, options: "CheckOptions") -> dict[str, Any]:
    from certnet.jobs.doctor import versions

    return {
        **head("check", None, reason),
        "verdict": str(verdict),
        "network": {
            "inputs": network.inputs,
            "width": network.width,
            "outputs": network.outputs,
            "compared_with": options.network,
        },
        "files": {"certificate": str(path)},
        "versions": versions(),
    }


def network_lines(found: Mapping[str, Any]) -> dict[str, str]:
    """What people see of one report: what was found, and the theorem that it is about."""
    copy = "the copy inside the certificate"
    parts = {name: found[name]["compared_with"] for name in ("network", "property") if name in found}
    follows = {"network": f"equal to {copy}", "property": f"implied by {copy}"}
    lines = {"verdict": found["verdict"], "reason": found["reason"]}
    if "constant" in found:
        lines["constant"] = NONE if found["constant"] is None else up(found["constant"])
        lines["claim"] = "the function differs by at most the constant times the l2 distance of two inputs"
        lines["function"] = _functions(found["function"])
        lines["inputs"] = _inputs(found["region"])
    else:
        leaves, stated = found["leaves"], found["property"]
        lines["margin"] = NONE if found["margin"] is None else down(found["margin"])
        lines["claim"] = "at every input of each case some of its output rows is at least the margin, so none is unsafe"
        lines["cases"] = f"{stated['cases']} ({stated['rows']} output rows in all)"
        lines["inputs"] = "; or ".join(_inputs(region) for region in stated["regions"][:SHOWN])
        if len(stated["regions"]) > SHOWN:
            lines["inputs"] += f"; and {len(stated['regions']) - SHOWN} regions more (--json lists them)"
        lines["leaves"] = f"{leaves['linear']} linear, {leaves['semidefinite']} semidefinite"
    compared = {
        name: f"{copy}, compared with nothing (--{name} compares it)" if other is None else f"{other}, {follows[name]}"
        for name, other in parts.items()
    }
    if "network" in compared:
        shape = "{inputs} inputs, {width} neurons, {outputs} outputs".format(**found["network"])
        compared["network"] = f"{shape}; {compared['network']}"
    notes = {"note": " ".join(found["notes"])} if found.get("notes") else {}
    return {**lines, "arithmetic": found["arithmetic"], **compared, **notes}


def _functions(C: Sequence[Sequence[float]]) -> str:
    """The functions of the outputs that a constant is about."""
    if len(C) > 1 and np.array_equal(np.array(C), np.eye(len(C))):
        return "all outputs, in l2"
    if sum(value != 0 for row in C for value in row) > SHOWN_TERMS:
        return f"{len(C)} functions of {len(C[0])} outputs (--json lists them)"
    return ", ".join(
        " + ".join(f"{_coefficient(value)}y_{j}" for j, value in enumerate(row) if value) or "0" for row in C
    )


def _coefficient(value: float) -> str:
    """In all its digits, for the constant belongs to no other number."""
    return f"{value!r}·".replace(".0·", "·")


def _inputs(region: Mapping[str, Any] | None) -> str:
    """Where a constant holds; sizes are shown no larger than they are."""
    if region is None:
        return "all"
    lower, upper = np.array(region["lower"]), np.array(region["upper"])
    box = f"a box in {len(lower)} dimensions, {down(float((upper - lower).max()))} wide at most"
    if region["radius"] is None:
        return f"those of {box} (--json lists it)"
    centre, radius = np.array(region["centre"]), region["radius"]
    ball = f"a ball in {len(lower)} dimensions of radius {down(radius)}"
    if ((lower <= centre - radius) & (upper >= centre + radius)).all():
        return f"those of {ball} (--json lists its centre)"
    return f"those of {ball} that lie in {box} as well (--json lists both)"


def compare_network(own: ReluNetwork, path: str) -> list[str]:
    """Insist that the certificate is about the network of this file; returns what is to be said of how it was read.

    Raises:
        InputError: it is not, or the file cannot be read.
    """
    given = read_relu_network(path)
    names = ("hidden", "hidden_bias", "output", "output_bias")
    if not all(np.array_equal(getattr(given, name), getattr(own, name)) for name in names):
        raise InputError(f"The certificate is about another network than {path}; pass the one it was made for.")
    return [] if given.note is None else [given.note]


def compare_property(certificate: Certificate, path: str) -> int:
    """Insist that what the certificate claims implies the property of this file; returns the number of its cases.

    Every case of the file has to lie in one of the certificate's: the box in its region, and where the file's rows hold
    the other's have to. That is decided in rational arithmetic, between the numbers of the two files.

    Raises:
        InputError: it does not, or the file cannot be read.
    """
    stated, own = read_vnnlib(path, certificate.network), certificate.cases
    for number, case in enumerate(stated.cases):
        # The one at the same place, as a rule.
        if not any(_covers(other, case) for other in [*own[number : number + 1], *own]):
            raise InputError(f"The certificate is about another property than {path}; pass the one it was made for.")
    return len(stated.cases)


def _covers(own: UnsafeCase, stated: UnsafeCase) -> bool:
    """Whether the unsafe points of ``stated`` are among those of ``own``: each row of that follows from one of this."""
    a, b = own.region, stated.region
    if a.has_ball or b.has_ball or a.inputs != b.inputs:
        return False
    # The file's box is rounded to the next float64 numbers, so that comparing with these compares with the exact sides.
    inside = bool((a.lower <= b.lower).all() and (b.upper <= a.upper).all())
    # Rounded rows hold on the box wherever those of the text do.
    given = stated.rows if stated.stated is None else (*stated.rows, *stated.float_rows)
    return inside and all(any(_follows(row, other) for other in given) for row in own.rows)


def _follows(row: OutputRow, given: OutputRow) -> bool:
    """Whether ``row`` holds wherever ``given`` does, because it is a multiple of it with no larger constant."""
    if not row.weights:
        return row.constant <= 0
    weights, others = dict(row.weights), dict(given.weights)
    if weights.keys() != others.keys():
        return False
    j, weight = row.weights[0]
    factor = weight / others[j]
    same = factor > 0 and all(weights[k] == factor * value for k, value in others.items())
    return same and row.constant <= factor * given.constant
