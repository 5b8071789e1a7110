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
from certificates.failure import ProofFailure, require, require_arrays
from certificates.nonnegativity import MAX_ORDER, leaf_slack, nonnegative_terms, require_psd
from certificates.proof import SHARED, Cone, LiftedProof
from formulations.arrays import FloatArray, IntArray
from formulations.signs import FREE

Part = tuple[IntArray, IntArray, IntArray]
"""Members of a group, shared generators that its pairs touch, and which pairs these are."""


def sizes_of_groups(proof: LiftedProof) -> IntArray:
    """Generators of each group with the shared ones that its pairs touch, then those of the head; of groups that were
    not checked yet."""
    groups, pairs, N = proof.groups, proof.pairs, proof.groups.size
    if not (groups.dtype == pairs.dtype == np.int64 and groups.ndim == 1 and pairs.shape[1:] == (2,)):
        return np.array([N])
    names, sizes = np.unique(groups[groups != SHARED], return_counts=True)
    ends = pairs % N
    label = groups[ends]
    mixed = np.count_nonzero(label == SHARED, axis=1) == 1
    owner = np.searchsorted(names, label[mixed].max(axis=1, initial=SHARED))
    touched = np.unique(owner * N + ends[mixed][label[mixed] == SHARED]) // N
    return np.append(sizes + np.bincount(touched, minlength=len(names)), N - sizes.sum())


@np.errstate(all="ignore")
def prove_in_groups(A: FloatArray, features: M, square: M, proof: LiftedProof, matrix: type[M]) -> None:
    """Prove ``zᵀ square z − ‖W̃ᵀφ‖² − Σ N_pq φ_pφ_q − Σ t_i α_iβ_i ≥ 0`` on the cone.

    Args:
        A: (N×k) generators, finite.
        features, square: W̃ (2N×c) and γ²I or the like (k×k), in the arithmetic.
        proof: of one leaf, whose structure is right; its groups are checked here.
        matrix: class of the arithmetic.

    Raises:
        ProofFailure: the first violated condition.
    """
    (first, *parts), c = _parts(proof), features.shape[1]
    shared, r, rest = first[0], len(first[0]), A.shape[1] + c
    outer, most = r + rest, max(2 * (len(own) + len(touched)) + rest for own, touched, _ in (first, *parts))
    require(most <= MAX_ORDER, f"a group of the proof has order {most}, and this checker stops at {MAX_ORDER}")
    head = _slack(first, A, features, matrix.diagonal(square, matrix.exact(np.eye(c))), proof, matrix)

    def proposals() -> Iterator[tuple[M, IntArray, FloatArray, FloatArray]]:
        """(S_B, y among the coordinates of the head, CᵀP⁻¹C − D, the sizes of its terms on the diagonal) of groups."""
        for part in parts:
            slack, inner = _slack(part, A, features, matrix.exact(np.zeros((rest, rest))), proof, matrix), len(part[0])
            at = np.concatenate([np.searchsorted(shared, part[1]), np.arange(r, outer)])
            S = slack.arrays[0].astype(np.float64)
            unit = 1.0 / np.sqrt(np.diag(S)[:inner, None])
            P, C, D = unit * S[:inner, :inner] * unit.T, unit * S[:inner, inner:], S[inner:, inner:]
            schur = C.T @ np.linalg.solve(P, C)
            G = schur - D
            yield slack, at, 0.5 * (G + G.T), np.abs(np.diag(schur)) + np.abs(np.diag(D))

    try:
        left = head.arrays[0].astype(np.float64)
        size, count = np.abs(np.diag(left)) + TINY, np.zeros(outer)
        for _, at, G, terms in proposals():
            left[np.ix_(at, at)] -= G
            size[at] += terms
            count[at] += 1
        least = np.linalg.eigvalsh(left / np.sqrt(size) / np.sqrt(size[:, None]))[0]
        core = left[r:, r:] - left[r:, :r] @ np.linalg.solve(left[:r, :r], left[:r, r:])
    except (np.linalg.LinAlgError, OverflowError):
        raise ProofFailure("the slack of a group is singular, or it overflows") from None
    require(0 < least < np.inf, f"what is left of the slack after its groups has a negative eigenvalue, {least:.3e}")
    for slack, at, G, terms in proposals():
        # Of the head, half goes by sizes of terms and in equal parts, and a fifth of its own part in z and v.
        G[np.diag_indices(len(at))] += 0.25 * least * (terms + size[at] / count[at])
        G[-rest:, -rest:] += 0.1 * (core + core.T) / len(parts)
        require(np.isfinite(G).all(), "the slack of a group overflows")
        require_psd(slack + matrix.exact(np.pad(G, (len(slack.arrays[0]) - len(at), 0))), " in a group")
        for whole, changed in zip(head.arrays, (head.take(at, at) - matrix.exact(G)).arrays, strict=True):
            whole[np.ix_(at, at)] = changed
    require_psd(head, " after its groups")


def _parts(proof: LiftedProof) -> list[Part]:
    """The shared generators, then the groups; each pair is in one of them. Raises ProofFailure if it cannot be."""
    N, groups = proof.complementarity.shape[1], proof.groups
    require_arrays(proof, np.int64, groups=(N,))
    require(((groups >= SHARED) & (groups < N)).all(), f"a generator's group is outside −1..{N - 1}")
    others = proof.leaves - 1 + proof.circuits.target.size + proof.triangles.neuron.size
    require(not others, "a proof in groups has one leaf, no circuits and no triangles")
    ends = proof.pairs % N
    owner = groups[ends].max(axis=1, initial=SHARED)
    apart = (groups[ends] != owner[:, None]) & (groups[ends] != SHARED)
    require(not apart.any(), "a pair of multipliers joins two groups")
    names = np.unique(np.append(groups, SHARED))

    def cut(key: IntArray) -> list[IntArray]:
        order = np.argsort(key, kind="stable")
        return np.split(order, np.searchsorted(key[order], names[1:]))

    cuts = zip(cut(groups), cut(owner), strict=True)
    return [(own, np.setdiff1d(ends[pairs], own), pairs) for own, pairs in cuts]


def _slack(part: Part, A: FloatArray, features: M, corner: M, proof: LiftedProof, matrix: type[M]) -> M:
    """The terms of a group, or of the shared generators, in the coordinates (β of members, β of touched ones, z, v)."""
    (own, touched, pairs), (N, k), c = part, A.shape, features.shape[1]
    rows = np.concatenate([own, touched])
    count, order, p = len(rows), np.argsort(rows), proof.pairs[pairs]
    mine = (np.arange(count) < len(own)).astype(np.float64)
    local = replace(
        proof,
        pairs=order[np.searchsorted(rows, p % N, sorter=order)] + np.where(p < N, 0, count),
        multipliers=proof.multipliers[pairs],
        pair_offset=np.array([0, len(pairs)]),
        complementarity=proof.complementarity[:, rows] * mine,
        sigma=proof.sigma[:, :0],
    )
    W = features.take(np.concatenate([rows, N + rows]), np.arange(c)).times(np.tile(mine, 2)[:, None])
    across = matrix.block([[matrix.exact(np.zeros((2 * count, k))), W]])
    form = matrix.block([[matrix.exact(np.zeros((2 * count, 2 * count))), across], [across.T, corner]])
    cone = Cone.everywhere(np.hstack([A[rows], np.zeros((count, c))]))
    terms = nonnegative_terms(cone, local, 0, matrix.exact(np.zeros((0, len(form.arrays[0])))), matrix)
    return leaf_slack(cone.generators, form - terms, np.full(count, FREE), matrix)
