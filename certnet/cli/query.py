"""What ``certnet verify`` does with a VNN-LIB file: its networks, and the answer as the file's version wants it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from certificates import Verdict
from certificates.certificate import FLOAT32, REAL
from certificates.layout import MAX_CASES
from certnet.cli.output import BY_VERDICT, head, place_for, with_headline, write_proof
from certnet.cli.show import Live, tell
from certnet.io.output import OutputFolder, print_result
from certnet.io.query import Query, named_files, read_query, serialised
from certnet.io.vnnlib import is_version_2
from certnet.runtime.wording import down, up
from formulations import InputError
from formulations.network import ReluNetwork

if TYPE_CHECKING:
    from certnet.cli.calls import Asking
    from certnet.jobs.verify import VerificationResult
    from certnet.search.counterexample import Counterexample

SHORT, LONG = 17, 1100  # Digits of inputs that are printed; the latter hold every float64 number.
TIMED_OUT = {"timeout": "timed-out"}  # The words of VNN-LIB 2.0 where they are others than those of VNN-COMP.


def asked_of(
    first: str, second: str | None, networks: Sequence[str], semantics: str, seconds: float | None
) -> tuple[Query, dict[str, str]]:
    """The query, and the names of its files; an OutOfTimeError where reading takes longer than ``seconds``."""
    if second is not None and networks:
        raise InputError("with --network the VNN-LIB file is the only argument; leave the other one out.")
    query, files = (first, named_files(networks)) if second is None else (second, first)
    named = [files] if isinstance(files, str) else files.values()
    names = {"network": ", ".join(Path(file).name for file in named), "property": Path(query).name}
    return read_query(query, files, semantics=semantics, seconds=seconds), names


def answer(
    query: Query, names: Mapping[str, str], how: Mapping[str, Any], asking: "Asking", serialise: str | None
) -> int:
    """Decide a query and print the answer; the exit code is that of its verdict.

    ``names`` are those of its files, ``how`` are options of ``certnet.verify``, and ``serialise`` is the folder for the
    values of a satisfying assignment, None for stdout.
    """
    place = None if asking.certificate is None else place_for(asking.certificate, "--certificate", folder=False)
    if serialise is not None:
        if not query.networks:
            raise InputError("--serialise-assignments goes with VNN-LIB 2.0, which names its tensors; leave it out.")
        place_for(serialise, "--serialise-assignments", folder=True)
    if place is not None and len(query.cases) > MAX_CASES:
        raise InputError(
            f"{names['property']} has {len(query.cases)} cases, and a certificate file holds {MAX_CASES}; leave "
            "--certificate out, or split the property."
        )
    from certnet.jobs.verify import verify as decide

    how = {**how, "time_limit": asking.seconds, "provenance": dict(names)}
    with Live(enabled=True, time_limit=how["time_limit"]) as live:
        result = decide(query.network, query.cases, semantics=query.semantics, **how, progress=live)
    if result.counterexample is not None:
        result = replace(result, counterexample=result.counterexample.as_declared(query))
    notes, files = tell_notes(query.network), dict[str, str]()
    if place is not None and result.certificate is not None:
        files |= write_proof(place, result.certificate, notes)
    if serialise is not None and result.counterexample is not None:
        values = _point(result.counterexample), [Fraction(value) for value in result.counterexample.y.tolist()]
        parts = {tensor: values[tensor.kind != "input"][tensor.start :][: tensor.size] for tensor in query.tensors}
        try:
            OutputFolder.prepare(Path(serialise)).write(
                {f"{tensor.name}.pb": serialised(tensor, part) for tensor, part in parts.items()}
            )
            files["assignments"] = serialise
        except InputError as error:
            tell(f"certnet: {error}")
            notes, serialise = [*notes, str(error)], None
    report: dict[str, Any] = {}
    if asking.json:  # versions are looked up for it
        known = {**head("verify", None, result.reason), **result.to_dict(), **names}
        report = with_headline({**known, "files": files, "notes": notes})
    lines = _version_2(query, result, serialise) if query.networks else [result.status, *_version_1(query, result)]
    print_result(report, lines, as_json=asking.json)
    return BY_VERDICT[result.verdict]


def unread(query: str, *, json: bool) -> int:
    """The answer where reading took all of the time limit, as the version of the query wants it."""
    reason, later = "reading the files took all of the time limit", is_version_2(query)
    report = with_headline({**head("verify", None, reason), "result": "timeout"})
    if later:
        tell(f"certnet: {reason}")
    print_result(report, [TIMED_OUT["timeout"]] if later else ["timeout", reason], as_json=json)
    return BY_VERDICT[Verdict.UNKNOWN]


def tell_notes(network: ReluNetwork) -> list[str]:
    """What JSON says of how the network was read, also said on stderr."""
    tell(*(f"certnet: {note}" for note in network.notes))
    return list(network.notes)


def _version_2(query: Query, result: "VerificationResult", serialise: str | None) -> list[str]:
    """The word on a line of its own, and the values of a satisfying assignment unless they are in files."""
    lines, found = [TIMED_OUT.get(result.status, result.status)], result.counterexample
    if found is None:
        tell(f"certnet: {_because(result)}")
    elif serialise is None:
        values = _texts(query, found), [repr(value) for value in found.y.tolist()]
        if any(text.startswith("(") for text in values[0]):
            tell("certnet: a satisfying input is no decimal number, and is rounded here; --json has the fraction.")
            values = [repr(value) for value in found.x.tolist()], values[1]
        for tensor in query.tensors:
            lines.append(f"{tensor.name} {tensor.written} [{','.join(map(str, tensor.shape))}]")
            texts = values[tensor.kind != "input"][tensor.start : tensor.start + tensor.size]
            lines += [str(np.float32(text)) for text in texts] if tensor.element == FLOAT32 else texts
    return lines


def _version_1(query: Query, result: "VerificationResult") -> list[str]:
    """What follows the first line: the counterexample as VNN-COMP wants it, or a sentence."""
    found = result.counterexample
    if found is None:
        return [_because(result)]
    lines = [f"(X_{i} {text})" for i, text in enumerate(_texts(query, found))]
    lines += [f"(Y_{j} {value!r})" for j, value in enumerate(found.y.tolist())]
    return [f"({chr(10).join(lines)})"]


def _texts(query: Query, found: "Counterexample") -> list[str]:
    """The inputs, declared as they are, in digits that satisfy the property as they are read.

    The shortest ones that mean a float64 number mean another real number than that as a rule. They will do if the
    property holds at that one as well, which exact arithmetic decides; else all digits are written, and what has no end
    of them is rounded into the box. If that fails too, it is a quotient in the syntax of SMT-LIB.
    """
    x, region = _point(found), query.cases[found.case].region
    texts = [_decimal(value, SHORT) or repr(float(value)) for value in x]
    if query.semantics == REAL and not _reads(query, texts, x, found.case):
        texts, ends = [], (region.lower.tolist(), region.upper.tolist())
        for value, place in zip(x, query.places, strict=True):
            rises = value - Fraction(ends[0][place]) < Fraction(ends[1][place]) - value
            texts.append(_decimal(value, LONG) or str(_rounded(value, 40, ROUND_CEILING if rises else ROUND_FLOOR)))
        if not _reads(query, texts, x, found.case):
            return [_decimal(value, LONG) or f"(/ {value.numerator} {value.denominator})" for value in x]
    return texts


def _reads(query: Query, texts: Sequence[str], x: Sequence[Fraction], case: int) -> bool:
    """Whether texts of the inputs mean these or others that the case makes unsafe too, exactly."""
    from certnet.search.counterexample import confirm

    read = [Fraction(text) for text in texts]
    inputs = dict(zip(query.places, read, strict=True))
    at = tuple(inputs[place] for place in range(len(inputs)))
    return read == x or confirm(query.network, query.cases[case], at, case) is not None


def _because(result: "VerificationResult") -> str:
    bound = result.lower_bound
    shown = f"; lower bound of the margin {down(bound)}" if np.isfinite(bound) else ""
    shown += f"; float32 changes an output row by at most {up(result.rounding)}" if result.rounding else ""
    return result.reason + shown


def _point(found: "Counterexample") -> list[Fraction]:
    return [Fraction(value) for value in (found.x.tolist() if found.exact is None else found.exact)]


def _decimal(value: Fraction, digits: int) -> str | None:
    """A number as a decimal of at most so many digits, None where it has no such."""
    rounded = _rounded(value, digits, ROUND_FLOOR)
    return str(rounded) if Fraction(rounded) == value else None


def _rounded(value: Fraction, digits: int, rounding: str) -> Decimal:
    return Context(prec=digits, rounding=rounding).divide(Decimal(value.numerator), Decimal(value.denominator))
