"""Changes of coordinates: a program in coordinates where solvers converge, and the way back for all that they find."""

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from formulations._validation import FloatArray
from formulations.groups import GroupedDual
from formulations.lifted_space import LiftedSpace
from formulations.program import Dual, Primal, Program

RANK_TOLERANCE = 1e-12  # Relative singular value of the unit rows below which a direction of u is null.
WHITENING_STEPS = 5  # Turns of unit rows and whitening.
WHITENING_FLOOR = 1e-10  # Smallest eigenvalue that a turn divides by, relative.
# Most by which whitening stretches one direction of u beyond another. The cost of u becomes TᵀT, the square of it:
# beyond some 1e8 solvers lose digits of it, and beyond 1e16 it is singular in float64. A direction that the data hardly
# see costs a network so much that it need not look like the others.
LARGEST_STRETCH = 1e4


@dataclass(frozen=True, eq=False)
class Scaling:
    """``given`` in the coordinates of ``program``: α = phi∘α', β = phi∘β', z = Zz', v = νv', and W = unit·W'.

    A value, without its constant, is ``unit²`` times that of ``program``. ``undo`` leads back to ``given``, ``apply``
    there; what is null in the data of a training program is left out of z'.

    Attributes:
        phi: (N,) sizes of the generators of ``given`` where those of ``program`` have size one.
        z: (k, k') Z.
        v: ν.
        unit: of W.
        rows: (r,) sizes of the inequalities of ``given`` where those of ``program`` have size one.
        inverse: (k', k) of Z, by default the pseudoinverse.
    """

    given: Program
    program: Program
    phi: FloatArray
    z: FloatArray
    v: float
    unit: float
    rows: FloatArray = field(default_factory=lambda: np.zeros(0))
    inverse: FloatArray | None = None

    def with_inequalities(self, rows: FloatArray) -> "Scaling":
        """The same scaling with these inequalities (r, 2N+k) of ``given``; those of ``program`` have unit norm."""
        given = self.given.with_inequalities(rows)
        rows, split = given.inequalities, 2 * len(self.phi)
        scaled = np.hstack([rows[:, :split] * np.tile(self.phi, 2), rows[:, split:] @ self.z])
        norm = np.linalg.norm(scaled, axis=1)
        norm = np.where(norm > 0, norm, 1.0)
        return replace(self, given=given, program=self.program.with_inequalities(scaled / norm[:, None]), rows=norm)

    def _products(self, count: int) -> FloatArray:
        """Sizes of the products of so many inequalities, φ first; beyond all others that of an output (``Part``)."""
        position = np.concatenate([self.phi, self.phi, self.rows, [self.unit / self.v]])[:count]
        return np.outer(position, position)

    def undo_dual(self, dual: Dual) -> Dual:
        """The same dual for ``given``."""
        if isinstance(dual, GroupedDual):
            return dual.scaled(self.unit, self.phi)
        return Dual(self.unit * dual.W, self.unit**2 * dual.N / self._products(len(dual.N)))

    def apply_dual(self, dual: Dual) -> Dual:
        """Inverse of ``undo_dual``."""
        if isinstance(dual, GroupedDual):
            return dual.scaled(1.0 / self.unit, 1.0 / self.phi)
        return Dual(dual.W / self.unit, dual.N * self._products(len(dual.N)) / self.unit**2)

    def undo_z(self, z: FloatArray) -> FloatArray:
        """Points z (k, or k×m) of points z' (k', or k'×m)."""
        return np.asarray(self.z @ z)

    @cached_property
    def _inverse(self) -> FloatArray:
        return np.asarray(np.linalg.pinv(self.z), dtype=np.float64) if self.inverse is None else self.inverse

    def apply_z(self, z: FloatArray) -> FloatArray:
        """Inverse of ``undo_z``; what lies in the null space of the data is dropped."""
        return np.asarray(self._inverse @ z)

    def apply_v(self, v: FloatArray) -> FloatArray:
        """Output coordinates v' of output weights v (c, or c×m)."""
        return v / self.v

    def undo_primal(self, primal: Primal) -> Primal:
        """The same face matrix for ``given``; that of a form is normalised."""
        S = congruent(primal.S, self.phi, self.z, self.v)
        if self.given.loss is None:
            z = slice(len(self.phi), len(self.phi) + len(self.z))
            size = float(np.sum(self.given.metric * S[z, z]))
            S = S / size if size > 0 else S
        return Primal(S, primal.outputs)

    def apply_primal(self, primal: Primal) -> Primal:
        """Inverse of ``undo_primal``, as far as there is one."""
        return Primal(congruent(primal.S, 1.0 / self.phi, self._inverse, 1.0 / self.v), primal.outputs)

    def undo_moment(self, primal: Primal) -> FloatArray:
        """The moment matrix G_zz (k×k) of ``given``: of the hidden weights in training."""
        z = slice(len(self.phi), len(self.phi) + self.z.shape[1])
        return np.asarray(self.z @ primal.S[z, z] @ self.z.T)

    def objective(self, G: FloatArray) -> float:
        """The value of a moment matrix of ``program``, in the own scale of ``given``."""
        return self.unit**2 * self.program.value(G)


