"""What people see: rich on stderr, plain lines on stdout."""

import math
import os
import sys
import time
from collections.abc import Mapping
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from types import TracebackType
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress, ProgressColumn, SpinnerColumn, Task, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from certnet.jobs.train import Event

DIGITS, MOST_DIGITS = 6, 17
_UP, _DOWN = Context(prec=40, rounding=ROUND_CEILING), Context(prec=40, rounding=ROUND_FLOOR)
NONE = "—"
PLAIN_SECONDS = 30.0
"""Between two lines of progress where nobody watches."""


def stderr_console() -> Console:
    """A console on stderr: plain text when that is no terminal or NO_COLOR is set."""
    watched = sys.stderr.isatty()
    return Console(
        stderr=True,
        highlight=False,
        force_terminal=watched and not os.environ.get("NO_COLOR"),
        width=None if watched else 100,
    )


def down(value: float | None, digits: int = DIGITS) -> str:
    """A proved lower bound in so many digits, never shown larger than it is."""
    return _rounded(value, ROUND_FLOOR, digits)


def up(value: float | None, digits: int = DIGITS) -> str:
    """An upper bound in so many digits, never shown smaller than it is."""
    return _rounded(value, ROUND_CEILING, digits)


def percent(value: float | Decimal | None) -> str:
    """A ratio in percent, rounded up to two digits after the point, or to two digits at all below 0.01 %."""
    if value is None or not math.isfinite(value):
        return NONE
    exact = Decimal(value)
    if 0 < exact < Decimal("1e-4"):
        return f"{Context(prec=2, rounding=ROUND_CEILING).create_decimal(exact * 100):.1e} %"
    if abs(exact) >= 10**6:
        return f"{_rounded(math.nextafter(100 * float(value), math.inf), ROUND_CEILING)} %"
    return f"{(exact * 100).quantize(Decimal('0.01'), ROUND_CEILING)} %"


def bounds(report: Mapping[str, Any]) -> tuple[str, str, str]:
    """Objective, lower bound and relative gap, with so many digits that the gap is that of the two as shown."""
    objective, bound, gap = (report[name] for name in ("objective", "lower_bound", "gap"))
    digits = DIGITS if not gap else min(max(DIGITS, math.ceil(-math.log10(abs(gap))) + 3), MOST_DIGITS)
    above, below = up(objective, digits), down(bound, digits)
    if gap and NONE not in (above, below) and Decimal(above):
        gap = _UP.subtract(Decimal(1), _DOWN.divide(Decimal(below), Decimal(above)))
    return above, below, percent(gap)


def summary(report: Mapping[str, Any]) -> str:
    """One line: the verdict and what is known of the optimum."""
    above, below, gap = bounds(report)
    return f"{report['verdict']}: {below} <= optimum <= {above}, gap {gap}"


def bound_rows(table: Table, objective: str, report: Mapping[str, Any]) -> None:
    """Add what is known of the optimum; ``objective`` names the upper bound."""
    names = (objective, "certified lower bound", "relative gap")
    for name, figure in zip(names, bounds(report), strict=True):
        table.add_row(name, figure)


def branching_row(table: Table, branching: Mapping[str, Any] | None) -> None:
    """Add what the search for a proof did, if there was one."""
    if branching is None:
        return
    outcome = "complete" if branching["complete"] else "not complete"
    nodes, leaves = branching["nodes"], branching["leaves"]
    if branching["kind"] == "subdivision":
        figures = f"{nodes} cones tested, {leaves} in the proof"
    else:
        figures = f"{nodes} relaxations solved, {leaves} leaves"
    table.add_row("branching", f"{figures}, {outcome}")


def time_rows(table: Table, report: Mapping[str, Any]) -> None:
    """Add the time of the stages, of everything else, and of all together, which is their sum as shown."""
    stages = {name: round(seconds, 2) for name, seconds in report["stages"].items() if math.isfinite(seconds)}
    total = round(report["seconds"], 2)
    rest = max(total - sum(stages.values()), 0.0)
    for name, seconds in {**stages, "reading, writing, starting": rest, "total": total}.items():
        table.add_row(escape(f"time: {name}"), f"{seconds:.2f} s")


