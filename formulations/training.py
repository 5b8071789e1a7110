"""Training of a two-layer ReLU network as a program."""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from formulations._validation import FloatArray, as_matrix, as_positive, frozen, shown
from formulations.errors import InputError
from formulations.hidden_bias import ball, region_form
from formulations.loss import FREE_BIAS, NO_BIAS, Loss
from formulations.losses import COUNTS, NUMBERS, ONE_HOT, SIGNS, Kind, kind_named

LARGEST = 1e50
"""Largest entry of X, Y and γ, and 1/LARGEST the smallest γ: fourth powers of such numbers stay within float64."""
SMALLEST = 1e-75
"""Rows of X without an entry of this size count as zero but where a bound is proved, for the same reason."""
BIASES = ("none", "penalised", "free")


@dataclass(frozen=True, eq=False, init=False)
class TrainingProgram:
    """min over U (d×m), V (c×m), a (c), any m, of  Σ_i ω_i ℓ(f_i, y_i) + γ/2 (‖U‖_F² + ‖V‖_F²),  f = (XU)₊Vᵀ + a.

    The loss is a sum, not a mean; that of the squared loss is ½‖f − Y‖². With a hidden bias a column of ones is
    appended to X. A bias is "none", "penalised" like the weights, as in the paper (arXiv 2410.22311), or "free": it
    costs nothing, as in scikit-learn.

    Args:
        X: data, n×d (features), finite.
        Y: targets, n×c, finite; a vector is one column. Classes are one-hot rows for cross-entropy, and −1 or 1 for
            logistic and hinge losses.
        gamma: weight decay γ > 0, between 1e-50 and 1e50.
        loss: a name of ``formulations.losses`` such as "squared", "cross-entropy" or "huber:1.5", or the kind itself.
        sample_weight: (n,) ω ≥ 0, or None for ones; rows of weight 0 are left out.
        hidden_bias, output_bias: "none", "penalised" or "free".

    Raises:
        InputError: entries that are not finite, shapes that disagree, targets outside what the loss takes, weights that
            are negative or all zero, an unknown loss or bias, or γ that is not positive.
    """

    X: FloatArray
    Y: FloatArray
    gamma: float
    loss: Loss
    hidden_bias: str
    output_bias: str

    def __init__(
        self,
        X: ArrayLike,
        Y: ArrayLike,
        gamma: float,
        *,
        loss: str | Kind = "squared",
        sample_weight: ArrayLike | None = None,
        hidden_bias: str = "none",
        output_bias: str = "none",
    ) -> None:
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
        for name, bias in (("hidden_bias", hidden_bias), ("output_bias", output_bias)):
            if not isinstance(bias, str) or bias not in BIASES:
                raise InputError(f"{name} is {shown(bias)}; choose {', '.join(BIASES[:-1])} or {BIASES[-1]}.")
        if hidden_bias == "free" and output_bias != "free":
            raise InputError(
                "A free hidden bias makes constants that cost nothing, with a large bias and a tiny output weight; "
                'choose output_bias "free" with it.'
            )
        kind = kind_named(loss)
        omega = _weights(sample_weight, len(data))
        data, targets, omega = (np.ascontiguousarray(array[omega > 0]) for array in (data, targets, omega))
        require_targets(kind, targets)
        if hidden_bias != "none":
            data = np.hstack([data, np.ones((len(data), 1))])
        decay = as_positive("gamma", gamma)
        if not (1.0 / LARGEST <= decay <= LARGEST):
            raise InputError(f"gamma is {decay:.3g}; choose one between {1.0 / LARGEST:.0e} and {LARGEST:.0e}.")
        for array in (data, targets, omega):
            frozen(array)
        bias_decay = {"none": NO_BIAS, "penalised": decay, "free": FREE_BIAS}[output_bias]
        values = {"X": data, "Y": targets, "gamma": decay, "hidden_bias": hidden_bias, "output_bias": output_bias}
        for name, value in {**values, "loss": Loss(targets, kind, omega, bias_decay)}.items():
            object.__setattr__(self, name, value)

    def require_size(self) -> None:
        """Raise InputError where X is so small that nothing can be computed of its squares."""
        size = float(np.abs(self.X).max())
        if not (size >= SMALLEST or size == 0):
            raise InputError(f"X has entries up to a size of {size:.1e} only; rescale it to above {SMALLEST:.0e}.")

    @property
    def shape(self) -> tuple[int, int, int]:
        """(n, d, c), with the column of ones counted in d."""
        return self.X.shape[0], self.X.shape[1], self.Y.shape[1]

    @property
    def has_ones(self) -> bool:
        """Whether the last column of X is that of the hidden bias."""
        return self.hidden_bias != "none"

    @cached_property
    def penalised(self) -> FloatArray:
        """(d,) 1 for the coordinates of u that cost something, 0 for a free hidden bias."""
        return np.append(np.ones(self.X.shape[1] - 1), 0.0 if self.hidden_bias == "free" else 1.0)

    @cached_property
    def ball(self) -> FloatArray:
        """(d,) x̄ and R² of a free hidden bias, see ``formulations.hidden_bias``; (0,) without one."""
        return ball(self.X[:, :-1]) if self.hidden_bias == "free" else np.zeros(0)

    @cached_property
    def region(self) -> FloatArray:
        """(d, d) the form ``q/R²`` of that region; 0×0 without one."""
        return region_form(self.ball) / self.ball[-1] if len(self.ball) else np.zeros((0, 0))

    def cost(self, share: float = 0.0) -> FloatArray:
        """(d, d) the cost of u less this share θ of the region's form, at most the true one where it matters.

        It is positive definite for shares between 0 and 1, and for every share without a free hidden bias.
        """
        E = np.diag(self.penalised)
        return E - share * self.region if len(self.ball) else E

    def fitted(self, U: FloatArray, V: FloatArray) -> FloatArray:
        """(XU)₊Vᵀ (n×c), the outputs without the output bias."""
        return np.maximum(self.X @ U, 0.0) @ V.T

    def output(self, U: FloatArray, V: FloatArray) -> FloatArray:
        """The best output bias a (c,); zeros where there is none."""
        return self.loss.bias(self.fitted(U, V))

    def objective(self, U: FloatArray, V: FloatArray, a: FloatArray | None = None) -> float:
        """The objective of U (d×m), V (c×m) and a (c,), or the best a, in floating point (not a proof)."""
        decay = float(np.sum(self.penalised[:, None] * U**2) + np.sum(V**2))
        return self.loss.value(self.fitted(U, V), a) + 0.5 * self.gamma * decay

    def dual(self, U: FloatArray, V: FloatArray, a: FloatArray | None = None) -> FloatArray:
        """W = −∇ of the loss (n×c), the dual candidate that every network offers: the residual of the squared loss."""
        return self.loss.dual(self.fitted(U, V), a)


