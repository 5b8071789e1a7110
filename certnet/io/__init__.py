"""Files: data sets, networks of other tools, properties, and the folder of results; nothing in them is executed.

Whatever is wrong with one is an ``InputError`` of one sentence, whichever function finds it. Readers inside let
``OSError`` through, which ``read_network``, ``read_source`` and ``read_vnnlib`` turn into such a sentence.
"""

from typing import TYPE_CHECKING

from formulations.lazy import lazily

if TYPE_CHECKING:
    from certnet.io.builtin import BUILT_IN
    from certnet.io.dataset import DataSet, Recipe, Split, Task
    from certnet.io.export import write_onnx
    from certnet.io.load_data import load, read_source, source_kind
    from certnet.io.load_network import read_network, read_relu_network
    from certnet.io.models import network_from_sklearn, network_from_torch
    from certnet.io.network import TwoLayerNetwork

__all__ = [
    "BUILT_IN",
    "DataSet",
    "Recipe",
    "Split",
    "Task",
    "TwoLayerNetwork",
    "load",
    "network_from_sklearn",
    "network_from_torch",
    "read_network",
    "read_relu_network",
    "read_source",
    "source_kind",
    "write_onnx",
]

__getattr__ = lazily(
    __name__,
    {
        "certnet.io.builtin": "BUILT_IN",
        "certnet.io.dataset": "DataSet Recipe Split Task",
        "certnet.io.export": "write_onnx",
        "certnet.io.load_data": "load read_source source_kind",
        "certnet.io.load_network": "read_network read_relu_network",
        "certnet.io.models": "network_from_sklearn network_from_torch",
        "certnet.io.network": "TwoLayerNetwork",
    },
)
