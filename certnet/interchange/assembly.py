"""From arrays of a foreign file to a network, with the file's name in every complaint."""

import numpy as np
from numpy.typing import NDArray

from certnet.network import TwoLayerNetwork
from formulations import InputError

Array = NDArray[np.generic]


def assemble(
    source: str,
    *,
    U: Array,
    V: Array,
    hidden_bias: Array | None = None,
    output_bias: Array | None = None,
    offset: Array | None = None,
    scale: Array | None = None,
) -> TwoLayerNetwork:
    """The network of these arrays (U d×m, V c×m, vectors b of m, output bias of c, offset and scale of d).

    Raises:
        InputError: shapes that disagree, entries that are no finite numbers, or an output bias that is not zero.
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
    if output_bias is not None:
        _require_zero(source, _double(output_bias), network.V.shape[0])
    return network


def _double(array: Array) -> NDArray[np.float64]:
    return array.astype(np.float64)


def _require_zero(source: str, output_bias: NDArray[np.float64], outputs: int) -> None:
    if output_bias.shape not in ((), (1,), (outputs,)):
        raise InputError(f"{source}: the output bias has shape {output_bias.shape} where ({outputs},) is expected.")
    if not (output_bias == 0).all():
        raise InputError(
            f"{source}: the output layer has a bias, which the training problem does not have; train with bias=False "
            "there, or subtract the bias from the targets and set it to 0."
        )
