"""From a recipe to data ready for training."""

import difflib
from dataclasses import replace
from pathlib import Path

import numpy as np

from certnet.io.builtin import BUILT_IN, load_builtin
from certnet.io.csv_source import read_csv
from certnet.io.dataset import DataSet, Recipe, Split
from certnet.io.npz_source import read_npz
from certnet.io.splitting import Parts, split_rows, standardisation
from certnet.io.targets import Outputs
from formulations import InputError
from formulations._validation import FloatArray, IntArray


def source_kind(source: str) -> str:
    """ "builtin", "npz" or "csv", decided by name, ending and, failing these, the file's first bytes."""
    if source in BUILT_IN:
        return "builtin"
    path = Path(source)
    if not path.exists():
        raise InputError(_absent(source))
    if path.is_dir():
        raise InputError(f"{source} is a folder; name a CSV or .npz file in it.")
    ending = path.suffix.lower()
    if ending == ".npy":
        raise InputError(f"{source} holds a single array; save it as .npz with X_train and Y_train (numpy.savez).")
    if ending in (".npz", ".csv", ".tsv", ".txt"):
        return "npz" if ending == ".npz" else "csv"
    try:
        with path.open("rb") as stream:
            return "npz" if stream.read(2) == b"PK" else "csv"
    except OSError as error:
        raise _unreadable(source, error) from None


def _absent(source: str) -> str:
    close = difflib.get_close_matches(source.lower(), BUILT_IN, n=1)
    advice = f"did you mean {close[0]!r}?" if close else "check the path."
    return f"There is no file {source!r} and no built-in data set of that name ({', '.join(BUILT_IN)}); {advice}"


def read_source(recipe: Recipe, outputs: Outputs | None = None) -> DataSet:
    """The data of a source as they are; with ``outputs`` labels of a file are those of a network.

    Raises:
        InputError: anything about the source that prevents its use.
    """
    kind = source_kind(recipe.source)
    if recipe.target is not None and kind != "csv":
        raise InputError(f"--target names a column of a CSV file, but {recipe.source} is none; leave it out.")
    try:
        if kind == "builtin":
            return load_builtin(recipe.source, task=recipe.task)
        if kind == "npz":
            return read_npz(Path(recipe.source), task=recipe.task, outputs=outputs)
        return read_csv(Path(recipe.source), target=recipe.target, task=recipe.task, outputs=outputs)
    except OSError as error:
        raise _unreadable(recipe.source, error) from None


def load(recipe: Recipe, outputs: Outputs | None = None) -> Split:
    """Read, split and standardise; ``outputs`` as for ``read_source``.

    A source with validation or test arrays of its own is not split: all its training rows are trained on. Others
    are split 60/20/20 (stratified for classes) unless ``recipe.split`` is False.

    Raises:
        InputError: anything about the source that prevents its use.
    """
    data = read_source(recipe, outputs)
    parts = None
    if recipe.split and data.X_val is None and data.X_test is None:
        parts = split_rows(data, recipe.seed)
        data = _apart(data, parts)
    dimension = data.X.shape[1]
    offset, scale = (np.zeros(dimension), np.ones(dimension)) if recipe.raw else standardisation(data.X)

    def features(X: FloatArray) -> FloatArray:
        return X if recipe.raw else (X - offset) / scale

    return Split(
        name=data.name,
        task=data.task,
        X_train=features(data.X),
        Y_train=data.Y,
        X_val=None if data.X_val is None else features(data.X_val),
        Y_val=data.Y_val,
        X_test=None if data.X_test is None else features(data.X_test),
        Y_test=data.Y_test,
        classes=data.classes,
        feature_names=data.feature_names,
        offset=offset,
        scale=scale,
        recipe=recipe,
        notes=(*data.notes, *(() if parts is None else parts.notes)),
    )


def _apart(data: DataSet, parts: Parts) -> DataSet:
    X_val, Y_val = _rows(data, parts.val)
    X_test, Y_test = _rows(data, parts.test)
    return replace(
        data,
        X=data.X[parts.train],
        Y=data.Y[parts.train],
        X_val=X_val,
        Y_val=Y_val,
        X_test=X_test,
        Y_test=Y_test,
    )


def _rows(data: DataSet, rows: IntArray) -> tuple[FloatArray, FloatArray] | tuple[None, None]:
    return (data.X[rows], data.Y[rows]) if len(rows) else (None, None)


def _unreadable(source: str, error: OSError) -> InputError:
    return InputError(f"{source} cannot be read: {error.strerror or error}.")
