"""Branch and bound on the signs of neurons for one case: a tree of proved leaves, or an unsafe input, or neither.

First the triangle relaxation alone, many nodes at once: a node takes a millisecond or two in a batch. Where that is not
enough the search begins anew with a semidefinite bound at each node that the linear one does not prove.
"""

from collections.abc import Callable, Sequence
from dataclasses import KW_ONLY, dataclass

import numpy as np

from certificates.certificate import CaseProof
from certificates.failure import Deadline
from certificates.making.tree import LeafProof
from certnet.search.attack import attack
from certnet.search.best_first import best_first
from certnet.search.counterexample import Counterexample, confirm_near
from certnet.search.eliminated import eliminated_bound
from certnet.search.eliminated_form import Known
from certnet.search.linear import LinearBounds
from certnet.search.margin_proofs import (
    ROUNDING,
    case_proof,
    linear_leaf,
    linear_margins,
    semidefinite_margin,
)
from certnet.search.margin_rows import from_program, linear_bounds
from certnet.search.signs import SIDES, TRIED, Branching
from certnet.search.tree import Vertex, plant, proof_tree
from formulations import FREE
from formulations._validation import FloatArray
from formulations.margin import MarginProblem
from formulations.network import ReluNetwork

LARGEST = 1e100
"""Size of a number from which products come near overflow."""
LARGEST_BATCH, BATCH_WORK = 256, 100_000_000
"""Nodes that are bounded together at most, and multiplications of a step for all of them."""
RESTARTS = 8
LINEAR_NODES, LINEAR_WORK = 600, 400_000_000
"""Nodes of the linear search before the semidefinite one begins, and that number times N d min(N, d) at most."""


@dataclass(frozen=True, eq=False)
class CaseOutcome:
    """What the search of a case found; at most one of ``proof`` and ``counterexample`` is there.

    Attributes:
        proof: of the whole case, not checked yet.
        counterexample: confirmed in exact arithmetic.
        lower_bound: of the margin over the region, by the linear bounds of open nodes or by the proof; not rounded.
        attacked: the least margin that was met.
        nodes: bounds computed, linear and semidefinite.
    """

    proof: CaseProof | None
    counterexample: Counterexample | None
    lower_bound: float
    attacked: float
    nodes: tuple[int, int]
    timed_out: bool


@dataclass(eq=False)
class _Node(Vertex):
    """A node: its proof and the margin that it proves, or what branching wants to know."""

    proof: LeafProof | None = None
    mu: FloatArray | None = None
    margin: float = -np.inf
    value: float = -np.inf
    score: float = 0.0
    known: Known | None = None


