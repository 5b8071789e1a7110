"""``certnet verify``: a property of a file, or the classes of data points in a ball."""

import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from certificates.robustness_file import write_robustness
from certificates.verdict import Verdict
from certnet._packed import ending
from certnet.cli.exits import BY_VERDICT, Exit
from certnet.cli.report import finite, head
from certnet.cli.show import down
from certnet.data import Recipe
from certnet.data.load import read_source
from certnet.interchange import read_relu_network
from certnet.output import standard_output, strict_json
from certnet.verification import VerificationResult, verify
from certnet.verification.vnnlib import read_vnnlib
from formulations import InputError
from formulations.robustness import InputRegion, ReluNetwork, UnsafeCase, keeps_class

WORST = (Exit.REFUTED, Exit.UNKNOWN, Exit.OK)
MISCLASSIFIED = "misclassified"


@dataclass(frozen=True, kw_only=True)
class VerifyOptions:
    """The options of the command; ``rows`` is a range A:B or a number."""

    network: str
    subject: str
    norm: str | None
    radius: float | None
    rows: str | None
    target: str | None
    time_limit: float | None
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
    return _run_data(options)


def _run_property(options: VerifyOptions) -> int:
    for name, value in (("--norm", options.norm), ("--radius", options.radius), ("--rows", options.rows)):
        if value is not None:
            raise InputError(f"{name} goes with data; the property file says which inputs are meant.")
    network = read_relu_network(options.network)
    stated = read_vnnlib(options.subject)
    if (stated.inputs, stated.outputs) != (network.inputs, network.outputs):
        raise InputError(
            f"{Path(options.subject).name} declares {stated.inputs} inputs and {stated.outputs} outputs, but the "
            f"network has {network.inputs} and {network.outputs}; give the network it was made for."
        )
    result = _verified(network, stated.cases, options)
    if options.certificate is not None:
        _write(options.certificate, result)
    report = _report(result, options, None if options.certificate is None else options.certificate)
    with standard_output():
        if options.json:
            sys.stdout.write(strict_json(report) + "\n")
        else:
            sys.stdout.write(f"{report['result']}\n{_details(result)}")
    return BY_VERDICT[result.verdict]


def _verified(network: ReluNetwork, cases: Sequence[UnsafeCase], options: VerifyOptions) -> VerificationResult:
    provenance = {"network": Path(options.network).name, "property": Path(options.subject).name}
    return verify(network, cases, time_limit=options.time_limit, random_state=options.seed, provenance=provenance)


def _write(path: str, result: VerificationResult) -> None:
    """Write the certificate of a proved property; there is none otherwise."""
    if result.certificate is None:
        return
    try:
        write_robustness(path, result.certificate)
    except OSError as error:
        raise InputError(f"cannot write {path}: {error.strerror or error}; choose another place.") from None


def status(result: VerificationResult) -> str:
    """The word of VNN-COMP for a result."""
    if result.verdict is Verdict.UNKNOWN:
        return "timeout" if result.timed_out else "unknown"
    return "unsat" if result.verdict is Verdict.PROVED else "sat"


def _report(result: VerificationResult, options: VerifyOptions, certificate: str | None) -> dict[str, Any]:
    from certnet.doctor import versions

    return {
        **head("verify", None, result.reason),
        "verdict": str(result.verdict),
        **_fields(result),
        "network": Path(options.network).name,
        "property": Path(options.subject).name,
        "files": {} if certificate is None or result.certificate is None else {"certificate": certificate},
        "versions": versions(),
    }


def _fields(result: VerificationResult) -> dict[str, Any]:
    found = result.counterexample
    report = result.report
    return {
        "result": status(result),
        "lower_bound": finite(result.lower_bound),
        "attacked": finite(result.attacked),
        "counterexample": None
        if found is None
        else {"x": found.x.tolist(), "y": found.y.tolist(), "case": found.case, "margin": found.margin},
        "bounds": {"linear": result.nodes[0], "semidefinite": result.nodes[1]},
        "leaves": None
        if report is None
        else {"linear": report.linear_leaves, "semidefinite": report.semidefinite_leaves},
        "arithmetic": None if report is None else report.arithmetic,
        "seconds": finite(result.seconds),
    }


def _details(result: VerificationResult) -> str:
    """What follows the first line: the counterexample as VNN-COMP wants it, or a sentence."""
    found = result.counterexample
    if found is not None:
        lines = [f"(X_{i} {value!r})" for i, value in enumerate(found.x.tolist())]
        lines += [f"(Y_{j} {value!r})" for j, value in enumerate(found.y.tolist())]
        return "(" + "\n".join(lines) + ")\n"
    bound = "" if finite(result.lower_bound) is None else f"; lower bound of the margin {down(result.lower_bound)}"
    return f"{result.reason}{bound}\n"


