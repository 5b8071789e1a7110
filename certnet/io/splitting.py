"""Setting rows aside, and standardising with what is left."""

import math
from dataclasses import dataclass

import numpy as np

from certnet.io.dataset import DataSet
from certnet.io.numbers import LARGEST
from formulations import InputError
from formulations._validation import FloatArray, IntArray

_TRAIN, _VAL, _TEST = 0, 1, 2
# Every five rows of a class, in shuffled order, give three to training and one each to validation and test. Training
# comes first and never misses twice in a row, so only a class of one row can be absent from it.
_PATTERN = np.array([_TRAIN, _VAL, _TRAIN, _TEST, _TRAIN])
# More notes than this on small classes become one.
_NOTES = 3


@dataclass(frozen=True, eq=False)
class Parts:
    """Row numbers of each part, in ascending order and disjoint, with remarks for the user."""

    train: IntArray
    val: IntArray
    test: IntArray
    notes: tuple[str, ...]


def split_rows(data: DataSet, seed: int) -> Parts:
    """Split 60/20/20 at random; classes keep their shares to within one row.

    The order comes from the raw stream of PCG64, which NumPy promises to keep, so a certificate's data can be
    rebuilt with any version.
    """
    order = np.argsort(np.random.PCG64(seed).random_raw(len(data.X)), kind="stable")
    label = np.zeros(len(data.X), dtype=np.int64)
    if data.task == "classification":
        label = data.Y.argmax(axis=1).astype(np.int64)
        order = order[np.argsort(label[order], kind="stable")]
    part = np.empty(len(order), dtype=np.int64)
    part[order] = np.resize(_PATTERN, len(order))
    notes = _keep_singletons(part, label, data.classes) if data.classes is not None else ()
    train, val, test = (np.flatnonzero(part == which) for which in (_TRAIN, _VAL, _TEST))
    if not (len(val) and len(test)):
        count = "One row is" if len(order) == 1 else f"{len(order)} rows are"
        notes = (
            f"{count} too few for training, validation and test alike; add --no-split to train on all, or --part all "
            "to audit all.",
            *notes,
        )
    return Parts(train, val, test, notes)


def _keep_singletons(part: IntArray, label: IntArray, classes: tuple[str, ...]) -> tuple[str, ...]:
    """Give classes of one row to training, and say which classes are absent from a part."""
    small = {}
    for index, name in enumerate(classes):
        rows = np.flatnonzero(label == index)
        if len(rows) == 1:
            part[rows] = _TRAIN
        if len(rows) > 0 and len(set(part[rows].tolist())) < 3:
            small[name] = "one row" if len(rows) == 1 else f"{len(rows)} rows"
    few = "too few for training, validation and test alike"
    if len(small) > _NOTES:
        named = ", ".join(repr(name) for name in list(small)[:_NOTES])
        return (f"{len(small)} classes have rows {few}: {named} and others.",)
    return tuple(f"Class {name!r} has only {count}, {few}." for name, count in small.items())


def standardisation(X: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(offset, scale) that give each column mean 0 and variance 1 (over n); constant columns get scale 1.

    Sums are rounded once (``math.fsum``), so the result is the same on every machine; a certificate's fingerprint
    depends on it.

    Raises:
        InputError: entries beyond 1e100, whose squares are out of range.
    """
    if not (float(np.abs(X).max()) <= LARGEST):
        raise InputError(f"A feature has an entry beyond {LARGEST:g}; rescale it.")
    n = len(X)
    offset, scale = np.empty(X.shape[1]), np.ones(X.shape[1])
    for column, values in enumerate(X.T):
        if values.min() == values.max():
            offset[column] = values[0]
            continue
        offset[column] = math.fsum(values) / n
        deviation = math.sqrt(math.fsum((values - offset[column]) ** 2) / n)
        # Differences below the square root of the smallest number vanish when squared.
        scale[column] = deviation if deviation > 0 else 1.0
    return offset, scale
