"""The objective of fitted scikit-learn estimators, told by their class, not imported.

scikit-learn minimises ``mean of the loss + alpha/(2n)·‖coefs_‖²`` over n rows, with biases that cost nothing. The
solvers sgd and adam do this for each mini-batch with its own n, so that the decay of all rows is larger than alpha:
γ = alpha · (number of rows) · (mean over the batches of 1/size).
"""

import math
from typing import Any

import numpy as np

from certnet.io.given import Given, features, plain, targets
from certnet.io.models import mlp_network
from formulations import InputError, TrainingProgram
from formulations._validation import as_positive

LARGEST_BATCH = 200
"""scikit-learn's ``batch_size="auto"``."""
_LOSSES = {
    "softmax": ("cross-entropy", "log-loss"),
    "logistic": ("logistic", "log-loss"),
    "identity": ("squared", "half the squared error"),
    "exp": ("poisson", "half the Poisson deviance"),
}
"""By the output activation: our loss, and scikit-learn's."""
SUMMED = (
    "scikit-learn's loss_ averages the squared error over several targets, but the gradients that training follows are "
    "those of their sum, which is the objective here; gamma = alpha times the number of targets is that of loss_."
)


def given_of_sklearn(model: Any, X: Any, y: Any, *, sample_weight: Any = None, gamma: float | None = None) -> Given:
    """The network and objective of a fitted MLPClassifier or MLPRegressor, given with what ``fit`` was given.

    The estimator may stand at the end of a Pipeline, in a TransformedTargetRegressor or in a fitted search; ``gamma``
    is a decay in place of its own.
    """
    model, X, y = _unwrapped(model, X, y)
    network, last = mlp_network(model)
    if last not in _LOSSES:
        raise InputError(f"The model's output activation is {last!r}; certnet has no objective for it.")
    expected, found = getattr(model, "feature_names_in_", None), getattr(X, "columns", None)
    if expected is not None and found is not None and list(expected) != list(found):
        raise InputError("X has other column names, or another order of them, than the model was fitted with.")
    loss, words = _LOSSES[last]
    rows, notes = features(X), []
    Y = targets(loss, y, network.outputs, getattr(model, "classes_", None))
    total = len(rows) if sample_weight is None else float(np.sum(plain("sample_weight", sample_weight)))
    mean = "mean" if sample_weight is None else "weighted mean"
    theirs = f"In scikit-learn's terms: the {mean} over {len(rows)} rows of the {words}"
    if gamma is None:
        gamma, alpha, how = _decay(model, len(rows))
        theirs += f" + alpha/(2·rows)·(sum of squared coefs_), alpha = {alpha:.6g}{how}."
    else:
        gamma = as_positive("gamma", gamma)
        theirs += " + the decay that you named."
    if loss == "squared" and network.outputs > 1:
        notes.append(SUMMED)
    if model.solver != "lbfgs" and model.early_stopping:
        notes.append(
            f"The model held out {model.validation_fraction:.0%} of its rows for early stopping and was not trained on "
            "them; this is about all rows that were given."
        )
    program = TrainingProgram(
        rows, Y, gamma, loss=loss, sample_weight=sample_weight, hidden_bias="free", output_bias="free"
    )
    return Given(network, program, theirs, factor=1.0 / total, notes=tuple(notes))


def _unwrapped(model: Any, X: Any, y: Any) -> tuple[Any, Any, Any]:
    """The estimator at the end, and the features and targets that reach it."""
    while True:
        if hasattr(model, "best_estimator_"):
            model = model.best_estimator_
        elif hasattr(model, "regressor_") and hasattr(model, "transformer_"):
            column = plain("y", y)
            y = _transformed("target", model.transformer_, column[:, None] if column.ndim == 1 else column)
            model = model.regressor_
        elif hasattr(model, "steps") and hasattr(model, "named_steps"):
            for name, step in model.steps[:-1]:
                if step is not None and not isinstance(step, str):
                    X = _transformed(name, step, X)
            model = model.steps[-1][1]
        else:
            return model, X, y


def _transformed(name: str, step: Any, values: Any) -> Any:
    try:
        return step.transform(values)
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"The step {name!r} cannot transform the data: {reason.rstrip('.')[:200]}.") from None


def _decay(model: Any, n: int) -> tuple[float, float, str]:
    """(γ, alpha, words on mini-batches)."""
    alpha = float(model.alpha)
    if not alpha > 0:
        raise InputError("The model was fitted with alpha = 0, an objective without a minimiser; name gamma.")
    if model.solver == "lbfgs":
        return alpha, alpha, ""
    rows = n - math.ceil(model.validation_fraction * n) if model.early_stopping else n
    size = min(LARGEST_BATCH, rows) if model.batch_size == "auto" else min(max(int(model.batch_size), 1), rows)
    if not size > 0:
        raise InputError("X has too few rows for the early stopping that the model was fitted with.")
    sizes = [size] * (rows // size) + [rows % size] * bool(rows % size)
    gamma = alpha * float(np.mean([n / one for one in sizes]))
    how = "" if sizes == [n] else f" in each mini-batch of {size} rows, so that γ = {gamma:.6g} for all rows"
    return gamma, alpha, how
