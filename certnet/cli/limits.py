"""Numbers of options as several commands read them, and when the time of a command begins."""

import math
import os
import time
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path

from formulations import InputError

END_SHARE = 0.25
SMALLEST_LIMIT = 1e-3
_BEGAN: ContextVar[float] = ContextVar("began")


def began() -> float:
    """When the command began, by ``time.perf_counter()``: now, or with the process where it is all that this runs."""
    return _BEGAN.get(time.perf_counter())


def begin_with_process() -> None:
    """Count everything since the process was made, the time that imports have taken too, as part of the command."""
    _BEGAN.set(time.perf_counter() - _process_seconds())


def job_seconds(time_limit: float | None, started: float) -> float | None:
    """What a job may take of a command's time limit: the rest, without what printing, writing and leaving will take.

    How long that is, on a machine as busy as it is, shows in what starting and reading took.
    """
    if time_limit is None:
        return None
    return max(time_limit - (1.0 + END_SHARE) * (time.perf_counter() - started), SMALLEST_LIMIT)


def _process_seconds() -> float:
    """Age of this process; what its own processor time says where the kernel does not tell."""
    try:
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        return max(time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"), 0.0)
    except (OSError, ValueError, IndexError, AttributeError):
        return time.process_time()


def seconds_or_none(time_limit: float, option: str = "--time-limit") -> float | None:
    """Seconds, or None for the 0 that stands for no limit.

    Raises:
        InputError: negative, NaN or infinite.
    """
    if time_limit == 0:
        return None
    if not (time_limit > 0 and math.isfinite(time_limit)):
        raise InputError(f"{option} must be a positive number of seconds, or 0 for no limit, not {time_limit:g}.")
    return time_limit


def positive_numbers(
    text: str, option: str, example: str, accepted: Callable[[list[float]], tuple[float, ...]]
) -> tuple[float, ...]:
    """The numbers of an option such as ``--gammas 1,0.3,0.1``, as ``accepted`` makes them.

    Raises:
        InputError: one is not positive and finite, or they are not accepted.
    """
    values = []
    for word in text.split(","):
        try:
            value = float(word)
        except ValueError:
            value = math.nan
        if not (value > 0 and math.isfinite(value)):
            raise InputError(
                f"{option} must be positive numbers with commas between them, such as {example}, not {word.strip()!r}."
            )
        values.append(value)
    try:
        return accepted(values)
    except InputError as error:
        raise InputError(f"--{error}") from None
