"""Branch and bound on the signs of neurons for one case: a tree of proved leaves, or an unsafe input, or neither.

First the triangle relaxation alone, many nodes at once: a node takes a millisecond or two in a batch. Where some
hundreds of nodes are not enough the search begins anew with the semidefinite relaxation at each node that the linear
one does not prove; it takes seconds and needs few nodes. Networks too large for it go on with linear bounds.
"""

import heapq
import time
from dataclasses import dataclass, field

import numpy as np

from certificates.making.tree import LeafProof, Node, Split
from certificates.robustness import CaseProof
from certnet.search.attack import attack
from certnet.search.counterexample import Counterexample, confirm_near
from certnet.search.linear import LinearBounds
from certnet.search.margin_proofs import (
    ROUNDING,
    case_proof,
    linear_leaf,
    linear_margins,
    margin_sizes,
    semidefinite_margin,
)
from certnet.search.margin_rows import from_program, linear_bounds
from certnet.search.semidefinite import SemidefiniteBound, affordable, semidefinite_bound
from certnet.search.signs import SIDES, Branching
from formulations._validation import FloatArray, IntArray
from formulations.network import ReluNetwork
from formulations.nodes import ACTIVE, FREE, INACTIVE
from formulations.robustness import MarginProblem

LINEAR_NODES = 600
"""Nodes of the linear search before the semidefinite one begins."""
LARGEST_BATCH = 256
BATCH_WORK = 100_000_000
"""Multiplications of a step for all nodes that are bounded together."""
ATTEMPTS = 5
"""Semidefinite bounds of one node at most, each with more products."""
CLOSING = 0.3
"""Part of a negative value that may be left after more products if still more are to be added."""
RESTARTS = 8
LARGEST = 1e100
"""Size of a number from which products come near overflow."""


@dataclass(frozen=True, eq=False)
class CaseOutcome:
    """What the search of a case found; at most one of ``proof`` and ``counterexample`` is there.

    Attributes:
        proof: of the whole case, not checked yet.
        counterexample: confirmed in exact arithmetic.
        lower_bound: of the margin over the region, by the linear bounds of open nodes or by the proof; not rounded.
        attacked: the least margin that was met.
        nodes: bounds computed, linear and semidefinite.
        timed_out: whether the time limit ended it.
    """

    proof: CaseProof | None
    counterexample: Counterexample | None
    lower_bound: float
    attacked: float
    nodes: tuple[int, int]
    timed_out: bool


@dataclass(eq=False)
class _Open:
    """A node of the growing tree."""

    signs: IntArray
    leaf: LeafProof | None = None
    mu: FloatArray | None = None
    margin: float = -np.inf
    value: float = -np.inf
    neuron: int = -1
    score: float = 0.0
    relaxed: float = -np.inf
    parent: "_Open | None" = None
    products: IntArray | None = None
    children: "tuple[_Open, _Open] | None" = field(default=None)


