"""Checking a ``LiftedProof``: every leaf, every inequality, every multiplier, from the generators and the form alone.

On a leaf, fixed signs remove coordinates: ``α = E β_f + Φ_α z`` and ``β = E β_f + Φ_β z`` with E the free neurons,
Φ_α = a_i on free and active neurons, Φ_β = −a_i on inactive ones, else 0. With ``R = M − Σ…`` the form minus its
nonnegative terms over λ = (φ, z), the slack in the coordinates (β_f, z) is

    S_ff = Eᵀ(R_αα + R_αβ + R_βα + R_ββ)E,   S_fz = Eᵀ[(R_αφ + R_βφ)Φ + R_αz + R_βz],
    S_zz = ΦᵀR_φφ Φ + ΦᵀR_φz + R_zφ Φ + R_zz,

and the proof holds if S ⪰ 0.

Where the form is a square less ``‖Kᵀλ‖²``, a tree may split on the sign of an output ``(Kᵀλ)_k`` too: one of
``±(Kᵀλ)_k ≥ 0`` holds everywhere. It is the last kind of inequality, 0 where that sign is free.
"""

from collections.abc import Iterator
from fractions import Fraction

import numpy as np

from certificates.arithmetic.matrix import M
from certificates.combination import nonnegative_combination
from certificates.failure import Deadline, ProofFailure, require, require_arrays
from certificates.proof import LEAF, Circuits, Cone, LiftedProof, Triangles
from certificates.resources import require_memory
from formulations.arrays import FloatArray, IntArray
from formulations.signs import ACTIVE, FREE, INACTIVE

MAX_ORDER = 6000
"""Largest number of inequalities plus dimension; bounds the memory that a hostile proof can ask for."""

COEFFICIENT_BITS = 128


def check_structure(
    proof: LiftedProof, neurons: int, k: int, rows: int, quadratics: int, *, outputs: int = 0, in_parts: bool = False
) -> None:
    """Shapes, types, ranges and finiteness of every array, for a cone of this size; and the order, unless the slack may
    be built in parts. Raises ProofFailure."""
    circuits, triangles = proof.circuits, proof.triangles
    nodes, leaves, count = proof.split.size, proof.leaves, proof.multipliers.size
    known, supports, bounded = circuits.target.size, circuits.support.size, triangles.neuron.size
    require(leaves >= 1 and nodes >= 1, "the proof has no leaf")
    require(in_parts or not proof.groups.size, "this proof must not be in groups")
    require_arrays(proof, np.int64, split=(nodes,), children=(nodes, 2), leaf=(nodes,), pairs=(count, 2))
    require_arrays(proof, np.int64, pair_offset=(leaves + 1,))
    require_arrays(proof, np.float64, multipliers=(count,), complementarity=(leaves, neurons))
    require_arrays(proof, np.float64, sigma=(leaves, quadratics))
    require_arrays(circuits, np.int64, "circuit_", target=(known,), support=(supports,), offset=(known + 1,))
    require_arrays(triangles, np.int64, "triangle_", neuron=(bounded,))
    require_arrays(triangles, np.float64, "triangle_", bounds=(bounded, 2))
    for name, offset, total in (("pair", proof.pair_offset, count), ("circuit", circuits.offset, supports)):
        grows = offset[0] == 0 and offset[-1] == total and (offset[1:] >= offset[:-1]).all()
        require(grows, f"{name}_offset does not cut its array")
    for name, index, limit in (
        ("circuit_target", circuits.target, 2 * neurons),
        ("circuit_support", circuits.support, 2 * neurons),
        ("triangle_neuron", triangles.neuron, neurons),
    ):
        require(((index >= 0) & (index < limit)).all(), f"{name} has an entry outside 0..{limit - 1}")
    positions = 2 * neurons + rows + known + bounded + outputs
    if not in_parts:
        require_order(positions + k)
    p, q = proof.pairs[:, 0], proof.pairs[:, 1]
    require(((p >= 0) & (p <= q) & (q < positions)).all(), "a pair of multipliers is out of order or out of range")
    require_memory(100.0 * (count + neurons), "the proof")
    leaf = np.repeat(np.arange(leaves), np.diff(proof.pair_offset))
    key = np.sort((leaf * positions + p) * positions + q)
    require((key[1:] > key[:-1]).all(), "a pair of multipliers is listed twice")
    for at in np.flatnonzero(~(proof.multipliers >= 0))[:1]:
        pair = tuple(proof.pairs[at].tolist())
        raise ProofFailure(f"the multiplier of the pair {pair} is {proof.multipliers[at]:.3e}, which is negative")
    require((proof.sigma >= 0).all(), f"sigma is {proof.sigma.min(initial=0.0):.3e}, which is negative")


