"""Live PyTorch models of two Linear layers whose function is that of a ReLU network."""

import copy
import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np

from certnet.io.given import features, plain
from certnet.io.models import kind_of
from certnet.io.network import assemble
from formulations import InputError
from formulations._validation import FloatArray
from formulations.network import ReluNetwork

AGREEMENT = 1e-5
"""Largest difference between the module's outputs and the network's, relative."""
_LAST = {
    "Softmax": "cross_entropy",
    "LogSoftmax": "cross_entropy",
    "Sigmoid": "bce_with_logits",
    "LogSigmoid": "bce_with_logits",
}
"""Functions after the last layer, and the loss that has them in it."""
DROPPED = (
    "The model has dropout, whose training minimises no fixed objective; this is about the objective without dropout."
)


@dataclass(frozen=True, eq=False)
class TorchNetwork:
    """A live module of two Linear layers: its function in float64, and sentences that a user should read.

    The ``parameters`` are hidden weight and bias, output weight and bias, None for a bias that is missing.
    """

    network: ReluNetwork
    parameters: tuple[Any, Any, Any, Any]
    notes: tuple[str, ...]

    @classmethod
    def of(cls, module: Any, X: Any) -> "TorchNetwork":
        """The network of a module, which is compared with it at the rows of X."""
        linears = _two_linears(module)
        drops = any(kind_of(layer).startswith("Dropout") and layer.p > 0 for layer in module.modules())
        for hidden, output in (linears, linears[::-1]):
            network = _network(hidden, output)
            if network is not None and _agrees(module, network, X):
                parameters = (hidden.weight, hidden.bias, output.weight, output.bias)
                return cls(network, parameters, (DROPPED,) if drops else ())
        last = next((kind for kind in map(kind_of, module.modules()) if kind in _LAST), None)
        if last is not None:
            raise InputError(
                f"The model ends in {last}; give it without that layer, and name the loss {_LAST[last]}, which has it "
                "inside."
            )
        raise InputError(
            "The model does not map these X as Linear, ReLU, Linear; give the X it was trained on, and a model that "
            "ends in its last Linear layer."
        )

    @property
    def has_biases(self) -> tuple[bool, bool]:
        return self.parameters[1] is not None, self.parameters[3] is not None

    def decays(self, optimizer: Any) -> tuple[float, str, str]:
        """(weight decay, hidden bias, output bias) of a live optimiser for this module."""
        rates = [(float(group.get("weight_decay", 0.0)), group["params"]) for group in optimizer.param_groups]
        held = {id(tensor): rate for rate, tensors in rates for tensor in tensors}
        if any(tensor is not None and id(tensor) not in held for tensor in self.parameters):
            raise InputError("The optimizer does not hold the model's parameters; give the one that trained it.")
        decay, hidden, other, output = (held.get(id(tensor)) for tensor in self.parameters)
        if decay != other or decay is None:
            raise InputError("The optimizer decays hidden and output weights differently; certnet has one γ for both.")
        kinds = []
        for rate in (hidden, output):
            if rate not in (None, 0.0, decay):
                raise InputError("The optimizer decays biases in a way of their own; certnet has γ or none.")
            kinds.append("none" if rate is None else "penalised" if rate > 0 else "free")
        return decay, kinds[0], kinds[1]


def _two_linears(module: Any) -> tuple[Any, Any]:
    """The two Linear layers that hold all parameters."""
    linears = [layer for layer in module.modules() if kind_of(layer) == "Linear"]
    held = {id(tensor) for layer in linears for tensor in layer.parameters()}
    if len(linears) != 2 or held != {id(tensor) for tensor in module.parameters()}:
        names = sorted({type(layer).__name__ for layer in module.modules() if [*layer.parameters(recurse=False)]})
        raise InputError(
            f"The model has parameters in {', '.join(names)[:100] or 'no layer'}; certnet takes models with those of "
            "exactly two Linear layers."
        )
    return linears[0], linears[1]


def _network(hidden: Any, output: Any) -> ReluNetwork | None:
    """The network of two layers in this order, None where they do not fit."""
    if hidden.weight.shape[0] != output.weight.shape[1]:
        return None
    tensors = {"U": hidden.weight.T, "V": output.weight, "hidden_bias": hidden.bias, "output_bias": output.bias}
    parts: dict[str, Any] = {name: plain("a weight", part) for name, part in tensors.items() if part is not None}
    return assemble("The model", **parts).network


def _agrees(module: Any, network: ReluNetwork, X: Any) -> bool:
    """Whether the module in evaluation has the outputs of the network at the rows of X."""
    rows: FloatArray = features(X)
    if network.inputs != rows.shape[1]:
        return False
    torch = importlib.import_module("torch")
    try:
        with torch.no_grad():
            # A copy, so that the module keeps its type and mode.
            twin = copy.deepcopy(module).cpu().double().eval()
            found = twin(torch.from_numpy(np.asarray(plain("X", X), dtype=np.float64)))
        outputs = plain("the outputs", found).reshape(len(rows), -1)
    except (RuntimeError, TypeError, ValueError, AttributeError, NotImplementedError, IndexError, InputError):
        return False
    expected = network(rows)
    size = float(np.abs(expected).max(initial=0.0))
    return outputs.shape == expected.shape and bool(np.abs(outputs - expected).max(initial=0.0) <= AGREEMENT * size)
