"""``certnet lipschitz``: constants over all inputs, or near the rows of data."""

import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from certificates import Verdict
from certnet.cli.exits import BY_VERDICT, Exit
from certnet.cli.limits import Shares, began
from certnet.cli.proofs import proof_file, proof_folder, write_proof
from certnet.cli.report import finite, head
from certnet.cli.rows import parse_rows, read_rows
from certnet.cli.show import NONE, Live, down, stderr_console, up
from certnet.io import Recipe, read_relu_network
from certnet.io.output import standard_output, strict_json
from certnet.jobs.lipschitz import LipschitzResult, lipschitz_constant
from certnet.runtime.clock import Event
from formulations import InputError
from formulations._validation import FloatArray
from formulations.network import ReluNetwork
from formulations.robustness import InputRegion, region_maker

ALL_OUTPUTS = "all outputs"
HEADER = ("proved constant", "sampled", "product bound")


@dataclass(frozen=True, kw_only=True)
class LipschitzOptions:
    """The options of the command; ``rows`` is a range A:B or a number."""

    network: str
    output: int | None
    pair: str | None
    local: str | None
    radius: float | None
    norm: str | None
    rows: str | None
    target: str | None
    plain: bool
    time_limit: float | None
    certificate: str | None
    seed: int
    json: bool


@dataclass(frozen=True, eq=False)
class Question:
    """One constant that is asked for.

    Attributes:
        name: of the function of the outputs.
        C: (r, outputs) the function.
        row: of the data, or None for all inputs.
        region: around that row.
        file: name of its certificate in a folder.
    """

    name: str
    C: FloatArray
    file: str
    row: int | None = None
    region: InputRegion | None = None


def run_lipschitz(options: LipschitzOptions) -> int:
    """Bound the Lipschitz constants, print them, and return the exit code.

    Raises:
        InputError: anything a user can put right.
    """
    started = began()
    if options.seed < 0:
        raise InputError(f"--seed must be 0 or more, not {options.seed}.")
    if options.local is None:
        for name in ("radius", "norm", "rows", "target"):
            if getattr(options, name) is not None:
                raise InputError(f"--{name} goes with --local DATA; without data the constant is about all inputs.")
        network = read_relu_network(options.network)
        questions = chosen_functions(network, options)
    else:
        network, questions = _local_questions(options)
    alone = options.local is None and len(questions) == 1
    file = folder = None
    if options.certificate is not None:
        file = proof_file(options.certificate, "--certificate") if alone else None
        folder = None if alone else proof_folder(options.certificate, "--certificate")
    table = None if options.json else _Table(questions)
    entries = []
    shares = Shares(options.time_limit, started, len(questions))
    for question, result in _shown(network, questions, options, shares):
        entry = _entry(question, result)
        place = file if folder is None else folder / question.file
        if place is not None and result.report.verdict is Verdict.PROVED:
            entry["certificate"] = str(place)
            write_proof(place, result.certificate)
        entries.append(entry)
        if table is not None:
            table.add(question, result)
    proved = all(entry["verdict"] == str(Verdict.PROVED) for entry in entries)
    notes = sorted({entry["note"] for entry in entries if entry["note"]})
    with standard_output():
        sys.stdout.write(_json(entries, options, proved, alone) if options.json else "".join(f"{n}\n" for n in notes))
    return Exit.OK if proved else BY_VERDICT[Verdict.UNKNOWN]


def _shown(
    network: ReluNetwork, questions: Sequence[Question], options: LipschitzOptions, shares: Shares
) -> Iterator[tuple[Question, LipschitzResult]]:
    """The answers; on terminals a line on stderr says which question is being worked at."""
    console, start = stderr_console(), time.monotonic()
    with Live(console, enabled=console.is_terminal) as live:
        for number, question in enumerate(questions, start=1):
            name = question.name if question.row is None else f"row {question.row}"
            live(Event(f"{name} ({number} of {len(questions)})", time.monotonic() - start))
            yield question, _answer(network, question, options, shares.take())


def _answer(
    network: ReluNetwork, question: Question, options: LipschitzOptions, seconds: float | None
) -> LipschitzResult:
    provenance: dict[str, Any] = {"network": Path(options.network).name, "function": question.name}
    if options.local is not None:
        provenance |= {"data": options.local, "row": question.row}
    return lipschitz_constant(
        network,
        question.C,
        region=question.region,
        products=not options.plain,
        time_limit=seconds,
        random_state=options.seed,
        provenance=provenance,
    )