class CaseSearch:
    """The search of one case."""

    def __init__(
        self,
        network: ReluNetwork,
        problem: MarginProblem,
        number: int,
        *,
        attacked: float,
        deadline: float,
        rng: np.random.Generator,
        size: float | None = None,
    ) -> None:
        self.network, self.problem, self.number = network, problem, number
        self.attacked, self.deadline, self.rng = attacked, deadline, rng
        self.counterexample: Counterexample | None = None
        self.linear_nodes = self.semidefinite_nodes = 0
        self.timed_out = False
        self.lower_bound = -np.inf
        self.size = margin_sizes(network, [problem.case])[0] if size is None else size
        self.stuck = False
        self.branching = Branching(problem)
        N, d = problem.neurons, problem.case.region.inputs
        self.largest_batch = int(np.clip(BATCH_WORK // max(N * d * min(N, d), 1), 2, LARGEST_BATCH))

    def run(self) -> CaseOutcome:
        """Search until the case is decided, the time is over, or no node can be split."""
        large = not affordable(self.problem)
        if not self._moderate():
            return self._outcome(None)
        root = self._search(semidefinite=False, most=None if large else LINEAR_NODES)
        if root is None and not large and self.counterexample is None and not self.timed_out and not self.stuck:
            root = self._search(semidefinite=True, most=None)
        return self._outcome(root)

    def _moderate(self) -> bool:
        """Whether all numbers are finite and far from overflow; without that no bound is worth its time."""
        p = self.problem
        return all(bool((np.abs(array) < LARGEST).all()) for array in (p.generators, p.bounds, p.weights, p.linear))

    def _outcome(self, root: "_Open | None") -> CaseOutcome:
        proof = None
        if root is not None:
            tree, mu, margin = _written(root)
            self.lower_bound = margin
            proof = case_proof(self.problem, tree, mu, margin)
        return CaseOutcome(
            proof=proof,
            counterexample=self.counterexample,
            lower_bound=self.lower_bound,
            attacked=self.attacked,
            nodes=(self.linear_nodes, self.semidefinite_nodes),
            timed_out=self.timed_out,
        )

    def _search(self, *, semidefinite: bool, most: int | None) -> _Open | None:
        """The finished tree, or None. ``most`` limits the nodes."""
        root = _Open(np.full(self.problem.neurons, FREE, dtype=np.int64))
        heap: list[tuple[float, int, _Open]] = []
        count = 0
        batch = [root]
        while batch:
            values = self._bound(batch, semidefinite=semidefinite)
            if self.counterexample is not None or self.timed_out:
                return None
            for node, value in zip(batch, values.tolist(), strict=True):
                count += 1
                if node.leaf is None:
                    if node.neuron < 0:
                        # The linear relaxation has no gap there, and another one proves no more.
                        self.stuck = True
                        return None
                    heapq.heappush(heap, (value, count, node))
            if not semidefinite:
                self.lower_bound = max(self.lower_bound, heap[0][0] if heap else float(values.min()))
            self.timed_out = time.perf_counter() >= self.deadline and bool(heap)
            if self.timed_out or (most is not None and count >= most and heap):
                return None
            taken = 1 if semidefinite else int(np.clip(len(heap) // 2, 1, self.largest_batch // 2))
            batch = []
            while heap and taken:
                batch += self._split(heapq.heappop(heap)[2])
                taken -= 1
        return root

    def _split(self, node: _Open) -> list[_Open]:
        children = []
        for sign in (ACTIVE, INACTIVE):
            signs = node.signs.copy()
            signs[node.neuron] = sign
            children.append(_Open(signs, products=node.products, parent=node))
        node.children = (children[0], children[1])
        return children

    def _bound(self, batch: list[_Open], *, semidefinite: bool) -> FloatArray:
        """Bound nodes: each gets a leaf, or a neuron to split on, or neither where none is left. Returns the values."""
        signs = np.stack([node.signs for node in batch])
        bounds = linear_bounds(self.problem, signs, deadline=self.deadline)
        self.linear_nodes += len(batch)
        margins = self._margins(signs, bounds)
        # Without a neuron to split on the relaxation is exact; only rounding and tolerances are left.
        neurons = self._choices(signs, bounds)
        for number in np.flatnonzero(~(margins > 0) & (neurons < 0)).tolist():
            exact = from_program(self.problem, signs[number])
            if exact is not None:
                bounds = bounds.with_better(exact, number)
        if (~(margins > 0) & (neurons < 0)).any():
            margins = self._margins(signs, bounds)
        proved = margins > 0
        for number, node in enumerate(batch):
            node.mu, node.value = bounds.mu[number], float(bounds.value[number])
            if node.parent is not None and not semidefinite:
                neuron = node.parent.neuron
                self.branching.learn(neuron, int(node.signs[neuron]), node.parent.score, node.parent.value, node.value)
            if proved[number]:
                node.leaf, node.margin = linear_leaf(self.problem, bounds, number), float(margins[number])
        if proved.all() or self._refuted_from(bounds.x[~proved]):
            return bounds.value
        if not semidefinite and batch[0].parent is None:
            self._try_root(batch[0], bounds)
            neurons = self._choices(signs, bounds)
        for number in np.flatnonzero(~proved).tolist():
            node = batch[number]
            node.neuron = int(neurons[number])
            if node.neuron >= 0:
                node.score = float(bounds.scores[number, node.neuron])
            if semidefinite:
                found = self._semidefinite(node)
                if found is None:
                    break
                if node.leaf is None:
                    node.neuron = int(
                        self.branching.largest(signs[[number]], bounds.mu[[number]], found.scores[None])[0]
                    )
                self.timed_out = time.perf_counter() >= self.deadline
                if self.timed_out:
                    break
        return bounds.value

    def _semidefinite(self, node: _Open) -> SemidefiniteBound | None:
        """Bound a node, and again with the products it missed while that closes most of what is left; None if refuted.

        The root, which has no products of a parent, is bounded twice in any case.
        """
        assert node.mu is not None
        before = -np.inf if node.parent is None else node.parent.relaxed
        found = None
        for attempt in range(ATTEMPTS):
            left = self.deadline - time.perf_counter()
            if found is not None:
                worth = found.value > CLOSING * before or (attempt == 1 and node.parent is None)
                if left <= 0 or not worth:
                    break
                before = found.value
            found = semidefinite_bound(
                self.problem,
                node.signs,
                node.mu,
                time_limit=max(left, 0.01) if np.isfinite(left) else None,
                products=node.products,
            )
            self.semidefinite_nodes += 1
            node.products, node.relaxed = found.products, found.value
            if found.leaf is not None:
                node.margin = semidefinite_margin(
                    self.network, self.problem, node.signs, found.leaf, node.mu, found.margin, self.deadline
                )
                node.leaf = found.leaf if node.margin > 0 else None
                break
            if self._refuted_from(found.x[None]):
                return None
        return found

    def _margins(self, signs: IntArray, bounds: LinearBounds) -> FloatArray:
        return linear_margins(self.network, self.problem, signs, bounds, self.size)

    def _choices(self, signs: IntArray, bounds: LinearBounds) -> IntArray:
        if self.branching.count.any():
            return np.where(
                bounds.scores.max(axis=1, initial=0.0) > 0,
                self.branching.choose(bounds.scores),
                self.branching.largest(signs, bounds.mu, bounds.scores),
            )
        return self.branching.largest(signs, bounds.mu, bounds.scores)

    def _try_root(self, root: _Open, bounds: LinearBounds) -> None:
        """Bound both sides of many neurons, to know where splits pay."""
        score = bounds.scores[0]
        tried = self.branching.trials(score)[: self.largest_batch]
        if not len(tried):
            return
        signs = np.repeat(root.signs[None], 2 * len(tried), axis=0)
        pairs = np.repeat(tried, 2)
        sides = np.tile(np.array(SIDES), len(tried))
        signs[np.arange(len(signs)), pairs] = sides
        found = linear_bounds(self.problem, signs, deadline=self.deadline)
        self.linear_nodes += len(signs)
        before = float(bounds.value[0])
        for neuron, sign, value in zip(pairs.tolist(), sides.tolist(), found.value.tolist(), strict=True):
            self.branching.learn(neuron, sign, float(score[neuron]), before, value)

    def _refuted_from(self, X: FloatArray) -> bool:
        """Attack from the best of the points X if it is better than anything so far."""
        case = self.problem.case
        margins = case.margins(self.network(X))
        at = int(np.argmin(np.where(np.isnan(margins), np.inf, margins)))
        x, margin = X[at], float(margins[at])
        if not margin < self.attacked:
            return False
        found = attack(self.network, case, starts=RESTARTS, rng=self.rng, first=x[None], deadline=self.deadline)
        self.attacked = min(found.margin, margin)
        for points, value in ((found.X, found.margin), (x[None], margin)):
            if value <= ROUNDING * self.size and self.counterexample is None:
                self.counterexample = confirm_near(self.network, case, points, self.number)
        return self.counterexample is not None


def _written(root: _Open) -> tuple[Node, list[FloatArray], float]:
    """(tree, μ of its leaves in preorder, least margin); iterative, because trees can be deep."""
    order: list[_Open] = []
    stack = [root]
    while stack:
        node = stack.pop()
        order.append(node)
        if node.children is not None:
            stack += [node.children[1], node.children[0]]
    done: dict[int, Node] = {}
    for node in reversed(order):
        if node.children is not None:
            done[id(node)] = Split(node.neuron, *(done[id(child)] for child in node.children))
        else:
            assert node.leaf is not None
            done[id(node)] = node.leaf
    leaves = [node for node in order if node.children is None]
    return done[id(root)], [node.mu for node in leaves if node.mu is not None], min(node.margin for node in leaves)