def _run_data(options: VerifyOptions) -> int:
    start = time.perf_counter()
    if options.norm is None or options.radius is None:
        raise InputError(
            f"{options.subject!r} is no .vnnlib file, so it is read as data; then --norm linf or l2 and --radius R are "
            "needed."
        )
    data = read_source(Recipe(source=options.subject, target=options.target, task="classification"))
    X, Y = (data.X, data.Y) if data.X_test is None or data.Y_test is None else (data.X_test, data.Y_test)
    network = read_relu_network(options.network, classes=data.classes)
    if network.inputs != X.shape[1] or network.outputs != Y.shape[1]:
        raise InputError(
            f"{options.subject} has {X.shape[1]} features and {Y.shape[1]} classes, but the network has "
            f"{network.inputs} inputs and {network.outputs} outputs; give data of its kind."
        )
    make = InputRegion.linf if options.norm == "linf" else InputRegion.l2
    chosen = parse_rows(options.rows, len(X))
    make(X[0], options.radius)  # a radius that makes no sense is said before anything is written
    folder = None if options.certificate is None else _folder(options.certificate)
    results = []
    for row in chosen:
        label = int(np.argmax(Y[row]))
        entry: dict[str, Any] = {"row": row, "label": label}
        if int(np.argmax(network(X[row : row + 1])[0])) != label:
            entry |= {"verdict": None, "result": MISCLASSIFIED}
        else:
            result = _verified(network, keeps_class(network, make(X[row], options.radius), label), options)
            entry |= {"verdict": str(result.verdict), **_fields(result)}
            if folder is not None and result.certificate is not None:
                file = folder / f"row-{row}.cert"
                _write(str(file), result)
                entry["certificate"] = str(file)
        results.append(entry)
        if not options.json:
            with standard_output():
                sys.stdout.write(f"{row} {entry['result']}\n")
                sys.stdout.flush()
    return _conclude(results, options, time.perf_counter() - start)


def _folder(path: str) -> Path:
    folder = Path(path)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot write to {path}: {error.strerror or error}; choose another folder.") from None
    return folder


def _conclude(results: Sequence[Mapping[str, Any]], options: VerifyOptions, seconds: float) -> int:
    counts = dict.fromkeys(("unsat", "sat", "unknown", "timeout", MISCLASSIFIED), 0)
    for entry in results:
        counts[entry["result"]] += 1
    sentence = (
        f"{counts['unsat']} of {len(results)} rows are proved to keep their class, {counts['sat']} are refuted, "
        f"{counts['unknown'] + counts['timeout']} are open, {counts[MISCLASSIFIED]} are misclassified"
    )
    verdicts = [Verdict(entry["verdict"]) for entry in results if entry["verdict"] is not None]
    worst = Verdict.REFUTED if counts[MISCLASSIFIED] else Verdict.PROVED
    code = min([BY_VERDICT[worst], *(BY_VERDICT[verdict] for verdict in verdicts)], key=WORST.index)
    verdict = next(verdict for verdict, exit_code in BY_VERDICT.items() if exit_code is code)
    with standard_output():
        if options.json:
            from certnet.doctor import versions

            report = {
                **head("verify", None, sentence),
                "verdict": str(verdict),
                "network": Path(options.network).name,
                "data": options.subject,
                "norm": options.norm,
                "radius": options.radius,
                "counts": counts,
                "results": list(results),
                "seconds": seconds,
                "versions": versions(),
            }
            sys.stdout.write(strict_json(report) + "\n")
        else:
            sys.stdout.write(f"{sentence}.\n")
    return code


def parse_rows(text: str | None, count: int) -> range:
    """Rows of ``A:B`` (B not included, either may be missing), or of one number; all without text.

    Raises:
        InputError: it is neither, or there is no such row.
    """
    if text is None:
        return range(count)
    first, colon, last = text.partition(":")
    try:
        begin = int(first) if first else 0
        end = (int(last) if last else count) if colon else begin + 1
    except ValueError:
        raise InputError(f"--rows must be a number or a range such as 0:20, not {text!r}.") from None
    if not 0 <= begin < end <= count:
        raise InputError(f"--rows {text} does not fit; there are rows 0 to {count - 1}.")
    return range(begin, end)
