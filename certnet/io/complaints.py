"""All that is wrong with a table, said at once."""

from collections.abc import Iterator, Sequence

from certnet.runtime.wording import shortened
from formulations import InputError

MOST = 12
"""Complaints about one table that are shown."""


def require_none(table: str, complaints: Sequence[str]) -> None:
    """Raise all complaints about a table in one message, each of which is a sentence that names the table."""
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
