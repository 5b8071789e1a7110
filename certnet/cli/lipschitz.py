"""``certnet lipschitz``."""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from certificates.lipschitz_file import write_lipschitz
from certificates.verdict import Verdict
from certnet.cli.exits import BY_VERDICT, Exit
from certnet.cli.report import finite, head
from certnet.cli.show import NONE, down, up
from certnet.interchange import read_relu_network
from certnet.output import standard_output, strict_json
from certnet.verification.lipschitz import LipschitzResult, lipschitz_constant
from formulations import InputError
from formulations._validation import FloatArray
from formulations.robustness import ReluNetwork


@dataclass(frozen=True, kw_only=True)
class LipschitzOptions:
    """The options of the command."""

    network: str
    output: int | None
    pair: str | None
    plain: bool
    time_limit: float | None
    certificate: str | None
    seed: int
    json: bool


def run_lipschitz(options: LipschitzOptions) -> int:
    """Bound the Lipschitz constants, print them, and return the exit code.

    Raises:
        InputError: anything a user can put right.
    """
    if options.seed < 0:
        raise InputError(f"--seed must be 0 or more, not {options.seed}.")
    network = read_relu_network(options.network)
    functions = chosen_functions(network, options)
    if options.certificate is not None and len(functions) != 1:
        raise InputError("--certificate goes with --output or --pair, for it holds one constant.")
    results = {
        name: lipschitz_constant(
            network, c, products=not options.plain, time_limit=options.time_limit, random_state=options.seed
        )
        for name, c in functions.items()
    }
    files = {}
    for result in results.values():
        if options.certificate is not None and result.report.verdict is Verdict.PROVED:
            try:
                write_lipschitz(options.certificate, result.certificate)
            except OSError as error:
                where = f"{options.certificate}: {error.strerror or error}"
                raise InputError(f"cannot write {where}; choose another place.") from None
            files["certificate"] = options.certificate
    proved = all(result.report.verdict is Verdict.PROVED for result in results.values())
    with standard_output():
        sys.stdout.write(_json(results, options, files, proved) if options.json else _table(results))
    return Exit.OK if proved else BY_VERDICT[Verdict.UNKNOWN]


def chosen_functions(network: ReluNetwork, options: LipschitzOptions) -> dict[str, FloatArray]:
    """Functions of the outputs by name: one output, a difference of two, or every output.

    Raises:
        InputError: outputs that do not exist, or both options.
    """
    count, unit = network.outputs, np.eye(network.outputs)
    if options.output is not None and options.pair is not None:
        raise InputError("--output and --pair exclude each other; give one of them.")
    if options.pair is not None:
        words = options.pair.split(",")
        if len(words) != 2 or not all(word.strip().isdigit() for word in words):
            raise InputError(f"--pair must be two outputs such as 3,7, not {options.pair!r}.")
        i, j = (int(word) for word in words)
        if i >= count or j >= count or i == j:
            raise InputError(f"--pair {options.pair} does not name two of the outputs 0 to {count - 1}.")
        return {f"y_{i} - y_{j}": unit[i] - unit[j]}
    if options.output is not None:
        if not 0 <= options.output < count:
            raise InputError(f"the network has outputs 0 to {count - 1}, and there is no output {options.output}.")
        return {f"y_{options.output}": unit[options.output]}
    return {f"y_{k}": unit[k] for k in range(count)}


def _table(results: dict[str, LipschitzResult]) -> str:
    rows = [("function", "proved constant", "sampled", "product bound", "verdict")]
    for name, result in results.items():
        constant = NONE if finite(result.constant) is None else up(result.constant)
        rows.append((name, constant, down(result.sampled), up(result.product), str(result.report.verdict)))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n" for row in rows
    )


def _json(results: dict[str, LipschitzResult], options: LipschitzOptions, files: dict[str, str], proved: bool) -> str:
    from certnet.doctor import versions

    first = next(iter(results.values()))
    entries = [
        {
            "function": name,
            "verdict": str(result.report.verdict),
            "reason": result.report.reason,
            "constant": finite(result.constant),
            "sampled": finite(result.sampled),
            "product": finite(result.product),
            "arithmetic": result.report.arithmetic,
        }
        for name, result in results.items()
    ]
    report = {
        **head("lipschitz", None, first.report.reason),
        "verdict": str(Verdict.PROVED if proved else Verdict.UNKNOWN),
        "network": Path(options.network).name,
        "bound": "LipSDP" if options.plain else "products of signs",
        "results": entries,
        "files": files,
        "versions": versions(),
    }
    return strict_json(report) + "\n"
