"""CSV files as spreadsheets export them: a table of text cells, and the data set that it holds."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from certnet.io.dataset import DataSet, Task
from certnet.io.targets import LARGEST, Label, Outputs, coded, guess_task, parse_number
from formulations import InputError
from formulations._validation import FloatArray

_DELIMITERS = (",", ";", "\t")
_MISSING = frozenset({"", "na", "n/a", "#n/a", "nan", "null", "none", "?", "-"})
_INFINITE = frozenset({"inf", "+inf", "-inf", "infinity", "+infinity", "-infinity"})


def read_csv(
    path: Path, *, target: str | None, task: Task | None, weight: str | None = None, outputs: Outputs | None = None
) -> DataSet:
    """Read a CSV file: UTF-8 (a byte order mark is fine), comma, semicolon or tab, quoted cells, a header line.

    Blank lines and trailing columns without any content are ignored. A first line ``sep=;`` is obeyed. ``target``
    names the target column, by default the last one that is not that of the weights. Without a ``task`` the target
    decides (``guess_task``). With ``outputs`` classes are those of a network.
    """
    table = _read_table(path)
    weighing = None if weight is None else table.position(weight.strip())
    others = [index for index in range(len(table.header)) if index != weighing]
    last = others[-1] if others else 0
    column = last if target is None else table.position(target.strip())
    target, features = table.header[column], [index for index in others if index != column]
    if column == weighing:
        raise InputError(f"The column {target!r} of {table.name} cannot hold targets and weights; name two columns.")
    if not features:
        besides = "the column" if weighing is None else "the weights and the column"
        raise InputError(
            f"{table.name} has only {besides} {target!r}; a target and at least one feature are needed, "
            "separated by commas, semicolons or tabs."
        )
    source = f"{table.name}, column {target!r},"
    X = np.column_stack([table.numbers(index) for index in features])
    labels = [] if task == "regression" else table.labels(column)
    note = None
    if task is None:
        task, note = guess_task(labels, source=source)
    names = None
    if task == "regression":
        Y = table.numbers(column)[:, None]
    else:
        (Y,), names = coded([(source, labels)], outputs)
    return DataSet(
        name=path.stem,
        task=task,
        X=X,
        Y=Y,
        classes=names,
        sample_weight=None if weighing is None else table.weights(weighing),
        feature_names=tuple(table.header[index] for index in features),
        notes=() if note is None else (note,),
    )


@dataclass(frozen=True)
class _Table:
    """A header, the text cells of each row, and the line of the file each row starts at.

    Commas are decimal signs unless they separate the cells.
    """

    name: str
    header: tuple[str, ...]
    rows: list[list[str]]
    lines: list[int]
    decimal_comma: bool

    def labels(self, column: int) -> list[Label]:
        """Numbers where nothing else is there but signs of missing or infinite values, which are errors; else text."""
        cells = [row[column] for row in self.rows]
        others = {cell.lower() for cell in cells if parse_number(cell, decimal_comma=self.decimal_comma) is None}
        if others <= _MISSING | _INFINITE and len(others) < len(set(cells)):
            return list(self.numbers(column))
        for line, cell in zip(self.lines, cells, strict=True):
            if not cell:
                raise self._missing(column, line)
        return list(cells)

    def position(self, name: str) -> int:
        """The column of this name."""
        if name not in self.header:
            raise InputError(f"{self.name} has no column {name!r}; its columns are {', '.join(self.header)}.")
        return self.header.index(name)

    def weights(self, column: int) -> FloatArray:
        """A column as weights of rows."""
        found = self.numbers(column)
        if found.min() < 0:
            line = self.lines[int(np.argmax(found < 0))]
            raise InputError(
                f"{self.name} line {line} has a negative weight in column {self.header[column]!r}; a weight says how "
                "often a row occurs."
            )
        return found

    def numbers(self, column: int) -> FloatArray:
        """A column as numbers."""
        cells = [row[column] for row in self.rows]
        commas = self.decimal_comma and any("," in cell for cell in cells)
        return np.array([self._number(column, *entry, commas) for entry in zip(self.lines, cells, strict=True)])

    def _number(self, column: int, line: int, cell: str, commas: bool) -> float:
        value = parse_number(cell, decimal_comma=self.decimal_comma)
        pointed = commas and "." in cell
        if value is not None and not pointed and abs(value) <= LARGEST:
            return value
        where = f"{self.name} line {line}, column {self.header[column]!r},"
        if value is None:
            if cell.lower() in _MISSING:
                raise self._missing(column, line)
            if cell.lower() in _INFINITE:
                raise InputError(f"{where} holds {cell}; remove or replace infinite values.")
            raise InputError(f"{where} holds {cell!r}, which is not a number; delete the column or write numbers.")
        if pointed:
            raise InputError(
                f"{where} holds {cell!r} with a point where other cells of the column have a decimal comma; "
                "use one decimal sign and no thousands separators."
            )
        raise InputError(f"{where} holds {cell}, which is beyond {LARGEST:g}; rescale the column.")

    def _missing(self, column: int, line: int) -> InputError:
        return InputError(
            f"{self.name} line {line} has no value in column {self.header[column]!r}; fill it in or remove the row."
        )


def _read_table(path: Path) -> _Table:
    """The cells of a file that is text, has a header without missing or repeated names, and rows of equal length."""
    text = _decode(path)
    first = text.split("\n", 1)[0]
    skipped = first.lower().startswith("sep=") and first[4:] in _DELIMITERS
    delimiter = first[4:] if skipped else _delimiter(text)
    records = _records(text, delimiter, path.name, int(skipped))
    if not records:
        raise InputError(f"{path.name} is empty; a header line and data rows are needed.")
    lines, rows = [line for line, _ in records[1:]], [cells for _, cells in records[1:]]
    header = _header(records[0][1], rows, path.name)
    for row, (line, cells) in enumerate(zip(lines, rows, strict=True)):
        if not any(cells[len(header) :]):
            rows[row] = cells[: len(header)]
        if len(rows[row]) != len(header):
            raise InputError(
                f"{path.name} line {line} has {len(cells)} cells where the header has {len(header)}; "
                "give every row the same number of cells."
            )
    if not rows:
        raise InputError(f"{path.name} has a header but no data rows; add rows.")
    return _Table(path.name, header, rows, lines, delimiter != ",")


def _decode(path: Path) -> str:
    raw = path.read_bytes()
    if not raw.strip():
        raise InputError(f"{path.name} is empty; a header line and data rows are needed.")
    encoding = "utf-16" if raw.startswith((b"\xff\xfe", b"\xfe\xff")) else "utf-8-sig"
    try:
        return raw.decode(encoding).replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        line = raw[: error.start].count(b"\n") + 1
        raise InputError(
            f"{path.name} is not UTF-8 text (first bad byte in line {line}); export it again as 'CSV UTF-8'."
        ) from None


def _delimiter(text: str) -> str:
    """The delimiter of most cells in the header."""
    header = next(line for line in io.StringIO(text) if line.strip())[: csv.field_size_limit()]
    return max(_DELIMITERS, key=lambda delimiter: len(next(csv.reader([header], delimiter=delimiter), [])))


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


def _header(cells: list[str], rows: list[list[str]], name: str) -> tuple[str, ...]:
    while cells and not cells[-1]:
        cells = cells[:-1]
    if _is_data(cells, rows):
        raise InputError(
            f"{name} seems to have no header line, because its first line looks like data; add one with column names."
        )
    for position, cell in enumerate(cells):
        if not cell:
            raise InputError(f"{name} has no name for column {position + 1}; name the column or delete it.")
        if cell in cells[:position]:
            raise InputError(f"{name} has two columns named {cell!r}; give every column its own name.")
    return tuple(cells)


def _is_data(cells: list[str], rows: list[list[str]]) -> bool:
    """Whether a first line has numbers only, or numbers and one word that comes again below in its column."""
    words = [index for index, cell in enumerate(cells) if parse_number(cell, decimal_comma=True) is None]
    if not words:
        return True
    column = words[0]
    again = any(row[column : column + 1] == [cells[column]] for row in rows)
    return len(words) == 1 < len(cells) and cells[column] != "" and again
