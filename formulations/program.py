"""Programs over the lifted cone, as every solver sees them."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from formulations._validation import FloatArray, IntArray, frozen
from formulations.errors import InputError
from formulations.lifted_space import LiftedSpace
from formulations.loss import Loss

NO_PRODUCTS = np.zeros((0, 0))
frozen(NO_PRODUCTS)


@dataclass(frozen=True, eq=False)
class Program:
    """A loss, or a form, over moment matrices G of the lifted cone. ``loss`` tells which of two kinds it is:

        training   minimise  L(κ∘G[f, v]) + γ/2 (⟨E, G_zz⟩ + tr G_vv)
        pricing    minimise  ½⟨C, G⟩  subject to  ⟨E, G_zz⟩ = 1                             (``Program.of_form``)

    over G in the completely positive cone of K(A). The doubly nonnegative (DNN) relaxation asks instead for
    ``G = J S Jᵀ, S ⪰ 0``, ``diag(G_αβ) = 0`` and ``ℓ_pᵀ G ℓ_q ≥ 0`` for all pairs of inequalities ℓ: the 2N entries of
    φ, then ``inequalities``, of which there are none unless the relaxation has been strengthened. Its dual variables
    are W (one row for each row of the loss) and a symmetric matrix N over these positions, ``N ≥ 0`` but free at the
    complementary ones (α_i, β_i), with the Lagrangian term ``−½ Σ N_pq ℓ_pᵀGℓ_q``. They are feasible when

        training   γ² zᵀEz − ‖(κ∘W)ᵀ φ_f‖² − γ ℓᵀNℓ          and prove the lower bound −L*(−W)
        pricing    λᵀCλ − δ zᵀEz − ℓᵀNℓ                      and prove the lower bound δ on ⟨C, G⟩

    is positive semidefinite on the face.

    Attributes:
        space: lifted space; with c outputs in training, without any in pricing.
        metric: (k, k) E, positive definite.
        loss: L of training; None in pricing.
        feature: (f,) index into φ = (α, β) of each row of the loss; rows may share one.
        weight: (f,) κ ≥ 0 of each row.
        form: (order, order) C of pricing, symmetric, over λ = (α, β, z); 0×0 in training.
        inequalities: (r, 2N+k) rows ℓ over (α, β, z) with ``ℓ·λ ≥ 0`` on the part of K(A) that is meant.
        region, share: (k, k) Q with ``zᵀQz ≥ 0`` where a cost is meant that E only bounds from below: that cost is
            ``E + share·Q``, and may be singular. 0×0 where E is the cost.
        gamma: γ > 0; 1 in pricing.
        scale, constant: ``original objective = constant + scale · value``.

    Raises:
        InputError: shapes that disagree, or numbers of form, metric and inequalities that are not finite.
    """

    space: LiftedSpace
    metric: FloatArray
    loss: Loss | None = None
    feature: IntArray = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    weight: FloatArray = field(default_factory=lambda: np.zeros(0))
    form: FloatArray = field(default_factory=lambda: NO_PRODUCTS)
    inequalities: FloatArray = field(default_factory=lambda: NO_PRODUCTS)
    region: FloatArray = field(default_factory=lambda: NO_PRODUCTS)
    share: float = 0.0
    gamma: float = 1.0
    scale: float = 1.0
    constant: float = 0.0

    def __post_init__(self) -> None:
        k, order = self.space.dimension, self.space.phi.stop + self.space.dimension
        rows = self.inequalities if self.inequalities.size else np.zeros((0, order))
        if rows.shape[1:] != (order,):
            raise InputError(
                f"inequalities over (α, β, z) have {order} columns, so their shape cannot be {rows.shape}."
            )
        if self.loss is None:
            if self.space.outputs:
                raise InputError("a form has no output block; use space.with_outputs(0).")
            if self.form.shape != (order, order) or self.metric.shape != (k, k):
                raise InputError(
                    f"a program of order {order} and dimension {k} cannot have a form of shape {self.form.shape} "
                    f"and a metric of shape {self.metric.shape}."
                )
        # What presolve makes of extreme data is for the solvers to refuse.
        given = (rows,) if self.loss is not None else (rows, self.form, self.metric)
        if not all(np.isfinite(array).all() for array in given):
            raise InputError("form, metric and inequalities must be finite.")
        object.__setattr__(self, "inequalities", rows)

    @classmethod
    def of_form(
        cls,
        space: LiftedSpace,
        form: FloatArray,
        metric: FloatArray,
        inequalities: FloatArray = NO_PRODUCTS,
        **more: Any,
    ) -> "Program":
        """How small a quadratic form gets. Its own value is half the form, so that N means the same as in training."""
        return cls(space, metric, form=form, inequalities=inequalities, scale=2.0, **more)

    def cost(self, share: float = 0.0) -> FloatArray:
        """The cost of z less this share of the region's form; positive definite for shares between 0 and 1."""
        return self.metric + (self.share - share) * self.region if self.region.size else self.metric

    def with_share(self, share: float) -> "Program":
        """The same program with another share of the region in E; itself without a region."""
        return replace(self, metric=self.cost(share), share=share) if self.region.size else self

    @property
    def positions(self) -> int:
        """Number of inequalities: 2N signs and r others."""
        return 2 * self.space.neurons + len(self.inequalities)

    @property
    def beyond_signs(self) -> bool:
        """Whether there are inequalities besides the signs."""
        return len(self.inequalities) > 0

    def with_inequalities(self, rows: FloatArray) -> "Program":
        """The same program with these inequalities (r, 2N+k) in place of its own; InputError where they do not fit."""
        return replace(self, inequalities=rows)

    @property
    def shape(self) -> tuple[int, int]:
        """(f, c), the shape of W; (0, 0) in pricing."""
        return (0, 0) if self.loss is None else self.loss.shape

    @property
    def moment_size(self) -> float:
        """About the size of a moment matrix: of fitted values as large as W, or the normalised multiple of I."""
        if self.loss is None:
            return 1.0 / max(float(np.trace(self.metric)), 1e-300)
        return self.loss.size() / float(np.linalg.norm(self.weight))

    @property
    def dual_size(self) -> float:
        """About the size of N in a dual."""
        if self.loss is None:
            return max(float(np.abs(self.form).max()), 1e-300)
        return self.gamma * float(np.abs(self.metric).max())

    def value(self, G: FloatArray) -> float:
        """Objective of a moment matrix G (order × order) in the program's own scale; in pricing G is normalised."""
        cost = float(np.sum(self.cost() * G[self.space.z, self.space.z]))
        if self.loss is None:
            return 0.5 * float(np.sum(self.form * G)) / cost if cost > 0 else float("inf")
        return self.loss.value(self.weight[:, None] * G[self.feature, self.space.v]) + 0.5 * self.gamma * (
            cost + float(np.trace(G[self.space.v, self.space.v]))
        )

    def dual_value(self, W: FloatArray) -> float:
        """What W proves in training, in the program's own scale."""
        return 0.0 if self.loss is None else self.loss.dual_value(W)

    def best_scale(self, W: FloatArray, h_bar: float = 0.0, margin: float = 0.0) -> float:
        """The s ≥ 0 for which sW proves most, where ``h_bar`` bounds the price of W and s times that must be below γ.

        It is 0 where no multiple of W proves more than W = 0. ``margin`` is relative, and given away.
        """
        best = 0.0 if self.loss is None else self.loss.best_scale(W)
        limit = np.inf if h_bar == 0 else self.gamma / (h_bar * (1.0 + margin))
        return min(best, limit) if best > 0 and limit > 0 else 0.0

    def to_original(self, value: float) -> float:
        """A value of this program in the units of the original objective; ⟨C, G⟩ in pricing."""
        return self.constant + self.scale * value

    def to_own(self, value: float) -> float:
        """Inverse of ``to_original``, up to rounding."""
        return (value - self.constant) / self.scale

    def lift_inequalities(self, N: FloatArray) -> FloatArray:
        """The form ``ℓᵀNℓ`` over λ = (α, β, z), for symmetric N over all inequalities."""
        phi, rows = self.space.phi, self.inequalities
        order = phi.stop + self.space.dimension
        out = np.zeros((order, order))
        out[phi, phi] = N[phi, phi]
        if len(rows):
            mixed = N[phi, phi.stop :] @ rows
            out[phi] += mixed
            out[:, phi] += mixed.T
            out += rows.T @ N[phi.stop :, phi.stop :] @ rows
        return out

    def inequality_moments(self, S: FloatArray) -> FloatArray:
        """``ℓ_pᵀ G ℓ_q`` of all pairs of inequalities, for the moment matrix G of a face matrix S; symmetric."""
        G = self.space.moment(S)[: self.inequalities.shape[1], : self.inequalities.shape[1]]
        across = np.concatenate([G[self.space.phi], self.inequalities @ G])
        moments: FloatArray = np.hstack([across[:, self.space.phi], across @ self.inequalities.T])
        return 0.5 * (moments + moments.T)

    def features_of(self, W: FloatArray) -> FloatArray:
        """W̃ (2N×c) with ``W̃ᵀφ = (κ∘W)ᵀφ_f``: what the rows of W (f×c) add up to at each feature.

        InputError where W has another shape than the targets.
        """
        if W.shape != self.shape:
            raise InputError(f"W has shape {W.shape}, but the program has targets of shape {self.shape}.")
        total = np.zeros((2 * self.space.neurons, W.shape[1]))
        np.add.at(total, self.feature, self.weight[:, None] * W)
        return total

    def pricing(self, W: FloatArray) -> "Program":
        """Pricing with fixed W (f×c): its value is ``−h²`` for ``h = max ‖(κ∘W)ᵀφ_f‖`` over ``zᵀEz ≤ 1``.

        The inequalities are taken over. InputError where W has another shape than the targets.
        """
        space = self.space.with_outputs(0)
        form, phi = np.zeros((space.order, space.order)), self.features_of(W)
        form[space.phi, space.phi] = -phi @ phi.T
        return Program.of_form(space, form, self.metric, self.inequalities, region=self.region, share=self.share)

    def slack(self, point: FloatArray | float, N: FloatArray) -> FloatArray:
        """The dual slack in the face coordinates (β, z), of order N+k: of a W in training, of a δ in pricing."""
        form, delta = (self.pricing(point), -(self.gamma**2)) if isinstance(point, np.ndarray) else (self, point)
        Q = form.form - self.gamma * self.lift_inequalities(N)
        Q[form.space.z, form.space.z] -= delta * self.metric
        return form.space.pull_back(Q)


@dataclass(frozen=True, eq=False)
class Dual:
    """Dual variables of a ``Program`` as a solver left them: nothing about them is trusted.

    ``W`` is (f, c); ``N`` is (positions, positions) and includes the free complementarity multipliers at (α_i, β_i), or
    ``NO_PRODUCTS`` (0×0) where there are no multipliers: then nothing of quadratic size is ever built.
    """

    W: FloatArray
    N: FloatArray

    def times(self, factor: float) -> "Dual":
        """W and N times ``factor``."""
        return Dual(factor * self.W, factor * self.N)


@dataclass(frozen=True, eq=False)
class Primal:
    """Primal iterate of a ``Program``: the face matrix S, or without an output block its (β, z) part.

    ``S`` is (N+k+c) or (N+k) square; ``outputs`` tells which.
    """

    S: FloatArray
    outputs: int
