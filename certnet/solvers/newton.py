"""The Newton system of the interior point over 1..L faces: HKM direction, Schur complement, step length.

Several faces (the leaves of a tree) share W alone, so the Schur complement has the shape of an arrow: each face has a
block for its own multipliers, which is eliminated, and what remains is as large as W. Of a single face W belongs to the
block. An output bias a is a border, ``[H B; Bᵀ −decay]``: ``B a`` is a at every row, and ``Bᵀ W = decay·a``.
Directions: Helmberg, Rendl, Vanderbei, Wolkowicz 1996; predictor and corrector: Mehrotra 1992.
"""

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Executor
from typing import Any, NamedTuple, TypeVar

import numpy as np
import scipy.linalg as sl

from certnet.runtime.blocks import side_by_side
from certnet.solvers.iterate import FaceIterate, FacePoint, Iterate, Measure
from certnet.solvers.iterations import conjugate_gradients
from certnet.solvers.linear_algebra import (
    factor_in_place,
    longest_positive_step,
    longest_step,
    solve_factored,
    symmetric,
)
from formulations._validation import FloatArray, IntArray

REGULARISATION = (1e-13, 1e-10, 1e-7)
"""Shifts of the scaled Schur complement, tried in turn."""
CG_STEPS = 8
# Part of a residual that conjugate gradients may leave; a second pass solves for the rest. Measured: 8 leaves of 120
# rows of pima indians (γ = 3) show the same bound in five digits after 26 CPU seconds, with 1e-10 after 32.
CG_TOLERANCE = 1e-5
LEAST_CENTRING = 1e-6
T = TypeVar("T")


class _Block(NamedTuple):
    """A face's own multipliers, eliminated: where they and the W' that they see are, the factor L and ``L⁻¹B``."""

    shared: IntArray
    own: IntArray
    factor: FloatArray
    coupling: FloatArray


