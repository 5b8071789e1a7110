"""Enclosures hold the exact result, checked in rational arithmetic."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certificates.arithmetic.floating import TINY, Enclosure, gamma_bound, sum_of_products
from tests.strategies import SEEDS, rng

SCALES = st.sampled_from([1.0, 1e-160, 1e150, 1e-300, 3e7])


def exact_product(A: np.ndarray, B: np.ndarray) -> list[list[Fraction]]:
    return [
        [sum((Fraction(float(a)) * Fraction(float(b)) for a, b in zip(row, column, strict=True)), Fraction(0))
         for column in B.T]
        for row in A
    ]  # fmt: skip


def assert_encloses(enclosure: Enclosure, exact: list[list[Fraction]]) -> None:
    for i, row in enumerate(exact):
        for j, value in enumerate(row):
            distance = abs(value - Fraction(float(enclosure.mid[i, j])))
            assert distance <= Fraction(float(enclosure.rad[i, j]))


@given(SEEDS, SCALES, SCALES, st.integers(1, 9))
def test_products_and_sums_are_enclosed(seed: int, scale_a: float, scale_b: float, k: int) -> None:
    random = rng(seed)
    A, B = scale_a * random.standard_normal((3, k)), scale_b * random.standard_normal((k, 2))
    C = random.standard_normal((3, 2))
    product = Enclosure.exact(A) @ Enclosure.exact(B)
    if not product.finite:
        return
    exact = exact_product(A, B)
    assert_encloses(product, exact)
    total = product + Enclosure.exact(C)
    assert_encloses(
        total,
        [
            [value + Fraction(float(c)) for value, c in zip(row, cs, strict=True)]
            for row, cs in zip(exact, C, strict=True)
        ],
    )


@given(SEEDS, st.integers(1, 6))
def test_products_of_uncertain_matrices_are_enclosed(seed: int, k: int) -> None:
    random = rng(seed)
    A, B = random.standard_normal((3, k)), random.standard_normal((k, 2))
    rad_a, rad_b = 0.1 * random.random((3, k)), 0.1 * random.random((k, 2))
    product = Enclosure(A, rad_a) @ Enclosure(B, rad_b)
    corner_a = A + rad_a * random.choice([-0.999, 0.999], size=A.shape)
    corner_b = B + rad_b * random.choice([-0.999, 0.999], size=B.shape)
    assert_encloses(product, exact_product(corner_a, corner_b))


@given(SEEDS, st.integers(1, 8))
def test_scaling_by_powers_of_two_is_enclosed(seed: int, size: int) -> None:
    random = rng(seed)
    A = random.standard_normal((size, size)) * 10.0 ** random.integers(-300, 300, size=(size, size))
    d = np.ldexp(1.0, random.integers(-400, 400, size=size))
    with np.errstate(over="ignore", under="ignore"):
        scaled = Enclosure.exact(A).times(d[:, None]).times(d)
    for i in range(size):
        for j in range(size):
            if not np.isfinite(scaled.mid[i, j]) or not np.isfinite(scaled.rad[i, j]):
                continue
            value = Fraction(float(d[i])) * Fraction(float(A[i, j])) * Fraction(float(d[j]))
            assert abs(value - Fraction(float(scaled.mid[i, j]))) <= Fraction(float(scaled.rad[i, j]))


@given(SEEDS, st.integers(0, 40), SCALES)
def test_sum_of_products_bounds_the_exact_sum_closely(seed: int, count: int, scale: float) -> None:
    random = rng(seed)
    a = scale * random.standard_normal(count) * 10.0 ** random.integers(-8, 8, size=count)
    b = random.standard_normal(count)
    exact = sum((Fraction(float(x)) * Fraction(float(y)) for x, y in zip(a, b, strict=True)), Fraction(0))
    low = sum_of_products([(a, b)], upper=False)
    high = sum_of_products([(a, b)], upper=True)
    if math.isinf(low) or math.isinf(high):
        assert scale == 1e150
        return
    assert Fraction(low) <= exact <= Fraction(high)
    nearest = float(exact)
    assert high - low <= 4 * math.ulp(nearest) + 20 * (count + 1) * TINY


def test_beyond_reach_gives_the_useless_side() -> None:
    one, huge, nan = np.ones(1), np.array([1e300]), np.array([np.nan])
    for bad in (huge, nan, np.array([np.inf])):
        assert sum_of_products([(bad, one)], upper=False) == -math.inf
        assert sum_of_products([(bad, one)], upper=True) == math.inf


@pytest.mark.parametrize("k", [1, 10, 10**6, 10**12])
def test_gamma_is_rounded_up(k: int) -> None:
    unit = Fraction(1, 2**53)
    assert Fraction(gamma_bound(k)) >= k * unit / (1 - k * unit)


@given(SEEDS)
def test_lower_ends_are_rounded_down(seed: int) -> None:
    """Radii of a few units in the last place are where rounding to nearest would come out above."""
    mid = rng(seed).standard_normal((8, 8)) * 10.0 ** rng(seed + 1).integers(-320, 300)
    rad = np.abs(mid) * 2.0**-52 * rng(seed + 2).uniform(0, 4, (8, 8))
    found = Enclosure(mid, rad).lower
    for low, middle, radius in zip(found.flat, mid.flat, rad.flat, strict=True):
        assert Fraction(float(low)) <= Fraction(float(middle)) - Fraction(float(radius))
