"""Examples run, and what they print holds."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"


def example(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_a_certified_pipeline_ends_with_a_proof(capsys: pytest.CaptureFixture[str]) -> None:
    model = example("certified_pipeline").run("wine", [30.0], 20.0)
    assert 0 < model.lower_bound_ <= model.objective_
    assert "no network is below" in capsys.readouterr().out


@pytest.mark.slow
def test_certified_training_orders_its_accuracies(capsys: pytest.CaptureFixture[str]) -> None:
    module = example("certified_training")
    table = module.run("iris", [10.0, 3.0], 0.2, rows=20, seconds=3.0)
    assert [gamma for gamma, _, _ in table] == [10.0, 3.0]
    for _, validation, test in table:
        for audit in (validation, test):
            assert len(audit.inputs) == 20
            assert 0 < audit.certified_accuracy[0] <= audit.attacked_accuracy[0] <= audit.clean_accuracy
    assert capsys.readouterr().out.count("certified") == 2