def _local_questions(options: LipschitzOptions) -> tuple[ReluNetwork, list[Question]]:
    """The network and one question for each chosen row.

    Raises:
        InputError: data that cannot be read or are of another kind, rows that do not exist, no radius or an odd one.
    """
    assert options.local is not None
    if options.radius is None:
        raise InputError("--local needs --radius R, which says how far around each row the constant is to hold.")
    network, X, _ = read_rows(options.network, Recipe(source=options.local, target=options.target))
    if X.shape[1] != network.inputs:
        raise InputError(
            f"{options.local} has {X.shape[1]} features, but the network has {network.inputs} inputs; give data of its "
            "kind."
        )
    functions = chosen_functions(network, options)
    # Without a choice there is one constant a row, that of all outputs, which comes last.
    function, make = functions[-1], region_maker(options.norm or "l2")
    return network, [
        Question(function.name, function.C, f"row-{row}.cert", row, make(X[row], options.radius))
        for row in parse_rows(options.rows, len(X))
    ]


def chosen_functions(network: ReluNetwork, options: LipschitzOptions) -> list[Question]:
    """Functions of the outputs: one output, a difference of two, or every output and then all of them in l2.

    Raises:
        InputError: outputs that do not exist, or both options.
    """
    count, unit = network.outputs, np.eye(network.outputs)
    if options.output is not None and options.pair is not None:
        raise InputError("--output and --pair exclude each other; give one of them.")
    if options.pair is not None:
        words = options.pair.split(",")
        if len(words) != 2 or not all(word.strip().isdecimal() for word in words):
            raise InputError(f"--pair must be two outputs such as 3,7, not {options.pair!r}.")
        i, j = (int(word) for word in words)
        if i >= count or j >= count or i == j:
            raise InputError(f"--pair {options.pair} does not name two of the outputs 0 to {count - 1}.")
        return [Question(f"y_{i} - y_{j}", unit[[i]] - unit[[j]], f"pair-{i}-{j}.cert")]
    if options.output is not None:
        if not 0 <= options.output < count:
            raise InputError(f"the network has outputs 0 to {count - 1}, and there is no output {options.output}.")
        k = options.output
        return [Question(f"y_{k}", unit[[k]], f"output-{k}.cert")]
    each = [Question(f"y_{k}", unit[[k]], f"output-{k}.cert") for k in range(count)]
    return each if count == 1 else [*each, Question(ALL_OUTPUTS, unit, "all-outputs.cert")]


class _Table:
    """Lines on stdout, as soon as they are known."""

    def __init__(self, questions: Sequence[Question]) -> None:
        self._local = questions[0].row is not None
        labels = [self._label(question) for question in questions]
        first = "row" if self._local else "function"
        self._widths = [max(map(len, [first, *labels])), *(max(len(title), 12) for title in HEADER)]
        self._line([first, *HEADER, *(["unstable"] if self._local else []), "verdict"])

    def _label(self, question: Question) -> str:
        return str(question.row) if self._local else question.name

    def add(self, question: Question, result: LipschitzResult) -> None:
        constant = NONE if finite(result.constant) is None else up(result.constant)
        unstable = [str(result.unstable)] if self._local else []
        cells = [self._label(question), constant, down(result.sampled), up(result.product), *unstable]
        self._line([*cells, str(result.report.verdict) + (" (LipSDP)" if result.note else "")])

    def _line(self, cells: Sequence[str]) -> None:
        widths = [*self._widths, *([len("unstable")] if self._local else []), 0]
        with standard_output():
            text = "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
            sys.stdout.write(text.rstrip() + "\n")
            sys.stdout.flush()


def _entry(question: Question, result: LipschitzResult) -> dict[str, Any]:
    return {
        "function": question.name,
        "row": question.row,
        "verdict": str(result.report.verdict),
        "reason": result.report.reason,
        "note": result.note,
        "constant": finite(result.constant),
        "sampled": finite(result.sampled),
        "product": finite(result.product),
        "unstable": result.unstable,
        "arithmetic": result.report.arithmetic,
    }


def _json(entries: Sequence[dict[str, Any]], options: LipschitzOptions, proved: bool, alone: bool) -> str:
    from certnet.jobs.doctor import versions

    open_ones = [entry["reason"] for entry in entries if entry["verdict"] != str(Verdict.PROVED)]
    files = {"certificate": entries[0]["certificate"]} if alone and "certificate" in entries[0] else {}
    report = {
        **head("lipschitz", None, open_ones[0] if open_ones else entries[0]["reason"]),
        "verdict": str(Verdict.PROVED if proved else Verdict.UNKNOWN),
        "network": Path(options.network).name,
        "data": options.local,
        "norm": None if options.local is None else options.norm or "l2",
        "radius": options.radius,
        "bound": "LipSDP" if options.plain else "products of signs",
        "results": list(entries),
        "files": files,
        "versions": versions(),
    }
    return strict_json(report) + "\n"
