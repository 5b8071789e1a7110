"""What is asked of a measuring process, and what it gives back; both travel as JSON."""

import json
import math
from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Job:
    """One measurement: a method of ``_methods.METHODS`` on one problem.

    Attributes:
        time_limit: seconds for each call of the solver.
        tolerance: relative residual at which certnet's own solvers and SCS on the reduced program stop.
        enough: stop once residuals are small and bound and objective differ by this part of the objective, or None.
    """

    problem: str
    gamma: float
    method: str
    time_limit: float
    tolerance: float = 1e-5
    enough: float | None = None

    def to_text(self) -> str:
        """JSON that ``from_text`` reads."""
        return json.dumps(asdict(self))

    @classmethod
    def from_text(cls, text: str) -> "Job":
        """Inverse of ``to_text``."""
        return cls(**json.loads(text))


@dataclass(frozen=True)
class Point:
    """After so many charged seconds: the best repaired bound and the objective of the iterate, in original units."""

    seconds: float
    iteration: int
    bound: float
    objective: float


@dataclass(frozen=True, kw_only=True)
class Measurement:
    """What came of a job. Undefined numbers are NaN or infinite here and null in JSON.

    Attributes:
        solver: what ran, with its version; for "auto" it says what that meant.
        seconds: charged to the method (see the module ``solvers``); of several solves the longest.
        bound: repaired bound of the last and of the best dual, in original units.
        objective: relaxed objective in original units; not a bound.
        smallest_eigenvalue: of the lifted matrix, relative to the largest; only for the unreduced form.
        peak_mib, start_mib: largest resident memory of the process, and that before the solver began.
        coarse: the only point is the end of the solve, so times to an accuracy are upper estimates.
        details: further numbers, by name.
    """

    job: Job
    solver: str
    status: str
    message: str
    seconds: float
    iterations: int = 0
    bound: float = -math.inf
    objective: float = math.nan
    primal_residual: float = math.inf
    dual_residual: float = math.inf
    smallest_eigenvalue: float = math.nan
    peak_mib: float = math.nan
    start_mib: float = math.nan
    coarse: bool = False
    trace: tuple[Point, ...] = ()
    details: tuple[tuple[str, float], ...] = ()

    def to_json(self) -> dict[str, Any]:
        """A JSON object without NaN or infinities."""
        record: dict[str, Any] = _plain(asdict(self))
        record["details"] = {name: _plain(number) for name, number in self.details}
        return record

    @classmethod
    def from_json(cls, record: dict[str, Any]) -> "Measurement":
        """Inverse of ``to_json``."""
        fields: dict[str, Any] = {name: _undefined(name) if value is None else value for name, value in record.items()}
        fields["job"] = Job(**record["job"])
        fields["trace"] = tuple(_point(point) for point in record["trace"])
        fields["details"] = tuple((name, math.nan if x is None else x) for name, x in record["details"].items())
        return cls(**fields)


def failure(job: Job, message: str, seconds: float) -> Measurement:
    """A measurement that came to nothing."""
    return Measurement(job=job, solver=job.method, status="NOT MEASURED", message=message, seconds=seconds)


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _undefined(name: str) -> float:
    """What null stands for: no bound is −∞, no residual is ∞, no other number is NaN."""
    if name == "bound":
        return -math.inf
    return math.inf if name.endswith("_residual") else math.nan


def _point(record: dict[str, Any]) -> Point:
    fields: dict[str, Any] = {name: _undefined(name) if value is None else value for name, value in record.items()}
    return Point(**fields)
