"""Products within groups of rows: between no products and all of them, and every dual repairs to a true bound."""

import os
import signal
from collections.abc import Callable
from concurrent.futures import Executor
from functools import cache

import numpy as np
import pytest

from certificates import Certificate, Report, Verdict, check
from certificates.making import grouped_bound
from certificates.making.assemble import assemble
from certificates.making.grouped_multipliers import balanced, projected, shift
from certificates.making.repair import RepairedDual, repair, repair_without_products
from certnet import fit
from certnet.solvers import grouped
from certnet.solvers.grouped import grouped_admm, grouping
from certnet.solvers.grouped_splitting import GroupedSplitting, Matrices
from certnet.solvers.interface import Progress, SolverOptions, SolveStatus
from certnet.solvers.orthonormal import FOR_BOUNDS, orthonormal
from certnet.solvers.registry import solve
from certnet.solvers.warm_start import certified_dual
from formulations import Presolved, TrainingProgram, presolve
from formulations.groups import GroupedDual, Groups
from formulations.program import NO_PRODUCTS

KINDS = [("squared", "none", "none"), ("logistic", "free", "free"), ("cross-entropy", "penalised", "free")]


@cache
def problem(loss: str, hidden: str, output: str, n: int = 25) -> TrainingProgram:
    rng = np.random.default_rng(n)
    X = rng.standard_normal((n, 3))
    label = (np.abs(X[:, 0]) + 0.3 * rng.standard_normal(n) > 0.7).astype(int)
    Y = {"squared": X[:, :1] * X[:, 1:2], "logistic": 2.0 * label[:, None] - 1.0, "cross-entropy": np.eye(2)[label]}
    return TrainingProgram(X, Y[loss], 0.5, loss=loss, hidden_bias=hidden, output_bias=output)


@cache
def reduced(*kind: str) -> Presolved:
    found = presolve(problem(*kind))
    assert found is not None
    return found


def solved(pre: Presolved, groups: Groups, steps: int = 1000) -> RepairedDual:
    result = grouped_admm(pre.program, groups, SolverOptions(max_iterations=steps, tolerance=1e-7))
    return repair(pre.rows.program, pre.undo_dual(result.dual))


def proof(pre: Presolved, repaired: RepairedDual) -> tuple[Certificate, Report]:
    p = pre.rows.original
    _, d, c = p.shape
    certificate = assemble(pre.rows, repaired, np.zeros((d, 0)), np.zeros((c, 0)), {})
    return certificate, check(certificate)


@pytest.mark.parametrize(("n", "size", "shared"), [(1, 4, 2), (7, 3, 5), (40, 8, 2), (41, 8, 3), (5, 9, 1)])
def test_groups_are_a_partition(n: int, size: int, shared: int) -> None:
    rng = np.random.default_rng(n)
    groups = Groups.of(rng.standard_normal((n, 3)), size, shared)
    assert groups.rows.shape[1] <= size
    assert (np.sort(groups.rows[groups.rows < n]) == np.arange(n)).all()
    assert (groups.rows[:, : groups.shared] < n).all()
    label = groups.labels
    assert (label[groups.head] == -1).all()
    members = groups.rows[:, groups.shared :]
    for number, row in enumerate(members):
        assert (label[row[row < n]] == number).all()
    phi = rng.random(n)
    assert (groups.padded(phi)[groups.rows == n] == 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS[1:])
def test_more_products_prove_more(kind: tuple[str, str, str]) -> None:
    """Without products ≤ small groups ≤ the large ones that hold them ≤ all products ≤ a network."""
    pre = reduced(*kind)
    program = pre.rows.program
    dual = pre.undo_dual(solve(pre.program, "interior-point", tolerance=1e-8).dual)
    everything, nothing = repair(program, dual), repair_without_products(program, dual.W)
    chain = [solved(pre, grouping(pre.program, size, 3)) for size in (7, 13, 25)]
    bounds = [nothing.lower_bound, *(one.lower_bound for one in chain), everything.lower_bound]
    assert (np.diff(bounds) >= -1e-2 * bounds[-1]).all(), bounds
    # In one group are all products.
    assert bounds[-2] >= 0.95 * bounds[-1]
    assert bounds[1] - bounds[0] > 0.1 * (bounds[-1] - bounds[0]) > 0
    network = fit(problem(*kind), random_state=0, max_rounds=1)
    assert all(bound <= network.objective for bound in bounds)
    for one in chain:
        certificate, report = proof(pre, one)
        assert report.verdict is Verdict.PROVED, report.reason
        assert certificate.proofs[0].proof.groups.size
        assert report.lower_bound == pytest.approx(one.lower_bound, rel=1e-6)


