"""Networks for other tools: ONNX graphs, PyTorch tensors and NumPy arrays that take raw features.

Nothing is written that does not compute what the network computes: what is in the bytes is evaluated on points like
the data, in its own precision, and compared.
"""

import io
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from safetensors.numpy import save

from certnet.io.network import TwoLayerNetwork
from certnet.io.output import write_file
from certnet.io.packed import Array, safetensors
from certnet.runtime.machine import needed
from certnet.runtime.version import __version__
from formulations import InputError
from formulations._validation import FloatArray
from formulations.arguments import accepts, location
from formulations.network import ReluNetwork

OPSET = 13
Kind = Literal["onnx", "torch", "numpy"]
ENDINGS: dict[Kind, str] = {"onnx": ".onnx", "torch": ".safetensors", "numpy": ".npz"}
_TENSORS = {"U": "0.weight", "hidden_bias": "0.bias", "V": "2.weight", "output_bias": "2.bias"}
"""Names of PyTorch's Sequential(Linear, ReLU, Linear); its weights are outputs×inputs."""


@dataclass(frozen=True)
class Settings:
    rows: int = 256
    """Points on which what was written is compared. Not measured."""
    single: float = 1e-6
    """Most difference of an export in float32, over the size of the terms of an output. Measured: 2e-7 on networks of
    the built-in sets."""
    double: float = 1e-12
    """The same in float64. Measured: 4e-16."""


SETTINGS = Settings()


@dataclass(frozen=True)
class Export:
    """A file that was written.

    Attributes:
        difference: largest absolute difference of its outputs from the network's, on ``rows`` points like the data.
        how: lines of Python that use the file.
    """

    path: Path
    difference: float
    rows: int
    how: tuple[str, ...]


def export(path: Path, network: TwoLayerNetwork, kind: Kind, about: Mapping[str, str], *, single: bool) -> Export:
    """Write a network, with standardisation and biases; the file appears when it is complete.

    Its outputs are scores, before softmax, logistic function or exponential. Refused is what would compute other ones:
    float32 cannot hold features that differ little for their size.

    Args:
        kind: "onnx", "torch" (safetensors with a state of two Linear layers) or "numpy" (an archive of arrays).
        about: names and texts that go into the metadata, such as ``classes`` and ``features`` as JSON lists.
        single: float32 instead of float64.
    """
    if path.suffix.lower() != ENDINGS[kind]:
        raise InputError(f"--{kind} writes a file that ends in {ENDINGS[kind]}, not {path.name!r}; name it so.")
    dtype = np.dtype(np.float32 if single else np.float64)
    # Names of files and classes may hold halves of characters, which no file format takes.
    about = {name: text.encode(errors="replace").decode() for name, text in about.items()}
    notes = {"producer": f"certnet {__version__}", **about}
    content = _BYTES[kind](network, dtype, notes)
    X = _points(network).astype(dtype)
    found = _outputs(kind, content, X).astype(float)
    own, Z = network.network, np.abs(network.features(X.astype(float)))
    expected = network.predict(X.astype(float))
    # The sum of the sizes of all terms of each output, in which rounding is measured.
    hidden = Z @ np.abs(own.hidden).T + np.abs(own.hidden_bias)
    size = hidden @ np.abs(own.output).T + np.abs(own.output_bias)
    limit = SETTINGS.single if single else SETTINGS.double
    if not (np.abs(found - expected) <= limit * size).all():
        advice = "leave --float32 out" if single else "keep the network as it is"
        with np.errstate(all="ignore"):
            worst = float(np.nanmax(np.abs(found - expected) / size))
        raise InputError(
            f"In {dtype.name} the exported network differs from this one by {worst:.1e} of its size, because features "
            f"are large for their spread, or not numbers; nothing was written; {advice}."
        )
    write_file(path, content)
    return Export(path, float(np.abs(found - expected).max()), len(X), _how(kind, str(path), dtype.name, network))


@accepts(path=location, network=ReluNetwork)
def write_onnx(path: str | Path, network: ReluNetwork) -> None:
    """Write f(x) = V (Ux + b)₊ + b₂ as ``onnx_bytes``, with weights in float64; needs the ``onnx`` package."""
    write_file(Path(path), onnx_bytes(TwoLayerNetwork(network), np.dtype(np.float64), {}))


