"""From a recipe to data ready for training: read, set rows aside, standardise with what is left."""

import difflib
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from certnet.io.arrays import BUILT_IN, load_builtin, read_npz
from certnet.io.cells import LARGEST
from certnet.io.dataset import AUTO, DataSet, Outputs, Recipe, Split, Task
from certnet.io.packed import reading
from certnet.io.tables import PARQUET, SHEETS, read_table
from certnet.io.tabular import tabular
from formulations import InputError
from formulations._validation import FloatArray, IntArray

_TRAIN, _VAL, _TEST = 0, 1, 2
# Every five rows of a class, in shuffled order, give three to training and one each to validation and test. Training
# comes first and never misses twice in a row, so only a class of one row can be absent from it.
_PATTERN = np.array([_TRAIN, _VAL, _TRAIN, _TEST, _TRAIN])
# More notes than this on small classes become one.
_NOTES = 3


def source_kind(source: str) -> str:
    """ "builtin", "npz" or "table", decided by name, ending and, failing these, the file's first bytes."""
    if source in BUILT_IN:
        return "builtin"
    path = Path(source)
    if not path.exists():
        close = difflib.get_close_matches(source.lower(), BUILT_IN, n=1)
        advice = f"did you mean {close[0]!r}?" if close else "check the path."
        if Path("runs", source).is_dir():
            advice = f"runs/{source} is a run: give the file that it was trained on."
        names = ", ".join(BUILT_IN)
        raise InputError(f"There is no file {source!r} and no built-in data set of that name ({names}); {advice}")
    if path.is_dir():
        raise InputError(f"{source} is a folder; name a CSV, Parquet or .npz file in it.")
    ending = path.suffix.lower()
    if ending in (".npz", ".npy", ".csv", ".tsv", ".txt", *PARQUET, *SHEETS):
        return "npz" if ending in (".npz", ".npy") else "table"
    with reading(source), path.open("rb") as stream:
        return "npz" if stream.read(2) == b"PK" else "table"


def read_source(recipe: Recipe, outputs: Outputs | None = None) -> DataSet:
    """The data of a source as they are, of a table as training rows; with ``outputs`` labels are those of a network."""
    data, with_features = _read(recipe, outputs)
    return with_features(np.arange(len(data.Y)))


def _read(recipe: Recipe, outputs: Outputs | None) -> tuple[DataSet, Callable[[IntArray], DataSet]]:
    """The data of a source, and what adds the features of a table once its training rows are known."""
    kind = source_kind(recipe.source)
    if kind != "table":
        given = next((option for option, value in recipe.of_tables() if value), None)
        if given is not None:
            raise InputError(f"{given} is about columns of a table, but {recipe.source} is none; leave it out.")
    task = recipe.task or implied_task(recipe.loss)
    if kind == "table":
        return tabular(read_table(recipe.source), recipe, task, outputs)
    if kind == "builtin":
        data = load_builtin(recipe.source, task=task)
    else:
        with reading(recipe.source):
            data = read_npz(Path(recipe.source), task=task, outputs=outputs)
    return data, lambda _: data


def load(recipe: Recipe, outputs: Outputs | None = None) -> Split:
    """Read, split, weigh and standardise, with the targets that the loss takes; ``outputs`` as for ``read_source``.

    A source with validation or test arrays of its own is not split: all its training rows are trained on. Others
    are split 60/20/20 (stratified for classes), with ``recipe.refit`` 80/0/20, unless ``recipe.split`` is False. What
    is learned from the columns of a table, such as fill values and categories, is learned from training rows.
    """
    data, with_features = _read(recipe, outputs)
    loss = resolved(recipe.loss, data)
    parts = None
    if recipe.split and data.X_val is None and data.X_test is None:
        parts = split_rows(data, recipe.seed)
        if recipe.refit:
            parts = parts._replace(train=np.union1d(parts.train, parts.val), val=parts.val[:0])
    train = np.arange(len(data.Y)) if parts is None else parts.train
    counted = train if data.sample_weight is None else train[data.sample_weight[train] > 0]
    data = with_features(counted if len(counted) else train)
    fields: dict[str, Any] = {**vars(data), "weight_val": None}
    if parts is not None:
        fields["notes"] = (*data.notes, *parts.notes)
        for part, index in (("", parts.train), ("_val", parts.val), ("_test", parts.test)):
            if len(index):
                fields |= {f"X{part}": data.X[index], f"Y{part}": data.Y[index]}
        if data.sample_weight is not None:
            fields |= {"sample_weight": data.sample_weight[parts.train], "weight_val": data.sample_weight[parts.val]}
    offset, scale = np.zeros(data.X.shape[1]), np.ones(data.X.shape[1])
    # Rows of weight 0 are left out, but not all: a weight says how often a row occurs.
    for names in (("X", "Y", "sample_weight"), ("X_val", "Y_val", "weight_val")):
        if fields[names[2]] is not None:
            counts = fields[names[2]] > 0
            if names[0] == "X" and not counts.any():
                raise InputError(f"All training rows of {data.name} have the weight 0; at least one row has to count.")
            fields |= {name: fields[name][counts] for name in names if fields[name] is not None}
            if fields[names[0]] is not None and not counts.any():
                fields |= dict.fromkeys(names)
    if recipe.class_weight is not None:
        each = class_weights(data, fields["Y"], fields["sample_weight"])
        for weight, Y in (("sample_weight", fields["Y"]), ("weight_val", fields["Y_val"])):
            own = 1.0 if fields[weight] is None else fields[weight]
            fields[weight] = None if Y is None else own * (Y @ each)
    if not recipe.raw:
        offset, scale = standardisation(fields["X"])
        if data.columns is not None:
            # Over its deviation a rare category would be large, and cost the network next to nothing.
            offset[data.columns.flags], scale[data.columns.flags] = 0.0, 1.0
        features = {part: fields[part] for part in ("X", "X_val", "X_test")}
        fields |= {part: (X - offset) / scale for part, X in features.items() if X is not None}
    return with_loss(Split(**fields, offset=offset, scale=scale, recipe=recipe), loss)


