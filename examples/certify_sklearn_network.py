"""How far is a network that scikit-learn trained from the best network of any width?

A fitted model knows its objective. certnet reads both, trains a network of its own, and proves a bound that no network
of any width is below.

Run: python examples/certify_sklearn_network.py (60 s on one core; it writes wine_mlp.cert)
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

from sklearn.datasets import load_wine
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import certnet


def run(seconds: float, alpha: float, certificate: Path) -> certnet.OptimalityResult:
    """Certify a pipeline with a network of 50 neurons; the proof goes into a file."""
    X, y = load_wine(return_X_y=True)
    network = MLPClassifier(hidden_layer_sizes=(50,), alpha=alpha, solver="lbfgs", max_iter=2000, random_state=0)
    model = make_pipeline(StandardScaler(), network).fit(X, y)

    result = certnet.optimality(model, X, y, time_limit=seconds)
    for sentence in result.notes:
        print(sentence)
    assert result.given is not None
    print(f"scikit-learn, 50 neurons: {result.given.objective:.5f}, in its own terms {result.given.their_number:.7f}")
    if result.trained is not None:
        print(f"certnet, {result.trained.U.shape[1]} neurons: {result.trained.objective:.5f}")
    report = result.report
    print(f"{report.verdict}: no network of any width is below {report.lower_bound:.5f}; gap {report.gap:.2%}")
    certnet.write_certificate(certificate, result.certificate)
    print(f"wrote {certificate}; try: certnet check {certificate}")
    return result


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--alpha", type=float, default=10.0, help="weight decay of MLPClassifier")
    parser.add_argument("--certificate", type=Path, default=Path("wine_mlp.cert"))
    options = parser.parse_args(arguments)
    run(options.seconds, options.alpha, options.certificate)


if __name__ == "__main__":
    main()
