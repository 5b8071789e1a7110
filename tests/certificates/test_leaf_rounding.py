"""The matrix of a leaf of a subdivision is a lower bound of the exact one, in rational arithmetic.

The unit vector, η and the choice of a bound for each row are those of the test; they may be anything.
"""

from fractions import Fraction
from math import isqrt

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import certificates.cone_bound as cone_bound
import certificates.subdivision as subdivision
from certificates.arithmetic.floating import Enclosure
from tests.strategies import SEEDS, rng

Exact = list[list[Fraction]]
exact = np.vectorize(Fraction, otypes=[object])


def root(x: Fraction) -> Fraction:
    """The square root, rounded up by a part of 2^−90."""
    if not x:
        return x
    scale = Fraction(2) ** (100 + (x.denominator.bit_length() - x.numerator.bit_length()) // 2)
    return (isqrt((x * scale * scale).__ceil__() - 1) + 1) / scale


def enclosing(random: np.random.Generator, value: np.ndarray, units: float) -> tuple[Enclosure, np.ndarray]:
    """An enclosure with radii of some units in the last place, and exact numbers at its ends."""
    rad = units * 2.0**-52 * np.abs(value) * random.uniform(0, 1, value.shape)
    return Enclosure(value, rad), exact(value) + exact(rad) * random.choice([-1, 1], value.shape)


def cut_cone(random: np.random.Generator, d: int, depth: int) -> tuple[np.ndarray, np.ndarray]:
    """A leaf's vertices as the checker computes them, and exactly."""
    cone = np.diag(random.choice([-1.0, 1.0], d))
    true = exact(cone)
    for _ in range(depth if d > 1 else 0):
        a, b = random.choice(d, 2, replace=False)
        theta = float(random.uniform(0.02, 0.98))
        first, second = subdivision.cut(cone[None], np.array([a]), np.array([b]), np.array([theta]))
        vertex = (1 - Fraction(theta)) * true[:, a] + Fraction(theta) * true[:, b]
        side = int(random.integers(2))
        cone, true = (first, second)[side][0], true.copy()
        true[:, (a, b)[side]] = vertex
    return cone, true


def exact_matrix(rows, weights, linear, metric, V, p, eta, own_side) -> Exact:
    """M for true numbers, where p need not be a unit vector."""
    d, pp = V.shape[1], sum(p * p)
    z = rows @ V
    above, below = np.maximum(z, Fraction(0)), np.maximum(-z, Fraction(0))
    P = linear @ V + weights.T @ above
    crossing = [i for i in range(len(rows)) if min(z[i]) < 0 < max(z[i])]
    sigma = {i: above[i] if own_side[i] else below[i] for i in crossing}
    share = weights @ p
    zero = np.array([Fraction(0)] * d)
    middle = p @ P
    plus = sum((max(-share[i], Fraction(0)) * sigma[i] for i in crossing), zero)
    minus = sum((max(share[i], Fraction(0)) * sigma[i] for i in crossing), zero)
    x = [max(a + b, e - a, Fraction(0)) for a, b, e in zip(middle, plus, minus, strict=True)]
    y = sum((root(sum(weights[i] ** 2) - share[i] ** 2 / pp) * sigma[i] for i in crossing), zero)
    Q = P - np.outer(p, middle) / pp
    gram, square = V.T @ metric @ V, Q.T @ Q
    several = len(p) > 1
    return [
        [
            gram[i, j] - x[i] * x[j] / pp
            - (((1 + eta) * square[i, j] + (1 + 1 / eta) * y[i] * y[j]) if several else 0)
            for j in range(d)
        ]
        for i in range(d)
    ]  # fmt: skip


@pytest.mark.parametrize("outputs", [1, 2, 3])
@settings(deadline=None, max_examples=60)
@given(
    SEEDS, st.integers(1, 5), st.integers(1, 3), st.sampled_from([0.0, 3.0, 1e9]), st.integers(0, 12),
    st.sampled_from([1.0, 1e-100, 1e100, 1e-160]), st.sampled_from(["plain", "parallel", "crossing"]),
)  # fmt: skip
@example(0, 1, 2, 1e9, 0, 1.0, "across")
@example(1, 1, 2, 1e9, 0, 1.0, "across")
@example(2, 1, 2, 1e9, 0, 1.0, "across")
def test_the_matrix_of_a_leaf_is_below_the_exact_one(
    outputs: int, seed: int, N: int, d: int, units: float, depth: int, scale: float, shape: str
) -> None:
    random = rng(seed)
    A, W = random.standard_normal((N, d)), random.standard_normal((N, outputs))
    if shape == "parallel":  # the parts of the weights across p cancel
        W = np.outer(random.standard_normal(N), W[0]) * (1 + 1e-15 * random.standard_normal((N, outputs)))
    if shape == "crossing":  # some vertices lie on a hyperplane up to rounding
        A[:, 0] = A[:, -1] * (1 + 1e-16)
    L = random.standard_normal((outputs, d))
    if shape == "across":  # outputs at the vertices differ from their mean by much more than its size
        W, L = 1e-6 * W, np.where(np.arange(outputs)[:, None] == 0, 1e-3, np.where(np.arange(d) % 2, 1.0, -1.0))
    rows, true_rows = enclosing(random, A, units)
    weights, true_weights = enclosing(random, W * scale, units)
    linear, true_linear = enclosing(random, L * scale, units)
    B = (1e-3 * np.eye(d) if shape == "across" else random.standard_normal((d, d))) * scale
    metric, true_metric = enclosing(random, B.T @ B, units)
    rad = metric.rad + 2.0**-1022  # as the product of enclosures has it
    test = cone_bound.LeafTest(rows, weights, linear, Enclosure(metric.mid, rad))
    cone, true_cone = cut_cone(random, d, depth)
    seen: dict[str, np.ndarray] = {}

    def noted(name: str):
        plain = getattr(cone_bound, name)

        def call(*arguments: np.ndarray) -> np.ndarray:
            seen[name] = plain(*arguments)
            return seen[name]

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in ("_unit", "_balance"):
            patch.setattr(cone_bound, name, noted(name))
        lower = test._matrices(test.linear, np.arange(N), cone[None], depth)[0]
    z = rows.mid @ cone
    own_side = np.maximum(z, 0).sum(axis=1) < np.maximum(-z, 0).sum(axis=1)
    p = exact(seen["_unit"][0])
    eta = Fraction(float(seen["_balance"].ravel()[0])) if outputs > 1 else Fraction(1)
    truth = exact_matrix(true_rows, true_weights, true_linear, true_metric, true_cone, p, eta, own_side)
    for i in range(d):
        for j in range(d):
            assert not np.isfinite(lower[i, j]) or Fraction(float(lower[i, j])) <= truth[i][j]
