"""Two-layer ReLU networks as scikit-learn estimators that say how far they are from the best network of any width.

    minimise  Σ_i ω_i ℓ(f(x_i), y_i) + alpha/2·(sum of squared weights)

The loss is a sum, as in scikit-learn's MLP once that is multiplied by the number of rows; the squared one is ½‖f − y‖²,
summed over outputs. The width is found, not given. Features are taken as they are: put a ``StandardScaler`` before the
estimator in a pipeline.

The problem is about the distinct rows in sorted order, with the weights of equal ones added up. So a certificate holds
these, and neither the order of the rows nor a row given twice instead of with weight 2 changes the network.
"""

import importlib
import math
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_expit, log_softmax
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from certificates import Certificate, Report
from certnet.io import write_onnx
from certnet.jobs.optimality import optimality
from certnet.jobs.train import train
from certnet.runtime.clock import Event
from certnet.training import fit
from certnet.training.trainer import Round
from formulations import InputError, TrainingProgram
from formulations._validation import FloatArray, shown
from formulations.losses import COUNTS, NUMBERS, ONE_HOT, SIGNS, kind_named
from formulations.network import ReluNetwork

__all__ = ["CertifiedMLPClassifier", "CertifiedMLPRegressor"]

AUTO = "auto"
PROBABILISTIC = (AUTO, "cross-entropy", "logistic")


@dataclass(frozen=True)
class Settings:
    """How well a fit without a proof is trained."""

    tolerance_per_gap: float = 0.5
    """Relative excess of the price over γ at which it ends, for each unit of the gap; an excess ε costs at most about
    2ε of the objective. Not measured."""
    decrease_per_gap: float = 0.1
    """Relative decrease of the objective in a round below which it ends, likewise. Not measured."""


SETTINGS = Settings()


