"""CSV files as spreadsheets export them, read into a table of text cells."""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

from certnet.io.numbers import parse_number
from formulations import InputError

_DELIMITERS = (",", ";", "\t")


@dataclass(frozen=True)
class Table:
    """A header, the text cells of each row, and the line of the file each row starts at."""

    name: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    lines: tuple[int, ...]
    delimiter: str


def read_table(path: Path) -> Table:
    """Read a CSV file: UTF-8 (a byte order mark is fine), comma, semicolon or tab, quoted cells.

    Blank lines and trailing columns without any content are ignored. A first line ``sep=;`` is obeyed.

    Raises:
        InputError: empty, not text, no header, duplicate or missing column names, ragged rows.
        OSError: the file cannot be read.
    """
    text = _decode(path)
    skipped, delimiter = _delimiter(text)
    records = _records(text, delimiter, path.name, skipped)
    if not records:
        raise InputError(f"{path.name} is empty; a header line and data rows are needed.")
    header = _header(records[0][1], [cells for _, cells in records[1:]], path.name)
    rows = []
    for line, cells in records[1:]:
        if len(cells) > len(header) and not any(cells[len(header) :]):
            cells = cells[: len(header)]
        if len(cells) != len(header):
            raise InputError(
                f"{path.name} line {line} has {len(cells)} cells where the header has {len(header)}; "
                "give every row the same number of cells."
            )
        rows.append(tuple(cells))
    if not rows:
        raise InputError(f"{path.name} has a header but no data rows; add rows.")
    return Table(path.name, header, tuple(rows), tuple(line for line, _ in records[1:]), delimiter)


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


def _delimiter(text: str) -> tuple[int, str]:
    """(lines to skip, delimiter): the one that a ``sep=`` line names, else that of most cells in the header."""
    first = text.split("\n", 1)[0]
    if first.lower().startswith("sep=") and first[4:] in _DELIMITERS:
        return 1, first[4:]
    header = next(line for line in io.StringIO(text) if line.strip())[: csv.field_size_limit()]
    return 0, max(_DELIMITERS, key=lambda delimiter: len(next(csv.reader([header], delimiter=delimiter), [])))


def _records(text: str, delimiter: str, name: str, skipped: int) -> list[tuple[int, list[str]]]:
    """(line, stripped cells) of every record that has any content."""
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
