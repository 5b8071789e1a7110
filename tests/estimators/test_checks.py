"""The conventions of scikit-learn, by its own checks."""

from typing import Any

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from certnet import CertifiedMLPClassifier, CertifiedMLPRegressor

# The choice of alpha takes most of a fit, so only one of them makes it.
OPTIONS: dict[str, Any] = {"certify": False, "random_state": 0}
ESTIMATORS = [CertifiedMLPClassifier(1.0, **OPTIONS), CertifiedMLPRegressor(**OPTIONS)]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks(ESTIMATORS)
def test_conventions_of_scikit_learn(estimator: Any, check: Any, quick_fits: None) -> None:
    check(estimator)
