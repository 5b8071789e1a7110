"""A NumPy archive as a data set."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from certnet.io.dataset import DataSet, Task
from certnet.io.files import npz_arrays
from certnet.io.numbers import LARGEST
from certnet.io.targets import Label, Outputs, class_list, class_name, guess_task, is_one_hot, label_keys, one_hot
from formulations import InputError
from formulations._validation import FloatArray, as_matrix

Array = NDArray[np.generic]
_NAMED = 8
_SINGLE = b"\x93NUMPY"
"""How an ``.npy`` file begins."""
_KEYS = ("X", "Y", "X_train", "Y_train", "X_val", "Y_val", "X_test", "Y_test")


@dataclass(frozen=True)
class _Archive:
    """The file's name, the names of all its arrays, and the arrays that matter."""

    file: str
    names: tuple[str, ...]
    arrays: Mapping[str, Array]


def read_npz(path: Path, *, task: Task | None, outputs: Outputs | None = None) -> DataSet:
    """Read ``X_train, Y_train`` (or ``X, Y``), and if there ``X_val, Y_val`` and ``X_test, Y_test``.

    Y as a vector holds labels, which become one-hot, or quantities, which become one column; without a ``task`` they
    decide themselves (``guess_task``). Y as a matrix stays; it counts as classification when every row is one-hot.
    With ``outputs`` classes are those of a network.

    Raises:
        InputError: no archive, pickled objects, missing arrays, shapes that disagree, entries that are not finite.
        OSError: the file cannot be read.
    """
    archive = _load(path)
    arrays = archive.arrays
    train = "" if ("X" in arrays or "Y" in arrays) and not ("X_train" in arrays or "Y_train" in arrays) else "_train"
    X = _features(archive, f"X{train}")
    targets, name = _require(archive, f"Y{train}"), f"{path.name}: Y{train}"
    notes: tuple[str, ...] = ()
    if task is None and targets.ndim == 1:
        task, note = guess_task(_labels(targets, name), source=name)
        notes = () if note is None else (note,)
    Y, classes, task = _training_targets(targets, name, task, outputs)
    _same_rows(X, Y, f"X{train}", f"Y{train}", archive)
    extra: dict[str, FloatArray] = {}
    for part in ("val", "test"):
        if f"X_{part}" not in arrays and f"Y_{part}" not in arrays:
            continue
        extra[f"X_{part}"] = _features(archive, f"X_{part}", columns=X.shape[1])
        name = f"{path.name}: Y_{part}"
        extra[f"Y_{part}"] = _targets(_require(archive, f"Y_{part}"), name, classes, Y.shape[1], outputs)
        _same_rows(extra[f"X_{part}"], extra[f"Y_{part}"], f"X_{part}", f"Y_{part}", archive)
    names = tuple(f"x{index + 1}" for index in range(X.shape[1]))
    texts = None
    if task == "classification":
        texts = tuple(class_name(label) for label in classes or [float(index) for index in range(Y.shape[1])])
    return DataSet(name=path.stem, task=task, X=X, Y=Y, classes=texts, feature_names=names, notes=notes, **extra)


def _load(path: Path) -> _Archive:
    """The arrays that matter, without ever unpickling anything."""
    with path.open("rb") as stream:
        start = stream.read(len(_SINGLE))
    if not start:
        raise InputError(f"{path.name} is empty; write it with numpy.savez.")
    if start == _SINGLE:
        raise InputError(f"{path.name} holds a single array; save it as .npz with X_train and Y_train (numpy.savez).")
    damaged = f"{path.name} is not a readable .npz archive; write it with numpy.savez."
    return _Archive(path.name, *npz_arrays(path, damaged, wanted=_KEYS.__contains__))


