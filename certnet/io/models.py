"""Networks of live objects: fitted scikit-learn estimators and PyTorch modules, told by their class, not imported."""

from collections.abc import Callable
from typing import Any

import numpy as np

from certnet.io.chain import Chain
from certnet.io.folding import Rounded, normalised
from certnet.io.network import TwoLayerNetwork
from formulations import InputError
from formulations._validation import FloatArray
from formulations.network import ReluNetwork


def network_from_sklearn(model: Any) -> ReluNetwork:
    """The network of an ``MLPClassifier`` or ``MLPRegressor`` with one hidden layer and ReLU.

    Outputs are those before softmax or logistic function, in the order of ``classes_``; the largest one is the
    predicted class. A binary classifier has one output, positive for its second class; it becomes two, 0 and that one.
    A classifier of several labels at once keeps one output for each label, positive where the label is given. Other
    activations, such as a Poisson regressor's exp, and models that are not fitted are an InputError.
    """
    network, last = mlp_network(model)
    if last not in ("identity", "softmax", "logistic"):
        raise InputError(
            f"The model's output activation is {last!r}; certnet verifies outputs without one, and those before the "
            "softmax or logistic function of a classifier."
        )
    binary = last == "logistic" and network.outputs == 1
    return TwoLayerNetwork(network, classes=("0", "1")).with_scores() if binary else network


def mlp_network(model: Any) -> tuple[ReluNetwork, str]:
    """The network before its output activation, with the model's outputs, and the name of that activation."""
    weights, biases = getattr(model, "coefs_", None), getattr(model, "intercepts_", None)
    if weights is None or biases is None:
        raise InputError("The model is no fitted MLPClassifier or MLPRegressor; call fit first.")
    if len(weights) != 2:
        raise InputError(f"The model has {len(weights) - 1} hidden layers; certnet takes networks with exactly one.")
    if model.activation != "relu":
        raise InputError(f"The model's activation is {model.activation!r}; certnet takes networks with 'relu'.")
    hidden, output = np.asarray(weights[0]).T, np.asarray(weights[1]).T
    network = ReluNetwork(hidden, np.asarray(biases[0]), output, np.asarray(biases[1]))
    return network, str(getattr(model, "out_activation_", "identity"))


def network_from_torch(module: Any) -> ReluNetwork:
    """The network of a ``torch.nn.Sequential`` of Linear layers with one layer of ReLU, or what is a sum of ReLUs.

    It is the function that the module, on any device, has after ``module.eval()``; the module is not changed. Flatten,
    Identity and Dropout change nothing there, and BatchNorm1d with running statistics is affine; it is folded into its
    neighbours in float64. Weights become float64, which is exact. Sequentials may be nested. An InputError names the
    first layer that certnet does not read, and hooks or parametrisations, which change what a layer computes.
    """
    if kind_of(module) != "Sequential":
        raise InputError(
            f"A torch.nn.Sequential is expected, not {type(module).__name__}; build one of its layers, or export the "
            "network to ONNX."
        )
    sizes = (getattr(layer, _SIZES[kind_of(layer)]) for layer in module.modules() if kind_of(layer) in _SIZES)
    first = next(sizes, None)
    chain = Chain(size=first or 1)
    # Without duplicates a layer that occurs twice, such as one ReLU object in two places, would be left out.
    for name, layer in module.named_modules(remove_duplicate=False):
        where = f"The layer {name}" if name else "The module"
        if "forward" in vars(layer) or any(getattr(layer, hooks, None) for hooks in _HOOKS):
            raise InputError(
                f"{where} has hooks or another forward, which may change what it computes; remove them first."
            )
        kind = kind_of(layer)
        if kind == "Sequential":
            continue
        if kind not in _OPERATIONS:
            raise InputError(
                f"{where}, {kind or type(layer).__name__}, is not supported; certnet reads {', '.join(_OPERATIONS)} in "
                "a Sequential, so give the network up to its linear output layer."
            )
        try:
            chain = _OPERATIONS[kind](chain, layer)
        except InputError as error:
            raise InputError(f"{where}, {kind}, {error}.") from None
    if first is None:
        raise InputError("The module holds no layer of weights; certnet reads x ↦ V (Uᵀx + b)₊ + b₂.")
    return chain.network("The module").on()


def kind_of(layer: Any) -> str:
    """The name of a class of ``torch.nn``; empty for others, whose forward may be anything."""
    kind = type(layer)
    return kind.__name__ if kind.__module__.startswith("torch.nn.modules.") else ""


def _array(tensor: Any, name: str) -> FloatArray:
    if tensor.is_complex():
        raise InputError(f"has a complex {name}")
    try:
        return np.asarray(tensor.detach().cpu().double().numpy(), dtype=np.float64)
    except (RuntimeError, NotImplementedError, ValueError):
        raise InputError(f"has a {name} without numbers; load the weights first") from None


def _linear(chain: Chain, layer: Any) -> Chain:
    chain = chain.times(Rounded(_array(layer.weight, "weight").T))
    return chain if layer.bias is None else chain.affine(1.0, _array(layer.bias, "bias"))


def _flatten(chain: Chain, layer: Any) -> Chain:
    if (layer.start_dim, layer.end_dim) != (1, -1):
        raise InputError(f"flattens from axis {layer.start_dim} to {layer.end_dim}; certnet reads 1 to -1")
    return chain


def _batch_norm(chain: Chain, layer: Any) -> Chain:
    if layer.running_mean is None or layer.running_var is None:
        raise InputError("has no running statistics, so that its output depends on the batch")
    mean, variance = _array(layer.running_mean, "mean"), _array(layer.running_var, "variance")
    weight = np.ones_like(mean) if layer.weight is None else _array(layer.weight, "weight")
    bias = np.zeros_like(mean) if layer.bias is None else _array(layer.bias, "bias")
    gain, shift = normalised(mean, variance, float(layer.eps), weight, bias)
    size = layer.num_features
    if chain.size != size or gain.values.shape != (size,):
        raise InputError(f"has {size} features, which do not fit what comes in")
    return chain.affine(gain, shift)


_SIZES = {"Linear": "in_features", "BatchNorm1d": "num_features"}
"""Layers that have a number of inputs, and what it is called there."""
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "parametrizations")
_OPERATIONS: dict[str, Callable[[Chain, Any], Chain]] = {
    "Linear": _linear,
    "ReLU": lambda chain, _: chain.between(0.0, np.inf),
    "ReLU6": lambda chain, _: chain.between(0.0, 6.0),
    "Hardtanh": lambda chain, layer: chain.between(layer.min_val, layer.max_val),
    "LeakyReLU": lambda chain, layer: chain.leaky(layer.negative_slope),
    "PReLU": lambda chain, layer: chain.leaky(_array(layer.weight, "slope")),
    "Flatten": _flatten,
    "Identity": lambda chain, _: chain,
    "Dropout": lambda chain, _: chain,
    "BatchNorm1d": _batch_norm,
}
