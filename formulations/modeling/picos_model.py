"""The relaxation in PICOS: the blocks of the moment matrix as variables of their own."""

from typing import Any

import numpy as np

from formulations.errors import InputError
from formulations.program import Program


def picos_model(program: Program) -> Any:
    """The DNN relaxation of ``program`` as a ``picos.Problem``. Its value is in the program's own scale.

    The variables are the blocks of the moment matrix of (β, z, v); the blocks of α follow from α = β + Az:

        G_αα = G_ββ + A G_zβ + (A G_zβ)ᵀ + A G_zz Aᵀ,   G_βα = G_ββ + (A G_zβ)ᵀ,   G_αv = G_βv + A G_zv.

    Variables are named "G_bb", "G_zb", "G_zz", "G_bv", "G_zv", "G_vv". The loss is written with its square root below a
    variable "loss": minimise loss with ‖R‖² ≤ 2·loss.

    Raises:
        InputError: PICOS is not installed, or the loss is another one than the squared loss.
    """
    if program.loss is None or program.loss.kind.name != "squared":
        raise InputError("the model in PICOS knows the squared loss alone; use the one in CVXPY.")
    try:
        import picos
    except ImportError:
        raise InputError("the model in PICOS needs that package: pip install certnet[modeling].") from None

    space = program.space
    N, k, c = space.neurons, space.dimension, space.outputs
    A = picos.Constant("A", np.array(space.generators))
    bb = picos.SymmetricVariable("G_bb", N)
    zb = picos.RealVariable("G_zb", (k, N))
    zz = picos.SymmetricVariable("G_zz", k)
    bv = picos.RealVariable("G_bv", (N, c))
    zv = picos.RealVariable("G_zv", (k, c))
    vv = picos.SymmetricVariable("G_vv", c)
    lifted = A * zb
    alpha_alpha = bb + lifted + lifted.T + A * zz * A.T
    beta_alpha = bb + lifted.T

    problem = picos.Problem()
    problem.add_constraint(picos.block([[bb, zb.T, bv], [zb, zz, zv], [bv.T, zv.T, vv]]) >> 0)
    problem.add_constraint(alpha_alpha >= 0)
    problem.add_constraint(bb >= 0)
    problem.add_constraint(picos.maindiag(beta_alpha) == 0)
    if N > 1:
        # Off its diagonal, which vanishes, G_βα is nonnegative.
        problem.add_constraint(beta_alpha - picos.diag(picos.maindiag(beta_alpha)) >= 0)

    choose = np.zeros((len(program.feature), 2 * N))
    choose[np.arange(len(program.feature)), program.feature] = program.weight
    fitted = choose[:, :N] * (bv + A * zv) + choose[:, N:] * bv
    root = np.sqrt(program.loss.sample_weight)[:, None]
    missing = np.array(program.loss.target / program.loss.unit) - fitted
    value, decay = picos.RealVariable("loss"), program.loss.bias_decay
    objective = value
    if program.loss.has_bias:
        bias = picos.RealVariable("a", (1, c))
        missing = missing - picos.Constant("1", np.ones((len(root), 1))) * bias
        if decay > 0:
            cost = picos.RealVariable("bias_cost")
            problem.add_constraint(abs(bias) ** 2 <= 2 * cost)
            objective = objective + decay * cost
    problem.add_constraint(abs(picos.Constant("root", np.diag(root[:, 0])) * missing) ** 2 <= 2 * value)
    if program.region.size:
        problem.add_constraint((picos.Constant("Q", np.array(program.region)) | zz) >= 0)
    trace = (picos.Constant("E", np.array(program.cost())) | zz) + picos.trace(vv)
    problem.set_objective("min", objective + 0.5 * program.gamma * trace)
    return problem
