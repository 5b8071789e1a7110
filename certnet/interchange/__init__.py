"""Networks from elsewhere: NumPy archives, ONNX, safetensors, scikit-learn, PyTorch; nothing in them is executed."""

from certnet.interchange.fold import ProgramWeights, program_weights
from certnet.interchange.load import read_network, read_relu_network
from certnet.interchange.onnx_export import write_onnx
from certnet.interchange.sklearn_mlp import network_from_sklearn
from certnet.interchange.torch_module import network_from_torch

__all__ = [
    "ProgramWeights",
    "network_from_sklearn",
    "network_from_torch",
    "program_weights",
    "read_network",
    "read_relu_network",
    "write_onnx",
]
