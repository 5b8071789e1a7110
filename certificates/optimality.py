"""Making an optimality certificate from whatever duals are at hand, and proving it before anyone sees it."""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from certificates.arithmetic import Arithmetic
from certificates.certificate import OptimalityCertificate, fingerprint
from certificates.checker import check, dual_value, network_objective
from certificates.proof import LiftedProof
from certificates.repair import MARGIN, RepairedDual, repair
from certificates.report import CheckReport
from certificates.tree import LeafProof, build
from certificates.verdict import Verdict
from formulations import MergedRows, RawDual
from formulations._validation import FloatArray

NEGLIGIBLE = 1e-12
MARGINS = tuple(MARGIN * 10.0**k for k in range(8))
"""Tried in turn between repair and check."""


def residual_dual(merged: MergedRows, U: FloatArray, V: FloatArray) -> RawDual:
    """The dual that every network offers: its residual, without multipliers."""
    m = merged.program.space.neurons
    W = merged.merge_W(merged.original.residual(U, V))
    return RawDual(W, np.zeros((2 * m, 2 * m)))


def drop_negligible(merged: MergedRows, dual: RawDual) -> RawDual:
    """Set multipliers to zero that are below ``NEGLIGIBLE`` of the largest, measured at unit generators."""
    norm = np.linalg.norm(merged.program.space.generators, axis=1)
    both = np.concatenate([norm, norm])
    size = np.abs(np.where(np.isfinite(dual.N), dual.N, 0.0)) * np.outer(both, both)
    return RawDual(dual.W, np.where(size <= NEGLIGIBLE * size.max(initial=0.0), 0.0, dual.N))


def best_repair(merged: MergedRows, duals: Iterable[RawDual], *, margin: float = MARGIN) -> RepairedDual:
    """The repaired dual with the largest bound; with no dual at all, the trivial one."""
    m = merged.program.space.neurons
    trivial = RawDual(np.zeros_like(merged.program.target), np.zeros((2 * m, 2 * m)))
    repaired = [repair(merged.program, drop_negligible(merged, dual), margin=margin) for dual in (trivial, *duals)]
    return max(repaired, key=lambda result: result.lower_bound)


def assemble(
    merged: MergedRows, repaired: RepairedDual, U: FloatArray, V: FloatArray, provenance: Mapping[str, Any]
) -> OptimalityCertificate:
    """Write a repaired dual and a network down as a certificate; see ``assemble_proof``."""
    proof = build(LeafProof.from_matrix(repaired.N, repaired.t), merged.program.space.neurons)
    return assemble_proof(merged, repaired.W, proof, U, V, provenance)


def assemble_proof(
    merged: MergedRows,
    W: FloatArray,
    proof: LiftedProof,
    U: FloatArray,
    V: FloatArray,
    provenance: Mapping[str, Any],
) -> OptimalityCertificate:
    """A certificate from a dual W (f×c) of the merged program, a proof that its price is at most γ, and a network.

    Claims are rounded outwards. Proves nothing yet.
    """
    original, rows = merged.original, merged.rows
    W = merged.undo_W(W)
    U, V = (np.ascontiguousarray(matrix, dtype=np.float64) for matrix in (U, V))
    return OptimalityCertificate(
        X=original.X,
        Y=original.Y,
        data_fingerprint=fingerprint(original.X, original.Y),
        gamma=original.gamma,
        bias=original.bias,
        W=W,
        source=rows.source,
        generator=rows.generator,
        proof=proof,
        U=U,
        V=V,
        lower_bound=dual_value(W, original.Y),
        objective=network_objective(original.X, original.Y, original.gamma, U, V),
        provenance=dict(provenance),
    )


def certify(
    merged: MergedRows,
    duals: Iterable[RawDual],
    U: FloatArray,
    V: FloatArray,
    *,
    provenance: Mapping[str, Any] | None = None,
) -> tuple[OptimalityCertificate, CheckReport]:
    """The best certificate that these duals give for a network, with the checker's report on it.

    The margin between repair and check starts at 1e-9 and grows tenfold while the rigorous test fails; at last the
    trivial dual W = 0 is taken. So the report says PROVED unless the data are beyond floating point; the caller must
    look.

    Args:
        merged: from ``formulations.merge_rows``.
        duals: any duals in the merged program's coordinates.
        U, V: the network (d×m, c×m).
        provenance: a JSON object that travels along.
    """
    candidates = [*duals]
    for margin in MARGINS:
        # Only the trivial dual is left when no margin helps: its bound is what no network can change.
        repaired = best_repair(merged, candidates if margin < MARGINS[-1] else [], margin=margin)
        certificate = assemble(merged, repaired, U, V, provenance or {})
        report = check(certificate, arithmetic=Arithmetic.FLOAT)
        if report.verdict is Verdict.PROVED:
            break
    return certificate, report
