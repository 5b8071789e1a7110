"""``certnet verify``: a property of a file; the classes of data points are in ``verify_data``."""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Context, Decimal, Inexact, localcontext
from fractions import Fraction
from pathlib import Path
from typing import Any

from certificates import Verdict
from certificates.container import MAX_CASES
from certnet.cli.exits import BY_VERDICT
from certnet.cli.limits import began, job_seconds, seconds_or_none
from certnet.cli.proofs import proof_file, write_proof
from certnet.cli.report import finite, head
from certnet.cli.show import down, stderr_console
from certnet.io import read_relu_network
from certnet.io.output import standard_output, strict_json
from certnet.io.packed import ending
from certnet.io.vnnlib import read_vnnlib
from certnet.jobs.verify import VerificationResult, verify
from certnet.search.counterexample import Counterexample
from formulations import InputError
from formulations.network import ReluNetwork
from formulations.robustness import UnsafeCase
from formulations.rounding import nearest

PROPERTY_SECONDS = 60.0
"""Time limit of a property where none is given."""


@dataclass(frozen=True, kw_only=True)
class VerifyOptions:
    """The options of the command; ``rows`` is a range A:B or a number, and at most one of the radii is given.

    ``time_limit`` is as on the command line, 0 for none, and None where it is not there.
    """

    network: str
    subject: str
    norm: str | None
    radius: float | None
    largest_radius: float | None
    rows: str | None
    target: str | None
    time_limit: float | None
    input_limit: float | None
    certificate: str | None
    seed: int
    json: bool


def run_verify(options: VerifyOptions) -> int:
    """Verify, print, and return the exit code.

    Raises:
        InputError: anything a user can put right.
    """
    if options.seed < 0:
        raise InputError(f"--seed must be 0 or more, not {options.seed}.")
    if ending(Path(options.subject)) == ".vnnlib":
        return _run_property(options)
    from certnet.cli.verify_data import run_data

    return run_data(options)


def _run_property(options: VerifyOptions) -> int:
    started = began()
    for name, value in (
        ("--norm", options.norm),
        ("--radius", options.radius),
        ("--largest-radius", options.largest_radius),
        ("--rows", options.rows),
        ("--target", options.target),
    ):
        if value is not None:
            raise InputError(f"{name} goes with data; the property file says which inputs are meant.")
    limit = seconds_or_none(PROPERTY_SECONDS if options.time_limit is None else options.time_limit)
    network = read_relu_network(options.network)
    stated = read_vnnlib(options.subject, network)
    if options.certificate is not None:
        proof_file(options.certificate, "--certificate")
        if len(stated.cases) > MAX_CASES:
            raise InputError(
                f"{Path(options.subject).name} has {len(stated.cases)} cases, and a certificate file holds "
                f"{MAX_CASES}; leave --certificate out, or split the property."
            )
    result = verified(network, stated.cases, options, job_seconds(limit, started))
    if options.certificate is not None and result.certificate is not None:
        write_proof(Path(options.certificate), result.certificate)
    report = _report(result, network, options)
    with standard_output():
        if options.json:
            sys.stdout.write(strict_json(report) + "\n")
        else:
            sys.stdout.write(f"{report['result']}\n{_details(result)}")
    return BY_VERDICT[result.verdict]


def verified(
    network: ReluNetwork, cases: Sequence[UnsafeCase], options: VerifyOptions, seconds: float | None
) -> VerificationResult:
    """The result in at most so many seconds; the names of the files travel with the certificate."""
    return verify(network, cases, time_limit=seconds, random_state=options.seed, provenance=provenance(options))


def provenance(options: VerifyOptions) -> dict[str, str]:
    """What travels with certificates: the names of the files."""
    return {"network": Path(options.network).name, "property": Path(options.subject).name}


def status(result: VerificationResult) -> str:
    """The word of VNN-COMP for a result."""
    if result.verdict is Verdict.UNKNOWN:
        return "timeout" if result.timed_out else "unknown"
    return "unsat" if result.verdict is Verdict.PROVED else "sat"


def tell_notes(network: ReluNetwork) -> list[str]:
    """What JSON says of how the network was read, also said on stderr."""
    if network.note is None:
        return []
    stderr_console().print(f"certnet: {network.note}", markup=False, soft_wrap=True)
    return [network.note]


def _report(result: VerificationResult, network: ReluNetwork, options: VerifyOptions) -> dict[str, Any]:
    from certnet.jobs.doctor import versions

    written = options.certificate is not None and result.certificate is not None
    return {
        **head("verify", None, result.reason),
        "verdict": str(result.verdict),
        **fields(result),
        "network": Path(options.network).name,
        "property": Path(options.subject).name,
        "files": {"certificate": options.certificate} if written else {},
        "notes": tell_notes(network),
        "versions": versions(),
    }


def fields(result: VerificationResult) -> dict[str, Any]:
    """What JSON says of a property or a row."""
    found = result.counterexample
    report = result.report
    return {
        "result": status(result),
        "lower_bound": finite(result.lower_bound),
        "attacked": finite(result.attacked),
        "counterexample": None if found is None else counterexample_fields(found),
        "bounds": {"linear": result.nodes[0], "semidefinite": result.nodes[1]},
        "leaves": None
        if report is None
        else {"linear": report.linear_leaves, "semidefinite": report.semidefinite_leaves},
        "arithmetic": None if report is None else report.arithmetic,
        "seconds": finite(result.seconds),
    }


def counterexample_fields(found: Counterexample) -> dict[str, Any]:
    """What JSON says of an unsafe input: numbers that are float64 as such, others as fractions in text."""
    x = found.x.tolist() if found.exact is None else [_number(value, str(value)) for value in found.exact]
    y = [finite(value) for value in found.y.tolist()]
    return {"x": x, "y": y, "case": found.case, "margin": finite(found.margin)}


def _number(value: Fraction, otherwise: str) -> float | str:
    """A number that is a float64, or else a text for it."""
    near = nearest(value)
    return near if math.isfinite(near) and Fraction(near) == value else otherwise


def _exact_text(value: Fraction) -> str:
    """A number as a decimal if it is a short one, else as a quotient in the syntax of SMT-LIB."""
    with localcontext(Context(prec=40, traps=[])) as context:
        decimal = Decimal(value.numerator) / Decimal(value.denominator)
        return f"(/ {value.numerator} {value.denominator})" if context.flags[Inexact] else str(decimal)


def _details(result: VerificationResult) -> str:
    """What follows the first line: the counterexample as VNN-COMP wants it, or a sentence."""
    found = result.counterexample
    if found is not None:
        values = [Fraction(value) for value in found.x.tolist()] if found.exact is None else found.exact
        texts = [_number(value, _exact_text(value)) for value in values]
        lines = [f"(X_{i} {text})" for i, text in enumerate(texts)]
        lines += [f"(Y_{j} {value!r})" for j, value in enumerate(found.y.tolist())]
        return "(" + "\n".join(lines) + ")\n"
    bound = "" if finite(result.lower_bound) is None else f"; lower bound of the margin {down(result.lower_bound)}"
    return f"{result.reason}{bound}\n"
