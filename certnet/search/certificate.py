"""From a search to a certificate: the bound of every leaf is repaired in the coordinates of the data, then proved."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from certificates import CheckReport, OptimalityCertificate, Verdict
from certificates.making.assemble import assemble_proof, checked
from certificates.making.circuits import as_proof
from certificates.making.repair import RepairedForm, repair_form
from certificates.making.tree import LeafProof, Node, Split, build
from certnet.search.price import SearchResult
from certnet.search.vertex import Branch
from formulations import InputError, MergedRows, NodeProgram, Presolved, RawDual, restrict
from formulations._validation import FloatArray
from formulations.circuits import CircuitSet

MARGINS = (1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3)
"""Relative margins between repair and check, tried in turn."""


def certify_search(
    presolved: Presolved,
    W: FloatArray,
    result: SearchResult,
    U: FloatArray,
    V: FloatArray,
    *,
    provenance: Mapping[str, Any] | None = None,
    circuits: CircuitSet | None = None,
) -> tuple[OptimalityCertificate, CheckReport]:
    """The certificate that a search with this W (f×c, in the presolved coordinates) gives for a network.

    The report says PROVED unless the data are beyond floating point; the caller must look.

    Args:
        presolved: whose program was searched, with its inequalities.
        W: the dual that was priced.
        result: of the search.
        U, V: the network (d×m, c×m).
        provenance: a JSON object that travels along.
        circuits: why the program's inequalities hold, if it has any, in their order.

    Raises:
        InputError: the program has inequalities, and ``circuits`` does not say why they hold.
    """
    if (0 if circuits is None else len(circuits)) != len(presolved.program.inequalities):
        raise InputError("the searched program has inequalities besides the signs; name the circuit of each of them.")
    repair = LeafRepair(presolved, W)
    for margin in MARGINS:
        certificate = _assemble(repair, presolved.rows, result, U, V, margin, provenance or {}, circuits)
        report = checked(certificate)
        if report.verdict is Verdict.PROVED:
            break
    return certificate, report


class LeafRepair:
    """Repairs leaves for one W (f×c, in the presolved coordinates), in the coordinates of the data.

    Attributes:
        dual: W in the merged coordinates.
        size: its largest entry. Prices are homogeneous, and entries of W up to 1 keep clear of over- and underflow.
    """

    def __init__(self, presolved: Presolved, W: FloatArray) -> None:
        program = presolved.rows.program
        self._presolved, self._W = presolved, W
        self.dual = presolved.undo_dual(RawDual(W, np.zeros((program.positions, program.positions)))).W
        self.size = float(np.abs(self.dual).max())

    def __call__(self, leaf: Branch, unit: float, margin: float) -> tuple[RepairedForm, NodeProgram]:
        """The leaf's multipliers, feasible up to rounding for ``dual / size``, and its node.

        ``unit`` is the price in whose units the search has bounded the leaf.
        """
        program = self._presolved.rows.program
        N = np.zeros((program.positions, program.positions))
        if leaf.multipliers is not None:
            given = leaf.multipliers.matrix() / self._presolved.program.gamma
            N = program.gamma * (unit / self.size) ** 2 * self._presolved.undo_dual(RawDual(self._W, given)).N
        node = restrict(program, self.dual / self.size, leaf.signs)
        return repair_form(node.program, node.restrict_dual(N), margin=margin), node

    def price(self, leaf: Branch, unit: float) -> float:
        """The squared price (of W, in ``unit``²) that repair proves for a leaf."""
        form, _ = self(leaf, unit, MARGINS[0])
        gamma = float(self._presolved.program.gamma)
        return -form.delta * (self.size * gamma / (self._presolved.rows.program.gamma * unit)) ** 2


def _assemble(
    repair: LeafRepair,
    merged: MergedRows,
    result: SearchResult,
    U: FloatArray,
    V: FloatArray,
    margin: float,
    provenance: Mapping[str, Any],
    circuits: CircuitSet | None,
) -> OptimalityCertificate:
    program, dual, size = merged.program, repair.dual, repair.size
    repaired = {id(leaf): repair(leaf, result.unit, margin) for leaf in result.root.leaves}
    h_bar = size * float(np.sqrt(max((-form.delta for form, _ in repaired.values()), default=0.0)))
    best_scale = float(np.sum(dual * program.target) / np.sum(dual**2))
    s = min(best_scale, program.gamma / (h_bar * (1.0 + margin)) if h_bar > 0 else best_scale)
    neurons, factor = program.space.neurons, (s * size) ** 2
    leaves = {key: _leaf_multipliers(form, node, neurons, factor) for key, (form, node) in repaired.items()}
    # Circuits without multipliers are left out.
    used = np.zeros(len(program.inequalities), dtype=bool)
    for N, _ in leaves.values():
        used |= N[2 * neurons :].any(axis=1)
    kept = np.concatenate([np.arange(2 * neurons), 2 * neurons + np.flatnonzero(used)])
    proofs = {key: LeafProof.from_matrix(N[np.ix_(kept, kept)], t) for key, (N, t) in leaves.items()}
    named = None if circuits is None else as_proof(circuits.take(np.flatnonzero(used)))
    proof = build(_tree(result.root, proofs), neurons, circuits=named)
    return assemble_proof(merged, s * dual, proof, U, V, provenance)


def _leaf_multipliers(
    form: RepairedForm, node: NodeProgram, neurons: int, factor: float
) -> tuple[FloatArray, FloatArray]:
    """(N, t) over the positions of the whole."""
    t = np.zeros(neurons)
    t[node.free] = factor * form.t
    return node.lift_dual(RawDual(node.program.target, factor * form.N)), t


def _tree(root: Branch, proofs: Mapping[int, LeafProof]) -> Node:
    """The nested tree, children before parents, without recursion: searches may be deep."""
    built: dict[int, Node] = {}
    stack = [(root, False)]
    while stack:
        at, ready = stack.pop()
        if at.active is None or at.inactive is None:
            built[id(at)] = proofs[id(at)]
        elif not ready:
            stack += [(at, True), (at.active, False), (at.inactive, False)]
        else:
            built[id(at)] = Split(at.neuron, built.pop(id(at.active)), built.pop(id(at.inactive)))
    return built[id(root)]
