"""Whether a network's file is the program that float32 semantics are about: two layers, and nothing else rounds."""

import re
from pathlib import Path

from certnet.io.network import LARGEST_FILE, TwoLayerNetwork
from certnet.io.packed import ending, read_bytes
from formulations import InputError

MOVES = frozenset({"Constant", "Dropout", "Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})
"""ONNX nodes that leave numbers as they are."""
LAYERS = re.compile(r"(Gemm|MatMul( Add)?) Relu (Gemm|MatMul( Add)?)")


def require_plain(path: str | Path, read: TwoLayerNetwork) -> None:
    """Raise InputError unless evaluating the network means two sums of products for each output, and a ReLU between.

    Whatever was folded into the weights, such as a standardisation, is rounded apart by hardware.
    """
    name = Path(path).name
    if read.offset is not None or read.scale is not None or read.network.note is not None:
        raise InputError(f"{name} standardises its features, so --semantics float32 cannot be told; give bare layers.")
    if Path(path).is_file() and ending(Path(path)) == ".onnx":
        found = _program(Path(path))
        if LAYERS.fullmatch(found) is None:
            raise InputError(
                f"{name} computes {found or 'nothing'}; --semantics float32 is about (Gemm or MatMul and Add), Relu, "
                "(Gemm or MatMul and Add) in float32 alone. Export the bare layers."
            )


def _program(path: Path) -> str:
    """The nodes of a graph that was read before, in their order, without those that leave numbers as they are."""
    import onnx

    graph = onnx.load_model_from_string(read_bytes(path, LARGEST_FILE)).graph
    inside = (tensor for tensor in graph.initializer if tensor.data_location != onnx.TensorProto.EXTERNAL)
    zeros = {tensor.name for tensor in inside if not onnx.numpy_helper.to_array(tensor).any()}
    kinds = {value.type.tensor_type.elem_type for value in graph.input}
    kinds |= {tensor.data_type for tensor in graph.initializer if tensor.name not in zeros}
    other = kinds - {onnx.TensorProto.FLOAT, onnx.TensorProto.INT64}
    words = ["numbers that are not float32:"] if other else []
    for node in graph.node:
        factors = [entry.f for entry in node.attribute if entry.name in ("alpha", "beta")]
        # Taking 0 away, as in many exports, is exact.
        idle = node.op_type in MOVES or (node.op_type == "Sub" and node.input[1] in zeros)
        if not idle:
            words.append(node.op_type if all(factor == 1 for factor in factors) else f"{node.op_type} with factors")
    return " ".join(words)
