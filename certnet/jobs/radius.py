"""The largest radius around an input on which its class is certified, by bisection that never trusts an open bound.

A radius that is not decided is gone round: the search goes on between it and the proved radius below, and between it
and the refuted one above, until both are near it. So the two radii still meet where only a small range is undecided.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from certificates import Certificate, Verdict
from certificates.certificate import REAL
from certificates.failure import Deadline
from certificates.findings import finite
from certnet.jobs.verify import verify
from certnet.runtime.clock import Clock
from certnet.runtime.display import Result
from certnet.runtime.public import public
from certnet.runtime.wording import down, up
from certnet.search.counterexample import Counterexample
from formulations._validation import FloatArray, as_positive
from formulations.arguments import array, count, real, several
from formulations.network import ReluNetwork
from formulations.properties import around, keeps_class
from formulations.robustness import InputRegion, UnsafeCase

__all__ = ["CertifiedRadius", "certified_radius"]

STEPS = 60  # Radii that are tried at most.
SHARE = 0.3  # Part of the time that is left which one radius may take, so that a hard one leaves time to go round it.
SIDE = 1.0 / 32  # Part of the tolerance to which the search comes near undecided radii.


@dataclass(frozen=True, eq=False, repr=False)
class CertifiedRadius(Result):
    """``certified ≤ true radius ≤ attacked``.

    Attributes:
        certified: a radius on which the class is proved to be kept; 0 without a certificate.
        attacked: a radius within which the class is lost; infinite if none was found up to the largest one tried.
        certificate: the proof for ``certified``.
        counterexample: an input within ``attacked``.
        open: whether the two are further apart than the tolerance, because radii between them were not decided.
        seconds: wall time.
    """

    FIELDS = ("open", "seconds")

    certified: float
    attacked: float
    certificate: Certificate | None
    counterexample: Counterexample | None
    open: bool
    seconds: float

    def to_dict(self) -> dict[str, Any]:
        return {
            "verdict": str(Verdict.UNKNOWN if self.open else Verdict.PROVED),
            "result": "radius",
            "certified_radius": self.certified,
            "attacked_radius": finite(self.attacked),
            "counterexample": self.counterexample and self.counterexample.to_dict(),
            **super().to_dict(),
        }

    @property
    def enclosure(self) -> str:
        """The true radius between the two, in words."""
        end = f" <= attacked {up(self.attacked)}" if math.isfinite(self.attacked) else ""
        return f"certified {down(self.certified)} <= true{end}{'; open' if self.open else ''}"


@public(x=array, label=count, tied=several(int), moving=several(int), largest=real, tolerance=real)
def certified_radius(
    network: ReluNetwork,
    x: FloatArray,
    label: int,
    *,
    norm: str,
    largest: float,
    tied: Sequence[int] = (),
    moving: Sequence[int] | None = None,
    tolerance: float = 1e-3,
    semantics: str = REAL,
    time_limit: float | None = None,
    random_state: int = 0,
    provenance: Mapping[str, Any] | None = None,
) -> CertifiedRadius:
    """Bisect between a radius that is proved and one that is refuted.

    Args:
        network, x, label: the network, the input (d,), and the output that shall stay the largest.
        norm: "linf" or "l2".
        largest: the largest radius of interest, positive.
        tied: outputs that count as ``label``: one of these and it shall stay the largest.
        moving: numbers of the inputs that may change, by default all.
        tolerance: relative difference of the two radii at which to stop.
        semantics, random_state: as for ``verify``; in float32 the attacked radius is that of a float32 input.
        time_limit: seconds for all radii together, or None.
        provenance: as for ``verify``; norm and radius stand beside it.

    Raises:
        InputError: a norm, radius, tolerance or label that does not exist, or an input of another size.
    """
    as_positive("largest", largest)
    as_positive("tolerance", tolerance)
    clock = Clock(time_limit)
    bracket = Bracket(network, x, label, norm, random_state, provenance or {}, semantics, tuple(tied), moving)
    is_open = bracket.search(largest, tolerance, Deadline.after(time_limit))
    proof = bracket.certificates.get(bracket.low)
    return CertifiedRadius(bracket.low, bracket.high, proof, bracket.counterexample, is_open, clock.seconds)


@dataclass(eq=False)
class Bracket:
    """What is known of the radii around one input: proved up to ``low``, and the class is lost at ``high``.

    Attributes:
        certificates: by radius.
        counterexample, witness: an input within ``high``, and its float64 coordinates.
        undecided: radii that were tried in vain.
        tried: how many were tried.
    """

    network: ReluNetwork
    x: FloatArray
    label: int
    norm: str
    random_state: int
    provenance: Mapping[str, Any]
    semantics: str = REAL
    tied: Sequence[int] = ()
    moving: Sequence[int] | None = None
    low: float = 0.0
    high: float = math.inf
    certificates: dict[float, Certificate] = field(default_factory=dict)
    counterexample: Counterexample | None = None
    witness: FloatArray | None = None
    undecided: list[float] = field(default_factory=list)
    tried: int = 0

    def region(self, radius: float) -> InputRegion:
        """The inputs within a radius."""
        return around(self.x, radius, self.norm, self.moving)

    def cases(self, radius: float) -> tuple[UnsafeCase, ...]:
        """What would be unsafe within a radius."""
        return keeps_class(self.network, self.region(radius), (self.label, *self.tied))

    def decide(self, radius: float, time_limit: float | None) -> Verdict:
        """Try a radius between ``low`` and ``high``."""
        self.tried += 1
        result = verify(
            self.network,
            self.cases(radius),
            time_limit=time_limit,
            semantics=self.semantics,
            random_state=self.random_state,
            provenance={**self.provenance, "norm": self.norm, "radius": radius},
        )
        if result.verdict is Verdict.PROVED:
            self.low = radius
            if result.certificate is not None:
                self.certificates[radius] = result.certificate
        elif result.counterexample is not None:
            self.counterexample = result.counterexample
            self.lose(result.counterexample.x, radius)
        else:
            self.undecided.append(radius)
        return result.verdict

    def lose(self, x: FloatArray, radius: float = math.inf) -> None:
        """Take note that this input within the radius is of another class."""
        self.high, self.witness = min(radius, distance(x, self.x, self.norm)), x

    def search(self, largest: float, tolerance: float, deadline: Deadline) -> bool:
        """Narrow the two radii until the deadline; returns whether they stay apart."""
        for _ in range(STEPS):
            left, radius = deadline.left, self._following(largest, tolerance)
            if radius is None or left <= 0:
                break
            self.decide(radius, SHARE * left if left < math.inf else None)
        return not self._is_closed(largest, tolerance)

    def _is_closed(self, largest: float, tolerance: float) -> bool:
        return self.low >= largest or (self.high < math.inf and self.high - self.low <= tolerance * self.high)

    def _following(self, largest: float, tolerance: float) -> float | None:
        """The radius to try next; None if the search has come to its end."""
        low, high = self.low, self.high
        if not self.tried:
            return 0.0
        if self._is_closed(largest, tolerance):
            return None
        inside = [radius for radius in self.undecided if low < radius < high]
        if not inside:
            return largest if high == math.inf else between(low, high, largest)
        least, most = min(inside), max(inside)
        if high == math.inf and most < largest:
            return largest
        # The wider side first, until both are small beside the tolerance.
        high = high if high < math.inf else most
        sides = ((low, least, least), (most, high, most))
        gaps = [(b - a, between(a, b, largest)) for a, b, size in sides if b - a > SIDE * tolerance * size]
        return max(gaps)[1] if gaps else None


def between(low: float, high: float, largest: float) -> float:
    """Between two sizes up to the largest; by their ratio while it is large, so that no scale is far away."""
    if high <= 4.0 * low:
        return 0.5 * low + 0.5 * high
    return math.sqrt(low) * math.sqrt(high) if low > 0 else high * min(0.5, high / largest)


def distance(a: FloatArray, b: FloatArray, norm: str) -> float:
    """How far two vectors (d,) are apart, rounded up."""
    size = float(np.abs(a - b).max()) if norm == "linf" else math.dist(a, b)
    return math.nextafter(size * (1.0 + 1e-12), math.inf) if size else 0.0
