"""``certnet check``."""

import contextlib
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np

from certificates import Lipschitz, Training, Verdict, checker, read_certificate
from certificates.arithmetic.matrix import Arithmetic
from certificates.findings import proved, stated
from certnet.cli.limits import seconds_or_none
from certnet.cli.options import JSON, run_names
from certnet.cli.output import BY_VERDICT, SEVERITY, Exit, failure, head, with_headline
from certnet.cli.parsing import argument, option
from certnet.cli.show import Live, first_line
from certnet.io.output import print_result
from certnet.runtime.clock import Event
from certnet.runtime.wording import NONE, down, percent, up
from formulations import InputError

LOSSES = {
    "squared": "½(f − y)²",
    "cross-entropy": "log Σ exp f_k − f_y",
    "logistic": "log(1 + exp(−yf))",
    "hinge": "(1 − yf)₊",
    "squared-hinge": "½(1 − yf)₊²",
    "huber": "½r² of r = f − y up to |r| = delta, then delta|r| − delta²/2",
    "absolute": "|f − y|",
    "quantile": "tau(y − f)₊ + (1 − tau)(f − y)₊",
    "poisson": "exp f − yf + y log y − y",
}
"""Of an output f and its target y."""
SEMANTICS = {
    "real": "real arithmetic",
    "float32": "every evaluation in float32, which changes an output row by at most {}, and real arithmetic",
}
SHOWN, SHOWN_TERMS = 3, 40  # Regions that are named in the text, and terms of functions of outputs.


def check(
    certificates: list[str] = argument(
        "CERTIFICATE...", "Certificates, or folders of runs with certificates in them.", shell_complete=run_names
    ),
    data: str | None = option("Data the certificates must be about; else those inside them are used.", metavar="DATA"),
    networks: list[str] | None = option(
        "Network that robustness certificates must be about; NAME=FILE for each one that --property declares.",
        "--network",
        metavar="NETWORK",
    ),
    property_file: str | None = option(
        "VNN-LIB file that robustness certificates must be about.", "--property", metavar="FILE"
    ),
    arithmetic: str = option(
        "How to compute: rational, ball or verified floating point; auto aims at about a second.",
        default=str(Arithmetic.AUTO),
        type=click.Choice([*map(str, Arithmetic)]),
    ),
    time_limit: float = option(
        "Seconds for each file, after which its proof is given up as UNKNOWN; 0 for no limit.", default=600.0
    ),
    json: bool = JSON,
) -> int:
    """Prove the bounds of certificates again, with no solver."""
    from certnet.io.runs import certificates_in, find_run

    how = {"arithmetic": Arithmetic(arithmetic), "time_limit": seconds_or_none(time_limit)}
    results: list[dict[str, Any]] = []
    files: list[Path] = []
    for given in certificates:
        folder = None if Path(given).is_file() else find_run(given)
        files += [Path(given)] if folder is None else certificates_in(folder)
    started = time.perf_counter()
    # After Ctrl-C those that are done are a result.
    with contextlib.suppress(KeyboardInterrupt), Live(enabled=len(files) > 1) as live:
        for path in files:
            count = sum(found["verdict"] == Verdict.PROVED for found in results)
            name = f"certificate {len(results) + 1} of {len(files)}"
            live(Event(name, time.perf_counter() - started, known=f"{count} are proved"))
            try:
                results.append(_examine(path, data, networks or [], property_file, how))
            except InputError as error:
                # Of several files a broken one is a row of the table, not the end.
                if len(files) == 1:
                    raise
                results.append({**failure("check", str(error), Exit.USAGE), "files": {"certificate": str(path)}})
    if not results:
        raise KeyboardInterrupt
    interrupted = len(results) < len(files)
    report = worst = min(results, key=lambda found: SEVERITY.index(found["verdict"]))
    if len(files) > 1:
        verdicts = [found["verdict"] for found in results] + [str(Verdict.UNKNOWN)] * interrupted
        looked = f"; interrupted after {len(results)}" if interrupted else ""
        reason = f"{verdicts.count(Verdict.PROVED)} of {len(files)} certificates are proved{looked}"
        report = {**head("check", None, reason), "verdict": min(verdicts, key=SEVERITY.index)}
        report |= {"interrupted": interrupted, "results": results}
    report = with_headline(report)
    rest = _table(results) if len(files) > 1 else (f"{name:<12} {value}" for name, value in lines_of(worst).items())
    print_result(report, [first_line(report), *rest], as_json=json)
    return Exit.INTERRUPTED if interrupted else BY_VERDICT[worst["verdict"]]


def _examine(
    path: Path, data: str | None, networks: Sequence[str], property_file: str | None, how: Mapping[str, Any]
) -> dict[str, Any]:
    """Check one certificate, which has to be about the data, networks and property that are named; its JSON object."""
    from certnet.cli.agreement import compare_data, compare_network, compare_property

    certificate = read_certificate(path)
    statement, found = certificate.statement, stated(certificate)
    if isinstance(statement, Training):
        if networks or property_file is not None:
            raise InputError(f"{path} is about training data; use --data instead of --network and --property.")
        rows = None if data is None else compare_data(certificate, data)
        found["data"] |= {"compared_with": data, "rows": rows}
    else:
        if data is not None:
            raise InputError(f"{path} is about a network; use --network and --property instead of --data.")
        if isinstance(statement, Lipschitz) and property_file is not None:
            raise InputError(f"{path} is about a Lipschitz constant; leave --property out.")
        if networks and property_file is None:
            found["notes"] = compare_network(statement, networks)
        found["network"] |= {"compared_with": ", ".join(networks) or None}
        if "property" in found:
            cases = None
            if property_file is not None:
                cases, found["notes"] = compare_property(certificate, property_file, networks)
            found["property"] |= {"compared_with": property_file, "cases_compared": cases}
    report = checker.check(certificate, **how)
    known = {**head("check", report, report.reason), **found, **proved(certificate, report)}
    return {**known, "files": {"certificate": str(path)}}


