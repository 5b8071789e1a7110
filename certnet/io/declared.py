"""The network of a file as a query declares it: which of its tensors are meant, of which type and shape."""

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from certnet.io.joint import stacked
from certnet.io.load_network import read_network
from certnet.io.onnx_graph import decoded, read_onnx
from certnet.io.output import Writer
from certnet.io.packed import ending
from certnet.io.vnnlib2 import Declaration, Tensor
from formulations import InputError
from formulations.network import ReluNetwork

ELEMENTS = {1: "float32", 10: "float16", 11: "float64", 16: "bfloat16"}
"""Numbers of TensorProto.DataType and what VNN-LIB calls them."""


@dataclass(frozen=True)
class Node:
    """An input or output of an ONNX graph; an element type of None is none that certnet knows."""

    name: str
    element: str | None


def declared_network(path: str, declared: Declaration) -> ReluNetwork:
    """The network of a file: inputs in the declared order, then hidden nodes and outputs in that order.

    Raises:
        InputError: the file cannot be read, or its tensors have other numbers, types or shapes than those declared.
    """
    inputs, outputs = declared.of("input"), declared.of("output")
    sizes = sum(tensor.size for tensor in inputs), sum(tensor.size for tensor in declared.of("hidden", "output"))
    if ending(Path(path)) != ".onnx":
        if len(declared.tensors) > 2 or any(tensor.element != "real" for tensor in declared.tensors):
            raise InputError(
                f"the network {declared.name} has types or several nodes, for which {path} has to be an ONNX file."
            )
        network = read_network(path).on()
    else:
        graph = decoded(Path(path)).graph
        constants = {tensor.name for tensor in graph.initializer}
        given = _paired(path, inputs, [_node(value) for value in graph.input if value.name not in constants])
        wanted = _paired(path, outputs, [_node(value) for value in graph.output])
        hidden = {tensor: Node(tensor.node or "", tensor.element) for tensor in declared.of("hidden")}
        if len(inputs) != 1:
            raise InputError(f"{path} has {len(inputs)} inputs; certnet reads networks with one.")
        for tensor, node in {**given, **wanted}.items():
            if tensor.element not in ("real", node.element):
                raise InputError(
                    f"{tensor.name} is declared {tensor.element}, but in {path} the tensor {node.name!r} has the type "
                    f"{node.element or 'of no such number'}; declare that, or real."
                )
        (shape,) = (tensor.shape for tensor in inputs)
        network = stacked(
            [read_onnx(Path(path), output=node.name, shape=shape).on() for node in {**hidden, **wanted}.values()]
        )
    if (network.inputs, network.outputs) != sizes:
        raise InputError(
            f"the network {declared.name} is declared with {sizes[0]} inputs and {sizes[1]} outputs, but that of "
            f"{path} has {network.inputs} and {network.outputs}; give the network it was made for."
        )
    return network


def serialised(tensor: Tensor, values: Sequence[Fraction]) -> Writer:
    """A writer of a TensorProto with these values, row by row; real numbers are rounded to float64."""
    onnx = importlib.import_module("onnx")
    kind = np.float32 if tensor.element == "float32" else np.float64
    array = np.array([float(value) for value in values], dtype=kind).reshape(tensor.shape)
    content = onnx.numpy_helper.from_array(array, tensor.name).SerializeToString()
    return lambda path: path.write_bytes(content)


def _node(value: Any) -> Node:
    return Node(value.name, ELEMENTS.get(value.type.tensor_type.elem_type))


def _paired(path: str, tensors: Sequence[Tensor], nodes: Sequence[Node]) -> dict[Tensor, Node]:
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
