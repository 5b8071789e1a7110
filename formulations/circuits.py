"""Circuit inequalities: what the lifted cone satisfies beyond signs and complementarity.

Let r_1, …, r_2N be the rows of A and of −A, and ``φ_k(z) = (r_k·z)₊``, so that φ = (α, β). By convexity

    Σ_j c_j r_j = r_k,  c ≥ 0    implies    ℓ = Σ_j c_j φ_j − φ_k ≥ 0    on K(A).

The doubly nonnegative relaxation does not imply these inequalities, nor their products with each other and with φ. In
the plane all of them follow from 2N; in general a linear program finds violated ones: for a target k and an inequality
q minimise ``Σ c_j (Gq)_j − (Gq)_k``. A basic solution of it rests on linearly independent rows, as a certificate needs.
"""

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import scipy

from formulations._validation import FloatArray, IntArray
from formulations.errors import InputError

NEGLIGIBLE = 1e-9  # Coefficients below this part of the largest are taken for zero, and so are reduced costs.
INDEPENDENT = 1e-9  # Rows of unit length whose distance from the span of others is below this count as dependent.
_PIVOTS = 10  # Of a small linear program at most, times k.
_BATCH_ENTRIES = 1 << 22  # Numbers in the largest array of a batch of linear programs.


@dataclass(frozen=True, eq=False)
class CircuitSet:
    """Inequalities ``Σ_j c_j φ_j − φ_k ≥ 0``, one for each entry.

    Attributes:
        target: (e,) positions k in φ.
        coefficients: (e, 2N) c ≥ 0, zero off the support and at the target.
    """

    target: IntArray
    coefficients: FloatArray

    def __post_init__(self) -> None:
        target, c = self.target, self.coefficients
        if target.ndim != 1 or c.ndim != 2 or len(c) != len(target):
            raise InputError(f"{target.shape} targets do not go with coefficients of shape {c.shape}.")
        if len(target) and not (target.min() >= 0 and target.max() < c.shape[1]):
            raise InputError(f"a circuit has a target outside 0..{c.shape[1] - 1}.")
        if not (np.isfinite(c).all() and (c >= 0).all() and (c[np.arange(len(c)), target] == 0).all()):
            raise InputError("circuits need finite nonnegative coefficients, and zero at their targets.")

    @classmethod
    def none(cls, neurons: int) -> "CircuitSet":
        """No circuits over N neurons."""
        return cls(np.zeros(0, dtype=np.int64), np.zeros((0, 2 * neurons)))

    def __len__(self) -> int:
        return len(self.target)

    @property
    def keys(self) -> list[tuple[int, tuple[int, ...]]]:
        """What tells circuits apart: (target, support), positions with c_j > 0, ascending."""
        supports = (tuple(np.flatnonzero(c).tolist()) for c in self.coefficients)
        return list(zip(self.target.tolist(), supports, strict=True))

    def take(self, index: IntArray) -> "CircuitSet":
        """The circuits with these numbers."""
        return CircuitSet(self.target[index], self.coefficients[index])

    def joined(self, other: "CircuitSet") -> "CircuitSet":
        """These circuits, followed by others."""
        return CircuitSet(
            np.concatenate([self.target, other.target]), np.concatenate([self.coefficients, other.coefficients])
        )

    def rows(self, dimension: int) -> FloatArray:
        """The inequalities over λ = (α, β, z) as an (e, 2N+dimension) array."""
        phi = self.coefficients.copy()
        phi[np.arange(len(self)), self.target] = -1.0
        return np.hstack([phi, np.zeros((len(self), dimension))])


Supports = Collection[tuple[int, tuple[int, ...]]]
"""(target, support) of circuits whose coefficients follow from the rows."""


def signed_rows(generators: FloatArray) -> FloatArray:
    """The rows r_1, …, r_2N (2N×k) of A and −A."""
    return np.concatenate([generators, -generators])


def planar_circuits(generators: FloatArray) -> Supports:
    """All circuits that matter for N rows in the plane, no two of them parallel: consecutive triples of the 2N rays.

    Every other circuit is a nonnegative combination of these. Two rows have none.
    """
    if generators.shape[1] != 2:
        raise InputError(f"circuits in the plane need rows with 2 entries, not {generators.shape[1]}.")
    if len(generators) < 3:
        return []
    rows = signed_rows(generators)
    order = np.argsort(np.arctan2(rows[:, 1], rows[:, 0]), kind="stable")
    before, after = np.roll(order, 1), np.roll(order, -1)
    return [(int(k), (int(i), int(j))) for i, k, j in zip(before, order, after, strict=True)]


def independent_rows(generators: FloatArray, without: int = -1) -> IntArray:
    """Indices of linearly independent rows that span all but the row ``without``: the largest residual goes first."""
    unit = generators / np.linalg.norm(generators, axis=1)[:, None]
    if without >= 0:
        unit[without] = 0.0
    R, order = scipy.linalg.qr(unit.T, mode="r", pivoting=True)
    return np.asarray(order[: np.count_nonzero(np.abs(np.diag(R)) > INDEPENDENT)], dtype=np.int64)


def starting_bases(generators: FloatArray) -> IntArray:
    """(N, k) independent rows for each generator, not itself among them; −1 where the others do not span the space."""
    N, k = generators.shape
    common = independent_rows(generators)
    out = np.full((N, k), -1, dtype=np.int64)
    if len(common) < k:
        return out
    out[:] = common
    for i in common:
        own = independent_rows(generators, without=int(i))
        out[i] = own if len(own) == k else -1
    return out


