"""What a loss makes of a data set: the form of its targets, the loss that "auto" stands for, and weights of classes."""

from dataclasses import replace

import numpy as np

from certnet.io.dataset import AUTO, DataSet, Split, Task
from formulations import InputError
from formulations._validation import FloatArray
from formulations.losses import NUMBERS, ONE_HOT, SIGNS, Squared, kind_named


def implied_task(loss: str) -> Task | None:
    """What targets are by the loss that the user named; None where they decide themselves."""
    if loss == AUTO:
        return None
    kind = kind_named(loss)
    if isinstance(kind, Squared):
        return None
    return "classification" if kind.targets in (ONE_HOT, SIGNS) else "regression"


def resolved(loss: str, data: DataSet) -> str:
    """The loss that "auto" stands for; others stay."""
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
    recipe = replace(split.recipe, loss=loss)
    if kind_named(loss).targets != SIGNS or split.classes is None or split.Y.shape[1] != 2:
        return replace(split, recipe=recipe)
    Y_val, Y_test = (None if Y is None else _signs(Y) for Y in (split.Y_val, split.Y_test))
    return replace(split, recipe=recipe, Y=_signs(split.Y), Y_val=Y_val, Y_test=Y_test)


def _signs(Y: FloatArray) -> FloatArray:
    return Y[:, 1:] - Y[:, :1]


def class_weights(data: DataSet, one_hot: FloatArray, weights: FloatArray | None) -> FloatArray:
    """(c,) weights with which every class counts as much, all rows together as before; 0 for classes without rows."""
    if data.classes is None:
        raise InputError(f"--class-weight is about classes, but {data.name} holds numbers; leave it out.")
    sizes = one_hot.sum(axis=0) if weights is None else weights @ one_hot
    present = sizes > 0
    return np.where(present, sizes.sum() / (np.count_nonzero(present) * np.where(present, sizes, 1.0)), 0.0)
