"""A network together with the objective that it was trained on: targets as losses take them, and scikit-learn's.

scikit-learn minimises ``mean of the loss + alpha/(2n)·‖coefs_‖²`` over n rows, with biases that cost nothing. The
solvers sgd and adam do this for each mini-batch with its own n, so that the decay of all rows is larger than alpha:
γ = alpha · (number of rows) · (mean over the batches of 1/size).
"""

import math
import numbers
from dataclasses import dataclass
from typing import Any

import numpy as np

from certnet.io.cells import class_name, in_order
from certnet.io.load_network import mlp_network
from certnet.io.packed import Array
from formulations import InputError, TrainingProgram
from formulations._validation import FloatArray, as_matrix, as_positive
from formulations.losses import COUNTS, NUMBERS, ONE_HOT, SIGNS, kind_named, name_of
from formulations.network import ReluNetwork

SHOWN = 10
"""Most class names in a sentence."""
LARGEST_BATCH = 200
"""scikit-learn's ``batch_size="auto"``."""
_LOSSES = {
    "softmax": ("cross-entropy", "log-loss"),
    "logistic": ("logistic", "log-loss"),
    "identity": ("squared", "half the squared error"),
    "exp": ("poisson", "half the Poisson deviance"),
}
"""By the output activation: our loss, and scikit-learn's."""
SUMMED = (
    "scikit-learn's loss_ averages the squared error over several targets, but the gradients that training follows are "
    "those of their sum, which is the objective here; gamma = alpha times the number of targets is that of loss_."
)


