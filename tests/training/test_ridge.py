"""Output weights by ridge regression."""

import numpy as np
import pytest

from certnet.training.ridge import best_ridge
from formulations import TrainingProgram


@pytest.mark.parametrize("width", [3, 40])
def test_it_beats_every_single_decay(width: int) -> None:
    rng = np.random.default_rng(width)
    program = TrainingProgram(rng.standard_normal((12, 4)), rng.standard_normal((12, 2)), 0.05)
    U = rng.standard_normal((4, width))
    H = np.maximum(program.X @ U, 0.0)

    def objective(V: np.ndarray) -> float:
        loss = 0.5 * float(np.sum((H @ V.T - program.Y) ** 2))
        return loss + program.gamma * float(np.linalg.norm(U, axis=0) @ np.linalg.norm(V, axis=0))

    mean = float(np.sum(H**2)) / width
    others = [np.linalg.solve(H.T @ H + k * mean * np.eye(width), H.T @ program.Y).T for k in 10.0 ** np.arange(-10, 2)]
    best = objective(best_ridge(program, U))
    assert best == pytest.approx(min(objective(V) for V in others), rel=1e-5)
    assert best < objective(np.zeros((2, width)))


def test_many_random_neurons_interpolate_when_the_decay_is_small() -> None:
    rng = np.random.default_rng(0)
    program = TrainingProgram(1e3 * rng.standard_normal((20, 5)), rng.standard_normal((20, 3)), 1e-3)
    U = rng.standard_normal((5, 60))
    V = best_ridge(program, U)
    assert program.objective(U, V) > 0.5 * float(np.sum((np.maximum(program.X @ U, 0.0) @ V.T - program.Y) ** 2))
    np.testing.assert_allclose(np.maximum(program.X @ U, 0.0) @ V.T, program.Y, atol=1e-3)


def test_neurons_that_see_nothing_get_no_weight() -> None:
    program = TrainingProgram(np.ones((3, 2)), np.ones((3, 1)), 0.1)
    V = best_ridge(program, -np.ones((2, 4)))
    np.testing.assert_array_equal(V, np.zeros((1, 4)))