class _CertifiedMLP(BaseEstimator):  # type: ignore[misc]
    """What both estimators have in common."""

    def __init__(
        self,
        alpha: float | str = 1.0,
        *,
        loss: str = AUTO,
        hidden_bias: str = "free",
        output_bias: str = "free",
        gap: float = 1e-2,
        time_limit: float | None = 60.0,
        certify: bool = True,
        random_state: Any = None,
        warm_start: bool = False,
        verbose: bool = False,
    ) -> None:
        self.alpha = alpha
        self.loss = loss
        self.hidden_bias = hidden_bias
        self.output_bias = output_bias
        self.gap = gap
        self.time_limit = time_limit
        self.certify = certify
        self.random_state = random_state
        self.warm_start = warm_start
        self.verbose = verbose

    def _fit(self, X: FloatArray, Y: FloatArray, loss: str, weight: FloatArray) -> Self:
        program = self._program(X, Y, loss, weight)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        start = self._start(program)
        for name in ("certificate_", "report_", "lower_bound_", "gap_"):
            vars(self).pop(name, None)
        if self.certify:
            result = train(
                program,
                method="global",
                gap=self.gap,
                time_limit=self.time_limit,
                random_state=seed,
                start_network=start,
                progress=self._progress(),
            )
            interrupted, proof = result.interrupted, result.certificate.proofs[0]
            U, V, a = proof.U, proof.V, proof.output
        else:
            fitted = fit(
                program,
                candidates=None if start is None else start[0],
                random_state=seed,
                time_limit=self.time_limit,
                tolerance=SETTINGS.tolerance_per_gap * self.gap,
                callback=_until_it_pays_little(SETTINGS.decrease_per_gap * self.gap),
            )
            interrupted, U, V = fitted.interrupted, fitted.U, fitted.V
            a = program.output(U, V)
        self.alpha_, self.loss_name_ = program.gamma, loss
        self.network_ = ReluNetwork.of_program(U, V, a, hidden_bias=program.has_ones)
        self.objective_ = program.objective(U, V, a)
        if interrupted:
            warnings.warn("Training was interrupted; the network is the best until then.", stacklevel=3)
        if self.certify:
            self._keep(result.certificate, result.report)
        return self

    def _program(self, X: FloatArray, Y: FloatArray, loss: str, weight: FloatArray) -> TrainingProgram:
        alpha = self.alpha
        if isinstance(alpha, str):
            raise InputError(f"alpha must be a positive number, not {shown(alpha)}.")
        biases = {"hidden_bias": self.hidden_bias, "output_bias": self.output_bias}
        X, Y, weight = distinct_rows(X, Y, weight)
        return TrainingProgram(X, Y, alpha, loss=loss, sample_weight=weight, **biases)

    def _start(self, program: TrainingProgram) -> tuple[FloatArray, FloatArray] | None:
        """The weights of the last fit, where they fit the program and a warm start is asked for."""
        network = getattr(self, "network_", None)
        if not self.warm_start or network is None:
            return None
        _, d, c = program.shape
        if (network.inputs, network.outputs) != (d - program.has_ones, c):
            raise InputError(
                f"The last fit had {network.inputs} features and {network.outputs} outputs, these data have "
                f"{d - program.has_ones} and {c}; set warm_start=False."
            )
        if not program.has_ones and network.hidden_bias.any():
            return None
        return network.program_weights(hidden_bias=program.has_ones)[:2]  # type: ignore[no-any-return]

    def _prove(self, program: TrainingProgram, gap: float | None, time_limit: float | None) -> Self:
        U, V, a = self.network_.program_weights(hidden_bias=program.has_ones)
        objective = program.objective(U, V, a)
        if not abs(objective - self.objective_) <= 1e-9 * max(abs(objective), abs(self.objective_)):
            raise InputError(
                f"The network has an objective of {objective:.9g} on these data and had {self.objective_:.9g} when it "
                "was fitted; give the same rows and weights, and leave the parameters as they were."
            )
        result = optimality(
            program,
            U,
            V,
            a,
            gap=self.gap if gap is None else gap,
            time_limit=self.time_limit if time_limit is None else time_limit,
            random_state=int(check_random_state(self.random_state).randint(2**31 - 1)),
            progress=self._progress(),
        )
        self._keep(result.certificate, result.report)
        return self

    def _keep(self, certificate: Certificate, report: Report) -> None:
        self.certificate_, self.report_ = certificate, report
        self.objective_, self.lower_bound_, self.gap_ = report.objective, report.lower_bound, report.gap
        if not self.gap_ <= self.gap:
            proved = f"is {self.gap_:.2%}" if math.isfinite(self.gap_) else "is unknown"
            warnings.warn(
                f"The proved gap {proved}, where {self.gap:.2%} was asked for; raise time_limit or alpha.",
                ConvergenceWarning,
                stacklevel=4,
            )

    def _progress(self) -> Any:
        return _show if self.verbose else None

    def _outputs(self, X: ArrayLike) -> FloatArray:
        """(n, c) outputs of the network before any link function."""
        check_is_fitted(self)
        return np.asarray(self.network_(validate_data(self, X, reset=False, dtype=np.float64)))

    def to_torch(self) -> Any:
        """The network as ``torch.nn.Sequential(Linear, ReLU, Linear)`` in float64, without softmax or other links.

        Its outputs are those of ``network_``: one for each target, or for each class in the order of ``classes_``; with
        logistic and hinge losses a single one, positive for the second class.

        Raises:
            InputError: torch is missing.
        """
        check_is_fitted(self)
        try:
            torch = importlib.import_module("torch")
        except ImportError:
            raise InputError("A PyTorch module needs torch; install it with pip install 'certnet[gpu]'.") from None
        own, double = self.network_, torch.float64
        (m, d), c = own.hidden.shape, len(own.output)
        module = torch.nn.Sequential(
            torch.nn.Linear(d, m, dtype=double), torch.nn.ReLU(), torch.nn.Linear(m, c, dtype=double)
        )
        with torch.no_grad():
            for layer, weight, bias in ((0, own.hidden, own.hidden_bias), (2, own.output, own.output_bias)):
                module[layer].weight.copy_(torch.tensor(weight))
                module[layer].bias.copy_(torch.tensor(bias))
        return module

    def to_onnx(self, path: str | Path) -> None:
        """Write the network as an ONNX file; outputs are those of ``to_torch``.

        Raises:
            InputError: the onnx package is missing.
            OSError: the file cannot be written.
        """
        check_is_fitted(self)
        write_onnx(path, self.network_)


def _has_probabilities(estimator: "CertifiedMLPClassifier") -> bool:
    if estimator.loss in PROBABILISTIC:
        return True
    raise AttributeError(f"The loss {estimator.loss!r} gives no probabilities; choose cross-entropy or logistic.")


