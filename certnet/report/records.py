"""The parts of a page: plain records, which the templates turn into HTML, and plots as SVG.

Plots are in the page's colours and type, with a title for readers of screens, and no id twice.
"""

import io
import re
import threading
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from certnet.plots.style import COLOURS, GRID, INK, MUTED
from certnet.runtime.machine import needed
from formulations import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_VARIABLES = {colour: f"var(--c{number})" for number, colour in enumerate(COLOURS)}
_VARIABLES |= {INK: "currentColor", "#000000": "currentColor", MUTED: "var(--muted)", GRID: "var(--rule)"}
"""What the page calls the colours of the plots."""
SIZE, POINTS = (4.1, 2.8), 9.5
_TYPE = {
    **dict.fromkeys(("font.size", "axes.labelsize", "xtick.labelsize", "ytick.labelsize", "legend.fontsize"), POINTS),
    "svg.fonttype": "none",
}
_COLOUR = re.compile(r"#[0-9a-f]{6}\b")
_REFERENCE = re.compile(r"url\(#([^)]*)\)")
_LOCK = threading.Lock()  # Matplotlib keeps how text is written in settings of the process.
WIDE = 6  # Columns from which on a table stands alone.


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


def drawn(draw: "Callable[[Axes], Any]", key: str, title: str, caption: str) -> tuple[Picture, ...]:
    """The picture, or nothing where there is nothing to draw."""
    try:
        return (Picture(picture(draw, key=key, title=title, description=caption), title, caption),)
    except InputError as error:
        if "matplotlib" in str(error):
            raise
    return ()


def picture(draw: Callable[["Axes"], object], *, key: str, title: str, description: str) -> str:
    """The SVG of what ``draw`` draws into the axes it gets, without its own title.

    The ids in it begin with ``key``; title and description are for readers of screens, and text has the size it has at
    ``SIZE``.
    """
    mpl = needed("matplotlib", "The page needs matplotlib; install it with: pip install 'certnet[report]'.")
    from matplotlib.figure import Figure

    stream = io.StringIO()
    with _LOCK, mpl.rc_context({**_TYPE, "svg.hashsalt": key}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # text stays text, and the browser has the signs
        figure = Figure(figsize=SIZE, layout="constrained")
        ax = figure.add_subplot()
        draw(ax)
        ax.set_title("")
        figure.savefig(stream, format="svg", transparent=True, metadata={"Date": None})
    return _inline(stream.getvalue(), key, title, description)


def _inline(text: str, key: str, title: str, description: str) -> str:
    """The SVG that matplotlib has written, as HTML has it: without namespaces."""
    root = ElementTree.fromstring(text)
    used = {*_REFERENCE.findall(text), *re.findall(r'href="#([^"]*)"', text)}
    parents = {child: parent for parent in root.iter() for child in parent}
    for element in [*root.iter()]:
        element.tag = _local(element.tag)
        # The rules of the style would be those of the whole page.
        if element.tag in ("metadata", "style"):
            parents[element].remove(element)
        else:
            _adopt(element, key, used)
    names = {name: f"{key}-{name}" for name in ("title", "desc")}
    view = root.get("viewBox", "0 0 1 1")
    root.attrib.clear()
    root.attrib |= {"viewBox": view, "class": "plot", "role": "img", "aria-labelledby": " ".join(names.values())}
    for place, (name, words) in enumerate((("title", title), ("desc", description))):
        child = ElementTree.Element(name, {"id": names[name]})
        child.text = words
        root.insert(place, child)
    return ElementTree.tostring(root, encoding="unicode")


def _adopt(element: ElementTree.Element, key: str, used: set[str]) -> None:
    """Give an element the page's colours and an id of its own, or none where nothing refers to it."""
    given = {_local(name): value for name, value in element.attrib.items()}
    element.attrib.clear()
    for name, value in given.items():
        if name == "id":
            if value in used:
                element.set(name, f"{key}-{value}")
        elif name == "href":
            element.set(name, f"#{key}-{value[1:]}" if value.startswith("#") else value)
        else:
            value = _REFERENCE.sub(lambda found: f"url(#{key}-{found[1]})", value)
            value = _COLOUR.sub(lambda found: _VARIABLES.get(found[0], found[0]), value)
            if name == "style":
                value = ";".join(part for part in value.split(";") if not part.strip().startswith("font"))
            element.set(name, value)
    if element.tag == "text":
        element.set("font-size", str(POINTS))


def _local(name: str) -> str:
    return name.rpartition("}")[2]