class NewtonSystem:
    """Linearised optimality conditions at a point. Vectors are W' first, then each face's own multipliers.

    Faces are worked on side by side, where an executor is given by that.
    """

    def __init__(self, at: Measure, executor: Executor | None = None) -> None:
        self._at, self._points, self._loss, self._executor = at, at.points, at.loss, executor
        self._size = at.loss.size
        self._ratio = at.at.s / at.gaps
        self._curvature = at.loss.curvature(at.at.W, self._ratio)
        self._is_arrow = len(self._points) > 1
        self._index: list[IntArray] = []
        rows, diagonal = [at.rows], [self._curvature.diagonal]
        end = self._size
        for point in self._points:
            entries, signed = point.problem.entries, point.signed
            own, ratio = np.ones(len(point.at.y), dtype=bool), np.zeros(len(point.at.y))
            own[entries] = False
            ratio[signed] = point.at.z / point.at.y[signed]
            index = np.empty(len(own), dtype=np.int64)
            index[entries], index[own] = point.problem.shared, np.arange(end, end + own.sum())
            end += int(own.sum())
            self._index.append(index)
            rows.append(point.rows[own])
            diagonal.append(ratio[own])
        self._rows, self._diagonal = (np.concatenate(parts) for parts in (rows, diagonal))
        prepared = self._each(_inverted, self._points)
        self._inverse = [inverse for inverse, *_ in prepared]
        self._factorise([(P, Q) for _, P, Q in prepared])

    def _each(self, work: Callable[..., T], *arguments: Iterable[Any]) -> list[T]:
        return list(side_by_side(work, *arguments, executor=self._executor))

    def _factorise(self, grams: Sequence[tuple[FloatArray, FloatArray]]) -> None:
        diagonal = self._diagonal.copy()
        for point, index, (P, Q) in zip(self._points, self._index, grams, strict=True):
            diagonal[index] += point.constraints.schur_diagonal(P, Q)
        self._scale = 1.0 / np.sqrt(diagonal)
        for shift in REGULARISATION:
            try:
                return self._eliminate(grams, shift)
            except np.linalg.LinAlgError:
                continue
        raise np.linalg.LinAlgError("The Schur complement lost positive definiteness.")

    def _eliminate(self, grams: Sequence[tuple[FloatArray, FloatArray]], shift: float) -> None:
        """Factors L of the faces' own blocks, their couplings ``L⁻¹B`` with W', and the rest; scaled."""
        scale, shared_size = self._scale, self._size if self._is_arrow else 0
        core = np.diag(self._curvature.diagonal[:shared_size] * scale[:shared_size] ** 2 + shift)
        if self._is_arrow:
            self._curvature.add_couplings(core, scale)

        def block(point: FacePoint, index: IntArray, gram: tuple[FloatArray, FloatArray]) -> tuple[_Block, FloatArray]:
            H, entries = point.constraints.schur(*gram, scale[index]), point.problem.entries
            if not self._is_arrow:
                self._curvature.add_couplings(H[entries, entries], scale)
                H[np.diag_indices(len(H))] = 1.0 + shift
                factor_in_place(H)
                return _Block(index[:0], index, H, H[:, :0]), H[:0, :0]
            own, corner, coupling = _split(H, entries)
            own[np.diag_indices(len(own))] = 1.0 + shift
            factor_in_place(own)
            coupling = solve_factored(own, coupling, transposed=False)
            return _Block(index[entries], np.delete(index, entries), own, coupling), corner - coupling.T @ coupling

        found = self._each(block, self._points, self._index, grams)
        self._blocks = [one for one, _ in found]
        for one, corner in found:
            if len(one.shared):
                core[np.ix_(one.shared, one.shared)] += corner
        self._core = np.linalg.cholesky(core)
        self._border()

    def _border(self) -> None:
        """What a unit of each output bias does to the solution, and the bias's own matrix."""
        c = self._loss.outputs if self._loss.bias_decay is not None else 0
        self._bias_image = np.zeros((len(self._scale), c))
        for k in range(c):
            self._bias_image[: self._size, k] = self._loss.repeated(np.eye(c)[k])
            self._bias_image[:, k] = self._solve_without_bias(self._bias_image[:, k])
        head = [self._loss.sums(image[: self._size]) for image in self._bias_image.T]
        self._head = np.reshape(head, (c, c)) + (self._loss.bias_decay or 0.0) * np.eye(c)

    def _solve_without_bias(self, rhs: FloatArray) -> FloatArray:
        x = self._scale * rhs
        parts = self._each(lambda one: solve_factored(one.factor, x[one.own], transposed=False), self._blocks)
        for one, own in zip(self._blocks, parts, strict=True):
            x[one.own] = own
            x[one.shared] -= one.coupling.T @ own
        if self._is_arrow:
            n = self._size
            x[:n] = sl.cho_solve((self._core, True), x[:n], check_finite=False)

        def own_part(one: _Block) -> FloatArray:
            return solve_factored(one.factor, x[one.own] - one.coupling @ x[one.shared], transposed=True)

        for one, own in zip(self._blocks, self._each(own_part, self._blocks), strict=True):
            x[one.own] = own
        solution: FloatArray = self._scale * x
        return solution

    def _solve(self, rhs: FloatArray) -> tuple[FloatArray, FloatArray]:
        """The solution, and the right-hand side without what a free bias takes."""
        x = self._solve_without_bias(rhs)
        if not len(self._head):
            return x, rhs
        a = np.asarray(np.linalg.solve(self._head, self._loss.sums(x[: self._size])), dtype=np.float64)
        if not self._loss.bias_decay:
            rhs = rhs.copy()
            rhs[: self._size] -= self._loss.repeated(a)
        return x - self._bias_image @ a, rhs

    def _moved(self, x: FloatArray) -> list[tuple[FloatArray, FloatArray, FloatArray]]:
        """``Σ x_j A_j`` on each face, the change of S that goes with it, and what the constraints see of that."""

        def moved(point: FacePoint, index: IntArray, inverse: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
            adjoint = point.constraints.adjoint(x[index])
            change = symmetric(point.at.S @ adjoint @ inverse)
            return adjoint, change, point.constraints(change)

        return self._each(moved, self._points, self._index, self._inverse)

    def _smooth(self, x: FloatArray) -> FloatArray:
        """The part of the Schur complement that is not that of the faces, for W' alone: its curvature and its bias."""
        image = self._curvature(x)
        if decay := self._loss.bias_decay:
            image += self._loss.repeated(self._loss.sums(x) / decay)
        return image

    def _apply(self, x: FloatArray) -> FloatArray:
        image: FloatArray = self._diagonal * x
        image[: self._size] = self._smooth(x[: self._size])
        for index, (*_, seen) in zip(self._index, self._moved(x), strict=True):
            image[index] += seen
        return image

    def direction(self, mu: float, predictor: Iterate | None = None) -> Iterate:
        """Direction towards the central path at ``mu``, with Mehrotra's second-order term of a predictor."""

        def begun(
            point: FacePoint, inverse: FloatArray, seen: FaceIterate | None
        ) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
            at, y = point.at, point.at.y[point.signed]
            S, z = mu * inverse - at.S, mu / y - at.z
            if seen is not None:
                S = S - symmetric(seen.S @ seen.M @ inverse)
                z = z - seen.z * seen.y[point.signed] / y
            S = S - symmetric(at.S @ point.dual_matrix @ inverse)
            return S, point.dual_matrix, z, point.constraints(S)

        known = [None] * len(self._points) if predictor is None else predictor.faces
        S, M, z, values = map(list, zip(*self._each(begun, self._points, self._inverse, known), strict=True))
        gaps, loss, W = self._at.gaps, self._loss, slice(0, self._size)
        s = mu / gaps - self._at.at.s
        if predictor is not None:
            s = s - predictor.s * loss.moved(predictor.W) / gaps
        x = np.zeros(len(self._rows))
        for _ in range(2):
            # The second pass solves for what rounding left of the linear equations.
            error = self._rows.copy()
            error[W] += loss.pull(s) - self._smooth(x[W])
            for number, (point, index) in enumerate(zip(self._points, self._index, strict=True)):
                error[index] -= values[number]
                error[index[point.signed]] += z[number]
            step = conjugate_gradients(
                error, self._solve, self._apply, self._scale, steps=CG_STEPS, tolerance=CG_TOLERANCE
            )
            x = x + step
            moved = zip(self._points, self._index, self._moved(step), strict=True)
            for number, (point, index, (adjoint, change, seen)) in enumerate(moved):
                S[number], M[number] = S[number] + change, M[number] - adjoint
                values[number] = values[number] + seen
                z[number] = z[number] - point.at.z / point.at.y[point.signed] * step[index[point.signed]]
        found = zip(self._points, self._index, S, M, z, strict=True)
        faces = [FaceIterate(dS, symmetric(dM), x[i], dz, at.at.p, at.at.q) for at, i, dS, dM, dz in found]
        return Iterate(x[W], s - self._ratio * loss.moved(x[W]), faces)

    def longest(self, direction: Iterate) -> float:
        """Largest common step that keeps S, M, z, the gaps and the multipliers nonnegative.

        Primal and dual share it because W is a primal residual and a dual multiplier at once.
        """

        def longest(point: FacePoint, change: FaceIterate) -> float:
            at, signed = point.at, point.signed
            return min(
                longest_step(at.S, change.S),
                longest_step(at.M, change.M),
                longest_positive_step(at.z, change.z),
                longest_positive_step(at.y[signed], change.y[signed]),
            )

        return min(
            *self._each(longest, self._points, direction.faces),
            longest_positive_step(self._at.gaps, self._loss.moved(direction.W)),
            longest_positive_step(self._at.at.s, direction.s),
        )

    def corrected(self) -> Iterate:
        """Mehrotra's direction: how far the predictor comes tells how much to centre."""
        mu, predictor = self._at.mu, self.direction(0.0)
        if not (mu > 0):
            raise np.linalg.LinAlgError("The iterate is on the boundary of the cone by rounding.")
        there = self._at.at.moved(min(1.0, self.longest(predictor)), predictor)
        left = there.mu([point.problem for point in self._points], self._loss)
        return self.direction(min(1.0, max(LEAST_CENTRING, (left / mu) ** 3)) * mu, predictor)


def _inverted(point: FacePoint) -> tuple[FloatArray, FloatArray, FloatArray]:
    """M⁻¹, and the Gram matrices of S and of M⁻¹."""
    inverse = symmetric(np.asarray(np.linalg.inv(point.at.M), dtype=np.float64))
    return inverse, point.constraints.gram(point.at.S), point.constraints.gram(inverse)


def _split(H: FloatArray, entries: slice) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The rest of a symmetric matrix, these entries of it and its rows of the rest; of H the lower triangle is read."""
    q, end = entries.start, entries.stop
    rest = np.ascontiguousarray(H[end - q :, end - q :])
    rest[:q, :q], rest[q:, :q], rest[q:, q:] = H[:q, :q], H[end:, :q], H[end:, end:]
    corner = np.tril(H[entries, entries])
    return rest, corner + np.tril(corner, -1).T, np.concatenate([H[entries, :q].T, H[end:, entries]])
