"""Balls hold the exact result of every operation, whatever the sizes of the entries, and nothing false is proved."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings

from certificates.arithmetic import BallMatrix, RationalMatrix
from tests.certificates.enclosing import encloses
from tests.strategies import SEEDS, rng

KINDS = ("plain", "subnormal", "power", "tie", "pattern", "far apart")
PATTERNS = (0x15555555555555, 0x1FFFFFFFFFFFFF, 0x10000000000001, 0x1FFFFFF8000000, 0x10000007FFFFFF)
NEAR_ONE = (-(2.0**-53), 2.0**-52, 2.0**-26, -(2.0**-26), 2.0**-27, 2.0**-24 + 2.0**-51, 0.5)
exact = np.vectorize(Fraction, otypes=[object])


def entries(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Numbers whose bits and sizes are awkward, of one kind or of all; some are zeros of either sign."""
    chosen = random.choice([random.choice(KINDS), "any"])
    kinds = random.choice(KINDS, shape) if chosen == "any" else np.full(shape, chosen)
    sign = random.choice([-1.0, 1.0], shape)
    values = {
        "plain": random.standard_normal(shape),
        "subnormal": np.ldexp(random.integers(0, 2**20, shape).astype(float), -1074),
        "power": np.ldexp(1.0, random.integers(-60, 60, shape)),
        "tie": 1.0 + random.choice(NEAR_ONE, shape),
        "pattern": np.ldexp(random.choice(PATTERNS, shape).astype(float), random.integers(-55, -49, shape)),
        "far apart": np.ldexp(random.standard_normal(shape), random.integers(-1074, 1000, shape)),
    }
    return (
        sign
        * np.select([kinds == kind for kind in KINDS], [values[kind] for kind in KINDS])
        * (random.random(shape) > 0.1)
    )


def ball(random: np.random.Generator, shape: tuple[int, int]) -> tuple[BallMatrix, np.ndarray]:
    """A ball, whose two numbers may overlap or cancel, and a matrix in it, often at its end."""
    high = entries(random, shape)
    low = [
        np.zeros(shape),
        high * random.uniform(-1, 1, shape) * 2.0**-53,
        entries(random, shape),
        -high * (1 + random.choice([0.0, 2.0**-52, 2.0**-30], shape)),
    ][random.integers(4)]
    rad = np.abs(high) * random.random(shape) * np.ldexp(1.0, -random.integers(0, 110, shape)) * random.integers(2)
    middle = exact(high) + exact(low) if high.size else np.zeros(shape, dtype=object)
    return BallMatrix(high, low, rad), middle + (exact(rad) if rad.size else 0) * int(random.integers(-1, 2))


def holds(found: BallMatrix, truth: np.ndarray) -> bool:
    """Entries that are not finite claim nothing; a radius that is finite beside one would."""
    parts = found.high, found.low, found.rad
    finite = np.all([np.isfinite(part) for part in parts], axis=0)
    kept = BallMatrix(*(np.where(finite, part, 0.0) for part in parts))
    return encloses(kept, np.where(finite, truth, Fraction(0)).tolist())


def every_operation(seed: int) -> None:
    random = rng(seed)
    n, m = random.integers(0, 4, 2)
    # The number of bits in a slice changes at powers of two.
    k = int(random.choice([0, 1, 2, 3, 4, 7, 8, 15, 16, 17, 32]))
    (A, a), (B, b) = ball(random, (n, k)), ball(random, (k, m))
    (C, c), (D, d) = ball(random, (n, m)), ball(random, (n, m))
    factors = entries(random, (n, 1))
    with np.errstate(all="ignore"):
        product = np.array([[sum(row * column, Fraction(0)) for column in b.T] for row in a], dtype=object)
        assert holds(A @ B, product.reshape(n, m))
        assert holds(C + D, c + d)
        assert holds(C + D - C, d + (c - c))  # the middles cancel; the radii do not
        assert holds(C.by(D), c * d)
        if c.size:
            assert holds(C.times(factors), c * exact(factors))
            assert holds(C.positive_part(), np.vectorize(lambda x: max(x, Fraction(0)), otypes=[object])(c))
            middle = C.enclosure
            assert holds(BallMatrix(middle.mid, np.zeros((n, m)), middle.rad), c)
        sparse = {
            (int(i), int(j)): Fraction(int(p), int(q)) * Fraction(2) ** int(e)
            for i, j, p, q, e in zip(
                random.integers(0, 4, 6), random.integers(0, max(n, 1), 6), random.integers(-1000, 1000, 6),
                random.integers(1, 1000, 6), random.integers(-1100, 1000, 6), strict=True,
            )
        }  # fmt: skip
        if n:
            table = np.full((4, n), Fraction(0), dtype=object)
            for place, value in sparse.items():
                table[place] = value
            assert holds(BallMatrix.from_rationals(sparse, (4, n)), table)
            times = np.array([[sum(row * column, Fraction(0)) for column in c.T] for row in table], dtype=object)
            assert holds(BallMatrix.sparse_product(sparse, 4, C), times.reshape(4, m))