def _require(archive: _Archive, key: str) -> Array:
    if key in archive.arrays:
        return archive.arrays[key]
    names = [*archive.names[:_NAMED], *(["…"] if len(archive.names) > _NAMED else [])]
    have = ", ".join(names) or "no array"
    if key.endswith(("_val", "_test")):
        part = key[2:]
        raise InputError(f"{archive.file} has no array {key} (it has {have}); give X_{part} and Y_{part} or neither.")
    raise InputError(
        f"{archive.file} has no array {key} (it has {have}); X_train and Y_train, or X and Y, are needed, "
        "and X_val, Y_val, X_test, Y_test are optional."
    )


def _features(archive: _Archive, key: str, columns: int | None = None) -> FloatArray:
    X = _matrix(f"{archive.file}: {key}", _require(archive, key))
    if columns is not None and X.shape[1] != columns:
        raise InputError(
            f"{archive.file}: {key} has {X.shape[1]} columns where the training features have {columns}; "
            "give both the same features in the same order."
        )
    return X


def _matrix(name: str, array: Array) -> FloatArray:
    """A finite matrix without entries whose squares are out of range."""
    if array.ndim in (1, 2) and array.size == 0:
        raise InputError(f"{name} is empty (shape {array.shape}); give it at least one row and one column.")
    if array.ndim not in (1, 2):
        raise InputError(
            f"{name} has {array.ndim} dimensions; reshape it to a matrix with one row for each data point."
        )
    matrix = as_matrix(name, array)
    beyond = ~(np.abs(matrix) <= LARGEST)
    if beyond.any():
        row, column = (int(index) for index in np.argwhere(beyond)[0])
        raise InputError(
            f"{name} has {matrix[row, column]:g} in row {row + 1}, column {column + 1}, which is beyond {LARGEST:g}; "
            "rescale the column."
        )
    return matrix


def _same_rows(X: FloatArray, Y: FloatArray, x_name: str, y_name: str, archive: _Archive) -> None:
    if len(X) != len(Y):
        raise InputError(
            f"{archive.file}: {x_name} has {len(X)} rows but {y_name} has {len(Y)}; every data point needs one target, "
            "so give both the same number of rows."
        )


def _training_targets(
    array: Array, name: str, task: Task | None, outputs: Outputs | None
) -> tuple[FloatArray, list[Label] | None, Task]:
    """(Y, classes of a label vector, task)."""
    column = array.ndim == 2 and array.shape[1] == 1
    if task != "regression" and (array.ndim == 1 or (column and task == "classification")):
        labels = _labels(array, name)
        classes = class_list(labels, source=name) if outputs is None else outputs.classes(labels, source=name)
        return one_hot(labels, classes, source=name), classes, "classification"
    Y = _matrix(name, array)
    if task is None:
        task = "classification" if is_one_hot(Y) else "regression"
    if task == "classification":
        if not is_one_hot(Y):
            other = ", or train on it with --task regression" if outputs is None else ""
            raise InputError(f"{name} is no one-hot matrix; give a vector of labels{other}.")
        if outputs is None and np.count_nonzero(Y.any(axis=0)) < 2:
            raise InputError(f"{name} holds only one class; at least two are needed.")
    return Y, None, task


def _targets(array: Array, name: str, classes: list[Label] | None, columns: int, outputs: Outputs | None) -> FloatArray:
    if classes is None:
        Y = _matrix(name, array)
        if Y.shape[1] != columns:
            raise InputError(
                f"{name} has {Y.shape[1]} columns where the training targets have {columns}; give both the same ones."
            )
        return Y
    labels = _labels(array, name)
    if outputs is not None and outputs.count is None:
        classes = outputs.classes(labels, source=name)
    elif outputs is not None:
        outputs.require(labels, classes, source=name)
    return one_hot(labels, classes, source=name)


def _labels(array: Array, name: str) -> list[Label]:
    flat = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    if flat.ndim != 1:
        raise InputError(f"{name} must be a vector of labels like the training targets, not of shape {array.shape}.")
    if flat.size == 0:
        raise InputError(f"{name} is empty; every data point needs one target.")
    if flat.dtype.kind in "US":
        return label_keys(flat.astype(str).tolist())
    return label_keys(as_matrix(name, flat)[:, 0].tolist())
