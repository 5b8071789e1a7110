"""``certnet radius``: how far rows may move, in all inputs or in one, before a network's answer for them changes."""

from collections.abc import Sequence
from functools import partial
from typing import Annotated, Any

import numpy as np
import typer

from certificates import Verdict
from certnet.cli.boxes import AroundNorm
from certnet.cli.calls import Answer, Call, Entries, Proofs, Seconds, Seed
from certnet.cli.limits import began, column_names
from certnet.cli.options import Drop, Json, Network, NoFeature, Rows, Target
from certnet.cli.rows import Subject, input_names, median_radius, parse_rows, reaches, read_features
from certnet.io.answers import new_rows
from certnet.runtime.wording import down, up
from formulations import InputError
from formulations._validation import as_positive


def radius(
    network: Network,
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA", help="Rows as for certnet verify; their labels, if there are any, are not read."
        ),
    ],
    norm: AroundNorm = "linf",
    largest: Annotated[
        float | None, typer.Option(metavar="R", help="Look no farther; by default 4 deviations of an input.")
    ] = None,
    feature: Annotated[
        str | None, typer.Option("--input", metavar="J|NAME", help="Only this input moves, by number or name.")
    ] = None,
    each: Annotated[bool, typer.Option("--each-input", help="A radius for each input, the others fixed.")] = False,
    tied: Annotated[
        list[str] | None,
        typer.Option(metavar="A,B,...", help="Classes that count as one, by name or number; may be given again."),
    ] = None,
    rows: Rows = None,
    target: Target = None,
    weight_column: NoFeature = None,
    drop: Drop = None,
    time_limit: Seconds = 50.0,
    certificate: Proofs = None,
    seed: Seed = 0,
    json: Json = False,
) -> int:
    """Prove how far each row may move while the network's own answer for it stays."""
    started, subject = began(), Subject.named(network)
    if each and feature is not None:
        raise InputError("--each-input and --input exclude each other; give one of them.")
    if largest is not None:
        as_positive("--largest", largest)
    if subject.read.network.outputs == 1 and not subject.read.is_binary:
        raise InputError("radii are about classes, but the network predicts numbers; certnet range is about these.")
    if target is None and weight_column is None and drop is None:
        X, *_ = new_rows(subject.read, data)
    else:
        _, X = read_features(subject, subject.recipe(data, target=target, weight_column=weight_column, drop=drop))
    read = subject.read.with_scores()
    names = [str(name) for name in subject.read.classes or range(read.outputs)]
    groups = [_tied(text, names) for text in tied or []]
    inputs = input_names(subject.read, feature)
    moving = [[j] for j in inputs] if each or feature is not None else [None]
    reach = reaches(subject.read, X)

    def ask(row: int, moved: list[int] | None, *, provenance: dict[str, Any], **how: Any) -> Answer:
        from certnet.jobs.radius import certified_radius
        from certnet.search.counterexample import exact_outputs

        y = exact_outputs(read, X[row])
        # Outputs that are equally large are the answer together.
        kept = {k for k, value in enumerate(y) if value == max(y)}
        kept = kept.union(*(group for group in groups if kept & group))
        first, *others = sorted(kept)
        found = certified_radius(
            read,
            X[row],
            first,
            tied=others,
            norm=str(norm),
            moving=moved,
            largest=float(reach[slice(None) if moved is None else moved].max()) if largest is None else largest,
            provenance={**provenance, "row": row},
            time_limit=how["time_limit"],
            random_state=how["random_state"],
        )
        attacked = f" <= attacked {up(found.attacked)}" if np.isfinite(found.attacked) else ""
        answer, where = " or ".join(names[k] for k in sorted(kept)), None if moved is None else inputs[moved[0]]
        line = f"row {row} {answer}{'' if where is None else f' in {where}'}: certified {down(found.certified)}"
        entry = {"row": row, "answer": [names[k] for k in sorted(kept)], "input": where, **found.to_dict()}
        verdict = str(Verdict.UNKNOWN if found.open else Verdict.PROVED)
        return [
            (f"{line} <= true{attacked}{'; open' if found.open else ''}", {**entry, "verdict": verdict})
        ], found.certificate

    questions = {
        f"row {row}" + ("" if moved is None else f" in x_{moved[0]}"): partial(ask, row, moved)
        for row in parse_rows(rows, len(X))
        for moved in moving
    }
    report = {"network": subject.name, "data": data, "norm": norm, "largest_radius": largest}
    return Call("radius", report, started, time_limit, certificate, json, seed).answer(read, questions, _summary)


def _tied(text: str, names: Sequence[str]) -> set[int]:
    """Numbers of the classes of an option ``--tied``."""
    chosen = column_names(text, "--tied")
    unknown = [name for name in chosen if name not in names and not (name.isdecimal() and int(name) < len(names))]
    if unknown or len(chosen) < 2:
        raise InputError(f"--tied must be two or more of the classes {', '.join(names[:12])}, not {text[:40]!r}.")
    return {names.index(name) if name in names else int(name) for name in chosen}


def _summary(entries: Entries) -> str:
    unfinished = sum(entry["open"] for entry in entries)
    return f"{median_radius([entry['certified_radius'] for entry in entries])}, {unfinished} of {len(entries)} are open"
