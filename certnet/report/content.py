"""What the page shows of a run, in its order."""

import shlex
from collections.abc import Mapping
from typing import Any

from certnet.report.course import course, environment, improvements, recipe_of
from certnet.report.proof import Proved
from certnet.report.records import View
from certnet.report.robustness import robustness
from certnet.report.rows import on_data
from certnet.report.words import text
from certnet.runtime.fields import entries, mapping, number
from certnet.runtime.headline import headline
from certnet.runtime.wording import NONE, PARTS, bounds, figure, first_of, share

LABELS = {"strong": "Proved", "weak": "Proved, but weak", "open": "Open", "refuted": "Refuted"}
REPORTED = "As the run reports; not proved again here"
"""What stands above headlines, by how good the news is; and where the page itself has proved nothing."""


def view(one: Proved, key: str) -> View:
    """Everything about one run; ``key`` is that of its ids."""
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
    objective, bound = number(report.get("objective")), number(report.get("lower_bound"))
    part = None
    if objective is not None and bound is not None and objective > 0:
        part = min(max(bound / objective, 0.0), 1.0)
    return View(
        key=key,
        name=text(one.run.name, 80),
        kind=text(report.get("command"), 20),
        headline=text(found.text),
        level=found.level,
        label=REPORTED if one.check is None and found.level != "open" else LABELS[found.level],
        bounds=bounds(report),
        part_proved=part,
        tiles=_tiles(report),
        certificate=one.certificate,
        check=one.check,
        commands=_commands(one),
        sections=tuple(section for section in sections if not section.is_empty),
        remarks=(*one.remarks, *first_of([text(note) for note in entries(report.get("notes"), 1000)], 12, "notes")),
    )


def _tiles(report: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """The figures that come first."""
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
    commands = [f"certnet check {shlex.quote(text(str(one.run.path)))}"]
    if isinstance(source, str) and source:
        commands.append(f"{commands[0]} --data {shlex.quote(text(source))}")
    return tuple(commands)
