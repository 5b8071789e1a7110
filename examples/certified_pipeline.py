"""A scikit-learn pipeline whose last step says how far it is from the best network, and what that says of predictions.

The decay is chosen by cross-validation without proofs; then one proof for the choice.
Run: python examples/certified_pipeline.py (80 s on one core)
"""

import argparse
from collections.abc import Sequence

import numpy as np
from sklearn.datasets import load_breast_cancer, load_iris, load_wine
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import certnet

DATA = {"wine": load_wine, "iris": load_iris, "breast_cancer": load_breast_cancer}


def run(name: str, alphas: Sequence[float], seconds: float) -> certnet.CertifiedMLPClassifier:
    """The estimator with the best alpha, with its proof."""
    X, y = DATA[name](return_X_y=True)
    X, X_test, y, y_test = train_test_split(X, y, stratify=y, random_state=0)
    pipeline = make_pipeline(StandardScaler(), certnet.CertifiedMLPClassifier(certify=False, random_state=0))
    search = GridSearchCV(pipeline, {"certifiedmlpclassifier__alpha": list(alphas)}, scoring="neg_log_loss", cv=3)
    search.fit(X, y)
    scaler, model = search.best_estimator_
    print(f"alpha = {model.alpha_:g}: accuracy {search.best_estimator_.score(X_test, y_test):.3f} on the test rows")
    model.set_params(time_limit=seconds, gap=1e-3).prove(scaler.transform(X), y)
    print(f"objective {model.objective_:.6g}, no network is below {model.lower_bound_:.6g}: gap {model.gap_:.2%}")
    found = certnet.prediction_range(model.certificate_, model.report_)
    assert found.decided is not None
    print(f"every network that is as good gives the same class to {np.mean(found.decided):.0%} of the training rows")
    return model


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", choices=DATA, default="wine")
    parser.add_argument("--alphas", type=float, nargs="+", default=[30.0, 10.0, 3.0, 1.0])
    parser.add_argument("--seconds", type=float, default=60.0, help="for the proof")
    options = parser.parse_args(arguments)
    run(options.data, options.alphas, options.seconds)


if __name__ == "__main__":
    main()
