"""Exact reduction of rows: what is merged is parallel in rational arithmetic, and nothing else is."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings

from formulations import TrainingProgram, reduce_rows
from formulations.parallel import ZERO_ROW, are_parallel, scale_rows
from tests.strategies import programs


def scaled_back(generators: np.ndarray, X: np.ndarray) -> np.ndarray:
    """The generators times powers of two that give their largest entries the size that those of X have."""
    size, wanted = (np.frexp(np.abs(rows).max(axis=1, initial=0.0))[1] for rows in (generators, X))
    return np.ldexp(generators, (wanted - size)[:, None])


@given(programs())
def test_every_row_is_its_ratio_times_its_generator(program: TrainingProgram) -> None:
    rows = reduce_rows(program.X)
    for i, g in enumerate(rows.generator):
        if g == ZERO_ROW:
            assert not program.X[i].any()
            assert rows.ratio[i] == 0
            continue
        np.testing.assert_allclose(program.X[i], rows.ratio[i] * rows.generators[g], rtol=1e-15, atol=0)
        pivot = int(np.argmax(np.abs(rows.generators[g])))
        kappa = Fraction(float(program.X[i, pivot])) / Fraction(float(rows.generators[g, pivot]))
        assert all(
            Fraction(float(x)) == kappa * Fraction(float(a))
            for x, a in zip(program.X[i], rows.generators[g], strict=True)
        )


@given(programs())
def test_scaling_of_generators_is_exact(program: TrainingProgram) -> None:
    rows = reduce_rows(program.X)
    np.testing.assert_array_equal(scaled_back(rows.generators, program.X[rows.source]), program.X[rows.source])
    largest = np.abs(rows.generators).max(axis=1, initial=0.0)
    assert ((largest >= 1) & (largest < 2)).all()


def test_known_groups() -> None:
    X = np.array([[1.0, 2.0], [0.0, 0.0], [-2.0, -4.0], [2.0, 1.0], [0.5, 1.0]])
    rows = reduce_rows(X)
    assert rows.generator.tolist() == [0, ZERO_ROW, 0, 1, 0]
    assert rows.feature.tolist() == [0, ZERO_ROW, 2, 1, 0]


def test_parallel_up_to_rounding_is_not_parallel() -> None:
    x = np.array([0.1, 0.2, 0.7])
    y = 3.0 * x
    assert not are_parallel(x, y)
    assert are_parallel(x, 4.0 * x)
    assert are_parallel(np.array([1.0, 3.0]), np.array([3.0, 9.0]))
    assert not are_parallel(np.array([1.0, 0.0]), np.array([1.0, 5e-324]))


@pytest.mark.parametrize("row", [[1e300, 1e-300], [5e-324, 1.0], [1e-310, 3e-320]])
def test_extreme_rows_are_scaled_exactly_or_not_at_all(row: list[float]) -> None:
    X = np.array([row])
    np.testing.assert_array_equal(scaled_back(scale_rows(X), X), X)


@settings(max_examples=30)
@given(programs())
def test_rows_share_a_generator_exactly_if_they_are_parallel(program: TrainingProgram) -> None:
    X = np.vstack([program.X, np.nextafter(program.X, np.inf), 3.0 * np.round(program.X, 2), np.round(program.X, 2)])
    generator = reduce_rows(X).generator
    nonzero = np.flatnonzero(generator != ZERO_ROW)
    for i in nonzero:
        for j in nonzero:
            assert (generator[i] == generator[j]) == are_parallel(X[i], X[j])


def test_many_nearly_parallel_rows_stay_apart_and_their_multiples_are_found() -> None:
    """All ratios agree to fifteen digits, and many of them in the rounded quotient."""
    base = 1.0 + np.arange(2000) * 2.0**-52
    X = np.stack([base, base[::-1] + 2.0], axis=1)
    rows = reduce_rows(np.vstack([X, -2.0 * X]))
    assert len(rows.source) == len({Fraction(b) / Fraction(a) for a, b in X.tolist()})
    np.testing.assert_array_equal(rows.generator[:2000], rows.generator[2000:])
    assert (rows.ratio[:2000] * rows.ratio[2000:] < 0).all()
