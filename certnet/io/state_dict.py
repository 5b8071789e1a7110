"""Two Linear layers of a state dict: weight matrices are (outputs × inputs), as PyTorch stores them."""

import re
from collections.abc import Mapping

from certnet.io.assembly import Array, ReadNetwork, assemble
from formulations import InputError

_FIRST = frozenset({"hidden", "input", "in", "first", "encoder", "inner", "lower"})
_LAST = frozenset({"output", "out", "last", "final", "head", "classifier", "decoder", "readout", "outer", "upper"})
_RENAME = "save the state of torch.nn.Sequential(Linear, ReLU, Linear), whose weights are 0.weight and 2.weight"


def network_from_tensors(source: str, tensors: Mapping[str, Array]) -> ReadNetwork:
    """The network of two weights ``NAME.weight`` and their biases ``NAME.bias``.

    Which layer comes first follows from the shapes; where both orders fit, from the names (``fc1`` before ``fc2``,
    ``hidden`` before ``output``).

    Raises:
        InputError: other tensors, other shapes, another number of layers, or an order that nothing decides.
    """
    weights, biases = _by_layer(source, tensors)
    if len(weights) != 2:
        count = "one Linear layer" if len(weights) == 1 else f"{len(weights)} Linear layers"
        raise InputError(
            f"{source} holds {count}; certnet reads networks with exactly two, a hidden one and an output."
        )
    hidden, output = _order(source, weights)
    return assemble(
        source,
        U=weights[hidden].T,
        V=weights[output],
        hidden_bias=biases.get(hidden),
        output_bias=biases.get(output),
    )


def _by_layer(source: str, tensors: Mapping[str, Array]) -> tuple[dict[str, Array], dict[str, Array]]:
    """Weights and biases by the name of their layer."""
    weights: dict[str, Array] = {}
    biases: dict[str, Array] = {}
    for name, tensor in tensors.items():
        layer, _, kind = name.rpartition(".")
        dimensions = {"weight": 2, "bias": 1}.get(kind)
        if dimensions is None or not layer:
            raise InputError(
                f"{source} holds a tensor {name!r} that is neither weight nor bias of a Linear layer; {_RENAME}."
            )
        if tensor.ndim != dimensions:
            raise InputError(
                f"{source}: {name} has {tensor.ndim} dimensions where a Linear layer has {dimensions}; certnet reads "
                "networks of two Linear layers with a ReLU between them."
            )
        (weights if kind == "weight" else biases)[layer] = tensor
    alone = next((layer for layer in biases if layer not in weights), None)
    if alone is not None:
        raise InputError(f"{source} holds {alone}.bias but no {alone}.weight; save the whole network.")
    return weights, biases


def _order(source: str, weights: Mapping[str, Array]) -> tuple[str, str]:
    """(hidden layer, output layer)."""
    a, b = weights
    fitting = [(i, j) for i, j in ((a, b), (b, a)) if weights[i].shape[0] == weights[j].shape[1]]
    if not fitting:
        raise InputError(
            f"{source}: {a}.weight has shape {weights[a].shape} and {b}.weight {weights[b].shape}; neither layer can "
            "feed the other."
        )
    if len(fitting) == 1:
        return fitting[0]
    if _comes_first(a, b):
        return a, b
    if _comes_first(b, a):
        return b, a
    raise InputError(f"{source}: either of {a} and {b} may be the hidden layer, by shape and by name; {_RENAME}.")


def _comes_first(a: str, b: str) -> bool:
    """True when the names say that layer a feeds layer b."""
    numbers = [re.findall(r"\d+", name) for name in (a, b)]
    if re.sub(r"\d+", "#", a) == re.sub(r"\d+", "#", b) and numbers[0] != numbers[1]:
        return [int(digits) for digits in numbers[0]] < [int(digits) for digits in numbers[1]]
    words = [set(re.findall(r"[a-z]+", name.lower())) for name in (a, b)]
    first, last = [bool(word & _FIRST) for word in words], [bool(word & _LAST) for word in words]
    says_so = (first[0] and not first[1]) or (last[1] and not last[0])
    return says_so and not (last[0] and not last[1]) and not (first[1] and not first[0])
