"""From a model and its data to the objective it was trained on, whatever made it; live PyTorch models as networks."""

import copy
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from certnet.io.given import Given, features, given_of_sklearn, plain, targets
from certnet.io.load_network import kind_of, read_network, state_network
from certnet.io.network import TwoLayerNetwork, assemble
from certnet.io.torch_terms import LOSSES, decay_of, require_coupled
from certnet.io.torch_terms import torch_loss as read_torch_loss
from formulations import InputError, TrainingProgram
from formulations._validation import FloatArray, as_positive, shown
from formulations.network import ReluNetwork

__all__ = ["Given", "objective_of"]

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
SUMMED = (
    "With reduction sum this is about steps on all rows at once; where steps were taken on mini-batches, give gamma, "
    "which is then larger by the number of rows over that of a batch."
)


def objective_of(
    model: Any,
    X: Any,
    y: Any,
    *,
    loss: str | None = None,
    gamma: float | None = None,
    torch_loss: Any = None,
    weight_decay: float | None = None,
    optimizer: Any = None,
    reduction: str = "mean",
    class_weight: Any = None,
    sample_weight: Any = None,
    hidden_bias: str | None = None,
    output_bias: str | None = None,
) -> Given:
    """A model with the objective that it was trained on, as a sum of losses over rows and γ/2·(sum of squares).

    Args:
        model: a fitted scikit-learn ``MLPClassifier`` or ``MLPRegressor`` with one hidden layer, also at the end of a
            Pipeline or in a TransformedTargetRegressor; a PyTorch module whose parameters are those of two Linear
            layers, or its state; a ``TwoLayerNetwork`` or ``ReluNetwork``, or the path of a file with a network.
        X, y: the data it was trained on, as it was given them; y holds labels, numbers, or a matrix of either.
        loss: certnet's name of the loss. Of scikit-learn's models loss and decay are known.
        gamma: the decay in certnet's terms, instead of any other.
        torch_loss: the loss in PyTorch's terms, instead of ``loss``: a name such as "cross_entropy", or the module.
        weight_decay: of PyTorch's optimiser; it decays biases as well.
        optimizer: its name or the live one, which knows its decay.
        reduction: "mean" or "sum", of a loss that is named.
        class_weight: (c,) of PyTorch's cross_entropy.
        sample_weight: (n,) factors of the rows' losses. scikit-learn divides by their sum, PyTorch's mean by n.
        hidden_bias, output_bias: "none", "penalised" or "free"; by default as the tool has it, and "free" where
            the loss is named in certnet's terms and the network has such biases.
    """
    named = {"loss": loss, "torch_loss": torch_loss, "weight_decay": weight_decay, "optimizer": optimizer}
    named |= {"class_weight": class_weight, "hidden_bias": hidden_bias, "output_bias": output_bias}
    homes = {base.__module__.partition(".")[0] for base in type(model).__mro__}
    if "sklearn" in homes:
        extra = next((name for name, value in named.items() if value is not None), None)
        if extra is not None:
            raise InputError(f"A scikit-learn model has its own objective; leave {extra} out.")
        return given_of_sklearn(model, X, y, sample_weight=sample_weight, gamma=gamma)
    read = _read(model, X, live="torch" in homes and hasattr(model, "modules"))
    if (loss is None) == (torch_loss is None):
        raise InputError("Name the loss either in certnet's terms, with loss, or in PyTorch's, with torch_loss.")
    theirs, notes, factor, constant = "The objective was named in certnet's own terms.", read.notes, 1.0, 0.0
    if loss is not None:
        given = next((name for name in ("weight_decay", "optimizer", "class_weight") if named[name] is not None), None)
        if given is not None:
            raise InputError(f"{given} is one of PyTorch's terms, which go with torch_loss; with loss name gamma.")
        if gamma is None:
            raise InputError("Name gamma, the decay in (sum of the loss over rows) + gamma/2·(sum of squared weights).")
        omega, default = None if sample_weight is None else plain("sample_weight", sample_weight), ("free", "free")
    else:
        terms = read_torch_loss(torch_loss, reduction=reduction, class_weight=class_weight)
        Y = targets(terms.ours, y, read.network.outputs, read.classes)
        omega, loss, default = terms.weights(Y, sample_weight), terms.ours, ("penalised", "penalised")
        factor, constant = terms.factor(Y), terms.constant(Y, omega)
        weighted = "" if sample_weight is None else " of the rows' losses times their weights"
        theirs = f"In PyTorch's terms: {terms}{weighted}"
        if gamma is not None:
            gamma = as_positive("gamma", gamma)
            theirs += " + the decay that you named."
        else:
            if optimizer is None or isinstance(optimizer, str):
                require_coupled(optimizer or "sgd")
                decay = decay_of(weight_decay)
            else:
                decay, default = _of_optimizer(optimizer, read.parameters, weight_decay)
            gamma = decay / factor
            theirs += f" + weight_decay/2·(sum of squared parameters), weight_decay = {decay:.6g}."
            notes = (*notes, SUMMED) if terms.reduction == "sum" else notes
    program = read.program(y, loss, gamma, omega, (hidden_bias, output_bias), default)
    return Given(read.network, program, theirs, factor, constant, notes)


