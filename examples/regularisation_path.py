"""What does weight decay do? A network and a proved bound for each γ, from the largest to the smallest.

Each γ starts at its neighbour, and what is found at one serves the others: the optimum is nondecreasing and concave in
γ, and so are the objectives and the bounds of the table.

Run: python examples/regularisation_path.py (45 s on one core)
"""

import argparse
from collections.abc import Sequence

from sklearn.datasets import load_wine
from sklearn.preprocessing import StandardScaler

import certnet

GAMMAS = (100.0, 30.0, 10.0, 3.0)


def run(gammas: Sequence[float], rows: int, seconds: float) -> certnet.PathResult:
    """The path on rows of wine, standardised, with cross-entropy and free biases."""
    X, y = load_wine(return_X_y=True)
    X, y = StandardScaler().fit_transform(X[:: len(X) // rows]), y[:: len(y) // rows]
    path = certnet.train_path(
        X,
        (y[:, None] == range(3)).astype(float),
        gammas=gammas,
        loss="cross-entropy",
        hidden_bias="free",
        output_bias="free",
        time_limit=seconds,
    )
    print(f"{len(X)} rows")
    print("      γ  objective  lower bound     gap  neurons")
    for gamma, result in zip(path.gammas, path.results, strict=True):
        if result is not None:
            report, width = result.report, result.certificate.U.shape[1]
            print(f"{gamma:7g}  {report.objective:9.4f}  {report.lower_bound:11.4f}  {report.gap:6.2%}  {width:7d}")
    return path


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gammas", type=float, nargs="+", default=list(GAMMAS))
    parser.add_argument("--rows", type=int, default=59)
    parser.add_argument("--seconds", type=float, default=45.0, help="for the whole path")
    options = parser.parse_args(arguments)
    run(options.gammas, options.rows, options.seconds)


if __name__ == "__main__":
    main()
