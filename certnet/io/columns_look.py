"""What a column of a table looks like: its kind, whether it only numbers rows, and whether it gives the target away."""

import re
from collections import Counter

import numpy as np

from certnet.io import cells
from certnet.io.cells import BOOLEANS, INFINITE, MISSING, quantity
from certnet.io.columns import Column
from certnet.io.dataset import Recipe
from certnet.io.tables import Table
from certnet.runtime.wording import shortened
from formulations._validation import FloatArray

ID_ROWS = 10  # Rows from which on different texts, or numbers that count rows, are taken for an ID.
NUMBER_SHARE = 0.5  # Share of numbers, or dates, from which on the other cells of a column are taken for mistakes.
LEAK_ROWS = 20  # Rows below which no column is suspected to give the target away.
ROWS_PER_VALUE = 5.0  # Rows for each value on average from which on values that go with one target each are suspected.


Values = FloatArray | list[str | None]
"""Numbers with NaN where missing, or names with None."""
_IDENTIFIER = re.compile(r"(^|.*[^a-z])(id|ids|uuid|guid|index|idx|rowid|row)$|unnamed.*", re.IGNORECASE)
_CAMEL = re.compile(r".*[a-z](ID|Id)$")


def kind_of(table: Table, name: str, recipe: Recipe) -> tuple[Column, list[str]]:
    """What the cells of a column are, and remarks."""
    if name in recipe.categorical:
        return Column(name, "category"), []
    if table.plain(name) is not None:
        pointed = [cell for cell in table.column(name) if "." in cell] if table.decimal_comma else []
        if not pointed or not all(map(cells.may_group, pointed)):
            return Column(name), []
        seen = f"Column {name!r} holds {pointed[0]!r}, read with a decimal point"
        return Column(name), [f"{seen}; leave the points out if they separate thousands."]
    counts = Counter(table.column(name))
    present = {cell: count for cell, count in counts.items() if cell.lower() not in MISSING}
    some = NUMBER_SHARE * sum(present.values())
    commas = table.decimal_comma
    units = {cell: found[1] for cell in present if (found := quantity(cell, decimal_comma=commas)) is not None}
    numeric = {cell: count for cell, count in present.items() if units.get(cell) == "" or cell.lower() in INFINITE}
    if len(numeric) == len(present):
        return Column(name), []
    if all(cell.lower() in BOOLEANS for cell in present):
        return Column(name, "boolean"), []
    times = sum(count for cell, count in present.items() if cells.parse_time(cell) is not None)
    if times >= some:
        return Column(name, "time"), []
    form, other = cells.date_format(present, some)
    if form is not None:
        either = "" if other is None else f"{cells.written(form)}, not {cells.written(other)}"
        remark = f"The dates of column {name!r} fit two forms and are read as {either}; write YYYY-MM-DD if not."
        return Column(name, "date", form=form), [remark] if either else []
    if sum(numeric.values()) >= some or (len(units) == len(present) and len({*units.values()}) == 1):
        return Column(name), []
    sized = [cell for cell in present if cell in units or cells.is_sized(cell)]
    if sum(present[cell] for cell in sized) < some:
        return Column(name, "category"), []
    example = next(cell for cell in sized if cell not in numeric)
    seen = f"Column {name!r} holds texts such as {shortened(example)!r}, read as names"
    return Column(name, "category"), [f"{seen}; write quantities with one unit, or none, and no separators."]


def identifies(column: Column, values: Values) -> str | None:
    """Why a column seems to tell rows apart and nothing else; None where it does not."""
    named = bool(_IDENTIFIER.fullmatch(column.name) or _CAMEL.fullmatch(column.name))
    if isinstance(values, list):
        return "all its values differ, as those of an ID do" if ID_ROWS <= len(values) == len({*values}) else None
    values = values[~np.isnan(values)]
    if column.kind != "number" or len(values) < ID_ROWS or not (np.floor(values) == values).all():
        return None
    if counts_up(values) and (named or values[0] in (0.0, 1.0)):
        return "it numbers the rows"
    if named and len(np.unique(values)) == len(values):
        return "it identifies the rows by its name, and all its values differ"
    return None


def counts_up(values: Values) -> bool:
    return isinstance(values, np.ndarray) and len(values) >= ID_ROWS and bool((np.diff(values) == 1.0).all())


def ends_in_total(values: FloatArray) -> bool:
    """Whether the last of these numbers is the sum of the others, none of them negative and three positive."""
    others = values[:-1][~np.isnan(values[:-1])]
    if np.count_nonzero(others) < 3 or (others < 0).any():
        return False
    return bool(abs(values[-1] - others.sum()) <= 1e-6 * others.sum())


def leak_of(values: Values, target: FloatArray, *, classes: bool) -> str | None:
    """How the values of a column alone tell the target of each row; None where they do not."""
    if len(target) < LEAK_ROWS or target.min() == target.max():
        return None
    # Missing values are one value; names have no order.
    keys = np.array([value or "" for value in values]) if isinstance(values, list) else values
    known, first, place = np.unique(keys, return_index=True, return_inverse=True)
    goals = target[first]
    if (goals[place] != target).any():
        return None
    if len(known) * ROWS_PER_VALUE <= len(target):
        return f"each of its {len(known)} values goes with one value of it only"
    if isinstance(values, list) or np.isnan(known[-1]):
        return None
    steps = np.diff(goals)
    if classes:
        return "its order separates the classes" if np.count_nonzero(steps) == len(np.unique(goals)) - 1 else None
    return "it orders the rows just as that does" if (steps > 0).all() or (steps < 0).all() else None
