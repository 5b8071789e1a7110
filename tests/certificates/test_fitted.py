"""What networks leave of their targets is enclosed, and closely where terms cancel."""

from fractions import Fraction

import numpy as np
import pytest

from certificates import Training
from certificates.training import fitted, network_objective
from formulations._validation import FloatArray
from tests.strategies import rng


def _exact(X: FloatArray, Y: FloatArray, U: FloatArray, V: FloatArray, a: FloatArray) -> list[list[Fraction]]:
    """(XU)₊Vᵀ + a − Y in rational arithmetic."""
    x, y, u, v = ([[Fraction(entry) for entry in row] for row in matrix.tolist()] for matrix in (X, Y, U.T, V))
    hidden = [[max(sum(map(Fraction.__mul__, row, column)), Fraction(0)) for column in u] for row in x]
    return [
        [
            sum(map(Fraction.__mul__, row, weights)) + Fraction(bias) - target
            for weights, bias, target in zip(v, a.tolist(), targets, strict=True)
        ]
        for row, targets in zip(hidden, y, strict=True)
    ]


@pytest.mark.parametrize("size", [1.0, 1e9, 1e-160])
def test_residuals_are_enclosed_closely(size: float) -> None:
    for seed in range(20):
        random = rng(seed)
        n, d, c, m = random.integers(1, 7, 4)
        X, U, V = random.standard_normal((n, d)), random.standard_normal((d, m)), random.standard_normal((c, m))
        X[0] *= size
        a = random.standard_normal(c) * (seed % 2)
        Y = np.maximum(X @ U, 0.0) @ V.T + a + 1e-3 * random.standard_normal((n, c))
        (lower, upper), truth = fitted(X, Y, U, V, a), _exact(X, Y, U, V, a)
        for i in range(n):
            for k in range(c):
                assert Fraction(lower[i, k]) <= truth[i][k] <= Fraction(upper[i, k])
        square = sum(entry**2 for row in truth for entry in row)
        assert float(np.sum(np.maximum(-lower, upper) ** 2)) == pytest.approx(float(square), rel=1e-12)
        statement = Training(X, Y, 1e-9, "none", "free", "squared", np.ones(n), "")
        objective = network_objective(statement, U, V, a)
        weights = sum(Fraction(entry) ** 2 for matrix in (U, V) for entry in matrix.ravel().tolist())
        assert objective == pytest.approx(float(square / 2 + Fraction(1e-9) * weights / 2), rel=1e-12)


def test_a_network_without_neurons_leaves_the_targets() -> None:
    Y, a = rng(0).standard_normal((3, 2)), np.array([0.0, 2.0])
    lower, upper = fitted(np.ones((3, 4)), Y, np.zeros((4, 0)), np.zeros((2, 0)), a)
    np.testing.assert_allclose(lower, a - Y, rtol=1e-14)
    assert (lower <= a - Y).all()
    assert (upper >= a - Y).all()
