"""Several two-layer networks as one: side by side on inputs of their own, or one upon the other on the same inputs."""

from collections.abc import Sequence

import numpy as np

from certnet.io.folding import block_diagonal
from formulations import InputError
from formulations._validation import FloatArray
from formulations.network import ReluNetwork

MOST_WEIGHTS = 1 << 27
"""Entries of the joint matrices."""


def side_by_side(networks: Sequence[ReluNetwork]) -> ReluNetwork:
    """(x, x′, …) ↦ (f(x), f′(x′), …)."""
    if len(networks) == 1:
        return networks[0]
    hidden, output = (_diagonal([getattr(one, name) for one in networks]) for name in ("hidden", "output"))
    return _joined(networks, hidden, output)


def stacked(networks: Sequence[ReluNetwork]) -> ReluNetwork:
    """x ↦ (f(x), f′(x), …); neurons that several networks share are one. Errors as ``side_by_side``."""
    if len(networks) == 1:
        return networks[0]
    hidden = np.vstack([network.hidden for network in networks])
    whole = _joined(networks, hidden, _diagonal([network.output for network in networks]))
    _, first, which = np.unique(whole.generators, axis=0, return_index=True, return_inverse=True)
    # No sum is rounded: a network that had two equal neurons would keep them.
    order = np.argsort(first)
    output = np.zeros((whole.outputs, len(first)))
    for neuron, place in enumerate(np.argsort(order)[which.reshape(-1)].tolist()):
        if (output[:, place].astype(bool) & whole.output[:, neuron].astype(bool)).any():
            return whole
        output[:, place] += whole.output[:, neuron]
    kept = np.sort(first)
    joined = ReluNetwork(whole.hidden[kept], whole.hidden_bias[kept], output, whole.output_bias)
    return joined.as_of(whole)


def _joined(networks: Sequence[ReluNetwork], hidden: FloatArray, output: FloatArray) -> ReluNetwork:
    ending = next((network.ending for network in networks if network.ending is not None), None)
    if ending is not None:
        raise InputError(f"one of several outputs comes after {ending}; export the network up to its linear layer.")
    noted = [network for network in networks if network.note is not None]
    offs = [network.off for network in noted if network.off is not None]
    a, b, c, d = (max(part, default=0.0) for part in zip(*offs, strict=True)) if offs else (0.0,) * 4
    return ReluNetwork(
        hidden,
        np.concatenate([network.hidden_bias for network in networks]),
        output,
        np.concatenate([network.output_bias for network in networks]),
    ).told(
        " ".join(dict.fromkeys(str(network.note) for network in noted)) or None,
        None,
        (a, b, c, d) if offs and len(offs) == len(noted) else None,
    )


def _diagonal(blocks: Sequence[FloatArray]) -> FloatArray:
    rows, columns = (sum(block.shape[axis] for block in blocks) for axis in (0, 1))
    if rows * columns > MOST_WEIGHTS:
        raise InputError(f"the networks have {rows * columns} weights together; certnet joins {MOST_WEIGHTS} at most.")
    return block_diagonal(blocks)
