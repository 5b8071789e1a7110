"""Networks in files: NumPy archives, the state of two Linear layers, and ONNX graphs."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from certnet.io.network import LARGEST_FILE, TwoLayerNetwork, assemble
from certnet.io.onnx_graph import read_onnx
from certnet.io.packed import PACKED, Array, ending, npz_arrays, read_bytes, reading, safetensors
from certnet.io.runs import Run, find_run, network_of, read_run
from formulations import InputError
from formulations.arguments import accepts, location
from formulations.network import ReluNetwork

PICKLED = (".pt", ".pth", ".pkl", ".pickle", ".joblib", ".ckpt", ".bin")
"""Endings of files that may run code when they are read."""
PLAIN = {"b": "hidden_bias", **{name: name for name in ("U", "V", "hidden_bias", "output_bias", "offset", "scale")}}
"""Arrays of a plain archive, and what they are."""
ABOUT = "about"
"""Array with the texts that ``certnet export`` adds."""
LAYERS = {"W1": "U", "b1": "hidden_bias", "W2": "V", "b2": "output_bias"}
"""Arrays of an archive that names its layers; W1 is m×d, one row for each neuron."""
INFORMATION = frozenset({"input_mean", "input_scale"})
"""Arrays beside these that say how inputs were made before they reach the network, which takes them as made."""


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
    if {"W1", "W2"} <= set(arrays) <= {*LAYERS, *INFORMATION}:
        layers: dict[str, Any] = {LAYERS[name]: array for name, array in arrays.items() if name in LAYERS}
        return assemble(path.name, **{**layers, "U": layers["U"].T})
    if "U" not in arrays or "V" not in arrays:
        have = ", ".join(names[:8]) or "nothing"
        raise InputError(f"{path.name} holds {have}; a network needs arrays U (d×m) and V (c×m), and optionally b (m).")
    arrays.pop(ABOUT, None)
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
    places = [list(map(int, re.findall(r"\d+", name))) if numbered else [_tendency(name)] for name in (a, b)]
    if places[0] == places[1]:
        raise InputError(f"{source}: either of {a} and {b} may be the hidden layer, by shape and by name; {_RENAME}.")
    return (a, b) if places[0] < places[1] else (b, a)


def _tendency(name: str) -> int:
    """Negative where the words of a layer's name say that it is the first one, positive for the last one."""
    words = set(re.findall(r"[a-z]+", name.lower()))
    return bool(words & _LAST) - bool(words & _FIRST)


_READERS: dict[str, Callable[[Path], TwoLayerNetwork]] = {
    ".npz": _read_npz,
    ".onnx": read_onnx,
    ".safetensors": lambda path: state_network(path.name, safetensors(path.name, read_bytes(path, LARGEST_FILE))),
}