@dataclass(frozen=True, eq=False)
class Given:
    """A network that somebody trained, and the problem that this training was about.

    Attributes:
        network: as a function of the program's features.
        program: features as the network saw them, targets, loss and γ; the loss is a sum over rows.
        theirs: the objective in the words of the tool that trained it, a sentence.
        factor, constant: ``factor·objective + constant`` is the number that this tool computes.
        notes: sentences that a user should read.
    """

    network: ReluNetwork
    program: TrainingProgram
    theirs: str
    factor: float = 1.0
    constant: float = 0.0
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        d = self.program.shape[1] - self.program.has_ones
        if self.network.inputs != d:
            raise InputError(
                f"The network takes {self.network.inputs} features, but X has {d}; give the data it was trained on."
            )
        self.weights()
        if self.program.output_bias == "none" and self.network.output_bias.any():
            raise InputError("The network has an output bias, but the objective that was named has none.")

    def weights(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """U (d×m, the hidden biases as last row if the program has such), V (c×m) and output bias a (c,)."""
        return self.network.program_weights(hidden_bias=self.program.has_ones)

    @property
    def objective(self) -> float:
        """The program's objective at this network, in floating point."""
        return self.program.objective(*self.weights())

    @property
    def their_number(self) -> float:
        """What the tool computes for this network."""
        return self.factor * self.objective + self.constant

    @property
    def ours(self) -> str:
        """The objective in certnet's words, a sentence."""
        program = self.program
        weighted = " weighted" if (program.loss.sample_weight != 1.0).any() else ""
        constant = f" {'+' if self.constant > 0 else '−'} {abs(self.constant):.6g}" if self.constant else ""
        kinds = (("hidden", program.hidden_bias), ("output", program.output_bias))
        biases = ", ".join(f"no {name} bias" if kind == "none" else f"{name} bias {kind}" for name, kind in kinds)
        return (
            f"In certnet's terms: the{weighted} sum over {program.shape[0]} rows of the loss "
            f"{name_of(program.loss.kind)} + γ/2·(sum of squared weights), γ = {program.gamma:.6g}, {biases}; "
            f"the tool's number is {self.factor:.6g} times this{constant}."
        )


def plain(name: str, value: Any) -> Array:
    """Anything that holds numbers or labels as an array: also tensors, sparse matrices and data frames."""
    try:
        if hasattr(value, "detach"):
            value = value.detach().cpu()
            value = (value.double() if value.is_floating_point() else value).numpy()
        return np.asarray(value.toarray() if hasattr(value, "toarray") else value)
    except (ValueError, TypeError, RuntimeError, NotImplementedError):
        raise InputError(f"{name} is no array of numbers or labels.") from None


def features(X: Any) -> FloatArray:
    """The features (n×d), which have to be finite; what has more dimensions is flattened row by row."""
    array = plain("X", X)
    if array.dtype == object:
        try:
            array = array.astype(np.float64)
        except (ValueError, TypeError):
            raise InputError("X must hold numbers; encode other columns first.") from None
    if array.ndim == 1:
        raise InputError("X must be a matrix with one row for each data point; reshape it with X.reshape(-1, 1).")
    return as_matrix("X", array.reshape(len(array), -1) if array.ndim > 2 and len(array) else array)


def targets(loss: str, y: Any, outputs: int, classes: Any = None) -> FloatArray:
    """Y (n×c) in the form that a loss takes, of labels, numbers or such a matrix.

    Args:
        loss: a name of ``formulations.losses``.
        y: labels (n,), or a matrix n×c that is one-hot, of 0 and 1, of −1 and 1, or of numbers, as the loss has it.
        outputs: c, the network's number of outputs. One output stands for two classes.
        classes: the labels of the classes in order; else whole numbers from 0, or what y holds in ascending order.
    """
    kind, array = kind_named(loss), plain("y", y)
    if array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if kind.targets == SIGNS and array.ndim == 2 and outputs == 1 and array.shape[1] == 2:
        # Two classes, one-hot, for a single output.
        array, classes = array[:, 1], None
    if array.ndim == 2 or kind.targets in (NUMBERS, COUNTS):
        Y = as_matrix("y", array)
        if Y.shape[1] != outputs:
            raise InputError(
                f"The network has {outputs} outputs, but y has {Y.shape[1]} columns; give the targets it was trained "
                "on."
            )
        return _signs(Y) if kind.targets == SIGNS else Y
    if outputs > 1:
        one_hot = np.eye(outputs)[_positions(array, outputs, classes)]
        return one_hot if kind.targets == ONE_HOT else 2.0 * one_hot - 1.0
    if kind.targets == ONE_HOT:
        raise InputError(
            "cross-entropy needs one output for each class; a network with one output has the logistic loss."
        )
    if classes is None and array.dtype.kind in "biuf" and np.isin(array, (-1, 0, 1)).all():
        return _signs(as_matrix("y", array))
    return 2.0 * _positions(array, 2, classes)[:, None] - 1.0


def _signs(Y: FloatArray) -> FloatArray:
    """−1 and 1 of 0 and 1, or of −1 and 1."""
    if np.isin(Y, (0.0, 1.0)).all():
        return 2.0 * Y - 1.0
    if np.isin(Y, (-1.0, 1.0)).all():
        return Y
    raise InputError("y must hold 0 and 1, or -1 and 1, for this loss.")


def _positions(labels: Array, count: int, classes: Any) -> Array:
    if labels.ndim != 1 or len(labels) == 0:
        raise InputError(f"y must hold one label for each row, not have shape {labels.shape}.")
    keys = [_key(label) for label in labels.tolist()]
    if classes is not None:
        known = [_key(name) for name in (classes.tolist() if isinstance(classes, np.ndarray) else classes)]
    elif {*keys} <= {str(number) for number in range(count)}:
        known = [str(number) for number in range(count)]
    else:
        known = sorted({*keys}, key=in_order)
    if len(known) != count:
        raise InputError(f"y holds {len(known)} classes, but the network has outputs for {count}.")
    place = {key: position for position, key in enumerate(known)}
    unknown = next((row for row, key in enumerate(keys) if key not in place), None)
    if unknown is not None:
        names = ", ".join(known[:SHOWN]) + (", …" if len(known) > SHOWN else "")
        raise InputError(
            f"y has the label {keys[unknown][:40]!r} in row {unknown + 1}, which the network does not know; it knows "
            f"{names}."
        )
    return np.array([place[key] for key in keys])


def _key(label: Any) -> str:
    """A label as text, so that 1, 1.0 and True are the same."""
    if isinstance(label, numbers.Integral):
        return str(int(label))
    return class_name(float(label)) if isinstance(label, numbers.Real) else str(label)


def given_of_sklearn(model: Any, X: Any, y: Any, *, sample_weight: Any = None, gamma: float | None = None) -> Given:
    """The network and objective of a fitted MLPClassifier or MLPRegressor, given with what ``fit`` was given.

    The estimator may stand at the end of a Pipeline, in a TransformedTargetRegressor or in a fitted search; ``gamma``
    is a decay in place of its own.
    """
    model, X, y = _unwrapped(model, X, y)
    network, last = mlp_network(model)
    if last not in _LOSSES:
        raise InputError(f"The model's output activation is {last!r}; certnet has no objective for it.")
    expected, found = getattr(model, "feature_names_in_", None), getattr(X, "columns", None)
    if expected is not None and found is not None and list(expected) != list(found):
        raise InputError("X has other column names, or another order of them, than the model was fitted with.")
    loss, words = _LOSSES[last]
    rows, notes = features(X), []
    Y = targets(loss, y, network.outputs, getattr(model, "classes_", None))
    total = len(rows) if sample_weight is None else float(np.sum(plain("sample_weight", sample_weight)))
    mean = "mean" if sample_weight is None else "weighted mean"
    theirs = f"In scikit-learn's terms: the {mean} over {len(rows)} rows of the {words}"
    if gamma is None:
        gamma, alpha, how = _decay(model, len(rows))
        theirs += f" + alpha/(2·rows)·(sum of squared coefs_), alpha = {alpha:.6g}{how}."
    else:
        gamma = as_positive("gamma", gamma)
        theirs += " + the decay that you named."
    if loss == "squared" and network.outputs > 1:
        notes.append(SUMMED)
    if model.solver != "lbfgs" and model.early_stopping:
        notes.append(
            f"The model held out {model.validation_fraction:.0%} of its rows for early stopping and was not trained on "
            "them; this is about all rows that were given."
        )
    program = TrainingProgram(
        rows, Y, gamma, loss=loss, sample_weight=sample_weight, hidden_bias="free", output_bias="free"
    )
    return Given(network, program, theirs, factor=1.0 / total, notes=tuple(notes))


def _unwrapped(model: Any, X: Any, y: Any) -> tuple[Any, Any, Any]:
    """The estimator at the end, and the features and targets that reach it."""
    while True:
        if hasattr(model, "best_estimator_"):
            model = model.best_estimator_
        elif hasattr(model, "regressor_") and hasattr(model, "transformer_"):
            column = plain("y", y)
            y = _transformed("target", model.transformer_, column[:, None] if column.ndim == 1 else column)
            model = model.regressor_
        elif hasattr(model, "steps") and hasattr(model, "named_steps"):
            for name, step in model.steps[:-1]:
                if step is not None and not isinstance(step, str):
                    X = _transformed(name, step, X)
            model = model.steps[-1][1]
        else:
            return model, X, y


def _transformed(name: str, step: Any, values: Any) -> Any:
    try:
        return step.transform(values)
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"The step {name!r} cannot transform the data: {reason.rstrip('.')[:200]}.") from None


def _decay(model: Any, n: int) -> tuple[float, float, str]:
    """(γ, alpha, words on mini-batches)."""
    alpha = float(model.alpha)
    if not alpha > 0:
        raise InputError("The model was fitted with alpha = 0, an objective without a minimiser; name gamma.")
    if model.solver == "lbfgs":
        return alpha, alpha, ""
    rows = n - math.ceil(model.validation_fraction * n) if model.early_stopping else n
    size = min(LARGEST_BATCH, rows) if model.batch_size == "auto" else min(max(int(model.batch_size), 1), rows)
    if not size > 0:
        raise InputError("X has too few rows for the early stopping that the model was fitted with.")
    sizes = [size] * (rows // size) + [rows % size] * bool(rows % size)
    gamma = alpha * float(np.mean([n / one for one in sizes]))
    how = "" if sizes == [n] else f" in each mini-batch of {size} rows, so that γ = {gamma:.6g} for all rows"
    return gamma, alpha, how
