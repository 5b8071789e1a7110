"""NumPy archives as data sets, and those that come along: four of scikit-learn, and the spiral, which is generated."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from certnet.io.cells import LARGEST, Label
from certnet.io.columns import Columns
from certnet.io.dataset import DataSet, Outputs, Task, coded, guess_task, label_keys
from certnet.io.packed import Array, npz_arrays
from formulations import InputError
from formulations._validation import FloatArray, as_matrix

BUILT_IN = ("iris", "wine", "breast_cancer", "digits", "spiral")
LARGEST_ARRAYS = 2**31
"""Bytes of the arrays of an archive; a file of a megabyte can unpack to a gigabyte."""
_NAMED = 8
_SINGLE = b"\x93NUMPY"
"""How an ``.npy`` file begins."""
_KEYS = ("X", "Y", "X_train", "Y_train", "X_val", "Y_val", "X_test", "Y_test")


def read_npz(path: Path, *, task: Task | None, outputs: Outputs | None = None) -> DataSet:
    """Read ``X_train, Y_train`` (or ``X, Y``), and if there ``X_val, Y_val`` and ``X_test, Y_test``.

    Y as a vector holds labels, which become one-hot, or quantities, which become one column; without a ``task`` they
    decide themselves (``guess_task``). Y as a matrix stays; it counts as classification when every row is one-hot.
    With ``outputs`` classes are those of a network; where their labels do not matter, Y need not be there.
    """
    with path.open("rb") as stream:
        start = stream.read(len(_SINGLE))
    if not start:
        raise InputError(f"{path.name} is empty; write it with numpy.savez.")
    if start == _SINGLE:
        raise InputError(f"{path.name} holds a single array; save it as .npz with X_train and Y_train (numpy.savez).")
    damaged = f"{path.name} is not a readable .npz archive; write it with numpy.savez."
    names, arrays = npz_arrays(path, damaged, largest=LARGEST_ARRAYS, wanted=_KEYS.__contains__)
    if outputs is not None and outputs.count is None and "X" in arrays:
        # Rows alone will do where nobody asks what they should be.
        arrays.setdefault("Y", np.zeros((*arrays["X"].shape[:1], 1)))
    plain = ("X" in arrays or "Y" in arrays) and not ("X_train" in arrays or "Y_train" in arrays)
    parts = ["" if plain else "_train", *(p for p in ("_val", "_test") if f"X{p}" in arrays or f"Y{p}" in arrays)]
    absent = next((key for part in parts for key in (f"X{part}", f"Y{part}") if key not in arrays), None)
    if absent is not None:
        have = ", ".join([*names[:_NAMED], *(["…"] if len(names) > _NAMED else [])]) or "no array"
        advice = "X_train and Y_train, or X and Y, are needed, and X_val, Y_val, X_test, Y_test are optional."
        if absent.endswith(("_val", "_test")):
            advice = f"give X_{absent[2:]} and Y_{absent[2:]} or neither."
        raise InputError(f"{path.name} has no array {absent} (it has {have}); {advice}")
    X = [_matrix(f"{path.name}: X{part}", arrays[f"X{part}"]) for part in parts]
    targets = [(f"{path.name}: Y{part}", arrays[f"Y{part}"]) for part in parts]
    note = None
    if task is None and targets[0][1].ndim == 1:
        task, note = guess_task(_labels(*targets[0], exact=False), source=targets[0][0])
    Y, classes = _targets(targets, task, outputs)
    for part, x, y in zip(parts, X, Y, strict=True):
        for key, what, here, train in ((f"X{part}", "features", x, X[0]), (f"Y{part}", "targets", y, Y[0])):
            if here.shape[1] != train.shape[1]:
                raise InputError(
                    f"{path.name}: {key} has {here.shape[1]} columns where the training {what} have {train.shape[1]}; "
                    "give both the same ones in the same order."
                )
        if len(x) != len(y):
            raise InputError(
                f"{path.name}: X{part} has {len(x)} rows but Y{part} has {len(y)}; every data point needs one target, "
                "so give both the same number of rows."
            )
    others = [*zip(parts, X, Y, strict=True)][1:]
    apart: dict[str, Any] = {key: array for part, x, y in others for key, array in ((f"X{part}", x), (f"Y{part}", y))}
    return DataSet(
        name=path.stem,
        task="regression" if classes is None else "classification",
        X=X[0],
        Y=Y[0],
        classes=classes,
        notes=() if note is None else (note,),
        **apart,
    )


def _matrix(name: str, array: Array) -> FloatArray:
    """A finite matrix without entries whose squares are out of range."""
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


def _labels(name: str, array: Array, *, exact: bool) -> list[Label]:
    flat = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    if flat.ndim != 1:
        raise InputError(f"{name} must be a vector of labels like the training targets, not of shape {array.shape}.")
    if flat.size == 0:
        raise InputError(f"{name} is empty; every data point needs one target.")
    if flat.dtype.kind not in "iu":
        flat = flat.astype(str) if flat.dtype.kind in "US" else as_matrix(name, flat)[:, 0]
    return label_keys(flat.tolist(), exact=exact)


def _targets(
    parts: Sequence[tuple[str, Array]], task: Task | None, outputs: Outputs | None
) -> tuple[list[FloatArray], tuple[str, ...] | None]:
    """Matrices of the targets of each part, and the names of the classes, if these are such."""
    name, first = parts[0]
    column = first.ndim == 2 and first.shape[1] == 1
    if task != "regression" and (first.ndim == 1 or (column and task == "classification")):
        return coded([(name, _labels(name, array, exact=True)) for name, array in parts], outputs)
    Y = [_matrix(*part) for part in parts]
    one_hot = Y[0].shape[1] > 1 and bool(np.isin(Y[0], (0.0, 1.0)).all() and (Y[0].sum(axis=1) == 1.0).all())
    if task == "regression" or (task is None and not one_hot):
        return Y, None
    if not one_hot:
        other = ", or train on it with --task regression" if outputs is None else ""
        raise InputError(f"{name} is no one-hot matrix; give a vector of labels{other}.")
    if outputs is None and np.count_nonzero(Y[0].any(axis=0)) < 2:
        raise InputError(f"{name} holds only one class; at least two are needed.")
    return Y, tuple(map(str, range(Y[0].shape[1])))


def load_builtin(name: str, *, task: Task | None) -> DataSet:
    """A data set of ``BUILT_IN``; with ``task="regression"`` the class numbers 0, 1, … are the target."""
    if name == "spiral":
        data = _spiral()
    else:
        from sklearn import datasets

        bunch = getattr(datasets, f"load_{name}")()
        data = DataSet(
            name=name,
            task="classification",
            X=np.array(bunch.data, dtype=np.float64, order="C"),
            Y=np.eye(len(bunch.target_names))[bunch.target],
            classes=tuple(map(str, bunch.target_names)),
            columns=Columns.numbers([str(feature) for feature in bunch.feature_names]),
        )
    if task != "regression":
        return data
    number = np.arange(data.Y.shape[1], dtype=np.float64)[:, None]
    Y_val, Y_test = (None if Y is None else Y @ number for Y in (data.Y_val, data.Y_test))
    return replace(data, task=task, classes=None, Y=data.Y @ number, Y_val=Y_val, Y_test=Y_test)


def _spiral() -> DataSet:
    """Three noisy arms in the plane, 20 points each; validation and test are further draws of the same noise.

    Point i of arm j has radius r = i/38 and angle 4(j + i/19) + 0.15·(standard normal), and coordinates
    (r sin, r cos): the generator of Stanford's CS231n notes. The training points are those of arXiv 2410.22311, to
    12 decimals; rounding there makes them equal on every machine.
    """
    # The legacy generator on purpose: NumPy promises never to change its stream.
    noise = np.random.RandomState(100).randn(3, 3, 20)
    steps = np.linspace(0.0, 1.0, 20)
    angle = 4.0 * (np.arange(3)[:, None] + steps) + 0.15 * noise
    points = 0.5 * steps[:, None] * np.stack([np.sin(angle), np.cos(angle)], axis=-1)
    train, val, test = np.round(points.reshape(3, -1, 2), 12) + 0.0
    Y = np.repeat(np.eye(3), 20, axis=0)
    return DataSet(
        name="spiral",
        task="classification",
        X=train,
        Y=Y,
        classes=("arm 1", "arm 2", "arm 3"),
        columns=Columns.numbers(["x", "y"]),
        X_val=val,
        Y_val=Y,
        X_test=test,
        Y_test=Y,
    )
