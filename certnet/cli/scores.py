"""How well a network does on rows it was and was not trained on. Nothing is chosen by these figures."""

from typing import Any

import numpy as np

from certnet.io import Split
from formulations._validation import FloatArray


def evaluate(split: Split, U: FloatArray, V: FloatArray) -> dict[str, Any]:
    """``accuracy`` for classes, else ``r2`` and ``mean_squared_error``, each on training, validation and test rows.

    Entries are null for parts without rows, and R² where the targets do not vary.
    """
    accuracy: dict[str, float | None] = {}
    r2: dict[str, float | None] = {}
    mean_squared_error: dict[str, float | None] = {}
    for name, X, Y in split.parts():
        accuracy[name] = r2[name] = mean_squared_error[name] = None
        if X is None or Y is None:
            continue
        # Rows far from the training rows may overflow; what is not finite becomes null in the report.
        with np.errstate(all="ignore"):
            figures = _figures(X, Y, U, V, split)
        accuracy[name], r2[name], mean_squared_error[name] = figures
    if split.task == "classification":
        return {"accuracy": accuracy}
    return {"accuracy": accuracy, "r2": r2, "mean_squared_error": mean_squared_error}


def _figures(
    X: FloatArray, Y: FloatArray, U: FloatArray, V: FloatArray, split: Split
) -> tuple[float | None, float | None, float | None]:
    """(accuracy, R², mean squared error), None where not asked for."""
    scores = _predict(X, U, V, bias=split.recipe.bias)
    if split.task == "classification":
        return float(np.mean(scores.argmax(axis=1) == Y.argmax(axis=1))), None, None
    squares = float(np.sum((scores - Y) ** 2))
    spread = float(np.sum((Y - Y.mean(axis=0)) ** 2))
    return None, 1.0 - squares / spread if spread > 0 else None, squares / Y.size


def _predict(X: FloatArray, U: FloatArray, V: FloatArray, *, bias: bool) -> FloatArray:
    if bias:
        X = np.hstack([X, np.ones((len(X), 1))])
    scores: FloatArray = np.maximum(X @ U, 0.0) @ V.T
    return scores
