"""Files: data sets, networks of other tools, properties, and the folder of results; nothing in them is executed.

Whatever is wrong with one is an ``InputError`` of one sentence, whichever function finds it. Readers of
archives let ``OSError`` through, which ``read_network`` and ``read_source`` turn into such a sentence.
"""

from formulations.lazy import lazily

__getattr__ = lazily(
    __name__,
    {
        "certnet.io.arrays": "BUILT_IN",
        "certnet.io.dataset": "DataSet Recipe Split Task",
        "certnet.io.export": "write_onnx",
        "certnet.io.load_data": "load read_source source_kind",
        "certnet.io.load_network": "network_from_sklearn network_from_torch read_network read_relu_network",
        "certnet.io.network": "TwoLayerNetwork",
    },
)
