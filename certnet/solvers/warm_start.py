"""Where a solve may start: at an earlier solution, or at that of a certificate, perhaps for a neighbouring γ.

A warm start is a proposal. Whatever it holds, the bound that comes out is repaired and proved like any other; a bad one
costs iterations alone.
"""

import numpy as np

from certificates import Certificate
from certificates.making.repair import project, raw_dual
from certificates.subdivision import Subdivision
from certnet.solvers.arrays import Arrays
from certnet.solvers.interface import WarmStart
from formulations import Dual, InputError, MergedRows, Presolved, Primal, Program
from formulations._validation import FloatArray
from formulations.groups import GroupedDual
from formulations.program import NO_PRODUCTS

EXPONENT = 0.5
"""Growth of the dual with γ that a start assumes, see ``dual_factor``."""

LARGEST = 1e10
"""Entries beyond this multiple of the program's own numbers are taken for garbage."""


def dual_factor(gamma: float, neighbour: float) -> float:
    """By how much W and N are expected to change from the weight decay ``neighbour`` to ``gamma``.

    The optimal W is the projection of the targets onto γH, with H convex and 0 in H. Hence ‖W‖ is nondecreasing and
    ‖W‖/γ nonincreasing in γ (Gafni, Bertsekas 1984): the factor lies between 1 and ``gamma/neighbour``. It is 1 for
    targets that no network fits, and the ratio where networks interpolate; the square root is half way in the
    logarithm. N follows W, for the slack is a form of degree two in (W, N, γ).

    That is the squared loss without a bias. Of other losses a W that the factor takes out of the domain is moved back
    by ``usable``: a start may be worse there, never wrong.
    """
    return float((gamma / neighbour) ** EXPONENT)


def certified_dual(merged: MergedRows, certificate: Certificate) -> Dual:
    """The dual that a certificate of the same data proves, in the coordinates of ``merged.program``.

    It is feasible for the certificate's γ, and times ``γ/certificate.gamma`` for any other γ. Circuits, triangles and
    split trees have no place in a ``Dual``: of such a proof only W and the products of signs at its first leaf
    are kept, and of a subdivision or a proof without products W alone. Rows that it leaves out have the multiplier 0.
    """
    neurons, source = merged.program.space.neurons, certificate.source
    at = merged.positions(source)
    place = at[: len(source)]
    proof, W = certificate.proof, merged.merge_W(certificate.W)
    if isinstance(proof, Subdivision) or not len(proof.pairs) or not np.array_equal(merged.rows.source[place], source):
        return Dual(W, NO_PRODUCTS)
    if proof.groups.size:
        if len(source) < neurons:
            return Dual(W, NO_PRODUCTS)  # groups name all generators
        products = proof.pairs, proof.multipliers / certificate.gamma, proof.complementarity[0] / certificate.gamma
        try:
            return GroupedDual.of_products(W, proof.groups, *products)
        except InputError:
            # A proof in groups that certnet did not make; its W is a start all the same.
            return Dual(W, NO_PRODUCTS)
    pairs, values = proof.products(0)
    plain = (pairs < 2 * len(source)).all(axis=1)
    (p, q), values = at[pairs[plain].T], values[plain]
    N, t = np.zeros((2 * neurons, 2 * neurons)), np.zeros(neurons)
    t[place] = proof.complementarity[0]
    N[p, q] += 0.5 * values
    N[q, p] += 0.5 * values
    return raw_dual(W, N, t, gamma=certificate.gamma)


def from_certificate(presolved: Presolved, certificate: Certificate) -> WarmStart:
    """Network and dual of a certificate of the same data, perhaps at another γ.

    Args:
        presolved: of the training program that is to be solved.
        certificate: about the same X and Y; for other data the start is merely bad.
    """
    merged = presolved.rows
    factor = dual_factor(merged.program.gamma, certificate.gamma)
    dual = presolved.apply_dual(certified_dual(merged, certificate).times(factor))
    return presolved.apply_network(certificate.U, certificate.V), dual


def usable(program: Program, warm_start: WarmStart | None) -> WarmStart | None:
    """What of a warm start a solver can take: parts of other shapes, not finite or absurdly large are left out.

    What is left is made proper: S symmetric and positive semidefinite, N symmetric and nonnegative off the
    complementary positions.

    Returns:
        None when nothing is left.
    """
    primal, dual = warm_start or (None, None)
    space, order, positions = program.space, program.space.face_order, (program.positions, program.positions)
    if primal is not None:
        S = np.asarray(primal.S)
        fits = primal.outputs == space.outputs and S.shape == (order, order)
        if fits and _moderate(S, LARGEST * program.moment_size):
            root = Arrays().positive_factor(0.5 * (S + S.T), order)
            primal = Primal(root @ root.T, space.outputs)
        else:
            primal = None
    if dual is not None:
        W, N = np.asarray(dual.W), np.asarray(dual.N)
        fits = W.shape == program.shape and N.shape in (positions, NO_PRODUCTS.shape)
        largest = LARGEST * (program.loss.size() if program.loss else 1.0)
        if fits and _moderate(W, largest) and _moderate(N, LARGEST * program.dual_size):
            _, products, t = project(program, Dual(W, N))
            dual = raw_dual(W, products, t, gamma=program.gamma)
        else:
            dual = None
    return None if primal is None and dual is None else (primal, dual)


def _moderate(matrix: FloatArray, largest: float) -> bool:
    """True when every entry is at most ``largest`` in size; NaN fails."""
    return bool((np.abs(matrix) <= largest).all())
