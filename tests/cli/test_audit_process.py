"""An audit that is stopped, or whose workers are: nothing that was finished is lost, and the table stays the same."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from certnet import audit
from certnet.cli import main
from tests.cli.support import LISTENING, strict
from tests.cli.test_process import environment
from tests.verification.problems import random_network

pytestmark = [pytest.mark.slow, pytest.mark.skipif(os.name == "nt", reason="signals differ there")]

NETWORK = random_network(6, width=12)
ROWS, ENOUGH = 120, 12
AUDIT = ["audit", "net.npz", "data.npz", "--norm", "linf", "--radii", "0.05,0.2", "--json", "-q"]
TABLE = ("clean_accuracy", "radii", "classes", "worst")


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("audit")
    n = NETWORK
    np.savez(folder / "net.npz", W1=n.hidden, b1=n.hidden_bias, W2=n.output, b2=n.output_bias)
    X = np.random.default_rng(0).standard_normal((ROWS, 3))
    labels = NETWORK(X).argmax(axis=1)
    labels[::7] = 1 - labels[::7]
    np.savez(folder / "data.npz", X_train=X[:2], Y_train=np.eye(2)[:2], X_test=X, Y_test=np.eye(2)[labels])
    return folder


@pytest.fixture(scope="module")
def whole(inputs: Path) -> dict[str, Any]:
    """The report of one process that nobody stops."""
    return run(inputs, "--out", "whole")


def command(*options: str) -> list[str]:
    return [sys.executable, "-m", "certnet", *AUDIT, *options]


def run(folder: Path, *options: str) -> dict[str, Any]:
    done = subprocess.run(
        command(*options), cwd=folder, env=environment(), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode in (0, 3), done.stderr
    return strict(done.stdout)


def table(report: dict[str, Any]) -> Any:
    """What may not depend on how an audit was run; margins are in floating point, whose last digits may."""
    entries = {name: report[name] for name in TABLE}
    worst = [{**entry, "seconds": None, "margin": round(entry["margin"], 9)} for entry in entries["worst"]]
    return {**entries, "worst": worst}


def lines(journal: Path) -> int:
    """Finished inputs of a journal, without its head and without a line that was cut short."""
    return max(journal.read_bytes().count(b"\n") - 1, 0) if journal.exists() else 0


def stopped(folder: Path, how: int, *options: str) -> tuple[int, str, int]:
    """Stop an audit when some inputs are finished: (exit code, stdout, inputs in the journal before the signal)."""
    journal = folder / options[options.index("--out") + 1] / "journal.jsonl"
    with subprocess.Popen(
        [*LISTENING, *command(*options)[1:]],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as process:
        while lines(journal) < ENOUGH and process.poll() is None:
            time.sleep(0.005)
        before = lines(journal)
        os.killpg(process.pid, how)  # its workers too, as a terminal does and a machine that goes down
        out, _ = process.communicate(timeout=120)
    return process.returncode, out, before


def test_ctrl_c_keeps_what_is_finished(inputs: Path, whole: dict[str, Any]) -> None:
    out = "interrupted"
    code, text, before = stopped(inputs, signal.SIGINT, "--workers", "2", "--out", out)
    assert code == 130
    report = strict(text)
    assert report["interrupted"]
    assert ENOUGH <= before <= report["reached"] < ROWS
    assert json.loads((inputs / out / "report.json").read_text())["reached"] == report["reached"]
    finished = lines(inputs / out / "journal.jsonl")
    assert report["reached"] - 1 <= finished <= report["reached"]
    again = run(inputs, "--out", out)
    assert again["resumed"] == finished
    assert table(again) == table(whole)


def test_a_killed_audit_goes_on(inputs: Path, whole: dict[str, Any]) -> None:
    out = "killed"
    code, _, before = stopped(inputs, signal.SIGKILL, "--out", out, "--certificates", f"{out}/p")
    assert code == -signal.SIGKILL
    finished = lines(inputs / out / "journal.jsonl")
    assert ENOUGH <= before <= finished < ROWS
    again = run(inputs, "--out", out, "--certificates", f"{out}/p")
    assert again["resumed"] == finished
    assert table(again) == table(whole)
    names = [path.name for path in (inputs / out / "p").iterdir() if path.suffix == ".cert"]
    certified = whole["radii"][0]["certified_accuracy"] * ROWS
    assert len({name.split("-")[1] for name in names}) == round(certified)


def test_a_dask_cluster_gives_the_same_table_and_survives_a_lost_worker(
    inputs: Path, whole: dict[str, Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    distributed = pytest.importorskip("distributed", reason="Dask is not installed")
    monkeypatch.chdir(inputs)
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        code = main([*AUDIT, "--out", "dask", "--scheduler", cluster.scheduler_address])
        report = strict(capsys.readouterr().out)
        assert code in (0, 3)
        assert table(report) == table(whole)

        killed: list[int] = []

        def kill(*_: object) -> None:
            if not killed:
                killed.append(next(iter(cluster.workers.values())).pid)
                os.kill(killed[0], signal.SIGKILL)

        with np.load("data.npz") as data:
            X, labels = data["X_test"][:40], data["Y_test"][:40].argmax(axis=1)
        settings: dict[str, Any] = {"norm": "linf", "radii": [0.05, 0.2]}
        there = audit(NETWORK, X, labels, scheduler=cluster.scheduler_address, finished=kill, **settings)
        here = audit(NETWORK, X, labels, **settings)
    assert killed
    assert [entry.status for entry in there.inputs] == [entry.status for entry in here.inputs]
    assert all(entry.reached for entry in there.inputs)
