"""``certnet lipschitz``: constants over all inputs, or near the rows of data."""

from functools import partial
from typing import Any

import numpy as np

from certificates import Verdict
from certnet.cli.calls import Answer, Asking, Entries
from certnet.cli.options import NETWORK, Around
from certnet.cli.parsing import option, refuse
from certnet.cli.rows import Subject, parse_rows, read_features
from certnet.runtime.wording import down, up
from formulations import InputError
from formulations._validation import FloatArray
from formulations.robustness import InputRegion, region_maker


def lipschitz(
    network: str = NETWORK,
    *,
    output: int | None = option("One output, counted from 0; by default each of them, and all of them in l2."),
    pair: str | None = option("The difference of two outputs instead.", metavar="I,J"),
    local: str | None = option(
        "A constant for each row of these data, on the inputs around it; by default of all outputs in l2. "
        "Data as for certnet verify (test rows where the file has them; features as they are in the file).",
        metavar="DATA",
    ),
    around: Around,
    plain: bool = option("LipSDP alone, without products of signs.", "--lipsdp", default=False),
    asking: Asking,
) -> int:
    """Prove how much outputs change at most for each unit of change of the input in l2: anywhere, or near rows."""
    subject, norm = Subject.named(network), None
    # What is asked by the name of its proof: the label of the line, function of the outputs, row and region.
    asked: dict[str, tuple[str, str, FloatArray, int | None, InputRegion | None]]
    if local is None:
        refuse(around, "it goes with --local DATA; without data a constant is about all inputs")
        read = subject.read.on()
        functions = functions_of(read.outputs, output, pair)
        asked = {file: (function, function, C, None, None) for function, C, file in functions}
    else:
        if around.radius is None:
            raise InputError("--local needs --radius R, which says how far around each row the constant is to hold.")
        read, X = read_features(subject, local, around.columns)
        # Without a choice there is one constant a row, that of all outputs, which comes last.
        function, C, _ = functions_of(read.outputs, output, pair)[-1]
        norm = around.norm or "l2"
        make, chosen = region_maker(norm), parse_rows(around.rows, len(X))
        asked = {f"row {row}": (str(row), function, C, row, make(X[row], around.radius)) for row in chosen}
    titles = ["proved constant", "sampled", "product bound", *([] if local is None else ["unstable"]), "verdict"]
    first = ["function" if local is None else "row", *(label for label, *_ in asked.values())]
    widths = [max(map(len, first)), *(max(len(title), 12) for title in titles[:3]), 0 if local is None else 8, 0]

    def line(*cells: str) -> str:
        return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=False)).rstrip()

    def ask(
        label: str, function: str, C: FloatArray, row: int | None, region: InputRegion | None, **how: Any
    ) -> Answer:
        from certnet.jobs.lipschitz import lipschitz_constant

        found = lipschitz_constant(read, C, region=region, products=not plain, **how)
        unstable = [] if row is None else [str(found.unstable)]
        verdict = str(found.report.verdict) + (f" (LipSDP: {found.note})" if found.note else "")
        shown = line(label, up(found.constant), down(found.sampled), up(found.product), *unstable, verdict)
        proof = found.certificate if found.report.verdict is Verdict.PROVED else None
        return [(shown, {"function": function, "row": row, **found.to_dict()})], proof

    return asking.answer(
        "lipschitz",
        read,
        {label: partial(ask, *about) for label, about in asked.items()},
        _summary,
        folder=local is not None,
        titles=[line(first[0], *titles)],
        network=subject.name,
        data=local,
        norm=norm,
        radius=around.radius,
        bound="LipSDP" if plain else "products of signs",
    )


def _summary(entries: Entries) -> str:
    """The reason of the first constant that is not proved, else of the first."""
    unproved = [entry for entry in entries if entry["verdict"] != Verdict.PROVED]
    reason: str = (unproved or entries)[0]["reason"]
    return reason


def functions_of(count: int, output: int | None, pair: str | None) -> list[tuple[str, FloatArray, str]]:
    """(name, (r, outputs) matrix, name of its proof): one output, a difference of two, or each and then all in l2."""
    unit = np.eye(count)
    if output is not None and pair is not None:
        raise InputError("--output and --pair exclude each other; give one of them.")
    if pair is not None:
        words = pair.split(",")
        if len(words) != 2 or not all(word.strip().isdecimal() for word in words):
            raise InputError(f"--pair must be two outputs such as 3,7, not {pair!r}.")
        i, j = (int(word) for word in words)
        if i >= count or j >= count or i == j:
            raise InputError(f"--pair {pair} does not name two of the outputs 0 to {count - 1}.")
        return [(f"y_{i} - y_{j}", unit[[i]] - unit[[j]], f"pair {i} {j}")]
    if output is not None and not 0 <= output < count:
        raise InputError(f"the network has outputs 0 to {count - 1}, and there is no output {output}.")
    each = [(f"y_{k}", unit[[k]], f"output {k}") for k in range(count)]
    if output is not None:
        return [each[output]]
    return each if count == 1 else [*each, ("all outputs", unit, "all outputs")]
