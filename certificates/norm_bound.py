"""Proving that a norm is bounded, ``zᵀEz − ‖W̃ᵀφ + Jz‖² ≥ 0`` on a lifted cone: for training, and for slopes.

As a whole this is a form like any other (``certificates.nonnegativity``), with a slack of order N + k. In a proof of
one leaf whose products join no two groups of generators it falls into parts, and time is linear in N. The least value
over v (c coordinates) of ``‖v‖² + 2vᵀx`` is −‖x‖², so the slack is PSD if for all β, z and v, with α = β + Az,

    S = zᵀEz + ‖v‖² + 2 vᵀ(W̃ᵀφ + Jz) − Σ N_pq φ_pφ_q − Σ t_i α_iβ_i ≥ 0.

With S_B the terms that a member of group B occurs in, and S_0 all others, it is enough to have symmetric G_B in z, v
and the β of the shared generators that pairs of B touch, with ``S_B + G_B ⪰ 0`` for every group, and ``S_0 − Σ G_B ⪰
0``, which is the head.

* A generator in no pair is a group of its own. With the rows P and Q of W̃ at its α and β, τ = −t > 0, s = (P + Q)·v
  and x = a·z, its terms are ``τβ(β + x) + 2sβ + 2x(P·v) = τ(β + x/2 + s/τ)² − (τx²/4 + s²/τ + x (Q − P)·v)``. So G_B is
  the last bracket, with any r ≥ 1/τ in place of 1/τ. All of these are summed up as products of matrices.
* Of other groups any G_B will do, so it is computed in floating point and then taken as it is: for
  ``S_B = [[P, C], [Cᵀ, D]]`` it is ``CᵀP⁻¹C − D``, with which S_B + G_B has no margin left, and a share of half of the
  margin that the head then has.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from certificates.arithmetic.floating import TINY, Enclosure
from certificates.arithmetic.matrix import Arithmetic, M, Matrix, timed
from certificates.failure import ProofFailure, require, require_arrays
from certificates.nonnegativity import (
    leaf_slack,
    leaves_with_signs,
    nonnegative_terms,
    prove_nonnegative,
    require_order,
    require_psd,
)
from certificates.proof import SHARED, Cone, LiftedProof
from certificates.resources import product_bytes, row_bytes
from formulations.arrays import FloatArray, IntArray
from formulations.signs import FREE

Part = tuple[IntArray, IntArray, IntArray]
"""Members of a group that occur in pairs, shared generators that these pairs touch, and which pairs they are."""
SMALL_ORDER = 400
"""Up to this order a proof without products is looked at as a whole as well, which proves a slack that is singular."""
FEW_OUTPUTS = 64
"""Up to so many outputs, or as many as there are generators, the parts are no larger than the whole."""


def parts_of(proof: LiftedProof, outputs: int) -> list[Part] | None:
    """What a proof whose structure was checked falls into: shared generators that occur in pairs, then the groups; None
    where it has to be looked at as a whole.

    Raises:
        ProofFailure: its groups are not what they must be.
    """
    N, groups = proof.complementarity.shape[1], proof.groups
    if groups.size:
        require_arrays(proof, np.int64, groups=(N,))
        require(((groups >= SHARED) & (groups < N)).all(), f"a generator's group is outside −1..{N - 1}")
        further = proof.split.size - 1 + proof.circuits.target.size + proof.triangles.neuron.size
        only_signs = bool((proof.pairs < 2 * N).all())
        require(not further and only_signs, "a proof in groups has one leaf, and no products but of signs")
    elif proof.plain and outputs <= max(N, FEW_OUTPUTS):
        groups = np.full(N, SHARED)
    else:
        return None
    list(leaves_with_signs(proof, N))  # one leaf, which must be written down properly
    ends = proof.pairs % max(N, 1)
    owner = groups[ends].max(axis=1, initial=SHARED)
    apart = (groups[ends] != owner[:, None]) & (groups[ends] != SHARED)
    require(not apart.any(), "a pair of multipliers joins two groups")
    named = np.unique(ends)
    names = np.unique(np.append(groups[named], SHARED))

    def cut(key: IntArray) -> list[IntArray]:
        order = np.argsort(key, kind="stable")
        return np.split(order, np.searchsorted(key[order], names[1:]))

    cuts = zip(cut(groups[named]), cut(owner), strict=True)
    return [(named[own], np.setdiff1d(ends[pairs], named[own]), pairs) for own, pairs in cuts]


def norm_order(proof: LiftedProof, parts: Sequence[Part] | None, k: int, outputs: int) -> float:
    """Of the slack, as far as it tells how long a proof takes; stronger arithmetic than floating point has to fit it.

    Raises:
        ProofFailure: it is too large.
    """
    if parts is None:
        N, circuits = proof.complementarity.shape[1], proof.circuits.target.size
        order = N + k + circuits
        require_order(order + N)
        return float(order * max(proof.leaves, 1) ** 0.25)
    return float(sum((len(own) + len(touched) + k + outputs) ** 3 for own, touched, _ in parts) ** (1 / 3))


def norm_bytes(proof: LiftedProof, parts: Sequence[Part] | None, k: int, outputs: int, arithmetic: Arithmetic) -> float:
    """Bytes that ``prove_norm`` takes with W̃ at its most."""
    N = proof.complementarity.shape[1]
    features = row_bytes(arithmetic, 2 * N, outputs + k + 4)
    if parts is None or _is_small(proof, k):
        # Where outputs are split, each leaf has rows of its own for them.
        return 4.0 * features + product_bytes(arithmetic, N, k, proof.circuits.target.size)
    largest = max(len(own) + len(touched) for own, touched, _ in parts)
    return 2.0 * features + product_bytes(arithmetic, largest, k + outputs, 0)


def _is_small(proof: LiftedProof, k: int) -> bool:
    return not proof.groups.size and proof.complementarity.shape[1] + k <= SMALL_ORDER


def without(square: M, quadratics: Sequence[M], sigma: FloatArray) -> M:
    """``square − Σ σ_k q_k``."""
    for quadratic, multiplier in zip(quadratics, sigma, strict=True):
        square = square - quadratic.times(multiplier)
    return square


def prove_norm(
    cone: Cone, features: M, J: M, square: M, proof: LiftedProof, parts: Sequence[Part] | None, matrix: type[M]
) -> None:
    """Prove ``zᵀ square z − ‖W̃ᵀφ + Jz‖² ≥ 0`` on the cone.

    Args:
        cone: of finite generators (N×k); its quadratics are matrices of the arithmetic.
        features, J, square: W̃ (2N×c), a linear part (c×k) and γ²I or the like (k×k), in the arithmetic.
        proof: its structure was checked.
        parts: from ``parts_of``.
        matrix: class of the arithmetic.

    Raises:
        ProofFailure: the first violated condition.
    """
    if parts is not None:
        try:
            reduced = without(square, cone.quadratics, proof.sigma[0])
            return prove_in_parts(cone.generators, features, J, reduced, proof, parts, matrix)
        except np.linalg.LinAlgError:
            raise ProofFailure("the slack of a group is singular") from None
        except ProofFailure:
            if not _is_small(proof, square.shape[0]):
                raise
    both, signs = matrix.block([[features], [J.T]]), np.zeros((features.shape[0],) * 2)
    outputs = both.T if (proof.split >= len(cone.generators)).any() else None
    prove_nonnegative(cone, matrix.diagonal(matrix.exact(signs), square) - both @ both.T, proof, matrix, outputs)


@np.errstate(all="ignore")
def prove_in_parts(
    A: FloatArray, features: M, J: M, square: M, proof: LiftedProof, parts: Sequence[Part], matrix: type[M]
) -> None:
    """Time O(N(c + k)²) besides that of the groups."""
    (first, *groups), c = parts, features.shape[1]
    shared, r, rest = first[0], len(first[0]), A.shape[1] + c
    outer, most = r + rest, max(2 * (len(own) + len(touched)) + rest for own, touched, _ in parts)
    require_order(most, "a part of the proof")
    loose = np.setdiff1d(np.arange(len(A)), np.concatenate([own for own, *_ in parts]))
    own = matrix.block([[square, J.T], [J, matrix.exact(np.eye(c))]])
    own = own - _loose_terms(A[loose], features, loose, -proof.complementarity[0, loose], matrix)
    head = _slack(first, A, features, own, proof, matrix)
    if not groups:
        return require_psd(head, "")

    def proposals(features: Matrix, matrix: type[Matrix]) -> Iterator[tuple[Any, IntArray, FloatArray, FloatArray]]:
        """(S_B, y among the coordinates of the head, CᵀP⁻¹C − D, the sizes of its terms on the diagonal) of groups."""
        for part in groups:
            slack, inner = _slack(part, A, features, matrix.exact(np.zeros((rest, rest))), proof, matrix), len(part[0])
            at = np.concatenate([np.searchsorted(shared, part[1]), np.arange(r, outer)])
            S = slack.arrays[0].astype(np.float64)
            unit = 1.0 / np.sqrt(np.diag(S)[:inner, None])
            P, C, D = unit * S[:inner, :inner] * unit.T, unit * S[:inner, inner:], S[inner:, inner:]
            schur = C.T @ np.linalg.solve(P, C)
            G = schur - D
            yield slack, at, 0.5 * (G + G.T), np.abs(np.diag(schur)) + np.abs(np.diag(D))

    left, rounded = (whole.arrays[0].astype(np.float64) for whole in (head, features))
    size, count = np.abs(np.diag(left)) + TINY, np.zeros(outer)
    for _, at, G, terms in proposals(Enclosure.exact(rounded), timed(Enclosure, matrix.deadline)):
        left[np.ix_(at, at)] -= G
        size[at] += terms
        count[at] += 1
    least = np.linalg.eigvalsh(left / np.sqrt(size) / np.sqrt(size[:, None]))[0]
    core = left[r:, r:] - left[r:, :r] @ np.linalg.solve(left[:r, :r], left[:r, r:])
    require(0 < least < np.inf, f"what is left of the slack after its groups has a negative eigenvalue, {least:.3e}")
    for slack, at, G, terms in proposals(features, matrix):
        # Of the head, half goes by sizes of terms and in equal parts, and a fifth of its own part in z and v.
        G[np.diag_indices(len(at))] += 0.25 * least * (terms + size[at] / count[at])
        G[-rest:, -rest:] += 0.1 * (core + core.T) / len(groups)
        require(np.isfinite(G).all(), "the slack of a group overflows")
        require_psd(slack + matrix.exact(np.pad(G, (len(slack.arrays[0]) - len(at), 0))), " in a group")
        for whole, changed in zip(head.arrays, (head.take(at, at) - matrix.exact(G)).arrays, strict=True):
            whole[np.ix_(at, at)] = changed
    require_psd(head, " after its groups")


def _loose_terms(A: FloatArray, features: M, rows: IntArray, tau: FloatArray, matrix: type[M]) -> M:
    """The sum over generators (A, and where W̃ has them) in no pair of their G_B, over (z, v)."""
    with np.errstate(all="ignore"):
        # The next number above the nearest one to 1/τ is larger than 1/τ, if the division does not underflow.
        reciprocal = np.nextafter(1.0 / tau, np.inf)
    # A quarter of τ is exact then.
    for i in np.flatnonzero(~((tau > 16.0 * TINY) & (reciprocal > 4.0 * TINY)))[:1]:
        raise ProofFailure(f"the multiplier t_{rows[i] + 1} is {-tau[i]:.3e}, out of range")
    N, columns, exact = features.shape[0] // 2, np.arange(features.shape[1]), matrix.exact(A)
    P, Q = features.take(rows, columns), features.take(N + rows, columns)
    S, across = P + Q, (exact.T @ (Q - P)).times(0.5)
    gram, spread = S.T @ S.times(reciprocal[:, None]), exact.T @ exact.times(0.25 * tau[:, None])
    return matrix.block([[spread, across], [across.T, gram]])


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
