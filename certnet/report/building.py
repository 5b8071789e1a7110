"""The page: runs are proved again, and templates make HTML of what is known of them."""

import re
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from certnet.io.runs import Run, read_runs
from certnet.report.comparison import compared
from certnet.report.proof import Proved, proved
from certnet.report.sections import course, environment, improvements, on_data, recipe_of, robustness, text
from certnet.runtime.headline import headline
from certnet.runtime.machine import needed
from certnet.runtime.version import __version__
from certnet.runtime.wording import NONE, PARTS, bounds, entries, figure, first_of, mapping, number, share
from formulations import InputError

LABELS = {"strong": "Proved", "weak": "Proved, but weak", "open": "Open", "refuted": "Refuted"}
REPORTED = "As the run reports; not proved again here"
"""What stands above headlines, by how good the news is; and where the page itself has proved nothing."""
MOST_RUNS = 50  # Runs on one page.


def page(runs: Sequence[Run | str | Path] | Run | str | Path, *, time_limit: float | None = 60.0) -> str:
    """One HTML page about runs, complete in itself, with a table of all of them on top where there are several.

    What it says of bounds and verdicts is what the checker found, which proves every certificate of training again;
    everything else is what the runs' reports state.

    Args:
        runs: folders of ``certnet train``, ``optimality`` and ``audit``, by path or name, or what ``read_run`` gave.
        time_limit: seconds for proving each certificate again, or None.

    Raises:
        InputError: jinja2 or matplotlib is not installed, or a folder is no run.
    """
    jinja2 = needed("jinja2", "The page needs jinja2; install it with: pip install 'certnet[report]'.")
    given = [runs] if isinstance(runs, Run | str | Path) else [*runs]
    every = [run for one in given for run in ([one] if isinstance(one, Run) else read_runs(one))]
    if not 0 < len(every) <= MOST_RUNS:
        raise InputError(f"A page is about 1 to {MOST_RUNS} runs, not {len(every)}; name fewer.")
    found = [proved(run, time_limit=time_limit) for run in every]
    views = [view(one, f"r{number}") for number, one in enumerate(found, 1)]
    known = {"loader": jinja2.PackageLoader("certnet.report"), "undefined": jinja2.StrictUndefined}
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, **known)
    environment.filters["options"] = _options
    comparison = compared(found, [one.name for one in views]) if len(found) > 1 else None
    title = views[0].name if len(views) == 1 else f"{len(views)} runs"
    template = environment.get_template("page.html")
    return str(template.render(title=title, views=views, comparison=comparison, version=__version__))


def _options(text: str) -> Any:
    """The text, escaped, whose options such as ``--time-limit`` are not broken at the end of a line."""
    from markupsafe import Markup, escape

    return Markup(re.sub(r"(--[a-z][a-z-]*)", r'<span class="nb">\1</span>', str(escape(text))))


def view(one: Proved, key: str) -> SimpleNamespace:
    """What the templates show of one run; ``key`` is that of its ids."""
    report = one.report
    found = headline(report)
    sections = (
        course(one, key),
        improvements(report),
        on_data(one, key),
        robustness(report, key),
        recipe_of(report),
        environment(report),
    )
    objective, bound = number(report.get("objective")) or 0.0, number(report.get("lower_bound"))
    return SimpleNamespace(
        key=key,
        name=text(one.run.name, 80),
        kind=text(report.get("command"), 20),
        headline=text(found.text),
        level=found.level,
        label=REPORTED if one.check is None and found.level != "open" else LABELS[found.level],
        bounds=bounds(report),
        part_proved=None if bound is None or objective <= 0 else min(max(bound / objective, 0.0), 1.0),
        tiles=_tiles(report),
        certificate=one.certificate,
        check=one.check,
        commands=_commands(one),
        sections=tuple(section for section in sections if not section.is_empty),
        remarks=(*one.remarks, *first_of([text(note) for note in entries(report.get("notes"), 1000)], 12, "notes")),
    )


def _tiles(report: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    known = bounds(report)
    tiles = [*zip(("objective", "lower bound", "relative gap"), known, strict=True)] if NONE not in known[:2] else []
    if number(report.get("width")) is not None:
        tiles.append(("neurons", figure(report["width"], 6)))
    for name, words, show in (("accuracy", "accuracy", share), ("r2", "R²", figure)):
        scores = mapping(report.get(name))
        part = next((part for part in reversed(PARTS) if number(scores.get(part)) is not None), None)
        if part is not None:
            tiles.append((f"{words} ({part} rows)", show(scores[part])))
    if report.get("command") == "audit":
        tiles.append(("clean accuracy", share(report.get("clean_accuracy"), at_least=True)))
        tiles.append(("inputs", figure(mapping(report.get("data")).get("n"), 9)))
    return tuple(tiles)


def _commands(one: Proved) -> tuple[str, ...]:
    """What proves this again; names are quoted, as they may hold anything."""
    if one.run.certificate is None:
        return ()
    source = mapping(one.report.get("data")).get("source")
    command = f"certnet check {shlex.quote(text(str(one.run.path)))}"
    named = isinstance(source, str) and source
    return (command, f"{command} --data {shlex.quote(text(source))}") if named else (command,)
