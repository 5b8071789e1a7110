"""The conventions of scikit-learn, by its own checks."""

from typing import Any

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from certnet import CertifiedMLPClassifier, CertifiedMLPRegressor

ESTIMATORS = [kind(certify=False, random_state=0) for kind in (CertifiedMLPClassifier, CertifiedMLPRegressor)]


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks(ESTIMATORS)
def test_conventions_of_scikit_learn(estimator: Any, check: Any, quick_fits: None) -> None:
    check(estimator)
