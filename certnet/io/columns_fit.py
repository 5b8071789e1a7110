"""Columns as a file suggests them: kinds by all rows, but what is learned from values by training rows alone."""

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass, replace

import numpy as np

from certnet.io import cells
from certnet.io.cells import BOOLEANS, INFINITE, MISSING, quantity
from certnet.io.columns import Column, Columns
from certnet.io.dataset import Recipe
from certnet.io.readings import absent, names, numbers
from certnet.io.tables import Table
from certnet.runtime.wording import listed, shortened
from formulations import InputError
from formulations._validation import FloatArray, IntArray

RARE_ROWS = 5  # Training rows that a category, or missing values, need for a feature of their own.
RARE_SHARE = 0.05  # Where this share of the training rows is less, it is enough, so that small sets keep theirs.
MOST_CATEGORIES = 50  # Categories of a column with features of their own, those of most rows.
MOST_FEATURES = 2000  # Features that all categories together may become; more are refused.
LONGEST_NAME = 100  # Characters of the longest text that is taken for a name of a category.
ID_ROWS = 10  # Rows from which on different texts, or numbers that count rows, are taken for an ID.
NUMBER_SHARE = 0.5  # Share of numbers, or dates, from which on the other cells of a column are taken for mistakes.
LEAK_ROWS = 20  # Rows below which no column is suspected to give the target away.
ROWS_PER_VALUE = 5.0  # Rows for each value on average from which on values that go with one target each are suspected.
_NUMBERS = "write numbers, leave the column out with --drop, or take it as names with --categorical"
Values = FloatArray | list[str | None]
"""Numbers with NaN where missing, or names with None."""
_IDENTIFIER = re.compile(r"(^|.*[^a-z])(id|ids|uuid|guid|index|idx|rowid|row)$|unnamed.*", re.IGNORECASE)
_CAMEL = re.compile(r".*[a-z](ID|Id)$")


@dataclass(frozen=True, eq=False)
class Draft:
    """Kinds of the columns of a table, before anything is learned from their values.

    Attributes:
        columns: of each column name and kind, and for dates how they are written.
        values: of each column (n,) numbers with NaN where missing, or names with None.
    """

    table: Table
    recipe: Recipe
    columns: tuple[Column, ...]
    values: tuple[Values, ...]
    wrong: tuple[str, ...]
    notes: tuple[str, ...]

    def fit(self, rows: IntArray, target: FloatArray, name: str, *, classes: bool) -> tuple[Columns, tuple[str, ...]]:
        """The columns by the values of training rows, and sentences about those that may be no inputs.

        ``rows`` are numbers of the training rows that count, ``target`` (n,) is the quantity of every row, or the
        number of its class, and ``name`` that of its column.
        """
        chosen = [part[rows] if isinstance(part, np.ndarray) else [part[row] for row in rows] for part in self.values]
        found, left_out = self._inputs(chosen, {*(self.recipe.features or ())})
        doubtful = dict[str, str]()
        if not found:
            # Numbers that are all there is will be meant, whatever they look like.
            doubtful = dict(left_out)
            found, left_out = self._inputs(chosen, {column.name for column in self.columns if column.kind == "number"})
        if not found:
            reasons = listed([f"{column} is left out because {reason}" for column, reason in left_out], width=120)
            said = f"{self.table.name} has no column to learn from: {reasons}; name some with --features."
            raise InputError(" ".join([said, *self.notes]))
        sizes = {column.name: len(column.feature_names) for column in found if column.kind == "category"}
        if sum(sizes.values()) > MOST_FEATURES:
            largest = sorted(sizes, key=lambda name: -sizes[name])
            raise InputError(
                f"{self.table.name} has {len(sizes)} columns of categories, which become {sum(sizes.values())} "
                f"features of 0 and 1, more than {MOST_FEATURES}; leave some out with --drop, for example "
                f"{listed(largest)}."
            )
        fitted = Columns(tuple(found), self.recipe.impute, tuple(left_out), name)
        alone = (
            f"Column {column.name!r} is an input because there is no other, although {doubtful[column.name]}."
            for column in found
            if column.name in doubtful
        )
        return fitted, (*alone, *self._suspicions(fitted, chosen, target[rows], classes))

    def _inputs(self, chosen: Sequence[Values], asked: Set[str]) -> tuple[list[Column], list[tuple[str, str]]]:
        """The inputs, and names and reasons of the others; those that are asked for stay where they can."""
        found, left_out = [], []
        for column, values, training in zip(self.columns, self.values, chosen, strict=True):
            reason, fitted = None if column.name in asked else identifies(column, values), column
            if reason is None:
                fitted, reason = _fitted(column, training, self.recipe, column.name in asked)
            if reason is None:
                found.append(fitted)
            else:
                left_out.append((column.name, reason))
        return found, left_out

    def _suspicions(
        self, fitted: Columns, chosen: Sequence[Values], target: FloatArray, classes: bool
    ) -> Iterator[str]:
        inputs, asked = {*fitted.inputs}, {*(self.recipe.features or ())}
        for column, values, training in zip(self.columns, self.values, chosen, strict=True):
            if column.name not in inputs:
                continue
            leak = leak_of(training, target, classes=classes)
            if leak is not None:
                yield (
                    f"Column {column.name!r} gives {fitted.target!r} away: {leak}; if it is known only after that, "
                    "leave it out with --drop."
                )
            elif column.name not in asked and counts_up(values):
                yield (
                    f"Column {column.name!r} counts up by 1 from row to row; if it only numbers the rows, leave it out "
                    "with --drop."
                )


