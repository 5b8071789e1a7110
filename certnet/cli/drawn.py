"""Progress on a terminal: one line that rich draws anew."""

import sys

from rich.console import Console
from rich.progress import Progress, ProgressColumn, SpinnerColumn, Task, TextColumn, TimeElapsedColumn
from rich.text import Text


class _TimeLeft(ProgressColumn):
    def __init__(self, time_limit: float) -> None:
        super().__init__()
        self._time_limit = time_limit

    def render(self, task: Task) -> Text:
        return Text(f"{max(self._time_limit - (task.elapsed or 0.0), 0.0):.0f} s left")


def drawn(console: Console, time_limit: float | None) -> Progress:
    """Stage, time since the start, time left where there is a limit, and figures."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        TimeElapsedColumn(),
        *([] if time_limit is None else [_TimeLeft(time_limit)]),
        TextColumn("{task.fields[figures]}", markup=False),
        console=console,
        transient=True,
        # rich would send what goes to a file to the terminal.
        redirect_stdout=sys.stdout.isatty(),
    )
