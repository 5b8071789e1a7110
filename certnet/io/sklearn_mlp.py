"""A network from a fitted scikit-learn estimator."""

from typing import Any

import numpy as np

from formulations import InputError
from formulations.network import ReluNetwork


def network_from_sklearn(model: Any) -> ReluNetwork:
    """The network of an ``MLPClassifier`` or ``MLPRegressor`` with one hidden layer and ReLU.

    Outputs are those before softmax or logistic function, in the order of ``classes_``; the largest one is the
    predicted class. A binary classifier has one output, positive for its second class; it becomes two, 0 and that one.
    A classifier of several labels at once keeps one output for each label, positive where the label is given.

    Raises:
        InputError: the model is not fitted, has another number of hidden layers, another activation of these or of the
            outputs, such as a Poisson regressor's exp, or weights that are not finite.
    """
    weights, biases = getattr(model, "coefs_", None), getattr(model, "intercepts_", None)
    if weights is None or biases is None:
        raise InputError("The model is no fitted MLPClassifier or MLPRegressor; call fit first.")
    if len(weights) != 2:
        raise InputError(f"The model has {len(weights) - 1} hidden layers; certnet verifies networks with exactly one.")
    if model.activation != "relu":
        raise InputError(f"The model's activation is {model.activation!r}; certnet verifies networks with 'relu'.")
    output, bias = np.asarray(weights[1]).T, np.asarray(biases[1])
    last = getattr(model, "out_activation_", "identity")
    if last not in ("identity", "softmax", "logistic"):
        raise InputError(
            f"The model's output activation is {last!r}; certnet verifies outputs without one, and those before the "
            "softmax or logistic function of a classifier."
        )
    if last == "logistic" and len(output) == 1:
        output, bias = np.vstack([np.zeros_like(output), output]), np.concatenate([[0.0], bias])
    return ReluNetwork(np.asarray(weights[0]).T, np.asarray(biases[0]), output, bias)
