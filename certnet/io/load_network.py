"""Networks in files, and of live scikit-learn estimators and PyTorch modules, told by their class, not imported."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from certnet.io.chain import Chain
from certnet.io.folding import Rounded, normalised
from certnet.io.network import TwoLayerNetwork, assemble
from certnet.io.onnx_graph import read_onnx
from certnet.io.packed import LARGEST_FILE, PACKED, Array, ending, npz_arrays, read_bytes, reading, safetensors
from certnet.io.runs import Run, find_run, network_of, read_run
from formulations import InputError
from formulations._validation import FloatArray
from formulations.arguments import accepts, location
from formulations.network import ReluNetwork

PICKLED = (".pt", ".pth", ".pkl", ".pickle", ".joblib", ".ckpt", ".bin")
"""Endings of files that may run code when they are read."""
PLAIN = {"b": "hidden_bias", **{name: name for name in ("U", "V", "hidden_bias", "output_bias", "offset", "scale")}}
"""Arrays of a plain archive, and what they are."""
LAYERS = {"W1": "U", "b1": "hidden_bias", "W2": "V", "b2": "output_bias"}
"""Arrays of an archive that names its layers; W1 is m×d, one row for each neuron."""


@accepts(path=location)
def read_relu_network(path: str | Path, *, classes: tuple[str, ...] | None = None) -> ReluNetwork:
    """Read a network as a function of raw features, x ↦ V (Ux + b)₊ + b₂, for verification.

    Its outputs are put into the order of ``classes`` where it names its own. Files as for ``read_network``.
    """
    return read_network(path).on(classes=classes)


@accepts(path=location)
def read_network(path: str | Path) -> TwoLayerNetwork:
    """Read a two-layer ReLU network z ↦ V (Uz + b)₊ + b₂ with z = (x − offset)/scale.

    Formats: a folder that ``certnet train`` made, or its name in ``runs``; ``.npz`` that ``TwoLayerNetwork.save``
    wrote, or with arrays U (d×m), V (c×m) and optionally biases; ``.onnx``; ``.safetensors`` with the state of two
    Linear layers. Weights become float64, which is exact.
    """
    return named_network(path)[0]


def named_network(path: str | Path) -> tuple[TwoLayerNetwork, Run | None]:
    """The network as ``read_network`` reads it, and the run whose network it is; None for that of a file."""
    source = Path(path)
    if find_run(path) is not None and not source.is_file():
        run = read_run(path)
        return network_of(run), run
    kind = ending(source)
    if not kind and not source.exists():
        read_run(path)  # raises, and says which runs there are
    if kind in PICKLED:
        raise InputError(
            f"{source.name} may run code when it is read, so certnet does not read it; in PyTorch export the "
            "network to ONNX, or save it with safetensors.torch.save_file(model.state_dict(), "
            f"{source.stem + '.safetensors'!r})."
        )
    if kind not in _READERS or (source.suffix.lower() == PACKED and kind != ".onnx"):
        raise InputError(
            f"{source.name} has no ending that certnet reads a network from; give a file ending in "
            f"{', '.join(_READERS)} or .onnx.gz, or the folder of a run."
        )
    with reading(source):
        size = source.stat().st_size
        if size > LARGEST_FILE:
            raise InputError(f"{source.name} has {size} bytes; certnet reads networks of at most {LARGEST_FILE}.")
        return _READERS[kind](source), None


def _read_npz(path: Path) -> TwoLayerNetwork:
    """An archive of ``TwoLayerNetwork.save``, or plain arrays: U (d×m) and V (c×m), or W1 (m×d) and W2 (c×m).

    The first may have biases, offset and scale beside them, the others b1 and b2, for inputs that are standardised.
    """
    damaged = f"{path.name} is no readable .npz archive; write it with numpy.savez."
    names, arrays = npz_arrays(path, damaged, largest=LARGEST_FILE)
    if "format" in arrays:
        return TwoLayerNetwork.stored(path.name, arrays)
    # The latter two say how inputs were made before they reach the network, which takes them as made.
    if {"W1", "W2"} <= set(arrays) <= {*LAYERS, "input_mean", "input_scale"}:
        layers: dict[str, Any] = {LAYERS[name]: array for name, array in arrays.items() if name in LAYERS}
        return assemble(path.name, **{**layers, "U": layers["U"].T})
    if "U" not in arrays or "V" not in arrays:
        have = ", ".join(names[:8]) or "nothing"
        raise InputError(f"{path.name} holds {have}; a network needs arrays U (d×m) and V (c×m), and optionally b (m).")
    arrays.pop("about", None)  # the texts that certnet export adds
    foreign = next((name for name in arrays if name not in PLAIN), None)
    if foreign is not None:
        raise InputError(f"{path.name} holds an array {foreign!r} of unknown meaning; save U, V and optionally b.")
    if "b" in arrays and "hidden_bias" in arrays:
        raise InputError(f"{path.name} holds both b and hidden_bias; save one of them.")
    parts: dict[str, Any] = {PLAIN[name]: array for name, array in arrays.items()}
    return assemble(path.name, **parts)


_FIRST = frozenset({"hidden", "input", "in", "first", "encoder", "inner", "lower"})
_LAST = frozenset({"output", "out", "last", "final", "head", "classifier", "decoder", "readout", "outer", "upper"})
_RENAME = "save the state of torch.nn.Sequential(Linear, ReLU, Linear), whose weights are 0.weight and 2.weight"


def state_network(source: str, tensors: Mapping[str, Array]) -> TwoLayerNetwork:
    """The network of two weights ``NAME.weight``, outputs×inputs as PyTorch has them, and their biases ``NAME.bias``.

    Which layer comes first follows from the shapes; where both orders fit, from the names (``fc1`` before ``fc2``,
    ``hidden`` before ``output``).
    """
    parts: dict[str, Any] = {name: tensors[name] for name in ("offset", "scale") if name in tensors}
    layers = _by_layer(source, {name: tensor for name, tensor in tensors.items() if name not in parts})
    if len(layers) != 2:
        count = "one Linear layer" if len(layers) == 1 else f"{len(layers)} Linear layers"
        raise InputError(
            f"{source} holds {count}; certnet reads networks with exactly two, a hidden one and an output."
        )
    hidden, output = (layers[name] for name in _order(source, {name: layers[name]["weight"] for name in layers}))
    parts |= {"hidden_bias": hidden.get("bias"), "output_bias": output.get("bias")}
    return assemble(source, U=hidden["weight"].T, V=output["weight"], **parts)


def _by_layer(source: str, tensors: Mapping[str, Array]) -> dict[str, dict[str, Array]]:
    layers: dict[str, dict[str, Array]] = {}
    for name, tensor in tensors.items():
        layer, _, kind = name.rpartition(".")
        dimensions = {"weight": 2, "bias": 1}.get(kind)
        if dimensions is None or not layer:
            raise InputError(
                f"{source} holds a tensor {name!r} that is neither weight nor bias of a Linear layer; {_RENAME}."
            )
        if tensor.ndim != dimensions:
            raise InputError(
                f"{source}: {name} has {tensor.ndim} dimensions where a Linear layer has {dimensions}; certnet reads "
                "networks of two Linear layers with a ReLU between them."
            )
        layers.setdefault(layer, {})[kind] = tensor
    alone = next((layer for layer, parts in layers.items() if "weight" not in parts), None)
    if alone is not None:
        raise InputError(f"{source} holds {alone}.bias but no {alone}.weight; save the whole network.")
    return layers


def _order(source: str, weights: Mapping[str, Array]) -> tuple[str, str]:
    """(hidden layer, output layer)."""
    a, b = weights
    fitting = [(i, j) for i, j in ((a, b), (b, a)) if weights[i].shape[0] == weights[j].shape[1]]
    if not fitting:
        raise InputError(
            f"{source}: {a}.weight has shape {weights[a].shape} and {b}.weight {weights[b].shape}; neither layer can "
            "feed the other."
        )
    if len(fitting) == 1:
        return fitting[0]
    numbered = re.sub(r"\d+", "#", a) == re.sub(r"\d+", "#", b)
    # Else words say that a layer is the first one or the last.
    words = [{*re.findall(r"[a-z]+", name.lower())} for name in (a, b)]
    sides = [[bool(own & _LAST) - bool(own & _FIRST)] for own in words]
    places = [[*map(int, re.findall(r"\d+", name))] for name in (a, b)] if numbered else sides
    if places[0] == places[1]:
        raise InputError(f"{source}: either of {a} and {b} may be the hidden layer, by shape and by name; {_RENAME}.")
    return (a, b) if places[0] < places[1] else (b, a)


_READERS: dict[str, Callable[[Path], TwoLayerNetwork]] = {
    ".npz": _read_npz,
    ".onnx": read_onnx,
    ".safetensors": lambda path: state_network(path.name, safetensors(path.name, read_bytes(path, LARGEST_FILE))),
}


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
