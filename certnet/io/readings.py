"""The cells of a column as numbers or names, with a sentence for each sort of cell that is neither."""

from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np

from certnet.io.cells import INFINITE, LARGEST, MISSING, cell_name, example_date, may_group, quantity
from certnet.io.tables import Table
from certnet.runtime.wording import listed, shortened
from formulations._validation import FloatArray, IntArray

_WORDS = {
    "boolean": "is neither yes nor no, as other cells of the column are; write one of them",
    "date": "is no date in the form of the column; write it like {date}",
    "time": "is no time of day, as other cells of the column are; write it like 08:30",
}


def numbers(table: Table, name: str, advice: str = "write a number") -> tuple[FloatArray, list[str]]:
    """(n,) numbers of a column, NaN where missing, and complaints about cells that are none, with this advice."""
    plain = table.plain(name)
    if plain is not None:
        return plain, []
    cells = table.column(name)
    commas = table.decimal_comma and any("," in cell for cell in cells)
    read = {cell: quantity(cell, decimal_comma=table.decimal_comma) for cell in set(cells)}
    units = Counter(found[1] for cell in cells if (found := read[cell]) is not None)
    usual = max(sorted(units), key=units.__getitem__, default="")

    def value(cell: str) -> float | str:
        found, unit = read[cell] or (None, usual)
        if found is not None and unit != usual and usual:
            return f"holds {cell!r}, where other cells have the unit {usual!r}; use one unit."
        if found is None or unit != usual:
            if cell.lower() in INFINITE:
                return f"holds {cell}; remove or replace infinite values."
            return f"holds {shortened(cell)!r}, which is not a number; {advice}."
        if commas and cell.count(".") == 1 and "," not in cell:
            return (
                f"holds {cell!r} with a point where other cells of the column have a decimal comma; use one decimal "
                "sign and no thousands separators."
            )
        return found if abs(found) <= LARGEST else f"holds {cell}, which is beyond {LARGEST:g}; rescale the column."

    return _values(table, name, value)


def separators(table: Table, name: str) -> list[str]:
    """The remark about a column of numbers whose decimal signs may all separate thousands, if it is one."""
    for mark, word in ((",", "comma"), (".", "point")) if table.decimal_comma else ():
        marked = [cell for cell in table.column(name) if mark in cell]
        single = next((cell for cell in marked if cell.count(mark) == 1), None)
        if single is not None and all(map(may_group, marked)):
            seen = f"Column {name!r} holds {single!r}, read with a decimal {word}"
            return [f"{seen}; leave the {word}s out if they separate thousands."]
    return []


def words(
    table: Table, name: str, kind: str, parse: Callable[[str], float | None], form: str
) -> tuple[FloatArray, list[str]]:
    """(n,) numbers that ``parse`` makes of the words of a column of this kind, dates in this form; as ``numbers``."""
    wrong = _WORDS[kind].format(date=example_date(form))

    def value(cell: str) -> float | str:
        found = parse(cell)
        return f"holds {shortened(cell)!r}, which {wrong}." if found is None else found

    return _values(table, name, value)


def names(table: Table, name: str) -> list[str | None]:
    """The cells of a column as names, None where missing."""
    cells = table.column(name)
    known = {cell: cell_name(cell, decimal_comma=table.decimal_comma) for cell in set(cells)}
    return [known[cell] for cell in cells]


def _values(table: Table, name: str, value: Callable[[str], float | str]) -> tuple[FloatArray, list[str]]:
    cells = table.column(name)
    known = {cell: float("nan") if cell.lower() in MISSING else value(cell) for cell in set(cells)}
    found = [known[cell] for cell in cells]
    wrong: dict[str, list[int]] = {}
    if any(isinstance(entry, str) for entry in known.values()):
        for row, entry in enumerate(found):
            if isinstance(entry, str):
                # One sentence for each sort, which its advice tells.
                wrong.setdefault(entry.partition(";")[2], []).append(row)
    complaints = []
    for rows in wrong.values():
        first, semicolon, advice = str(found[rows[0]]).partition(";")
        complaints.append(f"{table.where(rows[0])}, column {name!r}, {first}{_also(table, rows)}{semicolon}{advice}")
    return np.array([float("nan") if isinstance(entry, str) else entry for entry in found]), complaints


def absent(table: Table, name: str, rows: Sequence[int] | IntArray) -> str:
    """The sentence about rows without a value that needs one."""
    return f"{table.where(rows[0])} has no value in column {name!r}{_also(table, rows)}; fill it in or remove the row."


def _also(table: Table, rows: Sequence[int] | IntArray) -> str:
    """The other rows of which something is true."""
    others = [table.lines[row] for row in rows[1:]]
    return f" (also {table.row}{'s' if len(others) > 1 else ''} {listed(others)})" if others else ""
