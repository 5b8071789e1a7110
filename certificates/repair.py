"""From any approximate dual to a valid bound.

Given any W, any multipliers N (signs are projected first) and the free complementarity multipliers t, a uniform shift
τ of t makes the (β, β) block of the slack positive definite, and then a Schur complement tells how large
``h̄² ≥ max ‖Wᵀ(Au)₊‖²`` over ``uᵀEu ≤ 1`` has to be. No dual is too bad; it only gives a weaker bound. The best τ is
found in one dimension (h̄²(τ) is convex), then a factor ν of (N, t) in another (minimised over τ, h̄² is convex in ν: the
slack is linear in both; an iterate of a first-order method often wants ν > 1), the best scale s of W in closed form:

    L = s⟨W,T⟩ − s²/2 ‖W‖²  + constant,   s = min(γ/h̄, ⟨W,T⟩/‖W‖²).

Floating point throughout: the result *proposes* a certificate, the checker proves it. A relative ``margin`` is given
away so that it can.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from formulations import LiftedProgram, RawDual
from formulations._validation import FloatArray
from formulations.errors import InputError

MARGIN = 1e-9
_GOLDEN = (5**0.5 - 1) / 2
_GRID = np.linspace(-11.0, 3.0, 57)
_REFINEMENTS = 30
_GROWTH = (1.03, 1.1, 1.25, 1.6, 2.5, 5.0, 12.0, 40.0)
_SHRINKAGE = (0.97, 0.9, 0.75, 0.4, 0.0)
_FACTOR_STEPS = 8
_WIDEST = 1e12
_WIDENINGS = 20


@dataclass(frozen=True, eq=False)
class RepairedDual:
    """A dual point that is feasible up to rounding, with its bound in original units.

    ``W`` (f×c), ``N`` (2N×2N, nonnegative, zero at the complementary positions) and ``t`` (N) are scaled:
    ``γ² zᵀEz − ‖(ωW)ᵀφ_f‖² − φᵀNφ − Σ t_i α_i β_i`` is PSD on the face.
    """

    W: FloatArray
    N: FloatArray
    t: FloatArray
    lower_bound: float
    scale: float
    tau: float
    h_bar: float


def project(program: LiftedProgram, dual: RawDual) -> tuple[FloatArray, FloatArray, FloatArray]:
    """(W, N, t) of the form, with N symmetric and nonnegative and γ absorbed; entries that are not finite become 0."""
    m = program.space.neurons
    if dual.W.shape != program.target.shape or dual.N.shape != (2 * m, 2 * m):
        raise InputError(f"the dual has shapes {dual.W.shape} and {dual.N.shape}, which do not fit the program.")
    W = np.where(np.isfinite(dual.W), dual.W, 0.0)
    with np.errstate(over="ignore"):
        N = dual.N * program.gamma
        N = 0.5 * (N + N.T)
    N = np.where(np.isfinite(N), N, 0.0)
    index = np.arange(m)
    t = 2.0 * N[index, m + index]
    N = np.maximum(N, 0.0)
    N[index, m + index] = N[m + index, index] = 0.0
    return W, N, t


def raw_dual(W: FloatArray, N: FloatArray, t: FloatArray, *, gamma: float) -> RawDual:
    """Inverse of ``project``: the dual whose (W, N, t) these are, at the program's γ."""
    neuron = np.arange(len(t))
    N = N.copy()
    N[neuron, len(t) + neuron] = N[len(t) + neuron, neuron] = 0.5 * t
    return RawDual(W, N / gamma)


