"""What the entrywise half of a splitting minimises besides signs and distance: a loss with its costs, or a form."""

from dataclasses import replace

import numpy as np

from certificates.making.repair import raw_dual, repair_form
from certnet.solvers.arrays import Array, Arrays
from formulations import Dual, Program
from formulations._validation import FloatArray
from formulations.loss import Loss
from formulations.losses import smoothed
from formulations.prox import Prox

KINKS = 2e-4  # What smoothing may take from a loss with kinks, as a part of that of the network without neurons.


class LossTerms:
    """Training: the loss over (φ, v), and ``γ/2 (⟨E, G_zz⟩ + tr G_vv)``.

    The loss's own map runs on the host, in float64, and begins where it ended last.
    """

    def __init__(self, program: Program, layer: Arrays, *, in_region: bool) -> None:
        self.program, self.loss, self.layer = program, without_kinks(program), layer
        # A numpy scalar of float64 would turn float32 arrays into float64 ones.
        self.size = float(program.gamma)
        features, place = np.unique(program.feature, return_inverse=True)
        self.place, self.features = place.ravel(), layer.array(features)
        self.prox = Prox(self.loss, self.place, program.weight, len(features))
        self.start: tuple[FloatArray, FloatArray] | None = None
        self.last: tuple[FloatArray, FloatArray] | None = None
        self.metric = layer.array(0.5 * program.gamma * program.cost())
        self.region = layer.array(program.region) if in_region and program.region.size else None

    def _fitted(self, V: Array, penalty: float) -> tuple[FloatArray, FloatArray]:
        """The entries of the solution that the loss sees, and the output bias."""
        seen = self.layer.host(V[self.features, self.program.space.v]).astype(np.float64)
        return self.prox(seen, 2 * penalty, start=self.start)

    def columns(self, V: Array, penalty: float) -> Array:
        """Rows φ and columns v of the solution, which hold the loss."""
        columns = self.layer.copy(V[self.program.space.phi, self.program.space.v])
        self.last = self._fitted(V, penalty)
        columns[self.features] = self.layer.array(self.last[0])
        return columns

    def go_on(self) -> None:
        """A step ends: the next one begins at what ``columns`` found last. A mere look changes nothing."""
        self.start = self.last
        self.prox.go_on()

    def rows_of_phi(self, V: Array, columns: Array, penalty: float, rows: slice) -> Array:
        """Rows of φ of the solution, before the signs."""
        Z = self.layer.copy(V[rows])
        Z[:, self.program.space.v] = columns[rows]
        return Z

    def other_rows(self, V: Array, columns: Array, penalty: float) -> Array:
        """Rows of z and v of the solution."""
        space, k = self.program.space, self.program.space.dimension
        Z = self.layer.copy(V[2 * space.neurons :])
        block = Z[:k, space.z]
        block -= self.metric / penalty
        if self.region is not None:
            missing = self.layer.dot(self.region, block) / self.layer.dot(self.region, self.region)
            block -= min(float(missing), 0.0) * self.region
        Z[k:, space.phi] = columns.T
        self.layer.diagonal(Z[k:, space.v])[...] -= 0.5 * self.size / penalty
        return Z

    def W(self, V: Array, penalty: float) -> FloatArray:
        """−∇L at the entries of the solution, in the domain."""
        P, bias = self._fitted(V, penalty)
        return self.loss.project(self.loss.dual(self.program.weight[:, None] * P[self.place], bias))

    def pulls(self, dual: Dual) -> FloatArray:
        """What a dual's scaled multiplier is times 2ρ: the loss, the costs and the signs."""
        program, space = self.program, self.program.space
        L = np.zeros((space.order, space.order))
        L[space.phi, space.phi] = -dual.N
        L[space.phi, space.v] = -program.features_of(dual.W)
        L[space.v, space.phi] = L[space.phi, space.v].T
        L[space.z, space.z] = program.gamma * program.cost()
        L[space.v, space.v] = program.gamma * np.eye(space.outputs)
        return L


def without_kinks(program: Program) -> Loss:
    """Its loss; kinks, if any, are smoothed so little that the share ``KINKS`` of its value is not lost."""
    loss = program.loss
    assert loss is not None
    if not loss.kind.has_kinks:
        return loss
    # An envelope is below the loss by at most ε/2 w² for each entry, and |w| ≤ 1 for all losses with kinks.
    value = loss.unit**2 * loss.value(np.zeros(loss.shape))
    entries = loss.shape[1] * float(np.sum(loss.sample_weight))
    return replace(loss, kind=smoothed(loss.kind, max(2.0 * KINKS * value / entries, 1e-12)))


class FormTerms:
    """A form: ``½⟨C, G⟩`` with ``⟨E, G_zz⟩ = 1``, in its region if asked. Its methods are those of ``LossTerms``."""

    def __init__(self, program: Program, layer: Arrays, *, in_region: bool) -> None:
        self.program, self.layer = program, layer
        self.size = float(np.abs(program.form).max(initial=0.0)) or 1.0
        self.form = layer.array(0.5 * program.form)
        # With a region the cost E₀ is normalised to 1 and ⟨Q, G⟩ is at least 0.
        self.normal = layer.array(program.cost())
        self.region = layer.array(program.region) if in_region and program.region.size else None

    def columns(self, V: Array, penalty: float) -> Array:
        return V[self.program.space.phi, self.program.space.v]

    def go_on(self) -> None:
        pass

    def rows_of_phi(self, V: Array, columns: Array, penalty: float, rows: slice) -> Array:
        return V[rows] - self.form[rows] / penalty

    def other_rows(self, V: Array, columns: Array, penalty: float) -> Array:
        """The block over z is moved onto the normalisation, and into the region."""
        rows = slice(2 * self.program.space.neurons, self.program.space.order)
        Z = V[rows] - self.form[rows] / penalty
        block = Z[:, self.program.space.z]
        dot, E, Q = self.layer.dot, self.normal, self.region
        block += (1.0 - dot(E, block)) / dot(E, E) * E
        if Q is not None and dot(Q, block) < 0:
            # Along the part of Q that keeps the normalisation.
            across = Q - dot(E, Q) / dot(E, E) * E
            block -= dot(Q, block) / dot(Q, across) * across
        return Z

    def W(self, V: Array, penalty: float) -> FloatArray:
        """None."""
        return np.zeros(self.program.shape)

    def pulls(self, dual: Dual) -> FloatArray:
        """``C − N − δE`` of the repaired dual, positive semidefinite on the face."""
        program = self.program
        repaired = repair_form(program, dual)
        L: FloatArray = program.form - program.lift_inequalities(raw_dual(dual.W, repaired.N, repaired.t, gamma=1.0).N)
        L[program.space.z, program.space.z] -= repaired.delta * program.cost()
        if self.region is not None:
            L[program.space.z, program.space.z] -= repaired.sigma * program.region
        return L
