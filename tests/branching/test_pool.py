"""Nodes on a Dask cluster: the same bounds, also when a worker is lost, and clear words where there is none."""

import builtins
import os
import signal

import numpy as np
import pytest

from certnet.jobs.job import SDP, closing_of
from certnet.search.pool import pool
from certnet.search.price import search
from certnet.training import fit
from formulations import InputError, TrainingProgram, presolve
from tests.strategies import from_network


def _problem() -> tuple:
    random = np.random.default_rng(0)
    program = TrainingProgram(random.standard_normal((8, 6)), random.standard_normal((8, 2)), 0.3)
    network, presolved = fit(program), presolve(program)
    _, dual = from_network(presolved, network.U, network.V)
    return presolved, dual.W


def test_without_dask_a_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *rest: object) -> object:
        if name == "distributed":
            raise ImportError(name)
        return real(name, *rest)

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(InputError, match=r"certnet\[dask\]"), pool(1, "tcp://127.0.0.1:1"):
        pass


def test_no_scheduler_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("distributed", reason="Dask is not installed")
    monkeypatch.setattr("certnet.search.pool.CONNECT_SECONDS", 1.0)
    for address in ("tcp://127.0.0.1:1", "nonsense://x"):
        with pytest.raises(InputError, match="no Dask scheduler"), pool(1, address):
            pass


def test_an_address_without_a_scheduler_is_told_before_the_work() -> None:
    """Also where the job would end before it branches, or would not branch at all."""
    with pytest.raises(InputError, match="scheduler"):
        closing_of(SDP, None, None, 1, "nonsense://x")


@pytest.mark.slow
def test_a_cluster_gives_the_same_bound_and_survives_a_lost_worker() -> None:
    distributed = pytest.importorskip("distributed", reason="Dask is not installed")
    presolved, W = _problem()
    enough = presolved.program.gamma * 1.001
    here = search(presolved.program, W, enough=enough, max_nodes=7, workers=2)
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
        killed = []

        def kill(progress: object) -> None:
            if not killed:
                killed.append(next(iter(cluster.workers.values())).pid)
                os.kill(killed[0], signal.SIGKILL)

        there = search(
            presolved.program,
            W,
            enough=enough,
            max_nodes=7,
            scheduler=cluster.scheduler_address,
            callback=kill,
        )
    assert killed
    assert there.nodes == here.nodes
    assert there.h_bar == pytest.approx(here.h_bar, rel=1e-9)
