"""Training of a two-layer ReLU network as a program."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from formulations._validation import FloatArray, as_matrix, as_positive, frozen
from formulations.errors import InputError

LARGEST = 1e50
"""Largest entry of X, Y and γ, and 1/LARGEST the smallest γ: fourth powers of such numbers stay within float64."""
SMALLEST = 1e-75
"""Rows of X without an entry of this size count as zero but where a bound is proved, for the same reason."""


@dataclass(frozen=True, eq=False, init=False)
class TrainingProgram:
    """min over U (d×m), V (c×m), any m, of  ½‖(XU)₊Vᵀ − Y‖_F² + γ/2 (‖U‖_F² + ‖V‖_F²).

    The loss is a sum, not a mean, with a factor ½. With ``bias`` a column of ones is appended to X; its weights are
    regularised like the others, as in the paper (arXiv 2410.22311).

    Args:
        X: data, n×d (features), finite.
        Y: targets, n×c, finite; a vector is one column.
        gamma: weight decay γ > 0, between 1e-50 and 1e50.
        bias: append the column of ones.

    Raises:
        InputError: entries that are not finite, shapes that disagree, or γ that is not positive.
    """

    X: FloatArray
    Y: FloatArray
    gamma: float
    bias: bool

    def __init__(self, X: ArrayLike, Y: ArrayLike, gamma: float, *, bias: bool = False) -> None:
        data = as_matrix("X", X)
        targets = as_matrix("Y", Y)
        if targets.shape[0] != data.shape[0]:
            raise InputError(
                f"X has {data.shape[0]} rows but Y has {targets.shape[0]}; every data point needs one target row."
            )
        for name, matrix in (("X", data), ("Y", targets)):
            size = float(np.abs(matrix).max())
            if not (size <= LARGEST):
                raise InputError(f"{name} has an entry of size {size:.1e}; rescale it to below {LARGEST:.0e}.")
        if bias:
            data = np.hstack([data, np.ones((len(data), 1))])
        frozen(data)
        frozen(targets)
        object.__setattr__(self, "X", data)
        object.__setattr__(self, "Y", targets)
        decay = as_positive("gamma", gamma)
        if not (1.0 / LARGEST <= decay <= LARGEST):
            raise InputError(f"gamma is {decay:.3g}; choose one between {1.0 / LARGEST:.0e} and {LARGEST:.0e}.")
        object.__setattr__(self, "gamma", decay)
        object.__setattr__(self, "bias", bias)

    def require_size(self) -> None:
        """Raise InputError where X is so small that nothing can be computed of its squares."""
        size = float(np.abs(self.X).max())
        if not (size >= SMALLEST or size == 0):
            raise InputError(f"X has entries up to a size of {size:.1e} only; rescale it to above {SMALLEST:.0e}.")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n, d, c), with the bias column counted in d."""
        return self.X.shape[0], self.X.shape[1], self.Y.shape[1]

    def objective(self, U: FloatArray, V: FloatArray) -> float:
        """½‖(XU)₊Vᵀ − Y‖² + γ/2(‖U‖² + ‖V‖²) for U (d×m) and V (c×m), in floating point (not a proof)."""
        residual = np.maximum(self.X @ U, 0.0) @ V.T - self.Y
        return 0.5 * float(np.sum(residual**2)) + 0.5 * self.gamma * float(np.sum(U**2) + np.sum(V**2))

    def residual(self, U: FloatArray, V: FloatArray) -> FloatArray:
        """Y − (XU)₊Vᵀ (n×c), the dual candidate that every network offers."""
        return self.Y - np.maximum(self.X @ U, 0.0) @ V.T