def require_order(order: int, what: str = "the proof") -> None:
    """Raise ``ProofFailure`` where ``what`` has a larger order than this checker takes."""
    require(order <= MAX_ORDER, f"{what} has order {order}, and this checker stops at {MAX_ORDER}")


def leaves_with_signs(proof: LiftedProof, neurons: int) -> Iterator[tuple[int, IntArray]]:
    """(leaf, signs) for every leaf, after checking that the tree covers everything; outputs count as neurons here."""
    nodes = len(proof.split)
    seen_nodes = np.zeros(nodes, dtype=bool)
    seen_leaves = np.zeros(proof.leaves, dtype=bool)
    stack = [(0, np.full(neurons, FREE, dtype=np.int64))]
    while stack:
        node, signs = stack.pop()
        require(not seen_nodes[node], f"node {node} of the split tree is reached twice")
        seen_nodes[node] = True
        neuron = int(proof.split[node])
        if neuron == LEAF:
            leaf = int(proof.leaf[node])
            require(0 <= leaf < proof.leaves and not seen_leaves[leaf], f"node {node} has a wrong leaf number")
            require((proof.children[node] == LEAF).all(), f"leaf node {node} of the split tree has children")
            seen_leaves[leaf] = True
            yield leaf, signs
            continue
        require(0 <= neuron < neurons, f"node {node} splits on a neuron that does not exist")
        require(signs[neuron] == FREE, f"node {node} splits on a neuron that its path has split already")
        require(proof.leaf[node] == LEAF, f"inner node {node} of the split tree has a leaf number")
        for child, sign in zip(proof.children[node].tolist(), (ACTIVE, INACTIVE), strict=True):
            require(0 <= child < nodes, f"node {node} of the split tree has a child that does not exist")
            below = signs.copy()
            below[neuron] = sign
            stack.append((child, below))
    require(seen_nodes.all() and seen_leaves.all(), "the split tree has nodes or leaves that the root does not reach")


def extra_rows(proof: LiftedProof, cone: Cone, matrix: type[M]) -> M:
    """Rows over λ = (φ, z) of the region's rows, circuits and triangles; circuits are checked here, the others were."""
    A, linear, (N, k) = cone.generators, cone.linear, cone.generators.shape
    signed = np.concatenate([A, -A])
    circuits = [_circuit_row(proof.circuits, i, signed, matrix.deadline) for i in range(proof.circuits.target.size)]
    entries = {(i, j): value for i, row in enumerate(circuits) for j, value in row.items()}
    on_alpha, on_z = triangle_rows(proof.triangles, A, matrix)
    return matrix.block(
        [
            [matrix.exact(np.zeros((len(linear), 2 * N))), matrix.exact(linear)],
            [matrix.from_rationals(entries, (len(circuits), 2 * N + k))],
            [on_alpha, matrix.exact(np.zeros((on_alpha.shape[0], N))), on_z],
        ]
    )