def cheapest_circuits(generators: FloatArray, target: IntArray, cost: FloatArray) -> tuple[IntArray, FloatArray]:
    """Minimise ``cost_b · c`` over ``c ≥ 0, Σ c_j r_j = r_k`` for each k = target_b.

    A primal simplex that runs in step for all of these small linear programs. Since r_j and −r_j are both at hand, any
    basis is feasible after a choice of signs. Pivots are limited: whatever comes out is a circuit, if not always the
    cheapest.

    Args:
        generators: (N, k) A, of rank k.
        target: (b,) positions in φ; the other rows must span the space.
        cost: (b, 2N), nonnegative.

    Returns:
        Bases (b, k), positions in φ of independent rows, and their coefficients (b, k) ≥ 0.
    """
    N, k = generators.shape
    bases = starting_bases(generators)[target % N]
    if (bases < 0).any():
        raise InputError("a target does not depend on the other rows; leave it out.")
    coefficients = np.zeros(bases.shape)
    size = max(1, _BATCH_ENTRIES // max(2 * N, k * k))
    for start in range(0, len(target), size):
        part = slice(start, start + size)
        bases[part], coefficients[part] = _simplex(signed_rows(generators), target[part], cost[part], bases[part])
    return bases, coefficients


def _simplex(rows: FloatArray, target: IntArray, cost: FloatArray, bases: IntArray) -> tuple[IntArray, FloatArray]:
    N, k = len(rows) // 2, rows.shape[1]
    bases = bases.copy()
    c = _solve(rows[bases].transpose(0, 2, 1), rows[target])
    bases = np.where(c < 0, (bases + N) % (2 * N), bases)
    coefficients = np.abs(c)
    running = np.arange(len(target))
    for _ in range(_PIVOTS * k):
        own, number = bases[running], np.arange(len(running))
        price = _solve(rows[own], np.take_along_axis(cost[running], own, axis=1))
        reduced = cost[running] - price @ rows.T
        reduced[number[:, None], own] = np.inf
        reduced[number, target[running]] = np.inf
        entering = np.argmin(reduced, axis=1)
        column = _solve(rows[own].transpose(0, 2, 1), rows[entering])
        at = coefficients[running]
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(column > NEGLIGIBLE, at / column, np.inf)
        leaving = np.argmin(ratio, axis=1)
        length = ratio[number, leaving]
        limit = -NEGLIGIBLE * np.maximum(np.abs(cost[running]).max(axis=1), 1e-300)
        going = (reduced[number, entering] < limit) & np.isfinite(length)
        running, number = running[going], number[going]
        if not len(running):
            break
        entering, leaving, length = entering[going], leaving[going], length[going]
        at = np.maximum(at[going] - length[:, None] * column[going], 0.0)
        at[np.arange(len(running)), leaving] = length
        bases[running, leaving] = entering
        coefficients[running] = at
    return bases, coefficients


def _solve(matrices: FloatArray, right: FloatArray) -> FloatArray:
    return np.asarray(np.linalg.solve(matrices, right[..., None])[..., 0], dtype=np.float64)


def violated_circuits(
    generators: FloatArray,
    moments: FloatArray,
    *,
    tolerance: float,
    count: int,
    most_programs: int = 20_000,
) -> dict[tuple[int, tuple[int, ...]], float]:
    """Circuits (target, support) whose products with known inequalities a moment matrix violates, the worst first.

    Each product is a linear program. The violation is ``−ℓᵀGq / (‖ℓ‖ √(G_qq · tr G_φφ/2N))``, for the inequality q that
    shows most of it.

    Args:
        generators: (N, k) A of unit rows, rank k, no two parallel.
        moments: (p, p) ``ℓ_pᵀGℓ_q`` of the known inequalities, φ first.
        tolerance: violation below which a circuit is left out.
        count: the most circuits to return.
        most_programs: the most linear programs to solve; those that promise most are taken.
    """
    N = len(generators)
    targets = np.flatnonzero(np.tile((starting_bases(generators) >= 0).all(axis=1), 2))
    unit = np.sqrt(max(float(np.trace(moments[: 2 * N, : 2 * N])) / max(2 * N, 1), 1e-300))
    size = unit * np.sqrt(np.maximum(np.diag(moments), (1e-7 * unit) ** 2))
    across = moments[: 2 * N] / size
    # No circuit with target k is violated by more than this, for its other terms are nonnegative.
    promise = across[targets]
    k, q = np.nonzero(promise > tolerance)
    best = np.argsort(-promise[k, q], kind="stable")[:most_programs]
    target, q = targets[k[best]], q[best]
    if not len(target):
        return {}
    bases, c = cheapest_circuits(generators, target, np.maximum(across.T[q], 0.0))
    c = np.where(c > NEGLIGIBLE * c.max(axis=1, keepdims=True), c, 0.0)
    value = across[target, q] - np.sum(c * across[bases, q[:, None]], axis=1)
    violation = value / np.sqrt(1.0 + np.sum(c**2, axis=1))
    found: dict[tuple[int, tuple[int, ...]], float] = {}
    for b in np.argsort(-violation, kind="stable"):
        if not (violation[b] > tolerance) or len(found) >= count:
            break
        found.setdefault((int(target[b]), tuple(sorted(bases[b, c[b] > 0].tolist()))), float(violation[b]))
    return found
