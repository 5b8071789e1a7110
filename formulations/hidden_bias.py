"""A hidden bias that costs nothing, made finite.

A neuron is ``(x·u + b)₊`` with the cost ‖u‖² alone. Let ‖x_i − x̄‖ ≤ R for every data row. Where ``|b + u·x̄| > R‖u‖``
all rows have the same sign: the neuron is dead, or affine on the data. If the columns of W sum to 0 its price
``‖Wᵀ(Xu + b)₊‖`` is then that of the neuron with the same u on the boundary of

    q(u, b) = R²‖u‖² − (b + u·x̄)² ≥ 0,

so only this region has to be priced, and ``E = ‖u‖² − θ/R² q`` is a positive definite cost that is at most ‖u‖² on it.
"""

import numpy as np

from formulations.arrays import FloatArray

BITS = 22  # Of the centre's entries on their common grid, so that every entry of q is exact in float64.


def ball(rows: FloatArray) -> FloatArray:
    """(x̄, R²) in one array (d,) for rows n×(d − 1) with ‖x_i − x̄‖ ≤ R, R > 0, on a grid where q has no rounding."""
    centre = rows.mean(axis=0)
    size = max(float(np.abs(rows - centre).max(initial=0.0)), float(np.abs(centre).max(initial=0.0)))
    radius = float(np.sqrt(np.max(np.sum((rows - centre) ** 2, axis=1), initial=0.0)))
    grid = 2.0 ** (np.frexp(max(size, radius, 1e-60))[1] - BITS)
    centre = np.round(centre / grid) * grid
    square = float(np.max(np.sum((rows - centre) ** 2, axis=1), initial=0.0)) * (1.0 + 1e-9)
    return np.append(centre, (np.floor(square / grid**2) + 1.0) * grid**2)


def region_form(ball: FloatArray) -> FloatArray:
    """The matrix (d, d) of q over (u, b)."""
    centre, square = ball[:-1], ball[-1]
    row = np.append(centre, 1.0)
    form: FloatArray = np.diag(np.append(np.full(len(centre), square), 0.0)) - np.outer(row, row)
    return form
