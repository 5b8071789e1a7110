"""``certnet lipschitz``: constants over all inputs, or near the rows of data."""

from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
import typer

from certificates import Verdict
from certnet.cli.limits import began, seconds_or_none, shares
from certnet.cli.options import Drop, Json, Network, NoFeature, Norm, Rows, Target
from certnet.cli.output import Exit, head, place_for, with_headline, write_proof
from certnet.cli.rows import Subject, parse_rows, read_features
from certnet.cli.show import Live, first_line, stderr_console
from certnet.io.output import print_result
from certnet.runtime.wording import down, up
from formulations import InputError
from formulations._validation import FloatArray
from formulations.robustness import InputRegion, region_maker

ALL_OUTPUTS = "all outputs"


def lipschitz(
    network: Network,
    output: Annotated[
        int | None, typer.Option(help="One output, counted from 0; by default each of them, and all of them in l2.")
    ] = None,
    pair: Annotated[str | None, typer.Option(metavar="I,J", help="The difference of two outputs instead.")] = None,
    local: Annotated[
        str | None,
        typer.Option(
            metavar="DATA",
            help="A constant for each row of these data, on the inputs around it; by default of all outputs in l2. "
            "Data as for certnet verify (test rows where the file has them; features as they are in the file).",
        ),
    ] = None,
    radius: Annotated[float | None, typer.Option(help="With --local: how far around a row, 0 or more.")] = None,
    norm: Annotated[Norm | None, typer.Option(help="With --local: in which norm; l2 by default.")] = None,
    rows: Rows = None,
    target: Target = None,
    weight_column: NoFeature = None,
    drop: Drop = None,
    plain: Annotated[bool, typer.Option("--lipsdp", help="LipSDP alone, without products of signs.")] = False,
    time_limit: Annotated[float, typer.Option(help="Seconds for all constants together; 0 for no limit.")] = 50.0,
    certificate: Annotated[
        str | None,
        typer.Option(
            metavar="FILE", help="Where the proof is written, with --output or --pair; else a folder for all proofs."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the sampled gradients.")] = 0,
    json: Json = False,
) -> int:
    """Prove how much outputs change at most for each unit of change of the input in l2: anywhere, or near rows."""
    started, limit = began(), seconds_or_none(time_limit)
    size: dict[str, Any] = {"norm": None if local is None else norm or "l2", "radius": radius}
    subject = Subject.named(network)
    # What is asked: the label of the line, function of the outputs, name of its file, row and region.
    questions: list[tuple[str, FloatArray, str, int | None, InputRegion | None]]
    if local is None:
        given = {"radius": radius, "norm": norm, "rows": rows, "target": target, "weight-column": weight_column}
        given["drop"] = drop
        for name, value in given.items():
            if value is not None:
                raise InputError(f"--{name} goes with --local DATA; without data the constant is about all inputs.")
        read = subject.read.on()
        questions = [(*each, None, None) for each in functions_of(read.outputs, output, pair)]
    else:
        if radius is None:
            raise InputError("--local needs --radius R, which says how far around each row the constant is to hold.")
        recipe = subject.recipe(local, target=target, weight_column=weight_column, drop=drop)
        read, X = read_features(subject, recipe)
        # Without a choice there is one constant a row, that of all outputs, which comes last.
        function, C, _ = functions_of(read.outputs, output, pair)[-1]
        make = region_maker(str(size["norm"]))
        questions = [(function, C, f"row-{row}.cert", row, make(X[row], radius)) for row in parse_rows(rows, len(X))]
    alone = local is None and len(questions) == 1
    place = None if certificate is None else place_for(certificate, "--certificate", folder=not alone)

    from certnet.jobs.lipschitz import lipschitz_constant

    titles = ["proved constant", "sampled", "product bound", *([] if local is None else ["unstable"]), "verdict"]
    labels = [function if row is None else str(row) for function, _, _, row, _ in questions]
    labels = ["function" if local is None else "row", *labels]
    widths = [max(map(len, labels)), *(max(len(title), 12) for title in titles[:3]), 0 if local is None else 8, 0]

    def show(cells: Sequence[str]) -> None:
        if not json:
            line = "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=False))
            print_result({}, [line.rstrip()], as_json=False)

    show([labels[0], *titles])
    entries: list[dict[str, Any]] = []
    console, seconds = stderr_console(), shares(limit, started, len(questions))
    with Live(console, enabled=True, time_limit=limit) as live:
        for label, (function, C, file, row, region) in zip(labels[1:], questions, strict=True):
            about = label if row is None else f"row {row}"
            count = f"({len(entries) + 1} of {len(questions)})"
            where = {} if row is None else {"data": local, "row": row}
            result = lipschitz_constant(
                read,
                C,
                region=region,
                products=not plain,
                time_limit=next(seconds),
                random_state=seed,
                provenance={"network": subject.name, "function": function, **where},
                progress=live.part(f"{about} {count}", started),
            )
            entry = {"function": function, "row": row, **result.to_dict()}
            if place is not None and result.report.verdict is Verdict.PROVED:
                path = place if alone else place / file
                write_proof(path, result.certificate)
                entry["certificate"] = str(path)
            entries.append(entry)
            unstable = [] if row is None else [str(result.unstable)]
            verdict = str(result.report.verdict) + (" (LipSDP)" if result.note else "")
            show([label, up(result.constant), down(result.sampled), up(result.product), *unstable, verdict])
    unproved = [entry for entry in entries if entry["verdict"] != Verdict.PROVED]
    report: dict[str, Any] = {
        **head("lipschitz", None, (unproved or entries)[0]["reason"]),
        "verdict": str(Verdict.UNKNOWN if unproved else Verdict.PROVED),
        "network": subject.name,
        "data": local,
        **size,
        "bound": "LipSDP" if plain else "products of signs",
        "results": entries,
        "files": {name: entries[0][name] for name in ("certificate",) if alone and name in entries[0]},
    }
    notes = sorted({entry["note"] for entry in entries if entry["note"]} | {*read.notes})
    print_result(with_headline(report), [*notes, first_line(report)], as_json=json)
    return Exit.UNKNOWN if unproved else Exit.OK


def functions_of(count: int, output: int | None, pair: str | None) -> list[tuple[str, FloatArray, str]]:
    """(name, (r, outputs) matrix, name of its file): one output, a difference of two, or each and then all in l2.

    Raises:
        InputError: outputs that do not exist, or both options.
    """
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
        return [(f"y_{i} - y_{j}", unit[[i]] - unit[[j]], f"pair-{i}-{j}.cert")]
    if output is not None and not 0 <= output < count:
        raise InputError(f"the network has outputs 0 to {count - 1}, and there is no output {output}.")
    each = [(f"y_{k}", unit[[k]], f"output-{k}.cert") for k in range(count)]
    if output is not None:
        return [each[output]]
    return each if count == 1 else [*each, (ALL_OUTPUTS, unit, "all-outputs.cert")]
