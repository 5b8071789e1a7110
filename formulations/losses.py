"""Convex losses of fitted values, row by row: value, slope and curvature, and what a dual variable earns.

A loss ℓ(f, y) of fitted values f (n×c) and targets y (n×c) is a sum over rows; ``W = −∇ℓ(f)`` is the dual that a
prediction offers, and ``D(w) = −ℓ*(−w)`` what it earns: ``ℓ(f) ≥ D(w) − w·f`` for every f, with equality there. Every
domain of D is convex and holds w = 0, where D is least ℓ, which is 0 for all of these.

| name           | ℓ of an entry or a row                  | D(w)                                    | domain          |
|----------------|-----------------------------------------|-----------------------------------------|----------------|
| squared        | ½(f − y)²                               | wy − w²/2                               | all w           |
| cross-entropy  | log Σ_k e^{f_k} − f_y, y one-hot        | entropy of p = y − w                    | p in the simplex|
| logistic       | log(1 + e^{−yf}), y = ±1                | entropy of (q, 1 − q), q = yw           | 0 ≤ q ≤ 1       |
| hinge          | (1 − yf)₊                               | q                                       | 0 ≤ q ≤ 1       |
| squared-hinge  | ½(1 − yf)₊²                             | q − q²/2                                | 0 ≤ q           |
| huber          | ½r² up to |r| = δ, then δ|r| − δ²/2     | wy − w²/2                               | |w| ≤ δ         |
| absolute       | |f − y|                                 | wy                                      | |w| ≤ 1         |
| quantile       | τ(y − f)₊ + (1 − τ)(f − y)₊             | wy                                      | τ − 1 ≤ w ≤ τ   |
| poisson        | e^f − yf + y log y − y                  | q − q log q + y log y − y, q = y − w    | 0 ≤ q           |

Hinge, absolute and quantile loss have kinks. ``smoothing`` ε replaces them by their Moreau envelopes, at most
``ε/2 w²`` smaller, whose dual earns ``ε/2 w²`` less: training and solvers use it, bounds and objectives do not.
Sources: Boyd, Vandenberghe, *Convex Optimization*, 3.3 and 5.7; math of each line is tested against random networks.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import scipy

from formulations._validation import FloatArray, shown
from formulations.errors import InputError

ONE_HOT, SIGNS, NUMBERS, COUNTS = "one-hot rows", "-1 or 1", "numbers", "numbers that are not negative"
"""What targets a loss takes."""


class _Loss:
    """Methods take arrays (n×c) and are vectorised over rows; they are told of at ``Quadratic``.

    ``couples`` tells whether the columns of a row depend on one another, ``has_kinks`` whether there are kinks where
    ``smoothing``, ε, is 0; of other losses it is None.
    """

    name: ClassVar[str]
    targets: ClassVar[str]
    couples: ClassVar[bool] = False
    has_kinks: ClassVar[bool] = False
    smoothing: float | None = None


class Quadratic(_Loss):
    """D(w) = wy − bend/2 w² between two limits of w, or for y = ±1 of yw; ℓ is the largest ``w(y − f) − bend/2 w²``."""

    targets = NUMBERS
    ends: tuple[float, float]

    @property
    def bend(self) -> float:
        return 1.0 if self.smoothing is None else self.smoothing

    def _ends(self, y: FloatArray) -> tuple[FloatArray | float, FloatArray | float]:
        low, high = self.ends
        return (np.where(y > 0, low, -high), np.where(y > 0, high, -low)) if self.targets == SIGNS else self.ends

    def value(self, f: FloatArray, y: FloatArray) -> FloatArray:
        """(n,) losses of the rows."""
        w = self.dual(f, y)
        # As one product, so that what overflows is infinite and no difference of infinities.
        return _rows(w * (y - f - 0.5 * self.bend * w))

    def dual(self, f: FloatArray, y: FloatArray) -> FloatArray:
        """W = −∇ℓ(f), in the domain of D."""
        r, (low, high) = y - f, self._ends(y)
        if self.bend > 0:
            return np.clip(r / self.bend, low, high)
        return np.where(r > 0, high, np.where(r < 0, low, 0.0))

    def curvature(self, f: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        """(d, l), n×c each, with the Hessian ``diag(d) − l lᵀ`` of a row; l is zero where columns are apart."""
        flat = np.zeros_like(y)
        if not self.bend > 0:
            return flat, flat
        r, (low, high) = y - f, self._ends(y)
        return ((r > self.bend * low) & (r < self.bend * high)) / self.bend, flat

    def earned(self, w: FloatArray, y: FloatArray) -> FloatArray:
        """(n,) D of the rows; w is taken to be in the domain, up to rounding."""
        return _rows(w * y - 0.5 * self.bend * w**2)

    def fitted(self, w: FloatArray, y: FloatArray) -> FloatArray:
        """∇D(w), the f whose dual is w; infinite at the boundary of some domains."""
        return y - self.bend * w

    def sharpness(self, w: FloatArray, y: FloatArray) -> FloatArray:
        """The diagonal of −∇²D(w), which is diagonal: for cross-entropy on the vectors whose sum is 0."""
        return np.full_like(y, self.bend)

    def limits(self, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        """(lower, upper), n×c each: the domain of D as a box; of cross-entropy together with ``Σ_k w_k = 0``."""
        low, high = self._ends(y)
        return np.full_like(y, low), np.full_like(y, high)


@dataclass(frozen=True)
class Squared(Quadratic):
    name, ends = "squared", (-np.inf, np.inf)

    def dual(self, f: FloatArray, y: FloatArray) -> FloatArray:
        return y - f  # nothing to clip, and this is most of a fit of small data


@dataclass(frozen=True)
class Huber(Quadratic):
    """½r² up to |r| = δ, then δ|r| − δ²/2, with r = f − y; InputError where δ is not positive."""

    delta: float = 1.0
    name = "huber"

    def __post_init__(self) -> None:
        if not 0 < self.delta < np.inf:
            raise InputError(f"The delta of a Huber loss must be a positive number, not {self.delta:g}.")

    @property
    def ends(self) -> tuple[float, float]:  # type: ignore[override]
        return -self.delta, self.delta


@dataclass(frozen=True)
class Quantile(Quadratic):
    """τ(y − f)₊ + (1 − τ)(f − y)₊, whose best constant is the τ-quantile; InputError unless 0 < τ < 1."""

    tau: float = 0.5
    smoothing: float = 0.0
    name, has_kinks = "quantile", True

    def __post_init__(self) -> None:
        if not 0 < self.tau < 1:
            raise InputError(f"The tau of a quantile loss must lie between 0 and 1, not be {self.tau:g}.")

    @property
    def ends(self) -> tuple[float, float]:  # type: ignore[override]
        return self.tau - 1.0, self.tau


@dataclass(frozen=True)
class Absolute(Quantile):
    name, ends = "absolute", (-1.0, 1.0)


@dataclass(frozen=True)
class Hinge(Quadratic):
    """(1 − yf)₊ for y = ±1; smoothed ``(1 − yf)²/2ε`` up to ``1 − yf = ε``."""

    smoothing: float = 0.0
    name, targets, ends, has_kinks = "hinge", SIGNS, (0.0, 1.0), True


@dataclass(frozen=True)
class SquaredHinge(Quadratic):
    name, targets, ends = "squared-hinge", SIGNS, (0.0, np.inf)


class _Logarithmic(_Loss):
    """D(w) has the entropy of y − w."""

    def fitted(self, w: FloatArray, y: FloatArray) -> FloatArray:
        with np.errstate(divide="ignore"):
            return np.log(np.maximum(y - w, 0.0))

    def sharpness(self, w: FloatArray, y: FloatArray) -> FloatArray:
        with np.errstate(divide="ignore"):
            return 1.0 / np.maximum(y - w, 0.0)


@dataclass(frozen=True)
class CrossEntropy(_Logarithmic):
    """log Σ_k exp f_k − f_y."""

    name, targets, couples = "cross-entropy", ONE_HOT, True

    def value(self, f: FloatArray, y: FloatArray) -> FloatArray:
        away = f - np.sum(f * y, axis=1, keepdims=True)
        largest = away.max(axis=1, initial=0.0)
        return np.asarray(largest + np.log(_rows(np.exp(away - largest[:, None]))))

    def dual(self, f: FloatArray, y: FloatArray) -> FloatArray:
        p = scipy.special.softmax(f, axis=1)
        # 1 − p_y as the sum of the others keeps its digits where the row is fitted well.
        others = np.sum(p * (1.0 - y), axis=1, keepdims=True)
        return np.asarray(np.where(y > 0, others, -p))

    def curvature(self, f: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        p = scipy.special.softmax(f, axis=1)
        return p, p

    def earned(self, w: FloatArray, y: FloatArray) -> FloatArray:
        return _rows(scipy.special.entr(np.maximum(y - w, 0.0)))

    def limits(self, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        return y - 1.0, y.copy()


@dataclass(frozen=True)
class Logistic(_Loss):
    """log(1 + exp(−yf)) for y = ±1."""

    name, targets = "logistic", SIGNS

    def value(self, f: FloatArray, y: FloatArray) -> FloatArray:
        return _rows(np.logaddexp(0.0, -y * f))

    def dual(self, f: FloatArray, y: FloatArray) -> FloatArray:
        return np.asarray(y * scipy.special.expit(-y * f))

    def curvature(self, f: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        return np.asarray(scipy.special.expit(f) * scipy.special.expit(-f)), np.zeros_like(y)

    def earned(self, w: FloatArray, y: FloatArray) -> FloatArray:
        q = np.clip(y * w, 0.0, 1.0)
        return _rows(scipy.special.entr(q) + scipy.special.entr(1.0 - q))

    def fitted(self, w: FloatArray, y: FloatArray) -> FloatArray:
        return np.asarray(-y * scipy.special.logit(np.clip(y * w, 0.0, 1.0)))

    def sharpness(self, w: FloatArray, y: FloatArray) -> FloatArray:
        q = np.clip(y * w, 0.0, 1.0)
        with np.errstate(divide="ignore"):
            return 1.0 / q + 1.0 / (1.0 - q)

    def limits(self, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        return np.minimum(y, 0.0), np.maximum(y, 0.0)


@dataclass(frozen=True)
class Poisson(_Logarithmic):
    """e^f − yf + y log y − y for y ≥ 0, half the deviance of a count with the mean e^f."""

    name, targets = "poisson", COUNTS

    def value(self, f: FloatArray, y: FloatArray) -> FloatArray:
        with np.errstate(over="ignore"):
            return _rows(np.exp(f) - y * f + (scipy.special.xlogy(y, y) - y))

    def dual(self, f: FloatArray, y: FloatArray) -> FloatArray:
        with np.errstate(over="ignore"):
            return y - np.exp(f)

    def curvature(self, f: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        with np.errstate(over="ignore"):
            return np.exp(f), np.zeros_like(y)

    def earned(self, w: FloatArray, y: FloatArray) -> FloatArray:
        q = np.maximum(y - w, 0.0)
        return _rows(q + scipy.special.entr(q) + (scipy.special.xlogy(y, y) - y))

    def limits(self, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        return np.full_like(y, -np.inf), y.copy()


def _rows(terms: FloatArray) -> FloatArray:
    return np.asarray(np.sum(terms, axis=1))


_ALL = (Squared, CrossEntropy, Logistic, Hinge, SquaredHinge, Huber, Absolute, Quantile, Poisson)
Kind = Quadratic | CrossEntropy | Logistic | Poisson
"""What everything that trains, solves or searches asks a loss, row by row."""
KINDS: dict[str, Callable[..., Kind]] = {kind.name: kind for kind in _ALL}
_PARAMETER = {"huber": "delta", "quantile": "tau"}


def kind_named(loss: str | Kind) -> Kind:
    """The loss of this name, or itself; a parameter follows a colon, as in ``huber:1.5`` and ``quantile:0.9``."""
    if isinstance(loss, _ALL):
        return loss
    name, colon, parameter = loss.partition(":") if isinstance(loss, str) else ("", "", "")
    if name not in KINDS:
        raise InputError(f"There is no loss {shown(loss)}; choose {', '.join(KINDS)}.")
    if not colon:
        return KINDS[name]()
    try:
        given = {_PARAMETER[name]: float(parameter)}
    except (KeyError, ValueError):
        known = " and ".join(f"{one}:{what.upper()}" for one, what in _PARAMETER.items())
        raise InputError(f"The loss {shown(loss)} is none; a number follows in {known} alone.") from None
    return KINDS[name](**given)


def name_of(kind: Kind) -> str:
    """The text that ``kind_named`` reads, without the smoothing."""
    parameter = _PARAMETER.get(kind.name)
    return kind.name if parameter is None else f"{kind.name}:{getattr(kind, parameter)!r}"


def smoothed(kind: Kind, smoothing: float) -> Kind:
    """The loss without kinks; a loss that has none stays."""
    return replace(kind, smoothing=smoothing) if kind.has_kinks else kind  # type: ignore[type-var]
