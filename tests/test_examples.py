"""Examples run, and what they print holds."""

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
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


@pytest.mark.slow
def test_the_paper_tables_go_on_where_they_were(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    module = example("paper_tables")
    command = ["--sets", "spiral", "--gammas", "0.1", "--bias", "no", "--seconds", "8", "--widths", "5"]
    for _ in range(2):
        module.main([*command, "--out", str(tmp_path)])
    kept = [json.loads(path.read_text(encoding="utf-8")) for path in tmp_path.iterdir()]
    assert [(one["name"], one["gamma"], one["bias"]) for one in kept] == [("spiral", 0.1, False)]
    own, peers = kept[0]["certnet"], kept[0]["peers"]
    assert own["relaxation"] <= own["bound"] <= own["objective"] <= peers["sgd 5"]["objective"]
    assert {"nngp", "ntk"} < set(peers)
    first, second = capsys.readouterr().out.split("spiral γ = 0.1 no bias")[1:]
    assert first.splitlines()[1:] == second.splitlines()[1:]


def test_the_kernels_are_those_of_wide_networks() -> None:
    module = example("paper_tables")
    generator = np.random.default_rng(0)
    A, B, W = (generator.standard_normal(shape) for shape in ((4, 3), (5, 3), (3, 400_000)))
    mean = np.maximum(A @ W, 0.0) @ np.maximum(B @ W, 0.0).T / W.shape[1]
    both = (A @ W > 0).astype(float) @ (B @ W > 0).astype(float).T / W.shape[1]
    assert np.abs(module.nngp(A, B) - mean).max() <= 0.02
    assert np.abs(module.ntk(A, B) - mean - A @ B.T * both).max() <= 0.03
