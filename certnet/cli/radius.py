"""``certnet radius``: how far rows may move, in all inputs or in one, before a network's answer for them changes."""

from collections.abc import Sequence
from functools import partial
from itertools import product
from typing import Any

from certnet.cli.calls import Answer, Asking, Entries
from certnet.cli.limits import column_names
from certnet.cli.options import NETWORK, ROWS, Columns, Norm
from certnet.cli.parsing import argument, option
from certnet.cli.rows import Subject, input_names, median_radius, parse_rows, reaches, read_features
from certnet.io.answers import new_rows
from formulations import InputError
from formulations._validation import as_positive


def radius(
    network: str = NETWORK,
    data: str = argument("DATA", "Rows as for certnet verify; their labels, if there are any, are not read."),
    *,
    norm: Norm = option("In which norm.", default="linf"),
    largest: float | None = option("Look no farther; by default 4 deviations of an input.", metavar="R"),
    feature: str | None = option("Only this input moves, by number or name.", "--input", metavar="J|NAME"),
    each: bool = option("A radius for each input, the others fixed.", "--each-input", default=False),
    tied: list[str] | None = option(
        "Classes that count as one, by name or number; may be given again.", metavar="A,B,..."
    ),
    rows: str | None = ROWS,
    columns: Columns,
    asking: Asking,
) -> int:
    """Prove how far each row may move while the network's own answer for it stays."""
    subject = Subject.named(network)
    if each and feature is not None:
        raise InputError("--each-input and --input exclude each other; give one of them.")
    if largest is not None:
        as_positive("--largest", largest)
    subject.require_classes("radii are")
    if columns == Columns():
        X, *_ = new_rows(subject.read, data)
    else:
        _, X = read_features(subject, data, columns)
    read = subject.read.with_scores()
    names = [str(name) for name in subject.read.classes or range(read.outputs)]
    groups = [_tied(text, names) for text in tied or []]
    inputs = input_names(subject.read, feature)
    moving = [[j] for j in inputs] if each or feature is not None else [None]
    reach = reaches(subject.read, X)

    def ask(row: int, moved: list[int] | None, *, provenance: dict[str, Any], progress: object, **how: Any) -> Answer:
        from certnet.jobs.radius import certified_radius
        from certnet.search.counterexample import exact_outputs

        y = exact_outputs(read, X[row])
        # Outputs that are equally large are the answer together.
        kept = {k for k, value in enumerate(y) if value == max(y)}
        kept = kept.union(*(group for group in groups if kept & group))
        first, *others = sorted(kept)
        how |= {"tied": others, "norm": norm, "moving": moved, "provenance": {**provenance, "row": row}}
        farthest = float((reach if moved is None else reach[moved]).max()) if largest is None else largest
        found = certified_radius(read, X[row], first, largest=farthest, **how)
        answer, where = [names[k] for k in sorted(kept)], None if moved is None else inputs[moved[0]]
        line = f"row {row} {' or '.join(answer)}{'' if where is None else f' in {where}'}: {found.enclosure}"
        return [(line, {"row": row, "answer": answer, "input": where, **found.to_dict()})], found.certificate

    questions = {
        f"row {row}" + ("" if moved is None else f" in x_{moved[0]}"): partial(ask, row, moved)
        for row, moved in product(parse_rows(rows, len(X)), moving)
    }
    about: dict[str, Any] = {"network": subject.name, "data": data, "norm": norm, "largest_radius": largest}
    return asking.answer("radius", read, questions, _summary, **about)


def _tied(text: str, names: Sequence[str]) -> set[int]:
    chosen = column_names(text, "--tied")
    unknown = [name for name in chosen if name not in names and not (name.isdecimal() and int(name) < len(names))]
    if unknown or len(chosen) < 2:
        raise InputError(f"--tied must be two or more of the classes {', '.join(names[:12])}, not {text[:40]!r}.")
    return {names.index(name) if name in names else int(name) for name in chosen}


def _summary(entries: Entries) -> str:
    unfinished = sum(entry["open"] for entry in entries)
    return f"{median_radius([entry['certified_radius'] for entry in entries])}, {unfinished} of {len(entries)} are open"
