"""Output weights by ridge regression, for a first network."""

import numpy as np

from certnet.training.pricing import length
from formulations._validation import FloatArray
from formulations.training import TrainingProgram

DECAYS = 10.0 ** np.arange(-10.0, 2.0)
"""Ridge parameters that are tried, relative to the mean square of a hidden neuron's outputs."""


def responses(program: TrainingProgram) -> FloatArray:
    """(n, c) what fitted values would reduce the loss: the zero network's Newton step, with one curvature for all rows.

    The targets of a squared loss; there, with an output bias, less their mean.
    """
    loss, zero = program.loss, np.zeros(program.loss.shape)
    a = loss.bias(zero)
    W = loss.dual(zero, a)
    curvature = float(loss.curvature(zero + a)[0].sum()) / (float(loss.sample_weight.sum()) * zero.shape[1])
    return np.asarray(W / loss.sample_weight[:, None] / (curvature if curvature > 0 else 1.0))


def best_ridge(program: TrainingProgram, U: FloatArray) -> FloatArray:
    """V (c, m) that minimises ``½‖HVᵀ − T‖² + κ/2 ‖V‖²`` with ``H = (XU)₊``, for the best κ of a few.

    T are the responses, and rows count by their sample weights; with an output bias H is centred. The best κ is the one
    whose network, once balanced, has the smallest objective. One eigendecomposition of order min(n, m) serves every κ.
    """
    loss, target = program.loss, responses(program)
    activations = np.maximum(program.X @ U, 0.0)
    omega = loss.sample_weight
    mean = omega @ activations / omega.sum() if loss.has_bias else 0.0
    H = np.sqrt(omega)[:, None] * (activations - mean)
    target = np.sqrt(omega)[:, None] * target
    n, m = H.shape
    tall = m <= n
    values, vectors = np.linalg.eigh(H.T @ H if tall else H @ H.T)
    values = np.maximum(values, 0.0)
    moments = vectors.T @ (H.T @ target if tall else target)
    lengths = length(program, U)
    best, least = np.zeros((program.shape[2], m)), np.inf
    for decay in DECAYS * float(values.sum()) / max(m, 1):
        if not decay > 0:
            break
        part = vectors @ (moments / (values + decay)[:, None])
        V = part if tall else H.T @ part
        objective = loss.value(activations @ V) + program.gamma * float(lengths @ np.linalg.norm(V, axis=1))
        if objective < least:
            best, least = V.T, objective
    return best
