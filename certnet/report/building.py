"""The page: runs are proved again, and templates make HTML of what is known of them."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from certnet.runtime.machine import needed
from certnet.runtime.version import __version__
from formulations import InputError

if TYPE_CHECKING:
    from certnet.io.runs import Run

MOST_RUNS = 50
"""Runs on one page."""


def page(runs: "Sequence[Run | str | Path] | Run | str | Path", *, time_limit: float | None = 60.0) -> str:
    """One HTML page about runs, complete in itself: with a table of all of them on top where there are several.

    Every certificate of training is proved again; what the page says of bounds and verdicts is what the checker found.
    Everything else is what the runs' reports state.

    Args:
        runs: folders of ``certnet train``, ``optimality`` and ``audit``, by path or name, or what ``read_run`` gave.
        time_limit: seconds for proving each certificate again, or None.

    Raises:
        InputError: jinja2 or matplotlib is not installed, or a folder is no run.
    """
    jinja2 = needed("jinja2", "The page needs jinja2; install it with: pip install 'certnet[report]'.")
    from certnet.io.runs import Run, read_runs
    from certnet.report.comparison import compared
    from certnet.report.content import view
    from certnet.report.proof import proved

    given = [runs] if isinstance(runs, Run | str | Path) else [*runs]
    every = [run for one in given for run in ([one] if isinstance(one, Run) else read_runs(one))]
    if not 0 < len(every) <= MOST_RUNS:
        raise InputError(f"A page is about 1 to {MOST_RUNS} runs, not {len(every)}; name fewer.")
    found = [proved(run, time_limit=time_limit) for run in every]
    views = [view(one, f"r{number}") for number, one in enumerate(found, 1)]
    known = {"loader": jinja2.PackageLoader("certnet.report"), "undefined": jinja2.StrictUndefined}
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, **known)
    environment.filters["options"] = _options
    comparison = compared(found, views) if len(found) > 1 else None
    title = views[0].name if len(views) == 1 else f"{len(views)} runs"
    template = environment.get_template("page.html")
    return str(template.render(title=title, views=views, comparison=comparison, version=__version__))


def _options(text: str) -> Any:
    """The text, escaped, whose options such as ``--time-limit`` are not broken at the end of a line."""
    from markupsafe import Markup, escape

    parts = re.split(r"(--[a-z][a-z-]*)", text)
    return Markup("").join(
        Markup('<span class="nb">{}</span>').format(part) if number % 2 else escape(part)
        for number, part in enumerate(parts)
    )