def draft(table: Table, recipe: Recipe) -> Draft:
    """What the columns of a table of inputs look like; never raises, but collects complaints.

    Where the recipe has columns of its own nothing is looked at.
    """
    if recipe.columns is not None:
        return Draft(table, recipe, (), (), (), ())
    columns, values, wrong, notes = [], [], [], []
    for name in table.names:
        column, remarks = kind_of(table, name, recipe)
        found: Values
        if column.kind == "category":
            found, complaints = names(table, name), list[str]()
        else:
            found, complaints = numbers(table, name, _NUMBERS) if column.kind == "number" else column.values(table)
        if recipe.impute == "none" and not complaints:
            gone = np.flatnonzero([value is None for value in found] if isinstance(found, list) else np.isnan(found))
            complaints = [absent(table, name, gone)] if len(gone) else []
        columns.append(column)
        values.append(found)
        wrong += complaints
        notes += remarks
    return Draft(table, recipe, tuple(columns), tuple(values), tuple(wrong), tuple(notes))


def _fitted(column: Column, values: Values, recipe: Recipe, asked: bool) -> tuple[Column, str | None]:
    """A column with what its training values decide, or why it is left out."""
    if isinstance(values, list):
        return _fitted_names(column, values, recipe, asked)
    present = values[~np.isnan(values)]
    if not len(present):
        return column, "no training row has a value"
    complete = len(present) == len(values)
    if complete and not asked and not recipe.raw and present.min() == present.max():
        return column, f"it is {column.shown(present[0])} in every training row"
    origin = math.floor(present.min()) if column.kind == "date" else 0.0
    fill = None if recipe.impute == "none" else _statistic(present - origin, recipe.impute)
    indicator = len(values) - len(present) >= _enough(len(values))
    return replace(column, origin=float(origin), fill=fill, indicator=indicator), None


def _enough(rows: int) -> int:
    """How many of these training rows a feature of 0 and 1 has to be about."""
    return min(RARE_ROWS, max(1, int(RARE_SHARE * rows)))


def _statistic(values: FloatArray, impute: str) -> float:
    """The fill value; equal on every machine and in every order of the rows."""
    ordered = np.sort(values)
    if impute == "mean":
        return math.fsum(ordered) / len(ordered)
    if impute == "median":
        low, high = float(ordered[(len(ordered) - 1) // 2]), float(ordered[len(ordered) // 2])
        return low + (high - low) / 2.0
    distinct, counts = np.unique(ordered, return_counts=True)
    return float(distinct[counts.argmax()])


def _fitted_names(column: Column, values: list[str | None], recipe: Recipe, asked: bool) -> tuple[Column, str | None]:
    counts = Counter(value for value in values if value is not None)
    if not counts:
        return column, "no training row has a value"
    if max(map(len, counts)) > LONGEST_NAME:
        return column, f"it holds texts of more than {LONGEST_NAME} characters"
    gone, enough = len(values) - sum(counts.values()), _enough(len(values))
    if len(counts) == 1 and not gone and not asked:
        return column, f"it is {next(iter(counts))!r} in every training row"
    order = sorted(counts, key=lambda name: (-counts[name], cells.in_order(name)))
    kept = [name for name in order if asked or counts[name] >= enough][:MOST_CATEGORIES]
    if not kept:
        return column, f"each of its values occurs in fewer than {enough} training rows"
    fill, known = order[0] if recipe.impute == "most-frequent" else None, tuple(sorted(kept, key=cells.in_order))
    return replace(column, categories=known, other=len(kept) < len(counts), indicator=gone >= enough, fill=fill), None


def kind_of(table: Table, name: str, recipe: Recipe) -> tuple[Column, list[str]]:
    """What the cells of a column are, and remarks."""
    if name in recipe.categorical:
        return Column(name, "category"), []
    if table.plain(name) is not None:
        return Column(name), []
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
    sized = [cell for cell in present if cell in units or cells.SIZED.fullmatch(cell)]
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
