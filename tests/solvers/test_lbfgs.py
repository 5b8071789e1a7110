"""L-BFGS: the best point that was seen, whatever ends the descent."""

import numpy as np
import pytest

from certificates.failure import Deadline
from certnet.solvers.iterations import lbfgs

START = np.full((2, 3), 2.0)


def bowl(x: np.ndarray) -> tuple[float, np.ndarray]:
    """½‖x + 1‖²."""
    return 0.5 * float(np.sum((x + 1.0) ** 2)), x + 1.0


def test_minima_with_and_without_signs() -> None:
    np.testing.assert_allclose(lbfgs(bowl, START, max_iterations=50), -1.0, atol=1e-9)
    np.testing.assert_array_equal(lbfgs(bowl, START, max_iterations=50, nonnegative=True), 0.0)


def test_what_is_not_finite_is_never_returned() -> None:
    def broken(x: np.ndarray) -> tuple[float, np.ndarray]:
        value, slope = bowl(x)
        return (value if x.min() > 0.0 else np.nan), slope

    assert np.nanmin(lbfgs(broken, START, max_iterations=50)) > 0.0
    np.testing.assert_array_equal(lbfgs(lambda x: (np.nan, x), START, max_iterations=5), START)


@pytest.mark.parametrize("error", [np.linalg.LinAlgError, None])
def test_time_and_failures_leave_the_best_point(error: type[Exception] | None) -> None:
    calls = []

    def evaluate(x: np.ndarray) -> tuple[float, np.ndarray]:
        calls.append(x)
        if error is not None and len(calls) == 2:
            raise error
        return bowl(x)

    deadline = Deadline.after(-1.0) if error is None else Deadline()
    np.testing.assert_array_equal(lbfgs(evaluate, START, max_iterations=50, deadline=deadline), START)
    assert lbfgs(bowl, START, max_iterations=50, watch=lambda x: bool(x.max() < 2.0)).max() < 2.0
