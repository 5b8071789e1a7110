"""Enclosures hold the exact result, checked in rational arithmetic."""

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from certificates.arithmetic import BallMatrix, RationalMatrix
from certificates.arithmetic.floating import TINY, Enclosure, gamma_bound, sum_of_products
from tests.certificates.enclosing import encloses, exact_product, fractions
from tests.strategies import SEEDS, rng

SCALES = st.sampled_from([1.0, 1e-160, 1e150, 1e-300, 3e7])


BOTH = pytest.mark.parametrize("matrix", [Enclosure, BallMatrix])


@BOTH
@given(seed=SEEDS, scale_a=SCALES, scale_b=SCALES, k=st.integers(1, 9), wide=st.booleans())
def test_products_and_sums_are_enclosed(matrix, seed: int, scale_a: float, scale_b: float, k: int, wide: bool) -> None:
    random = rng(seed)
    A, B = scale_a * random.standard_normal((3, k)), scale_b * random.standard_normal((k, 2))
    if wide:
        A, B = (np.ldexp(X, random.integers(-40, 40, X.shape)) for X in (A, B))
    C = random.standard_normal((3, 2))
    with np.errstate(all="ignore"):
        product = matrix.exact(A) @ matrix.exact(B)
        total = product + matrix.exact(C)
    ends = product if isinstance(product, Enclosure) else product.enclosure
    if not ends.finite:
        return
    exact = exact_product(A, B)
    assert encloses(product, exact)
    truth = [[x + y for x, y in zip(*rows, strict=True)] for rows in zip(exact, fractions(C), strict=True)]
    assert encloses(total, truth)
    below, above = fractions(ends.lower), fractions(ends.upper)
    assert all(a <= x <= b for rows in zip(below, exact, above, strict=True) for a, x, b in zip(*rows, strict=True))


@BOTH
@given(seed=SEEDS, k=st.integers(1, 6))
def test_products_of_uncertain_matrices_are_enclosed(matrix, seed: int, k: int) -> None:
    random = rng(seed)
    A, B = random.standard_normal((3, k)), random.standard_normal((k, 2))
    rad_a, rad_b = 0.1 * random.random((3, k)), 0.1 * random.random((k, 2))
    middle = (lambda X: (X,)) if matrix is Enclosure else (lambda X: (X, np.zeros_like(X)))
    product = matrix(*middle(A), rad_a) @ matrix(*middle(B), rad_b)
    corner_a = A + rad_a * random.choice([-0.999, 0.999], size=A.shape)
    corner_b = B + rad_b * random.choice([-0.999, 0.999], size=B.shape)
    assert encloses(product, exact_product(corner_a, corner_b))
    entries = matrix(*middle(A), rad_a).by(matrix(*middle(A[::-1]), rad_a[::-1]))
    corners = fractions(corner_a)
    truth = [[x * y for x, y in zip(*rows, strict=True)] for rows in zip(corners, corners[::-1], strict=True)]
    assert encloses(entries, truth)


@given(SEEDS, st.integers(1, 40))
def test_chains_of_balls_are_enclosed_and_tight(seed: int, k: int) -> None:
    """Products of products, sums that cancel, and factors: 90 bits are left."""
    random = rng(seed)
    A, B, s = random.standard_normal((3, k)), random.standard_normal((k, 3)), random.standard_normal((3, 1))
    ball, exact = BallMatrix.exact, RationalMatrix.exact
    found = ((ball(A) @ ball(B)) @ ball(A)).times(s) - (ball(A) @ (ball(B) @ ball(A))).times(s)
    assert encloses(found, fractions(np.zeros((3, k))))
    size = np.abs(s) * (np.abs(A) @ np.abs(B) @ np.abs(A)).max()
    assert (np.abs(found.high) + found.rad <= 2.0**-85 * k * size).all()
    again = (ball(A) @ ball(B)).times(s)
    assert encloses(again, (exact(A) @ exact(B)).times(s).lower.tolist())


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e308])
def test_balls_do_not_lose_what_is_not_finite(bad: float) -> None:
    A = np.ones((3, 3))
    A[1, 2] = bad
    with np.errstate(all="ignore"):
        for found in (
            BallMatrix.exact(A) @ BallMatrix.exact(A),
            BallMatrix.exact(A).times(np.full((3, 1), 2.0)),
            BallMatrix.exact(A) + BallMatrix.exact(A),
        ):
            assert not (np.isfinite(found.high) & np.isfinite(found.low) & np.isfinite(found.rad)).all()


def test_the_positive_part_of_balls() -> None:
    tiny = 2.0**-60
    found = BallMatrix(np.array([[1.0, -1.0, 0.0, 0.0]]), np.array([[-tiny, tiny, tiny, -tiny]]), np.zeros((1, 4)))
    positive = found.positive_part()
    assert (positive.high + positive.low).tolist() == [[1.0, 0.0, tiny, 0.0]]
    assert positive.low.tolist() == [[-tiny, 0.0, tiny, 0.0]]


@given(SEEDS, st.integers(1, 8))
def test_scaling_by_powers_of_two_is_enclosed(seed: int, size: int) -> None:
    random = rng(seed)
    A = random.standard_normal((size, size)) * 10.0 ** random.integers(-300, 300, size=(size, size))
    d = np.ldexp(1.0, random.integers(-400, 400, size=size))
    with np.errstate(all="ignore"):
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
