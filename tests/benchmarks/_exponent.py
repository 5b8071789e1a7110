"""Cost against the number of points n, measured in a process for each point, and the fitted exponents."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from tests.benchmarks._records import Job, Measurement
from tests.benchmarks._summary import exponent, seconds_within

SIZES = (50, 100, 200, 400, 700, 1000)
FAMILIES = ("gaussian", "mnist")
LARGEST_INTERIOR_POINT = 400
LOOSE, TIGHT = 0.1, 0.01
"""Relative distance of bound and objective: for the ADMM, and for the interior point."""
ENOUGH = 0.02
"""Where the ADMM stops: the objective of an iterate may lie below the optimum, so this is less than ``LOOSE``."""
TOLERANCE = 1e-3


@dataclass(frozen=True)
class Curve:
    """One cost over several sizes: seconds (∞ or NaN where it was not reached) and the fitted exponent."""

    family: str
    name: str
    sizes: tuple[int, ...]
    seconds: tuple[float, ...]

    @property
    def exponent(self) -> float:
        """Slope in the log-log plane over the sizes that were reached."""
        return exponent(self.sizes, self.seconds)


def jobs(family: str, sizes: Sequence[int], gamma: float, time_limit: float) -> Iterator[Job]:
    """Everything that is measured for a family of problems."""
    for n in sizes:
        problem = f"{family}-{n}"
        yield Job(problem=problem, gamma=gamma, method="admm-iteration", time_limit=time_limit)
        yield _solve(problem, gamma, "admm", time_limit, ENOUGH)
        if n <= LARGEST_INTERIOR_POINT:
            yield _solve(problem, gamma, "interior-point", time_limit, None)


def _solve(problem: str, gamma: float, method: str, time_limit: float, enough: float | None) -> Job:
    return Job(problem=problem, gamma=gamma, method=method, time_limit=time_limit, tolerance=TOLERANCE, enough=enough)


def curves(measurements: Sequence[Measurement]) -> list[Curve]:
    """The three costs of each family that was measured."""
    kinds: tuple[tuple[str, str, Callable[[Measurement], float]], ...] = (
        ("admm-iteration", "ADMM, one iteration", lambda m: dict(m.details).get("seconds_per_iteration", math.nan)),
        ("admm", f"ADMM, bound within {LOOSE:.0%}", seconds_to_loose),
        ("interior-point", f"interior point, bound within {TIGHT:.0%}", seconds_to_tight),
    )
    found = []
    for family in FAMILIES:
        for method, name, cost in kinds:
            rows = [m for m in measurements if m.job.method == method and _family(m) == family]
            rows.sort(key=_size)
            if rows:
                found.append(Curve(family, name, tuple(map(_size, rows)), tuple(map(cost, rows))))
    return found


def _family(m: Measurement) -> str:
    return m.job.problem.partition("-")[0]


def _size(m: Measurement) -> int:
    return int(m.job.problem.partition("-")[2])


def seconds_to_loose(m: Measurement) -> float:
    """Seconds until the bound is within 10 % of the final objective or bound; ∞ when time was up before these met."""
    if m.status not in ("STOPPED", "CONVERGED"):
        return math.inf
    return seconds_within(m.trace, max(m.bound, m.objective), LOOSE)


def seconds_to_tight(m: Measurement) -> float:
    """Seconds until the bound is within 1 % of the final objective; ∞ unless the solver met its tolerance.

    While products are missing the objective is that of a weaker relaxation, so an early one says nothing.
    """
    return seconds_within(m.trace, m.objective, TIGHT) if m.status == "CONVERGED" else math.inf
