"""From any approximate dual to a valid bound.

Any W, N and t tell how large ``h̄² ≥ max ‖Wᵀ(Au)₊‖²`` over ``uᵀEu ≤ 1`` has to be (``making.form_bound``). W is first
moved into the domain of L*, which for a free output bias asks for ``Wᵀ1 = 0``; then its best scale s in [0, γ/h̄]
maximises the concave ``−L*(−sW) + constant``. No dual is too bad; it only gives a weaker bound.

Floating point throughout: the result *proposes* a certificate, the checker proves it. A relative ``margin`` is given
away so that it can.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from certificates.making.form_bound import best_multipliers
from certificates.making.grouped_bound import best_grouped
from certificates.making.shifted import complementary, whitener
from certificates.making.shor_bound import Factor, Price
from formulations import Dual, Program
from formulations.arguments import accepts, real
from formulations.arrays import FloatArray
from formulations.errors import InputError
from formulations.groups import GroupedDual
from formulations.program import NO_PRODUCTS

MARGIN = 1e-9
"""Least relative margin; a free hidden bias pays with this share of the cost alone."""


@dataclass(frozen=True, eq=False)
class RepairedDual:
    """A dual point that is feasible up to rounding, with its bound in original units.

    ``W`` (f×c), ``N`` (over all inequalities, nonnegative, zero at the complementary positions, or ``NO_PRODUCTS``) and
    ``t`` (N) are scaled: ``γ² zᵀE₀z − ‖(κW)ᵀφ_f‖² − ℓᵀNℓ − Σ t_i α_i β_i − σ zᵀQz`` is PSD on the face, with the
    program's region Q and cost E₀. ``scale`` is that of W in the dual given, whose price is at most ``h_bar``. Where
    products are those of groups, they are in ``grouped`` and N is empty.
    """

    W: FloatArray
    N: FloatArray
    t: FloatArray
    lower_bound: float
    scale: float = 0.0
    h_bar: float = 0.0
    sigma: float = 0.0
    grouped: GroupedDual | None = None


@dataclass(frozen=True, eq=False)
class RepairedForm:
    """Multipliers that are feasible up to rounding, and the lower bound δ on the form that they give.

    ``λᵀCλ − δ zᵀE₀z − ℓᵀNℓ − Σ t_i α_i β_i − σ zᵀQz`` is PSD on the face; N over all inequalities is nonnegative.
    """

    N: FloatArray
    t: FloatArray
    delta: float
    sigma: float = 0.0


def project(program: Program, dual: Dual) -> tuple[FloatArray, FloatArray, FloatArray]:
    """(W, N, t) of the form, with N symmetric and nonnegative and γ absorbed; entries that are not finite become 0.

    W is moved into the domain of the loss.
    """
    _require_fit(program, dual)
    N = dual.N if dual.N.size else np.zeros((program.positions, program.positions))
    return _in_domain(program, dual.W), *signed(N, program.space.neurons, program.gamma)


def signed(N: FloatArray, neurons: int, gamma: float) -> tuple[FloatArray, FloatArray]:
    """(N, t) of the form: N times γ, symmetric, nonnegative and without its t, finite."""
    with np.errstate(over="ignore"):
        N = N * gamma
        N = 0.5 * (N + N.T)
    N = np.where(np.isfinite(N), N, 0.0)
    index = np.arange(neurons)
    t = 2.0 * N[index, neurons + index]
    N = np.maximum(N, 0.0)
    N[index, neurons + index] = N[neurons + index, index] = 0.0
    return N, t


def _in_domain(program: Program, W: FloatArray) -> FloatArray:
    W = np.where(np.isfinite(W), W, 0.0)
    return W if program.loss is None else program.loss.project(W)


def _require_fit(program: Program, dual: Dual) -> None:
    positions = program.positions
    W, N = np.shape(dual.W), np.shape(dual.N)
    if program.shape != W or N not in ((positions, positions), NO_PRODUCTS.shape):
        raise InputError(f"the dual has shapes {W} and {N}, which do not fit the program.")


def raw_dual(W: FloatArray, N: FloatArray, t: FloatArray, *, gamma: float) -> Dual:
    """Inverse of ``project``: the dual whose (W, N, t) these are, at the program's γ; of quadratic size."""
    N = (N if N.size else 0.0) + complementary(t, max(len(N), 2 * len(t)))
    return Dual(W, N / gamma)


