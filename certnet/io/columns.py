"""What turns the columns of a table into features: fitted to training rows, kept with the network, applied by name."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from certnet.io.cells import BOOLEANS, DATE_FORMATS, ISO, date_text, is_day, parse_date, parse_time, time_text
from certnet.io.readings import absent, names, numbers, separators, words
from certnet.io.tables import Table, require_none
from certnet.runtime.records import of_json, to_json
from certnet.runtime.wording import listed
from formulations import InputError
from formulations._validation import FloatArray

Kind = Literal["number", "category", "boolean", "date", "time"]
Impute = Literal["median", "mean", "most-frequent", "none"]
LARGEST_ENTRIES = 2**29
"""Entries of a matrix of features, 4 GB."""
OTHER, ABSENT = "(other)", "(missing)"


@dataclass(frozen=True)
class Column:
    """One column of a table, and the features that it becomes.

    Attributes:
        name: in the header.
        kind: "number"; "boolean", which is 1 for yes and 0 for no; "date", in days since ``origin``; "time" of day, in
            hours since midnight; or "category", a feature of 0 and 1 for each of ``categories``.
        fill: what a missing value counts as: a number, or a category. None where there is nothing: then missing values
            are refused, and those of a category are 0 in all of its features.
        indicator: whether a further feature is 1 where the value is missing.
        categories: names, in the order of their features.
        other: whether a further feature is 1 for every name that is not among ``categories``.
        form: how dates are written, ``ISO`` or as for ``strptime``, without the time.
        origin: of dates, in days since 1970-01-01.
    """

    name: str
    kind: Kind = "number"
    fill: float | str | None = None
    indicator: bool = False
    categories: tuple[str, ...] = ()
    other: bool = False
    form: str | None = None
    origin: float = 0.0

    @property
    def feature_names(self) -> tuple[str, ...]:
        """Of the features, in order; ``colour=red`` for a category."""
        if self.kind != "category":
            return (self.name, f"{self.name} is missing") if self.indicator else (self.name,)
        last = [*([OTHER] if self.other else []), *([ABSENT] if self.indicator else [])]
        return tuple(f"{self.name}={value}" for value in (*self.categories, *last))

    def encode(self, table: Table, *, refuse_missing: bool) -> tuple[FloatArray, list[str], list[str]]:
        """(n, features) entries, complaints about cells, and notes."""
        if self.kind == "category":
            wrong = list[str]()
            entries, gone, notes = self._encode_names(table)
        else:
            values, wrong = self.values(table)
            gone, notes = np.isnan(values), separators(table, self.name) if self.kind == "number" else []
            known = np.where(gone, float(self.fill or 0.0), values - self.origin)
            entries = np.column_stack([known, gone] if self.indicator else [known])
            refuse_missing = self.fill is None
        # A cell that cannot be read has no value either, but is complained about already.
        if gone.any() and refuse_missing and not wrong:
            wrong = [absent(table, self.name, np.flatnonzero(gone))]
        elif gone.any() and not self.indicator:
            count = np.count_nonzero(gone)
            values_gone = "a value" if count == 1 else f"{count} of {len(gone)} values"
            lack = f"{table.name} lacks {values_gone} of column {self.name!r}, to count as {self._filling}."
            notes = [lack, *notes]
        return entries, wrong, notes

    @property
    def flags(self) -> tuple[bool, ...]:
        """Which of the features are 0 or 1 by nature."""
        return (self.kind in ("category", "boolean"), *(True for _ in self.feature_names[1:]))

    def values(self, table: Table) -> tuple[FloatArray, list[str]]:
        """(n,) numbers, dates in days since 1970-01-01; NaN where missing; and complaints about cells."""
        if self.kind == "number":
            return numbers(table, self.name)
        parsers = {"boolean": lambda cell: BOOLEANS.get(cell.lower()), "time": parse_time, "date": self._day}
        return words(table, self.name, self.kind, parsers[self.kind], self.form or ISO)

    def _day(self, cell: str) -> float | None:
        day = parse_date(cell, self.form or ISO)
        # Dates of typed tables come as ISO has them, whatever the text was that the column was learned from.
        return parse_date(cell, ISO) if day is None else day

    def _encode_names(self, table: Table) -> tuple[FloatArray, NDArray[np.bool_], list[str]]:
        """(n, features) entries, which values are missing, and notes about those that are new."""
        found = names(table, self.name)
        places: dict[str | None, int] = {name: place for place, name in enumerate(self.categories)}
        nowhere = len(self.feature_names)
        other = len(self.categories) if self.other else nowhere
        missing = nowhere - 1 if self.indicator else nowhere
        fill = nowhere if self.fill is None else places[str(self.fill)]
        entries = np.zeros((len(found), nowhere + 1))
        gone = np.array([name is None for name in found], dtype=bool)
        at = np.array([places.get(name, other) for name in found], dtype=np.int64)
        entries[np.arange(len(at)), np.where(gone, fill, at)] = 1.0
        entries[gone, missing] = 1.0
        new = sorted({name for name in found if name is not None and name not in places})
        seen = f"{table.name} has values of column {self.name!r} that no training row has: {listed(new)}"
        notes = [f"{seen}; they count as none of the known ones."] if new and not self.other else []
        return entries[:, :nowhere], gone, notes

    @property
    def is_consistent(self) -> bool:
        """Whether its parts go together, as those of a fitted column do."""
        known, by_name = {*self.categories}, self.kind == "category"
        return (
            bool(self.name and self.feature_names)
            and len(known) == len(self.categories)
            and (by_name or not known)
            and (self.kind == "date") == (self.form in DATE_FORMATS)
            and (self.fill is None or (self.fill in known if by_name else isinstance(self.fill, float)))
            and (by_name or self.fill is not None or not self.indicator)
            and (self.kind == "date" or self.origin == 0.0)
            and (self.kind != "date" or (is_day(self.origin) and is_day(self.origin + float(self.fill or 0.0))))
        )

    @property
    def _filling(self) -> str:
        if isinstance(self.fill, float):
            return self.shown(self.fill + self.origin)
        return "none of the known ones" if self.fill is None else repr(self.fill)

    def shown(self, value: float) -> str:
        """A number, date or time of this column as people write it."""
        return {"date": date_text, "time": time_text}.get(self.kind, "{:g}".format)(value)

    def sentence(self, impute: str) -> str | None:
        """What is done to this column; None for a number that is taken as it is."""
        also = ", and one for all others" if self.other else ""
        named = f"a feature of 0 and 1 for each of {listed(self.categories, 6)}{also}"
        read = {
            "boolean": "1 for yes or true, 0 for no or false",
            "date": f"days since {date_text(self.origin)}",
            "time": "hours since midnight",
            "category": f"a feature that is 1 for {self.categories[0]}{also}" if len(self.categories) == 1 else named,
        }
        said = [read[self.kind]] if self.kind in read else []
        if self.indicator:
            filled = "" if self.fill is None else f"missing values count as {self._filling} ({impute}), and "
            said.append(f"{filled}a feature is 1 where the value is missing")
        return f"{self.name}: {'; '.join(said)}" if said else None


def names_of(columns: "Columns | None", d: int) -> tuple[str, ...]:
    """d names of features, as the columns give them; else x1, x2, …"""
    return tuple(f"x{place}" for place in range(1, d + 1)) if columns is None else columns.feature_names


@dataclass(frozen=True)
class Columns:
    """What turns a table into the n×d features of a network. Columns are found by name, in any order.

    Attributes:
        columns: in the order of their features.
        impute: how fill values were chosen on the training rows; with "none" missing values are refused.
        left_out: names of columns that are no input, each with the reason.
        target: name of the column that was learned, or None.
    """

    columns: tuple[Column, ...]
    impute: Impute = "none"
    left_out: tuple[tuple[str, str], ...] = ()
    target: str | None = None

    @classmethod
    def numbers(cls, names: Sequence[str], *, target: str | None = None) -> "Columns":
        """All of these are numbers, and none may be missing."""
        return cls(tuple(Column(name) for name in names), target=target)

    @property
    def inputs(self) -> tuple[str, ...]:
        return tuple(column.name for column in self.columns)

    @cached_property
    def feature_names(self) -> tuple[str, ...]:
        return tuple(name for column in self.columns for name in column.feature_names)

    @property
    def places(self) -> dict[tuple[Any, ...], range]:
        """Where each column's features stand, by its name and what else two networks have to mean alike."""
        ends = accumulate(len(column.feature_names) for column in self.columns)
        return {
            (column.name, column.kind, column.origin, column.feature_names): range(end - len(column.feature_names), end)
            for column, end in zip(self.columns, ends, strict=True)
        }

    @cached_property
    def flags(self) -> NDArray[np.bool_]:
        """(d,) which features are 0 or 1 by nature; standardisation leaves them alone."""
        return np.array([flag for column in self.columns for flag in column.flags], dtype=bool)

    def encode(self, table: Table) -> tuple[FloatArray, tuple[str, ...]]:
        """The features (n×d) of a table's rows, and sentences about what was ignored, unknown or filled in."""
        lacking = [name for name in self.inputs if name not in table]
        if lacking:
            raise InputError(
                f"{table.name} lacks {'the column' if len(lacking) == 1 else 'columns'} {listed(lacking, 20)}, which "
                "the network was trained with; add what is missing, in any order."
            )
        d = len(self.feature_names)
        if len(table) * d > LARGEST_ENTRIES:
            raise InputError(f"{table.name} makes {len(table)} rows of {d} features, too many at once; split the file.")
        X = np.empty((len(table), d))
        known = {*self.inputs, *dict(self.left_out), self.target}
        ignored = [name for name in table.names if name not in known]
        said = f"{table.name} has columns the network was not trained with, which are ignored: {listed(ignored)}."
        wrong, notes, start = list[str](), [said] if ignored else [], 0
        for column in self.columns:
            entries, complaints, remarks = column.encode(table, refuse_missing=self.impute == "none")
            X[:, start : start + entries.shape[1]] = entries
            start += entries.shape[1]
            wrong += complaints
            notes += remarks
        require_none(table.name, wrong)
        return X, tuple(notes)

    def sentences(self) -> tuple[str, ...]:
        """The recipe: a line for each column that is not a number taken as it is, or left out."""
        treated = (column.sentence(self.impute) for column in self.columns)
        out = (f"{name}: left out, because {reason}" for name, reason in self.left_out)
        return (*(sentence for sentence in treated if sentence is not None), *out)

    def to_json(self) -> dict[str, Any]:
        return to_json(self)

    @classmethod
    def from_json(cls, value: object) -> "Columns":
        """Read what ``to_json`` made; all else is an InputError."""
        try:
            found = of_json(cls, value)
        except ValueError:
            found = cls(())
        known = {*found.inputs}
        others, whole = {found.target, *dict(found.left_out)}, all(column.is_consistent for column in found.columns)
        if not known or len(known) < len(found.inputs) or known & others or not whole:
            raise InputError("The recipe of the columns is damaged; train the network again.")
        return found
