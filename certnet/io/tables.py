"""Tables as people have them: CSV text, Parquet files and data frames, all as columns of text cells.

Text keeps what was written: a number is read from it exactly, and every complaint can quote its cell. Numbers of typed
tables become the shortest text that reads as the same number. pandas reads CSV too, but does not say in which line a
cell stands where others hold line breaks, nor which cells a row has too many.
"""

import csv
import io
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from certnet.io.cells import parse_number, plain_numbers
from certnet.io.packed import read_bytes, reading
from certnet.runtime.machine import needed
from certnet.runtime.wording import listed, shortened
from formulations import InputError
from formulations._validation import FloatArray

PARQUET = (".parquet", ".pq")
SHEETS = (".xlsx", ".xls", ".xlsm", ".ods", ".numbers")
"""Endings of spreadsheets, which have to be exported first."""
LARGEST_TABLE = 2**27
"""Cells of a typed table; a file of a kilobyte can describe more than any memory holds."""
LARGEST_FILE = 2**29
"""Bytes of a CSV file; its cells take several times as much memory."""
_DELIMITERS = (",", ";", "\t")
MOST = 12
"""Complaints about one table that are shown."""
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
        return _read_csv(path)


def _read_csv(path: Path) -> Table:
    """The table in a text.

    Text is UTF-8 (a byte order mark is fine) or UTF-16, with comma, semicolon or tab, quoted cells and a header line.
    Blank lines and trailing columns without any content are ignored. A first line ``sep=;`` is obeyed. A first column
    without a name that numbers the rows is left out.
    """
    text = _decode(path)
    first = text.split("\n", 1)[0]
    skipped = first.lower().startswith("sep=") and first[4:] in _DELIMITERS
    line = next((line for line in io.StringIO(text) if line.strip()), "")[: csv.field_size_limit()]
    usual = max(_DELIMITERS, key=lambda mark: len(next(csv.reader([line], delimiter=mark), [])))  # of most cells
    delimiter = first[4:] if skipped else usual
    records = _records(text, delimiter, path.name, int(skipped))
    if not records:
        raise InputError(f"{path.name} is empty; a header line and data rows are needed.")
    (_, header), *data = records
    while header and not header[-1]:
        header.pop()
    lines, rows = [line for line, _ in data], [cells for _, cells in data]
    if not rows:
        raise InputError(f"{path.name} has a header but no data rows; add rows.")
    if _is_data(header, rows):
        raise InputError(
            f"{path.name} seems to have no header line, because its first line looks like data; add one with column "
            "names."
        )
    wrong = [*_trimmed(rows, lines, len(header), path.name)]
    columns = () if wrong else tuple(zip(*rows, strict=True))
    notes: tuple[str, ...] = ()
    numbered = columns and len({*columns[0]}) == len(rows) and all(c.isascii() and c.isdigit() for c in columns[0])
    if numbered and not header[0] and len(header) > 1:
        # The index of a data frame, or of some of its rows.
        header, columns = header[1:], columns[1:]
        notes = (f"The first column of {path.name} has no name and numbers the rows; it is left out.",)
    require_none(path.name, [*name_complaints(path.name, header), *wrong])
    return Table(path.name, tuple(header), columns, lines, decimal_comma=delimiter != ",", notes=notes)


def _trimmed(rows: list[list[str]], lines: list[int], width: int, name: str) -> Iterator[str]:
    """Leave out empty cells beyond the header, and say which rows have another length."""
    odd = []
    for row, cells in enumerate(rows):
        if not any(cells[width:]):
            rows[row] = cells[:width]
        if len(rows[row]) != width:
            odd.append((lines[row], len(cells)))
    if odd:
        line, count = odd[0]
        more = listed([line for line, _ in odd[1:]])
        others = f" (so have others: {'line' if len(odd) == 2 else 'lines'} {more})" if odd[1:] else ""
        yield (
            f"{name} line {line} has {count} cells where the header has {width}{others}; give every row the same "
            "number of cells."
        )


def _decode(path: Path) -> str:
    raw = read_bytes(path, LARGEST_FILE)
    encoding = "utf-16" if raw.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        text = raw.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise InputError(
            f"{path.name} is not UTF-8 text (first bad byte in line {line}); export it again as 'CSV UTF-8'."
        ) from None
    if "\0" in text:
        line = text[: text.index("\0")].count("\n") + 1
        raise InputError(f"{path.name} is no text (a NUL in line {line}); export it again as 'CSV UTF-8'.")
    return text


def _records(text: str, delimiter: str, name: str, skipped: int) -> list[tuple[int, list[str]]]:
    """(line, stripped cells) of every record that has any content, after this number of lines."""
    stream = io.StringIO(text, newline="")
    for _ in range(skipped):
        stream.readline()
    reader = csv.reader(stream, delimiter=delimiter, strict=True)
    records = []
    line = skipped + 1
    try:
        for cells in reader:
            stripped = [cell.strip() for cell in cells]
            if any(stripped):
                records.append((line, stripped))
            line = skipped + reader.line_num + 1
    except csv.Error as error:
        raise InputError(f"{name} is not a CSV file from line {line} on ({error}); check the quotes there.") from None
    return records


def _is_data(cells: list[str], rows: list[list[str]]) -> bool:
    """Whether a first line has numbers only, or numbers and one word that comes again below in its column."""
    words = [index for index, cell in enumerate(cells) if parse_number(cell, decimal_comma=True) is None]
    if not words:
        return True
    column = words[0]
    again = any(row[column : column + 1] == [cells[column]] for row in rows)
    return len(words) == 1 < len(cells) and cells[column] != "" and again


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
