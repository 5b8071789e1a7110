"""A network from a live ``torch.nn.Sequential``. PyTorch is not imported: its modules are told by their class."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np

from certnet.io.signal import Layer, Signal
from formulations import InputError
from formulations._validation import FloatArray
from formulations.network import ReluNetwork

SOURCE = "the module"


def network_from_torch(module: Any) -> ReluNetwork:
    """The network of a ``torch.nn.Sequential`` with two Linear layers and a ReLU between them.

    It is the function that the module has after ``module.eval()``. Flatten, Identity and Dropout change nothing there,
    and BatchNorm1d with running statistics is affine; it is folded into its neighbours in float64. Weights become
    float64, which is exact. Sequentials may be nested.

    Args:
        module: the Sequential. It is not changed, and may be on any device.

    Raises:
        InputError: another module, the first layer that certnet does not read, hooks or parametrisations, which change
            what a layer computes, or weights that are not finite.
    """
    signal = Signal()
    for name, layer in _layers(module, ""):
        operation = _OPERATIONS.get(_kind(layer))
        if operation is None:
            raise InputError(
                f"The layer {name}, {_kind(layer) or type(layer).__name__}, is not supported; certnet reads "
                f"{', '.join(_OPERATIONS)} in a Sequential, so give the network up to its linear output layer."
            )
        try:
            signal = operation(signal, layer)
        except InputError as error:
            raise InputError(f"The layer {name}, {_kind(layer)}, {error}.") from None
    if signal.layer is not Layer.OUTPUT:
        raise InputError("The module does not end in a second Linear layer after a ReLU; certnet reads such networks.")
    return signal.network(SOURCE).for_verification()


def _layers(module: Any, prefix: str) -> Iterator[tuple[str, Any]]:
    """(name, layer) in order; Sequentials inside are opened."""
    if _kind(module) != "Sequential":
        raise InputError(
            f"A torch.nn.Sequential is expected, not {type(module).__name__}; build one of its layers, or export the "
            "network to ONNX."
        )
    _require_plain(module, "The module" if not prefix else f"The layer {prefix.removesuffix('.')}")
    # named_children would leave out a layer that occurs twice, such as one ReLU object in two places.
    for name, layer in module._modules.items():
        path = f"{prefix}{name}"
        if _kind(layer) == "Sequential":
            yield from _layers(layer, f"{path}.")
        else:
            _require_plain(layer, f"The layer {path}")
            yield path, layer


def _kind(layer: Any) -> str:
    """The name of a class of ``torch.nn``; empty for others, whose forward may be anything."""
    kind = type(layer)
    return kind.__name__ if kind.__module__.startswith("torch.nn.modules.") else ""


def _require_plain(layer: Any, name: str) -> None:
    if "forward" in vars(layer) or any(
        getattr(layer, hooks, None) for hooks in ("_forward_hooks", "_forward_pre_hooks", "parametrizations")
    ):
        raise InputError(f"{name} has hooks or another forward, which may change what it computes; remove them first.")


def _array(tensor: Any, name: str) -> FloatArray:
    if tensor.is_complex():
        raise InputError(f"has a complex {name}")
    try:
        return np.asarray(tensor.detach().cpu().double().numpy(), dtype=np.float64)
    except (RuntimeError, NotImplementedError, ValueError):
        raise InputError(f"has a {name} without numbers; load the weights first") from None


def _linear(signal: Signal, layer: Any) -> Signal:
    signal = signal.times(_array(layer.weight, "weight").T, from_left=False)
    return signal if layer.bias is None else signal.affine(np.ones(()), _array(layer.bias, "bias"))


def _relu(signal: Signal, _: Any) -> Signal:
    return signal.rectified()


def _flatten(signal: Signal, layer: Any) -> Signal:
    if (layer.start_dim, layer.end_dim) != (1, -1):
        raise InputError(f"flattens from axis {layer.start_dim} to {layer.end_dim}; certnet reads 1 to -1")
    return signal


def _unchanged(signal: Signal, _: Any) -> Signal:
    return signal


def _batch_norm(signal: Signal, layer: Any) -> Signal:
    if layer.running_mean is None or layer.running_var is None:
        raise InputError("has no running statistics, so that its output depends on the batch")
    gain = 1.0 / np.sqrt(_array(layer.running_var, "variance") + float(layer.eps))
    shift = -_array(layer.running_mean, "mean") * gain
    if layer.weight is not None:
        weight = _array(layer.weight, "weight")
        gain, shift = weight * gain, weight * shift
    if layer.bias is not None:
        shift = shift + _array(layer.bias, "bias")
    size = layer.num_features
    if signal.size not in (None, size) or gain.shape != (size,):
        raise InputError(f"has {size} features, which do not fit what comes in")
    return replace(signal, size=size, rounded=True).affine(gain, shift)


_OPERATIONS: dict[str, Callable[[Signal, Any], Signal]] = {
    "Linear": _linear,
    "ReLU": _relu,
    "Flatten": _flatten,
    "Identity": _unchanged,
    "Dropout": _unchanged,
    "BatchNorm1d": _batch_norm,
}
