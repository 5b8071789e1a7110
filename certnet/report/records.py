"""The parts of a page: plain records, which the templates turn into HTML."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from certificates import Certificate, Report
from certnet.report.svg import picture
from formulations import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDE = 6
"""Columns from which on a table stands alone."""


@dataclass(frozen=True)
class Table:
    """A table; cells of columns from ``first_number`` on are numbers. ``tint`` are shares by which cells are shaded."""

    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    first_number: int = 1
    tint: tuple[tuple[float, ...], ...] = ()
    marked: tuple[int, ...] = ()
    note: str = ""

    @property
    def wide(self) -> bool:
        return len(self.head) >= WIDE


@dataclass(frozen=True)
class Picture:
    """A plot as SVG, with a heading and a sentence."""

    svg: str
    title: str
    caption: str
    wide: bool = False


@dataclass(frozen=True)
class Section:
    title: str
    facts: tuple[tuple[str, str], ...] = ()
    pictures: tuple[Picture, ...] = ()
    tables: tuple[Table, ...] = ()
    sentences: tuple[str, ...] = ()

    @property
    def is_empty(self) -> bool:
        return not (self.facts or self.pictures or self.tables or self.sentences)


@dataclass(frozen=True, eq=False)
class View:
    """A run on the page: ``bounds`` are objective, lower bound and gap, ``certificate`` and ``check`` the theorem."""

    key: str
    name: str
    kind: str
    headline: str
    level: str
    label: str
    bounds: tuple[str, str, str]
    part_proved: float | None
    tiles: tuple[tuple[str, str], ...]
    certificate: Certificate | None
    check: Report | None
    commands: tuple[str, ...]
    sections: tuple[Section, ...]
    remarks: tuple[str, ...]


def drawn(draw: "Callable[[Axes], Any]", key: str, title: str, caption: str) -> tuple[Picture, ...]:
    """The picture, or nothing where there is nothing to draw."""
    try:
        return (Picture(picture(draw, key=key, title=title, description=caption), title, caption),)
    except InputError as error:
        if "matplotlib" in str(error):
            raise
    return ()
