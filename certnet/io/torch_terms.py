"""Objectives named in PyTorch's terms: a loss with its reduction, and weight decay in the optimiser.

With ``weight_decay=λ`` SGD and its relatives minimise ``loss + λ/2·‖θ‖²``, for all parameters θ, biases included. A
loss that is ``k/N`` times a sum of ours, N being what its reduction divides by, thus has γ = λN/k. AdamW decays weights
apart from the gradient, which minimises no objective.
"""

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.special import xlogy

from certnet.io.given import plain
from formulations import InputError
from formulations._validation import FloatArray, as_positive, real_number, shown

IGNORED = -100
"""The label that PyTorch's cross-entropy leaves out by default; no label has it here."""


LOSSES = {
    "cross_entropy": "cross-entropy",
    "bce_with_logits": "logistic",
    "soft_margin": "logistic",
    "mse": "squared",
    "l1": "absolute",
    "huber": "huber",
    "smooth_l1": "huber",
    "poisson_nll": "poisson",
}
"""PyTorch's losses, and ours that they are a multiple of."""
_PARAMETERS = {"huber": "delta", "smooth_l1": "beta"}
_INSTEAD = {
    "nll": "leave LogSoftmax out and name cross_entropy",
    "bce": "leave Sigmoid out and name bce_with_logits",
}
_COUPLED = ("sgd", "adam", "adagrad", "adadelta", "adamax", "asgd", "nadam", "radam", "rmsprop", "lbfgs")
"""Optimisers whose weight decay is a part of the gradient."""
_DECOUPLED = ("adamw", "nadamw", "muon", "lion", "sgdw")


@dataclass(frozen=True)
class TorchLoss:
    """A loss in PyTorch's terms.

    Attributes:
        name: one of cross_entropy, bce_with_logits, soft_margin, mse, l1, huber, smooth_l1, poisson_nll.
        reduction: "mean" or "sum".
        parameter: delta of huber, beta of smooth_l1.
        class_weight: (c,) of cross_entropy, or None.
        positive_weight: ``pos_weight`` of bce_with_logits with one output, or None.
        full: whether poisson_nll adds Stirling's approximation.
    """

    name: str
    reduction: str = "mean"
    parameter: float = 1.0
    class_weight: FloatArray | None = None
    positive_weight: float | None = None
    full: bool = False

    def __post_init__(self) -> None:
        if self.reduction not in ("mean", "sum"):
            raise InputError(f"The reduction must be mean or sum, not {shown(self.reduction)}.")
        if not (0 <= self.parameter < np.inf) or (self.name == "huber" and self.parameter == 0):
            raise InputError(f"The {_PARAMETERS.get(self.name, 'parameter')} of {self.name} must be a positive number.")

    @property
    def ours(self) -> str:
        """The name of certnet's loss that it is a multiple of."""
        if self.name in _PARAMETERS and self.parameter > 0:
            return f"huber:{self.parameter!r}"
        return "absolute" if self.name in _PARAMETERS else LOSSES[self.name]

    def weights(self, Y: FloatArray, sample_weight: Any) -> FloatArray | None:
        """(n,) ω of the rows, or None for ones; Y is in our form."""
        omega = np.ones(len(Y)) if sample_weight is None else plain("sample_weight", sample_weight).reshape(-1)
        if omega.shape != (len(Y),):
            raise InputError(f"sample_weight has {len(omega)} entries for {len(Y)} rows.")
        if self.class_weight is not None:
            if len(self.class_weight) != Y.shape[1]:
                raise InputError(f"The class weights are {len(self.class_weight)} for {Y.shape[1]} classes.")
            omega = omega * (Y @ self.class_weight)
        if self.positive_weight is not None:
            if Y.shape[1] != 1:
                raise InputError("pos_weight is taken for one output only; certnet weighs rows, not single outputs.")
            omega = np.where(Y[:, 0] > 0, self.positive_weight, 1.0) * omega
        return None if (omega == 1.0).all() else omega

    def factor(self, Y: FloatArray) -> float:
        """PyTorch's loss divided by our sum over rows; Y is in our form."""
        times = 2.0 if self.name == "mse" else 1.0
        if self.name == "smooth_l1" and self.parameter > 0:
            times /= self.parameter
        if self.reduction == "sum":
            return times
        if self.class_weight is not None:
            return times / float(np.sum(Y @ self.class_weight))
        # All means but that of cross-entropy are over the outputs as well.
        return times / (len(Y) if self.name == "cross_entropy" else Y.size)

    def constant(self, Y: FloatArray, omega: FloatArray | None) -> float:
        """What PyTorch's loss has besides our sum times ``factor``."""
        if self.name != "poisson_nll":
            return 0.0
        rest = Y - xlogy(Y, Y)
        if self.full:
            large = np.where(Y > 1, Y, 1.0)
            rest += np.where(Y > 1, large * np.log(large) - large + 0.5 * np.log(2.0 * np.pi * large), 0.0)
        rows = rest.sum(axis=1)
        return self.factor(Y) * float(np.sum(rows if omega is None else omega * rows))

    def __str__(self) -> str:
        parameter = f" with {_PARAMETERS[self.name]} {self.parameter:g}" if self.name in _PARAMETERS else ""
        weighted = self.class_weight is not None or self.positive_weight is not None
        return f"{self.name}{parameter}{' with weights' if weighted else ''}, reduction {self.reduction}"