@dataclass(frozen=True, eq=False)
class _ShiftedBound:
    """h̄²(τ) for fixed W, N, t after one eigendecomposition; O(N k² + k³) for each τ."""

    values: FloatArray
    cross: FloatArray
    data: FloatArray
    corner: FloatArray
    metric_root: FloatArray

    def __call__(self, tau: float) -> float:
        gap = tau - self.values
        if not (gap.min() > 0):
            return float("inf")
        half = self.cross - 0.5 * tau * self.data
        schur = self.corner + half.T @ (half / gap[:, None])
        whitened = self.metric_root @ schur @ self.metric_root.T
        if not np.isfinite(whitened).all():
            return float("inf")
        return float(np.linalg.eigvalsh(0.5 * (whitened + whitened.T))[-1])


def _shifted_bound(program: LiftedProgram, W: FloatArray, N: FloatArray, t: FloatArray) -> _ShiftedBound:
    """Set h̄²(τ) up in coordinates where generators have unit norm: there one τ for all is a fair choice."""
    A = program.space.generators
    m = len(A)
    norm = np.linalg.norm(A, axis=1)
    A = A / norm[:, None]
    both = np.concatenate([norm, norm])
    weighted = np.zeros((2 * m, W.shape[1]))
    weighted[program.feature] = (program.weight * both[program.feature])[:, None] * W
    M = weighted @ weighted.T + N * np.outer(both, both)
    index = np.arange(m)
    M[index, m + index] += 0.5 * t * norm**2
    M[m + index, index] += 0.5 * t * norm**2
    a, b = slice(0, m), slice(m, 2 * m)
    MA = M[a, a] @ A
    values, vectors = np.linalg.eigh(M[a, a] + M[b, b] + M[a, b] + M[b, a])
    return _ShiftedBound(
        values=values,
        cross=vectors.T @ (MA + M[b, a] @ A),
        data=vectors.T @ A,
        corner=A.T @ MA,
        metric_root=np.linalg.inv(np.linalg.cholesky(program.metric)),
    )


def _minimise(bound: Callable[[float], float], largest: float, spread: float) -> tuple[float, float]:
    """Minimise the convex h̄²(τ) over τ > largest: a grid in log(τ − largest), then golden section."""

    def at(x: float) -> float:
        return bound(largest + spread * 10.0**x)

    coarse = [at(x) for x in _GRID]
    best = int(np.argmin(coarse))
    low, high = float(_GRID[max(best - 1, 0)]), float(_GRID[min(best + 1, len(_GRID) - 1)])
    value, x = min((coarse[best], float(_GRID[best])), _golden(at, low, high, _REFINEMENTS))
    return largest + spread * 10.0**x, value


def _golden(value: Callable[[float], float], low: float, high: float, steps: int) -> tuple[float, float]:
    """Golden-section search for the minimum of a convex function: (value, argument) of the better last point."""
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    f_left, f_right = value(left), value(right)
    for _ in range(steps):
        if f_left <= f_right:
            high, right, f_right = right, left, f_left
            left = high - _GOLDEN * (high - low)
            f_left = value(left)
        else:
            low, left, f_left = left, right, f_right
            right = low + _GOLDEN * (high - low)
            f_right = value(right)
    return min((f_left, left), (f_right, right))


class _FactorSearch:
    """min over τ of h̄² as a function of the factor ν of (N, t); one eigendecomposition for each ν."""

    def __init__(self, program: LiftedProgram, W: FloatArray, N: FloatArray, t: FloatArray) -> None:
        self._parts = program, W, N, t
        self.h_squared, self.tau, self.factor = np.inf, 0.0, 1.0

    def __call__(self, factor: float) -> float:
        program, W, N, t = self._parts
        bound = _shifted_bound(program, W, factor * N, factor * t)
        spread = max(float(np.abs(bound.values).max()), 1e-300)
        tau, h_squared = _minimise(bound, float(bound.values[-1]), spread)
        if h_squared < self.h_squared:
            self.h_squared, self.tau, self.factor = h_squared, tau, factor
            self._bound = bound
        return h_squared

    def widen(self, margin: float) -> None:
        """Move τ away from the largest eigenvalue, where the slack is singular, as far as ``margin`` allows in h̄²."""
        largest = float(self._bound.values[-1])
        low, high = 1.0, _WIDEST
        for _ in range(_WIDENINGS):
            middle = float(np.sqrt(low * high))
            if self._bound(largest + middle * (self.tau - largest)) <= self.h_squared * (1.0 + margin):
                low = middle
            else:
                high = middle
        self.tau = largest + low * (self.tau - largest)
        self.h_squared *= 1.0 + margin

    def run(self) -> None:
        """Start at ν = 1, walk up or down while that helps, and refine between the neighbours of the best."""
        _, _, N, t = self._parts
        if not (np.isfinite(self(1.0)) and (N.any() or t.any())):
            return
        for ladder in (_GROWTH, _SHRINKAGE):
            before, best = ladder[0], 1.0
            for factor in ladder:
                self(factor)
                if self.factor != factor:
                    break
                before, best = best, factor
            if best != 1.0:
                # The search keeps its best ν itself.
                _golden(self, min(before, factor), max(before, factor), _FACTOR_STEPS - 2)
                return


