"""Writing a network as an ONNX graph: Gemm, Relu, Gemm."""

import importlib
from pathlib import Path
from typing import BinaryIO

import numpy as np

from certificates.files import write_atomically
from formulations import InputError
from formulations.arguments import accepts, location
from formulations.network import ReluNetwork

OPSET = 13


@accepts(path=location, network=ReluNetwork)
def write_onnx(path: str | Path, network: ReluNetwork) -> None:
    """Write f(x) = V (Ux + b)₊ + b₂ with input ``x`` (batch×d) and output ``y`` (batch×c), weights in float64.

    Raises:
        InputError: the ``onnx`` package is missing.
        OSError: the file cannot be written.
    """
    try:
        onnx = importlib.import_module("onnx")
    except ImportError:
        raise InputError("Writing ONNX needs the onnx package; install it with pip install 'certnet[onnx]'.") from None
    helper, double = onnx.helper, onnx.TensorProto.DOUBLE
    weights = {
        "U": network.hidden,
        "b": network.hidden_bias,
        "V": network.output,
        "b2": network.output_bias,
    }
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["x", "U", "b"], ["z"], transB=1),
            helper.make_node("Relu", ["z"], ["a"]),
            helper.make_node("Gemm", ["a", "V", "b2"], ["y"], transB=1),
        ],
        "two_layer_relu",
        [helper.make_tensor_value_info("x", double, [None, network.inputs])],
        [helper.make_tensor_value_info("y", double, [None, network.outputs])],
        [onnx.numpy_helper.from_array(np.ascontiguousarray(array), name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = 8
    data: bytes = model.SerializeToString()

    def write(file: BinaryIO) -> None:
        file.write(data)

    write_atomically(path, write)