def lines_of(found: Mapping[str, Any]) -> dict[str, str]:
    """What people see of one report: what was found, and the theorem that it is about; two never have the same.

    Numbers are given in all their digits, and of rows only what was seen in this run.
    """
    about: dict[str, Any]
    if "constant" in found:
        figures = {"constant": up(found["constant"])}
        about = {
            "claim": "the function differs by at most the constant times the l2 distance of two inputs",
            "function": _functions(found["function"]),
            "inputs": _inputs(found["region"]),
        }
    elif "property" in found:
        leaves, stated = found["leaves"], found["property"]
        figures, more = {"margin": down(found["margin"])}, len(stated["regions"]) - SHOWN
        inputs = "; or ".join(_inputs(region) for region in stated["regions"][:SHOWN])
        inputs += f"; and {more} regions more (--json lists them)" if more > 0 else ""
        about = {
            "claim": "at every input of each case some of its output rows is at least the margin, so none is unsafe",
            "semantics": SEMANTICS.get(found["semantics"], "unknown").format(up(found["rounding"])),
            "cases": f"{stated['cases']} ({stated['rows']} output rows in all)",
            "inputs": inputs,
            "leaves": f"{leaves['linear']} linear, {leaves['semidefinite']} semidefinite",
        }
    else:
        figures = {"lower bound": down(found["lower_bound"]), "objective": up(found["objective"])}
        figures |= {"gap": percent(found["gap"])}
        data, hidden = found["data"], found["hidden_bias"]
        counted = "" if hidden == "none" else " with the 1 of the hidden bias"
        shape = f"n = {data['n']}, d = {data['d']}{counted}, c = {data['c']}"
        copy = f"the copy inside the certificate, SHA-256 {data['fingerprint'][:12]}…"
        about = {
            "about": f"networks of every width; {shape}; gamma = {found['gamma']!r}",
            "loss": f"{found['loss']}, {LOSSES[found['loss'].partition(':')[0]]}, summed over rows and outputs",
            "decay": "gamma/2 of the squares of all weights, and of the biases that are penalised",
            "biases": f"hidden: {hidden}; output: {found['output_bias']}",
            "weights": "every row counts once",
            "data": f"{copy}; it was compared with nothing (--data compares it)",
        }
        if found["weights"] is not None:
            about["weights"] = "rows count {least!r} to {largest!r} times".format(**found["weights"])
        if data["rows"] is not None:
            about |= {"data": f"{data['compared_with']}, equal to {copy}", "rows": data["rows"]["which"]}
            about |= {name: data["rows"][name] for name in ("features", "targets", "weights")}
            about |= {"columns": f"{'. '.join(data['rows']['columns'])}."} if data["rows"]["columns"] else {}
            about |= {"note": " ".join(data["rows"]["notes"])} if data["rows"]["notes"] else {}
    copy = "the copy inside the certificate"
    for name, follows in (("network", f"equal to {copy}"), ("property", f"implied by {copy}")):
        if name in found:
            other, nothing = found[name]["compared_with"], f"compared with nothing (--{name} compares it)"
            about[name] = f"{copy}, {nothing}" if other is None else f"{other}, {follows}"
    if "network" in found:
        shape = "{inputs} inputs, {width} neurons, {outputs} outputs".format(**found["network"])
        about["network"] = f"{shape}; {about['network']}"
    notes = {"note": " ".join(found["notes"])} if found.get("notes") else {}
    first = {"verdict": found["verdict"], "reason": found["reason"], **figures, "arithmetic": _arithmetic(found)}
    return {**first, **about, **notes}


def _arithmetic(found: Mapping[str, Any]) -> str:
    """What proved the bound; a dash when no bound was proved."""
    bound = found["constant"] if "constant" in found else found["lower_bound"]
    return NONE if bound is None or not math.isfinite(bound) else str(found["arithmetic"])


def _functions(C: Sequence[Sequence[float]]) -> str:
    """The functions of the outputs that a constant is about; weights in all digits, as it belongs to no others."""
    if len(C) > 1 and np.array_equal(np.array(C), np.eye(len(C))):
        return "all outputs, in l2"
    if sum(value != 0 for row in C for value in row) > SHOWN_TERMS:
        return f"{len(C)} functions of {len(C[0])} outputs (--json lists them)"
    terms = [[f"{value!r}·y_{j}".replace(".0·", "·") for j, value in enumerate(row) if value] for row in C]
    return ", ".join(" + ".join(row) or "0" for row in terms)


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


def _table(results: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """One line a file, then one line for each failure with its reason."""
    rows = [["verdict", "lower bound", "objective", "gap", "arithmetic", "seconds", "certificate"]]
    for found in results:
        figures = down(found["lower_bound"]), up(found["objective"]), percent(found["gap"]), _arithmetic(found)
        seconds = NONE if found.get("seconds") is None else f"{found['seconds']:.2f}"
        rows.append([found["verdict"] or "UNREADABLE", *figures, seconds, found["files"]["certificate"]])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(map(str.ljust, row, widths)).rstrip()
    for found in results:
        if found["verdict"] != Verdict.PROVED:
            name, reason = found["files"]["certificate"], found["reason"]
            yield reason if Path(name).name in reason else f"{name}: {reason}"
