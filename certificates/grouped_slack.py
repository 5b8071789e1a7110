"""Proving the slack of training group by group, where products join no two groups of rows; time linear in the rows.

With v (c coordinates) the slack of ``certificates.nonnegativity`` is PSD if for all β, z and v, with α = β + Az,

    S = zᵀ square z + ‖v‖² + 2 vᵀW̃ᵀφ − Σ N_pq φ_pφ_q − Σ t_i α_iβ_i ≥ 0,

since the least value over v of ``‖v‖² + 2vᵀx`` is −‖x‖². Let S_B hold the terms that a member of group B occurs in, and
S_0 all others: those of shared generators alone, ``zᵀ square z`` and ‖v‖². S_B is a form in the β of the members and in
y: z, v and the β of the shared generators that pairs of B touch. If there are symmetric G_B, forms in this y, with
``S_B + G_B ⪰ 0`` for every group, and if ``S_0 − Σ G_B ⪰ 0``, which is the head, then S is a sum of PSD forms.

Any G_B will do, so it is computed here in floating point and then taken as it is: for ``S_B = [[P, C], [Cᵀ, D]]`` it is
``CᵀP⁻¹C − D``, with which S_B + G_B has no margin left, and a share of half of the margin that the head then has.
"""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from certificates.arithmetic.floating import TINY
from certificates.arithmetic.matrix import M
from certificates.failure import ProofFailure, require, require_array
from certificates.nonnegativity import MAX_ORDER, leaf_slack, leaves_with_signs, nonnegative_terms
from certificates.proof import SHARED, Cone, LiftedProof
from formulations.arrays import FloatArray, IntArray
from formulations.signs import FREE

Part = tuple[IntArray, IntArray, IntArray]
"""Members of a group, shared generators that its pairs touch, and which pairs these are."""


def size_of_groups(proof: LiftedProof) -> tuple[int, int]:
    """(generators of the largest group with all shared ones, number of groups), of groups that were not checked yet."""
    own = proof.groups[proof.groups != SHARED]
    sizes = np.unique(own, return_counts=True)[1]
    return int(sizes.max(initial=0)) + proof.groups.size - own.size, len(sizes)


@np.errstate(all="ignore")
def prove_in_groups(generators: FloatArray, features: M, square: M, proof: LiftedProof, matrix: type[M]) -> float:
    """Prove ``zᵀ square z − ‖W̃ᵀφ‖² − Σ N_pq φ_pφ_q − Σ t_i α_iβ_i ≥ 0`` on the cone; returns the smallest margin.

    Args:
        generators: A (N×k), finite.
        features, square: W̃ (2N×c) and γ²I or the like (k×k), in the arithmetic.
        proof: ``check_structure`` has passed; its groups are checked here.
        matrix: class of the arithmetic.

    Raises:
        ProofFailure: the first violated condition.
    """
    (first, *parts), (_, k), c = _parts(proof), generators.shape, features.shape[1]
    shared, outer = first[0], len(first[0]) + k + c
    most = max(2 * (len(own) + len(touched)) + k + c for own, touched, _ in (first, *parts))
    require(most <= MAX_ORDER, f"a group of the proof has order {most}, and this checker stops at {MAX_ORDER}")
    head = _slack(first, generators, features, matrix.diagonal(square, matrix.exact(np.eye(c))), proof, matrix)
    left, count = _floats(head), np.zeros(outer)
    size = np.abs(np.diag(left)) + TINY

    def eliminated() -> Iterator[tuple[M, IntArray, FloatArray, FloatArray]]:
        """(S_B, its outer coordinates among those of the head, CᵀP⁻¹C − D, the size of its terms) of each group."""
        for part in parts:
            slack = _slack(part, generators, features, matrix.exact(np.zeros((k + c, k + c))), proof, matrix)
            at = np.concatenate([np.searchsorted(shared, part[1]), np.arange(len(shared), outer)])
            yield slack, at, *_eliminated(_floats(slack), len(part[0]))

    for _, at, G, terms in eliminated():
        left[np.ix_(at, at)] -= G
        size[at] += terms
        count[at] += 1
    # A margin counts beside the terms that cancel; of half of it a group gets its part of these terms and an equal part.
    spare, margins = 0.25 * _least_eigenvalue(left, size) * size, [1.0]
    for slack, at, G, terms in eliminated():
        inner, whole = len(slack.arrays[0]) - len(at), np.zeros((outer, outer))
        G[np.diag_indices(len(at))] += spare[at] * (terms / size[at] + 1.0 / count[at])
        require(np.isfinite(G).all(), "the slack of a group has entries that are not finite (overflow)")
        found = (slack + matrix.exact(np.pad(G, (inner, 0)))).prove_psd()
        require(found.proved, f"{found.reason} in a group")
        margins.append(found.margin)
        whole[np.ix_(at, at)] = G
        head = head - matrix.exact(whole)
    found = head.prove_psd()
    require(found.proved, f"{found.reason} in the head of the groups")
    return min(found.margin, *margins)


