"""From a search to a certificate: the bound of every leaf is repaired in the coordinates of the data, then proved."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from certificates import Certificate, Report
from certificates.making.assemble import assemble_proof, prove, require_named, sigma_of
from certificates.making.repair import RepairedForm, repair_form
from certificates.making.tree import LeafProof, build
from certnet.runtime.blocks import side_by_side
from certnet.search.price import SearchResult
from certnet.search.tree import Branch, proof_tree
from formulations import Dual, Part, Presolved, restrict
from formulations._validation import FloatArray
from formulations.circuits import CircuitSet
from formulations.program import NO_PRODUCTS

MARGINS = (1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3)
"""Relative margins between repair and check, tried in turn."""


def certify_search(
    presolved: Presolved,
    result: SearchResult,
    U: FloatArray,
    V: FloatArray,
    *,
    provenance: Mapping[str, Any] | None = None,
    circuits: CircuitSet | None = None,
) -> tuple[Certificate, Report]:
    """The certificate that a search gives for a network.

    The report says PROVED unless the data are beyond floating point; the caller must look. ``circuits`` say why the
    searched program's inequalities hold, in their order; the rest is as for ``making.certify``.

    Raises:
        InputError: the program has inequalities, and ``circuits`` does not say why they hold.
    """
    require_named(presolved.program, circuits)
    repair, merged, leaves = LeafRepair(presolved, result.W), presolved.rows, list(result.root.leaves)
    program, dual, size = merged.program, repair.dual, repair.size
    neurons, outputs = program.space.neurons, result.root.outputs

    def candidates() -> Iterator[Certificate]:
        for margin in MARGINS:
            repaired = list(side_by_side(partial(repair, unit=result.unit, margin=margin), leaves))
            h_bar = size * float(np.sqrt(max(-form.delta for form, _ in repaired)))
            s = program.best_scale(dual, h_bar, margin)
            proofs = {}
            for leaf, (form, node) in zip(leaves, repaired, strict=True):
                N, t = node.lift((s * size) ** 2 * form.N), np.zeros(neurons)
                t[node.free] = (s * size) ** 2 * form.t
                # The output of a form whose W has the size 1 is now that of s·size times as much.
                N = np.pad(N, (0, program.positions + outputs - len(N)))
                N[program.positions :] /= s * size
                N[:, program.positions :] /= s * size
                sigma = sigma_of(merged.original, (s * size) ** 2 * form.sigma)
                proofs[id(leaf)] = replace(LeafProof.from_matrix(N, t), sigma=sigma)
            tree = proof_tree(result.root, lambda leaf: proofs[id(leaf)])  # noqa: B023 (called at once)
            proof = build(tree, neurons, circuits=circuits, quadratics=len(sigma), outputs=outputs)
            yield assemble_proof(merged, s * dual, proof, U, V, provenance or {})

    return prove(candidates())


class LeafRepair:
    """Repairs leaves for one W (f×c, in the presolved coordinates), in the coordinates of the data.

    Attributes:
        dual: W in the merged coordinates.
        size: its largest entry. Prices are homogeneous, and entries of W up to 1 keep clear of over- and underflow.
    """

    def __init__(self, presolved: Presolved, W: FloatArray) -> None:
        self._presolved, self._W = presolved, W
        self.dual = presolved.undo_dual(Dual(W, NO_PRODUCTS)).W
        self.size = float(np.abs(self.dual).max())

    def __call__(self, leaf: Branch, unit: float, margin: float) -> tuple[RepairedForm, Part]:
        """Multipliers, feasible up to rounding for ``dual / size``, and node of a leaf bounded in ``unit``²."""
        program = self._presolved.rows.program
        N = np.zeros((program.positions + 1,) * 2)
        if leaf.bound is not None:
            given = leaf.bound.matrix(program.positions) / self._presolved.program.gamma
            N = program.gamma * (unit / self.size) ** 2 * self._presolved.undo_dual(Dual(self._W, given)).N
        node = restrict(program, leaf.signs)
        form = node.pricing(self.dual / self.size)
        return repair_form(form, Dual(np.zeros(form.shape), node.restrict(N)), margin=margin), node

    def price(self, leaf: Branch, unit: float) -> float:
        """The squared price (of W, in ``unit``²) that repair proves for a leaf."""
        form, _ = self(leaf, unit, MARGINS[0])
        gamma = float(self._presolved.program.gamma)
        return -form.delta * (self.size * gamma / (self._presolved.rows.program.gamma * unit)) ** 2
