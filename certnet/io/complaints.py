"""All that is wrong with a table, said at once."""

from collections.abc import Iterator, Sequence

from formulations import InputError

MOST = 12
"""Complaints about one table that are shown."""
_SHOWN, _WIDTH = 4, 40


def require_none(table: str, complaints: Sequence[str]) -> None:
    """Raise all complaints about a table in one message, each of which is a sentence that names the table.

    Raises:
        InputError: there are any.
    """
    if len(complaints) == 1:
        raise InputError(complaints[0])
    if complaints:
        shown = [f"({number}) {sentence}" for number, sentence in enumerate(complaints[:MOST], start=1)]
        more = [f"There are {len(complaints) - MOST} more."] if len(complaints) > MOST else []
        raise InputError(" ".join([f"{table} cannot be used yet, for {len(complaints)} reasons.", *shown, *more]))


def name_complaints(table: str, names: Sequence[str]) -> Iterator[str]:
    """A sentence for each name of a column that is empty or comes again."""
    seen: set[str] = set()
    for place, name in enumerate(names):
        if not name:
            yield f"{table} has no name for column {place + 1}; name the column or delete it."
        elif name in seen:
            yield f"{table} has two columns named {shortened(name)!r}; give every column its own name."
        seen.add(name)


def listed(words: Sequence[object], most: int = _SHOWN, width: int = _WIDTH) -> str:
    """``a, b and c``, or ``a, b, c, d and 7 more``."""
    shown = [shortened(str(word), width) for word in words[:most]]
    if len(words) > most:
        return f"{', '.join(shown)} and {len(words) - most} more"
    return " and ".join([", ".join(shown[:-1]), shown[-1]] if len(shown) > 1 else shown)


def shortened(text: str, most: int = _WIDTH) -> str:
    """A text of a file as sentences quote it."""
    return text if len(text) <= most else f"{text[: most - 1]}…"