@dataclass(eq=False)
class CaseSearch:
    """The search of one case, a task of ``best_first``: a node's key is its linear bound.

    Attributes:
        network, problem, number: the case.
        attacked, rng: the least margin that was met before, and for further attacks.
        size: of the margin's terms, from ``margin_sizes``.
        splits: a tree to begin with, as ``plant`` takes it; None begins with the whole region.
        asks: whether the checker's arithmetic is asked about each semidefinite leaf. It accepts them as a rule, and has
            to look at them in the end anyway.
        watch: is told between batches how many nodes wait, and the least bound of them.
    """

    network: ReluNetwork
    problem: MarginProblem
    number: int
    _: KW_ONLY
    attacked: float
    deadline: Deadline
    rng: np.random.Generator
    size: float
    splits: Sequence[int] | None = None
    asks: bool = False
    watch: Callable[[int, float], None] | None = None

    def __post_init__(self) -> None:
        self.counterexample: Counterexample | None = None
        self.linear_nodes = self.semidefinite_nodes = self.count = 0
        self.most: float = np.inf
        self.timed_out = self.stuck = self.semidefinite = False
        self.lower_bound = -np.inf
        self.branching = Branching(self.problem)
        N, d = self.problem.neurons, self.problem.case.region.inputs
        self.work = max(N * d * min(N, d), 1)
        self.largest_batch = int(np.clip(BATCH_WORK // self.work, 2, LARGEST_BATCH))

    def run(self) -> CaseOutcome:
        """Search until the case is decided, the time is over, or no node can be split."""
        p, proof = self.problem, None
        # Beyond that no bound is worth its time.
        if all(bool((np.abs(array) < LARGEST).all()) for array in (p.generators, p.bounds, p.weights, p.linear)):
            nodes = LINEAR_WORK / self.work
            proof = self.prove(most=float(np.clip(nodes, 1, LINEAR_NODES)))
            if not (proof is not None or self.counterexample or self.timed_out or self.stuck):
                proof = self.prove(semidefinite=True)
        return CaseOutcome(
            proof=proof,
            counterexample=self.counterexample,
            lower_bound=self.lower_bound if proof is None else proof.margin,
            attacked=self.attacked,
            nodes=(self.linear_nodes, self.semidefinite_nodes),
            timed_out=self.timed_out,
        )

    def prove(self, *, semidefinite: bool = False, most: float = np.inf) -> CaseProof | None:
        """One search with at most so many nodes; its proof if all leaves have one.

        Where it is ``semidefinite``, nodes that the linear relaxation does not prove get such a bound.
        """
        self.semidefinite, self.most, self.count = semidefinite, most, 0
        root = _Node.root(self.problem.neurons)
        if self.splits is not None:
            self._begin(root, self.splits)
            if any(leaf.key is None for leaf in root.leaves) and (self.timed_out or self.counterexample is not None):
                return None
        best_first(root, self)
        leaves = list(root.leaves)
        proofs = {id(leaf): leaf.proof for leaf in leaves if leaf.proof is not None}
        if len(proofs) < len(leaves):
            return None
        tree = proof_tree(root, lambda leaf: proofs[id(leaf)])
        mu = [leaf.mu for leaf in leaves if leaf.mu is not None]
        return case_proof(self.problem, tree, mu, min(leaf.margin for leaf in leaves))

    def _begin(self, root: _Node, splits: Sequence[int]) -> None:
        """Bound the leaves of a given tree, which do not count: the search has as many nodes for the rest."""
        place = np.cumsum(self.problem.stable == FREE) - 1
        leaves = plant(root, splits, place, self.problem.stable)
        for first in range(0, len(leaves), self.largest_batch):
            if self.counterexample is None and not self.deadline.passed:
                self.bound(leaves[first : first + self.largest_batch])
        self.count, self.timed_out = 0, self.timed_out or self.deadline.passed

    def is_over(self, worst: float, waiting: int) -> bool:
        """Whether the case is refuted, or time, nodes or neurons to split on are used up."""
        if self.watch is not None:
            self.watch(waiting, worst)
        if self.counterexample is not None:
            return True
        self.lower_bound = max(self.lower_bound, worst)
        # In float32 an input within rounding is no counterexample, and no proof goes past it.
        within = self.problem.case.rounding is not None and self.attacked < -ROUNDING * self.size
        self.timed_out, self.stuck = self.timed_out or self.deadline.passed, self.stuck or within
        return self.timed_out or self.stuck or self.count >= self.most

    def together(self, waiting: int) -> int:
        """Semidefinite bounds cost too much for nodes that might not be split."""
        return 1 if self.semidefinite else int(np.clip(waiting // 2, 1, self.largest_batch // 2))

    def bound(self, vertices: list[_Node]) -> None:
        """Bound nodes: each gets a proof, or a neuron to split on, or neither where none is left."""
        if not vertices:
            return
        signs = np.stack([node.signs for node in vertices])
        bounds = linear_bounds(self.problem, signs, deadline=self.deadline)
        self.linear_nodes += len(vertices)
        self.count += len(vertices)
        margins = linear_margins(self.network, self.problem, signs, bounds, self.size)
        # Without a neuron to split on the relaxation is exact; only rounding and tolerances are left.
        neurons = self.branching.choose(signs, bounds.mu, bounds.scores)
        exact = np.flatnonzero(~(margins > 0) & (neurons < 0))
        for number in exact.tolist():
            if self.deadline.passed:
                break
            found = from_program(self.problem, signs[number])
            if found is not None:
                bounds = bounds.better(found, number)
        if len(exact):
            margins = linear_margins(self.network, self.problem, signs, bounds, self.size)
        proved = margins > 0
        for number, node in enumerate(vertices):
            node.mu, node.value = bounds.mu[number], float(bounds.value[number])
            if node.parent is not None and not self.semidefinite:
                neuron = node.parent.neuron
                self.branching.learn(neuron, int(node.signs[neuron]), node.parent.score, node.parent.value, node.value)
            if proved[number]:
                node.proof, node.margin = linear_leaf(self.problem, bounds, number), float(margins[number])
                node.key = np.inf
        if proved.all() or self._refuted_from(bounds.x[~proved]):
            return
        if not self.semidefinite and vertices[0].parent is None:
            self._try_root(vertices[0], bounds)
            neurons = self.branching.choose(signs, bounds.mu, bounds.scores)
        unproved = [(number, vertices[number]) for number in np.flatnonzero(~proved).tolist()]
        # All have a key before time may end this: the least key is a bound on the margin.
        for number, node in unproved:
            node.neuron, node.key = int(neurons[number]), node.value
            if node.neuron >= 0:
                node.score = float(bounds.scores[number, node.neuron])
        for _, node in unproved:
            if self.semidefinite:
                self._tighten(node)
                self.timed_out = self.deadline.passed
                if self.timed_out or self.counterexample is not None:
                    return
            # The linear relaxation has no gap there, and another one proves no more.
            self.stuck = self.stuck or (node.proof is None and node.neuron < 0)

    def _tighten(self, node: _Node) -> None:
        """Bound a node with eliminated inputs."""
        assert node.mu is not None
        known = None if node.parent is None else node.parent.known
        found = eliminated_bound(self.problem, node.signs, node.mu, node.value, known=known, deadline=self.deadline)
        self.semidefinite_nodes += 1
        node.known, margin = found.known, found.margin
        if found.leaf is not None and self.asks:
            margin = semidefinite_margin(
                self.network, self.problem, node.signs, found.leaf, node.mu, margin, self.deadline
            )
        if found.leaf is not None and margin > 0:
            node.proof, node.margin, node.key = found.leaf, margin, np.inf
        elif found.leaf is not None or not self._refuted_from(found.x[None]):
            node.key = max(node.value, found.value)
            node.neuron = int(self.branching.largest(node.signs[None], node.mu[None], found.scores[None])[0])

    def _try_root(self, root: _Node, bounds: LinearBounds) -> None:
        """Bound both sides of many neurons, to know where splits pay."""
        score = bounds.scores[0]
        order = np.argsort(-score, kind="stable")[: min(TRIED, self.largest_batch)]
        tried = np.repeat(order[score[order] > 0], 2)
        if not len(tried):
            return
        signs, sides = np.repeat(root.signs[None], len(tried), axis=0), np.resize(SIDES, len(tried))
        signs[np.arange(len(tried)), tried] = sides
        found = linear_bounds(self.problem, signs, deadline=self.deadline)
        self.linear_nodes += len(tried)
        for neuron, sign, value in zip(tried.tolist(), sides.tolist(), found.value.tolist(), strict=True):
            self.branching.learn(neuron, sign, float(score[neuron]), float(bounds.value[0]), value)

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