@pytest.mark.parametrize("kind", [KINDS[1], *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS[::2])])
def test_whatever_the_dual_its_repair_is_a_bound(kind: tuple[str, str, str]) -> None:
    pre, rng = reduced(*kind), np.random.default_rng(0)
    groups = grouping(pre.program, 7, 2)
    network, best = fit(problem(*kind), random_state=0, max_rounds=1), 0
    start = pre.undo_dual(grouped_admm(pre.program, groups, SolverOptions(max_iterations=60)).dual)
    for noise in (0.0, 0.01, 10.0):
        (m, s), r = groups.rows.shape, groups.shared
        dual = GroupedDual(
            W=start.W + noise * rng.standard_normal(start.W.shape) * np.abs(start.W).max(),
            N=NO_PRODUCTS,
            groups=groups,
            blocks=start.blocks + noise * np.abs(start.blocks).max() * rng.standard_normal((m, 2 * s, 2 * s)),
            head=start.head + noise * np.abs(start.head).max() * rng.standard_normal((2 * m * r, 2 * m * r)),
        )
        repaired = repair(pre.rows.program, dual)
        _, report = proof(pre, repaired)
        assert report.verdict is Verdict.PROVED, report.reason
        assert report.lower_bound <= network.objective
        best += repaired.grouped is not None
    assert best >= 2


def dense(groups: Groups, blocks: np.ndarray, head: np.ndarray) -> np.ndarray:
    """N (2n×2n) of all products."""
    n = groups.neurons
    out = np.zeros((2 * n + 1, 2 * n + 1))
    for rows, block in zip((*groups.rows, groups.head), (*blocks, head), strict=True):
        # Of a padded generator nothing is kept.
        where = np.concatenate([np.where(rows < n, rows, 2 * n), np.where(rows < n, n + rows, 2 * n)])
        np.add.at(out, (where[:, None], where), block)
    return out[: 2 * n, : 2 * n]


@pytest.mark.parametrize(("n", "size", "shared"), [(10, 4, 1), (20, 6, 2), (12, 12, 3)])
def test_balanced_products_and_their_shift_leave_the_null_vectors(n: int, size: int, shared: int) -> None:
    """``φᵀNφ + Σ t_iα_iβ_i`` has no slope at (w, 0) and (0, w), whatever N was balanced."""
    rng = np.random.default_rng(n)
    groups = Groups.of(rng.standard_normal((n, 3)), size, shared)
    (m, s), w = groups.rows.shape, rng.uniform(0.5, 2.0, n)
    real = np.tile(groups.padded(np.ones(n)), 2)
    blocks = rng.random((m, 2 * s, 2 * s)) * real[:, :, None] * real[:, None, :]
    dual = GroupedDual(
        W=np.zeros((n, 1)),
        N=NO_PRODUCTS,
        groups=groups,
        blocks=blocks,
        head=rng.random((2 * m * groups.shared,) * 2),
    )
    given = projected(dual, np.ones(n), 1.0)
    N_kept, kept = balanced(groups, given, w), shift(groups, w, 0.0)
    for factor, own in ((0.0, 1.0), (1.0, 0.0), (0.7, 1.0)):
        found, head = (
            part.plus(moved.ab, factor, own) for part, moved in ((N_kept.groups, kept.groups), (N_kept.head, kept.head))
        )
        N, t, i = dense(groups, found, head[0]), own * N_kept.t + factor * kept.t, np.arange(n)
        N[i, n + i] += 0.5 * t
        N[n + i, i] += 0.5 * t
        for null in (np.concatenate([w, 0 * w]), np.concatenate([0 * w, w])):
            assert np.abs(N @ null).max() <= 1e-9 * np.abs(N).max() * n
        off = N.copy()
        off[i, n + i] = off[n + i, i] = 0.0
        assert off.min() >= 0


@pytest.mark.parametrize("kind", KINDS)
def test_a_network_is_where_a_solve_begins(kind: tuple[str, str, str]) -> None:
    """At the start of any network the entrywise half gives its moments: its loss and costs are what the signs pull."""
    pre, rng = reduced(*kind), np.random.default_rng(0)
    program = orthonormal(pre.program, FOR_BOUNDS).program
    space, groups = program.space, grouping(pre.program, 7, 2)
    splitting = GroupedSplitting(program, groups)
    z, v = 0.1 * rng.standard_normal((space.dimension, 4)), 0.1 * rng.standard_normal((space.outputs, 4))
    V, Z = splitting.start(z, v, 0.7), splitting.zeros()
    splitting.step(V, Z, 0.7, 1.8)
    lifted, N = space.lift(z, v), space.neurons
    lifted, last = np.vstack([lifted, np.zeros((1, 4))]), np.arange(2 * N, space.order)
    assert (groups.rows == N).any()
    for moments, rows in zip(Z.groups, groups.rows, strict=True):
        # What stands for no generator is zero.
        phi = np.where(rows < N, rows, -1), np.where(rows < N, N + rows, -1)
        taken = np.concatenate([*phi, last])
        assert moments == pytest.approx(lifted[taken] @ lifted[taken].T, abs=1e-7)