class CertifiedMLPClassifier(ClassifierMixin, _CertifiedMLP):  # type: ignore[misc]
    """A classifier with one hidden ReLU layer, trained together with a proof of how good it is.

    Args:
        alpha: weight decay, γ elsewhere in certnet and ``alpha`` of scikit-learn's ``MLPClassifier``; positive.
        loss: "auto" is logistic for two classes, and cross-entropy for more. Others are "squared" (targets 0 and 1),
            "hinge" and "squared-hinge"; these and "logistic" with one output are for two classes.
        hidden_bias, output_bias: "free" (not in the decay, as in scikit-learn), "penalised" or "none".
        gap: relative gap at which the proof may stop.
        time_limit: seconds for a fit with its proof, or None.
        certify: prove a bound in ``fit``. Without it a fit is quicker, and ``prove`` does it later.
        random_state: as in scikit-learn; equal seeds give equal networks unless time runs out.
        class_weight: a dict, "balanced" or None; multiplies the rows' weights.
        warm_start: begin with the neurons of the last fit.
        verbose: print what happens.

    Attributes:
        classes_: labels in ascending order.
        network_: the network, a ``certnet.ReluNetwork``.
        objective_: its objective, rounded up where it was proved.
        lower_bound_, gap_, certificate_, report_: after a proof only: what no network of any width is below, the
            relative gap, and the certificate with what the checker said.
        alpha_, loss_name_: the decay and the loss that were used.
        n_features_in_, feature_names_in_: as in scikit-learn.
    """

    def __init__(
        self,
        alpha: float | str = 1.0,
        *,
        loss: str = AUTO,
        hidden_bias: str = "free",
        output_bias: str = "free",
        gap: float = 1e-2,
        time_limit: float | None = 60.0,
        certify: bool = True,
        random_state: Any = None,
        class_weight: Any = None,
        warm_start: bool = False,
        verbose: bool = False,
    ) -> None:
        super().__init__(
            alpha,
            loss=loss,
            hidden_bias=hidden_bias,
            output_bias=output_bias,
            gap=gap,
            time_limit=time_limit,
            certify=certify,
            random_state=random_state,
            warm_start=warm_start,
            verbose=verbose,
        )
        self.class_weight = class_weight

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Train on X (n×d) and labels y (n,) of any type, with weights (n,) of the rows.

        Raises:
            InputError: a ValueError: options or data that cannot be used.
        """
        X, y = validate_data(self, X, y, dtype=np.float64)
        check_classification_targets(y)
        self.classes_ = np.unique(y)
        if len(self.classes_) < 2:
            raise InputError(f"y has one class only, {self.classes_[0]!r}; a classifier needs at least two classes.")
        return self._fit(X, *self._targets(X, y, sample_weight))

    def prove(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        gap: float | None = None,
        time_limit: float | None = None,
    ) -> Self:
        """Prove a bound for the network that ``fit`` found, which stays as it is, and keep the certificate.

        The estimator does not keep its data, so give those of ``fit``. ``gap`` and ``time_limit`` are the estimator's
        by default.

        Raises:
            InputError: other data or parameters than those of ``fit``.
        """
        check_is_fitted(self)
        X, y = validate_data(self, X, y, reset=False, dtype=np.float64)
        if not np.isin(y, self.classes_).all():
            raise InputError("y holds a label that was not there when the network was fitted.")
        return self._prove(self._program(X, *self._targets(X, y, sample_weight)), gap, time_limit)

    def _targets(
        self, X: FloatArray, y: NDArray[Any], sample_weight: ArrayLike | None
    ) -> tuple[FloatArray, str, FloatArray]:
        """Targets for the loss, its name, and weights of the rows."""
        classes = len(self.classes_)
        loss = ("logistic" if classes == 2 else "cross-entropy") if self.loss == AUTO else self.loss
        kind = kind_named(loss)
        if kind.targets == SIGNS and classes > 2:
            raise InputError(f"The loss {loss} is for two classes, not {classes}; choose cross-entropy.")
        if kind.targets not in (SIGNS, ONE_HOT) and kind.name != "squared":
            raise InputError(f"The loss {loss} is for numbers; choose cross-entropy, logistic, hinge or squared.")
        weight = _check_sample_weight(sample_weight, X, dtype=np.float64)
        weight = weight * compute_sample_weight(self.class_weight, y)
        place = np.searchsorted(self.classes_, y)
        Y = 2.0 * place[:, None] - 1.0 if kind.targets == SIGNS else np.eye(classes)[place]
        return Y, loss, weight

    def decision_function(self, X: ArrayLike) -> FloatArray:
        """The outputs (n×c), or for two classes one number (n,), positive for the second class."""
        f = self._outputs(X)
        if len(self.classes_) > 2:
            return f
        return f[:, 0] if f.shape[1] == 1 else f[:, 1] - f[:, 0]

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The label of each row."""
        f = self.decision_function(X)
        place = (f > 0).astype(int) if f.ndim == 1 else f.argmax(axis=1)
        return np.asarray(self.classes_[place])

    @available_if(_has_probabilities)  # type: ignore[untyped-decorator]
    def predict_log_proba(self, X: ArrayLike) -> FloatArray:
        """(n×classes) logarithms of the probabilities."""
        f = self._outputs(X)
        return np.hstack([log_expit(-f), log_expit(f)]) if f.shape[1] == 1 else np.asarray(log_softmax(f, axis=1))

    @available_if(_has_probabilities)  # type: ignore[untyped-decorator]
    def predict_proba(self, X: ArrayLike) -> FloatArray:
        """(n×classes) probabilities in the order of ``classes_``; only with cross-entropy or logistic loss."""
        return np.exp(self.predict_log_proba(X))


