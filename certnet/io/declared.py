"""The network of a file as a query declares it: which of its tensors are meant, of which type and shape."""

import importlib
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from certnet.io.float32 import require_plain, require_plain_graph
from certnet.io.joint import stacked
from certnet.io.load_network import read_network
from certnet.io.onnx_graph import decoded, read_onnx
from certnet.io.onnx_reference import ELEMENTS
from certnet.io.output import Writer
from certnet.io.packed import ending
from certnet.io.vnnlib2 import Declaration, Tensor
from formulations import InputError
from formulations.network import ReluNetwork


def declared_network(path: str, declared: Declaration, *, plain: bool) -> ReluNetwork:
    """The network of a file: inputs in the declared order, then hidden nodes and outputs in that order.

    With ``plain`` its file has to be a program that float32 semantics are about.
    """
    if ending(Path(path)) == ".onnx":
        return _of_graph(path, declared, plain)
    if len(declared.tensors) > 2 or any(tensor.element != "real" for tensor in declared.tensors):
        raise InputError(f"{declared.name} has types or several tensors, for which {path} has to be an ONNX file.")
    read = read_network(path)
    if plain:
        require_plain(path, read)
    network = read.on()
    sizes = tuple(tensor.size for tensor in declared.tensors)
    if (network.inputs, network.outputs) != sizes:
        raise InputError(
            f"the network {declared.name} is declared with {sizes[0]} inputs and {sizes[1]} outputs, but that of "
            f"{path} has {network.inputs} and {network.outputs}; give the network it was made for."
        )
    return network


def _require(path: str, tensor: Tensor, node: Any) -> None:
    """Raise InputError unless a ValueInfoProto of the file has the type and the lengths that are declared."""
    kind = node.type.tensor_type
    element = ELEMENTS.get(kind.elem_type)
    if tensor.element not in ("real", element):
        raise InputError(
            f"{tensor.name} is declared {tensor.element}, but in {path} the tensor {node.name!r} is "
            f"{element or 'a type that certnet does not know'}; declare that, or real."
        )
    # The file may leave a length open, or even how many there are.
    lengths = [entry.dim_value if entry.HasField("dim_value") else None for entry in kind.shape.dim]
    pairs = zip(lengths, tensor.shape, strict=False)
    fits = len(lengths) == len(tensor.shape) and all(own in (None, length) for own, length in pairs)
    if kind.HasField("shape") and not fits:
        own = ",".join("any" if length is None else str(length) for length in lengths)
        stated = ",".join(map(str, tensor.shape))
        raise InputError(
            f"{tensor.name} is declared with the shape [{stated}], but in {path} the tensor {node.name!r} has "
            f"[{own}]; declare that."
        )


def _of_graph(path: str, declared: Declaration, plain: bool) -> ReluNetwork:
    graph = decoded(Path(path)).graph
    constants = {tensor.name for tensor in graph.initializer}
    given = _paired(path, declared.of("input"), [value for value in graph.input if value.name not in constants])
    wanted = _paired(path, declared.of("output"), graph.output)
    for tensor, node in {**given, **wanted}.items():
        _require(path, tensor, node)
    shapes = {node.name: tensor.shape for tensor, node in given.items()}
    names = [*(tensor.node or "" for tensor in declared.of("hidden")), *(node.name for node in wanted.values())]
    parts = [read_onnx(Path(path), output=name, shapes=shapes).on() for name in names]
    for tensor, part in zip(declared.of("hidden", "output"), parts, strict=True):
        if part.outputs != tensor.size:
            raise InputError(
                f"{tensor.name} is declared with {tensor.size} entries, but in {path} it has {part.outputs}."
            )
    network = stacked(parts)
    if plain:
        require_plain_graph(path, graph, network)
    return network


def serialised(tensor: Tensor, values: Sequence[Fraction]) -> Writer:
    """A writer of a TensorProto with these values, row by row; real numbers are rounded to float64."""
    onnx = importlib.import_module("onnx")
    kind = np.float32 if tensor.element == "float32" else np.float64
    array = np.array([float(value) for value in values], dtype=kind).reshape(tensor.shape)
    content = onnx.numpy_helper.from_array(array, tensor.name).SerializeToString()
    return lambda path: path.write_bytes(content)


def _paired(path: str, tensors: Sequence[Tensor], nodes: Sequence[Any]) -> dict[Tensor, Any]:
    """The file's node of each declared tensor: by name where names are declared, else in order."""
    if len(tensors) != len(nodes):
        kind = tensors[0].kind if tensors else "output"
        raise InputError(f"the query declares {len(tensors)} {kind} tensors, but {path} has {len(nodes)}.")
    if all(tensor.node is None for tensor in tensors):
        return dict(zip(tensors, nodes, strict=True))
    by_name = {node.name: node for node in nodes}
    missing = next((tensor for tensor in tensors if tensor.node not in by_name), None)
    if missing is not None or len({tensor.node for tensor in tensors}) != len(tensors):
        raise InputError(
            f"names of nodes in {path} have to be declared for all of its inputs or none, each once; "
            f"it has {', '.join(by_name)}."
        )
    return {tensor: by_name[tensor.node or ""] for tensor in tensors}
