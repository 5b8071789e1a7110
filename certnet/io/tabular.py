"""From a table to a data set: which column is what, rows without a target, targets, weights, and then features."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from certnet.io.cells import EXACT, INFINITE, MISSING, MISSING_NAME, quantity
from certnet.io.columns import Columns
from certnet.io.columns_fit import draft, ends_in_total
from certnet.io.dataset import MOST_NUMBERED_CLASSES, DataSet, Outputs, Recipe, Task, coded, guess_task
from certnet.io.readings import absent, names, numbers, separators
from certnet.io.tables import Table, require_none
from certnet.runtime.wording import listed
from formulations import InputError
from formulations._validation import FloatArray, IntArray


def tabular(
    table: Table, recipe: Recipe, task: Task | None, outputs: Outputs | None
) -> tuple[DataSet, Callable[[IntArray], DataSet]]:
    """What a table holds, by its recipe, with an X without columns; all that is wrong with it comes at once.

    What comes with it makes the features of all rows, as training rows of these numbers say, or the recipe's columns.
    """
    target, weighing, inputs = _roles(table, recipe)
    cells = table.column(target)
    source = f"{table.name}, column {target!r},"
    labels, wrong = _labels(table, target, task)
    known = [row for row, label in enumerate(labels) if label is not None]
    given = [labels[row] for row in known]
    notes = [*table.notes]
    if not known:
        raise InputError(f"{source} holds no value; name another column with --target.")
    if len(known) < len(cells):
        gone = sorted({*range(len(cells))} - {*known})
        many = len(gone) > 1
        notes.append(
            f"{table.name} has {len(gone)} row{'s' if many else ''} without a value of the target {target!r} "
            f"({table.row}{'s' if many else ''} {listed([table.lines[row] for row in gone])}), left out."
        )
        table = table.rows(known)
    Y, classes = np.zeros((len(given), 0)), None
    try:
        if task is None and not wrong:
            task, note = guess_task(given, source=source)
            notes += [] if note is None else [note]
        if task == "classification" and any(isinstance(label, float) and abs(label) >= EXACT for label in given):
            # As numbers different ones would be one class.
            given = [name or "" for name in names(table, target)]
        if task == "regression":
            Y = np.array(given, dtype=np.float64)[:, None]
        elif not wrong:
            (Y,), classes = coded([(source, given)], outputs)
    except InputError as error:
        wrong.append(str(error))
    weights = None
    if weighing is not None:
        weights, complaints = _weights(table, weighing)
        wrong += complaints
    if recipe.plain:
        recipe = replace(recipe, columns=Columns.numbers(inputs, target=target))
    kept = replace(table, names=tuple(inputs), columns=tuple(table.column(name) for name in inputs), notes=())
    found = draft(kept, recipe)
    require_none(table.name, [*wrong, *found.wrong])
    numeric = [*zip(inputs, found.values, strict=False), *([(target, Y[:, 0])] if task == "regression" else [])]
    summed = [name for name, values in numeric if isinstance(values, np.ndarray) and ends_in_total(values)]
    if summed:
        notes.append(
            f"The last row of {table.name} ({table.row} {table.lines[-1]}) holds the sum of the others in "
            f"{listed(summed)}; if it is a row of totals, remove it."
        )
    counted = [*([target] if task == "regression" else []), *([] if weighing is None else [weighing])]
    notes += [remark for name in counted for remark in separators(table, name)]
    data = DataSet(
        name=Path(table.name).stem,
        task=task or "classification",
        X=np.zeros((len(given), 0)),
        Y=Y,
        classes=classes,
        sample_weight=weights,
        notes=(*notes, *found.notes),
    )

    def with_features(train: IntArray) -> DataSet:
        columns, notes = recipe.columns, tuple[str, ...]()
        if columns is None:
            goal = data.Y.argmax(axis=1).astype(np.float64) if data.task == "classification" else data.Y[:, 0]
            columns, notes = found.fit(train, goal, target, classes=data.task == "classification")
        X, remarks = columns.encode(kept)
        return replace(data, X=X, columns=columns, notes=(*data.notes, *notes, *remarks))

    return data, with_features


def _roles(table: Table, recipe: Recipe) -> tuple[str, str | None, list[str]]:
    """The names of target, weights and inputs."""
    columns = recipe.columns
    named = {option: [value.strip()] if isinstance(value, str) else value for option, value in recipe.of_tables()}
    named.pop("--impute", None)
    target, weighing = (named[option][0] if option in named else None for option in ("--target", "--weight-column"))
    unknown = [name for given in named.values() for name in given if name not in table]
    if unknown:
        columns_of = "no column" if len(unknown) == 1 else "no columns"
        raise InputError(
            f"{table.name} has {columns_of} {listed([repr(name) for name in unknown])}; its columns are "
            f"{listed(table.names, 20)}."
        )
    if target is None and columns is not None and columns.target is not None:
        target = columns.target
        if target not in table:
            raise InputError(f"{table.name} lacks the target column {target!r}; add it, or name another with --target.")
    if target is None:
        apart = {weighing, *recipe.drop}
        rest = [name for name in table.names if name not in apart]
        target = rest[-1] if rest else table.names[-1]
    for option, given in named.items():
        if option != "--target" and target in given:
            role = "hold targets and weights" if option == "--weight-column" else f"be the target and in {option}"
            raise InputError(f"The column {target!r} of {table.name} cannot {role}; name two columns.")
    both = [name for name in (recipe.features or ()) if name in (*recipe.drop, weighing)]
    if both:
        raise InputError(f"--features names {listed(both)}, which another option takes away; leave it out of one.")
    if columns is not None:
        return target, weighing, [name for name in table.names if name not in (target, weighing)]
    apart = {target, weighing, *recipe.drop}
    chosen = {*(table.names if recipe.features is None else recipe.features)}
    inputs = [name for name in table.names if name in chosen and name not in apart]
    if not inputs and recipe.drop:
        raise InputError(f"--drop leaves no feature of {table.name}; drop fewer columns.")
    if not inputs:
        besides = "the column" if weighing is None else "the weights and the column"
        raise InputError(
            f"{table.name} has only {besides} {target!r}; a target and at least one feature are needed, "
            "separated by commas, semicolons or tabs."
        )
    return target, weighing, inputs


def _labels(table: Table, column: str, task: Task | None) -> tuple[list[Any], list[str]]:
    """Numbers where nothing but these and signs of missing values is there, else text; None if missing; complaints.

    Few numbers with a unit are text, so that classes keep their names.
    """
    cells = table.column(column)
    read = {cell: quantity(cell, decimal_comma=table.decimal_comma) for cell in set(cells)}
    words = {cell.lower() for cell, found in read.items() if found is None}
    units = {found[1] for found in read.values() if found is not None}
    several = len(read) > MOST_NUMBERED_CLASSES and task is None
    numeric = words <= MISSING | INFINITE and (units == {""} or (len(units) == 1 and several))
    if task == "regression" or numeric:
        values, wrong = numbers(table, column)
        pairs = zip(cells, values.tolist(), strict=True)
        return [None if cell.lower() in MISSING else value for cell, value in pairs], wrong
    return [None if cell.lower() in MISSING_NAME else cell for cell in cells], []


def _weights(table: Table, column: str) -> tuple[FloatArray, list[str]]:
    found, wrong = numbers(table, column)
    gone = np.flatnonzero(np.isnan(found))
    if not wrong and len(gone):
        wrong.append(absent(table, column, gone))
    negative: Sequence[int] = np.flatnonzero(found < 0).tolist()
    if negative:
        wrong.append(
            f"{table.where(negative[0])} has a negative weight in column {column!r}; a weight says how often a row "
            "occurs."
        )
    return found, wrong
