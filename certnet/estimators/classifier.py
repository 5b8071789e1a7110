"""The estimator for classes."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_expit, log_softmax
from sklearn.base import ClassifierMixin
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.metaestimators import available_if
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import _check_sample_weight, validate_data

from certnet.estimators.base import AUTO, CertifiedMLP
from formulations import InputError
from formulations._validation import FloatArray
from formulations.losses import ONE_HOT, SIGNS, kind_named

PROBABILISTIC = (AUTO, "cross-entropy", "logistic")


def _has_probabilities(estimator: "CertifiedMLPClassifier") -> bool:
    if estimator.loss in PROBABILISTIC:
        return True
    raise AttributeError(f"The loss {estimator.loss!r} gives no probabilities; choose cross-entropy or logistic.")


@dataclass(eq=False, repr=False, kw_only=True)
class CertifiedMLPClassifier(ClassifierMixin, CertifiedMLP):  # type: ignore[misc]
    """A classifier with one hidden ReLU layer, trained together with a proof of how good it is.

    Args:
        alpha: weight decay, γ elsewhere in certnet and ``alpha`` of scikit-learn's ``MLPClassifier``; positive. "auto"
            chooses it by cross-validation (``certnet.jobs.selection``), with more than 600 rows on one fifth of them,
            which takes up to a third of the time limit; then all rows are trained on.
        loss: "auto" is logistic for two classes, and cross-entropy for more. Others are "squared" (targets 0 and 1),
            "hinge" and "squared-hinge"; these and "logistic" with one output are for two classes.
        hidden_bias, output_bias: "free" (not in the decay, as in scikit-learn), "penalised" or "none".
        gap: relative gap at which the proof may stop.
        time_limit: seconds for a fit with its proof, or None.
        certify: train globally and prove a bound in ``fit``. Without it a fit is a descent from random neurons with a
            few more that pay, about a second for 100 rows, and ``prove`` can prove a bound later.
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

    class_weight: Any = None

    def _read(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None, *, reset: bool
    ) -> tuple[FloatArray, FloatArray, str, FloatArray]:
        few = {"ensure_min_samples": self._fewest_rows}
        data, labels = validate_data(self, X, y, reset=reset, dtype=np.float64, **few)
        if reset:
            check_classification_targets(labels)
            self.classes_ = np.unique(labels)
        elif not np.isin(labels, self.classes_).all():
            raise InputError("y holds a label that was not there when the network was fitted.")
        classes = len(self.classes_)
        if classes < 2:
            only = self.classes_.tolist()[0]
            raise InputError(f"y has one class only, {only!r}; a classifier needs at least two classes.")
        loss = ("logistic" if classes == 2 else "cross-entropy") if self.loss == AUTO else self.loss
        kind = kind_named(loss)
        if kind.targets == SIGNS and classes > 2:
            raise InputError(f"The loss {loss} is for two classes, not {classes}; choose cross-entropy.")
        if kind.targets not in (SIGNS, ONE_HOT) and kind.name != "squared":
            raise InputError(f"The loss {loss} is for numbers; choose cross-entropy, logistic, hinge or squared.")
        weight = _check_sample_weight(sample_weight, data, dtype=np.float64)
        weight = weight * compute_sample_weight(self.class_weight, labels)
        place = np.searchsorted(self.classes_, labels)
        targets: FloatArray = 2.0 * place[:, None] - 1.0 if kind.targets == SIGNS else np.eye(classes)[place]
        return data, targets, loss, weight

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
        return np.asarray(np.exp(self.predict_log_proba(X)))