def _parts(proof: LiftedProof) -> list[Part]:
    """The shared generators, then the groups; each pair is in one of them.

    Raises:
        ProofFailure: groups are not what they have to be, or a pair joins two.
    """
    N, groups = proof.complementarity.shape[1], proof.groups
    require_array("groups", groups, np.int64, (N,))
    require(((groups >= SHARED) & (groups < N)).all(), f"a generator's group is outside −1..{N - 1}")
    others = proof.circuits.target.size + proof.triangles.neuron.size
    require(
        len(list(leaves_with_signs(proof, N))) == 1 and not others, "a proof in groups has one leaf, and no circuits"
    )
    ends = proof.pairs % N
    joined = groups[ends]
    owner = joined.max(axis=1, initial=SHARED)
    apart = (joined != owner[:, None]) & (joined != SHARED)
    require(not apart.any(), "a pair of multipliers joins two groups")
    names = np.unique(np.append(groups, SHARED))

    def cut(key: IntArray) -> list[IntArray]:
        order = np.argsort(key, kind="stable")
        return np.split(order, np.searchsorted(key[order], names[1:]))

    cuts = zip(cut(groups), cut(owner), strict=True)
    return [(own, np.setdiff1d(ends[pairs], own), pairs) for own, pairs in cuts]


def _slack(part: Part, A: FloatArray, features: M, corner: M, proof: LiftedProof, matrix: type[M]) -> M:
    """The terms of a group, or of the shared generators, in the coordinates (β of members, β of touched ones, z, v)."""
    (own, touched, pairs), (N, k), columns = part, A.shape, np.arange(features.shape[1])
    rows, zero = np.concatenate([own, touched]), matrix.exact(np.zeros((len(touched), len(columns))))
    count, order, p = len(rows), np.argsort(rows), proof.pairs[pairs]
    t = np.concatenate([proof.complementarity[:, own], np.zeros((1, len(touched)))], axis=1)
    local = replace(
        proof,
        pairs=order[np.searchsorted(rows, p % N, sorter=order)] + np.where(p < N, 0, count),
        multipliers=proof.multipliers[pairs],
        pair_offset=np.array([0, len(pairs)]),
        complementarity=t,
        sigma=proof.sigma[:, :0],
    )
    W = matrix.block([[features.take(own, columns)], [zero], [features.take(N + own, columns)], [zero]])
    across = matrix.block([[matrix.exact(np.zeros((2 * count, k))), W]])
    form = matrix.block([[matrix.exact(np.zeros((2 * count, 2 * count))), across], [across.T, corner]])
    cone = Cone.everywhere(np.hstack([A[rows], np.zeros((count, len(columns)))]))
    terms = nonnegative_terms(cone, local, 0, matrix.exact(np.zeros((0, len(form.arrays[0])))), matrix)
    return leaf_slack(cone.generators, form - terms, np.full(count, FREE), matrix)


def _floats(slack: M) -> FloatArray:
    """About its entries."""
    try:
        return np.asarray(slack.arrays[0].astype(np.float64))
    except OverflowError:
        raise ProofFailure("the slack of a group overflows") from None


def _eliminated(S: FloatArray, inner: int) -> tuple[FloatArray, FloatArray]:
    """(CᵀP⁻¹C − D, the sizes of its terms on the diagonal), where S is [[P, C], [Cᵀ, D]]."""
    unit = 1.0 / np.sqrt(np.diag(S)[:inner])
    P, C, D = unit[:, None] * S[:inner, :inner] * unit, unit[:, None] * S[:inner, inner:], S[inner:, inner:]
    require(np.isfinite(P).all(), "the slack of a group is not positive on its diagonal")
    try:
        schur = C.T @ np.linalg.solve(P, C)
    except np.linalg.LinAlgError:
        raise ProofFailure("the slack of a group is singular") from None
    return 0.5 * (schur + schur.T) - 0.5 * (D + D.T), np.abs(np.diag(schur)) + np.abs(np.diag(D))


def _least_eigenvalue(head: FloatArray, size: FloatArray) -> float:
    """The smallest eigenvalue of the head in these units."""
    unit = 1.0 / np.sqrt(size)
    scaled = unit[:, None] * head * unit
    require(np.isfinite(scaled).all(), "the head of the groups has entries that are not finite (overflow)")
    least = float(np.linalg.eigvalsh(scaled)[0])
    require(least > 0, f"the head of the groups is not positive definite: an eigenvalue is {least:.3e}")
    return least