def _circuit_row(circuits: Circuits, index: int, signed: FloatArray, deadline: Deadline) -> dict[int, Fraction]:
    """Over φ, where ``signed`` are the rows of (A, −A)."""
    target, what = int(circuits.target[index]), f"circuit {index}"
    support = circuits.support[circuits.offset[index] : circuits.offset[index + 1]].tolist()
    require(target not in support, f"{what} contains its own target")
    require(len(set(support)) == len(support), f"{what} uses a row twice")
    c = nonnegative_combination(signed[support], signed[target].tolist(), what, deadline)
    return {**{j: _rounded_up(value) for j, value in zip(support, c, strict=True)}, target: Fraction(-1)}


def _rounded_up(value: Fraction) -> Fraction:
    """A short rational that is at least ``value``. A larger coefficient of φ ≥ 0 keeps a circuit valid, and without
    this the common denominator of many circuits makes exact arithmetic explode."""
    if value.denominator <= 1 << 32:
        return value
    return Fraction(-((-value.numerator << COEFFICIENT_BITS) // value.denominator), 1 << COEFFICIENT_BITS)


def check_triangles(triangles: Triangles, bounds: FloatArray | None) -> None:
    """Raise ``ProofFailure`` unless the bounds of all triangles contain 0 and hold by those that are proved."""
    require(bounds is not None or not triangles.neuron.size, "triangles need bounds of the neurons on a region")
    for index, (i, (low, high)) in enumerate(zip(triangles.neuron, triangles.bounds, strict=True)):
        require(low <= 0 <= high and low < high, f"triangle {index} has bounds that do not contain 0")
        least, most = bounds[i]  # type: ignore[index]
        require(least >= low, f"the lower bound of triangle {index} is violated by {low - least:.3e}")
        require(most <= high, f"the upper bound of triangle {index} is violated by {most - high:.3e}")


def triangle_rows(triangles: Triangles, A: FloatArray, matrix: type[M]) -> tuple[M, M]:
    """The triangles on α (m×N) and on z (m×k)."""
    count, (low, high) = len(triangles.neuron), triangles.bounds.T[:, :, None]
    on_alpha, t = np.zeros((count, len(A))), np.zeros((count, A.shape[1]))
    on_alpha[np.arange(count), triangles.neuron] = t[:, -1] = 1.0
    on_z = matrix.exact(A[triangles.neuron]).times(high) - matrix.exact(t * high).times(low)
    return matrix.exact(on_alpha * low) - matrix.exact(on_alpha * high), on_z


def prove_nonnegative(cone: Cone, form: M, proof: LiftedProof, matrix: type[M], outputs: M | None = None) -> None:
    """Prove ``λᵀ form λ ≥ 0`` on the cone in the arithmetic of ``matrix``; nothing in the proof is trusted.

    ``outputs`` (c×(2N+k)) are linear forms on whose signs the tree may split, whatever they are.
    """
    N, count = len(cone.generators), 0 if outputs is None else outputs.shape[0]
    check_structure(proof, *cone.size, outputs=count)
    check_triangles(proof.triangles, cone.bounds)
    rows = extra_rows(proof, cone, matrix)
    for leaf, signs in leaves_with_signs(proof, N + count):
        own = rows if outputs is None else matrix.block([[rows], [outputs.times(signs[N:, None].astype(np.float64))]])
        prove_leaf(cone, form, proof, leaf, signs[:N], own, matrix)


def prove_leaf(cone: Cone, form: M, proof: LiftedProof, leaf: int, signs: IntArray, rows: M, matrix: type[M]) -> None:
    """Check one leaf of a proof whose structure and ``extra_rows`` were checked."""
    matrix.deadline.check()
    remainder = form - nonnegative_terms(cone, proof, leaf, rows, matrix)
    where = "" if proof.leaves == 1 else f" at leaf {leaf}"
    require_psd(leaf_slack(cone.generators, remainder, signs, matrix), where)


def require_psd(slack: M, where: str) -> None:
    """Raise ``ProofFailure`` unless it is proved positive semidefinite; ``where`` it stands ends the sentence."""
    obstacle = slack.psd_obstacle()
    require(obstacle is None, f"{obstacle}{where}")


def nonnegative_terms(cone: Cone, proof: LiftedProof, leaf: int, extra: M, matrix: type[M]) -> M:
    """Σ N_pq ℓ_p ℓ_q + Σ t_i α_i β_i + Σ σ_k q_k as a form over λ.

    Half of all is added up, of each product with its first factor in the rows and its second in the columns, and then
    the transpose.
    """
    N, k = cone.generators.shape
    pairs, multipliers = proof.products(leaf)
    # Halving is exact but for numbers below 2**-1021; the proof is then about the halved value, still nonnegative.
    (p, q), half, index = pairs.T, 0.5 * multipliers, np.arange(N)

    def combined(rows: IntArray, at: IntArray, factors: M) -> M:
        columns, second = np.unique(q[at] - 2 * N, return_inverse=True)
        table = np.zeros((len(rows), len(columns)))
        table[np.searchsorted(rows, p[at]), second] = half[at]
        return matrix.exact(table) @ factors.take(columns, np.arange(factors.shape[1]))

    def products(at: IntArray, factors: M) -> M:
        rows = np.unique(p[at])
        return factors.take(rows - 2 * N, np.arange(factors.shape[1])).T @ combined(rows, at, factors)

    direct, signs, beyond = np.zeros((2 * N, 2 * N)), q < 2 * N, p >= 2 * N
    direct[p[signs], q[signs]] = half[signs]
    direct[N + index, index] = 0.5 * proof.complementarity[leaf]
    # Rows of the region are about z alone.
    linear, of_region, phi = matrix.exact(cone.linear), ~signs & (q < 2 * N + len(cone.linear)), np.arange(2 * N)
    near, mixed = np.flatnonzero(of_region & ~beyond), np.flatnonzero(~of_region & ~signs & ~beyond)
    others, corner = np.flatnonzero(beyond & ~of_region), products(np.flatnonzero(of_region & beyond), linear)
    for quadratic, sigma in zip(cone.quadratics, proof.sigma[leaf].tolist(), strict=True):
        if sigma:
            if isinstance(quadratic, np.ndarray):
                require(np.isfinite(quadratic).all(), "a quadratic of the region overflows, and the proof uses it")
                quadratic = matrix.exact(quadratic)
            corner = corner + quadratic.times(0.5 * sigma)
    beside = combined(phi, near, linear)
    total = matrix.block([[matrix.exact(direct), beside], [matrix.exact(np.zeros((k, 2 * N))), corner]])
    if len(mixed):
        top = combined(phi, mixed, extra)
        total = total + matrix.block([[top], [matrix.exact(np.zeros((k, 2 * N + k)))]])
    if len(others):
        total = total + products(others, extra)
    return total + total.T


def leaf_slack(A: FloatArray, R: M, signs: IntArray, matrix: type[M]) -> M:
    """The remainder on the leaf's face, in the coordinates (β_free, z)."""
    N, k = A.shape
    phi, z = np.arange(2 * N), np.arange(2 * N, 2 * N + k)
    free = np.flatnonzero(signs == FREE)
    # The half of φ with rows of Φ that are not 0.
    inactive = signs == INACTIVE
    used, data = phi[:N] + N * inactive, matrix.exact(np.where(inactive[:, None], -A, A))
    product, R_z = R.take(phi, used) @ data, R.take(phi, z)
    slope = product + R_z
    across = R.take(z, used) @ data
    S_zz = data.T @ product.take(used, np.arange(k)) + (across + across.T) + R.take(z, z)
    S_fz = slope.take(free, np.arange(k)) + slope.take(N + free, np.arange(k))
    cross = R.take(free, N + free)
    S_ff = (R.take(free, free) + R.take(N + free, N + free)) + (cross + cross.T)
    return matrix.block([[S_ff, S_fz], [S_fz.T, S_zz]])
