"""Tables as people have them: CSV text, Parquet files and data frames, all as columns of text cells.

Text keeps what was written: a number is read from it exactly, and every complaint can quote its cell. Numbers of typed
tables become the shortest text that reads as the same number.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from certnet.io.cells import plain_numbers
from certnet.io.complaints import name_complaints, require_none
from certnet.io.csv_text import read_csv
from certnet.io.packed import reading
from certnet.runtime.machine import needed
from formulations import InputError
from formulations._validation import FloatArray

PARQUET = (".parquet", ".pq")
SHEETS = (".xlsx", ".xls", ".xlsm", ".ods", ".numbers")
"""Endings of spreadsheets, which have to be exported first."""
LARGEST_TABLE = 2**27
"""Cells of a typed table; a file of a kilobyte can describe more than any memory holds."""
_FRAME_INDEX = "__index_level_"
"""How pandas names the index of a frame in a Parquet file; it numbers or names rows."""


@dataclass(frozen=True, eq=False)
class Table:
    """Columns of text cells, with what is needed to complain about one of them.

    Attributes:
        name: of the file or frame, for sentences.
        names: d different names of columns, none of them empty.
        columns: the n cells of each column, stripped; "" where nothing is.
        lines: n numbers of the rows in their source.
        row: what these numbers count, "line" of a file or "row".
        decimal_comma: whether a comma may be a decimal sign.
        notes: sentences a user should read.
    """

    name: str
    names: tuple[str, ...]
    columns: tuple[Sequence[str], ...]
    lines: Sequence[int]
    row: str = "line"
    decimal_comma: bool = False
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.lines)

    @cached_property
    def _places(self) -> dict[str, int]:
        return {name: place for place, name in enumerate(self.names)}

    @cached_property
    def _plain(self) -> dict[str, FloatArray | None]:
        return {}

    def __contains__(self, name: str) -> bool:
        return name in self._places

    def column(self, name: str) -> Sequence[str]:
        """The cells of a column; KeyError where there is none of this name."""
        return self.columns[self._places[name]]

    def plain(self, name: str) -> FloatArray | None:
        """(n,) the numbers of a column that holds nothing else, with points; None of others. To be read only."""
        if name not in self._plain:
            self._plain[name] = plain_numbers(self.column(name))
        return self._plain[name]

    def where(self, row: int) -> str:
        """The place of a row, such as ``data.csv line 7``."""
        return f"{self.name} {self.row} {self.lines[row]}"

    def rows(self, chosen: Sequence[int]) -> "Table":
        columns = tuple([cells[row] for row in chosen] for cells in self.columns)
        return replace(self, columns=columns, lines=[self.lines[row] for row in chosen])

    @classmethod
    def of_frame(cls, frame: Any, name: str = "the data frame") -> "Table":
        """The columns of a pandas ``DataFrame``; its index is no column. Rows are counted from 0."""
        names = [str(column).strip() for column in frame.columns]
        _require_size(name, len(frame), len(names))
        columns = (frame.iloc[:, place].tolist() for place in range(len(names)))
        return _typed(name, names, columns, range(len(frame)))


def read_table(path: str | Path) -> Table:
    """The table of a .csv, .tsv or .txt file, or of a .parquet file; other endings are read as CSV text."""
    path = Path(path)
    with reading(path):
        if path.is_dir():
            raise InputError(f"{path} is a folder; name a CSV or Parquet file in it.")
        if path.suffix.lower() in SHEETS:
            raise InputError(f"{path.name} is a spreadsheet; export its sheet as 'CSV UTF-8' and name that file.")
        if path.suffix.lower() in PARQUET:
            return _read_parquet(path)
        return Table(path.name, *read_csv(path))


def _read_parquet(path: Path) -> Table:
    otherwise = f"{path.name} needs pyarrow; install certnet[tables], or export the table as CSV."
    pyarrow, parquet = needed("pyarrow", otherwise), needed("pyarrow.parquet", otherwise)
    path.stat()
    try:
        with parquet.ParquetFile(path) as file:
            names = [str(name).strip() for name in file.schema_arrow.names]
            _require_size(path.name, file.metadata.num_rows, len(names))
            kept = [place for place, name in enumerate(names) if not name.startswith(_FRAME_INDEX)]
            data = file.read()
            columns = (data.column(place).to_pylist() for place in kept)
            return _typed(path.name, [names[place] for place in kept], columns, range(1, data.num_rows + 1))
    except InputError:
        raise
    except (pyarrow.ArrowException, ValueError, OverflowError):
        raise InputError(f"{path.name} is no readable Parquet file; write it again, or export it as CSV.") from None


def _require_size(name: str, rows: int, columns: int) -> None:
    if not 0 <= rows * columns <= LARGEST_TABLE:
        raise InputError(f"{name} has {rows} rows of {columns} cells, more than certnet reads; leave rows out.")
    if not rows or not columns:
        raise InputError(f"{name} has no data; columns and rows are needed.")


def _typed(name: str, names: Sequence[str], columns: Iterable[Iterable[Any]], lines: Sequence[int]) -> Table:
    """The table of columns of Python objects."""
    wrong = [*name_complaints(name, names)]
    texts: list[list[str]] = []
    for column, cells in zip(names, columns, strict=True):
        try:
            texts.append([_text(cell) for cell in cells])
        except (TypeError, ValueError, OverflowError):
            wrong.append(
                f"{name} has cells in column {column!r} that are no text, float64 number or date; drop the column."
            )
    require_none(name, wrong)
    return Table(name, tuple(names), tuple(texts), lines, "row")


def _text(cell: Any) -> str:
    """What a cell of a typed table would be in a CSV file."""
    kind = type(cell).__name__
    if cell is None or kind in ("NaTType", "NAType"):
        return ""
    if isinstance(cell, str):
        return cell.strip()
    if isinstance(cell, bool | int):
        return str(cell)
    if isinstance(cell, float):
        return "" if math.isnan(cell) else repr(float(cell))
    if kind in ("Timestamp", "datetime", "date", "time"):
        return str(cell.isoformat())
    if kind in ("datetime64", "timedelta64"):  # of nanoseconds ``item`` would make numbers
        return _text(cell.astype(f"{kind}[us]").item())
    if hasattr(cell, "item"):  # numbers of NumPy
        return _text(cell.item())
    if kind in ("Decimal", "Fraction"):
        return _text(float(cell))
    raise TypeError
