"""Output weights by ridge regression, for a first network."""

import numpy as np

from formulations._validation import FloatArray
from formulations.training import TrainingProgram

DECAYS = 10.0 ** np.arange(-10.0, 2.0)
"""Ridge parameters that are tried, relative to the mean square of a hidden neuron's outputs."""


def best_ridge(program: TrainingProgram, U: FloatArray) -> FloatArray:
    """V (c, m) that minimises ``½‖HVᵀ − Y‖² + κ/2 ‖V‖²`` with ``H = (XU)₊``, for the best κ of a few.

    The best is the one whose network, once balanced, has the smallest objective ``½‖HVᵀ − Y‖² + γ Σ ‖u_j‖‖v_j‖``. One
    eigendecomposition of order min(n, m) serves every κ.

    Args:
        program: X (n, d), Y (n, c) and γ.
        U: (d, m) hidden weights.
    """
    H = np.maximum(program.X @ U, 0.0)
    n, m = H.shape
    tall = m <= n
    values, vectors = np.linalg.eigh(H.T @ H if tall else H @ H.T)
    values = np.maximum(values, 0.0)
    moments = vectors.T @ (H.T @ program.Y if tall else program.Y)
    lengths = np.linalg.norm(U, axis=0)
    best, least = np.zeros((program.shape[2], m)), np.inf
    for decay in DECAYS * float(values.sum()) / max(m, 1):
        if not decay > 0:
            break
        part = vectors @ (moments / (values + decay)[:, None])
        V = part if tall else H.T @ part
        loss = 0.5 * float(np.sum((H @ V - program.Y) ** 2))
        objective = loss + program.gamma * float(lengths @ np.linalg.norm(V, axis=1))
        if objective < least:
            best, least = V.T, objective
    return best
