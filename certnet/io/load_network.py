"""Reading a network by the ending of its file."""

from collections.abc import Callable
from pathlib import Path

from certnet.io.assembly import ReadNetwork
from certnet.io.network import LARGEST_FILE, TwoLayerNetwork
from certnet.io.npz_network import read_npz_network
from certnet.io.onnx_network import read_onnx
from certnet.io.packed import PACKED, ending
from certnet.io.safetensors_file import read_safetensors
from certnet.io.state_dict import network_from_tensors
from formulations import InputError
from formulations.arguments import accepts, location
from formulations.network import ReluNetwork

PICKLED = (".pt", ".pth", ".pkl", ".pickle", ".joblib", ".ckpt", ".bin")
"""Endings of files that may run code when they are read."""


def _read_state_dict(path: Path) -> ReadNetwork:
    return network_from_tensors(path.name, read_safetensors(path))


_READERS: dict[str, Callable[[Path], ReadNetwork]] = {
    ".npz": read_npz_network,
    ".onnx": read_onnx,
    ".safetensors": _read_state_dict,
}


@accepts(path=location)
def read_network(path: str | Path) -> TwoLayerNetwork:
    """Read a two-layer ReLU network x ↦ V (Uᵀz + b)₊ with z = (x − offset)/scale.

    Formats: ``.npz`` that ``TwoLayerNetwork.save`` wrote, or with arrays U (d×m), V (c×m) and optionally b (m);
    ``.onnx``; ``.safetensors`` with the state of two Linear layers. Weights become float64, which is exact.

    Raises:
        InputError: the file is missing, damaged, or holds something else than such a network; the sentence says what.
    """
    return read_file(path).for_training()


@accepts(path=location)
def read_relu_network(path: str | Path, *, classes: tuple[str, ...] | None = None) -> ReluNetwork:
    """Read a network for verification, x ↦ V (Ux + b)₊ + b₂: as ``read_network``, with an output bias.

    Its outputs are put into the order of ``classes`` where the network names its own.

    Raises:
        InputError: as ``read_network``.
    """
    return read_file(path).for_verification(classes)


def read_file(path: str | Path) -> ReadNetwork:
    """What the file of a network holds; errors as ``read_network``."""
    source = Path(path)
    kind = ending(source)
    if kind in PICKLED:
        raise InputError(
            f"{source.name} may run code when it is read, so certnet does not read it; in PyTorch export the "
            "network to ONNX, or save it with safetensors.torch.save_file(model.state_dict(), "
            f"{source.stem + '.safetensors'!r})."
        )
    if kind not in _READERS or (source.suffix.lower() == PACKED and kind != ".onnx"):
        raise InputError(
            f"{source.name} has no ending that certnet reads a network from; give a file ending in "
            f"{', '.join(_READERS)} or .onnx.gz."
        )
    try:
        size = source.stat().st_size
        if source.is_dir():
            raise InputError(f"{source} is a folder; name the network file in it.")
        if size > LARGEST_FILE:
            raise InputError(f"{source.name} has {size} bytes; certnet reads networks of at most {LARGEST_FILE}.")
        return _READERS[kind](source)
    except OSError as error:
        raise InputError(f"{source} cannot be read: {error.strerror or error}; check the path.") from None
