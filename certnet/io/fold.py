"""A network in the coordinates of a training program."""

from dataclasses import dataclass

import numpy as np

from certnet.io.network import TwoLayerNetwork
from formulations import InputError
from formulations._validation import FloatArray

FOLDED = (
    "The network standardises features in its own way; that was folded into its hidden weights, and the weight decay "
    "is counted for these."
)


@dataclass(frozen=True, eq=False)
class ProgramWeights:
    """U (d×m, the bias as its last row if there is one) and V (c×m), with sentences a user should read."""

    U: FloatArray
    V: FloatArray
    notes: tuple[str, ...] = ()


def program_weights(
    network: TwoLayerNetwork, *, offset: FloatArray, scale: FloatArray, bias: bool, classes: tuple[str, ...] | None
) -> ProgramWeights:
    """The weights that a network has on the features z = (x − offset)/scale of a training program.

    A network with an offset or a scale takes raw features x, and what differs is folded into U; one without takes z.
    Its outputs are put into the order of ``classes`` where it names its own.

    Args:
        network: the network.
        offset, scale: (d,) of the program's features; zeros and ones where they are raw.
        bias: whether the program has a column of ones.
        classes: names of the program's outputs, or None.

    Raises:
        InputError: numbers of features or classes that differ, or a hidden bias where the program has none.
    """
    d = len(offset)
    if network.U.shape[0] != d:
        raise InputError(
            f"The network takes {network.U.shape[0]} features, but the data have {d}; give the data it was trained on."
        )
    U, hidden_bias, notes = _folded(network, offset, scale)
    if bias:
        U = np.vstack([U, hidden_bias])
    elif hidden_bias.any():
        raise InputError(
            f"The network has hidden biases{' once its standardisation is folded in' if notes else ''}, but the "
            "training problem has none; add --bias."
        )
    return ProgramWeights(U, network.V[class_order(network, classes)], notes)


def _folded(
    network: TwoLayerNetwork, offset: FloatArray, scale: FloatArray
) -> tuple[FloatArray, FloatArray, tuple[str, ...]]:
    """(U, b, notes) for features z, where the network may take x = scale·z + offset."""
    hidden_bias = np.zeros(network.width) if network.hidden_bias is None else network.hidden_bias
    if network.offset is None and network.scale is None:
        return network.U, hidden_bias, ()
    own_offset = np.zeros(len(offset)) if network.offset is None else network.offset
    own_scale = np.ones(len(scale)) if network.scale is None else network.scale
    if np.array_equal(own_offset, offset) and np.array_equal(own_scale, scale):
        return network.U, hidden_bias, ()
    U = (scale / own_scale)[:, None] * network.U
    return U, hidden_bias + ((offset - own_offset) / own_scale) @ network.U, (FOLDED,)


def class_order(network: TwoLayerNetwork, classes: tuple[str, ...] | None) -> list[int]:
    """Positions of the network's outputs, in the order of the classes."""
    if network.classes is None or classes is None:
        return list(range(network.V.shape[0]))
    own = list(network.classes)
    if set(own) != set(classes):
        raise InputError(
            f"The network knows the classes {', '.join(own)}, but those of the data are {', '.join(classes)}; give "
            "the data it was trained on."
        )
    return [own.index(name) for name in classes]


def powers_of_two(values: FloatArray) -> bool:
    """Whether all are powers of two, up to their signs, so that their reciprocals are exact."""
    return bool((np.abs(np.frexp(values)[0]) == 0.5).all())


def exact_product(a: FloatArray, b: FloatArray) -> bool:
    """Whether a·b is exact in float64 because at each place one factor is 0 or a power of two."""
    with np.errstate(all="ignore"):
        product = a * b
        plain = [(np.abs(np.frexp(x)[0]) == 0.5) & (product / x == y) for x, y in ((a, b), (b, a))]
    return bool(((a == 0) | (b == 0) | plain[0] | plain[1]).all())
