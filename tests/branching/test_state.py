"""A search goes on where it was cut short, and refuses what it cannot have written."""

from concurrent.futures.process import BrokenProcessPool
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import certnet
from certificates import Verdict
from certnet.jobs.checkpoint import read_checkpoint
from certnet.search import price
from certnet.search.bounds import NodeBound
from certnet.search.certificate import certify_search
from certnet.search.price import search
from certnet.search.tree import Branch
from certnet.training import fit
from formulations import InputError, TrainingProgram, presolve
from tests.strategies import from_network, rng


@cache
def _problem(n: int, d: int) -> tuple:
    random = rng(0)
    program = TrainingProgram(random.standard_normal((n, d)), random.standard_normal((n, 2)), 0.3)
    network, presolved = fit(program), presolve(program)
    _, dual = from_network(presolved, network.U, network.V)
    return program, network, presolved, dual.W


def _search(presolved, W: np.ndarray, **options: object):
    return search(presolved.program, W, enough=presolved.program.gamma * 1.001, **options)


@pytest.mark.slow
@pytest.mark.parametrize(("n", "d", "nodes"), [(7, 6, 3), (8, 3, 5), pytest.param(10, 3, 1, marks=pytest.mark.slow)])
def test_a_search_that_goes_on_reaches_the_same_bound(n: int, d: int, nodes: int) -> None:
    _, network, presolved, W = _problem(n, d)
    whole = _search(presolved, W, max_nodes=25)
    part = _search(presolved, W, max_nodes=nodes)
    assert part.can_go_on
    rest = _search(presolved, W, max_nodes=25, resume=part.state)
    assert part.h_bar > rest.h_bar
    assert rest.nodes == whole.nodes
    assert rest.h_bar == pytest.approx(whole.h_bar, rel=1e-9)
    _, report = certify_search(presolved, rest, network.U, network.V)
    assert report.verdict is Verdict.PROVED


@pytest.mark.slow
def test_a_stored_search_serves_another_gap() -> None:
    _, _, presolved, W = _problem(8, 3)
    gamma = presolved.program.gamma
    part = search(presolved.program, W, enough=1.001 * gamma, max_nodes=5)
    assert part.state is not None
    again = search(presolved.program, W, enough=1.2 * gamma, max_nodes=5, resume=part.state)
    assert again.nodes == part.nodes
    assert again.h_bar == pytest.approx(part.h_bar, rel=1e-9)


def _refusal(presolved, W: np.ndarray, state: dict) -> str:
    """What the search says to a state; empty if it goes on from it."""
    try:
        assert _search(presolved, W, max_nodes=5, resume=state).h_bar > 0
    except InputError as error:
        return str(error)
    return ""


@pytest.mark.slow
def test_damaged_states_are_one_sentence() -> None:
    _, _, presolved, W = _problem(9, 6)
    state = dict(_search(presolved, W, max_nodes=5).state)
    random = rng(1)
    refused = 0
    for name, array in state.items():
        for kind in ("missing", "shorter", "other type", "large", "not a number"):
            damaged = {**state}
            if kind == "missing":
                del damaged[name]
            elif kind == "shorter" and array.ndim and array.size:
                damaged[name] = array[: int(random.integers(len(array)))]
            elif kind == "other type":
                damaged[name] = array.astype(np.complex128)
            elif kind == "large" and array.dtype == np.int64:
                damaged[name] = array + 10**6
            elif kind == "not a number" and array.dtype == np.float64:
                damaged[name] = np.full_like(array, np.nan)
            else:
                continue
            message = _refusal(presolved, W, damaged)
            # What is not refused is harmless: the search only begins elsewhere.
            refused += "start anew" in message
    assert refused > 40


