"""The largest radius around an input on which its class is certified, by bisection that never trusts an open bound.

A radius that is not decided is gone round: the search goes on between it and the proved radius below, and between it
and the refuted one above, until both are near it. So the two radii still meet where only a small range is undecided.
"""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from certificates import Certificate, Verdict
from certnet.jobs.verify import verify
from certnet.search.counterexample import Counterexample
from formulations import InputError
from formulations._validation import FloatArray
from formulations.arguments import accepts, array, count, json_object, real, seconds
from formulations.network import ReluNetwork
from formulations.robustness import keeps_class, region_maker

STEPS = 60
SHARE = 0.3
"""Part of the time that is left which one radius may take, so that a hard one leaves time to go round it."""
SIDE = 1.0 / 32
"""Part of the tolerance to which the search comes near undecided radii."""


@dataclass(frozen=True, eq=False)
class CertifiedRadius:
    """``certified ≤ true radius ≤ attacked``.

    Attributes:
        certified: a radius on which the class is proved to be kept; 0 without a certificate.
        attacked: a radius within which the class is lost; infinite if none was found up to the largest one tried.
        certificate: the proof for ``certified``.
        counterexample: an input within ``attacked``.
        open: whether the two are further apart than the tolerance, because radii between them were not decided.
    """

    certified: float
    attacked: float
    certificate: Certificate | None
    counterexample: Counterexample | None
    open: bool


@np.errstate(all="ignore")
@accepts(
    network=ReluNetwork,
    x=array,
    label=count,
    largest=real,
    tolerance=real,
    time_limit=seconds,
    random_state=count,
    provenance=json_object,
)
def certified_radius(
    network: ReluNetwork,
    x: FloatArray,
    label: int,
    *,
    norm: str,
    largest: float,
    tolerance: float = 1e-3,
    time_limit: float | None = None,
    random_state: int = 0,
    provenance: Mapping[str, Any] | None = None,
) -> CertifiedRadius:
    """Bisect between a radius that is proved and one that is refuted.

    Args:
        network, x, label: the network, the input (d,), and the output that shall stay the largest.
        norm: "linf" or "l2".
        largest: the largest radius of interest, positive.
        tolerance: relative difference of the two radii at which to stop.
        time_limit: seconds for all radii together, or None.
        random_state: seed of the attacks.
        provenance: JSON object that travels with the certificate, beside the norm and the radius.

    Raises:
        InputError: a norm, radius, tolerance or label that does not exist, or an input of another size.
    """
    make = region_maker(norm)
    if not (largest > 0 and np.isfinite(largest)):
        raise InputError(f"the largest radius must be positive and finite, not {largest}.")
    if not tolerance > 0:
        raise InputError(f"the tolerance must be positive, not {tolerance}.")
    deadline = np.inf if time_limit is None else time.perf_counter() + time_limit
    search = _Bracket(largest, tolerance)
    certificate, counterexample = None, None
    for _ in range(STEPS):
        left, radius = deadline - time.perf_counter(), search.following()
        if radius is None or left <= 0:
            break
        result = verify(
            network,
            keeps_class(network, make(x, radius), label),
            time_limit=SHARE * left if np.isfinite(left) else None,
            random_state=random_state,
            provenance={**(provenance or {}), "norm": norm, "radius": radius},
        )
        if result.verdict is Verdict.PROVED:
            search.low, certificate = radius, result.certificate
        elif result.counterexample is not None:
            counterexample = result.counterexample
            search.high = min(radius, distance(counterexample.x, x, norm))
        else:
            search.undecided.append(radius)
        search.tried = True
    return CertifiedRadius(search.low, search.high, certificate, counterexample, not search.closed)


class _Bracket:
    """Proved, refuted and undecided radii, and which is tried next."""

    def __init__(self, largest: float, tolerance: float) -> None:
        self.largest, self.tolerance = largest, tolerance
        self.low, self.high, self.tried = 0.0, np.inf, False
        self.undecided: list[float] = []

    @property
    def closed(self) -> bool:
        """Whether the proved and the refuted radius meet, or all of interest is proved."""
        return self.tried and (self.low >= self.largest or self._near(self.low, self.high))

    def _near(self, low: float, high: float) -> bool:
        return bool(np.isfinite(high) and high - low <= self.tolerance * high)

    def _middle(self, low: float, high: float) -> float:
        """Between two radii; by their ratio while it is large, so that no scale is far away."""
        if high <= 4.0 * low:
            return 0.5 * low + 0.5 * high
        return math.sqrt(low) * math.sqrt(high) if low > 0 else high * min(0.5, high / self.largest)

    def following(self) -> float | None:
        """The next radius; None if the search has come to its end."""
        if not self.tried:
            return 0.0
        if self.closed:
            return None
        between = [radius for radius in self.undecided if self.low < radius < self.high]
        if not between:
            return self.largest if not np.isfinite(self.high) else self._middle(self.low, self.high)
        least, most = min(between), max(between)
        if not np.isfinite(self.high) and most < self.largest:
            return self.largest
        # The wider side first, until both are small beside the tolerance.
        high = self.high if np.isfinite(self.high) else most
        sides = ((self.low, least, least), (most, high, most))
        gaps = [(b - a, self._middle(a, b)) for a, b, size in sides if b - a > SIDE * self.tolerance * size]
        return max(gaps)[1] if gaps else None


def distance(a: FloatArray, b: FloatArray, norm: str) -> float:
    """How far two vectors (d,) are apart, rounded up."""
    size = float(np.abs(a - b).max()) if norm == "linf" else math.dist(a, b)
    return math.nextafter(size * (1.0 + 1e-12), math.inf) if size else 0.0