@dataclass(frozen=True, eq=False)
class _Read:
    """A network, the features it saw, names of its classes, whether it has biases, and sentences for the user.

    The ``parameters`` of a live module are hidden weight and bias, output weight and bias, None where it has none.
    """

    network: ReluNetwork
    X: FloatArray
    classes: Sequence[str] | None
    has_biases: tuple[bool, bool]
    notes: tuple[str, ...]
    parameters: tuple[Any, ...] = ()

    def program(
        self, y: Any, loss: str, gamma: float, omega: Any, biases: Sequence[str | None], default: Sequence[str]
    ) -> TrainingProgram:
        """The training problem; biases that nobody named are as by default where the network has them."""
        hidden, output = (
            named or (kind if has else "none")
            for named, kind, has in zip(biases, default, self.has_biases, strict=True)
        )
        if biases[1] is None and hidden == "free":
            # Which makes constants free, whatever the output layer has.
            output = "free"
        ending = self.network.ending
        if ending is not None and LOSSES.get(_LAST.get(ending, "")) != loss:
            raise InputError(
                f"The network ends in {ending}, which the loss {loss} does not have in it; name the loss that it was "
                "trained with, or export it up to its linear output layer."
            )
        Y = targets(loss, y, self.network.outputs, self.classes)
        return TrainingProgram(self.X, Y, gamma, loss=loss, sample_weight=omega, hidden_bias=hidden, output_bias=output)


def _read(model: Any, X: Any, *, live: bool) -> _Read:
    if live:
        return _of_module(model, X)
    if isinstance(model, ReluNetwork):
        model = TwoLayerNetwork(model)
    elif isinstance(model, Mapping):
        model = state_network("The state", {str(name): plain(str(name), tensor) for name, tensor in model.items()})
    elif isinstance(model, str | os.PathLike):
        model = read_network(Path(model))
    elif not isinstance(model, TwoLayerNetwork):
        raise InputError(
            f"The model must be one of scikit-learn or PyTorch, a network of certnet or the path of one, not "
            f"{shown(model)}."
        )
    network = model.network
    has_biases = bool(network.hidden_bias.any()), bool(network.output_bias.any())
    return _Read(network, model.features(features(X)), model.classes, has_biases, (*filter(None, [network.note]),))


def _of_module(module: Any, X: Any) -> _Read:
    """A live module, all of whose parameters are in two Linear layers; its network has its outputs at the rows of X."""
    linears = [layer for layer in module.modules() if kind_of(layer) == "Linear"]
    held = {id(tensor) for layer in linears for tensor in layer.parameters()}
    if len(linears) != 2 or held != {id(tensor) for tensor in module.parameters()}:
        names = sorted({type(layer).__name__ for layer in module.modules() if [*layer.parameters(recurse=False)]})
        raise InputError(
            f"The model has parameters in {', '.join(names)[:100] or 'no layer'}; certnet takes models with those of "
            "exactly two Linear layers."
        )
    for hidden, output in (linears, linears[::-1]):
        tensors = {"U": hidden.weight.T, "V": output.weight, "hidden_bias": hidden.bias, "output_bias": output.bias}
        parts: dict[str, Any] = {name: plain("a weight", part) for name, part in tensors.items() if part is not None}
        if parts["U"].shape[1] != parts["V"].shape[1]:
            continue
        network = assemble("The model", **parts).network
        if _agrees(module, network, X):
            drops = any(kind_of(layer).startswith("Dropout") and layer.p > 0 for layer in module.modules())
            has_biases, notes = ("hidden_bias" in parts, "output_bias" in parts), (DROPPED,) if drops else ()
            own = (hidden.weight, hidden.bias, output.weight, output.bias)
            return _Read(network, features(X), None, has_biases, notes, own)
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


def _agrees(module: Any, network: ReluNetwork, X: Any) -> bool:
    """Whether the module in evaluation has the outputs of the network at the rows of X."""
    rows: FloatArray = features(X)
    if network.inputs != rows.shape[1]:
        return False
    import torch

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


def _of_optimizer(
    optimizer: Any, parameters: Sequence[Any], weight_decay: float | None
) -> tuple[float, tuple[str, str]]:
    """The decay of a live optimiser, and how it treats hidden and output bias of a module's parameters."""
    if not parameters or not hasattr(optimizer, "param_groups"):
        raise InputError(
            f"optimizer must be a name, or with a live module its optimizer of torch.optim, not {shown(optimizer)}."
        )
    # An optimiser can take weight decay out of the gradient although its class need not.
    apart = any(group.get("decoupled_weight_decay", False) for group in optimizer.param_groups)
    require_coupled("AdamW" if apart else type(optimizer).__name__)
    rates = [(float(group.get("weight_decay", 0.0)), group["params"]) for group in optimizer.param_groups]
    held = {id(tensor): rate for rate, tensors in rates for tensor in tensors}
    if any(tensor is not None and id(tensor) not in held for tensor in parameters):
        raise InputError("The optimizer does not hold the model's parameters; give the one that trained it.")
    decay, hidden, other, output = (held.get(id(tensor)) for tensor in parameters)
    if decay != other or decay is None:
        raise InputError("The optimizer decays hidden and output weights differently; certnet has one γ for both.")
    if any(rate not in (None, 0.0, decay) for rate in (hidden, output)):
        raise InputError("The optimizer decays biases in a way of their own; certnet has γ or none.")
    if weight_decay is not None and weight_decay != decay:
        raise InputError(f"The optimizer has weight_decay {decay:g}, not {weight_decay:g}; leave weight_decay out.")
    first, last = ("none" if rate is None else "penalised" if rate > 0 else "free" for rate in (hidden, output))
    return decay_of(decay), (first, last)
