"""Ways to project onto the positive semidefinite matrices, as ratios to a full eigendecomposition in float64.

Run: python -m tests.benchmarks.projection [--device cuda] [--orders 60 210 1030]

For each order and rank of the positive part: all eigenpairs ("full"), the positive ones alone ("partial"), the same in
float32, and a scaled Newton–Schulz iteration for the matrix sign, which consists of products alone ("sign"). The last
column is the relative error of the sign iteration. Below 1 is faster than the full decomposition.
"""

import argparse
import time
from collections.abc import Callable

import numpy as np

from certnet.solvers.arrays import Array, Arrays, arrays

ORDERS = (60, 100, 210, 400, 700, 1030)
SHARES = (0.02, 0.1, 0.2, 0.3, 0.5)
REPEATS = 3
SMALLEST = 1e-8
"""Eigenvalues below this part of the largest may keep a wrong sign; they are that small in the projection."""


def matrix(order: int, share: float) -> np.ndarray:
    """A symmetric matrix with this share of positive eigenvalues, over four orders of magnitude as in a solve."""
    random = np.random.default_rng(order)
    Q, _ = np.linalg.qr(random.standard_normal((order, order)))
    rank = max(1, round(share * order))
    values = 10.0 ** random.uniform(-2.0, 2.0, order)
    return (Q * np.where(np.arange(order) < rank, values, -values)) @ Q.T


def sign_projection(layer: Arrays, X: Array) -> Array:
    """``(X + X·sign(X))/2`` with the sign by Newton–Schulz steps, each scaled for the smallest eigenvalue left."""
    S = X / layer.square(X) ** 0.5
    low = SMALLEST
    while low < 1.0 - 1e-12:
        scale = (3.0 / (1.0 + low + low**2)) ** 0.5
        S = 1.5 * scale * S - 0.5 * scale**3 * (S @ (S @ S))
        low = min(1.0, 0.5 * scale * low * (3.0 - (scale * low) ** 2))
    return 0.5 * (X + X @ S)


def seconds(layer: Arrays, work: Callable[[], Array]) -> float:
    """The best of a few runs; the result is read, so that a device has finished."""
    best = np.inf
    for _ in range(REPEATS):
        begin = time.perf_counter()
        layer.square(work())
        best = min(best, time.perf_counter() - begin)
    return float(best)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--orders", type=int, nargs="+", default=ORDERS)
    options = parser.parse_args()
    layer = arrays(options.device)
    single = layer.with_precision(single=True)
    print("| order | rank | full | partial | full, float32 | partial, float32 | sign | error of sign |")
    print("| --- | --- | --- | --- | --- | --- | --- | --- |")
    for order in options.orders:
        for share in SHARES:
            host = matrix(order, share)
            X, X32 = layer.array(host), single.array(host)
            full = seconds(layer, lambda X=X: layer.positive_factor(layer.copy(X), len(X)))
            others = (
                seconds(layer, lambda X=X: layer.positive_factor(layer.copy(X), 0)),
                seconds(single, lambda X=X32: single.positive_factor(single.copy(X), len(X))),
                seconds(single, lambda X=X32: single.positive_factor(single.copy(X), 0)),
                seconds(layer, lambda X=X: sign_projection(layer, X)),
            )
            values, vectors = np.linalg.eigh(host)
            exact = (vectors * np.maximum(values, 0.0)) @ vectors.T
            error = np.linalg.norm(layer.host(sign_projection(layer, X)) - exact) / np.linalg.norm(exact)
            cells = " | ".join(f"{other / full:.2f}" for other in others)
            print(f"| {order} | {share:.0%} | {1e3 * full:.2f} ms | {cells} | {error:.0e} |", flush=True)


if __name__ == "__main__":
    main()
