"""A CSV table as a data set."""

from pathlib import Path

import numpy as np

from certnet.io.csv_table import Table, read_table
from certnet.io.dataset import DataSet, Task
from certnet.io.numbers import LARGEST, parse_number
from certnet.io.targets import Label, Outputs, class_list, class_name, guess_task, one_hot
from formulations import InputError
from formulations._validation import FloatArray

_MISSING = frozenset({"", "na", "n/a", "#n/a", "nan", "null", "none", "?", "-"})
_INFINITE = frozenset({"inf", "+inf", "-inf", "infinity", "+infinity", "-infinity"})


def read_csv(path: Path, *, target: str | None, task: Task | None, outputs: Outputs | None = None) -> DataSet:
    """Read a CSV file; ``target`` names the target column, the last one by default.

    Without a ``task`` the target decides (``guess_task``). With ``outputs`` classes are those of a network.

    Raises:
        InputError: a table that cannot be read, an unknown target, or cells that are missing or not numbers.
        OSError: the file cannot be read.
    """
    table = read_table(path)
    target = table.header[-1] if target is None else target.strip()
    if target not in table.header:
        raise InputError(f"{table.name} has no column {target!r}; its columns are {', '.join(table.header)}.")
    if len(table.header) < 2:
        raise InputError(
            f"{table.name} has only the column {target!r}; a target and at least one feature are needed, "
            "separated by commas, semicolons or tabs."
        )
    column = table.header.index(target)
    features = [index for index in range(len(table.header)) if index != column]
    X = np.column_stack([_numbers(table, index) for index in features])
    names = tuple(table.header[index] for index in features)
    source = f"{table.name}, column {target!r},"
    labels: list[Label] = []
    notes: tuple[str, ...] = ()
    if task != "regression":
        labels = _labels(table, column)
    if task is None:
        task, note = guess_task(labels, source=source)
        notes = () if note is None else (note,)
    if task == "regression":
        Y = _numbers(table, column)[:, None]
        return DataSet(name=path.stem, task=task, X=X, Y=Y, classes=None, feature_names=names, notes=notes)
    classes = class_list(labels, source=source) if outputs is None else outputs.classes(labels, source=source)
    Y = one_hot(labels, classes, source=source)
    class_names = tuple(class_name(label) for label in classes)
    return DataSet(name=path.stem, task=task, X=X, Y=Y, classes=class_names, feature_names=names, notes=notes)


def _labels(table: Table, column: int) -> list[Label]:
    """Numbers where nothing else is there but signs of missing or infinite values, which are errors then; else text."""
    cells = [row[column] for row in table.rows]
    numbers = [parse_number(cell, decimal_comma=table.delimiter != ",") for cell in cells]
    others = {cell.lower() for cell, number in zip(cells, numbers, strict=True) if number is None}
    if others <= _MISSING | _INFINITE and len(others) < len(set(cells)):
        return list(_numbers(table, column))
    for line, cell in zip(table.lines, cells, strict=True):
        if not cell:
            raise _missing(table, column, line)
    return list(cells)


def _numbers(table: Table, column: int) -> FloatArray:
    """A column as numbers. Commas are decimal signs unless they separate the cells."""
    decimal_comma = table.delimiter != ","
    cells = [row[column] for row in table.rows]
    commas = any("," in cell for cell in cells)
    values = np.empty(len(cells))
    for index, (line, cell) in enumerate(zip(table.lines, cells, strict=True)):
        value = parse_number(cell, decimal_comma=decimal_comma)
        where = f"{table.name} line {line}, column {table.header[column]!r},"
        if value is None:
            if cell.lower() in _MISSING:
                raise _missing(table, column, line)
            if cell.lower() in _INFINITE:
                raise InputError(f"{where} holds {cell}; remove or replace infinite values.")
            raise InputError(f"{where} holds {cell!r}, which is not a number; delete the column or write numbers.")
        if decimal_comma and commas and "." in cell:
            raise InputError(
                f"{where} holds {cell!r} with a point where other cells of the column have a decimal comma; "
                "use one decimal sign and no thousands separators."
            )
        if not (abs(value) <= LARGEST):
            raise InputError(f"{where} holds {cell}, which is beyond {LARGEST:g}; rescale the column.")
        values[index] = value
    return values


def _missing(table: Table, column: int, line: int) -> InputError:
    return InputError(
        f"{table.name} line {line} has no value in column {table.header[column]!r}; fill it in or remove the row."
    )
