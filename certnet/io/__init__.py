"""Files: data sets, networks of other tools, properties, and the folder of results; nothing in them is executed."""

from certnet.io.builtin import BUILT_IN
from certnet.io.dataset import DataSet, Recipe, Split, Task
from certnet.io.fold import ProgramWeights, program_weights
from certnet.io.load_data import load, read_source, source_kind
from certnet.io.load_network import read_network, read_relu_network
from certnet.io.onnx_export import write_onnx
from certnet.io.sklearn_mlp import network_from_sklearn
from certnet.io.torch_module import network_from_torch

__all__ = [
    "BUILT_IN",
    "DataSet",
    "ProgramWeights",
    "Recipe",
    "Split",
    "Task",
    "load",
    "network_from_sklearn",
    "network_from_torch",
    "program_weights",
    "read_network",
    "read_relu_network",
    "read_source",
    "source_kind",
    "write_onnx",
]
