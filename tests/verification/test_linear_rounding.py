"""What remains on a linear leaf is a lower bound of the exact value, in rational arithmetic."""

from dataclasses import replace
from fractions import Fraction
from math import isqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certificates.linear_leaves import LinearLeaves
from certificates.proof import Triangles
from certificates.robustness import lifted_region
from formulations.nodes import ACTIVE, FREE, INACTIVE
from formulations.robustness import InputRegion, ReluNetwork, UnsafeCase
from tests.strategies import SEEDS, rng

exact = np.vectorize(Fraction, otypes=[object])


def least(region: InputRegion, q: np.ndarray) -> Fraction:
    """The least value of q·x over the box, or a number above that over the ball, whichever is larger."""
    lower, upper = exact(region.lower), exact(region.upper)
    box = sum((min(a * x, a * y) for a, x, y in zip(q, lower, upper, strict=True)), Fraction(0))
    if region.centre is None or region.radius is None:
        return box
    square = sum(q * q) * 2**400
    norm = Fraction(isqrt(int(square)), 2**200)  # rounded down
    return max(box, q @ exact(region.centre) - Fraction(region.radius) * norm)


@pytest.mark.parametrize("shape", ["box", "ball", "both"])
@settings(deadline=None, max_examples=80)
@given(SEEDS, st.integers(0, 4), st.integers(1, 4), st.integers(0, 2), st.sampled_from([1.0, 1e-6, 1e12]))
def test_remainders_are_below_the_exact_ones(
    shape: str, seed: int, N: int, d: int, triangles: int, scale: float
) -> None:
    random = rng(seed)
    triangles = triangles if N else 0
    A = random.standard_normal((N, d + 1)) * scale
    middle = random.standard_normal(d)
    region = InputRegion(middle - random.uniform(0, 1, d), middle + random.uniform(0, 1, d))
    if shape == "ball":
        region = InputRegion.l2(middle, float(random.uniform(0, 2)))
    elif shape == "both":
        region = replace(region, centre=middle, radius=float(random.uniform(0, 1)))
    rows = lifted_region(region)
    bounds = np.sort(random.standard_normal((N, 2)), axis=1) * scale
    table = Triangles(
        random.integers(0, max(N, 1), triangles),
        np.stack([-random.uniform(0, 2, triangles), random.uniform(0, 2, triangles)], axis=1) * scale,
        np.zeros(2 * triangles + 1, dtype=np.int64),
        np.zeros(0, dtype=np.int64),
    )
    positions = 2 * N + len(rows.linear) + triangles
    weights = np.where(random.random((1, positions)) < 0.6, random.uniform(0, 3, (1, positions)), 0.0)
    signs = random.choice([FREE, ACTIVE, INACTIVE], (1, N))
    # One more neuron, which is active everywhere, and two outputs, so that all that is left is a sum of products.
    A = np.vstack([A, random.standard_normal((1, d + 1)) * scale])
    V, H, mu = random.standard_normal((2, N + 1)), random.standard_normal((2, 2)), random.uniform(0, 1, (1, 2))
    network = ReluNetwork(A[:, :-1], A[:, -1], V, random.standard_normal(2))
    case = UnsafeCase(region, H, random.standard_normal(2))
    stable = np.array([FREE] * N + [ACTIVE])
    margin = float(random.uniform(0, 1))
    leaves = LinearLeaves(network, case, stable, np.arange(N), bounds, table, mu, margin, signs, weights)
    floating, rational = (next(leaves.remainders(exactly=exactly)) for exactly in (False, True))

    mixed = exact(mu[0]) @ exact(H)
    effect = mixed @ exact(V)
    on_alpha, on_z = effect[:N] - exact(weights[0, :N]), effect[N] * exact(A[N])
    on_z[-1] += mixed @ exact(network.output_bias) + exact(mu[0]) @ exact(case.h) - Fraction(margin)
    on_beta = -exact(weights[0, N : 2 * N])
    for weight, row in zip(exact(weights[0, 2 * N : 2 * N + len(rows.linear)]), exact(rows.linear), strict=True):
        on_z = on_z - weight * row
    slopes = zip(exact(weights[0, 2 * N + len(rows.linear) :]), table.neuron, exact(table.bounds), strict=True)
    for weight, i, (low, high) in slopes:
        line = high * exact(A[i])
        line[-1] -= high * low
        on_z, on_alpha[i] = on_z - weight * line, on_alpha[i] + weight * (high - low)
    total = Fraction(0)
    for i, sign in enumerate(signs[0]):
        on_z = on_z + (-on_beta[i] if sign == INACTIVE else on_alpha[i]) * exact(A[i])
        if sign == FREE:
            total += min(on_alpha[i] + on_beta[i], Fraction(0)) * max(-Fraction(float(bounds[i, 0])), Fraction(0))
    total += least(region, on_z[:-1]) + on_z[-1]
    assert Fraction(floating) <= total
    assert floating >= float(total) - 1e-6 * (1.0 + abs(float(total)) + 50.0 * scale**2)
    # Rational numbers are asked for where floating point does not prove the leaf; only a ball's norm is rounded there.
    assert rational == (floating if floating >= 0 else total) or shape != "box"
    assert (
        total - Fraction(2) ** -60 * (1 + abs(total)) * Fraction(1 + scale) ** 2 <= rational <= total or floating >= 0
    )
