"""``certnet predict``: what a network says of new rows."""

import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from certificates.findings import finite
from certnet.cli.limits import seconds_or_none
from certnet.cli.options import NETWORK, Norm, Shown
from certnet.cli.output import Exit, head, place_for
from certnet.cli.parsing import argument, option, refuse
from certnet.cli.rows import Subject, median_radius, reaches
from certnet.cli.show import Live, tell
from certnet.io.output import csv_text, print_result, write_file
from certnet.runtime.clock import Event
from formulations import InputError
from formulations._validation import FloatArray, as_positive


@dataclass(frozen=True)
class Radii:
    """How radii are looked for."""

    largest_radius: float | None = option(
        "With --radius-norm: look no farther; 4 deviations of the widest feature.", metavar="R"
    )
    input_limit: float = option("With --radius-norm: seconds for each row; 0 for no limit.", default=10.0)


def predict(
    network: str = NETWORK,
    new: str = argument("NEW", "Rows: a CSV or Parquet file, its columns found by name; or .npz."),
    *,
    out: str | None = option("Write a CSV file instead of stdout.", "--out", "-o", metavar="FILE"),
    radius_norm: Norm | None = option(
        "Also prove for each row a radius, in units of the features, within which its class stays."
    ),
    radii: Radii,
    shown: Shown,
) -> int:
    """Predict NEW rows: classes with their probabilities, or numbers. A target column may be there or missing."""
    from certnet.io.answers import against_targets, answers, new_rows

    started, each = time.perf_counter(), seconds_or_none(radii.input_limit, "--input-limit")
    if radius_norm is None:
        refuse("it goes with --radius-norm, which names the norm", radii)
    if radii.largest_radius is not None:
        as_positive("--largest-radius", radii.largest_radius)
    place = None if out is None else place_for(out, "-o", folder=False)
    subject = Subject.named(network)
    if radius_norm is not None:
        subject.require_classes("--radius-norm is")
    X, notes, table = new_rows(subject.read, new)
    interrupted = False
    columns = answers(subject.read, subject.run.objective["loss"] if subject.run else None, X)
    if radius_norm is not None:
        columns |= _radii(subject, X, radius_norm, radii.largest_radius, each, quiet=shown.quiet)
        interrupted = None in columns[f"certified radius ({radius_norm})"]
        notes = (*notes, *subject.read.with_scores().notes)
    if table is not None:
        notes = (*notes, *against_targets(subject.read, table, columns))
    tell(*notes, quiet=shown.quiet)
    rows = [*zip(*columns.values(), strict=True)]
    text, code, report = csv_text([columns, *rows]), Exit.OK, dict[str, Any]()
    if place is not None:
        try:
            write_file(place, text.encode())
        except InputError as error:  # radii take long, so they go to stdout then
            place, code, notes = None, Exit.USAGE, (*notes, str(error))
            tell(f"certnet: {error}")
    if shown.json:
        results = [dict(zip(columns, row, strict=True)) for row in rows]
        files = {} if place is None else {"predictions": out}
        report = {**head("predict", None, f"{len(X)} rows were predicted"), "network": subject.name, "data": new}
        report |= {"results": results, "seconds": time.perf_counter() - started, "files": files, "notes": list(notes)}
    said = text.rstrip("\n") if place is None else str(place)
    print_result(report, [said], as_json=shown.json, needed=place is None)
    if interrupted:
        tell("certnet: Interrupted; the last rows have no radii.")
    return Exit.INTERRUPTED if interrupted else code


def _radii(
    subject: Subject, X: FloatArray, norm: str, largest: float | None, each: float | None, *, quiet: bool
) -> dict[str, Sequence[Any]]:
    """A proved radius for each row, and one within which another class was found, None where none was."""
    from certnet.io.endings import class_numbers
    from certnet.jobs.radius import certified_radius

    relu, started = subject.read.with_scores(), time.perf_counter()
    # The class that is printed; where rounding lets the folded weights of ``relu`` prefer another its radius is 0.
    labels = class_numbers(subject.read.predict(X))
    largest = float(reaches(subject.read, X).max()) if largest is None else largest
    kept: list[float] = []
    lost: list[float | None] = []
    with contextlib.suppress(KeyboardInterrupt), Live(enabled=not quiet) as live:
        for row, x in enumerate(X):
            name = f"radius of row {row + 1} of {len(X)}"
            live(Event(name, time.perf_counter() - started, known=median_radius(kept)))
            found = certified_radius(relu, x, int(labels[row]), norm=norm, largest=largest, time_limit=each)
            kept.append(found.certified)
            lost.append(finite(found.attacked))
    # Ctrl-C leaves the last rows without radii.
    rest: list[None] = [None] * (len(X) - len(lost))
    return {f"certified radius ({norm})": [*kept[: len(lost)], *rest], f"attacked radius ({norm})": [*lost, *rest]}
