"""The estimator for numbers."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from sklearn.base import RegressorMixin
from sklearn.utils.validation import _check_sample_weight, validate_data

from certnet.estimators.base import AUTO, CertifiedMLP
from formulations import InputError
from formulations._validation import FloatArray
from formulations.losses import COUNTS, NUMBERS, kind_named


class CertifiedMLPRegressor(RegressorMixin, CertifiedMLP):  # type: ignore[misc]
    """A regressor with one hidden ReLU layer, trained together with a proof of how good it is.

    Args:
        alpha: weight decay, γ elsewhere in certnet; positive, or "auto" as for ``CertifiedMLPClassifier``.
            scikit-learn's ``MLPRegressor`` averages over c targets, so its ``alpha`` is this one divided by c.
        loss: "auto" is squared. Others are "huber:δ", "absolute", "quantile:τ" and "poisson", whose predictions are
            the means e^f.
        hidden_bias, output_bias, gap, time_limit, certify, random_state, warm_start, verbose: as for
            ``CertifiedMLPClassifier``.

    Attributes:
        network_, objective_, lower_bound_, gap_, certificate_, report_, alpha_, loss_name_: as for
            ``CertifiedMLPClassifier``.
        n_features_in_, feature_names_in_: as everywhere in scikit-learn.
    """

    def _read(
        self, X: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None, *, reset: bool
    ) -> tuple[FloatArray, FloatArray, str, FloatArray]:
        options = {"multi_output": True, "y_numeric": True, "ensure_min_samples": self._fewest_rows}
        data, numbers = validate_data(self, X, y, reset=reset, dtype=np.float64, **options)
        if reset:
            self._is_vector = numbers.ndim == 1
        loss = "squared" if self.loss == AUTO else self.loss
        if kind_named(loss).targets not in (NUMBERS, COUNTS):
            raise InputError(f"The loss {loss} is for classes; choose squared, huber, absolute, quantile or poisson.")
        targets = np.asarray(numbers, dtype=np.float64).reshape(len(numbers), -1)
        return data, targets, loss, _check_sample_weight(sample_weight, data, dtype=np.float64)

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
