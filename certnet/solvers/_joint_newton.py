"""One Newton system of the joint bound: leaves of their own, coupled through W alone.

The Schur complement of the HKM direction has the shape of an arrow: each leaf has a block for its own multipliers (t
and N), and all share the block of W. The leaves are eliminated one after the other; what remains is as large as W.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import scipy.linalg as sl

from certnet.solvers._iterate import Iterate
from certnet.solvers._newton import (
    REFINEMENTS,
    REGULARISATION,
    longest_positive_step,
    longest_step,
    refined,
    symmetric,
)
from certnet.solvers._rank_two import FaceMap
from formulations._validation import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class LeafPoint:
    """An iterate of a leaf and its residuals.

    Attributes:
        at: whose y begins with the entries of W that the leaf has.
        constraints: its constraint map.
        losses: (w,) which entries of W these are.
        fixed: number of constraints that are not products.
        rows: residuals of the rows of t and of the products; those of W are zero here.
        dual_matrix: slack − M.
    """

    at: Iterate
    constraints: FaceMap
    losses: IntArray
    fixed: int
    rows: FloatArray
    dual_matrix: FloatArray

    @cached_property
    def inverse(self) -> FloatArray:
        """M⁻¹."""
        return symmetric(np.asarray(np.linalg.inv(self.at.M), dtype=np.float64))

    @cached_property
    def ratio(self) -> FloatArray:
        """z/y of the products, zero for t; for the leaf's own constraints."""
        own = np.zeros(len(self.at.y) - len(self.losses))
        own[self.fixed - len(self.losses) :] = self.at.z / self.at.y[self.fixed :]
        return own

    @cached_property
    def drift(self) -> FloatArray:
        """What the dual residual moves S by."""
        return symmetric(self.at.S @ self.dual_matrix @ self.inverse)


@dataclass(frozen=True, eq=False)
class LeafChange:
    """Changes of (S, M, y, z) of a leaf; y begins with its entries of W."""

    S: FloatArray
    M: FloatArray
    y: FloatArray
    z: FloatArray


@dataclass(frozen=True, eq=False)
class JointDirection:
    """Changes of W (flat) and of every leaf."""

    W: FloatArray
    leaves: tuple[LeafChange, ...]


@dataclass(frozen=True, eq=False)
class _Eliminated:
    """A leaf's own block, factorised, and its coupling with W: ``coupling = L⁻¹ B``; all scaled."""

    factor: FloatArray
    coupling: FloatArray


