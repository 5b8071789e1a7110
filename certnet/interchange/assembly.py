"""From arrays of a foreign file to a network, with the file's name in every complaint."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from certnet.network import TwoLayerNetwork
from formulations import InputError
from formulations._validation import FloatArray
from formulations.robustness import ReluNetwork

Array = NDArray[np.generic]


@dataclass(frozen=True, eq=False)
class ReadNetwork:
    """What a file holds: a network as training knows it, and what training does not have.

    Attributes:
        source: name of the file.
        network: the network without its output bias.
        output_bias: (c,).
        untrained: a sentence why training cannot have led to this network, though its function is right; or None.
    """

    source: str
    network: TwoLayerNetwork
    output_bias: FloatArray
    untrained: str | None = None

    def for_training(self) -> TwoLayerNetwork:
        """The network.

        Raises:
            InputError: it has an output bias, or inputs that no standardisation makes.
        """
        if self.untrained is not None:
            raise InputError(self.untrained)
        if self.output_bias.any():
            raise InputError(
                f"{self.source}: the output layer has a bias, which the training problem does not have; train with "
                "bias=False there, or subtract the bias from the targets and set it to 0."
            )
        return self.network

    def for_verification(self) -> ReluNetwork:
        """The network with its output bias; offset and scale are folded into the hidden layer, in floating point.

        Raises:
            InputError: a folded weight overflows.
        """
        network = self.network
        U = network.U.T
        bias = np.zeros(network.width) if network.hidden_bias is None else network.hidden_bias
        if network.scale is not None:
            U = U / network.scale
        if network.offset is not None:
            bias = bias - U @ network.offset
        return ReluNetwork(U, bias, network.V, self.output_bias)


def assemble(
    source: str,
    *,
    U: Array,
    V: Array,
    hidden_bias: Array | None = None,
    output_bias: Array | None = None,
    offset: Array | None = None,
    scale: Array | None = None,
) -> ReadNetwork:
    """The network of these arrays (U d×m, V c×m, vectors b of m, output bias of c, offset and scale of d).

    Raises:
        InputError: shapes that disagree, or entries that are no finite numbers.
    """
    given = {"U": U, "V": V, "b": hidden_bias, "output bias": output_bias, "offset": offset, "scale": scale}
    for name, array in given.items():
        if array is not None and array.dtype.kind not in "biuf":
            raise InputError(f"{source}: {name} has type {array.dtype}; save real numbers, such as float32 or float64.")
    try:
        network = TwoLayerNetwork(
            U=_double(U),
            V=_double(V),
            hidden_bias=None if hidden_bias is None else _double(hidden_bias),
            offset=None if offset is None else _double(offset),
            scale=None if scale is None else _double(scale),
        )
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
    c = network.V.shape[0]
    bias = np.zeros(c) if output_bias is None else _double(output_bias)
    if bias.shape not in ((), (1,), (c,)):
        raise InputError(f"{source}: the output bias has shape {bias.shape} where ({c},) is expected.")
    if not np.isfinite(bias).all():
        raise InputError(f"{source}: the output bias has entries that are not finite; remove them first.")
    return ReadNetwork(source, network, np.broadcast_to(bias, (c,)))


def _double(array: Array) -> NDArray[np.float64]:
    return array.astype(np.float64)