@accepts(program=Program, dual=Dual, margin=real)
def repair(program: Program, dual: Dual, *, margin: float = MARGIN, factors: bool = True) -> RepairedDual:
    """The best valid bound that this dual gives with a factor ν and a uniform shift τ (see the module's text).

    Args:
        program: a program in the coordinates that the certificate will use, normally ``MergedRows.program``.
        dual: any dual of that program; one in groups asks for a program without inequalities besides its signs.
        margin: relative slack given away for the rigorous check.
        factors: look for the best factor of (N, t). Duals of an interior point hardly gain by it.

    Raises:
        InputError: the dual's shapes do not fit.
    """
    _require_fit(program, dual)
    if isinstance(dual, GroupedDual):
        return _repair_in_groups(program, dual, margin)
    if not dual.N.any():
        return repair_without_products(program, dual.W, margin=margin)
    W, N, t = project(program, dual)
    unit = _unit(program, W)
    largest = max(float(N.max(initial=0.0)), float(np.abs(t).max(initial=0.0)))
    if unit is None or not largest < 1e280:
        return _zero(program)
    W, size = unit
    N, t = N / size**2, t / size**2
    # What is done to the multipliers comes first, the scale of W last.
    N, t, sigma, h_squared = best_multipliers(program.pricing(W), N, t, margin, factors=factors)
    if not np.isfinite(h_squared):
        return repair_without_products(program, dual.W, margin=margin)
    return _scaled(program, W, N, t, sigma, h_squared, size, margin)


def repair_without_products(
    program: Program, W: FloatArray, *, factors: Iterable[Factor] = (), margin: float = MARGIN
) -> RepairedDual:
    """The best bound that W (f×c) gives without products of inequalities; time O(N(k + c)²), memory O(N(k + c)).

    The program's inequalities are not used. ``factors`` are moments of (u, v) in its coordinates whose multipliers are
    tried in place of those found here.
    """
    unit = _unit(program, _in_domain(program, W))
    if unit is None:
        return _zero(program)
    W, size = unit
    with np.errstate(all="ignore"):
        price = Price.of(program, W)
        flat = 1.0 / np.linalg.norm(program.space.generators, axis=1) ** 2
        known = [*factors] or [price.climb()]
        tau, h_squared = price.best([flat, *(tau for factor in known for tau in price.shifts(factor))], margin)
    if not np.isfinite(h_squared):
        return _zero(program)
    return _scaled(program, W, NO_PRODUCTS, -tau, program.share * h_squared, h_squared, size, margin)


def _repair_in_groups(program: Program, dual: GroupedDual, margin: float) -> RepairedDual:
    """In time and memory linear in the groups."""
    if dual.groups.neurons != program.space.neurons:
        raise InputError(f"the dual is about {dual.groups.neurons} generators, the program about another number.")
    unit = _unit(program, _in_domain(program, dual.W))
    if unit is None:
        return _zero(program)
    W, size = unit
    with np.errstate(all="ignore"):
        grouped, t, sigma, h_squared = best_grouped(program, dual, W, size, margin)
    if not np.isfinite(h_squared):
        return repair_without_products(program, dual.W, margin=margin)
    found = _scaled(program, W, NO_PRODUCTS, t, sigma, h_squared, size, margin)
    norm = np.linalg.norm(program.space.generators, axis=1)
    return replace(found, grouped=grouped.scaled(found.scale * size, norm))


def _unit(program: Program, W: FloatArray) -> tuple[FloatArray, float] | None:
    """W with entries up to 1, to stay clear of over- and underflow, and their size: h̄ is homogeneous in (W, √N, √t).

    None where no scale s > 0 gives more than the trivial bound.
    """
    size = float(np.abs(W).max(initial=0.0))
    if not (1e-140 < size < 1e140) or not program.best_scale(W / size) > 0:
        return None
    return W / size, size


def _scaled(
    program: Program,
    W: FloatArray,
    N: FloatArray,
    t: FloatArray,
    sigma: float,
    h_squared: float,
    size: float,
    margin: float,
) -> RepairedDual:
    """The best scale s of multipliers that prove the price h̄² of W."""
    h_bar = float(np.sqrt(max(h_squared, 0.0)))
    s = program.best_scale(W, h_bar, margin)
    bound = program.to_original(program.dual_value(s * W))
    return RepairedDual(s * W, s**2 * N, s**2 * t, bound, s / size, h_bar * size, s**2 * sigma)


def repair_form(program: Program, dual: Dual, *, margin: float = MARGIN, factors: bool = True) -> RepairedForm:
    """The best valid lower bound on a program's form that these multipliers give; without them, if they overflow.

    Numbers should be of order one, and W is empty. The rest is as for ``repair``.
    """
    _, N, t = project(program, dual)
    found_N, found_t, sigma, h_squared = best_multipliers(program, N, t, margin, factors=factors)
    if not np.isfinite(h_squared) and (N.any() or t.any()):
        return repair_form(program, Dual(dual.W, np.zeros_like(dual.N)), margin=margin)
    return RepairedForm(found_N, found_t, -h_squared, sigma)


def _zero(program: Program) -> RepairedDual:
    """The trivial dual W = 0, whose bound is the constant. A small shift keeps its slack positive definite."""
    norm = np.linalg.norm(program.space.generators, axis=1)
    A = program.space.generators / norm[:, None]
    reach = float(np.linalg.norm(A @ whitener(program.metric).T, 2) ** 2) if len(A) else 0.0
    t = -(program.gamma**2) / max(reach, 1e-300) / norm**2
    sigma = program.share * program.gamma**2
    return RepairedDual(np.zeros(program.shape), NO_PRODUCTS, t, program.to_original(0.0), sigma=sigma)
