"""The benchmark of trainers measures what it says."""

import numpy as np
import pytest

from certnet.training import fit
from formulations import TrainingProgram
from tests.benchmarks import training


@pytest.fixture(autouse=True)
def _without_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """Importing it takes longer than both tests."""
    monkeypatch.setattr(training, "find_spec", lambda _: None)


def _program() -> TrainingProgram:
    random = np.random.default_rng(0)
    return TrainingProgram(random.standard_normal((10, 2)), random.standard_normal((10, 1)), 0.2)


def test_lbfgs_never_beats_the_global_trainer_and_comes_close() -> None:
    program = _program()
    best = fit(program).objective
    reached = [training.lbfgs(program, 50, seed, 2000) for seed in range(3)]
    assert min(reached) >= best * (1 - 1e-9)
    assert min(reached) <= best * 1.05


def test_the_table_has_a_line_for_each_set(capsys: pytest.CaptureFixture[str], tmp_path) -> None:
    arguments = ["--data", "gaussian-4", "nonsense", "--gammas", "0.3", "--width", "5", "--runs", "2"]
    assert training.main([*arguments, "--iterations", "50", "--json", str(tmp_path / "a.json")]) == 0
    shown = capsys.readouterr().out
    assert "gaussian-4" in shown
    assert "Skipped" in shown
    assert (tmp_path / "a.json").is_file()
