"""Networks from elsewhere: NumPy archives, ONNX graphs and safetensors, read without executing anything."""

from certnet.interchange.fold import ProgramWeights, program_weights
from certnet.interchange.load import read_network

__all__ = ["ProgramWeights", "program_weights", "read_network"]
