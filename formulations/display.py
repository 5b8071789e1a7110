"""How results show themselves: a line, and a table in notebooks. Arrays are never printed."""

from collections.abc import Mapping

LONGEST = 60
"""Characters of a figure in a line."""


class Displayed:
    """Gives ``repr`` and the display of notebooks from ``shown``; a dataclass of this kind takes ``repr=False``."""

    def shown(self) -> Mapping[str, str]:
        """The figures that people want to see, by name."""
        raise NotImplementedError

    def message(self) -> str | None:
        """A sentence that says what the result means, or None."""
        return None

    def __repr__(self) -> str:
        cut = {name: text if len(text) <= LONGEST else f"{text[: LONGEST - 1]}…" for name, text in self.shown().items()}
        return f"{type(self).__name__}({', '.join(f'{name}: {text}' for name, text in cut.items())})"

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
