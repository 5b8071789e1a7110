"""Examples run, and what they print holds."""

import json
import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from certificates import Verdict, check, read_certificate
from tests.conftest import example

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
Printed = pytest.CaptureFixture[str]


@pytest.mark.slow
def test_the_scripts_of_the_competition_write_a_result(tmp_path: Path) -> None:
    np.savez(tmp_path / "net.npz", W1=np.eye(1), b1=np.zeros(1), W2=np.eye(1))
    box = "(declare-const X_0 Real)(declare-const Y_0 Real)(assert (>= X_0 -1))(assert (<= X_0 1))"
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}

    def run(script: str, *arguments: str) -> int:
        call = ["bash", EXAMPLES / "vnncomp" / script, "v1", "category", *arguments]
        return subprocess.run(call, cwd=tmp_path, env=environment, timeout=120).returncode

    for row, result in (("(>= Y_0 2)", "unsat\n"), ("(>= Y_0 1)", "sat\n((X_0 1)\n(Y_0 1.0))\n"), ("(", "error\n")):
        (tmp_path / "p.vnnlib").write_text(f"{box}(assert {row})")
        assert run("prepare_instance.sh", "net.npz", "p.vnnlib") == (result == "error\n")
        assert run("run_instance.sh", "net.npz", "p.vnnlib", "result.txt", "20") == 0
        assert (tmp_path / "result.txt").read_text() == result


@pytest.mark.slow
def test_a_certified_pipeline_ends_with_a_proof(capsys: Printed) -> None:
    model = example("certified_pipeline").run("wine", [30.0], 3.0)
    assert 0 < model.lower_bound_ <= model.objective_
    assert "no network is below" in capsys.readouterr().out


@pytest.mark.slow
def test_certified_training_orders_its_accuracies(capsys: Printed) -> None:
    module = example("certified_training")
    table = module.run("iris", [10.0, 3.0], 0.2, rows=20, seconds=3.0)
    assert [gamma for gamma, _, _ in table] == [10.0, 3.0]
    for _, validation, test in table:
        for audit in (validation, test):
            assert len(audit.inputs) == 20
            assert 0 < audit.certified_accuracy[0] <= audit.attacked_accuracy[0] <= audit.clean_accuracy
    assert capsys.readouterr().out.count("certified") == 2


@pytest.mark.slow
def test_a_network_of_scikit_learn_gets_a_certificate(capsys: Printed, tmp_path: Path) -> None:
    result = example("certify_sklearn_network").run(6.0, 30.0, tmp_path / "mlp.cert")
    report = check(read_certificate(tmp_path / "mlp.cert"))
    assert report.verdict is Verdict.PROVED
    assert report.lower_bound <= result.given.objective
    assert "in its own terms" in capsys.readouterr().out


@pytest.mark.slow
def test_longer_training_in_pytorch_closes_the_gap(capsys: Printed) -> None:
    pytest.importorskip("torch")
    little, much = example("certify_torch_network").run(40, 0.3, 4.0)
    assert much.report.gap < little.report.gap
    assert max(little.report.lower_bound, much.report.lower_bound) <= much.report.objective
    assert capsys.readouterr().out.count("no network is below") == 2


@pytest.mark.slow
def test_an_audit_encloses_the_accuracy_under_attack(capsys: Printed) -> None:
    result = example("audit_a_network").run(8, [0.01, 0.05], 10, 2.0)
    certified, attacked = result.certified_accuracy, result.attacked_accuracy
    assert all(low <= high for low, high in zip(certified, attacked, strict=True))
    assert certified[1] <= certified[0] <= result.clean_accuracy
    assert capsys.readouterr().out.count("true") == 2


@pytest.mark.slow
def test_the_optimum_along_a_path_rises_with_the_decay(capsys: Printed) -> None:
    path = example("regularisation_path").run([100.0, 30.0, 20.0], 30, 8.0)
    reports = [result.report for result in path.results]
    assert all(high.objective >= low.objective for high, low in pairwise(reports))
    assert all(high.lower_bound >= low.lower_bound * (1 - 1e-6) for high, low in pairwise(reports))
    assert len(capsys.readouterr().out.splitlines()) == 2 + len(reports)


@pytest.mark.slow
def test_the_papers_tables_enclose_each_optimum_and_go_on(
    capsys: Printed, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables = example("paper_tables")
    monkeypatch.setattr(tables, "EPOCHS", 3)
    options = ["--draw", "1", "--sets", "drawn*", "--gammas", "10", "--seconds", "4", "--widths", "5"]
    tables.main([*options, "--out", str(tmp_path)])
    first = capsys.readouterr().out
    plain, bias = (json.loads((tmp_path / f"drawn0-10-{which}.json").read_text()) for which in ("plain", "bias"))
    for found in (plain, bias):
        own = found["certnet"]
        assert own["relaxation"] <= own["objective"] <= found["peers"]["sgd 5"]["objective"]
        assert own["bound"] <= own["objective"]
    # A network without bias is one with bias 0.
    assert bias["certnet"]["bound"] <= plain["certnet"]["objective"]
    monkeypatch.setattr(tables, "certified", None)
    tables.main([*options, "--out", str(tmp_path)])
    assert capsys.readouterr().out == first


@pytest.mark.slow
def test_the_notebook_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbformat, nbclient = pytest.importorskip("nbformat"), pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    notebook = nbformat.read(EXAMPLES / "two_minutes.ipynb", as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells)
    notebook.cells[1]["source"] = notebook.cells[1]["source"].replace("SECONDS = 30", "SECONDS = 3")
    monkeypatch.setenv("PYTHONPATH", str(EXAMPLES.parent))
    nbclient.NotebookClient(notebook, timeout=120, resources={"metadata": {"path": str(tmp_path)}}).execute()
    printed = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", ()))
    assert "PROVED: " in printed
    assert "<= true radius <=" in printed
    assert check(read_certificate(tmp_path / "wine.cert")).verdict is Verdict.PROVED
