"""Global Lipschitz constants in l2: LipSDP, the stronger bound from products of signs, and a sampled lower bound."""

from dataclasses import dataclass

import numpy as np

from certificates.lipschitz import (
    LipschitzCertificate,
    LipschitzReport,
    check_lipschitz,
    moving_neurons,
    output_weights,
)
from certificates.repair import repair_form
from certificates.tree import LeafProof, build
from certificates.verdict import Verdict
from certnet.solvers.interface import SolverOptions
from certnet.solvers.interior_point import InteriorPointSolver
from formulations import FormProgram, InputError, LiftedSpace, RawDual
from formulations._validation import FloatArray, IntArray
from formulations.robustness import ReluNetwork

MARGINS = (1e-9, 1e-7, 1e-5, 1e-3)
TOLERANCE = 1e-7
SAMPLES = 2000
ASCENTS = 50


@dataclass(frozen=True, eq=False)
class LipschitzResult:
    """``sampled ≤ L ≤ constant ≤ product`` up to rounding of the first and the last.

    Attributes:
        constant: the proved constant; infinite if the checker did not accept it.
        sampled: the largest gradient norm that was met, a lower bound of the Lipschitz constant.
        product: ‖v‖ times the spectral norm of U, for comparison.
        certificate, report: the proof and what the checker found.
    """

    constant: float
    sampled: float
    product: float
    certificate: LipschitzCertificate
    report: LipschitzReport


def lipschitz_constant(
    network: ReluNetwork,
    c: FloatArray,
    *,
    products: bool = True,
    time_limit: float | None = None,
    random_state: int = 0,
) -> LipschitzResult:
    """Bound ``|c·f(x) − c·f(y)| / ‖x − y‖₂`` over all inputs.

    Args:
        network: the network.
        c: (outputs,), a unit vector for one output, a difference of two for a pair.
        products: use products of signs; without them the bound is LipSDP.
        time_limit: seconds for the solver, or None.
        random_state: seed of the sampled gradients.

    Raises:
        InputError: c has another length, is not finite, or every gradient is zero by its weights.
    """
    c = np.array(c, dtype=np.float64)
    if c.shape != (network.outputs,) or not np.isfinite(c).all():
        raise InputError(f"c must be {network.outputs} finite numbers, one for each output.")
    kept = moving_neurons(network)
    U, v = network.hidden[kept], np.array([float(value) for value in output_weights(network, c)])[kept]
    if not v.any():
        raise InputError("this function of the outputs does not depend on the input: its weights are zero.")
    scaled = np.abs(v)[:, None] * U
    unit = float(np.linalg.norm(scaled, 2))
    # Neurons without weight keep their rows; scaled by |v| the form is a sum of ones.
    size = np.where(v != 0, np.abs(v), 1.0) / unit
    N, space = len(kept), LiftedSpace(size[:, None] * U)
    ones = np.concatenate([v > 0, v < 0]).astype(np.float64)
    form = np.zeros((space.order, space.order))
    form[: 2 * N, : 2 * N] = -np.outer(ones, ones)
    program = FormProgram(space, form, np.eye(network.inputs))
    dual = _dual(program, products, SolverOptions(time_limit=time_limit, tolerance=TOLERANCE, seed=random_state))
    both = np.concatenate([size, size])
    for margin in MARGINS:
        repaired = repair_form(program, dual, margin=margin)
        # λ of the program is λ of the network times the factors of its rows; the form is times unit².
        multipliers = unit**2 * repaired.N * np.outer(both, both)
        proof = build(LeafProof.from_matrix(multipliers, unit**2 * size**2 * repaired.t), N)
        constant = unit * float(np.sqrt(max(-repaired.delta, 0.0))) * (1.0 + 1e-15)
        certificate = LipschitzCertificate(network, c, constant, proof)
        report = check_lipschitz(certificate)
        if report.verdict is Verdict.PROVED:
            break
    return LipschitzResult(
        constant=report.constant,
        sampled=_sampled(network, kept, v, random_state),
        product=float(np.linalg.norm(v) * np.linalg.norm(U, 2)),
        certificate=certificate,
        report=report,
    )


def _dual(program: FormProgram, products: bool, options: SolverOptions) -> RawDual:
    """The solver's dual, with products of signs or without any."""
    N = program.space.neurons
    nothing = RawDual(np.zeros((0, 0)), np.zeros((2 * N, 2 * N)))
    if products:
        return InteriorPointSolver().solve(program, options).dual or nothing
    # With an inequality of its own the program is solved from a cold start, not from an ADMM that uses all products.
    row = np.zeros((1, program.space.order))
    row[0, program.space.phi] = 1.0
    plain = FormProgram(program.space, program.form, program.metric, row)
    found = InteriorPointSolver(max_products=0).solve(plain, options).dual
    return nothing if found is None else RawDual(found.W, found.N[: 2 * N, : 2 * N])


def _sampled(network: ReluNetwork, kept: IntArray, v: FloatArray, seed: int) -> float:
    """The largest gradient norm at random inputs of several sizes, and uphill from the best of them.

    Points on a kink are left out, so each norm is that of a true gradient.
    """
    U, b = network.hidden[kept], network.hidden_bias[kept]
    rng = np.random.default_rng(seed)
    spread = float(np.abs(b).max(initial=0.0)) / max(float(np.linalg.norm(U, axis=1).mean()), 1e-300)
    sizes = (1.0 + spread) * 10.0 ** rng.uniform(-1, 2, (SAMPLES, 1))
    points = rng.standard_normal((SAMPLES, network.inputs)) * sizes
    best = 0.0
    for _ in range(ASCENTS):
        product = points @ U.T + b
        gradients = ((product > 0) * v) @ U
        norms = np.linalg.norm(gradients, axis=1) * (product != 0).all(axis=1)
        best = max(best, float(norms.max()))
        # A gradient's own direction, far out, often has a larger gradient.
        points = np.linalg.norm(points, axis=1, keepdims=True) * gradients / np.maximum(norms, 1e-300)[:, None]
    return best
