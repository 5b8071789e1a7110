"""What ``certnet verify`` does with a VNN-LIB file: its networks, and the answer as the file's version wants it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from decimal import Context, Decimal, Inexact, localcontext
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from certificates.container import MAX_CASES
from certnet.cli.limits import job_seconds
from certnet.cli.output import BY_VERDICT, head, place_for, with_headline, write_proof
from certnet.cli.show import Live, stderr_console
from certnet.io.declared import serialised
from certnet.io.output import OutputFolder, print_result
from certnet.io.query import Query, named_files, read_query
from certnet.io.vnnlib2 import Tensor
from certnet.runtime.wording import down, up
from formulations import InputError
from formulations.network import ReluNetwork

if TYPE_CHECKING:
    from certnet.jobs.verify import VerificationResult
    from certnet.search.counterexample import Counterexample

TIMED_OUT = {"timeout": "timed-out"}
"""The words of VNN-LIB 2.0 where they are others than those of VNN-COMP."""


def asked_of(first: str, second: str | None, networks: Sequence[str], semantics: str) -> tuple[Query, dict[str, str]]:
    """The query, and the names of its files: of ``QUERY --network NAME=FILE …``, or of ``NETWORK QUERY``.

    Raises:
        InputError: the arguments are of neither form, or files cannot be read.
    """
    if second is not None and networks:
        raise InputError("with --network the VNN-LIB file is the only argument; leave the other one out.")
    query, files = (first, named_files(networks)) if second is None else (second, first)
    named = [files] if isinstance(files, str) else files.values()
    names = {"network": ", ".join(Path(file).name for file in named), "property": Path(query).name}
    return read_query(query, files, semantics=semantics), names


def answer(
    query: Query,
    names: Mapping[str, str],
    how: Mapping[str, Any],
    started: float,
    *,
    certificate: str | None,
    serialise: str | None,
    json: bool,
) -> int:
    """Decide a query and print the answer; the exit code is that of its verdict.

    Args:
        query: with its networks.
        names: of its files, for the report.
        how: options of ``certnet.verify``, its time limit being that of the whole command.
        started: when the command began.
        certificate: where a proof is written, None for nowhere.
        serialise: folder for the values of a satisfying assignment, None for stdout.
        json: whether the report is printed.
    """
    place = None if certificate is None else place_for(certificate, "--certificate", folder=False)
    if serialise is not None:
        if not query.networks:
            raise InputError("--serialise-assignments goes with VNN-LIB 2.0, which names its tensors; leave it out.")
        place_for(serialise, "--serialise-assignments", folder=True)
    if place is not None and len(query.cases) > MAX_CASES:
        raise InputError(
            f"{names['property']} has {len(query.cases)} cases, and a certificate file holds {MAX_CASES}; leave "
            "--certificate out, or split the property."
        )

    from certnet.jobs.verify import as_declared
    from certnet.jobs.verify import verify as decide

    how = {**how, "time_limit": job_seconds(how["time_limit"], started), "provenance": dict(names)}
    with Live(enabled=True, time_limit=how["time_limit"]) as live:
        result = decide(query.network, query.cases, semantics=query.semantics, **how, progress=live)
    if result.counterexample is not None:
        result = replace(result, counterexample=as_declared(query, result.counterexample))
    files: dict[str, str] = {}
    if place is not None and result.certificate is not None:
        write_proof(place, result.certificate)
        files["certificate"] = str(certificate)
    if serialise is not None and result.counterexample is not None:
        found = _assignment(query, result.counterexample)
        OutputFolder.prepare(Path(serialise)).write(
            {f"{tensor.name}.pb": serialised(tensor, values) for tensor, values in found}
        )
        files["assignments"] = serialise
    notes = {"notes": tell_notes(query.network)}
    report = {**head("verify", None, result.reason), **result.to_dict(), **names, "files": files, **notes}
    lines = _version_2(query, result, serialise) if query.networks else [result.status, *_version_1(result)]
    print_result(with_headline(report), lines, as_json=json)
    return BY_VERDICT[result.verdict]


def tell_notes(network: ReluNetwork) -> list[str]:
    """What JSON says of how the network was read, also said on stderr."""
    for note in network.notes:
        stderr_console().print(f"certnet: {note}", markup=False, soft_wrap=True)
    return list(network.notes)


def _version_2(query: Query, result: "VerificationResult", serialise: str | None) -> list[str]:
    """The word on a line of its own, and the values of a satisfying assignment unless they are in files."""
    lines = [TIMED_OUT.get(result.status, result.status)]
    if result.counterexample is None:
        stderr_console().print(f"certnet: {_because(result)}", markup=False, soft_wrap=True)
    elif serialise is None:
        for tensor, values in _assignment(query, result.counterexample):
            shape = ",".join(map(str, tensor.shape))
            lines += [f"{tensor.name} {tensor.written} [{shape}]", *(_value(tensor, value) for value in values)]
    return lines


def _assignment(query: Query, found: "Counterexample") -> Iterator[tuple[Tensor, Sequence[Fraction]]]:
    """All declared tensors in order, with the values of their entries row by row."""
    x, y = _point(found), [Fraction(value) for value in found.y.tolist()]
    for tensor in query.tensors:
        values = x if tensor.kind == "input" else y
        yield tensor, values[tensor.start : tensor.start + tensor.size]


def _value(tensor: Tensor, value: Fraction) -> str:
    """A number in the digits of its type; of real numbers, one that has no short decimals is rounded to float64."""
    if tensor.element == "float32":
        return str(np.float32(float(value)))
    return exact if (exact := _decimal(value)) is not None else repr(float(value))


def _version_1(result: "VerificationResult") -> list[str]:
    """What follows the first line: the counterexample as VNN-COMP wants it, or a sentence."""
    from certnet.jobs.verify import float_or

    found = result.counterexample
    if found is None:
        return [_because(result)]
    lines = [f"(X_{i} {float_or(value, _exact_text(value))})" for i, value in enumerate(_point(found))]
    lines += [f"(Y_{j} {value!r})" for j, value in enumerate(found.y.tolist())]
    return [f"({chr(10).join(lines)})"]


def _because(result: "VerificationResult") -> str:
    bound = result.lower_bound
    shown = f"; lower bound of the margin {down(bound)}" if np.isfinite(bound) else ""
    shown += f"; float32 changes an output row by at most {up(result.rounding)}" if result.rounding else ""
    return result.reason + shown


def _point(found: "Counterexample") -> Sequence[Fraction]:
    return [Fraction(value) for value in found.x.tolist()] if found.exact is None else found.exact


def _exact_text(value: Fraction) -> str:
    """A number as a decimal if it is a short one, else as a quotient in the syntax of SMT-LIB."""
    return _decimal(value) or f"(/ {value.numerator} {value.denominator})"


def _decimal(value: Fraction) -> str | None:
    """A number as a decimal of at most 40 digits, None where it has no such."""
    with localcontext(Context(prec=40, traps=[])) as context:
        decimal = Decimal(value.numerator) / Decimal(value.denominator)
        return None if context.flags[Inexact] else str(decimal)