def shuffled(count: int, seed: int) -> IntArray:
    """So many row numbers in an order that is the same with any version, so that data can be rebuilt from a recipe.

    It comes from the raw stream of PCG64, which NumPy promises to keep.
    """
    return np.argsort(np.random.PCG64(seed).random_raw(count), kind="stable")


class Parts(NamedTuple):
    """Row numbers of each part, in ascending order and disjoint, with remarks for the user."""

    train: IntArray
    val: IntArray
    test: IntArray
    notes: tuple[str, ...]


def split_rows(data: DataSet, seed: int) -> Parts:
    """Split 60/20/20 at random; classes keep their shares to within one row."""
    order = shuffled(len(data.Y), seed)
    label = np.zeros(len(data.Y), dtype=np.int64)
    if data.task == "classification":
        label = data.Y.argmax(axis=1).astype(np.int64)
        order = order[np.argsort(label[order], kind="stable")]
    part = np.empty(len(order), dtype=np.int64)
    part[order] = np.resize(_PATTERN, len(order))
    notes = _keep_singletons(part, label, data.classes or ())
    train, val, test = (np.flatnonzero(part == which) for which in (_TRAIN, _VAL, _TEST))
    if not (len(val) and len(test)):
        count = "One row is" if len(order) == 1 else f"{len(order)} rows are"
        notes = (
            f"{count} too few for training, validation and test alike; add --no-split to train on all, or --part all "
            "to audit all.",
            *notes,
        )
    return Parts(train, val, test, notes)


def _keep_singletons(part: IntArray, label: IntArray, classes: Sequence[str]) -> tuple[str, ...]:
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
    """
    if not (float(np.abs(X).max()) <= LARGEST):
        raise InputError(f"A feature has an entry beyond {LARGEST:g}; rescale it.")
    offset, scale = np.empty(X.shape[1]), np.ones(X.shape[1])
    for column, values in enumerate(X.T):
        if values.min() == values.max():
            offset[column] = values[0]
            continue
        offset[column] = math.fsum(values) / len(X)
        deviation = math.sqrt(math.fsum((values - offset[column]) ** 2) / len(X))
        # Differences below the square root of the smallest number vanish when squared.
        scale[column] = deviation if deviation > 0 else 1.0
    return offset, scale


def implied_task(loss: str) -> Task | None:
    """What targets are by the loss that the user named; None where they decide themselves."""
    from formulations.losses import ONE_HOT, SIGNS, Squared, kind_named  # SciPy, which not every command needs

    kind = None if loss == AUTO else kind_named(loss)
    if kind is None or isinstance(kind, Squared):
        return None
    return "classification" if kind.targets in (ONE_HOT, SIGNS) else "regression"


def resolved(loss: str, data: DataSet) -> str:
    """The loss that "auto" stands for; others stay."""
    from formulations.losses import NUMBERS, ONE_HOT, SIGNS, kind_named

    count = None if data.classes is None else len(data.classes)
    if loss == AUTO:
        return "squared" if count is None else "logistic" if count == 2 else "cross-entropy"
    kind = kind_named(loss)
    if count is None:
        # A matrix of signs is two classes for each column; whether it is one, the training program will say.
        if kind.targets == ONE_HOT or (kind.targets == SIGNS and data.Y.shape[1] == 1):
            raise InputError(f"The loss {loss} is about classes, but {data.name} holds numbers; leave --loss out.")
    elif kind.targets == SIGNS and count != 2:
        raise InputError(
            f"The loss {loss} is about two classes, but {data.name} has {count}; choose cross-entropy or squared."
        )
    elif kind.targets not in (ONE_HOT, SIGNS, NUMBERS):
        raise InputError(f"The loss {loss} is about counts, but {data.name} holds classes; leave --loss out.")
    return loss


def with_loss(split: Split, loss: str) -> Split:
    """The same rows with targets as this loss takes them, from one-hot ones: −1 and 1 for the losses of signs."""
    from formulations.losses import SIGNS, kind_named

    split = replace(split, recipe=replace(split.recipe, loss=loss))
    if kind_named(loss).targets != SIGNS or split.classes is None or split.Y.shape[1] != 2:
        return split
    Y_val, Y_test = (None if Y is None else Y[:, 1:] - Y[:, :1] for Y in (split.Y_val, split.Y_test))
    return replace(split, Y=split.Y[:, 1:] - split.Y[:, :1], Y_val=Y_val, Y_test=Y_test)


def class_weights(data: DataSet, one_hot: FloatArray, weights: FloatArray | None) -> FloatArray:
    """(c,) weights with which every class counts as much, all rows together as before; 0 for classes without rows."""
    if data.classes is None:
        raise InputError(f"--class-weight is about classes, but {data.name} holds numbers; leave it out.")
    sizes = one_hot.sum(axis=0) if weights is None else weights @ one_hot
    present = sizes > 0
    return np.where(present, sizes.sum() / (np.count_nonzero(present) * np.where(present, sizes, 1.0)), 0.0)
