"""Two-layer ReLU networks as scikit-learn estimators that say how far they are from the best network of any width.

    minimise  Σ_i ω_i ℓ(f(x_i), y_i) + alpha/2·(sum of squared weights)

The loss is a sum, as in scikit-learn's MLP once that is multiplied by the number of rows; the squared one is ½‖f − y‖²,
summed over outputs. The width is found, not given. Features are taken as they are: put a ``StandardScaler`` before the
estimator in a pipeline.

The problem is about the distinct rows in sorted order, with the weights of equal ones added up. So a certificate holds
these, and neither the order of the rows nor a row given twice instead of with weight 2 changes the network.
"""

from certnet.estimators.classifier import CertifiedMLPClassifier
from certnet.estimators.regressor import CertifiedMLPRegressor

__all__ = ["CertifiedMLPClassifier", "CertifiedMLPRegressor"]