def onnx_bytes(network: TwoLayerNetwork, dtype: Any, metadata: Mapping[str, str]) -> bytes:
    """The ONNX graph x ↦ V (U (x − offset)/scale + b)₊ + b₂, with input ``x`` (batch×d) and output ``y`` (batch×c)."""
    onnx = needed("onnx", "Writing ONNX needs the onnx package; install it with pip install 'certnet[onnx]'.")
    helper, own = onnx.helper, _arrays(network, dtype)
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    arrays = {"U": own["U"].T, "b": own["hidden_bias"], "V": own["V"], "b2": own["output_bias"]}
    nodes, x = [], "x"
    for name, operation in (("offset", "Sub"), ("scale", "Div")):
        if name in own:
            arrays[name] = own[name]
            nodes.append(helper.make_node(operation, [x, name], [f"after_{name}"]))
            x = f"after_{name}"
    nodes += [
        helper.make_node("Gemm", [x, "U", "b"], ["z"], transB=1),
        helper.make_node("Relu", ["z"], ["a"]),
        helper.make_node("Gemm", ["a", "V", "b2"], ["y"], transB=1),
    ]
    sizes = {"x": network.network.inputs, "y": network.network.outputs}
    ends = [helper.make_tensor_value_info(name, kind, [None, size]) for name, size in sizes.items()]
    tensors = [onnx.numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in arrays.items()]
    graph = helper.make_graph(nodes, "two_layer_relu", ends[:1], ends[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="certnet")
    model.ir_version = 8
    helper.set_model_props(model, dict(metadata))
    return bytes(model.SerializeToString())


def _arrays(network: TwoLayerNetwork, dtype: Any) -> dict[str, Array]:
    """The network's members; what overflows shows in the comparison."""
    with np.errstate(over="ignore"):
        return {name: np.ascontiguousarray(array, dtype=dtype) for name, array in network.members.items()}


def _torch_bytes(network: TwoLayerNetwork, dtype: Any, metadata: Mapping[str, str]) -> bytes:
    own = _arrays(network, dtype)
    own["U"] = np.ascontiguousarray(own["U"].T)
    return save({_TENSORS.get(name, name): array for name, array in own.items()}, metadata=dict(metadata))


def _numpy_bytes(network: TwoLayerNetwork, dtype: Any, metadata: Mapping[str, str]) -> bytes:
    stream = io.BytesIO()
    about = np.array(json.dumps(metadata, ensure_ascii=False))
    np.savez(stream, **_arrays(network, dtype), about=about)  # type: ignore[arg-type]
    return stream.getvalue()


_BYTES = {"onnx": onnx_bytes, "torch": _torch_bytes, "numpy": _numpy_bytes}


def _outputs(kind: Kind, content: bytes, X: Array) -> Array:
    """What a file of this content computes of rows X, in its own precision."""
    if kind == "onnx":
        from onnx.reference import ReferenceEvaluator

        return np.asarray(ReferenceEvaluator(content).run(None, {"x": X})[0])
    if kind == "numpy":
        with np.load(io.BytesIO(content)) as archive:
            arrays = {**archive}
    else:
        tensors = safetensors("the exported file", content)
        arrays = {name: tensors[_TENSORS.get(name, name)] for name in (*_TENSORS, *tensors.keys() - _TENSORS.values())}
        arrays["U"] = arrays["U"].T
    X = X - arrays["offset"] if "offset" in arrays else X
    X = X / arrays["scale"] if "scale" in arrays else X
    return np.asarray(np.maximum(X @ arrays["U"] + arrays["hidden_bias"], 0) @ arrays["V"].T + arrays["output_bias"])


def _points(network: TwoLayerNetwork) -> FloatArray:
    """Points whose standardised features have mean 0 and deviation 2, always the same."""
    Z = 2.0 * np.random.default_rng(0).normal(size=(SETTINGS.rows, network.network.inputs))
    Z = Z if network.scale is None else Z * network.scale
    return Z if network.offset is None else Z + network.offset


def _how(kind: Kind, name: str, dtype: str, network: TwoLayerNetwork) -> tuple[str, ...]:
    if kind == "onnx":
        return (
            "import onnxruntime",
            f"session = onnxruntime.InferenceSession({name!r})",
            f'scores = session.run(None, {{"x": X.astype("{dtype}")}})[0]  # X: rows of raw features',
        )
    own, part = network.network, ('a["{}"]' if kind == "numpy" else 'state.pop("{}")').format
    x = "X" if network.offset is None else f"X - {part('offset')}"
    x = x if network.scale is None else f"({x}) / {part('scale')}"
    if kind == "numpy":
        return (
            "import numpy as np",
            f"a = np.load({name!r})",
            f"Z = {x}  # X: rows of raw features",
            'scores = np.maximum(Z @ a["U"] + a["hidden_bias"], 0) @ a["V"].T + a["output_bias"]',
        )
    sizes = f"Linear({own.inputs}, {own.width}), ReLU(), Linear({own.width}, {own.outputs})"
    return (
        "from safetensors.torch import load_file",
        "from torch.nn import Linear, ReLU, Sequential",
        f"state = load_file({name!r})",
        f"Z = {x}  # X: rows of raw features, {dtype}",
        f"net = Sequential({sizes}).to(Z.dtype)",
        "net.load_state_dict(state)",
        "scores = net(Z)",
    )
