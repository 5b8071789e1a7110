"""Searches of one case that time cuts short: what they say then is true, and little is done after that."""

import numpy as np
import pytest

from certificates.failure import Deadline
from certnet.search import margin, margin_rows
from certnet.search.margin import CaseSearch
from certnet.search.margin_rows import linear_bounds
from formulations.network import ReluNetwork
from formulations.robustness import UnsafeCase
from formulations.signs import ACTIVE, FREE, INACTIVE
from tests.verification.margin_bounds import rounding_size
from tests.verification.problems import exact_least_margin, random_box, random_network
from tests.verification.test_nodes import problem_of, random_signs


class Told(Deadline):
    """Passes when it is told to."""

    over = False

    @property
    def passed(self) -> bool:
        return self.over

    def now(self) -> None:
        object.__setattr__(self, "over", True)


def case_of(network: ReluNetwork, seed: int, wanted: float, rows: int = 1) -> UnsafeCase:
    """With this least margin."""
    random = np.random.default_rng(seed)
    H, h = random.standard_normal((rows, network.outputs)), random.standard_normal(rows)
    region = random_box(seed, network.inputs)
    return UnsafeCase(region, H, h + wanted - exact_least_margin(network, UnsafeCase(region, H, h)))


def search_of(network: ReluNetwork, case: UnsafeCase, deadline: Deadline, **options: object) -> CaseSearch:
    problem = problem_of(network, case)
    return CaseSearch(
        network,
        problem,
        0,
        attacked=np.inf,
        deadline=deadline,
        rng=np.random.default_rng(0),
        size=rounding_size(problem) / 1e-9,
        **options,
    )


@pytest.mark.parametrize("seed", [0, 26])
def test_a_search_that_time_ends_says_no_more_than_is_true(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """After any number of semidefinite bounds, between the two children of a node as well."""
    network, bounds = random_network(seed, inputs=3, width=10), []
    case, tighten = case_of(network, seed, 0.02), CaseSearch._tighten
    for most in range(1, 6):
        ends, left = Told(), [None] * most

        def counted(search: CaseSearch, node: object, left: list = left, ends: Told = ends) -> None:
            tighten(search, node)
            left.pop()
            if not left:
                ends.now()

        monkeypatch.setattr(CaseSearch, "_tighten", counted)
        search = search_of(network, case, ends)
        if search.prove(semidefinite=True) is not None:
            break
        assert search.timed_out
        bounds.append(search.lower_bound)
    assert bounds == sorted(bounds)
    assert bounds[0] < bounds[-1] <= 0.02


def test_no_linear_program_begins_after_the_time_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    network, ends, calls, real = random_network(1, width=8), Told(), [], margin_rows._program
    case = case_of(network, 1, 0.3, rows=2)
    problem = problem_of(network, case)

    def program(*arguments: object) -> tuple:
        calls.append(None)
        if len(calls) == 2:
            ends.now()
        return real(*arguments)

    monkeypatch.setattr(margin_rows, "_program", program)
    signs = random_signs(problem, 1)
    found = linear_bounds(problem, signs, deadline=ends)
    assert len(calls) == 2
    assert found.value[0] <= 0.3
    # Nor one for the nodes that have no neuron to split on.
    nodes = [margin._Node(np.full(problem.neurons, sign, dtype=np.int64)) for sign in (ACTIVE, INACTIVE)]
    asked: list[object] = []

    def late(problem: object, signs: object) -> None:
        asked.append(signs)
        other.now()

    other = Told()
    monkeypatch.setattr(margin, "from_program", late)
    search_of(network, case_of(network, 1, -5.0, rows=2), other).bound(nodes)
    assert len(asked) == 1


@pytest.mark.parametrize(("wanted", "batches"), [(-1.0, None), (0.02, 1), (5.0, 2)])
def test_a_given_tree_is_bounded_no_further_than_is_of_use(
    wanted: float, batches: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A counterexample or the time limit ends it; where its last leaves are proved in time there is a proof."""
    network, ends, left, real = random_network(0, width=10), Told(), [None] * (batches or 0), margin.linear_bounds

    def bounded(*arguments: object, **options: object) -> object:
        found = real(*arguments, **options)
        if left:
            left.pop()
            if not left:
                ends.now()
        return found

    monkeypatch.setattr(margin, "linear_bounds", bounded)
    search = search_of(network, case_of(network, 0, wanted), ends)
    first, second = np.flatnonzero(search.problem.stable == FREE)[:2].tolist()
    search.splits = [first, second, -1, -1, second, -1, -1]
    search.largest_batch = 2
    proof = search.prove()
    assert search.linear_nodes == 2 * (batches or 1)
    assert (search.counterexample is not None) is (batches is None)
    assert search.timed_out is (batches is not None)
    assert (proof is not None) is (batches == 2)
    assert search.lower_bound == -np.inf
