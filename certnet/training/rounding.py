"""From the relaxation's moment matrix to candidate hidden weights."""

import numpy as np

from certnet.training.pricing import normalised
from formulations._validation import FloatArray, as_matrix
from formulations.errors import InputError

SPECTRUM = 1e-12


def candidates_from_moment(
    G_uu: FloatArray,
    X: FloatArray,
    *,
    samples: int = 200,
    random_state: int | np.random.Generator = 0,
    factor: FloatArray | None = None,
) -> FloatArray:
    """Unit directions (d×k) that the relaxation suggests.

    In this order: the columns of a factor if the caller has one, the eigenvectors of G_uu with both signs, samples
    u ~ N(0, G_uu), and the data rows with both signs. All are columns of one matrix; feed them to ``group_lasso``.

    Args:
        G_uu: (d, d) moment matrix of the hidden weights; its negative eigenvalues count as 0.
        X: (n, d) data.
        samples: number of Gaussian samples.
        random_state: seed or generator.
        factor: (d, r) the u-rows of R in G = RRᵀ, or None.

    Raises:
        InputError: shapes that disagree or entries that are not finite.
    """
    data = as_matrix("X", X)
    d = data.shape[1]
    moment = as_matrix("G_uu", G_uu, rows=d, columns=d)
    if samples < 0:
        raise InputError(f"samples must be 0 or more, not {samples}.")
    eigenvalues, vectors = np.linalg.eigh(0.5 * (moment + moment.T))
    positive = eigenvalues > SPECTRUM * max(float(eigenvalues[-1]), 0.0)
    vectors = vectors[:, positive][:, ::-1]
    root = vectors * np.sqrt(eigenvalues[positive][::-1])
    drawn = root @ np.random.default_rng(random_state).standard_normal((root.shape[1], samples))
    columns = [] if factor is None else [as_matrix("factor", factor, rows=d)]
    return normalised(np.hstack([*columns, vectors, -vectors, drawn, data.T, -data.T]))