def congruent(S: FloatArray, phi: FloatArray, z: FloatArray, v: float) -> FloatArray:
    """The congruence ``T S Tᵀ`` with ``T = diag(phi, z, v)``, block by block."""
    N, k = len(phi), z.shape[1]

    def rows(S: FloatArray) -> FloatArray:
        return np.concatenate([phi[:, None] * S[:N], z @ S[N : N + k], v * S[N + k :]])

    return rows(rows(S).T)


def _whitening(A: FloatArray, *, whiten: bool) -> tuple[FloatArray, FloatArray, FloatArray]:
    """(A', T, r) with ``A T = diag(r) A'``, rows of A' of unit norm, and T (d×k) spanning the row space of A."""
    unit = A / np.linalg.norm(A, axis=1)[:, None]
    _, singular, Vt = np.linalg.svd(unit, full_matrices=False)
    T = Vt[singular > RANK_TOLERANCE * singular[0]].T
    Z = unit @ T
    for _ in range(WHITENING_STEPS if whiten else 0):
        Z /= np.linalg.norm(Z, axis=1)[:, None]
        values, vectors = np.linalg.eigh(Z.T @ Z * (Z.shape[1] / Z.shape[0]))
        root = (vectors / np.sqrt(np.maximum(values, WHITENING_FLOOR * values[-1]))) @ vectors.T
        Z, T = Z @ root, T @ root
    left, stretch, right = np.linalg.svd(T, full_matrices=False)
    T = (left * np.minimum(stretch, LARGEST_STRETCH * stretch[-1])) @ right
    Z = A @ T
    r: FloatArray = np.linalg.norm(Z, axis=1)
    return Z / r[:, None], T, r


def rescale(given: Program, *, whiten: bool = True) -> Scaling:
    """Scale a training program without zero rows: generators of unit norm, numbers of order one, and a whitened u.

    With ``whiten=False`` u stays orthonormal, so that the metric stays a multiple of I.
    """
    assert given.loss is not None
    A, T, r = _whitening(given.space.generators, whiten=whiten)
    T, inverse = _cheapest(T, given.cost())
    metric = T.T @ given.metric @ T
    mean = float(np.trace(metric)) / len(metric)
    unit = given.loss.size()
    f = given.feature % len(r)
    # The features' share of G is about as large as W, and that of z as that of v.
    t = unit / float(np.linalg.norm(given.weight * r[f])) / np.sqrt(mean)
    phi, v = np.sqrt(t) * r, np.sqrt(mean * t)
    program = Program(
        space=LiftedSpace(A, given.space.outputs),
        metric=metric / mean,
        region=T.T @ given.region @ T / mean if given.region.size else given.region,
        share=given.share,
        loss=replace(given.loss, unit=given.loss.unit * unit),
        feature=given.feature,
        weight=given.weight * phi[f] * v / unit,
        gamma=given.gamma * mean * t / unit**2,
        scale=given.scale * unit**2,
        constant=given.constant,
    )
    scaling = Scaling(given, program, phi, np.sqrt(t) * T, float(v), unit, inverse=inverse / np.sqrt(t))
    return scaling.with_inequalities(given.inequalities)


def _cheapest(T: FloatArray, cost: FloatArray) -> tuple[FloatArray, FloatArray]:
    """(T', its inverse): of the points that the data do not tell from Tz', with T in their row space, the cheapest.

    That is Tz' itself unless some coordinates cost less than others: with a free hidden bias a constant column, or
    columns of categories that add up to one, can stand in for the bias, and should not.
    """
    inverse = np.asarray(np.linalg.pinv(T), dtype=np.float64)
    null = np.linalg.qr(T, mode="complete")[0][:, T.shape[1] :]
    own = null.T @ cost @ null
    if not null.size or not np.linalg.eigvalsh(own)[0] > RANK_TOLERANCE * np.abs(cost).max():
        return T, inverse
    return T - null @ np.linalg.solve(own, null.T @ cost @ T), inverse
