"""How good a network is on rows: figures of classes and of numbers, as scikit-learn defines them."""

import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from sklearn import metrics

from certificates.certificate import TrainingProof
from certnet.io.dataset import Split
from certnet.io.endings import class_numbers, means, probabilities
from certnet.runtime.wording import OF_CLASSES, OF_NUMBERS
from formulations import TrainingProgram
from formulations._validation import FloatArray
from formulations.losses import Kind

WORST, SHOWN, MOST_CLASSES = 10, 300, 50
"""Rows named as the worst, pairs of target and prediction that are kept, and most classes of a confusion matrix."""


Judged = tuple[FloatArray, FloatArray]
"""Outputs for rows, of networks of the choice of γ that had not learned them, and targets of these rows."""


def evaluate(
    split: Split, program: TrainingProgram, network: TrainingProof, judged: Judged | None = None
) -> dict[str, Any]:
    """Figures on training, validation and test rows; every row counts once, whatever its weight.

    Where no rows are set aside for validation, ``judged`` are that part, but name no worst rows.

    Of classes ``accuracy``, ``balanced_accuracy`` and ``f1`` (of the second of two classes, else the mean over them),
    with ``log_loss`` where the loss makes probabilities; of numbers ``accuracy``, which is null, ``r2`` and errors.
    Entries are null for parts without rows, and where a figure makes no sense. ``confusion`` counts rows by class
    (rows) and prediction (columns), ``fitted`` pairs some targets with predictions, and ``worst`` names the rows of the
    last part with the largest loss, counted from 0 in that part. None of the test rows decides anything.
    """
    by_class = split.task == "classification"
    names = list(OF_CLASSES) if by_class else ["accuracy", *OF_NUMBERS]
    scores: dict[str, Any] = {name: {} for name in (*names, "confusion" if by_class else "fitted")}
    kind = program.loss.kind
    for part, X, Y in split.parts():
        figures: dict[str, float] = {}
        outputs = None
        if X is None and part == "validation" and judged is not None:
            outputs, Y = judged
        # Rows far from the training rows may overflow; what is not finite becomes null in the report.
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if X is not None and Y is not None:
                inputs = np.hstack([X, np.ones((len(X), 1))]) if program.has_ones else X
                outputs = np.maximum(inputs @ network.U, 0.0) @ network.V.T + network.output
                scores["worst"] = {"part": part, "rows": _worst(outputs, Y, kind, split.classes)}
            if outputs is not None and Y is not None:
                figures = _of_classes(outputs, Y, kind.name) if by_class else _of_numbers(outputs, Y, kind.name)
                if by_class:
                    few = (count := max(Y.shape[1], 2)) <= MOST_CLASSES
                    pairs = class_numbers(Y), class_numbers(outputs)
                    counted = metrics.confusion_matrix(*pairs, labels=range(count)).tolist() if few else None
                    scores["confusion"][part] = counted
                elif Y.shape[1] == 1:
                    some = np.linspace(0, len(Y) - 1, min(len(Y), SHOWN)).astype(int)
                    found = np.hstack([Y, means(kind.name, outputs)])[some]
                    scores["fitted"][part] = found[np.isfinite(found).all(axis=1)].tolist()
        for name in names:
            value = figures.get(name)
            scores[name][part] = None if value is None or not math.isfinite(value) else float(value)
    return scores


def _worst(outputs: FloatArray, Y: FloatArray, kind: Kind, classes: Sequence[str] | None) -> list[dict[str, Any]]:
    """The rows with the largest loss, from the largest."""
    loss = kind.value(outputs, Y)
    order = np.argsort(-loss, kind="stable")[:WORST]
    if classes is None:
        found = means(kind.name, outputs)
        pairs = [(Y[row].tolist(), found[row].tolist()) for row in order]
    else:
        goals, guesses = class_numbers(Y), class_numbers(outputs)
        # A single class has one output, which may have either sign.
        names = (*classes, *classes) if len(classes) == 1 else classes
        pairs = [(names[goals[row]], names[guesses[row]]) for row in order]
    rows = zip(order.tolist(), pairs, loss[order].tolist(), strict=True)
    return [{"row": row, "target": target, "predicted": found, "loss": value} for row, (target, found), value in rows]


def _of_classes(outputs: FloatArray, Y: FloatArray, kind: str) -> dict[str, Any]:
    """Figures of scores (n×c, or n×1 for the second of two classes) against targets of the same shape."""
    count = max(Y.shape[1], 2)
    truth, found = class_numbers(Y), class_numbers(outputs)
    figures: dict[str, Any] = {
        "accuracy": metrics.accuracy_score(truth, found),
        "balanced_accuracy": metrics.balanced_accuracy_score(truth, found),
        "f1": metrics.f1_score(truth, found, average="binary" if count == 2 else "macro", zero_division=0.0),
    }
    p = probabilities(kind, outputs)
    if p is not None:
        figures["log_loss"] = metrics.log_loss(truth, p, labels=range(count))
    return figures


def _of_numbers(outputs: FloatArray, Y: FloatArray, kind: str) -> dict[str, Any]:
    """Figures of outputs (n×c) against numbers."""
    found = means(kind, outputs)
    if not np.isfinite(found).all():
        return {}
    figures = {
        "mean_squared_error": metrics.mean_squared_error(Y, found),
        "mean_absolute_error": metrics.mean_absolute_error(Y, found),
    }
    varies = bool((Y[0] != Y).any())
    return figures | ({"r2": metrics.r2_score(Y, found, multioutput="variance_weighted")} if varies else {})
