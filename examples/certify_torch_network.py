"""How far is a network that PyTorch's SGD trained from the best network of any width?

``weight_decay`` of SGD adds λ/2 Σθ² to the mean loss, so the optimum that certnet bounds is that of the same objective,
times the number of rows. A live module is enough; no file is written and no pickle read.

Run: python examples/certify_torch_network.py (40 s on one core)
"""

import argparse
from collections.abc import Sequence

import torch
from sklearn.datasets import load_breast_cancer
from sklearn.preprocessing import StandardScaler

import certnet


def trained(X: torch.Tensor, y: torch.Tensor, decay: float, epochs: int) -> torch.nn.Sequential:
    """A network of 32 neurons after full-batch gradient descent with momentum."""
    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(X.shape[1], 32), torch.nn.ReLU(), torch.nn.Linear(32, 2)).double()
    optimizer = torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9, weight_decay=decay)
    for _ in range(epochs):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(module(X), y).backward()
        optimizer.step()
    return module


def run(rows: int, decay: float, seconds: float) -> list[certnet.OptimalityResult]:
    """Train little, then long: the bound is about the same, the gap is not."""
    X, y = load_breast_cancer(return_X_y=True)
    X = StandardScaler().fit_transform(X)[:rows]
    y = y[:rows]
    results = []
    for epochs in (20, 2000):
        module = trained(torch.tensor(X), torch.tensor(y), decay, epochs)
        result = certnet.optimality(
            module, X, y, torch_loss="cross_entropy", weight_decay=decay, train=False, time_limit=seconds
        )
        report = result.report
        print(
            f"{epochs} steps: objective {report.objective:.4f}, no network is below {report.lower_bound:.4f}, "
            f"gap {report.gap:.2%}"
        )
        results.append(result)
    return results


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=120)
    parser.add_argument("--decay", type=float, default=0.1, help="weight_decay of SGD")
    parser.add_argument("--seconds", type=float, default=15.0, help="for each network's bound")
    options = parser.parse_args(arguments)
    run(options.rows, options.decay, options.seconds)


if __name__ == "__main__":
    main()
