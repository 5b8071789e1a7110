"""What a network answers about new rows: features by the names of columns, then classes, probabilities or numbers."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from certnet.io.cells import LARGEST, cell_name, quantity
from certnet.io.columns import Columns
from certnet.io.dataset import Outputs, Recipe
from certnet.io.endings import after_ending, means, probabilities
from certnet.io.load_data import read_source, source_kind
from certnet.io.network import TwoLayerNetwork
from certnet.io.tables import Table, read_table
from formulations import InputError
from formulations._validation import FloatArray, shown
from formulations.network import ReluNetwork


def new_rows(read: TwoLayerNetwork, source: Any) -> tuple[FloatArray, tuple[str, ...], Table | None]:
    """Features (n×d) of new rows as the network takes them, what is to be said of them, and their table, if it is one.

    Rows are a table's or arrays' path, a built-in name, or a pandas ``DataFrame``. Columns are found by name; where the
    network has no names all columns are features, in order.
    """
    named = isinstance(source, str | Path)
    if named and source_kind(str(source)) != "table":
        data = read_source(Recipe(source=str(source)), Outputs(None))
        X = data.X if data.X_test is None else data.X_test
        require_kind(read.network, X, None, str(source))
        return X, () if data.X_test is None else (f"Of {source} the test rows are meant.",), None
    if not (named or hasattr(source, "columns")):
        raise InputError(f"rows must be a path or a pandas DataFrame, whose columns have names, not {shown(source)}.")
    table = read_table(Path(source)) if named else Table.of_frame(source)
    columns = Columns.numbers(table.names) if read.columns is None else read.columns
    X, said = columns.encode(table)
    require_kind(read.network, X, None, table.name)
    return X, (*table.notes, *said), table


def require_kind(network: ReluNetwork, X: FloatArray, Y: FloatArray | None, source: str) -> None:
    if network.inputs != X.shape[1] or (Y is not None and network.outputs != Y.shape[1]):
        classes, outputs = ("", "") if Y is None else (f" and {Y.shape[1]} classes", f" and {network.outputs} outputs")
        raise InputError(
            f"{source} has {X.shape[1]} features{classes}, but the network has {network.inputs} inputs{outputs}; give "
            "data of its kind, without columns that are no inputs."
        )


def answers(read: TwoLayerNetwork, loss: str | None, X: FloatArray) -> dict[str, Sequence[Any]]:
    """The columns of a table of predictions for features (n×d): row, prediction, and probabilities if there are any.

    Where nobody knows the loss it is None: then a file's own outputs are the answer of a network without classes, and
    the probabilities of one that ends in Softmax or Sigmoid.
    """
    columns: dict[str, Sequence[Any]] = {"row": range(len(X))}
    with np.errstate(all="ignore"):
        scores, ending = read.predict(X), read.network.ending
        own = scores if ending is None or not len(scores) else np.array([after_ending(ending, row) for row in scores])
        if read.classes is None:
            found, name = (own, "output") if loss is None else (means(loss, scores), "prediction")
            alone = loss is not None and found.shape[1] == 1
            names = [name] if alone else [f"{name} {k}" for k in range(found.shape[1])]
            return columns | {name: found[:, k].tolist() for k, name in enumerate(names)}
        columns["prediction"] = read.predict_class(X).tolist()
        chances = own if ending in ("Softmax", "Sigmoid") else probabilities(loss or "", scores)
    if chances is not None and chances.shape[1] == len(read.classes):
        columns |= {f"p({name})": chances[:, k].tolist() for k, name in enumerate(read.classes)}
    return columns


def against_targets(read: TwoLayerNetwork, table: Table, columns: Mapping[str, Sequence[Any]]) -> Iterator[str]:
    """How good the predictions are, where the table has the column that was learned."""
    target = None if read.columns is None else read.columns.target
    found = columns.get("prediction")
    if target is None or target not in table or found is None:
        return
    cells = table.column(target)
    if read.classes is not None:
        names = [{cell, cell_name(cell, decimal_comma=table.decimal_comma)} for cell in cells]
        known = [row for row, name in enumerate(names) if name & {*read.classes}]
        if known:
            right = sum(found[row] in names[row] for row in known)
            yield f"Of {len(known)} rows with a known {target!r}, {right} are right: {right / len(known):.4f}."
        return
    numbers = np.array([(quantity(cell, decimal_comma=table.decimal_comma) or (np.inf,))[0] for cell in cells])
    known_rows = np.abs(numbers) <= LARGEST
    truth = numbers[known_rows]
    if len(truth) > 1 and np.ptp(truth) > 0:
        errors = truth - np.array(found)[known_rows]
        r2 = 1.0 - float(errors @ errors) / float(((truth - truth.mean()) ** 2).sum())
        yield f"On {len(truth)} rows with a known {target!r}, R² is {r2:.4f}."
