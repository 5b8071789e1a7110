"""How results of jobs show themselves: from the JSON object about them, by one table of figures; and such tables."""

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from certificates.findings import figures, strict
from certnet.runtime.headline import headline
from certnet.runtime.wording import between, down, percent, printable, share, shortened, up

if TYPE_CHECKING:
    from rich.table import Table

LONGEST = 60  # Characters of a figure in a line.
Show = Callable[[Any], str]


def _plain(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


SHOWN: dict[str, tuple[str, Show]] = {
    "verdict": ("verdict", str),
    "result": ("result", str),
    "direction": ("as the input grows, the output", str),
    "results": ("proved", lambda rows: f"{sum(row['verdict'] == 'PROVED' for row in rows)} of {len(rows)}"),
    "objective": ("objective", up),
    "lower_bound": ("lower bound", down),
    "gap": ("gap", percent),
    "price_ratio": ("largest price over γ", _plain),
    "constant": ("constant", up),
    "sampled": ("largest gradient met", down),
    "product": ("product of norms", up),
    "attacked": ("least margin met", _plain),
    "certified_radius": ("certified radius", down),
    "attacked_radius": ("attacked radius", up),
    "clean_accuracy": ("clean accuracy", lambda value: share(value, at_least=True)),
    "radii": ("accuracy within", lambda rows: "; ".join(f"{row['radius']:g}: {between(row)}" for row in rows)),
    "quantity": ("of each", str),
    "worst": ("furthest apart", up),
    "root_mean_square": ("root mean square apart", up),
    "decided": ("rows with one class", _plain),
    "gamma": ("γ", _plain),
    "gammas": ("weight decays", lambda value: str(len(value))),
    "losses": ("least validation loss", lambda value: _plain(min(value, default=None))),
    "loss": ("loss", str),
    "inputs": ("inputs", lambda value: str(len(value["certified_radius"]) if isinstance(value, Mapping) else value)),
    "outputs": ("outputs", str),
    "width": ("neurons", str),
    "rank": ("rank", str),
    "rows": ("rows", str),
    "classes": ("classes", lambda value: str(len(value))),
    "seconds": ("seconds", _plain),
}
"""The figures that are shown, by their names in JSON objects, with the words for them."""


def plain(text: str) -> str:
    """A text of anybody's for a cell of a table."""
    from rich.markup import escape

    return escape(printable(text))


def figures_table(title: str, rows: Iterable[tuple[str, str | None]]) -> "Table":
    """A table of two columns, names and figures, without those that are None."""
    from rich.table import Table

    table = Table(title=plain(title), show_header=False, title_justify="left")
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, text in rows:
        if text is not None:
            table.add_row(plain(name), plain(text))
    return table


class Result:
    """Shows itself as a line, and in notebooks as a table, never with arrays.

    ``to_dict`` says what is known of it, ``FIELDS`` are the attributes that it has as they are, and ``COMMAND`` whose
    headline it has, if any. A dataclass of this kind takes ``repr=False``.
    """

    COMMAND: ClassVar[str | None] = None
    FIELDS: ClassVar[tuple[str, ...]] = ()

    def to_dict(self) -> dict[str, Any]:
        """What JSON says of it, without arrays of numpy; where there is a report, it has these fields too."""
        found: dict[str, Any] = strict(figures(self, *self.FIELDS))
        return found

    def shown(self) -> Mapping[str, str]:
        """The figures of ``SHOWN`` that are known."""
        found = self.to_dict()
        return {words: show(found[name]) for name, (words, show) in SHOWN.items() if found.get(name) is not None}

    def message(self) -> str | None:
        """The headline of its report."""
        return None if self.COMMAND is None else headline({"command": self.COMMAND, **self.to_dict()}).text

    def __repr__(self) -> str:
        figures = (f"{name}: {shortened(text, LONGEST)}" for name, text in self.shown().items())
        return f"{type(self).__name__}({', '.join(figures)})"

    def _repr_html_(self) -> str:
        """A small table, for notebooks; whatever stands in it is escaped."""
        from html import escape

        message = self.message()
        said = "" if message is None else f"<p>{escape(message)}</p>"
        rows = "".join(
            f'<tr><th scope="row" style="text-align:left">{escape(name)}</th>'
            f'<td style="text-align:left">{escape(text)}</td></tr>'
            for name, text in self.shown().items()
        )
        title = f'<caption style="text-align:left"><code>{type(self).__name__}</code></caption>'
        return f"<div>{said}<table>{title}<tbody>{rows}</tbody></table></div>"

    def __rich__(self) -> "Table":
        return figures_table(self.message() or type(self).__name__, self.shown().items())
