"""From arrays of a foreign file to a network, with the file's name in every complaint."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from certnet.io.fold import class_order, powers_of_two
from certnet.io.network import TwoLayerNetwork
from formulations import InputError
from formulations._validation import FloatArray
from formulations.network import ReluNetwork
from formulations.rounding import as_double

Array = NDArray[np.generic]
ROUNDED = (
    "The network's weights were computed from the numbers it was given with, such as a standardisation, in float64, "
    "which may round; everything is about the weights that came out, as a certificate holds them."
)


@dataclass(frozen=True, eq=False)
class ReadNetwork:
    """What a file holds: a network as training knows it, and what training does not have.

    Attributes:
        source: name of the file.
        network: the network without its output bias.
        output_bias: (c,).
        untrained: a sentence why training cannot have led to this network, though its function is right; or None.
        rounded: whether its numbers were computed from those in the file and may have been rounded.
    """

    source: str
    network: TwoLayerNetwork
    output_bias: FloatArray
    untrained: str | None = None
    rounded: bool = False

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

    def for_verification(self, classes: tuple[str, ...] | None = None) -> ReluNetwork:
        """The network with its output bias; offset and scale are folded into the hidden layer, in floating point.

        Its outputs are put into the order of ``classes`` where the network names its own.

        Raises:
            InputError: a folded weight overflows, or other classes.
        """
        network, rounded = self.network, self.rounded
        U = network.U.T
        bias = np.zeros(network.width) if network.hidden_bias is None else network.hidden_bias
        if network.scale is not None:
            whole, U = U, U / network.scale
            rounded = rounded or not (powers_of_two(network.scale) and np.array_equal(U * network.scale, whole))
        if network.offset is not None and network.offset.any():
            rounded = True
            bias = bias - U @ network.offset
        order = class_order(network, classes)
        found = ReluNetwork(U, bias, network.V[order], self.output_bias[order])
        return found.with_note(ROUNDED) if rounded else found


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
    doubles: dict[str, FloatArray | None] = {}
    for name, array in given.items():
        if array is not None and array.dtype.kind not in "biuf":
            raise InputError(f"{source}: {name} has type {array.dtype}; save real numbers, such as float32 or float64.")
        try:
            doubles[name] = None if array is None else double(array)
        except InputError as error:
            raise InputError(f"{source}: {name} {error}.") from None
    hidden, output, hidden_bias, bias, offset, scale = doubles.values()
    assert hidden is not None
    assert output is not None
    try:
        network = TwoLayerNetwork(U=hidden, V=output, hidden_bias=hidden_bias, offset=offset, scale=scale)
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
    c = network.V.shape[0]
    bias = np.zeros(c) if bias is None else bias
    if bias.shape not in ((), (1,), (c,)):
        raise InputError(f"{source}: the output bias has shape {bias.shape} where ({c},) is expected.")
    if not np.isfinite(bias).all():
        raise InputError(f"{source}: the output bias has entries that are not finite; remove them first.")
    return ReadNetwork(source, network, np.broadcast_to(bias, (c,)))


def double(array: Array) -> FloatArray:
    """The same numbers as float64.

    Raises:
        InputError: some are none.
    """
    converted = as_double(array)
    if converted is None:
        raise InputError("has numbers that float64 cannot hold exactly; save it as float64")
    return converted
