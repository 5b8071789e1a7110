"""A two-layer network in an ONNX graph, by following its nodes from the input to the output.

Needs the ``onnx`` package, which only decodes the file: nothing in it is executed, and no other file is opened.
"""

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from certnet.io.assembly import Array, ReadNetwork
from certnet.io.network import LARGEST_FILE
from certnet.io.onnx_nodes import OPERATIONS, Attributes, Operand, apply
from certnet.io.packed import read_bytes
from certnet.io.signal import LARGEST_INPUT, Layer, Signal
from formulations import InputError

_EXTERNAL = 1
_ARRAY_ATTRIBUTES = {
    "value_float": np.float64,
    "value_floats": np.float64,
    "value_int": np.int64,
    "value_ints": np.int64,
}


def read_onnx(path: Path) -> ReadNetwork:
    """Read a graph of Gemm, MatMul, Add, Sub, Mul, Div, Relu, Flatten, Reshape, Transpose, Constant and Identity.

    Shifts and scales of the input become the network's offset and scale.

    Raises:
        InputError: the ``onnx`` package is missing, the file is damaged, or the graph is no two-layer ReLU network.
        OSError: the file cannot be read.
    """
    try:
        onnx = importlib.import_module("onnx")
        decode_error = importlib.import_module("google.protobuf.message").DecodeError
    except ImportError:
        raise InputError(
            f"Reading {path.name} needs the onnx package; install it with pip install 'certnet[onnx]', or save the "
            "network as .safetensors."
        ) from None
    content = read_bytes(path, LARGEST_FILE)
    try:
        graph = onnx.load_model_from_string(content).graph
    except (decode_error, ValueError, RecursionError):
        raise InputError(f"{path.name} is no ONNX file or was cut off; export the network again.") from None
    if not _names_are_text(graph):
        raise InputError(f"{path.name} holds names that are no text; export the network again.")
    if len(graph.node) == 0:
        raise InputError(f"{path.name} holds no graph; export the network again.")
    reader = _Reader(path.name, onnx.numpy_helper.to_array)
    return reader.network(graph)


def _names_are_text(graph: Any) -> bool:
    """Whether names are strings; the decoder hands bytes over where they are no UTF-8."""
    names = [value.name for part in (graph.initializer, graph.input, graph.output) for value in part]
    for node in graph.node:
        names += [node.name, node.op_type, node.domain, *node.input, *node.output]
        names += [name for entry in node.attribute for name in (entry.name, entry.t.name)]
    return all(isinstance(name, str) for name in names)


class _Reader:
    """Follows one graph. ``known`` maps the names of values to constants and signals."""

    def __init__(self, source: str, to_array: Callable[[Any], Array]) -> None:
        self.source, self._to_array = source, to_array
        self.known: dict[str, Operand] = {}

    def network(self, graph: Any) -> ReadNetwork:
        """The network of a GraphProto."""
        for tensor in graph.initializer:
            self.known[tensor.name] = self._array(tensor)
        inputs = [value for value in graph.input if value.name not in self.known]
        if len(inputs) != 1 or len(graph.output) != 1 or len(graph.sparse_initializer):
            raise InputError(
                f"{self.source} has {len(inputs)} inputs and {len(graph.output)} outputs; a two-layer network has one "
                "of each, and dense weights."
            )
        self.known[inputs[0].name] = self._input(inputs[0])
        for node in graph.node:
            self._follow(node)
        found = self.known.get(graph.output[0].name)
        if not isinstance(found, Signal) or found.layer is not Layer.OUTPUT:
            raise InputError(
                f"{self.source} does not end in an output layer after a Relu; certnet reads x ↦ V (Uᵀx + b)₊."
            )
        return found.network(self.source)

    def _array(self, tensor: Any) -> Array:
        if tensor.data_location == _EXTERNAL:
            raise InputError(f"{self.source} keeps its weights in another file; export it as a single file.")
        try:
            if any(length < 0 for length in tensor.dims):
                raise ValueError(tensor.dims)
            array = np.asarray(self._to_array(tensor))
        except (ValueError, TypeError, KeyError, OverflowError, MemoryError, NotImplementedError):
            raise InputError(
                f"{self.source}: the tensor {tensor.name!r} is damaged; export the network again."
            ) from None
        if array.dtype.kind not in "biuf":
            raise InputError(
                f"{self.source}: the tensor {tensor.name!r} has type {array.dtype}; export float32 weights."
            )
        return array

    def _input(self, value: Any) -> Signal:
        """The input: its first dimension counts data points, unless it is a vector."""
        dimensions = [int(entry.dim_value) for entry in value.type.tensor_type.shape.dim]
        if len(dimensions) <= 2:
            last = dimensions[-1] if len(dimensions) == 2 and dimensions[-1] > 0 else None
            return Signal(vector=len(dimensions) == 1, last=last)
        features = tuple(dimensions[1:])
        count = float(np.prod([float(entry) for entry in features]))
        if min(features) <= 0 or count > LARGEST_INPUT:
            raise InputError(
                f"{self.source} takes inputs of shape {tuple(dimensions)}; fix all but the first dimension."
            )
        return Signal(size=int(count), rows=True, features=features)

    def _follow(self, node: Any) -> None:
        """Compute the outputs of a node."""
        label = f"{self.source}: node {node.name or ', '.join(node.output)!r}, {node.op_type},"
        if node.op_type not in OPERATIONS or node.domain not in ("", "ai.onnx"):
            raise InputError(
                f"{label} is not supported; certnet reads {', '.join(sorted(OPERATIONS))}, so export the network up to "
                "its linear output layer."
            )
        operands: list[Operand | None] = []
        for name in node.input:
            if name and name not in self.known:
                raise InputError(f"{label} uses {name!r}, which nothing computes before; export the network again.")
            operands.append(self.known[name] if name else None)
        try:
            result = apply(node.op_type, operands, self._attributes(node))
        except InputError as error:
            text = str(error)
            raise InputError(text if text.startswith(self.source) else f"{label} {text}.") from None
        if len(node.output) != 1:
            raise InputError(f"{label} has {len(node.output)} outputs where one is expected; export the network again.")
        self.known[node.output[0]] = result

    def _attributes(self, node: Any) -> Attributes:
        found: Attributes = {}
        for entry in node.attribute:
            if entry.name == "value":
                found["value"] = self._array(entry.t)
            elif entry.name in _ARRAY_ATTRIBUTES:
                many = entry.name.endswith("s")
                kind = "ints" if "int" in entry.name else "floats"
                numbers = list(getattr(entry, kind)) if many else getattr(entry, kind[0])
                found["value"] = np.array(numbers, dtype=_ARRAY_ATTRIBUTES[entry.name])
            elif entry.name in ("alpha", "beta"):
                found[entry.name] = float(entry.f)
            elif entry.name == "perm":
                found["perm"] = [int(axis) for axis in entry.ints]
            else:
                found[entry.name] = int(entry.i)
        return found
