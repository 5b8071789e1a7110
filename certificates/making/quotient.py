"""Repair where the slack has null vectors: a free hidden bias, without the region's help.

Let Aν = w > 0 for the direction ν of z that costs nothing. Where the form vanishes on ``(w, 0, ν)`` and ``(0, w, −ν)``,
as that of balanced W does, a slack with σ = 0 is semidefinite only if both are null vectors. In coordinates of φ with
w = 1 that means ``N_αα = N_ββ = 0``, that row and column sums of ``B = N_αβ`` are the same numbers r, and t = −2r. Such
a B comes from any other by ``D B D⁻¹`` with a diagonal D (Osborne 1960), and what is left to repair is a form on the
quotient: β across w, z across ν. There a uniform shift of t has as its counterpart

    τ (Σ α_iβ_i − (Σ w_iα_i)(Σ w_iβ_i)/‖w‖²),

whose second part adds to B. A little of the region and of the plain shift then make the slack definite. The plain shift
alone would destroy the null vectors and pay for them.
"""

from dataclasses import dataclass
from itertools import takewhile

import numpy as np

from certificates.making.shifted import ShiftedBound, complementary, crosswise, shifted_bound
from formulations import Program
from formulations.arrays import FloatArray

_VANISHES = 1e-7
_STEPS = 60
_BALANCED = 1e-13
_FACTORS = ((1.03, 1.1, 1.25, 1.6, 2.5), (0.97, 0.9, 0.75, 0.4))


@dataclass(frozen=True, eq=False)
class Quotient:
    """A form's null vectors: w (N), ν (k), and a basis (k, k−1) of z across ν."""

    program: Program
    w: FloatArray
    free: FloatArray
    across: FloatArray

    @classmethod
    def of(cls, program: Program) -> "Quotient | None":
        """None where there are no such null vectors, of a form or of those of all W that a loss admits."""
        space = program.space
        if not program.region.size or program.beyond_signs or space.neurons < 2 or space.dimension < 2:
            return None
        values, vectors = np.linalg.eigh(program.cost())
        w = space.generators @ vectors[:, 0]
        nu = vectors[:, 0] * np.sign(w.sum())
        w = np.abs(w)
        if not (abs(values[0]) <= _VANISHES * values[1] and (space.generators @ nu > 0).all()):
            return None
        vanishes = _form_vanishes if program.loss is None else _loss_vanishes
        return cls(program, w, nu, vectors[:, 1:]) if vanishes(program, w, nu) else None

    def balanced(self, N: FloatArray) -> tuple[FloatArray, FloatArray]:
        """(N, t) that leave the null vectors, from N ≥ 0."""
        n = len(self.w)
        scale = np.outer(self.w, self.w)
        B = balance(scale * N[:n, n:])
        return crosswise(B / scale), -(B.sum(axis=0) + B.sum(axis=1)) / self.w**2

    def repair(self, N: FloatArray, *, factors: bool) -> tuple[FloatArray, FloatArray]:
        """(N, t) of the least bound on the quotient, from N ≥ 0; a factor of N is looked for if ``factors``."""
        N, t = self.balanced(N)
        multipliers = self.program.lift_inequalities(N) + complementary(t, self.program.space.order)
        best = np.inf, 0.0, 0.0

        def improves(factor: float) -> bool:
            nonlocal best
            bound = self.bound(factor * multipliers - self.program.form)
            # A negative shift would take from B.
            h_squared, tau = min((bound(0.0), 0.0), bound.best(0.0)[::-1])
            better = h_squared < best[0]
            best = (h_squared, tau, factor) if better else best
            return better

        improves(1.0)
        for ladder in _FACTORS if factors else ():
            if list(takewhile(improves, ladder)):
                break
        _, tau, factor = best
        return self.shifted(factor * N, factor * t, tau)

    def bound(self, M: FloatArray) -> ShiftedBound:
        """As ``shifted_bound``, on the quotient and with its shift, for M that vanishes on the null vectors."""
        space = self.program.space
        across_w = np.linalg.svd((self.w / np.linalg.norm(space.generators, axis=1))[None])[2][1:].T
        return shifted_bound(space, M, self.program.cost(), (across_w, self.across))

    def shifted(self, N: FloatArray, t: FloatArray, tau: float) -> tuple[FloatArray, FloatArray]:
        """(N, t) after the quotient's shift τ ≥ 0."""
        square = np.sum(self.program.space.generators**2, axis=1)
        w = self.w / square
        shift = tau * np.outer(w, w) / float(self.w @ w)
        moved = t - tau / square + np.diag(shift)
        np.fill_diagonal(shift, 0.0)
        return N + crosswise(0.5 * shift), moved


def _form_vanishes(program: Program, w: FloatArray, nu: FloatArray) -> bool:
    """Whether both vectors are null vectors of the form."""
    space = program.space
    both = np.zeros((space.order, 2))
    both[space.alpha, 0], both[space.z, 0] = w, nu
    both[space.beta, 1], both[space.z, 1] = w, -nu
    sizes = np.abs(program.form) @ np.abs(both)
    return bool((np.abs(program.form @ both) <= _VANISHES * sizes.max(initial=0.0)).all())


def _loss_vanishes(program: Program, w: FloatArray, nu: FloatArray) -> bool:
    """Whether that is so of the forms of all W: they are balanced, and the loss sees every α alike."""
    seen = program.weight * w[program.feature % len(w)]
    return bool(
        program.loss is not None
        and program.loss.bias_decay == 0
        and (program.feature < len(w)).all()
        and (np.abs(seen - seen.mean()) <= _VANISHES * seen.mean()).all()
    )


def balance(B: FloatArray) -> FloatArray:
    """``D B D⁻¹`` for a diagonal D > 0, with equal row and column sums, for B ≥ 0 with a zero diagonal.

    ``log D`` minimises the convex ``Σ B_ij exp(y_i − y_j)``, here by Newton's method. Entries on no cycle vanish in the
    limit.
    """
    n = len(B)
    for _ in range(_STEPS):
        rows, columns = B.sum(axis=1), B.sum(axis=0)
        largest = float(rows.max(initial=0.0))
        if not (np.abs(rows - columns).max(initial=0.0) > _BALANCED * largest):
            break
        hessian = np.diag(rows + columns + 1e-12 * largest) - B - B.T + largest / n**2
        step = np.linalg.solve(hessian, columns - rows)
        step *= min(1.0, 2.0 / float(np.abs(step).max()))
        B = B * np.exp(step[:, None] - step[None, :])
    return B