class CertifiedMLPRegressor(RegressorMixin, _CertifiedMLP):  # type: ignore[misc]
    """A regressor with one hidden ReLU layer, trained together with a proof of how good it is.

    Args:
        alpha: weight decay, γ elsewhere in certnet; positive. scikit-learn's ``MLPRegressor`` averages over c targets,
            so its ``alpha`` is this one divided by c.
        loss: "auto" is squared. Others are "huber:δ", "absolute", "quantile:τ" and "poisson", whose predictions are
            the means e^f.
        hidden_bias, output_bias, gap, time_limit, certify, random_state, warm_start, verbose: as for
            ``CertifiedMLPClassifier``.

    Attributes:
        network_, objective_, lower_bound_, gap_, certificate_, report_, alpha_, loss_name_, n_features_in_,
            feature_names_in_: as for ``CertifiedMLPClassifier``.
    """

    def fit(self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None = None) -> Self:
        """Train on X (n×d) and targets y, (n,) or (n×c), with weights (n,) of the rows.

        Raises:
            InputError: a ValueError: options or data that cannot be used.
        """
        X, y = validate_data(self, X, y, dtype=np.float64, multi_output=True, y_numeric=True)
        self._is_vector = np.ndim(y) == 1
        return self._fit(X, *self._targets(X, y, sample_weight))

    def prove(
        self,
        X: ArrayLike,
        y: ArrayLike,
        sample_weight: ArrayLike | None = None,
        *,
        gap: float | None = None,
        time_limit: float | None = None,
    ) -> Self:
        """See ``CertifiedMLPClassifier.prove``."""
        check_is_fitted(self)
        X, y = validate_data(self, X, y, reset=False, dtype=np.float64, multi_output=True, y_numeric=True)
        return self._prove(self._program(X, *self._targets(X, y, sample_weight)), gap, time_limit)

    def _targets(
        self, X: FloatArray, y: NDArray[Any], sample_weight: ArrayLike | None
    ) -> tuple[FloatArray, str, FloatArray]:
        loss = "squared" if self.loss == AUTO else self.loss
        if kind_named(loss).targets not in (NUMBERS, COUNTS):
            raise InputError(f"The loss {loss} is for classes; choose squared, huber, absolute, quantile or poisson.")
        Y = np.asarray(y, dtype=np.float64).reshape(len(y), -1)
        return Y, loss, _check_sample_weight(sample_weight, X, dtype=np.float64)

    def predict(self, X: ArrayLike) -> FloatArray:
        """Predictions, (n,) or (n×c) as the targets were."""
        f = self._outputs(X)
        if self.loss_name_ == "poisson":
            f = np.exp(f)
        return f[:, 0] if self._is_vector else f

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.multi_output = True
        return tags


def distinct_rows(X: FloatArray, Y: FloatArray, weight: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The distinct rows of (X, Y) of positive weight, in a fixed order, with the weights of equal ones added up."""
    kept = weight != 0
    if not kept.any() or not (weight >= 0).all():
        return X, Y, weight  # which the program refuses
    rows, weight = np.hstack([X, Y])[kept] + 0.0, weight[kept]  # −0.0 becomes 0.0
    order = np.lexsort([weight, *rows.T[::-1]])
    rows, weight = rows[order], weight[order]
    first = np.ones(len(rows), dtype=bool)
    first[1:] = (rows[1:] != rows[:-1]).any(axis=1)
    total = np.bincount(np.cumsum(first) - 1, weights=weight)
    d = X.shape[1]
    return rows[first, :d], rows[first, d:], total


def _until_it_pays_little(decrease: float) -> Callable[[Round], bool]:
    """A callback that ends a fit once a round lowers the objective by less than this, relatively."""
    before = math.inf

    def ends(found: Round) -> bool:
        nonlocal before
        last, before = before, found.objective
        return last - before < decrease * before

    return ends


def _show(event: Event) -> None:
    figures = {"objective": event.objective, "bound": event.lower_bound}
    said = ", ".join(f"{name} {value:.6g}" for name, value in figures.items() if value is not None)
    sys.stdout.write(f"[{event.seconds:6.1f} s] {event.stage}{': ' if said else ''}{said} {event.note or ''}\n")
