"""CSV files as spreadsheets export them: dialect, encoding, header, and where each row begins.

pandas reads CSV too, but does not say in which line a cell stands where others hold line breaks, nor which cells a row
has too many; both are what people need to put a file right.
"""

import csv
import io
from collections.abc import Iterator
from pathlib import Path

from certnet.io.cells import parse_number
from certnet.io.complaints import name_complaints, require_none
from certnet.io.packed import read_bytes
from certnet.runtime.wording import listed
from formulations import InputError

_DELIMITERS = (",", ";", "\t")
LARGEST_FILE = 2**29
"""Bytes of a CSV file; its cells take several times as much memory."""


def read_csv(path: Path) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...], list[int], str, bool, tuple[str, ...]]:
    """The fields of a ``Table`` after its name.

    Text is UTF-8 (a byte order mark is fine) or UTF-16, with comma, semicolon or tab, quoted cells and a header line.
    Blank lines and trailing columns without any content are ignored. A first line ``sep=;`` is obeyed. A first column
    without a name that numbers the rows is left out.
    """
    text = _decode(path)
    first = text.split("\n", 1)[0]
    skipped = first.lower().startswith("sep=") and first[4:] in _DELIMITERS
    delimiter = first[4:] if skipped else _delimiter(text)
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
    return tuple(header), columns, lines, "line", delimiter != ",", notes


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
        others = f" (lines {listed([line for line, _ in odd[1:]])} are of another length too)" if odd[1:] else ""
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


def _delimiter(text: str) -> str:
    """The delimiter of most cells in the header."""
    header = next((line for line in io.StringIO(text) if line.strip()), "")[: csv.field_size_limit()]
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


def _is_data(cells: list[str], rows: list[list[str]]) -> bool:
    """Whether a first line has numbers only, or numbers and one word that comes again below in its column."""
    words = [index for index, cell in enumerate(cells) if parse_number(cell, decimal_comma=True) is None]
    if not words:
        return True
    column = words[0]
    again = any(row[column : column + 1] == [cells[column]] for row in rows)
    return len(words) == 1 < len(cells) and cells[column] != "" and again
