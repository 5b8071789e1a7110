"""Networks from elsewhere: NumPy archives, ONNX graphs and safetensors, read without executing anything."""

from certnet.interchange.fold import ProgramWeights, program_weights
from certnet.interchange.load import read_network, read_relu_network
from certnet.interchange.onnx_export import write_onnx
from certnet.interchange.sklearn_mlp import network_from_sklearn

__all__ = [
    "ProgramWeights",
    "network_from_sklearn",
    "program_weights",
    "read_network",
    "read_relu_network",
    "write_onnx",
]
