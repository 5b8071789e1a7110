"""What people see: rich on stderr, where it is imported for the first line of it, and plain lines on stdout."""

import io
import math
import os
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from certnet.runtime.display import figures_table, plain
from certnet.runtime.headline import headline, is_weak
from certnet.runtime.wording import OF_CLASSES, OF_NUMBERS, bounds, down, figure, printable

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress
    from rich.table import Table

    from certnet.jobs.train import Event
    from certnet.report.records import Table as RowsTable

WIDTH = 120  # Columns of a table that goes to no terminal.
PLAIN_SECONDS = 30.0  # Between two lines of progress where nobody watches.


def stderr_console() -> "Console":
    """A console on stderr: plain text when that is no terminal or NO_COLOR is set."""
    from rich.console import Console

    watched, width = sys.stderr.isatty(), None if sys.stderr.isatty() else 100
    coloured = watched and not os.environ.get("NO_COLOR")
    return Console(stderr=True, highlight=False, force_terminal=coloured, width=width)


def tell(*sentences: str, quiet: bool = False) -> None:
    """Print sentences on stderr unless nothing is to be; what files say in them cannot steer a terminal."""
    for sentence in () if quiet else sentences:
        stderr_console().print(printable(sentence), markup=False, soft_wrap=True)


def summary(report: Mapping[str, Any]) -> str:
    """One line: the verdict and what is known of the optimum."""
    above, below, gap = bounds(report)
    return f"{_verdict(report)}: {below} <= optimum <= {above}, gap {gap}"


def first_line(report: Mapping[str, Any]) -> str:
    """The headline of a result for stdout, in colour where that is a terminal."""
    found = headline(report)
    text = printable(found.text)
    if not sys.stdout.isatty() or os.environ.get("NO_COLOR"):
        return text
    colours = {"strong": "green", "weak": "yellow", "open": "yellow", "refuted": "red"}
    return click.style(text, fg=colours[found.level], bold=True)


def _verdict(report: Mapping[str, Any]) -> str:
    """The verdict, with what has to be said beside it."""
    weak = report["verdict"] == "PROVED" and is_weak(report["gap"])
    return f"{report['verdict']}, BUT WEAK" if weak else str(report["verdict"])


def text_of(table: "Table", width: int = WIDTH) -> list[str]:
    """A table for stdout, in lines, which are at most so long where no terminal shows them."""
    from rich.console import Console

    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else width
    console = Console(file=io.StringIO(), highlight=False, width=width)
    with console.capture() as captured:
        console.print(table)
    return [printable(line.rstrip()) for line in captured.get().split("\n")[:-1]]


def rows_table(found: "RowsTable") -> "Table":
    """A table of several rows for a screen; marked rows have a star."""
    from rich.table import Table

    table = Table(title=plain(found.caption) or None, title_justify="left", caption=plain(found.note) or None)
    table.min_width = min(len(found.caption), 100)
    for place, name in enumerate(found.head):
        table.add_column(plain(name), overflow="fold", justify="right" if place >= found.first_number else "left")
    for place, (first, *rest) in enumerate(found.rows):
        table.add_row(*map(plain, (f"{first} *" if place in found.marked else first, *rest)))
    return table


def job_table(report: Mapping[str, Any]) -> "Table":
    """The table of a job that ends in a certificate of optimality: bounds, what led to them, scores, times, verdict."""
    from certnet.report.sections import network_facts, ways

    title, objective = report["data"]["name"], "objective (upper bound)"
    if report["command"] == "optimality":
        title, objective = f"{report['network']} on {title}", "objective of the network"
    data, stages = report["data"], {name: round(s, 2) for name, s in report["stages"].items() if math.isfinite(s)}
    named = OF_CLASSES if data["task"] == "classification" else OF_NUMBERS
    scored = ((f"{name} on {', '.join(report[key])}", report[key].values()) for key, name in named.items())
    # All times as shown add up.
    total = round(report["seconds"], 2)
    stages |= {"reading, writing, starting": max(total - sum(stages.values()), 0.0), "total": total}
    return figures_table(
        f"{title}: n = {data['n']}, d = {data['d']}, c = {data['c']}, γ = {report['gamma']:g}",
        [
            ("loss", f"{report['loss']}{'' if report['weights'] is None else ', rows weighted'}"),
            ("biases", f"hidden {report['hidden_bias']}, output {report['output_bias']}"),
            *zip((objective, "certified lower bound", "relative gap"), bounds(report), strict=True),
            *((f"bound: {name}", down(bound)) for name, bound in report.get("bounds", {}).items()),
            *network_facts(report),
            *ways(report),
            ("neurons", str(report["width"])),
            *((name, ", ".join(map(figure, values))) for name, values in scored if {*values} != {None}),
            ("predictions", " ".join(report["predictions"]) or None),
            *((f"time: {name}", f"{seconds:.2f} s") for name, seconds in stages.items()),
            ("verdict", f"{_verdict(report)} - {report['reason']}"),
        ],
    )


class Live:
    """The latest figures of a running job: on terminals one line that is drawn anew, elsewhere a line now and then."""

    def __init__(
        self,
        console: "Console | None" = None,
        *,
        enabled: bool,
        time_limit: float | None = None,
        every: float = PLAIN_SECONDS,
    ) -> None:
        self._console, self._enabled = console, enabled
        self._every, self._printed = every, time.monotonic()
        self._progress: Progress | None = None
        watched = sys.stderr.isatty() if console is None else console.is_terminal
        if enabled and watched and not os.environ.get("NO_COLOR"):
            console = self._console = console or stderr_console()
            if not console.is_dumb_terminal:
                self._progress = _drawn(console, time_limit)
                self._task = self._progress.add_task("starting", total=None, figures="")

    def __enter__(self) -> "Live":
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._progress is not None:
            self._progress.stop()

    def __call__(self, event: "Event") -> None:
        if not self._enabled:
            return
        if self._progress is not None and event.note is None:
            self._progress.update(self._task, description=event.stage, figures=" · ".join(event.figures))
        elif event.note is not None or time.monotonic() - self._printed >= self._every:
            self._console = self._console or stderr_console()
            self._console.print(printable(str(event)), markup=False)
            self._printed = time.monotonic() if event.note is None else self._printed

    def part(self, name: str, started: float, known: str | None = None) -> Callable[["Event"], None]:
        """Shows events of one of several questions: with its name, what is known of the others, and all of the time."""

        def show(event: "Event") -> None:
            words = [words for words in (known, event.known) if words is not None]
            stage, seconds = f"{name}: {event.stage}", time.perf_counter() - started
            self(replace(event, stage=stage, seconds=seconds, time_left=None, known=" · ".join(words) or None))

        return show


def _drawn(console: "Console", time_limit: float | None) -> "Progress":
    """One line that rich draws anew: stage, time since the start, time left where there is a limit, and figures."""
    from rich.progress import Progress, ProgressColumn, SpinnerColumn, Task, TextColumn, TimeElapsedColumn
    from rich.text import Text

    class TimeLeft(ProgressColumn):
        def render(self, task: Task) -> Text:
            return Text(f"{max((time_limit or 0.0) - (task.elapsed or 0.0), 0.0):.0f} s left")

    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        TimeElapsedColumn(),
        *([] if time_limit is None else [TimeLeft()]),
        TextColumn("{task.fields[figures]}", markup=False),
        console=console,
        transient=True,
        # rich would send what goes to a file to the terminal.
        redirect_stdout=sys.stdout.isatty(),
    )