def _weights(sample_weight: ArrayLike | None, n: int) -> FloatArray:
    if sample_weight is None:
        return np.ones(n)
    omega = as_matrix("sample_weight", sample_weight, rows=n)[:, 0].copy()
    if not (omega >= 0).all():
        raise InputError("sample_weight has a negative entry; weights count how often a row occurs.")
    if not omega.any():
        raise InputError("sample_weight is zero for every row; at least one row has to count.")
    if not omega.max() <= LARGEST:
        raise InputError(f"sample_weight has an entry of size {omega.max():.1e}; rescale it to below {LARGEST:.0e}.")
    return omega


def require_targets(kind: Kind, Y: FloatArray) -> None:
    """Raise InputError where a target lies outside what the loss takes, naming the first such row."""
    sound = {
        NUMBERS: lambda: np.ones(len(Y), dtype=bool),
        SIGNS: lambda: (np.abs(Y) == 1.0).all(axis=1),
        COUNTS: lambda: (Y >= 0).all(axis=1),
        ONE_HOT: lambda: ((Y == 0) | (Y == 1)).all(axis=1) & (Y.sum(axis=1) == 1),
    }[kind.targets]()  # type: ignore[no-untyped-call]
    if not sound.all():
        row = int(np.argmin(sound))
        raise InputError(f"The loss {kind.name} takes targets that are {kind.targets}; row {row + 1} holds others.")
    if kind.couples and Y.shape[1] < 2:
        raise InputError("cross-entropy needs at least two columns of targets, one for each class.")
