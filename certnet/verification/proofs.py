"""Writing bounds down: leaves of a proof from linear and semidefinite multipliers, and the certificate of a case."""

from collections.abc import Iterator

import numpy as np

from certificates.circuits import as_proof
from certificates.proof import Triangles
from certificates.robustness import CaseProof
from certificates.tree import LeafProof, Node, Split, build
from certnet.verification.linear import LinearBounds
from formulations._validation import FloatArray
from formulations.robustness import BOX_ROWS, MarginProblem

SAFETY = 1e-9
"""Part of a bound, relative to the size of the margin's terms, that is given away to rounding."""


def linear_leaf(problem: MarginProblem, bounds: LinearBounds, node: int = 0) -> LeafProof:
    """The leaf that the linear bound of one node proves: every pair has the factor t."""
    N = problem.neurons
    start = problem.triangle_start
    values = np.concatenate(
        [bounds.on_alpha[node], bounds.on_beta[node], bounds.on_sides[node], bounds.on_triangle[node]]
    )
    positions = np.concatenate(
        [np.arange(2 * N), np.arange(2 * N + BOX_ROWS, problem.circuit_start), start + np.arange(N)]
    )
    used = values > 0
    others = positions[used]
    t = np.full(len(others), 2 * N)
    pairs = np.stack([np.minimum(t, others), np.maximum(t, others)], axis=1).astype(np.int64)
    return LeafProof(pairs, values[used], np.zeros(N))


def rounding_size(problem: MarginProblem) -> float:
    """What rounding in a linear bound can be at most, generously."""
    region = problem.case.region
    reach = np.append(np.maximum(np.abs(region.lower), np.abs(region.upper)), 1.0)
    neurons = np.abs(problem.weights) @ (np.abs(problem.generators) @ reach)
    return SAFETY * float((np.abs(problem.linear) @ reach + neurons).max())


def case_proof(problem: MarginProblem, root: Node, mu: list[FloatArray], margin: float) -> CaseProof:
    """The proof of a case from its tree; ``mu`` are the weights of the leaves in preorder, active sides first."""
    N, d = problem.neurons, problem.case.region.inputs
    triangles = Triangles(
        neuron=np.arange(N, dtype=np.int64),
        bounds=problem.bounds.copy(),
        offset=np.zeros(2 * N + 1, dtype=np.int64),
        support=np.zeros(0, dtype=np.int64),
    )
    quadratics = 1 if problem.case.region.has_ball else 0
    circuits = None if problem.circuits is None else as_proof(problem.circuits)
    proof = build(root, N, circuits=circuits, triangles=triangles, rows=1 + 2 * d, quadratics=quadratics)
    return CaseProof(problem.stable, np.stack(mu), margin, proof)


def leaves(root: Node) -> Iterator[Node]:
    """The leaves of a tree in preorder, active sides first."""
    stack = [root]
    while stack:
        node = stack.pop()
        if isinstance(node, Split):
            stack += [node.inactive, node.active]
        else:
            yield node
