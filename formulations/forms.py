"""How small a quadratic form gets on the lifted cone: pricing with fixed W, and the nodes of a branch and bound."""

from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np

from formulations._validation import FloatArray, IntArray
from formulations.errors import InputError
from formulations.lifted_space import LiftedSpace
from formulations.program import LiftedProgram, as_inequalities, lift_inequalities


@dataclass(frozen=True, eq=False)
class FormProgram:
    """The least value of a quadratic form over normalised moment matrices of the lifted cone.

        minimise  ⟨C, G⟩   subject to   ⟨E, G_zz⟩ = 1   and G in the completely positive cone of K(A)

    The doubly nonnegative relaxation asks for ``G = J S Jᵀ, S ⪰ 0``, ``diag(G_αβ) = 0`` and ``ℓ_pᵀ G ℓ_q ≥ 0`` for all
    pairs of inequalities ℓ: the entries of φ, then ``inequalities``. With a symmetric N ≥ 0 over those positions, free
    at the complementary ones, δ is a lower bound when

        slack(δ, N) = λᵀCλ − δ zᵀEz − ℓᵀNℓ

    is positive semidefinite on the face. Solvers see it as a program without losses: half the form is its own value, so
    that N has the same meaning as in a ``LiftedProgram`` of γ = 1. Quadratics Q_k that vanish on the set may be given
    as well; then ``Σ s_k zᵀQ_kz`` with free s is subtracted from the slack, too. A ball ``‖y‖ ≤ t`` is the equality
    ``t² − ‖y‖² − w² = 0`` with a coordinate w of its own, and the slack at w keeps the sign of its multiplier.

    Attributes:
        space: lifted space without outputs.
        form: (order, order) C, symmetric, over λ = (α, β, z).
        metric: (k, k) E, positive definite.
        inequalities: (r, order) rows ℓ with ``ℓ·λ ≥ 0`` on the part of K(A) that is meant.
        equalities: (q, k, k) symmetric Q with ``zᵀQz = 0`` there.
    """

    space: LiftedSpace
    form: FloatArray
    metric: FloatArray
    inequalities: FloatArray = field(default_factory=lambda: np.zeros((0, 0)))
    equalities: FloatArray = field(default_factory=lambda: np.zeros((0, 0, 0)))

    def __post_init__(self) -> None:
        order, k = self.space.order, self.space.dimension
        if self.space.outputs:
            raise InputError("a form program has no output block; use space.with_outputs(0).")
        if self.form.shape != (order, order) or self.metric.shape != (k, k):
            raise InputError(
                f"a form program of order {order} and dimension {k} cannot have a form of shape {self.form.shape} "
                f"and a metric of shape {self.metric.shape}."
            )
        equalities = self.equalities if len(self.equalities) else np.zeros((0, k, k))
        if equalities.shape[1:] != (k, k):
            raise InputError(f"equalities over z have shape (q, {k}, {k}), not {equalities.shape}.")
        if not all(np.isfinite(array).all() for array in (self.form, self.metric, equalities)):
            raise InputError("form, metric and equalities must be finite.")
        object.__setattr__(self, "equalities", equalities)
        object.__setattr__(self, "inequalities", as_inequalities(self.inequalities, self.space))

    gamma = 1.0
    """As in ``LiftedProgram``: N is not scaled."""

    @property
    def positions(self) -> int:
        """Number of inequalities: 2N signs and r others."""
        return 2 * self.space.neurons + len(self.inequalities)

    @property
    def beyond_signs(self) -> bool:
        """Whether there are inequalities besides the signs, or equalities."""
        return len(self.inequalities) + len(self.equalities) > 0

    @cached_property
    def target(self) -> FloatArray:
        """No targets (0×0), hence no W."""
        return np.zeros((0, 0))

    @cached_property
    def feature(self) -> IntArray:
        """No features."""
        return np.zeros(0, dtype=np.int64)

    @cached_property
    def weight(self) -> FloatArray:
        """No weights."""
        return np.zeros(0)

    @cached_property
    def moment_size(self) -> float:
        """About the size of a moment matrix: that of the multiple of I which is normalised."""
        return 1.0 / max(float(np.trace(self.metric)), 1e-300)

    @cached_property
    def dual_size(self) -> float:
        """About the size of N in a dual."""
        return max(float(np.abs(self.form).max()), 1e-300)

    def value(self, G: FloatArray) -> float:
        """½⟨C, G⟩ of a moment matrix of any size > 0, normalised: the program's own scale."""
        size = float(np.sum(self.metric * G[self.space.z, self.space.z]))
        return 0.5 * float(np.sum(self.form * G)) / size if size > 0 else float("inf")

    def to_original(self, value: float) -> float:
        """⟨C, G⟩ of ½⟨C, G⟩."""
        return 2.0 * value

    def to_own(self, value: float) -> float:
        """Inverse of ``to_original``."""
        return 0.5 * value

    def lift_inequalities(self, N: FloatArray) -> FloatArray:
        """The form ``ℓᵀNℓ`` over λ (order×order), for symmetric N over all inequalities."""
        return lift_inequalities(self.inequalities, N, self.space)

    def without_equalities(self, multipliers: FloatArray) -> "FormProgram":
        """The program whose form has ``Σ s_k Q_k`` taken off, for these multipliers (q,); its value is no larger."""
        if not len(self.equalities):
            return self
        form = self.form.copy()
        form[self.space.z, self.space.z] -= np.tensordot(multipliers, self.equalities, axes=1)
        return replace(self, form=form, equalities=self.equalities[:0])

    def slack(self, delta: float, N: FloatArray) -> FloatArray:
        """The dual slack in the face coordinates (β, z), a symmetric matrix of order N+k; without equalities."""
        Q = self.form - self.lift_inequalities(N)
        Q[self.space.z, self.space.z] -= delta * self.metric
        return self.space.pull_back(Q)


def pricing(program: LiftedProgram, W: FloatArray) -> FormProgram:
    """Pricing with fixed W (f×c): its value is ``−h²`` for ``h = max ‖(ω∘W)ᵀφ_f‖`` over ``zᵀEz ≤ 1``.

    The program's inequalities are taken over.

    Raises:
        InputError: W has another shape than the targets.
    """
    if W.shape != program.target.shape:
        raise InputError(f"W has shape {W.shape}, but the program has targets of shape {program.target.shape}.")
    space = program.space.with_outputs(0)
    weighted = program.weight[:, None] * W
    form = np.zeros((space.order, space.order))
    form[np.ix_(program.feature, program.feature)] = -weighted @ weighted.T
    return FormProgram(space, form, program.metric, program.inequalities)