def torch_loss(loss: Any, *, reduction: str = "mean", class_weight: Any = None) -> TorchLoss:
    """Read a loss: a name such as "mse", "huber:1.5" or "CrossEntropyLoss", or a live module of ``torch.nn``."""
    weight = None if class_weight is None else _positive_vector("class_weight", class_weight)
    if not isinstance(loss, str):
        return _of_module(loss, weight)
    text, colon, parameter = loss.partition(":")
    name = _known(text)
    if colon and name not in _PARAMETERS:
        raise InputError(f"The loss {name} has no parameter; huber has delta and smooth_l1 has beta.")
    try:
        number = float(parameter) if colon else 1.0
    except ValueError:
        raise InputError(f"The loss {loss[:40]!r} has no number after the colon.") from None
    if name != "cross_entropy" and weight is not None:
        raise InputError(f"Class weights are those of cross_entropy; {name} has none.")
    return TorchLoss(name, reduction, number, weight)


def _of_module(loss: Any, class_weight: FloatArray | None) -> TorchLoss:
    if not hasattr(loss, "reduction"):
        raise InputError(f"The loss must be a name or a loss of torch.nn, not {shown(loss)}.")
    name = _known(type(loss).__name__)
    own = getattr(loss, "weight", None)
    if own is not None and name != "cross_entropy":
        raise InputError(f"The loss {name} weighs single entries; give weights of rows as sample_weight.")
    if getattr(loss, "label_smoothing", 0.0) != 0.0:
        raise InputError("Label smoothing is not supported; certnet's cross-entropy has one class for each row.")
    if name == "poisson_nll" and not loss.log_input:
        raise InputError("poisson_nll is supported for outputs that are logarithms, log_input=True.")
    if getattr(loss, "ignore_index", IGNORED) != IGNORED:
        raise InputError("ignore_index is not supported; leave the rows out that are to be ignored.")
    positive = getattr(loss, "pos_weight", None)
    if positive is not None and plain("pos_weight", positive).size != 1:
        raise InputError("pos_weight is taken for one output only; certnet weighs rows, not single outputs.")
    return TorchLoss(
        name,
        str(loss.reduction),
        float(getattr(loss, _PARAMETERS.get(name, ""), 1.0)),
        class_weight if own is None else _positive_vector("the loss's weight", own),
        None if positive is None else float(plain("pos_weight", positive).reshape(-1)[0]),
        bool(getattr(loss, "full", False)),
    )


def _known(text: str) -> str:
    # CrossEntropyLoss, cross_entropy_loss and cross-entropy-loss are the same; so are MSELoss and mse.
    parts = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", text)
    name = re.sub(r"_loss$", "", parts.lower().replace("-", "_")).replace("binary_cross_entropy", "bce")
    if name in _INSTEAD:
        raise InputError(f"The loss {text[:40]!r} acts on outputs after a last function; {_INSTEAD[name]}.")
    if name not in LOSSES:
        raise InputError(f"There is no loss {text[:40]!r} here; of PyTorch's certnet has {', '.join(LOSSES)}.")
    return name


def _positive_vector(name: str, values: Any) -> FloatArray:
    array = np.asarray(plain(name, values), dtype=np.float64).reshape(-1)
    if not ((array > 0) & np.isfinite(array)).all():
        raise InputError(f"{name} must hold positive numbers.")
    return array


def require_coupled(optimizer: str) -> None:
    """Refuse an optimiser whose weight decay belongs to no objective."""
    name = optimizer.lower()
    if name in _DECOUPLED:
        raise InputError(
            f"The weight decay of {optimizer} is decoupled from the gradient, so that it minimises no objective; name "
            "the decay that it should be measured by as gamma."
        )
    if name not in _COUPLED:
        raise InputError(f"The optimizer {optimizer[:40]!r} is unknown; certnet knows {', '.join(_COUPLED)}.")


def decay_of(weight_decay: Any) -> float:
    if weight_decay is None or real_number(weight_decay) == 0:
        raise InputError(
            "Without weight decay the objective has no minimiser; name the weight_decay it was trained with, or gamma."
        )
    return as_positive("weight_decay", weight_decay)
