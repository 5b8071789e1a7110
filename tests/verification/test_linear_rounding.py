"""What remains on a linear leaf is a lower bound of the exact value, in rational arithmetic."""

from fractions import Fraction
from math import isqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from certificates.arithmetic.exact import RationalMatrix
from certificates.arithmetic.floating import Enclosure
from certificates.linear_leaves import LinearLeaves, OpenCase, least
from certificates.proof import Triangles
from certificates.robustness import lifted_cone
from formulations.network import ReluNetwork
from formulations.robustness import InputRegion, UnsafeCase
from formulations.signs import ACTIVE, FREE, INACTIVE
from tests.certificates.altering import replace
from tests.strategies import SEEDS, rng

exact = np.vectorize(Fraction, otypes=[object])


def truly_least(region: InputRegion, q: np.ndarray) -> Fraction:
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
    bounds = np.sort(random.standard_normal((N, 2)), axis=1) * scale
    table = Triangles(
        random.integers(0, max(N, 1), triangles),
        np.stack([-random.uniform(0, 2, triangles), random.uniform(0, 2, triangles)], axis=1) * scale,
    )
    network = ReluNetwork(A[:, :d], A[:, d], np.zeros((1, N)), np.zeros(1))
    case = UnsafeCase(region, np.ones((1, 1)), np.zeros(1))
    opened = OpenCase(network, case, np.zeros(N, dtype=np.int64), bounds)
    rows = lifted_cone(opened)
    positions = 2 * N + len(rows.linear) + triangles
    weights = np.where(random.random((1, positions)) < 0.6, random.uniform(0, 3, (1, positions)), 0.0)
    signs = random.choice([FREE, ACTIVE, INACTIVE], (1, N))
    alpha, z = random.standard_normal((1, N)), random.standard_normal((1, d + 1)) * scale
    ends = [random.choice([-1, 1], array.shape) for array in (alpha, z)]
    rads = [random.choice([0.0, 2.0**-52, 1e-9]) * np.abs(array) for array in (alpha, z)]
    forms = Enclosure(alpha, rads[0]), Enclosure(z, rads[1])
    leaves = LinearLeaves(opened, table, np.ones((1, 1)), 0.0, signs, weights)
    found = float(least(leaves, *leaves.remainder(*forms, Enclosure), Enclosure)[0])
    rational = RationalMatrix.exact(alpha), RationalMatrix.exact(z)
    rational = least(leaves, *leaves.remainder(*rational, RationalMatrix), RationalMatrix)[0]

    on_alpha, on_z = (exact(m) + exact(r) * e for m, r, e in zip((alpha, z), rads, ends, strict=True))
    on_alpha, on_z = on_alpha[0] - exact(weights[0, :N]), on_z[0]
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
    total += truly_least(region, on_z[:-1]) + on_z[-1]
    assert Fraction(found) <= total
    if not any(rad.any() for rad in rads):
        # The exact form; only the norm of a ball is rounded, upwards here and downwards above.
        assert total - Fraction(1, 2**60) * (1 + abs(total)) <= rational <= total
    assert found >= float(total) - 1e-6 * (1.0 + abs(float(total)) + 50.0 * scale**2)