@settings(max_examples=100, deadline=None)
@given(SEEDS)
def test_every_operation_holds_the_exact_result(seed: int) -> None:
    every_operation(seed)


@pytest.mark.slow
def test_every_operation_holds_the_exact_result_thousands_of_times() -> None:
    for seed in range(500):
        every_operation(seed)


@pytest.mark.parametrize("inner", [2**9 - 1, 2**9, 2**12, 2**13 - 1])
def test_slices_of_long_sums_multiply_exactly(inner: int) -> None:
    """The first slices are nearly full and no sign changes, so that partial sums are about as large as they get."""
    random = rng(inner)
    left, right = (BallMatrix.exact(random.uniform(0.9, 1.0, shape)) for shape in ((1, inner), (inner, 1)))
    truth = sum(map(Fraction.__mul__, exact(left.high).ravel(), exact(right.high).ravel()), Fraction(0))
    found = left @ right
    assert encloses(found, [[truth]])
    assert found.rad[0, 0] <= 2.0**-80 * truth


def nearly_singular(random: np.random.Generator, n: int) -> BallMatrix:
    """Singular in units that may be far apart, then with a hair more or less in an entry of the diagonal."""
    kind = random.integers(3)
    if kind == 0:
        L = np.tril(random.integers(-3, 4, (n, n)), -1) + np.eye(n)
        A = (L * random.integers(0, 5, n)) @ L.T
    elif kind == 1:
        v = np.round(random.standard_normal(n) * 2**20) / 2**20
        A = np.outer(v, v)
    else:
        A = np.eye(n)
        A[-1, :-1] = A[:-1, -1] = np.round(random.standard_normal(n - 1) * 2**10) / 2**10
        A[-1, -1] = A[-1, :-1] @ A[-1, :-1]
    reach = int(random.choice([0, 20, 480]))
    units = random.integers(-reach, reach + 1, n)
    high = np.ldexp(A, units[:, None] + units)
    low, i = np.zeros((n, n)), random.integers(n)
    low[i, i] = random.integers(-1, 2) * np.ldexp(high[i, i] or 1.0, -int(random.integers(30, 110)))
    # Only the lower triangle counts.
    high[np.triu_indices(n, 1)] += random.integers(2) * random.standard_normal(n * (n - 1) // 2)
    rad = np.abs(high) * 2.0 ** -float(random.integers(30, 110)) * random.integers(2)
    return BallMatrix(high, low, rad)


def ends(random: np.random.Generator, found: BallMatrix) -> RationalMatrix:
    """A symmetric matrix at the end of the balls, least on its diagonal."""
    n = len(found.high)
    sign = random.choice([-1, 1], (n, n))
    np.fill_diagonal(sign, -1)
    value = exact(found.high) + exact(found.low) + sign * exact(found.rad)
    places = [(i, j) for i in range(n) for j in range(n)]
    return RationalMatrix.from_rationals({(i, j): value[max(i, j), min(i, j)] for i, j in places}, (n, n))


def nothing_false(seed: int) -> bool:
    random = rng(seed)
    found = nearly_singular(random, int(random.integers(1, 7)))
    with np.errstate(all="ignore"):
        proved = found.psd_obstacle() is None
    assert not proved or all(ends(random, found).psd_obstacle() is None for _ in range(3))
    return proved


@settings(max_examples=100, deadline=None)
@given(SEEDS)
def test_nothing_is_proved_that_a_matrix_in_the_balls_contradicts(seed: int) -> None:
    nothing_false(seed)


@pytest.mark.slow
def test_nothing_false_is_proved_thousands_of_times() -> None:
    proved = sum(nothing_false(seed) for seed in range(2000))
    assert 200 < proved < 1800