@pytest.mark.slow
def test_a_job_goes_on_branching(tmp_path: Path) -> None:
    program, *_ = _problem(10, 6)
    path = tmp_path / "checkpoint.npz"
    first = certnet.train(program, method="global", gap=1e-3, max_nodes=3, checkpoint=path)
    assert first.resumable
    stored = read_checkpoint(path)
    assert stored.search is not None
    second = certnet.train(program, method="global", gap=1e-3, max_nodes=9, checkpoint=path, resume=stored)
    assert second.search is not None
    assert first.search is not None
    assert second.search.nodes > first.search.nodes
    assert second.report.lower_bound > first.report.lower_bound
    np.testing.assert_array_equal(second.U, first.U)
    third = certnet.train(program, method="global", gap=0.5, checkpoint=path, resume=read_checkpoint(path))
    assert third.report.gap <= 0.5
    assert not third.resumable
    assert not path.exists()


class Halt:
    """Stands in for ``bound_node``: after so many bounds it raises, or lets the clock run on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, after: int, error: type[BaseException] | None) -> None:
        self.after, self.error, self.seconds, self.real = after, error, 0.0, price.bound_node
        monkeypatch.setattr(price, "bound_node", self)
        monkeypatch.setattr(price.Budget, "spent", property(lambda _: self.seconds))

    def __call__(self, *arguments: object, **options: object) -> NodeBound:
        if self.after == 0 and self.error is not None:
            raise self.error
        self.after -= 1
        self.seconds += 1.0
        return self.real(*arguments, **{**options, "time_limit": None})


@pytest.mark.parametrize("how", ["Ctrl-C", "failure", "killed", "time", "nodes"])
def test_a_planted_tree_keeps_the_leaves_that_were_bounded(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All its leaves are one batch; the search tells how it ended, and goes on from the leaves that it has."""
    _, network, presolved, W = _problem(6, 3)
    tree = Branch.of(presolved.program)
    for child in tree.split(0):
        child.split(1)
    whole = _search(presolved, W, tree=tree, max_nodes=4)
    errors = {"Ctrl-C": KeyboardInterrupt, "failure": np.linalg.LinAlgError, "killed": BrokenProcessPool}
    limits = {"time": {"time_limit": 1.5}, "nodes": {"max_nodes": 2}}
    with monkeypatch.context() as patch:
        Halt(patch, 2, errors.get(how))
        part = _search(presolved, W, tree=tree, **limits.get(how, {}))
    assert part.nodes == sum(leaf.bound is not None for leaf in part.root.leaves) == 2
    assert (part.interrupted, part.killed) == (how == "Ctrl-C", how == "killed")
    assert part.can_go_on
    rest = _search(presolved, W, resume=part.state, max_nodes=4)
    assert rest.nodes == 4
    assert rest.h_bar == pytest.approx(whole.h_bar, rel=1e-6)
    _, report = certify_search(presolved, part, network.U, network.V)
    assert report.verdict is Verdict.PROVED


@pytest.mark.parametrize("seconds", [1.5, 2.5, 3.5, 4.5, 5.5])
def test_children_take_their_parents_place_all_or_not_at_all(seconds: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """A child without a bound would lose what its parent proves."""
    _, network, presolved, W = _problem(6, 3)
    Halt(monkeypatch, 10**9, None)
    part = _search(presolved, W, time_limit=seconds)
    assert all(leaf.bound is not None for leaf in part.root.leaves)
    _, report = certify_search(presolved, part, network.U, network.V)
    assert report.lower_bound == pytest.approx(part.lower_bound, rel=1e-6)


def test_ctrl_c_while_a_stored_search_is_settled_is_no_end_of_the_job() -> None:
    _, _, presolved, W = _problem(6, 3)
    part = _search(presolved, W, max_nodes=3)
    assert part.state is not None

    def interrupt(*_: object) -> float:
        raise KeyboardInterrupt

    again = search(presolved.program, W, enough=10.0 * part.h_bar, max_nodes=3, resume=part.state, confirm=interrupt)
    assert again.interrupted
    assert again.h_bar == pytest.approx(part.h_bar, rel=1e-12)
