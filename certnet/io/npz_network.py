"""A network in a NumPy archive: certnet's own, or plain arrays."""

from pathlib import Path

import numpy as np

from certnet.io.assembly import Array, ReadNetwork, assemble
from certnet.io.network import LARGEST_FILE, TwoLayerNetwork
from certnet.io.packed import npz_arrays
from formulations import InputError

PLAIN = {"U": "U", "V": "V", "b": "hidden_bias", "hidden_bias": "hidden_bias", "offset": "offset", "scale": "scale"}
"""Arrays of a plain archive, and what they are."""
OUTPUT_BIAS = "output_bias"
LAYERS = {"W1": "U", "b1": "hidden_bias", "W2": "V", "b2": OUTPUT_BIAS}
"""Arrays of an archive that names its layers; W1 is m×d, one row for each neuron."""


INFORMATION = frozenset({"input_mean", "input_scale"})
"""Arrays beside these that say how inputs were made before they reach the network, which takes them as made."""


def read_npz_network(path: Path) -> ReadNetwork:
    """Read an archive of ``TwoLayerNetwork.save``, or plain arrays.

    Plain are U (d×m), V (c×m) and optionally b, offset, scale and output_bias, or W1 (m×d), W2 (c×m) and optionally b1
    and b2 for inputs that are standardised already.

    Raises:
        InputError: anything else; nothing is unpickled.
        OSError: the file cannot be read.
    """
    damaged = f"{path.name} is no readable .npz archive; write it with numpy.savez."
    _, arrays = npz_arrays(path, damaged, wanted=lambda name: True, largest=LARGEST_FILE)
    if "format" in arrays:
        network = TwoLayerNetwork.load(path)
        return ReadNetwork(path.name, network, np.zeros(network.V.shape[0]))
    if "W1" in arrays and "W2" in arrays and set(arrays) <= set(LAYERS) | INFORMATION:
        layers = {LAYERS[name]: _transposed(name, array) for name, array in arrays.items() if name in LAYERS}
        return assemble(path.name, **layers)
    foreign = [name for name in arrays if name not in PLAIN and name != OUTPUT_BIAS]
    if "U" not in arrays or "V" not in arrays:
        have = ", ".join(list(arrays)[:8]) or "nothing"
        raise InputError(f"{path.name} holds {have}; a network needs arrays U (d×m) and V (c×m), and optionally b (m).")
    if foreign:
        raise InputError(f"{path.name} holds an array {foreign[0]!r} of unknown meaning; save U, V and optionally b.")
    if "b" in arrays and "hidden_bias" in arrays:
        raise InputError(f"{path.name} holds both b and hidden_bias; save one of them.")
    return assemble(path.name, **{PLAIN.get(name, name): array for name, array in arrays.items()})


def _transposed(name: str, array: Array) -> Array:
    return array.T if name == "W1" else array