@pytest.mark.parametrize("kind", [KINDS[1], *(pytest.param(kind, marks=pytest.mark.slow) for kind in KINDS[::2])])
def test_a_solve_goes_on_from_a_dual_and_a_certificate(kind: tuple[str, str, str]) -> None:
    """The multipliers of the start are those given, and so is what a certificate of them gives back."""
    pre = reduced(*kind)
    groups = grouping(pre.program, 7, 2)
    dual = grouped_admm(pre.program, groups, SolverOptions(max_iterations=100)).dual
    scaling = orthonormal(pre.program, FOR_BOUNDS)
    space, given = scaling.program.space, scaling.apply_dual(dual)
    splitting = GroupedSplitting(scaling.program, groups)
    V = splitting.start(np.zeros((space.dimension, 0)), np.zeros((space.outputs, 0)), 0.7, given)
    found = splitting.multipliers(V, 0.7)
    N = dense(groups, given.blocks, given.head)
    assert dense(groups, found.blocks, found.head) == pytest.approx(N, abs=1e-9 * np.abs(N).max())
    repaired = repair(pre.rows.program, pre.undo_dual(dual))
    again = certified_dual(pre.rows, proof(pre, repaired)[0])
    assert isinstance(again, GroupedDual)
    assert (np.sort(again.groups.rows) == np.sort(groups.rows)).all()
    assert repair(pre.rows.program, again).lower_bound >= repaired.lower_bound * (1 - 1e-4)


def test_equal_calls_give_equal_duals_and_a_callback_stops() -> None:
    pre = reduced(*KINDS[1])
    groups = grouping(pre.program, 7, 2)
    first, second = (grouped_admm(pre.program, groups, SolverOptions(max_iterations=50)) for _ in range(2))
    assert (first.dual.blocks == second.dual.blocks).all()
    assert (first.dual.W == second.dual.W).all()
    stopped = grouped_admm(pre.program, groups, SolverOptions(callback=lambda _: True))
    assert (stopped.status, stopped.iterations) == (SolveStatus.STOPPED, 25)


@pytest.mark.slow
def test_a_cluster_gives_the_same_bound_and_survives_a_lost_worker() -> None:
    distributed = pytest.importorskip("distributed", reason="Dask is not installed")
    pre = reduced(*KINDS[1])
    groups = grouping(pre.program, 7, 2)

    def bound(executor: Executor | None, look: Callable[[Progress], bool]) -> float:
        options = SolverOptions(max_iterations=50, tolerance=1e-12, callback=look)
        found = grouped_admm(pre.program, groups, options, executor=executor)
        assert found.iterations == 50
        return repair(pre.rows.program, pre.undo_dual(found.dual)).lower_bound

    here = bound(None, lambda _: False)
    settings = {"n_workers": 4, "threads_per_worker": 1, "dashboard_address": None}
    with distributed.LocalCluster(**settings) as cluster, distributed.Client(cluster) as client:
        killed: list[int] = []

        def kill(progress: Progress) -> bool:
            if not killed:
                killed.append(next(iter(cluster.workers.values())).pid)
                os.kill(killed[0], signal.SIGKILL)
            return False

        assert bound(client.get_executor(), kill) == pytest.approx(here, rel=1e-9)
        assert killed


def test_shares_of_the_region_stay_where_its_cost_is_definite(monkeypatch: pytest.MonkeyPatch) -> None:
    """However small the share that the last call found, none is tried that rounding makes singular."""
    tried: list[float] = []
    least = grouped_bound._Slack._least

    def looked(self: object, K: np.ndarray, shares: np.ndarray) -> np.ndarray:
        tried.extend(shares.tolist())
        return least(self, K, shares)

    monkeypatch.setattr(grouped_bound._Slack, "_least", looked)
    pre = reduced(*KINDS[1])
    groups = grouping(pre.program, 7, 2)
    dual = pre.undo_dual(grouped_admm(pre.program, groups, SolverOptions(max_iterations=25)).dual)
    slack = grouped_bound._Slack(pre.rows.program, groups, dual.W)
    for near in (1e-3, 1e-8, 1e-14):
        h_squared, share = slack.price(-np.eye(slack.k), near)
        assert np.isfinite(h_squared)
        assert share > 1e-8
    assert 1e-8 < min(tried) < 2e-8


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_with_few_steps_left_the_penalty_falls_and_bounds_stay_bounds(
    kind: tuple[str, str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only a time limit makes steps few, and the lower penalty lets the multipliers grow at once."""
    pre, factors = reduced(*kind), list[float]()
    network, scaling = fit(pre.rows.original, max_rounds=1), pre.scaling
    start = scaling.apply_z(network.U), scaling.apply_v(network.V)
    groups, rescaled = grouping(pre.program, 7, 2), GroupedSplitting.rescale

    def seen(self: GroupedSplitting, V: Matrices, penalty: float, factor: float) -> None:
        factors.append(factor)
        rescaled(self, V, penalty, factor)

    monkeypatch.setattr(GroupedSplitting, "rescale", seen)
    monkeypatch.setattr(grouped, "FEW_STEPS", 1e12)
    for limit, falls in ((None, False), (1e3, True)):
        factors.clear()
        options = SolverOptions(max_iterations=20, time_limit=limit)
        dual = grouped_admm(pre.program, groups, options, start).dual
        assert bool(factors) is falls
        assert all(0 < factor <= 1 for factor in factors)
        repaired = repair(pre.rows.program, pre.undo_dual(dual))
        assert proof(pre, repaired)[1].verdict is Verdict.PROVED
        assert repaired.lower_bound <= network.objective
