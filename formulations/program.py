"""Programs over the lifted cone, as every solver sees them."""

from dataclasses import dataclass, field, replace

import numpy as np

from formulations._validation import FloatArray, IntArray, frozen
from formulations.errors import InputError
from formulations.lifted_space import LiftedSpace


def as_inequalities(rows: FloatArray, space: LiftedSpace) -> FloatArray:
    """Rows ℓ over λ = (α, β, z) as an (r, 2N+k) array; any empty array means none.

    Raises:
        InputError: rows of another length, or numbers that are not finite.
    """
    order = space.phi.stop + space.dimension
    if rows.size == 0:
        return np.zeros((0, order))
    if rows.shape[1:] != (order,):
        raise InputError(f"inequalities over (α, β, z) have {order} columns, so their shape cannot be {rows.shape}.")
    if not np.isfinite(rows).all():
        raise InputError("inequalities must be finite.")
    return rows


def lift_inequalities(rows: FloatArray, N: FloatArray, space: LiftedSpace) -> FloatArray:
    """The form ``ℓᵀNℓ`` over λ = (α, β, z), for symmetric N over φ and then ``rows``."""
    phi, order = space.phi, space.phi.stop + space.dimension
    out = np.zeros((order, order))
    out[phi, phi] = N[phi, phi]
    if len(rows):
        mixed = N[phi, phi.stop :] @ rows
        out[phi] += mixed
        out[:, phi] += mixed.T
        out += rows.T @ N[phi.stop :, phi.stop :] @ rows
    return out


@dataclass(frozen=True, eq=False)
class LiftedProgram:
    """A regularised least-squares program over moment matrices of the lifted cone.

        minimise  ½‖ω∘G[f, v] − T‖_F² + γ/2 (⟨E, G_zz⟩ + tr G_vv)      over  G in the completely positive cone of K(A)

    Its doubly nonnegative (DNN) relaxation asks instead for ``G = J S Jᵀ, S ⪰ 0``, ``diag(G_αβ) = 0`` and
    ``ℓ_pᵀ G ℓ_q ≥ 0`` for all pairs of inequalities ℓ: the 2N entries of φ, then ``inequalities``, of which there are
    none unless the relaxation has been strengthened. The dual variables are W (one row for each feature) and a
    symmetric matrix N over these positions, ``N ≥ 0`` but free at the complementary positions (α_i, β_i), with the
    Lagrangian term ``−½ Σ N_pq ℓ_pᵀGℓ_q``. They are feasible when

        slack(W, N) = γ² zᵀEz − ‖(ω∘W)ᵀ φ_f‖² − γ ℓᵀNℓ

    is positive semidefinite on the face, and then ``⟨W,T⟩ − ½‖W‖²`` is a lower bound on the program's value.

    Attributes:
        space: lifted space with c outputs.
        feature: (f,) index into φ = (α, β) of each feature; distinct.
        weight: (f,) ω > 0.
        target: (f, c) T.
        metric: (k, k) E, positive definite.
        gamma: γ > 0.
        scale, constant: ``original objective = constant + scale · value``.
        inequalities: (r, 2N+k) rows ℓ over (α, β, z) with ``ℓ·λ ≥ 0`` on K(A); see ``formulations.circuits``.
    """

    space: LiftedSpace
    feature: IntArray
    weight: FloatArray
    target: FloatArray
    metric: FloatArray
    gamma: float
    scale: float = 1.0
    constant: float = 0.0
    inequalities: FloatArray = field(default_factory=lambda: np.zeros((0, 0)))

    def __post_init__(self) -> None:
        object.__setattr__(self, "inequalities", as_inequalities(self.inequalities, self.space))

    @property
    def positions(self) -> int:
        """Number of inequalities: 2N signs and r others."""
        return 2 * self.space.neurons + len(self.inequalities)

    @property
    def beyond_signs(self) -> bool:
        """Whether there are inequalities besides the signs."""
        return len(self.inequalities) > 0

    def with_inequalities(self, rows: FloatArray) -> "LiftedProgram":
        """The same program with these inequalities (r, 2N+k) in place of its own.

        Raises:
            InputError: rows that do not fit.
        """
        return replace(self, inequalities=rows)

    @property
    def moment_size(self) -> float:
        """About the size ‖T‖/‖ω‖ of a moment matrix that fits the targets."""
        return float(np.linalg.norm(self.target)) / float(np.linalg.norm(self.weight))

    @property
    def dual_size(self) -> float:
        """About the size of N in a dual."""
        return self.gamma * float(np.abs(self.metric).max())

    def value(self, G: FloatArray) -> float:
        """Objective of a moment matrix G (order × order), in this program's own scale."""
        residual = self.weight[:, None] * G[self.feature, self.space.v] - self.target
        G_zz = G[self.space.z, self.space.z]
        trace = float(np.sum(self.metric * G_zz) + np.trace(G[self.space.v, self.space.v]))
        return 0.5 * float(np.sum(residual**2)) + 0.5 * self.gamma * trace

    def dual_value(self, W: FloatArray) -> float:
        """⟨W,T⟩ − ½‖W‖², in this program's own scale."""
        return float(np.sum(W * self.target) - 0.5 * np.sum(W**2))

    def to_original(self, value: float) -> float:
        """A value of this program in the units of the original objective."""
        return self.constant + self.scale * value

    def to_own(self, value: float) -> float:
        """Inverse of ``to_original``, up to rounding."""
        return (value - self.constant) / self.scale

    def slack(self, W: FloatArray, N: FloatArray) -> FloatArray:
        """The dual slack in the face coordinates (β, z), a symmetric matrix of order N+k."""
        space = self.space.with_outputs(0)
        Q = np.zeros((space.order, space.order))
        weighted = np.zeros((2 * space.neurons, self.target.shape[1]))
        weighted[self.feature] = self.weight[:, None] * W
        Q[space.phi, space.phi] = -(weighted @ weighted.T)
        Q[space.z, space.z] = self.gamma**2 * self.metric
        Q -= self.gamma * lift_inequalities(self.inequalities, N, space)
        return space.pull_back(Q)


NO_PRODUCTS = np.zeros((0, 0))
frozen(NO_PRODUCTS)


@dataclass(frozen=True, eq=False)
class RawDual:
    """Dual variables of a ``LiftedProgram`` as a solver left them: nothing about them is trusted.

    ``W`` is (f, c); ``N`` is (positions, positions) and includes the free complementarity multipliers at (α_i, β_i), or
    ``NO_PRODUCTS`` (0×0) where there are no multipliers: then nothing of quadratic size is ever built.
    ``on_equalities`` (q,) are the free multipliers of a form program's equalities, if it has any.
    """

    W: FloatArray
    N: FloatArray
    on_equalities: FloatArray = field(default_factory=lambda: np.zeros(0))


@dataclass(frozen=True, eq=False)
class RawPrimal:
    """Primal iterate of a ``LiftedProgram``: the face matrix S, or without an output block its (β, z) part.

    ``S`` is (N+k+c) or (N+k) square; ``outputs`` tells which.
    """

    S: FloatArray
    outputs: int
