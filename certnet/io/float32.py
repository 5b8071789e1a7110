"""Whether a network's file is a program that float32 semantics are about: two layers, and nothing else rounds.

``certificates.float32`` bounds what rounding does to sums Ux + b and Vα + b₂ of any order. A graph that computes the
same function in other steps may round more: ``(x + 1e8) − 1e8`` is x in real numbers and 0 in float32. So each of the
two layers may hold one product, or a sum of inputs, and then one sum with constants, and besides what rounds nothing.
Entries that were copied are not multiplied by a matrix: their weights are added when the file is read.
"""

from collections.abc import Mapping, Sequence
from itertools import dropwhile
from pathlib import Path
from typing import Any

from certnet.io.network import TwoLayerNetwork
from certnet.io.onnx_graph import decoded
from certnet.io.onnx_reference import COPIED, PLACED
from certnet.io.packed import EXTERNAL, ending, to_array
from formulations import InputError
from formulations.network import ReluNetwork

_FLOAT, _INTEGER = 1, 7
"""float32 and int64, as TensorProto numbers them."""
_MOVES, _COPIES = PLACED | {"Neg"}, COPIED | {"Pad"}
"""Operators that round nothing, and of which the latter may copy entries."""
_PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul", "Mul", "ReduceSum"})
"""Sums of products with weights. Not means and quotients: sums may overflow before they are divided."""
_SUMS = frozenset({"Add", "Sub"})
_BENDS = frozenset({"Abs", "Relu"})
"""Operators that begin the next layer; they round nothing. Bounds of others would be added to biases."""
_CONSTANT = frozenset({*_MOVES, *_COPIES, "Constant", "ConstantOfShape"})
"""Operators that make constants of constants without rounding."""
PLAIN = frozenset({*_CONSTANT, *_PRODUCTS, *_SUMS, *_BENDS})
"""Operators that float32 is guaranteed for where they stand as in two layers."""
START, PRODUCT, SUM = range(3)
_Value = tuple[int, bool]
"""How far a value has come in its layer, and whether entries may stand in it twice."""


def require_plain(path: str | Path, read: TwoLayerNetwork) -> None:
    """Raise InputError unless evaluating the network means two sums of products for each output, and a ReLU between.

    Whatever was folded into the weights, such as a standardisation, is rounded apart by hardware.
    """
    name = Path(path).name
    if Path(path).is_file() and ending(Path(path)) == ".onnx":
        require_plain_graph(name, decoded(Path(path)).graph, read.on())
    elif read.offset is not None or read.scale is not None or read.network.note is not None:
        raise InputError(f"{name} standardises its features, so --semantics float32 cannot be told; give bare layers.")


def require_plain_graph(name: str, graph: Any, read: ReluNetwork) -> None:
    """The same of a GraphProto, and of what was read of it."""
    kinds = {value.type.tensor_type.elem_type for value in graph.input}
    kinds |= {tensor.data_type for tensor in graph.initializer if not _is_zero(tensor)}
    found = "numbers that are not float32" if kinds - {_FLOAT, _INTEGER} else rounds_otherwise(graph)
    if found is None and (read.note is not None or read.ending is not None):
        found = read.ending or "layers that were folded into each other"
    if found is not None:
        raise InputError(
            f"{name} holds {found}, and float32 is guaranteed for two layers of (Gemm or MatMul and Add) in float32 "
            "alone; export these, or ask for real numbers."
        )


def rounds_otherwise(graph: Any) -> str | None:
    """The first node of a GraphProto that may round where two layers do not, by kind and name; None if none does."""
    initial = {tensor.name: tensor for tensor in graph.initializer}
    inputs = {value.name: value for value in graph.input if value.name not in initial}
    known: dict[str, _Value] = dict.fromkeys(inputs, (START, False))
    for node in graph.node:
        given = [known[name] for name in node.input if name in known]
        if node.op_type in ("Shape", "Size"):
            continue
        # What this cast loses of constants is no float32 number, and refused as a weight.
        single = node.op_type == "Cast" and all(entry.i == _FLOAT for entry in node.attribute)
        if given:
            found = given[0] if single or _is_idle(node, inputs, initial) else _after(node, given)
        else:
            found = (START, False) if single or node.op_type in _CONSTANT else None
        if found is None or node.domain not in ("", "ai.onnx"):
            return f"{node.op_type} {node.name or ', '.join(node.output)!r}"
        if given:
            known.update(dict.fromkeys(node.output, found))
    return None


def _after(node: Any, given: Sequence[_Value]) -> _Value | None:
    """What a node makes of values that depend on the input; None where it may round in another way."""
    kind, step, copied = node.op_type, max(step for step, _ in given), any(copied for _, copied in given)
    if kind in _MOVES:
        return step, copied
    if kind in _COPIES:
        return step, True
    if kind in _BENDS and len(given) == 1:
        return START, False
    if kind in _SUMS:
        if len(given) == 1:
            return (SUM, copied) if step < SUM else None
        return (PRODUCT, copied) if step == START else None
    # Factors would be part of the weights, and what underflows before them is not bounded.
    scaled = any(entry.f != 1.0 for entry in node.attribute if entry.name in ("alpha", "beta"))
    if kind in _PRODUCTS and len(given) == 1 and step == START and not scaled and (kind == "Mul" or not copied):
        biased = kind in ("Gemm", "Conv", "ConvTranspose") and len(node.input) > 2
        return SUM if biased else PRODUCT, copied
    return None


def _is_idle(node: Any, inputs: Mapping[str, Any], initial: Mapping[str, Any]) -> bool:
    """Whether a node takes 0 away from an input, as in many exports, without making it larger."""
    if node.op_type != "Sub" or node.input[0] not in inputs or not _is_zero(initial.get(node.input[1])):
        return False
    own = [entry.dim_value for entry in inputs[node.input[0]].type.tensor_type.shape.dim]
    # Axes of length 1, or of any, before the others make nothing larger.
    zeros, own = ([*dropwhile(lambda length: length <= 1, dims)] for dims in (initial[node.input[1]].dims, own))
    return zeros in ([], own)


def _is_zero(tensor: Any) -> bool:
    """Whether a TensorProto of the file itself holds zeros alone."""
    return tensor is not None and tensor.data_location != EXTERNAL and not to_array(tensor).any()
