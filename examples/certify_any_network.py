"""How far is a network, trained by any tool, from the best network of any width?

A fitted scikit-learn model knows its objective. certnet reads both, trains a network of its own, and proves a bound
that no network of any width is below. Run: python examples/certify_any_network.py
"""

from sklearn.datasets import load_wine
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import certnet

SECONDS = 60.0


def main() -> None:
    X, y = load_wine(return_X_y=True)
    network = MLPClassifier(hidden_layer_sizes=(50,), alpha=10.0, solver="lbfgs", max_iter=2000, random_state=0)
    model = make_pipeline(StandardScaler(), network).fit(X, y)

    result = certnet.optimality(model, X, y, time_limit=SECONDS)
    for sentence in result.notes:
        print(sentence)
    assert result.given is not None
    print(f"scikit-learn, 50 neurons: {result.given.objective:.5f}, in its own terms {result.given.their_number:.7f}")
    if result.trained is not None:
        print(f"certnet, {result.trained.U.shape[1]} neurons: {result.trained.objective:.5f}")
    report = result.report
    print(f"{report.verdict}: no network of any width is below {report.lower_bound:.5f}; gap {report.gap:.2%}")
    certnet.write_certificate("wine_mlp.cert", result.certificate)
    print("wrote wine_mlp.cert; try: certnet check wine_mlp.cert")


if __name__ == "__main__":
    main()
