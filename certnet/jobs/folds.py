"""Rows by which a choice is judged, apart from those that networks are fitted to, and how they judge."""

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from certnet.io.load_data import shuffled
from formulations import InputError, TrainingProgram
from formulations._validation import FloatArray, IntArray, as_matrix


class Rows(NamedTuple):
    """Features X (n×d), targets Y (n×c) and weights (n,) of rows."""

    X: FloatArray
    Y: FloatArray
    weights: FloatArray

    @classmethod
    def of(cls, part: str, X: ArrayLike, Y: ArrayLike, weights: ArrayLike | None, like: "Rows | None" = None) -> "Rows":
        """From what a caller gave, with as many columns as rows ``like`` these; weights are 1 by default.

        ``part`` ends the names in the sentence of what is refused.
        """
        columns = (None, None) if like is None else (like.X.shape[1], like.Y.shape[1])
        features = as_matrix(f"X{part}", X, columns=columns[0])
        n, name = len(features), f"sample_weight{part}"
        omega = np.ones(n) if weights is None else as_matrix(name, weights, rows=n)[:, 0]
        if not (omega >= 0).all():
            raise InputError(f"{name} has a negative entry; weights count how often a row occurs.")
        return cls(features, as_matrix(f"Y{part}", Y, rows=n, columns=columns[1]), omega)

    def chosen(self, which: ArrayLike) -> "Rows":
        """Those of this mask, or of these numbers."""
        return Rows(self.X[which], self.Y[which], self.weights[which])  # type: ignore[index]


def divided(rows: Rows, folds: int, random_state: int) -> list[tuple[Rows, Rows]]:
    """Rows to fit to and rows to judge by, in so many folds, or as many as there can be; every row judges once.

    Rows of weight 0 take no part. A class of one row judges nothing where others can.
    """
    rows = rows.chosen(rows.weights != 0)
    number = fold_numbers(rows.X, rows.Y, folds, random_state)
    return [(rows.chosen(number != k), rows.chosen(number == k)) for k in range(number.max(initial=-1) + 1)]


def fold_numbers(X: FloatArray, Y: FloatArray, folds: int, random_state: int) -> IntArray:
    """(n,) the fold that each row belongs to, counted from 0, or −1 for none; equal features stay together.

    Of each class one row in so many belongs to a fold, where Y are classes. Fewer than two different rows are refused.
    """
    _, first, group = np.unique(X, axis=0, return_index=True, return_inverse=True)
    groups = len(first)
    if groups < 2:
        raise InputError("All rows have the same features, so none can judge a weight decay; name one (--gamma).")
    classes, label = np.unique(Y, axis=0, return_inverse=True)
    # The same for all rows where the targets are no classes.
    label = label.ravel() if np.isin(classes, (-1.0, 0.0, 1.0)).all() else np.zeros(len(Y), dtype=np.int64)
    label, order = label[first], shuffled(groups, random_state)
    order = order[np.argsort(label[order], kind="stable")]
    single = np.bincount(label)[label[order]] == 1
    order = order if single.all() else order[~single]
    found = np.full(groups, -1)
    # The middle of every so many rows comes first.
    found[order] = (np.arange(len(order)) - folds // 2) % folds
    kept = found >= 0
    found[kept] = np.unique(found[kept], return_inverse=True)[1]
    return np.asarray(found[group.reshape(-1)], dtype=np.int64)


def unseen(rows: Rows, X: ArrayLike, Y: ArrayLike, weights: ArrayLike | None) -> Rows:
    """The validation rows whose features do not occur among these rows."""
    found, known = Rows.of("_val", X, Y, weights, rows), {row.tobytes() for row in rows.X + 0.0}
    return found.chosen(np.array([row.tobytes() not in known for row in found.X + 0.0], dtype=bool))


def outputs_of(program: TrainingProgram, U: FloatArray, V: FloatArray, X: FloatArray) -> FloatArray:
    """(n, c) what a network with its best output bias says of other rows."""
    features = np.hstack([X, np.ones((len(X), 1))]) if program.has_ones else X
    return np.maximum(features @ U, 0.0) @ V.T + program.output(U, V)


def mean_loss(program: TrainingProgram, outputs: FloatArray, Y: FloatArray, weights: FloatArray) -> float:
    """The mean loss of outputs for targets Y by weights; infinite where it is no number."""
    value = float(weights @ program.loss.kind.value(outputs, Y)) / float(weights.sum())
    return value if math.isfinite(value) else math.inf
