"""How good a network is on rows: figures of classes and of numbers, as scikit-learn defines them."""

import math
import warnings
from typing import Any

import numpy as np
from scipy.special import expit, softmax
from sklearn import metrics

from certificates.certificate import TrainingProof
from certnet.io import Split
from certnet.runtime.wording import OF_CLASSES, OF_NUMBERS
from formulations import TrainingProgram
from formulations._validation import FloatArray

Scores = dict[str, dict[str, float | None]]


def evaluate(split: Split, program: TrainingProgram, network: TrainingProof) -> Scores:
    """Figures on training, validation and test rows; every row counts once, whatever its weight.

    Of classes ``accuracy``, ``balanced_accuracy`` and ``f1`` (of the second of two classes, else the mean over them),
    with ``log_loss`` where the loss makes probabilities; of numbers ``accuracy``, which is null, ``r2`` and errors.
    Entries are null for parts without rows, and where a figure makes no sense. None of the test rows decides anything.
    """
    by_class = split.task == "classification"
    names = list(OF_CLASSES) if by_class else ["accuracy", *OF_NUMBERS]
    scores: Scores = {name: {} for name in names}
    for part, X, Y in split.parts():
        figures: dict[str, float] = {}
        if X is not None and Y is not None:
            # Rows far from the training rows may overflow; what is not finite becomes null in the report.
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                inputs = np.hstack([X, np.ones((len(X), 1))]) if program.has_ones else X
                outputs = np.maximum(inputs @ network.U, 0.0) @ network.V.T + network.output
                kind = program.loss.kind.name
                figures = _of_classes(outputs, Y, kind) if by_class else _of_numbers(outputs, Y, kind)
        for name in names:
            value = figures.get(name)
            scores[name][part] = None if value is None or not math.isfinite(value) else float(value)
    return scores


def _of_classes(outputs: FloatArray, Y: FloatArray, kind: str) -> dict[str, Any]:
    """Figures of scores (n×c, or n×1 for the second of two classes) against targets of the same shape."""
    count = max(Y.shape[1], 2)
    truth, found = (
        (array[:, 0] > 0).astype(int) if Y.shape[1] == 1 else array.argmax(axis=1) for array in (Y, outputs)
    )
    figures: dict[str, Any] = {
        "accuracy": metrics.accuracy_score(truth, found),
        "balanced_accuracy": metrics.balanced_accuracy_score(truth, found),
        "f1": metrics.f1_score(truth, found, average="binary" if count == 2 else "macro", zero_division=0.0),
    }
    if kind in ("logistic", "cross-entropy") and np.isfinite(outputs).all():
        p = softmax(outputs, axis=1) if kind == "cross-entropy" else np.hstack([expit(-outputs), expit(outputs)])
        figures["log_loss"] = metrics.log_loss(truth, p, labels=range(count))
    return figures


def _of_numbers(outputs: FloatArray, Y: FloatArray, kind: str) -> dict[str, Any]:
    """Figures of outputs (n×c) against numbers; the prediction of a Poisson model is the exponential of its output."""
    found = np.exp(outputs) if kind == "poisson" else outputs
    if not np.isfinite(found).all():
        return {}
    figures = {
        "mean_squared_error": metrics.mean_squared_error(Y, found),
        "mean_absolute_error": metrics.mean_absolute_error(Y, found),
    }
    varies = bool((Y[0] != Y).any())
    return figures | ({"r2": metrics.r2_score(Y, found, multioutput="variance_weighted")} if varies else {})
