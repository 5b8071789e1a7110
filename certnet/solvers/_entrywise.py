"""What the entrywise half step holds besides the signs: a loss and costs, or a form and its normalisation.

Both kinds of program ask for ``G_φφ ≥ 0`` and ``diag(G_αβ) = 0``. The half step minimises the rest of the objective
and ``ρ‖Z − V‖²/2`` over such Z, a few rows at a time, so that no matrix of the order of λ is written but Z itself.
"""

from abc import ABC, abstractmethod

import numpy as np

from certificates.making.repair import raw_dual, repair_form
from certnet.solvers._arrays import Array, Arrays
from formulations import Dual, LiftedSpace, Program
from formulations._validation import FloatArray


class Entrywise(ABC):
    """The entrywise half step of one kind of program, on the arrays of a layer.

    Attributes:
        size: of the costs, in which the penalty ρ is measured.
    """

    size: float

    def __init__(self, space: LiftedSpace, layer: Arrays) -> None:
        self._space, self._layer = space, layer

    @abstractmethod
    def columns(self, V: Array, penalty: float) -> Array:
        """The rows φ and columns v of the solution (2N×c)."""

    @abstractmethod
    def rows_of_phi(self, V: Array, columns: Array, penalty: float, rows: slice, partner: slice) -> Array:
        """Rows of φ of the solution; ``partner`` are the columns of the complementary neurons."""

    @abstractmethod
    def other_rows(self, V: Array, columns: Array, penalty: float) -> Array:
        """Rows of z and v of the solution."""

    @abstractmethod
    def multipliers(self, V: Array, penalty: float) -> Dual:
        """(W, N) of a point V, with exact signs, in float64."""

    @abstractmethod
    def scaled_multiplier(self, dual: Dual, penalty: float) -> FloatArray:
        """A scaled multiplier ``L = V − Z`` that belongs to this dual."""

    def _signed(self, Z: Array, partner: slice) -> None:
        """Impose signs and complementarity on rows of φ."""
        self._layer.positive_part(Z[:, self._space.phi])
        self._layer.diagonal(Z[:, partner])[...] = 0.0

    def _sign_multipliers(self, block: Array, penalty: float) -> FloatArray:
        """``N = −2ρ(V' − Z)_φφ``, for the block V' over φ of which Z is the part with the right signs."""
        host = self._layer.host(block).astype(np.float64)
        neuron = np.arange(self._space.neurons)
        N = np.maximum(-host, 0.0)
        for first, second in ((neuron, neuron + len(neuron)), (neuron + len(neuron), neuron)):
            N[first, second] = -host[first, second]
        N *= 2 * penalty
        return 0.5 * (N + N.T)


class LossEntrywise(Entrywise):
    """Training: the loss over (φ, v), and ``γ/2 (⟨E, G_zz⟩ + tr G_vv)``."""

    def __init__(self, program: Program, layer: Arrays) -> None:
        super().__init__(program.space, layer)
        self._program = program
        # A numpy scalar of float64 would turn float32 arrays into float64 ones.
        self.size = float(program.gamma)
        self._cost = 0.5 * self.size
        assert program.loss is not None
        self._loss = program.loss
        self._feature = layer.index(program.feature)
        self._prox = program.loss.prox(layer.array)
        self._metric = layer.array(0.5 * program.gamma * program.metric)

    def columns(self, V: Array, penalty: float) -> Array:
        """See ``Entrywise``; they hold the loss."""
        columns = self._layer.copy(V[self._space.phi, self._space.v])
        columns[self._feature] = self._prox(columns[self._feature], 2 * penalty)
        return columns

    def rows_of_phi(self, V: Array, columns: Array, penalty: float, rows: slice, partner: slice) -> Array:
        """See ``Entrywise``."""
        Z = self._layer.copy(V[rows])
        self._signed(Z, partner)
        Z[:, self._space.v] = columns[rows]
        return Z

    def other_rows(self, V: Array, columns: Array, penalty: float) -> Array:
        """See ``Entrywise``."""
        space, k = self._space, self._space.dimension
        Z = self._layer.copy(V[2 * space.neurons :])
        Z[:k, space.z] -= self._metric / penalty
        Z[k:, space.phi] = columns.T
        self._layer.diagonal(Z[k:, space.v])[...] -= self._cost / penalty
        return Z

    def multipliers(self, V: Array, penalty: float) -> Dual:
        """See ``Entrywise``: ``W = −∇ℓ(ω∘Z[f, v])`` and ``N = −2ρ(V − Z)_φφ``."""
        program, phi = self._program, self._space.phi
        fitted = self._layer.host(self.columns(V, penalty)[self._feature]).astype(np.float64)
        W = self._loss.dual(program.weight[:, None] * fitted)
        return Dual(W, self._sign_multipliers(V[phi, phi], penalty))

    def scaled_multiplier(self, dual: Dual, penalty: float) -> FloatArray:
        """See ``Entrywise``."""
        program, space = self._program, self._space
        L = np.zeros((space.order, space.order))
        L[space.phi, space.phi] = -dual.N
        features = -program.weight[:, None] * dual.W
        L[program.feature, space.v] = features
        L[space.v, program.feature] = features.T
        L[space.z, space.z] = program.gamma * program.metric
        L[space.v, space.v] = program.gamma * np.eye(space.outputs)
        return L / (2 * penalty)


class FormEntrywise(Entrywise):
    """A form: ``½⟨C, G⟩`` with ``⟨E, G_zz⟩ = 1``."""

    def __init__(self, program: Program, layer: Arrays) -> None:
        super().__init__(program.space, layer)
        self._program = program
        self.size = float(np.abs(program.form).max(initial=0.0)) or 1.0
        self._form = layer.array(0.5 * program.form)
        self._metric = layer.array(program.metric)
        self._square = float(np.sum(program.metric**2))

    def columns(self, V: Array, penalty: float) -> Array:
        """See ``Entrywise``: none."""
        return V[self._space.phi, self._space.v]

    def rows_of_phi(self, V: Array, columns: Array, penalty: float, rows: slice, partner: slice) -> Array:
        """See ``Entrywise``."""
        Z = V[rows] - self._form[rows] / penalty
        self._signed(Z, partner)
        return Z

    def other_rows(self, V: Array, columns: Array, penalty: float) -> Array:
        """See ``Entrywise``; the block over z is moved along E onto the normalisation."""
        rows = slice(2 * self._space.neurons, self._space.order)
        Z = V[rows] - self._form[rows] / penalty
        block = Z[:, self._space.z]
        block += (1.0 - self._layer.dot(self._metric, block)) / self._square * self._metric
        return Z

    def multipliers(self, V: Array, penalty: float) -> Dual:
        """See ``Entrywise``: no W, and ``N = −2ρ(V − C/2ρ − Z)_φφ``."""
        phi = self._space.phi
        block = V[phi, phi] - self._form[phi, phi] / penalty
        return Dual(self._program.target, self._sign_multipliers(block, penalty))

    def scaled_multiplier(self, dual: Dual, penalty: float) -> FloatArray:
        """See ``Entrywise``: ``(C − N − δE)/2ρ`` of the repaired dual, positive semidefinite on the face."""
        program, space = self._program, self._space
        repaired = repair_form(program, dual)
        L = program.form - program.lift_inequalities(raw_dual(dual.W, repaired.N, repaired.t, gamma=1.0).N)
        L[space.z, space.z] -= repaired.delta * program.metric
        return L / (2 * penalty)


def entrywise(program: Program, layer: Arrays) -> Entrywise:
    """The half step of this program."""
    return FormEntrywise(program, layer) if program.loss is None else LossEntrywise(program, layer)
