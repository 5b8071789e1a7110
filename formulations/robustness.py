"""What verification asks: can the outputs of a two-layer ReLU network be unsafe on a region of inputs?

With output rows ``H y + h`` a case is unsafe at x when x lies in its region and ``H f(x) + h ≤ 0`` in every row. A
property is a disjunction of cases, as in VNN-LIB; it holds if no case is unsafe anywhere. In the lifted space a case
is a form: A = [U b], z = (x, t), and for weights μ ≥ 0 of the rows

    t · (μᵀH V α + μᵀ(H b₂ + h) t) − δ t² ≥ 0   on the region, δ > 0,

proves that not all rows can be ≤ 0 together.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import ArrayLike

from formulations._validation import FloatArray, real_number, shown
from formulations.arguments import require
from formulations.errors import InputError
from formulations.network import ReluNetwork
from formulations.rounding import above, added, below, exact_array, whole

BOX_ROWS = 1  # Row 0 of a region is t ≥ 0; the sides of the box follow, two for each input.


@dataclass(frozen=True, eq=False)
class InputRegion:
    """A box ``lower ≤ x ≤ upper``, intersected with a ball ``‖x − centre‖₂ ≤ radius`` if there is one.

    Where the sides that are meant are no float64 numbers, ``lower`` and ``upper`` are these, rounded outwards, so that
    a proof covers what is meant; ``inner`` and ``sides`` tell which points belong to it.

    Attributes:
        lower, upper: (d,) the box of proofs.
        centre, radius: (d,) and a number, of the ball; both are meant exactly.
        inner: the least and the largest float64 number of each input that the exact box holds; None where that is
            ``lower`` and ``upper``. The least is above the largest where it holds none.
        sides: the exact sides, two tuples of d rational numbers, where a property states such.

    Raises:
        InputError: shapes that disagree, numbers that are not finite, lower > upper, or a negative radius.
    """

    lower: FloatArray
    upper: FloatArray
    centre: FloatArray | None = None
    radius: float | None = None
    inner: tuple[FloatArray, FloatArray] | None = None
    sides: tuple[Sequence[Fraction], Sequence[Fraction]] | None = None

    def __post_init__(self) -> None:
        lower, upper = exact_array("the lower bound", self.lower, 1), exact_array("the upper bound", self.upper, 1)
        if lower.shape != upper.shape:
            raise InputError(f"a region has {lower.size} lower and {upper.size} upper bounds; give one each per input.")
        wrong = np.flatnonzero(~(lower <= upper))
        if len(wrong):
            j = int(wrong[0])
            raise InputError(f"input {j} has the lower bound {lower[j]:g} above its upper bound {upper[j]:g}.")
        object.__setattr__(self, "lower", lower)
        object.__setattr__(self, "upper", upper)
        if (self.centre is None) != (self.radius is None):
            raise InputError("a ball needs both a centre and a radius.")
        if self.centre is not None and self.radius is not None:
            centre = exact_array("the centre of the ball", self.centre, 1)
            if centre.shape != lower.shape:
                raise InputError(f"the ball has {centre.size} coordinates where the box has {lower.size}.")
            object.__setattr__(self, "centre", centre)
            object.__setattr__(self, "radius", _radius(self.radius))

    @classmethod
    def l2(cls, centre: ArrayLike, radius: float) -> "InputRegion":
        """The ball ‖x − centre‖₂ ≤ radius; its box is rounded outwards."""
        middle, size = exact_array("the centre of the ball", centre, 1), _radius(radius)
        return cls(added(middle, -size)[0], added(middle, size)[1], middle, size)

    @classmethod
    def linf(cls, centre: ArrayLike, radius: float) -> "InputRegion":
        """The box |x_j − centre_j| ≤ radius, rounded outwards."""
        middle, size = exact_array("the centre of the box", centre, 1), _radius(radius)
        (low, least), (largest, high) = added(middle, -size), added(middle, size)
        return cls(low, high, inner=(least, largest))

    @classmethod
    def between(cls, lower: Sequence[Fraction], upper: Sequence[Fraction]) -> "InputRegion":
        """The box of these exact sides, rounded outwards; InputError where one is beyond the range of float64."""
        low, high = (np.array([below(value) for value in side]) for side in (lower, upper))
        least, largest = (np.array([above(value) for value in side]) for side in (lower, upper))
        if np.array_equal(low, least) and np.array_equal(high, largest):
            return cls(low, high)
        return cls(low, largest, inner=(least, high), sides=(tuple(lower), tuple(upper)))

    @property
    def inputs(self) -> int:
        """d."""
        return len(self.lower)

    @property
    def has_ball(self) -> bool:
        """Whether there is a ball."""
        return self.centre is not None

    def contains(self, x: FloatArray) -> bool:
        """Whether a float64 vector belongs to the exact region, decided in exact arithmetic."""
        low, high = (self.lower, self.upper) if self.inner is None else self.inner
        if x.shape != low.shape or not (np.isfinite(x).all() and (low <= x).all() and (x <= high).all()):
            return False
        if self.centre is None or self.radius is None:
            return True
        points, centres, (radius,) = whole(x, self.centre, np.array([self.radius]))
        return sum((a - b) ** 2 for a, b in zip(points, centres, strict=True)) <= radius**2


def region_maker(norm: str) -> Callable[[ArrayLike, float], InputRegion]:
    """Makes the inputs within a radius of a point in this norm, "linf" or "l2"; InputError for another."""
    makers = {"linf": InputRegion.linf, "l2": InputRegion.l2}
    if not isinstance(norm, str) or norm not in makers:
        raise InputError(f"the norm must be linf or l2, not {shown(norm)}.")
    return makers[norm]


def _radius(value: float | None) -> float:
    radius = real_number(value)
    if radius is None or not (0 <= radius < math.inf):
        raise InputError(f"the radius must be a finite number of at least 0, not {shown(value)}.")
    return radius


@dataclass(frozen=True)
class OutputRow:
    """``Σ weight·y_j + constant ≤ 0`` over the pairs (j, weight), ``< 0`` if it is strict, in rational numbers."""

    weights: tuple[tuple[int, Fraction], ...]
    constant: Fraction
    strict: bool = False


@dataclass(frozen=True, eq=False)
class UnsafeCase:
    """Unsafe at x: x in ``region`` and ``H f(x) + h ≤ 0`` in every row.

    Attributes:
        region: where x lies.
        H: (r, c) rows on the outputs, r ≥ 1.
        h: (r,) constants.
        stated: the rows that are meant, where they are strict or no float64 numbers. On the region H and h hold
            wherever they do, and a positive margin of H and h is no larger than theirs.
        rounding: (r,) E, where outputs are those of evaluations in float32, see ``certificates.float32``. It is taken
            off h already: a positive margin of H and h is none of ``stated`` in any such evaluation. Else None.
    """

    region: InputRegion
    H: FloatArray
    h: FloatArray
    stated: tuple[OutputRow, ...] | None = None
    rounding: FloatArray | None = None

    def __post_init__(self) -> None:
        require("region", self.region, InputRegion, "certnet.UnsafeCase(region, H, h)")
        H, h = exact_array("the output rows", self.H, 2), exact_array("the output constants", self.h, 1)
        if h.shape != (len(H),) or len(H) == 0:
            raise InputError(f"a case has {len(H)} output rows and {h.size} constants; give one constant for each row.")
        object.__setattr__(self, "H", H)
        object.__setattr__(self, "h", h)

    @property
    def rows(self) -> tuple[OutputRow, ...]:
        """The rows that are meant, exactly."""
        return self.float_rows if self.stated is None else self.stated

    @property
    def is_impossible(self) -> bool:
        """Whether a row is false whatever the outputs are."""
        return any(not row.weights and row.constant > 0 for row in self.rows)

    @property
    def float_rows(self) -> tuple[OutputRow, ...]:
        """H and h, exactly."""
        return tuple(
            OutputRow(tuple((j, Fraction(w)) for j, w in enumerate(row) if w), Fraction(constant))
            for row, constant in zip(self.H.tolist(), self.h.tolist(), strict=True)
        )

    def margins(self, outputs: FloatArray) -> FloatArray:
        """max over the rows of H y + h for the rows y of ``outputs`` (n×c): unsafe where it is ≤ 0."""
        return np.asarray((outputs @ self.H.T + self.h).max(axis=1))


def require_fitting(network: ReluNetwork, cases: Sequence[UnsafeCase]) -> None:
    """Raise InputError if a case is about another number of inputs or outputs than the network's."""
    for case in cases:
        sizes = ("inputs", case.region.inputs, network.inputs), ("outputs", case.H.shape[1], network.outputs)
        for what, stated, own in sizes:
            if stated != own:
                raise InputError(
                    f"the property is about {stated} {what}, but the network has {own}; give the network it was made "
                    "for."
                )