class JointNewton:
    """Linearised optimality conditions of W and all leaves. Vectors are W first, then each leaf's own multipliers."""

    def __init__(self, leaves: Sequence[LeafPoint], rows_of_W: FloatArray) -> None:
        self._leaves = leaves
        self._rows = rows_of_W
        self._losses = len(rows_of_W)
        sizes = [len(leaf.at.y) - len(leaf.losses) for leaf in leaves]
        ends = self._losses + np.cumsum(sizes, dtype=np.int64)
        self._parts = [slice(int(end) - size, int(end)) for end, size in zip(ends, sizes, strict=True)]
        self._length = int(ends[-1]) if sizes else self._losses
        self._factorise()

    def _factorise(self) -> None:
        grams = [(leaf.constraints.gram(leaf.at.S), leaf.constraints.gram(leaf.inverse)) for leaf in self._leaves]
        diagonal = np.zeros(self._length)
        diagonal[: self._losses] = 1.0
        for leaf, part, (P, Q) in zip(self._leaves, self._parts, grams, strict=True):
            own = leaf.constraints.schur_diagonal(P, Q)
            diagonal[leaf.losses] += own[: len(leaf.losses)]
            diagonal[part] = own[len(leaf.losses) :] + leaf.ratio
        self._scale = 1.0 / np.sqrt(diagonal)
        for shift in REGULARISATION:
            try:
                self._eliminate(grams, shift)
            except np.linalg.LinAlgError:
                continue
            return
        raise np.linalg.LinAlgError("The Schur complement lost positive definiteness.")

    def _eliminate(self, grams: Sequence[tuple[FloatArray, FloatArray]], shift: float) -> None:
        core = np.diag(self._scale[: self._losses] ** 2 + shift)
        self._eliminated: list[_Eliminated] = []
        for leaf, part, (P, Q) in zip(self._leaves, self._parts, grams, strict=True):
            w = len(leaf.losses)
            H = leaf.constraints.schur(P, Q, np.concatenate([self._scale[leaf.losses], self._scale[part]]))
            own = H[w:, w:]
            own[np.diag_indices(len(own))] = 1.0 + shift
            factor = np.asarray(np.linalg.cholesky(own), dtype=np.float64)
            coupling = sl.solve_triangular(factor, H[w:, :w], lower=True, check_finite=False)
            reduced = np.tril(H[:w, :w])
            reduced = reduced + np.tril(reduced, -1).T - coupling.T @ coupling
            core[np.ix_(leaf.losses, leaf.losses)] += reduced
            self._eliminated.append(_Eliminated(factor, coupling))
        self._core = sl.cho_factor(core, lower=True, check_finite=False)

    def _solve(self, rhs: FloatArray) -> FloatArray:
        x = self._scale * rhs
        halves = []
        for leaf, part, block in zip(self._leaves, self._parts, self._eliminated, strict=True):
            half = sl.solve_triangular(block.factor, x[part], lower=True, check_finite=False)
            x[leaf.losses] -= block.coupling.T @ half
            halves.append(half)
        x[: self._losses] = sl.cho_solve(self._core, x[: self._losses], check_finite=False)
        for leaf, part, block, half in zip(self._leaves, self._parts, self._eliminated, halves, strict=True):
            half = half - block.coupling @ x[leaf.losses]
            x[part] = sl.solve_triangular(block.factor, half, lower=True, trans=1, check_finite=False)
        solution: FloatArray = self._scale * x
        return solution

    def _of_leaf(self, vector: FloatArray, number: int) -> FloatArray:
        """A vector's entries for the constraints of a leaf."""
        return np.concatenate([vector[self._leaves[number].losses], vector[self._parts[number]]])

    def _apply(self, x: FloatArray) -> FloatArray:
        image = np.zeros_like(x)
        image[: self._losses] = x[: self._losses]
        for number, (leaf, part) in enumerate(zip(self._leaves, self._parts, strict=True)):
            adjoint = leaf.constraints.adjoint(self._of_leaf(x, number))
            values = leaf.constraints(symmetric(leaf.at.S @ adjoint @ leaf.inverse))
            image[leaf.losses] += values[: len(leaf.losses)]
            image[part] = values[len(leaf.losses) :] + leaf.ratio * x[part]
        return image

    def direction(self, mu: float, predictor: JointDirection | None = None) -> JointDirection:
        """Direction towards the central path at ``mu``, with Mehrotra's second-order term of a predictor."""
        changes = []
        for number, leaf in enumerate(self._leaves):
            at = leaf.at
            base, shift = mu * leaf.inverse - at.S, mu / at.y[leaf.fixed :] - at.z
            if predictor is not None:
                seen = predictor.leaves[number]
                base = base - symmetric(seen.S @ seen.M @ leaf.inverse)
                shift = shift - seen.z * seen.y[leaf.fixed :] / at.y[leaf.fixed :]
            changes.append(LeafChange(base - leaf.drift, leaf.dual_matrix, np.zeros_like(at.y), shift))
        W = np.zeros(self._losses)
        for _ in range(1 + REFINEMENTS):
            # Each pass solves for what rounding left of the linear equations.
            step = refined(self._error(W, changes), self._solve, self._apply, self._scale)
            W = W + step[: self._losses]
            changes = [self._moved(number, change, step) for number, change in enumerate(changes)]
        return JointDirection(W, tuple(changes))

    def _error(self, W: FloatArray, changes: Sequence[LeafChange]) -> FloatArray:
        error = np.zeros(self._length)
        error[: self._losses] = self._rows - W
        for leaf, part, change in zip(self._leaves, self._parts, changes, strict=True):
            values, w = leaf.constraints(change.S), len(leaf.losses)
            error[leaf.losses] -= values[:w]
            own = leaf.rows[w:] - values[w:]
            own[leaf.fixed - w :] += change.z
            error[part] = own
        return error

    def _moved(self, number: int, change: LeafChange, step: FloatArray) -> LeafChange:
        leaf, y = self._leaves[number], self._of_leaf(step, number)
        adjoint = leaf.constraints.adjoint(y)
        return LeafChange(
            S=change.S + symmetric(leaf.at.S @ adjoint @ leaf.inverse),
            M=symmetric(change.M - adjoint),
            y=change.y + y,
            z=change.z - leaf.at.z / leaf.at.y[leaf.fixed :] * y[leaf.fixed :],
        )

    def step(self, direction: JointDirection) -> float:
        """Largest common step that keeps S, M, z and the products' multipliers of all leaves nonnegative."""
        longest = np.inf
        for leaf, change in zip(self._leaves, direction.leaves, strict=True):
            longest = min(
                longest,
                longest_step(leaf.at.S, change.S),
                longest_step(leaf.at.M, change.M),
                longest_positive_step(leaf.at.z, change.z),
                longest_positive_step(leaf.at.y[leaf.fixed :], change.y[leaf.fixed :]),
            )
        return longest

    def complementarity(self, direction: JointDirection, step: float) -> float:
        """Sum of ⟨S, M⟩ + ⟨z, y⟩ over the leaves after a step."""
        total = 0.0
        for leaf, change in zip(self._leaves, direction.leaves, strict=True):
            at = leaf.at
            total += float(np.sum((at.S + step * change.S) * (at.M + step * change.M)))
            y = at.y[leaf.fixed :] + step * change.y[leaf.fixed :]
            total += float(y @ (at.z + step * change.z))
        return total