def repair(program: LiftedProgram, dual: RawDual, *, margin: float = MARGIN) -> RepairedDual:
    """The best valid bound that this dual gives with a factor ν and a uniform shift τ (see the module's text).

    Args:
        program: a program in the coordinates that the certificate will use, normally ``MergedRows.program``.
        dual: any dual of that program.
        margin: relative slack given away for the rigorous check.

    Raises:
        InputError: the dual's shapes do not fit.
    """
    W, N, t = project(program, dual)
    size = float(np.abs(W).max(initial=0.0))
    largest = max(float(N.max(initial=0.0)), float(np.abs(t).max(initial=0.0)))
    if not (1e-140 < size < 1e140 and largest < 1e280):
        return _zero(program)
    # h̄ is homogeneous in (W, √N, √t): work with entries of W up to 1 to stay clear of over- and underflow.
    W, N, t = W / size, N / size**2, t / size**2
    alignment, square = float(np.sum(W * program.target)), float(np.sum(W**2))
    if not alignment > 0:
        return _zero(program)
    with np.errstate(over="ignore", invalid="ignore"):
        search = _FactorSearch(program, W, N, t)
        search.run()
        if np.isfinite(search.h_squared):
            search.widen(margin)
    tau, h_squared = search.tau, search.h_squared
    if not np.isfinite(h_squared):
        return (
            repair(program, RawDual(dual.W, np.zeros_like(dual.N)), margin=margin)
            if N.any() or t.any()
            else _zero(program)
        )
    h_bar = float(np.sqrt(max(h_squared, 0.0)))
    best_scale = alignment / square
    s = min(best_scale, program.gamma / (h_bar * (1.0 + margin)) if h_bar > 0 else best_scale)
    norm = np.linalg.norm(program.space.generators, axis=1)
    final_W = s * W
    return RepairedDual(
        W=final_W,
        N=s**2 * search.factor * N,
        t=s**2 * (search.factor * t - tau / norm**2),
        lower_bound=program.to_original(program.dual_value(final_W)),
        scale=s / size,
        tau=tau,
        h_bar=h_bar * size,
    )


def _zero(program: LiftedProgram) -> RepairedDual:
    """The trivial dual W = 0, whose bound is the constant. A small shift keeps its slack positive definite."""
    m = program.space.neurons
    norm = np.linalg.norm(program.space.generators, axis=1)
    root = np.linalg.cholesky(program.metric)
    A = program.space.generators / norm[:, None]
    reach = float(np.linalg.norm(np.linalg.solve(root, A.T), 2) ** 2) if m else 0.0
    tau = program.gamma**2 / max(reach, 1e-300)
    return RepairedDual(
        W=np.zeros_like(program.target),
        N=np.zeros((2 * m, 2 * m)),
        t=-tau / norm**2,
        lower_bound=program.to_original(0.0),
        scale=0.0,
        tau=tau,
        h_bar=0.0,
    )