def figures_table(title: str) -> Table:
    """A table of two columns, names and figures, still without rows."""
    table = Table(title=escape(title), show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    return table


def training_table(report: Mapping[str, Any]) -> Table:
    """The table of ``certnet train``."""
    data = report["data"]
    title = f"{data['name']}: n = {data['n']}, d = {data['d']}, c = {data['c']}, γ = {report['gamma']:g}"
    table = figures_table(title)
    bound_rows(table, "objective (upper bound)", report)
    relaxation = report["relaxation"]
    if relaxation is not None:
        ran = f"{relaxation['solver']} {relaxation['version']}, {relaxation['iterations']} iterations"
        table.add_row("relaxation", escape(f"{ran}, {relaxation['status'].replace('_', ' ')}"))
    branching_row(table, report["branching"])
    if report["rank"] is not None:
        table.add_row("rank of the relaxation", str(report["rank"]))
    table.add_row("neurons", str(report["width"]))
    for name, key in (("accuracy", "accuracy"), ("R²", "r2"), ("mean squared error", "mean_squared_error")):
        if key in report and (key == "accuracy") == (data["task"] == "classification"):
            parts = report[key]
            shown = (NONE if parts[part] is None else f"{parts[part]:.4g}" for part in parts)
            table.add_row(f"{name} on {', '.join(parts)}", ", ".join(shown))
    time_rows(table, report)
    table.add_row("verdict", escape(f"{report['verdict']} - {report['reason']}"))
    return table


class Live:
    """The latest figures of a running job: on terminals one line that is drawn anew, elsewhere a line now and then."""

    def __init__(
        self,
        console: Console,
        *,
        enabled: bool,
        time_limit: float | None = None,
        every: float = PLAIN_SECONDS,
    ) -> None:
        drawn = console.is_terminal and not console.is_dumb_terminal and not os.environ.get("NO_COLOR")
        self._console = console if enabled else None
        self._every, self._printed = every, time.monotonic()
        self._progress: Progress | None = None
        if enabled and drawn:
            self._progress = Progress(
                SpinnerColumn(),
                TextColumn("{task.description}", markup=False),
                TimeElapsedColumn(),
                *([] if time_limit is None else [_TimeLeft(time_limit)]),
                TextColumn("{task.fields[figures]}", markup=False),
                console=console,
                transient=True,
            )
            self._task = self._progress.add_task("starting", total=None, figures="")

    def __enter__(self) -> "Live":
        if self._progress is not None:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._progress is not None:
            self._progress.stop()

    def __call__(self, event: "Event") -> None:
        """Show an event."""
        if self._console is None:
            return
        if event.note is not None:
            self._console.print(event.note, markup=False)
        elif self._progress is not None:
            self._progress.update(self._task, description=event.stage, figures=" · ".join(_figures(event)))
        elif time.monotonic() - self._printed >= self._every:
            self._console.print(describe(event), markup=False)
            self._printed = time.monotonic()


class _TimeLeft(ProgressColumn):
    """Seconds until the time limit."""

    def __init__(self, time_limit: float) -> None:
        super().__init__()
        self._time_limit = time_limit

    def render(self, task: Task) -> Text:
        """The text of the column."""
        return Text(f"{max(self._time_limit - (task.elapsed or 0.0), 0.0):.0f} s left")


def describe(event: "Event") -> str:
    """An event in one line; missing figures are left out."""
    left = [] if event.time_left is None else [f"{event.time_left:.0f} s left"]
    return " · ".join([event.stage, f"{event.seconds:.1f} s", *left, *_figures(event)])


def _figures(event: "Event") -> list[str]:
    """What is known of bound, objective and solver."""
    parts = []
    if event.iteration is not None:
        parts.append(f"iteration {event.iteration}")
    if event.lower_bound is not None:
        parts.append(f"bound {down(event.lower_bound)}")
    if event.objective is not None:
        parts.append(f"objective {up(event.objective)}")
    if event.objective is not None and event.lower_bound is not None and event.objective > 0:
        parts.append(f"gap {percent((event.objective - event.lower_bound) / event.objective)}")
    if event.rank is not None:
        parts.append(f"rank {event.rank}")
    if event.residual is not None:
        parts.append(f"residual {event.residual:.1e}")
    return parts


def _rounded(value: float | None, rounding: str, digits: int = DIGITS) -> str:
    if value is None or not Decimal(value).is_finite():
        return NONE
    return f"{Context(prec=digits, rounding=rounding).create_decimal(Decimal(value)):g}"
