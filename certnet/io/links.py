"""From a network's scores to what is predicted: probabilities of classes, and means."""

from collections.abc import Callable

import numpy as np

from formulations._validation import FloatArray, IntArray

ENDINGS: dict[str, Callable[[FloatArray], FloatArray]] = {
    "LogSoftmax": lambda y: y - y.max() - np.log(np.exp(y - y.max()).sum()),
    "Sigmoid": lambda y: 0.5 + 0.5 * np.tanh(0.5 * y),
    "Softmax": lambda y: np.exp(y - y.max()) / np.exp(y - y.max()).sum(),
    "Tanh": np.tanh,
}
"""Functions of all outputs (c,) that networks of files may end in, and that keep the outputs' order, strictly."""
PROBABILISTIC = ("logistic", "cross-entropy")
"""Losses whose scores are logits."""


def probabilities(loss: str, scores: FloatArray) -> FloatArray | None:
    """(n, classes) of scores (n×c, or n×1 for the second of two classes); None where the loss makes none."""
    from scipy.special import expit, softmax  # is slow to import

    if loss not in PROBABILISTIC or not np.isfinite(scores).all():
        return None
    found = softmax(scores, axis=1) if loss == "cross-entropy" else np.hstack([expit(-scores), expit(scores)])
    return np.asarray(found)


def means(loss: str, scores: FloatArray) -> FloatArray:
    """(n, c) predictions of numbers; that of a Poisson model is the exponential of its score."""
    return np.exp(scores) if loss == "poisson" else scores


def class_numbers(scores: FloatArray) -> IntArray:
    """(n,) the class that scores or targets (n×c, or n×1 for the second of two classes) stand for."""
    return np.asarray((scores[:, 0] > 0) if scores.shape[1] == 1 else scores.argmax(axis=1), dtype=np.int64)
